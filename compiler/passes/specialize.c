/* specialize.c: one forward graph becomes functions that know how many tokens they take.
 *
 * One idea: logits are the largest product of a step, and not every step needs them. So the graph is
 * cut at its narrowest place before them: @decode (one token) and @prefill (up to a batch) end
 * with the one vector of their last token on which the logits depend, @lm_head makes logits of it when
 * somebody asks. @score keeps the whole graph: the logits of all tokens.
 */
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

/* ---- the cut ---- */

enum { MOST_NEEDED = 8 };

typedef struct Needed { /* values that the ops behind some place read from before it */
    Value *value[MOST_NEEDED];
    int n;
} Needed;

static bool need(Needed *x, Value *v)
{
    for (int i = 0; i < x->n; i++)
        if (x->value[i] == v)
            return true;
    if (x->n == MOST_NEEDED)
        return false;
    x->value[x->n++] = v;
    return true;
}

/* Replaces op's results by its operands; false where op cannot be part of @lm_head. */
static bool need_operands(Needed *x, const Op *op, bool *found)
{
    *found = false;
    for (int i = 0; i < op->nout; i++)
        for (int j = 0; j < x->n; j++)
            if (x->value[j] == op->out[i]) {
                x->value[j--] = x->value[--x->n];
                *found = true;
            }
    if (*found && op_info[op->code].flags & OPF_EFFECT)
        return false;
    for (int i = 0; *found && i < op->nin; i++)
        if (op->in[i]->weight ? op->in[i]->weight->is_state : !need(x, op->in[i]))
            return false;
    return true;
}

static bool is_vector(const Value *v)
{
    return v->type->fmt == FMT_F32 && v->type->rank == 2;
}

/* The last value from which, with weights alone and a product with one, the logits follow; where the
 * graph has none, the logits. */
static Value *hidden_of(const Func *f)
{
    Op *ret = f->body->last;
    Needed x = {{ret->in[0]}, 1};
    bool product = false, found;
    for (const Op *op = ret->prev; op; op = op->prev) {
        if (product && x.n == 1 && is_vector(x.value[0]))
            return x.value[0];
        if (!need_operands(&x, op, &found))
            return ret->in[0];
        product |= found && op_info[op->code].split == SPLIT_ROWS;
    }
    return ret->in[0];
}

static void unread(Op *op, void *arg)
{
    (void)arg;
    for (int i = 0; i < op->nin; i++)
        op->in[i]->nuse--;
}

/* Removes what the function's result does not need; `effects`: keeps ops with effects. */
static void keep_needed(Func *f, bool effects)
{
    func_number(f);
    for (Op *op = f->body->last->prev, *before; op; op = before) {
        bool used = effects && op_info[op->code].flags & OPF_EFFECT;
        before = op->prev;
        for (int i = 0; i < op->nout; i++)
            used |= op->out[i]->nuse > 0;
        if (used)
            continue;
        if (op->body)
            walk(op->body, unread, NULL);
        unread(op, NULL);
        op_remove(op);
    }
}

/* Ends a function with the hidden vector of its last token. */
static void return_hidden(Func *f)
{
    Op *ret = f->body->last;
    Value *hidden = hidden_of(f);
    if (hidden->type->dim[0].sym) {
        Op *last = op_new(f->body, ret, OP_LAST, 1, 1);
        last->in[0] = hidden;
        last->out[0]->name = fresh_name(f, hidden->name);
        hidden = last->out[0];
    }
    ret->in[0] = hidden;
    keep_needed(f, true);
}

/* Makes of a whole graph the function from the hidden vector to the logits. */
static void start_from_hidden(Func *f)
{
    Value *hidden = hidden_of(f);
    Dim dim[2] = {{1, NULL}, hidden->type->dim[1]};
    Value *y = value_new(f->module->s, hidden->name, type_get(f->module->s, FMT_F32, 2, dim));
    y->space = SPACE_HIDDEN;
    replace_uses(f, hidden, y);
    f->body->arg[0] = y;
    f->body->narg = 1;
    keep_needed(f, false);
}

/* ---- the functions ---- */

static Func *form_clone(Func *f, Form form, const Target *part)
{
    Session *s = f->module->s;
    const char *base = name(s, form_name[form]);
    tally(f->module, "functions", 1);
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
    Func *lm_head = form_clone(f, FORM_LM_HEAD, part);
    const char *tokens = f->body->arg[0]->type->dim[0].sym;
    decode->body->arg[0]->type = one_token(m->s, decode->body->arg[0]->type, tokens);
    walk(decode->body, drop_last, NULL);
    walk(score->body, drop_last, NULL);
    infer_block(m, decode->body);
    return_hidden(decode);
    return_hidden(prefill);
    start_from_hidden(lm_head);
    walk(lm_head->body, drop_last, NULL);
    infer_block(m, decode->body);
    infer_block(m, prefill->body);
    infer_block(m, score->body);
    infer_block(m, lm_head->body);
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
