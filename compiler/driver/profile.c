/* profile.c: a profiled run, its cells, and tables made of them. */
#include <stdlib.h>
#include <string.h>

#include "driver/profile.h"

InProc *profile_open(Session *s, const Options *given, const char *input, int threads)
{
    Options o = *given;
    if (!o.profile)
        o.text = !strcmp(o.text, "none") ? name(s, "--profile") : format(s, "%s --profile", o.text);
    o.profile = true;
    InProc *l = inproc_open(s, &o, input, threads);
    if (!l->profile)
        fail(s, loc_file(s, input), "its compiled code keeps no times: empty the cache of bnc");
    return l;
}

/* ---- measuring ---- */

typedef struct Clock {
    double seconds;
    uint64_t ticks;
} Clock;

static Clock clock_now(void)
{
    return (Clock){machine_seconds(), bn_ticks()};
}

/* What a probe did in the passes of its function, as this thread's share. */
static void weigh(ProfileCell *x, const bn_pass *pass, int threads)
{
    const bn_probe *is = x->probe;
    bool near = is->window > 0 && !(is->every > 0 && (x->layer + 1) % is->every == 0);
    double span = (double)(near ? pass->near_span : pass->span);
    double reach = (double)(near ? pass->near_reach : pass->reach);
    double share = is->repeated ? 1 : 1.0 / threads;
    x->bytes =
        share * ((double)is->call_bytes * (double)pass->calls +
                 (double)is->token_bytes * (double)pass->tokens + (double)is->span_bytes * span);
    x->macs =
        share * ((double)is->token_macs * (double)pass->tokens + (double)is->reach_macs * reach);
}

static ProfileCell *add_cell(Session *s, ProfilePhase *p)
{
    p->cell = grow(s, p->cell, p->ncell, sizeof *p->cell);
    memset(&p->cell[p->ncell], 0, sizeof *p->cell);
    return &p->cell[p->ncell++];
}

static void read_thread(Session *s, const InProc *l, ProfilePhase *p, int thread)
{
    const bn_profile *code = l->profile;
    const bn_log *log = bn_profile_log(l->state, code, thread);
    const uint64_t *ticks = bn_profile_ticks(log);
    double inside = 0;
    for (int i = 0; i < code->nprobe; i++) {
        const bn_probe *is = &code->probe[i];
        const bn_pass *pass = &log->pass[is->pass];
        if (is->kind == BN_PROBE_START || pass->calls == 0)
            continue;
        for (int k = 0; k < (is->layers ? is->layers : 1); k++) {
            ProfileCell *x = add_cell(s, p);
            x->probe = is;
            x->layer = is->layers ? is->first + k : -1;
            x->thread = thread;
            x->calls = pass->calls;
            x->ms = (double)ticks[is->slot + k] * p->tick_ms;
            inside += x->ms;
            weigh(x, pass, p->threads);
        }
    }
    ProfileCell *rest = add_cell(s, p);
    rest->layer = -1;
    rest->thread = thread;
    rest->ms = p->ms - inside;
}

/* One phase: the prompt (steps 0) or greedy steps behind it. */
static void run_phase(Session *s, InProc *l, ProfilePhase *p, const int32_t *ids, size_t n,
                      int steps)
{
    bn_sampling greedy = {0};
    bn_profile_clear(l->state, l->profile);
    CounterRun *counters = counters_start(s);
    Clock from = clock_now();
    if (steps == 0)
        inproc_eval(l, ids, (int)n);
    for (int i = 0; i < steps; i++) {
        int32_t id = bn_sample(l->state, &greedy);
        inproc_eval(l, &id, 1);
    }
    Clock to = clock_now();
    p->counters = counters_stop(counters);
    p->name = steps ? "decode" : "prefill";
    p->tokens = steps ? steps : (int)n;
    p->threads = l->threads;
    p->ms = (to.seconds - from.seconds) * 1e3;
    p->tick_ms = p->ms / (double)(to.ticks - from.ticks);
    for (int i = 0; i < l->threads; i++)
        read_thread(s, l, p, i);
}

Profile *profile_run(Session *s, InProc *l, const int32_t *ids, size_t n, int steps)
{
    enum { WARM = 4 };
    Profile *p = NEW(s, Profile);
    bn_sampling greedy = {0};
    p->inproc = l;
    p->code = l->profile;
    p->read_rate = machine_read_rate(s, l->threads);
    inproc_rewind(l, 0);
    inproc_eval(l, ids, (int)n);
    for (int i = 0; i < steps && i < WARM; i++) {
        int32_t id = bn_sample(l->state, &greedy);
        inproc_eval(l, &id, 1);
    }
    inproc_rewind(l, 0);
    run_phase(s, l, &p->phase[0], ids, n, 0);
    if (steps)
        run_phase(s, l, &p->phase[1], ids, n, steps);
    p->nphase = steps ? 2 : 1;
    return p;
}

/* ---- tables ---- */

const char *profile_probe_name(Session *s, const bn_probe *is)
{
    if (!is)
        return name(s, "outside");
    if (is->kind == BN_PROBE_BARRIER)
        return name(s, "barrier wait");
    return format(s, "%s %s", is->op, *is->weight ? is->weight : is->value);
}

const char *profile_layer_name(Session *s, int layer)
{
    return layer < 0 ? name(s, "no layer") : format(s, "layer %d", layer);
}

static const char *key_of(Session *s, const ProfileCell *x, ProfileBy by)
{
    bool call = x->probe && x->probe->kind == BN_PROBE_CALL;
    if (by == BY_THREAD)
        return format(s, "thread %d: %s", x->thread,
                      call ? "kernels" : profile_probe_name(s, x->probe));
    if (!x->probe)
        return profile_probe_name(s, NULL);
    if (by == BY_LAYER)
        return profile_layer_name(s, x->layer);
    return by == BY_KERNEL && call ? name(s, x->probe->kernel) : profile_probe_name(s, x->probe);
}

static int longer_first(const void *a, const void *b)
{
    const ProfileRow *x = a, *y = b;
    return x->ms != y->ms ? (x->ms < y->ms ? 1 : -1) : strcmp(x->name, y->name);
}

ProfileRow *profile_rows(Session *s, const ProfilePhase *p, ProfileBy by, size_t *n)
{
    ProfileRow *row = NULL;
    double ways = by == BY_THREAD ? 1 : p->threads;
    *n = 0;
    for (size_t i = 0; i < p->ncell; i++) {
        const ProfileCell *x = &p->cell[i];
        const char *key = key_of(s, x, by);
        size_t at = 0;
        while (at < *n && row[at].name != key)
            at++;
        if (at == *n) {
            row = grow(s, row, *n, sizeof *row);
            row[(*n)++] = (ProfileRow){.name = key, .probe = x->probe};
        }
        row[at].calls += by == BY_THREAD || x->thread == 0 ? x->calls : 0;
        row[at].ms += x->ms / ways;
        row[at].share += x->ms / p->ms / p->threads;
        row[at].bytes += x->bytes;
        row[at].macs += x->macs;
    }
    if (*n)
        qsort(row, *n, sizeof *row, longer_first);
    return row;
}
