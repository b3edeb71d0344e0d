/* scalar_q2g.c: ternary weights with an f16 scale for each group of columns, in plain C: the reference.
 *
 * One idea: a sum over groups of columns is a sum of floats, so its order is fixed: from the first group
 * to the last, each product and each sum rounded to f32, never fused. A product of floats is taken in
 * double, where it is exact, and then rounded: no compiler may fuse that with the sum. Rows stand beside
 * each other in memory, so that vectors keep a row in a lane and follow the same order.
 *
 *   Q2R16G, G columns share a scale: a block is 16 rows, a tile of it 16 k in 64 bytes
 *   block   | tile 0 | tile 1 | ... up to 64 k | f16 scales [ceil(K / G)][16] | zeros | f32 unit |
 *   tile    byte 4r + j: row r, bits 2p+1-2p: k = 4p + j, code w + 1
 *   unit    the last of a multiple of 64 bytes; all scales are multiplied by it
 *
 * The scales of c, which other layouts have, are with the codes here; c is not read.
 *
 *   q [T x BN_QPAD(K)], s [T x 2 ceil(K / G)]: of each group its unit u (x is about q u) and the sum of q
 *   y[t][r] = unit sum_g (sum_{k in g} w[r][k] q[t][k]) (scale[r][g] u[t][g])
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#define BN_KERNELS_SCALAR_Q2G /* avx2_q2g.c leans on chunks of this file */

//@ q2g_layout : qpad
#define BN_Q2G_GROUPS(k, group) (((k) + (group)-1) / (group))
#define BN_Q2G_TILES(k) (((k) + 63) / 64 * 4)
/* Bytes of a block of rows. */
#define BN_Q2G_BLOCK(k, group)                                                                     \
    (64 * (size_t)BN_Q2G_TILES(k) +                                                                \
     (BN_Q2G_GROUPS((size_t)(k), (size_t)(group)) * 32 + 67) / 64 * 64)

/* The unit of a block. */
BN_INLINE float q2g_unit(const uint8_t *w, int k, int group)
{
    float unit;

    memcpy(&unit, w + BN_Q2G_BLOCK(k, group) - sizeof unit, sizeof unit);
    return unit;
}

//@ f32_times
/* a * b, rounded, which no compiler fuses with a sum. */
BN_INLINE float f32_times(float a, float b)
{
    return (float)((double)a * (double)b);
}

//@ quant_group_row : q2g_layout quant_row f32_times
/* One token: v = g ? x * unit * g : x; of each group of `group` values (token: of all) u = max(max|v|,
 * 1e-30) / 127, q = round_half_even(v * (127 / max)), which is within 127.0001; s[2g] = u, s[2g + 1] the
 * sum of the group's q. Zeros up to BN_QPAD(k). */
BN_INLINE float group_most(const float *x, const float *g, float unit, int n)
{
    int32_t most = 0;
    float v;

    for (int i = 0; i < n; i++) {
        int32_t bits;
        v = fabsf(g ? x[i] * unit * g[i] : x[i]);
        memcpy(&bits, &v, sizeof bits);
        most = bits > most ? bits : most;
    }
    memcpy(&v, &most, sizeof v);
    return v > 1e-30f ? v : 1e-30f;
}

BN_INLINE void quant_group_row(const float *x, const float *g, float unit, int8_t *q, float *s,
                               int k, int group, int scale)
{
    float most = scale == BN_TOKEN ? group_most(x, g, unit, k) : 0.0f;

    for (int at = 0; at < k; at += group, s += 2) {
        const int end = k - at < group ? k : at + group;
        int32_t sum = 0;
        float factor;
        if (scale != BN_TOKEN)
            most = group_most(x + at, g ? g + at : NULL, unit, end - at);
        factor = 127.0f / most;
        for (int i = at; i < end; i++) {
            double v = (double)((g ? x[i] * unit * g[i] : x[i]) * factor) + 6755399441055744.0;
            uint64_t bits;
            memcpy(&bits, &v, sizeof bits);
            q[i] = (int8_t)(bits & 255u);
            sum += q[i];
        }
        s[0] = most / 127.0f;
        s[1] = (float)sum;
    }
    memset(q + k, 0, (size_t)(BN_QPAD(k) - k));
}

//@ quant_group : quant_group_row
/* x [T x K], q [T x BN_QPAD(K)], s [T x 2 ceil(K / group)]. */
BN_INLINE void quant_group(const float *x, int8_t *q, float *s, int k, int group, int scale,
                           int from, int to)
{
    for (int t = from; t < to; t++)
        quant_group_row(x + (size_t)t * (size_t)k, NULL, 1.0f, q + (size_t)t * BN_QPAD((size_t)k),
                        s + 2 * (size_t)t * BN_Q2G_GROUPS((size_t)k, (size_t)group), k, group,
                        scale);
}

//@ rmsnorm_quant_group : rms quant_group_row
/* rmsnorm, then quant_group, of the very f32 values that rmsnorm gives. */
BN_INLINE void rmsnorm_quant_group(const float *x, const float *g, int8_t *q, float *s, int k,
                                   float eps, int group, int scale, int from, int to)
{
    for (int t = from; t < to; t++) {
        const float *in = x + (size_t)t * (size_t)k;
        quant_group_row(in, g, rms_unit(rms_sum(in, k), k, eps), q + (size_t)t * BN_QPAD((size_t)k),
                        s + 2 * (size_t)t * BN_Q2G_GROUPS((size_t)k, (size_t)group), k, group,
                        scale);
    }
}

//@ q2g_values : q2g_layout f16_to_f32 f32_times
/* Sums of code * q of 16 rows in one group, code = w + 1: tiles [first, last) of block w. */
BN_INLINE void q2g_codes(const uint8_t *w, const int8_t *q, int first, int last, int32_t *sum)
{
    for (int r = 0; r < 16; r++)
        sum[r] = 0;
    for (int tile = first; tile < last; tile++) {
        const uint8_t *in = w + 64 * (size_t)tile;
        const int8_t *x = q + 16 * (size_t)tile;
        for (int p = 0; p < 4; p++)
            for (int r = 0; r < 16; r++)
                for (int j = 0; j < 4; j++)
                    sum[r] += (in[4 * r + j] >> 2 * p & 3) * x[4 * p + j];
    }
}

/* Outputs of the 16 rows of block w for one token, before the residual. */
BN_INLINE void q2g_values(const uint8_t *w, const int8_t *q, const float *s, float *v, int k,
                          int group)
{
    const float unit = q2g_unit(w, k, group);
    const int tiles = BN_Q2G_TILES(k), step = group / 16;
    const uint8_t *scale = w + 64 * (size_t)tiles;

    for (int r = 0; r < 16; r++)
        v[r] = 0.0f;
    for (int at = 0; at < tiles; at += step, scale += 32, s += 2) {
        int32_t sum[16];
        q2g_codes(w, q, at, tiles - at < step ? tiles : at + step, sum);
        for (int r = 0; r < 16; r++) {
            uint16_t h;
            memcpy(&h, scale + 2 * r, sizeof h);
            v[r] += f32_times((float)sum[r] - s[1], f32_times(f16_to_f32(h), s[0]));
        }
    }
    for (int r = 0; r < 16; r++)
        v[r] = f32_times(v[r], unit);
}

//@ q2g_run : q2g_layout
/* A core gives the outputs of a block of 16 rows for `toks` tokens (at most Q2G_TOKENS; rows of q, `stride`
 * bytes, of s, `pairs` floats) before the residual: v[t][row]. */
enum { Q2G_TOKENS = 16 };
typedef void (*q2g_core)(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                         size_t pairs, int k, int group, int toks, float (*v)[16]);
/* Stores `rows` of a block's outputs for one token: act(v) * up, or, where up is NULL, v + res, or v. */
typedef void (*q2g_store)(const float *v, const float *up, const float *res, float *y, int act,
                          int rows);

/* Blocks [from, to) of 16 rows, of rows below n: y = value + res without wu, else act(value) * value of
 * wu. core and store are literals, inlined. */
BN_INLINE void q2g_run(q2g_core core, q2g_store store, const uint8_t *w, const uint8_t *wu,
                       const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                       int n, int k, int group, int from, int to)
{
    const size_t stride = BN_QPAD((size_t)k), block = BN_Q2G_BLOCK(k, group);
    const size_t pairs = 2 * BN_Q2G_GROUPS((size_t)k, (size_t)group);
    float v[Q2G_TOKENS][16], up[Q2G_TOKENS][16];

    for (int base = 0, toks; base < T; base += toks) {
        const int8_t *x = q + (size_t)base * stride;
        const float *unit = s + (size_t)base * pairs;
        toks = T - base < Q2G_TOKENS ? T - base : Q2G_TOKENS;
        for (int u = from; u < to; u++) {
            const int rows = n - 16 * u < 16 ? n - 16 * u : 16;
            core(w + (size_t)u * block, x, stride, unit, pairs, k, group, toks, v);
            if (wu)
                core(wu + (size_t)u * block, x, stride, unit, pairs, k, group, toks, up);
            for (int t = 0; t < toks; t++) {
                const size_t at = (size_t)(base + t) * (size_t)n + 16 * (size_t)u;
                store(v[t], wu ? up[t] : NULL, res ? res + at : NULL, y + at, act, rows);
            }
        }
    }
}

//@ q2g_store_each : q2g_run glu_act
BN_INLINE void q2g_store_each(const float *v, const float *up, const float *res, float *y, int act,
                              int rows)
{
    for (int r = 0; r < rows; r++)
        y[r] = up ? glu_act(v[r], up[r], act) : res ? v[r] + res[r] : v[r];
}

//@ q2g_core_plain : q2g_values q2g_store_each
BN_INLINE void q2g_core_plain(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                              size_t pairs, int k, int group, int toks, float (*v)[16])
{
    for (int t = 0; t < toks; t++)
        q2g_values(w, q + (size_t)t * stride, s + (size_t)t * pairs, v[t], k, group);
}

//@ q2g_row : q2g_values
/* Codes w of columns [at, at + group) of row r that are below k, and their scale. */
BN_INLINE float q2g_row(const void *w, int r, int at, int k, int group, float *code)
{
    const uint8_t *block = (const uint8_t *)w + (size_t)(r / 16) * BN_Q2G_BLOCK(k, group);
    const uint8_t *scale = block + 64 * (size_t)BN_Q2G_TILES(k) + 32 * (size_t)(at / group);
    uint16_t h;

    for (int i = at; i < at + group && i < k; i++)
        code[i - at] =
            (float)((block[4 * (size_t)(i / 16 * 16 + r % 16) + i % 4] >> i / 4 % 4 * 2 & 3) - 1);
    memcpy(&h, scale + 2 * (r % 16), sizeof h);
    return f16_to_f32(h) * q2g_unit(block, k, group);
}

//@ q2g_embed : q2g_row
/* y[t] = w[token[t]]; w Q2R16G [V x D], y [T x D]. */
BN_INLINE void q2g_embed(const int32_t *token, const void *w, float *y, int d, int group, int from,
                         int to)
{
    for (int t = from; t < to; t++)
        for (int at = 0; at < d; at += group) {
            float code[256], *out = y + (size_t)t * (size_t)d + (size_t)at;
            const float scale = q2g_row(w, token[t], at, d, group, code);
            for (int i = 0; i < group && at + i < d; i++)
                out[i] = code[i] * scale;
        }
}

//@ q2g_linear : q2g_row dot
/* y[t][r] = sum_g scale[r][g] sum_{k in g} w[r][k] x[t][k], of floats, in double, over blocks [from, to)
 * of 16 rows, for rows below n alone. */
BN_INLINE void q2g_linear(const void *w, const float *x, float *y, int T, int n, int k, int group,
                          int from, int to)
{
    for (int r = 16 * from; r < 16 * to && r < n; r++)
        for (int t = 0; t < T; t++) {
            double sum = 0.0;
            for (int at = 0; at < k; at += group) {
                double lane[8] = {0};
                float code[256];
                const float scale = q2g_row(w, r, at, k, group, code);
                dot_lanes(lane, code, x + (size_t)t * (size_t)k + at,
                          k - at < group ? k - at : group);
                sum += (double)scale * (double)(float)dot_sum(lane);
            }
            y[(size_t)t * (size_t)n + (size_t)r] = (float)sum;
        }
}

//@ embed_q2g64 : q2g_embed
BN_INLINE void embed_q2g64(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    q2g_embed(token, w, y, d, 64, from, to);
}

//@ linear_q2g64 : q2g_linear
BN_INLINE void linear_q2g64(const void *w, const float *x, float *y, int T, int n, int k, int from,
                            int to)
{
    q2g_linear(w, x, y, T, n, k, 64, from, to);
}

//@ tmatmul_q2g64 : q2g_core_plain
/* A scale for each 64 columns; w Q2R16G64 [N x K], res NULL or [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2g64(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                             const float *res, float *y, int T, int n, int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_plain, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64 : q2g_core_plain
/* y = act(gate) * up, both as tmatmul_q2g64 gives them. */
BN_INLINE void tglu_q2g64(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                          const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                          int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_plain, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ embed_q2g128 : q2g_embed
BN_INLINE void embed_q2g128(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    q2g_embed(token, w, y, d, 128, from, to);
}

//@ linear_q2g128 : q2g_linear
BN_INLINE void linear_q2g128(const void *w, const float *x, float *y, int T, int n, int k, int from,
                             int to)
{
    q2g_linear(w, x, y, T, n, k, 128, from, to);
}

//@ tmatmul_q2g128 : q2g_core_plain
/* A scale for each 128 columns; w Q2R16G128 [N x K], res NULL or [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2g128(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                              const float *res, float *y, int T, int n, int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_plain, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128 : q2g_core_plain
/* y = act(gate) * up, both as tmatmul_q2g128 gives them. */
BN_INLINE void tglu_q2g128(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                           const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                           int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_plain, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ embed_q2g256 : q2g_embed
BN_INLINE void embed_q2g256(const int32_t *token, const void *w, float *y, int d, int from, int to)
{
    q2g_embed(token, w, y, d, 256, from, to);
}

//@ linear_q2g256 : q2g_linear
BN_INLINE void linear_q2g256(const void *w, const float *x, float *y, int T, int n, int k, int from,
                             int to)
{
    q2g_linear(w, x, y, T, n, k, 256, from, to);
}

//@ tmatmul_q2g256 : q2g_core_plain
/* A scale for each 256 columns; w Q2R16G256 [N x K], res NULL or [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2g256(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                              const float *res, float *y, int T, int n, int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_plain, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256 : q2g_core_plain
/* y = act(gate) * up, both as tmatmul_q2g256 gives them. */
BN_INLINE void tglu_q2g256(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                           const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                           int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_plain, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
