/* avx2.c: kernels for x86-64 with AVX2, FMA and F16C.
 *
 * One idea: unsigned codes 0, 1, 2 go into vpmaddubsw as they are stored, and the sum of the
 * activations is taken off at the end. Everything of scalar.c holds here too: one value a
 * result, whatever the batch, the share or the compiler's taste for fusing (multiply-adds are
 * written as such). The integer kernels and the norms agree with scalar.c bit for bit.
 * Ragged ends are masked loads: no row or tensor is read or written past its end.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#include <immintrin.h>
#define BN_KERNELS_AVX2 /* its neighbours use chunks of this file */

//@ load8
/* p[i .. i + 8), zeros from p[k] on. */
BN_INLINE __m256i mask8(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

BN_INLINE __m256 load8(const float *p, int i, int k)
{
    if (i + 8 <= k)
        return _mm256_loadu_ps(p + i);
    if (i >= k)
        return _mm256_setzero_ps();
    return _mm256_maskload_ps(p + i, mask8(k - i));
}

BN_INLINE void store8(float *p, int i, int k, __m256 v)
{
    if (i + 8 <= k)
        _mm256_storeu_ps(p + i, v);
    else if (i < k)
        _mm256_maskstore_ps(p + i, mask8(k - i), v);
}

//@ load8_half
/* The same for 16-bit elements at p, as f32. */
BN_INLINE __m128i load8_half(const uint8_t *p, int i, int k)
{
    uint16_t end[8] = {0};

    if (i + 8 <= k)
        return _mm_loadu_si128((const __m128i *)(p + 2 * (size_t)i));
    if (i >= k)
        return _mm_setzero_si128();
    memcpy(end, p + 2 * (size_t)i, 2 * (size_t)((k - i) & 7));
    return _mm_loadu_si128((const __m128i *)end);
}

//@ sum8
/* (0 + 4 + 2 + 6) + (1 + 5 + 3 + 7), in pairs. */
BN_INLINE float sum8(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

//@ exp8
/* e^x to about 1e-7: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial in r, n into the exponent.
 * 0 below -87.33, e^88 above 88; exp8(0) is 1; NaN stays. */
BN_INLINE __m256 exp8(__m256 x)
{
    const __m256 low = _mm256_set1_ps(-87.33f), one = _mm256_set1_ps(1.0f);
    __m256 v = _mm256_min_ps(_mm256_set1_ps(88.0f), _mm256_max_ps(low, x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), v);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    __m256i power;

    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), one);
    power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), p);
}

//@ out4 : load8
/* Sums of 4 rows times a factor: outputs before the residual. */
BN_INLINE __m256d out4_times(__m128i sum, __m256d factor)
{
    return _mm256_mul_pd(_mm256_cvtepi32_pd(sum), factor);
}

/* y = v, plus res where there is one, for the first `rows` of 4. */
BN_INLINE void out4_store(float *y, __m128 v, int rows)
{
    if (rows >= 4)
        _mm_storeu_ps(y, v);
    else
        _mm_maskstore_ps(y, _mm256_castsi256_si128(mask8(rows)), v);
}

BN_INLINE void out4(float *y, __m256d v, const float *res, int rows)
{
    const __m128i real = _mm256_castsi256_si128(mask8(rows));
    __m128 u;

    if (res) {
        u = rows >= 4 ? _mm_loadu_ps(res) : _mm_maskload_ps(res, real);
        v = _mm256_add_pd(v, _mm256_cvtps_pd(u));
    }
    out4_store(y, _mm256_cvtpd_ps(v), rows);
}

//@ act4 : exp8
/* gelu_arg of scalar.c. */
BN_INLINE __m128 gelu4(__m128 x)
{
    __m128 cube = _mm_mul_ps(_mm_mul_ps(x, x), x);
    return _mm_mul_ps(_mm_set1_ps(1.5957691216057308f),
                      _mm_add_ps(x, _mm_mul_ps(_mm_set1_ps(0.044715f), cube)));
}

/* act(gate) * up of 4 rows, as glu_act of scalar.c but for exp. */
BN_INLINE __m128 act4(__m256d wide, __m256d up, int act)
{
    __m128 gate = _mm256_cvtpd_ps(wide);

    if (act != BN_RELU2) {
        __m128 minus = _mm_xor_ps(act == BN_GELU ? gelu4(gate) : gate, _mm_set1_ps(-0.0f));
        __m128 e = _mm256_castps256_ps128(exp8(_mm256_set_m128(minus, minus)));
        gate = _mm_div_ps(gate, _mm_add_ps(_mm_set1_ps(1.0f), e));
    } else {
        gate = _mm_max_ps(gate, _mm_setzero_ps());
        gate = _mm_mul_ps(gate, gate);
    }
    return _mm_mul_ps(gate, _mm256_cvtpd_ps(up));
}

//@ embed_f16_avx2 : load8 load8_half
/* y[t] = w[token[t]]; w f16 [V x D], y [T x D]. */
BN_INLINE void embed_f16_avx2(const int32_t *token, const void *w, float *y, int d, int from,
                              int to)
{
    for (int t = from; t < to; t++) {
        const uint8_t *row = (const uint8_t *)w + 2 * (size_t)token[t] * (size_t)d;
        float *out = y + (size_t)t * (size_t)d;
        for (int i = 0; i < d; i += 8)
            store8(out, i, d, _mm256_cvtph_ps(load8_half(row, i, d)));
    }
}

//@ quant_row_avx2 : qpad quant_scale load8
/* One token: v = g ? x * unit * g : x, then quantized; bit-exact with quant_row of scalar.c.
 * 32 values a step; the last step loads zeros past k, which are the padding's zeros. */
BN_INLINE __m256 quant_input(const float *x, const float *g, __m256 unit, int i, int end)
{
    __m256 v = load8(x, i, end);
    return g ? _mm256_mul_ps(_mm256_mul_ps(v, unit), load8(g, i, end)) : v;
}

BN_INLINE __m256i quant_words(const float *x, const float *g, __m256 unit, __m256 factor, int i,
                              int end)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(quant_input(x, g, unit, i, end), factor));
}

/* Packing clamps, and works in 128-bit halves: fours of bytes come out as 0 2 4 6 1 3 5 7, and
 * the permutation puts them in order. */
BN_INLINE void quant_step(const float *x, const float *g, __m256 unit, __m256 factor, int8_t *q,
                          int i, int end)
{
    __m256i a = _mm256_packs_epi32(quant_words(x, g, unit, factor, i, end),
                                   quant_words(x, g, unit, factor, i + 8, end));
    __m256i b = _mm256_packs_epi32(quant_words(x, g, unit, factor, i + 16, end),
                                   quant_words(x, g, unit, factor, i + 24, end));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)(q + i),
                        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
}

BN_INLINE void quant_row_avx2(const float *x, const float *g, float scalar_unit, int8_t *q,
                              float *s, int k)
{
    const __m256 unit = _mm256_set1_ps(scalar_unit);
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_setzero_ps(), factor;
    __m128 most;
    int i = 0;

    for (; i + 8 <= k; i += 8)
        a = _mm256_max_ps(_mm256_andnot_ps(sign, quant_input(x, g, unit, i, i + 8)), a);
    if (i < k)
        a = _mm256_max_ps(_mm256_andnot_ps(sign, quant_input(x, g, unit, i, k)), a);
    most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    most = _mm_max_ps(most, _mm_movehdup_ps(most));
    *s = quant_scale(_mm_cvtss_f32(most));
    factor = _mm256_set1_ps(*s);
    for (i = 0; i + 32 <= k; i += 32)
        quant_step(x, g, unit, factor, q, i, i + 32);
    if (i < k) {
        quant_step(x, g, unit, factor, q, i, k);
        i += 32;
    }
    memset(q + i, 0, (size_t)(BN_QPAD(k) - i));
}

//@ quant_avx2 : quant_row_avx2
/* x [T x K], q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void quant_avx2(const float *x, int8_t *q, float *s, int k, int from, int to)
{
    for (int t = from; t < to; t++)
        quant_row_avx2(x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k),
                       s + t, k);
}

//@ rmsnorm_quant_avx2 : rms quant_row_avx2
/* rms_sum of scalar.c with its 16 lanes in four registers. */
BN_INLINE __m256d square4(__m128 v, __m256d sum)
{
    __m256d d = _mm256_cvtps_pd(v);
    return _mm256_fmadd_pd(d, d, sum);
}

BN_INLINE double rms_sum_avx2(const float *x, int d)
{
    __m256d a = _mm256_setzero_pd(), b = a, c = a, e = a;
    __m128d low;

    for (int i = 0; i < d; i += 16) {
        __m256 u = load8(x, i, d), v = load8(x, i + 8, d);
        a = square4(_mm256_castps256_ps128(u), a);
        b = square4(_mm256_extractf128_ps(u, 1), b);
        c = square4(_mm256_castps256_ps128(v), c);
        e = square4(_mm256_extractf128_ps(v, 1), e);
    }
    a = _mm256_add_pd(_mm256_add_pd(a, b), _mm256_add_pd(c, e));
    low = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(low) + _mm_cvtsd_f64(_mm_unpackhi_pd(low, low));
}

/* rmsnorm, then quant, of the very f32 values that rmsnorm gives; x [T x K], g [K],
 * q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void rmsnorm_quant_avx2(const float *x, const float *g, int8_t *q, float *s, int k,
                                  float eps, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_row_avx2(in, g, rms_unit(rms_sum_avx2(in, k), k, eps),
                       q + (size_t)t * BN_QPAD((size_t)k), s + t, k);
    }
}
