/* test_head.c: low-bit copies of float matrices, and the exact top-k by upper bounds that uses one.
 *
 * The bytes and norms that lowbit.c packs are checked against its picture, in long double; sums of
 * AVX2 against those of plain C; and what screen_X gives against linear_X, row by row, where the
 * proof in scalar_head.c would break first: near-ties, equal rows, outliers, zeros, tiny and huge
 * numbers, NaN, any share of the work. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

#include <cmocka.h> /* last: its macro `fail` would hide ir.h's */

#include "../../compiler/codegen-c/kernels/scalar.c"
#include "../../compiler/codegen-c/kernels/scalar_head.c"
#if defined(__x86_64__)
#define TEST_AVX2
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "../../compiler/codegen-c/kernels/avx2_head.c"
/* out: sums of 8 rows at once, of the first alone, of its bytes as 2 bits and as 8, and of q. */
static void sums_avx2(const uint8_t *w, const int8_t *q, int wide, int *out)
{
    _mm256_storeu_si256((__m256i *)(void *)out, lowbit_eight4(w, (size_t)wide / 2, q, wide));
    out[8] = lowbit_lanes(lowbit_lanes4(w, q, wide));
    out[9] = lowbit_lanes(lowbit_lanes2(w, q, wide));
    out[10] = lowbit_sum8_avx2(w, q, wide);
    out[11] = lowbit_total_avx2(q, wide);
}
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

typedef void (*Linear)(const void *, const float *, float *, int, int, int, int, int);
typedef void (*Screen)(const void *, const uint8_t *, const float *, const float *, const int8_t *,
                       const float *, float *, int, int, int, int, int, int, void *);
typedef void (*Qlinear)(const uint8_t *, const float *, const int8_t *, const float *, float *, int,
                        int, int, int, int);
enum { F32, F16, BF16, Q8_0, FORMATS };
static const Fmt format_of[FORMATS] = {FMT_F32, FMT_F16, FMT_BF16, FMT_Q8_0};

typedef struct Kernels {
    Linear linear[FORMATS];
    Screen screen[FORMATS];
    Qlinear low[3]; /* h8, h6, h4 */
    void (*quant)(const float *, int8_t *, float *, int, int, int);
} Kernels;
#define TABLE(tag)                                                                                 \
    {                                                                                              \
        {linear_f32##tag, linear_f16##tag, linear_bf16##tag, linear_q8_0##tag},                    \
            {screen_f32##tag, screen_f16##tag, screen_bf16##tag, screen_q8_0##tag},                \
            {qlinear_h8##tag, qlinear_h6##tag, qlinear_h4##tag}, quant##tag                        \
    }
static const Kernels plain = TABLE();
#ifdef TEST_AVX2
static const Kernels avx2 = TABLE(_avx2);
#endif
static const Kernels *sets[2] = {&plain};
static int nset = 1;
static Session session;

static uint32_t any(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

/* Sums of uniform numbers: a bell, with tails. */
static float bell(void)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)((int)(any() % 20001u) - 10000) * 1e-4f;
    return sum;
}

/* ---- matrices ---- */

typedef struct Matrix {
    int format, n, k;
    Tensor t;
    uint8_t *low; /* h6 */
    const float *about;
} Matrix;

static uint8_t *copy_low(const Tensor *t, Fmt fmt, const float **scales)
{
    int64_t at, bytes = lowbit_bytes(fmt, t->rows, t->cols, &at);
    uint8_t *low = test_calloc(1, (size_t)bytes);
    for (int64_t i = lowbit_blocks(t->rows); i-- > 0;) /* apart, in any order */
        lowbit_pack(&session, t, fmt, i, i + 1, low);
    *scales = (const float *)(const void *)(low + at);
    return low;
}

static Matrix matrix(int format, const float *w, int n, int k)
{
    Matrix m = {.format = format, .n = n, .k = k};
    size_t size = fmt_extent(format_of[format], n, k), each = (size_t)n * (size_t)k;
    uint8_t *bytes = test_malloc(size);
    for (size_t i = 0; i < each; i++) {
        uint16_t h = float_to_f16(w[i]);
        uint32_t b;
        memcpy(&b, &w[i], sizeof b);
        uint16_t top = (uint16_t)(b >> 16);
        if (format == F32)
            memcpy(bytes + 4 * i, &w[i], 4);
        else if (format == F16)
            memcpy(bytes + 2 * i, &h, 2);
        else if (format == BF16)
            memcpy(bytes + 2 * i, &top, 2);
    }
    for (size_t i = 0; format == Q8_0 && i < each; i += 32) {
        float most = 0;
        for (int j = 0; j < 32; j++)
            most = fabsf(w[i + j]) > most ? fabsf(w[i + j]) : most;
        uint16_t h = float_to_f16(most / 127);
        float unit = f16_to_float(h);
        memcpy(bytes + i / 32 * 34, &h, 2);
        for (int j = 0; j < 32; j++)
            bytes[i / 32 * 34 + 2 + j] =
                (uint8_t)(int8_t)(unit > 0 && isfinite(unit)
                                      ? fminf(fmaxf(w[i + j] / unit, -127), 127)
                                      : 0);
    }
    m.t = (Tensor){"w", format_of[format], n, k, bytes, size};
    m.low = copy_low(&m.t, FMT_H6, &m.about);
    return m;
}

static void matrix_free(Matrix *m)
{
    test_free((void *)(uintptr_t)m->t.data);
    test_free(m->low);
}

/* ---- packing ---- */

static int code6(const Matrix *m, int r, int i)
{
    size_t wide = BN_QPAD(m->k), rows = BN_LOWBIT_ROWS(m->n);
    const uint8_t *four =
        m->low + (size_t)r * (wide / 2) + i / 128 * 64 + i % 128 / 64 * 32 + i % 32;
    const uint8_t *two =
        m->low + rows * (wide / 2) + (size_t)r * (wide / 4) + i / 128 * 32 + i % 32;
    return (*four >> (i % 64 >= 32 ? 4 : 0) & 15) * 4 + (*two >> i % 128 / 32 * 2 & 3);
}

static void check_norm(float stored, long double square)
{
    long double norm = sqrtl(square);
    assert_true((long double)stored >= norm);
    assert_true(!isfinite(stored) || (long double)stored <= norm * 1.000001L + 0x1.1p-100L);
}

static void check_norms(const Matrix *m)
{
    float *w = test_calloc((size_t)m->k, sizeof *w);
    for (int r = 0; r < m->n; r++) {
        const float *of = m->about + r / 8 * 40 + r % 8;
        long double e4 = 0, v4 = 0, e6 = 0, v6 = 0, half = 0.5L * of[0];
        bool whole = true;
        tensor_floats(&m->t, (int64_t)r * m->k, m->k, w);
        for (int i = 0; i < m->k; i++) {
            long double a = half * (8 * (code6(m, r, i) / 4) - 60);
            long double b = half * (2 * code6(m, r, i) - 63);
            whole &= isfinite(w[i]) != 0;
            e4 += (w[i] - a) * (w[i] - a);
            v4 += a * a;
            e6 += (w[i] - b) * (w[i] - b);
            v6 += b * b;
        }
        if (!whole) {
            assert_true(isinf(of[8]) && isinf(of[24]));
            continue;
        }
        check_norm(of[8], e4);
        check_norm(of[16], v4);
        check_norm(of[24], e6);
        check_norm(of[32], v6);
        assert_true(of[0] == 0 || e6 <= (long double)m->k * half * half * 1.0001L);
    }
    test_free(w);
}

enum { SPREAD, TIES, EQUAL, OUTLIER, ZEROS, TINY, HUGE_, BROKEN, KINDS };

/* Rows of one kind, with some of others among them. */
static float *rows_of(int kind, int n, int k)
{
    float *w = test_calloc((size_t)n * (size_t)k, sizeof *w);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < k; i++) {
            float v = bell() * 0.05f;
            float *first = &w[i], *at = &w[(size_t)r * (size_t)k + (size_t)i];
            *at = v;
            if (kind == TIES && r)
                *at = *first * (1.0f + (float)(any() % 64) * 0x1p-20f);
            else if (kind == EQUAL && r)
                *at = w[(size_t)(r % 3) * (size_t)k + (size_t)i];
            else if (kind == OUTLIER && i == r % k)
                *at = v * 500;
            else if (kind == ZEROS && r % 2)
                *at = r % 4 == 1 ? 0.0f : -0.0f;
            else if (kind == TINY)
                *at = v * (r % 3 ? 1e-38f : 1e-43f);
            else if (kind == HUGE_)
                *at = v * (r % 3 ? 1e36f : 100.0f);
            else if (kind == BROKEN && r % 5 == 4 && i == k / 2)
                *at = r % 2 ? NAN : r % 3 ? INFINITY : -INFINITY;
        }
    return w;
}

static float *vector_of(int kind, int k, const float *like)
{
    float *x = test_calloc((size_t)k, sizeof *x);
    for (int i = 0; i < k; i++) {
        float v = bell();
        x[i] = kind == TIES || kind == EQUAL ? v * 0.02f + like[i] * 20
               : kind == OUTLIER             ? (i % 37 == 5 ? v * 300 : v)
               : kind == ZEROS               ? 0.0f
               : kind == TINY                ? v * (i % 2 ? 1e-38f : 1e-44f)
               : kind == HUGE_               ? v * 1e37f
                                             : v;
        if (kind == BROKEN && i == k / 3)
            x[i] = any() % 2 ? NAN : INFINITY;
    }
    return x;
}

static void test_norms(void **state)
{
    (void)state;
    for (int format = 0; format < FORMATS; format++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int k = 32; k <= 416; k += format == Q8_0 ? 64 : 61) {
                float *w = rows_of(kind, 19, k);
                Matrix m = matrix(format, w, 19, k);
                check_norms(&m);
                matrix_free(&m);
                test_free(w);
            }
}

/* ---- integer sums ---- */

static void test_sums(void **state)
{
    (void)state;
#ifdef TEST_AVX2
    if (nset < 2)
        return;
    for (int round = 0; round < 60; round++) {
        int wide = 128 * (1 + round % 23), extreme = round % 4;
        size_t row4 = (size_t)wide / 2;
        uint8_t *w = test_malloc(8 * row4 + 2 * (size_t)wide);
        int8_t *q = test_malloc((size_t)wide);
        for (size_t i = 0; i < 8 * row4 + 2 * (size_t)wide; i++)
            w[i] = (uint8_t)(extreme == 1 ? 255 : any());
        for (int i = 0; i < wide; i++)
            q[i] = (int8_t)(extreme == 1 ? 127 : extreme == 2 ? -128 : (int)any());
        int sums[12];
        sums_avx2(w, q, wide, sums);
        for (int r = 0; r < 8; r++)
            assert_int_equal(sums[r], lowbit_sum4(w + (size_t)r * row4, q, wide));
        assert_int_equal(sums[8], sums[0]);
        assert_int_equal(sums[9], lowbit_sum2(w, q, wide));
        assert_int_equal(sums[11], lowbit_total(q, wide));
        for (int i = 0; i < wide; i++) { /* 8 bits: neither codes nor activations are -128 */
            w[i] = w[i] == 128 ? 129 : w[i];
            q[i] = (int8_t)(q[i] == -128 ? -127 : q[i]);
        }
        sums_avx2(w, q, wide, sums);
        assert_int_equal(sums[10], lowbit_sum8(w, q, wide));
        test_free(w);
        test_free(q);
    }
#endif
}

/* ---- the screened head ---- */

static float finite(float x)
{
    return x > -3.4028234e38f ? x < 3.4028234e38f ? x : 3.4028234e38f : -3.4028234e38f;
}

static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

typedef struct Case {
    const Kernels *set;
    const Matrix *m;
    const float *x, *full;
    const float *sorted; /* full, as the sampler sees it, largest first */
    const int8_t *q;
    const float *s;
} Case;

/* As threads would: each its pieces of the rows, with a memory of its own. */
static void check_topk(const Case *c, int best, int threads, int pieces)
{
    const Matrix *m = c->m;
    int units = (m->n + 7) / 8, kept = 0;
    size_t bytes = sizeof(bn_screen) + (size_t)BN_QPAD(m->k);
    float *y = test_malloc((size_t)m->n * sizeof *y);
    void *work = test_malloc(bytes);
    for (int i = 0; i < m->n; i++)
        y[i] = 12345.0f;
    for (int t = 0; t < threads; t++) {
        memset(work, 0xa5, bytes);
        for (int p = 0; p < pieces; p++) {
            int i = p * threads + t, all = threads * pieces;
            c->set->screen[m->format](m->t.data, m->low, m->about, c->x, c->q, c->s, y, best,
                                      p == 0, m->n, m->k, units * i / all, units * (i + 1) / all,
                                      work);
        }
    }
    float least = c->sorted[best <= m->n ? best - 1 : m->n - 1];
    for (int r = 0; r < m->n; r++) {
        bool exact = !memcmp(&y[r], &c->full[r], sizeof *y), none = y[r] == -INFINITY;
        if (!exact && (!none || finite(c->full[r]) >= least))
            fail_msg("format %d, %d x %d, best %d: row %d is %g, not %g", m->format, m->n, m->k,
                     best, r, (double)y[r], (double)c->full[r]);
        kept += exact;
    }
    assert_true(kept >= (best < m->n ? best : m->n));
    test_free(y);
    test_free(work);
}

static void check_head(int format, int rows, int vectors, int n, int k)
{
    static const int bests[] = {1, 2, 40, 104, 256};
    float *w = rows_of(rows, n, k);
    Matrix m = matrix(format, w, n, k);
    float *x = vector_of(vectors, k, w), *full = test_malloc((size_t)n * sizeof *full);
    float *sorted = test_malloc((size_t)n * sizeof *sorted), s;
    int8_t *q = test_malloc((size_t)BN_QPAD(k));
    for (int i = 0; i < nset; i++) {
        sets[i]->quant(x, q, &s, k, 0, 1);
        sets[i]->linear[format](m.t.data, x, full, 1, n, k, 0, n);
        for (int r = 0; r < n; r++)
            sorted[r] = finite(full[r]);
        qsort(sorted, (size_t)n, sizeof *sorted, falling);
        Case c = {sets[i], &m, x, full, sorted, q, &s};
        for (size_t b = 0; b < sizeof bests / sizeof *bests; b++)
            check_topk(&c, bests[b], 1 + (int)(b + (size_t)n) % 3, 1 + (int)b % 3);
    }
    test_free(q);
    test_free(sorted);
    test_free(full);
    test_free(x);
    matrix_free(&m);
    test_free(w);
}

static void test_head_kinds(void **state)
{
    (void)state;
    for (int format = 0; format < FORMATS; format++)
        for (int rows = 0; rows < KINDS; rows++)
            for (int vectors = 0; vectors < KINDS; vectors++)
                check_head(format, rows, vectors, 300 + (int)(any() % 100),
                           32 * (1 + (int)(any() % 12)));
}

static void test_head_ragged(void **state)
{
    static const int ks[] = {1, 2, 7, 31, 33, 127, 129, 255, 257, 640, 1000, 2559, 2560};
    (void)state;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (int n = 1; n <= 70; n += 23)
            for (int format = 0; format < Q8_0; format++)
                check_head(format, (int)(any() % KINDS), (int)(any() % KINDS), n, ks[i]);
}

/* Many rows close to the vector: the order of the best is decided by the last bits. */
static void test_head_crowded(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        check_head(F16, TIES, TIES, 3000, 256);
        check_head(F32, TIES, TIES, 1500, 512);
        check_head(F16, SPREAD, OUTLIER, 2000, 512);
    }
}

/* ---- copies alone ---- */

static void check_low(Fmt fmt, int which, int n, int k, int T)
{
    float *w = rows_of(SPREAD, n, k), *y[2] = {NULL, NULL};
    Matrix m = matrix(F32, w, n, k);
    const float *scales;
    uint8_t *low = copy_low(&m.t, fmt, &scales);
    float *x = test_malloc((size_t)(T * k) * sizeof *x), *s = test_malloc((size_t)T * sizeof *s);
    int8_t *q = test_malloc((size_t)(T * BN_QPAD(k)));
    for (int i = 0; i < T * k; i++)
        x[i] = bell();
    quant(x, q, s, k, 0, T);
    for (int i = 0; i < nset; i++) {
        int units = (n + 7) / 8;
        y[i] = test_malloc((size_t)(T * n) * sizeof **y);
        sets[i]->low[which](low, scales, q, s, y[i], T, n, k, units / 2, units);
        sets[i]->low[which](low, scales, q, s, y[i], T, n, k, 0, units / 2);
        assert_memory_equal(y[0], y[i], (size_t)(T * n) * sizeof **y);
    }
    double off = 0, all = 0, most[3] = {0.02, 0.06, 0.25};
    for (int t = 0; t < T; t++)
        for (int r = 0; r < n; r++) {
            double want = 0;
            for (int i = 0; i < k; i++)
                want += (double)w[r * k + i] * (double)x[t * k + i];
            off += (want - (double)y[0][t * n + r]) * (want - (double)y[0][t * n + r]);
            all += want * want;
        }
    assert_true(k < 32 || off <= most[which] * most[which] * all);
    for (int i = 0; i < nset; i++)
        test_free(y[i]);
    test_free(q);
    test_free(s);
    test_free(x);
    test_free(low);
    matrix_free(&m);
    test_free(w);
}

static void test_low(void **state)
{
    static const Fmt fmts[] = {FMT_H8, FMT_H6, FMT_H4};
    (void)state;
    for (int i = 0; i < 60; i++)
        check_low(fmts[i % 3], i % 3, 1 + (int)(any() % 60), 1 + (int)(any() % 600), 1 + i % 19);
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
        cmocka_unit_test(test_norms),        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_head_kinds),   cmocka_unit_test(test_head_ragged),
        cmocka_unit_test(test_head_crowded), cmocka_unit_test(test_low),
    };
#ifdef TEST_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[nset++] = &avx2;
#endif
    if (nset == 1)
        print_message("no AVX2 here: those kernels are skipped\n");
    return cmocka_run_group_tests(tests, begin, finish);
}
