/* test_groups.c: ternary weights with a scale for each group of columns: which tensors have such scales,
 * the bytes that layouts.c packs of them, and every kernel over them against a reference of its own that
 * rounds where scalar_q2g.c says. Integer sums are exact and float sums in one order, so each kernel gives
 * the same bits, for every split of the work, number of tokens and place in the batch. Outputs lie between
 * guard bytes, inputs end where malloc says they do (AddressSanitizer looks there).
 */
#ifndef KERNELS_ALONE /* other machines: tests/kernels/run.sh */
#include "ir/ir.h"
#endif

#include "kernel_case.h" /* its cmocka has a macro `fail`, which would hide ir.h's */

#include "../../compiler/codegen-c/kernels/scalar_q2g.c"
#include "../kernels/machine.h"
#if defined(__x86_64__)
#include "bn_cpu.h"
#include <immintrin.h>
FOR("avx2,fma,f16c")
#include "../../compiler/codegen-c/kernels/avx2_q2g.c"
FOR_END
FOR("avx2,fma,f16c,avxvnni")
#include "../../compiler/codegen-c/kernels/avxvnni_q2g.c"
FOR_END
FOR("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#include "../../compiler/codegen-c/kernels/avx512_q2g.c"
FOR_END
#endif

/* ---- the kernels under test ---- */

typedef void (*Quant)(const float *, int8_t *, float *, int, int, int, int, int);
typedef void (*NormQuant)(const float *, const float *, int8_t *, float *, int, float, int, int,
                          int, int);
typedef void (*Matmul)(const uint8_t *, const float *, const int8_t *, const float *, const float *,
                       float *, int, int, int, int, int);
typedef void (*Glu)(const uint8_t *, const float *, const uint8_t *, const float *, const int8_t *,
                    const float *, float *, int, int, int, int, int, int);
typedef struct Kernels {
    const char *name;
    Matmul matmul[3]; /* groups of 64, 128, 256 */
    Glu glu[3];
    Quant quant;
    NormQuant norm_quant;
} Kernels;
#define TABLE(tag, quants)                                                                         \
    static const Kernels kernels##tag = {                                                          \
        #tag,                                                                                      \
        {tmatmul_q2g64##tag, tmatmul_q2g128##tag, tmatmul_q2g256##tag},                            \
        {tglu_q2g64##tag, tglu_q2g128##tag, tglu_q2g256##tag},                                     \
        quant_group##quants,                                                                       \
        rmsnorm_quant_group##quants};
TABLE(, )
static const Kernels *sets[8] = {&kernels};
static int nset = 1;
#if defined(__x86_64__)
TABLE(_avx2, _avx2)
TABLE(_avxvnni, _avx2)
TABLE(_avx512, _avx2)
static void find_sets(void)
{
    const uint32_t isa = bn_cpu(~(uint32_t)0);
    if (isa & BN_ISA_AVX2)
        sets[nset++] = &kernels_avx2;
    if (isa & BN_ISA_AVX_VNNI)
        sets[nset++] = &kernels_avxvnni;
    if (isa & BN_ISA_AVX512_VNNI)
        sets[nset++] = &kernels_avx512;
}
#elif defined(__aarch64__)
TABLE(_neon, )
TABLE(_dotprod, )
static void find_sets(void)
{
    sets[nset++] = &kernels_neon;
    sets[nset++] = &kernels_dotprod; /* under qemu-aarch64 -cpu max */
}
#elif defined(__wasm_simd128__)
TABLE(_simd128, )
static void find_sets(void)
{
    sets[nset++] = &kernels_simd128;
}
#else
static void find_sets(void)
{
}
#endif

/* ---- matrices, packed bit by bit as the picture in layouts.c has it ---- */

typedef struct Matrix {
    int n, k, group, groups;
    int8_t *w;       /* [n x k] */
    uint16_t *scale; /* [n x groups] */
    float unit;
    uint8_t *packed;
} Matrix;

static uint8_t *pack(const Matrix *m)
{
    const size_t wide = ((size_t)m->k + 63) / 64 * 64, tiles = wide / 16 * 64;
    const size_t block = (tiles + (size_t)m->groups * 32 + 4 + 63) / 64 * 64;
    const size_t blocks = ((size_t)m->n + 15) / 16;
    uint8_t *out = (uint8_t *)input(blocks * block);
    memset(out, 0, blocks * block);
    for (size_t r = 0; r < blocks * 16; r++) {
        uint8_t *b = out + r / 16 * block;
        for (size_t c = 0; c < wide; c++) {
            const int code =
                r < (size_t)m->n && c < (size_t)m->k ? m->w[r * (size_t)m->k + c] + 1 : 1;
            uint8_t *at = b + c / 16 * 64 + r % 16 * 4 + c % 4;
            *at = (uint8_t)(*at | code << c % 16 / 4 * 2);
        }
        for (size_t g = 0; r < (size_t)m->n && g < (size_t)m->groups; g++)
            memcpy(b + tiles + g * 32 + r % 16 * 2, &m->scale[r * (size_t)m->groups + g], 2);
        memcpy(b + block - 4, &m->unit, 4);
    }
    return out;
}

/* weight 2: random, else every weight. */
static Matrix matrix(int n, int k, int group, int weight)
{
    Matrix m = {.n = n, .k = k, .group = group, .groups = (k + group - 1) / group};
    m.w = (int8_t *)input((size_t)n * (size_t)k);
    m.scale = (uint16_t *)input((size_t)(n * m.groups) * sizeof(uint16_t));
    m.unit = any() % 2 ? 1.0f : real();
    for (int i = 0; i < n * k; i++)
        m.w[i] = (int8_t)(weight == 2 ? (int)(any() % 3) - 1 : weight);
    for (int i = 0; i < n * m.groups; i++)
        m.scale[i] = (uint16_t)(0x2000 + any() % 0x1c00);
    m.packed = pack(&m);
    return m;
}

typedef struct Rows { /* activations */
    int T, k, group, groups;
    int8_t *q;
    float *s;
} Rows;
enum { RANDOM, LOW, HIGH, MIXED }; /* any, all -128, all 127, the two by turns */

static Rows rows_of(int T, int k, int group, int act)
{
    Rows x = {T, k, group, (k + group - 1) / group, NULL, NULL};
    x.q = (int8_t *)input((size_t)T * (size_t)BN_QPAD(k));
    x.s = (float *)input((size_t)(2 * T * x.groups) * sizeof(float));
    memset(x.q, 0, (size_t)T * (size_t)BN_QPAD(k));
    for (int t = 0; t < T; t++)
        for (int g = 0; g < x.groups; g++) {
            int sum = 0;
            for (int j = g * group; j < k && j < (g + 1) * group; j++) {
                int v = act == LOW     ? -128
                        : act == HIGH  ? 127
                        : act == MIXED ? (j % 2 ? -128 : 127)
                                       : (int8_t)any();
                x.q[t * BN_QPAD(k) + j] = (int8_t)v;
                sum += v;
            }
            x.s[2 * (t * x.groups + g)] = 0.001f + fabsf(real());
            x.s[2 * (t * x.groups + g) + 1] = (float)sum;
        }
    return x;
}

/* What y must be, each step rounded to f32. */
static float value(const Matrix *m, const Rows *x, int r, int t)
{
    volatile float sum = 0;
    for (int g = 0; g < m->groups; g++) {
        int dot = 0;
        for (int j = g * m->group; j < m->k && j < (g + 1) * m->group; j++)
            dot += m->w[r * m->k + j] * x->q[t * BN_QPAD(m->k) + j];
        volatile float unit =
            (float)half_value(m->scale[r * m->groups + g]) * x->s[2 * (t * x->groups + g)];
        volatile float product = (float)dot * unit;
        sum = sum + product;
    }
    volatile float y = sum * m->unit;
    return y;
}

static float *values(const Matrix *m, const Rows *x, const float *res)
{
    float *y = floats(m->n * x->T);
    for (int t = 0; t < x->T; t++)
        for (int r = 0; r < m->n; r++) {
            volatile float v = value(m, x, r, t);
            if (res)
                v = v + res[t * m->n + r];
            y[t * m->n + r] = v;
        }
    return y;
}

static int number_of(int group)
{
    return group == 64 ? 0 : group == 128 ? 1 : 2;
}

/* -0 and +0 are as good as each other: a sum of nothing. */
static void same_values(const char *name, const float *got, const float *want, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], 4) != 0 && !(got[i] == 0 && want[i] == 0))
            fail_msg("%s: value %d is %.9g, not %.9g", name, i, (double)got[i], (double)want[i]);
}

static void check_matmul(int n, int k, int group, int T, int act, int weight)
{
    Matrix m = matrix(n, k, group, weight);
    Rows x = rows_of(T, k, group, act);
    const float *res = reals(n * T), *plain = values(&m, &x, NULL), *want = values(&m, &x, res);
    const int units = (n + 15) / 16, all = n * T;
    for (int i = 0; i < nset; i++) {
        Matmul f = sets[i]->matmul[number_of(group)];
        float *y = floats(all);
        f(m.packed, NULL, x.q, x.s, NULL, y, T, n, k, 0, units);
        same_values(sets[i]->name, y, plain, all);
        memcpy(y, res, (size_t)all * sizeof *y); /* onto the residual, unit by unit */
        for (int u = units - 1; u >= 0; u--)
            f(m.packed, NULL, x.q, x.s, y, y, T, n, k, u, u + 1);
        same_values(sets[i]->name, y, want, all);
        for (int t = 0; t < T; t++) /* each token by itself, and from it on */
            for (int some = 1; some <= T - t; some += T - t > 1 ? T - t - 1 : 1) {
                f(m.packed, NULL, x.q + t * BN_QPAD(k), x.s + 2 * t * x.groups, res + t * n,
                  y + t * n, some, n, k, 0, units);
                same_values(sets[i]->name, y + t * n, want + t * n, some * n);
            }
    }
    done();
}

static void test_products(void **state)
{
    static const int groups[] = {64, 128, 256},
                     ks[] = {1, 16, 63, 64, 65, 127, 128, 130, 256, 257, 640, 1000};
    (void)state;
    for (int g = 0; g < 3; g++)
        for (int i = 0; i < 12; i++)
            check_matmul(1 + (int)(any() % 37), ks[i], groups[g], 1 + (g + i) % 9, RANDOM, 2);
    for (int T = 1; T <= 10; T++)
        check_matmul(17, 320, 64 << T % 3, T, RANDOM, 2);
    check_matmul(33, 200, 128, 67, RANDOM, 2);
    check_matmul(16, 192, 64, 133, RANDOM, 2);
}

static void test_extremes(void **state)
{
    (void)state;
    for (int group = 64; group <= 256; group *= 2)
        for (int act = LOW; act <= MIXED; act++)
            for (int w = -1; w <= 2; w++)
                check_matmul(17, 640, group, 1 + 4 * (w & 1), act, w);
    check_matmul(5, 8640, 256, 5, LOW, 1);
}

static void test_glu(void **state)
{
    (void)state;
    for (int c = 0; c < 18; c++) {
        const int n = 1 + (int)(any() % 40), k = 1 + (int)(any() % 500), group = 64 << c % 3;
        const int T = 1 + c % 7, units = (n + 15) / 16, act = c / 6;
        Matrix gate = matrix(n, k, group, 2), up = matrix(n, k, group, 2);
        Rows x = rows_of(T, k, group, RANDOM);
        const float *a = values(&gate, &x, NULL), *b = values(&up, &x, NULL);
        for (int i = 0; i < nset; i++) {
            float *y = floats(n * T), *z = floats(n * T);
            Glu f = sets[i]->glu[number_of(group)];
            f(gate.packed, NULL, up.packed, NULL, x.q, x.s, y, act, T, n, k, 0, units);
            for (int j = 0; j < n * T; j++) {
                double v = (double)a[j], u = v * v * v, e;
                e = act == BN_GELU ? 1.5957691216057308 * (v + 0.044715 * u) : v;
                v = act == BN_RELU2 ? (v > 0 ? v * v : 0) : v / (1 + exp(-e));
                near_((double)y[j], v * (double)b[j], fabs(v * (double)b[j]),
                      act == BN_GELU ? 1e-5 : 2e-6);
            }
            for (int t = 0; t < 2 * T; t++)
                f(gate.packed, NULL, up.packed, NULL, x.q + t / 2 * BN_QPAD(k),
                  x.s + t / 2 * 2 * x.groups, z + t / 2 * n, act, 1, n, k, t % 2 ? 0 : units / 2,
                  t % 2 ? units / 2 : units);
            same(y, z, n * T);
        }
        done();
    }
}

/* ---- quantization ---- */

static void check_group(const float *v, int n, const int8_t *q, const float *s, float most)
{
    int sum = 0;
    most = most > 1e-30f ? most : 1e-30f;
    assert_true(s[0] == most / 127.0f);
    for (int i = 0; i < n; i++) {
        volatile float factor = 127.0f / most, product;
        product = v[i] * factor;
        assert_int_equal(q[i], (int)nearbyintf(product));
        sum += q[i];
    }
    assert_true(s[1] == (float)sum);
}

static float most_of(const float *v, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    return most;
}

static void check_row(const float *v, int k, int group, int scale, const int8_t *q, const float *s)
{
    for (int at = 0; at < k; at += group) {
        const int n = k - at < group ? k - at : group;
        check_group(v + at, n, q + at, s + at / group * 2,
                    scale == BN_TOKEN ? most_of(v, k) : most_of(v + at, n));
    }
    for (int i = k; i < BN_QPAD(k); i++)
        assert_int_equal(q[i], 0);
}

static void check_quant(int k, int group, int scale, float span)
{
    enum { T = 2 };
    const int pairs = 2 * ((k + group - 1) / group);
    float *x = reals(T * k), *g = reals(k), *v = floats(T * k);
    for (int i = 0; i < T * k; i++)
        x[i] *= i / 64 % 2 ? span : 1.0f;
    rmsnorm(x, g, v, k, 1e-5f, 0, T);
    for (int i = 0; i < nset; i++) {
        int8_t *q = (int8_t *)keep((size_t)(T * BN_QPAD(k)), 1);
        float *s = floats(T * pairs);
        for (int t = T - 1; t >= 0; t--)
            sets[i]->quant(x, q, s, k, group, scale, t, t + 1);
        for (int t = 0; t < T; t++)
            check_row(x + t * k, k, group, scale, q + t * BN_QPAD(k), s + t * pairs);
        sets[i]->norm_quant(x, g, q, s, k, 1e-5f, group, scale, 0, T);
        for (int t = 0; t < T; t++)
            check_row(v + t * k, k, group, scale, q + t * BN_QPAD(k), s + t * pairs);
    }
    done();
}

static void test_quant(void **state)
{
    (void)state;
    for (int k = 1; k <= 400; k += 1 + k % 3)
        check_quant(k, 64 << k % 3, k % 5 == 0 ? BN_TOKEN : BN_GROUP, k % 2 ? 1.0f : 1e4f);
    check_quant(640, 128, BN_GROUP, 0.0f);  /* groups of zeros */
    check_quant(640, 64, BN_GROUP, 1e-36f); /* below the floor */
    check_quant(2560, 256, BN_TOKEN, 1e-7f);
}

#ifndef KERNELS_ALONE
/* ---- which tensors, and their bytes ---- */

static Session session;

/* Rows packed by layouts.c and read by embed give the file's floats, bit for bit. */
static void check_packed(const Tensor *t, int group, Fmt fmt, int one)
{
    GroupScales g = {0};
    int64_t at;
    assert_true(group_scales(t, group, &g));
    assert_int_equal(g.one, one);
    int64_t bytes = layout_bytes(fmt, t->rows, t->cols, &at);
    assert_int_equal(at, 0);
    uint8_t *out = (uint8_t *)input((size_t)bytes);
    float *want = floats((int)(t->rows * t->cols)), *got = floats((int)(t->rows * t->cols));
    memset(out, 0, (size_t)bytes);
    for (int64_t b = layout_blocks(fmt, t->rows); b-- > 0;)
        layout_pack(&session, t, fmt, g.unit, &g, 1.0f, b, b + 1, out);
    tensor_floats(t, 0, t->rows * t->cols, want);
    for (int32_t r = 0; r < (int32_t)t->rows; r++)
        (group == 64    ? embed_q2g64
         : group == 128 ? embed_q2g128
                        : embed_q2g256)(&r, out, got + r * t->cols, (int)t->cols, 0, 1);
    same_values(t->name, got, want, (int)(t->rows * t->cols));
    done();
}

static void draw_blocks(const Tensor *t, uint8_t *data, int same_blocks)
{
    const FmtInfo *f = &fmt_info[t->fmt];
    const int at = t->fmt == FMT_Q2_0 || t->fmt == FMT_PQ2_0 ? 0 : f->bytes - 2;
    uint16_t h = 0;
    for (size_t b = 0; b < t->size / (size_t)f->bytes; b++) {
        uint8_t *block = data + b * (size_t)f->bytes;
        for (int i = 0; i < f->bytes; i++) { /* codes 0, 1, 2 alone */
            uint32_t v = any();
            block[i] = (uint8_t)(v % 3 | v / 3 % 3 << 2 | v / 9 % 3 << 4 | v / 27 % 3 << 6);
        }
        if (b % (size_t)same_blocks == 0)
            h = (uint16_t)(0x1000 + any() % 0x2000);
        memcpy(block + at, &h, 2);
    }
}

static void test_files(void **state)
{
    static const struct {
        Fmt fmt;
        int same, group, wider; /* wider: a group that the blocks do not allow; 0: none */
    } cases[] = {{FMT_Q2_0, 1, 64, 128},   {FMT_Q2_0, 2, 128, 256}, {FMT_Q2_0, 4, 256, 0},
                 {FMT_PQ2_0, 1, 128, 256}, {FMT_PQ2_0, 1, 64, 0},   {FMT_TQ2_0, 1, 256, 0},
                 {FMT_TQ2_0, 1, 64, 0}};
    static const Fmt packed[] = {FMT_Q2R16G64, FMT_Q2R16G128, FMT_Q2R16G256};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tensor t = {"file", cases[i].fmt, 19, 768, NULL, 0};
        t.size = fmt_extent(t.fmt, t.rows, t.cols);
        uint8_t *data = (uint8_t *)malloc(t.size);
        t.data = data;
        draw_blocks(&t, data, cases[i].same);
        if (cases[i].wider)
            assert_false(group_scales(&t, cases[i].wider, &(GroupScales){0}));
        check_packed(&t, cases[i].group, packed[number_of(cases[i].group)], 0);
        free(data);
    }
}

/* Floats: one magnitude a group, of 11 bits, in any scale. */
static void test_floats(void **state)
{
    enum { ROWS = 17, COLS = 200 };
    static float x[ROWS * COLS];
    Tensor t = {"floats", FMT_F32, ROWS, COLS, (const uint8_t *)x, sizeof x};
    GroupScales g = {0};
    (void)state;
    for (int e = -60; e <= 20; e += 20) {
        for (int i = 0; i < ROWS * COLS; i++) {
            float s = ldexpf((float)(1024 + i / COLS * 7 + i % COLS / 64), e);
            x[i] = s * (float)((int)(any() % 3) - 1);
        }
        check_packed(&t, 64, FMT_Q2R16G64, 0);
        assert_false(group_scales(&t, 128, &g));
    }
    for (int i = 0; i < ROWS * COLS; i++) /* one scale of 24 bits: a tensor's */
        x[i] = 0.1f * (float)((int)(any() % 3) - 1);
    check_packed(&t, 128, FMT_Q2R16G128, 1);
    x[COLS] = 0.2f; /* several, and no 11 bits hold them */
    for (int j = 1; j < 64; j++)
        x[COLS + j] = 0;
    assert_false(group_scales(&t, 64, &g));
    x[COLS] = NAN;
    assert_false(group_scales(&t, 64, &g));
}

#endif

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_glu),      cmocka_unit_test(test_quant),
#ifndef KERNELS_ALONE
        cmocka_unit_test(test_files),    cmocka_unit_test(test_floats),
#endif
    };
    find_sets();
#ifndef KERNELS_ALONE
    session_start(&session, NULL);
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
#ifndef KERNELS_ALONE
    session_end(&session);
#endif
    return failed;
}
