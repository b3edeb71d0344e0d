/* neon.c: kernels for AArch64, whose every processor has NEON and fused multiply-add.
 *
 * One idea: what avx2.c promises, in registers of half the width: one value a result, whatever the
 * batch, the share or the compiler's taste for fusing (multiply-adds are written as such; where
 * they are not, the product is exact). The integer kernels and the norms agree with scalar.c bit
 * for bit. Ragged ends go through a few bytes on the stack: no row or tensor is read or written
 * past its end.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#include <arm_neon.h>
#define BN_KERNELS_NEON /* its neighbours use chunks of this file */

//@ neon_load
/* p[i .. i + 4), zeros from p[k] on. */
BN_INLINE float32x4_t load4(const float *p, int i, int k)
{
    float end[4] = {0.0f, 0.0f, 0.0f, 0.0f};

    if (i + 4 <= k)
        return vld1q_f32(p + i);
    if (i < k)
        memcpy(end, p + i, sizeof *p * (size_t)((k - i) & 3));
    return vld1q_f32(end);
}

BN_INLINE void store4(float *p, int i, int k, float32x4_t v)
{
    float end[4];

    if (i + 4 <= k) {
        vst1q_f32(p + i, v);
        return;
    }
    vst1q_f32(end, v);
    if (i < k)
        memcpy(p + i, end, sizeof *p * (size_t)((k - i) & 3));
}

//@ neon_half
/* The same for eight 16-bit elements at p. */
BN_INLINE uint16x8_t load8_half(const uint8_t *p, int i, int k)
{
    uint16_t end[8] = {0};

    if (i + 8 <= k)
        return vreinterpretq_u16_u8(vld1q_u8(p + 2 * (size_t)i));
    if (i < k)
        memcpy(end, p + 2 * (size_t)i, 2 * (size_t)((k - i) & 7));
    return vld1q_u16(end);
}

BN_INLINE float32x4_t half_low(uint16x8_t h)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
}

BN_INLINE float32x4_t half_high(uint16x8_t h)
{
    return vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
}

//@ neon_exp
/* e^x to about 1e-7, as exp8 of avx2.c: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial in r, n into
 * the exponent. 0 below -87.33, e^88 above 88; exp4(0) is 1; NaN stays. */
BN_INLINE float32x4_t exp4(float32x4_t x)
{
    const float32x4_t low = vdupq_n_f32(-87.33f), one = vdupq_n_f32(1.0f);
    float32x4_t v = vminq_f32(vdupq_n_f32(88.0f), vmaxq_f32(low, x));
    float32x4_t n = vrndnq_f32(vmulq_f32(v, vdupq_n_f32(1.44269504f)));
    float32x4_t r = vfmsq_f32(v, n, vdupq_n_f32(0.693359375f));
    float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
    int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);

    r = vfmsq_f32(r, n, vdupq_n_f32(-2.12194440e-4f));
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), one);
    p = vmulq_f32(p, vreinterpretq_f32_s32(power));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), vcltq_f32(x, low)));
}

//@ embed_f16_neon : neon_load neon_half
/* y[t] = w[token[t]]; w f16 [V x D], y [T x D]. */
BN_INLINE void embed_f16_neon(const int32_t *token, const void *w, float *y, int d, int from,
                              int to)
{
    for (int t = from; t < to; t++) {
        const uint8_t *row = (const uint8_t *)w + 2 * (size_t)token[t] * (size_t)d;
        float *out = y + (size_t)t * (size_t)d;
        for (int i = 0; i < d; i += 8) {
            uint16x8_t h = load8_half(row, i, d);
            store4(out, i, d, half_low(h));
            store4(out, i + 4, d, half_high(h));
        }
    }
}

//@ quant_row_neon : qpad quant_scale neon_load
/* One token: v = g ? x * unit * g : x, then quantized; bit-exact with quant_row of scalar.c.
 * 16 values a step; the last step loads zeros past k, which are the padding's zeros. */
BN_INLINE float32x4_t quant_input(const float *x, const float *g, float unit, int i, int end)
{
    float32x4_t v = load4(x, i, end);
    return g ? vmulq_f32(vmulq_n_f32(v, unit), load4(g, i, end)) : v;
}

/* Magnitudes are compared as integers, whose order is the same. */
BN_INLINE int32x4_t quant_most(const float *x, const float *g, float unit, int i, int end,
                               int32x4_t most)
{
    float32x4_t v = vabsq_f32(quant_input(x, g, unit, i, end));
    return vmaxq_s32(most, vreinterpretq_s32_f32(v));
}

/* Four values, rounded half to even. Narrowing clamps. */
BN_INLINE int16x4_t quant_words(const float *x, const float *g, float unit, float factor, int i,
                                int end)
{
    float32x4_t v = vmulq_n_f32(quant_input(x, g, unit, i, end), factor);
    return vqmovn_s32(vcvtnq_s32_f32(v));
}

BN_INLINE void quant_step(const float *x, const float *g, float unit, float factor, int8_t *q,
                          int i, int end)
{
    int16x8_t a = vcombine_s16(quant_words(x, g, unit, factor, i, end),
                               quant_words(x, g, unit, factor, i + 4, end));
    int16x8_t b = vcombine_s16(quant_words(x, g, unit, factor, i + 8, end),
                               quant_words(x, g, unit, factor, i + 12, end));
    vst1q_s8(q + i, vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)));
}

BN_INLINE void quant_row_neon(const float *x, const float *g, float unit, int8_t *q, float *s,
                              int k)
{
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    float factor;
    int i = 0;

    for (; i + 16 <= k; i += 16) {
        a = quant_most(x, g, unit, i, i + 4, a);
        b = quant_most(x, g, unit, i + 4, i + 8, b);
        c = quant_most(x, g, unit, i + 8, i + 12, c);
        d = quant_most(x, g, unit, i + 12, i + 16, d);
    }
    for (; i < k; i += 4)
        a = quant_most(x, g, unit, i, k, a);
    a = vmaxq_s32(vmaxq_s32(a, b), vmaxq_s32(c, d));
    *s = factor = quant_scale(vgetq_lane_f32(vreinterpretq_f32_s32(vdupq_n_s32(vmaxvq_s32(a))), 0));
    for (i = 0; i + 16 <= k; i += 16)
        quant_step(x, g, unit, factor, q, i, i + 16);
    if (i < k) {
        quant_step(x, g, unit, factor, q, i, k);
        i += 16;
    }
    memset(q + i, 0, (size_t)(BN_QPAD(k) - i));
}

//@ quant_neon : quant_row_neon
/* x [T x K], q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void quant_neon(const float *x, int8_t *q, float *s, int k, int from, int to)
{
    for (int t = from; t < to; t++)
        quant_row_neon(x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k),
                       s + t, k);
}

//@ rmsnorm_quant_neon : rms quant_row_neon
/* rms_sum of scalar.c with its 16 lanes in eight registers: lane[i] holds lanes 2i and 2i + 1. */
BN_INLINE double rms_sum_neon(const float *x, int d)
{
    float64x2_t lane[8], low, high;

#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        lane[j] = vdupq_n_f64(0.0);
    for (int i = 0; i < d; i += 16)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            float32x4_t v = load4(x, i + 4 * j, d);
            float64x2_t a = vcvt_f64_f32(vget_low_f32(v)), b = vcvt_high_f64_f32(v);
            lane[2 * j] = vfmaq_f64(lane[2 * j], a, a);
            lane[2 * j + 1] = vfmaq_f64(lane[2 * j + 1], b, b);
        }
    low = vaddq_f64(vaddq_f64(lane[0], lane[2]), vaddq_f64(lane[4], lane[6]));
    high = vaddq_f64(vaddq_f64(lane[1], lane[3]), vaddq_f64(lane[5], lane[7]));
    return vpaddd_f64(vaddq_f64(low, high));
}

/* rmsnorm, then quant, of the very f32 values that rmsnorm gives; x [T x K], g [K],
 * q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void rmsnorm_quant_neon(const float *x, const float *g, int8_t *q, float *s, int k,
                                  float eps, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_row_neon(in, g, rms_unit(rms_sum_neon(in, k), k, eps),
                       q + (size_t)t * BN_QPAD((size_t)k), s + t, k);
    }
}
