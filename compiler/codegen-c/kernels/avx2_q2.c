/* avx2_q2.c: 2-bit ternary weights (Q2R4) by int8 activations, AVX2. */
#ifndef BN_KERNELS_AVX2
#include "avx2.c"
#endif
#define BN_KERNELS_AVX2_Q2 /* avx2_fr4.c uses chunks of this file */

//@ q2_value_avx2 : q2_layout out4
/* A core multiplies: codes(w, q, stride, steps, toks, sum) gives the sums of code * q, code = w +
 * 1, of the 4 rows of a block (w: its first step) by `toks` tokens (rows of q, `stride` bytes),
 * over `steps` steps: sum[t], lane r is row r. It takes 1, 4 or `tokens` (at most 16) at a time. */
enum { Q2_TOKENS = 16 };
typedef struct q2_core {
    void (*codes)(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                  __m128i *sum);
    int tokens;
} q2_core;

/* The sum of q over `steps` steps of one token, to be taken off. */
BN_INLINE int32_t q2_bias(const int8_t *q, int steps)
{
    const __m256i ones = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    __m128i a;

    for (int i = 0; i < 128 * steps; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, x), words));
    }
    a = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

/* Outputs of one block of 4 rows before the residual, bit-exact with q2_value of scalar.c. w is
 * the block; c its scales: c[0], or (blocked) the first scale of its first row, `rows` rows being
 * real; bias the sum of each token's q (unused if blocked). v[t]: lane r is row r for token t. */
BN_INLINE __m256d q2_scales(const float *c, int b, int rows, int k)
{
    const size_t next = BN_Q2_SCALES((size_t)k);
    float v[4];

    for (int r = 0; r < 4; r++)
        v[r] = r < rows ? c[(size_t)r * next + (size_t)b] : 0.0f;
    return _mm256_cvtps_pd(_mm_loadu_ps(v));
}

BN_INLINE void q2_values(const q2_core *core, const uint8_t *w, const float *c, const int8_t *q,
                         const float *s, const int32_t *bias, int rows, int k, int blocked,
                         int toks, __m256d *v)
{
    const size_t stride = BN_QPAD((size_t)k);
    const int steps = BN_Q2_STEPS(k);
    __m128i codes[Q2_TOKENS];

    if (!blocked) {
        core->codes(w, q, stride, steps, toks, codes);
        for (int t = 0; t < toks; t++)
            v[t] = out4_times(_mm_sub_epi32(codes[t], _mm_set1_epi32(bias[t])),
                              _mm256_set1_pd((double)(c[0] / s[t])));
        return;
    }
    for (int t = 0; t < toks; t++)
        v[t] = _mm256_setzero_pd();
    for (int j = 0; j < steps; j += 2) {
        const int part = steps - j < 2 ? steps - j : 2;
        const int8_t *x = q + (size_t)j * 128;
        const __m256d unit = q2_scales(c, j / 2, rows, k);
        core->codes(w + (size_t)j * 128, x, stride, part, toks, codes);
        for (int t = 0; t < toks; t++) {
            const int32_t off = q2_bias(x + (size_t)t * stride, part);
            const __m128i sum = _mm_sub_epi32(codes[t], _mm_set1_epi32(off));
            v[t] = _mm256_add_pd(v[t], out4_times(sum, unit));
        }
    }
    for (int t = 0; t < toks; t++)
        v[t] = _mm256_div_pd(v[t], _mm256_set1_pd((double)s[t]));
}

//@ q2_run_avx2 : q2_value_avx2 act4
/* One block of 4 rows by `toks` tokens. */
BN_INLINE void q2_tile(const q2_core *core, const uint8_t *w, const float *c, const uint8_t *wu,
                       const float *cu, const int8_t *q, const float *s, const int32_t *bias,
                       const float *res, float *y, int act, int n, int rows, int k, int blocked,
                       int toks)
{
    __m256d v[Q2_TOKENS], up[Q2_TOKENS];

    q2_values(core, w, c, q, s, bias, rows, k, blocked, toks, v);
    if (wu)
        q2_values(core, wu, cu, q, s, bias, rows, k, blocked, toks, up);
    for (int t = 0; t < toks; t++) {
        const size_t at = (size_t)t * (size_t)n;
        if (wu)
            out4_store(y + at, act4(v[t], up[t], act), rows);
        else
            out4(y + at, v[t], res ? res + at : NULL, rows);
    }
}

/* Blocks [from, to) of 4 rows: y = value + res without wu, else act(value) * value of wu. Tokens
 * go by 64, whose sums of q are kept, then (a block of weights stays in L1) by as many as
 * the core takes. */
BN_INLINE void q2_run(const q2_core *core, const uint8_t *w, const float *c, const uint8_t *wu,
                      const float *cu, const int8_t *q, const float *s, const float *res, float *y,
                      int act, int T, int n, int k, int from, int to, int blocked)
{
    const size_t stride = BN_QPAD((size_t)k), scales = blocked ? 4 * BN_Q2_SCALES((size_t)k) : 0;
    int32_t bias[64];

    for (int base = 0; base < T; base += 64) {
        const int end = T - base < 64 ? T : base + 64;
        for (int t = base; t < end; t++)
            bias[t - base] = blocked ? 0 : q2_bias(q + (size_t)t * stride, BN_Q2_STEPS(k));
        for (int u = from; u < to; u++) {
            const size_t block = (size_t)u * stride;
            const uint8_t *bw = w + block, *bu = wu ? wu + block : NULL;
            const float *unit = c + (size_t)u * scales, *uu = cu ? cu + (size_t)u * scales : NULL;
            const int rows = n - 4 * u < 4 ? n - 4 * u : 4;
            for (int t = base, toks; t < end; t += toks) {
                const size_t at = (size_t)t * (size_t)n + 4 * (size_t)u;
                toks = end - t >= core->tokens ? core->tokens : end - t >= 4 ? 4 : 1;
                q2_tile(core, bw, unit, bu, uu, q + (size_t)t * stride, s + t, bias + (t - base),
                        res ? res + at : NULL, y + at, act, n, rows, k, blocked, toks);
            }
        }
    }
}

//@ q2_core_avx2 : q2_run_avx2
/* Sums of code * q, code = w + 1, over `steps` steps of 128 k.
 *
 * A row's 32 bytes give four planes without unpacking to bytes of 0..2:
 *
 *   w & 3 -> k = i, codes 0 1 2          w & 12 -> k = 32 + i, codes 0 4 8
 *   w>>4 & 3 -> k = 64 + i, codes 0 1 2  w>>4 & 12 -> k = 96 + i, codes 0 4 8
 *
 * so `one` and `four` keep accumulators of their own, and 4 * one + four is 4 times the sum.
 * Exact: a vpmaddubsw pair of `four` is within 2 * 8 * [-128, 127] = [-2048, 2032]; 2 pairs a
 * step and 8 steps make [-32768, 32512], just inside int16; `one` needs a quarter of that. Then
 * both widen to int32, whose total 4 * 2 * 128 * K has room for K < 2^21. */
BN_INLINE __m128i q2_reduce(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_srai_epi32(_mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)),
                          2);
}

BN_INLINE __m256i q2_widen(__m256i sum, __m256i one, __m256i four)
{
    one = _mm256_madd_epi16(one, _mm256_set1_epi16(4));
    four = _mm256_madd_epi16(four, _mm256_set1_epi16(1));
    return _mm256_add_epi32(sum, _mm256_add_epi32(one, four));
}

/* The empty assembly below makes gcc 12 work row by row and keep what it has in registers; left
 * alone it reloads and spills, which costs a fifth of the speed. */
BN_INLINE __m256i q2_mad(__m256i sum, __m256i codes, const int8_t *q)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)q);
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
}

/* 4 rows (w: a block's step) by 1 token: lane r is row r. The prefetch, past the end of the last
 * block too, is worth 1.3x from memory. */
BN_INLINE __m128i q2_rows(const uint8_t *w, const int8_t *q, int steps)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + 8 < steps ? j + 8 : steps;
        __m256i one[4] = {zero, zero, zero, zero}, four[4] = {zero, zero, zero, zero};
        for (; j < end; j++, w += 128, q += 128) {
            _mm_prefetch((const char *)((uintptr_t)w + 4096), _MM_HINT_T0);
            _mm_prefetch((const char *)((uintptr_t)w + 4160), _MM_HINT_T0);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                __m256i v = _mm256_loadu_si256((const __m256i *)(w + 32 * r)), u;
                __asm__ volatile("" : "+x"(v));
                u = _mm256_srli_epi16(v, 4);
                one[r] = q2_mad(one[r], _mm256_and_si256(v, m3), q);
                four[r] = q2_mad(four[r], _mm256_and_si256(v, m12), q + 32);
                one[r] = q2_mad(one[r], _mm256_and_si256(u, m3), q + 64);
                four[r] = q2_mad(four[r], _mm256_and_si256(u, m12), q + 96);
                __asm__ volatile("" : "+x"(one[r]), "+x"(four[r]));
            }
        }
        for (int r = 0; r < 4; r++)
            sum[r] = q2_widen(sum[r], one[r], four[r]);
    }
    return q2_reduce(sum[0], sum[1], sum[2], sum[3]);
}

/* 1 row (w: its 32 bytes of a step) by 4 tokens (rows of q, `stride` bytes): lane t is token t. */
BN_INLINE __m128i q2_tokens(const uint8_t *w, const int8_t *q, size_t stride, int steps)
{
    const __m256i m3 = _mm256_set1_epi8(3), m12 = _mm256_set1_epi8(12);
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum[4] = {zero, zero, zero, zero};

    for (int j = 0; j < steps;) {
        const int end = j + 8 < steps ? j + 8 : steps;
        __m256i one[4] = {zero, zero, zero, zero}, four[4] = {zero, zero, zero, zero};
        for (; j < end; j++, q += 128) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + 128 * (size_t)j));
            __m256i u = _mm256_srli_epi16(v, 4);
            __m256i a = _mm256_and_si256(v, m3), b = _mm256_and_si256(v, m12);
            __m256i c = _mm256_and_si256(u, m3), d = _mm256_and_si256(u, m12);
            __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
                const int8_t *x = q + (size_t)t * stride;
                one[t] = q2_mad(q2_mad(one[t], a, x), c, x + 64);
                four[t] = q2_mad(q2_mad(four[t], b, x + 32), d, x + 96);
                __asm__ volatile("" : "+x"(one[t]), "+x"(four[t]));
            }
        }
        for (int t = 0; t < 4; t++)
            sum[t] = q2_widen(sum[t], one[t], four[t]);
    }
    return q2_reduce(sum[0], sum[1], sum[2], sum[3]);
}

BN_INLINE void q2_codes_avx2(const uint8_t *w, const int8_t *q, size_t stride, int steps, int toks,
                             __m128i *codes)
{
    __m128i a, b, c, d, ab, cd;

    if (toks == 1) {
        codes[0] = q2_rows(w, q, steps);
        return;
    }
    a = q2_tokens(w, q, stride, steps);
    b = q2_tokens(w + 32, q, stride, steps);
    c = q2_tokens(w + 64, q, stride, steps);
    d = q2_tokens(w + 96, q, stride, steps);
    ab = _mm_unpacklo_epi32(a, b);
    cd = _mm_unpacklo_epi32(c, d);
    codes[0] = _mm_unpacklo_epi64(ab, cd);
    codes[1] = _mm_unpackhi_epi64(ab, cd);
    ab = _mm_unpackhi_epi32(a, b);
    cd = _mm_unpackhi_epi32(c, d);
    codes[2] = _mm_unpacklo_epi64(ab, cd);
    codes[3] = _mm_unpackhi_epi64(ab, cd);
}

static const q2_core q2_core_avx2 = {q2_codes_avx2, 4};

//@ tmatmul_q2_avx2 : q2_core_avx2
/* Bit-exact with scalar.c: w Q2R4 [N x K], c [1], q [T x BN_QPAD(K)], s [T], res NULL or
 * [T x N], y [T x N]; y may be res. */
BN_INLINE void tmatmul_q2_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                               const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx2, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 0);
}

//@ tmatmul_q2b_avx2 : q2_core_avx2
/* The same with c [N x ceil(K / 256)]. */
BN_INLINE void tmatmul_q2b_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                const float *res, float *y, int T, int n, int k, int from, int to)
{
    q2_run(&q2_core_avx2, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, 1);
}

//@ tglu_q2_avx2 : q2_core_avx2
/* y = act(gate) * up, both as tmatmul_q2 gives them; wg, wu Q2R4 [N x K], y [T x N]. */
BN_INLINE void tglu_q2_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                            const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                            int from, int to)
{
    q2_run(&q2_core_avx2, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 0);
}

//@ tglu_q2b_avx2 : q2_core_avx2
BN_INLINE void tglu_q2b_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                             const int8_t *q, const float *s, float *y, int act, int T, int n,
                             int k, int from, int to)
{
    q2_run(&q2_core_avx2, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, 1);
}
