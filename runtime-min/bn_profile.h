/* bn_profile.h: the format of the times that a model compiled with --profile records. Models compiled
 * without it do not include this file and contain none of it.
 *
 * One idea: an interval ends where the next begins, so the intervals of a thread fill its passes without
 * a gap and their sum is the time of the pass. A probe reads the processor's counter once, adds the
 * interval to the sum of its slot and writes a timestamp into a ring, all in the thread's own scratch.
 * Each slot is reached once in each pass of its function, so only passes are counted.
 *
 *     bn_model.own_bytes ends with:
 *     bn_profile.at
 *       +--------+------------------------+----------------------------------+
 *       | bn_log | uint64_t ticks [nslot] | bn_timestamp [ntimestamp] (ring) |
 *       +--------+------------------------+----------------------------------+
 */
#ifndef BN_PROFILE_H
#define BN_PROFILE_H

#include "bn_model.h"

#if !defined(__x86_64__) && !defined(__i386__) && !defined(__aarch64__)
#include <time.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bn_probe_kind {
    BN_PROBE_START,  /* a function begins: no time is its own */
    BN_PROBE_CALL,   /* of a kernel */
    BN_PROBE_BARRIER /* from this thread's arrival until the last one's */
} bn_probe_kind;

enum {
    BN_PASSES = 5
}; /* decode, prefill, score, lm_head, topk: the functions of bn_code in order */

/* A probe: a place in the code that ends intervals. Inside of layers each layer has a slot of its own.
 * Bytes and MACs (multiply-accumulates) are those of all threads together, but for what is `repeated` by
 * each of them. */
typedef struct bn_probe {
    const char *func;   /* without @ */
    const char *op;     /* as in the IR */
    const char *value;  /* its first result, with %; "" where it has none */
    const char *weight; /* its first weight or state, with @; "" where it has none */
    const char *kernel; /* the C function */
    int32_t kind, pass; /* bn_probe_kind; index of bn_log.pass */
    /* Slots [slot, slot + layers) of layers first, first + 1, ...; layers 0: one slot, no layer. */
    int32_t slot, first, layers;
    int32_t repeated;
    int32_t window, every; /* window > 0: attention looks no further back, but for layers whose
                              number, from 1, `every` divides */
    int64_t call_bytes, token_bytes, span_bytes; /* read and written by a call, by each token of it,
                                                    by each position that it looks at */
    int64_t token_macs, reach_macs; /* by a token, by each position that a token looks at */
} bn_probe;

typedef struct bn_profile {
    const bn_probe *probe;
    int32_t nprobe, nslot, ntimestamp; /* ntimestamp: a power of two, enough for a decode step */
    int32_t window;                    /* that of the probes that have one; 0: none has */
    uint64_t at;
} bn_profile;

/* Sums over the passes of one function: span counts the positions that each call attends to, reach
 * those of each of its tokens; near_span and near_reach the same through the window. */
typedef struct bn_pass {
    uint64_t calls, tokens, span, reach, near_span, near_reach;
} bn_pass;
typedef struct bn_timestamp { /* the end of an interval */
    uint64_t at;
    int64_t slot;
} bn_timestamp;
typedef struct bn_log {
    uint64_t last, count; /* end of the last interval; how many there were */
    bn_pass pass[BN_PASSES];
} bn_log;

/* Ticks of a counter that all cores share and that never stops; the reader calibrates it against a
 * clock. */
BN_INLINE uint64_t bn_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    struct timespec t;
    (void)timespec_get(&t, TIME_UTC);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/* The rest is what generated code calls, with constants of the model as p's fields. */
BN_INLINE void bn_timestamp_at(bn_log *log, bn_profile p, uint64_t now, int slot)
{
    bn_timestamp *timestamp = (bn_timestamp *)(void *)((uint64_t *)(void *)(log + 1) + p.nslot);
    timestamp = &timestamp[log->count++ & (uint64_t)(p.ntimestamp - 1)];
    timestamp->at = now;
    timestamp->slot = slot;
    log->last = now;
}

BN_INLINE void bn_interval(const bn_call *c, bn_profile p, int slot)
{
    bn_log *log = (bn_log *)(void *)(c->own + p.at);
    uint64_t now = bn_ticks();
    ((uint64_t *)(void *)(log + 1))[slot] += now - log->last;
    bn_timestamp_at(log, p, now, slot);
}

BN_INLINE void bn_start(const bn_call *c, bn_profile p, int slot, int pass)
{
    bn_log *log = (bn_log *)(void *)(c->own + p.at);
    bn_pass *sum = &log->pass[pass];
    uint64_t n = (uint64_t)c->ntok, pos = (uint64_t)c->pos;
    sum->calls++;
    sum->tokens += n;
    sum->span += pos + n;
    sum->reach += n * pos + n * (n + 1) / 2;
    if (p.window > 0) {
        uint64_t w = (uint64_t)p.window, whole = pos < w ? w - pos : 0; /* tokens that see all */
        whole = whole < n ? whole : n;
        sum->near_span += n + (pos < w - 1 ? pos : w - 1);
        sum->near_reach += whole * pos + whole * (whole + 1) / 2 + (n - whole) * w;
    }
    bn_timestamp_at(log, p, bn_ticks(), slot);
}

/* profile.c. All are to be called between passes, by the thread that the state belongs to. The logs
 * of a state hold anything before the first bn_profile_clear. */
BN_EXPORT void bn_profile_clear(bn_state *s, const bn_profile *p);
BN_EXPORT const bn_log *bn_profile_log(const bn_state *s, const bn_profile *p, int thread);
BN_EXPORT const uint64_t *bn_profile_ticks(const bn_log *log); /* [nslot] */
/* The interval that ended `back` intervals before the last one; NULL: forgotten, or there was none. */
BN_EXPORT const bn_timestamp *bn_profile_timestamp(const bn_log *log, const bn_profile *p,
                                                   uint64_t back);

#ifdef __cplusplus
}
#endif
#endif
