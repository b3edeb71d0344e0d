/* neon_dotprod.c: 2-bit ternary weights (Q2R4) by int8 activations, Armv8.2 with dot products. */
#ifndef BN_KERNELS_NEON_Q2
#include "neon_q2.c"
#endif
#define BN_KERNELS_NEON_DOTPROD

//@ neon_dot
/* sum + codes . x, by fours. clang below 16 hides the intrinsic where the command line does not ask
 * for it, whatever the function's target. */
BN_INLINE int32x4_t dot4(int32x4_t sum, uint8x16_t codes, int8x16_t x)
{
#ifdef __clang__
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(codes), "w"(x));
    return sum;
#else
    return vdotq_s32(sum, vreinterpretq_s8_u8(codes), x);
#endif
}

//@ q2_sums_dotprod : q2_neon neon_dot
/* 4 rows by 1 token. Three of the four planes of codes are masked, not shifted, so they count 1, 4
 * and 16 times, in accumulators of their own:
 *
 *   w & 3 -> k = i, times 1      w & 12 -> k = 32 + i, times 4
 *   w >> 6 -> k = 96 + i, too    w & 48 -> k = 64 + i, times 16
 *
 * Exact: 16 * 2 * 128 * K / 4 in a lane has room for K < 2^21. */
BN_INLINE int32x4_t q2_rows_dotprod(const uint8_t *w, const int8_t *q, int steps)
{
    const uint8x16_t m3 = vdupq_n_u8(3), m12 = vdupq_n_u8(12), m48 = vdupq_n_u8(48);
    const int32x4_t zero = vdupq_n_s32(0);
    int32x4_t one[4] = {zero, zero, zero, zero}, four[4] = {zero, zero, zero, zero};
    int32x4_t more[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps; j++, w += 128, q += 128)
#pragma GCC unroll 2
        for (int h = 0; h < 32; h += 16) {
            const int8x16_t x0 = vld1q_s8(q + h), x1 = vld1q_s8(q + 32 + h);
            const int8x16_t x2 = vld1q_s8(q + 64 + h), x3 = vld1q_s8(q + 96 + h);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const uint8x16_t v = vld1q_u8(w + 32 * r + h);
                one[r] = dot4(one[r], vandq_u8(v, m3), x0);
                four[r] = dot4(four[r], vandq_u8(v, m12), x1);
                more[r] = dot4(more[r], vandq_u8(v, m48), x2);
                one[r] = dot4(one[r], vshrq_n_u8(v, 6), x3);
            }
        }
    for (int r = 0; r < 4; r++)
        one[r] = vaddq_s32(one[r], vaddq_s32(vshrq_n_s32(four[r], 2), vshrq_n_s32(more[r], 4)));
    return q2_across(one[0], one[1], one[2], one[3]);
}

BN_INLINE void q2_sums_dotprod(const uint8_t *w, const int8_t *q, size_t stride, int steps,
                               int toks, int32x4_t *sum)
{
    const uint8x16_t m3 = vdupq_n_u8(3);
    int32x4_t a[4][4];

    if (toks == 1) {
        sum[0] = q2_rows_dotprod(w, q, steps);
        return;
    }
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++)
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            a[t][r] = vdupq_n_s32(0);
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
                a[t][0] = dot4(a[t][0], c0, x);
                a[t][1] = dot4(a[t][1], c1, x);
                a[t][2] = dot4(a[t][2], c2, x);
                a[t][3] = dot4(a[t][3], c3, x);
            }
            v0 = vshrq_n_u8(v0, 2);
            v1 = vshrq_n_u8(v1, 2);
            v2 = vshrq_n_u8(v2, 2);
            v3 = vshrq_n_u8(v3, 2);
        }
    }
    for (int t = 0; t < 4; t++)
        sum[t] = q2_across(a[t][0], a[t][1], a[t][2], a[t][3]);
}

//@ tmatmul_q2_dotprod : q2_sums_dotprod
/* Bit-exact with scalar.c: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_dotprod(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 0};
    q2_run(&m, 0, T, from, to, q2_sums_dotprod);
}

//@ tmatmul_q2b_dotprod : q2_sums_dotprod
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_dotprod(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 1};
    q2_run(&m, 0, T, from, to, q2_sums_dotprod);
}

//@ tglu_q2_dotprod : q2_sums_dotprod
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2_dotprod(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 0};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 0};
    q2_run(&gate, 0, T, from, to, q2_sums_dotprod);
    q2_run(&up, 0, T, from, to, q2_sums_dotprod);
}

//@ tglu_q2b_dotprod : q2_sums_dotprod
BN_INLINE void tglu_q2b_dotprod(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 1};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 1};
    q2_run(&gate, 0, T, from, to, q2_sums_dotprod);
    q2_run(&up, 0, T, from, to, q2_sums_dotprod);
}
