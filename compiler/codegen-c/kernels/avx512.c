/* avx512.c: 2-bit ternary weights (Q2R4) by int8 activations, AVX-512 with VNNI.
 *
 * One idea: a register holds two rows of a block, 32 k of each, and vpdpbusd adds products of
 * unsigned codes and signed activations to int32, so nothing overflows on the way: a lane gets 4
 * products a plane and step. What is around the sums is that of avx2_q2.c.
 */
#ifndef BN_KERNELS_AVX2_Q2
#include "avx2_q2.c"
#endif
#define BN_KERNELS_AVX512 /* amx.c uses chunks of this file */

//@ q2_core_avx512 : q2_run_avx2
/* Sums of lanes: rows 0 and 1 in the halves of a, rows 2 and 3 in those of b. */
BN_INLINE __m128i q2_reduce_avx512(__m512i a, __m512i b)
{
    const __m512i pairs =
        _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i sum =
        _mm512_add_epi32(pairs, _mm512_shuffle_epi32(pairs, (_MM_PERM_ENUM)0x4e)); /* a b a b */
    const __m256i even = _mm512_castsi512_si256(sum), odd = _mm512_extracti64x4_epi64(sum, 1);
    return _mm_unpacklo_epi32(
        _mm_add_epi32(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1)),
        _mm_add_epi32(_mm256_castsi256_si128(odd), _mm256_extracti128_si256(odd, 1)));
}

/* 32 activations, for both rows of a register. */
BN_INLINE __m512i q2_both(const int8_t *q)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)q));
}

/* sum + codes * x. As an intrinsic, gcc 12 copies the sums of a loop to memory and back. */
BN_INLINE __m512i q2_mad_avx512(__m512i sum, __m512i codes, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
    return sum;
}

/* One token. Planes stay where they are in their bytes: codes times 1, 4, 16, 64, each in sums of
 * its own, which room is for below 2^21 k; shifts at the end are exact. */
BN_INLINE __m128i q2_one_avx512(const uint8_t *w, const int8_t *q, int steps)
{
    __m512i a[4], b[4];

    for (int p = 0; p < 4; p++)
        a[p] = b[p] = _mm512_setzero_si512();
    for (int j = 0; j < steps; j++, w += 128, q += 128) {
        const __m512i v = _mm512_loadu_si512(w), u = _mm512_loadu_si512(w + 64);
        _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
        _mm_prefetch((const char *)((uintptr_t)w + 4160), _MM_HINT_T0);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            const __m512i mask = _mm512_set1_epi8((char)(3 << 2 * p)), x = q2_both(q + 32 * p);
            a[p] = q2_mad_avx512(a[p], _mm512_and_si512(v, mask), x);
            b[p] = q2_mad_avx512(b[p], _mm512_and_si512(u, mask), x);
        }
    }
    for (int p = 1; p < 4; p++) {
        a[0] = _mm512_add_epi32(a[0], _mm512_srai_epi32(a[p], (unsigned)(2 * p)));
        b[0] = _mm512_add_epi32(b[0], _mm512_srai_epi32(b[p], (unsigned)(2 * p)));
    }
    return q2_reduce_avx512(a[0], b[0]);
}

/* `toks` (a literal, at most 12) tokens: that many pairs of sums stay in registers, each plane is
 * shifted down once for all of them. */
BN_INLINE void q2_many_avx512(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                              __m128i *sum)
{
    const __m512i three = _mm512_set1_epi8(3);
    __m512i a[12], b[12];

#pragma GCC unroll 12
    for (int t = 0; t < toks; t++)
        a[t] = b[t] = _mm512_setzero_si512();
    for (int j = 0; j < steps; j++, w += 128, q += 128) {
        const __m512i v = _mm512_loadu_si512(w), u = _mm512_loadu_si512(w + 64);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            const __m512i c = _mm512_and_si512(_mm512_srli_epi16(v, (unsigned)(2 * p)), three);
            const __m512i d = _mm512_and_si512(_mm512_srli_epi16(u, (unsigned)(2 * p)), three);
#pragma GCC unroll 12
            for (int t = 0; t < toks; t++) {
                const __m512i x = q2_both(q + (size_t)t * stride + 32 * p);
                a[t] = q2_mad_avx512(a[t], c, x);
                b[t] = q2_mad_avx512(b[t], d, x);
            }
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < toks; t++)
        sum[t] = q2_reduce_avx512(a[t], b[t]);
}

BN_INLINE void q2_codes_avx512(const uint8_t *w, const int8_t *q, size_t stride, int steps,
                               int toks, __m128i *sum)
{
    if (toks == 12)
        q2_many_avx512(w, q, stride, steps, 12, sum);
    else if (toks == 4)
        q2_many_avx512(w, q, stride, steps, 4, sum);
    else
        sum[0] = q2_one_avx512(w, q, steps);
}

static const q2_core q2_core_avx512 = {q2_codes_avx512, 12};

//@ tmatmul_q2_avx512 : q2_core_avx512
/* Bit-exact with tmatmul_q2 of scalar.c. */
BN_INLINE void tmatmul_q2_avx512(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                 const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx512, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 0);
}

//@ tmatmul_q2b_avx512 : q2_core_avx512
BN_INLINE void tmatmul_q2b_avx512(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx512, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 1);
}

//@ tglu_q2_avx512 : q2_core_avx512
/* Bit-exact with tglu_q2_avx2. */
BN_INLINE void tglu_q2_avx512(const uint8_t *wg, const float *cg, const uint8_t *wu,
                              const float *cu, const int8_t *q, const float *s, float *y, int act,
                              int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx512, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b_avx512 : q2_core_avx512
BN_INLINE void tglu_q2b_avx512(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx512, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 1);
}
