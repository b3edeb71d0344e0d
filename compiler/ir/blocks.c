/* blocks.c: blocks of ggml's float formats and plain numbers, decoded to the float that ggml means.
 *
 * One idea: a function a format, from the bytes of one block to its values. What is rounded, and in
 * which order, is part of the format: a scale times a small scale first (exact: 11 + 6 or 8 bits),
 * then times the code, then the minimum off. Each product is a statement of its own, so that no
 * compiler makes one rounding of two.
 *
 * Sources of the layouts: ggml's public ggml-common.h and ggml-quants.c (facts, no code).
 */
#include <string.h>

#include "ir/ir.h"

enum { SUPER = 256 }; /* values in a block of the K formats and IQ4_XS */

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return f16_to_float(h);
}

static uint32_t word_at(const uint8_t *p, int bytes)
{
    uint32_t x = 0;
    memcpy(&x, p, (size_t)bytes);
    return x;
}

/* ---- 32 values: a scale, perhaps a minimum, 4 bits a value, perhaps a fifth ----
 *
 *     q4_0    | d f16 | 16 bytes of nibbles |                  v = d (q - 8)
 *     q4_1    | d f16 | m f16 | nibbles |                      v = d q + m
 *     q5_0    | d f16 | fifth bits u32 | nibbles |             v = d (q - 16)
 *     q5_1    | d f16 | m f16 | fifth bits u32 | nibbles |     v = d q + m
 *     q8_0    | d f16 | 32 x int8 |                            v = d q
 *     iq4_nl  | d f16 | nibbles |                              v = d table[q]
 *
 *     nibbles: low half of byte j: value j, high half: value 16 + j; bit i of the u32: value i
 */

/* The table of ggml's non-linear 4-bit formats: 16 levels, denser about zero. */
static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static int nibble(const uint8_t *b, int i)
{
    return i < 16 ? b[i] & 15 : b[i - 16] >> 4;
}

static void block_q4_0(const uint8_t *b, float *out)
{
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(nibble(b + 2, i) - 8);
}

static void block_q4_1(const uint8_t *b, float *out)
{
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++) {
        float v = d * (float)nibble(b + 4, i);
        out[i] = v + m;
    }
}

static void block_q5_0(const uint8_t *b, float *out)
{
    float d = half_at(b);
    uint32_t fifth = word_at(b + 2, 4);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)((nibble(b + 6, i) | (int)(fifth >> i & 1) << 4) - 16);
}

static void block_q5_1(const uint8_t *b, float *out)
{
    float d = half_at(b), m = half_at(b + 2);
    uint32_t fifth = word_at(b + 4, 4);
    for (int i = 0; i < 32; i++) {
        float v = d * (float)(nibble(b + 8, i) | (int)(fifth >> i & 1) << 4);
        out[i] = v + m;
    }
}

/* A product of 8 and 11 bits is exact. */
static void block_q8_0(const uint8_t *b, float *out)
{
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

static void block_iq4_nl(const uint8_t *b, float *out)
{
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)levels[nibble(b + 2, i)];
}

/* ---- 256 values: small scales for groups of 16 or 32, one scale above them ----
 *
 *     q2_k    | 16 x (scale 4 bits, min 4 bits above) | 64 bytes of 2 bits | d f16 | dmin f16 |
 *     q3_k    | 32 bytes: third bits | 64 bytes of 2 bits | 12 bytes: 16 scales | d f16 |
 *     q4_k    | d f16 | dmin f16 | 12 bytes: 8 scales and mins | 128 bytes of nibbles |
 *     q5_k    | d f16 | dmin f16 | 12 bytes, the same | 32 bytes: fifth bits | 128 of nibbles |
 *     q6_k    | 128 bytes of nibbles | 64 bytes of 2 bits | 16 x int8 scale | d f16 |
 *     iq4_xs  | d f16 | high 2 bits u16 | 4 bytes: low 4 bits of 8 scales | 128 of nibbles |
 *
 *     2 bits: value 128 h + 32 k + j is in byte 32 h + j at bit 2 k                  (h < 2, k < 4)
 *     nibbles of q4_k, q5_k: value 64 h + 32 k + j is in byte 32 h + j at bit 4 k    (h < 4, k < 2)
 *     nibbles of q6_k: value 128 h + 64 k + j is in byte 64 h + j at bit 4 k (j < 64, h < 2, k < 2)
 *     nibbles of iq4_xs: as of the 32-value formats, 16 bytes a group
 */

static int two_bits(const uint8_t *b, int i)
{
    return b[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

/* q2_k: a group is 16 values; v = d scale q - dmin min. */
static void block_q2_k(const uint8_t *b, float *out)
{
    float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int i = 0; i < SUPER; i++) {
        float scale = d * (float)(b[i / 16] & 15), min = dmin * (float)(b[i / 16] >> 4);
        float v = scale * (float)two_bits(b + 16, i);
        out[i] = v - min;
    }
}

/* q3_k: a group is 16 values; v = d (scale - 32) (q - 4), q of 3 bits. Third bits: value
 * 32 k + j is bit k of byte j. Scale g of 6 bits:
 *
 *     low 4 bits    byte g % 8, low half for g < 8, else high
 *     high 2 bits   byte 8 + g % 4 at bit 2 (g / 4)
 */
static void block_q3_k(const uint8_t *b, float *out)
{
    const uint8_t *s = b + 96;
    float d = half_at(b + 108);
    for (int i = 0; i < SUPER; i++) {
        int g = i / 16, low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
        int scale = low | (s[8 + g % 4] >> g / 4 * 2 & 3) << 4;
        int q = two_bits(b + 32, i) | (b[i % 32] >> i / 32 & 1) << 2;
        float each = d * (float)(scale - 32);
        out[i] = each * (float)(q - 4);
    }
}

/* The 8 scales and mins, 6 bits each, of q4_k and q5_k in 12 bytes s:
 *
 *     g < 4    scale: s[g] bits 5-0                          min: s[4 + g] bits 5-0
 *     g >= 4   scale: s[4 + g] bits 3-0, above s[g-4] 7-6    min: s[4 + g] bits 7-4, above s[g] 7-6
 */
static void scale_and_min(const uint8_t *s, int g, int *scale, int *min)
{
    *scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
    *min = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

/* q4_k, q5_k: a group is 32 values; v = d scale q - dmin min. Fifth bits (NULL: none): bit g of
 * byte j is that of value j of group g. */
static void groups_k(const uint8_t *b, const uint8_t *fifth, const uint8_t *q, float *out)
{
    float d = half_at(b), dmin = half_at(b + 2);
    for (int g = 0; g < 8; g++) {
        int s, m;
        scale_and_min(b + 4, g, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        for (int j = 0; j < 32; j++) {
            int code = q[g / 2 * 32 + j] >> g % 2 * 4 & 15;
            code |= fifth ? (fifth[j] >> g & 1) << 4 : 0;
            float v = scale * (float)code;
            out[32 * g + j] = v - min;
        }
    }
}

static void block_q4_k(const uint8_t *b, float *out)
{
    groups_k(b, NULL, b + 16, out);
}

static void block_q5_k(const uint8_t *b, float *out)
{
    groups_k(b, b + 16, b + 48, out);
}

/* q6_k: a group is 16 values; v = d scale (q - 32). */
static void block_q6_k(const uint8_t *b, float *out)
{
    float d = half_at(b + 208);
    for (int i = 0; i < SUPER; i++) {
        int low = b[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        int q = low | two_bits(b + 128, i) << 4;
        float scale = d * (float)(int8_t)b[192 + i / 16];
        out[i] = scale * (float)(q - 32);
    }
}

/* iq4_xs: a group is 32 values; v = d (scale - 32) table[q], scales of 6 bits. */
static void block_iq4_xs(const uint8_t *b, float *out)
{
    float d = half_at(b);
    uint32_t high = word_at(b + 2, 2);
    for (int g = 0; g < 8; g++) {
        int scale = (b[4 + g / 2] >> g % 2 * 4 & 15) | (int)(high >> 2 * g & 3) << 4;
        float each = d * (float)(scale - 32);
        for (int j = 0; j < 32; j++)
            out[32 * g + j] = each * (float)levels[nibble(b + 8 + 16 * g, j)];
    }
}

/* ---- plain numbers: to the nearest float ---- */

static void number_f64(const uint8_t *b, float *out)
{
    double v;
    memcpy(&v, b, sizeof v);
    *out = (float)v;
}

static void number_i8(const uint8_t *b, float *out)
{
    *out = (float)(int8_t)*b;
}

static void number_i16(const uint8_t *b, float *out)
{
    int16_t v;
    memcpy(&v, b, sizeof v);
    *out = (float)v;
}

static void number_i32(const uint8_t *b, float *out)
{
    int32_t v;
    memcpy(&v, b, sizeof v);
    *out = (float)v;
}

static void number_i64(const uint8_t *b, float *out)
{
    int64_t v;
    memcpy(&v, b, sizeof v);
    *out = (float)v;
}

void (*const float_block[FMT_COUNT])(const uint8_t *b, float *out) = {
    [FMT_Q4_0] = block_q4_0, [FMT_Q4_1] = block_q4_1,     [FMT_Q5_0] = block_q5_0,
    [FMT_Q5_1] = block_q5_1, [FMT_Q8_0] = block_q8_0,     [FMT_Q2_K] = block_q2_k,
    [FMT_Q3_K] = block_q3_k, [FMT_Q4_K] = block_q4_k,     [FMT_Q5_K] = block_q5_k,
    [FMT_Q6_K] = block_q6_k, [FMT_IQ4_NL] = block_iq4_nl, [FMT_IQ4_XS] = block_iq4_xs,
    [FMT_F64] = number_f64,  [FMT_I8] = number_i8,        [FMT_I16] = number_i16,
    [FMT_I32] = number_i32,  [FMT_I64] = number_i64,
};
