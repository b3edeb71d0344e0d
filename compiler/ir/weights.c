/* weights.c: weights as kernels read them, made from the model file only when they are written.
 *
 * One idea: passes change a weight's type, never its bytes. The bytes of any type follow from the
 * file's tensors (the weight's own and its factors), so a module that was read back from text packs
 * to the same bytes.
 */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "bn_model.h"
#include "ir/ir.h"
#include "ir/vocab.h"

enum { LINE = 64, VALUE_COLS = 128, CHUNK = 1 << 14 };
static const int64_t PIECE = BN_BNW_PIECE;

static int64_t type_rows(const Type *t)
{
    return t->rank == 2 ? t->dim[0].n : 1;
}

static int64_t type_cols(const Type *t)
{
    return t->dim[t->rank - 1].n;
}

int64_t packed_bytes(const Type *t, int64_t *scales)
{
    int64_t rows = type_rows(t), cols = type_cols(t), at = 0;
    FmtKind kind = fmt_info[t->fmt].kind;
    int64_t bytes = kind == KIND_PACKED   ? layout_bytes(t->fmt, rows, cols, &at)
                    : kind == KIND_LOWBIT ? lowbit_bytes(t->fmt, rows, cols, &at)
                                          : round_up((int64_t)fmt_extent(t->fmt, rows, cols), LINE);
    if (scales)
        *scales = at;
    return bytes;
}

/* ---- ternary codes and their scales ---- */

/* Mean of |w|, summed in double: the scale of b1.58's absmean quantization
 * (Ma et al. 2024, "The Era of 1-bit LLMs", eq. 1-3). */
static float absmean(const Tensor *t)
{
    float part[CHUNK];
    double sum = 0;
    int64_t n = t->rows * t->cols;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t k = n - at < CHUNK ? n - at : CHUNK;
        tensor_floats(t, at, k, part);
        for (int64_t i = 0; i < k; i++)
            sum += fabsf(part[i]);
    }
    return (float)(sum / (double)n);
}

/* A block scale that is zero belongs to a block of zeros and agrees with any other. */
static float first_scale(const Tensor *t)
{
    int64_t n = t->rows * t->cols, step = fmt_info[t->fmt].elems;
    for (int64_t at = 0; at < n; at += step)
        if (tensor_scale(t, at) != 0)
            return tensor_scale(t, at);
    return 0;
}

float ternary_scale(const Tensor *t)
{
    float s = 0;
    if (fmt_info[t->fmt].kind == KIND_TERNARY)
        return first_scale(t);
    return tensor_is_ternary(t, &s) ? s : absmean(t);
}

/* 32 values that are whole numbers times an f16 scale (fmt_as_floats says of which formats), as a
 * block of q8_0 (drawn in blocks.c): exact. */
static void put_q8(const float *v, float scale, uint8_t *out)
{
    uint16_t half = float_to_f16(scale);
    memcpy(out, &half, 2);
    for (int i = 0; i < 32; i++) {
        float q = scale != 0 ? roundf(v[i] / scale) : 0;
        out[2 + i] = (uint8_t)(int8_t)(q >= -127 && q <= 127 ? q : 0);
    }
}

/* Elements [from, to), cut between blocks. */
static void pack_floats(const Weight *w, int i, int64_t from, int64_t to, uint8_t *out)
{
    const Tensor *t = w->tensor ? &w->tensor[i] : NULL;
    const FmtInfo *info = &fmt_info[w->type->fmt];
    float part[CHUNK];
    CHECK((t || w->type->fmt != FMT_Q8_0) && !w->times);
    if (t && t->fmt == w->type->fmt) {
        int64_t at = from / info->elems * info->bytes;
        memcpy(out + at, t->data + at, (size_t)((to - from) / info->elems * info->bytes));
        return;
    }
    for (int64_t at = from; at < to; at += CHUNK) {
        int64_t k = to - at < CHUNK ? to - at : CHUNK;
        if (t)
            tensor_floats(t, at, k, part);
        for (int64_t j = 0; w->type->fmt == FMT_Q8_0 && j < k; j += 32)
            put_q8(part + j, tensor_scale(t, at + j), out + (at + j) / 32 * info->bytes);
        for (int64_t j = 0; w->type->fmt != FMT_Q8_0 && j < k; j++) {
            float v = t ? part[j] : w->constant;
            uint16_t h = float_to_f16(v);
            if (w->type->fmt == FMT_F16)
                memcpy(out + 2 * (at + j), &h, 2);
            else
                memcpy(out + 4 * (at + j), &v, sizeof v);
        }
    }
}

/* A tensor has parts that can be packed apart and in any order: blocks of rows, or values. */
static int64_t pack_parts(const Weight *w)
{
    FmtKind kind = fmt_info[w->type->fmt].kind;
    int64_t rows = type_rows(w->type);
    return kind == KIND_PACKED   ? layout_blocks(w->type->fmt, rows)
           : kind == KIND_LOWBIT ? lowbit_blocks(rows)
                                 : rows * type_cols(w->type);
}

/* What the scales of layer i are multiplied by. */
static float factor_of(const Weight *w, int i)
{
    float f = 1;
    CHECK(!w->times || w->factor);
    if (w->times)
        tensor_floats(&w->factor[i], 0, 1, &f);
    return f;
}

/* Masters that absmean makes ternary have one scale. */
static GroupScales groups_of(const Weight *w, int i)
{
    GroupScales g = {.one = true};
    if (w->groups)
        return w->groups[i];
    if (!group_scales(&w->tensor[i], fmt_group(w->type->fmt), &g))
        g.unit = ternary_scale(&w->tensor[i]);
    return g;
}

/* Where all of the tensor's bytes are zeros before. */
static void pack_part(Session *s, const Weight *w, int i, int64_t from, int64_t to, uint8_t *out)
{
    if (fmt_info[w->type->fmt].kind == KIND_PACKED && fmt_group(w->type->fmt)) {
        GroupScales groups = groups_of(w, i);
        layout_pack(s, &w->tensor[i], w->type->fmt, groups.unit, &groups, factor_of(w, i), from, to,
                    out);
    } else if (fmt_info[w->type->fmt].kind == KIND_PACKED)
        layout_pack(s, &w->tensor[i], w->type->fmt, ternary_scale(&w->tensor[i]), NULL,
                    factor_of(w, i), from, to, out);
    else if (fmt_info[w->type->fmt].kind == KIND_LOWBIT)
        lowbit_pack(s, &w->tensor[i], w->type->fmt, from, to, out);
    else
        pack_floats(w, i, from, to, out);
}

void weight_pack(Session *s, const Weight *w, int i, uint8_t *out)
{
    memset(out, 0, (size_t)packed_bytes(w->type, NULL));
    pack_part(s, w, i, 0, pack_parts(w), out);
}

/* ---- the .bnw (pictured in bn_model.h) ---- */

void weights_place(Module *m)
{
    int64_t at = BN_BNW_BODY;
    for (Weight *w = m->weights; w; w = w->next) {
        if (w->is_state)
            continue;
        w->at = at;
        w->stride = packed_bytes(w->type, &w->scales);
        at += w->stride * (w->count ? w->count : 1);
    }
    m->vocab_at = at;
    m->weight_bytes = at + round_up(m->vocab_size, LINE);
}

typedef struct Piece { /* of a tensor, some megabytes in the .bnw */
    const Weight *w;
    int layer;
    int64_t from, to;
} Piece;
typedef struct Writing {
    uint8_t *file;
    int64_t size;
    Piece *piece;
    int npiece;
    bool *bad;      /* of each piece: it holds floats that are not finite */
    uint64_t *hash; /* of each PIECE bytes behind the header */
} Writing;

static void cut_pieces(Module *m, Writing *x)
{
    for (const Weight *w = m->weights; w; w = w->next) {
        if (w->is_state)
            continue;
        int64_t parts = pack_parts(w), unit = parts > CHUNK ? CHUNK : 1;
        int64_t each = PIECE * parts / (w->stride ? w->stride : 1) / unit * unit;
        each = each ? each : parts;
        for (int i = 0; i < (w->count ? w->count : 1); i++)
            for (int64_t at = 0; at < parts; at += each) {
                x->piece = grow(m->s, x->piece, (size_t)x->npiece, sizeof *x->piece);
                x->piece[x->npiece++] = (Piece){w, i, at, at + each < parts ? at + each : parts};
            }
    }
}

/* Exponents of all ones are NaN and infinities; `all_ones` has these bits of the 16 that hold the exponent. */
static bool words_finite(const uint8_t *p, int64_t n, uint16_t all_ones)
{
    uint16_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t word = (uint16_t)((p[2 * i] | p[2 * i + 1] << 8) & all_ones);
        worst = word > worst ? word : worst;
    }
    return worst != all_ones;
}

/* Whether values [from, to) of the file's tensor are finite, in any format of floats. */
static bool all_finite(const Tensor *t, int64_t from, int64_t to)
{
    float part[CHUNK];
    if (t->fmt == FMT_F16 || t->fmt == FMT_BF16)
        return words_finite(t->data + 2 * from, to - from, t->fmt == FMT_F16 ? 0x7c00 : 0x7f80);
    for (int64_t at = from; at < to; at += CHUNK) {
        int64_t k = to - at < CHUNK ? to - at : CHUNK;
        uint32_t worst = 0;
        tensor_floats(t, at, k, part);
        for (int64_t j = 0; j < k; j++) {
            uint32_t bits;
            memcpy(&bits, &part[j], 4);
            bits &= 0x7f800000;
            worst = bits > worst ? bits : worst;
        }
        if (worst == 0x7f800000)
            return false;
    }
    return true;
}

static void write_piece(Session *own, int i, void *arg)
{
    const Writing *x = arg;
    const Piece *p = &x->piece[i];
    pack_part(own, p->w, p->layer, p->from, p->to, x->file + p->w->at + p->layer * p->w->stride);
}

static void hash_piece(Session *own, int i, void *arg)
{
    const Writing *x = arg;
    int64_t at = BN_BNW_BODY + i * PIECE, left = x->size - at;
    (void)own;
    x->hash[i] = XXH64(x->file + at, (size_t)(left < PIECE ? left : PIECE), 0);
}

static void check_piece(Session *own, int i, void *arg)
{
    const Writing *x = arg;
    const Piece *p = &x->piece[i];
    const Tensor *t = p->w->tensor ? &p->w->tensor[p->layer] : NULL;
    (void)own;
    if (t && fmt_info[p->w->type->fmt].kind == KIND_FLOAT)
        x->bad[i] = !all_finite(t, p->from, p->to);
}

static void check_floats(Module *m, Writing *x)
{
    x->bad = NEW_ARRAY(m->s, bool, x->npiece + 1);
    parallel(x->npiece, check_piece, x);
    for (int i = 0; i < x->npiece; i++)
        if (x->bad[i])
            fail(
                m->s, m->source ? loc_file(m->s, m->source) : (Loc){0},
                "tensor %s holds values that are not finite (NaN or infinite): the file is damaged",
                x->piece[i].w->tensor[x->piece[i].layer].name);
}

void weights_check(Module *m)
{
    Writing x = {0};
    cut_pieces(m, &x);
    check_floats(m, &x);
}

typedef struct Grouped { /* a tensor whose scales are to be looked at */
    Weight *w;
    int layer;
    GroupScales *out;
} Grouped;

static void find_groups(Session *own, int i, void *arg)
{
    const Grouped *g = (const Grouped *)arg + i;
    (void)own;
    *g->out = groups_of(g->w, g->layer);
}

/* Each tensor of floats is read once for its scales, not once a piece. */
static void keep_groups(Module *m)
{
    Grouped *all = NULL;
    int n = 0;
    for (Weight *w = m->weights; w; w = w->next)
        for (int i = 0; w->tensor && fmt_group(w->type->fmt) && i < (w->count ? w->count : 1); i++)
            all = grow(m->s, all, (size_t)n, sizeof *all), all[n++] = (Grouped){w, i, NULL};
    GroupScales *found = NEW_ARRAY(m->s, GroupScales, n + 1);
    for (int i = 0; i < n; i++)
        all[i].out = &found[i];
    parallel(n, find_groups, all);
    for (int i = n; i-- > 0;)
        all[i].w->groups = &found[i - all[i].layer];
}

void bnw_write(Module *m, OutFile *f)
{
    keep_groups(m);
    Writing x = {.file = file_map(f, (uint64_t)m->weight_bytes), .size = m->weight_bytes};
    int n = (int)((m->weight_bytes - BN_BNW_BODY + PIECE - 1) / PIECE);
    cut_pieces(m, &x);
    check_floats(m, &x);
    parallel(x.npiece, write_piece, &x);
    if (m->vocab_size)
        memcpy(x.file + m->vocab_at, m->vocab_tables, (size_t)m->vocab_size);
    x.hash = NEW_ARRAY(m->s, uint64_t, n + 1);
    parallel(n, hash_piece, &x);
    m->bnw_hash = XXH64(x.hash, (size_t)n * sizeof *x.hash, 0);
    m->vocab_hash = XXH64(m->vocab_tables, (size_t)m->vocab_size, 0);
    bn_bnw header = {.abi = BN_ABI,
                     .order = 0x01020304,
                     .bytes = (uint64_t)m->weight_bytes,
                     .hash = m->bnw_hash,
                     .vocab_hash = m->vocab_hash};
    memcpy(header.magic, BN_BNW_MAGIC, sizeof header.magic);
    memcpy(x.file, &header, sizeof header);
}

int64_t kernel_work(const Module *m, const Op *op)
{
    const Type *w = NULL, *y = op->nout ? op->out[0]->type : NULL;
    for (int i = op->nin; i-- > 0;)
        if (op->in[i]->weight)
            w = op->in[i]->type;
    if (!op->kernel || !op->kernel->work)
        return 0;
    CHECK(w && w->rank == 2 && y);
    return round_up(op->kernel->work(w->dim[0].n, w->dim[1].n, y->dim[0].sym ? m->batch : 1), LINE);
}

/* kv8, an int8 cache of G KV heads, C positions and E values a head: value = code * scale, where
 * scale = max |value| / 127 of one head at one position.
 *
 *   0                       round_up(G*C*E, 64)      + 4*G*C
 *   +-----------------------+-----------------------+
 *   | codes int8 [G][C][E]  | scales f32 [G][C]     |
 *   +-----------------------+-----------------------+                                  */
static int64_t kv8_bytes(const Type *t)
{
    int64_t heads = t->dim[0].n * t->dim[1].n;
    return round_up(heads * t->dim[2].n, LINE) + round_up(4 * heads, LINE);
}

int64_t value_bytes(const Module *m, const Type *t)
{
    int64_t n = t->fmt == FMT_I8 ? 1 : t->fmt == FMT_F16 ? 2 : 4;
    if (t->fmt == FMT_KV8)
        return kv8_bytes(t);
    for (int i = 0; i < t->rank; i++) {
        int64_t d = t->dim[i].sym ? m->batch : t->dim[i].n;
        n *= t->fmt == FMT_I8 && i == t->rank - 1 ? round_up(d, VALUE_COLS) : d;
    }
    return round_up(n, LINE);
}
