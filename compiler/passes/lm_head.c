/* lm_head.c: the product with the output matrix (lm_head), the largest of a step, read in few bits.
 *
 * Two ways. Lossless (--head=auto), exact top-k by upper bounds: @topk quantizes the hidden vector;
 * `screen` bounds every logit by a copy of the matrix in 6 bits, whose errors are known, and computes
 * those that can be among the top k from the matrix itself (kernels/scalar_head.c has the proof).
 * @lm_head and @score do not change. Lossy (--head=q8, q6, q4): every product with the matrix is one
 * with the copy, which takes its place.
 *
 * A copy is a weight of its own, of a format h8, h6 or h4, made from the same tensor.
 */
#include <string.h>

#include "passes/passes.h"

static const struct {
    const char *name;
    Fmt copy; /* FMT_COUNT: none */
    bool exact;
} choices[] = {{"auto", FMT_H6, true},
               {"f16", FMT_COUNT, true},
               {"q8", FMT_H8, false},
               {"q6", FMT_H6, false},
               {"q4", FMT_H4, false}};

/* Whether the file's values are those that the kernel of `linear` multiplies with, so that a copy
 * made from the file says how far it is off. */
static bool as_in_file(const Weight *w)
{
    return w->tensor && (w->type->fmt == w->tensor->fmt || w->type->fmt == FMT_F32 ||
                         (w->type->fmt == FMT_Q8_0 && fmt_as_floats(w->tensor->fmt) == FMT_Q8_0));
}

static bool may_copy(const Op *op, bool exact)
{
    const Weight *w = op->code == OP_LINEAR ? op->in[1]->weight : NULL;
    return w && !w->count && w->tensor && fmt_info[w->type->fmt].kind == KIND_FLOAT &&
           w->type->dim[1].n <= LOWBIT_COLS && (!exact || as_in_file(w));
}

static Weight *copy_of(Module *m, const Weight *w, Fmt fmt)
{
    const char *text = format(m->s, "%s_%s", w->name, fmt_info[fmt].name);
    Weight *n = weight_find(m, text);
    if (n)
        return n;
    n = weight_add(m, text, type_with(m->s, w->type, fmt));
    n->loc = w->loc;
    n->pattern = w->pattern;
    n->tensor = w->tensor;
    return n;
}

/* q, s = quant x, before op. */
static Op *quantize(Module *m, Op *op, Value *x)
{
    Func *f = op->block->func;
    Op *q = op_new(op->block, op, OP_QUANT, 1, 2);
    q->in[0] = x;
    q->out[0]->name = fresh_name(f, format(m->s, "%s_q", x->name));
    q->out[1]->name = fresh_name(f, format(m->s, "%s_s", x->name));
    CHECK(op_infer(m, q));
    return q;
}

static void take_over(Module *m, Op *op, Op *by)
{
    by->out[0]->name = op->out[0]->name;
    CHECK(op_infer(m, by));
    replace_uses(op->block->func, op->out[0], by->out[0]);
    op_remove(op);
}

static void screen(Module *m, Op *op)
{
    Op *q = quantize(m, op, op->in[0]), *n = op_new(op->block, op, OP_SCREEN, 5, 1);
    Value *in[5] = {op->in[0], q->out[0], q->out[1], op->in[1],
                    &copy_of(m, op->in[1]->weight, FMT_H6)->value};
    memcpy(n->in, in, sizeof in);
    take_over(m, op, n);
}

static void read_copy(Module *m, Op *op, Fmt fmt)
{
    Op *q = quantize(m, op, op->in[0]), *n = op_new(op->block, op, OP_QLINEAR, 3, 1);
    Value *in[3] = {q->out[0], q->out[1], &copy_of(m, op->in[1]->weight, fmt)->value};
    memcpy(n->in, in, sizeof in);
    take_over(m, op, n);
}

/* The op that makes the logits, where nothing is done to them afterwards. */
static Op *last_product(const Func *f)
{
    Op *def = f->body->last->in[0]->def;
    return def && def->block == f->body ? def : NULL;
}

/* @topk beside each @lm_head. Functions of a part stand together, @lm_head last. */
static void add_topk(Module *m, const Target *target)
{
    if (target->device == DEVICE_LAUNCHES)
        return;
    for (Func *f = m->funcs; f; f = f->next) {
        Op *product = f->form == FORM_LM_HEAD ? last_product(f) : NULL;
        if (!product || !may_copy(product, true)) {
            if (f->form == FORM_LM_HEAD)
                remark(m, f->body->last->loc,
                       "no screened head: the logits are no product with a "
                       "float matrix that stands in the file as it is used");
            continue;
        }
        tally(m, "screened heads", 1);
        const char *tail = f->name + strlen(form_name[FORM_LM_HEAD]);
        Func *rest = f->next;
        f->next = NULL;
        Func *topk = func_clone(f, format(m->s, "%s%s", form_name[FORM_TOPK], tail));
        topk->target = f->target;
        screen(m, last_product(topk));
        topk->next = rest;
        f = topk;
    }
}

static void read_copies(Module *m, Fmt fmt)
{
    for (Func *f = m->funcs; f; f = f->next) {
        Op *product = result_space(f) == SPACE_LOGITS ? last_product(f) : NULL;
        if (product && may_copy(product, false))
            read_copy(m, product, fmt), tally(m, "products with a copy in few bits", 1);
    }
    weights_drop_unused(m);
}

void pass_lm_head(Module *m, const Target *target)
{
    const char *wanted = m->head ? m->head : "auto";
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(choices[i].name, wanted))
            continue;
        if (choices[i].copy == FMT_COUNT)
            return;
        if (choices[i].exact)
            add_topk(m, target);
        else if (target->device)
            err(m->s, (Loc){0},
                "--head=%s is for processors: a GPU reads the matrix itself, so --head is auto or "
                "f16 with --target=%s",
                wanted, target->name);
        else
            read_copies(m, choices[i].copy);
        return;
    }
    err(m->s, (Loc){0}, "--head is auto, f16, q8, q6 or q4, not '%s'", wanted);
}
