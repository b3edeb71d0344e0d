/* avx2_kv.c: the KV cache and attention over it, AVX2, FMA and F16C.
 *
 * One idea: up to four queries of one group share each key and value that is loaded, and a tile of
 * tokens shares a block of positions while it is in the nearest cache. A query's sums run in an
 * order of their own, whatever its company.
 */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif
#ifndef BN_KERNELS_SCALAR_KV
#include "scalar_kv.c"
#endif

//@ kv_rows : kv_formats load8 load8_half
/* A row is one head's keys or values at one position. */
BN_INLINE size_t kv_bytes(int format, int head_dim)
{
    return (size_t)head_dim * (format == BN_KV_F32 ? 4 : format == BN_KV_F16 ? 2 : 1);
}

/* Elements [i, i + 8) of a row, zeros from `end` on. */
BN_INLINE __m256 kv_load8(const uint8_t *row, int format, int i, int end)
{
    if (format == BN_KV_F32)
        return load8((const float *)(const void *)row, i, end);
    return _mm256_cvtph_ps(load8_half(row, i, end));
}

//@ attend_avx2 : kv_rows exp8
/* q, y [each x head_dim] of `each` (at most 4) queries; blocks of 32 positions with running
 * maxima, as in attend of scalar_kv.c.
 *
 *   score    | position 0: query 0 1 2 3 | position 1: query 0 1 2 3 | ...  so that maximum,
 *            exponential and sum run down the columns; columns from `each` on are idle.       */
BN_INLINE __m128 attend_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* a[h] += q[h] . u, a[4 + h] += q[h] . v, for 8 elements */
BN_INLINE void attend_key_step(const float *q, __m256 u, __m256 v, __m256 *a, int i, int head_dim,
                               int end, int each)
{
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        __m256 x = load8(q + (size_t)h * (size_t)head_dim, i, end);
        a[h] = _mm256_fmadd_ps(u, x, a[h]);
        a[4 + h] = _mm256_fmadd_ps(v, x, a[4 + h]);
    }
}

/* score[j][h] = q[h] . k[j] for two positions, which may be one. */
BN_INLINE void attend_keys(const float *q, const uint8_t *k0, const uint8_t *k1, int format,
                           float *score, int head_dim, int each)
{
    __m256 a[8];
    int i = 0;

#pragma GCC unroll 8
    for (int h = 0; h < 8; h++)
        a[h] = _mm256_setzero_ps();
    for (; i + 8 <= head_dim; i += 8)
        attend_key_step(q, kv_load8(k0, format, i, i + 8), kv_load8(k1, format, i, i + 8), a, i,
                        head_dim, i + 8, each);
    if (i < head_dim)
        attend_key_step(q, kv_load8(k0, format, i, head_dim), kv_load8(k1, format, i, head_dim), a,
                        i, head_dim, head_dim, each);
    _mm_storeu_ps(score, attend_sum4(a[0], a[1], a[2], a[3]));
    _mm_storeu_ps(score + 4, attend_sum4(a[4], a[5], a[6], a[7]));
}

/* y[h][i .. i + 16) = y * shrink[h] + sum_j score[j][h] v[j]; the first block ignores y. */
BN_INLINE void attend_columns(const uint8_t *v, int format, const float *score, const float *shrink,
                              float *y, int i, int m, int head_dim, int each, int first)
{
    const int end = i + 16 <= head_dim ? i + 16 : head_dim;
    __m256 a[4], b[4];

#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        const float *old = y + (size_t)h * (size_t)head_dim;
        const __m256 less = _mm256_set1_ps(shrink[h]);
        a[h] = b[h] = _mm256_setzero_ps();
        if (!first) {
            a[h] = _mm256_mul_ps(load8(old, i, end), less);
            b[h] = _mm256_mul_ps(load8(old, i + 8, end), less);
        }
    }
    for (int j = 0; j < m; j++, score += 4, v += kv_bytes(format, head_dim)) {
        __m256 lower = kv_load8(v, format, i, end), upper = kv_load8(v, format, i + 8, end);
#pragma GCC unroll 4
        for (int h = 0; h < each; h++) {
            __m256 p = _mm256_broadcast_ss(score + h);
            a[h] = _mm256_fmadd_ps(p, lower, a[h]);
            b[h] = _mm256_fmadd_ps(p, upper, b[h]);
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        store8(y + (size_t)h * (size_t)head_dim, i, end, a[h]);
        store8(y + (size_t)h * (size_t)head_dim, i + 8, end, b[h]);
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

/* The queries of one token over a block of m positions; k, v at its first row. */
BN_INLINE void attend_block(const float *q, const uint8_t *k, const uint8_t *v, int format,
                            float *y, int m, int head_dim, int each, int first, __m128 *tops,
                            __m128 *totals)
{
    const float unit = 1.0f / sqrtf((float)head_dim);
    const size_t row = kv_bytes(format, head_dim);
    const __m128 before = first ? _mm_set1_ps(-INFINITY) : *tops;
    __m128 top = before, less;
    float score[32 * 4], shrink[4];
    int i = 0;

    for (int j = 0; j < m; j += 2) {
        const uint8_t *key = k + (size_t)j * row;
        attend_keys(q, key, j + 1 < m ? key + row : key, format, score + 4 * j, head_dim, each);
        top = _mm_max_ps(top, _mm_loadu_ps(score + 4 * j));
        top = _mm_max_ps(top, _mm_loadu_ps(score + 4 * j + 4));
    }
    less = _mm_mul_ps(_mm_sub_ps(before, top), _mm_set1_ps(unit));
    less = _mm256_castps256_ps128(exp8(_mm256_set_m128(less, less)));
    _mm_storeu_ps(shrink, less);
    *totals =
        _mm_fmadd_ps(first ? _mm_setzero_ps() : *totals, less, attend_weights(score, m, top, unit));
    *tops = top;
    for (; i + 16 <= head_dim; i += 16)
        attend_columns(v, format, score, shrink, y, i, m, head_dim, each, first);
    if (i < head_dim)
        attend_columns(v, format, score, shrink, y, i, m, head_dim, each, first);
}

/* A tile: queries of tokens at pos, pos + 1 .. over what each may see; `next` floats lie from
 * token to token. */
enum { BN_KV_TILE = 8 };

BN_INLINE void attend_tile(const float *q, const uint8_t *k, const uint8_t *v, int format, float *y,
                           int pos, int tokens, size_t next, int head_dim, int each)
{
    __m128 top[BN_KV_TILE], total[BN_KV_TILE];

    for (int at = 0; at < pos + tokens; at += 32) {
        const size_t skip = (size_t)at * kv_bytes(format, head_dim);
        for (int t = at < pos ? 0 : at - pos; t < tokens; t++) {
            const int n = pos + t + 1 - at, m = n < 32 ? n : 32;
            attend_block(q + (size_t)t * next, k + skip, v + skip, format, y + (size_t)t * next, m,
                         head_dim, each, at == 0, top + t, total + t);
        }
    }
    for (int t = 0; t < tokens; t++) {
        float ends[4];
        _mm_storeu_ps(ends, _mm_div_ps(_mm_set1_ps(1.0f), total[t]));
        for (int h = 0; h < each; h++)
            for (int i = 0; i < head_dim; i += 8) {
                float *out = y + (size_t)t * next + (size_t)h * (size_t)head_dim;
                store8(out, i, head_dim,
                       _mm256_mul_ps(load8(out, i, head_dim), _mm256_set1_ps(ends[h])));
            }
    }
}

//@ kv_attention : attend_avx2 kv_row
BN_INLINE void kv_attention(const float *q, const uint8_t *k, const uint8_t *v, int format,
                            float *y, int pos, int T, int heads, int groups, int context,
                            int head_dim, int from, int to)
{
    const int each = heads / groups;
    const size_t next = (size_t)heads * (size_t)head_dim;

    for (int h = from, n; h < to; h += n) {
        const int g = h / each, left = (to < (g + 1) * each ? to : (g + 1) * each) - h;
        const size_t skip = (size_t)g * (size_t)context * kv_bytes(format, head_dim);
        n = left < 4 ? left : 4;
        for (int t = 0; t < T; t += BN_KV_TILE) {
            const int tokens = T - t < BN_KV_TILE ? T - t : BN_KV_TILE;
            const size_t at = kv_row(t, heads, h, head_dim);
            if (n == 4)
                attend_tile(q + at, k + skip, v + skip, format, y + at, pos + t, tokens, next,
                            head_dim, 4);
            else if (n == 3)
                attend_tile(q + at, k + skip, v + skip, format, y + at, pos + t, tokens, next,
                            head_dim, 3);
            else if (n == 2)
                attend_tile(q + at, k + skip, v + skip, format, y + at, pos + t, tokens, next,
                            head_dim, 2);
            else
                attend_tile(q + at, k + skip, v + skip, format, y + at, pos + t, tokens, next,
                            head_dim, 1);
        }
    }
}

//@ attention_f32_avx2 : kv_attention
/* Token t attends to positions 0 .. pos + t; q, y [T x heads x head_dim], apart; head h reads
 * group h / (heads / groups) of the caches. */
BN_INLINE void attention_f32_avx2(const float *q, const float *kcache, const float *vcache,
                                  float *y, int pos, int T, int heads, int groups, int context,
                                  int head_dim, int from, int to)
{
    kv_attention(q, (const uint8_t *)kcache, (const uint8_t *)vcache, BN_KV_F32, y, pos, T, heads,
                 groups, context, head_dim, from, to);
}

//@ attention_f16_avx2 : kv_attention
BN_INLINE void attention_f16_avx2(const float *q, const uint16_t *kcache, const uint16_t *vcache,
                                  float *y, int pos, int T, int heads, int groups, int context,
                                  int head_dim, int from, int to)
{
    kv_attention(q, (const uint8_t *)kcache, (const uint8_t *)vcache, BN_KV_F16, y, pos, T, heads,
                 groups, context, head_dim, from, to);
}

//@ store_f16_avx2 : kv_row load8
/* cache[g][pos + t] = x[t][g]; x [T x groups x head_dim], cache as in scalar_kv.c. */
BN_INLINE void store8_half(uint16_t *p, int i, int end, __m256 v)
{
    const __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
    uint16_t part[8];

    if (i + 8 <= end) {
        _mm_storeu_si128((__m128i *)(p + i), h);
    } else {
        _mm_storeu_si128((__m128i *)part, h);
        memcpy(p + i, part, 2 * (size_t)((end - i) & 7));
    }
}

BN_INLINE void store_f16_avx2(const float *x, uint16_t *cache, int pos, int T, int groups,
                              int context, int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, groups, g, head_dim);
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            for (int i = 0; i < head_dim; i += 8)
                store8_half(out, i, head_dim, load8(in, i, head_dim));
        }
}

//@ rope_store_f16_avx2 : store_f16_avx2 rope_head
/* rope, then store. Eight pairs a step: halves stand apart (neox) or interleave (norm). */
BN_INLINE void rope_store_f16_avx2(const float *x, const float *table, uint16_t *cache, int pos,
                                   int T, int groups, int context, int head_dim, int rot, int mode,
                                   int from, int to)
{
    const int half = rot / 2, step = mode == BN_NEOX ? 1 : 2, apart = mode == BN_NEOX ? half : 1;

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, groups, g, head_dim);
            const float *turn = table + (size_t)t * (size_t)rot;
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            float a[8] = {0}, b[8] = {0};
            for (int j = 0; j < half; j += 8) {
                const int n = half - j < 8 ? half - j : 8;
                __m256 u, v;
                rope_turn(in + j * step, turn + 2 * j, a, b, n, step, apart);
                u = _mm256_loadu_ps(a);
                v = _mm256_loadu_ps(b);
                if (mode == BN_NEOX) {
                    store8_half(out, j, half, u);
                    store8_half(out + half, j, half, v);
                } else {
                    const __m256 lo = _mm256_unpacklo_ps(u, v), hi = _mm256_unpackhi_ps(u, v);
                    store8_half(out, 2 * j, 2 * half, _mm256_permute2f128_ps(lo, hi, 0x20));
                    if (n > 4)
                        store8_half(out, 2 * j + 8, 2 * half, _mm256_permute2f128_ps(lo, hi, 0x31));
                }
            }
            for (int i = 2 * half; i < head_dim; i += 8)
                store8_half(out, i, head_dim, load8(in, i, head_dim));
        }
}
