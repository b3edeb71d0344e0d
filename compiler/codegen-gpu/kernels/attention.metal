/* attention.metal: rotary positions, the KV cache, grouped-query attention (GQA) over it.
 *
 *   cache   | KV head 0: position 0: head_dim values | position 1 | ... | KV head 1: ... |
 */
#include <metal_stdlib>
using namespace metal;

//@ rope_table : group
/* y[t][2j], y[t][2j + 1] = magnitude * cos, sin of the angle of pair j at position pos + t. turn[j], the angle
 * of one position, is a 64-bit fraction of a full turn, so its product with a position, which drops
 * whole turns, is exact: an f32 angle would be off by 0.004 at position 100,000. */
static inline void rope_table(int pos, device float *y, int dim, constant ulong *turn,
                              float magnitude, uint g, uint me)
{
    for (int j = int(me); j < dim / 2; j += THREADS) {
        const int part = int(uint((ulong(pos) + g) * turn[j] >> 32));
        const float angle = float(part) * (6.283185307179586f / 4294967296.0f);
        y[ulong(g) * dim + 2 * j] = magnitude * cos(angle);
        y[ulong(g) * dim + 2 * j + 1] = magnitude * sin(angle);
    }
}

//@ rope_head : group
/* One head's values, the first `rot` of them rotated: pairs (j, j + rot/2) (BN_NEOX), or
 * (2j, 2j + 1). A thread reads both values of its pair before it writes: y may be x. */
template <typename Y>
static inline void rope_head(device const float *x, device const float *table, device Y *y,
                             int head_dim, int rot, int mode, uint me)
{
    for (int j = int(me); j < rot / 2; j += THREADS) {
        const int a = mode == BN_NEOX ? j : 2 * j, b = mode == BN_NEOX ? j + rot / 2 : 2 * j + 1;
        const float u = x[a], v = x[b], c = table[2 * j], s = table[2 * j + 1];
        y[a] = Y(fma(u, c, -(v * s)));
        y[b] = Y(fma(u, s, v * c));
    }
    for (int i = rot / 2 * 2 + int(me); i < head_dim; i += THREADS)
        y[i] = Y(x[i]);
}

//@ rope : rope_head
/* x, y [T x heads x head_dim], table [T x rot]; g = t heads + head. */
static inline void rope(device const float *x, device const float *table, device float *y, int T,
                        int heads, int width, int rot, int mode, uint g, uint me)
{
    const int head_dim = width / heads;
    rope_head<float>(x + ulong(g) * head_dim, table + ulong(g / uint(heads)) * rot,
                     y + ulong(g) * head_dim, head_dim, rot, mode, me);
}

//@ shapes
/* Of a layer's keys, or values: [kv_heads][context][dim]; of attention over them: heads / kv_heads
 * queries share a KV head. */
struct bn_cache_shape {
    int kv_heads, context, dim;
};
struct bn_attention_shape {
    int heads;
    bn_cache_shape cache;
};
/* Which KV head belongs to a query's head. */
static inline int kv_head(bn_attention_shape shape, int head)
{
    return head / (shape.heads / shape.cache.kv_heads);
}
/* Where KV head h at a position begins. */
static inline ulong cache_row(bn_cache_shape shape, int h, int position)
{
    return (ulong(h) * shape.context + position) * shape.dim;
}

//@ store : shapes group
/* cache[h][pos + t] = x[t][h]; g = t kv_heads + h. */
template <typename K>
static inline void store(device const float *x, device K *cache, int pos, int T,
                         bn_cache_shape shape, uint g, uint me)
{
    const int t = int(g) / shape.kv_heads, h = int(g) % shape.kv_heads;
    device K *out = cache + cache_row(shape, h, pos + t);
    for (int i = int(me); i < shape.dim; i += THREADS)
        out[i] = K(x[ulong(g) * shape.dim + i]);
}

//@ rope_store : rope_head shapes
template <typename K>
static inline void rope_store(device const float *x, device const float *table, device K *cache,
                              int pos, int T, bn_cache_shape shape, int rot, int mode, uint g,
                              uint me)
{
    const int t = int(g) / shape.kv_heads, h = int(g) % shape.kv_heads;
    rope_head<K>(x + ulong(g) * shape.dim, table + ulong(t) * rot,
                 cache + cache_row(shape, h, pos + t), shape.dim, rot, mode, me);
}

//@ attend : shapes group
/* y = softmax(q k^T / sqrt(head_dim)) v over positions [from, to] for one head, by online softmax:
 * each simdgroup takes every WARPS-th position and keeps the largest score, the sum of weights and
 * the weighted values so far, which are combined through tg:
 *
 *   tg   | largest [WARPS] | sum [WARPS] | values [WARPS][head_dim] |    head_dim at most 512
 */
enum { LANE_VALUES = 16 };
template <typename K>
static inline void attend(device const float *q, device const K *k, device const K *v,
                          device float *y, int from, int to, int head_dim, uint me,
                          threadgroup float *tg)
{
    const uint lane = me % LANES, sub = me / LANES;
    const float unit = 1.0f / sqrt(float(head_dim));
    float largest = -INFINITY, sum = 0, value[LANE_VALUES];
    for (int i = 0; i < LANE_VALUES; i++)
        value[i] = 0;
    for (int p = from + int(sub); p <= to; p += WARPS) {
        float score = 0;
        for (int i = 0; i * LANES + int(lane) < head_dim; i++)
            score += q[i * LANES + lane] * float(k[ulong(p) * head_dim + i * LANES + lane]);
        score = simd_sum(score) * unit;
        const float now = max(largest, score), shrink = exp(largest - now), w = exp(score - now);
        for (int i = 0; i * LANES + int(lane) < head_dim; i++)
            value[i] = value[i] * shrink + w * float(v[ulong(p) * head_dim + i * LANES + lane]);
        sum = sum * shrink + w;
        largest = now;
    }
    if (lane == 0) {
        tg[sub] = largest;
        tg[WARPS + sub] = sum;
    }
    for (int i = 0; i * LANES + int(lane) < head_dim; i++)
        tg[2 * WARPS + sub * head_dim + i * LANES + lane] = value[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float top = tg[0], all = 0, share[WARPS];
    for (int s = 1; s < WARPS; s++)
        top = max(top, tg[s]);
    for (int s = 0; s < WARPS; s++) {
        share[s] = exp(tg[s] - top); /* 0 where a simdgroup had no position */
        all += share[s] * tg[WARPS + s];
    }
    for (int i = int(me); i < head_dim; i += THREADS) {
        float out = 0;
        for (int s = 0; s < WARPS; s++)
            out += share[s] * tg[2 * WARPS + s * head_dim + i];
        y[i] = out / all;
    }
}

//@ attention : attend
/* g = t heads + h. */
template <typename K>
static inline void attention(device const float *q, device const K *kcache, device const K *vcache,
                             device float *y, int pos, int T, bn_attention_shape shape, uint g,
                             uint me, threadgroup float *tg)
{
    const int t = int(g) / shape.heads, h = int(g) % shape.heads, dim = shape.cache.dim;
    const ulong at = cache_row(shape.cache, kv_head(shape, h), 0);
    attend<K>(q + ulong(g) * dim, kcache + at, vcache + at, y + ulong(g) * dim, 0, pos + t, dim, me,
              tg);
}

//@ window_attention : attend
/* Over the last `window` positions, but over all in layers whose number, from 1, `every` divides.
 */
template <typename K>
static inline void window_attention(device const float *q, device const K *kcache,
                                    device const K *vcache, device float *y, int pos, int T,
                                    bn_attention_shape shape, int window, int every, int layer,
                                    uint g, uint me, threadgroup float *tg)
{
    const int t = int(g) / shape.heads, h = int(g) % shape.heads, dim = shape.cache.dim;
    const int to = pos + t, from = (layer + 1) % every == 0 || to < window ? 0 : to - window + 1;
    const ulong at = cache_row(shape.cache, kv_head(shape, h), 0);
    attend<K>(q + ulong(g) * dim, kcache + at, vcache + at, y + ulong(g) * dim, from, to, dim, me,
              tg);
}
