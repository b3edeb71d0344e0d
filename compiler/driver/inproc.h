/* inproc.h: a compiled model inside bnc: what ppl, compare and others call instead of a program.
 *
 * One idea: the model is compiled for this machine as `bnc run` does it, kept in the same cache and
 * taken into the process; the runtime is the one that bnc is linked with, so every function of bn.h
 * works on `weights` and `state`. How the code gets in (by the dynamic linker, or by LLVM with
 * --jit) is known to inproc.c alone.
 */
#ifndef BNC_LIVE_H
#define BNC_LIVE_H

#include "bn_profile.h"
#include "driver/driver.h"

typedef struct InProc {
    Session *s;
    const char *path; /* as the user gave it, for messages */
    const bn_model *model;
    const bn_info *info;
    const bn_profile *profile; /* NULL: compiled without --profile */
    bn_weights weights;
    bn_state *state;
    float *logits; /* [info->batch x vocab], see inproc_logits */
    int threads;
} InProc;

/* Compiles `input`, a model file or a .tir, with the options of o (its output, emit, weights and
 * name aside), or finds it in the cache, and opens it with that many threads (0: one a core). Ends
 * with the session. Any fault is fail()ed, the compiler's with the compiler's message. */
InProc *inproc_open(Session *s, const Options *o, const char *input, int threads);

/* The ids of a text, in the session's memory; flags: BN_ADD_SPECIAL, BN_PARSE_SPECIAL. */
void inproc_tokens(InProc *l, const char *text, size_t len, unsigned flags, int32_t **ids,
                   size_t *n);
/* bn_rewind, bn_eval without logits, and bn_score: all n rows of logits, [n x vocab]. */
void inproc_rewind(InProc *l, int position);
void inproc_eval(InProc *l, const int32_t *ids, int n);
void inproc_score(InProc *l, const int32_t *ids, int n, float *logits);

/* log sum exp of n logits, in double: -log p of token i is inproc_norm(x, n) - x[i]. Not finite
 * where a logit is NaN. */
double inproc_norm(const float *logits, int n);
/* Room for the logits of a batch: l->logits, made at the first call. */
float *inproc_logits(InProc *l);
/* Sum of -log p of ids[1..n) in nats, read from position 0 on; n <= context. */
double inproc_nll(InProc *l, const int32_t *ids, int n);

#endif
