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

void pass_specialize(Module *m, const Target *target)
{
    (void)target;
    Func *f = func_find(m, name(m->s, form_name[FORM_FORWARD]));
    if (!f) {
        err(m->s, (Loc){m->text, 0, 0}, "specialize needs a function @forward");
        return;
    }
    Func *decode = func_clone(f, name(m->s, form_name[FORM_DECODE]));
    Func *prefill = func_clone(f, name(m->s, form_name[FORM_PREFILL]));
    Func *score = func_clone(f, name(m->s, form_name[FORM_SCORE]));
    const char *tokens = f->body->arg[0]->type->dim[0].sym;
    decode->body->arg[0]->type = one_token(m->s, decode->body->arg[0]->type, tokens);
    walk(decode->body, drop_last, NULL);
    walk(score->body, drop_last, NULL);
    infer_block(m, decode->body);
    infer_block(m, prefill->body);
    infer_block(m, score->body);
    m->funcs = decode; /* @forward, the first, has served */
}
