/* scalar_head.c: products with low-bit copies of a float matrix, and the exact top-k by upper bounds,
 * which finds the largest logits of the lm_head by such a copy and never changes one.
 *
 * One idea: a copy in few bits costs few bytes, and how far it can be off is known. `h6` (pictured in
 * compiler/ir/lowbit.c) keeps with each row the norms of what it lost; screen_X reads 4 bits of every
 * row, 2 more of those that could still be among the top k, and computes only what is left as
 * linear_X does.
 */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#define BN_KERNELS_SCALAR_HEAD /* avx2_head.c uses chunks of this file */

//@ lowbit_layout : qpad
/* Columns are padded to 128, rows to 8. Rows of 4 bits come first, then, for h6, those of 2 bits.
 * row4: bytes of a row of 4 bits; of 2 bits it has half of them.
 *
 * Twice what a code stands for is 2 code - odd, in steps of half the row's scale: of 4 bits and, as
 * the upper bits of 6, of 4 with two unknown ones, and of 6. */
enum { BN_LOW4_ODD = 15, BN_LOW6_ODD = 63 };

//@ lowbit_row2 : lowbit_layout
/* Rows of a matrix, and the 2 bits of row r. */
#define BN_LOWBIT_ROWS(n) (((size_t)(n) + 7) / 8 * 8)
BN_INLINE const uint8_t *lowbit_row2(const uint8_t *w, int n, size_t row4, int r)
{
    return w + BN_LOWBIT_ROWS(n) * row4 + (size_t)r * (row4 / 2);
}

//@ lowbit_sum4 : lowbit_layout
/* Sum of codes by activations of one row; w4: its bytes, q [wide], wide a multiple of 128. */
BN_INLINE int lowbit_sum4(const uint8_t *w4, const int8_t *q, int wide)
{
    int sum = 0;
    for (int i = 0; i < wide; i += 64, w4 += 32)
        for (int j = 0; j < 32; j++)
            sum += (w4[j] & 15) * q[i + j] + (w4[j] >> 4) * q[i + 32 + j];
    return sum;
}

//@ lowbit_sum2 : lowbit_layout
/* The same of its 2 bits. */
BN_INLINE int lowbit_sum2(const uint8_t *w2, const int8_t *q, int wide)
{
    int sum = 0;
    for (int i = 0; i < wide; i += 128, w2 += 32)
        for (int j = 0; j < 32; j++)
            for (int p = 0; p < 4; p++)
                sum += (w2[j] >> 2 * p & 3) * q[i + 32 * p + j];
    return sum;
}

//@ lowbit_sum8 : qpad
/* The same of codes -127 .. 127, a byte each. */
BN_INLINE int lowbit_sum8(const uint8_t *w8, const int8_t *q, int wide)
{
    int sum = 0;
    for (int i = 0; i < wide; i++)
        sum += (int8_t)w8[i] * q[i];
    return sum;
}

//@ lowbit_total
/* Sum of activations. */
BN_INLINE int lowbit_total(const int8_t *q, int wide)
{
    int sum = 0;
    for (int i = 0; i < wide; i++)
        sum += q[i];
    return sum;
}

//@ lowbit_logit
/* The logit of twice a sum: one order of rounding for every target. */
BN_INLINE float lowbit_logit(int twice, float scale, float s)
{
    return (float)((double)twice * (0.5 * (double)scale / (double)s));
}

//@ qlinear_h8 : lowbit_sum8 lowbit_logit
/* y[t][n] = sum_k w[n][k] q[t][k] / s[t], w in few bits with a scale a row; q [T x BN_QPAD(K)],
 * y [T x N]. A unit of the share is 8 rows. h8: codes -127 .. 127, a row of BN_QPAD(K) bytes. */
BN_INLINE void qlinear_h8(const uint8_t *w, const float *scale, const int8_t *q, const float *s,
                          float *y, int T, int n, int k, int from, int to)
{
    const int wide = BN_QPAD(k), end = 8 * to < n ? 8 * to : n;
    for (int r = 8 * from; r < end; r++)
        for (int t = 0; t < T; t++)
            y[(size_t)t * (size_t)n + (size_t)r] = lowbit_logit(
                2 * lowbit_sum8(w + (size_t)r * (size_t)wide, q + (size_t)t * (size_t)wide, wide),
                scale[r], s[t]);
}

//@ qlinear_h4 : lowbit_sum4 lowbit_total lowbit_logit
BN_INLINE void qlinear_h4(const uint8_t *w, const float *scale, const int8_t *q, const float *s,
                          float *y, int T, int n, int k, int from, int to)
{
    const int wide = BN_QPAD(k), end = 8 * to < n ? 8 * to : n;
    for (int t = 0; t < T; t++) {
        const int8_t *qt = q + (size_t)t * (size_t)wide;
        const int total = lowbit_total(qt, wide);
        for (int r = 8 * from; r < end; r++) {
            int sum = lowbit_sum4(w + (size_t)r * (size_t)(wide / 2), qt, wide);
            y[(size_t)t * (size_t)n + (size_t)r] =
                lowbit_logit(2 * sum - BN_LOW4_ODD * total, scale[r], s[t]);
        }
    }
}

//@ qlinear_h6 : lowbit_sum4 lowbit_sum2 lowbit_row2 lowbit_total lowbit_logit
/* The scale of row r is number r % 8 of the 40 numbers that 8 rows have. */
BN_INLINE void qlinear_h6(const uint8_t *w, const float *about, const int8_t *q, const float *s,
                          float *y, int T, int n, int k, int from, int to)
{
    const int wide = BN_QPAD(k), end = 8 * to < n ? 8 * to : n;
    const size_t row4 = (size_t)wide / 2;
    for (int t = 0; t < T; t++) {
        const int8_t *qt = q + (size_t)t * (size_t)wide;
        const int total = lowbit_total(qt, wide);
        for (int r = 8 * from; r < end; r++) {
            int sum = 4 * lowbit_sum4(w + (size_t)r * row4, qt, wide) +
                      lowbit_sum2(lowbit_row2(w, n, row4, r), qt, wide);
            y[(size_t)t * (size_t)n + (size_t)r] =
                lowbit_logit(2 * sum - BN_LOW6_ODD * total, about[r / 8 * 40 + r % 8], s[t]);
        }
    }
}

//@ screen : lowbit_layout
/* The screened head: exact top-k by upper bounds. For every token r whose logit can be among the
 * `topk` largest it writes y[r] = L, bit-exact with linear_X, and -INFINITY for others. Why none is
 * missed:
 *
 *   w  row r, real numbers; x  the hidden vector; L  what linear_X makes of w . x in f32
 *   v  what the row's codes stand for, e = w - v; z = q u (u = 1 / s as f32), or z = q u + p t with
 *      a second int8 vector p and its unit t for what q u lacks; d = x - z
 *   norms |.| are Euclidean; b = 2^-24 is the unit roundoff of f32
 *
 * (1) w.x - v.z = (w - v).x + v.(x - z) = e.x + v.d, so |w.x - v.z| <= |e| |x| + |v| |d|, by
 *     Cauchy and Schwarz.
 * (2) linear_X rounds each product and each sum at most once, in any order, with or without fused
 *     multiply-adds, and 8 times more where it joins lanes or scales blocks: with
 *     g = (K + 8) b / (1 - (K + 8) b),
 *     |L - w.x| <= g sum |w_i x_i| <= g |w| |x| <= g (|v| + |e|) |x|. What underflows adds less
 *     than (K + 8) 2^-149. Nothing overflows while |w| and |x| are at most 2^60.
 * (3) v.z = c/2 (u m + t n) for the row's scale c and integers m, n < 2^31, exact here. Its f32 value
 *     a, of at most 5 roundings on the way of each term, has
 *     |a - v.z| <= 6 b |v| (|q u| + |p t|) <= 6 b |v| (|x| + 3 |d1|), where d1 = x - q u and p t is
 *     no longer than 2 |d1|; what underflows adds less than 2^-118. Adding the bound rounds once
 *     more: 2 b of the same and of the bound.
 * Together, L <= a + |e| A + |v| B + 2^-100 with
 *     A = (1 + g) |x| (1 + 32 b),  B = (|d| + g |x| + 8 b (|x| + 3 |d1|)) (1 + 32 b),
 *     where the factor 1 + 32 b pays for computing the bound in f32: at most 5 roundings of 2 b.
 *
 * |e| and |v| are stored rounded up, for the upper 4 bits and for all 6; INFINITY where a row holds
 * NaN, or has a norm above 2^60. |x| and |d| are summed in double and rounded up.
 * A comparison with NaN is false, and then the row is kept.
 *
 * A thread's threshold is the least of the `topk` largest L that it has computed: a token below it has
 * `topk` others above, and is not among the top k. Equal ones are kept: there the lesser id wins.
 * Bytes are read as they are needed: 4 bits of a row, 2 more, p, the row itself. */
typedef struct bn_screen {
    float a, b, fine; /* A; B for z = q u and for z = q u + p t */
    float unit, less; /* u, t */
    int total, rest;  /* sums of q and p */
    int n, most;      /* of heap, and wanted */
    /* The largest L so far; the least of them first, once there are `most`. */
    float heap[BN_TOPK_MAX];
} bn_screen; /* and behind it p [BN_QPAD(K)] */

BN_INLINE int8_t *screen_p(const bn_screen *h)
{
    return (int8_t *)(uintptr_t)(h + 1);
}

/* As f32, rounded up; 2^-100 keeps clear of numbers that f32 rounds coarsely. */
BN_INLINE float screen_up(double v)
{
    return (float)(v * (1.0 + 1.0 / 4194304.0) + 7.8886090522101181e-31);
}

/* p, t: what q u lacks of x, in steps of its largest / 127; no step where there is next to nothing. */
BN_INLINE void screen_split(bn_screen *h, const float *x, const int8_t *q, int k)
{
    int8_t *p = screen_p(h);
    double most = 0.0;
    for (int i = 0; i < k; i++) {
        double d = fabs((double)x[i] - q[i] * (double)h->unit);
        most = d > most ? d : most;
    }
    h->less = most >= 1e-15 ? (float)(most / 127.0) : 0.0f;
    const double steps = h->less > 0.0f ? 1.0 / (double)h->less : 0.0;
    for (int i = 0; i < k; i++) {
        double d = ((double)x[i] - q[i] * (double)h->unit) * steps;
        p[i] = (int8_t)(d > -127.0 ? (d < 127.0 ? (d < 0.0 ? d - 0.5 : d + 0.5) : 127.0) : -127.0);
    }
    memset(p + k, 0, (size_t)(BN_QPAD(k) - k));
}

BN_INLINE void screen_start(bn_screen *h, const float *x, const int8_t *q, float s, int k, int topk)
{
    const int8_t *p = screen_p(h);
    const double b = 1.0 / 16777216.0, g = (k + 8) * b / (1.0 - (k + 8) * b);
    double xx = 0.0, dd = 0.0, ff = 0.0;
    h->n = 0;
    h->most = topk;
    h->unit = 1.0f / s;
    h->total = h->rest = 0;
    screen_split(h, x, q, k);
    for (int i = 0; i < k; i++) {
        double v = (double)x[i], d = v - q[i] * (double)h->unit, f = d - p[i] * (double)h->less;
        xx += v * v;
        dd += d * d;
        ff += f * f;
        h->total += q[i];
        h->rest += p[i];
    }
    /* square roots and sums of K + 1 terms in double are off by less than 2^-30; f of less than
     * 2^-51 of x besides, which 8 b |x| pays */
    xx = sqrt(xx) * (1.0 + 1.0 / 1073741824.0);
    dd = sqrt(dd) * (1.0 + 1.0 / 1073741824.0);
    ff = sqrt(ff) * (1.0 + 1.0 / 1073741824.0);
    if (!(xx <= 1152921504606846976.0))
        xx = (double)INFINITY;
    const double slack = g * xx + 8 * b * (xx + 3 * dd);
    h->a = screen_up((1.0 + g) * xx * (1.0 + 32 * b));
    h->b = screen_up((dd + slack) * (1.0 + 32 * b));
    h->fine = screen_up((ff + slack) * (1.0 + 32 * b));
}

/* A logit below this is not among the top k; -INFINITY until topk logits are computed. */
BN_INLINE float screen_least(const bn_screen *h)
{
    return h->n < h->most ? -INFINITY : h->heap[0];
}

/* Clamps to finite numbers, NaN to the smallest, which is how the sampler orders logits. */
BN_INLINE void screen_take(bn_screen *h, float logit)
{
    const float most = 3.40282346638528859812e+38f;
    float v = logit > -most ? (logit < most ? logit : most) : -most;
    int i = h->n;
    if (h->n < h->most) {
        for (h->n++; i > 0 && h->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
            h->heap[i] = h->heap[(i - 1) / 2];
        h->heap[i] = v;
        return;
    }
    if (!(v > h->heap[0]))
        return;
    i = 0;
    for (int c; (c = 2 * i + 1) < h->n; i = c) {
        c += c + 1 < h->n && h->heap[c + 1] < h->heap[c];
        if (h->heap[c] >= v)
            break;
        h->heap[i] = h->heap[c];
    }
    h->heap[i] = v;
}

/* The bound of a row. twice, more: of q and of p, twice the sum with the codes less the odd part;
 * e, v: norms. */
BN_INLINE float screen_bound(const bn_screen *h, int twice, int more, float scale, float e, float v,
                             float b)
{
    float a = 0.5f * scale * (h->unit * (float)twice + h->less * (float)more);
    return a + (e * h->a + (v * b + 7.8886091e-31f));
}

/* of: the first of a row's five numbers, the next 8 further on; sum, rest: of its codes by q and p. */
BN_INLINE int screen_below(const bn_screen *h, int sum, int rest, const float *of)
{
    return screen_bound(h, 2 * sum - BN_LOW6_ODD * h->total, 2 * rest - BN_LOW6_ODD * h->rest,
                        of[0], of[24], of[32], h->fine) < screen_least(h);
}

//@ screen_rows : screen lowbit_sum4 lowbit_sum2 lowbit_row2
/* Returns whether row r has to be computed; about: the 40 numbers of its 8 rows, scale, |e| and |v|
 * of 4 bits, |e| and |v| of 6 bits, each of 8 rows. */
BN_INLINE int screen_keeps(const bn_screen *h, const uint8_t *w, const float *about,
                           const int8_t *q, int n, int wide, int r)
{
    const size_t row4 = (size_t)wide / 2;
    const uint8_t *w4 = w + (size_t)r * row4, *w2 = lowbit_row2(w, n, row4, r);
    const float *of = about + r / 8 * 40 + r % 8;
    int sum = 4 * lowbit_sum4(w4, q, wide);
    /* the middle of the four codes that two unknown bits leave: 1.5 above the lowest */
    if (screen_bound(h, 2 * sum + (3 - BN_LOW6_ODD) * h->total, 0, of[0], of[8], of[16], h->b) <
        screen_least(h))
        return 0;
    sum += lowbit_sum2(w2, q, wide);
    if (screen_bound(h, 2 * sum - BN_LOW6_ODD * h->total, 0, of[0], of[24], of[32], h->b) <
        screen_least(h))
        return 0;
    const int8_t *p = screen_p(h);
    return !screen_below(h, sum, 4 * lowbit_sum4(w4, p, wide) + lowbit_sum2(w2, p, wide), of);
}

#define BN_SCREEN_ROWS(linear)                                                                     \
    const int wide = BN_QPAD(k), end = 8 * to < n ? 8 * to : n;                                    \
    bn_screen *h = (bn_screen *)work;                                                              \
    if (first)                                                                                     \
        screen_start(h, x, q, s[0], k, topk);                                                      \
    for (int r = 8 * from; r < end; r++) {                                                         \
        y[r] = -INFINITY;                                                                          \
        if (screen_keeps(h, low, about, q, n, wide, r)) {                                          \
            linear(w, x, y, 1, n, k, r, r + 1);                                                    \
            screen_take(h, y[r]);                                                                  \
        }                                                                                          \
    }

//@ screen_f32 : screen_rows linear_f32
/* w [N x K], low: its copy in h6, about: the copy's numbers; x [K], q [BN_QPAD(K)] and s [1] what
 * quant makes of it; y [N]. A unit of the share is 8 rows; `first`: this is the thread's first call
 * for this op; work: a bn_screen, this thread's, which lasts from call to call. */
BN_INLINE void screen_f32(const void *w, const uint8_t *low, const float *about, const float *x,
                          const int8_t *q, const float *s, float *y, int topk, int first, int n,
                          int k, int from, int to, void *work){BN_SCREEN_ROWS(linear_f32)}

//@ screen_f16 : screen_rows linear_f16
BN_INLINE void screen_f16(const void *w, const uint8_t *low, const float *about, const float *x,
                          const int8_t *q, const float *s, float *y, int topk, int first, int n,
                          int k, int from, int to, void *work){BN_SCREEN_ROWS(linear_f16)}

//@ screen_bf16 : screen_rows linear_bf16
BN_INLINE void screen_bf16(const void *w, const uint8_t *low, const float *about, const float *x,
                           const int8_t *q, const float *s, float *y, int topk, int first, int n,
                           int k, int from, int to, void *work){BN_SCREEN_ROWS(linear_bf16)}

//@ screen_q8_0 : screen_rows linear_q8_0
BN_INLINE void screen_q8_0(const void *w, const uint8_t *low, const float *about, const float *x,
                           const int8_t *q, const float *s, float *y, int topk, int first, int n,
                           int k, int from, int to, void *work)
{
    BN_SCREEN_ROWS(linear_q8_0)
}
