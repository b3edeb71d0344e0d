/* avx2_fr3.c: many tokens by ternary weights that are packed by threes (T3R32), AVX2: the tables of
 * avx2_fr4.c, for four groups of 3 trits are three groups of 4. */
#ifndef BN_KERNELS_AVX2_FR4
#include "avx2_fr4.c"
#endif
#ifndef BN_KERNELS_AVX2_T3
#include "avx2_t3.c"
#endif

//@ t3_fr4_avx2 : fr4_avx2 lut3_avx2 tmatmul_t3_avx2 tglu_t3_avx2
/* |v| of a group, by the byte, and its sign: f(|v|) with the sign of v, f being odd. */
BN_INLINE __m256i t3_fr4_odd(__m256i size, __m256i sign, __m128i f)
{
    return _mm256_sign_epi8(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(f), size), sign);
}

/* 12 k of 32 rows: planes of groups v1 v2 and v3 v4 (v = 9a + 3b + c), signs from the top bit on,
 * give numbers, counted from 40, of
 *
 *   a1 b1 c1 a2   3 v1 + a2
 *   b2 c2 a3 b3   9 (v2 - 9 a2) + (v3 - c3) / 3
 *   c3 a4 b4 c4   27 c3 + v4                      */
BN_INLINE void t3_fr4_numbers(const uint8_t *plane, __m256i signs, __m256i *number)
{
    const __m128i three = _mm_setr_epi8(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 0, 0);
    const __m128i a = _mm_setr_epi8(0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0);
    const __m128i rest = _mm_setr_epi8(0, 9, 18, 27, 36, -36, -27, -18, -9, 0, 9, 18, 27, 36, 0, 0);
    const __m128i third = _mm_setr_epi8(0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 0, 0);
    const __m128i c = _mm_setr_epi8(0, 27, -27, 0, 27, -27, 0, 27, -27, 0, 27, -27, 0, 27, 0, 0);
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi8(1);
    const __m256i zero = _mm256_set1_epi8(40);
    const __m256i u = _mm256_loadu_si256((const __m256i *)plane);
    const __m256i v = _mm256_loadu_si256((const __m256i *)(plane + 32));
    const __m256i v2 = _mm256_and_si256(_mm256_srli_epi16(u, 4), low);
    const __m256i v3 = _mm256_and_si256(v, low);
    __m256i sign[4];

    for (int i = 0; i < 4; i++, signs = _mm256_add_epi8(signs, signs))
        sign[i] = _mm256_or_si256(signs, one);
    number[0] = _mm256_add_epi8(t3_fr4_odd(_mm256_and_si256(u, low), sign[0], three),
                                t3_fr4_odd(v2, sign[1], a));
    number[1] = _mm256_add_epi8(t3_fr4_odd(v2, sign[1], rest), t3_fr4_odd(v3, sign[2], third));
    number[2] =
        _mm256_add_epi8(t3_fr4_odd(v3, sign[2], c),
                        _mm256_sign_epi8(_mm256_and_si256(_mm256_srli_epi16(v, 4), low), sign[3]));
    for (int i = 0; i < 3; i++)
        number[i] = _mm256_add_epi8(number[i], zero);
}

/* The numbers of 8 groups of 32 rows, a row a byte lane, as offsets at[row][group]. */
BN_INLINE void t3_fr4_turn(const __m256i *number, uint16_t *at)
{
    __m256i a[8], b[8];

    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_unpacklo_epi8(number[2 * i], number[2 * i + 1]);
        a[i + 4] = _mm256_unpackhi_epi8(number[2 * i], number[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* quads of groups 0-3 and 4-7 lie two apart */
        const __m256i *q = b + i % 2 + i / 2 * 4;
        a[2 * i] = _mm256_unpacklo_epi32(q[0], q[2]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(q[0], q[2]);
    }
    for (int i = 0; i < 8; i++) {
        fr4_offsets(at + 16 * i, _mm256_castsi256_si128(a[i]));
        fr4_offsets(at + 128 + 16 * i, _mm256_extracti128_si256(a[i], 1));
    }
}

/* T3R32: a step is 4 steps of the layout, 96 k, 3 passes. Steps past the last stand for k past K,
 * whose activations are zero: any weights will do. */
BN_INLINE void t3_fr4_unpack(const uint8_t *w, int k, int row, int rows, int step, uint16_t *at,
                             int panel)
{
    const size_t block = BN_T3_BLOCK(k), plane = 8 * (size_t)panel;
    const int last = BN_T3_STEPS(k) - 1;

    w += (size_t)(row / 32) * block;
    for (int r = 0; r < rows; r += 32, w += block, at += 256) {
        __m256i number[24];
        for (int j = 0; j < 4; j++) {
            const int from = 4 * step + j < last ? 4 * step + j : last;
            const uint8_t *in = w + 160 * (size_t)from;
            const __m256i signs = _mm256_loadu_si256((const __m256i *)(in + 128));
            for (int i = 0; i < 160; i += 64)
                _mm_prefetch((const char *)((uintptr_t)in + 2 * block + (uintptr_t)i), _MM_HINT_T0);
            t3_fr4_numbers(in, signs, number + 6 * j);
            t3_fr4_numbers(in + 64, _mm256_slli_epi16(signs, 4), number + 6 * j + 3);
        }
        for (int p = 0; p < 3; p++)
            t3_fr4_turn(number + 8 * p, at + (size_t)p * plane);
    }
}

static const fr4_layout t3_fr4_layout = {t3_fr4_unpack, 32, 96, 3, 32, 4, -1};

/* Few tokens by the kernel for one, each by tables of its own; blocks of rows by all of them. */
BN_INLINE void t3_few(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                      int n, int k, int from, int to, int8_t *tables)
{
    const size_t table = BN_T3_STEPS((size_t)k) * 256;

    lut3_avx2(q, tables, k, 0, T);
    for (int u = from; u < to; u++)
        for (int t = 0; t < T; t++) {
            const int8_t *in = tables + (size_t)t * table;
            const size_t at = (size_t)t * (size_t)n;
            if (wu)
                tglu_t3_avx2(w, c, wu, cu, in, s + t, y + at, act, 1, n, k, u, u + 1);
            else
                tmatmul_t3_avx2(w, c, in, s + t, res ? res + at : NULL, y + at, 1, n, k, u, u + 1);
        }
}

/* From how many tokens on a tile of 16 is the faster way. */
enum { T3_FR4_TOKENS = 9 };
FR4_ONCE void t3_fr4(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                     const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                     int n, int k, int from, int to, void *work)
{
    const int rest = T % 16 < T3_FR4_TOKENS ? T % 16 : 0, many = T - rest;
    const size_t at = (size_t)many * (size_t)n;

    if (many)
        fr4_run(&t3_fr4_layout, w, c, wu, cu, q, s, res, y, act, many, n, k, 32 * from, 32 * to,
                work);
    if (rest)
        t3_few(w, c, wu, cu, q + (size_t)many * BN_QPAD((size_t)k), s + many, res ? res + at : NULL,
               y + at, act, rest, n, k, from, to, (int8_t *)work);
}

//@ tmatmul_t3_fr_avx2 : t3_fr4_avx2
/* Bit-exact with tmatmul_t3 of scalar_t3.c; work: scratch of this thread, work_FR3 bytes of
 * targets.c. */
BN_INLINE void tmatmul_t3_fr_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to,
                                  void *work)
{
    t3_fr4(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, work);
}

//@ tglu_t3_fr_avx2 : t3_fr4_avx2
/* Bit-exact with tglu_t3 but for exp (as tglu_q2_avx2); work as above. */
BN_INLINE void tglu_t3_fr_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to, void *work)
{
    t3_fr4(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, work);
}
