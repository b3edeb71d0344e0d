/* attention.cu: attention over the KV cache by chunks of positions, for decode and prefill. */

//@ online_softmax
/* The online softmax of one value: the largest score, the sum of weights, the weighted value;
 * others are merged in the order of their positions. */
struct online_softmax {
    float largest, sum, value;
};
static inline void softmax_merge(online_softmax &r, float largest, float sum, float value)
{
    const float top = fmaxf(r.largest, largest), was = expf(r.largest - top),
                is = expf(largest - top);
    r.sum = fma(r.sum, was, sum * is);
    r.value = fma(r.value, was, value * is);
    r.largest = top;
}

//@ attend_chunk : online_softmax
/* Attention over a chunk of positions, in passes of PASS: a warp computes scores and weighted
 * values of EACH positions of a pass and merges its passes; then the warps are merged through tg.
 * `many` query heads share a KV head. chunk_of alone says in which order things are summed up, so a
 * decode step that spreads chunks over blocks gives the bits of a prefill that goes through them in
 * turn.
 *
 *   tg   | queries [many][dim] | largest [many][WARPS] | sum [many][WARPS] |
 *        | values [WARPS][many][dim] |
 *
 * many x dim is at most THREADS, many at most MOST_HEADS, and 1 where !even_head(dim).
 */
enum {
    CHUNK = BN_CHUNK, /* a multiple of PASS */
    PASS = 128,
    EACH = PASS / WARPS,
    QUARTER = LANES / EACH,
    MOST_HEADS = 8,
    HELD_HEADS = MOST_HEADS / QUARTER,
    PIECES = 16
};
/* How many of n positions are a chunk: all up to CHUNK; else so few, in whole passes, that the
 * chunks of all heads fill waves of 132 blocks. It is a constant, so that neither BN_BLOCKS nor the
 * number of GPUs changes the bits. */
static inline int chunk_of(int n, int heads)
{
    const int each = max(132 / heads, 1), chunks = (n + each * CHUNK - 1) / (each * CHUNK) * each;
    const int passes = ((n + chunks - 1) / chunks + PASS - 1) / PASS;
    return n <= CHUNK ? CHUNK : PASS
    *passes;
}
static inline bool even_head(int dim)
{
    return dim == 32 || dim == 64 || dim == 128 || dim == 256;
}

/* A lane's share of its warp's rows of the cache, in registers: of one position's key every
 * QUARTERth 8 values, of each position's value dim / LANES neighbours. */
template <typename K> struct bn_cached {
    alignas(16) K key[PIECES / 2][8], value[EACH][PIECES / 2];
};
template <typename K> static inline void load_some(const K *from, int n, K *to)
{
    if (n * sizeof(K) % 16 == 0)
        for (int i = 0; i < n; i += int(16 / sizeof(K)))
            *(uint4 *)(to + i) = *(const uint4 *)(from + i);
    else if (n * sizeof(K) == 8)
        *(uint2 *)to = *(const uint2 *)from;
    else if (n * sizeof(K) == 4)
        *(uint *)to = *(const uint *)from;
    else
        *to = *from;
}
/* Loads those of a pass's positions lo to n; k and v point to lo's. Heads that are not even are
 * read from the cache when they are used. */
template <typename K>
static inline void cache_rows_load(bn_cached<K> &r, const K *k, const K *v, int lo, int n, int dim,
                                   uint me)
{
    const int lane = int(me % LANES), first = int(me / LANES) * EACH, p = first + lane / QUARTER;
    if (!even_head(dim))
        return;
    if (p >= lo && p < n)
        for (int i = 0; i < dim / 32; i++)
            load_some(k + (p - lo) * dim + 8 * (i * QUARTER + lane % QUARTER), 8, r.key[i]);
    for (int j = 0; j < EACH; j++)
        if (first + j >= lo && first + j < n)
            load_some(v + (first + j - lo) * dim + lane * (dim / 32), dim / 32, r.value[j]);
}

/* A lane's part of its warp's online softmax: for heads lane % QUARTER and that + QUARTER the
 * largest score, the sum of weights, and of this pass the weight of its position; of each head its
 * values, dim / LANES neighbours, or every LANESth where heads are not even. */
struct bn_warp {
    float largest[HELD_HEADS], sum[HELD_HEADS], was[HELD_HEADS], weight[HELD_HEADS];
    float value[MOST_HEADS][PIECES];
};
/* Scores of a warp's n positions of a pass: lane QUARTER p + a has position p's. */
template <typename K>
static inline void pass_weights(const bn_cached<K> &r, const K *k, int n, int many, int dim,
                                int lane, const float *query, bn_warp &x)
{
    const float unit = 1.0f / sqrtf(float(dim));
    const int p = lane / QUARTER, a = lane % QUARTER;
    float score[HELD_HEADS];
    for (int i = 0; i < HELD_HEADS; i++)
        score[i] = -INFINITY;
#pragma unroll
    for (int h = 0; h < many; h++) {
        float s = 0;
        if (even_head(dim)) {
            for (int i = 0; i < dim / 32; i++) {
                const float *q = query + h * dim + 8 * (i * QUARTER + a);
                const float4 low = *(const float4 *)q, high = *(const float4 *)(q + 4);
                const float by[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
                for (int j = 0; j < 8; j++)
                    s = fma(by[j], float(r.key[i][j]), s);
            }
        } else if (p < n) {
            for (int i = a; i < dim; i += QUARTER)
                s = fma(query[i], float(k[p * dim + i]), s);
        }
        for (int i = 1; i < QUARTER; i *= 2)
            s += __shfl_xor_sync(0xffffffffu, s, i);
        if (h % QUARTER == a && p < n)
            score[h / QUARTER] = s * unit;
    }
    for (int i = 0; i * QUARTER < many; i++) {
        float top = fmaxf(score[i], x.largest[i]), all;
        for (int other = QUARTER; other < LANES; other *= 2)
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, other));
        all = x.weight[i] = p < n ? expf(score[i] - top) : 0;
        for (int other = QUARTER; other < LANES; other *= 2)
            all += __shfl_xor_sync(0xffffffffu, all, other);
        x.was[i] = expf(x.largest[i] - top);
        x.sum[i] = fma(x.sum[i], x.was[i], all);
        x.largest[i] = top;
    }
}
/* Adds the pass's weighted values. */
template <typename K>
static inline void pass_values(const bn_cached<K> &r, const K *v, int n, int many, int dim,
                               int lane, bn_warp &x)
{
#pragma unroll
    for (int h = 0; h < many; h++) {
        float w[EACH];
        const float was = __shfl_sync(0xffffffffu, x.was[h / QUARTER], h % QUARTER);
        for (int j = 0; j < EACH; j++)
            w[j] = __shfl_sync(0xffffffffu, x.weight[h / QUARTER], j * QUARTER + h % QUARTER);
        for (int i = 0; i < (dim + LANES - 1) / LANES; i++) {
            const int d = lane + LANES * i;
            float s = x.value[h][i] * was;
            for (int j = 0; j < EACH; j++)
                if (j < n && even_head(dim))
                    s = fma(w[j], float(r.value[j][i]), s);
                else if (j < n && d < dim)
                    s = fma(w[j], float(v[j * dim + d]), s);
            x.value[h][i] = s;
        }
    }
}
/* A warp's results to tg. */
static inline void warp_store(const bn_warp &x, int many, int dim, int lane, float *largest,
                              float *sum, float *out)
{
#pragma unroll
    for (int i = 0; i * QUARTER < many; i++)
        if (lane < QUARTER && i * QUARTER + lane < many) {
            largest[(i * QUARTER + lane) * WARPS] = x.largest[i];
            sum[(i * QUARTER + lane) * WARPS] = x.sum[i];
        }
#pragma unroll
    for (int h = 0; h < many; h++)
        for (int i = 0; i < (dim + LANES - 1) / LANES; i++) {
            const int d = even_head(dim) ? lane * (dim / LANES) + i : lane + LANES * i;
            if (d < dim)
                out[h * dim + d] = x.value[h][i];
        }
}
/* Queries are in tg, behind a block barrier; r has the first pass's rows if they are `loaded`.
 * Returns value `me` of the many x dim. */
template <typename K>
static inline online_softmax attend_chunk(bn_cached<K> &r, bool loaded, const K *k, const K *v,
                                          int n, int many, int dim, uint me, float *tg)
{
    const int w = int(me / LANES), lane = int(me % LANES), h = min(int(me) / dim, many - 1),
              warps = (n + EACH - 1) / EACH;
    float *largest = tg + many * dim, *sum = largest + many * WARPS, *out = sum + many * WARPS;
    bn_warp x = {{-INFINITY, -INFINITY}};
#pragma unroll 1
    for (int first = w * EACH; first < n; first += PASS) { /* the whole warp */
        const ulong at = ulong(first - w * EACH) * dim;
        if (at || !loaded)
            cache_rows_load(r, k + at, v + at, 0, n - (first - w * EACH), dim, me);
        pass_weights(r, k + ulong(first) * dim, n - first, many, dim, lane, tg, x);
        pass_values(r, v + ulong(first) * dim, n - first, many, dim, lane, x);
    }
    if (w < warps)
        warp_store(x, many, dim, lane, largest + w, sum + w, out + w * many * dim);
    __syncthreads();
    online_softmax all = {-INFINITY, 0, 0};
    if (w * LANES >= many * dim)
        return all; /* the whole warp */
    const bool there = lane < min(warps, int(WARPS));
    const float mine = there ? largest[h * WARPS + lane] : -INFINITY;
    all.largest = simd_max(mine);
    const float factor = there ? expf(mine - all.largest) : 0;
    all.sum = simd_sum(there ? factor * sum[h * WARPS + lane] : 0);
    for (int i = 0; i < WARPS; i++) {
        const float by = __shfl_sync(0xffffffffu, factor, i);
        if (i < warps)
            all.value = fma(by, out[min(int(me), many * dim - 1) + i * many * dim], all.value);
    }
    return all;
}

//@ attention_rows : attend_chunk shapes
/* GQA: g = t (heads / many) + set of `many` heads, which share a KV head. */
template <typename K>
static inline void attention_rows(const float *q, const K *kcache, const K *vcache, float *y,
                                  int pos, int T, bn_attention_shape shape, int many, uint g,
                                  uint me, float *tg)
{
    const int heads = shape.heads, dim = shape.cache.dim, sets = heads / many, t = int(g) / sets,
              first = int(g) % sets * many;
    const ulong at = (ulong(t) * heads + first) * dim + me,
                cache = cache_row(shape.cache, kv_head(shape, first), 0);
    const bool mine = int(me) < many * dim;
    online_softmax run = {-INFINITY, 0, 0};
    if (mine)
        tg[me] = q[at];
    const int chunk = chunk_of(pos + t + 1, heads);
    for (int from = 0; from <= pos + t; from += chunk) {
        const K *k = kcache + cache + ulong(from) * dim, *v = vcache + cache + ulong(from) * dim;
        const int n = min(pos + t - from + 1, chunk);
        bn_cached<K> r;
        cache_rows_load(r, k, v, 0, n, dim, me); /* of the first pass */
        __syncthreads();
        const online_softmax part = attend_chunk(r, true, k, v, n, many, dim, me, tg);
        if (mine)
            softmax_merge(run, part.largest, part.sum, part.value);
    }
    if (mine)
        y[at] = run.value / run.sum;
}
