/* internal.h: what the files of the runtime share. Neither products nor generated code see it.
 *
 * One idea: a state is one block of the caller's memory. bn_init cuts it once into the parts below
 * and nothing is allocated afterwards, so every buffer here has a size that the model fixes.
 */
#ifndef BN_INTERNAL_H
#define BN_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "bn_model.h"

/* Two cache lines: x86 prefetches lines in pairs, some arm64 cores have lines of this size. */
#define BN_ALIGN 128
#define BN_MESSAGE sizeof(((bn_weights *)0)->message)
#define BN_WORK_IDS 64 /* ids of tokenizer workspace for each position of the context */

#if defined(__GNUC__) || defined(__clang__)
#define BN_PRINTF(at) __attribute__((format(printf, at, at + 1)))
#else
#define BN_PRINTF(at)
#endif

/* load.c: writes the sentence into message[BN_MESSAGE] and returns `status`. */
bn_status bn_fail(char *message, bn_status status, const char *format, ...) BN_PRINTF(3);

/* team.c. What different threads write stands in different cache lines. */
typedef struct bn_slot {
    _Alignas(BN_ALIGN) bn_call call;
    pthread_t thread;
    int spins; /* how long this thread spins at barriers; its own */
} bn_slot;

struct bn_team {
    _Alignas(BN_ALIGN) atomic_uint epoch; /* the caller raises it to start the workers */
    bn_forward work;                      /* NULL: the workers end */
    _Alignas(BN_ALIGN) atomic_uint arrived;
    _Alignas(BN_ALIGN) atomic_uint generation; /* raised by the last to arrive at a barrier */
    _Alignas(BN_ALIGN) atomic_uint sleepers;
    _Alignas(BN_ALIGN) atomic_int ticket[BN_TICKETS]; /* the next of each counter */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Alignas(BN_ALIGN) bn_slot *slot; /* [nthread], constant from here on */
    int nthread, started;
    int spins; /* the most that a thread spins */
};

/* Slots' calls must be filled in. BN_THREAD leaves nothing behind. */
bn_status bn_team_start(bn_team *team, bn_slot *slot, int nthread);
void bn_team_run(bn_team *team, bn_forward work);
void bn_team_stop(bn_team *team);

/* cpus.c: the CPU quota of this process's cgroup and those above it, in processors, rounded up; 0: there
 * is none. Files are read below the folder `root`: "" but for tests. */
int bn_cpu_quota(const char *root);

/* sample.c */
typedef struct bn_ranked {
    float score; /* a logit first, then a weight relative to the largest */
    int32_t id;
} bn_ranked;

/* state.c */
struct bn_state {
    const bn_weights *w;
    const bn_model *model;
    int position, context, vocab;
    int hidden_at;     /* position behind the last bn_eval; -1: there was none */
    float *hidden;     /* of its last token */
    int known;         /* how many of its largest logits `logits` holds; vocab: all */
    float *logits;     /* [vocab]; -INFINITY for those that are not known */
    bn_ranked *ranked; /* [vocab] */
    int32_t *history;  /* [context], position of them written */
    int32_t *work;     /* [work_ids]: the tokens of a prompt, later the text of a piece */
    size_t work_ids;
    char message[BN_MESSAGE];
    bn_team team;
};

/* Computes the `topk` largest logits of the last bn_eval, or all of them, unless they are known. */
void bn_state_lm_head(bn_state *s, int topk);

#endif
