/* avx2_t3.c: ternary weights by threes (T3R32) by the tables of one token, AVX2. */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif
#ifndef BN_KERNELS_SCALAR_T3
#include "scalar_t3.c"
#endif
#define BN_KERNELS_AVX2_T3 /* avx2_fr3.c uses chunks of this file */

//@ lut3_avx2 : t3_layout
/* lut3 of scalar_t3.c for 8 groups: x [25], the last unused, t [256]. vpmaddubsw wants one side
 * unsigned: it gets x + 128, and what that adds is taken off with the 16 that makes the shift
 * round as it should. */
BN_INLINE void lut3_step(const int8_t *x, int8_t *t)
{
    /* a and b, then c and 0, of v = 0 .. 13; 0, 0 */
    const __m256i ab = _mm256_setr_epi8(0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, -1, 1, -1, 1, -1, 1, 0, 1,
                                        0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m256i c0 = _mm256_setr_epi8(0, 0, 1, 0, -1, 0, 0, 0, 1, 0, -1, 0, 0, 0, 1, 0, -1, 0, 0,
                                        0, 1, 0, -1, 0, 0, 0, 1, 0, 0, 0, 0, 0);
    const __m256i ones = _mm256_set1_epi8(1), flip = _mm256_set1_epi8(-128);
    const __m256i sixteen = _mm256_set1_epi16(16);
    const __m256i signs =
        _mm256_add_epi16(_mm256_maddubs_epi16(ones, ab), _mm256_maddubs_epi16(ones, c0));
    const __m256i off = _mm256_sub_epi16(sixteen, _mm256_slli_epi16(signs, 7));

    for (int g = 0; g < 8; g++, x += 3, t += 32) {
        int16_t first, last;
        __m256i u, v, hi, lo;
        memcpy(&first, x, sizeof first);
        memcpy(&last, x + 2, sizeof last);
        u = _mm256_maddubs_epi16(_mm256_xor_si256(_mm256_set1_epi16(first), flip), ab);
        v = _mm256_maddubs_epi16(_mm256_xor_si256(_mm256_set1_epi16(last), flip), c0);
        u = _mm256_add_epi16(_mm256_add_epi16(u, v), off);
        hi = _mm256_srai_epi16(u, 5);
        lo = _mm256_sub_epi16(_mm256_and_si256(u, _mm256_set1_epi16(31)), sixteen);
        u = _mm256_permute4x64_epi64(_mm256_packs_epi16(lo, hi), 0xd8);
        _mm256_storeu_si256((__m256i *)t, u);
    }
}

BN_INLINE void lut3_avx2(const int8_t *q, int8_t *t, int k, int from, int to)
{
    const int padded = BN_QPAD(k), whole = padded - 25;

    for (int i = from; i < to; i++) {
        const int8_t *row = q + (size_t)i * (size_t)padded;
        int8_t *out = t + (size_t)i * (size_t)BN_T3_STEPS(k) * 256;
        int j = 0;
        for (; j < k && j <= whole; j += 24, out += 256)
            lut3_step(row + j, out);
        for (; j < k; j += 24, out += 256) {
            int8_t end[32] = {0};
            memcpy(end, row + j, (size_t)(padded - j < 24 ? padded - j : 24));
            lut3_step(end, out);
        }
    }
}

//@ t3_dot_avx2 : t3_layout
/* Sums of the 32 rows of a block, a row a byte lane, by tables [steps * 256].
 *
 * A group is one shuffle in the table of the low halves and one in that of the high; where the
 * weights' sign bit is set both are inverted, which `loss` puts right. Exact: 8 low halves are
 * within 8 * [-16, 15] = [-128, 120] and fit a byte, high ones too; then the even and the odd
 * rows' bytes widen, and int16 has room for 255 steps. */
BN_INLINE __m256i t3_table(const int8_t *t)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t));
}

/* sum[0], sum[1]: low halves of even and odd rows; sum[2], sum[3]: high. The empty assembly keeps
 * gcc 12 to one group at a time, all in registers. */
BN_INLINE void t3_steps(const uint8_t *w, const int8_t *t, int steps, __m256i *sum)
{
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const __m256i zero = _mm256_setzero_si256();
    __m256i le = zero, lo = zero, he = zero, ho = zero;

    for (int j = 0; j < steps; j++, w += 160, t += 256) {
        __m256i sign = _mm256_loadu_si256((const __m256i *)(w + 128)), l = zero, h = zero;
        _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
        _mm_prefetch((const char *)((uintptr_t)w + 4160), _MM_HINT_T0);
        _mm_prefetch((const char *)((uintptr_t)w + 4224), _MM_HINT_T0);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + g / 2 * 32)), m, a, b;
            v = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(v, 4) : v, low);
            m = _mm256_cmpgt_epi8(zero, sign);
            a = _mm256_xor_si256(_mm256_shuffle_epi8(t3_table(t + 32 * g), v), m);
            b = _mm256_xor_si256(_mm256_shuffle_epi8(t3_table(t + 32 * g + 16), v), m);
            sign = _mm256_add_epi8(sign, sign);
            l = _mm256_add_epi8(l, a);
            h = _mm256_add_epi8(h, b);
            __asm__ volatile("" : "+x"(l), "+x"(h), "+x"(sign));
        }
        le = _mm256_add_epi16(le, _mm256_maddubs_epi16(ones, l));
        lo = _mm256_add_epi16(lo, _mm256_srai_epi16(l, 8));
        he = _mm256_add_epi16(he, _mm256_maddubs_epi16(ones, h));
        ho = _mm256_add_epi16(ho, _mm256_srai_epi16(h, 8));
    }
    sum[0] = le, sum[1] = lo, sum[2] = he, sum[3] = ho;
}

/* y[4i .. 4i + 4) += low + 32 high, for each lane's rows. */
BN_INLINE void t3_widen(const __m256i *sum, int32_t *y)
{
    const __m256i factor = _mm256_set1_epi32(32 << 16 | 1);
    __m256i row[2][2];

    for (int i = 0; i < 2; i++) {
        __m256i a = _mm256_unpacklo_epi16(sum[i], sum[2 + i]);
        __m256i b = _mm256_unpackhi_epi16(sum[i], sum[2 + i]);
        row[i][0] = _mm256_madd_epi16(a, factor);
        row[i][1] = _mm256_madd_epi16(b, factor);
    }
    for (int i = 0; i < 4; i++) {
        const __m256i even = row[0][i / 2], odd = row[1][i / 2];
        const __m256i v =
            i % 2 ? _mm256_unpackhi_epi32(even, odd) : _mm256_unpacklo_epi32(even, odd);
        __m128i *first = (__m128i *)(y + 4 * i), *second = (__m128i *)(y + 16 + 4 * i);
        _mm_storeu_si128(first, _mm_add_epi32(_mm_loadu_si128(first), _mm256_castsi256_si128(v)));
        _mm_storeu_si128(second,
                         _mm_add_epi32(_mm_loadu_si128(second), _mm256_extracti128_si256(v, 1)));
    }
}

/* y[r] = the sum of row r, loss included. Not inlined: the loop above needs every register, and gcc
 * 12 would keep constants of its caller in some. */
#if defined(__GNUC__)
__attribute__((noinline, unused))
#endif
static void
t3_rows(const uint8_t *w, const int8_t *t, const int32_t *loss, int steps, int32_t *y)
{
    memcpy(y, loss, 32 * sizeof *y);
    for (int j = 0; j < steps; j += 255) {
        __m256i sum[4];
        t3_steps(w + (size_t)j * 160, t + (size_t)j * 256, steps - j < 255 ? steps - j : 255, sum);
        t3_widen(sum, y);
    }
}

//@ tmatmul_t3_avx2 : t3_dot_avx2 out4
/* Bit-exact with tmatmul_t3 of scalar_t3.c, for one token whose tables are t. */
BN_INLINE void tmatmul_t3_avx2(const uint8_t *w, const float *c, const int8_t *t, const float *s,
                               const float *res, float *y, int T, int n, int k, int from, int to)
{
    const __m256d factor = _mm256_set1_pd((double)(c[0] / s[0]));

    (void)T;
    for (int u = from; u < to; u++) {
        const int32_t *loss = (const int32_t *)(const void *)(c + 16) + 32 * (size_t)u;
        int32_t sum[32];
        t3_rows(w + (size_t)u * BN_T3_BLOCK(k), t, loss, BN_T3_STEPS(k), sum);
        for (int i = 0, r = 32 * u; i < 32 && r < n; i += 4, r += 4) {
            const __m128i four = _mm_loadu_si128((const __m128i *)(sum + i));
            out4(y + r, out4_times(four, factor), res ? res + r : NULL, n - r);
        }
    }
}

//@ tglu_t3_avx2 : t3_dot_avx2 out4 act4
/* As tglu_t3 of scalar_t3.c, but for exp, for one token whose tables are t. */
BN_INLINE void tglu_t3_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                            const int8_t *t, const float *s, float *y, int act, int T, int n, int k,
                            int from, int to)
{
    const __m256d fg = _mm256_set1_pd((double)(cg[0] / s[0]));
    const __m256d fu = _mm256_set1_pd((double)(cu[0] / s[0]));

    (void)T;
    for (int u = from; u < to; u++) {
        const int32_t *lg = (const int32_t *)(const void *)(cg + 16) + 32 * (size_t)u;
        const int32_t *lu = (const int32_t *)(const void *)(cu + 16) + 32 * (size_t)u;
        int32_t gate[32], up[32];
        t3_rows(wg + (size_t)u * BN_T3_BLOCK(k), t, lg, BN_T3_STEPS(k), gate);
        t3_rows(wu + (size_t)u * BN_T3_BLOCK(k), t, lu, BN_T3_STEPS(k), up);
        for (int i = 0, r = 32 * u; i < 32 && r < n; i += 4, r += 4) {
            const __m128i g = _mm_loadu_si128((const __m128i *)(gate + i));
            const __m128i v = _mm_loadu_si128((const __m128i *)(up + i));
            out4_store(y + r, act4(out4_times(g, fg), out4_times(v, fu), act), n - r);
        }
    }
}
