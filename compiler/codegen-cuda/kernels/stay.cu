/* stay.cu: a decode step whose blocks stay: one launch of BN_BLOCKS blocks, one a multiprocessor, which meet where the
 * plan has a barrier. A layer's code has to stay in the cache of instructions: what only some threads do, or the rare
 * case, is called, not inlined. Work on one token each repeats for itself, in its own shared memory; rows of a product
 * it takes a share of, and the same in every layer, so the share of the next layer is on its way while others meet:
 *
 *   shared   | own values | scratch | sums | part of product 0 | part of product 1 | ... |
 *
 * A part is a share's blocks of 4 rows of one matrix (of a gate's, then an up's), as they stand in the weights; a
 * product whose part finds no room reads the card's memory.
 */

//@ stay : group
/* Share b of n units, fewer than 2^32 / BN_BLOCKS: units share_from(n, b) to share_from(n, b + 1), SHARE(n) at most. */
#define SHARE(n) (((n) + BN_BLOCKS - 1) / BN_BLOCKS)
static inline int share_from(int n, uint b)
{
    return int(uint(n) * b / BN_BLOCKS);
}

/* Where a product's part of a layer arrives: its place, or NULL; the mark on which arrivals are counted; how many of
 * them have been waited for; the scales of its matrices in this layer. */
struct bn_part {
    uchar *at;
    ulong *mark;
    uint turn;
    float scale[2];
};

/* Asks for bytes `from` .. of a matrix, and of a second behind it where there is one. */
static __noinline__ __device__ void part_ask(bn_part p, const uchar *from, const uchar *second, uint bytes)
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

/* Brings to the L2 cache what a layer ahead needs, each block some lines of it. */
static inline void bring(const uchar *from, uint bytes, uint b, uint me)
{
#pragma unroll 1
    for (uint i = b; from && me == 0 && i < (bytes + 127) / 128; i += BN_BLOCKS)
        bring_line(from + 128 * i);
}

//@ share_sums : stay
/* Adds to sum[r] what the share's rows have of sum_k code q, codes being w + 1. A warp takes 16 rows and some steps of
 * q2r4, 128 columns, to the matrix unit, of whose 8 columns it needs one. Lane 4 g + t has 8 bytes of row g, and of
 * row g + 8: from 8 t on of the step's 32; they meet the same columns of each plane:
 *
 *   plane p   columns 32 p + 8 t ..        its codes, at bits 2 p, stay there: sums are 4^p too large
 *
 * Exact for K below 2^16.
 */
static inline void share_sums(const uchar *w, const char *q, int n, int blocks, int wide, uint me, int *sum)
{
    const int rows = (SHARE((n + 3) / 4) + 3) / 4, parts = rows < GROUPS ? GROUPS / rows : 1, steps = wide / 128;
    const int lane = int(me % LANES), g = lane / 4, t = lane % 4;
#pragma unroll 1
    for (int u = int(me / LANES); u < rows * parts; u += GROUPS) {
        const int first = u % rows * 4, part = u / rows;
        if (first >= blocks)
            continue; /* the whole warp */
        const uchar *low = w + ulong(min(first + g / 4, blocks - 1)) * wide + g % 4 * 32 + 8 * t,
                    *high = w + ulong(min(first + 2 + g / 4, blocks - 1)) * wide + g % 4 * 32 + 8 * t;
        int sums[4][4] = {};
#pragma unroll 1
        for (int j = steps * part / parts; j < steps * (part + 1) / parts; j++) {
            const uint2 x = *(const uint2 *)(low + 128 * j), z = *(const uint2 *)(high + 128 * j);
            for (int p = 0; p < 4; p++) {
                const uint mask = 0x03030303u << 2 * p, a[4] = {x.x & mask, z.x & mask, x.y & mask, z.y & mask};
                const uint2 in = *(const uint2 *)(q + 128 * j + 32 * p + 8 * t);
                const uint by[2] = {in.x, in.y};
                tile_multiply(sums[p], a, by);
            }
        }
        for (int i = 0; i < 4; i += 2) { /* column 0 is of the lanes with t = 0 */
            const int r = 4 * first + g + 4 * i;
            if (t == 0 && r < 4 * blocks)
                atomicAdd(&sum[r], sums[0][i] + (sums[1][i] >> 2) + (sums[2][i] >> 4) + (sums[3][i] >> 6));
        }
    }
}

/* What each warp has of the sum of a row of activations; all of it. */
static __noinline__ __device__ void share_over(const char *q, int k, uint me, int *over)
{
    int sum = 0;
#pragma unroll 1
    for (int i = int(me); i < (k + 127) / 128 * 32; i += THREADS)
        sum = __dp4a(0x01010101, ((const int *)q)[i], sum);
    sum = simd_sum(sum);
    if (me % LANES == 0)
        over[me / LANES] = sum;
}
static inline int share_over_all(const int *over)
{
    int sum = 0;
    for (int i = 0; i < GROUPS; i += 4) {
        const int4 v = *(const int4 *)(over + i);
        sum += v.x + v.y + v.z + v.w;
    }
    return sum;
}

/* The sums of a product's part; n rows and k columns. */
static inline void part_sums(const uchar *w, const uchar *second, const char *q, int n, int k, bn_part &p, uint b,
                             uint me, int *sum)
{
    const int blocks = share_from((n + 3) / 4, b + 1) - share_from((n + 3) / 4, b), wide = (k + 127) / 128 * 128;
    if (!blocks)
        return;
    if (p.at)
        part_wait(p.mark, p.turn++ & 1);
    share_sums(p.at ? p.at : w + share_at(n, k, b), q, n, blocks, wide, me, sum);
    if (second)
        share_sums(p.at ? p.at + share_bytes(n, k, b) : second + share_at(n, k, b), q, n, blocks, wide, me,
                   sum + 4 * SHARE((n + 3) / 4));
}

/* Asks for the same of the layer to come, whose matrices stand at `next` and `second`; NULL: none comes. All have
 * done with this layer's. `scales`: bytes from a matrix to its scale. */
static inline void part_next(bn_part &p, const uchar *next, const uchar *second, ulong scales, int n, int k, uint b,
                             uint me)
{
    if (!next)
        return;
    if (p.at && me == 0 && share_bytes(n, k, b))
        part_ask(p, next + share_at(n, k, b), second ? second + share_at(n, k, b) : nullptr, share_bytes(n, k, b));
    p.scale[0] = *(const float *)(next + scales);
    p.scale[1] = second ? *(const float *)(second + scales) : 0;
}

//@ tmatmul_stay : share_sums
/* y[r] = (sum_k w[r][k] q[k]) c[0] / s (+ res[r]) for the block's share of rows; y may be res. In two calls, between
 * which the block's threads meet, so that products of one q meet together. Rows of sums are zeros before the first and
 * behind the second:
 *
 *   over   | activations of each warp [GROUPS] |      sum   | rows [4 SHARE] | of a second matrix [4 SHARE] |
 *
 * The first gives the thread's residual, on its way meanwhile.
 */
static inline float tmatmul_stay(const uchar *w, const float *c, const char *q, const float *s, const float *res,
                                 float *y, int T, int n, int k, bn_part &p, uint b, uint me, int *sum)
{
    const int r = 4 * share_from((n + 3) / 4, b) + int(me);
    const float before = res && r < n ? res[r] : 0;
    part_sums(w, nullptr, q, n, k, p, b, me, sum);
    return before;
}
static __noinline__ __device__ void share_rows(float c, const float *s, const float *res, float *y, int from, int n,
                                               int rows, const int *over, float before, uint me, int *sum)
{
#pragma unroll 1
    for (int i = int(me); i < rows; i += THREADS) {
        const int r = from + i;
        if (r < n)
            y[r] = fma(float(sum[i] - share_over_all(over)), c / s[0], i == int(me) ? before : res ? res[r] : 0);
        sum[i] = 0;
    }
}
static inline void tmatmul_stay_end(const uchar *w, const float *c, const char *q, const float *s, const float *res,
                                    float *y, int T, int n, int k, bn_part &p, const uchar *next, const int *over,
                                    float before, uint b, uint me, int *sum)
{
    const int from = share_from((n + 3) / 4, b), blocks = share_from((n + 3) / 4, b + 1) - from;
    share_rows(p.mark ? p.scale[0] : c[0], s, res, y, 4 * from, n, 4 * blocks, over, before, me, sum);
    part_next(p, next, nullptr, (const uchar *)c - w, n, k, b, me);
}

//@ tglu_stay : share_sums glu_act
/* y = act(gate) * up. */
static inline float tglu_stay(const uchar *wg, const float *cg, const uchar *wu, const float *cu, const char *q,
                              const float *s, float *y, int act, int T, int n, int k, bn_part &p, uint b, uint me,
                              int *sum)
{
    part_sums(wg, wu, q, n, k, p, b, me, sum);
    return 0;
}
static inline void tglu_stay_end(const uchar *wg, const float *cg, const uchar *wu, const float *cu, const char *q,
                                 const float *s, float *y, int act, int T, int n, int k, bn_part &p,
                                 const uchar *next, const uchar *next_up, const int *over, float before, uint b,
                                 uint me, int *sum)
{
    const int from = share_from((n + 3) / 4, b), blocks = share_from((n + 3) / 4, b + 1) - from;
    const float gate_scale = (p.mark ? p.scale[0] : cg[0]) / s[0], up_scale = (p.mark ? p.scale[1] : cu[0]) / s[0];
    int *up = sum + 4 * SHARE((n + 3) / 4);
#pragma unroll 1
    for (int i = int(me); i < 4 * blocks; i += THREADS) {
        const int all = share_over_all(over);
        if (4 * from + i < n)
            y[4 * from + i] = glu_act(float(sum[i] - all) * gate_scale, float(up[i] - all) * up_scale, act);
        sum[i] = up[i] = 0;
    }
    part_next(p, next, next_up, (const uchar *)cg - wg, n, k, b, me);
}

//@ attention_stay : attend_chunk attend_run cache_row stay
/* rope_attention: a unit is a chunk of positions and a set of `many` heads. Where there are several chunks, each
 * leaves its part, and the block whose warp comes last adds them up in the order of positions.
 *
 *   parts   | warps arrived [heads], zeros before and after | - | [heads][chunks]: most, sum, value [dim] |
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
    uint *arrived = (uint *)parts + set;
    float *part = parts + attention_parts(heads) + ulong(set * many + h) * chunks * each;
    if (h < many) {
        part[c * each + 2 + me % dim] = value;
        if (me % dim == 0) {
            part[c * each] = most[h];
            part[c * each + 1] = most[many + h];
        }
    }
    __threadfence();
    __syncwarp();
    const uint all = uint(chunks * ((many * dim + LANES - 1) / LANES)); /* warps that leave something */
    if (!__syncthreads_or(h < many && me % LANES == 0 && atomicAdd(arrived, 1u) == all - 1))
        return;
    __threadfence();
    attend_run run = {-INFINITY, 0, 0};
#pragma unroll 1
    for (int i = 0; i < chunks && h < many; i++)
        attend_add(run, part[i * each], part[i * each + 1], part[i * each + 2 + me % dim]);
    if (h < many)
        y[me] = run.value / run.sum;
    if (me == 0)
        *arrived = 0;
}
/* A unit's queries, rotated, to tg; where the unit has the last position, its key and value to the cache, which sets
 * of one KV head store alike. Threads have pairs of the queries, then of the key, then values. */
template <typename K>
static inline void attention_take(const float *q, const float *key, const float *value, const float *table, K *kcache,
                                  K *vcache, bool last, int many, int dim, int rot, int mode, uint me, float *tg)
{
    const int pairs = (rot / 2) + (dim - rot / 2 * 2), all = many * pairs;
#pragma unroll 1
    for (int i = int(me); i < all + (last ? pairs + dim : 0); i += THREADS) {
        const int j = i % pairs, h = i / pairs;
        const float *x = h < many ? q + h * dim : key;
        const int a = mode == BN_NEOX ? j : 2 * j, b = mode == BN_NEOX ? j + rot / 2 : 2 * j + 1;
        if (i >= all + pairs) {
            vcache[i - all - pairs] = K(value[i - all - pairs]);
        } else if (j >= rot / 2) {
            const int d = j + rot / 2;
            if (h < many)
                tg[h * dim + d] = x[d];
            else
                kcache[d] = K(x[d]);
        } else {
            const float u = x[a], v = x[b], c = table[2 * j], s = table[2 * j + 1];
            const float ya = fma(u, c, -(v * s)), yb = fma(u, s, v * c);
            if (h < many) {
                tg[h * dim + a] = ya;
                tg[h * dim + b] = yb;
            } else {
                kcache[a] = K(ya);
                kcache[b] = K(yb);
            }
        }
    }
}
/* Brings to the L2 cache what the block's units will read. */
template <typename K>
static inline void attention_ahead(const K *kcache, const K *vcache, int pos, int heads, int groups, int context,
                                   int dim, int many, uint b, uint me)
{
    const int sets = heads / many, chunks = pos / CHUNK + 1;
#pragma unroll 1
    for (int u = int(b); me == 0 && u < sets * chunks; u += BN_BLOCKS) {
        const int n = min(pos - u / sets * CHUNK, int(CHUNK));
        const ulong at = cache_row(u % sets * many / (heads / groups), context, u / sets * CHUNK, dim);
        if (ulong(n) * dim * sizeof(K) >= 16) {
            bring_bytes(kcache + at, uint(ulong(n) * dim * sizeof(K)) / 16 * 16);
            bring_bytes(vcache + at, uint(ulong(n) * dim * sizeof(K)) / 16 * 16);
        }
    }
}
template <typename K>
static inline void attention_stay(const float *q, const float *key, const float *value,
                                  const float *table, K *kcache, K *vcache, float *y, int pos,
                                  int heads, int groups, int context, int dim, int rot, int mode,
                                  int many, float *parts, uint b, uint me, float *tg)
{
    const int sets = heads / many, chunks = pos / CHUNK + 1;
    const float *most = tg + many * (dim + CHUNK);
#pragma unroll 1
    for (int u = int(b); u < sets * chunks; u += BN_BLOCKS) {
        const int set = u % sets, c = u / sets, first = set * many, h = first / (heads / groups);
        const ulong cache = cache_row(h, context, 0, dim), at = cache + ulong(c) * CHUNK * dim,
                    now = cache + ulong(pos) * dim;
        attention_take(q + first * dim, key + h * dim, value + h * dim, table, kcache + now, vcache + now,
                       c == chunks - 1, many, dim, rot, mode, me, tg);
        const float sum = attend_chunk(kcache + at, vcache + at, min(pos - c * CHUNK + 1, int(CHUNK)),
                                       many, dim, me, tg);
        if (chunks > 1) {
            attention_meet(sum, parts, set, heads, c, chunks, many, dim, y + first * dim, me, tg);
        } else if (int(me) < many * dim) {
            attend_run run = {-INFINITY, 0, 0};
            attend_add(run, most[me / dim], most[many + me / dim], sum);
            y[first * dim + me] = run.value / run.sum;
        }
    }
}
