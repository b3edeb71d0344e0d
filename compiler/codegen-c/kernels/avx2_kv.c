/* avx2_kv.c: the KV cache and attention over it, AVX2, FMA and F16C.
 *
 * One idea (GQA): up to four queries that attend to one KV head share each key and value that is
 * loaded, and a tile of tokens shares a block of positions while it is in the L1 cache. The order of a
 * query's sums does not depend on the queries beside it.
 */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif
#ifndef BN_KERNELS_SCALAR_KV
#include "scalar_kv.c"
#endif

//@ kv_load8 : kv_rows load8 load8_half
/* Elements [i, i + 8) of a row, zeros from `end` on; of int8 the codes. */
BN_INLINE __m128i kv_codes(const uint8_t *row, int i, int end, int n)
{
    uint8_t part[16] = {0};

    if (i + n > end) {
        memcpy(part, row + i, (size_t)(i < end ? (end - i) & 15 : 0));
        return _mm_loadu_si128((const __m128i *)part);
    }
    return n == 16 ? _mm_loadu_si128((const __m128i *)(row + i))
                   : _mm_loadl_epi64((const __m128i *)(row + i));
}

BN_INLINE __m256 kv_load8(const uint8_t *row, int format, int i, int end)
{
    if (format == BN_KV_F32)
        return load8((const float *)(const void *)row, i, end);
    if (format == BN_KV_F16)
        return _mm256_cvtph_ps(load8_half(row, i, end));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(kv_codes(row, i, end, 8)));
}

//@ attend_keys : kv_load8
/* `each` (at most 4) queries q [each x head_dim] by two keys, which may be one:
 * score[j][h] = q[h] . k[j], columns from `each` on are idle. */
BN_INLINE __m128 attend_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* a[h] += q[h] . u, a[4 + h] += q[h] . v, for 8 elements. Each x is loaded once: as an operand in
 * memory of two products gcc would load it twice. */
BN_INLINE void attend_step(const float *q, __m256 u, __m256 v, __m256 *a, int i, int head_dim,
                           int end, int each)
{
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        __m256 x = load8(q + (size_t)h * (size_t)head_dim, i, end);
#ifdef __GNUC__
        __asm__("" : "+x"(x));
#endif
        a[h] = _mm256_fmadd_ps(u, x, a[h]);
        a[4 + h] = _mm256_fmadd_ps(v, x, a[4 + h]);
    }
}

BN_INLINE void attend_keys(const float *q, const uint8_t *k0, const uint8_t *k1, int format,
                           float *score, int head_dim, int each)
{
    __m256 a[8];
    int i = 0;

#pragma GCC unroll 8
    for (int h = 0; h < 8; h++)
        a[h] = _mm256_setzero_ps();
    for (; i + 8 <= head_dim; i += 8)
        attend_step(q, kv_load8(k0, format, i, i + 8), kv_load8(k1, format, i, i + 8), a, i,
                    head_dim, i + 8, each);
    if (i < head_dim)
        attend_step(q, kv_load8(k0, format, i, head_dim), kv_load8(k1, format, i, head_dim), a, i,
                    head_dim, head_dim, each);
    _mm_storeu_ps(score, attend_sum4(a[0], a[1], a[2], a[3]));
    _mm_storeu_ps(score + 4, attend_sum4(a[4], a[5], a[6], a[7]));
}

//@ kv8_most_avx2 : load8
/* kv8_most of scalar_kv.c. */
BN_INLINE float kv8_most_avx2(const float *x, int n)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    __m128i m;

    for (int i = 0; i < n; i += 8)
        most = _mm256_max_epi32(most,
                                _mm256_and_si256(_mm256_castps_si256(load8(x, i, n)), magnitude));
    m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

//@ attend_keys_kv8 : kv8_most_avx2 kv8_row kv_load8 load8
/* The same over int8, in integers; q [each x BN_KV8_ROW(head_dim)] with zeros behind each query,
 * unit a query's scale. */
#define BN_KV8_ROW(d) (((d) + 15) / 16 * 16)

/* kv8_query of scalar_kv.c. */
BN_INLINE __m256i kv8_words(const float *q, __m256 factor, int i, int end)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(load8(q, i, end), factor));
}

BN_INLINE float kv8_query_avx2(const float *q, int16_t *codes, int head_dim)
{
    const float most = kv8_most_avx2(q, head_dim);
    const __m256 factor = _mm256_set1_ps(kv8_factor(most, 8191.0f));

    for (int i = 0; i < head_dim; i += 16) {
        __m256i c = _mm256_packs_epi32(kv8_words(q, factor, i, head_dim),
                                       kv8_words(q, factor, i + 8, head_dim));
        _mm256_storeu_si256((__m256i *)(codes + i), _mm256_permute4x64_epi64(c, 0xd8));
    }
    return most / 8191.0f;
}

BN_INLINE __m128 attend_sum4i(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_cvtepi32_ps(
        _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}

/* Pinned, as above; the sums too, which gcc would otherwise add in another order and spill. */
BN_INLINE void attend_step_kv8(const int16_t *q, __m128i u, __m128i v, __m256i *a, int row, int i,
                               int each)
{
    const __m256i key = _mm256_cvtepi8_epi16(u), other = _mm256_cvtepi8_epi16(v);
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + (size_t)h * (size_t)row + i));
        a[h] = _mm256_add_epi32(a[h], _mm256_madd_epi16(key, x));
        a[4 + h] = _mm256_add_epi32(a[4 + h], _mm256_madd_epi16(other, x));
#ifdef __GNUC__
        __asm__("" : "+x"(x), "+x"(a[h]), "+x"(a[4 + h]));
#endif
    }
}

BN_INLINE void attend_keys_kv8(const int16_t *q, const uint8_t *k0, const uint8_t *k1, float s0,
                               float s1, __m128 unit, float *score, int head_dim, int each)
{
    const int row = BN_KV8_ROW(head_dim);
    __m256i a[8];
    int i = 0;

#pragma GCC unroll 8
    for (int h = 0; h < 8; h++)
        a[h] = _mm256_setzero_si256();
    for (; i + 16 <= head_dim; i += 16)
        attend_step_kv8(q, kv_codes(k0, i, i + 16, 16), kv_codes(k1, i, i + 16, 16), a, row, i,
                        each);
    if (i < head_dim)
        attend_step_kv8(q, kv_codes(k0, i, head_dim, 16), kv_codes(k1, i, head_dim, 16), a, row, i,
                        each);
    _mm_storeu_ps(
        score, _mm_mul_ps(attend_sum4i(a[0], a[1], a[2], a[3]), _mm_mul_ps(_mm_set1_ps(s0), unit)));
    _mm_storeu_ps(score + 4, _mm_mul_ps(attend_sum4i(a[4], a[5], a[6], a[7]),
                                        _mm_mul_ps(_mm_set1_ps(s1), unit)));
}

//@ attend_avx2 : attend_keys attend_keys_kv8 exp8
/* q, y [each x head_dim] of `each` (at most 4) queries; blocks of 32 positions with running
 * maxima, as in attend of scalar_kv.c.
 *
 *   score    | position 0: query 0 1 2 3 | position 1: query 0 1 2 3 | ...  so that maximum,
 *            exponential and sum run down the columns.                                        */

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

/* Turns m scores into exp((score - top) * unit); returns their sum a column. Of int8 values the
 * weights then take on the scales. An odd m has an idle position behind it. */
BN_INLINE __m128 attend_weights(float *score, int m, __m128 top, float unit, const float *scales)
{
    const __m256 tops = _mm256_set_m128(top, top), units = _mm256_set1_ps(unit);
    __m256 sum = _mm256_setzero_ps();

    if (m % 2 != 0)
        _mm_storeu_ps(score + 4 * m, _mm_set1_ps(-INFINITY));
    for (int j = 0; j < m; j += 2) {
        __m256 p = _mm256_sub_ps(_mm256_loadu_ps(score + 4 * j), tops);
        p = exp8(_mm256_mul_ps(p, units));
        sum = _mm256_add_ps(sum, p);
        if (scales)
            p = _mm256_mul_ps(p, _mm256_set_m128(_mm_set1_ps(scales[j + 1 < m ? j + 1 : j]),
                                                 _mm_set1_ps(scales[j])));
        _mm256_storeu_ps(score + 4 * j, p);
    }
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}

/* One token's queries, as attend_keys or attend_keys_kv8 want them, and its sums. */
typedef struct bn_attend {
    const float *q;
    const int16_t *codes;
    float *y;
    __m128 unit, top, total;
} bn_attend;

/* Scores of positions at .. at + m. The values, which come next, are fetched meanwhile: their
 * rows are read in columns, which the processor does not foresee. */
BN_INLINE void attend_scores(const bn_attend *a, bn_kv_rows k, bn_kv_rows v, int format, int at,
                             int m, float *score, int head_dim, int each)
{
    const size_t row = kv_bytes(format, head_dim);

    for (int j = 0; j < m; j += 2) {
        const int one = at + j, two = j + 1 < m ? one + 1 : one;
        const uint8_t *key = k.rows + (size_t)one * row, *next = k.rows + (size_t)two * row;
        for (size_t b = 0; b < 2 * row; b += 64)
            _mm_prefetch((const char *)v.rows + (size_t)one * row + b, _MM_HINT_T0);
        if (format == BN_KV_I8)
            attend_keys_kv8(a->codes, key, next, k.scales[one], k.scales[two], a->unit,
                            score + 4 * j, head_dim, each);
        else
            attend_keys(a->q, key, next, format, score + 4 * j, head_dim, each);
    }
}

BN_INLINE void attend_block(bn_attend *a, bn_kv_rows k, bn_kv_rows v, int format, int at, int m,
                            int head_dim, int each)
{
    const float unit = 1.0f / sqrtf((float)head_dim);
    const __m128 before = a->top;
    float score[32 * 4], shrink[4];
    __m128 less;

    attend_scores(a, k, v, format, at, m, score, head_dim, each);
    for (int j = 0; j < m; j++)
        a->top = _mm_max_ps(a->top, _mm_loadu_ps(score + 4 * j));
    less = _mm_mul_ps(_mm_sub_ps(before, a->top), _mm_set1_ps(unit));
    less = _mm256_castps256_ps128(exp8(_mm256_set_m128(less, less)));
    _mm_storeu_ps(shrink, less);
    a->total = _mm_fmadd_ps(
        a->total, less,
        attend_weights(score, m, a->top, unit, format == BN_KV_I8 ? v.scales + at : NULL));
    v.rows += (size_t)at * kv_bytes(format, head_dim);
    for (int i = 0; i + 16 <= head_dim; i += 16)
        attend_columns(v.rows, format, score, shrink, a->y, i, m, head_dim, each, at == 0);
    if (head_dim % 16 != 0)
        attend_columns(v.rows, format, score, shrink, a->y, head_dim / 16 * 16, m, head_dim, each,
                       at == 0);
}

BN_INLINE void attend_end(const bn_attend *a, int head_dim, int each)
{
    float part[4];

    _mm_storeu_ps(part, _mm_div_ps(_mm_set1_ps(1.0f), a->total));
    for (int h = 0; h < each; h++) {
        float *out = a->y + (size_t)h * (size_t)head_dim;
        for (int i = 0; i < head_dim; i += 8)
            store8(out, i, head_dim,
                   _mm256_mul_ps(load8(out, i, head_dim), _mm256_set1_ps(part[h])));
    }
}

/* A tile: tokens at pos, pos + 1 .. share each block of positions while it is near. A token's
 * queries and results lie `next` floats behind those of the one before. */
enum { BN_KV_TILE = 8, BN_KV8_CODES = 4096 };

BN_INLINE void attend_tile(const float *q, bn_kv_rows k, bn_kv_rows v, int format, float *y,
                           int pos, int tokens, size_t next, int head_dim, int each)
{
    bn_attend a[BN_KV_TILE];
    int16_t codes[BN_KV8_CODES];

    for (int t = 0; t < tokens; t++) {
        float unit[4] = {0};
        a[t].q = q + (size_t)t * next;
        a[t].y = y + (size_t)t * next;
        a[t].codes = codes + t * each * BN_KV8_ROW(head_dim);
        for (int h = 0; format == BN_KV_I8 && h < each; h++)
            unit[h] = kv8_query_avx2(a[t].q + (size_t)h * (size_t)head_dim,
                                     codes + (t * each + h) * BN_KV8_ROW(head_dim), head_dim);
        a[t].unit = _mm_loadu_ps(unit);
        a[t].top = _mm_set1_ps(-INFINITY);
        a[t].total = _mm_setzero_ps();
    }
    for (int at = 0; at < pos + tokens; at += 32)
        for (int t = at < pos ? 0 : at - pos; t < tokens; t++) {
            const int n = pos + t + 1 - at;
            attend_block(a + t, k, v, format, at, n < 32 ? n : 32, head_dim, each);
        }
    for (int t = 0; t < tokens; t++)
        attend_end(a + t, head_dim, each);
}

//@ attention_avx2 : attend_avx2 kv_row
/* Token t attends to positions first .. pos + t; q, y [T x heads x head_dim], apart; head h reads
 * KV head h / (heads / kv_heads) of the caches. */
BN_INLINE void attention_avx2(const float *q, const void *kcache, const void *vcache, int format,
                              float *y, int first, int pos, int T, int heads, int kv_heads,
                              int context, int head_dim, int from, int to)
{
    const int each = heads / kv_heads, room = BN_KV8_CODES / 4 / BN_KV8_ROW(head_dim);
    const int tile = format == BN_KV_I8 && room < BN_KV_TILE ? room : BN_KV_TILE;
    const size_t next = (size_t)heads * (size_t)head_dim;

    for (int h = from, n; h < to; h += n) {
        const int g = h / each, left = (to < (g + 1) * each ? to : (g + 1) * each) - h;
        const bn_kv_rows k = kv_head_rows(kcache, format, g, first, kv_heads, context, head_dim);
        const bn_kv_rows v = kv_head_rows(vcache, format, g, first, kv_heads, context, head_dim);
        n = left < 4 ? left : 4;
        for (int t = 0; t < T; t += tile) {
            const int m = T - t < tile ? T - t : tile;
            const float *in = q + kv_row(t, heads, h, head_dim);
            float *out = y + kv_row(t, heads, h, head_dim);
            const int at = pos + t - first;
            if (n == 4)
                attend_tile(in, k, v, format, out, at, m, next, head_dim, 4);
            else if (n == 3)
                attend_tile(in, k, v, format, out, at, m, next, head_dim, 3);
            else if (n == 2)
                attend_tile(in, k, v, format, out, at, m, next, head_dim, 2);
            else
                attend_tile(in, k, v, format, out, at, m, next, head_dim, 1);
        }
    }
}

//@ attention_f32_avx2 : attention_avx2
BN_INLINE void attention_f32_avx2(const float *q, const float *kcache, const float *vcache,
                                  float *y, int pos, int T, int heads, int kv_heads, int context,
                                  int head_dim, int from, int to)
{
    attention_avx2(q, kcache, vcache, BN_KV_F32, y, 0, pos, T, heads, kv_heads, context, head_dim,
                   from, to);
}

//@ attention_f16_avx2 : attention_avx2
BN_INLINE void attention_f16_avx2(const float *q, const uint16_t *kcache, const uint16_t *vcache,
                                  float *y, int pos, int T, int heads, int kv_heads, int context,
                                  int head_dim, int from, int to)
{
    attention_avx2(q, kcache, vcache, BN_KV_F16, y, 0, pos, T, heads, kv_heads, context, head_dim,
                   from, to);
}

//@ attention_kv8_avx2 : attention_avx2
BN_INLINE void attention_kv8_avx2(const float *q, const uint8_t *kcache, const uint8_t *vcache,
                                  float *y, int pos, int T, int heads, int kv_heads, int context,
                                  int head_dim, int from, int to)
{
    attention_avx2(q, kcache, vcache, BN_KV_I8, y, 0, pos, T, heads, kv_heads, context, head_dim,
                   from, to);
}

//@ window_avx2 : attention_avx2 window
/* window_attention of scalar_kv.c. */
BN_INLINE void window_avx2(const float *q, const void *kcache, const void *vcache, int format,
                           float *y, int pos, int T, int heads, int kv_heads, int context,
                           int head_dim, int window, int whole, int from, int to)
{
    const size_t next = (size_t)heads * (size_t)head_dim;

    if (whole > 0)
        attention_avx2(q, kcache, vcache, format, y, 0, pos, whole, heads, kv_heads, context,
                       head_dim, from, to);
    for (int t = whole; t < T; t++)
        attention_avx2(q + (size_t)t * next, kcache, vcache, format, y + (size_t)t * next,
                       pos + t + 1 - window, pos + t, 1, heads, kv_heads, context, head_dim, from,
                       to);
}

//@ window_f32_avx2 : window_avx2
BN_INLINE void window_f32_avx2(const float *q, const float *kcache, const float *vcache, float *y,
                               int pos, int T, int heads, int kv_heads, int context, int head_dim,
                               int window, int every, int layer, int from, int to)
{
    window_avx2(q, kcache, vcache, BN_KV_F32, y, pos, T, heads, kv_heads, context, head_dim, window,
                window_whole(pos, T, window, every, layer), from, to);
}

//@ window_f16_avx2 : window_avx2
BN_INLINE void window_f16_avx2(const float *q, const uint16_t *kcache, const uint16_t *vcache,
                               float *y, int pos, int T, int heads, int kv_heads, int context,
                               int head_dim, int window, int every, int layer, int from, int to)
{
    window_avx2(q, kcache, vcache, BN_KV_F16, y, pos, T, heads, kv_heads, context, head_dim, window,
                window_whole(pos, T, window, every, layer), from, to);
}

//@ window_kv8_avx2 : window_avx2
BN_INLINE void window_kv8_avx2(const float *q, const uint8_t *kcache, const uint8_t *vcache,
                               float *y, int pos, int T, int heads, int kv_heads, int context,
                               int head_dim, int window, int every, int layer, int from, int to)
{
    window_avx2(q, kcache, vcache, BN_KV_I8, y, pos, T, heads, kv_heads, context, head_dim, window,
                window_whole(pos, T, window, every, layer), from, to);
}

//@ store_f16_avx2 : kv_row load8
/* cache[g][pos + t] = x[t][g]; x [T x kv_heads x head_dim], cache as in scalar_kv.c. */
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

BN_INLINE void store_f16_avx2(const float *x, uint16_t *cache, int pos, int T, int kv_heads,
                              int context, int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, kv_heads, g, head_dim);
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            for (int i = 0; i < head_dim; i += 8)
                store8_half(out, i, head_dim, load8(in, i, head_dim));
        }
}

//@ rope_store_f16_avx2 : store_f16_avx2 rope_head
/* rope, then store. Eight pairs a step: halves stand apart (neox) or interleave (norm). */
BN_INLINE void rope_store_f16_avx2(const float *x, const float *table, uint16_t *cache, int pos,
                                   int T, int kv_heads, int context, int head_dim, int rot,
                                   int mode, int from, int to)
{
    const int half = rot / 2, step = mode == BN_NEOX ? 1 : 2, apart = mode == BN_NEOX ? half : 1;

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, kv_heads, g, head_dim);
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

//@ kv8_put_avx2 : kv8_most_avx2 kv8_row
/* Bit-exact with kv8_put of scalar_kv.c. */
BN_INLINE __m128i kv8_codes(const float *x, __m256 factor, int i, int end)
{
    const __m256i w = _mm256_cvtps_epi32(_mm256_mul_ps(load8(x, i, end), factor));
    const __m128i s = _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    return _mm_packs_epi16(s, s);
}

BN_INLINE void kv8_put_avx2(const float *x, uint8_t *codes, float *scale, int head_dim)
{
    const float most = kv8_most_avx2(x, head_dim);
    const __m256 factor = _mm256_set1_ps(kv8_factor(most, 127.0f));
    int i = 0;

    *scale = most / 127.0f;
    for (; i + 8 <= head_dim; i += 8)
        _mm_storel_epi64((__m128i *)(codes + i), kv8_codes(x, factor, i, i + 8));
    if (i < head_dim) {
        uint8_t part[16];
        _mm_storeu_si128((__m128i *)part, kv8_codes(x, factor, i, head_dim));
        memcpy(codes + i, part, (size_t)(head_dim - i));
    }
}

//@ store_kv8_avx2 : kv8_put_avx2 kv_row
BN_INLINE void store_kv8_avx2(const float *x, uint8_t *cache, int pos, int T, int kv_heads,
                              int context, int head_dim, int from, int to)
{
    float *scales = (float *)(void *)(cache + kv8_scales(kv_heads, context, head_dim));

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            kv8_put_avx2(x + kv_row(t, kv_heads, g, head_dim),
                         cache + kv_row(g, context, pos + t, head_dim),
                         scales + kv_row(g, context, pos + t, 1), head_dim);
}

//@ rope_store_kv8_avx2 : kv8_put_avx2 kv_row rope_head
BN_INLINE void rope_store_kv8_avx2(const float *x, const float *table, uint8_t *cache, int pos,
                                   int T, int kv_heads, int context, int head_dim, int rot,
                                   int mode, int from, int to)
{
    float *scales = (float *)(void *)(cache + kv8_scales(kv_heads, context, head_dim));
    float head[BN_KV8_HEAD];

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            rope_head(x + kv_row(t, kv_heads, g, head_dim), table + (size_t)t * (size_t)rot, head,
                      head_dim, rot, mode);
            kv8_put_avx2(head, cache + kv_row(g, context, pos + t, head_dim),
                         scales + kv_row(g, context, pos + t, 1), head_dim);
        }
}
