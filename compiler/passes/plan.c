/* plan.c: where values live and where barriers stand, for each function by itself.
 *
 * Memory. A value's life is the stretch of ops from its definition to its last use; a value that
 * enters a layers body lives to its end. Values that must share memory (what a body carries from
 * layer to layer, and results that overwrite an operand) form a group; groups that live at the same
 * time get disjoint places in one arena, first fit in order of birth. What an op reads stays until
 * the end of the ops that share work the same way, so that they need not wait for each other. Small
 * work on one token is done by every thread for itself, into memory of its own, so that nobody
 * waits for it. Scratch inside kernels, for one kernel at a time, stands behind the largest such
 * memory of all functions, so that functions that do the same work come out as the same code.
 *
 * Barriers. Going through the ops in order, the pass remembers which shared bytes were read and
 * written since the last barrier and by which share; an op that touches what another thread
 * may have written, or overwrites what another may still read, gets a barrier before it. On a GPU
 * every op has threads of its own, so no memory belongs to a thread and no two ops share work alike;
 * the blocks of a persistent kernel are planned as the threads of a processor are.
 */
#include <string.h>

#include "bn_model.h"
#include "passes/passes.h"

typedef struct Life { /* of one value, by Value.id */
    Value *value;
    int group;      /* union-find parent */
    int born, dies; /* op numbers; of the group, at its root */
    int64_t size, slot;
    Space space;
} Life;

typedef struct Touch {   /* shared bytes since the last barrier */
    const Weight *state; /* NULL: scratch */
    int64_t from, to;
    bool wrote;
    Split split;
    Dim units;
} Touch;

typedef struct Plan {
    Module *m;
    Func *f;
    const Target *target;
    Life *life;
    int now;
    int64_t shared, own, sum; /* bytes */
    Touch *touch;
    int ntouch;
} Plan;

/* ---- lives ---- */

static int root(Plan *p, int id)
{
    while (p->life[id].group != id)
        id = p->life[id].group;
    return id;
}

static Life *group_of(Plan *p, const Value *v)
{
    return &p->life[root(p, v->id)];
}

static void join(Plan *p, const Value *a, const Value *b)
{
    int x = root(p, a->id), y = root(p, b->id);
    Life *l = &p->life[x], *r = &p->life[y];
    if (x == y)
        return;
    l->born = r->born < l->born ? r->born : l->born;
    l->dies = r->dies > l->dies ? r->dies : l->dies;
    l->space = r->space == SPACE_NONE || r->space == SPACE_OWN ? l->space : r->space;
    r->group = x;
}

/* One token's worth of work that every thread may repeat for itself. */
static bool one_token(const Value *v)
{
    return !v->type->dim[0].sym && v->type->dim[0].n == 1;
}

static bool repeated(const Plan *p, const Op *op, int i)
{
    bool own = !p->target->device || func_persistent(p->f, p->target);
    return own && op_info[op->code].split == SPLIT_TOKENS && one_token(op->out[i]);
}

static void birth(Plan *p, Value *v, Space space)
{
    Life *l = &p->life[v->id];
    *l = (Life){v, v->id, p->now, p->now, value_bytes(p->m, v->type), -1, space};
}

static void live_block(Plan *p, Block *b)
{
    for (Op *op = b->first; op; op = op->next) {
        int start = ++p->now;
        for (int i = 0; i < op->nin; i++)
            if (!op->in[i]->weight)
                p->life[op->in[i]->id].dies = p->now;
        if (op->code == OP_RETURN)
            p->life[op->in[0]->id].space = result_space(p->f);
        for (int i = 0; i < op->nout; i++)
            birth(p, op->out[i],
                  op->code == OP_LAYERS || !repeated(p, op, i) ? SPACE_SHARED : SPACE_OWN);
        if (!op->body)
            continue;
        for (int i = 0; i < op->body->narg; i++)
            birth(p, op->body->arg[i], SPACE_SHARED);
        live_block(p, op->body);
        for (int id = 0; id < p->f->nvalue; id++)
            if (p->life[id].value && p->life[id].born < start && p->life[id].dies > start)
                p->life[id].dies = p->now;
        for (int i = 0; i < op->nout; i++)
            p->life[op->out[i]->id].born = p->life[op->out[i]->id].dies = p->now;
    }
}

/* ---- groups ---- */

/* Whether op may write its result over operand k: the operand ends here. */
static bool may_overwrite(Plan *p, const Op *op, int k, int now)
{
    const Value *v = op->in[k], *y = op->out[0];
    const Life *l = &p->life[v->weight ? 0 : root(p, v->id)], *r = &p->life[y->id];
    return !v->weight && l->value && l->dies == now && l->size == r->size && l->space == r->space &&
           v->type == y->type;
}

static void overwrite_block(Plan *p, Block *b)
{
    for (Op *op = b->first; op; op = op->next) {
        int now = ++p->now, k = op_info[op->code].flags & OPF_SAME3 ? 3 : 0;
        if (op_info[op->code].flags & (OPF_SAME0 | OPF_SAME3) && may_overwrite(p, op, k, now))
            join(p, op->in[k], op->out[0]);
        if (op->body)
            overwrite_block(p, op->body);
    }
}

static void carry_block(Plan *p, Block *b)
{
    for (Op *op = b->first; op; op = op->next)
        for (int i = 0; op->body && i < op->nin; i++) {
            join(p, op->in[i], op->body->arg[i]);
            join(p, op->in[i], op->body->last->in[i]);
            join(p, op->in[i], op->out[i]);
        }
}

/* ---- runs: neighbours that need no barrier between them ---- */

static bool same_share(const Plan *p, const Op *a, const Op *b)
{
    Split s = op_info[a->code].split;
    return !p->target->device && s != SPLIT_NONE && s != SPLIT_ROWS &&
           s == op_info[b->code].split && dim_equal(op_units(a), op_units(b));
}

/* What an op reads stays in place until the last of the ops that follow with the same share:
 * memory taken over earlier would cost a barrier between them. */
static void keep_for_runs(Plan *p, Block *b)
{
    int end = 0; /* of the run that op belongs to */
    for (Op *op = b->first; op; op = op->next) {
        if (++p->now > end) {
            end = p->now;
            for (const Op *o = op; o->next && same_share(p, o, o->next); o = o->next)
                end++;
        }
        for (int i = 0; i < op->nin; i++) {
            Life *l = op->in[i]->weight ? NULL : group_of(p, op->in[i]);
            if (l && l->value && l->dies < end)
                l->dies = end;
        }
        if (op->body)
            keep_for_runs(p, op->body);
    }
}

/* ---- copies, so that carried values can share memory ---- */

static Value *insert_copy(Plan *p, Op *before, Value *v)
{
    Op *c = op_new(before->block, before, OP_COPY, 1, 1);
    c->in[0] = v;
    c->out[0]->name = fresh_name(p->f, v->name);
    CHECK(op_infer(p->m, c));
    select_kernel(p->m, c, p->target);
    return c->out[0];
}

static bool twice(const Op *op, int i)
{
    for (int j = 0; j < op->nin; j++)
        if (j != i && op->in[j] == op->in[i])
            return true;
    return false;
}

/* Whether what yield gives for carried value i stands in its memory already. */
static bool renewed(Plan *p, const Op *op, int i)
{
    const Value *arg = op->body->arg[i], *next = op->body->last->in[i];
    return p->life[next->id].value && root(p, next->id) == root(p, arg->id);
}

/* What a layers op carries starts in memory of its own and is renewed where the old one has been
 * read for the last time. Repairs the first place where that does not hold; false: none. */
static bool copy_carried(Plan *p, Op *op)
{
    Op *yield = op->body->last;
    for (int i = 0; i < op->nin; i++) {
        const Life *start = &p->life[op->in[i]->id];
        const Value *next = yield->in[i];
        if (op->in[i]->nuse > 1 || !start->value) {
            op->in[i] = insert_copy(p, op, op->in[i]);
            return true;
        }
        if (renewed(p, op, i))
            continue;
        if (!next->def || next->def->block != op->body || twice(yield, i)) {
            yield->in[i] = insert_copy(p, yield, yield->in[i]);
            return true;
        }
    }
    /* Only now, when no yield reads a carried value itself: copies of copies end its life. */
    for (int i = 0; i < op->nin; i++)
        if (!renewed(p, op, i) &&
            group_of(p, op->body->arg[i])->dies >= p->life[yield->in[i]->id].born) {
            yield->in[i] = insert_copy(p, yield, yield->in[i]);
            return true;
        }
    return false;
}

static bool copy_returned(Plan *p)
{
    Op *ret = p->f->body->last;
    Op *def = ret->in[0]->def;
    if (def && def->code != OP_LAYERS && ret->in[0]->nuse == 1)
        return false;
    ret->in[0] = insert_copy(p, ret, ret->in[0]);
    return true;
}

static bool repair(Plan *p)
{
    if (copy_returned(p))
        return true;
    for (Op *op = p->f->body->first; op; op = op->next)
        if (op->body && copy_carried(p, op))
            return true;
    return false;
}

static void find_lives(Plan *p)
{
    for (int tries = 0;; tries++) {
        func_number(p->f);
        p->life = NEW_ARRAY(p->m->s, Life, p->f->nvalue + 1);
        p->now = 0;
        live_block(p, p->f->body);
        p->now = 0;
        overwrite_block(p, p->f->body);
        if (!repair(p))
            break;
        if (tries > 64)
            fail(p->m->s, p->f->body->first->loc,
                 "@%s: layers hands its carried values around in a circle", p->f->name);
    }
    carry_block(p, p->f->body);
    p->now = 0;
    keep_for_runs(p, p->f->body);
}

/* ---- places ---- */

static void place_group(Plan *p, Life **placed, int n, Life *l)
{
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < n; i++) {
            const Life *o = placed[i];
            bool together = o->space == l->space && o->born <= l->dies && l->born <= o->dies;
            if (together && at < o->slot + o->size && o->slot < at + l->size) {
                at = o->slot + o->size;
                moved = true;
            }
        }
    }
    l->slot = at;
    int64_t *end = l->space == SPACE_OWN ? &p->own : &p->shared;
    *end = at + l->size > *end ? at + l->size : *end;
}

static void place_all(Plan *p)
{
    Life **placed = NEW_ARRAY(p->m->s, Life *, p->f->nvalue + 1);
    int n = 0;
    for (int id = 0; id < p->f->nvalue; id++) {
        Life *l = &p->life[id];
        if (!l->value)
            continue;
        p->sum += l->size;
        Life *g = &p->life[root(p, id)];
        if (g->slot < 0 && g->space == result_space(p->f))
            g->slot = 0;
        if (g->slot < 0) {
            place_group(p, placed, n, g);
            placed[n++] = g;
        }
        l->value->space = g->space;
        l->value->slot = g->slot;
    }
}

/* ---- barriers ---- */

/* Two shares that fall to the same thread piece by piece: the same bytes, cut the same way. */
static bool aligned(const Touch *a, const Touch *b)
{
    return a->from == b->from && a->to == b->to && a->split == b->split &&
           dim_equal(a->units, b->units) && (a->split == SPLIT_TOKENS || a->split == SPLIT_HEADS);
}

/* Whether `t` has to wait for something that happened since the last barrier. */
static bool waits(const Plan *p, const Touch *t)
{
    for (int i = 0; i < p->ntouch; i++) {
        const Touch *o = &p->touch[i];
        if (o->state == t->state && o->from < t->to && t->from < o->to && (o->wrote || t->wrote) &&
            (p->target->device || !aligned(o, t)))
            return true;
    }
    return false;
}

static int value_touch(const Plan *p, const Op *op, const Value *v, bool wrote, Touch *t)
{
    bool repeats = op->nout > 0;
    for (int i = 0; i < op->nout; i++)
        repeats &= op->out[i]->space == SPACE_OWN;
    *t = (Touch){.wrote = wrote,
                 .split = repeats ? SPLIT_NONE : op_info[op->code].split,
                 .units = op_units(op)};
    if (v->weight) {
        t->state = v->weight;
        t->to = 1;
        return v->weight->is_state;
    }
    t->from = v->slot;
    t->to = v->slot + value_bytes(p->m, v->type);
    return v->space == SPACE_SHARED;
}

static void remember(Plan *p, const Touch *t)
{
    for (int i = 0; i < p->ntouch; i++)
        if (aligned(&p->touch[i], t) && p->touch[i].wrote == t->wrote &&
            p->touch[i].state == t->state)
            return;
    p->touch = grow(p->m->s, p->touch, (size_t)p->ntouch, sizeof *p->touch);
    p->touch[p->ntouch++] = *t;
}

static void add_barrier(Plan *p, Block *b, Op *before)
{
    op_new(b, before, OP_BARRIER, 0, 0);
    tally(b->func->module, "barriers", 1);
    p->ntouch = 0;
}

static void add_barrier_for(Plan *p, Op *op)
{
    Touch touch[8];
    int n = 0;
    bool wait = false, stores = op_info[op->code].flags & OPF_EFFECT;
    CHECK(op->nin + op->nout <= 8);
    for (int i = 0; i < op->nin; i++)
        n += value_touch(p, op, op->in[i], stores && op->in[i]->weight, &touch[n]);
    for (int i = 0; i < op->nout; i++)
        n += value_touch(p, op, op->out[i], true, &touch[n]);
    for (int i = 0; i < n; i++)
        wait |= waits(p, &touch[i]);
    if (wait)
        add_barrier(p, op->block, op);
    for (int i = 0; i < n; i++)
        remember(p, &touch[i]);
}

/* A body starts and ends with a barrier, so that its last layer needs no other care than its first. */
static void place_barriers(Plan *p, Block *b)
{
    for (Op *op = b->first; op; op = op->next) {
        if (op->body) {
            if (p->ntouch)
                add_barrier(p, b, op);
            place_barriers(p, op->body);
        } else if (op->code == OP_YIELD && p->ntouch) {
            add_barrier(p, b, op);
        } else if (op_info[op->code].split != SPLIT_NONE) {
            add_barrier_for(p, op);
        }
    }
}

static void drop_barrier(Op *op, void *arg)
{
    (void)arg;
    if (op->code == OP_BARRIER)
        op_remove(op);
}

/* ---- the dynamic schedule of rows, and scratch inside kernels ---- */

/* The rows of work on one token are scheduled dynamically: a thread with time takes a ticket. Those of
 * many tokens are shared evenly: there a piece costs more to begin. Each op between two barriers has a
 * counter of its own. */
static void dynamic_rows(Block *b, int *counter)
{
    for (Op *op = b->first; op; op = op->next) {
        attr_drop(op, "ticket");
        if (op->code == OP_BARRIER)
            *counter = 0;
        else if (op->body)
            dynamic_rows(op->body, counter);
        else if (op_info[op->code].split == SPLIT_ROWS && op->kernel && one_token(op->out[0]) &&
                 *counter < BN_TICKETS) {
            attr_set_int(op, "ticket", (*counter)++);
            tally(b->func->module, "ops with a dynamic schedule", 1);
        }
    }
}

typedef struct Work {
    Module *m;
    int64_t at, most;
} Work;

static void place_work(Op *op, void *arg)
{
    Work *w = arg;
    int64_t size = kernel_work(w->m, op);
    attr_drop(op, "work");
    if (size)
        attr_set_int(op, "work", w->at);
    w->most = size > w->most ? size : w->most;
}

void pass_plan(Module *m, const Target *target)
{
    int64_t shared = 0, own = 0, sum = 0;
    for (Func *f = m->funcs; f; f = f->next) {
        Plan p = {.m = m, .f = f, .target = target_of(f, target)};
        walk(f->body, drop_barrier, NULL);
        find_lives(&p);
        place_all(&p);
        place_barriers(&p, f->body);
        if (!p.target->device)
            dynamic_rows(f->body, &(int){0});
        shared = p.shared > shared ? p.shared : shared;
        own = p.own > own ? p.own : own;
        sum = p.sum > sum ? p.sum : sum;
    }
    Work work = {m, own, 0};
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, place_work, &work);
    own += work.most;
    m->shared_bytes = shared;
    m->own_bytes = own;
    tally(m, "bytes of scratch saved by sharing places", sum - shared);
    note(m->s, "plan: scratch %lld bytes before, %lld after (and %lld a thread)", (long long)sum,
         (long long)shared, (long long)own);
}
