/* hot.cu: what a card spends its time on, written for it: 16 bytes a thread, a block's threads side
 * by side. The rows of norms and attention are for decode and prefill alike, so that both give the
 * same bits: sums are taken in one order, by fma, whatever the compiler makes of the rest.
 */

//@ block_max : group
/* The largest of the block's values of 0 or more, for all its threads; nobody has used tg
 * before. */
static inline float block_max(float v, uint me, float *tg)
{
    v = simd_most(v);
    if (me % LANES == 0)
        tg[me / LANES] = v;
    __syncthreads();
    return simd_most(tg[me % GROUPS]);
}

//@ block_sum_max : group
/* The sum of the block's values, and the largest of others of 0 or more in place of `most`, in one
 * meeting. */
static inline float block_sum_max(float v, float &most, uint me, float *tg)
{
    v = simd_sum(v);
    most = simd_most(most);
    if (me % LANES == 0) {
        tg[me / LANES] = v;
        tg[GROUPS + me / LANES] = most;
    }
    __syncthreads();
    most = simd_most(tg[GROUPS + me % GROUPS]);
    float part[GROUPS / 4];
    for (int i = 0; i < GROUPS / 4; i++) {
        const float4 four = *(const float4 *)(tg + 4 * i);
        part[i] = (four.x + four.y) + (four.z + four.w);
    }
    for (int n = GROUPS / 8; n; n /= 2)
        for (int i = 0; i < n; i++)
            part[i] += part[i + n];
    return part[0];
}

//@ held : group
/* A row in its threads' registers, 4 neighbouring floats each, as often as it takes: k is a
 * literal. */
enum { HOLDS = 4, STRIDE = 4 * THREADS };
static inline float4 four(const float *x, int i, int k)
{
    return i < k ? *(const float4 *)(x + i) : make_float4(0, 0, 0, 0);
}
static inline bool row_held(int k)
{
    return k % 4 == 0 && (k + 127) / 128 * 128 <= HOLDS * STRIDE;
}

//@ quant_held : held block_max
/* quant_row of common.metal. The nearest number to x factor, of ties the even one, stands in the
 * lowest bits of its sum with 1.5 x 2^23; it is 127 at most, for x factor is 127 and some
 * rounding. */
static inline uint nearest(float x, float factor)
{
    return as_type<uint>(__fadd_rn(__fmul_rn(x, factor), 12582912.0f));
}
static inline float held_most(const float4 *v, int k)
{
    float most = 0;
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++)
        most = fmaxf(fmaxf(fmaxf(most, fabsf(v[i].x)), fmaxf(fabsf(v[i].y), fabsf(v[i].z))),
                     fabsf(v[i].w));
    return most;
}
/* The row by a factor, rounded, and zeros up to whole blocks. */
static inline void held_store(const float4 *v, float factor, char *q, int k, uint me)
{
    const int wide = (k + 127) / 128 * 128;
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++) {
        const int at = 4 * int(me) + i * STRIDE;
        const float a[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
        uint word = 0;
        if (at >= wide)
            break; /* no more for this thread */
        for (int j = 0; j < 4; j++)
            word |= (nearest(a[j], factor) & 255) << (8 * j);
        *(uint *)(q + at) = word;
    }
}

//@ quant_rows : quant_held quant
static inline void quant_rows(const float *x, char *q, float *s, int k, uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    float4 v[HOLDS];
    if (!row_held(k)) {
        quant(x, q, s, k, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++)
        v[i] = four(x + ulong(g) * k, 4 * int(me) + i * STRIDE, k);
    const float factor = 127.0f / fmaxf(block_max(held_most(v, k), me, tg), 1e-5f);
    if (me == 0)
        s[g] = factor;
    held_store(v, factor, q + ulong(g) * wide, k, me);
}

//@ rmsnorm_quant_rows : quant_held block_sum_max rmsnorm_quant
/* v is the row; it changes. Its norm is a factor of all values, so the largest is found before the
 * norm is known, and values take both factors at once. */
static inline void rmsnorm_quant_held(float4 *v, const float4 *gain, char *q, float *s, int k,
                                      float eps, uint me, float *tg)
{
    float sum = 0;
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++) {
        sum =
            fma(v[i].x, v[i].x, fma(v[i].y, v[i].y, fma(v[i].z, v[i].z, fma(v[i].w, v[i].w, sum))));
        v[i].x *= gain[i].x;
        v[i].y *= gain[i].y;
        v[i].z *= gain[i].z;
        v[i].w *= gain[i].w;
    }
    float most = held_most(v, k);
    sum = block_sum_max(sum, most, me, tg);
    const float unit = 1.0f / sqrtf(sum / float(k) + eps),
                factor = 127.0f / fmaxf(most * unit, 1e-5f);
    if (me == 0)
        *s = factor;
    held_store(v, factor * unit, q, k, me);
}
static inline void rmsnorm_quant_rows(const float *x, const float *gain, char *q, float *s, int k,
                                      float eps, uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    float4 v[HOLDS], by[HOLDS];
    if (!row_held(k)) {
        rmsnorm_quant(x, gain, q, s, k, eps, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++) {
        v[i] = four(x + ulong(g) * k, 4 * int(me) + i * STRIDE, k);
        by[i] = four(gain, 4 * int(me) + i * STRIDE, k);
    }
    rmsnorm_quant_held(v, by, q + ulong(g) * wide, s + g, k, eps, me, tg);
}

//@ attend_run
/* One value's softmax so far; parts are added in the order of their positions. */
struct attend_run {
    float most, sum, value;
};
static inline void attend_add(attend_run &r, float most, float sum, float value)
{
    const float top = fmaxf(r.most, most), was = expf(r.most - top), is = expf(most - top);
    r.sum = fma(r.sum, was, sum * is);
    r.value = fma(r.value, was, value * is);
    r.most = top;
}

//@ attend_chunk : attend_run
/* Attention over a chunk of positions, in passes: a warp takes EACH positions of a pass, from
 * their scores to weighted values, and adds up its passes; then all warps' come together. `many`
 * heads share a KV head. Nothing but chunk_of says in which order things are summed up, so a decode
 * step that spreads chunks over blocks gives the bits of a prefill that takes them in turn.
 *
 *   tg   | queries [many][dim] | most [many][GROUPS] | sum [many][GROUPS] | values
 * [GROUPS][many][dim] |
 *
 * many x dim is at most THREADS, many at most MOST_HEADS, and 1 where the lanes' values do not make
 * up a head.
 */
enum {
    CHUNK = BN_CHUNK, /* a multiple of PASS */
    PASS = 128,
    EACH = PASS / GROUPS,
    QUARTER = LANES / EACH,
    MOST_HEADS = 8,
    HELD_HEADS = MOST_HEADS / QUARTER,
    PIECES = 16
};
/* How many of n positions are a chunk: all up to CHUNK; else so few, in whole passes, that chunks
 * of all heads make rounds of 132, the blocks of a card: neither BN_BLOCKS nor cards have a say. */
static inline int chunk_of(int n, int heads)
{
    const int each = max(132 / heads, 1), chunks = (n + each * CHUNK - 1) / (each * CHUNK) * each;
    const int passes = ((n + chunks - 1) / chunks + PASS - 1) / PASS;
    return n <= CHUNK ? CHUNK : PASS * passes;
}
static inline bool even_head(int dim)
{
    return dim == 32 || dim == 64 || dim == 128 || dim == 256;
}

/* A lane's share of its warp's rows, in registers: of one position's key every QUARTERth 8 values,
 * of each position's value dim / LANES neighbours. */
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
/* Those of a pass's positions lo to n; k and v point to lo's. Heads that are not even have none. */
template <typename K>
static inline void rows_load(bn_cached<K> &r, const K *k, const K *v, int lo, int n, int dim,
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

/* What a lane has of its warp's attention: for heads lane % QUARTER and that + QUARTER the largest
 * score, the sum of weights, and of this pass the weight of its position; of each head its values,
 * dim / LANES neighbours, or every LANESth where heads are not even. */
struct bn_warp {
    float most[HELD_HEADS], sum[HELD_HEADS], was[HELD_HEADS], weight[HELD_HEADS];
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
        float top = fmaxf(score[i], x.most[i]), all;
        for (int other = QUARTER; other < LANES; other *= 2)
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, other));
        all = x.weight[i] = p < n ? expf(score[i] - top) : 0;
        for (int other = QUARTER; other < LANES; other *= 2)
            all += __shfl_xor_sync(0xffffffffu, all, other);
        x.was[i] = expf(x.most[i] - top);
        x.sum[i] = fma(x.sum[i], x.was[i], all);
        x.most[i] = top;
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
/* What a warp has, to tg. */
static inline void warp_leaves(const bn_warp &x, int many, int dim, int lane, float *most,
                               float *sum, float *out)
{
#pragma unroll
    for (int i = 0; i * QUARTER < many; i++)
        if (lane < QUARTER && i * QUARTER + lane < many) {
            most[(i * QUARTER + lane) * GROUPS] = x.most[i];
            sum[(i * QUARTER + lane) * GROUPS] = x.sum[i];
        }
#pragma unroll
    for (int h = 0; h < many; h++)
        for (int i = 0; i < (dim + LANES - 1) / LANES; i++) {
            const int d = even_head(dim) ? lane * (dim / LANES) + i : lane + LANES * i;
            if (d < dim)
                out[h * dim + d] = x.value[h][i];
        }
}
/* Queries stand in tg, all have met; r has the first pass's rows if they are `loaded`. Gives value
 * `me` of the many x dim. */
template <typename K>
static inline attend_run attend_chunk(bn_cached<K> &r, bool loaded, const K *k, const K *v, int n,
                                      int many, int dim, uint me, float *tg)
{
    const int w = int(me / LANES), lane = int(me % LANES), h = min(int(me) / dim, many - 1),
              warps = (n + EACH - 1) / EACH;
    float *most = tg + many * dim, *sum = most + many * GROUPS, *out = sum + many * GROUPS;
    bn_warp x = {{-INFINITY, -INFINITY}};
#pragma unroll 1
    for (int first = w * EACH; first < n; first += PASS) { /* the whole warp */
        const ulong at = ulong(first - w * EACH) * dim;
        if (at || !loaded)
            rows_load(r, k + at, v + at, 0, n - (first - w * EACH), dim, me);
        pass_weights(r, k + ulong(first) * dim, n - first, many, dim, lane, tg, x);
        pass_values(r, v + ulong(first) * dim, n - first, many, dim, lane, x);
    }
    if (w < warps)
        warp_leaves(x, many, dim, lane, most + w, sum + w, out + w * many * dim);
    __syncthreads();
    attend_run all = {-INFINITY, 0, 0};
    if (w * LANES >= many * dim)
        return all; /* the whole warp */
    const bool there = lane < min(warps, int(GROUPS));
    const float mine = there ? most[h * GROUPS + lane] : -INFINITY;
    all.most = simd_max(mine);
    const float factor = there ? expf(mine - all.most) : 0;
    all.sum = simd_sum(there ? factor * sum[h * GROUPS + lane] : 0);
    for (int i = 0; i < GROUPS; i++) {
        const float by = __shfl_sync(0xffffffffu, factor, i);
        if (i < warps)
            all.value = fma(by, out[min(int(me), many * dim - 1) + i * many * dim], all.value);
    }
    return all;
}

//@ attention_rows : attend_chunk cache_row
/* g = t (heads / many) + set of `many` heads. */
template <typename K>
static inline void attention_rows(const float *q, const K *kcache, const K *vcache, float *y,
                                  int pos, int T, int heads, int groups, int context, int dim,
                                  int many, uint g, uint me, float *tg)
{
    const int sets = heads / many, t = int(g) / sets, first = int(g) % sets * many;
    const ulong at = (ulong(t) * heads + first) * dim + me,
                cache = cache_row(first / (heads / groups), context, 0, dim);
    const bool mine = int(me) < many * dim;
    attend_run run = {-INFINITY, 0, 0};
    if (mine)
        tg[me] = q[at];
    const int chunk = chunk_of(pos + t + 1, heads);
    for (int from = 0; from <= pos + t; from += chunk) {
        const K *k = kcache + cache + ulong(from) * dim, *v = vcache + cache + ulong(from) * dim;
        const int n = min(pos + t - from + 1, chunk);
        bn_cached<K> r;
        rows_load(r, k, v, 0, n, dim, me); /* of the first pass */
        __syncthreads();
        const attend_run part = attend_chunk(r, true, k, v, n, many, dim, me, tg);
        if (mine)
            attend_add(run, part.most, part.sum, part.value);
    }
    if (mine)
        y[at] = run.value / run.sum;
}

//@ warp_row : linear_row
/* linear_row; of f16, 8 weights a thread at once where rows allow. */
template <typename W>
static inline float warp_row(const uchar *w, const float *x, int k, int r, uint me)
{
    return linear_row<W>(w, x, k, r, me);
}
template <> inline float warp_row<F16>(const uchar *w, const float *x, int k, int r, uint me)
{
    const uint4 *row = (const uint4 *)(w + 2 * ulong(r) * k);
    const float4 *in = (const float4 *)x;
    float sum = 0;
    if (k % 8)
        return linear_row<F16>(w, x, k, r, me);
#pragma unroll 10
    for (int i = int(me % LANES); i < k / 8; i += LANES) {
        const uint4 v = __ldcs(row + i);
        const float4 a = in[2 * i], b = in[2 * i + 1];
        const float by[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        const uint word[4] = {v.x, v.y, v.z, v.w};
        for (int j = 0; j < 4; j++) {
            sum = fma(float(as_type<half>(ushort(word[j]))), by[2 * j], sum);
            sum = fma(float(as_type<half>(ushort(word[j] >> 16))), by[2 * j + 1], sum);
        }
    }
    return simd_sum(sum);
}

//@ linear_f16 : warp_row
/* y[t][n] = sum_k w[n][k] x[t][k]: a warp a row. y may be the host's memory, where a store costs as
 * much for 64 bytes as for 4. */
static inline void linear_f16(const uchar *w, const float *x, float *y, int T, int n, int k, uint g,
                              uint me, float *tg)
{
    const uint each = uint(n + GROUPS - 1) / GROUPS, t = g / each, first = g % each * GROUPS;
    const int r = min(int(first + me / LANES), n - 1); /* a row again, for warps behind the last */
    const float sum = warp_row<F16>(w, x + ulong(t) * k, k, r, me);
    if (me % LANES == 0)
        tg[me / LANES] = sum;
    __syncthreads();
    if (me < GROUPS && int(first + me) < n)
        y[ulong(t) * n + first + me] = tg[me];
}
