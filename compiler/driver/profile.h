/* profile.h: where the time of a run goes, measured inside it: what `bnc profile` prints and others
 * take as a model's measured time.
 *
 * One idea: everything is cells, one for each thread, place in the code and layer, beside one a
 * thread for what happened outside of the model's functions. Every table is cells added up by some
 * key, so all of them have the same sum: the wall time of each thread.
 */
#ifndef BNC_PROFILE_H
#define BNC_PROFILE_H

#include "bn_profile.h"
#include "driver/inproc.h"
#include "driver/machine.h"

typedef struct ProfileCell {
    const bn_probe *probe; /* NULL: outside: sampling, and waiting for a pass to begin or end */
    int layer, thread;     /* layer -1: outside of the layers */
    uint64_t calls;
    double ms;          /* of this thread */
    double bytes, macs; /* this thread's share of them, by what the compiler knows */
} ProfileCell;

typedef struct ProfilePhase {
    const char *name; /* prefill or decode */
    int tokens, threads;
    double ms, tick_ms; /* wall time; of one tick of the intervals */
    ProfileCell *cell;
    size_t ncell;
    Counters counters;
} ProfilePhase;

typedef struct Profile {
    InProc *inproc;
    const bn_profile *code;
    double read_rate;      /* GB/s that this machine reads with as many threads; 0: not measured */
    ProfilePhase phase[2]; /* prefill and, where there were steps, decode */
    int nphase;
} Profile;

/* inproc_open with --profile among the options. */
InProc *profile_open(Session *s, const Options *o, const char *input, int threads);
/* Runs ids[0..n) as a prompt, then `steps` greedy tokens whatever these are (no end stops it); some
 * of both before, to warm up. n >= 1, n + steps <= context. */
Profile *profile_run(Session *s, InProc *l, const int32_t *ids, size_t n, int steps);

/* Tables. */
typedef enum ProfileBy { BY_OP, BY_LAYER, BY_KERNEL, BY_THREAD } ProfileBy;
typedef struct ProfileRow {
    const char *name;
    const bn_probe *probe; /* of BY_OP: its first one; NULL: outside */
    uint64_t calls;        /* of one thread */
    double ms;             /* mean over threads (BY_THREAD: of the one) */
    double share;          /* of the wall time of all threads: the rows' sum is 1 */
    double bytes, macs;    /* of all threads */
} ProfileRow;
/* Longest first. */
ProfileRow *profile_rows(Session *s, const ProfilePhase *p, ProfileBy by, size_t *n);
/* "tmatmul @attn_q", "add %h2", "barrier wait"; NULL: "outside". */
const char *profile_probe_name(Session *s, const bn_probe *probe);
const char *profile_layer_name(Session *s, int layer); /* "layer 3", "no layer" */

#endif
