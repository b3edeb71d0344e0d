/* select.c: ternary weights get a layout, then each op the last row of the target's kernel table
 * that fits its weight's format, its number of tokens and the target. A tuning record, where there
 * is one, overrules both. An op whose kernel reads table sums in place of activations gets them
 * from a lut3, which ops of one input share. */
#include <string.h>

#include "passes/passes.h"

/* The format of a weight or state operand that kernels are chosen by. */
static Fmt kernel_format(const Weight *w)
{
    return fmt_info[w->type->fmt].kind == KIND_LOGICAL ? w->layout : w->type->fmt;
}

/* The weight or state that decides the kernel. */
static const Weight *weight_of(const Op *op)
{
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight)
            return op->in[i]->weight;
    return NULL;
}

static Fmt weight_format(const Op *op)
{
    const Weight *w = weight_of(op);
    return w ? kernel_format(w) : FMT_ANY;
}

unsigned forms_of(const Op *op)
{
    Form form = op->block->func->form;
    return form == FORM_DECODE || form == FORM_LM_HEAD || form == FORM_TOPK ? FORMS_ONE
                                                                            : FORMS_MANY;
}

/* Ternary products with scales for groups of activations have kernels of their own. */
static bool scales_fit(const Op *op, Fmt format)
{
    bool product = op->code == OP_TMATMUL || op->code == OP_TMATMUL_ADD || op->code == OP_TGLU;
    return !product || (op->in[1]->type->rank == 2) == (fmt_group(format) > 0);
}

bool kernel_fits(const Kernel *k, const Op *op, Fmt format, const Target *target)
{
    const Weight *w = k->most_cols ? weight_of(op) : NULL;
    unsigned step = op->block->func->form == FORM_DECODE ? FORMS_STEP : 0;
    return k->op == op->code && k->weight == format && scales_fit(op, format) &&
           !(k->isa & ~target->isa) && k->forms & (forms_of(op) | step) &&
           (!w || w->type->dim[1].n <= k->most_cols);
}

/* ---- kernels ---- */

static const char *tuned_kernel(const Module *m, const Op *op)
{
    const Weight *w = weight_of(op);
    unsigned forms = forms_of(op);
    for (const Tuning *t = w && w->type->rank == 2 ? m->tuning : NULL; t; t = t->next)
        if (t->op == op->code && t->forms == forms && t->rows == w->type->dim[0].n &&
            t->cols == w->type->dim[1].n)
            return t->choice;
    return NULL;
}

void select_kernel(Module *m, Op *op, const Target *target)
{
    const char *tuned = tuned_kernel(m, op);
    Fmt format = weight_format(op);
    op->kernel = NULL;
    for (int i = 0; i < target->nkernel; i++) {
        const Kernel *k = &target->kernel[i];
        bool wanted = tuned && op->kernel && !strcmp(op->kernel->symbol, tuned);
        if (kernel_fits(k, op, format, target) && !wanted)
            op->kernel = k;
    }
    if (op->kernel) {
        attr_set_word(op, "kernel", name(m->s, op->kernel->symbol));
        tally(m, op->kernel->isa ? "ops with a vector kernel" : "ops with a plain C kernel", 1);
        if (!op->kernel->isa && target->isa && op_info[op->code].split == SPLIT_ROWS)
            remark(m, op->loc, "%s over %s weights by plain C: %s has no other kernel for it",
                   op_info[op->code].name, fmt_info[format].name, target->name);
    } else
        err(m->s, op->loc, "target %s has no kernel for %s over %s weights", target->name,
            op_info[op->code].name, fmt_info[format].name);
}

/* ---- layouts ---- */

typedef struct Selecting {
    Module *m;
    const Target *target;
    const Weight *weight; /* whose ops are asked ... */
    Fmt format;           /* ... whether they could read it in this format */
    bool possible;
} Selecting;

static void could_read(Op *op, void *arg)
{
    Selecting *s = arg;
    bool found = false;
    if (weight_of(op) != s->weight)
        return;
    const Target *target = target_of(op->block->func, s->target);
    for (int i = 0; i < target->nkernel; i++)
        found |= kernel_fits(&target->kernel[i], op, s->format, target);
    s->possible &= found;
}

bool layout_possible(Module *m, const Weight *w, Fmt format, const Target *target)
{
    Selecting s = {m, target, w, format, true};
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, could_read, &s);
    return s.possible;
}

static int64_t ternary_bytes(const Module *m)
{
    int64_t bytes = 0;
    for (const Weight *w = m->weights; w; w = w->next)
        if (fmt_info[w->type->fmt].kind == KIND_LOGICAL)
            bytes += w->type->dim[0].n * w->type->dim[1].n / 4 * (w->count ? w->count : 1);
    return bytes;
}

/* Where no layout has all its kernels, the first is as good as any: select_op says what it lacks.
 */
static Fmt choose_layout(Module *m, const Weight *w, const Target *target, int64_t bytes)
{
    Fmt last = FMT_COUNT;
    for (const Tuning *t = m->tuning; t; t = t->next)
        if (t->op == OP_COUNT && t->rows == w->type->dim[0].n && t->cols == w->type->dim[1].n &&
            layout_possible(m, w, fmt_by_name(t->choice), target))
            return fmt_by_name(t->choice);
    for (int i = 0; i < target->nlayout; i++) {
        const LayoutRule *l = &target->layout[i];
        if (l->from == w->type->fmt && !(l->isa & ~target->isa) &&
            bytes >= (int64_t)l->megabytes << 20 &&
            (last == FMT_COUNT || layout_possible(m, w, l->to, target)))
            last = l->to;
    }
    return last;
}

/* ---- tables ---- */

static Value *tables_of(Module *m, Op *op, const Target *target)
{
    Value *q = op->in[0];
    for (Op *before = op->prev; before; before = before->prev)
        if (before->code == OP_LUT3 && before->in[0] == q)
            return before->out[0];
    Op *lut = op_new(op->block, op, OP_LUT3, 1, 1);
    lut->loc = op->loc;
    lut->in[0] = q;
    lut->out[0]->name = fresh_name(op->block->func, format(m->s, "%s_t", q->name));
    CHECK(op_infer(m, lut));
    select_kernel(m, lut, target);
    tally(m, "table ops inserted", 1);
    return lut->out[0];
}

static void select_op(Op *op, void *arg)
{
    Selecting *s = arg;
    if (op_info[op->code].split == SPLIT_NONE)
        return;
    select_kernel(s->m, op, s->target);
    if (op->kernel && op->kernel->tables)
        op->in[0] = tables_of(s->m, op, s->target);
}

/* Undoes what an earlier select did. */
static void read_activations(Op *op, void *arg)
{
    (void)arg;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->def && op->in[i]->def->code == OP_LUT3)
            op->in[i] = op->in[i]->def->in[0];
}

static void drop_tables(Op *op, void *arg)
{
    (void)arg;
    if (op->code == OP_LUT3)
        op_remove(op);
}

void pass_select(Module *m, const Target *target)
{
    int64_t bytes = ternary_bytes(m);
    m->target = target->name;
    for (Func *f = m->funcs; f; f = f->next) {
        walk(f->body, read_activations, NULL);
        walk(f->body, drop_tables, NULL);
    }
    for (Weight *w = m->weights; w; w = w->next)
        if (fmt_info[w->type->fmt].kind == KIND_LOGICAL)
            w->layout = choose_layout(m, w, target, bytes);
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, select_op, &(Selecting){.m = m, .target = target_of(f, target)});
}

/* ---- a module that was selected before ---- */

static void rebind_op(Op *op, void *arg)
{
    Selecting *s = arg;
    const char *symbol = attr_word(op, "kernel", NULL);
    for (int i = 0; symbol && i < s->target->nkernel; i++) {
        const Kernel *k = &s->target->kernel[i];
        bool format = k->weight == weight_format(op) ||
                      (weight_of(op) && fmt_info[weight_of(op)->type->fmt].kind == KIND_LOGICAL);
        if (k->op == op->code && format && !strcmp(k->symbol, symbol))
            op->kernel = k;
    }
    int64_t size = op->kernel ? kernel_work(s->m, op) : 0, at = attr_int(op, "work", -1);
    if (size && s->m->facts & FACT_PLANNED &&
        (at < 0 || at % 64 || s->m->own_bytes < size || at > s->m->own_bytes - size))
        err(s->m->s, op->loc,
            "%s wants %lld bytes of scratch, and work = %lld is no place for them",
            op->kernel->symbol, (long long)size, (long long)at);
    if (op_info[op->code].split != SPLIT_NONE && !op->kernel)
        err(s->m->s, op->loc, "target %s has no kernel '%s' for this %s", s->target->name,
            symbol ? symbol : "", op_info[op->code].name);
}

/* The part of the target whose name a function's ends in. */
static const Target *part_of(const Func *f, const Target *target)
{
    const char *end = f->name + strlen(form_name[f->form]);
    for (int i = 0; *end && i < target->npart; i++)
        if (!strcmp(end + 1, c_name(f->module->s, target->part[i]->name)))
            return target->part[i];
    return NULL;
}

void rebind_kernels(Module *m, const Target *target)
{
    for (Func *f = m->funcs; f; f = f->next) {
        f->target = part_of(f, target);
        walk(f->body, rebind_op, &(Selecting){.m = m, .target = target_of(f, target)});
    }
}
