/* scalar_kv.c: the KV cache and attention over it, in plain C; f32 and f16 rows.
 *
 *   cache   [groups x context x head_dim]: group 0: position 0, position 1 ... | group 1: ...
 *
 * The caller's positions fit the context. A unit of work is a head of the op's first operand: of
 * the keys or values to be stored, or of the queries.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#define BN_KERNELS_SCALAR_KV /* avx2_kv.c leans on chunks of this file */

//@ kv_formats
/* What a cache holds. */
enum { BN_KV_F32, BN_KV_F16, BN_KV_I8 };

//@ kv_row
/* Where head g of token t lies among [T x groups x head_dim] values. */
BN_INLINE size_t kv_row(int t, int groups, int g, int head_dim)
{
    return ((size_t)t * (size_t)groups + (size_t)g) * (size_t)head_dim;
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
/* cache[g][pos + t] = x[t][g]; x [T x groups x head_dim]. */
BN_INLINE void store_f32(const float *x, float *cache, int pos, int T, int groups, int context,
                         int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            memcpy(cache + kv_row(g, context, pos + t, head_dim),
                   x + kv_row(t, groups, g, head_dim), (size_t)head_dim * sizeof *x);
}

//@ store_f16 : kv_row f32_to_f16
BN_INLINE void store_f16(const float *x, uint16_t *cache, int pos, int T, int groups, int context,
                         int head_dim, int from, int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, groups, g, head_dim);
            uint16_t *out = cache + kv_row(g, context, pos + t, head_dim);
            for (int i = 0; i < head_dim; i++)
                out[i] = f32_to_f16(in[i]);
        }
}

//@ rope_store_f32 : kv_row rope_head
/* rope, then store: table [T x rot], the rest as in store. */
BN_INLINE void rope_store_f32(const float *x, const float *table, float *cache, int pos, int T,
                              int groups, int context, int head_dim, int rot, int mode, int from,
                              int to)
{
    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++)
            rope_head(x + kv_row(t, groups, g, head_dim), table + (size_t)t * (size_t)rot,
                      cache + kv_row(g, context, pos + t, head_dim), head_dim, rot, mode);
}

//@ rope_store_f16 : kv_row rope_head f32_to_f16
BN_INLINE void rope_store_f16(const float *x, const float *table, uint16_t *cache, int pos, int T,
                              int groups, int context, int head_dim, int rot, int mode, int from,
                              int to)
{
    const int half = rot / 2, step = mode == BN_NEOX ? 1 : 2, apart = mode == BN_NEOX ? half : 1;

    for (int g = from; g < to; g++)
        for (int t = 0; t < T; t++) {
            const float *in = x + kv_row(t, groups, g, head_dim);
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

//@ attend : kv_formats load_f32 load_f16 dot
/* One query over n positions: y = softmax(q k^T / sqrt(head_dim)) v; q, y [head_dim],
 * k, v [n x head_dim]. Blocks of 32 positions with a running maximum `top`: when it rises, what
 * was summed shrinks by exp(old - new). The sums stay in y, rounded to f32 after each block. */
BN_INLINE void kv_load(const void *rows, int format, size_t at, float *buf, int n)
{
    if (format == BN_KV_F32)
        load_f32(rows, at, buf, n);
    else
        load_f16(rows, at, buf, n);
}

/* q . row j of k */
BN_INLINE double attend_score(const float *q, const void *k, int format, int j, int head_dim)
{
    double lane[8] = {0};
    float buf[32];

    for (int i = 0; i < head_dim; i += 32) {
        const int n = head_dim - i < 32 ? head_dim - i : 32;
        kv_load(k, format, (size_t)j * (size_t)head_dim + (size_t)i, buf, n);
        dot_lanes(lane, q + i, buf, n);
    }
    return dot_sum(lane);
}

/* y = y * shrink + sum_j p[j] row at + j of v; the first block (at 0) ignores y. */
BN_INLINE void attend_values(const float *p, const void *v, int format, float shrink, float *y,
                             int at, int m, int head_dim)
{
    for (int i = 0; i < head_dim; i += 8) {
        const int n = head_dim - i < 8 ? head_dim - i : 8;
        double lane[8];
        float row[8];
        for (int c = 0; c < n; c++)
            lane[c] = at > 0 ? (double)y[i + c] * (double)shrink : 0.0;
        for (int j = 0; j < m; j++) {
            kv_load(v, format, (size_t)(at + j) * (size_t)head_dim + (size_t)i, row, n);
            for (int c = 0; c < n; c++)
                lane[c] += (double)p[j] * (double)row[c];
        }
        for (int c = 0; c < n; c++)
            y[i + c] = (float)lane[c];
    }
}

BN_INLINE void attend(const float *q, const void *k, const void *v, int format, float *y, int n,
                      int head_dim)
{
    const double unit = 1.0 / sqrt((double)head_dim);
    float top = -INFINITY, total = 0.0f, p[32];

    for (int at = 0; at < n; at += 32) {
        const int m = n - at < 32 ? n - at : 32;
        const float before = top;
        double sum = 0.0;
        float shrink;

        for (int j = 0; j < m; j++) {
            p[j] = (float)(attend_score(q, k, format, at + j, head_dim) * unit);
            top = p[j] > top ? p[j] : top;
        }
        for (int j = 0; j < m; j++) {
            p[j] = expf(p[j] - top);
            sum += (double)p[j];
        }
        shrink = at > 0 ? expf(before - top) : 0.0f;
        total = (float)((double)total * (double)shrink + sum);
        attend_values(p, v, format, shrink, y, at, m, head_dim);
    }
    for (int i = 0; i < head_dim; i++)
        y[i] /= total;
}

//@ attention_f32 : attend kv_row
/* Token t attends to positions 0 .. pos + t; q, y [T x heads x head_dim], apart; head h reads
 * group h / (heads / groups) of the caches. */
BN_INLINE void attention_f32(const float *q, const float *kcache, const float *vcache, float *y,
                             int pos, int T, int heads, int groups, int context, int head_dim,
                             int from, int to)
{
    for (int h = from; h < to; h++)
        for (int t = 0; t < T; t++) {
            const size_t cache = kv_row(h / (heads / groups), context, 0, head_dim);
            const size_t at = kv_row(t, heads, h, head_dim);
            attend(q + at, kcache + cache, vcache + cache, BN_KV_F32, y + at, pos + t + 1,
                   head_dim);
        }
}

//@ attention_f16 : attend kv_row
BN_INLINE void attention_f16(const float *q, const uint16_t *kcache, const uint16_t *vcache,
                             float *y, int pos, int T, int heads, int groups, int context,
                             int head_dim, int from, int to)
{
    for (int h = from; h < to; h++)
        for (int t = 0; t < T; t++) {
            const size_t cache = kv_row(h / (heads / groups), context, 0, head_dim);
            const size_t at = kv_row(t, heads, h, head_dim);
            attend(q + at, kcache + cache, vcache + cache, BN_KV_F16, y + at, pos + t + 1,
                   head_dim);
        }
}
