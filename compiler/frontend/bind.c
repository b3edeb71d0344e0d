/* bind.c: binds an architecture (a text with free dimensions) to a model file: dimensions take the
 * metadata's numbers, weights their tensors. Whatever the graph does not account for is an error:
 * a tensor nobody reads, metadata that this graph was not written for, a shape that differs. */
#include <math.h>
#include <string.h>

#include "frontend/bind.h"
#include "ir/escape.h"
#include "ir/vocab.h"
#include "ir/escape.h"

/* ---- dimensions and constants ---- */

static bool resolve_choice(Bind *b, const Symbol *y, const Choice *c, double *out)
{
    if (c->key) {
        const char *key = bind_key(b, c->key, 0);
        int64_t i;
        double f;
        if (gguf_int(b->g, key, &i))
            *out = (double)i;
        else if (gguf_float(b->g, key, &f))
            *out = f;
        else if (gguf_get(b->g, key))
            fail(b->s, b->file, "the key %s is not a number; %s of this architecture needs one",
                 key, y->name);
        else
            return false;
        return true;
    }
    if (!c->a) {
        *out = c->number;
        return true;
    }
    const Symbol *p = symbol_find(b->m, name(b->s, c->a)),
                 *q = c->b ? symbol_find(b->m, name(b->s, c->b)) : NULL;
    if (!p || (c->b && !q))
        fail(b->s, y->loc, "%s is made of %s, which is not declared", y->name, p ? c->b : c->a);
    if (!p->known || (q && !q->known))
        return false;
    if (y->is_dim && q && c->op == '/' && (q->n == 0 || p->n % q->n))
        fail(b->s, y->loc, "%s = %s / %s: %lld is no multiple of %lld", y->name, p->name, q->name,
             (long long)p->n, (long long)q->n);
    double left = y->is_dim ? (double)p->n : p->f, right = !q ? 1 : y->is_dim ? (double)q->n : q->f;
    *out = c->op == 'r' ? sqrt(left) : c->op == '/' ? left / right : left * right;
    return true;
}

static void set_symbol(Bind *b, Symbol *y, double v)
{
    if (!isfinite(v) || (y->is_dim && (v < 1 || v > INT32_MAX || v != floor(v))))
        fail(b->s, b->file, "%s of this model would be %g; expected a %s", y->name, v,
             y->is_dim ? "number from 1 to 2147483647" : "finite number");
    y->f = v;
    y->n = y->is_dim ? (int64_t)v : 0;
    y->known = true;
}

/* Symbols may lean on later ones: goes round until nothing new is known. */
static void resolve_symbols(Bind *b)
{
    for (bool more = true; more;) {
        more = false;
        for (Symbol *y = b->m->symbols; y; y = y->next) {
            double v = 0;
            const Choice *c = y->known ? NULL : y->choices;
            while (c && !resolve_choice(b, y, c, &v))
                c = c->next;
            if (c) {
                set_symbol(b, y, v);
                more = true;
            }
        }
    }
}

static const Tensor *find_tensor(Bind *b, const char *pattern, int layer, bool take)
{
    const Tensor *t = gguf_tensor_find(b->g, bind_key(b, pattern, layer));
    if (t && take)
        b->used[gguf_tensor_info(t) - b->g->tensor] = true;
    return t;
}

/* Dimensions without a key come from the first weight of that shape. */
static void resolve_from_shapes(Bind *b)
{
    for (const Weight *w = b->m->weights; w; w = w->next) {
        const Tensor *t = w->pattern ? find_tensor(b, w->pattern, 0, false) : NULL;
        for (int i = 0; t && i < w->type->rank; i++) {
            Symbol *y = w->type->dim[i].sym ? symbol_find(b->m, w->type->dim[i].sym) : NULL;
            if (y && !y->known && !y->choices)
                set_symbol(b, y, (double)(i == w->type->rank - 1 ? t->cols : t->rows));
        }
    }
    resolve_symbols(b);
}

/* Whether y only waits for other symbols, which are then the ones to complain about. */
static bool derived(const Symbol *y)
{
    for (const Choice *c = y->choices; c; c = c->next)
        if (c->a)
            return true;
    return false;
}

/* "key or key"; NULL: it comes from no key. */
static const char *keys_of(Bind *b, const Symbol *y)
{
    Out keys = {.s = b->s};
    for (const Choice *c = y->choices; c; c = c->next)
        if (c->key)
            put(&keys, "%s%s", keys.len ? " or " : "", bind_key(b, c->key, 0));
    const char *text = keys.len ? name(b->s, keys.text) : NULL;
    out_free(&keys);
    return text;
}

static void check_symbol(Bind *b, const Symbol *y)
{
    const char *keys = keys_of(b, y);
    err(b->s, b->file, "the model does not say %s: expected %s%s", y->name,
        keys ? "the key " : "a tensor of that shape", keys ? keys : "");
}

static void check_symbols(Bind *b)
{
    for (int round = 0; round < 2 && !b->s->nerror; round++)
        for (const Symbol *y = b->m->symbols; y; y = y->next)
            if (!y->known && (round || !derived(y)))
                check_symbol(b, y);
    stop_on_errors(b->s);
}

static Dim bound_dim(Bind *b, Dim d)
{
    const Symbol *y = d.sym ? symbol_find(b->m, d.sym) : NULL;
    return y ? (Dim){y->n, NULL} : d;
}

static const Type *bound_type(Bind *b, const Type *t, Fmt fmt)
{
    Dim dim[4];
    for (int i = 0; i < t->rank; i++)
        dim[i] = bound_dim(b, t->dim[i]);
    return type_get(b->s, fmt, t->rank, dim);
}

static void check_expects(Bind *b)
{
    for (const Expect *e = b->m->expects; e; e = e->next) {
        const char *key = bind_key(b, e->key, 0), *text;
        const Symbol *y = e->symbol ? symbol_find(b->m, e->symbol) : NULL;
        double wanted = y ? (y->is_dim ? (double)y->n : y->f) : e->number, f;
        size_t len;
        int64_t i;
        bool on;
        if (e->ignored)
            continue;
        if (e->symbol && !y)
            fail(b->s, e->loc, "%s is expected to be %s, which is not declared", e->key, e->symbol);
        if (e->text && gguf_string(b->g, key, &text, &len)) {
            if (len != strlen(e->text) || memcmp(text, e->text, len))
                err(b->s, b->file, "%s is %s, but this graph is only right for '%s'", key,
                    quote(b->s, text, len), e->text);
        } else if (!e->text &&
                   (gguf_float(b->g, key, &f) || (gguf_bool(b->g, key, &on) && ((f = on), true)) ||
                    (gguf_int(b->g, key, &i) && ((f = (double)i), true)))) {
            if (f != wanted)
                err(b->s, b->file, "%s is %g, but this graph is only right for %g", key, f, wanted);
        } else if (gguf_get(b->g, key)) {
            err(b->s, b->file,
                "%s has an unexpected type; this graph is only right for one value of it", key);
        }
    }
}

/* ---- weights ---- */

static bool shape_fits(Bind *b, const Weight *w, const Tensor *t)
{
    const Type *y = w->type;
    int64_t rows = y->rank == 2 ? y->dim[0].n : 1, cols = y->dim[y->rank - 1].n;
    if (t->rows == rows && t->cols == cols)
        return true;
    Out o = {.s = b->s};
    type_print(y, &o);
    err(b->s, b->file, "tensor %s is %lld x %lld (rows x columns); @%s of this graph is %s",
        t->name, (long long)t->rows, (long long)t->cols, w->name, o.text);
    out_free(&o);
    return false;
}

/* `any` takes the file's format where float kernels read it, else the one that holds its values. */
static Fmt settled_format(const Weight *w, const Tensor *t)
{
    if (w->type->fmt != FMT_ANY)
        return w->type->fmt;
    return fmt_as_floats(t->fmt);
}

/* Whether weights.c can make the declared format of this tensor: float formats in blocks are
 * copied, or q8_0 where that is exact; scales a block are only kept; masters have one scale. */
static bool format_fits(const Bind *b, const Weight *w, const Tensor *t)
{
    Fmt f = w->type->fmt;
    bool blocks = fmt_info[f].kind == KIND_FLOAT && f != FMT_F32 && f != FMT_F16;
    if (blocks)
        return t->fmt == f || (f == FMT_Q8_0 && fmt_as_floats(t->fmt) == f);
    if (fmt_group(f))
        return group_scales(t, fmt_group(f), &(GroupScales){0}) ||
               (b->m->masters && fmt_info[t->fmt].kind == KIND_FLOAT);
    return f != FMT_Q2R4B || fmt_info[t->fmt].kind == KIND_TERNARY;
}

/* The numbers that w's scales are multiplied by. */
static void take_factors(Bind *b, Weight *w)
{
    int n = w->count ? w->count : 1;
    w->factor = NEW_ARRAY(b->s, Tensor, n);
    for (int i = 0; i < n; i++) {
        const Tensor *t = find_tensor(b, w->times, w->first + i, true);
        if (!t || t->rows != 1 || t->cols != 1 || t->fmt == FMT_COUNT ||
            fmt_info[t->fmt].kind != KIND_FLOAT) {
            err(b->s, b->file,
                "the model has no tensor %s of one number, which @%s is multiplied by",
                bind_key(b, w->times, w->first + i), w->name);
            return;
        }
        w->factor[i] = *t;
    }
}

static bool take_tensors(Bind *b, Weight *w)
{
    int n = w->count ? w->count : 1, found = 0;
    Fmt fmt = w->type->fmt;
    w->tensor = NULL;
    for (int i = 0; i < n; i++) {
        const Tensor *t = find_tensor(b, w->pattern, w->first + i, true);
        if (!t)
            break;
        if (t->fmt == FMT_COUNT) {
            err(b->s, b->file,
                "tensor %s is of type %s, which bnc does not decode (docs/formats.md lists what it "
                "does); requantize it to q8_0 or f16, or if it is ternary to i2_s or tq2_0",
                t->name, gguf_type_name(b->g, t));
            return true;
        }
        if (!shape_fits(b, w, t))
            return true;
        if (!format_fits(b, w, t)) {
            err(b->s, b->file,
                "tensor %s is %s, @%s is declared %s; declare it any, f32, f16 or tern", t->name,
                fmt_info[t->fmt].name, w->name, fmt_info[w->type->fmt].name);
            return true;
        }
        w->tensor = grow(b->s, w->tensor, (size_t)i, sizeof *w->tensor);
        w->tensor[i] = *t;
        fmt = found++ ? (fmt == settled_format(w, t) ? fmt : FMT_F16) : settled_format(w, t);
    }
    if (found && found < n)
        err(b->s, b->file, "the model has %d of the %d tensors %s", found, n,
            bind_key(b, w->pattern, w->first));
    w->type = w->value.type = type_with(b->s, w->type, fmt);
    if (found && w->times)
        take_factors(b, w);
    return found > 0;
}

/* Without the tensor of an optional weight its ops hand on what they read. */
static void drop_user(Op *op, void *arg)
{
    Bind *b = arg;
    for (int i = 1; i < op->nin; i++)
        if (op->in[i]->weight == b->absent) {
            if (op->nout != 1 || op->nin != 2 || op->out[0]->type != op->in[0]->type)
                fail(b->s, op->loc, "%s cannot do without @%s, which is declared | none",
                     op_info[op->code].name, b->absent->name);
            replace_uses(op->block->func, op->out[0], op->in[0]);
            op_remove(op);
            return;
        }
}

static void drop_weight(Bind *b, Weight *w)
{
    b->absent = w;
    for (Func *f = b->m->funcs; f; f = f->next)
        walk(f->body, drop_user, b);
    w->used = false;
}

static void take_constant(Bind *b, Weight *w)
{
    const Symbol *y = w->constant_of ? symbol_find(b->m, w->constant_of) : NULL;
    w->tensor = NULL;
    w->pattern = NULL;
    if (w->constant_of && (!y || y->is_dim))
        fail(b->s, w->loc, "@%s is %s, which is no const of this graph", w->name, w->constant_of);
    if (y)
        w->constant = (float)y->f;
    if (!isfinite(w->constant))
        fail(b->s, b->file, "@%s would be %g, which a 32-bit float does not hold", w->name,
             y ? y->f : (double)w->constant);
    w->constant_of = NULL;
}

static void bind_weight(Bind *b, Weight *w)
{
    w->count = w->layers.sym ? (int)bound_dim(b, w->layers).n : w->count;
    if (w->layers.sym && (bound_dim(b, w->layers).sym || w->count > 1 << 20))
        fail(b->s, w->loc, "@%s has layers [%s], which is no dimension of this graph up to %d",
             w->name, w->layers.sym, 1 << 20);
    w->layers.sym = NULL;
    w->type = w->value.type = bound_type(b, w->type, w->type->fmt);
    for (int i = 0; i < w->type->rank; i++)
        if (w->type->dim[i].sym)
            fail(b->s, w->loc, "@%s is as large as %s, which is no dimension of this graph",
                 w->name, w->type->dim[i].sym);
    if (w->is_state) {
        Fmt fmt = w->type->fmt == FMT_ANY ? b->kv : w->type->fmt;
        w->type = w->value.type = type_with(b->s, w->type, fmt);
        return;
    }
    bool found = w->pattern && take_tensors(b, w);
    Weight *other = w->same_as ? weight_find(b->m, w->same_as) : NULL;
    if (found) {
        w->has_const = false;
    } else if (other) {
        for (Func *f = b->m->funcs; f; f = f->next)
            replace_uses(f, &w->value, &other->value);
        other->used |= w->used;
        w->used = false;
    } else if (w->has_const) {
        take_constant(b, w);
    } else if (w->optional) {
        drop_weight(b, w);
    } else {
        err(b->s, b->file, "the model has no tensor %s, which @%s of architecture %s needs",
            w->pattern ? bind_key(b, w->pattern, w->first) : "", w->name, b->m->arch[0]);
    }
    w->same_as = NULL;
    w->optional = false;
}

static void check_unused(Bind *b)
{
    int more = 0;
    for (int64_t i = 0; i < gguf_tensor_count(b->g); i++)
        if (!b->used[i] && ++more <= 4)
            err(b->s, b->file,
                "tensor %s is unknown to architecture %s; without it the result would be wrong. "
                "A graph that uses it can be given with --arch=FILE.tir",
                gguf_tensor_at(b->g, i)->name, b->m->arch[0]);
    if (more > 4)
        err(b->s, b->file, "and %d more unknown tensors", more - 4);
}

static void bind_op(Op *op, void *arg)
{
    Bind *b = arg;
    for (int i = 0; i < op->nattr; i++) {
        Attr *a = &op->attr[i];
        const Symbol *y = a->ref ? symbol_find(b->m, a->ref) : NULL;
        if (!y)
            continue;
        if (!y->is_dim && !positive_float(y->f)) {
            const char *keys = keys_of(b, y);
            fail(b->s, b->file,
                 "%s%s%s%s is %g; as %s of %s it must be above zero, as a 32-bit float, and finite",
                 y->name, keys ? " (" : "", keys ? keys : "", keys ? ")" : "", y->f, a->name,
                 op_info[op->code].name);
        }
        a->kind = y->is_dim ? ATTR_INT : ATTR_FLOAT;
        a->i = y->n;
        a->f = y->is_dim ? (double)y->n : (float)y->f;
        a->ref = NULL;
        a->s = NULL;
    }
}

/* No file says which I2_S layout it has (formats.md: three layouts, one type id). The weights of the
 * first layers decide; where they leave it open, a note says so. */
static void note_layout(Bind *b, const char *given)
{
    enum { LOOK_AT = 1 << 23 }; /* weights, and the rest of a tensor: tens of milliseconds */
    bool any = false;
    for (const Weight *w = b->m->weights; w; w = w->next)
        any |= w->tensor && (w->tensor->fmt == FMT_I2_S || w->tensor->fmt == FMT_I2_S_ARM64 ||
                             w->tensor->fmt == FMT_I2_S_ROW4);
    if (!any)
        return;
    Fmt layout = i2s_layout_by_name(b->s, given);
    I2sEvidence e = gguf_i2s_evidence(b->g, layout, LOOK_AT);
    if (e.other)
        warn(b->s, b->file,
             "its I2_S tensors are read in the layout %s, but by their zeros and norms they were "
             "packed as %s: use --i2s-layout=%s (bnc inspect --check)",
             i2s_layout_name(layout), i2s_layout_name(e.fits), i2s_layout_name(e.fits));
    else if (!e.sure && !given)
        note(b->s, "I2_S tensors are read in the layout x128; if the model talks nonsense, try "
                   "--i2s-layout=arm64 or row4");
}

/* llama.cpp's numbers: 0 none, 1 mean, 2 cls, 3 last, 4 rank. */
static const char *pooling_of(Bind *b)
{
    const char *key = bind_key(b, "{arch}.pooling_type", 0);
    int64_t type;
    if (!gguf_int(b->g, key, &type))
        return NULL;
    return type == 1 ? "mean" : type == 2 ? "cls" : type == 3 ? "last" : NULL;
}

/* ---- the tokenizer ---- */

/* The key, if it is there, has a value of another type: passed over, it would be one that the file
 * did not ask for. */
static void no_other_type(Bind *b, const char *key, const char *wanted)
{
    const GgufValue *v = gguf_get(b->g, key);
    if (v)
        fail(b->s, b->file, "%s is %s %s; %s is expected: convert the model again", key,
             v->is_array ? "an array of" : "a single", gguf_value_type_name[v->type], wanted);
}

static const char *string_or(Bind *b, const char *key, const char *absent)
{
    const char *text;
    size_t len;
    if (!gguf_string(b->g, key, &text, &len)) {
        no_other_type(b, key, "a string");
        return absent;
    }
    if (memchr(text, 0, len))
        fail(b->s, b->file, "%s holds a zero byte: %s", key, quote(b->s, text, len));
    return intern(b->s, text, len);
}

static int64_t int_or(Bind *b, const char *key, int64_t absent)
{
    int64_t i;
    if (gguf_int(b->g, key, &i))
        return i;
    no_other_type(b, key, "an integer");
    return absent;
}

static int flag_or(Bind *b, const char *key)
{
    bool on;
    if (gguf_bool(b->g, key, &on))
        return on;
    no_other_type(b, key, "a bool");
    return -1;
}

static const VocabText *texts(Bind *b, const char *key, int64_t *n)
{
    const GgufValue *v = gguf_get(b->g, key);
    *n = v ? gguf_string_count(v) : 0;
    if (v && *n < 0)
        fail(b->s, b->file, "%s is not an array of strings", key);
    VocabText *t = NEW_ARRAY(b->s, VocabText, *n);
    for (int64_t i = 0; i < *n; i++)
        t[i].ptr = gguf_string_at(b->g, v, i, &t[i].len);
    return t;
}

static const uint8_t *bytes_of(Bind *b, const char *key, int64_t *n)
{
    const int32_t *x = gguf_ints(b->g, key, n);
    uint8_t *out = x ? NEW_ARRAY(b->s, uint8_t, *n) : NULL;
    for (int64_t i = 0; i < *n; i++) {
        if (x[i] < -128 || x[i] > 255)
            fail(b->s, b->file, "%s has the entry %d; bytes are expected", key, (int)x[i]);
        out[i] = (uint8_t)x[i];
    }
    return out;
}

/* Every token that ends a text, in the keys of several writers: single ids and lists. */
static void bind_ends(Bind *b, VocabSource *v)
{
    static const char *const keys[] = {"eom_token_id", "eog_token_id", "eog_token_ids",
                                       "eos_token_ids"};
    int32_t *all = NULL;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *key = format(b->s, "tokenizer.ggml.%s", keys[k]);
        const GgufValue *list = gguf_get(b->g, key);
        int64_t n = 0, id = -1;
        if (!list)
            continue;
        const int32_t *ids = list->is_array ? gguf_ints(b->g, key, &n) : NULL;
        for (int64_t i = 0; i < (ids ? n : 1); i++) {
            if (!ids && !gguf_int(b->g, key, &id))
                fail(b->s, b->file, "%s is no token", key);
            all = grow(b->s, all, (size_t)v->nends, sizeof *all);
            all[v->nends++] = ids ? ids[i] : id > INT32_MAX || id < 0 ? INT32_MAX : (int32_t)id;
        }
    }
    v->ends = all;
}

/* What is done to texts before they are cut. tokenizer.bnc.*: keys of `bnc convert`, for which others
 * have none. */
static void bind_normalizer(Bind *b, VocabSource *v)
{
    int64_t n;
    const char *ignored = "tokenizer.ggml.escape_whitespaces";
    if (!strcmp(v->model, "llama") && flag_or(b, ignored) == 0)
        fail(b->s, b->file, "%s is false; bnc's tables write a space as U+2581 always", ignored);
    v->charsmap = bytes_of(b, "tokenizer.ggml.precompiled_charsmap", &v->charsmap_bytes);
    v->remove_extra_spaces = flag_or(b, "tokenizer.ggml.remove_extra_whitespaces") == 1;
    v->space_suffix = flag_or(b, "tokenizer.ggml.treat_whitespace_as_suffix") == 1;
    v->steps = texts(b, "tokenizer.bnc.normalizer", &v->nsteps);
    v->prefix = string_or(b, "tokenizer.bnc.space_prefix", NULL);
    v->split_spaces = flag_or(b, "tokenizer.bnc.split_spaces") == 1;
    v->only_merges = flag_or(b, "tokenizer.bnc.only_merges") == 1;
    v->by_merges = flag_or(b, "tokenizer.bnc.by_merges") == 1;
    v->flags = bytes_of(b, "tokenizer.bnc.token_flags", &n);
    if (v->flags && n != v->n)
        fail(b->s, b->file, "tokenizer.bnc.token_flags has %lld entries for %lld tokens",
             (long long)n, (long long)v->n);
}

typedef struct Rows {
    Bind *b;
    int64_t tokens;
} Rows;

static void check_rows(Op *op, void *arg)
{
    const Rows *r = arg;
    if (op->code == OP_EMBED && op->in[1]->type->dim[0].n < r->tokens)
        fail(r->b->s, r->b->file,
             "the tokenizer has %lld tokens, the embedding @%s rows for %lld of them",
             (long long)r->tokens, op->in[1]->weight->name, (long long)op->in[1]->type->dim[0].n);
}

static void bind_vocabulary(Bind *b)
{
    VocabSource *v = NEW(b->s, VocabSource);
    int64_t n = 0;
    v->model = string_or(b, "tokenizer.ggml.model", NULL);
    v->pre = string_or(b, "tokenizer.ggml.pre", NULL);
    v->tokens = texts(b, "tokenizer.ggml.tokens", &v->n);
    v->merges = texts(b, "tokenizer.ggml.merges", &v->nmerges);
    b->m->vocab = v;
    if (!v->model && !gguf_get(b->g, "tokenizer.ggml.tokens")) {
        note(b->s, "the model carries no tokenizer: it takes token ids only, no text");
        return;
    }
    if (!v->model || !v->n)
        fail(b->s, b->file,
             "the model carries no tokenizer (tokenizer.ggml.model and tokens); convert it again "
             "with one");
    v->scores = gguf_floats(b->g, "tokenizer.ggml.scores", &n);
    if (v->scores && n != v->n)
        fail(b->s, b->file, "tokenizer.ggml.scores has %lld entries for %lld tokens", (long long)n,
             (long long)v->n);
    v->types = gguf_ints(b->g, "tokenizer.ggml.token_type", &n);
    if (v->types && n != v->n)
        fail(b->s, b->file, "tokenizer.ggml.token_type has %lld entries for %lld tokens",
             (long long)n, (long long)v->n);
    v->bos = int_or(b, "tokenizer.ggml.bos_token_id", -1);
    v->eos = int_or(b, "tokenizer.ggml.eos_token_id", -1);
    v->eot = int_or(b, "tokenizer.ggml.eot_token_id", -1);
    v->unk = int_or(b, "tokenizer.ggml.unknown_token_id", -1);
    v->pad = int_or(b, "tokenizer.ggml.padding_token_id", -1);
    v->add_bos = flag_or(b, "tokenizer.ggml.add_bos_token");
    v->add_eos = flag_or(b, "tokenizer.ggml.add_eos_token");
    v->add_space_prefix = flag_or(b, "tokenizer.ggml.add_space_prefix");
    bind_ends(b, v);
    bind_normalizer(b, v);
    for (Func *f = b->m->funcs; f; f = f->next)
        walk(f->body, check_rows, &(Rows){b, v->n});
    b->m->chat_template = string_or(b, "tokenizer.chat_template", NULL);
}

/* ---- entry ---- */

static const Module *matches(const Module *m, const char *arch)
{
    for (int i = 0; i < m->narch; i++)
        if (!strcmp(m->arch[i], arch))
            return m;
    return NULL;
}

static Module *find_architecture(Bind *b, const char *own)
{
    const char *path, *text;
    size_t size;
    Out known = {.s = b->s};
    if (own)
        return tir_read(b->s, own);
    for (int i = 0; (text = embedded_at(i, &path, &size)); i++) {
        if (strncmp(path, "arch/", 5))
            continue;
        Module *m = tir_parse_text(b->s, path, text, size);
        if (matches(m, b->arch))
            return m;
        put(&known, "%s%s", known.len ? ", " : "", m->arch[0]);
    }
    fail(b->s, b->file,
         "architecture '%s' is not known (%s); describe it in a text and give that with "
         "--arch=FILE.tir "
         "(docs/adding.md)",
         b->arch, known.text);
}

static void open_file(Bind *b, const char *path, const char *i2s_layout)
{
    b->path = path;
    b->file = loc_file(b->s, path);
    b->g = gguf_open(b->s, path);
    Fmt layout = i2s_layout_by_name(b->s, i2s_layout);
    gguf_i2s_layout(b->g, layout);
    b->arch = string_or(b, "general.architecture", NULL);
    if (!b->arch)
        fail(b->s, b->file, "the model does not name its architecture (key general.architecture)");
    if (!name_good(b->arch))
        fail(b->s, b->file,
             "general.architecture is %s, which is no name of an architecture: 1 to %d letters, "
             "digits, _ . or -, the first a letter or a digit",
             quote(b->s, b->arch, strlen(b->arch)), NAME_LENGTH);
    b->used = NEW_ARRAY(b->s, bool, gguf_tensor_count(b->g) + 1);
}

static Fmt cache_format(Session *s, const char *kv)
{
    if (!kv || !strcmp(kv, "f16"))
        return FMT_F16;
    if (strcmp(kv, "int8") && strcmp(kv, "f32"))
        fail(s, (Loc){0}, "--kv is f16, int8 or f32, not '%s'", kv);
    return strcmp(kv, "f32") ? FMT_KV8 : FMT_F32;
}

static void limit_context(Bind *b, int wanted)
{
    Module *m = b->m;
    Symbol *c = symbol_find(m, name(m->s, "C"));
    if (c && c->known && wanted > c->n)
        warn(b->s, b->file,
             "--ctx=%d is more than the %lld positions that this model was trained with: what it "
             "writes beyond them may be nonsense",
             wanted, (long long)c->n);
    if (c && c->known && wanted)
        c->n = wanted;
    else if (c && c->known && c->n > 4096)
        c->n = 4096;
    m->context = c && c->known ? (int)c->n : 0;
}

Module *bind_model(Session *s, const char *path, const BindOptions *o)
{
    Bind b = {.s = s, .kv = cache_format(s, o->kv)};
    open_file(&b, path, o->i2s_layout);
    Module *m = b.m = find_architecture(&b, o->arch_path);
    if (m->facts & FACT_BOUND)
        fail(s, loc_file(s, o->arch_path),
             "--arch wants an architecture; this text is a module that is bound already");
    if (gguf_tensor_count(b.g) == 0)
        fail(s, b.file,
             "there is not one tensor in this file: it holds a vocabulary or metadata only, "
             "nothing to compile");
    resolve_symbols(&b);
    limit_context(&b, o->context);
    resolve_from_shapes(&b);
    check_symbols(&b);
    check_expects(&b);
    bind_check_keys(&b);
    for (Weight *w = m->weights; w; w = w->next)
        bind_weight(&b, w);
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, bind_op, &b);
    bind_rope(&b);
    check_unused(&b);
    stop_on_errors(s);
    weights_keep_used(m);
    if (!module_infer(m))
        give_up(s);
    note_layout(&b, o->i2s_layout);
    bind_vocabulary(&b);
    m->title = string_or(&b, "general.name", b.arch);
    m->pooling = pooling_of(&b);
    m->source = name(s, path);
    m->hash = gguf_hash(b.g);
    m->i2s_layout = o->i2s_layout ? name(s, o->i2s_layout) : NULL;
    m->batch = o->batch ? o->batch : 64;
    m->expects = NULL;
    m->arch = (const char **)memcpy(NEW(s, const char *), &b.arch, sizeof b.arch);
    m->narch = 1;
    m->facts |= FACT_BOUND;
    return m;
}

void bind_weights(Module *m, const char *path)
{
    Bind b = {.s = m->s, .m = m};
    if (!m->source && !path)
        fail(m->s, (Loc){m->text, 1, 1},
             "this text names no model file, so there are no weights to emit");
    open_file(&b, path ? path : m->source, m->i2s_layout);
    if (gguf_hash(b.g) != m->hash)
        fail(m->s, b.file,
             "this is not the file that %s was made from: its XXH64 is %016llx, the text says "
             "%016llx",
             m->text->path, (unsigned long long)gguf_hash(b.g), (unsigned long long)m->hash);
    for (Weight *w = m->weights; w; w = w->next) {
        const Type *declared = w->type;
        if (!w->is_state && w->pattern && !take_tensors(&b, w))
            err(m->s, b.file, "the model has no tensor %s", bind_key(&b, w->pattern, w->first));
        w->type = w->value.type = declared;
    }
    stop_on_errors(m->s);
    bind_vocabulary(&b);
}

const VocabSource *read_vocabulary(Session *s, const char *path)
{
    Module *m = NEW(s, Module);
    Bind b = {.s = s, .m = m};
    open_file(&b, path, NULL);
    bind_vocabulary(&b);
    return m->vocab;
}
