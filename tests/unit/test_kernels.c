/* test_kernels.c: every C kernel against naive references, those of this machine side by
 * side.
 *
 * Integer sums must be exact; f32 results must be right to rounding and bit-exact for
 * every split of the work, every number of tokens and every place in the batch. Outputs lie
 * between guard bytes, inputs end where malloc says they do (AddressSanitizer looks there).
 */
#include "kernel_case.h"

#include "../../compiler/codegen-c/kernels/scalar.c"

/* ---- the kernels under test ---- */

typedef void (*Embed)(const int32_t *, const void *, float *, int, int, int);
typedef void (*Linear)(const void *, const float *, float *, int, int, int, int, int);
typedef void (*Matmul)(const uint8_t *, const float *, const int8_t *, const float *, const float *,
                       float *, int, int, int, int, int);
typedef void (*Glu)(const uint8_t *, const float *, const uint8_t *, const float *, const int8_t *,
                    const float *, float *, int, int, int, int, int, int);
typedef struct Literal { /* arguments of the copies below: 13 rows, k 1300 */
    const uint8_t *w;
    const void *half;
    const int8_t *q;
    const float *c, *s, *x, *g;
    float *y;
    int8_t *codes;
} Literal;
typedef struct Kernels {
    const char *name;
    Embed embed_f16;
    Linear linear[4]; /* by the formats below */
    Matmul matmul[2]; /* [blocked] */
    Glu glu[2];
    void (*quant)(const float *, int8_t *, float *, int, int, int);
    void (*norm_quant)(const float *, const float *, int8_t *, float *, int, float, int, int);
    void (*literal)(const Literal *);
} Kernels;
enum { F32, F16, BF16, Q8_0, FORMATS };

/* The table of an instruction set, and calls whose sizes are literals: specialised copies. `dots`
 * is the tag of its products of integers. */
#define TABLE(tag, dots)                                                                           \
    static void literal##dots(const Literal *a)                                                    \
    {                                                                                              \
        tmatmul_q2##dots(a->w, a->c, a->q, a->s, a->x, a->y, 1, 13, 1300, 0, 4);                   \
        linear_f16##tag(a->half, a->x, a->y + 13, 1, 13, 1300, 0, 13);                             \
        rmsnorm_quant##tag(a->x, a->g, a->codes, a->y + 26, 1300, 1e-5f, 0, 1);                    \
    }                                                                                              \
    static const Kernels kernels##dots = {                                                         \
        #dots,                                                                                     \
        embed_f16##tag,                                                                            \
        {linear_f32##tag, linear_f16##tag, linear_bf16##tag, linear_q8_0##tag},                    \
        {tmatmul_q2##dots, tmatmul_q2b##dots},                                                     \
        {tglu_q2##dots, tglu_q2b##dots},                                                           \
        quant##tag,                                                                                \
        rmsnorm_quant##tag,                                                                        \
        literal##dots};

#include "kernel_sets.h"

/* ---- ternary ---- */

typedef struct Ternary {
    int n, k, T, scales; /* scales a row */
    int8_t *w, *rows;    /* [n x k], [T x BN_QPAD(k)] */
    uint8_t *packed;
    float *c[2], *s; /* c[blocked] */
} Ternary;
enum { RANDOM, LOW, HIGH, MIXED }; /* activations: any, all -128, all 127, the two by turns */

/* The layout, bit by bit. */
static uint8_t *pack(const int8_t *w, int n, int k)
{
    const int steps = BN_QPAD(k) / 128, blocks = (n + 3) / 4;
    uint8_t *out = (uint8_t *)input((size_t)blocks * (size_t)steps * 128);
    for (int r = 0; r < 4 * blocks; r++)
        for (int j = 0; j < steps * 128; j++) {
            int code = r < n && j < k ? w[r * k + j] + 1 : 1, in = j % 128;
            size_t at = ((size_t)(r / 4) * (size_t)steps + (size_t)(j / 128)) * 128 +
                        (size_t)(r % 4 * 32 + in % 32);
            if (in < 32)
                out[at] = 0;
            out[at] = (uint8_t)(out[at] | code << 2 * (in / 32));
        }
    return out;
}

/* weight 2: random, else every weight. */
static Ternary ternary(int n, int k, int T, int act, int weight)
{
    Ternary m = {n, k, T, BN_Q2_SCALES(k), NULL, NULL, NULL, {NULL, NULL}, NULL};
    m.w = (int8_t *)input((size_t)n * (size_t)k);
    m.rows = (int8_t *)input((size_t)T * (size_t)BN_QPAD(k));
    m.c[0] = (float *)input(sizeof(float));
    m.c[1] = (float *)input((size_t)(n * m.scales) * sizeof(float));
    m.s = (float *)input((size_t)T * sizeof(float));
    for (int i = 0; i < n * k; i++)
        m.w[i] = (int8_t)(weight == 2 ? (int)(any() % 3) - 1 : weight);
    memset(m.rows, 0, (size_t)T * (size_t)BN_QPAD(k));
    for (int t = 0; t < T; t++)
        for (int j = 0; j < k; j++) {
            int v = act == LOW     ? -128
                    : act == HIGH  ? 127
                    : act == MIXED ? (j % 2 ? -128 : 127)
                                   : (int8_t)any();
            m.rows[t * BN_QPAD(k) + j] = (int8_t)v;
        }
    m.packed = pack(m.w, n, k);
    m.c[0][0] = 1.0f;
    for (int i = 0; i < n * m.scales; i++)
        m.c[1][i] = 1.0f;
    for (int t = 0; t < T; t++)
        m.s[t] = 1.0f;
    return m;
}

static void scale_ternary(Ternary *m)
{
    m->c[0][0] = 0.5f + fabsf(real());
    for (int i = 0; i < m->n * m->scales; i++)
        m->c[1][i] = real();
    for (int t = 0; t < m->T; t++)
        m->s[t] = 1.0f + 50.0f * fabsf(real());
}

static int64_t part_sum(const Ternary *m, int r, int t, int from, int to)
{
    int64_t sum = 0;
    for (int j = from; j < to && j < m->k; j++)
        sum += (int64_t)m->w[r * m->k + j] * m->rows[t * BN_QPAD(m->k) + j];
    return sum;
}

static double value(const Ternary *m, int r, int t, int blocked, double *size)
{
    double sum = 0.0;
    *size = 0.0;
    for (int b = 0; b < (blocked ? m->scales : 1); b++) {
        double c = blocked ? m->c[1][r * m->scales + b] : m->c[0][0];
        double v =
            c * (double)part_sum(m, r, t, blocked ? 256 * b : 0, blocked ? 256 * b + 256 : m->k);
        sum += v;
        *size += fabs(v);
    }
    *size /= m->s[t];
    return sum / m->s[t];
}

static void check_exact(int n, int k, int T, int act, int weight)
{
    Ternary m = ternary(n, k, T, act, weight);
    for (int i = 0; i < nset; i++)
        for (int b = 0; b < 2; b++) {
            float *y = floats(T * n);
            sets[i]->matmul[b](m.packed, m.c[b], m.rows, m.s, NULL, y, T, n, k, 0, (n + 3) / 4);
            for (int t = 0; t < T; t++)
                for (int r = 0; r < n; r++)
                    if ((double)y[t * n + r] != (double)part_sum(&m, r, t, 0, k))
                        fail_msg("tmatmul_q2%s%s %d x %d, T %d: y[%d][%d] is %f", b ? "b" : "",
                                 sets[i]->name, n, k, T, t, r, (double)y[t * n + r]);
        }
    done();
}

static void test_ternary_sums(void **state)
{
    static const int ks[] = {1, 31, 127, 128, 129, 256, 385};
    (void)state;
    for (int k = 1; k <= 400; k++)
        check_exact(1 + k % 13, k, 1 + k / 3 % 9, RANDOM, 2);
    for (int n = 1; n <= 13; n++)
        for (int T = 1; T <= 9; T++)
            check_exact(n, ks[(n + T) % 7], T, RANDOM, 2);
    check_exact(5, 8640, 5, RANDOM, 2);
    check_exact(3, 200, 133, RANDOM, 2);
}

static void test_ternary_extremes(void **state)
{
    static const int ks[] = {128, 1024, 1025, 1152, 8640, 16384};
    (void)state;
    for (int i = 0; i < 6; i++)
        for (int act = LOW; act <= MIXED; act++)
            for (int w = -1; w <= 2; w++)
                check_exact(5, ks[i], 5, act, w);
}

static void check_matmul(Ternary *m, int blocked)
{
    const int n = m->n, T = m->T, units = (n + 3) / 4, all = T * n;
    const float *res = reals(all);
    float *first = NULL;
    for (int i = 0; i < nset; i++) {
        Matmul f = sets[i]->matmul[blocked];
        float *y = floats(all), *z = floats(all);
        f(m->packed, m->c[blocked], m->rows, m->s, res, y, T, n, m->k, 0, units);
        for (int j = 0; j < all; j++) {
            double size, want = value(m, j % n, j / n, blocked, &size) + (double)res[j];
            near_(y[j], want, size + fabs((double)res[j]), 2e-7);
        }
        memcpy(z, res, (size_t)all * sizeof *z); /* onto the residual */
        f(m->packed, m->c[blocked], m->rows, m->s, z, z, T, n, m->k, 0, units);
        same(y, z, all);
        for (int threads = 2; threads <= 5; threads++) {
            memset(z, 0x5a, (size_t)all * sizeof *z);
            for (int t = threads - 1; t >= 0; t--)
                f(m->packed, m->c[blocked], m->rows, m->s, res, z, T, n, m->k, units * t / threads,
                  units * (t + 1) / threads);
            same(y, z, all);
        }
        for (int from = 0; from < T; from++) /* each token alone, then in twos, threes ... */
            for (int some = 1; some <= T - from && some <= 6; some++) {
                f(m->packed, m->c[blocked], m->rows + from * BN_QPAD(m->k), m->s + from,
                  res + from * n, z, some, n, m->k, 0, units);
                same(y + from * n, z, some * n);
            }
        first = first ? first : y;
        same(first, y, all); /* AVX2 as scalar */
    }
    done();
}

static void test_matmul(void **state)
{
    (void)state;
    for (int n = 1; n <= 13; n++)
        for (int b = 0; b < 2; b++) {
            Ternary m = ternary(n, 1 + (int)(any() % 700), 1 + n * 5 % 9, RANDOM, 2);
            scale_ternary(&m);
            check_matmul(&m, b);
            m = ternary(n, 40 + 128 * n, n == 13 ? 70 : 4 + n % 3, RANDOM, 2);
            scale_ternary(&m);
            check_matmul(&m, b);
        }
}

static double activate(double x, int act)
{
    if (act == BN_GELU)
        return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    return act == BN_SILU ? x / (1.0 + exp(-x)) : x > 0.0 ? x * x : 0.0;
}

static void check_glu(const Ternary *m, const Ternary *u, int blocked, int act)
{
    const int n = m->n, T = m->T, units = (n + 3) / 4, all = T * n;
    float *first = NULL;
    for (int i = 0; i < nset; i++) {
        Glu f = sets[i]->glu[blocked];
        float *y = floats(all), *z = floats(all);
        f(m->packed, m->c[blocked], u->packed, u->c[blocked], m->rows, m->s, y, act, T, n, m->k, 0,
          units);
        for (int j = 0; j < all; j++) {
            double gs, us, g = value(m, j % n, j / n, blocked, &gs);
            double v = value(u, j % n, j / n, blocked, &us);
            near_(y[j], activate(g, act) * v, (gs * (gs + 1.0) + 1.0) * us, 4e-7);
        }
        for (int t = 0; t < 2 * T; t++)
            f(m->packed, m->c[blocked], u->packed, u->c[blocked], m->rows + t / 2 * BN_QPAD(m->k),
              m->s + t / 2, z + t / 2 * n, act, 1, n, m->k, t % 2 ? 0 : units / 2,
              t % 2 ? units / 2 : units);
        same(y, z, all);
        first = first ? first : y;
        if (act == BN_RELU2)
            same(first, y, all);
    }
}

static void test_glu(void **state)
{
    (void)state;
    for (int n = 1; n <= 13; n++)
        for (int b = 0; b < 6; b++) {
            int k = 1 + (int)(any() % 600), T = 1 + (n + b) % 9;
            Ternary m = ternary(n, k, T, RANDOM, 2), u = ternary(n, k, T, RANDOM, 2);
            scale_ternary(&m);
            scale_ternary(&u);
            u.rows = m.rows;
            u.s = m.s;
            check_glu(&m, &u, b / 3, b % 3);
            done();
        }
}

/* ---- quantization and norms ---- */

static double norm_unit(const float *x, int k, double eps)
{
    double sum = 0.0;
    for (int i = 0; i < k; i++)
        sum += (double)x[i] * x[i];
    return 1.0 / sqrt(sum / k + eps);
}

/* What quant must give, from the f32 values v; `volatile` rounds the product. */
static void check_codes(const float *v, const int8_t *q, float s, int k)
{
    float most = 1e-5f;
    for (int i = 0; i < k; i++)
        most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    assert_true(s == 127.0f / most);
    for (int i = 0; i < k; i++) {
        volatile float product = v[i] * s;
        assert_int_equal(q[i], (int)nearbyintf(product));
    }
    for (int i = k; i < BN_QPAD(k); i++)
        assert_int_equal(q[i], 0);
}

static void check_quant(int k, int T, float span)
{
    float *x = reals(T * k), *g = reals(k), *v = floats(T * k), *s = floats(T);
    int8_t *q = (int8_t *)keep((size_t)(T * BN_QPAD(k)), 1);
    for (int i = 0; i < T * k; i++)
        x[i] *= span;
    rmsnorm(x, g, v, k, 1e-5f, 0, T);
    for (int t = 0; t < T; t++)
        for (int i = 0; i < k; i++) {
            double want = x[t * k + i] * norm_unit(x + t * k, k, 1e-5) * (double)g[i];
            near_(v[t * k + i], want, fabs(want), 4e-7);
        }
    for (int i = 0; i < nset; i++) {
        for (int t = T - 1; t >= 0; t--)
            sets[i]->quant(x, q, s, k, t, t + 1);
        for (int t = 0; t < T; t++)
            check_codes(x + t * k, q + t * BN_QPAD(k), s[t], k);
        memset(q, 0x77, (size_t)(T * BN_QPAD(k)));
        sets[i]->norm_quant(x, g, q, s, k, 1e-5f, 0, T);
        for (int t = 0; t < T; t++)
            check_codes(v + t * k, q + t * BN_QPAD(k), s[t], k);
    }
    done();
}

static void test_quant(void **state)
{
    (void)state;
    for (int k = 1; k <= 300; k++)
        check_quant(k, 1 + k % 3, k % 2 ? 1.0f : 1e4f);
    check_quant(2560, 2, 1.0f);
    check_quant(8640, 1, 1e-3f);
    check_quant(77, 2, 1e-7f); /* below the floor */
    check_quant(130, 2, 0.0f); /* all zero */
}

/* max 127 makes s exactly 1: halves go to the even side. */
static void test_quant_halves(void **state)
{
    static const float in[] = {127.0f, 0.5f,   1.5f,    2.5f,    -0.5f,   -1.5f,       -2.5f,
                               126.5f, 125.5f, -126.5f, -125.5f, -127.0f, 0.49999997f, -0.0f};
    static const int want[] = {127, 0, 2, 2, 0, -2, -2, 126, 126, -126, -126, -127, 0, 0};
    (void)state;
    for (int i = 0; i < nset; i++) {
        int8_t *q = (int8_t *)keep(BN_QPAD(14), 1);
        float *s = floats(1);
        sets[i]->quant(in, q, s, 14, 0, 1);
        assert_true(s[0] == 1.0f);
        for (int j = 0; j < 14; j++)
            assert_int_equal(q[j], want[j]);
        done();
    }
}

/* ---- float weights ---- */

static uint16_t to_half(float x) /* truncates; 0 where f16 is subnormal */
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return (uint16_t)((b >> 16 & 0x8000u) |
                      ((b >> 23 & 255u) < 113u ? 0u : (b >> 13 & 0x3ffffu) - (112u << 10)));
}

static void test_conversions(void **state)
{
    uint16_t *all = (uint16_t *)input(65536 * 2);
    int32_t *token = (int32_t *)input(65536 * sizeof *token);
    float *y = floats(65536), *z = floats(65536);
    (void)state;
    for (int i = 0; i < 65536; i++) {
        all[i] = (uint16_t)i;
        token[i] = i;
    }
    embed_f16(token, all, y, 1, 0, 65536);
    for (int i = 0; i < 65536; i++) {
        if ((i >> 10 & 31) != 31)
            assert_true(y[i] == half_value((uint16_t)i) && !signbit(y[i]) == !(i & 0x8000));
        else
            assert_true(i & 1023 ? isnan(y[i]) : isinf(y[i]) && !signbit(y[i]) == !(i & 0x8000));
    }
    for (int i = 1; i < nset; i++) {
        sets[i]->embed_f16(token, all, z, 1, 0, 65536);
        same(y, z, 65536);
    }
    embed_bf16(token, all, y, 1, 0, 65536);
    for (int i = 0; i < 65536; i++) {
        uint32_t bits = (uint32_t)i << 16;
        same(&y[i], &bits, 1);
    }
    done();
}

/* Random weights of a format, and their values. */
static void *weights(int format, int n, int k, double *v)
{
    static const int bytes[FORMATS] = {4, 2, 2, 0};
    int row = format == Q8_0 ? k / 32 * 34 : k * bytes[format];
    uint8_t *w = (uint8_t *)input((size_t)n * (size_t)row);
    for (int i = 0; i < n * k; i++) {
        uint8_t *at = format == Q8_0 ? w + i / 32 * 34 : w + i * bytes[format];
        float x = real();
        uint32_t bits;
        uint16_t h = to_half(x);
        memcpy(&bits, &x, sizeof bits);
        if (format == BF16)
            h = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        if (format == BF16)
            memcpy(&x, &bits, sizeof x);
        if (format == F32)
            memcpy(at, &x, sizeof x);
        else if (format != Q8_0 || i % 32 == 0)
            memcpy(at, &h, sizeof h);
        v[i] = format == F16 ? half_value(h) : (double)x;
        if (format == Q8_0) {
            memcpy(&h, at, sizeof h);
            at[2 + i % 32] = (uint8_t)any();
            v[i] = half_value(h) * (int8_t)at[2 + i % 32];
        }
    }
    return w;
}

static void check_linear(int format, int n, int k, int T)
{
    double *v = (double *)input((size_t)(n * k) * sizeof *v);
    void *w = weights(format, n, k, v);
    float *x = reals(T * k);
    for (int i = 0; i < nset; i++) {
        Linear f = sets[i]->linear[format];
        float *y = floats(T * n), *z = floats(T * n);
        f(w, x, y, T, n, k, 0, n);
        for (int j = 0; j < T * n; j++) {
            double sum = 0.0, size = 0.0;
            for (int e = 0; e < k; e++) {
                double p = v[j % n * k + e] * x[j / n * k + e];
                sum += p;
                size += fabs(p);
            }
            near_(y[j], sum, size, 3e-7);
        }
        for (int threads = 2; threads <= 5; threads++) {
            for (int t = 0; t < threads; t++)
                f(w, x, z, T, n, k, n * t / threads, n * (t + 1) / threads);
            same(y, z, T * n);
        }
        for (int t = 0; t < T; t++)
            f(w, x + t * k, z + t * n, 1, n, k, 0, n);
        same(y, z, T * n);
    }
    done();
}

static void test_linear(void **state)
{
    (void)state;
    for (int format = 0; format < FORMATS; format++) {
        for (int k = 1; k <= 100; k++)
            check_linear(format, 1 + k % 13, format == Q8_0 ? k % 9 * 32 + 32 : k, 1 + k % 5);
        check_linear(format, 9, 2560, 3);
    }
}

static void test_embed(void **state)
{
    static const int32_t token[3] = {4, 0, 2};
    static const Embed embeds[FORMATS] = {embed_f32, NULL, embed_bf16, embed_q8_0};
    (void)state;
    for (int format = 0; format < FORMATS; format++)
        for (int d = 32; d <= 96; d += format == Q8_0 ? 32 : 5) {
            double *v = (double *)input((size_t)(5 * d) * sizeof *v);
            void *w = weights(format, 5, d, v);
            for (int i = 0; i < (format == F16 ? nset : 1); i++) {
                Embed f = format == F16 ? sets[i]->embed_f16 : embeds[format];
                float *y = floats(3 * d);
                f(token, w, y, d, 1, 3);
                f(token, w, y, d, 0, 1);
                for (int j = 0; j < 3 * d; j++)
                    assert_true(y[j] == v[token[j / d] * d + j % d]);
            }
            done();
        }
}

/* ---- element by element ---- */

static void test_elementwise(void **state)
{
    enum { T = 5, D = 13, N = T * D, ONE = 4 };
    static void (*const one[ONE])(const float *, float *, int, int, int) = {relu2, silu, gelu,
                                                                            copy};
    static void (*const two[3])(const float *, const float *, float *, int, int, int) = {mul, add,
                                                                                         scale};
    float *a = reals(N), *b = reals(N), *y = floats(N), *z = floats(N);
    (void)state;
    for (int f = 0; f < ONE + 3; f++) {
        memcpy(z, a, sizeof(float) * N);
        for (int t = 0; t < T; t++) { /* into y, and in place but for copy */
            if (f < ONE)
                one[f](a, y, D, t, t + 1);
            if (f < ONE - 1)
                one[f](z, z, D, t, t + 1);
            if (f >= ONE)
                two[f - ONE](a, b, y, D, t, t + 1), two[f - ONE](z, b, z, D, t, t + 1);
        }
        for (int i = 0; i < N; i++) {
            double x = a[i], v = b[i];
            double want[] = {
                activate(x, BN_RELU2), activate(x, BN_SILU), activate(x, BN_GELU), x, x * v, x + v,
                x * (double)b[0]};
            near_(y[i], want[f], fabs(want[f]), f == 2 ? 2e-6 : f == 1 ? 3e-7 : 6e-8);
        }
        same(y, z, N);
    }
    for (int layer = 0; layer < 8; layer++) {
        pick(a, b, y, D, 3, layer, 0, T);
        same(y, layer == 2 || layer == 5 ? b : a, N);
    }
    last(a, y, T, D, 0, 1);
    last(b, y, T, D, 0, 0);
    last(b, y, T, D, 1, 1);
    same(y, a + (T - 1) * D, D);
    done();
}

/* Each head as rmsnorm has it alone; in any shares. */
static void test_head_norm(void **state)
{
    (void)state;
    for (int d = 1; d < 40; d += 7) {
        enum { T = 3, HEADS = 4 };
        const int n = T * HEADS * d;
        float *x = reals(n), *g = reals(d), *y = floats(n), *z = floats(n);
        head_norm(x, g, y, T, HEADS, HEADS * d, 1e-6f, 0, 1);
        head_norm(x, g, y, T, HEADS, HEADS * d, 1e-6f, 1, HEADS);
        rmsnorm(x, g, z, d, 1e-6f, 0, T * HEADS);
        same(y, z, n);
        head_norm(x, g, x, T, HEADS, HEADS * d, 1e-6f, 0, HEADS);
        same(x, z, n);
        done();
    }
}

/* ---- positions ---- */

static void test_rope_table(void **state)
{
    (void)state;
    for (int dim = 2; dim <= 20; dim += 6) {
        float *y = floats(7 * dim);
        rope_table(100000, y, dim, 500000.0f, 3, 7);
        rope_table(100000, y, dim, 500000.0f, 0, 3);
        for (int i = 0; i < 7 * dim; i++) {
            double angle = (100000 + i / dim) * pow(500000.0, -2.0 * (i % dim / 2) / dim);
            near_(y[i], i % 2 ? sin(angle) : cos(angle), 1.0, 6e-8);
        }
        done();
    }
}

static void check_rope(int T, int heads, int head_dim, int rot, int mode)
{
    const int width = heads * head_dim, all = T * width, half = rot / 2;
    float *x = reals(all), *table = floats(T * rot + 1), *y = floats(all), *z = floats(all);
    rope_table(5, table, rot, 10000.0f, 0, T);
    memcpy(z, x, (size_t)all * sizeof *z);
    for (int h = heads - 1; h >= 0; h--) {
        rope(x, table, y, T, heads, width, rot, mode, h, h + 1);
        rope(z, table, z, T, heads, width, rot, mode, h, h + 1);
    }
    same(y, z, all);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < heads; h++) {
            const float *in = x + t * width + h * head_dim, *out = y + t * width + h * head_dim;
            for (int j = 0; j < half; j++) {
                int a = mode == BN_NEOX ? j : 2 * j, b = mode == BN_NEOX ? j + half : 2 * j + 1;
                double c = table[t * rot + 2 * j], s = table[t * rot + 2 * j + 1];
                near_(out[a], in[a] * c - in[b] * s, 1.5, 6e-8);
                near_(out[b], in[a] * s + in[b] * c, 1.5, 6e-8);
            }
            same(in + 2 * half, out + 2 * half, head_dim - 2 * half);
        }
    done();
}

static void test_rope(void **state)
{
    (void)state;
    for (int mode = BN_NEOX; mode <= BN_NORM; mode++)
        for (int head_dim = 1; head_dim <= 70; head_dim += head_dim < 40 ? 1 : 15)
            for (int rot = head_dim / 4 * 2; rot <= head_dim; rot += 2)
                check_rope(1 + rot % 4, 1 + rot % 6, head_dim, rot, mode);
}

/* ---- specialised copies ---- */

static void test_literal(void **state)
{
    (void)state;
    for (int i = 0; i < nset; i++) {
        Ternary m = ternary(13, 1300, 1, RANDOM, 2);
        double *values = (double *)input(13 * 1300 * sizeof *values);
        float *x = reals(1300), *g = reals(1300), *y = floats(27);
        Literal a = {m.packed,   weights(F16, 13, 1300, values),  m.rows, m.c[0], m.s, x, g,
                     floats(27), (int8_t *)keep(BN_QPAD(1300), 1)};
        int8_t *codes = (int8_t *)keep(BN_QPAD(1300), 1);
        scale_ternary(&m);
        sets[i]->literal(&a);
        sets[i]->matmul[0](a.w, a.c, a.q, a.s, x, y, 1, 13, 1300, 0, 4);
        sets[i]->linear[F16](a.half, x, y + 13, 1, 13, 1300, 0, 13);
        sets[i]->norm_quant(x, g, codes, y + 26, 1300, 1e-5f, 0, 1);
        same(a.y, y, 27);
        same(a.codes, codes, BN_QPAD(1300));
        done();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ternary_sums), cmocka_unit_test(test_ternary_extremes),
        cmocka_unit_test(test_matmul),       cmocka_unit_test(test_glu),
        cmocka_unit_test(test_quant),        cmocka_unit_test(test_quant_halves),
        cmocka_unit_test(test_conversions),  cmocka_unit_test(test_embed),
        cmocka_unit_test(test_linear),       cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_head_norm),    cmocka_unit_test(test_rope_table),
        cmocka_unit_test(test_rope),         cmocka_unit_test(test_literal),
    };
    nset = find_sets();
    if (nset == 1)
        print_message("plain C alone: this machine has no other kernels\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
