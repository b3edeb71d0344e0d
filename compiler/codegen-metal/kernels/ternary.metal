/* ternary.metal: products of 2-bit ternary weights with int8 activations.
 *
 * q2r4 (compiler/ir/layouts.c pictures it): a row is a simdgroup's work, as many rows as it has
 * simdgroups a threadgroup's. In a step, 128 columns, a row has 32 bytes; byte i holds the codes, w + 1, of
 * columns i, i + 32, i + 64 and i + 96. A lane takes 4 neighbouring bytes, 16 weights, so a
 * simdgroup takes 4 steps at once:
 *
 *   lane     0-7      8-15       16-23      24-31
 *   step     j        j + 1      j + 2      j + 3       bytes 4 (lane % 8) ...
 *
 * Sums are int, exact for any K below 2^23, whatever their order.
 */
#include <metal_stdlib>
using namespace metal;

//@ q2_dot : group
/* 4 codes of one plane (bits 1-0, 9-8, 17-16, 25-24 of w) by 4 activations. */
static inline int q2_four(uint w, uint q)
{
    int sum = 0;
    for (int b = 0; b < 4; b++)
        sum += (int(w >> (8 * b) & 3) - 1) * int(char(q >> (8 * b) & 255));
    return sum;
}

/* The part of step j that falls to this lane; w at the row's first byte, q at its first activation.
 */
static inline int q2_step(device const uchar *w, device const char *q, int j, uint lane)
{
    const uint codes = ((device const uint *)(w + 128 * ulong(j)))[lane % 8];
    device const uint *in = (device const uint *)(q + 128 * ulong(j)) + lane % 8;
    return q2_four(codes, in[0]) + q2_four(codes >> 2, in[8]) + q2_four(codes >> 4, in[16]) +
           q2_four(codes >> 6, in[24]);
}

/* sum_k w q of one row, for all lanes. */
static inline int q2_dot(device const uchar *w, device const char *q, int steps, uint lane)
{
    int sum = 0;
    for (int j = int(lane / 8); j < steps; j += 4)
        sum += q2_step(w, q, j, lane);
    return simd_sum(sum);
}

//@ q2_value : q2_dot
/* Row r of a product: (sum_k w q) c[0] / s. */
static inline float q2_value(device const uchar *w, device const float *c, device const char *q,
                             float s, int r, int k, uint lane)
{
    const int wide = (k + 127) / 128 * 128;
    return float(q2_dot(w + ulong(r / 4) * wide + (r % 4) * 32, q, wide / 128, lane)) * (c[0] / s);
}

//@ q2b_value : q2_dot
/* q2r4b: (sum_b c[r][b] sum_{k in b} w q) / s, a scale for each 256 columns of a row. */
static inline float q2b_value(device const uchar *w, device const float *c, device const char *q,
                              float s, int r, int k, uint lane)
{
    const int wide = (k + 127) / 128 * 128;
    float sum = 0;
    w += ulong(r / 4) * wide + (r % 4) * 32;
    c += ulong(r) * ((k + 255) / 256);
    for (int j = int(lane / 8); j < wide / 128; j += 4)
        sum += c[j / 2] * float(q2_step(w, q, j, lane));
    return simd_sum(sum) / s;
}

//@ q2_place : group
/* Which row and token a simdgroup of group g works on. */
static inline int q2_row(int n, uint g, uint me)
{
    return int(g % (uint(n + GROUPS - 1) / GROUPS) * GROUPS + me / LANES);
}

static inline uint q2_token(int n, uint g)
{
    return g / (uint(n + GROUPS - 1) / GROUPS);
}

//@ tmatmul_q2 : q2_value q2_place
/* y[t][r] = value (+ res[t][r]); y may be res. */
static inline void tmatmul_q2(device const uchar *w, device const float *c, device const char *q,
                              device const float *s, device const float *res, device float *y,
                              int T, int n, int k, uint g, uint me)
{
    const int r = q2_row(n, g, me), wide = (k + 127) / 128 * 128;
    const ulong t = q2_token(n, g), at = t * n + r;
    if (r >= n)
        return; /* the whole simdgroup */
    float v = q2_value(w, c, q + t * wide, s[t], r, k, me % LANES);
    if (me % LANES == 0)
        y[at] = res ? v + res[at] : v;
}

//@ tmatmul_q2b : q2b_value q2_place
static inline void tmatmul_q2b(device const uchar *w, device const float *c, device const char *q,
                               device const float *s, device const float *res, device float *y,
                               int T, int n, int k, uint g, uint me)
{
    const int r = q2_row(n, g, me), wide = (k + 127) / 128 * 128;
    const ulong t = q2_token(n, g), at = t * n + r;
    if (r >= n)
        return;
    float v = q2b_value(w, c, q + t * wide, s[t], r, k, me % LANES);
    if (me % LANES == 0)
        y[at] = res ? v + res[at] : v;
}

//@ glu_act : gelu_arg
static inline float glu_act(float gate, float up, int act)
{
    if (act != BN_RELU2)
        return gate / (1.0f + exp(-(act == BN_GELU ? gelu_arg(gate) : gate))) * up;
    gate = max(gate, 0.0f);
    return gate * gate * up;
}

//@ tglu_q2 : q2_value q2_place glu_act
/* y = act(gate) * up. */
static inline void tglu_q2(device const uchar *wg, device const float *cg, device const uchar *wu,
                           device const float *cu, device const char *q, device const float *s,
                           device float *y, int act, int T, int n, int k, uint g, uint me)
{
    const int r = q2_row(n, g, me), wide = (k + 127) / 128 * 128;
    const ulong t = q2_token(n, g);
    if (r >= n)
        return;
    float gate = q2_value(wg, cg, q + t * wide, s[t], r, k, me % LANES);
    float up = q2_value(wu, cu, q + t * wide, s[t], r, k, me % LANES);
    if (me % LANES == 0)
        y[t * n + r] = glu_act(gate, up, act);
}

//@ tglu_q2b : q2b_value q2_place glu_act
static inline void tglu_q2b(device const uchar *wg, device const float *cg, device const uchar *wu,
                            device const float *cu, device const char *q, device const float *s,
                            device float *y, int act, int T, int n, int k, uint g, uint me)
{
    const int r = q2_row(n, g, me), wide = (k + 127) / 128 * 128;
    const ulong t = q2_token(n, g);
    if (r >= n)
        return;
    float gate = q2b_value(wg, cg, q + t * wide, s[t], r, k, me % LANES);
    float up = q2b_value(wu, cu, q + t * wide, s[t], r, k, me % LANES);
    if (me % LANES == 0)
        y[t * n + r] = glu_act(gate, up, act);
}
