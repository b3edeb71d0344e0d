/* formats.c: the element formats of model files, decoded exactly.
 *
 * One idea: a format is a row of formats.def and, where it can be decoded, one function that turns
 * one block into codes or floats. Everything else (ragged ranges, extents, scales) is shared.
 */
#include "ir/ir.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian");

const FmtInfo fmt_info[FMT_COUNT] = {
#define FMT(name, text, elems, bytes, tail, gguf, kind)                                            \
    {text, elems, bytes, tail, gguf, KIND_##kind},
#include "ir/formats.def"
#undef FMT
};

enum { MAX_BLOCK = 256 }; /* values in the largest block */

bool fmt_decodes(Fmt fmt)
{
    return fmt < FMT_COUNT && (fmt_info[fmt].kind == KIND_FLOAT ||
                               fmt_info[fmt].kind == KIND_TERNARY || float_block[fmt]);
}

/* d * code, |code| < 128, d an f16 for 32 values or more: the same numbers as q8_0. */
static bool is_q8(Fmt fmt)
{
    return fmt == FMT_Q8_0 || fmt == FMT_Q4_0 || fmt == FMT_Q5_0 || fmt == FMT_IQ4_NL ||
           fmt == FMT_TQ1_0 || fmt == FMT_TQ2_0 || fmt == FMT_Q2_0 || fmt == FMT_PQ2_0 ||
           fmt == FMT_PQ2_0_LAST || fmt == FMT_Q1_0 || fmt == FMT_PTQ1_0 || fmt == FMT_STQ1_0 ||
           fmt == FMT_IQ1_BN;
}

Fmt fmt_as_floats(Fmt fmt)
{
    bool itself = fmt == FMT_F32 || fmt == FMT_F16 || fmt == FMT_BF16;
    bool plain = fmt_info[fmt].elems == 1 || fmt == FMT_IQ2_BN; /* whose scales are f32 */
    return itself ? fmt : is_q8(fmt) ? FMT_Q8_0 : plain ? FMT_F32 : FMT_F16;
}

Fmt fmt_by_name(const char *text)
{
    int f = 0;
    while (f < FMT_COUNT && strcmp(fmt_info[f].name, text) != 0)
        f++;
    return (Fmt)f;
}

Fmt fmt_by_gguf(int64_t id)
{
    int f = 0;
    while (f < FMT_COUNT && (id < 0 || fmt_info[f].gguf != id))
        f++;
    return (Fmt)f;
}

static bool is_i2s(Fmt fmt)
{
    return fmt == FMT_I2_S || fmt == FMT_I2_S_ARM64 || fmt == FMT_I2_S_ROW4;
}

/* Bytes before the blocks of each row: its scale, f16 or f32. */
static int row_head(Fmt fmt)
{
    return fmt == FMT_IQ1_BN ? 2 : fmt == FMT_IQ2_BN ? 4 : 0;
}

/* The block of value `at`. */
static const uint8_t *block_of(const Tensor *t, int64_t at)
{
    const FmtInfo *f = &fmt_info[t->fmt];
    int head = row_head(t->fmt);
    return t->data + at / f->elems * f->bytes + (head ? (at / t->cols + 1) * head : 0);
}

size_t fmt_extent(Fmt fmt, int64_t rows, int64_t cols)
{
    const FmtInfo *f = &fmt_info[fmt];
    if (f->elems == 0 || rows <= 0 || cols <= 0 || rows > INT64_MAX / cols)
        return 0;
    int64_t n = rows * cols;
    bool cut = (is_i2s(fmt) ? n : cols) % f->elems != 0; /* I2_S runs on from row to row */
    if (cut || (fmt == FMT_I2_S_ROW4 && rows % 4 != 0))
        return 0;
    uint64_t blocks = (uint64_t)(n / f->elems), heads = (uint64_t)(rows * row_head(fmt));
    if (blocks > ((uint64_t)(INT64_MAX - f->tail) - heads) / (uint64_t)f->bytes)
        return 0;
    return (size_t)(blocks * (uint64_t)f->bytes + heads + (uint64_t)f->tail);
}

/* ---- half precision ---- */

uint16_t float_to_f16(float f)
{
    uint32_t bits = bits_of_f32(f), mag = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x477ff000u) /* 65520, halfway between the largest f16 and what would follow */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000u) /* below 2^-14: adding 1/2 shifts and rounds the mantissa */
        return (uint16_t)(sign | (bits_of_f32(f32_of_bits(mag) + 0.5f) - 0x3f000000u));
    uint32_t even = mag >> 13 & 1;
    return (uint16_t)(sign | (mag - (112u << 23) + 0xfff + even) >> 13);
}

static float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return f16_to_float(h);
}

/* ---- ternary blocks to codes: two bits minus 1, so that the invalid 3 reads as 2 ---- */

/* I2_S x128: 128 values in 32 bytes; byte j holds values j, j+32, j+64, j+96, the first on top.
 *
 *     bit      7   6   5   4   3   2   1   0
 *     byte j |  j    | 32+j  | 64+j  | 96+j  |        j = 0..31
 */
static void codes_x128(const uint8_t *b, int8_t *out)
{
    for (int k = 0; k < 4; k++)
        for (int j = 0; j < 32; j++)
            out[32 * k + j] = (int8_t)((b[j] >> (6 - 2 * k) & 3) - 1);
}

/* I2_S arm64: 64 values in 16 bytes, the same in half the width.
 *
 *     bit      7   6   5   4   3   2   1   0
 *     byte j |  j    | 16+j  | 32+j  | 48+j  |        j = 0..15
 */
static void codes_arm64(const uint8_t *b, int8_t *out)
{
    for (int k = 0; k < 4; k++)
        for (int j = 0; j < 16; j++)
            out[16 * k + j] = (int8_t)((b[j] >> (6 - 2 * k) & 3) - 1);
}

/* TQ2_0: 256 values in 64 bytes, then an f16 scale; each half of the 64 holds 128 values, the
 * first at the bottom.
 *
 *     bit      7   6   5   4   3   2   1   0
 *     byte j | 96+j  | 64+j  | 32+j  |  j    |        j = 0..31, values 0..127
 *     byte 32+j: the same for values 128..255          bytes 64, 65: scale
 */
static void codes_tq2(const uint8_t *b, int8_t *out)
{
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 4; k++)
            for (int j = 0; j < 32; j++)
                out[128 * half + 32 * k + j] = (int8_t)((b[32 * half + j] >> 2 * k & 3) - 1);
}

/* Q2_0, PQ2_0: an f16 scale, then 64 (128) values from the bottom of each byte up. Code 3 is
 * defined and means +2, so that a file may hold what is not ternary.
 *
 *     bytes 0, 1: scale     bit        7   6   5   4   3   2   1   0
 *                           byte 2+j | 4j+3  | 4j+2  | 4j+1  | 4j    |   j = 0..15 (0..31)
 *
 * Read in block_q2_0 and dequantize_row_q2_0 of ggml (ggml-org/llama.cpp pull request 24448,
 * merged in July 2026; 64 values), and in the fork that began it (PrismML-Eng/llama.cpp: 128
 * values; first as id 42, later named PQ2_0, id 142). gguf.c tells them apart by extents.
 */
static void codes_q2(const uint8_t *codes, int n, int8_t *out)
{
    for (int i = 0; i < n; i++)
        out[i] = (int8_t)((codes[i / 4] >> i % 4 * 2 & 3) - 1);
}

static void codes_q2_64(const uint8_t *b, int8_t *out)
{
    codes_q2(b + 2, 64, out);
}

static void codes_q2_128(const uint8_t *b, int8_t *out)
{
    codes_q2(b + 2, 128, out);
}

/* PQ2_0 of another writer: the same codes in bytes 0..31, the scale in 32 and 33. */
static void codes_q2_last(const uint8_t *b, int8_t *out)
{
    codes_q2(b, 128, out);
}

/* Q1_0: an f16 scale, then 128 signs from the bottom of each byte up: 1 is +, 0 is -. No zeros.
 * (block_q1_0 and dequantize_row_q1_0 of ggml.)
 *
 *     bytes 0, 1: scale     bit      7      ...   0
 *                           byte 2+j | 8j+7 ... 8j |      j = 0..15
 */
static void codes_q1(const uint8_t *b, int8_t *out)
{
    for (int i = 0; i < 128; i++)
        out[i] = (int8_t)((b[2 + i / 8] >> i % 8 & 1) * 2 - 1);
}

/* STQ1_0 ("Sherry"): of every four values, 16 apart, one is zero. 256 values in 64 groups of 5 bits:
 *
 *     bytes  0..31   nibble g, the low one first: 4 z + n    z: which value is zero
 *     bytes 32..39   bit g: s
 *     bytes 40, 41   f16 scale
 *     group g: values 64 (g / 16) + g % 16 + 16 k, k = 0..3; those that are not zero have, in this
 *     order, the signs s, s ^ bit 0 of n, s ^ bit 1 of n; 1 is -
 *
 * (ggml-org/llama.cpp pull request 22836: its table of 32 patterns is this rule.) */
static void codes_stq1(const uint8_t *b, int8_t *out)
{
    for (int g = 0; g < 64; g++) {
        int slot = b[g / 2] >> 4 * (g % 2) & 15, s = b[32 + g / 8] >> g % 8 & 1, nth = 0;
        for (int k = 0; k < 4; k++) {
            int minus = nth ? s ^ (slot >> (nth - 1) & 1) : s;
            bool zero = k == slot >> 2;
            out[64 * (g / 16) + g % 16 + 16 * k] = (int8_t)(zero ? 0 : minus ? -1 : 1);
            nth += !zero;
        }
    }
}

/* The top digit of b, a fraction of 256 in base 3: b * 3 / 256, as compares. */
static inline int8_t top_digit(uint8_t b)
{
    return (int8_t)((b > 85) + (b > 170) - 1);
}

/* TQ1_0: 256 values in 52 bytes of base 3 digits, then an f16 scale. A byte is a fraction: its
 * first digit is floor(b * 3 / 256), the next one the same of b * 3 mod 256, and so on.
 *
 *     bytes  0..31   digit k of byte j: value       32 k + j      k = 0..4, j = 0..31
 *     bytes 32..47   digit k of byte j: value 160 + 16 k + j      k = 0..4, j = 0..15
 *     bytes 48..51   digit k of byte j: value 240 +  4 k + j      k = 0..3, j = 0..3
 *     bytes 52..53   scale
 */
static void codes_tq1(const uint8_t *b, int8_t *out)
{
    uint8_t rest[48];
    memcpy(rest, b, 48);
    for (int k = 0; k < 5; k++)
        for (int j = 0; j < 32; j++) {
            out[32 * k + j] = top_digit(rest[j]);
            rest[j] = (uint8_t)(rest[j] * 3);
        }
    for (int k = 0; k < 5; k++)
        for (int j = 0; j < 16; j++) {
            out[160 + 16 * k + j] = top_digit(rest[32 + j]);
            rest[32 + j] = (uint8_t)(rest[32 + j] * 3);
        }
    for (int j = 0; j < 4; j++) {
        uint8_t last = b[48 + j];
        for (int k = 0; k < 4; k++, last = (uint8_t)(last * 3))
            out[240 + 4 * k + j] = top_digit(last);
    }
}

/* PTQ1_0: as TQ1_0, of 128 values in 26 bytes (block_ptq1_0 of PrismML-Eng/llama.cpp).
 *
 *     bytes  0..15   digit k of byte j: value      16 k + j      k = 0..4, j = 0..15
 *     bytes 16..23   digit k of byte j: value 80 +  8 k + j      k = 0..4, j = 0..7
 *     bytes 24, 25   digit k of byte j: value 120 + 2 k + j      k = 0..3, j = 0, 1
 *     bytes 26, 27   f16 scale
 */
static void codes_ptq1(const uint8_t *b, int8_t *out)
{
    static const struct {
        int from, n, digits, value;
    } part[] = {{0, 16, 5, 0}, {16, 8, 5, 80}, {24, 2, 4, 120}};
    for (int p = 0; p < 3; p++)
        for (int j = 0; j < part[p].n; j++) {
            uint8_t rest = b[part[p].from + j];
            for (int k = 0; k < part[p].digits; k++, rest = (uint8_t)(rest * 3))
                out[part[p].value + part[p].n * k + j] = top_digit(rest);
        }
}

/* IQ1_BN: 64 values in 13 bytes of base 3 digits, the last first: digit k of a byte is the top digit of
 * b * 3^(4-k). An f16 scale stands before each row. (block_iq1_bn of ikawrakow/ik_llama.cpp.)
 *
 *     byte 3 g + j   digit k: value 16 g + 5 j + k      g = 0..3, j = 0..2, k = 0..4
 *     byte 12        digit g: value 16 g + 15           g = 0..3
 */
static void codes_iq1bn(const uint8_t *b, int8_t *out)
{
    static const uint8_t power[5] = {81, 27, 9, 3, 1};
    for (int g = 0; g < 4; g++) {
        for (int i = 0; i < 15; i++)
            out[16 * g + i] = top_digit((uint8_t)(b[3 * g + i / 5] * power[i % 5]));
        out[16 * g + 15] = top_digit((uint8_t)(b[12] * power[g]));
    }
}

/* IQ2_BN: 64 values in 16 bytes; an f32 scale stands before each row.
 *
 *     bit      7   6   5   4   3   2   1   0
 *     byte j | 48+j  | 32+j  | 16+j  |  j    |        j = 0..15
 */
static void codes_iq2bn(const uint8_t *b, int8_t *out)
{
    for (int k = 0; k < 4; k++)
        for (int j = 0; j < 16; j++)
            out[16 * k + j] = (int8_t)((b[j] >> 2 * k & 3) - 1);
}

/* I2_S row4: a byte holds one column of four rows, the first row on top; the groups of four rows
 * follow one another. No blocks: a run along a row is one shift over consecutive bytes.
 *
 *     bit               7    6    5    4    3    2    1    0
 *     byte g*cols + c | 4g, c   | 4g+1, c | 4g+2, c | 4g+3, c |   row, column; g = 0..rows/4-1
 */
static void codes_row4(const Tensor *t, int64_t first, int64_t n, int8_t *out)
{
    while (n > 0) {
        int64_t row = first / t->cols, col = first % t->cols;
        int64_t run = t->cols - col < n ? t->cols - col : n;
        const uint8_t *p = t->data + row / 4 * t->cols + col;
        int shift = 6 - 2 * (int)(row % 4);
        for (int64_t i = 0; i < run; i++)
            out[i] = (int8_t)((p[i] >> shift & 3) - 1);
        first += run;
        n -= run;
        out += run;
    }
}

static void (*const code_block[FMT_COUNT])(const uint8_t *b, int8_t *out) = {
    [FMT_I2_S] = codes_x128, [FMT_I2_S_ARM64] = codes_arm64, [FMT_TQ1_0] = codes_tq1,
    [FMT_TQ2_0] = codes_tq2, [FMT_Q2_0] = codes_q2_64,       [FMT_PQ2_0] = codes_q2_128,
    [FMT_Q1_0] = codes_q1,   [FMT_PQ2_0_LAST] = codes_q2_last, [FMT_PTQ1_0] = codes_ptq1,
    [FMT_STQ1_0] = codes_stq1, [FMT_IQ1_BN] = codes_iq1bn,   [FMT_IQ2_BN] = codes_iq2bn,
};

static void check_range(const Tensor *t, int64_t first, int64_t n)
{
    CHECK(first >= 0 && n >= 0 && first <= t->rows * t->cols && n <= t->rows * t->cols - first);
}

void tensor_codes(const Tensor *t, int64_t first, int64_t n, int8_t *out)
{
    check_range(t, first, n);
    if (t->fmt == FMT_I2_S_ROW4) {
        codes_row4(t, first, n, out);
        return;
    }
    CHECK(code_block[t->fmt]);
    const int64_t elems = fmt_info[t->fmt].elems;
    for (int64_t skip = first % elems; n > 0; skip = 0) {
        int64_t k = elems - skip < n ? elems - skip : n;
        const uint8_t *b = block_of(t, first);
        first += k;
        if (k == elems) {
            code_block[t->fmt](b, out);
        } else {
            int8_t part[MAX_BLOCK];
            code_block[t->fmt](b, part);
            memcpy(out, part + skip, (size_t)k);
        }
        out += k;
        n -= k;
    }
}

/* ---- scales ---- */

/*     I2_S     | n/4 bytes of codes | f32 scale | 28 bytes unused |
 *     TQx_0, PTQ1_0, STQ1_0, PQ2_0_LAST   | codes | f16 scale |  ...
 *     IQx_BN   | f16 or f32 scale | blocks of the row |  ...
 *     others of is_q8   | f16 scale | codes |  ...
 */
float tensor_scale(const Tensor *t, int64_t at)
{
    check_range(t, at, 0);
    const FmtInfo *f = &fmt_info[t->fmt];
    bool last = t->fmt == FMT_TQ1_0 || t->fmt == FMT_TQ2_0 || t->fmt == FMT_PTQ1_0 ||
                t->fmt == FMT_STQ1_0 || t->fmt == FMT_PQ2_0_LAST;
    int head = row_head(t->fmt);
    float s = 1;
    if (is_i2s(t->fmt))
        memcpy(&s, t->data + t->rows * t->cols / 4, 4);
    else if (head == 2)
        s = f16_at(block_of(t, at / t->cols * t->cols) - head);
    else if (head)
        memcpy(&s, block_of(t, at / t->cols * t->cols) - head, 4);
    else if (last)
        s = f16_at(block_of(t, at) + f->bytes - 2);
    else if (is_q8(t->fmt))
        s = f16_at(block_of(t, at));
    return s;
}

/* ---- blocks to floats ---- */

enum { RUN = 32 }; /* values converted at a time: a constant, so that the loops become vectors */

static void float_f16(const uint8_t *b, float *out)
{
    uint16_t h[RUN];
    memcpy(h, b, sizeof h);
    for (int i = 0; i < RUN; i++)
        out[i] = f16_to_float(h[i]);
}

static void float_bf16(const uint8_t *b, float *out)
{
    uint16_t h[RUN];
    memcpy(h, b, sizeof h);
    for (int i = 0; i < RUN; i++)
        out[i] = f32_of_bits((uint32_t)h[i] << 16);
}

static void (*const float_run[FMT_COUNT])(const uint8_t *b, float *out) = {
    [FMT_F16] = float_f16,
    [FMT_BF16] = float_bf16,
};

/* The last values of a plain tensor, fewer than a run: padded, so that nothing past it is read. */
static void float_end(const Tensor *t, const uint8_t *b, int64_t n, float *out)
{
    uint8_t padded[2 * RUN] = {0};
    float part[RUN];
    memcpy(padded, b, (size_t)n * 2);
    float_run[t->fmt](padded, part);
    memcpy(out, part, (size_t)n * sizeof *out);
}

static void floats_plain(const Tensor *t, int64_t first, int64_t n, float *out)
{
    const uint8_t *b = t->data + first * 2;
    for (; n >= RUN; n -= RUN, b += 2 * RUN, out += RUN)
        float_run[t->fmt](b, out);
    if (n)
        float_end(t, b, n, out);
}

static void floats_blocks(const Tensor *t, int64_t first, int64_t n, float *out)
{
    const int64_t elems = fmt_info[t->fmt].elems;
    const uint8_t *b = t->data + first / elems * fmt_info[t->fmt].bytes;
    for (int64_t skip = first % elems; n > 0; skip = 0, b += fmt_info[t->fmt].bytes) {
        int64_t k = elems - skip < n ? elems - skip : n;
        float part[MAX_BLOCK];
        float_block[t->fmt](b, k == elems ? out : part);
        if (k < elems)
            memcpy(out, part + skip, (size_t)k * sizeof *out);
        out += k;
        n -= k;
    }
}

static void floats_ternary(const Tensor *t, int64_t first, int64_t n, float *out)
{
    const int64_t elems = fmt_info[t->fmt].elems;
    while (n > 0) {
        int64_t k = elems - first % elems < n ? elems - first % elems : n;
        int8_t code[MAX_BLOCK];
        float scale = tensor_scale(t, first);
        tensor_codes(t, first, k, code);
        for (int64_t i = 0; i < k; i++)
            out[i] = scale * (float)code[i];
        first += k;
        out += k;
        n -= k;
    }
}

void tensor_floats(const Tensor *t, int64_t first, int64_t n, float *out)
{
    check_range(t, first, n);
    if (n == 0)
        return;
    if (t->fmt == FMT_F32)
        memcpy(out, t->data + first * 4, (size_t)n * 4);
    else if (t->fmt == FMT_F16 || t->fmt == FMT_BF16)
        floats_plain(t, first, n, out);
    else if (float_block[t->fmt])
        floats_blocks(t, first, n, out);
    else if (fmt_info[t->fmt].kind == KIND_TERNARY)
        floats_ternary(t, first, n, out);
    else
        die("no floats in format %s", fmt_info[t->fmt].name);
}

void ternary_codes(const Tensor *t, float scale, int64_t first, int64_t n, int8_t *out)
{
    if (fmt_info[t->fmt].kind == KIND_TERNARY) {
        tensor_codes(t, first, n, out);
        return;
    }
    enum { CHUNK = 256 };
    float part[CHUNK], inv = scale > 0 ? 1 / scale : 0;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t k = n - at < CHUNK ? n - at : CHUNK;
        tensor_floats(t, first + at, k, part);
        for (int64_t i = 0; i < k; i++) {
            float v = part[i] * inv;
            out[at + i] = (int8_t)(v > 0.5f) - (int8_t)(v < -0.5f);
        }
    }
}

/* ---- I2_S, of which no file says how it was packed ---- */

static const struct {
    const char *name;
    Fmt fmt;
} i2s_layouts[] = {{"x128", FMT_I2_S}, {"arm64", FMT_I2_S_ARM64}, {"row4", FMT_I2_S_ROW4}};
enum { NI2S = sizeof i2s_layouts / sizeof *i2s_layouts };

const char *i2s_layout_name(Fmt fmt)
{
    for (int i = 0; i < NI2S; i++)
        if (i2s_layouts[i].fmt == fmt)
            return i2s_layouts[i].name;
    return NULL;
}

Fmt i2s_layout_by_name(Session *s, const char *name)
{
    if (!name)
        return FMT_I2_S;
    for (int i = 0; i < NI2S; i++)
        if (!strcmp(i2s_layouts[i].name, name))
            return i2s_layouts[i].fmt;
    fail(s, (Loc){0}, "--i2s-layout is x128, arm64 or row4, not '%s'", name);
}
