/* convert.c: a Hugging Face checkpoint to a GGUF file.
 *
 * One idea: the GGUF's tensors are planned first, each with the tensor of the checkpoint that it
 * comes from; then they are declared, then written, one row after another. A tensor of the
 * checkpoint that no plan took is an error: it would be part of a graph that bnc does not have.
 *
 * Packed weights (uint8, planar): bits 2i and 2i+1 of byte row r are row r + i * rows / 4.
 *
 *     bit          7   6      5   4      3   2      1   0
 *     byte r, c | r + 3R, c | r + 2R, c | r + R, c |  r, c  |      row, column; R = rows / 4
 *
 *     codes 0, 1, 2: -1, 0, +1 (transformers, integrations/bitnet.py: pack_weights)
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/checkpoint.h"
#include "frontend/safetensors.h"
#include "ir/escape.h"

typedef enum Role { NORM, EMBEDDING, TERNARY, GIVEN } Role;
typedef struct Plan { /* a tensor of the GGUF */
    Role role;
    const char *name;
    SafeTensor *from;
    const SafeTensor *scale; /* of packed weights, else NULL */
    int64_t rows, cols;
    int heads;   /* rows are permuted within so many heads; 0: they are not */
    int columns; /* that share a scale, where a matrix of floats has several; 0: one scale */
    float plus;  /* what is added to each value of a norm */
    const double *given; /* of a GIVEN tensor, which no tensor of the checkpoint holds: [cols] */
} Plan;

typedef struct Convert {
    Session *s;
    const ConvertOptions *o;
    HfConfig *c;
    Safetensors *in;
    GgufOut *g;
    Plan *plan;
    size_t nplan;
    int8_t *codes;                      /* of the largest projection */
    int64_t nexact, nrounded, ngrouped; /* float projections: ternary already, made so, ternary by
                                           groups of columns */
} Convert;

enum { PIECE = 1 << 15 }; /* values written at a time, a multiple of every block */

static const char *quoted(const Convert *x, const SafeTensor *t)
{
    return quote(x->s, t->name, strlen(t->name));
}

static Loc place(const Convert *x, const SafeTensor *t)
{
    return loc_file(x->s, t->path);
}

/* ---- the plan ---- */

/* The tensor by one of two names (the second may be NULL). */
static SafeTensor *find(const Convert *x, const char *name, const char *other)
{
    SafeTensor *t = safetensors_find(x->in, name);
    if (!t && other)
        t = safetensors_find(x->in, other);
    if (!t)
        fail(x->s, loc_file(x->s, x->o->dir), "the checkpoint has no tensor %s%s%s", name,
             other ? " or " : "", other ? other : "");
    t->used = true;
    return t;
}

static void check_shape(const Convert *x, const SafeTensor *t, int64_t rows, int64_t cols)
{
    bool vector = t->rank == 1 && rows == 1 && t->dim[0] == cols;
    if (!vector && !(t->rank == 2 && t->dim[0] == rows && t->dim[1] == cols))
        fail(x->s, place(x, t),
             "tensor %s has the shape %s; by config.json it should be %lld x %lld", quoted(x, t),
             safe_shape(x->s, t), (long long)rows, (long long)cols);
}

/* A float tensor as bnc's other parts see one. */
static Tensor view_of(const SafeTensor *t, int64_t rows, int64_t cols)
{
    size_t size = (size_t)(t->end - t->begin);
    return (Tensor){t->name, safe_type_fmt[t->type], rows, cols, t->data, size};
}

static void check_float(const Convert *x, const SafeTensor *t)
{
    if (safe_type_fmt[t->type] == FMT_COUNT)
        fail(x->s, place(x, t), "tensor %s is %s; expected BF16, F16 or F32", quoted(x, t),
             safe_type_name[t->type]);
}

static Plan *plan(Convert *x, Role role, const char *gguf, SafeTensor *from, int64_t rows,
                  int64_t cols)
{
    x->plan = grow(x->s, x->plan, x->nplan, sizeof *x->plan);
    Plan *p = &x->plan[x->nplan++];
    *p = (Plan){.role = role, .name = gguf, .from = from, .rows = rows, .cols = cols};
    if (role != TERNARY || from->type != SAFE_U8) {
        check_float(x, from);
        check_shape(x, from, rows, cols);
        return p;
    }
    if (rows % 4)
        fail(x->s, place(x, from), "tensor %s is packed four rows to a byte, but has %lld rows",
             quoted(x, from), (long long)rows);
    check_shape(x, from, rows / 4, cols);
    SafeTensor *scale = find(x, format(x->s, "%s_scale", from->name), NULL);
    check_float(x, scale);
    if (scale->end - scale->begin != (uint64_t)fmt_info[safe_type_fmt[scale->type]].bytes)
        fail(x->s, place(x, scale), "tensor %s has the shape %s; expected one value",
             quoted(x, scale), safe_shape(x->s, scale));
    p->scale = scale;
    return p;
}

typedef struct Row { /* a tensor of each layer */
    Role role;
    const char *gguf, *name, *other;
    int64_t rows, cols;
    int heads;
    bool there;
} Row;

static void plan_layer(Convert *x, int i)
{
    const HfConfig *c = x->c;
    int64_t q = (int64_t)c->heads * c->head_dim, k = (int64_t)c->kv_heads * c->head_dim;
    bool gemma = !strcmp(c->arch, "gemma3"), subs = !strncmp(c->arch, "bitnet", 6),
         pairs = !strcmp(c->arch, "llama") || !strcmp(c->arch, "minicpm"),
         heads = gemma || !strcmp(c->arch, "qwen3") || !strcmp(c->arch, "hunyuan-dense");
    const Row list[] = {
        {NORM, "attn_norm", "input_layernorm", NULL, 1, c->width, 0, true},
        {TERNARY, "attn_q", "self_attn.q_proj", NULL, q, c->width, pairs ? c->heads : 0, true},
        {TERNARY, "attn_k", "self_attn.k_proj", NULL, k, c->width, pairs ? c->kv_heads : 0, true},
        {TERNARY, "attn_v", "self_attn.v_proj", NULL, k, c->width, 0, true},
        {NORM, "attn_q_norm", "self_attn.q_norm", "self_attn.query_layernorm", 1, c->head_dim, 0,
         heads},
        {NORM, "attn_k_norm", "self_attn.k_norm", "self_attn.key_layernorm", 1, c->head_dim, 0,
         heads},
        {NORM, "attn_sub_norm", "self_attn.attn_sub_norm", "self_attn.inner_attn_ln", 1, q, 0,
         subs},
        {TERNARY, "attn_output", "self_attn.o_proj", NULL, c->width, q, 0, true},
        {NORM, "post_attention_norm", "post_attention_layernorm", NULL, 1, c->width, 0, gemma},
        {NORM, "ffn_norm", gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm", NULL,
         1, c->width, 0, true},
        {TERNARY, "ffn_gate", "mlp.gate_proj", NULL, c->ffn, c->width, 0, true},
        {TERNARY, "ffn_up", "mlp.up_proj", NULL, c->ffn, c->width, 0, true},
        {NORM, "ffn_sub_norm", "mlp.ffn_sub_norm", "mlp.ffn_layernorm", 1, c->ffn, 0, subs},
        {TERNARY, "ffn_down", "mlp.down_proj", NULL, c->width, c->ffn, 0, true},
        {NORM, "post_ffw_norm", "post_feedforward_layernorm", NULL, 1, c->width, 0, gemma},
    };
#define LAYER(text) format(x->s, "model.layers.%d.%s.weight", i, text)
    for (size_t j = 0; j < sizeof list / sizeof *list; j++) {
        const Row *r = &list[j];
        if (!r->there)
            continue;
        SafeTensor *from = find(x, LAYER(r->name), r->other ? LAYER(r->other) : NULL);
        Plan *p =
            plan(x, r->role, format(x->s, "blk.%d.%s.weight", i, r->gguf), from, r->rows, r->cols);
        p->heads = r->heads;
        p->plus = gemma && r->role == NORM ? 1 : 0;
    }
#undef LAYER
}

static void plan_head(Convert *x)
{
    const HfConfig *c = x->c;
    SafeTensor *own = safetensors_find(x->in, "lm_head.weight");
    bool said = json_object_get(c->config, "tie_word_embeddings") != NULL;
    if (!own && said && !c->tied)
        fail(x->s, loc_file(x->s, x->o->dir),
             "the checkpoint has no tensor lm_head.weight, and tie_word_embeddings is false");
    if (!own)
        return;
    own->used = true;
    if (c->tied)
        note(x->s,
             "lm_head.weight is left out: by tie_word_embeddings the embedding takes its place");
    else
        plan(x, EMBEDDING, "output.weight", own, c->vocab, c->width);
}

/* Tables that follow from config.json, which older checkpoints carry. */
static bool is_derived(const char *name)
{
    static const char end[] = "rotary_emb.inv_freq";
    size_t n = strlen(name);
    return n >= sizeof end - 1 && !strcmp(name + n - (sizeof end - 1), end);
}

static void check_unused(const Convert *x)
{
    enum { SHOWN = 5 };
    int left = 0;
    for (int64_t i = 0; i < x->in->ntensor; i++) {
        const SafeTensor *t = &x->in->tensor[i];
        if (t->used || is_derived(t->name))
            continue;
        if (left++ < SHOWN)
            err(x->s, place(x, t), "tensor %s (%s) has no place in the graph %s", quoted(x, t),
                safe_shape(x->s, t), x->c->arch);
    }
    if (left > SHOWN)
        err(x->s, loc_file(x->s, x->o->dir), "and %d tensors more", left - SHOWN);
    stop_on_errors(x->s);
}

/* A vector that config.json gives. */
static void plan_given(Convert *x, const char *gguf, const double *v)
{
    if (!v)
        return;
    x->plan = grow(x->s, x->plan, x->nplan, sizeof *x->plan);
    x->plan[x->nplan++] =
        (Plan){.role = GIVEN, .name = gguf, .rows = 1, .cols = x->c->head_dim / 2, .given = v};
}

/* Whether every `columns` values of x are an f16 times -1, 0 and 1. */
static bool is_grouped(const float *x, int64_t n, int columns)
{
    for (int64_t at = 0; at < n; at += columns) {
        float s = 0;
        int other = 0;
        for (int i = 0; i < columns; i++)
            s = fmaxf(s, fabsf(x[at + i]));
        for (int i = 0; i < columns; i++)
            other |= x[at + i] != 0 && fabsf(x[at + i]) != s;
        if (other || f16_to_float(float_to_f16(s)) != s)
            return false;
    }
    return true;
}

/* How many columns share a scale in a matrix of floats that is ternary by groups but not as a whole:
 * 128, 64 or 0. */
static int columns_of(const Convert *x, const Plan *p)
{
    Tensor t = view_of(p->from, p->rows, p->cols);
    int columns = p->cols % 128 ? 64 : 128;
    float *row = p->cols % 64 ? NULL : NEW_ARRAY(x->s, float, p->cols);
    if (!row || tensor_is_ternary(&t, NULL))
        return 0;
    for (int64_t r = 0; r < p->rows && columns >= 64; r++) {
        tensor_floats(&t, r * p->cols, p->cols, row);
        while (columns >= 64 && !is_grouped(row, p->cols, columns))
            columns /= 2;
    }
    return columns >= 64 ? columns : 0;
}

static void make_plan(Convert *x)
{
    const HfConfig *c = x->c;
    int64_t largest = 0;
    plan(x, EMBEDDING, "token_embd.weight", find(x, "model.embed_tokens.weight", NULL), c->vocab,
         c->width);
    for (int i = 0; i < c->layers; i++)
        plan_layer(x, i);
    plan(x, NORM, "output_norm.weight", find(x, "model.norm.weight", NULL), 1, c->width)->plus =
        strcmp(c->arch, "gemma3") ? 0 : 1;
    plan_head(x);
    plan_given(x, "rope_freqs.weight", c->rope.divisor);
    plan_given(x, "rope_factors_short.weight", c->rope.few);
    plan_given(x, "rope_factors_long.weight", c->rope.many);
    check_unused(x);
    for (size_t i = 0; i < x->nplan; i++)
        if (x->plan[i].role == TERNARY && !x->plan[i].scale && x->o->fmt != FMT_F16 && !c->trained)
            x->plan[i].columns = columns_of(x, &x->plan[i]);
    for (size_t i = 0; i < x->nplan; i++)
        if (x->plan[i].role == TERNARY && x->plan[i].rows * x->plan[i].cols > largest)
            largest = x->plan[i].rows * x->plan[i].cols;
    x->codes = NEW_ARRAY(x->s, int8_t, largest);
}

/* ---- data ---- */

static float scale_of(const Convert *x, const Plan *p)
{
    float v;
    Tensor t = view_of(p->scale, 1, 1);
    tensor_floats(&t, 0, 1, &v);
    float scale = x->c->divide ? 1 / v : v;
    if (!isfinite(scale) || !(scale > 0))
        fail(x->s, place(x, p->scale), "tensor %s is %g; a scale is a number above 0",
             quoted(x, p->scale), (double)v);
    return scale;
}

/* Row r of the GGUF's tensor in the checkpoint's. llama's RoPE turns neighbours there, halves here:
 * within a head, rows (2 j, 2 j + 1) are (j, j + half). */
static int64_t source_row(const Plan *p, int64_t r)
{
    if (!p->heads)
        return r;
    int64_t dim = p->rows / p->heads, in = r % dim;
    return r - in + in / 2 + in % 2 * (dim / 2);
}

static void packed_codes(const Convert *x, const Plan *p)
{
    int64_t quarter = p->rows / 4;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = source_row(p, r);
        const uint8_t *byte = p->from->data + at % quarter * p->cols;
        int shift = 2 * (int)(at / quarter), bad = 0;
        int8_t *out = x->codes + r * p->cols;
        for (int64_t i = 0; i < p->cols; i++) {
            int code = byte[i] >> shift & 3;
            bad |= code == 3;
            out[i] = (int8_t)(code - 1);
        }
        if (bad)
            fail(x->s, place(x, p->from),
                 "row %lld of tensor %s holds a code 3; codes are 0, 1, 2: "
                 "the file is damaged or packed otherwise",
                 (long long)at, quoted(x, p->from));
    }
}

/* From float masters; returns the scale. Those that nobody trained for it are not rounded. */
static float float_codes(Convert *x, const Plan *p)
{
    Tensor t = view_of(p->from, p->rows, p->cols);
    float scale = ternary_scale(&t);
    bool exact = tensor_is_ternary(&t, NULL);
    if (!isfinite(scale))
        fail(x->s, place(x, p->from), "tensor %s holds a value that is not finite",
             quoted(x, p->from));
    if (!exact && !x->c->trained)
        fail(x->s, place(x, p->from),
             "tensor %s is not ternary, and config.json has no quantization_config: this model was "
             "not trained for ternary weights. --type=f16 keeps it in floats",
             quoted(x, p->from));
    *(exact ? &x->nexact : &x->nrounded) += 1;
    for (int64_t r = 0; r < p->rows; r++)
        ternary_codes(&t, scale, source_row(p, r) * p->cols, p->cols, x->codes + r * p->cols);
    return scale;
}

static void write_ternary(Convert *x, const Plan *p)
{
    static uint8_t piece[2 * PIECE];
    float scale;
    if (p->scale) {
        scale = scale_of(x, p);
        packed_codes(x, p);
    } else {
        scale = float_codes(x, p);
    }
    if (x->o->fmt != FMT_I2_S && !isfinite(f16_to_float(float_to_f16(scale))))
        fail(x->s, place(x, p->from), "the scale of tensor %s, %g, is beyond f16: use --type=i2_s",
             quoted(x, p->from), (double)scale);
    for (int64_t at = 0, n = p->rows * p->cols; at < n; at += PIECE) {
        int64_t k = n - at < PIECE ? n - at : PIECE;
        gguf_data(x->g, piece, codes_encode(x->o->fmt, x->codes + at, k, scale, piece));
    }
    size_t tail = codes_tail(x->o->fmt, scale, piece);
    if (tail)
        gguf_data(x->g, piece, tail);
}

static Fmt format_of(const Convert *x, const Plan *p)
{
    Fmt groups = x->o->wide && p->columns == 128 ? FMT_PQ2_0 : FMT_Q2_0;
    return p->role == EMBEDDING ? FMT_F16
           : p->role != TERNARY ? FMT_F32
           : p->columns         ? groups
                                : x->o->fmt;
}

/* A matrix that columns_of knows, each block with its own scale. */
static void write_groups(Convert *x, const Plan *p)
{
    Tensor t = view_of(p->from, p->rows, p->cols);
    Fmt fmt = format_of(x, p);
    int64_t elems = fmt_info[fmt].elems;
    float *row = NEW_ARRAY(x->s, float, p->cols);
    uint8_t block[64];
    for (int64_t r = 0; r < p->rows; r++) {
        tensor_floats(&t, source_row(p, r) * p->cols, p->cols, row);
        for (int64_t at = 0; at < p->cols; at += elems) {
            float s = 0;
            for (int64_t i = 0; i < elems; i++)
                s = fmaxf(s, fabsf(row[at + i]));
            for (int64_t i = 0; i < elems; i++)
                x->codes[i] = (int8_t)((row[at + i] > 0) - (row[at + i] < 0));
            gguf_data(x->g, block, codes_encode(fmt, x->codes, elems, s, block));
        }
    }
    x->ngrouped++;
}

static void write_given(const Convert *x, const Plan *p)
{
    for (int64_t i = 0; i < p->cols; i++) {
        float v = (float)p->given[i];
        gguf_data(x->g, &v, sizeof v);
    }
}

/* Rows of floats, as f16 or f32. */
static void write_floats(const Convert *x, const Plan *p, Fmt fmt)
{
    float *row = NEW_ARRAY(x->s, float, p->cols);
    uint16_t *half = NEW_ARRAY(x->s, uint16_t, p->cols);
    Tensor t = view_of(p->from, p->rows, p->cols);
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = source_row(p, r);
        tensor_floats(&t, at * p->cols, p->cols, row);
        for (int64_t i = 0; i < p->cols; i++) {
            row[i] += p->plus;
            half[i] = float_to_f16(row[i]);
            if (!isfinite(fmt == FMT_F16 ? f16_to_float(half[i]) : row[i]))
                fail(x->s, place(x, p->from),
                     "row %lld of tensor %s holds %g, which %s cannot hold", (long long)at,
                     quoted(x, p->from), (double)row[i], fmt_info[fmt].name);
        }
        if (fmt == FMT_F16)
            gguf_data(x->g, half, (size_t)p->cols * sizeof *half);
        else
            gguf_data(x->g, row, (size_t)p->cols * sizeof *row);
    }
}

static void write_tensors(Convert *x)
{
    for (size_t i = 0; i < x->nplan; i++) {
        const Plan *p = &x->plan[i];
        if (p->role == GIVEN)
            write_given(x, p);
        else if (p->columns)
            write_groups(x, p);
        else if (p->role == TERNARY && (p->scale || x->o->fmt != FMT_F16))
            write_ternary(x, p);
        else
            write_floats(x, p, format_of(x, p));
    }
}

/* ---- the whole ---- */

static const struct {
    Fmt fmt;
    uint32_t file_type; /* ggml's number of it */
} types[] = {{FMT_I2_S, 40}, {FMT_TQ1_0, 36}, {FMT_TQ2_0, 37}, {FMT_F16, 1}};
enum { NTYPE = sizeof types / sizeof *types };

bool convert_writes(Fmt fmt)
{
    for (int i = 0; i < NTYPE; i++)
        if (types[i].fmt == fmt)
            return true;
    return false;
}

void checkpoint_convert(Session *s, const ConvertOptions *o)
{
    Convert *x = NEW(s, Convert);
    *x = (Convert){.s = s, .o = o};
    x->c = hf_config_read(s, x->o->dir);
    x->in = safetensors_open(s, x->o->dir);
    make_plan(x);
    x->g = gguf_create(s, x->o->output);
    hf_config_put(x->c, x->g, x->o->title);
    bool grouped = false; /* then no number says what the file holds */
    for (size_t i = 0; i < x->nplan; i++)
        grouped |= x->plan[i].columns > 0;
    for (int i = 0; i < NTYPE && !grouped; i++)
        if (types[i].fmt == x->o->fmt)
            gguf_put_u32(x->g, "general.file_type", types[i].file_type);
    gguf_put_u32(x->g, "general.quantization_version", 2);
    hf_tokenizer_put(x->c, x->g, x->o->pre);
    for (size_t i = 0; i < x->nplan; i++)
        gguf_put_tensor(x->g, x->plan[i].name, format_of(x, &x->plan[i]), x->plan[i].rows,
                        x->plan[i].cols);
    gguf_begin(x->g);
    write_tensors(x);
    gguf_end(x->g);
    if (x->nexact)
        note(s, "%lld float matrices are exactly ternary and lost nothing", (long long)x->nexact);
    if (x->ngrouped)
        note(s,
             "%lld float matrices are ternary by groups of columns and lost nothing; they are in "
             "%s",
             (long long)x->ngrouped, o->wide ? "pq2_0 or q2_0" : "q2_0");
    if (x->nrounded)
        note(s, "%lld float matrices were rounded to ternary: w = round(w / mean|w|)",
             (long long)x->nrounded);
    note(s, "wrote %s: %s, %zu tensors, %.1f MB", x->o->output, x->c->arch, x->nplan,
         (double)gguf_bytes(x->g) / 1e6);
}

const char *model_file(Session *s, const char *path, Fmt fmt)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return path;
    ConvertOptions o = {.dir = path, .fmt = fmt, .wide = true};
    o.output = format(s, "%s/model.gguf", temp_dir(s));
    bool quiet = s->quiet;
    note(s, "converting %s", path);
    s->quiet = true;
    checkpoint_convert(s, &o);
    s->quiet = quiet;
    session_alias(s, o.output, path);
    return o.output;
}
