/* avx2_linear.c: float weights by float activations, AVX2, FMA and F16C. An element of a dot product goes to
 * a fixed lane of a fixed accumulator, so that a result does not depend on its company. */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif
#define BN_KERNELS_AVX2_LINEAR /* avx2_head.c uses chunks of this file */

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
