/* stay.cu: a decode step whose blocks stay: one launch of BN_BLOCKS blocks, one a multiprocessor, which meet where the
 * plan has a barrier. Work on one token each repeats for itself, in its own shared memory; rows of a product
 * it takes a share of, and the same in every layer, so the share of the next layer is on its way while others meet:
 *
 *   shared   | own values | scratch | sums | part of product 0 | part of product 1 | ... |
 *
 * A part is a share's blocks of 4 rows of one matrix (of a gate's, then an up's), as they stand in the weights; a
 * product whose part finds no room reads the card's memory.
 */

//@ stay : group
/* Share b of n units: units share_from(n, b) to share_from(n, b + 1), SHARE(n) at most. */
#define SHARE(n) (((n) + BN_BLOCKS - 1) / BN_BLOCKS)
static inline int share_from(int n, uint b)
{
    return int(ulong(n) * b / BN_BLOCKS);
}

/* Where a product's part of a layer arrives: its place, or NULL; the mark on which arrivals are counted; how many of
 * them have been waited for. */
struct bn_part {
    uchar *at;
    ulong *mark;
    uint turn;
};

/* Asks for bytes `from` .. of a matrix, and of a second behind it where there is one. */
static inline void part_ask(const bn_part &p, const uchar *from, const uchar *second, uint bytes)
{
    part_expect(p.mark, second ? 2 * bytes : bytes);
    part_copy(p.at, from, bytes, p.mark);
    if (second)
        part_copy(p.at + bytes, second, bytes, p.mark);
}

/* A product's share in a matrix of n x k: where it begins, its bytes. */
static inline ulong share_at(int n, int k, uint b)
{
    return ulong(share_from((n + 3) / 4, b)) * ((k + 127) / 128 * 128);
}
static inline uint share_bytes(int n, int k, uint b)
{
    return uint(share_at(n, k, b + 1) - share_at(n, k, b));
}

//@ q2_codes
/* 16 bytes of codes, 64 weights, by the activations that belong to them: plane p, bits 2p, stands 32 bytes after
 * plane p - 1. Codes are w + 1: the activations' sum is still to be taken away. Exact for K below 2^20. */
static inline int q2_codes(uint4 codes, const uint4 *a)
{
    const uint c[4] = {codes.x, codes.y, codes.z, codes.w};
    int sum[4] = {0};
    for (int p = 0; p < 4; p++) {
        const uint in[4] = {a[p].x, a[p].y, a[p].z, a[p].w};
        for (int i = 0; i < 4; i++)
            sum[p] = p < 3 ? __dp4a(int(c[i] & 0x03030303u << 2 * p), int(in[i]), sum[p])
                           : __dp4a(int(c[i] >> 6 & 0x03030303u), int(in[i]), sum[p]);
    }
    return sum[0] + (sum[1] >> 2) + (sum[2] >> 4) + sum[3];
}

//@ share_sums : stay q2_codes
/* Adds to sum[r] what the share's rows, from sum[0] on, have of sum_k code q. A warp keeps 4 steps of activations
 * while it goes down the blocks of rows; 8 lanes take a step's 128 bytes, 16 each:
 *
 *   lane  0     1     2     3     4     5     6     7    | 8 ...
 *   row   0     0     1     1     2     2     3     3    | 0 ...      step j | j + 1 | j + 2 | j + 3
 */
static inline void share_sums(const uchar *w, const char *q, int blocks, int wide, uint me, int *sum)
{
    const int quads = (wide / 128 + 3) / 4, split = quads < GROUPS ? GROUPS / quads : 1;
    const int lane = int(me % LANES);
    for (int u = int(me / LANES); u < quads * split; u += GROUPS) {
        const int j = u % quads * 4 + lane / 8;
        uint4 a[4] = {};
        if (j < wide / 128)
            for (int p = 0; p < 4; p++)
                a[p] = ((const uint4 *)(q + 128 * j))[2 * p + lane % 2];
        for (int b = u / quads; b < blocks; b += split) {
            int part = 0;
            if (j < wide / 128)
                part = q2_codes(((const uint4 *)(w + ulong(b) * wide + 128 * j))[lane % 8], a);
            part += __shfl_xor_sync(0xffffffffu, part, 1);
            part += __shfl_xor_sync(0xffffffffu, part, 8);
            part += __shfl_xor_sync(0xffffffffu, part, 16);
            if (lane < 8 && lane % 2 == 0)
                atomicAdd(&sum[4 * b + lane / 2], part);
        }
    }
}

/* What each warp has of the sum of a row of activations. */
static inline void share_over(const char *q, int wide, uint me, int *over)
{
    int sum = 0;
    for (int i = int(me); i < wide / 4; i += THREADS)
        sum = __dp4a(0x01010101, ((const int *)q)[i], sum);
    sum = simd_sum(sum);
    if (me % LANES == 0)
        over[me / LANES] = sum;
}
static inline int share_over_all(const int *over)
{
    int sum = 0;
    for (int i = 0; i < GROUPS; i++)
        sum += over[i];
    return sum;
}

//@ tmatmul_stay : share_sums
/* y[r] = (sum_k w[r][k] q[k]) c[0] / s (+ res[r]) for the block's share of rows; y may be res. `next`: the matrix in the
 * layer to come, or NULL. Rows of sums are zeros before and after:
 *
 *   sums   | activations of each warp [GROUPS] | rows [4 SHARE] | rows of a second matrix [4 SHARE] |
 */
static inline void tmatmul_stay(const uchar *w, const float *c, const char *q, const float *s,
                                const float *res, float *y, int T, int n, int k, bn_part &p,
                                const uchar *next, uint b, uint me, int *sums)
{
    const int wide = (k + 127) / 128 * 128, from = share_from((n + 3) / 4, b),
              blocks = share_from((n + 3) / 4, b + 1) - from, r = 4 * from + int(me);
    int *row = sums + GROUPS;
    const bool first = int(me) < 4 * blocks && r < n;
    const float scale = c[0] / s[0], before = first && res ? res[r] : 0;
    share_over(q, wide, me, sums);
    if (p.at && blocks)
        part_wait(p.mark, p.turn++ & 1);
    share_sums(p.at ? p.at : w + share_at(n, k, b), q, blocks, wide, me, row);
    __syncthreads();
    if (p.at && next && me == 0 && blocks)
        part_ask(p, next + share_at(n, k, b), nullptr, share_bytes(n, k, b));
    const int over = share_over_all(sums);
    for (int i = int(me); i < 4 * blocks; i += THREADS) {
        const int at = 4 * from + i;
        if (at < n)
            y[at] = fma(float(row[i] - over), scale, i == int(me) ? before : res ? res[at] : 0);
        row[i] = 0;
    }
    __syncthreads();
}

//@ tglu_stay : share_sums glu_act
/* y = act(gate) * up. */
static inline void tglu_stay(const uchar *wg, const float *cg, const uchar *wu, const float *cu,
                             const char *q, const float *s, float *y, int act, int T, int n, int k,
                             bn_part &p, const uchar *next, const uchar *next_up, uint b, uint me,
                             int *sums)
{
    const int wide = (k + 127) / 128 * 128, from = share_from((n + 3) / 4, b),
              blocks = share_from((n + 3) / 4, b + 1) - from;
    int *gate = sums + GROUPS, *up = gate + 4 * SHARE((n + 3) / 4);
    const float gate_scale = cg[0] / s[0], up_scale = cu[0] / s[0];
    share_over(q, wide, me, sums);
    if (p.at && blocks)
        part_wait(p.mark, p.turn++ & 1);
    share_sums(p.at ? p.at : wg + share_at(n, k, b), q, blocks, wide, me, gate);
    share_sums(p.at ? p.at + share_bytes(n, k, b) : wu + share_at(n, k, b), q, blocks, wide, me, up);
    __syncthreads();
    if (p.at && next && me == 0 && blocks)
        part_ask(p, next + share_at(n, k, b), next_up + share_at(n, k, b), share_bytes(n, k, b));
    const int over = share_over_all(sums);
    for (int i = int(me); i < 4 * blocks; i += THREADS) {
        if (4 * from + i < n)
            y[4 * from + i] = glu_act(float(gate[i] - over) * gate_scale,
                                      float(up[i] - over) * up_scale, act);
        gate[i] = up[i] = 0;
    }
    __syncthreads();
}

//@ attention_stay : attend_chunk attend_run cache_row rope_head stay
/* rope_attention: a unit is a chunk of positions and a set of `many` heads. Where there are several chunks, each
 * leaves its part, and the block that comes last adds them up in the order of positions.
 *
 *   parts   | arrived [heads], zeros before and after | - | [heads][chunks]: most, sum, value [dim] |
 */
static inline ulong attention_parts(int heads)
{
    return (ulong(heads) + 63) / 64 * 64;
}
/* One chunk of several: its part, and where it is the last to arrive, all of them together. */
static inline void attention_meet(float value, float *parts, int set, int heads, int c, int chunks,
                                  int many, int dim, float *y, uint me, float *tg)
{
    const int h = int(me) / dim, each = dim + 2;
    const float *most = tg + many * (dim + CHUNK);
    uint *arrived = (uint *)parts + set, *last = (uint *)(tg + many * (dim + CHUNK + 2));
    float *part = parts + attention_parts(heads) + ulong(set * many + h) * chunks * each;
    if (h < many) {
        part[c * each + 2 + me % dim] = value;
        if (me % dim == 0) {
            part[c * each] = most[h];
            part[c * each + 1] = most[many + h];
        }
    }
    __threadfence();
    __syncthreads();
    if (me == 0)
        *last = atomicAdd(arrived, 1u) == uint(chunks - 1);
    __syncthreads();
    if (!*last)
        return;
    __threadfence();
    attend_run run = {-INFINITY, 0, 0};
    for (int i = 0; i < chunks && h < many; i++)
        attend_add(run, part[i * each], part[i * each + 1], part[i * each + 2 + me % dim]);
    if (h < many)
        y[me] = run.value / run.sum;
    if (me == 0)
        *arrived = 0;
}
template <typename K>
static inline void attention_stay(const float *q, const float *key, const float *value,
                                  const float *table, K *kcache, K *vcache, float *y, int pos,
                                  int heads, int groups, int context, int dim, int rot, int mode,
                                  int many, float *parts, uint b, uint me, float *tg)
{
    const int sets = heads / many, chunks = pos / CHUNK + 1;
    const float *most = tg + many * (dim + CHUNK);
    for (int u = int(b); u < sets * chunks; u += BN_BLOCKS) {
        const int set = u % sets, c = u / sets, first = set * many, h = first / (heads / groups);
        const ulong cache = cache_row(h, context, 0, dim), at = cache + ulong(c) * CHUNK * dim,
                    now = cache + ulong(pos) * dim;
        for (int i = 0; i < many; i++)
            rope_head<float>(q + (first + i) * dim, table, tg + i * dim, dim, rot, mode, me);
        if (c == chunks - 1) { /* sets of one KV head store the same */
            rope_head<K>(key + h * dim, table, kcache + now, dim, rot, mode, me);
            for (int i = int(me); i < dim; i += THREADS)
                vcache[now + i] = K(value[h * dim + i]);
        }
        const float sum = attend_chunk(kcache + at, vcache + at, min(pos - c * CHUNK + 1, int(CHUNK)),
                                       many, dim, me, tg);
        if (chunks > 1) {
            attention_meet(sum, parts, set, heads, c, chunks, many, dim, y + first * dim, me, tg);
        } else if (int(me) < many * dim) {
            attend_run run = {-INFINITY, 0, 0};
            attend_add(run, most[me / dim], most[many + me / dim], sum);
            y[first * dim + me] = run.value / run.sum;
        }
        __syncthreads();
    }
}
