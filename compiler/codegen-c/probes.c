/* probes.c: what --profile adds to the printed C: a probe (bn_profile.h) behind each call and barrier,
 * and the table that describes the probes.
 *
 * One idea: the table is made from the module before anything is printed, so a probe is one line with a
 * literal slot in it, and an op's bytes and MACs are counted here and not while it runs.
 */
#include <inttypes.h>
#include <string.h>

#include "bn_profile.h"
#include "codegen-c/codegen.h"

typedef struct Probe {
    const Op *op; /* NULL: where func begins */
    const Func *func;
    bn_probe is; /* texts unset */
} Probe;

struct Probes {
    const Module *m;
    Probe *probe;
    size_t n;
    const Func *func; /* the one that is looked at */
    int32_t slots;
};

/* ---- bytes and MACs ---- */

static int64_t numbers_bytes(Fmt fmt, int64_t n)
{
    const FmtInfo *f = &fmt_info[fmt];
    return f->elems ? (n + f->elems - 1) / f->elems * f->bytes : 0;
}

static void count_value(const Value *v, bn_probe *is)
{
    int64_t n = 1;
    bool tokens = false;
    for (int i = 0; i < v->type->rank; i++) {
        tokens |= v->type->dim[i].sym != NULL;
        n *= v->type->dim[i].sym ? 1 : v->type->dim[i].n;
    }
    *(tokens ? &is->token_bytes : &is->call_bytes) += numbers_bytes(v->type->fmt, n);
}

/* A product reads the whole matrix, an embedding one row a token. Of the two matrices of a screen
 * only the copy is read whole; the few rows of the other are not known here and left out. */
static void count_weight(const Op *op, int operand, bn_probe *is)
{
    const Weight *w = op->in[operand]->weight;
    int64_t rows = w->type->dim[0].n, cols = w->type->rank > 1 ? w->type->dim[1].n : 1, scales;
    if (op->code == OP_SCREEN && operand == 3)
        return;
    if (op->code == OP_EMBED) {
        is->token_bytes += numbers_bytes(w->type->fmt, cols);
        return;
    }
    is->call_bytes += packed_bytes(w->type, &scales);
    if (op_info[op->code].split == SPLIT_ROWS && w->type->rank == 2)
        is->token_macs += rows * cols;
}

/* A store writes its token's position; attention reads all positions up to there once a call, and
 * multiplies with them for each token; which these are where there is a window, the window says. */
static void count_state(const Op *op, const Weight *w, bn_probe *is)
{
    int64_t position = w->stride / w->type->dim[1].n;
    if (op->code != OP_ATTENTION && op->code != OP_ATTENTION_WINDOW) {
        is->token_bytes += position;
        return;
    }
    is->window = (int32_t)attr_int(op, "window", 0);
    is->every = (int32_t)attr_int(op, "every", 0);
    is->span_bytes += position;
    is->reach_macs += attr_int(op, "heads", 1) * w->type->dim[2].n;
}

void op_cost(const Op *op, bn_probe *is)
{
    for (int i = 0; i < op->nin; i++) {
        const Weight *w = op->in[i]->weight;
        if (!w)
            count_value(op->in[i], is);
        else if (w->is_state)
            count_state(op, w, is);
        else
            count_weight(op, i, is);
    }
    for (int i = 0; i < op->nout; i++)
        count_value(op->out[i], is);
}

/* ---- the table ---- */

static void add_probe(Probes *t, const Op *op, bn_probe_kind kind)
{
    const Op *layers = op ? op->block->owner : NULL;
    Probe *x;
    t->probe = grow(t->m->s, t->probe, t->n, sizeof *t->probe);
    x = &t->probe[t->n++];
    *x = (Probe){.op = op, .func = t->func};
    x->is.kind = (int32_t)kind;
    x->is.pass = (int32_t)t->func->form - FORM_DECODE;
    x->is.slot = t->slots;
    x->is.first = layers ? (int32_t)attr_int(layers, "first", 0) : 0;
    x->is.layers = layers ? (int32_t)attr_int(layers, "count", 1) : 0;
    x->is.repeated = kind == BN_PROBE_CALL && op_repeats(op);
    t->slots += layers ? x->is.layers : 1;
    if (kind == BN_PROBE_CALL)
        op_cost(op, &x->is);
}

static void find_probe(Op *op, void *arg)
{
    if (op->code == OP_BARRIER)
        add_probe(arg, op, BN_PROBE_BARRIER);
    else if (op->kernel)
        add_probe(arg, op, BN_PROBE_CALL);
}

Probes *probes_find(const Module *m)
{
    Probes *t = NEW(m->s, Probes);
    t->m = m;
    for (Func *f = m->funcs; f; f = f->next) {
        t->func = f;
        add_probe(t, NULL, BN_PROBE_START);
        walk(f->body, find_probe, t);
    }
    return t;
}

/* A decode step is a pass of @decode and one of @lm_head or @topk: twice the longest of these, rounded
 * up, holds it whole. */
static int32_t ring(const Probes *t)
{
    int32_t most = 0, of = 0, n = 64;
    for (size_t i = 0; i < t->n; i++) {
        const Probe *x = &t->probe[i];
        bool step = x->func->form != FORM_PREFILL && x->func->form != FORM_SCORE;
        of = (x->op ? of : 0) + (x->is.layers ? x->is.layers : 1);
        most = step && of > most ? of : most;
    }
    while (n < 2 * most)
        n *= 2;
    return n;
}

static int64_t logs_at(const Probes *t)
{
    return (t->m->own_bytes + 63) / 64 * 64;
}

int64_t probes_own_bytes(const Probes *t)
{
    size_t log = sizeof(bn_log) + (size_t)t->slots * sizeof(uint64_t) +
                 (size_t)ring(t) * sizeof(bn_timestamp);
    return logs_at(t) + (int64_t)(log + 63) / 64 * 64;
}

/* ---- printing ---- */

static const char *named_operand(Session *s, const Op *op)
{
    for (int i = 0; op && i < op->nin; i++)
        if (op->in[i]->weight && op->in[i]->type->rank > 1)
            return format(s, "@%s", op->in[i]->name);
    for (int i = 0; op && i < op->nin; i++)
        if (op->in[i]->weight)
            return format(s, "@%s", op->in[i]->name);
    return "";
}

size_t probes_count(const Probes *t)
{
    return t->n;
}

void record_probe(const Probes *t, size_t i, Record *r)
{
    static const char *const kinds[] = {"BN_PROBE_START", "BN_PROBE_CALL", "BN_PROBE_BARRIER"};
    const Probe *x = &t->probe[i];
    const bn_probe *is = &x->is;
    const Op *op = x->op;
    record_text(r, NULL, x->func->name);
    record_text(r, NULL, op ? op_info[op->code].name : "");
    record_text(r, NULL, op && op->nout ? format(r->s, "%%%s", op->out[0]->name) : "");
    record_text(r, NULL, named_operand(r->s, op));
    record_text(r, NULL, op && op->kernel ? op->kernel->symbol : "");
    record_word(r, NULL, kinds[is->kind], is->kind);
    record_int(r, NULL, is->pass);
    record_int(r, NULL, is->slot);
    record_int(r, NULL, is->first);
    record_int(r, NULL, is->layers);
    record_int(r, NULL, is->repeated);
    record_int(r, NULL, is->window);
    record_int(r, NULL, is->every);
    record_long(r, NULL, is->call_bytes);
    record_long(r, NULL, is->token_bytes);
    record_long(r, NULL, is->span_bytes);
    record_long(r, NULL, is->token_macs);
    record_long(r, NULL, is->reach_macs);
}

/* A model has one window; of several the largest counts. */
void record_profile(const Probes *t, Record *r)
{
    int32_t window = 0;
    for (size_t i = 0; i < t->n; i++)
        window = t->probe[i].is.window > window ? t->probe[i].is.window : window;
    record_symbol(r, "probe", "probes");
    record_int(r, "nprobe", (int64_t)t->n);
    record_int(r, "nslot", t->slots);
    record_int(r, "ntimestamp", ring(t));
    record_int(r, "window", window);
    record_long(r, "at", logs_at(t));
}

void put_probes(const Probes *t, const char *prefix, Out *o)
{
    Record all = {.s = t->m->s}, numbers = {.s = t->m->s};
    put(o, "/* ---- --profile: where intervals end; see bn_profile.h ---- */\n\n"
           "/* func, op, value, weight, kernel; kind, pass; slot, first, layers; repeated; window, "
           "every;\n"
           " * call_bytes, token_bytes, span_bytes; token_macs, reach_macs */\n"
           "static const bn_probe probes[] = {\n");
    for (size_t i = 0; i < t->n; i++) {
        record_open(&all, NULL);
        record_probe(t, i, &all);
        record_close(&all);
    }
    put_fields(&all, o);
    record_profile(t, &numbers);
    put(o, "};\nstatic const bn_profile intervals = {\n");
    put_fields(&numbers, o);
    put(o, "};\nextern BN_EXPORT const bn_profile %s_profile;\nconst bn_profile %s_profile = {\n",
        prefix, prefix);
    put_fields(&numbers, o);
    put(o, "};\n\n");
}

int probes_start(const Probes *t, const Func *f, int *pass)
{
    const Probe *x = t->probe;
    while (x->op || x->func != f)
        x++;
    *pass = x->is.pass;
    return x->is.slot;
}

int probes_interval(const Probes *t, const Op *op)
{
    const Probe *x = t->probe;
    while (x->op != op)
        x++;
    return x->is.slot - x->is.first;
}

void put_start(const Probes *t, const Func *f, Out *o)
{
    int pass, slot = probes_start(t, f, &pass);
    put(o, "    bn_start(c, intervals, %d, %d);\n", slot, pass);
}

void put_interval(const Probes *t, const Op *op, Out *o)
{
    int at = probes_interval(t, op);
    if (op->block->owner)
        put(o, "    bn_interval(c, intervals, i %c %d);\n", at < 0 ? '-' : '+', at < 0 ? -at : at);
    else
        put(o, "    bn_interval(c, intervals, %d);\n", at);
}
