/* neon_q2.c: 2-bit ternary weights (Q2R4) by int8 activations on AArch64.
 *
 * One idea: everything but the integer dot products is the same on every AArch64 processor, so it
 * stands here once, and takes the function that makes them. Codes 0, 1, 2 are multiplied as they
 * are stored; the sum of the activations is taken off at the end.
 */
#ifndef BN_KERNELS_NEON
#include "neon.c"
#endif
#define BN_KERNELS_NEON_Q2

//@ q2_neon : q2_layout neon_load neon_exp
/* A product: w, c, q, s, n, k as in tmatmul_q2; `in` [T x N] is what `how` needs, or NULL: zeros;
 * y may be `in`. */
enum { Q2_GATE, Q2_ADD, Q2_ACT }; /* y = v, v + in, act(in) * v for act = how - Q2_ACT */
typedef struct Q2 {
    const uint8_t *w;
    const float *c;
    const int8_t *q;
    const float *s, *in;
    float *y;
    int how, n, k, blocked;
} Q2;

/* sum[t], lane r: sum_k code * q over `steps` steps, for the block of 4 rows at w and `toks` (1 or
 * 4) tokens, rows of q of `stride` bytes. */
typedef void (*Q2Sums)(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                       int32x4_t *sum);

/* Lane i is the sum of the lanes of operand i. */
BN_INLINE int32x4_t q2_across(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d)
{
    return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

/* The sum of q over `steps` steps of one token, to be taken off. */
BN_INLINE int32_t q2_bias(const int8_t *q, int steps)
{
    int32x4_t a = vdupq_n_s32(0), b = a;

    for (int i = 0; i < 128 * steps; i += 32) {
        a = vpadalq_s16(a, vpaddlq_s8(vld1q_s8(q + i)));
        b = vpadalq_s16(b, vpaddlq_s8(vld1q_s8(q + i + 16)));
    }
    return vaddvq_s32(vaddq_s32(a, b));
}

/* gelu_arg of scalar.c. */
BN_INLINE float32x4_t gelu4(float32x4_t x)
{
    float32x4_t cube = vmulq_f32(vmulq_f32(x, x), x);
    return vmulq_n_f32(vaddq_f32(x, vmulq_n_f32(cube, 0.044715f)), 1.5957691216057308f);
}

/* Four values of one token, bit-exact with q2_value of scalar.c: rows 0 and 1, rows 2 and 3. */
typedef struct Q2Value {
    float64x2_t low, high;
} Q2Value;

BN_INLINE Q2Value q2_doubles(int32x4_t sum)
{
    Q2Value v = {vcvtq_f64_s64(vmovl_s32(vget_low_s32(sum))),
                 vcvtq_f64_s64(vmovl_s32(vget_high_s32(sum)))};
    return v;
}

/* Q2R4: sum * (c[0] / s). */
BN_INLINE Q2Value q2_scaled(int32x4_t sum, float unit)
{
    Q2Value v = q2_doubles(sum);
    v.low = vmulq_n_f64(v.low, (double)unit);
    v.high = vmulq_n_f64(v.high, (double)unit);
    return v;
}

/* Q2R4B: v + c[r][b] * sum, c at the first row of the block, of which `rows` are real; the
 * product of 24 by 17 bits is exact. At last q2_over: v / s. */
BN_INLINE Q2Value q2_more(Q2Value v, int32x4_t sum, const float *c, int b, int rows, int k)
{
    const size_t next = BN_Q2_SCALES((size_t)k);
    const Q2Value u = q2_doubles(sum);
    double unit[4];

    for (int r = 0; r < 4; r++)
        unit[r] = r < rows ? (double)c[(size_t)r * next + (size_t)b] : 0.0;
    v.low = vfmaq_f64(v.low, u.low, vld1q_f64(unit));
    v.high = vfmaq_f64(v.high, u.high, vld1q_f64(unit + 2));
    return v;
}

BN_INLINE Q2Value q2_over(Q2Value v, float s)
{
    v.low = vdivq_f64(v.low, vdupq_n_f64((double)s));
    v.high = vdivq_f64(v.high, vdupq_n_f64((double)s));
    return v;
}

/* Writes the real rows of block u for token t. */
BN_INLINE void q2_put(const Q2 *m, int u, int t, Q2Value v)
{
    const size_t at = (size_t)t * (size_t)m->n + 4 * (size_t)u;
    const int rows = m->n - 4 * u;
    const float32x4_t in = m->in ? load4(m->in + at, 0, rows) : vdupq_n_f32(0.0f);
    float32x4_t y;

    if (m->how == Q2_ADD) {
        v.low = vaddq_f64(v.low, vcvt_f64_f32(vget_low_f32(in)));
        v.high = vaddq_f64(v.high, vcvt_high_f64_f32(in));
    }
    y = vcvt_high_f32_f64(vcvt_f32_f64(v.low), v.high);
    if (m->how > Q2_ACT + BN_RELU2) {
        float32x4_t z = m->how == Q2_ACT + BN_GELU ? gelu4(in) : in;
        float32x4_t below = vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(z)));
        y = vmulq_f32(vdivq_f32(in, below), y);
    } else if (m->how == Q2_ACT + BN_RELU2) {
        float32x4_t gate = vmaxnmq_f32(in, vdupq_n_f32(0.0f));
        y = vmulq_f32(vmulq_f32(gate, gate), y);
    }
    store4(m->y + at, 0, rows, y);
}

/* Block u by tokens [t, t + toks), toks 1 or 4; bias[i]: sum of q of token t + i. */
BN_INLINE void q2_tile(const Q2 *m, int u, int t, int toks, const int32_t *bias, Q2Sums sums)
{
    const size_t stride = BN_QPAD((size_t)m->k);
    const uint8_t *w = m->w + (size_t)u * stride;
    const int8_t *q = m->q + (size_t)t * stride;
    const int steps = BN_Q2_STEPS(m->k), rows = m->n - 4 * u;
    int32x4_t sum[4];
    Q2Value v[4];

    if (!m->blocked) {
        sums(w, q, stride, steps, toks, sum);
        for (int i = 0; i < toks; i++)
            q2_put(m, u, t + i,
                   q2_scaled(vsubq_s32(sum[i], vdupq_n_s32(bias[i])), m->c[0] / m->s[t + i]));
        return;
    }
    for (int i = 0; i < toks; i++)
        v[i].low = v[i].high = vdupq_n_f64(0.0);
    for (int j = 0; j < steps; j += 2, w += 256, q += 256) {
        const int part = steps - j < 2 ? steps - j : 2;
        const float *c = m->c + 4 * (size_t)u * BN_Q2_SCALES((size_t)m->k);
        sums(w, q, stride, part, toks, sum);
        for (int i = 0; i < toks; i++) {
            int32x4_t off = vdupq_n_s32(q2_bias(q + (size_t)i * stride, part));
            v[i] = q2_more(v[i], vsubq_s32(sum[i], off), c, j / 2, rows, m->k);
        }
    }
    for (int i = 0; i < toks; i++)
        q2_put(m, u, t + i, q2_over(v[i], m->s[t + i]));
}

/* Blocks [from, to) of 4 rows by tokens [first, T). Tokens go by 64, whose sums of q are kept,
 * then (a block of weights stays in L1) by 4, then singly. */
BN_INLINE void q2_run(const Q2 *m, int first, int T, int from, int to, Q2Sums sums)
{
    const size_t stride = BN_QPAD((size_t)m->k);
    int32_t bias[64];

    for (int base = first; base < T; base += 64) {
        const int end = T - base < 64 ? T : base + 64;
        for (int t = base; t < end; t++)
            bias[t - base] = m->blocked ? 0 : q2_bias(m->q + (size_t)t * stride, BN_Q2_STEPS(m->k));
        for (int u = from; u < to; u++) {
            int t = base;
            for (; t + 4 <= end; t += 4)
                q2_tile(m, u, t, 4, bias + (t - base), sums);
            for (; t < end; t++)
                q2_tile(m, u, t, 1, bias + (t - base), sums);
        }
    }
}

//@ q2_sums_neon : q2_neon
/* Exact: a lane of int16 gets 16 terms a step, each within 2 * [-128, 127]; 8 steps make
 * [-32768, 32512], just inside. Then it widens to int32, whose total 2 * 128 * K has room for
 * K < 2^23. */
enum { Q2_NARROW = 8 };

BN_INLINE int16x8_t q2_mul(int16x8_t sum, uint8x16_t codes, int8x16_t x)
{
    const int8x16_t w = vreinterpretq_s8_u8(codes);
    return vmlal_high_s8(vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x)), w, x);
}

/* 4 rows by 1 token. */
BN_INLINE int32x4_t q2_rows(const uint8_t *w, const int8_t *q, int steps)
{
    const uint8x16_t m3 = vdupq_n_u8(3);
    const int32x4_t zero = vdupq_n_s32(0);
    int32x4_t sum[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + Q2_NARROW < steps ? j + Q2_NARROW : steps;
        const int16x8_t none = vdupq_n_s16(0);
        int16x8_t a[4] = {none, none, none, none}, b[4] = {none, none, none, none};
        for (; j < end; j++, w += 128, q += 128)
            for (int h = 0; h < 32; h += 16) {
                const int8x16_t x0 = vld1q_s8(q + h), x1 = vld1q_s8(q + 32 + h);
                const int8x16_t x2 = vld1q_s8(q + 64 + h), x3 = vld1q_s8(q + 96 + h);
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) {
                    const uint8x16_t v = vld1q_u8(w + 32 * r + h);
                    a[r] = q2_mul(a[r], vandq_u8(v, m3), x0);
                    b[r] = q2_mul(b[r], vandq_u8(vshrq_n_u8(v, 2), m3), x1);
                    a[r] = q2_mul(a[r], vandq_u8(vshrq_n_u8(v, 4), m3), x2);
                    b[r] = q2_mul(b[r], vshrq_n_u8(v, 6), x3);
                }
            }
        for (int r = 0; r < 4; r++)
            sum[r] = vpadalq_s16(vpadalq_s16(sum[r], a[r]), b[r]);
    }
    return q2_across(sum[0], sum[1], sum[2], sum[3]);
}

/* 4 rows by 4 tokens, `steps` (at most Q2_NARROW) steps, added to sum[r][t]. */
BN_INLINE void q2_tokens(const uint8_t *w, const int8_t *q, size_t stride, int steps,
                         int32x4_t sum[4][4])
{
    const uint8x16_t m3 = vdupq_n_u8(3);
    int16x8_t a[4][4];

#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (int t = 0; t < 4; t++)
            a[r][t] = vdupq_n_s16(0);
    for (int j = 0; j < 2 * steps; j++, w += j % 2 ? 16 : 112, q += j % 2 ? 16 : 112) {
        uint8x16_t v0 = vld1q_u8(w), v1 = vld1q_u8(w + 32);
        uint8x16_t v2 = vld1q_u8(w + 64), v3 = vld1q_u8(w + 96);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            const uint8x16_t c0 = vandq_u8(v0, m3), c1 = vandq_u8(v1, m3);
            const uint8x16_t c2 = vandq_u8(v2, m3), c3 = vandq_u8(v3, m3);
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
                const int8x16_t x = vld1q_s8(q + (size_t)t * stride + 32 * p);
                a[0][t] = q2_mul(a[0][t], c0, x);
                a[1][t] = q2_mul(a[1][t], c1, x);
                a[2][t] = q2_mul(a[2][t], c2, x);
                a[3][t] = q2_mul(a[3][t], c3, x);
            }
            v0 = vshrq_n_u8(v0, 2);
            v1 = vshrq_n_u8(v1, 2);
            v2 = vshrq_n_u8(v2, 2);
            v3 = vshrq_n_u8(v3, 2);
        }
    }
    for (int r = 0; r < 4; r++)
        for (int t = 0; t < 4; t++)
            sum[r][t] = vpadalq_s16(sum[r][t], a[r][t]);
}

BN_INLINE void q2_sums_neon(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                            int32x4_t *sum)
{
    int32x4_t part[4][4];

    if (toks == 1) {
        sum[0] = q2_rows(w, q, steps);
        return;
    }
    for (int r = 0; r < 4; r++)
        for (int t = 0; t < 4; t++)
            part[r][t] = vdupq_n_s32(0);
    for (int j = 0; j < steps; j += Q2_NARROW)
        q2_tokens(w + 128 * (size_t)j, q + 128 * (size_t)j, stride,
                  steps - j < Q2_NARROW ? steps - j : Q2_NARROW, part);
    for (int t = 0; t < 4; t++)
        sum[t] = q2_across(part[0][t], part[1][t], part[2][t], part[3][t]);
}

//@ tmatmul_q2_neon : q2_sums_neon
/* Bit-exact with scalar.c: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_neon(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                               const float *res, float *y, int T, int n, int k, int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 0};
    q2_run(&m, 0, T, from, to, q2_sums_neon);
}

//@ tmatmul_q2b_neon : q2_sums_neon
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_neon(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                const float *res, float *y, int T, int n, int k, int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 1};
    q2_run(&m, 0, T, from, to, q2_sums_neon);
}

//@ tglu_q2_neon : q2_sums_neon
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. The gates
 * wait in y: they are rounded to f32 anyway. */
BN_INLINE void tglu_q2_neon(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                            const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                            int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 0};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 0};
    q2_run(&gate, 0, T, from, to, q2_sums_neon);
    q2_run(&up, 0, T, from, to, q2_sums_neon);
}

//@ tglu_q2b_neon : q2_sums_neon
BN_INLINE void tglu_q2b_neon(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                             const int8_t *q, const float *s, float *y, int act, int T, int n,
                             int k, int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 1};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 1};
    q2_run(&gate, 0, T, from, to, q2_sums_neon);
    q2_run(&up, 0, T, from, to, q2_sums_neon);
}
