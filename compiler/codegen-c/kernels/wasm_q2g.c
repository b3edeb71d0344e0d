/* wasm_q2g.c: ternary weights with an f16 scale for each group of columns (scalar_q2g.c pictures them),
 * WebAssembly: 16 bytes of a tile are 4 rows by 4 k; codes and the four activations, the same for all
 * rows, meet in 16 bits. Float sums go from group to group as in scalar_q2g.c: the same bits.
 */
#ifndef BN_KERNELS_WASM
#include "wasm_simd128.c"
#endif
#ifndef BN_KERNELS_SCALAR_Q2G
#include "scalar_q2g.c"
#endif

//@ q2g_core_simd128 : q2g_layout q2g_store_each linear_rows_simd128
/* sum[0] and sum[1]: rows 0 and 1, 2 and 3, each in two lanes. */
BN_INLINE void q2g_mad_simd128(v128_t *sum, v128_t codes, v128_t x)
{
    const v128_t low = wasm_u16x8_extend_low_u8x16(codes);
    const v128_t high = wasm_u16x8_extend_high_u8x16(codes);
    sum[0] = wasm_i32x4_add(sum[0], wasm_i32x4_dot_i16x8(low, x));
    sum[1] = wasm_i32x4_add(sum[1], wasm_i32x4_dot_i16x8(high, x));
}

/* Outputs of the 16 rows of block w for one token, before the residual. */
BN_INLINE void q2g_values_simd128(const uint8_t *w, const int8_t *q, const float *s, float *v,
                                  int k, int group)
{
    const int tiles = BN_Q2G_TILES(k);
    const uint8_t *half = w + 64 * (size_t)tiles;
    const v128_t unit = wasm_f32x4_splat(q2g_unit(w, k, group)), three = wasm_i8x16_splat(3);
    v128_t acc[4];

    for (int i = 0; i < 4; i++)
        acc[i] = wasm_f32x4_splat(0.0f);
    for (int at = 0; at < tiles; s += 2, half += 32) {
        const int end = tiles - at < group / 16 ? tiles : at + group / 16;
        const v128_t bias = wasm_f32x4_splat(s[1]), scale = wasm_f32x4_splat(s[0]);
        v128_t sum[4][2];
        for (int i = 0; i < 4; i++)
            sum[i][0] = sum[i][1] = wasm_i32x4_splat(0);
        for (; at < end; at++, w += 64, q += 16) {
            v128_t x[4];
            for (int p = 0; p < 4; p++)
                x[p] = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(q + 4 * p));
            for (int i = 0; i < 4; i++) {
                const v128_t c = wasm_v128_load(w + 16 * i);
                q2g_mad_simd128(sum[i], wasm_v128_and(c, three), x[0]);
                q2g_mad_simd128(sum[i], wasm_v128_and(wasm_u8x16_shr(c, 2), three), x[1]);
                q2g_mad_simd128(sum[i], wasm_v128_and(wasm_u8x16_shr(c, 4), three), x[2]);
                q2g_mad_simd128(sum[i], wasm_u8x16_shr(c, 6), x[3]);
            }
        }
        for (int i = 0; i < 4; i++) {
            const v128_t even = wasm_i32x4_shuffle(sum[i][0], sum[i][1], 0, 2, 4, 6);
            const v128_t odd = wasm_i32x4_shuffle(sum[i][0], sum[i][1], 1, 3, 5, 7);
            const v128_t value = wasm_f32x4_convert_i32x4(wasm_i32x4_add(even, odd));
            const v128_t each = wasm_f32x4_mul(load4_f16(half, 4 * i, 16), scale);
            acc[i] = wasm_f32x4_add(acc[i], wasm_f32x4_mul(wasm_f32x4_sub(value, bias), each));
        }
    }
    for (int i = 0; i < 4; i++)
        wasm_v128_store(v + 4 * i, wasm_f32x4_mul(acc[i], unit));
}

BN_INLINE void q2g_core_simd128(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                                size_t pairs, int k, int group, int toks, float (*v)[16])
{
    for (int t = 0; t < toks; t++)
        q2g_values_simd128(w, q + (size_t)t * stride, s + (size_t)t * pairs, v[t], k, group);
}

//@ tmatmul_q2g64_simd128 : q2g_core_simd128
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_simd128(const uint8_t *w, const float *c, const int8_t *q,
                                     const float *s, const float *res, float *y, int T, int n,
                                     int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_simd128, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_simd128 : q2g_core_simd128
BN_INLINE void tglu_q2g64_simd128(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                  const float *cu, const int8_t *q, const float *s, float *y,
                                  int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_simd128, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_simd128 : q2g_core_simd128
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_simd128(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_simd128, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_simd128 : q2g_core_simd128
BN_INLINE void tglu_q2g128_simd128(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_simd128, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_simd128 : q2g_core_simd128
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_simd128(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_simd128, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_simd128 : q2g_core_simd128
BN_INLINE void tglu_q2g256_simd128(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_simd128, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
