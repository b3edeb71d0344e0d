/* report.c: what the runner tells of each pass: time, sizes before and after, counters, remarks, the
 * module's text and its changes, for people or as JSON. Nothing is measured that nobody asked for. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <errno.h>
#include <time.h>

#include "passes/passes.h"

typedef struct Sizes { /* of a module */
    int ops, values;
    int64_t weights, scratch;
} Sizes;

typedef struct Meter {
    double wall, cpu; /* seconds */
    size_t allocations, bytes;
} Meter;

struct Stage { /* a pass, or another step of the driver */
    const char *name;
    bool is_pass;
    Meter spent;
    Sizes before, after;
    const char *text_before, *text_after, *changed; /* NULL: not asked for */
    struct Stage *next;
};

struct Report {
    Module *m; /* NULL until there is one */
    const ReportOptions *o;
    struct Stage *stages, **end, *open;
    Meter start;
    char *text; /* of the module as it was before the open pass */
    int saved;  /* files written to --save-temps */
};

/* ---- measuring ---- */

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Meter meter(const Session *s)
{
    return (Meter){seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID), s->nalloc,
                   s->bytes};
}

static void add_op(Op *op, void *arg)
{
    Sizes *z = arg;
    z->ops++;
    z->values += op->nout;
}

/* Of one tensor as its type stands; a logical one takes what its file gives it. */
static int64_t tensor_bytes(const Weight *w, int i)
{
    bool logical = fmt_info[w->type->fmt].kind == KIND_LOGICAL;
    if (w->tensor && logical)
        return (int64_t)w->tensor[i].size;
    for (int d = 0; d < w->type->rank; d++)
        if (w->type->dim[d].sym)
            return 0;
    return logical || w->type->fmt == FMT_ANY ? 0 : packed_bytes(w->type, NULL);
}

static Sizes sizes(const Module *m)
{
    Sizes z = {.scratch = m->shared_bytes + m->own_bytes};
    for (const Func *f = m->funcs; f; f = f->next)
        walk(f->body, add_op, &z);
    for (const Weight *w = m->weights; w; w = w->next)
        for (int i = 0; !w->is_state && i < (w->count ? w->count : 1); i++)
            z.weights += tensor_bytes(w, i);
    return z;
}

static char *module_text(const Module *m)
{
    Out o = {.s = m->s};
    module_print(m, &o);
    char *text = scratch_copy(m->s, o.text);
    out_free(&o);
    return text;
}

/* ---- stages ---- */

Report *report_new(Session *s, const ReportOptions *o)
{
    Report *r = NEW(s, Report);
    r->o = o;
    r->end = &r->stages;
    return r;
}

void stage_begin(Session *s, Report *r, const char *name)
{
    r->open = NEW(s, struct Stage);
    r->open->name = name;
    *r->end = r->open;
    r->end = &r->open->next;
    r->start = meter(s);
}

void stage_end(Session *s, Report *r)
{
    Meter now = meter(s);
    r->open->spent = (Meter){now.wall - r->start.wall, now.cpu - r->start.cpu,
                             now.allocations - r->start.allocations, now.bytes - r->start.bytes};
}

static bool chosen(const char *list, const char *pass)
{
    return list && (!strcmp(list, "all") || !strcmp(list, pass));
}

/* A stage's text on the stream, or kept for the JSON. */
static void show(Report *r, const char *when, const char *pass, const char *text, const char **keep)
{
    if (r->o->json)
        *keep = text;
    else
        fprintf(r->o->to, "# %s %s\n%s", when, pass, text);
}

static void save(Report *r, const char *pass, const char *text)
{
    Session *s = r->m->s;
    if (r->saved == 0 && mkdir(r->o->save_temps, 0777) && errno != EEXIST)
        fail(s, loc_file(s, r->o->save_temps), "cannot make this folder: %s", strerror(errno));
    OutFile *f = file_create(s, format(s, "%s/%02d-%s.tir", r->o->save_temps, r->saved++, pass));
    file_write(f, text, strlen(text));
    file_commit(f);
}

void pass_begin(Report *r, Module *m, const char *pass)
{
    const ReportOptions *o = r->o;
    r->m = m;
    m->journal.pass = pass;
    if (o->print_changed || o->save_temps || chosen(o->print_before, pass))
        r->text = module_text(m);
    if (o->save_temps && r->saved == 0)
        save(r, "input", r->text);
    Sizes before = sizes(m);
    stage_begin(m->s, r, pass);
    r->open->is_pass = true;
    r->open->before = before;
    if (chosen(o->print_before, pass))
        show(r, "before", pass, r->text, &r->open->text_before);
}

static void show_changes(Report *r, const char *pass, const char *text)
{
    Out o = {.s = r->m->s};
    text_diff(r->text, text, 2, r->o->colour && !r->o->json, &o);
    const char *changes = o.len ? scratch_copy(r->m->s, o.text) : "";
    out_free(&o);
    show(r, *changes ? "changed by" : "not changed by", pass, changes, &r->open->changed);
}

void pass_end(Report *r)
{
    const ReportOptions *o = r->o;
    const char *pass = r->open->name;
    stage_end(r->m->s, r);
    r->open->after = sizes(r->m);
    if (!o->print_changed && !o->save_temps && !chosen(o->print_after, pass))
        return;
    char *text = module_text(r->m);
    if (o->print_changed)
        show_changes(r, pass, text);
    if (chosen(o->print_after, pass))
        show(r, "after", pass, text, &r->open->text_after);
    if (o->save_temps)
        save(r, pass, text);
}

bool report_stage(const Report *r, int i, StageInfo *out)
{
    const struct Stage *g = r->stages;
    while (g && i-- > 0)
        g = g->next;
    if (g)
        *out = (StageInfo){g->name,
                           g->is_pass,
                           g->spent.wall,
                           g->spent.cpu,
                           {g->before.ops, g->after.ops},
                           {g->before.values, g->after.values},
                           {g->before.weights, g->after.weights},
                           {g->before.scratch, g->after.scratch}};
    return g != NULL;
}

/* ---- for people ---- */

static void put_times(const Report *r, Out *o)
{
    Meter all = {0, 0, 0, 0};
    put(o, "%-11s %9s %9s %8s %9s %12s %12s %21s %21s\n", "pass", "wall ms", "CPU ms", "allocs",
        "KB", "ops", "values", "weights MB", "scratch KB");
    for (const struct Stage *g = r->stages; g; g = g->next) {
        const Meter *t = &g->spent;
        put(o, "%-11s %9.2f %9.2f %8zu %9.1f", g->name, 1e3 * t->wall, 1e3 * t->cpu, t->allocations,
            (double)t->bytes / 1024);
        if (g->is_pass)
            put(o, " %4d -> %4d %4d -> %4d %8.2f -> %8.2f %8.1f -> %8.1f", g->before.ops,
                g->after.ops, g->before.values, g->after.values, 1e-6 * (double)g->before.weights,
                1e-6 * (double)g->after.weights, (double)g->before.scratch / 1024,
                (double)g->after.scratch / 1024);
        put(o, "\n");
        all = (Meter){all.wall + t->wall, all.cpu + t->cpu, all.allocations + t->allocations,
                      all.bytes + t->bytes};
    }
    put(o, "%-11s %9.2f %9.2f %8zu %9.1f\n", "all", 1e3 * all.wall, 1e3 * all.cpu, all.allocations,
        (double)all.bytes / 1024);
}

static void put_counts(const Report *r, Out *o)
{
    put(o, "%-11s %14s %s\n", "pass", "count", "of");
    for (const Count *c = r->m->journal.counts; c; c = c->next)
        if (c->n)
            put(o, "%-11s %14lld %s\n", c->pass, (long long)c->n, c->what);
}

static void show_remarks(const Report *r)
{
    for (const Remark *k = r->m->journal.remarks; k; k = k->next)
        show_remark(r->m->s, k->loc, "%s: %s", k->pass, k->text);
}

/* ---- JSON ---- */

static void put_field(Out *o, const char *key, const char *text)
{
    if (!text)
        return;
    put(o, ", \"%s\": ", key);
    put_json_text(o, text, strlen(text));
}

static void json_pass(const Report *r, const struct Stage *g, Out *o)
{
    const char *glue = "";
    put(o,
        ", \"ops\": [%d, %d], \"values\": [%d, %d], \"weight_bytes\": [%lld, %lld], "
        "\"scratch_bytes\": [%lld, %lld], \"counts\": {",
        g->before.ops, g->after.ops, g->before.values, g->after.values,
        (long long)g->before.weights, (long long)g->after.weights, (long long)g->before.scratch,
        (long long)g->after.scratch);
    for (const Count *c = r->m->journal.counts; c; c = c->next)
        if (!strcmp(c->pass, g->name)) {
            put(o, "%s\"%s\": %lld", glue, c->what, (long long)c->n);
            glue = ", ";
        }
    put(o, "}, \"remarks\": [");
    glue = "";
    for (const Remark *k = r->m->journal.remarks; k; k = k->next)
        if (!strcmp(k->pass, g->name)) {
            put(o, "%s{\"line\": %d, \"column\": %d", glue, k->loc.line, k->loc.col);
            put_field(o, "file", k->loc.text ? k->loc.text->path : NULL);
            put_field(o, "text", k->text);
            put(o, "}");
            glue = ", ";
        }
    put(o, "]");
    put_field(o, "before", g->text_before);
    put_field(o, "after", g->text_after);
    put_field(o, "changed", g->changed);
}

static void put_all_json(const Report *r, Out *o)
{
    put(o, "{\"stages\": [");
    for (const struct Stage *g = r->stages; g; g = g->next) {
        put(o,
            "%s\n  {\"name\": \"%s\", \"is_pass\": %s, \"wall_ms\": %.3f, \"cpu_ms\": %.3f, "
            "\"allocations\": %zu, \"allocated_bytes\": %zu",
            g == r->stages ? "" : ",", g->name, g->is_pass ? "true" : "false", 1e3 * g->spent.wall,
            1e3 * g->spent.cpu, g->spent.allocations, g->spent.bytes);
        if (g->is_pass)
            json_pass(r, g, o);
        put(o, "}");
    }
    put(o, "\n]}\n");
}

void report_print(Session *s, const Report *r)
{
    Out o = {.s = s};
    if (r->o->json) {
        put_all_json(r, &o);
    } else {
        if (r->o->time)
            put_times(r, &o);
        if (r->o->stats && r->m)
            put_counts(r, &o);
        if (r->o->remarks && r->m)
            show_remarks(r);
    }
    if (o.len)
        fwrite(o.text, 1, o.len, r->o->to);
    fflush(r->o->to);
    out_free(&o);
}
