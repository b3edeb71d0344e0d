/* avx2_head.c: scalar_head.c with AVX2: the same integer sums, bounds of 8 rows at once. */
#ifndef BN_KERNELS_AVX2_LINEAR
#include "avx2_linear.c"
#endif
#ifndef BN_KERNELS_SCALAR_HEAD
#include "scalar_head.c"
#endif

//@ lowbit_sums_avx2 : lowbit_layout
/* Sums of int16 over pairs, of int32 over 8 lanes. */
BN_INLINE __m256i lowbit_pairs(__m256i v)
{
    return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}

BN_INLINE int lowbit_lanes(__m256i v)
{
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

BN_INLINE __m256i lowbit_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* 64 columns of 4 bits: pairs of at most 2 * 2 * 15 * 128 = 7680, so four such sums fit int16. */
BN_INLINE __m256i lowbit_step4(const uint8_t *w, const int8_t *q)
{
    const __m256i bits = _mm256_set1_epi8(15);
    __m256i v = lowbit_load(w);
    return _mm256_add_epi16(
        _mm256_maddubs_epi16(_mm256_and_si256(v, bits), lowbit_load(q)),
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 4), bits), lowbit_load(q + 32)));
}

/* 128 columns of 4 bits, then of 2 bits: pairs of at most 4 * 2 * 3 * 128 = 3072. */
BN_INLINE __m256i lowbit_block4(const uint8_t *w, const int8_t *q)
{
    return _mm256_add_epi16(lowbit_step4(w, q), lowbit_step4(w + 32, q + 64));
}

BN_INLINE __m256i lowbit_block2(const uint8_t *w, const int8_t *q)
{
    const __m256i bits = _mm256_set1_epi8(3);
    __m256i v = lowbit_load(w);
    __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(v, bits), lowbit_load(q));
    __m256i b =
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 2), bits), lowbit_load(q + 32));
    __m256i c =
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 4), bits), lowbit_load(q + 64));
    __m256i d =
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 6), bits), lowbit_load(q + 96));
    return _mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_add_epi16(c, d));
}

/* One row. Rows that follow one another are read one by one, each a single stream, and BN_LOWBIT_AHEAD
 * bytes in front of it are fetched: four rows at once read a third slower from memory. */
enum { BN_LOWBIT_AHEAD = 2048 };
BN_INLINE __m256i lowbit_lanes4(const uint8_t *w, const int8_t *q, int wide)
{
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < wide; i += 128, w += 64, q += 128) {
        _mm_prefetch((const char *)((uintptr_t)w + BN_LOWBIT_AHEAD), _MM_HINT_T0);
        sum = _mm256_add_epi32(sum, lowbit_pairs(lowbit_block4(w, q)));
    }
    return sum;
}

BN_INLINE __m256i lowbit_lanes2(const uint8_t *w, const int8_t *q, int wide)
{
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < wide; i += 128, w += 32, q += 128)
        sum = _mm256_add_epi32(sum, lowbit_pairs(lowbit_block2(w, q)));
    return sum;
}

//@ lowbit_eight_avx2 : lowbit_sums_avx2
/* Sums of 8 registers over their lanes, in order; of 4 bits of 8 rows. */
BN_INLINE __m256i lowbit_eight(const __m256i *v)
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

BN_INLINE __m256i lowbit_eight4(const uint8_t *w, size_t row4, const int8_t *q, int wide)
{
    __m256i sum[8];
    for (int j = 0; j < 8; j++)
        sum[j] = lowbit_lanes4(w + (size_t)j * row4, q, wide);
    return lowbit_eight(sum);
}

/* Sums of 2 bits of the rows in `keep`; where they are many those after these eight are fetched. */
BN_INLINE __m256i lowbit_eight2(const uint8_t *w, size_t row2, const int8_t *q, int wide, int keep)
{
    const int but1 = keep & (keep - 1), many = but1 & (but1 - 1);
    __m256i sum[8];
    for (int j = 0; j < 8; j++, w += row2) {
        for (size_t i = 0; many && i < row2; i += 64)
            _mm_prefetch((const char *)((uintptr_t)w + BN_LOWBIT_AHEAD / 2 + i), _MM_HINT_T0);
        sum[j] = many || (keep >> j & 1) ? lowbit_lanes2(w, q, wide) : _mm256_setzero_si256();
    }
    return lowbit_eight(sum);
}

//@ lowbit_total_avx2 : lowbit_sums_avx2
BN_INLINE int lowbit_total_avx2(const int8_t *q, int wide)
{
    const __m256i one = _mm256_set1_epi8(1);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < wide; i += 32)
        sum = _mm256_add_epi32(sum, lowbit_pairs(_mm256_maddubs_epi16(one, lowbit_load(q + i))));
    return lowbit_lanes(sum);
}

//@ screen_rows_avx2 : screen lowbit_eight_avx2 lowbit_row2
/* Which of 8 rows, bit by bit, a bound by q does not exclude; twice: their sums, less the odd part;
 * e, v: their norms. */
BN_INLINE int screen_mask(const bn_screen *h, __m256i twice, const float *scale, const float *e,
                          const float *v)
{
    __m256 unit = _mm256_mul_ps(_mm256_set1_ps(0.5f), _mm256_set1_ps(h->unit));
    __m256 bound =
        _mm256_fmadd_ps(_mm256_loadu_ps(v), _mm256_set1_ps(h->b), _mm256_set1_ps(7.8886091e-31f));
    bound = _mm256_fmadd_ps(_mm256_loadu_ps(e), _mm256_set1_ps(h->a), bound);
    bound = _mm256_fmadd_ps(_mm256_cvtepi32_ps(twice), _mm256_mul_ps(_mm256_loadu_ps(scale), unit),
                            bound);
    __m256 least = _mm256_set1_ps(screen_least(h));
    return _mm256_movemask_ps(_mm256_cmp_ps(bound, least, _CMP_LT_OQ)) ^ 255;
}

/* Which of 8 rows their 6 bits do not exclude, and their sums; w2: the first one's 2 bits. */
BN_INLINE int screen_eight(const bn_screen *h, const uint8_t *w4, const uint8_t *w2,
                           const float *of, const int8_t *q, int wide, int *sums)
{
    const size_t row4 = (size_t)wide / 2;
    __m256i sum = _mm256_slli_epi32(lowbit_eight4(w4, row4, q, wide), 2);
    __m256i odd = _mm256_set1_epi32((3 - BN_LOW6_ODD) * h->total);
    int keep =
        screen_mask(h, _mm256_add_epi32(_mm256_slli_epi32(sum, 1), odd), of, of + 8, of + 16);
    if (!keep)
        return 0;
    sum = _mm256_add_epi32(sum, lowbit_eight2(w2, row4 / 2, q, wide, keep));
    odd = _mm256_set1_epi32(-BN_LOW6_ODD * h->total);
    _mm256_storeu_si256((__m256i *)sums, sum);
    return keep &
           screen_mask(h, _mm256_add_epi32(_mm256_slli_epi32(sum, 1), odd), of, of + 24, of + 32);
}

/* Whether p excludes a row that q did not. */
BN_INLINE int screen_out(const bn_screen *h, const uint8_t *w4, const uint8_t *w2, const float *of,
                         int wide, int sum)
{
    const int8_t *p = screen_p(h);
    __m256i rest = _mm256_slli_epi32(lowbit_lanes4(w4, p, wide), 2);
    return screen_below(h, sum, lowbit_lanes(_mm256_add_epi32(rest, lowbit_lanes2(w2, p, wide))),
                        of);
}

#define BN_SCREEN_ROWS_AVX2(linear)                                                                \
    const int wide = BN_QPAD(k);                                                                   \
    const size_t row4 = (size_t)wide / 2, row2 = row4 / 2;                                         \
    bn_screen *h = (bn_screen *)work;                                                              \
    if (first)                                                                                     \
        screen_start(h, x, q, s[0], k, topk);                                                      \
    for (int r = 8 * from; r < 8 * to; r += 8) {                                                   \
        const float *of = about + (size_t)r * 5;                                                   \
        const uint8_t *w4 = low + (size_t)r * row4, *w2 = lowbit_row2(low, n, row4, r);            \
        int sums[8], keep = screen_eight(h, w4, w2, of, q, wide, sums);                            \
        store8(y, r, n, _mm256_set1_ps(-INFINITY));                                                \
        for (int j = 0; keep >> j && r + j < n; j++)                                               \
            if ((keep >> j & 1) && !screen_out(h, w4 + (size_t)j * row4, w2 + (size_t)j * row2,    \
                                               of + j, wide, sums[j])) {                           \
                linear(w, x, y, 1, n, k, r + j, r + j + 1);                                        \
                screen_take(h, y[r + j]);                                                          \
            }                                                                                      \
    }

//@ screen_f32_avx2 : screen_rows_avx2 linear_f32_avx2
/* As screen_f32. */
BN_INLINE void screen_f32_avx2(const void *w, const uint8_t *low, const float *about,
                               const float *x, const int8_t *q, const float *s, float *y, int topk,
                               int first, int n, int k, int from, int to,
                               void *work){BN_SCREEN_ROWS_AVX2(linear_f32_avx2)}

//@ screen_f16_avx2 : screen_rows_avx2 linear_f16_avx2
BN_INLINE
    void screen_f16_avx2(const void *w, const uint8_t *low, const float *about, const float *x,
                         const int8_t *q, const float *s, float *y, int topk, int first, int n,
                         int k, int from, int to, void *work){BN_SCREEN_ROWS_AVX2(linear_f16_avx2)}

//@ screen_bf16_avx2 : screen_rows_avx2 linear_bf16_avx2
BN_INLINE void screen_bf16_avx2(const void *w, const uint8_t *low, const float *about,
                                const float *x, const int8_t *q, const float *s, float *y, int topk,
                                int first, int n, int k, int from, int to,
                                void *work){BN_SCREEN_ROWS_AVX2(linear_bf16_avx2)}

//@ screen_q8_0_avx2 : screen_rows_avx2 linear_q8_0_avx2
BN_INLINE void screen_q8_0_avx2(const void *w, const uint8_t *low, const float *about,
                                const float *x, const int8_t *q, const float *s, float *y, int topk,
                                int first, int n, int k, int from, int to,
                                void *work){BN_SCREEN_ROWS_AVX2(linear_q8_0_avx2)}

//@ qlinear_lowbit_avx2 : lowbit_logit lowbit_row2 lowbit_sums_avx2 lowbit_total_avx2
/* One row of codes by one token; the sums are those of scalar_head.c. 8 bits: products of |w| by q
 * with w's sign, pairs of at most 2 * 127 * 127. */
BN_INLINE int lowbit_sum8_avx2(const uint8_t *w, const int8_t *q, int wide)
{
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < wide; i += 32) {
        __m256i v = lowbit_load(w + i);
        sum = _mm256_add_epi32(
            sum, lowbit_pairs(_mm256_maddubs_epi16(_mm256_abs_epi8(v),
                                                   _mm256_sign_epi8(lowbit_load(q + i), v))));
    }
    return lowbit_lanes(sum);
}

BN_INLINE int lowbit_twice_avx2(const uint8_t *w, int bits, int n, size_t row4, int r,
                                const int8_t *q, int wide, int total)
{
    const uint8_t *w4 = w + (size_t)r * row4;
    if (bits == 8)
        return 2 * lowbit_sum8_avx2(w + (size_t)r * (size_t)wide, q, wide);
    if (bits == 4)
        return 2 * lowbit_lanes(lowbit_lanes4(w4, q, wide)) - BN_LOW4_ODD * total;
    __m256i sum = _mm256_slli_epi32(lowbit_lanes4(w4, q, wide), 2);
    sum = _mm256_add_epi32(sum, lowbit_lanes2(lowbit_row2(w, n, row4, r), q, wide));
    return 2 * lowbit_lanes(sum) - BN_LOW6_ODD * total;
}

/* Rows outside, tokens inside: a row is read from memory once. */
BN_INLINE void qlinear_lowbit_avx2(const uint8_t *w, const float *scale, const int8_t *q,
                                   const float *s, float *y, int T, int n, int k, int bits,
                                   int from, int to)
{
    const int wide = BN_QPAD(k), end = 8 * to < n ? 8 * to : n;
    for (int t0 = 0; t0 < T; t0 += 16) {
        int total[16], few = T - t0 < 16 ? T - t0 : 16;
        for (int t = 0; t < few; t++)
            total[t] = lowbit_total_avx2(q + (size_t)(t0 + t) * (size_t)wide, wide);
        for (int r = 8 * from; r < end; r++)
            for (int t = 0; t < few; t++)
                y[(size_t)(t0 + t) * (size_t)n + (size_t)r] = lowbit_logit(
                    lowbit_twice_avx2(w, bits, n, (size_t)wide / 2, r,
                                      q + (size_t)(t0 + t) * (size_t)wide, wide, total[t]),
                    bits == 6 ? scale[r / 8 * 40 + r % 8] : scale[r], s[t0 + t]);
    }
}

//@ qlinear_h8_avx2 : qlinear_lowbit_avx2
/* As qlinear_h8. */
BN_INLINE void qlinear_h8_avx2(const uint8_t *w, const float *scale, const int8_t *q,
                               const float *s, float *y, int T, int n, int k, int from, int to)
{
    qlinear_lowbit_avx2(w, scale, q, s, y, T, n, k, 8, from, to);
}

//@ qlinear_h6_avx2 : qlinear_lowbit_avx2
BN_INLINE void qlinear_h6_avx2(const uint8_t *w, const float *scale, const int8_t *q,
                               const float *s, float *y, int T, int n, int k, int from, int to)
{
    qlinear_lowbit_avx2(w, scale, q, s, y, T, n, k, 6, from, to);
}

//@ qlinear_h4_avx2 : qlinear_lowbit_avx2
BN_INLINE void qlinear_h4_avx2(const uint8_t *w, const float *scale, const int8_t *q,
                               const float *s, float *y, int T, int n, int k, int from, int to)
{
    qlinear_lowbit_avx2(w, scale, q, s, y, T, n, k, 4, from, to);
}
