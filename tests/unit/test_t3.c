/* test_t3.c: T3R32, three ternary weights in five bits: the bytes that layouts.c packs against the
 * picture there, and every kernel over them, with and without tables, against the naive sum, plain
 * C and the bits that Q2R4 gives. Outputs lie between guard bytes, inputs end where malloc says
 * they do (AddressSanitizer looks there). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

#include <cmocka.h> /* last: its macro `fail` would hide ir.h's */

#include "../../compiler/codegen-c/kernels/scalar_t3.c"
#if defined(__x86_64__)
#define TEST_AVX2
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "../../compiler/codegen-c/kernels/avx2_q2.c"
#include "../../compiler/codegen-c/kernels/avx2_t3.c"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

/* ---- the kernels under test ---- */

typedef void (*Lut)(const int8_t *, int8_t *, int, int, int);
typedef void (*Matmul)(const uint8_t *, const float *, const int8_t *, const float *, const float *,
                       float *, int, int, int, int, int);
typedef void (*Glu)(const uint8_t *, const float *, const uint8_t *, const float *, const int8_t *,
                    const float *, float *, int, int, int, int, int, int);
typedef struct Kernels {
    const char *name;
    bool tables; /* operand q is what lut makes of it; one token a call */
    Lut lut;
    Matmul matmul;
    Glu glu, glu_q2; /* glu_q2: what glu must agree with */
} Kernels;

#ifdef TEST_AVX2
static const Kernels avx2 = {"avx2", true, lut3_avx2, tmatmul_t3_avx2, tglu_t3_avx2, tglu_q2_avx2};
#endif
static const Kernels plain = {"scalar", false, lut3, tmatmul_t3, tglu_t3, tglu_q2};
static const Kernels *sets[2] = {&plain};
static int nset = 1;

/* ---- memory, numbers ---- */

static Session session;
enum { GUARD = 64, BLOCKS = 64 };
static struct Kept {
    uint8_t *base;
    size_t size; /* 0: an input, without guards */
} kept[BLOCKS];
static int nkept;

static void *keep(size_t size, bool guarded)
{
    size_t extra = guarded ? 2 * GUARD : 0;
    uint8_t *p = malloc(size + extra);
    assert_true(p && nkept < BLOCKS);
    memset(p, 0xa5, size + extra);
    kept[nkept].base = p;
    kept[nkept++].size = guarded ? size : 0;
    return guarded ? p + GUARD : p;
}

static float *floats(int n)
{
    return keep((size_t)n * sizeof(float), true);
}

/* Ends a case: looks at every guard and frees everything. */
static void done(void)
{
    while (nkept > 0) {
        struct Kept *b = &kept[--nkept];
        for (size_t i = 0; b->size && i < GUARD; i++) {
            assert_int_equal(b->base[i], 0xa5);
            assert_int_equal(b->base[GUARD + b->size + i], 0xa5);
        }
        free(b->base);
    }
    session_end(&session);
    session_start(&session, NULL);
}

static uint32_t any(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static float real(void)
{
    return (float)((int)(any() % 2000001u) - 1000000) * 1e-6f;
}

#define same(a, b, n) assert_memory_equal(a, b, (size_t)(n) * sizeof *(a))

/* ---- a weight in both layouts, and activations ---- */

typedef struct Packed { /* in memory of its own size */
    const uint8_t *w;
    const float *c;
    int64_t bytes, scales;
} Packed;
typedef struct Ternary {
    int n, k;
    int8_t *w; /* [n x k] */
    Packed t3, q2;
} Ternary;
typedef struct Input { /* T tokens for k columns */
    int T, k;
    int8_t *q; /* [T x BN_QPAD(k)] */
    float *s;
} Input;
enum { RANDOM, LOW, HIGH, MIXED }; /* activations: any, all -128, all 127, the two by turns */
enum { DOWN = -1, ZERO, UP, THIRDS, RARE }; /* weights: all one value, even, mostly zeros */

static const float times = 0.7f; /* the factor of all weights */

static Packed pack(const Tensor *t, Fmt fmt)
{
    Packed p;
    const Type *type = type_make(&session, fmt, 2, t->rows, t->cols, 0);
    Tensor factor = {"f", FMT_F32, 1, 1, (const uint8_t *)&times, sizeof times};
    Weight w = {.type = type, .tensor = (Tensor *)(uintptr_t)t, .times = "f", .factor = &factor};
    p.bytes = packed_bytes(type, &p.scales);
    uint8_t *out = keep((size_t)p.bytes, true);
    weight_pack(&session, &w, 0, out);
    p.w = out;
    p.c = (const float *)(const void *)(out + p.scales);
    return p;
}

static Ternary ternary(int n, int k, int kind)
{
    Ternary m = {n, k, keep((size_t)n * (size_t)k, false), {0}, {0}};
    float *value = keep((size_t)n * (size_t)k * sizeof *value, false), scale = 0.5f + fabsf(real());
    for (int i = 0; i < n * k; i++) {
        int rare = any() % 50 ? 0 : (int)(any() % 3) - 1;
        m.w[i] = (int8_t)(kind == THIRDS ? (int)(any() % 3) - 1 : kind == RARE ? rare : kind);
        value[i] = scale * (float)m.w[i];
    }
    Tensor t = {.fmt = FMT_F32, .rows = n, .cols = k, .data = (const uint8_t *)value};
    t.size = (size_t)n * (size_t)k * sizeof *value;
    m.t3 = pack(&t, FMT_T3R32);
    m.q2 = pack(&t, FMT_Q2R4);
    return m;
}

static Input activations(int T, int k, int act)
{
    size_t row = BN_QPAD((size_t)k);
    Input in = {T, k, keep((size_t)T * row, false), keep((size_t)T * sizeof(float), false)};
    memset(in.q, 0, (size_t)T * row);
    for (int t = 0; t < T; t++) {
        in.s[t] = act == RANDOM ? 1.0f + 50.0f * fabsf(real()) : 1.0f;
        for (int j = 0; j < k; j++)
            in.q[(size_t)t * row + (size_t)j] = (int8_t)(act == LOW     ? -128
                                                         : act == HIGH  ? 127
                                                         : act != MIXED ? (int)(any() % 256) - 128
                                                         : j % 2        ? -128
                                                                        : 127);
    }
    return in;
}

/* Token t as a set's kernels want it. */
static const int8_t *operand(const Kernels *set, const Input *in, int t)
{
    const int8_t *q = in->q + (size_t)t * BN_QPAD((size_t)in->k);
    if (!set->tables)
        return q;
    int8_t *tables = keep((size_t)lut3_width(in->k), true);
    set->lut(q, tables, in->k, 0, 1);
    return tables;
}

static int32_t naive(const Ternary *m, const Input *in, int t, int r)
{
    int32_t sum = 0;
    for (int j = 0; j < m->k; j++)
        sum += m->w[r * m->k + j] * in->q[(size_t)t * BN_QPAD((size_t)m->k) + (size_t)j];
    return sum;
}

/* ---- the bytes ---- */

/* v of group g of a row, from the picture in layouts.c. */
static int group_at(const uint8_t *w, int row, int g, int steps)
{
    const uint8_t *tile = w + ((size_t)(row / 32) * (size_t)steps + (size_t)(g / 8)) * 160;
    int in = g % 8, size = tile[in / 2 * 32 + row % 32] >> (in % 2 ? 4 : 0) & 15;
    return tile[128 + row % 32] & 0x80 >> in ? -size : size;
}

static void check_layout(int n, int k, int kind)
{
    Ternary m = ternary(n, k, kind);
    int steps = (k + 23) / 24, rows = (n + 31) / 32 * 32;
    int64_t codes = (int64_t)rows / 32 * steps * 160;
    assert_int_equal(m.t3.scales, (codes + 63) / 64 * 64);
    assert_int_equal(m.t3.bytes, m.t3.scales + 64 + 4 * rows);
    for (int64_t i = codes; i < m.t3.scales; i++)
        assert_int_equal(m.t3.w[i], 0);
    same(m.t3.c, m.q2.c, 1);
    for (int i = 4; i < 64; i++)
        assert_int_equal(((const uint8_t *)m.t3.c)[i], 0);
    for (int r = 0; r < rows; r++) {
        int loss = 0;
        for (int g = 0; g < 8 * steps; g++) {
            int v = group_at(m.t3.w, r, g, steps), want = 0;
            for (int j = 3 * g; j < 3 * g + 3; j++)
                want = 3 * want + (r < n && j < k ? m.w[r * k + j] : 0);
            assert_int_equal(v, want);
            loss += v < 0 ? 33 : 0;
        }
        assert_int_equal(((const int32_t *)(const void *)(m.t3.c + 16))[r], loss);
    }
    done();
}

static void test_layout(void **state)
{
    (void)state;
    for (int k = 1; k <= 130; k++)
        check_layout(1 + k * 7 % 70, k, THIRDS);
    for (int kind = DOWN; kind <= RARE; kind++)
        check_layout(33, 384, kind);
}

/* Blocks of rows packed one by one, last first, are the whole. */
static void test_layout_blocks(void **state)
{
    (void)state;
    static const Fmt fmt[2] = {FMT_Q2R4, FMT_T3R32};
    for (int i = 0; i < 2; i++) {
        float value[100 * 50];
        for (int j = 0; j < 100 * 50; j++)
            value[j] = (float)((int)(any() % 3) - 1);
        Tensor t = {NULL, FMT_F32, 100, 50, (const uint8_t *)value, sizeof value};
        Packed p = pack(&t, fmt[i]);
        uint8_t *out = keep((size_t)p.bytes, true);
        memset(out, 0, (size_t)p.bytes);
        assert_int_equal(layout_blocks(fmt[i], 100), i ? 4 : 25);
        for (int64_t b = layout_blocks(fmt[i], 100) - 1; b >= 0; b--)
            layout_pack(&session, &t, fmt[i], 1.0f, NULL, times, b, b + 1, out);
        same(out, p.w, p.bytes);
        done();
    }
}

/* ---- tables ---- */

static void check_tables(int T, int k, int act)
{
    Input in = activations(T, k, act);
    int groups = (k + 23) / 24 * 8;
    for (int i = 0; i < nset; i++) {
        int8_t *t = keep((size_t)T * (size_t)lut3_width(k), true);
        sets[i]->lut(in.q, t, k, 0, T);
        for (int g = 0; g < T * groups; g++)
            for (int v = 0; v < 16; v++) {
                int a = v > 4, b = (v - 9 * a > 1) - (v - 9 * a < -1), c = v - 9 * a - 3 * b, x[3];
                for (int j = 0; j < 3; j++) {
                    int at = g % groups * 3 + j;
                    x[j] =
                        at < k ? in.q[(size_t)(g / groups) * BN_QPAD((size_t)k) + (size_t)at] : 0;
                }
                int lo = t[32 * g + v], hi = t[32 * g + 16 + v];
                assert_in_range(lo + 16, 0, 31);
                assert_int_equal(32 * hi + lo, v < 14 ? a * x[0] + b * x[1] + c * x[2] : 0);
            }
    }
    done();
}

static void test_tables(void **state)
{
    (void)state;
    for (int k = 1; k <= 400; k++)
        check_tables(1 + k % 2, k, RANDOM);
    for (int act = LOW; act <= MIXED; act++)
        check_tables(1, 300, act);
}

/* ---- products ---- */

/* Every set, every split of the rows: y bit-exact with plain C and with Q2R4. */
static void check_matmul(const Ternary *m, const Input *in)
{
    const int n = m->n, k = m->k, units = (n + 31) / 32;
    float *res = keep((size_t)n * sizeof *res, false), *want = floats(n), *y = floats(n);
    for (int r = 0; r < n; r++)
        res[r] = 100.0f * real();
    for (int t = 0; t < in->T; t++)
        for (int i = 0; i < nset; i++)
            for (int add = 0; add < 2; add++) {
                const float *s = in->s + t, *more = add ? res : NULL;
                const int8_t *q = operand(sets[i], in, t);
                tmatmul_q2(m->q2.w, m->q2.c, operand(&plain, in, t), s, more, want, 1, n, k, 0,
                           (n + 3) / 4);
                for (int threads = 1; threads <= units + 1; threads++) {
                    memset(y, 0x5a, (size_t)n * sizeof *y);
                    for (int j = threads - 1; j >= 0; j--)
                        sets[i]->matmul(m->t3.w, m->t3.c, q, s, more, y, 1, n, k,
                                        units * j / threads, units * (j + 1) / threads);
                    same(y, want, n);
                }
                for (int r = 0; r < n; r++) /* onto the residual */
                    y[r] = more ? more[r] : 0.0f;
                sets[i]->matmul(m->t3.w, m->t3.c, q, s, more ? y : NULL, y, 1, n, k, 0, units);
                same(y, want, n);
            }
}

static void check_exact(int n, int k, int act, int kind)
{
    Ternary m = ternary(n, k, kind);
    Input in = activations(1, k, act);
    in.s[0] = m.t3.c[0]; /* the factor is one: y is the sum */
    for (int i = 0; i < nset; i++) {
        float *y = floats(n);
        const int8_t *q = operand(sets[i], &in, 0);
        sets[i]->matmul(m.t3.w, m.t3.c, q, in.s, NULL, y, 1, n, k, 0, (n + 31) / 32);
        for (int r = 0; r < n && in.s[0] > 0; r++)
            if (y[r] != (float)naive(&m, &in, 0, r))
                fail_msg("tmatmul_t3 %s, %d x %d: y[%d] is %f, not %d", sets[i]->name, n, k, r,
                         (double)y[r], naive(&m, &in, 0, r));
    }
    done();
}

static void test_sums(void **state)
{
    static const int ns[] = {1, 31, 32, 33, 65},
                     ks[] = {1, 23, 24, 25, 128, 384, 896, 2560, 6912, 9000};
    (void)state;
    for (int k = 1; k <= 300; k++)
        check_exact(1 + k * 5 % 40, k, RANDOM, THIRDS);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 10; j++)
            check_exact(ns[i], ks[j], RANDOM, j % 2 ? THIRDS : RARE);
}

static void test_extremes(void **state)
{
    static const int ks[] = {24, 128, 6000, 6024, 6912, 16384};
    (void)state;
    for (int i = 0; i < 6; i++)
        for (int act = LOW; act <= MIXED; act++)
            for (int kind = DOWN; kind <= THIRDS; kind++)
                check_exact(33, ks[i], act, kind);
}

static void test_matmul(void **state)
{
    static const int ns[] = {1, 31, 32, 33, 65}, ks[] = {1, 24, 100, 385, 2560};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            Ternary m = ternary(ns[i], ks[j], THIRDS);
            Input in = activations(2, ks[j], RANDOM);
            check_matmul(&m, &in);
            done();
        }
}

/* Kernels for any number of tokens give each token what it gets alone. */
static void test_tokens(void **state)
{
    (void)state;
    for (int T = 2; T <= 5; T++) {
        const int n = 20 * T, k = 77 * T, units = (n + 31) / 32;
        Ternary m = ternary(n, k, THIRDS);
        Input in = activations(T, k, RANDOM);
        float *y = floats(T * n), *z = floats(T * n), *res = floats(T * n);
        for (int i = 0; i < T * n; i++)
            res[i] = real();
        tmatmul_t3(m.t3.w, m.t3.c, in.q, in.s, res, y, T, n, k, 0, units);
        tmatmul_q2(m.q2.w, m.q2.c, in.q, in.s, res, z, T, n, k, 0, (n + 3) / 4);
        same(y, z, T * n);
        tglu_t3(m.t3.w, m.t3.c, m.t3.w, m.t3.c, in.q, in.s, y, BN_SILU, T, n, k, 0, units);
        tglu_q2(m.q2.w, m.q2.c, m.q2.w, m.q2.c, in.q, in.s, z, BN_SILU, T, n, k, 0, (n + 3) / 4);
        same(y, z, T * n);
        done();
    }
}

static void check_glu(const Kernels *set, int n, int k, int act)
{
    Ternary gate = ternary(n, k, THIRDS), up = ternary(n, k, RARE);
    Input in = activations(1, k, RANDOM);
    const int units = (n + 31) / 32;
    const int8_t *q = operand(set, &in, 0);
    float *y = floats(n), *want = floats(n);
    set->glu_q2(gate.q2.w, gate.q2.c, up.q2.w, up.q2.c, in.q, in.s, want, act, 1, n, k, 0,
                (n + 3) / 4);
    for (int threads = 1; threads <= units + 1; threads++) {
        memset(y, 0x5a, (size_t)n * sizeof *y);
        for (int j = threads - 1; j >= 0; j--)
            set->glu(gate.t3.w, gate.t3.c, up.t3.w, up.t3.c, q, in.s, y, act, 1, n, k,
                     units * j / threads, units * (j + 1) / threads);
        same(y, want, n);
    }
    done();
}

static void test_glu(void **state)
{
    static const int ns[] = {1, 31, 32, 33, 65};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int act = BN_RELU2; act <= BN_GELU; act++)
            for (int j = 0; j < nset; j++)
                check_glu(sets[j], ns[i], 1 + (int)(any() % 600), act);
}

static int begin(void **state)
{
    (void)state;
    session_start(&session, NULL);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    session_end(&session);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),   cmocka_unit_test(test_layout_blocks),
        cmocka_unit_test(test_tables),   cmocka_unit_test(test_sums),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_tokens),   cmocka_unit_test(test_glu),
    };
#ifdef TEST_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[nset++] = &avx2;
#endif
    if (nset == 1)
        print_message("no AVX2 here: those kernels are skipped\n");
    return cmocka_run_group_tests(tests, begin, finish);
}
