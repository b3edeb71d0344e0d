/* select.c: each op gets the last row of the target's kernel table that fits its weight's format;
 * logical ternary formats get a packed one here. */
#include <string.h>

#include "passes/passes.h"

/* The format that kernels want for a weight operand's. */
static Fmt packed(Fmt f)
{
    return f == FMT_TERN ? FMT_Q2R4 : f == FMT_TERN256 ? FMT_Q2R4B : f;
}

static Fmt weight_format(const Op *op)
{
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight)
            return packed(op->in[i]->type->fmt);
    return FMT_ANY;
}

static bool fits(const Kernel *k, const Op *op, const Target *target)
{
    unsigned forms = op->block->func->form == FORM_DECODE ? FORMS_ONE : FORMS_MANY;
    return k->op == op->code && k->weight == weight_format(op) && !(k->isa & ~target->isa) &&
           k->forms & forms;
}

void select_kernel(Module *m, Op *op, const Target *target)
{
    op->kernel = NULL;
    for (int i = 0; i < target->nkernel; i++) {
        if (fits(&target->kernel[i], op, target))
            op->kernel = &target->kernel[i];
    }
    if (op->kernel)
        attr_set_word(op, "kernel", name(m->s, op->kernel->symbol));
    else
        err(m->s, op->loc, "target %s has no kernel for %s over %s weights", target->name,
            op_info[op->code].name, fmt_info[weight_format(op)].name);
}

struct Selecting {
    Module *m;
    const Target *target;
};

static void select_op(Op *op, void *arg)
{
    struct Selecting *s = arg;
    if (op_info[op->code].split != SPLIT_NONE)
        select_kernel(s->m, op, s->target);
}

void pass_select(Module *m, const Target *target)
{
    m->target = target->name;
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, select_op, &(struct Selecting){m, target});
}

static void recall_op(Op *op, void *arg)
{
    struct Selecting *s = arg;
    const char *symbol = attr_word(op, "kernel", NULL);
    for (int i = 0; symbol && i < s->target->nkernel; i++) {
        const Kernel *k = &s->target->kernel[i];
        if (k->op == op->code && k->weight == weight_format(op) && !strcmp(k->symbol, symbol))
            op->kernel = k;
    }
    if (op_info[op->code].split != SPLIT_NONE && !op->kernel)
        err(s->m->s, op->loc, "target %s has no kernel '%s' for this %s", s->target->name,
            symbol ? symbol : "", op_info[op->code].name);
}

void recall_kernels(Module *m, const Target *target)
{
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, recall_op, &(struct Selecting){m, target});
}
