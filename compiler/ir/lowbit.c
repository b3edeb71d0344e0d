/* lowbit.c: copies of float matrices in few bits a value.
 *
 * One idea: a row has one scale c, and what its codes stand for are the odd multiples of c / 2 (of
 * 8 bits: the multiples of c). Rows are padded to a multiple of 8 and columns to one of 128.
 *
 *   h8   | row 0, row 1, ... : a byte a column, -127 .. 127 | to 64 | f32 scale a row      |
 *   h4   | row 0, row 1, ... : 4 bits a column, 0 .. 15     | to 64 | f32 scale a row      |
 *   h6   | row 0, row 1, ... : 4 bits a column | row 0, row 1, ... : 2 bits | to 64 | about |
 *
 * 128 columns of 4 bits are 64 bytes, of 2 bits 32 bytes; a code of 6 bits is 4 * (4 bits) + 2 bits:
 *
 *   byte 0           32          63             byte i of 32
 *   +----------------+-----------+              +---------------+
 *   | 3-0  i         | 64 + i    |              | 1-0  i        |
 *   | 7-4  32 + i    | 96 + i    |              | 3-2  32 + i   |
 *   +----------------+-----------+              | 5-4  64 + i   |
 *   4 bits: code, or code / 4 of h6             | 7-6  96 + i   |
 *                                               +---------------+
 *
 * about: 40 f32 for each 8 rows, five numbers a row; each number of all 8 rows before the next number:
 *
 *   f32  0        8           16       24          32        39
 *   +--------+-----------+--------+-----------+--------+     w   the row
 *   | c      | |w - v4|  | |v4|   | |w - v6|  | |v6|   |     v6  values of its codes, c/2 (2 code - 63)
 *   +--------+-----------+--------+-----------+--------+     v4  values of the upper 4 bits alone,
 *                                                                c/2 (8 (code / 4) - 60)
 *
 * The norms are Euclidean and rounded up: kernels exclude rows by them, and none may be missed. A row
 * with a value that is NaN, or larger than 2^60, has INFINITY for them.
 */
#include <math.h>
#include <string.h>

#include "ir/ir.h"

enum { LINE = 64, ROWS = 8, COLS = 128, ABOUT = 5 };

static int bits_of(Fmt fmt)
{
    return fmt == FMT_H8 ? 8 : fmt == FMT_H6 ? 6 : 4;
}

int64_t lowbit_bytes(Fmt fmt, int64_t rows, int64_t cols, int64_t *scales)
{
    int64_t r = round_up(rows, ROWS), numbers = fmt == FMT_H6 ? ABOUT : 1;
    *scales = round_up(r * round_up(cols, COLS) * bits_of(fmt) / 8, LINE);
    return round_up(*scales + r * numbers * (int64_t)sizeof(float), LINE);
}

int64_t lowbit_blocks(int64_t rows)
{
    return round_up(rows, ROWS) / ROWS;
}

/* ---- one row ---- */

/* With smaller steps, products with activations would underflow: the codes of such rows are those of
 * zeros, and |w - v| is then |w|. */
static const float LEAST_STEP = 0x1p-60f;

static float largest(const float *w, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return most;
}

/* Codes 0 .. 2^bits - 1 of a row and the scale; 8 bits: -127 .. 127 as bytes. */
static float row_codes(const float *w, int64_t n, int bits, uint8_t *code)
{
    int top = bits == 8 ? 254 : (1 << bits) - 1;
    float half = (float)top / 2, scale = largest(w, n) / half;
    if (!(scale >= LEAST_STEP && scale <= 0x1p60f))
        scale = 0;
    float inv = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < n; i++) {
        float v = w[i] * inv + half; /* NaN becomes 0 */
        code[i] = (uint8_t)((v > 0 ? (v < (float)top ? v : (float)top) : 0) + 0.5f);
    }
    for (int64_t i = 0; i < n && bits == 8; i++)
        code[i] = (uint8_t)(code[i] - 127);
    return scale;
}

static void put_row4(const uint8_t *code, int shift, int64_t wide, uint8_t *out)
{
    for (int64_t k = 0; k < wide; k += 64, out += 32)
        for (int i = 0; i < 32; i++)
            out[i] = (uint8_t)(code[k + i] >> shift | (code[k + 32 + i] >> shift) << 4);
}

static void put_row2(const uint8_t *code, int64_t wide, uint8_t *out)
{
    for (int64_t k = 0; k < wide; k += 128, out += 32)
        for (int i = 0; i < 32; i++)
            out[i] = (uint8_t)((code[k + i] & 3) | (code[k + 32 + i] & 3) << 2 |
                               (code[k + 64 + i] & 3) << 4 | (code[k + 96 + i] & 3) << 6);
}

/* ---- norms ---- */

/* Sums in double of up to 2^17 squares are off by less than one part in 2^30. The least norm keeps
 * clear of numbers that f32 rounds coarsely. */
static float norm_up(double sum)
{
    double norm = sqrt(sum) * (1 + 0x1p-30);
    return norm <= 0x1p60 ? (float)(norm * (1 + 0x1p-22) + 0x1p-100) : INFINITY;
}

enum { LANES = 8 };

static double sum_of(const double *lane)
{
    double sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += lane[i];
    return sum;
}

/* Halves of the scale are exact in double, and so are its products with codes. In lanes, which the C
 * compiler may turn into vectors. */
static void put_about(const float *w, const uint8_t *code, int64_t n, float scale, float *out)
{
    double half = 0.5 * (double)scale, sum[ABOUT][LANES] = {{0}};
    for (int64_t i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES && i + j < n; j++) {
            double x = (double)w[i + j], a = half * (8 * (code[i + j] / 4) - 60);
            double b = half * (2 * code[i + j] - 63);
            sum[0][j] += x * x;
            sum[1][j] += (x - a) * (x - a);
            sum[2][j] += a * a;
            sum[3][j] += (x - b) * (x - b);
            sum[4][j] += b * b;
        }
    bool whole = sqrt(sum_of(sum[0])) <= 0x1p60;
    out[0] = scale;
    for (int i = 1; i < ABOUT; i++)
        out[i * ROWS] = whole ? norm_up(sum_of(sum[i])) : INFINITY;
}

/* ---- rows ---- */

static void pack_row(const float *w, Fmt fmt, const Tensor *t, int64_t r, uint8_t *code,
                     uint8_t *out)
{
    int64_t wide = round_up(t->cols, COLS), rows = round_up(t->rows, ROWS), at;
    lowbit_bytes(fmt, t->rows, t->cols, &at);
    float *scales = (float *)(void *)(out + at);
    float scale = row_codes(w, t->cols, bits_of(fmt), code);
    if (fmt == FMT_H8) {
        memcpy(out + r * wide, code, (size_t)wide);
    } else {
        put_row4(code, fmt == FMT_H6 ? 2 : 0, wide, out + r * (wide / 2));
    }
    if (fmt == FMT_H6) {
        put_row2(code, wide, out + rows * (wide / 2) + r * (wide / 4));
        put_about(w, code, t->cols, scale, scales + r / ROWS * ROWS * ABOUT + r % ROWS);
    } else {
        scales[r] = scale;
    }
}

void lowbit_pack(Session *s, const Tensor *t, Fmt fmt, int64_t from, int64_t to, uint8_t *out)
{
    float *w = NEW_ARRAY(s, float, t->cols);
    uint8_t *code = NEW_ARRAY(s, uint8_t, round_up(t->cols, COLS));
    for (int64_t r = from * ROWS; r < to * ROWS && r < t->rows; r++) {
        tensor_floats(t, r * t->cols, t->cols, w);
        pack_row(w, fmt, t, r, code, out);
    }
}
