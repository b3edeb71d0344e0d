/* common.metal: float ops on tokens. Metal 2.4 and later; also C++ for tests/metal, so no
 * address-space tricks beyond `device`, `constant` and `threadgroup`.
 *
 * One idea: a kernel is a function that one threadgroup of THREADS threads calls for one unit of
 * its op's work: group `g` of the op, thread `me`, and scratch `tg` in threadgroup memory. The
 * compiler prints the entry points, with shapes as literals, so everything here is inlined and
 * specialised. A unit is a token's row (g = token), 4 rows of a product for a token, or a head of a
 * token. Reductions are simd_sum over 32 lanes, then over the simdgroups through tg.
 */
#include <metal_stdlib>
using namespace metal;

//@ group
/* Threads of a threadgroup (CUDA: block) and of a simdgroup (warp): 32 on every Apple GPU too. */
enum { THREADS = BN_THREADS, LANES = 32, WARPS = THREADS / LANES };

//@ group_sum : group
/* The sum of v over the threadgroup, for all its threads; tg is unused before. */
static inline float group_sum(float v, uint me, threadgroup float *tg)
{
    v = simd_sum(v);
    if (me % LANES == 0)
        tg[me / LANES] = v;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    v = tg[0];
    for (int s = 1; s < WARPS; s++)
        v += tg[s];
    return v;
}

//@ group_max : group
/* The largest. The first barrier: threads may still read what group_sum left in tg. */
static inline float group_max(float v, uint me, threadgroup float *tg)
{
    v = simd_max(v);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (me % LANES == 0)
        tg[me / LANES] = v;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    v = tg[0];
    for (int s = 1; s < WARPS; s++)
        v = max(v, tg[s]);
    return v;
}

//@ formats
/* Element i of a tensor of floats in the file's format. Q8_0: blocks of 32 in 34 bytes, an f16
 * scale first. */
struct F32 {
    static inline float at(device const uchar *w, ulong i)
    {
        return ((device const float *)w)[i];
    }
};
struct F16 {
    static inline float at(device const uchar *w, ulong i)
    {
        return float(((device const half *)w)[i]);
    }
};
struct BF16 {
    static inline float at(device const uchar *w, ulong i)
    {
        return as_type<float>(uint(((device const ushort *)w)[i]) << 16);
    }
};
struct Q8_0 {
    static inline float at(device const uchar *w, ulong i)
    {
        device const uchar *block = w + i / 32 * 34;
        return float(((device const half *)block)[0]) *
               float(((device const char *)block)[2 + i % 32]);
    }
};

//@ embed : formats group
/* y[t] = w[token[t]]; w [V x d], y [T x d]. */
template <typename W>
static inline void embed(device const int *token, device const uchar *w, device float *y, int d,
                         uint g, uint me)
{
    for (int i = int(me); i < d; i += THREADS)
        y[ulong(g) * d + i] = W::at(w, ulong(token[g]) * d + i);
}

//@ rms_unit : group_sum
/* 1 / sqrt(mean(x^2) + eps) of one row. */
static inline float rms_unit(device const float *x, int d, float eps, uint me,
                             threadgroup float *tg)
{
    float sum = 0;
    for (int i = int(me); i < d; i += THREADS)
        sum += x[i] * x[i];
    return 1.0f / sqrt(group_sum(sum, me, tg) / float(d) + eps);
}

//@ rmsnorm : rms_unit
/* y = x / sqrt(mean(x^2) + eps) * gain; x, y [T x d], gain [d]. */
static inline void rmsnorm(device const float *x, device const float *gain, device float *y, int d,
                           float eps, uint g, uint me, threadgroup float *tg)
{
    x += ulong(g) * d;
    y += ulong(g) * d;
    float unit = rms_unit(x, d, eps, me, tg);
    for (int i = int(me); i < d; i += THREADS)
        y[i] = x[i] * unit * gain[i];
}

//@ head_norm : rmsnorm
/* rmsnorm of each head; x, y [T x heads x width / heads], gain [width / heads]; y may be x. */
static inline void head_norm(device const float *x, device const float *gain, device float *y,
                             int T, int heads, int width, float eps, uint g, uint me,
                             threadgroup float *tg)
{
    rmsnorm(x, gain, y, width / heads, eps, g, me, tg);
}

//@ quant_row : group_max
/* s = 127 / max(max|v|, 1e-5), q = clamp(round_half_even(v s)), zeros up to 128 k; v is x times
 * unit and gain where there is one. q [T x 128 k], s [T]. */
static inline void quant_row(device const float *x, device const float *gain, float unit,
                             device char *q, device float *s, int k, uint me, threadgroup float *tg)
{
    float most = 0;
    for (int i = int(me); i < k; i += THREADS)
        most = max(most, fabs(gain ? x[i] * unit * gain[i] : x[i]));
    float factor = 127.0f / max(group_max(most, me, tg), 1e-5f);
    if (me == 0)
        *s = factor;
    for (int i = int(me); i < (k + 127) / 128 * 128; i += THREADS) {
        float v = i >= k ? 0.0f : gain ? x[i] * unit * gain[i] : x[i];
        q[i] = char(clamp(rint(v * factor), -128.0f, 127.0f));
    }
}

//@ quant : quant_row
static inline void quant(device const float *x, device char *q, device float *s, int k, uint g,
                         uint me, threadgroup float *tg)
{
    quant_row(x + ulong(g) * k, nullptr, 1, q + ulong(g) * ((k + 127) / 128 * 128), s + g, k, me,
              tg);
}

//@ rmsnorm_quant : rms_unit quant_row
static inline void rmsnorm_quant(device const float *x, device const float *gain, device char *q,
                                 device float *s, int k, float eps, uint g, uint me,
                                 threadgroup float *tg)
{
    x += ulong(g) * k;
    float unit = rms_unit(x, k, eps, me, tg);
    quant_row(x, gain, unit, q + ulong(g) * ((k + 127) / 128 * 128), s + g, k, me, tg);
}

//@ linear_row : formats group
/* sum_k w[r][k] x[k], by a simdgroup, for all its threads; w [N x K]. */
template <typename W>
static inline float linear_row(device const uchar *w, device const float *x, int k, int r, uint me)
{
    float sum = 0;
    for (int i = int(me % LANES); i < k; i += LANES)
        sum += W::at(w, ulong(r) * k + i) * x[i];
    return simd_sum(sum);
}

//@ linear : linear_row
/* y[t][n] = sum_k w[n][k] x[t][k]: a simdgroup a row. */
template <typename W>
static inline void linear(device const uchar *w, device const float *x, device float *y, int T,
                          int n, int k, uint g, uint me)
{
    const uint each = uint(n + WARPS - 1) / WARPS, t = g / each;
    const int r = int(g % each * WARPS + me / LANES);
    if (r >= n)
        return; /* the whole simdgroup */
    const float sum = linear_row<W>(w, x + ulong(t) * k, k, r, me);
    if (me % LANES == 0)
        y[ulong(t) * n + r] = sum;
}

//@ gelu_arg
/* gelu(x) = x / (1 + exp(-z)), z = 2 sqrt(2/pi) (x + 0.044715 x^3). */
static inline float gelu_arg(float x)
{
    return 1.5957691216057308f * (x + 0.044715f * (x * x * x));
}

//@ relu2 : group
static inline void relu2(device const float *x, device float *y, int d, uint g, uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS) {
        float v = max(x[i], 0.0f);
        y[i] = v * v;
    }
}

//@ silu : group
static inline void silu(device const float *x, device float *y, int d, uint g, uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = x[i] / (1.0f + exp(-x[i]));
}

//@ gelu : group gelu_arg
static inline void gelu(device const float *x, device float *y, int d, uint g, uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = x[i] / (1.0f + exp(-gelu_arg(x[i])));
}

//@ mul : group
static inline void mul(device const float *a, device const float *b, device float *y, int d, uint g,
                       uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = a[i] * b[i];
}

//@ add : group
static inline void add(device const float *a, device const float *b, device float *y, int d, uint g,
                       uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = a[i] + b[i];
}

//@ scale : group
static inline void scale(device const float *x, device const float *w, device float *y, int d,
                         uint g, uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = x[i] * w[0];
}

//@ copy : group
static inline void copy(device const float *x, device float *y, int d, uint g, uint me)
{
    for (ulong i = ulong(g) * d + me; i < ulong(g + 1) * d; i += THREADS)
        y[i] = x[i];
}

//@ pick : copy
/* y = b in layers every - 1, 2 every - 1, ..., a in the others. */
static inline void pick(device const float *a, device const float *b, device float *y, int d,
                        int every, int layer, uint g, uint me)
{
    copy((layer + 1) % every == 0 ? b : a, y, d, g, me);
}

//@ last : copy
/* y[0] = x[T - 1] */
static inline void last(device const float *x, device float *y, int T, int d, uint g, uint me)
{
    copy(x + ulong(T - 1) * d, y, d, 0, me);
}
