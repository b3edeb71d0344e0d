/* weights.c: weights as kernels read them, made from the model file only when they are written.
 *
 * One idea: passes change a weight's type, never its bytes. The bytes of any type follow from the
 * file's tensor, so a module that was read back from text packs to the same bytes.
 */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "bn_model.h"
#include "ir/ir.h"
#include "ir/vocab.h"

enum { LINE = 64, VALUE_COLS = 128, CHUNK = 1 << 14 };

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

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
    int64_t bytes = fmt_info[t->fmt].kind == KIND_PACKED
                        ? layout_bytes(t->fmt, rows, cols, &at)
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

bool tensor_is_ternary(const Tensor *t, float *scale)
{
    float part[CHUNK], s = 0;
    int64_t n = t->rows * t->cols;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t k = n - at < CHUNK ? n - at : CHUNK;
        tensor_floats(t, at, k, part);
        for (int64_t i = 0; i < k; i++) {
            float a = fabsf(part[i]);
            s = s == 0 ? a : s;
            if (a != 0 && a != s)
                return false;
        }
    }
    if (scale)
        *scale = s;
    return true;
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

void ternary_codes(const Tensor *t, float scale, int64_t first, int64_t n, int8_t *out)
{
    if (fmt_info[t->fmt].kind == KIND_TERNARY) {
        tensor_codes(t, first, n, out);
        return;
    }
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

static void pack_floats(const Weight *w, int i, uint8_t *out)
{
    const Tensor *t = w->tensor ? &w->tensor[i] : NULL;
    int64_t n = type_rows(w->type) * type_cols(w->type);
    float part[CHUNK];
    if (t && t->fmt == w->type->fmt) {
        memcpy(out, t->data, t->size);
        return;
    }
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t k = n - at < CHUNK ? n - at : CHUNK;
        if (t)
            tensor_floats(t, at, k, part);
        for (int64_t j = 0; j < k; j++) {
            float v = t ? part[j] : w->constant;
            uint16_t h = float_to_f16(v);
            if (w->type->fmt == FMT_F16)
                memcpy(out + 2 * (at + j), &h, 2);
            else
                memcpy(out + 4 * (at + j), &v, sizeof v);
        }
    }
}

void weight_pack(Session *s, const Weight *w, int i, uint8_t *out)
{
    Fmt fmt = w->type->fmt;
    memset(out, 0, (size_t)packed_bytes(w->type, NULL));
    if (fmt_info[fmt].kind != KIND_PACKED) {
        pack_floats(w, i, out);
        return;
    }
    const Tensor *t = &w->tensor[i];
    layout_pack(s, t, fmt, ternary_scale(t), 0, layout_blocks(fmt, t->rows), out);
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

void bnw_write(Module *m, OutFile *f)
{
    static const uint8_t zero[BN_BNW_BODY];
    XXH64_state_t *hash = XXH64_createState();
    CHECK(hash);
    XXH64_reset(hash, 0);
    file_write(f, zero, sizeof zero);
    for (const Weight *w = m->weights; w; w = w->next) {
        if (w->is_state)
            continue;
        uint8_t *bytes = NEW_ARRAY(m->s, uint8_t, w->stride);
        for (int i = 0; i < (w->count ? w->count : 1); i++) {
            weight_pack(m->s, w, i, bytes);
            XXH64_update(hash, bytes, (size_t)w->stride);
            file_write(f, bytes, (size_t)w->stride);
        }
    }
    XXH64_update(hash, m->vocab_tables, (size_t)m->vocab_size);
    m->bnw_hash = XXH64_digest(hash);
    XXH64_freeState(hash);
    file_write(f, m->vocab_tables, (size_t)m->vocab_size);
    file_write(f, zero, (size_t)(round_up(m->vocab_size, LINE) - m->vocab_size));
    m->vocab_hash = XXH64(m->vocab_tables, (size_t)m->vocab_size, 0);
    bn_bnw header = {.abi = BN_ABI,
                     .order = 0x01020304,
                     .bytes = (uint64_t)m->weight_bytes,
                     .hash = m->bnw_hash,
                     .vocab_hash = m->vocab_hash};
    memcpy(header.magic, BN_BNW_MAGIC, sizeof header.magic);
    file_rewrite(f, 0, &header, sizeof header);
}

int64_t value_bytes(const Module *m, const Type *t)
{
    int64_t n = t->fmt == FMT_I8 ? 1 : 4;
    for (int i = 0; i < t->rank; i++) {
        int64_t d = t->dim[i].sym ? m->batch : t->dim[i].n;
        n *= t->fmt == FMT_I8 && i == t->rank - 1 ? round_up(d, VALUE_COLS) : d;
    }
    return round_up(n, LINE);
}
