/* canon.c: the same module with less in it: factors of one, ops computed twice, results nobody
 * reads and weights with equal bytes go. */
#include <string.h>
#include <xxhash.h>

#include "passes/passes.h"

static void drop_unit_scale(Op *op, void *arg)
{
    Module *m = arg;
    if (op->code != OP_SCALE)
        return;
    const Weight *w = op->in[1]->weight;
    if (w->has_const && !w->pattern && w->constant == 1.0f) {
        replace_uses(op->block->func, op->out[0], op->in[0]);
        op_remove(op);
        tally(m, "factors of one dropped", 1);
    }
}

/* ---- weights of equal bytes ---- */

/* The XXH64 of a weight's bytes, found when first asked for. */
typedef struct Hashed {
    Weight *w;
    uint64_t hash;
    bool known;
} Hashed;

static uint64_t weight_hash(Hashed *x)
{
    const Weight *w = x->w;
    if (!x->known) {
        x->hash = (uint64_t)w->count;
        for (int i = 0; i < (w->count ? w->count : 1); i++)
            x->hash = XXH64(w->tensor[i].data, w->tensor[i].size, x->hash);
        x->known = true;
    }
    return x->hash;
}

static bool weight_equal(const Weight *a, const Weight *b)
{
    bool same = true;
    for (int i = 0; same && i < (a->count ? a->count : 1); i++)
        same = a->tensor[i].size == b->tensor[i].size && a->tensor[i].fmt == b->tensor[i].fmt &&
               !memcmp(a->tensor[i].data, b->tensor[i].data, a->tensor[i].size);
    return same;
}

static bool may_merge(const Weight *a, const Weight *b)
{
    return !a->is_state && !b->is_state && a->tensor && b->tensor && a->type == b->type &&
           a->count == b->count && a->first == b->first && a->times == b->times;
}

static void merge_weight(Module *m, Weight *w, Weight *v)
{
    for (Func *f = m->funcs; f; f = f->next)
        replace_uses(f, &v->value, &w->value);
    tally(m, "weights shared", 1);
    for (int i = 0; i < (v->count ? v->count : 1); i++)
        tally(m, "bytes of shared weights saved", (int64_t)v->tensor[i].size);
    note(m->s, "canon: @%s has the bytes of @%s and shares them", v->name, w->name);
}

static void merge_weights(Module *m)
{
    Hashed *all = NULL;
    size_t n = 0;
    for (Weight *w = m->weights; w; w = w->next) {
        all = grow(m->s, all, n, sizeof *all);
        all[n++] = (Hashed){.w = w};
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (may_merge(all[i].w, all[k].w) && weight_hash(&all[i]) == weight_hash(&all[k]) &&
                weight_equal(all[i].w, all[k].w))
                merge_weight(m, all[i].w, all[k].w);
}

/* ---- ops computed twice ---- */

static bool attrs_equal(const Op *a, const Op *b)
{
    bool same = a->nattr == b->nattr;
    for (int i = 0; same && i < a->nattr; i++) {
        const Attr *x = &a->attr[i], *y = attr_find(b, x->name);
        same = y && x->kind == y->kind && x->i == y->i && x->f == y->f && x->s == y->s &&
               x->ref == y->ref &&
               (x->kind != ATTR_LIST || !memcmp(x->v, y->v, (size_t)x->i * sizeof *x->v));
    }
    return same;
}

static bool ops_equal(const Op *a, const Op *b)
{
    return a->code == b->code && a->nin == b->nin && a->nout == b->nout && attrs_equal(a, b) &&
           (a->nin == 0 || !memcmp(a->in, b->in, sizeof *a->in * (size_t)a->nin));
}

static bool reads_state(const Op *op)
{
    bool state = false;
    for (int i = 0; i < op->nin; i++)
        state |= op->in[i]->weight && op->in[i]->weight->is_state;
    return state;
}

static void merge_op(Op *op, void *arg)
{
    Module *m = arg;
    if (!(op_info[op->code].flags & OPF_PURE))
        return;
    for (Op *before = op->prev;
         before && !(reads_state(op) && op_info[before->code].flags & OPF_EFFECT);
         before = before->prev)
        if (ops_equal(before, op)) {
            for (int i = 0; i < op->nout; i++)
                replace_uses(op->block->func, op->out[i], before->out[i]);
            op_remove(op);
            tally(m, "repeated ops dropped", 1);
            return;
        }
}

/* ---- results nobody reads ---- */

static void drop_dead(Op *op, void *arg)
{
    bool *changed = arg, dead = op_info[op->code].flags & OPF_PURE;
    for (int i = 0; i < op->nout; i++)
        dead &= op->out[i]->nuse == 0;
    if (dead) {
        tally(op->block->func->module, "unread ops dropped", 1);
        op_remove(op);
        *changed = true;
    }
}

void pass_canon(Module *m, const Target *target)
{
    (void)target;
    merge_weights(m);
    for (Func *f = m->funcs; f; f = f->next) {
        bool changed = true;
        walk(f->body, drop_unit_scale, m);
        walk(f->body, merge_op, m);
        while (changed) {
            changed = false;
            func_number(f);
            walk(f->body, drop_dead, &changed);
        }
    }
    weights_drop_unused(m);
}
