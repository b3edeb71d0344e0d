/* fuse.c: neighbours that pass a value only to each other become one kernel call: less memory
 * traffic and fewer barriers. Each rule looks at one op and its operands' definitions.
 */
#include <string.h>

#include "passes/passes.h"

/* The op that defines operand i, if it is `code`, in this block; NULL: none. */
static Op *defined_by(const Op *op, int i, OpCode code)
{
    Op *def = op->in[i]->def;
    return def && def->code == code && def->block == op->block ? def : NULL;
}

/* The same, if nobody else reads it; says so where somebody does. */
static Op *only(Module *m, const Op *op, int i, OpCode code)
{
    Op *def = defined_by(op, i, code);
    if (!def || op->in[i]->nuse == 1)
        return def;
    remark(m, op->loc, "%s and %s not fused: %%%s is read elsewhere too", op_info[code].name,
           op_info[op->code].name, op->in[i]->name);
    return NULL;
}

/* A new op in place of `op`, whose results it takes over. */
static Op *replace(Module *m, Op *op, OpCode code, int nin)
{
    Op *n = op_new(op->block, op, code, nin, op->nout);
    for (int i = 0; i < op->nout; i++) {
        n->out[i]->name = op->out[i]->name;
        replace_uses(op->block->func, op->out[i], n->out[i]);
    }
    op_remove(op);
    (void)m;
    return n;
}

static void done(Module *m, Op *n)
{
    Func *f = n->block->func;
    CHECK(op_infer(m, n));
    func_number(f);
}

static bool norm_quant(Module *m, Op *op)
{
    bool grouped = op->code == OP_QUANT_GROUP;
    Op *norm = op->code == OP_QUANT || grouped ? only(m, op, 0, OP_RMSNORM) : NULL;
    if (!norm)
        return false;
    int64_t group = attr_int(op, "group", 0);
    const char *scale = attr_word(op, "scale", NULL);
    Op *n = replace(m, op, grouped ? OP_RMSNORM_QUANT_GROUP : OP_RMSNORM_QUANT, 2);
    if (grouped) {
        attr_set_int(n, "group", group);
        attr_set_word(n, "scale", scale);
    }
    n->in[0] = norm->in[0];
    n->in[1] = norm->in[1];
    attr_set_float(n, "eps", attr_float(norm, "eps", 0));
    op_remove(norm);
    tally(m, "norms fused with their quantization", 1);
    done(m, n);
    return true;
}

static Op *activation(Module *m, const Op *op, int side)
{
    static const OpCode known[] = {OP_RELU2, OP_SILU, OP_GELU};
    Op *act = NULL;
    for (size_t i = 0; !act && i < sizeof known / sizeof *known; i++)
        act = only(m, op, side, known[i]);
    return act;
}

/* Why two products are not one; NULL: they can be. */
static const char *apart(const Op *gate, const Op *up)
{
    if (gate->in[0] != up->in[0] || gate->in[1] != up->in[1])
        return "they read different inputs";
    if (gate->in[2]->type->fmt != up->in[2]->type->fmt)
        return "formats differ";
    return gate->in[2]->type != up->in[2]->type ? "shapes differ" : NULL;
}

/* mul(act(gate), up) in either order, both products of one quantized input. */
static bool gate_up(Module *m, Op *op)
{
    for (int side = 0; op->code == OP_MUL && side < 2; side++) {
        Op *act = activation(m, op, side);
        Op *gate = act ? only(m, act, 0, OP_TMATMUL) : NULL;
        Op *up = gate ? only(m, op, 1 - side, OP_TMATMUL) : NULL;
        const char *why = up ? apart(gate, up) : act ? "they are not both ternary products" : NULL;
        if (why)
            remark(m, op->loc, "gate and up not merged: %s", why);
        if (!up || why)
            continue;
        Op *n = replace(m, op, OP_TGLU, 4);
        Value *in[4] = {gate->in[0], gate->in[1], gate->in[2], up->in[2]};
        memcpy(n->in, in, sizeof in);
        attr_set_word(n, "act", op_info[act->code].name);
        op_remove(act);
        op_remove(gate);
        op_remove(up);
        tally(m, "gates merged with their ups", 1);
        done(m, n);
        return true;
    }
    return false;
}

static bool residual(Module *m, Op *op)
{
    if (op->code != OP_ADD)
        return false;
    for (int side = 0; side < 2; side++) {
        Op *product = only(m, op, side, OP_TMATMUL);
        if (!product)
            continue;
        Value *in[4] = {product->in[0], product->in[1], product->in[2], op->in[1 - side]};
        Op *n = replace(m, op, OP_TMATMUL_ADD, 4);
        memcpy(n->in, in, sizeof in);
        op_remove(product);
        tally(m, "residual sums taken into products", 1);
        done(m, n);
        return true;
    }
    return false;
}

static bool rope_into_store(Module *m, Op *op)
{
    Op *rope = op->code == OP_STORE ? only(m, op, 0, OP_ROPE) : NULL;
    if (!rope || attr_int(rope, "heads", 0) != op->in[1]->type->dim[0].n)
        return false;
    Value *in[3] = {rope->in[0], rope->in[1], op->in[1]};
    const char *mode = attr_word(rope, "mode", "");
    Op *n = replace(m, op, OP_ROPE_STORE, 3);
    memcpy(n->in, in, sizeof in);
    attr_set_word(n, "mode", mode);
    op_remove(rope);
    tally(m, "rotations taken into stores", 1);
    done(m, n);
    return true;
}

static void fuse_op(Op *op, void *arg)
{
    static bool (*const rules[])(Module *, Op *) = {norm_quant, gate_up, residual, rope_into_store};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i](arg, op))
            return;
}

void pass_fuse(Module *m, const Target *target)
{
    (void)target;
    for (Func *f = m->funcs; f; f = f->next) {
        func_number(f);
        walk(f->body, fuse_op, m);
    }
}

/* ---- attention whole ---- */

/* The op in front of `op`, in its block, that touched `cache` last, if it stores to it by `code`. */
static Op *stored_by(const Op *op, const Value *cache, OpCode code)
{
    for (Op *o = op->prev; o; o = o->prev)
        for (int i = 0; i < o->nin; i++)
            if (o->in[i]->weight == cache->weight)
                return o->code == code ? o : NULL;
    return NULL;
}

static void attend(Op *op, void *arg)
{
    Module *m = arg;
    Op *rope = op->code == OP_ATTENTION ? defined_by(op, 0, OP_ROPE) : NULL;
    Op *key = rope && op->in[0]->nuse == 1 ? stored_by(op, op->in[1], OP_ROPE_STORE) : NULL;
    Op *value = key ? stored_by(op, op->in[2], OP_STORE) : NULL;
    if (!value || key->in[1] != rope->in[1] ||
        strcmp(attr_word(key, "mode", ""), attr_word(rope, "mode", "")) != 0)
        return;
    Value *in[6] = {rope->in[0], key->in[0], value->in[0], rope->in[1], op->in[1], op->in[2]};
    int64_t heads = attr_int(op, "heads", 0);
    const char *mode = attr_word(rope, "mode", "");
    Op *n = replace(m, op, OP_ROPE_ATTENTION, 6);
    memcpy(n->in, in, sizeof in);
    attr_set_int(n, "heads", heads);
    attr_set_word(n, "mode", mode);
    op_remove(rope);
    op_remove(key);
    op_remove(value);
    tally(m, "rotations and stores taken into attention", 1);
    done(m, n);
}

void pass_attend(Module *m, const Target *target)
{
    for (Func *f = target->device == DEVICE_PERSISTENT ? m->funcs : NULL; f; f = f->next)
        if (f->form == FORM_DECODE) {
            func_number(f);
            walk(f->body, attend, m);
        }
}
