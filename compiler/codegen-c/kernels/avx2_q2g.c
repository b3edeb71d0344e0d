/* avx2_q2g.c: ternary weights with an f16 scale for each group of columns (scalar_q2g.c pictures them),
 * AVX2. Rows stand in lanes: four columns of 8 rows are a register of bytes, the four activations are the
 * same for all, and sums of a group become floats, times scales, without leaving their lanes. Float sums
 * go from group to group as in scalar_q2g.c: the same bits.
 */
#ifndef BN_KERNELS_AVX2_Q2
#include "avx2_q2.c"
#endif
#ifndef BN_KERNELS_SCALAR_Q2G
#include "scalar_q2g.c"
#endif
#define BN_KERNELS_AVX2_Q2G /* its neighbours lean on chunks of this file */

//@ quant_group_row_avx2 : q2g_layout quant_row_avx2
/* quant_group_row of scalar_q2g.c, to the bit. */
BN_INLINE float group_most_avx2(const float *x, const float *g, __m256 unit, int n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_setzero_ps();
    __m128 most;
    float v;
    int i = 0;

    for (; i + 8 <= n; i += 8)
        a = _mm256_max_ps(_mm256_andnot_ps(sign, quant_input(x, g, unit, i, i + 8)), a);
    if (i < n)
        a = _mm256_max_ps(_mm256_andnot_ps(sign, quant_input(x, g, unit, i, n)), a);
    most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    most = _mm_max_ps(most, _mm_movehdup_ps(most));
    v = _mm_cvtss_f32(most);
    return v > 1e-30f ? v : 1e-30f;
}

/* The sum of n values of q, zeros behind them up to a multiple of 32. */
BN_INLINE float group_sum(const int8_t *q, int n)
{
    const __m256i ones = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    __m128i a;

    for (int i = 0; i < n; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, x), words));
    }
    a = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return (float)_mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

BN_INLINE void quant_group_row_avx2(const float *x, const float *g, float scalar_unit, int8_t *q,
                                    float *s, int k, int group, int scale)
{
    const __m256 unit = _mm256_set1_ps(scalar_unit);
    float most = scale == BN_TOKEN ? group_most_avx2(x, g, unit, k) : 0.0f;

    memset(q + k / 128 * 128, 0, (size_t)(BN_QPAD(k) - k / 128 * 128));
    for (int at = 0; at < k; at += group, s += 2) {
        const int n = k - at < group ? k - at : group;
        __m256 factor;
        if (scale != BN_TOKEN)
            most = group_most_avx2(x + at, g ? g + at : NULL, unit, n);
        factor = _mm256_set1_ps(127.0f / most);
        for (int i = 0; i < n; i += 32)
            quant_step(x + at, g ? g + at : NULL, unit, factor, q + at, i, n);
        s[0] = most / 127.0f;
        s[1] = group_sum(q + at, n);
    }
}

//@ quant_group_avx2 : quant_group_row_avx2
/* x [T x K], q [T x BN_QPAD(K)], s [T x 2 ceil(K / group)]. */
BN_INLINE void quant_group_avx2(const float *x, int8_t *q, float *s, int k, int group, int scale,
                                int from, int to)
{
    for (int t = from; t < to; t++)
        quant_group_row_avx2(
            x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k),
            s + 2 * (size_t)t * BN_Q2G_GROUPS((size_t)k, (size_t)group), k, group, scale);
}

//@ rmsnorm_quant_group_avx2 : rmsnorm_quant_avx2 quant_group_row_avx2
BN_INLINE void rmsnorm_quant_group_avx2(const float *x, const float *g, int8_t *q, float *s, int k,
                                        float eps, int group, int scale, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_group_row_avx2(
            in, g, rms_unit(rms_sum_avx2(in, k), k, eps), q + (size_t)t * BN_QPAD((size_t)k),
            s + 2 * (size_t)t * BN_Q2G_GROUPS((size_t)k, (size_t)group), k, group, scale);
    }
}

//@ q2g_store_avx2 : q2g_run act4 load8
/* act(gate) * up of 8 rows, as act4. */
BN_INLINE __m256 act8(__m256 gate, __m256 up, int act)
{
    if (act == BN_RELU2) {
        gate = _mm256_max_ps(gate, _mm256_setzero_ps());
        gate = _mm256_mul_ps(gate, gate);
    } else {
        __m256 arg = gate;
        if (act == BN_GELU)
            arg = _mm256_set_m128(gelu4(_mm256_extractf128_ps(gate, 1)),
                                  gelu4(_mm256_castps256_ps128(gate)));
        arg = exp8(_mm256_xor_ps(arg, _mm256_set1_ps(-0.0f)));
        gate = _mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0f), arg));
    }
    return _mm256_mul_ps(gate, up);
}

BN_INLINE void q2g_store_avx2(const float *v, const float *up, const float *res, float *y, int act,
                              int rows)
{
    for (int i = 0; i < rows; i += 8) {
        __m256 a = _mm256_loadu_ps(v + i);
        if (up)
            a = act8(a, _mm256_loadu_ps(up + i), act);
        else if (res)
            a = _mm256_add_ps(a, load8(res, i, rows));
        store8(y, i, rows, a);
    }
}

//@ q2g_add_avx2
/* A product that no compiler fuses with the sum that follows. */
BN_INLINE __m256 mul8_apart(__m256 a, __m256 b)
{
    __m256 v = _mm256_mul_ps(a, b);
    __asm__("" : "+x"(v));
    return v;
}

/* acc + (sum - s[1]) * (scale * s[0]) of 8 rows. */
BN_INLINE __m256 q2g_add8(__m256 acc, __m256i sum, __m256 scale, const float *s)
{
    const __m256 v = _mm256_sub_ps(_mm256_cvtepi32_ps(sum), _mm256_broadcast_ss(s + 1));
    const __m256 unit = _mm256_mul_ps(scale, _mm256_broadcast_ss(s));
    return _mm256_add_ps(acc, mul8_apart(v, unit));
}

/* Scales of 8 rows. */
BN_INLINE __m256 q2g_scale8(const uint8_t *scale)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)scale));
}

//@ q2g_core_avx2 : q2g_store_avx2 q2g_add_avx2
/* vpmaddubsw: pairs of bytes within 2 * 2 * [-128, 127]; of codes times 4 within [-2048, 2032]. Two of
 * these a tile and 8 tiles (128 k) make [-32768, 32512], just inside int16; of codes times 1, one for
 * each four of 256 k makes as much. */
BN_INLINE __m256i q2g_four(const int8_t *q)
{
    int32_t v;

    memcpy(&v, q, sizeof v);
    return _mm256_set1_epi32(v);
}

/* One token: codes are masked where they lie, those of planes 1 and 3 count four times in sums of their
 * own. */
BN_INLINE void q2g_one_avx2(const uint8_t *w, const int8_t *q, const float *s, int k, int group,
                            float *v)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    const int tiles = BN_Q2G_TILES(k);
    const uint8_t *scale = w + 64 * (size_t)tiles;
    const __m256 unit = _mm256_set1_ps(q2g_unit(w, k, group));
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (int at = 0; at < tiles; s += 2, scale += 32) {
        const int end = tiles - at < group / 16 ? tiles : at + group / 16;
        __m256i sum[2] = {zero, zero};
        while (at < end) {
            const int some = end - at < 8 ? end : at + 8;
            __m256i one[2] = {zero, zero}, four[2] = {zero, zero};
            for (; at < some; at++, w += 64, q += 16) {
                const __m256i a = q2g_four(q), b = q2g_four(q + 4);
                const __m256i c = q2g_four(q + 8), d = q2g_four(q + 12);
                _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    __m256i x = _mm256_loadu_si256((const __m256i *)(w + 32 * h)), z;
                    __asm__ volatile("" : "+x"(x));
                    z = _mm256_srli_epi16(x, 4);
                    one[h] =
                        _mm256_add_epi16(one[h], _mm256_maddubs_epi16(_mm256_and_si256(x, m3), a));
                    four[h] = _mm256_add_epi16(four[h],
                                               _mm256_maddubs_epi16(_mm256_and_si256(x, m12), b));
                    one[h] =
                        _mm256_add_epi16(one[h], _mm256_maddubs_epi16(_mm256_and_si256(z, m3), c));
                    four[h] = _mm256_add_epi16(four[h],
                                               _mm256_maddubs_epi16(_mm256_and_si256(z, m12), d));
                    __asm__ volatile("" : "+x"(one[h]), "+x"(four[h]));
                }
            }
            for (int h = 0; h < 2; h++)
                sum[h] = _mm256_add_epi32(
                    sum[h],
                    _mm256_add_epi32(_mm256_madd_epi16(one[h], ones),
                                     _mm256_srai_epi32(_mm256_madd_epi16(four[h], ones), 2)));
        }
        acc[0] = q2g_add8(acc[0], sum[0], q2g_scale8(scale), s);
        acc[1] = q2g_add8(acc[1], sum[1], q2g_scale8(scale + 16), s);
    }
    _mm256_storeu_ps(v, _mm256_mul_ps(acc[0], unit));
    _mm256_storeu_ps(v + 8, _mm256_mul_ps(acc[1], unit));
}

/* Codes of tiles [0, tiles) from w on, a byte each: out[4 * tile + plane][half]. */
BN_INLINE void q2g_unpack_avx2(const uint8_t *w, int tiles, __m256i (*out)[2])
{
    const __m256i m3 = _mm256_set1_epi8(3);

    for (int i = 0; i < tiles; i++, w += 64, out += 4)
        for (int h = 0; h < 2; h++) {
            const __m256i x = _mm256_loadu_si256((const __m256i *)(w + 32 * h));
            out[0][h] = _mm256_and_si256(x, m3);
            out[1][h] = _mm256_and_si256(_mm256_srli_epi16(x, 2), m3);
            out[2][h] = _mm256_and_si256(_mm256_srli_epi16(x, 4), m3);
            out[3][h] = _mm256_and_si256(_mm256_srli_epi16(x, 6), m3);
        }
}

/* One group, `fours` times four columns, of `toks` (a literal, at most 4) tokens, added to v. */
BN_INLINE void q2g_few_avx2(const __m256i (*codes)[2], int fours, const int8_t *q, size_t stride,
                            const float *s, size_t pairs, const __m256 *scale, int toks,
                            float (*v)[16])
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a[4], b[4];

#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    for (int i = 0; i < fours; i++, q += 4) {
        const __m256i low = codes[i][0], high = codes[i][1];
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            const __m256i x = q2g_four(q + (size_t)t * stride);
            a[t] = _mm256_add_epi16(a[t], _mm256_maddubs_epi16(low, x));
            b[t] = _mm256_add_epi16(b[t], _mm256_maddubs_epi16(high, x));
            __asm__ volatile("" : "+x"(a[t]), "+x"(b[t]));
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        const float *unit = s + (size_t)t * pairs;
        _mm256_storeu_ps(
            v[t], q2g_add8(_mm256_loadu_ps(v[t]), _mm256_madd_epi16(a[t], ones), scale[0], unit));
        _mm256_storeu_ps(v[t] + 8, q2g_add8(_mm256_loadu_ps(v[t] + 8),
                                            _mm256_madd_epi16(b[t], ones), scale[1], unit));
    }
}

/* few: q2g_few_avx2 or its like, inlined. */
typedef void (*q2g_few)(const __m256i (*codes)[2], int fours, const int8_t *q, size_t stride,
                        const float *s, size_t pairs, const __m256 *scale, int toks,
                        float (*v)[16]);
BN_INLINE void q2g_many(q2g_few few, const uint8_t *w, const int8_t *q, size_t stride,
                        const float *s, size_t pairs, int k, int group, int toks, float (*v)[16])
{
    const int tiles = BN_Q2G_TILES(k);
    const uint8_t *scale = w + 64 * (size_t)tiles;
    const __m256 unit = _mm256_set1_ps(q2g_unit(w, k, group));
    __m256i codes[64][2];

    memset(v, 0, (size_t)toks * sizeof *v);
    for (int at = 0; at < tiles; at += group / 16, s += 2, scale += 32) {
        const int some = tiles - at < group / 16 ? tiles - at : group / 16;
        const __m256 scales[2] = {q2g_scale8(scale), q2g_scale8(scale + 16)};
        const int8_t *x = q + 16 * (size_t)at;
        int t = 0;
        q2g_unpack_avx2(w + 64 * (size_t)at, some, codes);
        for (; t + 4 <= toks; t += 4)
            few((const __m256i(*)[2])codes, 4 * some, x + (size_t)t * stride, stride,
                s + (size_t)t * pairs, pairs, scales, 4, v + t);
        for (; t < toks; t++)
            few((const __m256i(*)[2])codes, 4 * some, x + (size_t)t * stride, stride,
                s + (size_t)t * pairs, pairs, scales, 1, v + t);
    }
    for (int t = 0; t < toks; t++) {
        _mm256_storeu_ps(v[t], _mm256_mul_ps(_mm256_loadu_ps(v[t]), unit));
        _mm256_storeu_ps(v[t] + 8, _mm256_mul_ps(_mm256_loadu_ps(v[t] + 8), unit));
    }
}

BN_INLINE void q2g_core_avx2(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                             size_t pairs, int k, int group, int toks, float (*v)[16])
{
    if (toks == 1)
        q2g_one_avx2(w, q, s, k, group, v[0]);
    else
        q2g_many(q2g_few_avx2, w, q, stride, s, pairs, k, group, toks, v);
}

//@ tmatmul_q2g64_avx2 : q2g_core_avx2
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx2, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_avx2 : q2g_core_avx2
BN_INLINE void tglu_q2g64_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx2, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_avx2 : q2g_core_avx2
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_avx2(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx2, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_avx2 : q2g_core_avx2
BN_INLINE void tglu_q2g128_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx2, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_avx2 : q2g_core_avx2
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_avx2(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    (void)c;
    q2g_run(q2g_core_avx2, q2g_store_avx2, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_avx2 : q2g_core_avx2
BN_INLINE void tglu_q2g256_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_avx2, q2g_store_avx2, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
