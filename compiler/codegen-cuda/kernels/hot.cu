/* hot.cu: what decoding spends its time on, written for the card: products read their weights 16
 * bytes a thread, a block's threads side by side.
 *
 * q2r4 (compiler/ir/layouts.c pictures it): a block of 4 rows is a thread block's work. In a tile,
 * 4 rows x 128 columns in 128 bytes, 8 threads take 16 bytes each, so 128 threads take 16 tiles, 2
 * KiB, at once:
 *
 *   thread  0     1     2     3     4     5     6     7    | 8 ...
 *   tile    j                                              | j + 1
 *   row     0     0     1     1     2     2     3     3    | 0 ...
 *   half    0     1     0     1     0     1     0     1    | 0       columns 16 half + 0..15 of
 * each 32
 */

//@ q2_parts : group
/* 16 bytes of codes, 64 weights, by the activations that belong to them: plane p, bits 2p, stands
 * 32 bytes after plane p - 1. Codes are w + 1: the activations' sum is taken away again. */
static inline int q2_sixteen(uint4 codes, const uint4 *in)
{
    int sum = 0, over = 0;
    for (int p = 0; p < 4; p++) {
        const uint4 a = in[2 * p];
        sum = __dp4a(int(codes.x >> 2 * p & 0x03030303u), int(a.x), sum);
        sum = __dp4a(int(codes.y >> 2 * p & 0x03030303u), int(a.y), sum);
        sum = __dp4a(int(codes.z >> 2 * p & 0x03030303u), int(a.z), sum);
        sum = __dp4a(int(codes.w >> 2 * p & 0x03030303u), int(a.w), sum);
        over = __dp4a(0x01010101, int(a.x), over);
        over = __dp4a(0x01010101, int(a.y), over);
        over = __dp4a(0x01010101, int(a.z), over);
        over = __dp4a(0x01010101, int(a.w), over);
    }
    return sum - over;
}

/* Leaves in part[4 warp + row] what each warp has of sum_k w q; w at the block of rows, q at the
 * token's row. */
static inline void q2_parts(const uchar *w, const char *q, int steps, uint me, int *part)
{
    int sum = 0;
    for (int j = int(me / 8); j < steps; j += THREADS / 8)
        sum += q2_sixteen(__ldg((const uint4 *)(w + 128 * ulong(j)) + me % 8),
                          (const uint4 *)(q + 128 * ulong(j)) + me % 2);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    if (me % LANES < 8 && me % 2 == 0)
        part[me / LANES * 4 + me % 8 / 2] = sum;
}

/* The parts of a row together. */
static inline int q2_whole(const int *part, uint row)
{
    return part[row] + part[4 + row] + part[8 + row] + part[12 + row];
}

//@ tmatmul_dp4a : q2_parts
/* y[t][r] = (sum_k w[r][k] q[t][k]) c[0] / s[t] (+ res[t][r]); y may be res; g = t blocks + block
 * of rows. tg: 32 numbers. */
static inline void tmatmul_dp4a(const uchar *w, const float *c, const char *q, const float *s,
                                const float *res, float *y, int T, int n, int k, uint g, uint me,
                                float *tg)
{
    const int wide = (k + 127) / 128 * 128, blocks = (n + 3) / 4, block = int(g % uint(blocks));
    const ulong t = g / uint(blocks);
    const int r = 4 * block + int(me);
    int *part = (int *)tg;
    q2_parts(w + ulong(block) * wide, q + t * wide, wide / 128, me, part);
    __syncthreads();
    if (me >= 4 || r >= n)
        return;
    const float v = float(q2_whole(part, me)) * (c[0] / s[t]);
    y[t * n + r] = res ? v + res[t * n + r] : v;
}

//@ tglu_dp4a : q2_parts glu_act
/* y = act(gate) * up. */
static inline void tglu_dp4a(const uchar *wg, const float *cg, const uchar *wu, const float *cu,
                             const char *q, const float *s, float *y, int act, int T, int n, int k,
                             uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128, blocks = (n + 3) / 4, block = int(g % uint(blocks));
    const ulong t = g / uint(blocks), at = ulong(block) * wide;
    const int r = 4 * block + int(me);
    int *part = (int *)tg;
    q2_parts(wg + at, q + t * wide, wide / 128, me, part);
    q2_parts(wu + at, q + t * wide, wide / 128, me, part + 16);
    __syncthreads();
    if (me >= 4 || r >= n)
        return;
    y[t * n + r] = glu_act(float(q2_whole(part, me)) * (cg[0] / s[t]),
                           float(q2_whole(part + 16, me)) * (cu[0] / s[t]), act);
}

//@ linear_f16 : linear
/* y[t][n] = sum_k w[n][k] x[t][k]: a warp a row, 8 weights of f16 a thread at once where rows
 * allow. */
static inline void linear_f16(const uchar *w, const float *x, float *y, int T, int n, int k, uint g,
                              uint me)
{
    const uint each = uint(n + GROUPS - 1) / GROUPS, t = g / each;
    const int r = int(g % each * GROUPS + me / LANES);
    if (k % 8) {
        linear<F16>(w, x, y, T, n, k, g, me);
        return;
    }
    if (r >= n)
        return; /* the whole warp */
    const uint4 *row = (const uint4 *)(w + 2 * ulong(r) * k);
    const float *in = x + ulong(t) * k;
    float sum = 0;
    for (int i = int(me % LANES); i < k / 8; i += LANES) {
        const uint4 v = __ldg(row + i);
        const uint word[4] = {v.x, v.y, v.z, v.w};
        for (int j = 0; j < 4; j++) {
            const float *a = in + 8 * i + 2 * j;
            sum += float(as_type<half>(ushort(word[j]))) * a[0] +
                   float(as_type<half>(ushort(word[j] >> 16))) * a[1];
        }
    }
    sum = simd_sum(sum);
    if (me % LANES == 0)
        y[ulong(t) * n + r] = sum;
}
