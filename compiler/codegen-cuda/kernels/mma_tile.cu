/* mma_tile.cu: products of many tokens by tensor cores: int8 activations, weights as their 2-bit
 * codes.
 *
 * A block computes a tile of 128 rows x 64 tokens. It goes through K in steps of q2r4, 128 columns;
 * cp.async fills the next stage of shared memory while this one is multiplied. Two warps share 16
 * rows, each with half of the tokens. Unpacking is a shift and a mask: a word of codes holds, in
 * plane p, a word of the fragment for columns 32 p + 0..31 of the step.
 *
 *   stage   | 32 blocks of 4 rows: 128 bytes each | of a second matrix, the same |
 *           | 64 tokens: 128 bytes, 16 unused |
 *
 * A code is w + 1, so the epilogue subtracts each token's sum of activations from its sums.
 */

//@ mma_tile : group
enum {
    TILE_ROWS = 128,
    TILE_TOKENS = 64,
    TILE_CODES = TILE_ROWS * 32,
    TILE_LINE = 144,
    TILE_N = 4
};
struct bn_mma_tile {
    const uchar *w[2];        /* codes of the tile's first row; the second NULL: one matrix */
    const char *q;            /* activations of its first token */
    int blocks, tokens, wide; /* blocks of 4 rows and tokens from there on; bytes of a token */
};
static inline uint mma_tile_bytes(const bn_mma_tile &t)
{
    return (t.w[1] ? 2 : 1) * TILE_CODES + TILE_TOKENS * TILE_LINE;
}

/* Starts the copies of step j; beyond the last row or token they repeat it. */
static inline void mma_tile_fetch(const bn_mma_tile &t, int j, uchar *stage, uint me)
{
    for (int m = 0; m < 2 && t.w[m]; m++, stage += TILE_CODES)
        if (me < TILE_CODES / 16)
            cp_async16(stage + 16 * me, t.w[m] + ulong(min(int(me / 8), t.blocks - 1)) * t.wide +
                                            128 * j + me % 8 * 16);
    cp_async16(stage + me / 8 * TILE_LINE + me % 8 * 16,
               t.q + ulong(min(int(me / 8), t.tokens - 1)) * t.wide + 128 * j + me % 8 * 16);
    cp_async_commit();
}

//@ mma_tile_step : mma_tile
/* One step of one matrix: sums[4 n ..] += codes x tokens 8 n .. of the warp's 32. */
static inline void mma_tile_step(const uchar *codes, const uchar *tokens, int *sums, uint me)
{
    const uint lane = me % LANES, warp = me / LANES;
    uint word[4], a[4];
    /* Rows 0-7, 8-15 of the warp's 16, then the same with the later 16 of their 32 bytes. */
    const uint row = warp / 2 * 16 + lane % 16;
    ldmatrix_x4(word, codes + row / 4 * 128 + row % 4 * 32 + lane / 16 * 16);
    for (int half = 0; half < 2; half++)
        for (int n = 0; n < TILE_N; n++) {
            uint b[4]; /* planes 2 half and 2 half + 1, 32 bytes each */
            ldmatrix_x4(b, tokens + (warp % 2 * 32 + n * 8 + lane % 8) * TILE_LINE + half * 64 +
                               lane / 8 * 16);
            for (int p = 0; p < 2; p++) {
                for (int i = 0; i < 4; i++)
                    a[i] = word[i] >> 2 * (2 * half + p) & 0x03030303u;
                mma_u8s8(sums + 4 * n, a, b + 2 * p);
            }
        }
}

//@ mma_tile_sums : mma_tile_step
/* All steps: sums of the first matrix, then of the second; leaves in tg the sum of each token's
 * activations. */
static inline void mma_tile_sums(const bn_mma_tile &t, int *sums, uint me, float *tg)
{
    uchar *stage = (uchar *)tg;
    const uint bytes = mma_tile_bytes(t), lines = (t.w[1] ? 2 : 1) * TILE_CODES;
    const int steps = t.wide / 128;
    int over = 0;
    mma_tile_fetch(t, 0, stage, me);
    for (int j = 0; j < steps; j++) {
        const uchar *now = stage + j % 2 * bytes;
        cp_async_wait();
        __syncthreads();
        if (j + 1 < steps)
            mma_tile_fetch(t, j + 1, stage + (j + 1) % 2 * bytes, me);
        mma_tile_step(now, now + lines, sums, me);
        if (t.w[1])
            mma_tile_step(now + TILE_CODES, now + lines, sums + 4 * TILE_N, me);
        const uint4 q = *(const uint4 *)(now + lines + me / 8 * TILE_LINE + me % 8 * 16);
        over = __dp4a(0x01010101, int(q.x), __dp4a(0x01010101, int(q.y), over));
        over = __dp4a(0x01010101, int(q.z), __dp4a(0x01010101, int(q.w), over));
    }
    for (int i = 1; i < 8; i *= 2)
        over += __shfl_xor_sync(0xffffffffu, over, i);
    __syncthreads();
    if (me % 8 == 0)
        ((int *)tg)[me / 8] = over;
    __syncthreads();
}

/* Block g's tile: tiles of rows first, so that blocks that run at once share their tokens in L2. */
static inline bool mma_tile_place(uint g, int T, int n, int &row, int &token)
{
    const int rows = (n + TILE_ROWS - 1) / TILE_ROWS;
    row = int(g) % rows * TILE_ROWS;
    token = int(g) / rows * TILE_TOKENS;
    return token < T;
}

/* Row and token, from the tile's first, of a thread's sum i. */
static inline int mma_tile_row(int i, uint me)
{
    return int(me / LANES / 2 * 16 + me % LANES / 4 + i % 4 / 2 * 8);
}
static inline int mma_tile_token(int i, uint me)
{
    return int(me / LANES % 2 * 32 + i / 4 * 8 + me % 4 * 2 + i % 2);
}

//@ tmatmul_tile : mma_tile_sums
static inline void tmatmul_tile(const uchar *w, const float *c, const char *q, const float *s,
                                const float *res, float *y, int T, int n, int k, uint g, uint me,
                                float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    int row, token, sums[4 * TILE_N] = {0};
    if (!mma_tile_place(g, T, n, row, token))
        return; /* the whole block */
    const bn_mma_tile t = {{w + ulong(row / 4) * wide, nullptr},
                           q + ulong(token) * wide,
                           (n + 3) / 4 - row / 4,
                           T - token,
                           wide};
    mma_tile_sums(t, sums, me, tg);
    for (int i = 0; i < 4 * TILE_N; i++) {
        const int r = row + mma_tile_row(i, me), at = token + mma_tile_token(i, me);
        if (r < n && at < T)
            y[ulong(at) * n + r] = fma(float(sums[i] - ((const int *)tg)[at - token]), c[0] / s[at],
                                       res ? res[ulong(at) * n + r] : 0);
    }
}

//@ tglu_tile : mma_tile_sums glu_act
static inline void tglu_tile(const uchar *wg, const float *cg, const uchar *wu, const float *cu,
                             const char *q, const float *s, float *y, int act, int T, int n, int k,
                             uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    int row, token, sums[8 * TILE_N] = {0};
    if (!mma_tile_place(g, T, n, row, token))
        return;
    const bn_mma_tile t = {{wg + ulong(row / 4) * wide, wu + ulong(row / 4) * wide},
                           q + ulong(token) * wide,
                           (n + 3) / 4 - row / 4,
                           T - token,
                           wide};
    mma_tile_sums(t, sums, me, tg);
    for (int i = 0; i < 4 * TILE_N; i++) {
        const int r = row + mma_tile_row(i, me), at = token + mma_tile_token(i, me);
        const int over = at < T ? ((const int *)tg)[at - token] : 0;
        if (r < n && at < T)
            y[ulong(at) * n + r] =
                glu_act(float(sums[i] - over) * (cg[0] / s[at]),
                        float(sums[4 * TILE_N + i] - over) * (cu[0] / s[at]), act);
    }
}
