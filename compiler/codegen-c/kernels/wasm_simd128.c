/* wasm_simd128.c: kernels for WebAssembly with 128-bit vectors.
 *
 * One idea: an engine turns this into x86 or Arm, so it uses what is one instruction on both:
 * 16-bit products and sums of codes and activations, not the widening products, which cost x86
 * three. There is no fused multiply-add to beware of. The integer kernels and the norms agree with
 * scalar.c bit for bit; ragged ends go through a few bytes on the stack.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#ifndef BN_KERNELS_SCALAR_KV
#include "scalar_kv.c"
#endif
#include <wasm_simd128.h>
#define BN_KERNELS_WASM /* wasm_q2g.c leans on chunks of this file */

//@ wasm_load
/* p[i .. i + 4), zeros from p[k] on. */
BN_INLINE v128_t load4(const float *p, int i, int k)
{
    float end[4] = {0.0f, 0.0f, 0.0f, 0.0f};

    if (i + 4 <= k)
        return wasm_v128_load(p + i);
    if (i < k)
        memcpy(end, p + i, sizeof *p * (size_t)((k - i) & 3));
    return wasm_v128_load(end);
}

BN_INLINE void store4(float *p, int i, int k, v128_t v)
{
    float end[4];

    if (i + 4 <= k) {
        wasm_v128_store(p + i, v);
        return;
    }
    wasm_v128_store(end, v);
    if (i < k)
        memcpy(p + i, end, sizeof *p * (size_t)((k - i) & 3));
}

//@ wasm_sum
/* Lane i is (0 + 2) + (1 + 3) of operand i. */
BN_INLINE v128_t sum4(v128_t a, v128_t b, v128_t c, v128_t d)
{
    v128_t ab =
        wasm_f32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
    v128_t cd =
        wasm_f32x4_add(wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), wasm_i32x4_shuffle(c, d, 2, 6, 3, 7));
    return wasm_f32x4_add(wasm_i32x4_shuffle(ab, cd, 0, 1, 4, 5),
                          wasm_i32x4_shuffle(ab, cd, 2, 3, 6, 7));
}

//@ wasm_exp
/* e^x to about 1e-7, as exp8 of avx2.c: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial in r, n into
 * the exponent. 0 below -87.33, e^88 above 88; exp4(0) is 1; NaN stays. */
BN_INLINE v128_t exp4_step(v128_t p, v128_t r, float c)
{
    return wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(c));
}

BN_INLINE v128_t exp4(v128_t x)
{
    const v128_t low = wasm_f32x4_splat(-87.33f);
    v128_t v = wasm_f32x4_min(wasm_f32x4_splat(88.0f), wasm_f32x4_max(low, x));
    v128_t n = wasm_f32x4_nearest(wasm_f32x4_mul(v, wasm_f32x4_splat(1.44269504f)));
    v128_t r = wasm_f32x4_sub(v, wasm_f32x4_mul(n, wasm_f32x4_splat(0.693359375f)));
    v128_t p = wasm_f32x4_splat(1.9875691500e-4f), power;

    r = wasm_f32x4_add(r, wasm_f32x4_mul(n, wasm_f32x4_splat(2.12194440e-4f)));
    p = exp4_step(p, r, 1.3981999507e-3f);
    p = exp4_step(p, r, 8.3334519073e-3f);
    p = exp4_step(p, r, 4.1665795894e-2f);
    p = exp4_step(p, r, 1.6666665459e-1f);
    p = exp4_step(p, r, 5.0000001201e-1f);
    p = wasm_f32x4_add(wasm_f32x4_mul(p, wasm_f32x4_mul(r, r)), r);
    p = wasm_f32x4_add(p, wasm_f32x4_splat(1.0f));
    power = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127));
    p = wasm_f32x4_mul(p, wasm_i32x4_shl(power, 23));
    return wasm_v128_andnot(p, wasm_f32x4_lt(x, low));
}

//@ quant_row_simd128 : qpad quant_scale wasm_load
/* One token: v = g ? x * unit * g : x, then quantized; bit-exact with quant_row of scalar.c.
 * 16 values a step; the last step loads zeros past k, which are the padding's zeros. */
BN_INLINE v128_t quant_input(const float *x, const float *g, float unit, int i, int end)
{
    v128_t v = load4(x, i, end);
    if (!g)
        return v;
    return wasm_f32x4_mul(wasm_f32x4_mul(v, wasm_f32x4_splat(unit)), load4(g, i, end));
}

/* Magnitudes are compared as integers, whose order is the same. */
BN_INLINE v128_t quant_most(const float *x, const float *g, float unit, int i, int end, v128_t most)
{
    return wasm_i32x4_max(most, wasm_f32x4_abs(quant_input(x, g, unit, i, end)));
}

/* Eight values, rounded half to even. Narrowing clamps. */
BN_INLINE v128_t quant_words(const float *x, const float *g, float unit, v128_t factor, int i,
                             int end)
{
    v128_t a = wasm_f32x4_mul(quant_input(x, g, unit, i, end), factor);
    v128_t b = wasm_f32x4_mul(quant_input(x, g, unit, i + 4, end), factor);
    a = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(a));
    b = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(b));
    return wasm_i16x8_narrow_i32x4(a, b);
}

BN_INLINE void quant_step(const float *x, const float *g, float unit, v128_t factor, int8_t *q,
                          int i, int end)
{
    v128_t a = quant_words(x, g, unit, factor, i, end);
    v128_t b = quant_words(x, g, unit, factor, i + 8, end);
    wasm_v128_store(q + i, wasm_i8x16_narrow_i16x8(a, b));
}

BN_INLINE void quant_row_simd128(const float *x, const float *g, float unit, int8_t *q, float *s,
                                 int k)
{
    v128_t a = wasm_i32x4_splat(0), factor;
    int i = 0;

    for (; i + 4 <= k; i += 4)
        a = quant_most(x, g, unit, i, i + 4, a);
    if (i < k)
        a = quant_most(x, g, unit, i, k, a);
    a = wasm_i32x4_max(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    a = wasm_i32x4_max(a, wasm_i32x4_shuffle(a, a, 1, 0, 3, 2));
    *s = quant_scale(wasm_f32x4_extract_lane(a, 0));
    factor = wasm_f32x4_splat(*s);
    for (i = 0; i + 16 <= k; i += 16)
        quant_step(x, g, unit, factor, q, i, i + 16);
    if (i < k) {
        quant_step(x, g, unit, factor, q, i, k);
        i += 16;
    }
    memset(q + i, 0, (size_t)(BN_QPAD(k) - i));
}

//@ quant_simd128 : quant_row_simd128
/* x [T x K], q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void quant_simd128(const float *x, int8_t *q, float *s, int k, int from, int to)
{
    for (int t = from; t < to; t++)
        quant_row_simd128(x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k),
                          s + t, k);
}

//@ rmsnorm_quant_simd128 : rms quant_row_simd128
/* rms_sum of scalar.c with its 16 lanes in eight registers: lane[i] holds lanes 2i and 2i + 1. */
BN_INLINE double rms_sum_simd128(const float *x, int d)
{
    v128_t lane[8], low, high;

    for (int j = 0; j < 8; j++)
        lane[j] = wasm_f64x2_splat(0.0);
    for (int i = 0; i < d; i += 16)
        for (int j = 0; j < 4; j++) {
            v128_t v = load4(x, i + 4 * j, d);
            v128_t a = wasm_f64x2_promote_low_f32x4(v);
            v128_t b = wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(v, v, 2, 3, 2, 3));
            lane[2 * j] = wasm_f64x2_add(lane[2 * j], wasm_f64x2_mul(a, a));
            lane[2 * j + 1] = wasm_f64x2_add(lane[2 * j + 1], wasm_f64x2_mul(b, b));
        }
    low = wasm_f64x2_add(wasm_f64x2_add(lane[0], lane[2]), wasm_f64x2_add(lane[4], lane[6]));
    high = wasm_f64x2_add(wasm_f64x2_add(lane[1], lane[3]), wasm_f64x2_add(lane[5], lane[7]));
    low = wasm_f64x2_add(low, high);
    return wasm_f64x2_extract_lane(low, 0) + wasm_f64x2_extract_lane(low, 1);
}

/* rmsnorm, then quant, of the very f32 values that rmsnorm gives; x [T x K], g [K],
 * q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void rmsnorm_quant_simd128(const float *x, const float *g, int8_t *q, float *s, int k,
                                     float eps, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_row_simd128(in, g, rms_unit(rms_sum_simd128(in, k), k, eps),
                          q + (size_t)t * BN_QPAD((size_t)k), s + t, k);
    }
}

//@ linear_rows_simd128 : wasm_load wasm_sum
/* Element i of every dot product goes to accumulator i / 4 % 2, lane i % 4, whatever its company.
 *
 * Four f16 as f32, exactly: exponents move by 112; those of 0 are numbers below 2^-14, had from a
 * difference; those of 31 move by 112 once more. */
BN_INLINE v128_t load4_f16(const uint8_t *w, int i, int k)
{
    const v128_t most = wasm_i32x4_splat(0x0f800000);
    uint16_t end[4] = {0, 0, 0, 0};
    v128_t h, bits, exponent, small, large;

    if (i + 4 <= k) {
        h = wasm_u32x4_load16x4(w + 2 * (size_t)i);
    } else {
        if (i < k)
            memcpy(end, w + 2 * (size_t)i, 2 * (size_t)((k - i) & 3));
        h = wasm_u32x4_load16x4(end);
    }
    bits = wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_splat(0x7fff)), 13);
    exponent = wasm_v128_and(bits, most);
    bits = wasm_i32x4_add(bits, wasm_i32x4_splat(112 << 23));
    small = wasm_f32x4_sub(wasm_i32x4_add(bits, wasm_i32x4_splat(1 << 23)),
                           wasm_i32x4_splat(113 << 23));
    large = wasm_v128_and(wasm_i32x4_eq(exponent, most), wasm_i32x4_splat(112 << 23));
    bits = wasm_i32x4_add(bits, large);
    bits = wasm_v128_bitselect(small, bits, wasm_i32x4_eq(exponent, wasm_i32x4_splat(0)));
    return wasm_v128_or(bits, wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_splat(0x8000)), 16));
}

BN_INLINE v128_t linear_load(const uint8_t *w, int half, int i, int end)
{
    return half ? load4_f16(w, i, end) : load4((const float *)(const void *)w, i, end);
}

/* 8 elements of `rows` (at most 4) rows: sum[accumulator][r]. */
BN_INLINE void linear_step(const uint8_t *w, size_t row, int half, const float *x, int i, int end,
                           int rows, v128_t sum[2][4])
{
    const v128_t u = load4(x, i, end), v = load4(x, i + 4, end);

    for (int r = 0; r < rows; r++) {
        const uint8_t *p = w + (size_t)r * row;
        sum[0][r] = wasm_f32x4_add(sum[0][r], wasm_f32x4_mul(linear_load(p, half, i, end), u));
        sum[1][r] = wasm_f32x4_add(sum[1][r], wasm_f32x4_mul(linear_load(p, half, i + 4, end), v));
    }
}

/* y[r] = w[r] . x for r < rows */
BN_INLINE void linear_tile(const uint8_t *w, size_t row, int half, const float *x, float *y, int k,
                           int rows)
{
    v128_t sum[2][4];
    int i = 0;

    for (int r = 0; r < 4; r++)
        sum[0][r] = sum[1][r] = wasm_f32x4_splat(0.0f);
    for (; i + 8 <= k; i += 8)
        linear_step(w, row, half, x, i, i + 8, rows, sum);
    if (i < k)
        linear_step(w, row, half, x, i, k, rows, sum);
    for (int r = 0; r < 4; r++)
        sum[0][r] = wasm_f32x4_add(sum[0][r], sum[1][r]);
    store4(y, 0, rows, sum4(sum[0][0], sum[0][1], sum[0][2], sum[0][3]));
}

BN_INLINE void linear_rows(const void *weights, size_t row, int half, const float *x, float *y,
                           int T, int n, int k, int from, int to)
{
    const uint8_t *w = (const uint8_t *)weights + (size_t)from * row;
    int r = from;

    for (; r + 4 <= to; r += 4, w += 4 * row)
        for (int t = 0; t < T; t++)
            linear_tile(w, row, half, x + (size_t)t * (size_t)k,
                        y + (size_t)t * (size_t)n + (size_t)r, k, 4);
    for (; r < to; r++, w += row)
        for (int t = 0; t < T; t++)
            linear_tile(w, row, half, x + (size_t)t * (size_t)k,
                        y + (size_t)t * (size_t)n + (size_t)r, k, 1);
}

//@ linear_f32_simd128 : linear_rows_simd128
/* y[t][n] = sum_k w[n][k] x[t][k] for rows [from, to) of w [N x K]; x [T x K], y [T x N]. */
BN_INLINE void linear_f32_simd128(const void *w, const float *x, float *y, int T, int n, int k,
                                  int from, int to)
{
    linear_rows(w, 4 * (size_t)k, 0, x, y, T, n, k, from, to);
}

//@ linear_f16_simd128 : linear_rows_simd128
BN_INLINE void linear_f16_simd128(const void *w, const float *x, float *y, int T, int n, int k,
                                  int from, int to)
{
    linear_rows(w, 2 * (size_t)k, 1, x, y, T, n, k, from, to);
}

//@ attend_simd128 : wasm_load wasm_sum wasm_exp
/* `each` (at most 4) queries over the same n positions; q, y [each x head_dim],
 * k, v [n x head_dim]. Blocks of 32 positions with running maxima, as in attend of scalar.c.
 *
 *   score    | position 0: query 0 1 2 3 | position 1: query 0 1 2 3 | ...  so that maximum,
 *            exponential and sum run down the columns; columns from `each` on are idle.       */
BN_INLINE void attend_step(const float *q, const float *key, int i, int end, int head_dim, int each,
                           v128_t *a)
{
    const v128_t u = load4(key, i, end);

    for (int h = 0; h < each; h++) {
        v128_t x = load4(q + (size_t)h * (size_t)head_dim, i, end);
        a[h] = wasm_f32x4_add(a[h], wasm_f32x4_mul(u, x));
    }
}

/* Lane h: q[h] . key. */
BN_INLINE v128_t attend_scores(const float *q, const float *key, int head_dim, int each)
{
    v128_t a[4];
    int i = 0;

    for (int h = 0; h < 4; h++)
        a[h] = wasm_f32x4_splat(0.0f);
    for (; i + 4 <= head_dim; i += 4)
        attend_step(q, key, i, i + 4, head_dim, each, a);
    if (i < head_dim)
        attend_step(q, key, i, head_dim, head_dim, each, a);
    return sum4(a[0], a[1], a[2], a[3]);
}

/* y[h][at .. end) = y * shrink[h] + sum_j score[j][h] v[j], at most 8 elements; the first block
 * ignores y. */
BN_INLINE void attend_values(const float *v, const float *score, const float *shrink, float *y,
                             int at, int end, int m, int head_dim, int each, int first)
{
    v128_t a[4], b[4];

    for (int h = 0; h < each; h++) {
        const float *old = y + (size_t)h * (size_t)head_dim;
        const v128_t less = wasm_f32x4_splat(shrink[h]);
        a[h] = b[h] = wasm_f32x4_splat(0.0f);
        if (!first) {
            a[h] = wasm_f32x4_mul(load4(old, at, end), less);
            b[h] = wasm_f32x4_mul(load4(old, at + 4, end), less);
        }
    }
    for (int j = 0; j < m; j++, score += 4) {
        const float *row = v + (size_t)j * (size_t)head_dim;
        const v128_t lower = load4(row, at, end), upper = load4(row, at + 4, end);
        for (int h = 0; h < each; h++) {
            const v128_t p = wasm_v128_load32_splat(score + h);
            a[h] = wasm_f32x4_add(a[h], wasm_f32x4_mul(p, lower));
            b[h] = wasm_f32x4_add(b[h], wasm_f32x4_mul(p, upper));
        }
    }
    for (int h = 0; h < each; h++) {
        store4(y + (size_t)h * (size_t)head_dim, at, end, a[h]);
        store4(y + (size_t)h * (size_t)head_dim, at + 4, end, b[h]);
    }
}

BN_INLINE void attend_simd128(const float *q, const float *k, const float *v, float *y, int n,
                              int head_dim, int each)
{
    const v128_t unit = wasm_f32x4_splat(1.0f / sqrtf((float)head_dim));
    v128_t top = wasm_f32x4_splat(-INFINITY), total = wasm_f32x4_splat(0.0f), less;
    float score[32 * 4], shrink[4], ends[4];

    for (int at = 0; at < n; at += 32) {
        const int m = n - at < 32 ? n - at : 32;
        const float *keys = k + (size_t)at * (size_t)head_dim;
        const float *values = v + (size_t)at * (size_t)head_dim;
        const v128_t before = top;

        for (int j = 0; j < m; j++) {
            v128_t p = attend_scores(q, keys + (size_t)j * (size_t)head_dim, head_dim, each);
            wasm_v128_store(score + 4 * j, p);
            top = wasm_f32x4_max(top, p);
        }
        less = exp4(wasm_f32x4_mul(wasm_f32x4_sub(before, top), unit));
        wasm_v128_store(shrink, less);
        total = wasm_f32x4_mul(total, less);
        for (int j = 0; j < m; j++) {
            v128_t p = wasm_f32x4_sub(wasm_v128_load(score + 4 * j), top);
            p = exp4(wasm_f32x4_mul(p, unit));
            wasm_v128_store(score + 4 * j, p);
            total = wasm_f32x4_add(total, p);
        }
        for (int i = 0; i + 8 <= head_dim; i += 8)
            attend_values(values, score, shrink, y, i, i + 8, m, head_dim, each, at == 0);
        if (head_dim % 8 != 0)
            attend_values(values, score, shrink, y, head_dim / 8 * 8, head_dim, m, head_dim, each,
                          at == 0);
    }
    wasm_v128_store(ends, wasm_f32x4_div(wasm_f32x4_splat(1.0f), total));
    for (int h = 0; h < each; h++)
        for (int i = 0; i < head_dim; i++)
            y[(size_t)h * (size_t)head_dim + (size_t)i] *= ends[h];
}

//@ attention_f32_simd128 : attend_simd128
/* Token t attends to positions 0 .. pos + t; q, y [T x heads x head_dim], apart; kcache, vcache
 * [kv_heads x context x head_dim]; a unit is a head; up to four of one KV head share what is read. */
BN_INLINE void attention_f32_simd128(const float *q, const float *kcache, const float *vcache,
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
                attend_simd128(q + at, k, v, y + at, pos + t + 1, head_dim, 4);
            else if (n == 3)
                attend_simd128(q + at, k, v, y + at, pos + t + 1, head_dim, 3);
            else if (n == 2)
                attend_simd128(q + at, k, v, y + at, pos + t + 1, head_dim, 2);
            else
                attend_simd128(q + at, k, v, y + at, pos + t + 1, head_dim, 1);
        }
    }
}

//@ window_f32_simd128 : attention_f32_simd128 window
/* window_f32 of scalar_kv.c. */
BN_INLINE void window_f32_simd128(const float *q, const float *kcache, const float *vcache,
                                  float *y, int pos, int T, int heads, int kv_heads, int context,
                                  int head_dim, int window, int every, int layer, int from, int to)
{
    const int whole = window_whole(pos, T, window, every, layer);
    const size_t next = (size_t)heads * (size_t)head_dim;

    if (whole > 0)
        attention_f32_simd128(q, kcache, vcache, y, pos, whole, heads, kv_heads, context, head_dim,
                              from, to);
    for (int t = whole; t < T; t++) {
        const size_t past = (size_t)(pos + t + 1 - window) * (size_t)head_dim,
                     at = (size_t)t * next;
        attention_f32_simd128(q + at, kcache + past, vcache + past, y + at, window - 1, 1, heads,
                              kv_heads, context, head_dim, from, to);
    }
}

//@ q2_dot_simd128 : q2_layout
/* sum[r] = sum_k code * q of the 4 rows of the block at w, over `steps` steps, code = w + 1.
 *
 * A row's 16 bytes are 8 words: even k in the lower byte, odd k in the upper; activations split
 * alike. Exact: a word gets 16 terms a step, each within 2 * [-128, 127]; 8 steps make
 * [-32768, 32512], just inside int16. Then it widens to int32, whose total 2 * 128 * K has room
 * for K < 2^23. */
BN_INLINE v128_t q2_mul(v128_t sum, v128_t codes, v128_t x)
{
    codes = wasm_v128_and(codes, wasm_i16x8_splat(3));
    return wasm_i16x8_add(sum, wasm_i16x8_mul(codes, x));
}

BN_INLINE void q2_rows(const uint8_t *w, const int8_t *q, int steps, int32_t sum[4])
{
    const v128_t zero = wasm_i32x4_splat(0);
    v128_t total[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + 8 < steps ? j + 8 : steps;
        v128_t a[4] = {zero, zero, zero, zero};
        for (; j < end; j++, w += 128, q += 128)
            for (int h = 0; h < 32; h += 16)
                for (int p = 0; p < 4; p++) {
                    const v128_t x = wasm_v128_load(q + 32 * p + h);
                    const v128_t even = wasm_i16x8_shr(wasm_i16x8_shl(x, 8), 8);
                    const v128_t odd = wasm_i16x8_shr(x, 8);
                    for (int r = 0; r < 4; r++) {
                        const v128_t v = wasm_v128_load(w + 32 * r + h);
                        a[r] = q2_mul(a[r], wasm_u16x8_shr(v, (uint32_t)(2 * p)), even);
                        a[r] = q2_mul(a[r], wasm_u16x8_shr(v, (uint32_t)(2 * p + 8)), odd);
                    }
                }
        for (int r = 0; r < 4; r++)
            total[r] = wasm_i32x4_add(total[r], wasm_i32x4_extadd_pairwise_i16x8(a[r]));
    }
    for (int r = 0; r < 4; r++)
        sum[r] = wasm_i32x4_extract_lane(total[r], 0) + wasm_i32x4_extract_lane(total[r], 1) +
                 wasm_i32x4_extract_lane(total[r], 2) + wasm_i32x4_extract_lane(total[r], 3);
}

/* The sum of q over `steps` steps of one token, to be taken off. */
BN_INLINE int32_t q2_bias(const int8_t *q, int steps)
{
    v128_t a = wasm_i32x4_splat(0);

    for (int i = 0; i < 128 * steps; i += 16) {
        v128_t pairs = wasm_i16x8_extadd_pairwise_i8x16(wasm_v128_load(q + i));
        a = wasm_i32x4_add(a, wasm_i32x4_extadd_pairwise_i16x8(pairs));
    }
    return wasm_i32x4_extract_lane(a, 0) + wasm_i32x4_extract_lane(a, 1) +
           wasm_i32x4_extract_lane(a, 2) + wasm_i32x4_extract_lane(a, 3);
}

//@ q2_run_simd128 : q2_dot_simd128 gelu_arg
/* The four values of block u for the token at q, bit-exact with q2_value of scalar.c; bias: the sum
 * of q (unused if blocked). Rows from n on come out as anything. */
BN_INLINE void q2_values(const uint8_t *w, const float *c, const int8_t *q, float s, int32_t bias,
                         int u, int n, int k, int blocked, double v[4])
{
    const int steps = BN_Q2_STEPS(k);
    const size_t scales = BN_Q2_SCALES((size_t)k);
    int32_t sum[4];

    w += (size_t)u * BN_QPAD((size_t)k);
    if (!blocked) {
        q2_rows(w, q, steps, sum);
        for (int r = 0; r < 4; r++)
            v[r] = (double)(sum[r] - bias) * (double)(c[0] / s);
        return;
    }
    for (int r = 0; r < 4; r++)
        v[r] = 0.0;
    for (int j = 0; j < steps; j += 2, w += 256, q += 256) {
        const int part = steps - j < 2 ? steps - j : 2;
        q2_rows(w, q, part, sum);
        bias = q2_bias(q, part);
        for (int r = 0; r < 4 && 4 * u + r < n; r++)
            v[r] += (double)c[(size_t)(4 * u + r) * scales + (size_t)(j / 2)] * (sum[r] - bias);
    }
    for (int r = 0; r < 4; r++)
        v[r] /= (double)s;
}

BN_INLINE float q2_act(float gate, int act)
{
    if (act != BN_RELU2)
        return gate / (1.0f + expf(-(act == BN_GELU ? gelu_arg(gate) : gate)));
    gate = gate > 0.0f ? gate : 0.0f;
    return gate * gate;
}

/* Blocks [from, to) of 4 rows: y = value + res without wu, else act(value) * value of wu. Tokens go
 * by 64, whose sums of q are kept; a block of weights stays in L1. */
BN_INLINE void q2_run(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                      int n, int k, int from, int to, int blocked)
{
    const size_t stride = BN_QPAD((size_t)k);
    int32_t bias[64];
    double v[4], up[4];

    for (int base = 0; base < T; base += 64) {
        const int end = T - base < 64 ? T : base + 64;
        for (int t = base; t < end; t++)
            bias[t - base] = blocked ? 0 : q2_bias(q + (size_t)t * stride, BN_Q2_STEPS(k));
        for (int u = from; u < to; u++)
            for (int t = base; t < end; t++) {
                const size_t at = (size_t)t * (size_t)n + 4 * (size_t)u;
                const size_t rows = n - 4 * u < 4 ? (size_t)(n - 4 * u) : 4;
                const int8_t *in = q + (size_t)t * stride;
                q2_values(w, c, in, s[t], bias[t - base], u, n, k, blocked, v);
                if (wu)
                    q2_values(wu, cu, in, s[t], bias[t - base], u, n, k, blocked, up);
                for (size_t r = 0; r < rows; r++)
                    if (wu)
                        y[at + r] = q2_act((float)v[r], act) * (float)up[r];
                    else
                        y[at + r] = (float)(v[r] + (res ? (double)res[at + r] : 0.0));
            }
    }
}

//@ tmatmul_q2_simd128 : q2_run_simd128
/* Bit-exact with scalar.c: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_simd128(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 0);
}

//@ tmatmul_q2b_simd128 : q2_run_simd128
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_simd128(const uint8_t *w, const float *c, const int8_t *q,
                                   const float *s, const float *res, float *y, int T, int n, int k,
                                   int from, int to)
{
    q2_run(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 1);
}

//@ tglu_q2_simd128 : q2_run_simd128
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2_simd128(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to)
{
    q2_run(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b_simd128 : q2_run_simd128
BN_INLINE void tglu_q2b_simd128(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                const float *cu, const int8_t *q, const float *s, float *y, int act,
                                int T, int n, int k, int from, int to)
{
    q2_run(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 1);
}
