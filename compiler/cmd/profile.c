/* profile.c: `bnc profile`: tables, JSON, a trace and folded stacks of a profiled run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "driver/profile.h"

typedef struct Ask {
    Session *s;
    ProfileBy by;
} Ask;

static const char *const by_name[] = {"op", "layer", "kernel", "thread"};

static ProfileBy by_of(const char *text)
{
    ProfileBy by = BY_OP;
    while (strcmp(text, by_name[by]))
        by++;
    return by;
}

/* ---- the table ---- */

static void put_number(Out *o, const char *how, double x)
{
    if (x > 0)
        put(o, how, x);
    else
        put(o, " %8s", "");
}

/* GB/s that stand for 100 %: what all threads read together, or one of them. */
static double full_rate(const Profile *p, ProfileBy by)
{
    return by == BY_THREAD ? p->read_rate / p->inproc->threads : p->read_rate;
}

static void put_row(Out *o, const ProfileRow *r, double rate)
{
    double gbs = r->ms > 0 ? r->bytes / r->ms * 1e-6 : 0;
    put(o, " %9.3f %6.2f %%", r->ms, 100 * r->share);
    if (r->calls)
        put(o, " %8" PRIu64, r->calls);
    else
        put(o, " %8s", "");
    put_number(o, " %8.2f", r->bytes * 1e-6);
    put_number(o, " %8.2f", gbs);
    if (rate > 0 && gbs > 0)
        put(o, " %5.0f %%", 100 * gbs / rate);
    else
        put(o, " %7s", "");
    put_number(o, " %8.2f", r->ms > 0 ? r->macs / r->ms * 1e-6 : 0);
    put(o, "  %s\n", r->name);
}

static void put_counters(const ProfilePhase *p, Out *o)
{
    if (p->counters.why) {
        put(o, "hardware counters: not read (%s)\n", p->counters.why);
        return;
    }
    double cycles = (double)p->counters.count[COUNTER_CYCLES];
    for (int c = 0; c < COUNTER_COUNT; c++)
        put(o, "%s%.4g %s a token", c ? ", " : "", (double)p->counters.count[c] / p->tokens,
            counter_name[c]);
    put(o, "; %.2f instructions a cycle\n",
        cycles > 0 ? (double)p->counters.count[COUNTER_INSTRUCTIONS] / cycles : 0);
}

static void put_table(const Ask *a, const Profile *p, const ProfilePhase *x, Out *o)
{
    size_t n;
    const ProfileRow *row = profile_rows(a->s, x, a->by, &n);
    ProfileRow sum = {.name = a->by == BY_THREAD ? "all threads" : "all"};
    put(o, "%s: %d token%s in %.2f ms, %.1f tokens/s, %d thread%s\n", x->name, x->tokens,
        x->tokens == 1 ? "" : "s", x->ms, x->tokens * 1e3 / x->ms, x->threads,
        x->threads == 1 ? "" : "s");
    put(o, "        ms    share    calls       MB     GB/s of read   GMAC/s  %s\n", by_name[a->by]);
    for (size_t i = 0; i < n; i++) {
        put_row(o, &row[i], full_rate(p, a->by));
        sum.ms += row[i].ms;
        sum.share += row[i].share;
        sum.bytes += row[i].bytes;
        sum.macs += row[i].macs;
    }
    put_row(o, &sum, full_rate(p, a->by));
}

/* ---- JSON ---- */

static void json_pair(Out *o, const char *key, const char *text)
{
    put(o, "\"%s\":", key);
    put_json_text(o, text, strlen(text));
}

static void json_row(const ProfileRow *r, double rate, Out *o)
{
    double gbs = r->ms > 0 ? r->bytes / r->ms * 1e-6 : 0;
    put(o, "{");
    json_pair(o, "name", r->name);
    if (r->probe && *r->probe->kernel) {
        put(o, ",");
        json_pair(o, "kernel", r->probe->kernel);
    }
    put(o,
        ",\"ms\":%.9g,\"share\":%.9g,\"calls\":%" PRIu64
        ",\"bytes\":%.0f,\"gb_per_s\":%.6g,\"gmacs_per_s\":%.6g",
        r->ms, r->share, r->calls, r->bytes, gbs, r->ms > 0 ? r->macs / r->ms * 1e-6 : 0);
    if (rate > 0)
        put(o, ",\"share_of_read\":%.6g", gbs / rate);
    put(o, "}");
}

static void json_phase(const Ask *a, const Profile *p, const ProfilePhase *x, Out *o)
{
    size_t n;
    const ProfileRow *row = profile_rows(a->s, x, a->by, &n);
    put(o, "{\"name\":\"%s\",\"tokens\":%d,\"ms\":%.9g,\"tokens_per_s\":%.6g,", x->name, x->tokens,
        x->ms, x->tokens * 1e3 / x->ms);
    put(o, "\"counters\":");
    if (x->counters.why) {
        put(o, "null,");
        json_pair(o, "counters_missing", x->counters.why);
    }
    for (int c = 0; !x->counters.why && c < COUNTER_COUNT; c++)
        put(o, "%s\"%s\":%" PRIu64, c ? "," : "{", counter_name[c], x->counters.count[c]);
    put(o, "%s,\"rows\":[", x->counters.why ? "" : "}");
    for (size_t i = 0; i < n; i++) {
        put(o, i ? "," : "");
        json_row(&row[i], full_rate(p, a->by), o);
    }
    put(o, "]}");
}

static void put_json(const Ask *a, const Profile *p, Out *o)
{
    put(o, "{");
    json_pair(o, "model", p->inproc->path);
    put(o, ",\"threads\":%d,\"by\":\"%s\",\"read_gb_per_s\":%.6g,\"phases\":[", p->inproc->threads,
        by_name[a->by], p->read_rate);
    for (int i = 0; i < p->nphase; i++) {
        put(o, i ? "," : "");
        json_phase(a, p, &p->phase[i], o);
    }
    put(o, "]}\n");
}

/* ---- folded stacks: "frame;frame;frame nanoseconds" a line, as flame graphs take them ---- */

static void put_folded(Session *s, const Profile *p, Out *o)
{
    for (int i = 0; i < p->nphase; i++)
        for (size_t k = 0; k < p->phase[i].ncell; k++) {
            const ProfileCell *c = &p->phase[i].cell[k];
            long long ns = (long long)(c->ms * 1e6 + 0.5);
            put(o, "thread %d;%s", c->thread, p->phase[i].name);
            if (c->probe)
                put(o, ";@%s;%s", c->probe->func, profile_layer_name(s, c->layer));
            put(o, ";%s", profile_probe_name(s, c->probe));
            if (c->probe && *c->probe->kernel)
                put(o, ";%s", c->probe->kernel);
            put(o, " %lld\n", ns > 0 ? ns : 0);
        }
}

/* ---- the last decode step as trace events, which Perfetto and chrome://tracing draw ---- */

typedef struct Trace {
    const Profile *p;
    const bn_probe **probe; /* by slot */
    uint64_t from;          /* the earliest timestamp: 0 of the drawing */
    double tick_us;
    Out *o;
    int n;
} Trace;

/* How far back from the last timestamp of a thread its last decode step begins: where @decode does, or
 * the @lm_head before it; -1: it is not all there. */
static int64_t step_begin(const Trace *t, const bn_log *log)
{
    enum { DECODE, HEAD = 3 };
    const bn_timestamp *timestamp;
    int64_t decode = -1;
    for (int64_t back = 0; (timestamp = bn_profile_timestamp(log, t->p->code, (uint64_t)back));
         back++) {
        const bn_probe *is = t->probe[timestamp->slot];
        if (is->kind != BN_PROBE_START)
            continue;
        if (decode < 0 && is->pass != DECODE)
            return -1;
        if (decode >= 0)
            return is->pass >= HEAD ? back : decode;
        decode = back;
    }
    return decode;
}

static void put_event(Trace *t, const char *what, int thread, uint64_t from, uint64_t to)
{
    put(t->o, "%s\n{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":",
        t->n++ ? "," : "", thread, (double)(from - t->from) * t->tick_us,
        (double)(to - from) * t->tick_us);
    put_json_text(t->o, what, strlen(what));
}

/* A slice for each function, and in it one for each interval. */
static void trace_thread(Session *s, Trace *t, int thread)
{
    const bn_profile *code = t->p->code;
    const bn_log *log = bn_profile_log(t->p->inproc->state, code, thread);
    for (int64_t back = step_begin(t, log); back >= 0; back--) {
        const bn_timestamp *at = bn_profile_timestamp(log, code, (uint64_t)back), *last = at;
        const bn_probe *is = t->probe[at->slot];
        if (is->kind == BN_PROBE_START) {
            for (int64_t k = back - 1; k >= 0; k--) {
                const bn_timestamp *next = bn_profile_timestamp(log, code, (uint64_t)k);
                if (t->probe[next->slot]->kind == BN_PROBE_START)
                    break;
                last = next;
            }
            put_event(t, format(s, "@%s", is->func), thread, at->at, last->at);
            put(t->o, "}");
            continue;
        }
        const bn_timestamp *before = bn_profile_timestamp(log, code, (uint64_t)back + 1);
        put_event(t, profile_probe_name(s, is), thread, before->at, at->at);
        int layer = is->layers ? (int)(at->slot - is->slot) + is->first : -1;
        put(t->o, ",\"args\":{\"layer\":%d", layer);
        if (*is->kernel)
            put(t->o, ",\"kernel\":\"%s\"", is->kernel);
        put(t->o, "}}");
    }
}

static void put_trace(Session *s, const Profile *p, Out *o)
{
    const bn_profile *code = p->code;
    Trace t = {p,          NEW_ARRAY(s, const bn_probe *, code->nslot),
               UINT64_MAX, p->phase[p->nphase - 1].tick_ms * 1e3,
               o,          0};
    for (int i = 0; i < code->nprobe; i++)
        for (int k = 0; k == 0 || k < code->probe[i].layers; k++)
            t.probe[code->probe[i].slot + k] = &code->probe[i];
    for (int i = 0; i < p->inproc->threads; i++) {
        const bn_log *log = bn_profile_log(p->inproc->state, code, i);
        int64_t begin = step_begin(&t, log);
        if (begin >= 0 && bn_profile_timestamp(log, code, (uint64_t)begin)->at < t.from)
            t.from = bn_profile_timestamp(log, code, (uint64_t)begin)->at;
    }
    put(o, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
    for (int i = 0; i < p->inproc->threads; i++) {
        put(o,
            "%s\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\","
            "\"args\":{\"name\":\"thread %d\"}}",
            t.n++ ? "," : "", i, i);
        trace_thread(s, &t, i);
    }
    put(o, "\n]}\n");
}

/* ---- the command ---- */

static void save(Session *s, const char *path, const Profile *p,
                 void (*put_it)(Session *s, const Profile *p, Out *o))
{
    Out text = {.s = s};
    put_it(s, p, &text);
    file_save(s, path, &text);
    out_free(&text);
    note(s, "wrote %s", path);
}

int cmd_profile(Session *s, const Options *o)
{
    const Ask a = {.s = s, .by = by_of(o->by)};
    const char *prompt = o->prompt ? o->prompt : "Once upon a time";
    int32_t *ids;
    size_t n;
    if (o->trace && o->steps == 0)
        fail(s, (Loc){0}, "--trace draws a decode step, but -n 0 asks for none");
    InProc *l = profile_open(s, o, o->input, (int)o->threads);
    inproc_tokens(l, prompt, strlen(prompt), BN_ADD_SPECIAL, &ids, &n);
    if (n == 0)
        fail(s, (Loc){0}, "the prompt has no tokens: give some text with -p");
    if ((int64_t)n + o->steps > l->info->context)
        fail(s, (Loc){0},
             "the prompt's %zu tokens and -n %lld do not fit into a context of %d; make -n smaller "
             "or --ctx larger",
             n, (long long)o->steps, (int)l->info->context);
    Profile *p = profile_run(s, l, ids, n, (int)o->steps);
    Out out = {.s = s};
    if (o->as_json) {
        put_json(&a, p, &out);
    } else {
        put(&out, "memory reads %.2f GB/s with %d thread%s\n", p->read_rate, l->threads,
            l->threads == 1 ? "" : "s");
        for (int i = 0; i < p->nphase; i++) {
            put(&out, "\n");
            put_table(&a, p, &p->phase[i], &out);
            put_counters(&p->phase[i], &out);
        }
    }
    fwrite(out.text, 1, out.len, stdout);
    out_free(&out);
    if (o->trace)
        save(s, o->trace, p, put_trace);
    if (o->folded)
        save(s, o->folded, p, put_folded);
    return 0;
}
