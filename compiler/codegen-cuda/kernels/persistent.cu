/* persistent.cu: a decode step as one persistent kernel: a cooperative launch of BN_BLOCKS blocks,
 * one a multiprocessor, with a grid barrier where the plan has a barrier. The code of a layer has
 * to fit the instruction cache: what few threads do, or the rare case, is called, not inlined.
 *
 * Small ops on the token are repeated by each block, in shared memory of its own. Of the rows of a
 * product a block has a share, the same in every layer, so the next layer's weight tile is copied
 * to shared memory while the block multiplies by another matrix:
 *
 *   shared   | own values | scratch | sums | mbarriers | scales | tile of matrix 0 | of 1 | ... |
 *
 * A weight tile is a share's blocks of 4 rows of one matrix, as they are in the weights; a matrix
 * whose tile does not fit is read from global memory.
 */

//@ persistent : group tensor_parallel
/* Share b of n units, fewer than 2^32 / ALL_BLOCKS: units share_from(n, b) to share_from(n, b + 1),
 * SHARE(n) at most. */
#define SHARE(n) (((n) + ALL_BLOCKS - 1) / ALL_BLOCKS)
/* The producer thread, which starts copies and prefetches: of the last warp, which most products
 * leave without rows. */
enum { PRODUCER = THREADS - LANES };
static inline int share_from(int n, uint b)
{
    return int(uint(n) * b / ALL_BLOCKS);
}

/* Reads the step's position, token and number of top-k logits from the host's memory, for all
 * blocks of the GPU: by one thread, for such reads by 132 blocks are served one after another, 1 us
 * each. */
static inline void step_from_host(const bn_step &step, bn_step *to, int *token)
{
    const bn_step *from = (const bn_step *)((const uchar *)to + step.host);
    const int pos = *(const volatile int *)&from->pos, topk = *(const volatile int *)&from->topk;
    *token = *(const volatile int *)((const uchar *)token + step.host);
    to->pos = pos;
    to->topk = topk;
}

/* A matrix's weight tile: its place, and whether it fits there; the mbarrier that counts its bytes;
 * how many copies have been waited for; the scale of the layer that is computed. */
struct bn_weight_tile {
    uchar *at;
    bool fits;
    ulong *mbar;
    uint turn;
    const float *scale;
};

/* Share b of a matrix of n x k: where it begins, its bytes. */
static inline ulong share_at(int n, int k, uint b)
{
    return ulong(share_from((n + 3) / 4, b)) * ((k + 127) / 128 * 128);
}
static inline uint share_bytes(int n, int k, uint b)
{
    return uint(share_at(n, k, b + 1) - share_at(n, k, b));
}

/* Starts the copy of a layer's tile of the matrix at `w`, by one thread, when no thread of the
 * block reads the tile before it any more. */
static __noinline__ __device__ void tile_request(uchar *at, ulong *mbar, const uchar *from,
                                                 uint bytes)
{
    mbar_expect_tx(mbar, bytes);
    cp_async_bulk(at, from, bytes, mbar);
}
static inline void tile_prefetch(const bn_weight_tile &tile, const uchar *w, int n, int k, uint b)
{
    const uint bytes = share_bytes(n, k, b);
    if (tile.fits && bytes)
        tile_request(tile.at, tile.mbar, w + share_at(n, k, b), bytes);
}

/* Prefetches `bytes` to the L2 cache, some lines by each block of a GPU. */
static inline void prefetch_l2(const uchar *from, uint bytes, uint here, uint me)
{
#pragma unroll 1
    for (uint i = here; me == PRODUCER && i < (bytes + 127) / 128; i += BN_BLOCKS)
        prefetch_l2_line(from + 128 * i);
}

//@ share_sums : persistent
/* A block's share of a matrix: `blocks` blocks of 4 rows; mma's take them in units of 2, as many as
 * the largest share has; where the rows' sums are. */
struct bn_matrix {
    const uchar *w;
    int blocks, units;
    int *sum;
};
/* Waits for the tile. */
static inline bn_matrix matrix_of(const uchar *w, int n, int k, bn_weight_tile &tile, uint b,
                                  int *sum)
{
    const int blocks = share_from((n + 3) / 4, b + 1) - share_from((n + 3) / 4, b);
    if (tile.fits && blocks)
        mbar_wait(tile.mbar, tile.turn++ & 1);
    return {tile.fits ? as_shared(tile.at) : w + share_at(n, k, b), blocks,
            (SHARE((n + 3) / 4) + 1) / 2, sum};
}
/* Adds to each row's sum the share's part of sum_k w[r][k] q[k], for `count` matrices of one width,
 * on tensor cores. A warp takes 8 rows and some pairs of q2r4's steps, 128 columns each. Lane 4 g +
 * t has bytes 8 t .. 8 t + 7 of row g in each step, with codes w + 1 of four planes at bits 2 p:
 * the first 4 of them are row g of an mma's A, the others its row g + 8. Its B has one token, so
 * its 8 columns are used for the planes' activations:
 *
 *   column   | first 4: plane 0 | plane 1 | plane 2 | plane 3 | others: plane 0 | .. |
 *
 * Each plane's sum is the difference of two, by all planes up to it and by those below, 4^p too
 * large. Exact for K below 2^16.
 */
static inline void share_sums(const bn_matrix *m, int count, const char *q, int k, uint me)
{
    const int steps = (k + 127) / 128, pairs = (steps + 1) / 2;
    const int lane = int(opaque(me) % LANES), g = lane / 4, t = lane % 4;
    int units = 0;
    for (int i = 0; i < count; i++)
        units += m[i].units;
    const int parts = units < WARPS ? WARPS / units : 1;
#pragma unroll 1
    for (int u = int(opaque(me) / LANES); u < units * parts; u += WARPS) {
        const int part = u / units, end = pairs * (part + 1) / parts;
        int first = u % units;
        bn_matrix mine = m[0];
        for (int i = 1, before = m[0].units; i < count; before += m[i++].units)
            if (u % units >= before) {
                mine = m[i];
                first = u % units - before;
            }
        if (2 * first >= mine.blocks)
            continue; /* the whole warp */
        const uchar *row =
            mine.w + min(2 * first + g / 4, mine.blocks - 1) * (128 * steps) + g % 4 * 32 + 8 * t;
        const char *in = q + g % 4 * 32 + 8 * t + g / 4 * 4;
        int sums[4][4] = {}, over = 0;
#pragma unroll 1
        for (int j = pairs * part / parts; j < end; j++) {
            const bool both = steps % 2 == 0 || 2 * j + 1 < steps;
            const uint2 x = *(const uint2 *)(row + 256 * j),
                        z = *(const uint2 *)(row + 256 * j + (both ? 128 : 0));
            const uint by[2] = {*(const uint *)(in + 256 * j),
                                both ? *(const uint *)(in + 256 * j + 128) : 0};
            for (int p = 0; p < 4; p++) {
                const uint mask = 0x01010101u * ((4u << 2 * p) - 1),
                           a[4] = {x.x & mask, x.y & mask, z.x & mask, z.y & mask};
                mma_u8s8(sums[p], a, by);
            }
            over = __dp4a(0x01010101, int(by[0]), __dp4a(0x01010101, int(by[1]), over));
        }
        over = simd_sum(over);
        int even[4], odd[4]; /* of a column by planes 0 .. p, of the one beside it */
        for (int p = 0; p < 4; p++) {
            even[p] = t < 2 ? sums[p][0] : sums[p][2];
            odd[p] = t < 2 ? sums[p][1] : sums[p][3];
        }
        const int value = t % 2 ? ((even[2] - even[1]) >> 4) + ((odd[3] - odd[2]) >> 6)
                                : even[0] + ((odd[1] - odd[0]) >> 2);
        if (2 * first + g / 4 < mine.blocks)
            atomicAdd(&mine.sum[8 * first + g], t ? value : value - over);
    }
}

/* Share b of a product's n rows, and the one that thread `me` writes first: the last warps have the
 * first rows, for they have fewer sums to compute. `warps` shifts that, so that products that are
 * computed together use different warps. */
struct bn_row_share {
    int n;
    uint b, row;
};
static inline bn_row_share share_of(int n, uint b, uint me, uint warps)
{
    return {n, b, ((me ^ (THREADS - LANES)) + THREADS - warps * LANES) % THREADS};
}
/* What a thread loads for its row's epilogue before the sums are there: the residual, and scales of
 * the weights by that of the activations. */
struct bn_epilogue {
    float residual, scale, second;
};

//@ tmatmul_persistent : share_sums
/* y[r] = (sum_k w[r][k] q[k]) c[0] / s (+ res[r]) for the block's share of rows; y may be res. The
 * preload comes before share_sums; the epilogue, of rows row, row + THREADS, .. a thread, when the
 * block's threads are synchronized behind it. Sums are zeros before and afterwards:
 *
 *   sum   | rows [4 SHARE] | of a second matrix [4 SHARE] |
 */
static inline bn_epilogue tmatmul_persistent_preload(const float *c, const float *s,
                                                     const float *res, const bn_weight_tile &tile,
                                                     bn_row_share share)
{
    const int r = 4 * share_from((share.n + 3) / 4, share.b) + int(share.row);
    bn_epilogue ready = {0, 0, 0};
    if (share.row < 4 * SHARE((share.n + 3) / 4)) {
        ready.residual = res && r < share.n ? res[r] : 0;
        ready.scale = (tile.mbar ? tile.scale[0] : c[0]) / s[0];
    }
    return ready;
}
static inline void tmatmul_persistent_epilogue(bn_epilogue ready, const float *res, float *y,
                                               bn_weight_tile &tile, bn_row_share share,
                                               const bn_step &step, int *sum)
{
    const int n = share.n, from = share_from((n + 3) / 4, share.b),
              blocks = share_from((n + 3) / 4, share.b + 1) - from;
#pragma unroll 1
    for (int i = int(share.row); i < 4 * blocks; i += THREADS) {
        const int r = 4 * from + i;
        if (r < n)
            peer_store(step, y + r,
                       fma(float(sum[i]), ready.scale,
                           i == int(share.row) ? ready.residual
                           : res               ? res[r]
                                               : 0));
        sum[i] = 0;
        if (4 * SHARE((n + 3) / 4) <= THREADS)
            break; /* known at compile time: there is no loop */
    }
    tile.scale++;
}

//@ tglu_persistent : share_sums glu_act
/* y = act(gate) * up. */
static inline bn_epilogue tglu_persistent_preload(const float *cg, const float *cu, const float *s,
                                                  const bn_weight_tile &gate,
                                                  const bn_weight_tile &up, bn_row_share share)
{
    bn_epilogue ready = {0, 0, 0};
    if (share.row < 4 * SHARE((share.n + 3) / 4)) {
        ready.scale = (gate.mbar ? gate.scale[0] : cg[0]) / s[0];
        ready.second = (up.mbar ? up.scale[0] : cu[0]) / s[0];
    }
    return ready;
}
static inline void tglu_persistent_epilogue(bn_epilogue ready, float *y, int act,
                                            bn_weight_tile &gate, bn_weight_tile &up,
                                            bn_row_share share, const bn_step &step, int *sum)
{
    const int n = share.n, from = share_from((n + 3) / 4, share.b),
              blocks = share_from((n + 3) / 4, share.b + 1) - from;
    int *second = sum + 4 * SHARE((n + 3) / 4);
#pragma unroll 1
    for (int i = int(share.row); i < 4 * blocks; i += THREADS) {
        if (4 * from + i < n)
            peer_store(step, y + 4 * from + i,
                       glu_act(float(sum[i]) * ready.scale, float(second[i]) * ready.second, act));
        sum[i] = second[i] = 0;
        if (4 * SHARE((n + 3) / 4) <= THREADS)
            break;
    }
    gate.scale++;
    up.scale++;
}

//@ attention_persistent : attend_chunk shapes persistent
/* rope_attention: a unit is a chunk of positions and a head. Where there are several chunks, each
 * leaves partial results, and behind a grid barrier all blocks combine them, in the order of
 * positions (split-KV).
 *
 *   partials   | [heads][chunks]: largest, sum, value [dim] |
 */
struct bn_chunks {
    float *partials;
    int positions; /* of a chunk: chunk_of(pos + 1, heads), once a step */
};
/* One token's queries [heads][dim], keys and values [kv_heads][dim], and the cos and sin of its
 * position; how many values of a head are rotated, and which make a pair. */
struct bn_qkv {
    const float *q, *key, *value, *table;
};
struct bn_rope {
    int rot, mode;
};
enum { IN_FLIGHT = 8 }; /* loads of partial results */
static inline void attention_combine(const bn_step &step, const float *partials, float *y,
                                     int heads, int chunks, int dim, uint b, uint me)
{
    const int each = dim + 2, end = share_from(heads * dim, b + 1);
#pragma unroll 1
    for (int i = share_from(heads * dim, b) + int(me); i < end; i += THREADS) {
        const float *part = partials + ulong(i / dim) * chunks * each;
        online_softmax run = {-INFINITY, 0, 0};
#pragma unroll 1
        for (int first = 0; first < chunks; first += IN_FLIGHT) {
            float from[IN_FLIGHT][3];
            for (int j = 0; j < IN_FLIGHT; j++) {
                const float *at = part + min(first + j, chunks - 1) * each;
                from[j][0] = at[0];
                from[j][1] = at[1];
                from[j][2] = at[2 + i % dim];
            }
            for (int j = 0; j < IN_FLIGHT; j++)
                if (first + j < chunks)
                    softmax_merge(run, from[j][0], from[j][1], from[j][2]);
        }
        peer_store(step, y + i, run.value / run.sum);
    }
}
/* For one unit: its head's query, rotated, to tg; where the unit has the last position, key and
 * value to the cache at kcache and vcache, which the heads of one KV head store alike, and to
 * `now`. Threads have pairs of the query, then of the key, then values. */
template <typename K>
static inline void attention_rope_store(const bn_step &step, bn_qkv in, bn_rope rope, K *kcache,
                                        K *vcache, bool last, int dim, uint me, float *tg, K *now)
{
    const int rot = rope.rot, pairs = (rot / 2) + (dim - rot / 2 * 2);
#pragma unroll 1
    for (int i = int(me); i < (last ? 2 * pairs + dim : pairs); i += THREADS) {
        const int j = i % pairs;
        const bool query = i < pairs;
        const float *x = query ? in.q : in.key;
        const int a = rope.mode == BN_NEOX ? j : 2 * j,
                  b = rope.mode == BN_NEOX ? j + rot / 2 : 2 * j + 1;
        if (i >= 2 * pairs) {
            const int d = i - 2 * pairs;
            peer_store(step, vcache + d, now[dim + d] = K(in.value[d]));
        } else if (j >= rot / 2) {
            const int d = j + rot / 2;
            if (query)
                tg[d] = x[d];
            else
                peer_store(step, kcache + d, now[d] = K(x[d]));
        } else {
            const float u = x[a], v = x[b], c = in.table[2 * j], s = in.table[2 * j + 1];
            const float ya = fma(u, c, -(v * s)), yb = fma(u, s, v * c);
            if (query) {
                tg[a] = ya;
                tg[b] = yb;
            } else {
                peer_store(step, kcache + a, now[a] = K(ya));
                peer_store(step, kcache + b, now[b] = K(yb));
            }
        }
    }
}
/* Prefetches to the L2 cache what each of the block's units reads, where all heads have one chunk;
 * else its first pass, for more would delay the weights. */
template <typename K>
static inline void attention_prefetch_l2(const K *kcache, const K *vcache, int pos,
                                         bn_attention_shape shape, int chunk, uint b, uint me)
{
    const int heads = shape.heads, dim = shape.cache.dim;
#pragma unroll 1
    for (int u = int(b); me == PRODUCER && u < heads * (pos / chunk + 1); u += ALL_BLOCKS) {
        const int n = min(pos - u / heads * chunk, int(pos < CHUNK ? CHUNK : PASS));
        const ulong at = cache_row(shape.cache, kv_head(shape, u % heads), u / heads * chunk);
        const uint bytes = uint(ulong(n) * dim * sizeof(K)) / 16 * 16;
        if (bytes && at * sizeof(K) % 16 == 0) {
            prefetch_l2_bytes(kcache + at, bytes);
            prefetch_l2_bytes(vcache + at, bytes);
        }
    }
}
/* Loads the first pass's rows of the block's first unit, but for the last position's: the others
 * are there before this step. */
template <typename K>
static inline void attention_preload(bn_cached<K> &rows, const K *kcache, const K *vcache, int pos,
                                     bn_attention_shape shape, int chunk, uint b, uint me)
{
    const int c = int(b) / shape.heads;
    const ulong at = cache_row(shape.cache, kv_head(shape, int(b) % shape.heads), c * chunk);
    if (c <= pos / chunk)
        cache_rows_load(rows, kcache + at, vcache + at, 0, min(pos - c * chunk, chunk),
                        shape.cache.dim, me);
}
/* `rows`: by attention_preload. */
template <typename K>
static inline void attention_persistent(bn_qkv in, K *kcache, K *vcache, float *y, int pos,
                                        bn_attention_shape shape, bn_rope rope, bn_chunks split,
                                        bn_cached<K> &rows, const bn_step &step, bn_grid &grid,
                                        uint b, uint me, float *tg)
{
    const int heads = shape.heads, dim = shape.cache.dim, chunk = split.positions,
              chunks = pos / chunk + 1;
    K *now = (K *)(tg + dim + 2 * WARPS + WARPS * dim);
#pragma unroll 1
    for (int u = int(b); u < heads * chunks; u += ALL_BLOCKS) {
        const int head = u % heads, c = u / heads, h = kv_head(shape, head),
                  n = min(pos - c * chunk + 1, chunk);
        const ulong cache = cache_row(shape.cache, h, 0), at = cache + ulong(c) * chunk * dim,
                    last = cache + ulong(pos) * dim;
        const bool loaded = u == int(b);
        if (!loaded)
            __syncthreads();
        const bn_qkv mine = {in.q + head * dim, in.key + h * dim, in.value + h * dim, in.table};
        attention_rope_store(step, mine, rope, kcache + last, vcache + last, c == chunks - 1, dim,
                             me, tg, now);
        __syncthreads();
        if (loaded && c == chunks - 1 && n <= PASS)
            cache_rows_load(rows, now, now + dim, n - 1, n, dim, me);
        const online_softmax run =
            attend_chunk(rows, loaded, kcache + at, vcache + at, n, 1, dim, me, tg);
        if (int(me) >= dim)
            continue;
        if (chunks == 1) {
            peer_store(step, y + head * dim + me, run.value / run.sum);
        } else {
            float *part = split.partials + (ulong(head) * chunks + c) * (dim + 2);
            peer_store(step, part + 2 + me, run.value);
            if (me == 0) {
                peer_store(step, part, run.largest);
                peer_store(step, part + 1, run.sum);
            }
        }
    }
    if (chunks > 1) {
        grid_arrive(step, grid);
        grid_wait(grid);
        attention_combine(step, split.partials, y, heads, chunks, dim, b, me);
    }
}

//@ rmsnorm_quant_persistent : rmsnorm_quant_rows persistent
/* rmsnorm_quant_rows with the gains in registers: gains_preload loads them while the block waits at
 * a grid barrier. */
struct bn_gains {
    float4 by[HOLDS];
};
static inline void gains_preload(const float *gain, int k, uint me, bn_gains &gains)
{
    for (int i = 0; i < HOLDS && i * STRIDE < k && row_held(k); i++)
        gains.by[i] = four(gain, 4 * int(me) + i * STRIDE, k);
}
static inline void rmsnorm_quant_persistent(const float *x, const float *gain, char *q, float *s,
                                            int k, float eps, const bn_gains &gains, uint g,
                                            uint me, float *tg)
{
    float4 v[HOLDS];
    if (!row_held(k)) {
        rmsnorm_quant(x, gain, q, s, k, eps, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < (k + 127) / 128 * 128; i++)
        v[i] = four(x, 4 * int(me) + i * STRIDE, k);
    rmsnorm_quant_held(v, gains.by, q, s, k, eps, me, tg);
}
