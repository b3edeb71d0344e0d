/* neon_float.c: float weights by float activations, and attention over the KV cache, on AArch64. An
 * element of a dot product goes to a fixed lane of a fixed accumulator, so that a result does not
 * depend on its company. */
#ifndef BN_KERNELS_NEON
#include "neon.c"
#endif
#ifndef BN_KERNELS_SCALAR_KV
#include "scalar_kv.c"
#endif

//@ linear_rows_neon : neon_load neon_half
/* Element i of every dot product goes to accumulator i / 4 % 2, lane i % 4, whatever its company.
 */
enum { BN_W_F32, BN_W_F16, BN_W_BF16 };

/* w[i .. i + 8), zeros from `end` on. */
BN_INLINE void linear_load(const uint8_t *w, int format, int i, int end, float32x4_t v[2])
{
    if (format == BN_W_F32) {
        v[0] = load4((const float *)(const void *)w, i, end);
        v[1] = load4((const float *)(const void *)w, i + 4, end);
    } else if (format == BN_W_F16) {
        const uint16x8_t h = load8_half(w, i, end);
        v[0] = half_low(h);
        v[1] = half_high(h);
    } else {
        const uint16x8_t h = load8_half(w, i, end);
        v[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
        v[1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
    }
}

/* 8 elements of `rows` rows by `toks` tokens: sum[t][r][accumulator]. */
BN_INLINE void linear_step(const uint8_t *w, size_t row, int format, const float *x, int k, int i,
                           int end, int rows, int toks, float32x4_t sum[2][4][2])
{
    float32x4_t u[2][2], v[2];

#pragma GCC unroll 2
    for (int t = 0; t < toks; t++) {
        u[t][0] = load4(x + (size_t)t * (size_t)k, i, end);
        u[t][1] = load4(x + (size_t)t * (size_t)k, i + 4, end);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        linear_load(w + (size_t)r * row, format, i, end, v);
#pragma GCC unroll 2
        for (int t = 0; t < toks; t++) {
            sum[t][r][0] = vfmaq_f32(sum[t][r][0], v[0], u[t][0]);
            sum[t][r][1] = vfmaq_f32(sum[t][r][1], v[1], u[t][1]);
        }
    }
}

/* y[t * next + r] = w[r] . x[t] */
BN_INLINE void linear_tile(const uint8_t *w, size_t row, int format, const float *x, int k,
                           int rows, int toks, float *y, size_t next)
{
    float32x4_t sum[2][4][2];
    int i = 0;

#pragma GCC unroll 2
    for (int t = 0; t < toks; t++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            sum[t][r][0] = sum[t][r][1] = vdupq_n_f32(0.0f);
    for (; i + 8 <= k; i += 8)
        linear_step(w, row, format, x, k, i, i + 8, rows, toks, sum);
    if (i < k)
        linear_step(w, row, format, x, k, i, k, rows, toks, sum);
#pragma GCC unroll 2
    for (int t = 0; t < toks; t++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            y[(size_t)t * next + (size_t)r] = vaddvq_f32(vaddq_f32(sum[t][r][0], sum[t][r][1]));
}

/* One token: four rows (of `row` bytes) share x. More: two rows by two tokens share both. */
BN_INLINE void linear_rows(const void *weights, size_t row, int format, const float *x, float *y,
                           int T, int n, int k, int from, int to)
{
    const uint8_t *w = (const uint8_t *)weights + (size_t)from * row;
    const size_t next = (size_t)n;
    int r = from;

    for (; r + 4 <= to; r += 4, w += 4 * row) {
        int t = 0;
        for (; t + 2 <= T; t += 2) {
            const float *in = x + (size_t)t * (size_t)k;
            float *out = y + (size_t)t * next + (size_t)r;
            linear_tile(w, row, format, in, k, 2, 2, out, next);
            linear_tile(w + 2 * row, row, format, in, k, 2, 2, out + 2, next);
        }
        if (t < T)
            linear_tile(w, row, format, x + (size_t)t * (size_t)k, k, 4, 1,
                        y + (size_t)t * next + (size_t)r, next);
    }
    for (; r < to; r++, w += row)
        for (int t = 0; t < T; t++)
            linear_tile(w, row, format, x + (size_t)t * (size_t)k, k, 1, 1,
                        y + (size_t)t * next + (size_t)r, next);
}

//@ linear_f32_neon : linear_rows_neon
/* y[t][n] = sum_k w[n][k] x[t][k] for rows [from, to) of w [N x K]; x [T x K], y [T x N]. */
BN_INLINE void linear_f32_neon(const void *w, const float *x, float *y, int T, int n, int k,
                               int from, int to)
{
    linear_rows(w, 4 * (size_t)k, BN_W_F32, x, y, T, n, k, from, to);
}

//@ linear_f16_neon : linear_rows_neon
BN_INLINE void linear_f16_neon(const void *w, const float *x, float *y, int T, int n, int k,
                               int from, int to)
{
    linear_rows(w, 2 * (size_t)k, BN_W_F16, x, y, T, n, k, from, to);
}

//@ linear_bf16_neon : linear_rows_neon
BN_INLINE void linear_bf16_neon(const void *w, const float *x, float *y, int T, int n, int k,
                                int from, int to)
{
    linear_rows(w, 2 * (size_t)k, BN_W_BF16, x, y, T, n, k, from, to);
}

//@ attend_neon : neon_load neon_exp
/* `each` (at most 4) queries over the same n positions; q, y [each x head_dim],
 * k, v [n x head_dim]. Blocks of 32 positions with running maxima, as in attend of scalar.c.
 *
 *   score    | position 0: query 0 1 2 3 | position 1: query 0 1 2 3 | ...  so that maximum,
 *            exponential and sum run down the columns; columns from `each` on are idle.       */
BN_INLINE float32x4_t attend_sum(const float32x4_t *a)
{
    return vpaddq_f32(vpaddq_f32(a[0], a[1]), vpaddq_f32(a[2], a[3]));
}

/* a[h] += q[h] . k0 and b[h] += q[h] . k1 over four elements, zeros from `end` on. */
BN_INLINE void attend_step(const float *q, const float *k0, const float *k1, int i, int end,
                           int head_dim, int each, float32x4_t *a, float32x4_t *b)
{
    const float32x4_t u = load4(k0, i, end), v = load4(k1, i, end);
#pragma GCC unroll 4
    for (int h = 0; h < each; h++) {
        const float32x4_t x = load4(q + (size_t)h * (size_t)head_dim, i, end);
        a[h] = vfmaq_f32(a[h], u, x);
        b[h] = vfmaq_f32(b[h], v, x);
    }
}

/* score[j][h] = q[h] . k[j] for two positions, which may be one. */
BN_INLINE void attend_scores(const float *q, const float *k0, const float *k1, float *score,
                             int head_dim, int each)
{
    float32x4_t a[4], b[4];
    int i = 0;

#pragma GCC unroll 4
    for (int h = 0; h < 4; h++)
        a[h] = b[h] = vdupq_n_f32(0.0f);
    for (; i + 4 <= head_dim; i += 4)
        attend_step(q, k0, k1, i, i + 4, head_dim, each, a, b);
    if (i < head_dim)
        attend_step(q, k0, k1, i, head_dim, head_dim, each, a, b);
    vst1q_f32(score, attend_sum(a));
    vst1q_f32(score + 4, attend_sum(b));
}

/* y[h][at .. end) = y * shrink[h] + sum_j score[j][h] v[j], at most 16 elements; the first block
 * ignores y. */
BN_INLINE void attend_values(const float *v, const float *score, const float *shrink, float *y,
                             int at, int end, int m, int head_dim, int each, int first)
{
    float32x4_t a[4][4];

#pragma GCC unroll 4
    for (int h = 0; h < each; h++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *old = y + (size_t)h * (size_t)head_dim;
            a[h][i] = vdupq_n_f32(0.0f);
            if (!first)
                a[h][i] = vmulq_n_f32(load4(old, at + 4 * i, end), shrink[h]);
        }
    for (int j = 0; j < m; j++, score += 4) {
        const float *row = v + (size_t)j * (size_t)head_dim;
        const float32x4_t p = vld1q_f32(score);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float32x4_t x = load4(row, at + 4 * i, end);
            a[0][i] = vfmaq_laneq_f32(a[0][i], x, p, 0);
            if (each > 1)
                a[1][i] = vfmaq_laneq_f32(a[1][i], x, p, 1);
            if (each > 2)
                a[2][i] = vfmaq_laneq_f32(a[2][i], x, p, 2);
            if (each > 3)
                a[3][i] = vfmaq_laneq_f32(a[3][i], x, p, 3);
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < each; h++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            store4(y + (size_t)h * (size_t)head_dim, at + 4 * i, end, a[h][i]);
}

BN_INLINE void attend_neon(const float *q, const float *k, const float *v, float *y, int n,
                           int head_dim, int each)
{
    const float unit = 1.0f / sqrtf((float)head_dim);
    float32x4_t top = vdupq_n_f32(-INFINITY), total = vdupq_n_f32(0.0f), less;
    float score[32 * 4], shrink[4], ends[4];

    for (int at = 0; at < n; at += 32) {
        const int m = n - at < 32 ? n - at : 32;
        const float *keys = k + (size_t)at * (size_t)head_dim;
        const float *values = v + (size_t)at * (size_t)head_dim;
        const float32x4_t before = top;
        float32x4_t sum = vdupq_n_f32(0.0f);

        for (int j = 0; j < m; j += 2) {
            const float *key = keys + (size_t)j * (size_t)head_dim;
            attend_scores(q, key, j + 1 < m ? key + head_dim : key, score + 4 * j, head_dim, each);
            top = vmaxq_f32(top, vld1q_f32(score + 4 * j));
            top = vmaxq_f32(top, vld1q_f32(score + 4 * j + 4));
        }
        for (int j = 0; j < m; j++) {
            float32x4_t p = vmulq_n_f32(vsubq_f32(vld1q_f32(score + 4 * j), top), unit);
            p = exp4(p);
            vst1q_f32(score + 4 * j, p);
            sum = vaddq_f32(sum, p);
        }
        less = exp4(vmulq_n_f32(vsubq_f32(before, top), unit));
        vst1q_f32(shrink, less);
        total = vfmaq_f32(sum, total, less);
        for (int i = 0; i + 16 <= head_dim; i += 16)
            attend_values(values, score, shrink, y, i, i + 16, m, head_dim, each, at == 0);
        if (head_dim % 16 != 0)
            attend_values(values, score, shrink, y, head_dim / 16 * 16, head_dim, m, head_dim, each,
                          at == 0);
    }
    vst1q_f32(ends, vdivq_f32(vdupq_n_f32(1.0f), total));
    for (int h = 0; h < each; h++)
        for (int i = 0; i < head_dim; i += 4) {
            float *out = y + (size_t)h * (size_t)head_dim;
            store4(out, i, head_dim, vmulq_n_f32(load4(out, i, head_dim), ends[h]));
        }
}

//@ attention_f32_neon : attend_neon
/* Token t attends to positions 0 .. pos + t; q, y [T x heads x head_dim], apart; kcache, vcache
 * [kv_heads x context x head_dim]; a unit is a head; up to four of one KV head share what is read. */
BN_INLINE void attention_f32_neon(const float *q, const float *kcache, const float *vcache,
                                  float *y, int pos, int T, int heads, int kv_heads, int context,
                                  int head_dim, int from, int to)
{
    const int each = heads / kv_heads;

    for (int h = from, n; h < to; h += n) {
        const int end = h / each * each + each < to ? h / each * each + each : to;
        const size_t cache = (size_t)(h / each) * (size_t)context * (size_t)head_dim;
        const float *k = kcache + cache, *v = vcache + cache;
        n = end - h < 4 ? end - h : 4;
        for (int t = 0; t < T; t++) {
            size_t at = ((size_t)t * (size_t)heads + (size_t)h) * (size_t)head_dim;
            if (n == 4)
                attend_neon(q + at, k, v, y + at, pos + t + 1, head_dim, 4);
            else if (n == 3)
                attend_neon(q + at, k, v, y + at, pos + t + 1, head_dim, 3);
            else if (n == 2)
                attend_neon(q + at, k, v, y + at, pos + t + 1, head_dim, 2);
            else
                attend_neon(q + at, k, v, y + at, pos + t + 1, head_dim, 1);
        }
    }
}

//@ window_f32_neon : attention_f32_neon window
/* window_f32 of scalar_kv.c. */
BN_INLINE void window_f32_neon(const float *q, const float *kcache, const float *vcache, float *y,
                               int pos, int T, int heads, int kv_heads, int context, int head_dim,
                               int window, int every, int layer, int from, int to)
{
    const int whole = window_whole(pos, T, window, every, layer);
    const size_t next = (size_t)heads * (size_t)head_dim;

    if (whole > 0)
        attention_f32_neon(q, kcache, vcache, y, pos, whole, heads, kv_heads, context, head_dim,
                           from, to);
    for (int t = whole; t < T; t++) {
        const size_t past = (size_t)(pos + t + 1 - window) * (size_t)head_dim,
                     at = (size_t)t * next;
        attention_f32_neon(q + at, kcache + past, vcache + past, y + at, window - 1, 1, heads,
                           kv_heads, context, head_dim, from, to);
    }
}
