/* infer.c: what each op makes of its operands' types. Inference is
 * also the check of a text: shapes are compared symbol by symbol before binding, number by number
 * after it. */
#include <math.h>
#include <string.h>

#include "bn_model.h"
#include "ir/ir.h"

#define OP(name, text, nin, nout, attrs, infer, split, flags, args, formula)                       \
    static bool infer_##infer(Module *m, Op *op);
#include "ir/ops.def"
#undef OP

static bool (*const infer[OP_COUNT])(Module *m, Op *op) = {
#define OP(name, text, nin, nout, attrs, infer, split, flags, args, formula) infer_##infer,
#include "ir/ops.def"
#undef OP
};

static bool wrong(Module *m, const Op *op, const char *expected)
{
    Out o = {.s = m->s};
    for (int i = 0; i < op->nin; i++) {
        put(&o, i ? ", " : "");
        type_print(op->in[i]->type, &o);
    }
    err(m->s, op->loc, "%s wants %s, it gets %s", op_info[op->code].name, expected,
        o.len ? o.text : "nothing");
    out_free(&o);
    return false;
}

static const Type *in(const Op *op, int i)
{
    return op->in[i]->type;
}

/* A value (not a weight) of this format and rank. */
static bool value_is(const Op *op, int i, Fmt fmt, int rank)
{
    return !op->in[i]->weight && in(op, i)->fmt == fmt && in(op, i)->rank == rank;
}

static bool weight_is(const Op *op, int i, int rank)
{
    const Weight *w = op->in[i]->weight;
    return w && !w->is_state && in(op, i)->rank == rank;
}

static bool is_state(const Op *op, int i)
{
    const Weight *w = op->in[i]->weight;
    Fmt f = in(op, i)->fmt;
    return w && w->is_state && in(op, i)->rank == 3 &&
           (f == FMT_ANY || f == FMT_F32 || f == FMT_F16 || f == FMT_KV8);
}

static bool codes(Fmt f)
{
    return fmt_info[f].kind == KIND_LOGICAL || fmt_info[f].kind == KIND_PACKED;
}

/* a = b * c, as far as numbers are known. */
static bool product(Dim a, Dim b, Dim c)
{
    return a.sym || b.sym || c.sym || a.n == b.n * c.n;
}

static bool give(Module *m, Op *op, int i, Fmt fmt, int rank, Dim d0, Dim d1)
{
    Dim dim[2] = {d0, d1};
    op->out[i]->type = type_get(m->s, fmt, rank, dim);
    return true;
}

static bool infer_none(Module *m, Op *op)
{
    (void)m, (void)op;
    return true;
}

static bool infer_result(Module *m, Op *op)
{
    return value_is(op, 0, FMT_F32, 2) ? true : wrong(m, op, "f32<T x N>");
}

static bool infer_same0(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2))
        return wrong(m, op, "f32<T x N>");
    op->out[0]->type = in(op, 0);
    return true;
}

static bool infer_same01(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2) || op->in[1]->weight || in(op, 0) != in(op, 1))
        return wrong(m, op, "two equal f32<T x N>");
    op->out[0]->type = in(op, 0);
    return true;
}

static bool infer_embed(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_I32, 1) || !weight_is(op, 1, 2))
        return wrong(m, op, "tokens i32<T> and a weight<V x D>");
    return give(m, op, 0, FMT_F32, 2, in(op, 0)->dim[0], in(op, 1)->dim[1]);
}

static bool infer_table(Module *m, Op *op)
{
    const Block *f = op->block->func->body;
    const Attr *dim = attr_find(op, "dim"), *freqs = attr_find(op, "freqs");
    const char *scaling = attr_word(op, "scaling", NULL);
    if (!value_is(op, 0, FMT_I32, 0) || !f->narg || f->arg[0]->type->rank != 1)
        return wrong(m, op, "the position i32, in a function whose first parameter is i32<T>");
    if (!dim->ref && (dim->i < 2 || dim->i % 2 || dim->i > 65536)) {
        err(m->s, op->loc, "rope_table: dim is an even number of at least 2, not %lld",
            (long long)dim->i);
        return false;
    }
    if (!attr_find(op, "base") == !freqs) {
        err(m->s, op->loc, "rope_table needs one of base and freqs");
        return false;
    }
    if (freqs && !dim->ref && freqs->i != dim->i / 2) {
        err(m->s, op->loc, "rope_table: freqs has %lld numbers, one for each of %lld pairs",
            (long long)freqs->i, (long long)(dim->i / 2));
        return false;
    }
    if (scaling && (strcmp(scaling, "file") || freqs)) {
        err(m->s, op->loc, "rope_table: scaling is file, beside a base, not '%s'", scaling);
        return false;
    }
    Dim n = dim->ref ? dim_free(dim->ref) : (Dim){dim->i, NULL};
    return give(m, op, 0, FMT_F32, 2, f->arg[0]->type->dim[0], n);
}

static bool norm_operands(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2) || !weight_is(op, 1, 1) ||
        !dim_equal(in(op, 0)->dim[1], in(op, 1)->dim[0]))
        return wrong(m, op, "f32<T x N> and a gain f32<N>");
    return true;
}

static bool infer_norm(Module *m, Op *op)
{
    op->out[0]->type = in(op, 0);
    return norm_operands(m, op);
}

static bool infer_headnrm(Module *m, Op *op)
{
    const Attr *h = attr_find(op, "heads");
    Dim heads = h->ref ? dim_free(h->ref) : (Dim){h->i, NULL};
    if (!value_is(op, 0, FMT_F32, 2) || !weight_is(op, 1, 1) || (!heads.sym && heads.n < 1) ||
        !product(in(op, 0)->dim[1], heads, in(op, 1)->dim[0]))
        return wrong(m, op, "f32<T x heads*E> and a gain f32<E>");
    op->out[0]->type = in(op, 0);
    return true;
}

/* Ops that do something else in some layers know which layer runs, and every how many. */
static bool in_layers(Module *m, const Op *op)
{
    const Attr *every = attr_find(op, "every");
    const char *name = op_info[op->code].name;
    if (!op->block->owner)
        err(m->s, op->loc, "%s depends on the layer: it can only stand in a layers body", name);
    else if (!every->ref && every->i < 1)
        err(m->s, op->loc, "%s: every is a number from 1, not %lld", name, (long long)every->i);
    else
        return true;
    return false;
}

static bool infer_pick(Module *m, Op *op)
{
    return infer_same01(m, op) && in_layers(m, op);
}

static bool infer_linear(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2) || !weight_is(op, 1, 2) ||
        !dim_equal(in(op, 0)->dim[1], in(op, 1)->dim[1]))
        return wrong(m, op, "f32<T x K> and a weight<N x K>");
    return give(m, op, 0, FMT_F32, 2, in(op, 0)->dim[0], in(op, 1)->dim[0]);
}

static bool infer_scale(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2) || !weight_is(op, 1, 1) || in(op, 1)->dim[0].n != 1)
        return wrong(m, op, "f32<T x N> and a weight f32<1>");
    op->out[0]->type = in(op, 0);
    return true;
}

static bool mode_ok(Module *m, const Op *op)
{
    const char *mode = attr_word(op, "mode", "");
    if (!strcmp(mode, "neox") || !strcmp(mode, "norm"))
        return true;
    err(m->s, op->loc, "mode is neox (pairs j, j + dim/2) or norm (pairs 2j, 2j + 1), not '%s'",
        mode);
    return false;
}

static bool infer_rope(Module *m, Op *op)
{
    const Attr *heads = attr_find(op, "heads");
    if (!value_is(op, 0, FMT_F32, 2) || !value_is(op, 1, FMT_F32, 2) ||
        !dim_equal(in(op, 0)->dim[0], in(op, 1)->dim[0]))
        return wrong(m, op, "f32<T x N> and a table f32<T x R>");
    Dim n = in(op, 0)->dim[1], r = in(op, 1)->dim[1];
    if (!heads->ref && !n.sym && !r.sym && (heads->i < 1 || n.n % heads->i || n.n / heads->i < r.n))
        return wrong(m, op, "heads that divide N, R within a head");
    op->out[0]->type = in(op, 0);
    return mode_ok(m, op);
}

/* Kernels keep a head beside an int8 cache; 512 values also keep their sums within int32. */
static bool head_fits(Module *m, const Op *op, const Type *state)
{
    if (state->fmt != FMT_KV8 || state->dim[2].sym || state->dim[2].n <= 512)
        return true;
    err(m->s, op->loc, "an int8 cache takes heads of at most 512 values, not %lld; use --kv=f16",
        (long long)state->dim[2].n);
    return false;
}

static bool infer_store(Module *m, Op *op)
{
    int st = op->nin - 1;
    if (!value_is(op, 0, FMT_F32, 2) || !is_state(op, st) ||
        !product(in(op, 0)->dim[1], in(op, st)->dim[0], in(op, st)->dim[2]))
        return wrong(m, op, "f32<T x G*E> and a state<G x C x E>");
    if (op->code == OP_STORE)
        return head_fits(m, op, in(op, st));
    if (!value_is(op, 1, FMT_F32, 2) || !dim_equal(in(op, 0)->dim[0], in(op, 1)->dim[0]))
        return wrong(m, op, "f32<T x G*E>, a table f32<T x R> and a state<G x C x E>");
    return head_fits(m, op, in(op, st)) && mode_ok(m, op);
}

static bool infer_attn(Module *m, Op *op)
{
    const Attr *h = attr_find(op, "heads");
    if (!value_is(op, 0, FMT_F32, 2) || !is_state(op, 1) || !is_state(op, 2) ||
        in(op, 1) != in(op, 2))
        return wrong(m, op, "queries f32<T x H*E> and two equal states<G x C x E>");
    Dim heads = h->ref ? dim_free(h->ref) : (Dim){h->i, NULL}, g = in(op, 1)->dim[0];
    if (!product(in(op, 0)->dim[1], heads, in(op, 1)->dim[2]) ||
        (!heads.sym && !g.sym && (heads.n < 1 || heads.n % g.n)))
        return wrong(m, op, "queries of heads * E values, and KV heads that divide heads");
    op->out[0]->type = in(op, 0);
    return head_fits(m, op, in(op, 1));
}

static bool infer_window(Module *m, Op *op)
{
    const Attr *window = attr_find(op, "window");
    if (!infer_attn(m, op) || !in_layers(m, op))
        return false;
    if (window->ref || window->i > 0)
        return true;
    err(m->s, op->loc, "window is a number of positions from 1, not %lld", (long long)window->i);
    return false;
}

static bool infer_ropeattn(Module *m, Op *op)
{
    const Attr *h = attr_find(op, "heads");
    bool values = true;
    for (int i = 0; i < 4; i++)
        values &= value_is(op, i, FMT_F32, 2);
    if (!values || !is_state(op, 4) || !is_state(op, 5) || in(op, 4) != in(op, 5) ||
        in(op, 1) != in(op, 2) || in(op, 0)->dim[0].sym || in(op, 0)->dim[0].n != 1 || h->ref ||
        h->i < 1 || !product(in(op, 0)->dim[1], (Dim){h->i, NULL}, in(op, 4)->dim[2]) ||
        !product(in(op, 1)->dim[1], in(op, 4)->dim[0], in(op, 4)->dim[2]) ||
        h->i % in(op, 4)->dim[0].n)
        return wrong(m, op,
                     "f32<1 x H*E>, twice f32<1 x G*E>, a table f32<1 x R>, two equal "
                     "states<G x C x E>, and KV heads that divide heads");
    op->out[0]->type = in(op, 0);
    return head_fits(m, op, in(op, 4)) && mode_ok(m, op);
}

static bool infer_last(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2))
        return wrong(m, op, "f32<T x N>");
    return give(m, op, 0, FMT_F32, 2, (Dim){1, NULL}, in(op, 0)->dim[1]);
}

static bool infer_quant(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_F32, 2))
        return wrong(m, op, "f32<T x K>");
    op->out[0]->type = type_with(m->s, in(op, 0), FMT_I8);
    return give(m, op, 1, FMT_F32, 1, in(op, 0)->dim[0], (Dim){0, NULL});
}

static bool infer_normq(Module *m, Op *op)
{
    return norm_operands(m, op) && infer_quant(m, op);
}

/* codes, and for each group of columns a scale and the sum of the codes */
static bool infer_quantg(Module *m, Op *op)
{
    const Type *x = in(op, 0);
    const char *scale = attr_word(op, "scale", "");
    int64_t group = attr_int(op, "group", 0);
    if (!value_is(op, 0, FMT_F32, 2) || x->dim[1].sym || x->dim[1].n > INT32_MAX / 4)
        return wrong(m, op, "f32<T x K>, K a number");
    if (strcmp(scale, "group") && strcmp(scale, "token")) {
        err(m->s, op->loc, "scale is group or token, not '%s'", scale);
        return false;
    }
    if (group != 64 && group != 128 && group != 256) {
        err(m->s, op->loc, "group is 64, 128 or 256 columns, not %lld", (long long)group);
        return false;
    }
    op->out[0]->type = type_with(m->s, x, FMT_I8);
    return give(m, op, 1, FMT_F32, 2, x->dim[0],
                (Dim){2 * group_count(x->dim[1].n, (int)group), NULL});
}

static bool infer_normqg(Module *m, Op *op)
{
    return norm_operands(m, op) && infer_quantg(m, op);
}

int64_t lut3_width(int64_t k)
{
    return (k + 23) / 24 * 256;
}

static bool infer_lut3(Module *m, Op *op)
{
    const Type *q = in(op, 0);
    if (!value_is(op, 0, FMT_I8, 2) || q->dim[0].sym || q->dim[0].n != 1 || q->dim[1].sym)
        return wrong(m, op, "i8<1 x K>, K a number");
    if (lut3_width(q->dim[1].n) > INT32_MAX)
        return wrong(m, op, "activations whose tables have less than 2^31 bytes");
    return give(m, op, 0, FMT_I8, 2, q->dim[0], (Dim){lut3_width(q->dim[1].n), NULL});
}

/* Whether operand 0 is activations for k columns of a weight, or one token's tables of them. */
static bool fits_columns(const Type *q, Dim k)
{
    bool one = !q->dim[0].sym && q->dim[0].n == 1, numbers = !q->dim[1].sym && !k.sym;
    return dim_equal(q->dim[1], k) || (one && numbers && q->dim[1].n == lut3_width(k.n));
}

/* Whether operand 1 is the scales of tokens, or of the groups that the weight's scales are for. */
static bool fits_scales(const Op *op, Fmt weight)
{
    const Type *s = in(op, 1);
    Dim k = in(op, 0)->dim[1];
    if (value_is(op, 1, FMT_F32, 1))
        return true;
    return value_is(op, 1, FMT_F32, 2) && fmt_group(weight) && !k.sym && !s->dim[1].sym &&
           s->dim[1].n == 2 * group_count(k.n, fmt_group(weight));
}

static bool ternary_operands(Module *m, const Op *op, int nweight)
{
    bool ok = value_is(op, 0, FMT_I8, 2) && in(op, 1)->rank > 0 &&
              dim_equal(in(op, 0)->dim[0], in(op, 1)->dim[0]);
    for (int i = 2; ok && i < 2 + nweight; i++)
        ok = weight_is(op, i, 2) && codes(in(op, i)->fmt) && in(op, i) == in(op, 2) &&
             fits_columns(in(op, 0), in(op, i)->dim[1]) && fits_scales(op, in(op, i)->fmt);
    return ok ? true : wrong(m, op, "i8<T x K>, f32<T> and ternary weights<N x K>");
}

static bool infer_matmul(Module *m, Op *op)
{
    if (!ternary_operands(m, op, 1))
        return false;
    give(m, op, 0, FMT_F32, 2, in(op, 0)->dim[0], in(op, 2)->dim[0]);
    if (op->code == OP_TMATMUL_ADD && (op->in[3]->weight || in(op, 3) != op->out[0]->type))
        return wrong(m, op, "a residual of the result's type");
    return true;
}

static bool infer_glu(Module *m, Op *op)
{
    const char *act = attr_word(op, "act", "");
    if (strcmp(act, "relu2") && strcmp(act, "silu") && strcmp(act, "gelu")) {
        err(m->s, op->loc, "act is relu2, silu or gelu, not '%s'", act);
        return false;
    }
    return ternary_operands(m, op, 2) &&
           give(m, op, 0, FMT_F32, 2, in(op, 0)->dim[0], in(op, 2)->dim[0]);
}

static bool infer_qlin(Module *m, Op *op)
{
    if (!value_is(op, 0, FMT_I8, 2) || !value_is(op, 1, FMT_F32, 1) ||
        !dim_equal(in(op, 0)->dim[0], in(op, 1)->dim[0]) || !weight_is(op, 2, 2) ||
        fmt_info[in(op, 2)->fmt].kind != KIND_LOWBIT ||
        !dim_equal(in(op, 0)->dim[1], in(op, 2)->dim[1]))
        return wrong(m, op, "i8<T x K>, f32<T> and a weight h8, h6 or h4<N x K>");
    return give(m, op, 0, FMT_F32, 2, in(op, 0)->dim[0], in(op, 2)->dim[0]);
}

static bool infer_screen(Module *m, Op *op)
{
    const Type *x = in(op, 0), *w = in(op, 3);
    bool one = value_is(op, 0, FMT_F32, 2) && !x->dim[0].sym && x->dim[0].n == 1;
    if (!one || !value_is(op, 1, FMT_I8, 2) || !value_is(op, 2, FMT_F32, 1) ||
        in(op, 1) != type_with(m->s, x, FMT_I8) || !dim_equal(in(op, 2)->dim[0], x->dim[0]) ||
        !weight_is(op, 3, 2) || !weight_is(op, 4, 2) || fmt_info[w->fmt].kind != KIND_FLOAT ||
        in(op, 4) != type_with(m->s, w, FMT_H6) || !dim_equal(w->dim[1], x->dim[1]))
        return wrong(m, op,
                     "f32<1 x K>, i8<1 x K>, f32<1>, a float weight<N x K> and its h6<N x K>");
    return give(m, op, 0, FMT_F32, 2, x->dim[0], w->dim[0]);
}

/* The body is inferred by module_infer, between these results and its arguments. */
static bool infer_layers(Module *m, Op *op)
{
    int64_t count = attr_int(op, "count", 1), first = attr_int(op, "first", 0);
    if (count < 1 || count > 1 << 20 || first < 0 || first > 1 << 20) {
        err(m->s, op->loc, "layers: count is a number from 1 to %d", 1 << 20);
        return false;
    }
    if (!op->body || op->body->narg != op->nin || op->nout != op->nin) {
        err(m->s, op->loc, "layers carries as many values as it gives back");
        return false;
    }
    for (int i = 0; i < op->nin; i++) {
        if (!value_is(op, i, FMT_F32, 2))
            return wrong(m, op, "values f32<T x N> to carry");
        op->body->arg[i]->type = op->out[i]->type = in(op, i);
    }
    return true;
}

static const char *attr_kind_name(char kind)
{
    return kind == 'i'   ? "an integer"
           : kind == 'f' ? "a number"
           : kind == 'v' ? "a list of numbers"
                         : "a word";
}

/* Walks the "name:kind?,..." of the table: 0 or the kind of attribute `want`. */
static char attr_kind(const char *attrs, const char *want, size_t len)
{
    for (const char *a = attrs; *a; a += strcspn(a, ","), a += *a == ',')
        if (strcspn(a, ":") == len && !strncmp(a, want, len))
            return a[len + 1];
    return !strcmp(want, "kernel")                            ? 's'
           : !strcmp(want, "ticket") || !strcmp(want, "work") ? 'i'
                                                              : 0;
}

bool positive_float(double v)
{
    float f = (float)v;
    return f > 0 && isfinite(f);
}

static bool check_attrs(Module *m, Op *op)
{
    const OpInfo *info = &op_info[op->code];
    for (int i = 0; i < op->nattr; i++) {
        Attr *a = &op->attr[i];
        char kind = attr_kind(info->attrs, a->name, strlen(a->name));
        bool number = a->kind == ATTR_INT || a->ref;
        if (!kind || (kind == 'i' && !number) ||
            (kind == 'f' && !number && a->kind != ATTR_FLOAT) ||
            (kind == 's' && a->kind != ATTR_WORD) || (kind == 'v' && a->kind != ATTR_LIST)) {
            err(m->s, op->loc, kind ? "%s: %s is %s" : "%s has no attribute %s; it takes: %s",
                info->name, a->name,
                kind           ? attr_kind_name(kind)
                : *info->attrs ? info->attrs
                               : "none");
            return false;
        }
        for (int64_t k = 0; kind == 'v' && k < a->i; k++)
            if (!positive_float(a->v[k])) {
                err(m->s, op->loc,
                    "%s: %s holds %g; its numbers must be above zero, as 32-bit floats, and finite",
                    info->name, a->name, a->v[k]);
                return false;
            }
        if (kind == 'f' && a->kind == ATTR_INT)
            a->kind = ATTR_FLOAT;
        if (kind == 'f' && !a->ref && !positive_float(a->f)) {
            err(m->s, op->loc, "%s: %s is %g; it must be above zero, as a 32-bit float, and finite",
                info->name, a->name, a->f);
            return false;
        }
    }
    if (attr_int(op, "ticket", 0) < 0 || attr_int(op, "ticket", 0) >= BN_TICKETS) {
        err(m->s, op->loc, "%s: ticket is a number from 0 to %d", info->name, BN_TICKETS - 1);
        return false;
    }
    for (const char *a = info->attrs; *a; a += strcspn(a, ","), a += *a == ',') {
        size_t len = strcspn(a, ":");
        if (a[len + 2] != '?' && !attr_find(op, intern(m->s, a, len))) {
            err(m->s, op->loc, "%s needs the attribute %.*s", info->name, (int)len, a);
            return false;
        }
    }
    return true;
}

/* A weight with layers is used inside a layers op that runs over just these. */
static bool layer_exists(Module *m, const Op *op, const Weight *w)
{
    const Op *around = op->block->owner;
    if (!w->count && !w->layers.sym)
        return true;
    if (!around) {
        err(m->s, op->loc, "@%s has layers: it can only be used inside a layers body", w->name);
        return false;
    }
    int64_t first = attr_int(around, "first", 0), count = attr_int(around, "count", 1);
    bool fits = w->is_state ? first + count <= w->count : first == w->first && count == w->count;
    if (w->count && !attr_find(around, "count")->ref && !fits)
        err(m->s, op->loc, "@%s has layers %d to %d, the body runs over %d to %d", w->name,
            w->first, w->first + w->count - 1, (int)first, (int)(first + count) - 1);
    return !w->count || attr_find(around, "count")->ref || fits;
}

bool op_infer(Module *m, Op *op)
{
    const OpInfo *info = &op_info[op->code];
    if ((info->nin >= 0 && op->nin != info->nin) || (info->nout >= 0 && op->nout != info->nout)) {
        err(m->s, op->loc, "%s takes %d operands and gives %d results; here are %d and %d",
            info->name, info->nin, info->nout, op->nin, op->nout);
        return false;
    }
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight && !layer_exists(m, op, op->in[i]->weight))
            return false;
    return check_attrs(m, op) && infer[op->code](m, op);
}

static bool infer_block(Module *m, Block *b)
{
    bool ok = true;
    for (Op *op = b->first; op && ok; op = op->next)
        ok = op_infer(m, op) && (!op->body || infer_block(m, op->body));
    return ok;
}

bool module_infer(Module *m)
{
    bool ok = true;
    for (Func *f = m->funcs; f; f = f->next)
        ok = infer_block(m, f->body) && ok;
    return ok;
}
