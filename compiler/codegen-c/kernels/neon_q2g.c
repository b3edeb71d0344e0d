/* neon_q2g.c: ternary weights with an f16 scale for each group of columns (scalar_q2g.c pictures them),
 * AArch64: 16 bytes of a tile are 4 rows by 4 k, to be multiplied with four activations, the same for all
 * rows. Float sums go from group to group as in scalar_q2g.c: the same bits.
 */
#ifndef BN_KERNELS_NEON_Q2
#include "neon_q2.c"
#endif
#ifndef BN_KERNELS_SCALAR_Q2G
#include "scalar_q2g.c"
#endif
#define BN_KERNELS_NEON_Q2G /* neon_dotprod_q2g.c leans on chunks of this file */

//@ q2g_values_neon : q2g_values
/* sum + codes . x, by fours: q2g_dot_neon, or dot4 of neon_dotprod.c. */
typedef int32x4_t (*q2g_dot)(int32x4_t sum, uint8x16_t codes, int8x16_t x);

/* The four activations at q, for 4 rows. */
BN_INLINE int8x16_t q2g_four_neon(const int8_t *q)
{
    int32_t v;

    memcpy(&v, q, sizeof v);
    return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

/* v[0..15] + (sum - s[1]) * (scale * s[0]), a product that no compiler fuses with the sum. */
BN_INLINE void q2g_add_neon(float *v, const int32x4_t *sum, const float32x4_t *scale,
                            const float *s)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float32x4_t x = vsubq_f32(vcvtq_f32_s32(sum[i]), vdupq_n_f32(s[1]));
        float32x4_t product = vmulq_f32(x, vmulq_n_f32(scale[i], s[0]));
        __asm__("" : "+w"(product));
        vst1q_f32(v + 4 * i, vaddq_f32(vld1q_f32(v + 4 * i), product));
    }
}

/* Codes of a tile, a byte each: out[plane][4 rows]. */
BN_INLINE void q2g_unpack_neon(const uint8_t *w, uint8x16_t (*out)[4])
{
    const uint8x16_t m3 = vdupq_n_u8(3);

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const uint8x16_t x = vld1q_u8(w + 16 * i);
        out[0][i] = vandq_u8(x, m3);
        out[1][i] = vandq_u8(vshrq_n_u8(x, 2), m3);
        out[2][i] = vandq_u8(vshrq_n_u8(x, 4), m3);
        out[3][i] = vshrq_n_u8(x, 6);
    }
}

/* One group, `fours` times four columns, of `toks` (a literal, at most 4) tokens, added to v. */
BN_INLINE void q2g_few_neon(q2g_dot dot, const uint8x16_t (*codes)[4], int fours, const int8_t *q,
                            size_t stride, const float *s, size_t pairs, const float32x4_t *scale,
                            int toks, float (*v)[16])
{
    int32x4_t a[4][4];

#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            a[t][i] = vdupq_n_s32(0);
    for (int f = 0; f < fours; f++, q += 4)
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            const int8x16_t x = q2g_four_neon(q + (size_t)t * stride);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                a[t][i] = dot(a[t][i], codes[f][i], x);
        }
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        q2g_add_neon(v[t], a[t], scale, s + (size_t)t * pairs);
}

/* Outputs of the 16 rows of block w for `toks` tokens, before the residual. */
BN_INLINE void q2g_values_neon(q2g_dot dot, const uint8_t *w, const int8_t *q, size_t stride,
                               const float *s, size_t pairs, int k, int group, int toks,
                               float (*v)[16])
{
    const int tiles = BN_Q2G_TILES(k), each = group / 16;
    const uint8_t *half = w + 64 * (size_t)tiles;
    const float unit = q2g_unit(w, k, group);
    uint8x16_t codes[64][4];

    memset(v, 0, (size_t)toks * sizeof *v);
    for (int at = 0; at < tiles; at += each, s += 2, half += 32) {
        const int some = tiles - at < each ? tiles - at : each;
        const int8_t *x = q + 16 * (size_t)at;
        float32x4_t scale[4];
        int t = 0;
        for (int i = 0; i < 4; i++) {
            uint16_t h[4];
            memcpy(h, half + 8 * i, sizeof h);
            scale[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
        }
        for (int i = 0; i < some; i++)
            q2g_unpack_neon(w + 64 * (size_t)(at + i), codes + 4 * i);
        for (; t + 4 <= toks; t += 4)
            q2g_few_neon(dot, (const uint8x16_t(*)[4])codes, 4 * some, x + (size_t)t * stride,
                         stride, s + (size_t)t * pairs, pairs, scale, 4, v + t);
        for (; t < toks; t++)
            q2g_few_neon(dot, (const uint8x16_t(*)[4])codes, 4 * some, x + (size_t)t * stride,
                         stride, s + (size_t)t * pairs, pairs, scale, 1, v + t);
    }
    for (int t = 0; t < toks; t++)
        for (int r = 0; r < 16; r++)
            v[t][r] = f32_times(v[t][r], unit);
}

//@ q2g_core_neon : q2g_values_neon q2g_store_each
BN_INLINE int32x4_t q2g_dot_neon(int32x4_t sum, uint8x16_t codes, int8x16_t x)
{
    const int8x16_t w = vreinterpretq_s8_u8(codes);
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(w, x));
    return vaddq_s32(sum, vpaddq_s32(low, high));
}

BN_INLINE void q2g_core_neon(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                             size_t pairs, int k, int group, int toks, float (*v)[16])
{
    q2g_values_neon(q2g_dot_neon, w, q, stride, s, pairs, k, group, toks, v);
}

//@ tmatmul_q2g64_neon : q2g_core_neon
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_neon(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_neon, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_neon : q2g_core_neon
BN_INLINE void tglu_q2g64_neon(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_neon, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_neon : q2g_core_neon
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_neon(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    (void)c;
    q2g_run(q2g_core_neon, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_neon : q2g_core_neon
BN_INLINE void tglu_q2g128_neon(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_neon, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_neon : q2g_core_neon
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_neon(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    (void)c;
    q2g_run(q2g_core_neon, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_neon : q2g_core_neon
BN_INLINE void tglu_q2g256_neon(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_neon, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
