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

//@ linear_rows : load8 load8_half sum8
/* Element i of every dot product goes to accumulator i / 8 % 2, lane i % 8, whatever its company.
 * Accumulators have names: what loops over arrays of them becomes, the compilers disagree on. */
enum { BN_W_F32, BN_W_F16, BN_W_BF16 };

BN_INLINE __m256 linear_load(const uint8_t *w, int format, int i, int k)
{
    if (format == BN_W_F32)
        return load8((const float *)(const void *)w, i, k);
    if (format == BN_W_F16)
        return _mm256_cvtph_ps(load8_half(w, i, k));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load8_half(w, i, k)), 16));
}

/* 16 elements, zeros from `end` on. */
BN_INLINE void linear_step(const uint8_t *w, const float *x, int format, int i, int end, __m256 *a,
                           __m256 *b)
{
    *a = _mm256_fmadd_ps(linear_load(w, format, i, end), load8(x, i, end), *a);
    *b = _mm256_fmadd_ps(linear_load(w, format, i + 8, end), load8(x, i + 8, end), *b);
}

/* y[0], y[1] = w0 . x0, w1 . x0; y[next], y[next + 1] = w2 . x1, w3 . x1. */
BN_INLINE void linear_four(const uint8_t *w0, const uint8_t *w1, const uint8_t *w2,
                           const uint8_t *w3, const float *x0, const float *x1, int format, int k,
                           float *y, size_t next)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    int i = 0;

    for (; i + 16 <= k; i += 16) {
        linear_step(w0, x0, format, i, i + 16, &a, &b);
        linear_step(w1, x0, format, i, i + 16, &c, &d);
        linear_step(w2, x1, format, i, i + 16, &e, &f);
        linear_step(w3, x1, format, i, i + 16, &g, &h);
    }
    if (i < k) {
        linear_step(w0, x0, format, i, k, &a, &b);
        linear_step(w1, x0, format, i, k, &c, &d);
        linear_step(w2, x1, format, i, k, &e, &f);
        linear_step(w3, x1, format, i, k, &g, &h);
    }
    y[0] = sum8(_mm256_add_ps(a, b));
    y[1] = sum8(_mm256_add_ps(c, d));
    y[next] = sum8(_mm256_add_ps(e, f));
    y[next + 1] = sum8(_mm256_add_ps(g, h));
}

/* One token: four rows (of `row` bytes) share x. More: two rows by two tokens share both. */
BN_INLINE void linear_rows(const void *weights, size_t row, int format, const float *x, float *y,
                           int T, int n, int k, int from, int to)
{
    const uint8_t *w = (const uint8_t *)weights + (size_t)from * row;
    const size_t next = (size_t)n;
    int r = from;
    float one[4];

    for (; r + 4 <= to; r += 4, w += 4 * row) {
        const uint8_t *u = w + row, *v = u + row, *z = v + row;
        for (int t = 0; t < T; t += 2) {
            const float *in = x + (size_t)t * (size_t)k;
            float *out = y + (size_t)t * next + (size_t)r;
            if (t + 1 < T) {
                linear_four(w, u, w, u, in, in + k, format, k, out, next);
                linear_four(v, z, v, z, in, in + k, format, k, out + 2, next);
            } else {
                linear_four(w, u, v, z, in, in, format, k, out, 2);
            }
        }
    }
    for (; r < to; r++, w += row)
        for (int t = 0; t < T; t++) {
            const float *in = x + (size_t)t * (size_t)k;
            linear_four(w, w, w, w, in, in, format, k, one, 2); /* one product, four times */
            y[(size_t)t * next + (size_t)r] = one[0];
        }
}

//@ linear_f32_avx2 : linear_rows
/* y[t][n] = sum_k w[n][k] x[t][k] for rows [from, to) of w [N x K]; x [T x K], y [T x N]. */
BN_INLINE void linear_f32_avx2(const void *w, const float *x, float *y, int T, int n, int k,
                               int from, int to)
{
    linear_rows(w, 4 * (size_t)k, BN_W_F32, x, y, T, n, k, from, to);
}

//@ linear_f16_avx2 : linear_rows
BN_INLINE void linear_f16_avx2(const void *w, const float *x, float *y, int T, int n, int k,
                               int from, int to)
{
    linear_rows(w, 2 * (size_t)k, BN_W_F16, x, y, T, n, k, from, to);
}

//@ linear_bf16_avx2 : linear_rows
BN_INLINE void linear_bf16_avx2(const void *w, const float *x, float *y, int T, int n, int k,
                                int from, int to)
{
    linear_rows(w, 2 * (size_t)k, BN_W_BF16, x, y, T, n, k, from, to);
}

//@ linear_q8_0_avx2 : sum8
/* The same with w in Q8_0 (see load_q8_0), k a multiple of 32. `rows` rows by one token. */
BN_INLINE __m256 q8_0_part(const uint8_t *codes, const float *x, __m256 sum)
{
    __m128i c = _mm_loadl_epi64((const __m128i *)codes);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(c)), _mm256_loadu_ps(x), sum);
}

BN_INLINE void q8_0_tile(const uint8_t *w, size_t row, const float *x, float *y, int k, int rows)
{
    __m256 sum[4];

    for (int r = 0; r < rows; r++)
        sum[r] = _mm256_setzero_ps();
    for (int i = 0; i < k; i += 32, w += 34) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *block = w + (size_t)r * row;
            uint16_t h;
            memcpy(&h, block, sizeof h);
            __m256 unit = _mm256_cvtph_ps(_mm_set1_epi16((short)h));
            __m256 part = q8_0_part(block + 2, x + i, _mm256_setzero_ps());
            part = q8_0_part(block + 10, x + i + 8, part);
            part = q8_0_part(block + 18, x + i + 16, part);
            part = q8_0_part(block + 26, x + i + 24, part);
            sum[r] = _mm256_fmadd_ps(part, unit, sum[r]);
        }
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum8(sum[r]);
}

BN_INLINE void linear_q8_0_avx2(const void *weights, const float *x, float *y, int T, int n, int k,
                                int from, int to)
{
    const size_t row = (size_t)k / 32 * 34;
    const uint8_t *w = (const uint8_t *)weights + (size_t)from * row;
    int r = from;

    for (; r + 4 <= to; r += 4, w += 4 * row)
        for (int t = 0; t < T; t++)
            q8_0_tile(w, row, x + (size_t)t * (size_t)k, y + (size_t)t * (size_t)n + (size_t)r, k,
                      4);
    for (; r < to; r++, w += row)
        for (int t = 0; t < T; t++)
            q8_0_tile(w, row, x + (size_t)t * (size_t)k, y + (size_t)t * (size_t)n + (size_t)r, k,
                      1);
}

//@ attend_avx2 : load8 exp8
/* `each` (at most 4) queries over the same n positions; q, y [each x head_dim],
 * k, v [n x head_dim]. Blocks of 32 positions with running maxima, as in attend of scalar.c.
 *
 *   score    | position 0: query 0 1 2 3 | position 1: query 0 1 2 3 | ...  so that maximum,
 *            exponential and sum run down the columns; columns from `each` on are idle.       */
BN_INLINE __m128 attend_sum(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* score[j][h] = q[h] . k[j] for two positions, which may be one. */
BN_INLINE void attend_scores(const float *q, const float *k0, const float *k1, float *score,
                             int head_dim, int each)
{
    __m256 a[8];

    for (int h = 0; h < 8; h++)
        a[h] = _mm256_setzero_ps();
    for (int i = 0; i < head_dim; i += 8) {
        __m256 u = load8(k0, i, head_dim), v = load8(k1, i, head_dim);
#pragma GCC unroll 4
        for (int h = 0; h < each; h++) {
            __m256 x = load8(q + (size_t)h * (size_t)head_dim, i, head_dim);
            a[h] = _mm256_fmadd_ps(u, x, a[h]);
            a[4 + h] = _mm256_fmadd_ps(v, x, a[4 + h]);
        }
    }
    _mm_storeu_ps(score, attend_sum(a[0], a[1], a[2], a[3]));
    _mm_storeu_ps(score + 4, attend_sum(a[4], a[5], a[6], a[7]));
}

/* y[h][at .. at + 16) = y * shrink[h] + sum_j score[j][h] v[j]; the first block ignores y. */
BN_INLINE void attend_values(const float *v, const float *score, const float *shrink, float *y,
                             int at, int m, int head_dim, int each, int first)
{
    __m256 a[4], b[4];

#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        const float *old = y + (size_t)h * (size_t)head_dim;
        const __m256 less = _mm256_set1_ps(shrink[h]);
        a[h] = b[h] = _mm256_setzero_ps();
        if (!first) {
            a[h] = _mm256_mul_ps(load8(old, at, head_dim), less);
            b[h] = _mm256_mul_ps(load8(old, at + 8, head_dim), less);
        }
    }
    for (int j = 0; j < m; j++, score += 4) {
        const float *row = v + (size_t)j * (size_t)head_dim;
        __m256 lower = load8(row, at, head_dim), upper = load8(row, at + 8, head_dim);
#pragma GCC unroll 4
        for (int h = 0; h < each; h++) {
            __m256 p = _mm256_broadcast_ss(score + h);
            a[h] = _mm256_fmadd_ps(p, lower, a[h]);
            b[h] = _mm256_fmadd_ps(p, upper, b[h]);
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        store8(y + (size_t)h * (size_t)head_dim, at, head_dim, a[h]);
        store8(y + (size_t)h * (size_t)head_dim, at + 8, head_dim, b[h]);
    }
}

/* Turns m scores into exp((score - top) * unit); returns their sum a column. An odd m has an idle
 * position behind it. */
BN_INLINE __m128 attend_weights(float *score, int m, __m128 top, float unit)
{
    const __m256 tops = _mm256_set_m128(top, top), units = _mm256_set1_ps(unit);
    __m256 sum = _mm256_setzero_ps();

    if (m % 2 != 0)
        _mm_storeu_ps(score + 4 * m, _mm_set1_ps(-INFINITY));
    for (int j = 0; j < m; j += 2) {
        __m256 p = _mm256_sub_ps(_mm256_loadu_ps(score + 4 * j), tops);
        p = exp8(_mm256_mul_ps(p, units));
        _mm256_storeu_ps(score + 4 * j, p);
        sum = _mm256_add_ps(sum, p);
    }
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}

BN_INLINE void attend_avx2(const float *q, const float *k, const float *v, float *y, int n,
                           int head_dim, int each)
{
    const float unit = 1.0f / sqrtf((float)head_dim);
    __m128 top = _mm_set1_ps(-INFINITY), total = _mm_setzero_ps();
    float score[32 * 4], shrink[4], ends[4];

    for (int at = 0; at < n; at += 32) {
        const int m = n - at < 32 ? n - at : 32;
        const float *keys = k + (size_t)at * (size_t)head_dim;
        const __m128 before = top;
        __m128 less;

        for (int j = 0; j < m; j += 2) {
            const float *key = keys + (size_t)j * (size_t)head_dim;
            attend_scores(q, key, j + 1 < m ? key + head_dim : key, score + 4 * j, head_dim, each);
            top = _mm_max_ps(top, _mm_loadu_ps(score + 4 * j));
            top = _mm_max_ps(top, _mm_loadu_ps(score + 4 * j + 4));
        }
        less = _mm_mul_ps(_mm_sub_ps(before, top), _mm_set1_ps(unit));
        less = _mm256_castps256_ps128(exp8(_mm256_set_m128(less, less)));
        _mm_storeu_ps(shrink, less);
        total = _mm_fmadd_ps(total, less, attend_weights(score, m, top, unit));
        for (int i = 0; i < head_dim; i += 16)
            attend_values(v + (size_t)at * (size_t)head_dim, score, shrink, y, i, m, head_dim, each,
                          at == 0);
    }
    _mm_storeu_ps(ends, _mm_div_ps(_mm_set1_ps(1.0f), total));
    for (int h = 0; h < each; h++)
        for (int i = 0; i < head_dim; i += 8) {
            float *out = y + (size_t)h * (size_t)head_dim;
            store8(out, i, head_dim,
                   _mm256_mul_ps(load8(out, i, head_dim), _mm256_set1_ps(ends[h])));
        }
}

//@ attention_avx2 : attend_avx2
/* Token t attends to positions 0 .. pos + t; q, y [T x heads x head_dim], apart;
 * kcache, vcache [groups x context x head_dim]; up to four queries share what is read. */
BN_INLINE void attention_avx2(const float *q, const float *kcache, const float *vcache, float *y,
                              int pos, int T, int heads, int groups, int context, int head_dim,
                              int from, int to)
{
    const int each = heads / groups, odd = each % 4;

    for (int g = from; g < to; g++) {
        const float *k = kcache + (size_t)g * (size_t)context * (size_t)head_dim;
        const float *v = vcache + (size_t)g * (size_t)context * (size_t)head_dim;
        for (int t = 0; t < T; t++) {
            size_t at = ((size_t)t * (size_t)heads + (size_t)g * (size_t)each) * (size_t)head_dim;
            for (int h = 0; h + 4 <= each; h += 4, at += 4 * (size_t)head_dim)
                attend_avx2(q + at, k, v, y + at, pos + t + 1, head_dim, 4);
            if (odd == 3)
                attend_avx2(q + at, k, v, y + at, pos + t + 1, head_dim, 3);
            else if (odd == 2)
                attend_avx2(q + at, k, v, y + at, pos + t + 1, head_dim, 2);
            else if (odd == 1)
                attend_avx2(q + at, k, v, y + at, pos + t + 1, head_dim, 1);
        }
    }
}

//@ quant_row_avx2 : qpad quant_scale load8
/* One token: v = g ? x * unit * g : x, then quantized as quant_row of scalar.c does, to the bit.
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

//@ q2_dot_avx2 : q2_layout
/* Sums of code * q, code = w + 1, over `steps` steps of 128 k.
 *
 * A row's 32 bytes give four planes without unpacking to bytes of 0..2:
 *
 *   w & 3 -> k = i, codes 0 1 2          w & 12 -> k = 32 + i, codes 0 4 8
 *   w>>4 & 3 -> k = 64 + i, codes 0 1 2  w>>4 & 12 -> k = 96 + i, codes 0 4 8
 *
 * so `one` and `four` keep accumulators of their own, and 4 * one + four is 4 times the sum.
 * Exact: a vpmaddubsw pair of `four` is within 2 * 8 * [-128, 127] = [-2048, 2032]; 2 pairs a
 * step and 8 steps make [-32768, 32512], just inside int16; `one` needs a quarter of that. Then
 * both widen to int32, whose total 4 * 2 * 128 * K has room for K < 2^21. */
BN_INLINE __m128i q2_reduce(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_srai_epi32(
        _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)), 2);
}

BN_INLINE __m256i q2_widen(__m256i sum, __m256i one, __m256i four)
{
    one = _mm256_madd_epi16(one, _mm256_set1_epi16(4));
    four = _mm256_madd_epi16(four, _mm256_set1_epi16(1));
    return _mm256_add_epi32(sum, _mm256_add_epi32(one, four));
}

/* The empty assembly below makes gcc 12 work row by row and keep what it has in registers; left
 * alone it reloads and spills, which costs a fifth of the speed. */
BN_INLINE __m256i q2_mad(__m256i sum, __m256i codes, const int8_t *q)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)q);
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
}

/* 4 rows (w: a block's step) by 1 token: lane r is row r. The prefetch, past the end of the last
 * block too, is worth 1.3x from memory. */
BN_INLINE __m128i q2_rows(const uint8_t *w, const int8_t *q, int steps)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + 8 < steps ? j + 8 : steps;
        __m256i one[4] = {zero, zero, zero, zero}, four[4] = {zero, zero, zero, zero};
        for (; j < end; j++, w += 128, q += 128) {
            _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
            _mm_prefetch((const char *)((uintptr_t)w + 4160), _MM_HINT_T0);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                __m256i v = _mm256_loadu_si256((const __m256i *)(w + 32 * r)), u;
                __asm__ volatile("" : "+x"(v));
                u = _mm256_srli_epi16(v, 4);
                one[r] = q2_mad(one[r], _mm256_and_si256(v, m3), q);
                four[r] = q2_mad(four[r], _mm256_and_si256(v, m12), q + 32);
                one[r] = q2_mad(one[r], _mm256_and_si256(u, m3), q + 64);
                four[r] = q2_mad(four[r], _mm256_and_si256(u, m12), q + 96);
                __asm__ volatile("" : "+x"(one[r]), "+x"(four[r]));
            }
        }
        for (int r = 0; r < 4; r++)
            sum[r] = q2_widen(sum[r], one[r], four[r]);
    }
    return q2_reduce(sum[0], sum[1], sum[2], sum[3]);
}

/* 1 row (w: its 32 bytes of a step) by 4 tokens (rows of q, `stride` bytes): lane t is token t. */
BN_INLINE __m128i q2_tokens(const uint8_t *w, const int8_t *q, size_t stride, int steps)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + 8 < steps ? j + 8 : steps;
        __m256i one[4] = {zero, zero, zero, zero}, four[4] = {zero, zero, zero, zero};
        for (; j < end; j++, q += 128) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + 128 * (size_t)j));
            __m256i u = _mm256_srli_epi16(v, 4);
            __m256i a = _mm256_and_si256(v, m3), b = _mm256_and_si256(v, m12);
            __m256i c = _mm256_and_si256(u, m3), d = _mm256_and_si256(u, m12);
            __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
                const int8_t *x = q + (size_t)t * stride;
                one[t] = q2_mad(q2_mad(one[t], a, x), c, x + 64);
                four[t] = q2_mad(q2_mad(four[t], b, x + 32), d, x + 96);
                __asm__ volatile("" : "+x"(one[t]), "+x"(four[t]));
            }
        }
        for (int t = 0; t < 4; t++)
            sum[t] = q2_widen(sum[t], one[t], four[t]);
    }
    return q2_reduce(sum[0], sum[1], sum[2], sum[3]);
}

/* The sum of q over `steps` steps of one token, to be taken off. */
BN_INLINE int32_t q2_bias(const int8_t *q, int steps)
{
    const __m256i ones = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    __m128i a;

    for (int i = 0; i < 128 * steps; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, x), words));
    }
    a = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

//@ q2_value_avx2 : q2_dot_avx2 load8
/* Outputs of one block of 4 rows before the residual, as q2_value of scalar.c, to the bit. w is
 * the block; c its scales: c[0], or (blocked) the first scale of its first row, `rows` rows being
 * real; bias the sum of each token's q (unused if blocked). v[t]: lane r is row r for token t. */
BN_INLINE __m256d q2_scales(const float *c, int b, int rows, int k)
{
    const size_t next = BN_Q2_SCALES((size_t)k);
    float v[4];

    for (int r = 0; r < 4; r++)
        v[r] = r < rows ? c[(size_t)r * next + (size_t)b] : 0.0f;
    return _mm256_cvtps_pd(_mm_loadu_ps(v));
}

BN_INLINE __m256d q2_times(__m128i codes, int32_t bias, __m256d factor)
{
    __m128i sum = _mm_sub_epi32(codes, _mm_set1_epi32(bias));
    return _mm256_mul_pd(_mm256_cvtepi32_pd(sum), factor);
}

/* codes[t]: lane r is the sum of row r for token t, of `toks` (1 or 4) tokens. */
BN_INLINE void q2_codes(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                        __m128i *codes)
{
    __m128i a, b, c, d, ab, cd;

    if (toks == 1) {
        codes[0] = q2_rows(w, q, steps);
        return;
    }
    a = q2_tokens(w, q, stride, steps);
    b = q2_tokens(w + 32, q, stride, steps);
    c = q2_tokens(w + 64, q, stride, steps);
    d = q2_tokens(w + 96, q, stride, steps);
    ab = _mm_unpacklo_epi32(a, b);
    cd = _mm_unpacklo_epi32(c, d);
    codes[0] = _mm_unpacklo_epi64(ab, cd);
    codes[1] = _mm_unpackhi_epi64(ab, cd);
    ab = _mm_unpackhi_epi32(a, b);
    cd = _mm_unpackhi_epi32(c, d);
    codes[2] = _mm_unpacklo_epi64(ab, cd);
    codes[3] = _mm_unpackhi_epi64(ab, cd);
}

BN_INLINE void q2_values(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                         const int32_t *bias, int rows, int k, int blocked, int toks, __m256d *v)
{
    const size_t stride = BN_QPAD((size_t)k);
    const int steps = BN_Q2_STEPS(k);
    __m128i codes[4];

    if (!blocked) {
        q2_codes(w, q, stride, steps, toks, codes);
        for (int t = 0; t < toks; t++)
            v[t] = q2_times(codes[t], bias[t], _mm256_set1_pd((double)(c[0] / s[t])));
        return;
    }
    for (int t = 0; t < toks; t++)
        v[t] = _mm256_setzero_pd();
    for (int j = 0; j < steps; j += 2) {
        const int part = steps - j < 2 ? steps - j : 2;
        const int8_t *x = q + (size_t)j * 128;
        const __m256d unit = q2_scales(c, j / 2, rows, k);
        q2_codes(w + (size_t)j * 128, x, stride, part, toks, codes);
        for (int t = 0; t < toks; t++)
            v[t] = _mm256_add_pd(v[t], q2_times(codes[t], q2_bias(x + (size_t)t * stride, part),
                                                unit));
    }
    for (int t = 0; t < toks; t++)
        v[t] = _mm256_div_pd(v[t], _mm256_set1_pd((double)s[t]));
}

/* v + res, and the writing, of the `rows` real rows of a block for one token. */
BN_INLINE __m128 q2_add(__m256d v, const float *res, int rows)
{
    const __m128i real = _mm256_castsi256_si128(mask8(rows));
    __m128 u = rows >= 4 ? _mm_loadu_ps(res) : _mm_maskload_ps(res, real);
    return _mm256_cvtpd_ps(_mm256_add_pd(v, _mm256_cvtps_pd(u)));
}

BN_INLINE void q2_store(float *y, __m128 v, int rows)
{
    if (rows >= 4)
        _mm_storeu_ps(y, v);
    else
        _mm_maskstore_ps(y, _mm256_castsi256_si128(mask8(rows)), v);
}

//@ q2_run_avx2 : q2_value_avx2 exp8 modes
/* act(gate) * up of one block for one token. */
BN_INLINE __m128 q2_act(__m256d wide, __m256d up, int act)
{
    __m128 gate = _mm256_cvtpd_ps(wide);

    if (act == BN_SILU) {
        __m128 minus = _mm_xor_ps(gate, _mm_set1_ps(-0.0f));
        __m128 e = _mm256_castps256_ps128(exp8(_mm256_set_m128(minus, minus)));
        gate = _mm_div_ps(gate, _mm_add_ps(_mm_set1_ps(1.0f), e));
    } else {
        gate = _mm_max_ps(gate, _mm_setzero_ps());
        gate = _mm_mul_ps(gate, gate);
    }
    return _mm_mul_ps(gate, _mm256_cvtpd_ps(up));
}

/* One block of 4 rows by `toks` (1 or 4) tokens. */
BN_INLINE void q2_tile(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                       const int8_t *q, const float *s, const int32_t *bias, const float *res,
                       float *y, int act, int n, int rows, int k, int blocked, int toks)
{
    __m256d v[4], up[4];

    q2_values(w, c, q, s, bias, rows, k, blocked, toks, v);
    if (wu)
        q2_values(wu, cu, q, s, bias, rows, k, blocked, toks, up);
    for (int t = 0; t < toks; t++) {
        const size_t at = (size_t)t * (size_t)n;
        if (wu)
            q2_store(y + at, q2_act(v[t], up[t], act), rows);
        else if (res)
            q2_store(y + at, q2_add(v[t], res + at, rows), rows);
        else
            q2_store(y + at, _mm256_cvtpd_ps(v[t]), rows);
    }
}

/* Blocks [from, to) of 4 rows: y = value + res without wu, else act(value) * value of wu. Tokens
 * go by 64, whose sums of q are kept, then (a block of weights stays in L1) by 4, then singly. */
BN_INLINE void q2_run(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                      int n, int k, int from, int to, int blocked)
{
    const size_t stride = BN_QPAD((size_t)k), scales = blocked ? 4 * BN_Q2_SCALES((size_t)k) : 0;
    int32_t bias[64];

    for (int base = 0; base < T; base += 64) {
        const int end = T - base < 64 ? T : base + 64;
        for (int t = base; t < end; t++)
            bias[t - base] = blocked ? 0 : q2_bias(q + (size_t)t * stride, BN_Q2_STEPS(k));
        for (int u = from; u < to; u++) {
            const size_t block = (size_t)u * stride;
            const uint8_t *bw = w + block, *bu = wu ? wu + block : NULL;
            const float *unit = c + (size_t)u * scales, *uu = cu ? cu + (size_t)u * scales : NULL;
            const int rows = n - 4 * u < 4 ? n - 4 * u : 4;
            int t = base;
            for (; t + 4 <= end; t += 4) {
                const size_t at = (size_t)t * (size_t)n + 4 * (size_t)u;
                q2_tile(bw, unit, bu, uu, q + (size_t)t * stride, s + t, bias + (t - base),
                        res ? res + at : NULL, y + at, act, n, rows, k, blocked, 4);
            }
            for (; t < end; t++) {
                const size_t at = (size_t)t * (size_t)n + 4 * (size_t)u;
                q2_tile(bw, unit, bu, uu, q + (size_t)t * stride, s + t, bias + (t - base),
                        res ? res + at : NULL, y + at, act, n, rows, k, blocked, 1);
            }
        }
    }
}

//@ tmatmul_q2_avx2 : q2_run_avx2
/* As in scalar.c, to the bit: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                               const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 0);
}

//@ tmatmul_q2b_avx2 : q2_run_avx2
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 1);
}

//@ tglu_q2_avx2 : q2_run_avx2
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                            const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                            int from, int to)
{
    q2_run(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b_avx2 : q2_run_avx2
BN_INLINE void tglu_q2b_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                             const int8_t *q, const float *s, float *y, int act, int T, int n,
                             int k, int from, int to)
{
    q2_run(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 1);
}
