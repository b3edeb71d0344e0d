/* build.c: making and changing the graph. Types and names are interned, ops are a list a block,
 * operands are pointers: there is nothing to keep in step but Value.def. */
#include <math.h>
#include <string.h>

#include "bn.h"
#include "ir/ir.h"

/* ---- the op table in memory ---- */

#define PURE OPF_PURE
#define EFFECT OPF_EFFECT
#define SAME0 OPF_SAME0
#define SAME3 OPF_SAME3
const OpInfo op_info[OP_COUNT] = {
#define OP(name, text, nin, nout, attrs, infer, split, flags, args, formula)                       \
    {text, nin, nout, attrs, SPLIT_##split, flags, args, formula},
#include "ir/ops.def"
#undef OP
};

const char *const form_name[FORM_COUNT] = {"forward", "decode",  "prefill",
                                           "score",   "lm_head", "topk"};

OpCode op_by_name(const char *name)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(op_info[i].name, name))
            return (OpCode)i;
    return OP_COUNT;
}

/* ---- modules, types, ops ---- */

Module *module_new(Session *s, const Text *text)
{
    Module *m = NEW(s, Module);
    m->s = s;
    m->text = text;
    return m;
}

static unsigned type_hash(Fmt fmt, int rank, const Dim *dim)
{
    uint64_t h = (uint64_t)fmt * 5 + (uint64_t)rank;
    for (int i = 0; i < rank; i++)
        h = (h ^ (uint64_t)dim[i].n ^ (uintptr_t)dim[i].sym) * 0x9E3779B97F4A7C15u;
    return (unsigned)(h >> 56);
}

const Type *type_get(Session *s, Fmt fmt, int rank, const Dim *dim)
{
    TypeList **bucket = &s->types[type_hash(fmt, rank, dim)];
    for (TypeList *l = *bucket; l; l = l->next) {
        bool same = l->type.fmt == fmt && l->type.rank == rank;
        for (int i = 0; same && i < rank; i++)
            same = dim_equal(l->type.dim[i], dim[i]);
        if (same)
            return &l->type;
    }
    TypeList *l = NEW(s, TypeList);
    l->type.fmt = fmt;
    l->type.rank = rank;
    for (int i = 0; i < rank; i++)
        l->type.dim[i] = dim[i];
    l->next = *bucket;
    *bucket = l;
    return &l->type;
}

const Type *type_make(Session *s, Fmt fmt, int rank, int64_t d0, int64_t d1, int64_t d2)
{
    Dim dim[3] = {{d0, NULL}, {d1, NULL}, {d2, NULL}};
    CHECK(rank <= 3);
    return type_get(s, fmt, rank, dim);
}

const Type *type_with(Session *s, const Type *t, Fmt fmt)
{
    return type_get(s, fmt, t->rank, t->dim);
}

Dim dim_free(const char *sym)
{
    return (Dim){0, sym};
}

bool dim_equal(Dim a, Dim b)
{
    return a.sym == b.sym && (a.sym || a.n == b.n);
}

Symbol *symbol_find(const Module *m, const char *name)
{
    for (Symbol *y = m->symbols; y; y = y->next)
        if (y->name == name)
            return y;
    return NULL;
}

Weight *weight_find(const Module *m, const char *name)
{
    for (Weight *w = m->weights; w; w = w->next)
        if (w->name == name)
            return w;
    return NULL;
}

Weight *weight_add(Module *m, const char *name, const Type *type)
{
    Weight *w = NEW(m->s, Weight), **end = &m->weights;
    w->name = name;
    w->type = type;
    w->at = -1;
    w->value.name = name;
    w->value.type = type;
    w->value.weight = w;
    while (*end)
        end = &(*end)->next;
    return *end = w;
}

void weights_keep_used(Module *m)
{
    for (Weight **w = &m->weights; *w;)
        if ((*w)->used)
            w = &(*w)->next;
        else
            *w = (*w)->next;
}

void weights_drop_unused(Module *m)
{
    for (Weight *w = m->weights; w; w = w->next)
        w->used = false;
    for (Func *f = m->funcs; f; f = f->next) {
        func_number(f);
        for (Weight *w = m->weights; w; w = w->next)
            w->used |= w->value.nuse > 0;
    }
    weights_keep_used(m);
}

int pooling_by_name(const char *name)
{
    static const char *const names[] = {
#define POOLING_NAME(id, text) [BN_POOL_##id] = text,
        BN_POOLINGS(POOLING_NAME)
#undef POOLING_NAME
    };
    int how = name ? (int)(sizeof names / sizeof *names) - 1 : BN_POOL_MODEL;
    while (how > BN_POOL_MODEL && strcmp(names[how], name))
        how--;
    return how > BN_POOL_MODEL || !name ? how : -1;
}

Func *func_find(const Module *m, const char *name)
{
    for (Func *f = m->funcs; f; f = f->next)
        if (f->name == name)
            return f;
    return NULL;
}

Func *func_add(Module *m, const char *name)
{
    Func *f = NEW(m->s, Func), **end = &m->funcs;
    f->name = name;
    f->module = m;
    f->form = FORM_FORWARD;
    for (Form form = FORM_FORWARD; form < FORM_COUNT; form++)
        if (!strncmp(name, form_name[form], strlen(form_name[form])) &&
            (!name[strlen(form_name[form])] || name[strlen(form_name[form])] == '_'))
            f->form = form;
    f->body = block_new(f, NULL);
    while (*end)
        end = &(*end)->next;
    return *end = f;
}

Block *block_new(Func *f, Op *owner)
{
    Block *b = NEW(f->module->s, Block);
    b->func = f;
    b->owner = owner;
    if (owner)
        owner->body = b;
    return b;
}

Value *value_new(Session *s, const char *name, const Type *type)
{
    Value *v = NEW(s, Value);
    v->name = name;
    v->type = type;
    v->id = -1;
    return v;
}

Op *op_new(Block *b, Op *at, OpCode code, int nin, int nout)
{
    Session *s = b->func->module->s;
    Op *op = NEW(s, Op);
    op->code = code;
    op->nin = nin;
    op->nout = nout;
    op->in = NEW_ARRAY(s, Value *, nin);
    op->out = NEW_ARRAY(s, Value *, nout);
    for (int i = 0; i < nout; i++) {
        op->out[i] = value_new(s, NULL, NULL);
        op->out[i]->def = op;
    }
    if (at)
        op->loc = at->loc;
    op_move(op, b, at);
    return op;
}

static void unlink_op(Op *op)
{
    Block *b = op->block;
    *(op->prev ? &op->prev->next : &b->first) = op->next;
    *(op->next ? &op->next->prev : &b->last) = op->prev;
    op->prev = op->next = NULL;
    op->block = NULL;
}

void op_remove(Op *op)
{
    unlink_op(op);
}

void op_move(Op *op, Block *to, Op *before)
{
    if (op->block)
        unlink_op(op);
    op->block = to;
    op->next = before;
    op->prev = before ? before->prev : to->last;
    *(op->prev ? &op->prev->next : &to->first) = op;
    *(before ? &before->prev : &to->last) = op;
}

Attr *attr_find(const Op *op, const char *name)
{
    for (int i = 0; i < op->nattr; i++)
        if (!strcmp(op->attr[i].name, name))
            return &op->attr[i];
    return NULL;
}

static Attr *attr_make(Op *op, const char *text, AttrKind kind)
{
    Session *s = op->block->func->module->s;
    Attr *a = attr_find(op, text);
    if (!a) {
        op->attr = grow(s, op->attr, (size_t)op->nattr, sizeof *op->attr);
        a = &op->attr[op->nattr++];
    }
    *a = (Attr){.name = name(s, text), .kind = kind};
    return a;
}

void attr_set_int(Op *op, const char *name, int64_t i)
{
    Attr *a = attr_make(op, name, ATTR_INT);
    a->i = i;
    a->f = (double)i;
}

void attr_set_float(Op *op, const char *name, double f)
{
    attr_make(op, name, ATTR_FLOAT)->f = f;
}

void attr_set_word(Op *op, const char *name, const char *word)
{
    attr_make(op, name, ATTR_WORD)->s = word;
}

void attr_set_list(Op *op, const char *name, const double *v, int64_t n)
{
    Attr *a = attr_make(op, name, ATTR_LIST);
    a->v = v;
    a->i = n;
}

void attr_drop(Op *op, const char *name)
{
    Attr *a = attr_find(op, name);
    if (a)
        memmove(a, a + 1, (size_t)(&op->attr[--op->nattr] - a) * sizeof *a);
}

int64_t attr_int(const Op *op, const char *name, int64_t absent)
{
    const Attr *a = attr_find(op, name);
    return a && a->kind == ATTR_INT ? a->i : absent;
}

double attr_float(const Op *op, const char *name, double absent)
{
    const Attr *a = attr_find(op, name);
    return a && (a->kind == ATTR_INT || a->kind == ATTR_FLOAT) ? a->f : absent;
}

const char *attr_word(const Op *op, const char *name, const char *absent)
{
    const Attr *a = attr_find(op, name);
    return a && a->kind == ATTR_WORD ? a->s : absent;
}

const double *rope_freqs(Session *s, const Op *op)
{
    const Attr *list = attr_find(op, "freqs");
    if (list)
        return list->v;
    int64_t dim = attr_int(op, "dim", 0);
    double base = attr_float(op, "base", 1), *f = NEW_ARRAY(s, double, dim / 2);
    for (int64_t j = 0; j < dim / 2; j++)
        f[j] = pow(base, -2.0 * (double)j / (double)dim);
    return f;
}

void walk(Block *b, void (*fn)(Op *op, void *arg), void *arg)
{
    for (Op *op = b->first, *next; op; op = next) {
        next = op->next;
        if (op->body)
            walk(op->body, fn, arg);
        fn(op, arg);
    }
}

struct Replace {
    Value *old, *by;
};

static void replace_in(Op *op, void *arg)
{
    struct Replace *r = arg;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i] == r->old)
            op->in[i] = r->by;
}

void replace_uses(Func *f, Value *old, Value *by)
{
    walk(f->body, replace_in, &(struct Replace){old, by});
}

static void number_block(Func *f, Block *b)
{
    for (int i = 0; i < b->narg; i++)
        b->arg[i]->id = f->nvalue++, b->arg[i]->nuse = 0;
    for (Op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->nout; i++)
            op->out[i]->id = f->nvalue++, op->out[i]->nuse = 0;
        for (int i = 0; i < op->nin; i++)
            op->in[i]->nuse++;
        if (op->body)
            number_block(f, op->body);
    }
}

void func_number(Func *f)
{
    f->nvalue = 0;
    for (Weight *w = f->module->weights; w; w = w->next)
        w->value.nuse = 0;
    number_block(f, f->body);
}

struct Clone { /* old value -> new, by Value.id of the function being copied */
    Session *s;
    Value **map;
};

static Value *cloned(const struct Clone *c, Value *v)
{
    return !v->weight && c->map[v->id] ? c->map[v->id] : v;
}

static Value *clone_value(struct Clone *c, const Value *v)
{
    Value *n = NEW(c->s, Value);
    *n = *v;
    return c->map[v->id] = n;
}

static Op *clone_op(struct Clone *c, const Op *op, Block *to, Op *before);

static void clone_block(struct Clone *c, const Block *from, Block *to)
{
    to->narg = from->narg;
    to->arg = NEW_ARRAY(c->s, Value *, from->narg);
    for (int i = 0; i < from->narg; i++)
        to->arg[i] = clone_value(c, from->arg[i]);
    for (const Op *op = from->first; op; op = op->next)
        clone_op(c, op, to, NULL);
}

static Op *clone_op(struct Clone *c, const Op *op, Block *to, Op *before)
{
    Op *n = op_new(to, before, op->code, op->nin, 0);
    n->loc = op->loc;
    n->kernel = op->kernel;
    for (n->nattr = 0; n->nattr < op->nattr; n->nattr++) {
        n->attr = grow(c->s, n->attr, (size_t)n->nattr, sizeof *n->attr);
        n->attr[n->nattr] = op->attr[n->nattr];
    }
    for (int i = 0; i < op->nin; i++)
        n->in[i] = cloned(c, op->in[i]);
    n->nout = op->nout;
    n->out = NEW_ARRAY(c->s, Value *, op->nout);
    for (int i = 0; i < op->nout; i++) {
        n->out[i] = clone_value(c, op->out[i]);
        n->out[i]->def = n;
    }
    if (op->body)
        clone_block(c, op->body, block_new(to->func, n));
    return n;
}

Op *layers_clone(Op *op)
{
    Func *f = op->block->func;
    func_number(f);
    struct Clone c = {f->module->s, NEW_ARRAY(f->module->s, Value *, f->nvalue)};
    Op *n = clone_op(&c, op, op->block, op);
    for (int id = 0; id < f->nvalue; id++)
        if (c.map[id]) {
            const char *base = c.map[id]->name;
            c.map[id]->name = NULL;
            c.map[id]->name = fresh_name(f, base);
        }
    return n;
}

Func *func_clone(Func *f, const char *name)
{
    func_number(f);
    struct Clone c = {f->module->s, NEW_ARRAY(f->module->s, Value *, f->nvalue)};
    Func *n = func_add(f->module, name);
    clone_block(&c, f->body, n->body);
    return n;
}

struct NameUse {
    const char *name;
    bool found;
};

static void name_in_op(Op *op, void *arg)
{
    struct NameUse *u = arg;
    for (int i = 0; i < op->nout; i++)
        u->found |= op->out[i]->name == u->name;
    for (int i = 0; op->body && i < op->body->narg; i++)
        u->found |= op->body->arg[i]->name == u->name;
}

const char *fresh_name(Func *f, const char *base)
{
    for (int n = 1;; n++) {
        struct NameUse u = {
            n == 1 ? name(f->module->s, base) : format(f->module->s, "%s_%d", base, n), false};
        for (int i = 0; i < f->body->narg; i++)
            u.found |= f->body->arg[i]->name == u.name;
        walk(f->body, name_in_op, &u);
        if (!u.found)
            return u.name;
    }
}

Space result_space(const Func *f)
{
    return f->form == FORM_DECODE || f->form == FORM_PREFILL ? SPACE_HIDDEN : SPACE_LOGITS;
}

bool func_persistent(const Func *f, const Target *target)
{
    return target->device == DEVICE_PERSISTENT && (f->form == FORM_DECODE || f->form == FORM_TOPK);
}

Dim op_units(const Op *op)
{
    const Value *first = op->nin ? op->in[0] : NULL;
    if (op_info[op->code].split == SPLIT_HEADS) {
        const Attr *heads = attr_find(op, "heads");
        return heads ? (Dim){heads->i, NULL} : op->in[op->nin - 1]->type->dim[0];
    }
    if (op_info[op->code].split == SPLIT_ROWS) {
        int64_t rows = op->out[0]->type->dim[1].n, mr = op->kernel ? op->kernel->mr : 1;
        return (Dim){(rows + mr - 1) / mr, NULL};
    }
    return op->nout ? op->out[0]->type->dim[0] : first ? first->type->dim[0] : (Dim){1, NULL};
}
