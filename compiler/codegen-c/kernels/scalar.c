/* scalar.c: every kernel in plain C11 that is also C++17: the reference, and the last resort.
 *
 * One idea: a result has one value. A kernel's bits for one token depend neither on how many
 * tokens the call has, nor on the thread's share, nor on whether the C compiler fuses multiply
 * and add. Integer sums are exact. Sums of f32 products run in double, where a product of two
 * floats is exact, so that a fused and a separate multiply-add round alike; and they run in
 * lanes whose order is written down, so that the compiler may vectorise and AVX2 may agree.
 *
 * All kernels: `from, to` is this thread's half-open share, in tokens, heads or blocks of 4
 * rows; tensors are row-major f32 unless said otherwise; nothing is allocated, no state is kept.
 * A weight is `const void *` where the bytes depend on its format.
 */
#include "../../../runtime-min/bn_model.h"
#include <math.h>
#include <string.h>
#define BN_KERNELS_SCALAR /* avx2.c uses chunks of this file */

//@ qpad
/* Bytes of one int8 row of k values: rounded up to 128, the rest are zeros. */
#define BN_QPAD(k) (((k) + 127) / 128 * 128)

//@ f16_to_f32
/* Exact for all 65536 codes, in integers but for one exact product; signalling NaNs turn quiet,
 * as vcvtph2ps has it. Masks for branches: the compiler may vectorise.
 *
 *   15 14      10 9              0      31 30      23 22                       0
 *   s  exponent   mantissa         ->   s  exponent   mantissa, 13 zeros         */
BN_INLINE float f16_to_f32(uint16_t h)
{
    const uint32_t exponent = h & 0x7c00u, mantissa = h & 1023u;
    const uint32_t small = 0u - (uint32_t)(exponent == 0);       /* mantissa / 2^24 */
    const uint32_t large = 0u - (uint32_t)(exponent == 0x7c00u); /* infinity, NaN */
    const uint32_t quiet = 0u - (uint32_t)(mantissa != 0);
    float f = (float)(int)mantissa * (1.0f / 16777216.0f);
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    bits = (bits & small) | (((exponent | mantissa) + 0x1c000u) << 13 & ~small);
    bits |= (large & 0x7f800000u) | (large & quiet & 0x400000u);
    bits |= (uint32_t)(h & 0x8000u) << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

//@ load_f32
/* load_X: buf[i] = w[at + i] for i < n, where w is the whole tensor and `at` an element. */
BN_INLINE void load_f32(const void *w, size_t at, float *buf, int n)
{
    memcpy(buf, (const float *)w + at, (size_t)n * sizeof *buf);
}

//@ load_f16 : f16_to_f32
BN_INLINE void load_f16(const void *w, size_t at, float *buf, int n)
{
    const uint16_t *h = (const uint16_t *)w + at;
    for (int i = 0; i < n; i++)
        buf[i] = f16_to_f32(h[i]);
}

//@ load_bf16
/* bf16 is the upper half of an f32. */
BN_INLINE void load_bf16(const void *w, size_t at, float *buf, int n)
{
    const uint16_t *h = (const uint16_t *)w + at;
    for (int i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)h[i] << 16;
        memcpy(&buf[i], &bits, sizeof bits);
    }
}

//@ load_q8_0 : f16_to_f32
/* Blocks of 32 values in 34 bytes: | f16 scale | 32 x int8 |; `at` and rows are multiples of 32.
 * The product scale * int8 has 19 bits and is exact. */
BN_INLINE void load_q8_0(const void *w, size_t at, float *buf, int n)
{
    const uint8_t *block = (const uint8_t *)w + at / 32 * 34;
    for (int i = 0; i < n; i += 32, block += 34) {
        uint16_t h;
        memcpy(&h, block, sizeof h);
        float unit = f16_to_f32(h);
        for (int j = 0; j < 32 && i + j < n; j++)
            buf[i + j] = unit * (float)(int8_t)block[2 + j];
    }
}

//@ embed_f32 : load_f32
/* y[t] = w[token[t]]; w [V x D], y [T x D]. The caller has checked the tokens. */
BN_INLINE void embed_f32(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    for (int t = from; t < to; t++)
        load_f32(w, (size_t)token[t] * (size_t)d, y + (size_t)t * (size_t)d, d);
}

//@ embed_f16 : load_f16
BN_INLINE void embed_f16(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    for (int t = from; t < to; t++)
        load_f16(w, (size_t)token[t] * (size_t)d, y + (size_t)t * (size_t)d, d);
}

//@ embed_bf16 : load_bf16
BN_INLINE void embed_bf16(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    for (int t = from; t < to; t++)
        load_bf16(w, (size_t)token[t] * (size_t)d, y + (size_t)t * (size_t)d, d);
}

//@ embed_q8_0 : load_q8_0
BN_INLINE void embed_q8_0(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    for (int t = from; t < to; t++)
        load_q8_0(w, (size_t)token[t] * (size_t)d, y + (size_t)t * (size_t)d, d);
}

//@ dot
/* Element i of a dot product belongs to lane i % 8; products are exact in double. */
BN_INLINE void dot_lanes(double *lane, const float *a, const float *b, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] += (double)a[i + j] * (double)b[i + j];
    for (int j = 0; j < 8 && i + j < n; j++)
        lane[j] += (double)a[i + j] * (double)b[i + j];
}

BN_INLINE double dot_sum(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

//@ linear_f32 : load_f32 dot
/* y[t][n] = sum_k w[n][k] x[t][k] for rows [from, to) of w [N x K]; x [T x K], y [T x N]. */
BN_INLINE void linear_f32(const void *w, const float *x, float *y, int T, int n, int k, int from,
                          int to)
{
    for (int r = from; r < to; r++)
        for (int t = 0; t < T; t++) {
            double lane[8] = {0};
            dot_lanes(lane, (const float *)w + (size_t)r * (size_t)k, x + (size_t)t * (size_t)k, k);
            y[(size_t)t * (size_t)n + (size_t)r] = (float)dot_sum(lane);
        }
}

//@ linear_f16 : load_f16 dot
BN_INLINE void linear_f16(const void *w, const float *x, float *y, int T, int n, int k, int from,
                          int to)
{
    for (int r = from; r < to; r++)
        for (int t = 0; t < T; t++) {
            double lane[8] = {0};
            for (int i = 0; i < k; i += 32) {
                float buf[32];
                int m = k - i < 32 ? k - i : 32;
                load_f16(w, (size_t)r * (size_t)k + (size_t)i, buf, m);
                dot_lanes(lane, buf, x + (size_t)t * (size_t)k + i, m);
            }
            y[(size_t)t * (size_t)n + (size_t)r] = (float)dot_sum(lane);
        }
}

//@ linear_bf16 : load_bf16 dot
BN_INLINE void linear_bf16(const void *w, const float *x, float *y, int T, int n, int k, int from,
                           int to)
{
    for (int r = from; r < to; r++)
        for (int t = 0; t < T; t++) {
            double lane[8] = {0};
            for (int i = 0; i < k; i += 32) {
                float buf[32];
                int m = k - i < 32 ? k - i : 32;
                load_bf16(w, (size_t)r * (size_t)k + (size_t)i, buf, m);
                dot_lanes(lane, buf, x + (size_t)t * (size_t)k + i, m);
            }
            y[(size_t)t * (size_t)n + (size_t)r] = (float)dot_sum(lane);
        }
}

//@ linear_q8_0 : load_q8_0 dot
/* k is a multiple of 32. */
BN_INLINE void linear_q8_0(const void *w, const float *x, float *y, int T, int n, int k, int from,
                           int to)
{
    for (int r = from; r < to; r++)
        for (int t = 0; t < T; t++) {
            double lane[8] = {0};
            for (int i = 0; i < k; i += 32) {
                float buf[32];
                load_q8_0(w, (size_t)r * (size_t)k + (size_t)i, buf, 32);
                dot_lanes(lane, buf, x + (size_t)t * (size_t)k + i, 32);
            }
            y[(size_t)t * (size_t)n + (size_t)r] = (float)dot_sum(lane);
        }
}

//@ rms
/* rms_sum: sum of x[i]^2, element i in lane i % 16. rms_unit: 1 / sqrt(sum / d + eps). */
BN_INLINE double rms_sum(const float *x, int d)
{
    double lane[16] = {0}, part[4];
    int i = 0;

    for (; i + 16 <= d; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; j < 16 && i + j < d; j++)
        lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; j < 4; j++)
        part[j] = (lane[j] + lane[4 + j]) + (lane[8 + j] + lane[12 + j]);
    return (part[0] + part[2]) + (part[1] + part[3]);
}

BN_INLINE float rms_unit(double sum, int d, float eps)
{
    return 1.0f / sqrtf((float)(sum / d) + eps);
}

//@ rmsnorm : rms
/* y = x / sqrt(mean(x^2) + eps) * g; x, y [T x D], g [D]; y may be x. */
BN_INLINE void rmsnorm(const float *x, const float *g, float *y, int d, float eps, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)d;
        float *out = y + (size_t)t * (size_t)d;
        float unit = rms_unit(rms_sum(in, d), d, eps);
        for (int i = 0; i < d; i++)
            out[i] = in[i] * unit * g[i];
    }
}

//@ head_norm : rms
/* rmsnorm of each head of this share; x, y [T x heads x width / heads], g [width / heads]; y may be
 * x. */
BN_INLINE void head_norm(const float *x, const float *g, float *y, int T, int heads, int width,
                         float eps, int from, int to)
{
    const int d = width / heads;

    for (int t = 0; t < T; t++)
        for (int h = from; h < to; h++) {
            const size_t at = (size_t)t * (size_t)width + (size_t)h * (size_t)d;
            const float unit = rms_unit(rms_sum(x + at, d), d, eps);
            for (int i = 0; i < d; i++)
                y[at + (size_t)i] = x[at + (size_t)i] * unit * g[i];
        }
}

//@ scale
/* y = x * w[0]; x, y [T x D]; y may be x. */
BN_INLINE void scale(const float *x, const float *w, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    float factor = w[0];
    for (size_t i = (size_t)from * (size_t)d; i < end; i++)
        y[i] = x[i] * factor;
}

//@ relu2
/* y = max(x, 0)^2; x, y [T x D]; y may be x. The square passes what f16 can hold. */
BN_INLINE void relu2(const float *x, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    for (size_t i = (size_t)from * (size_t)d; i < end; i++) {
        float v = x[i] > 0.0f ? x[i] : 0.0f;
        y[i] = v * v;
    }
}

//@ silu
/* y = x / (1 + exp(-x)); x, y [T x D]; y may be x. */
BN_INLINE void silu(const float *x, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    for (size_t i = (size_t)from * (size_t)d; i < end; i++)
        y[i] = x[i] / (1.0f + expf(-x[i]));
}

//@ gelu_arg
/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), so gelu(x) = x / (1 + exp(-z)) as silu has it, with
 * z = 2 sqrt(2/pi) (x + 0.044715 x^3): the approximation that Gemma was trained with. */
BN_INLINE float gelu_arg(float x)
{
    return 1.5957691216057308f * (x + 0.044715f * (x * x * x));
}

//@ gelu : gelu_arg
/* y = gelu(x); x, y [T x D]; y may be x. */
BN_INLINE void gelu(const float *x, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    for (size_t i = (size_t)from * (size_t)d; i < end; i++)
        y[i] = x[i] / (1.0f + expf(-gelu_arg(x[i])));
}

//@ mul
/* y = a * b; all [T x D]; y may be a or b. */
BN_INLINE void mul(const float *a, const float *b, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    for (size_t i = (size_t)from * (size_t)d; i < end; i++)
        y[i] = a[i] * b[i];
}

//@ add
/* y = a + b; all [T x D]; y may be a or b. */
BN_INLINE void add(const float *a, const float *b, float *y, int d, int from, int to)
{
    size_t end = (size_t)to * (size_t)d;
    for (size_t i = (size_t)from * (size_t)d; i < end; i++)
        y[i] = a[i] + b[i];
}

//@ copy
/* y = x; both [T x D], apart. */
BN_INLINE void copy(const float *x, float *y, int d, int from, int to)
{
    if (from < to)
        memcpy(y + (size_t)from * (size_t)d, x + (size_t)from * (size_t)d,
               (size_t)(to - from) * (size_t)d * sizeof *y);
}

//@ pick : copy
/* y = b in layers every - 1, 2 every - 1, ..., a in the others; all [T x D], y apart. */
BN_INLINE void pick(const float *a, const float *b, float *y, int d, int every, int layer, int from,
                    int to)
{
    copy((layer + 1) % every == 0 ? b : a, y, d, from, to);
}

//@ last
/* y[0] = x[T - 1]; x [T x D], y [1 x D], apart. One unit of work. */
BN_INLINE void last(const float *x, float *y, int T, int d, int from, int to)
{
    if (from == 0 && to > 0)
        memcpy(y, x + (size_t)(T - 1) * (size_t)d, (size_t)d * sizeof *y);
}

//@ rope_table
/* y[t][2j], y[t][2j + 1] = cos, sin of (pos + t) * base^(-2j / dim); y [T x dim]. In double: at
 * position 100,000 an f32 angle is off by 0.004 radians. The powers are products of the first: 64
 * roundings in double are 1e-14 of the angle, and pow takes as long as both functions. */
BN_INLINE void rope_table(int pos, float *y, int dim, float base, int from, int to)
{
    const double step = pow((double)base, -2.0 / dim);
    double turn = 1.0;

    for (int j = 0; j < dim / 2; j++, turn *= step) {
        for (int t = from; t < to; t++) {
            double angle = ((double)pos + t) * turn;
            float *out = y + (size_t)t * (size_t)dim + 2 * (size_t)j;
            out[0] = (float)cos(angle);
            out[1] = (float)sin(angle);
        }
    }
}

//@ rope_head
/* a[j], b[j]: pair j of x, rotated; n (at most 8) pairs lie `step` apart, their halves `apart`.
 *   (a, b) -> (a cos - b sin, a sin + b cos) */
BN_INLINE void rope_turn(const float *x, const float *turn, float *a, float *b, int n, int step,
                         int apart)
{
    for (int j = 0; j < n; j++) {
        const double c = turn[2 * j], s = turn[2 * j + 1];
        const double u = x[j * step], v = x[j * step + apart];
        a[j] = (float)(u * c - v * s);
        b[j] = (float)(u * s + v * c);
    }
}

/* All pairs are read before one is written: y may be x, and the compiler may vectorise. */
BN_INLINE void rope_pairs(const float *x, const float *turn, float *y, int n, int step, int apart)
{
    float a[8], b[8];

    rope_turn(x, turn, a, b, n, step, apart);
    for (int j = 0; j < n; j++) {
        y[j * step] = a[j];
        y[j * step + apart] = b[j];
    }
}

/* Rotates the first `rot` of one head's values, copies the others; y may be x. */
BN_INLINE void rope_head(const float *x, const float *table, float *y, int head_dim, int rot,
                         int mode)
{
    const int half = rot / 2, step = mode == BN_NEOX ? 1 : 2, apart = mode == BN_NEOX ? half : 1;
    int j = 0;

    for (; j + 8 <= half; j += 8)
        rope_pairs(x + j * step, table + 2 * j, y + j * step, 8, step, apart);
    if (j < half)
        rope_pairs(x + j * step, table + 2 * j, y + j * step, half - j, step, apart);
    for (int i = 2 * half; i < head_dim; i++)
        y[i] = x[i];
}

//@ rope : rope_head
/* Rotates the heads of this share; x, y [T x heads x head_dim], width = heads * head_dim,
 * table [T x rot]; y may be x. */
BN_INLINE void rope(const float *x, const float *table, float *y, int T, int heads, int width,
                    int rot, int mode, int from, int to)
{
    const int head_dim = width / heads;

    for (int t = 0; t < T; t++)
        for (int h = from; h < to; h++) {
            size_t at = (size_t)t * (size_t)width + (size_t)h * (size_t)head_dim;
            rope_head(x + at, table + (size_t)t * (size_t)rot, y + at, head_dim, rot, mode);
        }
}

//@ quant_scale
/* Turns the largest magnitude of a token into its scale. */
BN_INLINE float quant_scale(float most)
{
    return 127.0f / (most > 1e-5f ? most : 1e-5f);
}

//@ quant_row : qpad quant_scale
/* One token: v = g ? x * unit * g : x; s = 127 / max(max|v|, 1e-5),
 * q = clamp(round_half_even(v * s), -128, 127), zeros up to BN_QPAD(k). v is computed twice,
 * alike, rather than kept. |v * s| is below 127.001, so that the clamp is at work already.
 *
 * Magnitudes are compared as integers: the order is the same, and integers vectorise. Adding
 * 1.5 * 2^52 to a double leaves it rounded, half to even, in its low bits; in double, because
 * the compiler could fuse an f32 product with an f32 sum. */
BN_INLINE void quant_row(const float *x, const float *g, float unit, int8_t *q, float *s, int k)
{
    int32_t most = 0;
    float factor;

    for (int i = 0; i < k; i++) {
        float v = fabsf(g ? x[i] * unit * g[i] : x[i]);
        int32_t bits;
        memcpy(&bits, &v, sizeof bits);
        most = bits > most ? bits : most;
    }
    memcpy(&factor, &most, sizeof factor);
    *s = factor = quant_scale(factor);
    for (int i = 0; i < k; i++) {
        double v = (double)((g ? x[i] * unit * g[i] : x[i]) * factor) + 6755399441055744.0;
        uint64_t bits;
        memcpy(&bits, &v, sizeof bits);
        q[i] = (int8_t)(bits & 255u);
    }
    memset(q + k, 0, (size_t)(BN_QPAD(k) - k));
}

//@ quant : quant_row
/* x [T x K], q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void quant(const float *x, int8_t *q, float *s, int k, int from, int to)
{
    for (int t = from; t < to; t++)
        quant_row(x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k), s + t,
                  k);
}

//@ rmsnorm_quant : rms quant_row
/* rmsnorm, then quant, of the very f32 values that rmsnorm gives; x [T x K], g [K],
 * q [T x BN_QPAD(K)], s [T]. */
BN_INLINE void rmsnorm_quant(const float *x, const float *g, int8_t *q, float *s, int k, float eps,
                             int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_row(in, g, rms_unit(rms_sum(in, k), k, eps), q + (size_t)t * BN_QPAD((size_t)k),
                  s + t, k);
    }
}

//@ q2_layout : qpad
/* Q2R4, ternary weights w [N x K] in two bits, code = w + 1: a block is 4 rows, a step is 128 k
 * of a block in 128 bytes. Rows past n and k past K are zero weights (code 1).
 *
 *   block    | rows 0-3: step 0, step 1, ... | rows 4-7: ... |       BN_QPAD(K) bytes each
 *   step     | row 0: 32 bytes | row 1: 32 bytes | row 2: 32 bytes | row 3: 32 bytes |
 *   byte i   | 7-6: k = 96 + i | 5-4: k = 64 + i | 3-2: k = 32 + i | 1-0: k = i |
 *
 * Q2R4: one scale c[0]. Q2R4B: scales c [N x ceil(K / 256)], one for each 256 k of a row. */
#define BN_Q2_STEPS(k) (BN_QPAD(k) / 128)
#define BN_Q2_SCALES(k) (((k) + 255) / 256)

//@ q2_value : q2_layout
/* sum_k w q over `steps` steps of one row (w at its 32 bytes of the first step). Exact: a term
 * is at most 2 * 128 (code 3 included), so int32 has room for K < 2^23. */
BN_INLINE int32_t q2_dot(const uint8_t *w, const int8_t *q, int steps)
{
    int32_t sum = 0;
    for (int j = 0; j < steps; j++, q += 128)
        for (int i = 0; i < 32; i++) {
            const int code = w[128 * (size_t)j + (size_t)i];
            sum += ((code & 3) - 1) * q[i] + ((code >> 2 & 3) - 1) * q[32 + i] +
                   ((code >> 4 & 3) - 1) * q[64 + i] + ((code >> 6) - 1) * q[96 + i];
        }
    return sum;
}

/* One output of row r, token scale s, before the residual:
 *   Q2R4   (sum_k w q) * (c[0] / s)
 *   Q2R4B  (sum_b c[r][b] * sum_{k in b} w q) / s
 * In double, where these products are exact: the same bits on every target. */
BN_INLINE double q2_value(const uint8_t *w, const float *c, const int8_t *q, float s, int r, int k,
                          int blocked)
{
    const int steps = BN_Q2_STEPS(k);
    const uint8_t *row = w + (size_t)(r / 4) * BN_QPAD((size_t)k) + (size_t)(r % 4) * 32;
    double sum = 0.0;

    if (!blocked)
        return (double)q2_dot(row, q, steps) * (double)(c[0] / s);
    c += (size_t)r * BN_Q2_SCALES((size_t)k);
    for (int j = 0; j < steps; j += 2)
        sum += (double)c[j / 2] *
               q2_dot(row + (size_t)j * 128, q + (size_t)j * 128, steps - j < 2 ? steps - j : 2);
    return sum / s;
}

//@ q2_matmul : q2_value
/* y = value + res over blocks [from, to) of 4 rows, for rows below n alone. */
BN_INLINE void q2_matmul(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                         const float *res, float *y, int T, int n, int k, int from, int to,
                         int blocked)
{
    for (int r = 4 * from; r < 4 * to && r < n; r++)
        for (int t = 0; t < T; t++) {
            size_t at = (size_t)t * (size_t)n + (size_t)r;
            double v = q2_value(w, c, q + (size_t)t * BN_QPAD((size_t)k), s[t], r, k, blocked);
            y[at] = (float)(v + (double)(res ? res[at] : 0.0f));
        }
}

//@ glu_act : gelu_arg
/* act(gate) * up. */
BN_INLINE float glu_act(float gate, float up, int act)
{
    if (act != BN_RELU2)
        return gate / (1.0f + expf(-(act == BN_GELU ? gelu_arg(gate) : gate))) * up;
    gate = gate > 0.0f ? gate : 0.0f;
    return gate * gate * up;
}

//@ q2_glu : q2_value glu_act
/* y = act(gate) * up over blocks [from, to) of 4 rows, for rows below n alone. */
BN_INLINE void q2_glu(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                      int from, int to, int blocked)
{
    for (int r = 4 * from; r < 4 * to && r < n; r++)
        for (int t = 0; t < T; t++) {
            const int8_t *in = q + (size_t)t * BN_QPAD((size_t)k);
            float gate = (float)q2_value(wg, cg, in, s[t], r, k, blocked);
            float up = (float)q2_value(wu, cu, in, s[t], r, k, blocked);
            y[(size_t)t * (size_t)n + (size_t)r] = glu_act(gate, up, act);
        }
}

//@ tmatmul_q2 : q2_matmul
/* y[t][r] = (sum_k w[r][k] q[t][k]) * c[0] / s[t] (+ res[t][r]); w Q2R4 [N x K],
 * q [T x BN_QPAD(K)], s [T], res NULL or [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                          const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_matmul(w, c, q, s, res, y, T, n, k, from, to, 0);
}

//@ tmatmul_q2b : q2_matmul
/* w Q2R4B: y[t][r] = (sum_b c[r][b] sum_{k in b} w[r][k] q[t][k]) / s[t] (+ res[t][r]). */
BN_INLINE void tmatmul_q2b(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                           const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_matmul(w, c, q, s, res, y, T, n, k, from, to, 1);
}

//@ tglu_q2 : q2_glu
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                       const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                       int from, int to)
{
    q2_glu(wg, cg, wu, cu, q, s, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b : q2_glu
BN_INLINE void tglu_q2b(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                        const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                        int from, int to)
{
    q2_glu(wg, cg, wu, cu, q, s, y, act, T, n, k, from, to, 1);
}
