/* encode.c: ternary codes and floats to the blocks that files hold; the inverse of the decoders of
 * formats.c, where the ternary layouts are drawn.
 *
 * One idea: a block of floats is coded with a few scales around the one that its largest value asks
 * for, each improved by least squares, and the scale with the least squared error stays.
 */
#include "ir/ir.h"

#include <math.h>
#include <string.h>

/* Value 32 k + j of 128: byte j, bits `top` (I2_S) or `bottom` (TQ2_0) first. */
static void planes(const int8_t *codes, bool top, uint8_t *out)
{
    for (int j = 0; j < 32; j++) {
        unsigned byte = 0;
        for (unsigned k = 0; k < 4; k++)
            byte |= (unsigned)(codes[32 * k + (unsigned)j] + 1) << (top ? 6 - 2 * k : 2 * k);
        out[j] = (uint8_t)byte;
    }
}

/* n digits, `step` values apart, the first the highest, as a fraction of 256: rounded up, so that
 * multiplying by three again and again yields each digit above the byte. Five fit. */
static uint8_t digits(const int8_t *codes, int step, int n)
{
    unsigned number = 0;
    for (int k = 0; k < 5; k++)
        number = 3 * number + (k < n ? (unsigned)(codes[k * step] + 1) : 0);
    return (uint8_t)((number * 256 + 242) / 243);
}

static void block_tq1(const int8_t *codes, uint8_t *out)
{
    for (int j = 0; j < 32; j++)
        out[j] = digits(codes + j, 32, 5);
    for (int j = 0; j < 16; j++)
        out[32 + j] = digits(codes + 160 + j, 16, 5);
    for (int j = 0; j < 4; j++)
        out[48 + j] = digits(codes + 240 + j, 4, 4);
}

static void block_q2(const int8_t *codes, int n, uint16_t scale, uint8_t *out)
{
    memset(out, 0, 2 + (size_t)n / 4);
    memcpy(out, &scale, 2);
    for (int i = 0; i < n; i++)
        out[2 + i / 4] = (uint8_t)(out[2 + i / 4] | (codes[i] + 1) << i % 4 * 2);
}

size_t codes_encode(Fmt fmt, const int8_t *codes, int64_t n, float scale, uint8_t *out)
{
    const FmtInfo *f = &fmt_info[fmt];
    uint16_t half = float_to_f16(scale);
    CHECK(f->elems && n % f->elems == 0);
    for (int64_t at = 0; at < n; at += f->elems, out += f->bytes) {
        if (fmt == FMT_I2_S) {
            planes(codes + at, true, out);
        } else if (fmt == FMT_TQ2_0) {
            planes(codes + at, false, out);
            planes(codes + at + 128, false, out + 32);
        } else if (fmt == FMT_TQ1_0) {
            block_tq1(codes + at, out);
        } else if (fmt == FMT_Q2_0 || fmt == FMT_PQ2_0) {
            block_q2(codes + at, f->elems, half, out);
            continue;
        } else {
            CHECK(fmt == FMT_F16);
            uint16_t value[3] = {half ^ 0x8000u, 0, half};
            memcpy(out, &value[codes[at] + 1], 2);
        }
        if (f->kind == KIND_TERNARY && fmt != FMT_I2_S)
            memcpy(out + f->bytes - 2, &half, 2);
    }
    return (size_t)(n / f->elems * f->bytes);
}

size_t codes_tail(Fmt fmt, float scale, uint8_t *out)
{
    size_t n = (size_t)fmt_info[fmt].tail;
    if (n) {
        memset(out, 0, n);
        memcpy(out, &scale, sizeof scale);
    }
    return n;
}

/* ---- floats ---- */

static float put_half(float x, uint8_t *out)
{
    uint16_t h = float_to_f16(x);
    memcpy(out, &h, 2);
    return f16_to_float(h);
}

static void encode_plain(Fmt fmt, const float *x, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        if (fmt == FMT_F16)
            put_half(x[i], out + 2 * i);
        else if (fmt == FMT_F32)
            memcpy(out + 4 * i, &bits, 4);
        else { /* BF16: the upper half, rounded to nearest even */
            uint16_t h = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
            memcpy(out + 2 * i, &h, 2);
        }
    }
}

static int round_to(float v, int lo, int hi)
{
    return v <= (float)lo ? lo : v >= (float)hi ? hi : (int)roundf(v);
}

/* The value that is largest without its sign. */
static float extreme(const float *x, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    return most;
}

static double error_of(const float *x, int n, float scale, int lo, int hi)
{
    double sum = 0;
    float inv = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < n; i++) {
        double e = (double)x[i] - (double)scale * round_to(x[i] * inv, lo, hi);
        sum += e * e;
    }
    return sum;
}

/* The scale that fits best where the codes are those of `scale`: sum x q / sum q q. */
static float least_squares(const float *x, int n, float scale, int lo, int hi)
{
    double xq = 0, qq = 0;
    float inv = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < n; i++) {
        int q = round_to(x[i] * inv, lo, hi);
        xq += (double)x[i] * q;
        qq += (double)(q * q);
    }
    return qq > 0 ? (float)(xq / qq) : scale;
}

static float as_half(float x)
{
    return f16_to_float(float_to_f16(x));
}

/* The best scale for codes lo .. -lo - 1, where the extreme value gets the code lo or one of the
 * few around it. The first candidate is that of ggml's plain rounding, so no block becomes worse.
 */
static float best_scale(const float *x, int n, int lo, float (*stored)(float))
{
    static const float around[] = {0, -1, -0.5f, -0.25f, 0.25f, 0.5f, 1};
    int hi = -lo - 1;
    float most = extreme(x, n), best = stored(most / (float)lo);
    double least = error_of(x, n, best, lo, hi);
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        float s = least_squares(x, n, most / ((float)lo + around[i]), lo, hi);
        double e = error_of(x, n, stored(s), lo, hi);
        if (e < least) {
            least = e;
            best = stored(s);
        }
    }
    return best;
}

/* Q8_0: 32 values in 34 bytes: value i is scale * q[i], q from -127 to 127.
 *
 *     | f16 scale | i8 q[0] | ... | i8 q[31] |
 *
 * ggml's reference, to the byte: scale = max|x| / 127, q = round(x / scale), halves away from 0, by
 * the scale before it is rounded to f16. 8 bits leave nothing that another scale could gain. */
static void block_q8_0(const float *x, uint8_t *out)
{
    float scale = fabsf(extreme(x, 32)) / 127, inv = scale != 0 ? 1 / scale : 0;
    put_half(scale, out);
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)round_to(x[i] * inv, -127, 127);
}

/* Q4_0: 32 values in 18 bytes: value i is scale * (q[i] - 8), q from 0 to 15.
 *
 *                        bit   7 .. 4    3 .. 0
 *     | f16 scale | byte j  |  q[16+j] |  q[j]   |      j = 0..15 */
static void block_q4_0(const float *x, uint8_t *out)
{
    float scale = put_half(best_scale(x, 32, -8, as_half), out), inv = scale != 0 ? 1 / scale : 0;
    for (int j = 0; j < 16; j++) {
        int low = round_to(x[j] * inv, -8, 7) + 8, high = round_to(x[16 + j] * inv, -8, 7) + 8;
        out[2 + j] = (uint8_t)(low | high << 4);
    }
}

static float as_float(float x)
{
    return x;
}

/* Scales of 16 groups of 16 in steps of d: for each the best near scale[g]. Returns the squared
 * error. */
static double groups_of(const float *x, const float *scale, float d, int *s)
{
    static const int near[] = {0, -1, 1};
    float inv = d != 0 ? 1 / d : 0;
    double sum = 0;
    for (int g = 0; g < 16; g++) {
        double least = INFINITY;
        for (int i = 0; i < 3; i++) {
            int k = round_to(scale[g] * inv + (float)near[i], -128, 127);
            double e = error_of(x + 16 * g, 16, d * (float)k, -32, 31);
            s[g] = e < least ? k : s[g];
            least = e < least ? e : least;
        }
        sum += least;
    }
    return sum;
}

/* Q6_K: 256 values in 210 bytes, in 16 groups of 16: value i is d * s[i / 16] * (q[i] - 32), q from
 * 0 to 63, s signed bytes. Each half of 128 values has 64 bytes of low bits, then 32 of high bits:
 *
 *     bytes   0..127    low 4 bits    half h at 64 h
 *     bytes 128..191    high 2 bits   half h at 128 + 32 h
 *     bytes 192..207    s             bytes 208, 209: d, an f16
 *
 *     bit               7   6   5   4     3   2   1   0
 *     low  byte j    |  q[64+j] & 15   |   q[j] & 15     |      j = 0..63
 *     high byte j    |q[96+j]|q[64+j]|q[32+j]| q[j] | >> 4      j = 0..31 */
static void block_q6_k(const float *x, uint8_t *out)
{
    float scale[2][16], d = 0;
    int s[16], best[16] = {0}, q[256];
    double least = INFINITY;
    for (int g = 0; g < 16; g++) {
        scale[0][g] = extreme(x + 16 * g, 16) / -32;
        scale[1][g] = best_scale(x + 16 * g, 16, -32, as_float);
    }
    /* Each with the nearest d and with the next larger one: small ones are coarse in f16. */
    for (int i = 0; i < 4; i++) {
        uint16_t h = (uint16_t)(float_to_f16(extreme(scale[i / 2], 16) / -128) + i % 2);
        double e = groups_of(x, scale[i / 2], f16_to_float(h), s);
        if (e < least) {
            least = e;
            d = f16_to_float(h);
            memcpy(best, s, sizeof best);
        }
    }
    put_half(d, out + 208);
    for (int g = 0; g < 16; g++) {
        float step = d * (float)best[g], inv = step != 0 ? 1 / step : 0;
        out[192 + g] = (uint8_t)best[g];
        for (int i = 16 * g; i < 16 * g + 16; i++)
            q[i] = round_to(x[i] * inv, -32, 31) + 32;
    }
    for (int h = 0; h < 2; h++) {
        const int *p = q + 128 * h;
        for (int j = 0; j < 64; j++)
            out[64 * h + j] = (uint8_t)((p[j] & 15) | (p[64 + j] & 15) << 4);
        for (int j = 0; j < 32; j++)
            out[128 + 32 * h + j] = (uint8_t)(p[j] >> 4 | p[32 + j] >> 4 << 2 |
                                              p[64 + j] >> 4 << 4 | p[96 + j] >> 4 << 6);
    }
}

static void (*const block_of[FMT_COUNT])(const float *x, uint8_t *out) = {
    [FMT_Q8_0] = block_q8_0,
    [FMT_Q4_0] = block_q4_0,
    [FMT_Q6_K] = block_q6_k,
};

size_t floats_encode(Fmt fmt, const float *x, int64_t n, uint8_t *out)
{
    const FmtInfo *f = &fmt_info[fmt];
    bool plain = fmt == FMT_F32 || fmt == FMT_F16 || fmt == FMT_BF16;
    CHECK((plain || block_of[fmt]) && n % f->elems == 0);
    if (plain)
        encode_plain(fmt, x, n, out);
    for (int64_t at = 0; !plain && at < n; at += f->elems)
        block_of[fmt](x + at, out + at / f->elems * f->bytes);
    return (size_t)(n / f->elems * f->bytes);
}
