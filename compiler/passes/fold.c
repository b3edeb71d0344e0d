/* fold.c: a factor behind a ternary product goes into the scales of its weight.
 *
 * One idea: (c sum) f = (c f) sum. The weight names the factor's tensors (times), weights.c
 * multiplies when it packs, and the step over the product's values is gone; fuse then finds
 * product and sum, or gate and up, side by side.
 *
 * Rounding, each to f32 (2^-24): sum (c/s), to f32, times f became c f, (c f)/s, sum ((c f)/s) to
 * f32. Three in both, so the two are within 6 x 2^-24 of each other, relative. With a scale for each
 * 256 values two in both (to f32, times f; each block's c f, to f32): within 4 x 2^-24 of the sum of
 * the blocks' magnitudes. c f and y f must be neither subnormal nor infinite for that, hence the
 * limits of a factor below: c is a mean of weights' magnitudes, y a layer's value.
 */
#include <math.h>

#include "passes/passes.h"

static bool factor_is_tame(const Weight *f)
{
    for (int i = 0; f->tensor && i < (f->count ? f->count : 1); i++) {
        float v;
        tensor_floats(&f->tensor[i], 0, 1, &v);
        if (v != 0 && !(fabsf(v) >= 0x1p-40f && fabsf(v) <= 0x1p40f))
            return false;
    }
    return true;
}

/* Whether the tensors of w in the file are known for certain: a constant, another weight or
 * nothing may stand in for those of an unbound one. */
static bool has_tensors(const Weight *w)
{
    return w->pattern && !w->has_const && !w->same_as && !w->optional;
}

typedef struct Uses {
    const Weight *of;
    int n;
} Uses;

static void count_uses(Op *op, void *arg)
{
    Uses *u = arg;
    for (int i = 0; i < op->nin; i++)
        u->n += op->in[i]->weight == u->of;
}

/* In all functions: every reader of the weight sees its new scales. */
static int uses(Module *m, const Weight *w)
{
    Uses u = {w, 0};
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, count_uses, &u);
    return u.n;
}

/* Why f stays a step of its own behind `product`; NULL: it need not. */
static const char *apart(Module *m, const Op *product, const Weight *f)
{
    const Weight *w = product->in[2]->weight;
    if (product->out[0]->nuse != 1)
        return "the product is read elsewhere too";
    if (w->times)
        return "the weight has a factor already";
    if (!f->pattern)
        return "the factor is a constant of the text";
    if (!has_tensors(f) || !has_tensors(w))
        return "not bound to a file yet";
    if (f->type->fmt != FMT_F32)
        return "the factor is not f32";
    if (f->count != w->count || f->first != w->first)
        return "they are not of the same layers";
    if (!factor_is_tame(f))
        return "a factor is outside 2^-40 .. 2^40";
    return uses(m, w) > 1 ? "the weight is read elsewhere too" : NULL;
}

static void fold_op(Op *op, void *arg)
{
    Module *m = arg;
    Op *product = op->code == OP_SCALE ? op->in[0]->def : NULL;
    if (!product || product->code != OP_TMATMUL || product->block != op->block)
        return;
    const Weight *f = op->in[1]->weight;
    Weight *w = product->in[2]->weight;
    const char *why = apart(m, product, f);
    if (why) {
        remark(m, op->loc, "@%s not folded into @%s: %s", f->name, w->name, why);
        return;
    }
    w->times = f->pattern;
    w->factor = f->tensor;
    product->out[0]->name = op->out[0]->name;
    replace_uses(op->block->func, op->out[0], product->out[0]);
    op_remove(op);
    func_number(product->block->func);
    tally(m, "factors folded into scales", 1);
}

void pass_fold(Module *m, const Target *target)
{
    (void)target;
    for (Func *f = m->funcs; f; f = f->next) {
        func_number(f);
        walk(f->body, fold_op, m);
    }
    weights_drop_unused(m);
}
