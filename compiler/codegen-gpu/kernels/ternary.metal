/* ternary.metal: products of 2-bit ternary weights with int8 activations, for few tokens.
 *
 * q2r4 (compiler/ir/layouts.c pictures it): a block of 4 rows is a simdgroup's work. In a step, 128
 * columns, a row has 32 bytes; byte i holds the codes, w + 1, of columns i, i + 32, i + 64 and
 * i + 96. A lane takes 16 bytes, 64 weights, so a simdgroup takes 4 steps, 512 bytes side by side, at
 * once:
 *
 *   lane     0     1     2     3     4     5     6     7    | 8-15    16-23    24-31
 *   step     j                                              | j + 1   j + 2    j + 3
 *   row      0     0     1     1     2     2     3     3    | 0 ...
 *   half     0     1     0     1     0     1     0     1    | 0 ...   16 half + 0..15 of each 32
 *
 * Sums are int, exact for any K below 2^23, whatever their order.
 */
#include <metal_stdlib>
using namespace metal;

//@ q2_step : group
/* 4 codes of one plane (bits 1-0, 9-8, 17-16, 25-24 of w) by 4 activations. */
static inline int q2_four(uint w, uint q)
{
    int sum = 0;
    for (int b = 0; b < 4; b++)
        sum += (int(w >> (8 * b) & 3) - 1) * int(char(q >> (8 * b) & 255));
    return sum;
}

/* This lane's share of step j; w at the block's first byte, q at its first activation. */
static inline int q2_step(device const uchar *w, device const char *q, int j, uint lane)
{
    const uint4 codes = ((device const uint4 *)(w + 128 * ulong(j)))[lane % 8];
    device const uint4 *in = (device const uint4 *)(q + 128 * ulong(j)) + lane % 2;
    int sum = 0;
    for (int p = 0; p < 4; p++) {
        const uint4 a = in[2 * p]; /* a plane has 32 columns */
        sum += q2_four(codes.x >> 2 * p, a.x) + q2_four(codes.y >> 2 * p, a.y) +
               q2_four(codes.z >> 2 * p, a.z) + q2_four(codes.w >> 2 * p, a.w);
    }
    return sum;
}

/* In lane r, 0 to 3, the sum over the lanes of row r. */
template <typename V> static inline V q2_together(V mine, uint lane)
{
    V sum = 0;
    for (uint r = 0; r < 4; r++) {
        const V all = simd_sum(lane % 8 / 2 == r ? mine : V(0));
        sum = lane == r ? all : sum;
    }
    return sum;
}

//@ q2_value : q2_step
/* In lane r, row 4 block + r of a product: (sum_k w q) c[0] / s. */
static inline float q2_value(device const uchar *w, device const float *c, device const char *q,
                             float s, int block, int n, int k, uint lane)
{
    const int wide = (k + 127) / 128 * 128;
    int sum = 0;
    w += ulong(block) * wide;
    for (int j = int(lane / 8); j < wide / 128; j += 4)
        sum += q2_step(w, q, j, lane);
    return float(q2_together(sum, lane)) * (c[0] / s);
}

//@ q2b_value : q2_step
/* q2r4b: (sum_b c[r][b] sum_{k in b} w q) / s, a scale for each 256 columns of a row. */
static inline float q2b_value(device const uchar *w, device const float *c, device const char *q,
                              float s, int block, int n, int k, uint lane)
{
    const int wide = (k + 127) / 128 * 128, row = 4 * block + int(lane % 8 / 2);
    float sum = 0;
    w += ulong(block) * wide;
    c += ulong(row) * ((k + 255) / 256);
    for (int j = int(lane / 8); j < wide / 128 && row < n; j += 4)
        sum += c[j / 2] * float(q2_step(w, q, j, lane));
    return q2_together(sum, lane) / s;
}

//@ q2_place : group
/* Which block of rows and which token a simdgroup of group g works on. */
static inline int q2_block(int n, uint g, uint me)
{
    return int(g % (uint(n + 4 * WARPS - 1) / (4 * WARPS)) * WARPS + me / LANES);
}

static inline uint q2_token(int n, uint g)
{
    return g / (uint(n + 4 * WARPS - 1) / (4 * WARPS));
}

//@ tmatmul_q2 : q2_value q2_place
/* y[t][r] = value (+ res[t][r]); y may be res. */
static inline void tmatmul_q2(device const uchar *w, device const float *c, device const char *q,
                              device const float *s, device const float *res, device float *y,
                              int T, int n, int k, uint g, uint me)
{
    const int block = q2_block(n, g, me), wide = (k + 127) / 128 * 128;
    const uint lane = me % LANES, r = 4 * uint(block) + lane;
    const ulong t = q2_token(n, g), at = t * n + r;
    if (4 * block >= n)
        return; /* the whole simdgroup */
    const float v = q2_value(w, c, q + t * wide, s[t], block, n, k, lane);
    if (lane < 4 && r < uint(n))
        y[at] = res ? v + res[at] : v;
}

//@ tmatmul_q2b : q2b_value q2_place
static inline void tmatmul_q2b(device const uchar *w, device const float *c, device const char *q,
                               device const float *s, device const float *res, device float *y,
                               int T, int n, int k, uint g, uint me)
{
    const int block = q2_block(n, g, me), wide = (k + 127) / 128 * 128;
    const uint lane = me % LANES, r = 4 * uint(block) + lane;
    const ulong t = q2_token(n, g), at = t * n + r;
    if (4 * block >= n)
        return;
    const float v = q2b_value(w, c, q + t * wide, s[t], block, n, k, lane);
    if (lane < 4 && r < uint(n))
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
    const int block = q2_block(n, g, me), wide = (k + 127) / 128 * 128;
    const uint lane = me % LANES, r = 4 * uint(block) + lane;
    const ulong t = q2_token(n, g);
    if (4 * block >= n)
        return;
    const float gate = q2_value(wg, cg, q + t * wide, s[t], block, n, k, lane);
    const float up = q2_value(wu, cu, q + t * wide, s[t], block, n, k, lane);
    if (lane < 4 && r < uint(n))
        y[t * n + r] = glu_act(gate, up, act);
}

//@ tglu_q2b : q2b_value q2_place glu_act
static inline void tglu_q2b(device const uchar *wg, device const float *cg, device const uchar *wu,
                            device const float *cu, device const char *q, device const float *s,
                            device float *y, int act, int T, int n, int k, uint g, uint me)
{
    const int block = q2_block(n, g, me), wide = (k + 127) / 128 * 128;
    const uint lane = me % LANES, r = 4 * uint(block) + lane;
    const ulong t = q2_token(n, g);
    if (4 * block >= n)
        return;
    const float gate = q2b_value(wg, cg, q + t * wide, s[t], block, n, k, lane);
    const float up = q2b_value(wu, cu, q + t * wide, s[t], block, n, k, lane);
    if (lane < 4 && r < uint(n))
        y[t * n + r] = glu_act(gate, up, act);
}
