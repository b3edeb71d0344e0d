/* tile.metal: products of many tokens by simdgroup matrices.
 *
 * One idea: int8 and -1, 0, 1 are exact in half, and their sums in float up to 2^24, so a product of
 * matrices of floats is the integer product, bit-exact. (|q| is at most 128: up to 2^17 columns.)
 *
 * A threadgroup makes 32 rows x 32 tokens, a simdgroup a quarter of them, 16 x 16 in four sums. It goes
 * through K a plane of q2r4 (ternary.metal) at a time, 32 columns, which all threads copy to
 * threadgroup memory as half, in blocks of 8 x 8 that are loaded without gaps:
 *
 *   tg   | tokens 0-7: columns 0-7, 8-15, 16-23, 24-31 | tokens 8-15 ... | rows, the same | rows of up |
 *        | 128 bytes each                              |                 | 2 KiB          | 2 KiB      |
 *
 * At the end the sums are there, as float: [matrix][token][row].
 */
#include <metal_stdlib>
using namespace metal;

//@ q2_tile : group
enum { TILE = 32, BLOCK = 8 * 8, TILE_PLANE = TILE * TILE };

/* 8 codes, or 8 activations, of two words: number i of them. */
static inline half tile_weight(uint2 codes, int plane, int i)
{
    return half(int((i < 4 ? codes.x : codes.y) >> (8 * (i % 4) + 2 * plane) & 3) - 1);
}

static inline half tile_value(uint2 q, int i)
{
    return half(int(char((i < 4 ? q.x : q.y) >> (8 * (i % 4)) & 255)));
}

/* Leaves sum_k w[m][r][k] q[t][k] in tg[m][t][r] of N matrices, rows from row0 and tokens from
 * token0 on; w at the matrices' first bytes. Sums of rows and tokens beyond the last are not
 * used. */
template <int N>
static inline void q2_tile(device const uchar *gate, device const uchar *up, device const char *q,
                           int T, int n, int k, int row0, int token0, uint me,
                           threadgroup float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    const int line = int(me / 4), part = int(me % 4); /* 8 columns of a row and of a token */
    const int row = row0 + line, token = token0 + line;
    const bool is_row = row < (n + 3) / 4 * 4, is_token = token < T;
    const ulong at = ulong(row / 4) * wide + row % 4 * 32 + part * 8;
    const int rows = int(me / LANES) % 2 * 2, tokens = int(me / LANES) / 2 * 2; /* in blocks */
    threadgroup half *stage = (threadgroup half *)tg;
    threadgroup half *mine = stage + (line / 8 * 4 + part) * BLOCK + line % 8 * 8;
    simdgroup_float8x8 sum[N][4];
    for (int i = 0; i < 4 * N; i++)
        sum[i / 4][i % 4] = make_filled_simdgroup_matrix<float, 8>(0.0f);
    for (int j = 0; j < wide / 128; j++) {
        uint2 codes[N] = {};
        for (int m = 0; m < N && is_row; m++)
            codes[m] = *(device const uint2 *)((m ? up : gate) + at + 128 * ulong(j));
        for (int p = 0; p < 4; p++) {
            uint2 in = {};
            if (is_token)
                in = *(device const uint2 *)(q + ulong(token) * wide + 128 * j + 32 * p + part * 8);
            for (int i = 0; i < 8; i++) {
                mine[i] = tile_value(in, i);
                for (int m = 0; m < N; m++)
                    mine[(1 + m) * TILE_PLANE + i] = tile_weight(codes[m], p, i);
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
            for (int c = 0; c < 4; c++) {
                simdgroup_half8x8 a[2], b[2];
                for (int i = 0; i < 2; i++)
                    simdgroup_load(a[i], stage + ((tokens + i) * 4 + c) * BLOCK, 8);
                for (int m = 0; m < N; m++) {
                    for (int i = 0; i < 2; i++)
                        simdgroup_load(b[i],
                                       stage + (1 + m) * TILE_PLANE + ((rows + i) * 4 + c) * BLOCK,
                                       8, ulong2(0), true);
                    for (int i = 0; i < 4; i++)
                        simdgroup_multiply_accumulate(sum[m][i], a[i / 2], b[i % 2], sum[m][i]);
                }
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
    }
    for (int i = 0; i < 4 * N; i++)
        simdgroup_store(
            sum[i / 4][i % 4],
            tg + i / 4 * TILE_PLANE + (tokens + i % 4 / 2) * 8 * TILE + (rows + i % 2) * 8, TILE);
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

//@ tmatmul_q2_tile : q2_tile
/* y[t][r] = (sum_k w q) c[0] / s (+ res[t][r]); y may be res. Groups: tiles of rows first. */
static inline void tmatmul_q2_tile(device const uchar *w, device const float *c,
                                   device const char *q, device const float *s,
                                   device const float *res, device float *y, int T, int n, int k,
                                   uint g, uint me, threadgroup float *tg)
{
    const int each = (n + TILE - 1) / TILE, row0 = int(g) % each * TILE,
              token0 = int(g) / each * TILE;
    q2_tile<1>(w, w, q, T, n, k, row0, token0, me, tg);
    for (int i = int(me); i < TILE_PLANE; i += THREADS) {
        const int r = row0 + i % TILE, t = token0 + i / TILE;
        if (r >= n || t >= T)
            continue;
        const float v = tg[i] * (c[0] / s[t]);
        y[ulong(t) * n + r] = res ? v + res[ulong(t) * n + r] : v;
    }
}

//@ tglu_q2_tile : q2_tile glu_act
/* y = act(gate) * up. */
static inline void tglu_q2_tile(device const uchar *wg, device const float *cg,
                                device const uchar *wu, device const float *cu,
                                device const char *q, device const float *s, device float *y,
                                int act, int T, int n, int k, uint g, uint me,
                                threadgroup float *tg)
{
    const int each = (n + TILE - 1) / TILE, row0 = int(g) % each * TILE,
              token0 = int(g) / each * TILE;
    q2_tile<2>(wg, wu, q, T, n, k, row0, token0, me, tg);
    for (int i = int(me); i < TILE_PLANE; i += THREADS) {
        const int r = row0 + i % TILE, t = token0 + i / TILE;
        if (r < n && t < T)
            y[ulong(t) * n + r] =
                glu_act(tg[i] * (cg[0] / s[t]), tg[TILE_PLANE + i] * (cu[0] / s[t]), act);
    }
}
