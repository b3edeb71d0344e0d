/* quant.c: from float products to ternary ones. Every weight declared `tern` is proven ternary
 * (its codes and scales are looked at) or, where the file holds floats, made so by absmean; every
 * linear over it becomes quant + tmatmul. Layers whose formats come out different are cut into
 * `layers` ops of equal ones. */
#include <math.h>
#include <string.h>

#include "passes/passes.h"

enum { PART = 1 << 14 };

/* What was found of one tensor; all are looked at on all cores, then reported in order. */
typedef struct Proof {
    const Tensor *t;
    Fmt fmt;
    const char *scheme; /* of floats: how they become ternary */
    bool bad_code, bad_scale, bad_value;
    int64_t at; /* of the bad value */
    float value;
} Proof;

static void check_codes(Proof *p)
{
    int8_t code[PART];
    int64_t n = p->t->rows * p->t->cols;
    for (int64_t at = 0; at < n && !p->bad_code; at += PART) {
        int64_t k = n - at < PART ? n - at : PART;
        int bad = 0;
        tensor_codes(p->t, at, k, code);
        for (int64_t i = 0; i < k; i++)
            bad |= code[i] == 2;
        p->bad_code = bad;
    }
}

/* One scale for the whole tensor? Blocks of zeros agree with any; f16 rounding is forgiven. */
static bool scales_agree(Proof *p)
{
    int64_t n = p->t->rows * p->t->cols, step = fmt_info[p->t->fmt].elems;
    float first = 0;
    if (fmt_info[p->t->fmt].tail)
        step = n;
    for (int64_t at = 0; at < n; at += step) {
        float s = tensor_scale(p->t, at);
        p->bad_scale |= !isfinite(s);
        first = first == 0 ? s : first;
        if (s != 0 && fabsf(s - first) > fabsf(first) / 1024)
            return false;
    }
    return true;
}

static void check_floats(Proof *p)
{
    float part[PART];
    int64_t n = p->t->rows * p->t->cols;
    for (int64_t at = 0; at < n; at += PART) {
        int64_t k = n - at < PART ? n - at : PART;
        tensor_floats(p->t, at, k, part);
        for (int64_t i = 0; i < k && !p->bad_value; i++) {
            p->bad_value = !isfinite(part[i]);
            p->at = at + i;
            p->value = part[i];
        }
    }
}

/* Decides the format of a tensor and how its codes come about. */
static void prove(Session *own, int i, void *arg)
{
    Proof *p = (Proof *)arg + i;
    (void)own;
    if (fmt_info[p->t->fmt].kind == KIND_TERNARY) {
        check_codes(p);
        p->fmt = scales_agree(p) ? FMT_TERN : FMT_TERN256;
        return;
    }
    check_floats(p);
    p->fmt = FMT_TERN;
    p->scheme = tensor_is_ternary(p->t, NULL) ? "exact" : "absmean";
}

static void report(Module *m, const Proof *p)
{
    Loc file = loc_file(m->s, m->source);
    if (p->bad_code)
        err(m->s, file,
            "tensor %s holds a code that %s does not define: the file is "
            "damaged or, for i2_s, of another layout (--i2s-layout=x128, arm64 or row4)",
            p->t->name, fmt_info[p->t->fmt].name);
    if (p->bad_scale)
        err(m->s, file, "tensor %s has a scale that is not finite: the file is damaged", p->t->name);
    if (p->bad_value)
        err(m->s, file, "tensor %s holds %f at %lld: the file is damaged", p->t->name,
            (double)p->value, (long long)p->at);
}

static bool to_prove(const Weight *w)
{
    return fmt_info[w->type->fmt].kind == KIND_LOGICAL && w->tensor;
}

static Proof *prove_all(Module *m)
{
    int n = 0;
    for (const Weight *w = m->weights; w; w = w->next)
        n += to_prove(w) ? (w->count ? w->count : 1) : 0;
    Proof *proof = NEW_ARRAY(m->s, Proof, n + 1), *p = proof;
    for (const Weight *w = m->weights; w; w = w->next)
        for (int i = 0; to_prove(w) && i < (w->count ? w->count : 1); i++)
            *p++ = (Proof){.t = &w->tensor[i]};
    parallel(n, prove, proof);
    return proof;
}

static void set_type(Weight *w, Fmt fmt, Session *s)
{
    w->type = w->value.type = type_with(s, w->type, fmt);
}

/* ---- cutting layers ---- */

struct Cut {
    Module *m;
    int at, count; /* the segment's first layer and length */
    int part;      /* its number, from 1 */
};

static Weight *segment(struct Cut *c, Weight *w, const Fmt *fmt)
{
    const char *text = format(c->m->s, "%s_%d", w->name, c->part);
    Weight *n = weight_find(c->m, text);
    if (n)
        return n;
    n = weight_add(c->m, text, w->type);
    Weight *next = n->next;
    const char *own = n->name;
    *n = *w;
    n->name = n->value.name = own;
    n->next = next;
    n->value.weight = n;
    n->first = w->first + c->at;
    n->count = c->count;
    n->tensor = w->tensor ? w->tensor + c->at : NULL;
    if (fmt)
        set_type(n, fmt[c->at], c->m->s);
    return n;
}

/* Formats that differ: weight -> its formats a layer. */
typedef struct Mixed {
    Weight *weight;
    Fmt *fmt;
    struct Mixed *next;
} Mixed;

static void cut_layers(Module *m, Op *op, Mixed *mixed)
{
    int total = (int)attr_int(op, "count", 1), first = (int)attr_int(op, "first", 0), part = 0;
    Func *f = op->block->func;
    Value **carried = op->in;
    for (int at = 0; at < total;) {
        int n = 1;
        bool same = true;
        while (at + n < total && same) {
            for (const Mixed *x = mixed; x; x = x->next)
                same &= x->fmt[at] == x->fmt[at + n];
            n += same;
        }
        struct Cut c = {m, at, n, ++part};
        Op *copy = layers_clone(op);
        memcpy(copy->in, carried, sizeof *carried * (size_t)op->nin);
        attr_set_int(copy, "count", n);
        attr_set_int(copy, "first", first + at);
        for (Op *o = copy->body->first; o; o = o->next)
            for (int i = 0; i < o->nin; i++) {
                Weight *w = o->in[i]->weight;
                const Mixed *x = mixed;
                while (x && x->weight != w)
                    x = x->next;
                if (w && w->count && !w->is_state)
                    o->in[i] = &segment(&c, w, x ? x->fmt : NULL)->value;
            }
        carried = copy->out;
        at += n;
    }
    for (int i = 0; i < op->nout; i++)
        replace_uses(f, op->out[i], carried[i]);
    op_remove(op);
}

static void cut_if_mixed(Module *m, Mixed *mixed)
{
    for (Func *f = m->funcs; f; f = f->next)
        for (Op *op = f->body->first, *next; op; op = next) {
            next = op->next;
            if (op->code == OP_LAYERS && mixed)
                cut_layers(m, op, mixed);
        }
}

/* ---- rewriting ---- */

static void to_ternary(Op *op, void *arg)
{
    Module *m = arg;
    Func *f = op->block->func;
    if (op->code != OP_LINEAR || fmt_info[op->in[1]->type->fmt].kind != KIND_LOGICAL)
        return;
    Op *q = op_new(op->block, op, OP_QUANT, 1, 2);
    q->in[0] = op->in[0];
    q->out[0]->name = fresh_name(f, format(m->s, "%s_q", op->in[0]->name));
    q->out[1]->name = fresh_name(f, format(m->s, "%s_s", op->in[0]->name));
    Op *t = op_new(op->block, op, OP_TMATMUL, 3, 1);
    t->in[0] = q->out[0];
    t->in[1] = q->out[1];
    t->in[2] = op->in[1];
    t->out[0]->name = op->out[0]->name;
    CHECK(op_infer(m, q) && op_infer(m, t));
    replace_uses(f, op->out[0], t->out[0]);
    op_remove(op);
}

void pass_quant(Module *m, const Target *target)
{
    (void)target;
    Mixed *mixed = NULL;
    const Proof *p = prove_all(m);
    int made = 0;
    for (Weight *w = m->weights; w; w = w->next) {
        int n = w->count ? w->count : 1;
        if (!to_prove(w))
            continue;
        Fmt *fmt = NEW_ARRAY(m->s, Fmt, n);
        bool same = true;
        for (int i = 0; i < n; i++, p++) {
            report(m, p);
            fmt[i] = p->fmt;
            same &= fmt[i] == fmt[0];
            if (p->scheme)
                w->scheme =
                    name(m->s, w->scheme && strcmp(w->scheme, p->scheme) ? "mixed" : p->scheme);
        }
        made += w->scheme && strcmp(w->scheme, "exact") ? n : 0;
        if (same) {
            set_type(w, fmt[0], m->s);
            continue;
        }
        Mixed *x = NEW(m->s, Mixed);
        *x = (Mixed){w, fmt, mixed};
        mixed = x;
    }
    stop_on_errors(m->s);
    if (made)
        note(m->s, "quant: %d float tensors made ternary by absmean (w = round(w / mean|w|))",
             made);
    cut_if_mixed(m, mixed);
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, to_ternary, m);
}
