/* scalar_t3.c: ternary weights by threes (T3R32) by int8 activations, in plain C: the reference,
 * and the tables that faster kernels look sums up in. All of scalar.c holds here. */
#ifndef BN_KERNELS_SCALAR
#include "scalar.c"
#endif
#define BN_KERNELS_SCALAR_T3 /* avx2_t3.c uses chunks of this file */

//@ t3_layout : qpad
/* T3R32, ternary weights w [N x K] by threes: three weights a, b, c of a row are a group, and the
 * number v = 9a + 3b + c in -13 .. 13. A block is 32 rows, a step is 24 k of a block, 8 groups, in
 * 160 bytes; byte r of a plane is row r. Rows past n and k past K are zero weights (v = 0).
 *
 *   block     | rows 0-31: step 0, step 1, ... | rows 32-63: ... |
 *   step      | plane 0 | plane 1 | plane 2 | plane 3 | signs |         32 bytes each
 *   plane j   | 7-4: |v| of group 2j + 1 | 3-0: |v| of group 2j |
 *   signs     | 7: v < 0 in group 0 | ... | 0: v < 0 in group 7 |
 *
 * c: | f32 scale | 60 bytes | int32 loss [N up to 32] |, loss being 33 times the groups of the row
 * with v < 0: what is missing where a kernel negates sums by inverting their two halves. */
#define BN_T3_STEPS(k) (((k) + 23) / 24)
#define BN_T3_BLOCK(k) (BN_T3_STEPS((size_t)(k)) * 160) /* bytes */

/* One output before the residual: bit-exact with q2_value of scalar.c. */
BN_INLINE double t3_value(int32_t sum, const float *c, float s)
{
    return (double)sum * (double)(c[0] / s);
}

//@ lut3 : t3_layout
/* The sums a q[3g] + b q[3g + 1] + c q[3g + 2] of each group g of a token, for v = 9a + 3b + c from
 * 0 to 13, in two halves that fit a byte table each; q [T x BN_QPAD(K)], t [T x steps * 256].
 *
 *   group g   | lo of v = 0 .. 13, 0, 0 | hi of v = 0 .. 13, 0, 0 |     16 bytes each
 *
 * The sum, within -384 .. 384, is 32 hi + lo with lo in -16 .. 15. */
BN_INLINE void lut3_group(const int8_t *x, int8_t *t)
{
    for (int v = 0; v < 16; v++) {
        const int a = (v + 4) / 9, b = (v - 9 * a + 4) / 3 - 1, c = v - 9 * a - 3 * b;
        const int sum = v < 14 ? a * x[0] + b * x[1] + c * x[2] : 0;
        const int hi = (sum + 400) / 32 - 12; /* rounds down */
        t[v] = (int8_t)(sum - 32 * hi);
        t[16 + v] = (int8_t)hi;
    }
}

BN_INLINE void lut3(const int8_t *q, int8_t *t, int k, int from, int to)
{
    const int steps = BN_T3_STEPS(k);

    for (int i = from; i < to; i++) {
        const int8_t *row = q + (size_t)i * BN_QPAD((size_t)k);
        int8_t *out = t + (size_t)i * (size_t)steps * 256;
        for (int g = 0; g < 8 * steps; g++) {
            int8_t x[3];
            for (int j = 0; j < 3; j++)
                x[j] = (int8_t)(3 * g + j < k ? row[3 * g + j] : 0);
            lut3_group(x, out + 32 * g);
        }
    }
}

//@ t3_sums : t3_layout
/* sum[r] = sum_k w q of the 32 rows of one block, q [BN_QPAD(K)]. Exact for K < 2^24. */
BN_INLINE void t3_group(const uint8_t *plane, const uint8_t *signs, int g, const int *x,
                        int32_t *sum)
{
    for (int r = 0; r < 32; r++) {
        const int size = plane[r] >> g % 2 * 4 & 15;
        const int v = signs[r] >> (7 - g) & 1 ? -size : size;
        const int a = (v > 4) - (v < -4), rest = v - 9 * a;
        const int b = (rest > 1) - (rest < -1), c = rest - 3 * b;
        sum[r] += a * x[0] + b * x[1] + c * x[2];
    }
}

BN_INLINE void t3_sums(const uint8_t *w, const int8_t *q, int k, int32_t *sum)
{
    for (int r = 0; r < 32; r++)
        sum[r] = 0;
    for (int i = 0; i < k; i += 24, w += 160)
        for (int g = 0; g < 8; g++) {
            int x[3];
            for (int j = 0; j < 3; j++)
                x[j] = i + 3 * g + j < k ? q[i + 3 * g + j] : 0;
            t3_group(w + g / 2 * 32, w + 128, g, x, sum);
        }
}

//@ tmatmul_t3 : t3_sums
/* y[t][r] = (sum_k w[r][k] q[t][k]) * c[0] / s[t] (+ res[t][r]) over blocks [from, to) of 32 rows;
 * w T3R32 [N x K], q [T x BN_QPAD(K)], s [T], res NULL or [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_t3(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                          const float *res, float *y, int T, int n, int k, int from, int to)
{
    for (int u = from; u < to; u++)
        for (int t = 0; t < T; t++) {
            int32_t sum[32];
            t3_sums(w + (size_t)u * BN_T3_BLOCK(k), q + (size_t)t * BN_QPAD((size_t)k), k, sum);
            for (int r = 32 * u; r < 32 * u + 32 && r < n; r++) {
                const size_t at = (size_t)t * (size_t)n + (size_t)r;
                const double v = t3_value(sum[r % 32], c, s[t]);
                y[at] = (float)(v + (double)(res ? res[at] : 0.0f));
            }
        }
}

//@ tglu_t3 : t3_sums glu_act
/* y = act(gate) * up, both as tmatmul_t3 gives them; wg, wu T3R32 [N x K], y [T x N]. */
BN_INLINE void tglu_t3(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                       const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                       int from, int to)
{
    for (int u = from; u < to; u++)
        for (int t = 0; t < T; t++) {
            const int8_t *in = q + (size_t)t * BN_QPAD((size_t)k);
            int32_t gate[32], up[32];
            t3_sums(wg + (size_t)u * BN_T3_BLOCK(k), in, k, gate);
            t3_sums(wu + (size_t)u * BN_T3_BLOCK(k), in, k, up);
            for (int r = 32 * u; r < 32 * u + 32 && r < n; r++)
                y[(size_t)t * (size_t)n + (size_t)r] =
                    glu_act((float)t3_value(gate[r % 32], cg, s[t]),
                            (float)t3_value(up[r % 32], cu, s[t]), act);
        }
}
