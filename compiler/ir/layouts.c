/* layouts.c: ternary weights as kernels read them.
 *
 * One idea: a layout is a row of a table: a tile of weights, the bytes after the tiles, and a
 * function that writes one block of rows. Blocks of rows know nothing of each other, so they can
 * be packed in any order. Weights past the tensor's rows and columns are zeros.
 *
 *   block of rows 0: tile, tile ... | block 1: tile, tile ... | ... | to 64 | scales ... | to 64
 *
 * q2r4, q2r4b: a tile is 4 rows x 128 columns in 128 bytes, code = w + 1.
 *
 *   byte 0         32         64         96        127      byte i of a row's 32:
 *   +----------+----------+----------+----------+           bits 1-0  column i      code
 *   | row 0    | row 1    | row 2    | row 3    |           bits 3-2  column i + 32
 *   +----------+----------+----------+----------+           bits 5-4  column i + 64
 *   scales: f32, one (q2r4) or [rows][cols/256 up] (q2r4b)  bits 7-6  column i + 96
 *
 * t3r32: a tile is 32 rows x 24 columns in 160 bytes. Columns go by groups of three; the weights
 * a, b, c of one are the number v = 9a + 3b + c in -13 .. 13.
 *
 *   byte 0         32         64         96         128       159
 *   +----------+----------+----------+----------+-----------+   byte r of a plane: row r
 *   | plane 0  | plane 1  | plane 2  | plane 3  | signs     |   plane j  bits 3-0  |v| of group 2j
 *   +----------+----------+----------+----------+-----------+            bits 7-4  of group 2j + 1
 *                                                               signs    bit 7-g   v < 0 in group g
 *   scales: | f32 scale | 60 zeros | int32 [rows, up to 32]: 33 x the row's groups with v < 0 |
 *
 * q2r16g64, q2r16g128, q2r16g256: a tile is 16 rows x 16 columns in 64 bytes, code = w + 1; columns go
 * up to a multiple of 64. Each block of rows ends in its scales, f16, 16 rows of each group of G
 * columns, which count times the tensor's unit, an f32: a row is read by its block alone.
 *
 *   byte 0   4         60   63      byte 4r + j of a tile:
 *   +-----+-----+- - +-------+      bits 1-0  row r, column j        bits 3-2  column j + 4
 *   | row 0   1  ...  row 15 |      bits 5-4  column j + 8           bits 7-6  column j + 12
 *   +-----+-----+- - +-------+
 *   block: | tile 0 | tile 1 | ... | f16 [K/G up][16] | 0, up to 60 of 64 bytes | f32 unit |
 *
 * A vector holds the same four columns of 4, 8 or 16 rows: what a dot product of bytes multiplies with
 * four activations, the same for all rows. So sums and scales of rows stand in lanes.
 *
 * Kernels that negate a group's sum by inverting its two halves are 33 off (~h = -h - 1, and
 * 32 + 1 = 33): the last numbers put that right.
 */
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

enum { LINE = 64, SCALE_COLS = 256, T3_LOSS = 33, Q2G_COLS = 64 };

typedef struct Rows { /* a block of rows, and where its bytes go */
    const Tensor *t;
    float scale, factor; /* the tensor's one; what each scale is multiplied by */
    const GroupScales *groups;
    int group;            /* columns that share a scale; 0: no such layout */
    int64_t first, count; /* of the tensor; count: those that are real */
    int64_t wide, block;  /* columns, up to whole tiles; bytes */
    const int8_t *codes;  /* -1, 0, +1; [rows of a tile x wide] */
    uint8_t *tiles;       /* all zeros, as all bytes to be written */
    uint8_t *scales;      /* of the whole tensor; block 0 writes what belongs to no row */
} Rows;

typedef struct Layout {
    int rows, cols, bytes;                         /* a tile, or several that are never cut */
    int64_t (*scales)(int64_t rows, int64_t cols); /* bytes */
    void (*pack)(const Rows *b);
    int group; /* columns of an f16 scale behind a block's tiles; 0: none there */
} Layout;

static void put_f32(uint8_t *out, float v)
{
    memcpy(out, &v, sizeof v);
}

/* ---- q2r4, q2r4b ---- */

static int64_t q2r4_scales(int64_t rows, int64_t cols)
{
    (void)rows, (void)cols;
    return sizeof(float);
}

static int64_t q2r4b_scales(int64_t rows, int64_t cols)
{
    return rows * (round_up(cols, SCALE_COLS) / SCALE_COLS) * (int64_t)sizeof(float);
}

static void q2_tiles(const Rows *b)
{
    uint8_t *out = b->tiles;
    for (int64_t c = 0; c < b->wide; c += 128)
        for (int r = 0; r < 4; r++, out += 32) {
            const int8_t *code = b->codes + r * b->wide + c;
            for (int i = 0; i < 32; i++)
                out[i] = (uint8_t)((code[i] + 1) | (code[i + 32] + 1) << 2 |
                                   (code[i + 64] + 1) << 4 | (code[i + 96] + 1) << 6);
        }
}

static void q2r4_pack(const Rows *b)
{
    q2_tiles(b);
    if (b->first == 0)
        put_f32(b->scales, b->scale * b->factor);
}

static void q2r4b_pack(const Rows *b)
{
    int64_t cols = b->t->cols, each = round_up(cols, SCALE_COLS) / SCALE_COLS;
    q2_tiles(b);
    for (int64_t r = b->first; r < b->first + b->count; r++)
        for (int64_t i = 0; i < each; i++)
            put_f32(b->scales + 4 * (r * each + i),
                    tensor_scale(b->t, r * cols + i * SCALE_COLS) * b->factor);
}

/* ---- t3r32 ---- */

static int64_t t3r32_scales(int64_t rows, int64_t cols)
{
    (void)cols;
    return LINE + round_up(rows, 32) * (int64_t)sizeof(int32_t);
}

/* One row of one tile; returns how many of its groups are negative. */
static int t3_row(const int8_t *code, uint8_t *out)
{
    int signs = 0, negative = 0;
    for (int j = 0; j < 4; j++, code += 6) {
        int even = 9 * code[0] + 3 * code[1] + code[2];
        int odd = 9 * code[3] + 3 * code[4] + code[5];
        out[32 * j] = (uint8_t)(abs(even) | abs(odd) << 4);
        signs = signs << 2 | (even < 0) << 1 | (odd < 0);
        negative += (even < 0) + (odd < 0);
    }
    out[128] = (uint8_t)signs;
    return negative;
}

static void t3r32_pack(const Rows *b)
{
    for (int r = 0; r < 32; r++) {
        int32_t loss = 0;
        for (int64_t c = 0; c < b->wide; c += 24)
            loss += T3_LOSS * t3_row(b->codes + r * b->wide + c, b->tiles + c / 24 * 160 + r);
        memcpy(b->scales + LINE + 4 * (b->first + r), &loss, sizeof loss);
    }
    if (b->first == 0)
        put_f32(b->scales, b->scale * b->factor);
}

/* ---- q2r16g ---- */

static int64_t q2g_scales(int64_t rows, int64_t cols)
{
    (void)rows, (void)cols;
    return 0;
}

static void q2g_pack(const Rows *b)
{
    uint8_t *out = b->tiles, *scales = out + b->wide * 4;
    for (int64_t c = 0; c < b->wide; c += 16, out += 64)
        for (int r = 0; r < 16; r++)
            for (int i = 0; i < 16; i++)
                out[4 * r + i % 4] |= (uint8_t)((b->codes[r * b->wide + c + i] + 1) << i / 4 * 2);
    for (int64_t c = 0; c < b->t->cols; c += b->group, scales += 32)
        for (int64_t r = 0; r < b->count; r++) {
            uint16_t h = group_scale(b->t, b->groups, b->group, b->first + r, c);
            memcpy(scales + 2 * r, &h, sizeof h);
        }
    put_f32(b->tiles + b->block - sizeof(float), b->groups->unit * b->factor);
}

/* Codes of a row: those of floats whose groups have scales of their own are signs. */
static void row_codes(const Rows *b, int64_t row, int8_t *out)
{
    const Tensor *t = b->t;
    float part[Q2G_COLS];
    if (!b->group || b->groups->one || fmt_info[t->fmt].kind == KIND_TERNARY) {
        ternary_codes(t, b->scale, row * t->cols, t->cols, out);
        return;
    }
    for (int64_t c = 0; c < t->cols; c += Q2G_COLS) {
        int64_t n = t->cols - c < Q2G_COLS ? t->cols - c : Q2G_COLS;
        tensor_floats(t, row * t->cols + c, n, part);
        for (int64_t i = 0; i < n; i++)
            out[c + i] = (int8_t)((part[i] > 0) - (part[i] < 0));
    }
}

/* ---- the table ---- */

static const Layout layouts[FMT_COUNT] = {
    [FMT_Q2R4] = {4, 128, 128, q2r4_scales, q2r4_pack, 0},
    [FMT_Q2R4B] = {4, 128, 128, q2r4b_scales, q2r4b_pack, 0},
    [FMT_T3R32] = {32, 24, 160, t3r32_scales, t3r32_pack, 0},
    [FMT_Q2R16G64] = {16, Q2G_COLS, 256, q2g_scales, q2g_pack, 64},
    [FMT_Q2R16G128] = {16, Q2G_COLS, 256, q2g_scales, q2g_pack, 128},
    [FMT_Q2R16G256] = {16, Q2G_COLS, 256, q2g_scales, q2g_pack, 256},
};

static int64_t blocks(const Layout *l, int64_t rows)
{
    return (rows + l->rows - 1) / l->rows;
}

static int64_t block_bytes(const Layout *l, int64_t cols)
{
    int64_t scales = l->group ? group_count(cols, l->group) * l->rows * 2 + 4 : 0;
    return round_up(cols, l->cols) / l->cols * l->bytes + round_up(scales, LINE);
}

int64_t layout_bytes(Fmt fmt, int64_t rows, int64_t cols, int64_t *scales)
{
    const Layout *l = &layouts[fmt];
    CHECK(l->rows);
    int64_t tiles = round_up(blocks(l, rows) * block_bytes(l, cols), LINE);
    *scales = l->group ? 0 : tiles;
    return round_up(tiles + l->scales(rows, cols), LINE);
}

int64_t layout_blocks(Fmt fmt, int64_t rows)
{
    return blocks(&layouts[fmt], rows);
}

void layout_pack(Session *s, const Tensor *t, Fmt fmt, float scale, const GroupScales *groups,
                 float factor, int64_t from, int64_t to, uint8_t *out)
{
    const Layout *l = &layouts[fmt];
    int64_t wide = round_up(t->cols, l->cols), scales;
    int8_t *codes = NEW_ARRAY(s, int8_t, l->rows * wide);
    layout_bytes(fmt, t->rows, t->cols, &scales);
    CHECK(!l->group || groups);
    for (int64_t i = from; i < to; i++) {
        Rows b = {.t = t, .scale = scale, .factor = factor, .wide = wide, .codes = codes};
        b.block = block_bytes(l, t->cols);
        b.groups = groups;
        b.group = l->group;
        b.first = i * l->rows;
        b.count = t->rows - b.first < l->rows ? t->rows - b.first : l->rows;
        b.tiles = out + i * block_bytes(l, t->cols);
        b.scales = out + scales;
        for (int64_t r = 0; r < b.count; r++)
            row_codes(&b, b.first + r, codes + r * wide);
        memset(codes + b.count * wide, 0, (size_t)((l->rows - b.count) * wide));
        l->pack(&b);
    }
}
