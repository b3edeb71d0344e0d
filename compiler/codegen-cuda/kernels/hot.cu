/* hot.cu: what a card spends its time on, written for it: 16 bytes a thread, a block's threads side by side. The rows
 * of norms and attention are for decode and prefill alike, so that both give the same bits: sums are taken in one
 * order, by fma, whatever the compiler makes of the rest.
 */

//@ block_sum : group
/* The sum of v over the block, for all its threads; nobody has used tg before. */
static inline float block_sum(float v, uint me, float *tg)
{
    v = simd_sum(v);
    if (me % LANES == 0)
        tg[me / LANES] = v;
    __syncthreads();
    v = tg[me % GROUPS];
    for (int i = GROUPS / 2; i; i /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, i);
    return v;
}

//@ block_max : group
/* The largest, by other words of tg than block_sum's. */
static inline float block_max(float v, uint me, float *tg)
{
    v = simd_max(v);
    tg += GROUPS;
    if (me % LANES == 0)
        tg[me / LANES] = v;
    __syncthreads();
    v = tg[me % GROUPS];
    for (int i = GROUPS / 2; i; i /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, i));
    return v;
}

//@ held : group
/* A row in its threads' registers, 4 neighbouring floats each, as often as it takes: k is a literal. */
enum { HOLDS = 4, STRIDE = 4 * THREADS };
static inline float4 four(const float *x, int i, int k)
{
    return i < k ? *(const float4 *)(x + i) : make_float4(0, 0, 0, 0);
}

//@ quant_held : held block_max
/* quant_row of common.metal. */
static inline void quant_held(const float4 *v, char *q, float *s, int k, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    float most = 0;
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++)
        most = fmaxf(fmaxf(fmaxf(most, fabsf(v[i].x)), fmaxf(fabsf(v[i].y), fabsf(v[i].z))), fabsf(v[i].w));
    const float factor = 127.0f / fmaxf(block_max(most, me, tg), 1e-5f);
    if (me == 0)
        *s = factor;
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++) {
        const int at = 4 * int(me) + i * STRIDE;
        const float a[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
        uint word = 0;
        if (at >= wide)
            break; /* no more for this thread */
        for (int j = 0; j < 4; j++)
            word |= (uint(int(clamp(rintf(a[j] * factor), -128.0f, 127.0f))) & 255) << (8 * j);
        *(uint *)(q + at) = word;
    }
}

//@ quant_rows : quant_held quant
static inline void quant_rows(const float *x, char *q, float *s, int k, uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    float4 v[HOLDS];
    if (k % 4 || wide > HOLDS * STRIDE) {
        quant(x, q, s, k, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++)
        v[i] = four(x + ulong(g) * k, 4 * int(me) + i * STRIDE, k);
    quant_held(v, q + ulong(g) * wide, s + g, k, me, tg);
}

//@ rmsnorm_quant_rows : quant_held block_sum rmsnorm_quant
static inline void rmsnorm_quant_rows(const float *x, const float *gain, char *q, float *s, int k, float eps,
                                      uint g, uint me, float *tg)
{
    const int wide = (k + 127) / 128 * 128;
    float4 v[HOLDS], by[HOLDS];
    float sum = 0;
    if (k % 4 || wide > HOLDS * STRIDE) {
        rmsnorm_quant(x, gain, q, s, k, eps, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < wide; i++) {
        v[i] = four(x + ulong(g) * k, 4 * int(me) + i * STRIDE, k);
        by[i] = four(gain, 4 * int(me) + i * STRIDE, k);
    }
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++)
        sum = fma(v[i].x, v[i].x, fma(v[i].y, v[i].y, fma(v[i].z, v[i].z, fma(v[i].w, v[i].w, sum))));
    const float unit = 1.0f / sqrtf(block_sum(sum, me, tg) / float(k) + eps);
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++) {
        v[i].x = v[i].x * unit * by[i].x;
        v[i].y = v[i].y * unit * by[i].y;
        v[i].z = v[i].z * unit * by[i].z;
        v[i].w = v[i].w * unit * by[i].w;
    }
    quant_held(v, q + ulong(g) * wide, s + g, k, me, tg);
}

//@ attend_chunk : group
/* Attention over at most CHUNK positions, which the threads share in four steps: scores, their weights, weighted
 * values by warps, these together. `many` heads share a KV head. Nothing but CHUNK says in which order things are
 * summed up, so a decode step that spreads chunks over blocks gives the bits of a prefill that takes them in turn.
 *
 *   tg   | queries [many][dim] | scores [many][CHUNK] | most [many] | sum [many] | - [2 many] | values [GROUPS][many][dim] |
 *
 * many x dim is at most THREADS, many at most MOST_HEADS, and 1 where 8 neighbouring values a lane do not
 * make up a head.
 */
enum { CHUNK = 128, MOST_HEADS = 8 };
static inline bool even_head(int dim)
{
    return dim == 32 || dim == 64 || dim == 128 || dim == 256;
}
static inline void load_eight(const float *from, float *to)
{
    *(float4 *)to = *(const float4 *)from;
    *(float4 *)(to + 4) = *(const float4 *)(from + 4);
}
static inline void load_eight(const half *from, float *to)
{
    const uint4 v = *(const uint4 *)from;
    const uint word[4] = {v.x, v.y, v.z, v.w};
    for (int i = 0; i < 4; i++) {
        to[2 * i] = float(as_type<half>(ushort(word[i])));
        to[2 * i + 1] = float(as_type<half>(ushort(word[i] >> 16)));
    }
}
/* A position is the work of dim / 32 lanes, so that it takes few exchanges. */
template <typename K>
static inline void chunk_scores(const K *k, int n, int many, int dim, uint me, float *tg)
{
    const float unit = 1.0f / sqrtf(float(dim));
    const int lanes = even_head(dim) ? dim / 32 : LANES, at = int(me) % lanes;
    float *score = tg + many * dim;
    for (int first = 0; first < CHUNK; first += THREADS / lanes) {
        const int p = first + int(me) / lanes;
        float sum[MOST_HEADS] = {0};
        if (p < n && even_head(dim)) {
            float key[4][8];
            for (int i = 0; i < 4; i++)
                load_eight(k + ulong(p) * dim + 8 * (i * lanes + at), key[i]);
            for (int h = 0; h < many; h++)
                for (int i = 0; i < 4; i++) {
                    float query[8];
                    load_eight(tg + h * dim + 8 * (i * lanes + at), query);
                    for (int j = 0; j < 8; j++)
                        sum[h] = fma(query[j], key[i][j], sum[h]);
                }
        } else if (p < n) {
            for (int i = at; i < dim; i += lanes)
                sum[0] = fma(tg[i], float(k[ulong(p) * dim + i]), sum[0]);
        }
        for (int h = 0; h < many; h++) {
            for (int i = lanes / 2; i; i /= 2)
                sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], i);
            if (at == 0 && p < n)
                score[h * CHUNK + p] = sum[h] * unit;
        }
    }
}
static inline void chunk_weights(int n, int many, int dim, uint me, float *tg)
{
    const int h = int(me / LANES), lane = int(me % LANES), each = CHUNK / LANES;
    float *score = tg + many * dim + h * CHUNK, *most = tg + many * (dim + CHUNK), value[CHUNK / LANES];
    float top = -INFINITY, sum = 0;
    if (h >= many)
        return; /* the whole warp */
    for (int i = 0; i < each; i++) {
        value[i] = lane + i * LANES < n ? score[lane + i * LANES] : -INFINITY;
        top = fmaxf(top, value[i]);
    }
    top = simd_max(top);
    for (int i = 0; i < each; i++) {
        const float w = expf(value[i] - top);
        score[lane + i * LANES] = w;
        sum += w;
    }
    sum = simd_sum(sum);
    if (lane == 0) {
        most[h] = top;
        most[many + h] = sum;
    }
}
/* A warp takes CHUNK / GROUPS positions, as many at once as dim / 8 lanes each allow. */
template <typename K>
static inline void chunk_values(const K *v, int n, int many, int dim, uint me, float *tg)
{
    const int w = int(me / LANES), lane = int(me % LANES), each = CHUNK / GROUPS;
    const float *score = tg + many * dim + w * each;
    float *out = tg + many * (dim + CHUNK + 4) + w * many * dim;
    v += ulong(w * each) * dim;
    n -= w * each;
    if (!even_head(dim)) {
        for (int d = lane; d < dim; d += LANES) {
            float sum = 0;
            for (int p = 0; p < each && p < n; p++)
                sum = fma(score[p], float(v[ulong(p) * dim + d]), sum);
            out[d] = sum;
        }
        return;
    }
    const int lanes = dim / 8, rows = LANES / lanes, row = lane / lanes, d = 8 * (lane % lanes);
    float value[CHUNK / GROUPS][8] = {};
    for (int j = 0; j * rows < each; j++)
        if (j * rows + row < n)
            load_eight(v + ulong(j * rows + row) * dim + d, value[j]);
    for (int h = 0; h < many; h++) {
        float sum[8] = {0};
        for (int j = 0; j * rows < each; j++)
            for (int i = 0; i < 8; i++)
                sum[i] = fma(score[h * CHUNK + j * rows + row], value[j][i], sum[i]);
        for (int i = 0; i < 8; i++)
            for (int other = lanes; other < LANES; other *= 2)
                sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], other);
        if (row == 0) {
            *(float4 *)(out + h * dim + d) = make_float4(sum[0], sum[1], sum[2], sum[3]);
            *(float4 *)(out + h * dim + d + 4) = make_float4(sum[4], sum[5], sum[6], sum[7]);
        }
    }
}
/* Queries stand in tg. Gives value `me` of the many x dim, and leaves in tg each head's largest score and sum
 * of weights. */
template <typename K>
static inline float attend_chunk(const K *k, const K *v, int n, int many, int dim, uint me, float *tg)
{
    const float *value = tg + many * (dim + CHUNK + 4) + me;
    float sum = 0;
    __syncthreads();
    chunk_scores(k, n, many, dim, me, tg);
    __syncthreads();
    chunk_weights(n, many, dim, me, tg);
    __syncthreads();
    chunk_values(v, n, many, dim, me, tg);
    __syncthreads();
    for (int w = 0; w < GROUPS && int(me) < many * dim; w++)
        sum += value[w * many * dim];
    return sum;
}

//@ attend_run
/* One value's softmax so far; chunks are added in the order of their positions. */
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

//@ attention_rows : attend_chunk attend_run cache_row
/* g = t (heads / many) + set of `many` heads. */
template <typename K>
static inline void attention_rows(const float *q, const K *kcache, const K *vcache, float *y,
                                  int pos, int T, int heads, int groups, int context, int dim,
                                  int many, uint g, uint me, float *tg)
{
    const int sets = heads / many, t = int(g) / sets, first = int(g) % sets * many;
    const ulong at = (ulong(t) * heads + first) * dim + me,
                cache = cache_row(first / (heads / groups), context, 0, dim);
    const float *most = tg + many * (dim + CHUNK);
    const bool mine = int(me) < many * dim;
    attend_run run = {-INFINITY, 0, 0};
    if (mine)
        tg[me] = q[at];
    for (int from = 0; from <= pos + t; from += CHUNK) {
        const ulong here = cache + ulong(from) * dim;
        const float value = attend_chunk(kcache + here, vcache + here, min(pos + t - from + 1, int(CHUNK)),
                                         many, dim, me, tg);
        if (mine)
            attend_add(run, most[me / dim], most[many + me / dim], value);
    }
    if (mine)
        y[at] = run.value / run.sum;
}

//@ linear_f16 : linear
/* y[t][n] = sum_k w[n][k] x[t][k]: a warp a row, 8 weights of f16 a thread at once where rows allow. */
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
    const float4 *in = (const float4 *)(x + ulong(t) * k);
    float sum = 0;
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
    sum = simd_sum(sum);
    if (me % LANES == 0)
        y[ulong(t) * n + r] = sum;
}
