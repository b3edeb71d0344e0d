/* avxvnni.c: 2-bit ternary weights (Q2R4) by int8 activations, AVX-VNNI: vpdpbusd on 256 bits adds
 * products of unsigned codes and signed activations to int32, with no int16 on the way. What is
 * around the sums is that of avx2_q2.c. */
#ifndef BN_KERNELS_AVX2_Q2
#include "avx2_q2.c"
#endif

//@ q2_core_avxvnni : q2_run_avx2
/* Lane r is the sum of the lanes of row r. */
BN_INLINE __m128i q2_reduce_avxvnni(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

/* sum + codes * x. As an intrinsic, gcc 12 copies the sums of a loop to memory and back. */
BN_INLINE __m256i q2_mad_avxvnni(__m256i sum, __m256i codes, __m256i x)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(x));
    return sum;
}

/* One token. Codes of the upper plane of a pair count four times, in sums of their own, which room
 * is for below 2^21 k; the shift at the end is exact. */
BN_INLINE __m128i q2_one_avxvnni(const uint8_t *w, const int8_t *q, int steps)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    __m256i one[4], four[4];

    for (int r = 0; r < 4; r++)
        one[r] = four[r] = _mm256_setzero_si256();
    for (int j = 0; j < steps; j++, w += 128, q += 128) {
        _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
        _mm_prefetch((const char *)((uintptr_t)w + 4160), _MM_HINT_T0);
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) { /* planes 0 and 1, then 2 and 3 */
            const __m256i x = _mm256_loadu_si256((const __m256i *)(q + 64 * p));
            const __m256i z = _mm256_loadu_si256((const __m256i *)(q + 64 * p + 32));
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const __m256i v =
                    _mm256_srli_epi16(_mm256_loadu_si256((const __m256i *)(w + 32 * r)), 4 * p);
                one[r] = q2_mad_avxvnni(one[r], _mm256_and_si256(v, m3), x);
                four[r] = q2_mad_avxvnni(four[r], _mm256_and_si256(v, m12), z);
            }
        }
    }
    for (int r = 0; r < 4; r++)
        one[r] = _mm256_add_epi32(one[r], _mm256_srai_epi32(four[r], 2));
    return q2_reduce_avxvnni(one[0], one[1], one[2], one[3]);
}

/* 2 rows (w: the first's bytes of the first step) by `toks` (a literal, at most 6) tokens: sums of
 * token t in [t][row]. */
BN_INLINE void q2_two_avxvnni(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                              __m256i (*sum)[2])
{
    const __m256i m3 = _mm256_set1_epi8(3);
    __m256i a[6], b[6];

#pragma GCC unroll 6
    for (int t = 0; t < toks; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    for (int j = 0; j < steps; j++, w += 128, q += 128) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)w);
            __m256i u = _mm256_loadu_si256((const __m256i *)(w + 32));
            v = _mm256_and_si256(_mm256_srli_epi16(v, 2 * p), m3);
            u = _mm256_and_si256(_mm256_srli_epi16(u, 2 * p), m3);
#pragma GCC unroll 6
            for (int t = 0; t < toks; t++) {
                const int8_t *x = q + (size_t)t * stride + 32 * p;
                const __m256i z = _mm256_loadu_si256((const __m256i *)x);
                a[t] = q2_mad_avxvnni(a[t], v, z);
                b[t] = q2_mad_avxvnni(b[t], u, z);
            }
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < toks; t++) {
        sum[t][0] = a[t];
        sum[t][1] = b[t];
    }
}

BN_INLINE void q2_many_avxvnni(const uint8_t *w, const int8_t *q, size_t stride, int steps,
                               int toks, __m128i *sum)
{
    __m256i low[6][2], high[6][2];

    q2_two_avxvnni(w, q, stride, steps, toks, low);
    q2_two_avxvnni(w + 64, q, stride, steps, toks, high);
    for (int t = 0; t < toks; t++)
        sum[t] = q2_reduce_avxvnni(low[t][0], low[t][1], high[t][0], high[t][1]);
}

BN_INLINE void q2_codes_avxvnni(const uint8_t *w, const int8_t *q, size_t stride, int steps,
                                int toks, __m128i *sum)
{
    if (toks == 6)
        q2_many_avxvnni(w, q, stride, steps, 6, sum);
    else if (toks == 4)
        q2_many_avxvnni(w, q, stride, steps, 4, sum);
    else
        sum[0] = q2_one_avxvnni(w, q, steps);
}

static const q2_core q2_core_avxvnni = {q2_codes_avxvnni, 6};

//@ tmatmul_q2_avxvnni : q2_core_avxvnni
/* Bit-exact with tmatmul_q2 of scalar.c. */
BN_INLINE void tmatmul_q2_avxvnni(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avxvnni, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 0);
}

//@ tmatmul_q2b_avxvnni : q2_core_avxvnni
BN_INLINE void tmatmul_q2b_avxvnni(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    q2_run(&q2_core_avxvnni, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 1);
}

//@ tglu_q2_avxvnni : q2_core_avxvnni
/* Bit-exact with tglu_q2_avx2. */
BN_INLINE void tglu_q2_avxvnni(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avxvnni, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b_avxvnni : q2_core_avxvnni
BN_INLINE void tglu_q2b_avxvnni(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avxvnni, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 1);
}
