/* tables.c: the tables of a report, gathered from a planned module, its journal and a profiled run.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bn_profile.h"
#include "codegen-c/codegen.h"
#include "report/report.h"

/* ---- cells ---- */

void table_add(Table *t, ...)
{
    va_list ap;
    va_start(ap, t);
    for (int i = 0; i < t->ncolumn; i++) {
        size_t n = t->nrow * (size_t)t->ncolumn + (size_t)i;
        t->cell = grow(t->s, t->cell, n, sizeof *t->cell);
        if (t->column[i].format)
            t->cell[n] = (Cell){NULL, va_arg(ap, double)};
        else
            t->cell[n] = (Cell){va_arg(ap, const char *), NAN};
    }
    va_end(ap);
    t->nrow++;
}

static const Cell *cell(const Table *t, size_t row, const char *key)
{
    int i = 0;
    while (i < t->ncolumn && strcmp(t->column[i].key, key))
        i++;
    CHECK(i < t->ncolumn && row < t->nrow);
    return &t->cell[row * (size_t)t->ncolumn + (size_t)i];
}

const char *cell_text(const Table *t, size_t row, const char *key)
{
    return cell(t, row, key)->text;
}

double cell_number(const Table *t, size_t row, const char *key)
{
    return cell(t, row, key)->number;
}

static const Column summary_columns[] = {{"what", "", NULL}, {"is", "", NULL}};
static const Column pass_columns[] = {{"pass", "pass", NULL},
                                      {"wall_ms", "wall ms", "%.2f"},
                                      {"cpu_ms", "CPU ms", "%.2f"},
                                      {"ops_before", "ops before", "%.0f"},
                                      {"ops_after", "ops after", "%.0f"},
                                      {"weights_after", "weights after, bytes", "%.0f"},
                                      {"scratch_after", "scratch after, bytes", "%.0f"},
                                      {"did", "what it did", NULL}};
static const Column format_columns[] = {
    {"format", "format", NULL},           {"tensors", "tensors", "%.0f"},
    {"parameters", "parameters", "%.0f"}, {"bytes", "bytes", "%.0f"},
    {"bits", "bits a parameter", "%.2f"}, {"share", "share of bytes", "%.1f %%"}};
static const Column layer_columns[] = {{"layer", "layer", NULL},
                                       {"ternary", "ternary, bytes", "%.0f"},
                                       {"floats", "floats, bytes", "%.0f"},
                                       {"cache", "KV cache, bytes", "%.0f"}};
static const Column kernel_columns[] = {
    {"function", "function", NULL}, {"op", "op", NULL},         {"weight", "weight", NULL},
    {"shape", "shape", NULL},       {"kernel", "kernel", NULL}, {"why", "why this one", NULL}};
static const Column roof_columns[] = {{"op", "op", NULL},
                                      {"calls", "calls", "%.0f"},
                                      {"bytes", "bytes", "%.0f"},
                                      {"macs", "multiply-adds", "%.0f"},
                                      {"bound_us", "bound, µs", "%.1f"},
                                      {"measured_us", "measured, µs", "%.1f"},
                                      {"share", "share of the bound", "%.0f %%"}};
static const Column plan_columns[] = {{"function", "function", NULL}, {"value", "value", NULL},
                                      {"space", "memory", NULL},      {"offset", "offset", "%.0f"},
                                      {"bytes", "bytes", "%.0f"},     {"from", "from op", "%.0f"},
                                      {"to", "to op", "%.0f"}};
static const Column remark_columns[] = {
    {"pass", "pass", NULL}, {"place", "place", NULL}, {"remark", "remark", NULL}};

#define COLUMNS(c) c, (int)(sizeof c / sizeof *c)

/* ---- summary, passes ---- */

static const char *mega(Session *s, double bytes)
{
    return format(s, "%.1f MB", bytes * 1e-6);
}

static void add_summary(ReportPage *p)
{
    const Module *m = p->m;
    Session *s = p->s;
    Table *t = &p->table[SUMMARY];
    int64_t layers = 0;
    for (const Weight *w = m->weights; w; w = w->next)
        layers = w->first + w->count > layers ? w->first + w->count : layers;
    table_add(t, "model", m->title);
    table_add(t, "architecture", m->arch[0]);
    table_add(t, "file", m->source);
    table_add(t, "XXH64 of the file", format(s, "%016" PRIx64, m->hash));
    table_add(t, "compiled for", format(s, "%s (%s)", p->target->name, p->target->what));
    table_add(t, "layers", format(s, "%" PRId64, layers));
    table_add(t, "context", format(s, "%d positions", m->context));
    table_add(t, "weights and tokenizer", mega(s, (double)m->weight_bytes));
    table_add(t, "KV cache", mega(s, (double)m->cache_bytes));
    table_add(t, "scratch",
              format(s, "%s, and %s a thread", mega(s, (double)m->shared_bytes),
                     mega(s, (double)m->own_bytes)));
}

static const char *counts_of(ReportPage *p, const char *pass)
{
    Out o = {.s = p->s};
    for (const Count *c = p->m->journal.counts; c; c = c->next)
        if (c->n && !strcmp(c->pass, pass))
            put(&o, "%s%" PRId64 " %s", o.len ? "; " : "", c->n, c->what);
    const char *text = name(p->s, o.text ? o.text : "");
    out_free(&o);
    return text;
}

static void add_passes(ReportPage *p, const Report *r)
{
    StageInfo g;
    for (int i = 0; report_stage(r, i, &g); i++)
        table_add(&p->table[PASSES], g.name, p->measured ? 1e3 * g.wall : (double)NAN,
                  p->measured ? 1e3 * g.cpu : (double)NAN,
                  g.is_pass ? (double)g.ops[0] : (double)NAN,
                  g.is_pass ? (double)g.ops[1] : (double)NAN,
                  g.is_pass ? (double)g.weights[1] : (double)NAN,
                  g.is_pass ? (double)g.scratch[1] : (double)NAN, counts_of(p, g.name));
    for (const Remark *k = p->m->journal.remarks; k; k = k->next)
        table_add(&p->table[REMARKS], k->pass,
                  k->loc.text ? format(p->s, "%s:%d:%d", k->loc.text->path, k->loc.line, k->loc.col)
                              : "",
                  k->text);
}

/* ---- weights ---- */

static double values_of(const Type *t)
{
    double n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= (double)t->dim[i].n;
    return n;
}

static void add_formats(ReportPage *p)
{
    double tensors[FMT_COUNT] = {0}, values[FMT_COUNT] = {0}, bytes[FMT_COUNT] = {0}, all = 0;
    for (const Weight *w = p->m->weights; w; w = w->next) {
        double n = w->count ? w->count : 1;
        if (w->is_state)
            continue;
        tensors[w->type->fmt] += n;
        values[w->type->fmt] += n * values_of(w->type);
        bytes[w->type->fmt] += n * (double)packed_bytes(w->type, &(int64_t){0});
        all += n * (double)packed_bytes(w->type, &(int64_t){0});
    }
    for (Fmt f = 0; f < FMT_COUNT; f++)
        if (tensors[f] > 0)
            table_add(&p->table[FORMATS], fmt_info[f].name, tensors[f], values[f], bytes[f],
                      8 * bytes[f] / values[f], 100 * bytes[f] / all);
}

static void add_layer(ReportPage *p, const char *title, int layer)
{
    double ternary = 0, floats = 0, cache = 0;
    for (const Weight *w = p->m->weights; w; w = w->next) {
        bool here = layer < 0 ? !w->count : layer >= w->first && layer < w->first + w->count;
        if (!here)
            continue;
        if (w->is_state)
            cache += (double)w->stride;
        else if (fmt_info[w->type->fmt].kind == KIND_PACKED)
            ternary += (double)packed_bytes(w->type, &(int64_t){0});
        else
            floats += (double)packed_bytes(w->type, &(int64_t){0});
    }
    if (ternary + floats + cache > 0)
        table_add(&p->table[LAYERS], title, ternary, floats, cache);
}

static void add_layers(ReportPage *p)
{
    int layers = 0;
    for (const Weight *w = p->m->weights; w; w = w->next)
        layers = w->first + w->count > layers ? w->first + w->count : layers;
    for (int i = 0; i < layers; i++)
        add_layer(p, format(p->s, "%d", i), i);
    add_layer(p, "outside", -1);
}

/* ---- kernels ---- */

static const Value *weight_of(const Op *op)
{
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight)
            return op->in[i];
    return NULL;
}

/* Rows of the kernel table that fit, the chosen one last. */
static const char *reason(ReportPage *p, const Op *op)
{
    const Value *w = weight_of(op);
    const Target *target = target_of(op->block->func, p->target);
    Fmt fmt = w ? w->type->fmt : FMT_ANY;
    Out o = {.s = p->s};
    int others = 0;
    put(&o, "fits %s%s", forms_of(op) == FORMS_ONE ? "one token" : "many tokens",
        w ? format(p->s, " over %s", fmt_info[fmt].name) : "");
    for (int i = 0; i < target->nkernel; i++) {
        const Kernel *k = &target->kernel[i];
        if (kernel_fits(k, op, fmt, target) && k != op->kernel)
            put(&o, "%s%s", others++ ? ", " : "; preferred to ", k->symbol);
    }
    put(&o, others ? "" : "; the only one that does");
    put(&o, p->m->tuning && w ? "; --tune may have said so" : "");
    const char *text = name(p->s, o.text);
    out_free(&o);
    return text;
}

static void add_kernel(Op *op, void *arg)
{
    ReportPage *p = arg;
    const Value *w = weight_of(op);
    Out shape = {.s = p->s};
    if (!op->kernel)
        return;
    if (w)
        type_print(w->type, &shape);
    table_add(&p->table[KERNELS], op->block->func->name, op_info[op->code].name,
              w ? w->weight->name : "", name(p->s, shape.text ? shape.text : ""),
              op->kernel->symbol, reason(p, op));
    out_free(&shape);
}

/* ---- the memory plan ---- */

typedef struct Lives {
    int *born, *dies; /* by Value.id: numbers of ops */
    int now;
} Lives;

static void live(Lives *l, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        int start = l->now++;
        for (int i = 0; i < op->nin; i++)
            if (!op->in[i]->weight)
                l->dies[op->in[i]->id] = start;
        for (int i = 0; i < op->nout; i++)
            l->born[op->out[i]->id] = l->dies[op->out[i]->id] = start;
        if (!op->body)
            continue;
        for (int i = 0; i < op->body->narg; i++)
            l->born[op->body->arg[i]->id] = l->dies[op->body->arg[i]->id] = start;
        live(l, op->body);
        for (const Op *in = op->body->first; in; in = in->next)
            for (int i = 0; i < in->nin; i++)
                if (!in->in[i]->weight && l->born[in->in[i]->id] < start)
                    l->dies[in->in[i]->id] = l->now - 1;
    }
}

struct Planned {
    ReportPage *p;
    const Lives *l;
};

static void add_value(ReportPage *p, const Lives *l, const Func *f, const Value *v)
{
    const char *space = v->space == SPACE_SHARED ? "shared" : v->space == SPACE_OWN ? "own" : NULL;
    if (space)
        table_add(&p->table[PLAN], f->name, v->name, space, (double)v->slot,
                  (double)value_bytes(p->m, v->type), (double)l->born[v->id],
                  (double)l->dies[v->id]);
}

static void add_values(Op *op, void *arg)
{
    struct Planned *x = arg;
    for (int i = 0; i < op->nout; i++)
        add_value(x->p, x->l, op->block->func, op->out[i]);
}

static void add_plan(ReportPage *p, Func *f)
{
    func_number(f);
    Lives l = {NEW_ARRAY(p->s, int, f->nvalue + 1), NEW_ARRAY(p->s, int, f->nvalue + 1), 0};
    live(&l, f->body);
    walk(f->body, add_values, &(struct Planned){p, &l});
}

void report_tables(ReportPage *p, const Report *r)
{
    const Table tables[NTABLE] = {
        [SUMMARY] = {p->s, "summary", "The model", NULL, COLUMNS(summary_columns), NULL, 0},
        [PASSES] = {p->s, "passes", "What the passes did",
                    "In order, with reading the file first. Ops are those of all functions: there "
                    "are more after specialize, which makes one for each way to run.",
                    COLUMNS(pass_columns), NULL, 0},
        [FORMATS] = {p->s, "formats", "Weights by format", NULL, COLUMNS(format_columns), NULL, 0},
        [LAYERS] = {p->s, "layers", "Weights by layer", NULL, COLUMNS(layer_columns), NULL, 0},
        [KERNELS] = {p->s, "kernels", "Kernels chosen", NULL, COLUMNS(kernel_columns), NULL, 0},
        [ROOF] = {p->s, "roof", "One decode step", NULL, COLUMNS(roof_columns), NULL, 0},
        [PLAN] = {p->s, "plan", "Memory plan", NULL, COLUMNS(plan_columns), NULL, 0},
        [REMARKS] = {p->s, "remarks", "What was not optimized, and why", NULL,
                     COLUMNS(remark_columns), NULL, 0}};
    memcpy(p->table, tables, sizeof tables);
    add_summary(p);
    add_passes(p, r);
    add_formats(p);
    add_layers(p);
    for (Func *f = p->m->funcs; f; f = f->next) {
        if (f->form != FORM_SCORE) /* has those of @prefill */
            walk(f->body, add_kernel, p);
        add_plan(p, f);
    }
}

/* ---- bytes, bounds, measured times ---- */

typedef struct Roof {
    ReportPage *p;
    int at;
    struct RoofRow {
        const char *op;
        double calls, bytes, macs;
    } * row;
    size_t n;
} Roof;

static void add_cost(Op *op, void *arg)
{
    Roof *x = arg;
    bn_probe is = {0};
    if (!op->kernel)
        return;
    const Value *w = weight_of(op);
    const char *title = format(x->p->s, "%s %s%s", op_info[op->code].name, w ? "@" : "%",
                               w          ? w->weight->name
                               : op->nout ? op->out[0]->name
                                          : "");
    double times = op->block->owner ? (double)attr_int(op->block->owner, "count", 1) : 1;
    op_cost(op, &is);
    size_t i = 0;
    while (i < x->n && strcmp(x->row[i].op, title))
        i++;
    if (i == x->n) {
        x->row = grow(x->p->s, x->row, x->n, sizeof *x->row);
        x->row[x->n++] = (struct RoofRow){title, 0, 0, 0};
    }
    x->row[i].calls += times;
    x->row[i].bytes += times * (double)(is.call_bytes + is.token_bytes + is.span_bytes * x->at);
    x->row[i].macs += times * (double)(is.token_macs + is.reach_macs * x->at);
}

/* The functions of a step: @decode, then @topk or, where there is none, @lm_head; of several parts of
 * a target those of the last. */
static bool in_step(const Module *m, const Func *f)
{
    bool best = false;
    for (const Func *o = m->funcs; o; o = o->next) {
        if (o->form == f->form && o != f && f->target) /* a later part */
            for (const Func *g = f->next; g; g = g->next)
                if (g == o)
                    return false;
        best |= o->form == FORM_TOPK;
    }
    return f->form == FORM_DECODE || f->form == (best ? FORM_TOPK : FORM_LM_HEAD);
}

void report_roof(ReportPage *p, int at, const Profile *measured)
{
    Roof x = {.p = p, .at = at};
    const ProfilePhase *step = measured ? &measured->phase[measured->nphase - 1] : NULL;
    double rate = measured ? measured->read_rate : 0;
    size_t nrow = 0;
    ProfileRow *row = step ? profile_rows(p->s, step, BY_OP, &nrow) : NULL;
    for (Func *f = p->m->funcs; f; f = f->next)
        if (in_step(p->m, f))
            walk(f->body, add_cost, &x);
    Table *t = &p->table[ROOF];
    for (size_t i = 0; i < x.n; i++) {
        double bound = rate > 0 ? x.row[i].bytes / rate * 1e-3 : (double)NAN, us = (double)NAN;
        for (size_t k = 0; k < nrow; k++)
            if (!strcmp(row[k].name, x.row[i].op))
                us = 1e3 * row[k].ms / step->tokens;
        table_add(t, x.row[i].op, x.row[i].calls, x.row[i].bytes, x.row[i].macs, bound, us,
                  us > 0 ? 100 * bound / us : (double)NAN);
    }
    for (size_t k = 0; k < nrow; k++)
        if (!row[k].probe || row[k].probe->kind == BN_PROBE_BARRIER)
            table_add(t, row[k].name, (double)row[k].calls / step->tokens, (double)NAN, (double)NAN,
                      (double)NAN, 1e3 * row[k].ms / step->tokens, (double)NAN);
    t->note = !measured
                  ? format(p->s, "At position %d; nothing was measured.", at)
                  : format(p->s,
                           "At position %d with %d thread%s; times are means over %d steps. The "
                           "bound is the time that this machine takes to read the bytes from "
                           "memory, at %.1f GB/s; what lies in a cache can be faster.",
                           at, step->threads, step->threads > 1 ? "s" : "", step->tokens, rate);
}
