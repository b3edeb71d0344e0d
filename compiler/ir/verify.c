/* verify.c: what must hold between any two passes, whatever text or pass made the module. */
#include <string.h>

#include "ir/ir.h"

typedef struct Check {
    Module *m;
    const Func *f;
    const char *after;
    bool *seen; /* by Value.id: defined and visible */
} Check;

#define REQUIRE(k, op, c, what)                                                                    \
    ((c) ? (void)0                                                                                 \
         : die("after %s, in @%s, line %d, %s: %s", (k)->after, (k)->f->name, (op)->loc.line,      \
               op_info[(op)->code].name, what))

static void check_value(Check *k, const Op *op, const Value *v)
{
    if (v->weight) {
        Weight *w = weight_find(k->m, v->name);
        REQUIRE(k, op, w && v == &w->value, "uses a weight that the module does not list");
        REQUIRE(k, op, w->value.type == w->type, "weight and operand differ in type");
        return;
    }
    REQUIRE(k, op, v->id >= 0 && v->id < k->f->nvalue && k->seen[v->id],
            "uses a value before its definition");
}

static void check_place(Check *k, const Op *op, const Value *v)
{
    const Module *m = k->m;
    int64_t size = value_bytes(m, v->type),
            room = v->space == SPACE_OWN ? m->own_bytes : m->shared_bytes;
    REQUIRE(k, op, v->space != SPACE_NONE, "result has no place");
    if (v->space == SPACE_OWN || v->space == SPACE_SHARED)
        REQUIRE(k, op, v->slot >= 0 && v->slot % 64 == 0 && size <= room && v->slot <= room - size,
                "result stands outside its room");
}

static void check_op(Check *k, Op *op)
{
    const OpInfo *info = &op_info[op->code];
    REQUIRE(k, op,
            (info->nin < 0 || op->nin == info->nin) && (info->nout < 0 || op->nout == info->nout),
            "arity");
    for (int i = 0; i < op->nin; i++)
        check_value(k, op, op->in[i]);
    const Type *was[2] = {op->nout > 0 ? op->out[0]->type : NULL,
                          op->nout > 1 ? op->out[1]->type : NULL};
    REQUIRE(k, op, op_infer(k->m, op), "types do not follow from operands");
    for (int i = 0; i < op->nout && i < 2; i++)
        REQUIRE(k, op, op->out[i]->type == was[i], "result type is not the inferred one");
    for (int i = 0; i < op->nout; i++) {
        REQUIRE(k, op, op->out[i]->def == op && op->out[i]->name, "result is not its own");
        if (k->m->facts & FACT_PLANNED)
            check_place(k, op, op->out[i]);
    }
    if ((k->m->facts & FACT_SELECTED) && info->split != SPLIT_NONE)
        REQUIRE(k, op, attr_find(op, "kernel"), "no kernel");
}

static void check_block(Check *k, Block *b)
{
    for (int i = 0; i < b->narg; i++)
        k->seen[b->arg[i]->id] = true;
    for (Op *op = b->first; op; op = op->next) {
        bool ends = op->code == OP_YIELD || op->code == OP_RETURN;
        REQUIRE(k, op, op->block == b && ends == !op->next,
                "a block ends with its only yield or return");
        REQUIRE(k, op, !ends || (op->code == OP_YIELD) == (b->owner != NULL),
                "yield or return in the wrong block");
        check_op(k, op);
        if (op->body)
            check_block(k, op->body);
        for (int i = 0; i < op->nout; i++)
            k->seen[op->out[i]->id] = true;
    }
    for (int i = 0; b->owner && i < b->narg; i++)
        REQUIRE(k, b->last, b->last->in[i]->type == b->arg[i]->type,
                "yield changes a carried type");
    for (Op *op = b->owner ? b->first : NULL; op; op = op->next)
        for (int i = 0; i < op->nout; i++)
            k->seen[op->out[i]->id] = false;
}

void module_verify(Module *m, const char *after)
{
    for (Func *f = m->funcs; f; f = f->next) {
        func_number(f);
        Check k = {m, f, after, NEW_ARRAY(m->s, bool, f->nvalue + 1)};
        CHECK(f->body->first);
        check_block(&k, f->body);
    }
}
