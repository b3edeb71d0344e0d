/* specialize.c: one forward graph becomes three functions that know how many tokens they take:
 * @decode (one), @prefill (up to a batch, logits of the last) and @score (logits of all). */
#include "passes/passes.h"

static const Type *one_token(Session *s, const Type *t, const char *tokens)
{
    Dim dim[4];
    for (int i = 0; i < t->rank; i++)
        dim[i] = t->dim[i].sym == tokens ? (Dim){1, NULL} : t->dim[i];
    return type_get(s, t->fmt, t->rank, dim);
}

static void drop_last(Op *op, void *arg)
{
    (void)arg;
    if (op->code == OP_LAST) {
        replace_uses(op->block->func, op->out[0], op->in[0]);
        op_remove(op);
    }
}

/* The types of a clone follow from its parameters: infer in order, bodies after their layers. */
static void infer_block(Module *m, Block *b)
{
    for (Op *op = b->first; op; op = op->next) {
        CHECK(op_infer(m, op));
        if (op->body)
            infer_block(m, op->body);
    }
}

static Func *form_clone(Func *f, Form form, const Target *part)
{
    Session *s = f->module->s;
    const char *base = name(s, form_name[form]);
    Func *n = func_clone(f, part ? format(s, "%s_%s", base, c_name(s, part->name)) : base);
    n->target = part;
    return n;
}

/* The forms for one machine; names of a part's functions end in its own. */
static void specialize_for(Module *m, Func *f, const Target *part)
{
    Func *decode = form_clone(f, FORM_DECODE, part);
    Func *prefill = form_clone(f, FORM_PREFILL, part);
    Func *score = form_clone(f, FORM_SCORE, part);
    const char *tokens = f->body->arg[0]->type->dim[0].sym;
    decode->body->arg[0]->type = one_token(m->s, decode->body->arg[0]->type, tokens);
    walk(decode->body, drop_last, NULL);
    walk(score->body, drop_last, NULL);
    infer_block(m, decode->body);
    infer_block(m, prefill->body);
    infer_block(m, score->body);
}

void pass_specialize(Module *m, const Target *target)
{
    Func *f = func_find(m, name(m->s, form_name[FORM_FORWARD]));
    if (!f) {
        err(m->s, (Loc){m->text, 0, 0}, "specialize needs a function @forward");
        return;
    }
    if (!target->npart)
        specialize_for(m, f, NULL);
    for (int i = 0; i < target->npart; i++)
        specialize_for(m, f, target->part[i]);
    m->funcs = f->next; /* @forward, the first, has served */
}
