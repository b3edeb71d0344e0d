/* scalar_kv.c: the KV cache and attention over it, in plain C.
 *
 *   cache   | KV head 0: position 0: head_dim values | position 1 | ... | KV head 1: ... |
 *
 * The caller's positions fit the context. A unit of work is a head of the op's first operand: of
 * the keys or values to be stored, or of the queries.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#define BN_KERNELS_SCALAR_KV /* avx2_kv.c uses chunks of this file */

//@ kv_formats
/* What a cache holds. */
enum { BN_KV_F32, BN_KV_F16, BN_KV_I8 };

//@ kv_row
/* Where head g of token t lies among [T x kv_heads x head_dim] values. */
BN_INLINE size_t kv_row(int t, int kv_heads, int g, int head_dim)
{
    return ((size_t)t * (size_t)kv_heads + (size_t)g) * (size_t)head_dim;
}

//@ f32_to_f16
/* To nearest, halves to even; NaNs turn quiet: the bits of vcvtps2ph. */
BN_INLINE uint16_t f32_to_f16(float f)
{
    uint32_t bits, a, sign, half;

    memcpy(&bits, &f, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    a = bits & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x47800000u)
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* below 2^-14: a multiple of 2^-24 */
        const uint32_t m = (a & 0x7fffffu) | 0x800000u, e = a >> 23;
        const uint32_t shift = e > 101u ? 126u - e : 25u, rest = m & ((1u << shift) - 1u);
        half = m >> shift;
        half += rest + (half & 1u) > 1u << (shift - 1u);
        return (uint16_t)(sign | half);
    }
    half = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13; /* may carry into the exponent */
    return (uint16_t)(sign | half);
}

//@ store_f32 : kv_row
/* cache[g][pos + t] = x[t][g]; x [T x kv_heads x head_dim]. */
BN_INLINE void store_f32(const float *x, float *cache, int pos, int T, int kv_heads, int context,
                         int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            memcpy(cache + kv_row(g, context, pos + t, head_dim),
                   x + kv_row(t, kv_heads, g, head_dim), (size_t)head_dim * sizeof *x);
}

//@ store_f16 : kv_row f32_to_f16
BN_INLINE void store_f16(const float *x, uint16_t *cache, int pos, int T, int kv_heads, int context,
                         int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, kv_heads, g, head_dim);
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            for (int i = 0; i < head_dim; i++)
                out[i] = f32_to_f16(in[i]);
        }
}

//@ rope_store_f32 : kv_row rope_head
/* rope, then store: table [T x rot], the rest as in store. */
BN_INLINE void rope_store_f32(const float *x, const float *table, float *cache, int pos, int T,
                              int kv_heads, int context, int head_dim, int rot, int mode, int from,
                              int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            rope_head(x + kv_row(t, kv_heads, g, head_dim), table + (size_t)t * (size_t)rot,
                      cache + kv_row(g, context, pos + t, head_dim), head_dim, rot, mode);
}

//@ rope_store_f16 : kv_row rope_head f32_to_f16
BN_INLINE void rope_store_f16(const float *x, const float *table, uint16_t *cache, int pos, int T,
                              int kv_heads, int context, int head_dim, int rot, int mode, int from,
                              int to)
{
    const int half = rot / 2, step = mode == BN_NEOX ? 1 : 2, apart = mode == BN_NEOX ? half : 1;

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, kv_heads, g, head_dim);
            const float *turn = table + (size_t)t * (size_t)rot;
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            float a[8], b[8];
            for (int j = 0; j < half; j += 8) {
                const int n = half - j < 8 ? half - j : 8;
                rope_turn(in + j * step, turn + 2 * j, a, b, n, step, apart);
                for (int i = 0; i < n; i++) {
                    out[(j + i) * step] = f32_to_f16(a[i]);
                    out[(j + i) * step + apart] = f32_to_f16(b[i]);
                }
            }
            for (int i = 2 * half; i < head_dim; i++)
                out[i] = f32_to_f16(in[i]);
        }
}

//@ kv8_row : kv_formats
/* An int8 cache: value = code * scale, with scale = max |value| / 127 of a head at a position.
 *
 *   | codes int8 [kv_heads x context x head_dim] | up to 64 | scales f32 [kv_heads x context] |
 *
 * Heads of at most 512 values. */
enum { BN_KV8_HEAD = 512 };

/* Where the scales begin. */
BN_INLINE size_t kv8_scales(int kv_heads, int context, int head_dim)
{
    return ((size_t)kv_heads * (size_t)context * (size_t)head_dim + 63) / 64 * 64;
}

/* What codes up to `levels` are multiplied with to be values of at most `most`, and the reverse. */
BN_INLINE float kv8_factor(float most, float levels)
{
    return most < 1e-30f ? 0.0f : levels / most;
}

//@ kv8_code : kv8_row
/* The largest magnitude; compared as integers, whose order is the same and which vectorise. */
BN_INLINE float kv8_most(const float *x, int n)
{
    int32_t most = 0;
    float v;

    for (int i = 0; i < n; i++) {
        int32_t bits;
        v = fabsf(x[i]);
        memcpy(&bits, &v, sizeof bits);
        most = bits > most ? bits : most;
    }
    memcpy(&v, &most, sizeof v);
    return v;
}

/* x * factor, rounded half to even, as in quant_row. */
BN_INLINE int kv8_code(float x, float factor)
{
    const double v = (double)(x * factor) + 6755399441055744.0;
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (int)(int32_t)(bits & 0xffffffffu);
}

//@ kv8_put : kv8_code
BN_INLINE void kv8_put(const float *x, uint8_t *codes, float *scale, int head_dim)
{
    const float most = kv8_most(x, head_dim), factor = kv8_factor(most, 127.0f);

    *scale = most / 127.0f;
    for (int i = 0; i < head_dim; i++)
        codes[i] = (uint8_t)(kv8_code(x[i], factor) & 255);
}

//@ store_kv8 : kv8_put kv_row
BN_INLINE void store_kv8(const float *x, uint8_t *cache, int pos, int T, int kv_heads, int context,
                         int head_dim, int from, int to)
{
    float *scales = (float *)(void *)(cache + kv8_scales(kv_heads, context, head_dim));

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            kv8_put(x + kv_row(t, kv_heads, g, head_dim),
                    cache + kv_row(g, context, pos + t, head_dim),
                    scales + kv_row(g, context, pos + t, 1), head_dim);
}

//@ rope_store_kv8 : kv8_put kv_row rope_head
BN_INLINE void rope_store_kv8(const float *x, const float *table, uint8_t *cache, int pos, int T,
                              int kv_heads, int context, int head_dim, int rot, int mode, int from,
                              int to)
{
    float *scales = (float *)(void *)(cache + kv8_scales(kv_heads, context, head_dim));
    float head[BN_KV8_HEAD];

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            rope_head(x + kv_row(t, kv_heads, g, head_dim), table + (size_t)t * (size_t)rot, head,
                      head_dim, rot, mode);
            kv8_put(head, cache + kv_row(g, context, pos + t, head_dim),
                    scales + kv_row(g, context, pos + t, 1), head_dim);
        }
}

//@ kv8_query : kv8_code
/* Queries over an int8 cache become integers up to 8191, with a unit a query: finer than the
 * cache, and 512 products with codes fit int32. */
BN_INLINE float kv8_query(const float *q, int16_t *codes, int head_dim)
{
    const float most = kv8_most(q, head_dim), factor = kv8_factor(most, 8191.0f);

    for (int i = 0; i < head_dim; i++)
        codes[i] = (int16_t)kv8_code(q[i], factor);
    return most / 8191.0f;
}

//@ kv_rows : kv_row kv8_row
/* The keys or values of one KV head. */
typedef struct bn_kv_rows {
    const uint8_t *rows;
    const float *scales; /* int8 only, one a row */
} bn_kv_rows;

BN_INLINE size_t kv_bytes(int format, int head_dim)
{
    return (size_t)head_dim * (format == BN_KV_F32 ? 4 : format == BN_KV_F16 ? 2 : 1);
}

/* Those of KV head g from position `at` on. */
BN_INLINE bn_kv_rows kv_head_rows(const void *cache, int format, int g, int at, int kv_heads,
                                  int context, int head_dim)
{
    const uint8_t *start = (const uint8_t *)cache;
    bn_kv_rows r;

    r.rows = start + kv_row(g, context, at, 1) * kv_bytes(format, head_dim);
    r.scales = NULL;
    if (format == BN_KV_I8)
        r.scales = (const float *)(const void *)(start + kv8_scales(kv_heads, context, head_dim)) +
                   kv_row(g, context, at, 1);
    return r;
}

//@ attend : kv_rows load_f32 load_f16 kv8_query dot
/* Elements [at, at + n) of a row; of int8 the codes. */
BN_INLINE void kv_load(const uint8_t *row, int format, int at, float *buf, int n)
{
    if (format == BN_KV_F32)
        load_f32(row, (size_t)at, buf, n);
    else if (format == BN_KV_F16)
        load_f16(row, (size_t)at, buf, n);
    else
        for (int i = 0; i < n; i++)
            buf[i] = (float)(int8_t)row[at + i];
}

/* q . one key */
BN_INLINE double attend_score(const float *q, const uint8_t *key, int format, int head_dim)
{
    double lane[8] = {0};
    float buf[32];

    for (int i = 0; i < head_dim; i += 32) {
        const int n = head_dim - i < 32 ? head_dim - i : 32;
        kv_load(key, format, i, buf, n);
        dot_lanes(lane, q + i, buf, n);
    }
    return dot_sum(lane);
}

BN_INLINE int32_t attend_score_kv8(const int16_t *q, const uint8_t *key, int head_dim)
{
    int32_t sum = 0;
    for (int i = 0; i < head_dim; i++)
        sum += q[i] * (int8_t)key[i];
    return sum;
}

/* y = y * shrink + sum_j p[j] v[j]; the first block (shrink 0) ignores y. */
BN_INLINE void add_cached_values(const float *p, const uint8_t *v, int format, float shrink,
                                 float *y, int m, int head_dim, int first)
{
    for (int i = 0; i < head_dim; i += 8) {
        const int n = head_dim - i < 8 ? head_dim - i : 8;
        double lane[8];
        float row[8];
        for (int c = 0; c < n; c++)
            lane[c] = first ? 0.0 : (double)y[i + c] * (double)shrink;
        for (int j = 0; j < m; j++) {
            kv_load(v + (size_t)j * kv_bytes(format, head_dim), format, i, row, n);
            for (int c = 0; c < n; c++)
                lane[c] += (double)p[j] * (double)row[c];
        }
        for (int c = 0; c < n; c++)
            y[i + c] = (float)lane[c];
    }
}

/* One query over n positions: y = softmax(q k^T / sqrt(head_dim)) v; q, y [head_dim],
 * k, v [n x head_dim]. Blocks of 32 positions with a running maximum `top`: when it rises, what
 * was summed shrinks by exp(old - new). The sums stay in y, rounded to f32 after each block. */
BN_INLINE void attend(const float *q, bn_kv_rows k, bn_kv_rows v, int format, float *y, int n,
                      int head_dim)
{
    const size_t row = kv_bytes(format, head_dim);
    const double unit = 1.0 / sqrt((double)head_dim);
    float top = -INFINITY, total = 0.0f, p[32], fine = 0.0f;
    int16_t code[BN_KV8_HEAD];

    if (format == BN_KV_I8)
        fine = kv8_query(q, code, head_dim);
    for (int at = 0; at < n; at += 32) {
        const int m = n - at < 32 ? n - at : 32;
        const float before = top;
        double sum = 0.0;
        float shrink;

        for (int j = 0; j < m; j++) {
            const uint8_t *key = k.rows + (size_t)(at + j) * row;
            double s = format == BN_KV_I8 ? attend_score_kv8(code, key, head_dim) *
                                                ((double)k.scales[at + j] * (double)fine)
                                          : attend_score(q, key, format, head_dim);
            p[j] = (float)(s * unit);
            top = p[j] > top ? p[j] : top;
        }
        for (int j = 0; j < m; j++) {
            p[j] = expf(p[j] - top);
            sum += (double)p[j];
            if (format == BN_KV_I8)
                p[j] *= v.scales[at + j];
        }
        shrink = at > 0 ? expf(before - top) : 0.0f;
        total = (float)((double)total * (double)shrink + sum);
        add_cached_values(p, v.rows + (size_t)at * row, format, shrink, y, m, head_dim, at == 0);
    }
    for (int i = 0; i < head_dim; i++)
        y[i] /= total;
}

//@ attention : attend kv_row
/* Token t attends to positions first .. pos + t; q, y [T x heads x head_dim], apart; head h reads
 * KV head h / (heads / kv_heads) of the caches. */
BN_INLINE void attention(const float *q, const void *kcache, const void *vcache, int format,
                         float *y, int first, int pos, int T, int heads, int kv_heads, int context,
                         int head_dim, int from, int to)
{
    for (int h = from; h < to; h++) {
        const int g = h / (heads / kv_heads);
        const bn_kv_rows k = kv_head_rows(kcache, format, g, first, kv_heads, context, head_dim);
        const bn_kv_rows v = kv_head_rows(vcache, format, g, first, kv_heads, context, head_dim);
        for (int t = 0; t < T; t++) {
            const size_t at = kv_row(t, heads, h, head_dim);
            attend(q + at, k, v, format, y + at, pos + t + 1 - first, head_dim);
        }
    }
}

//@ attention_f32 : attention
BN_INLINE void attention_f32(const float *q, const float *kcache, const float *vcache, float *y,
                             int pos, int T, int heads, int kv_heads, int context, int head_dim,
                             int from, int to)
{
    attention(q, kcache, vcache, BN_KV_F32, y, 0, pos, T, heads, kv_heads, context, head_dim, from,
              to);
}

//@ attention_f16 : attention
BN_INLINE void attention_f16(const float *q, const uint16_t *kcache, const uint16_t *vcache,
                             float *y, int pos, int T, int heads, int kv_heads, int context,
                             int head_dim, int from, int to)
{
    attention(q, kcache, vcache, BN_KV_F16, y, 0, pos, T, heads, kv_heads, context, head_dim, from,
              to);
}

//@ attention_kv8 : attention
BN_INLINE void attention_kv8(const float *q, const uint8_t *kcache, const uint8_t *vcache, float *y,
                             int pos, int T, int heads, int kv_heads, int context, int head_dim,
                             int from, int to)
{
    attention(q, kcache, vcache, BN_KV_I8, y, 0, pos, T, heads, kv_heads, context, head_dim, from,
              to);
}

//@ window
/* How many of T tokens from pos on see every position behind them: those before `window`, or all in
 * the layers that see everything. A layer's number, from 1, is one of those if `every` divides it. */
BN_INLINE int window_whole(int pos, int T, int window, int every, int layer)
{
    const int left = window - pos;
    if ((layer + 1) % every == 0 || left >= T)
        return T;
    return left > 0 ? left : 0;
}

//@ window_attention : attention window
/* attention, of the last `window` positions alone where the layer is none that sees everything. */
BN_INLINE void window_attention(const float *q, const void *kcache, const void *vcache, int format,
                                float *y, int pos, int T, int heads, int kv_heads, int context,
                                int head_dim, int window, int whole, int from, int to)
{
    const size_t next = (size_t)heads * (size_t)head_dim;

    if (whole > 0)
        attention(q, kcache, vcache, format, y, 0, pos, whole, heads, kv_heads, context, head_dim,
                  from, to);
    for (int t = whole; t < T; t++)
        attention(q + (size_t)t * next, kcache, vcache, format, y + (size_t)t * next,
                  pos + t + 1 - window, pos + t, 1, heads, kv_heads, context, head_dim, from, to);
}

//@ window_f32 : window_attention
BN_INLINE void window_f32(const float *q, const float *kcache, const float *vcache, float *y,
                          int pos, int T, int heads, int kv_heads, int context, int head_dim,
                          int window, int every, int layer, int from, int to)
{
    window_attention(q, kcache, vcache, BN_KV_F32, y, pos, T, heads, kv_heads, context, head_dim,
                     window, window_whole(pos, T, window, every, layer), from, to);
}

//@ window_f16 : window_attention
BN_INLINE void window_f16(const float *q, const uint16_t *kcache, const uint16_t *vcache, float *y,
                          int pos, int T, int heads, int kv_heads, int context, int head_dim,
                          int window, int every, int layer, int from, int to)
{
    window_attention(q, kcache, vcache, BN_KV_F16, y, pos, T, heads, kv_heads, context, head_dim,
                     window, window_whole(pos, T, window, every, layer), from, to);
}

//@ window_kv8 : window_attention
BN_INLINE void window_kv8(const float *q, const uint8_t *kcache, const uint8_t *vcache, float *y,
                          int pos, int T, int heads, int kv_heads, int context, int head_dim,
                          int window, int every, int layer, int from, int to)
{
    window_attention(q, kcache, vcache, BN_KV_I8, y, pos, T, heads, kv_heads, context, head_dim,
                     window, window_whole(pos, T, window, every, layer), from, to);
}
