/* avx2_attention.c: attention over the KV cache, AVX2 and FMA. */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif

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
