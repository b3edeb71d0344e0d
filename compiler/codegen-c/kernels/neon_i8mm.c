/* neon_i8mm.c: 2-bit ternary weights (Q2R4) by many tokens of int8 activations, Armv8.6 with
 * integer matrix products (smmla: 2 rows by 8 k by 2 tokens).
 *
 * One idea: 256 k of 16 tokens are laid out once as smmla wants them, and serve 64 rows of weights,
 * whose sums wait in L1. A few tokens alone go by dot products.
 */
#ifndef BN_KERNELS_NEON_DOTPROD
#include "neon_dotprod.c"
#endif

//@ neon_mmla
/* sum[2 i + j] + codes[8 i ..] . x[8 j ..] over 8 k. As dot4. */
BN_INLINE int32x4_t mmla(int32x4_t sum, uint8x16_t codes, int8x16_t x)
{
#ifdef __clang__
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(codes), "w"(x));
    return sum;
#else
    return vmmlaq_s32(sum, vreinterpretq_s8_u8(codes), x);
#endif
}

//@ q2_run_i8mm : q2_sums_dotprod neon_mmla
/* A panel is `steps` (1 or 2) steps of 2 * pairs tokens, in the order in which weights unpack:
 *
 *   half of a step | plane of codes | 8 k of the half's 16 | pair | token 2 i: 8 k | token 2 i + 1
 *
 * that is: half h, plane p, eight e begin at k = 32 p + 16 h + 8 e. Tokens past the end are zeros.
 * bias[pair]: the sums of q of its tokens, twice, to be taken off. */
enum { Q2_STEPS = 2, Q2_PAIRS = 8, Q2_GROUP = 16 };
typedef struct Q2Panel {
    int8_t x[Q2_STEPS * 128 * 2 * Q2_PAIRS];
    int32x4_t bias[Q2_PAIRS];
} Q2Panel;

BN_INLINE void q2_panel(Q2Panel *panel, const int8_t *q, size_t stride, int steps, int toks,
                        int pairs)
{
    const uint8x16_t ones = vdupq_n_u8(1);

    for (int i = 0; i < pairs; i++) {
        const int8_t *a = q + (size_t)(2 * i) * stride;
        int8_t *x = panel->x + 16 * i;
        int32x4_t bias = vdupq_n_s32(0);
        for (int j = 0; j < 8 * steps; j++, x += 32 * pairs) {
            const int at = j / 8 * 128 + j % 4 * 32 + j / 4 % 2 * 16;
            int64x2_t u = vdupq_n_s64(0), v = u;
            if (2 * i < toks)
                u = vreinterpretq_s64_s8(vld1q_s8(a + at));
            if (2 * i + 1 < toks)
                v = vreinterpretq_s64_s8(vld1q_s8(a + stride + at));
            vst1q_s8(x, vreinterpretq_s8_s64(vtrn1q_s64(u, v)));
            vst1q_s8(x + 16 * pairs, vreinterpretq_s8_s64(vtrn2q_s64(u, v)));
            bias = mmla(bias, ones, vreinterpretq_s8_s64(vtrn1q_s64(u, v)));
            bias = mmla(bias, ones, vreinterpretq_s8_s64(vtrn2q_s64(u, v)));
        }
        panel->bias[i] = bias;
    }
}

BN_INLINE uint8x16_t q2_eights(const uint8_t *a, const uint8_t *b, int odd)
{
    const uint64x2_t u = vreinterpretq_u64_u8(vld1q_u8(a)), v = vreinterpretq_u64_u8(vld1q_u8(b));
    return vreinterpretq_u8_u64(odd ? vtrn2q_u64(u, v) : vtrn1q_u64(u, v));
}

/* One block of 4 rows by a panel: sum[i] gets rows 0 and 1 of pair i, sum[pairs + i] rows 2 and 3;
 * lanes: | first row: token 2 i, 2 i + 1 | second row: token 2 i, 2 i + 1 |. */
BN_INLINE void q2_block(const uint8_t *w, const Q2Panel *panel, int steps, int pairs,
                        int32x4_t *sum)
{
    const uint8x16_t m3 = vdupq_n_u8(3);
    const int8_t *x = panel->x;
    int32x4_t a[Q2_PAIRS], b[Q2_PAIRS];

#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) {
        a[i] = vsubq_s32(sum[i], panel->bias[i]);
        b[i] = vsubq_s32(sum[pairs + i], panel->bias[i]);
    }
    for (int j = 0; j < 2 * steps; j++, w += j % 2 ? 16 : 112) {
        uint8x16_t a0 = q2_eights(w, w + 32, 0), a1 = q2_eights(w, w + 32, 1);
        uint8x16_t b0 = q2_eights(w + 64, w + 96, 0), b1 = q2_eights(w + 64, w + 96, 1);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++, x += 32 * pairs) {
            const uint8x16_t c = vandq_u8(a0, m3), d = vandq_u8(b0, m3);
            const uint8x16_t e = vandq_u8(a1, m3), f = vandq_u8(b1, m3);
#pragma GCC unroll 8
            for (int i = 0; i < pairs; i++) {
                const int8x16_t v = vld1q_s8(x + 16 * i);
                a[i] = mmla(a[i], c, v);
                b[i] = mmla(b[i], d, v);
            }
#pragma GCC unroll 8
            for (int i = 0; i < pairs; i++) {
                const int8x16_t v = vld1q_s8(x + 16 * (pairs + i));
                a[i] = mmla(a[i], e, v);
                b[i] = mmla(b[i], f, v);
            }
            a0 = vshrq_n_u8(a0, 2);
            a1 = vshrq_n_u8(a1, 2);
            b0 = vshrq_n_u8(b0, 2);
            b1 = vshrq_n_u8(b1, 2);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < pairs; i++) {
        sum[i] = a[i];
        sum[pairs + i] = b[i];
    }
}

/* The sums of four rows for token t of q2_block. */
BN_INLINE int32x4_t q2_token(const int32x4_t *sum, int pairs, int t)
{
    const int32x4_t a = sum[t / 2], b = sum[pairs + t / 2];
    return t % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
}

/* Blocks [from, to), at most Q2_GROUP, by tokens [t, t + toks), at most 2 * pairs. */
BN_INLINE void q2_group(const Q2 *m, int t, int toks, int from, int to, int pairs)
{
    const size_t stride = BN_QPAD((size_t)m->k);
    const int all = BN_Q2_STEPS(m->k);
    Q2Panel panel;
    int32x4_t sum[Q2_GROUP][2 * Q2_PAIRS];
    Q2Value wide[Q2_GROUP][2 * Q2_PAIRS]; /* blocked: by token */

    for (int u = 0; u < to - from; u++)
        for (int i = 0; i < 2 * pairs; i++) {
            sum[u][i] = vdupq_n_s32(0);
            wide[u][i].low = wide[u][i].high = vdupq_n_f64(0.0);
        }
    for (int j = 0; j < all; j += Q2_STEPS) {
        const int steps = all - j < Q2_STEPS ? all - j : Q2_STEPS;
        q2_panel(&panel, m->q + (size_t)t * stride + 128 * (size_t)j, stride, steps, toks, pairs);
        for (int u = from; u < to; u++) {
            int32x4_t *s = sum[u - from];
            q2_block(m->w + (size_t)u * stride + 128 * (size_t)j, &panel, steps, pairs, s);
            if (!m->blocked)
                continue;
            for (int i = 0; i < toks; i++)
                wide[u - from][i] = q2_more(wide[u - from][i], q2_token(s, pairs, i),
                                            m->c + 4 * (size_t)u * BN_Q2_SCALES((size_t)m->k),
                                            j / 2, m->n - 4 * u, m->k);
            for (int i = 0; i < 2 * pairs; i++)
                s[i] = vdupq_n_s32(0);
        }
    }
    for (int i = 0; i < toks; i++)
        for (int u = from; u < to; u++)
            q2_put(m, u, t + i,
                   m->blocked
                       ? q2_over(wide[u - from][i], m->s[t + i])
                       : q2_scaled(q2_token(sum[u - from], pairs, i), m->c[0] / m->s[t + i]));
}

/* Blocks [from, to) of 4 rows by T tokens: by 16, the last 4 to 8 by 8, fewer by dot products. */
BN_INLINE void q2_run_i8mm(const Q2 *m, int T, int from, int to)
{
    int t = 0;

    for (; T - t >= 4; t += 2 * Q2_PAIRS) {
        const int toks = T - t < 2 * Q2_PAIRS ? T - t : 2 * Q2_PAIRS;
        for (int u = from; u < to; u += Q2_GROUP) {
            const int end = to - u < Q2_GROUP ? to : u + Q2_GROUP;
            if (toks > Q2_PAIRS)
                q2_group(m, t, toks, u, end, Q2_PAIRS);
            else
                q2_group(m, t, toks, u, end, Q2_PAIRS / 2);
        }
    }
    if (t < T)
        q2_run(m, t, T, from, to, q2_sums_dotprod);
}

//@ tmatmul_q2_i8mm : q2_run_i8mm
/* Bit-exact with scalar.c: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_i8mm(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                               const float *res, float *y, int T, int n, int k, int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 0};
    q2_run_i8mm(&m, T, from, to);
}

//@ tmatmul_q2b_i8mm : q2_run_i8mm
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_i8mm(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                const float *res, float *y, int T, int n, int k, int from, int to)
{
    const Q2 m = {w, c, q, s, res, y, Q2_ADD, n, k, 1};
    q2_run_i8mm(&m, T, from, to);
}

//@ tglu_q2_i8mm : q2_run_i8mm
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2_i8mm(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                            const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                            int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 0};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 0};
    q2_run_i8mm(&gate, T, from, to);
    q2_run_i8mm(&up, T, from, to);
}

//@ tglu_q2b_i8mm : q2_run_i8mm
BN_INLINE void tglu_q2b_i8mm(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                             const int8_t *q, const float *s, float *y, int act, int T, int n,
                             int k, int from, int to)
{
    const Q2 gate = {wg, cg, q, s, NULL, y, Q2_GATE, n, k, 1};
    const Q2 up = {wu, cu, q, s, y, y, Q2_ACT + act, n, k, 1};
    q2_run_i8mm(&gate, T, from, to);
    q2_run_i8mm(&up, T, from, to);
}
