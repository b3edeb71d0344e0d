/* avxvnni_q2g.c: ternary weights with an f16 scale for each group of columns (scalar_q2g.c pictures them),
 * AVX-VNNI: vpdpbusd adds four products of unsigned codes and signed activations to the int32 of a row,
 * with no int16 on the way. What is around the sums is that of avx2_q2g.c.
 */
#ifndef BN_KERNELS_AVX2_Q2G
#include "avx2_q2g.c"
#endif

//@ q2g_core_avxvnni : q2g_core_avx2
/* sum + codes * x. As an intrinsic, gcc 12 copies the sums of a loop to memory and back. */
BN_INLINE __m256i q2g_mad_avxvnni(__m256i sum, __m256i codes, __m256i x)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(x));
    return sum;
}

/* One token: codes are masked where they lie, those of planes 1 and 3 count four times in sums of their
 * own; the shift at the end of a group is exact. */
BN_INLINE void q2g_one_avxvnni(const uint8_t *w, const int8_t *q, const float *s, int k, int group,
                               float *v)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256();
    const int tiles = BN_Q2G_TILES(k);
    const uint8_t *scale = w + 64 * (size_t)tiles;
    const __m256 unit = _mm256_set1_ps(q2g_unit(w, k, group));
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (int at = 0; at < tiles; s += 2, scale += 32) {
        const int end = tiles - at < group / 16 ? tiles : at + group / 16;
        __m256i one[2] = {zero, zero}, four[2] = {zero, zero};
        for (; at < end; at++, w += 64, q += 16) {
            const __m256i a = q2g_four(q), b = q2g_four(q + 4);
            const __m256i c = q2g_four(q + 8), d = q2g_four(q + 12);
            _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m256i x = _mm256_loadu_si256((const __m256i *)(w + 32 * h));
                const __m256i z = _mm256_srli_epi16(x, 4);
                one[h] = q2g_mad_avxvnni(one[h], _mm256_and_si256(x, m3), a);
                four[h] = q2g_mad_avxvnni(four[h], _mm256_and_si256(x, m12), b);
                one[h] = q2g_mad_avxvnni(one[h], _mm256_and_si256(z, m3), c);
                four[h] = q2g_mad_avxvnni(four[h], _mm256_and_si256(z, m12), d);
            }
        }
        for (int h = 0; h < 2; h++)
            acc[h] = q2g_add8(acc[h], _mm256_add_epi32(one[h], _mm256_srai_epi32(four[h], 2)),
                              q2g_scale8(scale + 16 * h), s);
    }
    _mm256_storeu_ps(v, _mm256_mul_ps(acc[0], unit));
    _mm256_storeu_ps(v + 8, _mm256_mul_ps(acc[1], unit));
}

/* One group, `fours` times four columns, of `toks` (a literal, at most 4) tokens, added to v. */
BN_INLINE void q2g_few_avxvnni(const __m256i (*codes)[2], int fours, const int8_t *q, size_t stride,
                               const float *s, size_t pairs, const __m256 *scale, int toks,
                               float (*v)[16])
{
    __m256i a[4], b[4];

#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    for (int i = 0; i < fours; i++, q += 4) {
        const __m256i low = codes[i][0], high = codes[i][1];
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            const __m256i x = q2g_four(q + (size_t)t * stride);
            a[t] = q2g_mad_avxvnni(a[t], low, x);
            b[t] = q2g_mad_avxvnni(b[t], high, x);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        const float *unit = s + (size_t)t * pairs;
        _mm256_storeu_ps(v[t], q2g_add8(_mm256_loadu_ps(v[t]), a[t], scale[0], unit));
        _mm256_storeu_ps(v[t] + 8, q2g_add8(_mm256_loadu_ps(v[t] + 8), b[t], scale[1], unit));
    }
}

BN_INLINE void q2g_core_avxvnni(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                                size_t pairs, int k, int group, int toks, float (*v)[16])
{
    if (toks == 1)
        q2g_one_avxvnni(w, q, s, k, group, v[0]);
    else
        q2g_many(q2g_few_avxvnni, w, q, stride, s, pairs, k, group, toks, v);
}

//@ tmatmul_q2g64_avxvnni : q2g_core_avxvnni
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_avxvnni(const uint8_t *w, const float *c, const int8_t *q,
                                     const float *s, const float *res, float *y, int T, int n,
                                     int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_avxvnni : q2g_core_avxvnni
BN_INLINE void tglu_q2g64_avxvnni(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                  const float *cu, const int8_t *q, const float *s, float *y,
                                  int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_avxvnni : q2g_core_avxvnni
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_avxvnni(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_avxvnni : q2g_core_avxvnni
BN_INLINE void tglu_q2g128_avxvnni(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_avxvnni : q2g_core_avxvnni
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_avxvnni(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_avxvnni : q2g_core_avxvnni
BN_INLINE void tglu_q2g256_avxvnni(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avxvnni, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
