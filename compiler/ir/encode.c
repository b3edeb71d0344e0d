/* encode.c: ternary codes to the blocks that files hold; the inverse of the decoders of formats.c,
 * where the layouts are drawn.
 */
#include "ir/ir.h"

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
