/* avx512_q2g.c: ternary weights with an f16 scale for each group of columns, AVX-512 with VNNI: a tile of
 * scalar_q2g.c, 16 rows by 16 k, is a register, and vpdpbusd multiplies each of its four planes with four
 * activations that the instruction itself repeats for all rows.
 */
#ifndef BN_KERNELS_AVX2_Q2G
#include "avx2_q2g.c"
#endif

//@ q2g_core_avx512 : q2g_store_avx2 q2g_add_avx2
/* sum + codes * the four activations at q, in each lane. */
BN_INLINE __m512i q2g_mad_avx512(__m512i sum, __m512i codes, const int8_t *q)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*(const int8_t(*)[4])q));
    return sum;
}

/* acc + (sum - s[1]) * (scale * s[0]) of 16 rows. */
BN_INLINE __m512 q2g_add16(__m512 acc, __m512i sum, __m512 scale, const float *s)
{
    const __m512 v = _mm512_sub_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(s[1]));
    __m512 product = _mm512_mul_ps(v, _mm512_mul_ps(scale, _mm512_set1_ps(s[0])));
    __asm__("" : "+v"(product)); /* no compiler fuses it with the sum */
    return _mm512_add_ps(acc, product);
}

BN_INLINE __m512 q2g_scale16(const uint8_t *scale)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)scale));
}

/* One token. Planes stay where they are in their bytes: codes times 1, 4, 16, 64, each in sums of its
 * own; shifts at the end of a group are exact. */
BN_INLINE void q2g_one_avx512(const uint8_t *w, const int8_t *q, const float *s, int k, int group,
                              float *v)
{
    const int tiles = BN_Q2G_TILES(k);
    const uint8_t *scale = w + 64 * (size_t)tiles;
    const __m512 unit = _mm512_set1_ps(q2g_unit(w, k, group));
    __m512 acc = _mm512_setzero_ps();

    for (int at = 0; at < tiles; s += 2, scale += 32) {
        const int end = tiles - at < group / 16 ? tiles : at + group / 16;
        __m512i a[4];
        for (int p = 0; p < 4; p++)
            a[p] = _mm512_setzero_si512();
        for (; at < end; at++, w += 64, q += 16) {
            const __m512i x = _mm512_loadu_si512(w);
            _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++)
                a[p] = q2g_mad_avx512(
                    a[p], _mm512_and_si512(x, _mm512_set1_epi8((char)(3 << 2 * p))), q + 4 * p);
        }
        for (int p = 1; p < 4; p++)
            a[0] = _mm512_add_epi32(a[0], _mm512_srai_epi32(a[p], (unsigned)(2 * p)));
        acc = q2g_add16(acc, a[0], q2g_scale16(scale), s);
    }
    _mm512_storeu_ps(v, _mm512_mul_ps(acc, unit));
}

/* 64 k (codes c, four columns each) of `toks` (a literal, at most 8) tokens: the sums of a group begin
 * where `first`, and are added to v where `last`. */
BN_INLINE void q2g_few_avx512(const __m512i *c, const int8_t *q, size_t stride, const float *s,
                              size_t pairs, __m512 scale, int first, int last, int toks,
                              __m512i *sum, float (*v)[16])
{
    __m512i a[8];

#pragma GCC unroll 8
    for (int t = 0; t < toks; t++)
        a[t] = first ? _mm512_setzero_si512() : sum[t];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
#pragma GCC unroll 8
        for (int t = 0; t < toks; t++)
            a[t] = q2g_mad_avx512(a[t], c[i], q + (size_t)t * stride + 4 * i);
#pragma GCC unroll 8
    for (int t = 0; t < toks; t++)
        if (last)
            _mm512_storeu_ps(v[t],
                             q2g_add16(_mm512_loadu_ps(v[t]), a[t], scale, s + (size_t)t * pairs));
        else
            sum[t] = a[t];
}

BN_INLINE void q2g_many_avx512(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                               size_t pairs, int k, int group, int toks, float (*v)[16])
{
    const int tiles = BN_Q2G_TILES(k), each = group / 16;
    const uint8_t *scale = w + 64 * (size_t)tiles;
    const __m512 unit = _mm512_set1_ps(q2g_unit(w, k, group));
    const __m512i three = _mm512_set1_epi8(3);
    __m512i sum[Q2G_TOKENS];

    memset(v, 0, (size_t)toks * sizeof *v);
    for (int at = 0; at < tiles; at += 4, q += 64) {
        const int first = at % each == 0, last = at + 4 == tiles || (at + 4) % each == 0;
        const float *pair = s + at / each * 2;
        const __m512 unit16 = q2g_scale16(scale + at / each * 32);
        __m512i c[16];
        int t = 0;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            const __m512i x = _mm512_loadu_si512(w + 64 * (size_t)(at + i / 4));
            c[i] = _mm512_and_si512(_mm512_srli_epi16(x, (unsigned)(i % 4 * 2)), three);
        }
        for (; t + 8 <= toks; t += 8)
            q2g_few_avx512(c, q + (size_t)t * stride, stride, pair + (size_t)t * pairs, pairs,
                           unit16, first, last, 8, sum + t, v + t);
        for (; t + 4 <= toks; t += 4)
            q2g_few_avx512(c, q + (size_t)t * stride, stride, pair + (size_t)t * pairs, pairs,
                           unit16, first, last, 4, sum + t, v + t);
        for (; t < toks; t++)
            q2g_few_avx512(c, q + (size_t)t * stride, stride, pair + (size_t)t * pairs, pairs,
                           unit16, first, last, 1, sum + t, v + t);
    }
    for (int t = 0; t < toks; t++)
        _mm512_storeu_ps(v[t], _mm512_mul_ps(_mm512_loadu_ps(v[t]), unit));
}

BN_INLINE void q2g_core_avx512(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                               size_t pairs, int k, int group, int toks, float (*v)[16])
{
    if (toks == 1)
        q2g_one_avx512(w, q, s, k, group, v[0]);
    else
        q2g_many_avx512(w, q, stride, s, pairs, k, group, toks, v);
}

//@ tmatmul_q2g64_avx512 : q2g_core_avx512
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_avx512(const uint8_t *w, const float *c, const int8_t *q,
                                    const float *s, const float *res, float *y, int T, int n, int k,
                                    int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx512, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_avx512 : q2g_core_avx512
BN_INLINE void tglu_q2g64_avx512(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                 const float *cu, const int8_t *q, const float *s, float *y,
                                 int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx512, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_avx512 : q2g_core_avx512
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_avx512(const uint8_t *w, const float *c, const int8_t *q,
                                     const float *s, const float *res, float *y, int T, int n,
                                     int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx512, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_avx512 : q2g_core_avx512
BN_INLINE void tglu_q2g128_avx512(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                  const float *cu, const int8_t *q, const float *s, float *y,
                                  int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx512, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_avx512 : q2g_core_avx512
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_avx512(const uint8_t *w, const float *c, const int8_t *q,
                                     const float *s, const float *res, float *y, int T, int n,
                                     int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx512, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_avx512 : q2g_core_avx512
BN_INLINE void tglu_q2g256_avx512(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                  const float *cu, const int8_t *q, const float *s, float *y,
                                  int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx512, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
