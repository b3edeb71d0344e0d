/* norm.cu: norms, quantization and products with f16, with coalesced accesses of 16 bytes a thread.
 * Decode and prefill call the same functions, so that both give the same bits: sums are taken in
 * one order, by explicit fma.
 */

//@ block_max : group
/* The largest of the block's values, none of them negative, for all its threads; tg is unused
 * before. */
static inline float block_max(float v, uint me, float *tg)
{
    v = simd_max_abs(v);
    if (me % LANES == 0)
        tg[me / LANES] = v;
    __syncthreads();
    return simd_max_abs(tg[me % WARPS]);
}

//@ block_sum_max : group
/* The sum of the block's values, and in `largest` the largest of others that are not negative, with
 * one block barrier. */
static inline float block_sum_max(float v, float &largest, uint me, float *tg)
{
    v = simd_sum(v);
    largest = simd_max_abs(largest);
    if (me % LANES == 0) {
        tg[me / LANES] = v;
        tg[WARPS + me / LANES] = largest;
    }
    __syncthreads();
    largest = simd_max_abs(tg[WARPS + me % WARPS]);
    float part[WARPS / 4];
    for (int i = 0; i < WARPS / 4; i++) {
        const float4 four = *(const float4 *)(tg + 4 * i);
        part[i] = (four.x + four.y) + (four.z + four.w);
    }
    for (int n = WARPS / 8; n; n /= 2)
        for (int i = 0; i < n; i++)
            part[i] += part[i + n];
    return part[0];
}

//@ held : group
/* A row of k floats in its threads' registers: a thread has 4 neighbours of each STRIDE, HOLDS
 * times at most; k is a literal. */
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
/* quant_row of common.metal. x factor, rounded half to even, is in the lowest bits of its sum with
 * 1.5 x 2^23; it is 127 at most, for x factor is at most 127 but for rounding. */
static inline uint nearest(float x, float factor)
{
    return as_type<uint>(__fadd_rn(__fmul_rn(x, factor), 12582912.0f));
}
static inline float held_max_abs(const float4 *v, int k)
{
    float largest = 0;
    for (int i = 0; i < HOLDS && i * STRIDE < k; i++)
        largest = fmaxf(fmaxf(fmaxf(largest, fabsf(v[i].x)), fmaxf(fabsf(v[i].y), fabsf(v[i].z))),
                        fabsf(v[i].w));
    return largest;
}
/* The row times a factor, rounded, and zeros up to a multiple of 128 columns. */
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
    const float factor = 127.0f / fmaxf(block_max(held_max_abs(v, k), me, tg), 1e-5f);
    if (me == 0)
        s[g] = factor;
    held_store(v, factor, q + ulong(g) * wide, k, me);
}

//@ rmsnorm_quant_rows : quant_held block_sum_max rmsnorm_quant
/* v: the row, which is overwritten. The norm is a factor of all values, so the largest is found
 * before the norm is known, and values are multiplied by both factors at once. */
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
    float largest = held_max_abs(v, k);
    sum = block_sum_max(sum, largest, me, tg);
    const float unit = 1.0f / sqrtf(sum / float(k) + eps),
                factor = 127.0f / fmaxf(largest * unit, 1e-5f);
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

//@ warp_row : linear_row
/* linear_row; of f16, 8 weights a thread at once where k is a multiple of 8. */
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
/* y[t][n] = sum_k w[n][k] x[t][k]: a warp a row. y may be in the host's memory, where a store of 64
 * bytes costs as much as one of 4: a block's results are stored together. */
static inline void linear_f16(const uchar *w, const float *x, float *y, int T, int n, int k, uint g,
                              uint me, float *tg)
{
    const uint each = uint(n + WARPS - 1) / WARPS, t = g / each, first = g % each * WARPS;
    const int r = min(int(first + me / LANES), n - 1); /* warps beyond the last row repeat it */
    const float sum = warp_row<F16>(w, x + ulong(t) * k, k, r, me);
    if (me % LANES == 0)
        tg[me / LANES] = sum;
    __syncthreads();
    if (me < WARPS && int(first + me) < n)
        y[ulong(t) * n + first + me] = tg[me];
}
