/* test_topk.c: the top-k logits that @topk finds against all logits of @lm_head, at every position of
 * texts that the models write themselves. No difference is allowed: the same tokens, the same order,
 * the same bits. Usage: test_topk POSITIONS MODEL.so POSITIONS MODEL.so ... (libraries as for
 * test_golden). */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

/* The library gives the model alone: what asks for a number of logits is no function that it exports,
 * so the runtime is this program's own. */
typedef struct Lib {
    const bn_model *model;
    bn_weights w;
    bn_state *s;
    const char *name;
} Lib;

enum { TOP = 104, CHOSEN = 8 }; /* CHOSEN: that texts are sampled from */
static const int wanted[] = {1, 10, 40, TOP};
enum { NWANTED = sizeof wanted / sizeof *wanted };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* The ids of the k largest, first of equals. */
static void top(const float *logits, int vocab, int k, int *ids)
{
    int n = 0;
    for (int i = 0; i < vocab; i++) {
        int at = n < k ? n++ : k;
        for (; at > 0 && logits[i] > logits[ids[at - 1]]; at--)
            if (at < k)
                ids[at] = ids[at - 1];
        if (at < k)
            ids[at] = i;
    }
}

typedef struct Tally {
    long positions, differences, first, computed[NWANTED];
    double lm_head, topk[NWANTED]; /* the shortest, in milliseconds */
} Tally;

static double timed(Lib *l, int topk)
{
    l->s->known = 0;
    double start = now();
    bn_state_lm_head(l->s, topk);
    return now() - start;
}

/* Whether logits lack one of the k largest of `full`, or have another value; how many logits they
 * have. */
static int differ(const float *logits, const float *full, int vocab, int k, long *computed)
{
    int want[TOP], got[TOP];
    top(full, vocab, k, want);
    top(logits, vocab, k, got);
    int wrong = memcmp(got, want, sizeof *got * (size_t)k) != 0;
    for (int v = 0; v < vocab; v++) {
        wrong |= logits[v] != -INFINITY && memcmp(&logits[v], &full[v], 4) != 0;
        *computed += logits[v] != -INFINITY;
    }
    return wrong;
}

/* What stands first is what a device may have made in the step itself, for as many tokens as the
 * sampler asked for behind the step before. */
static void compare(Lib *l, Tally *t, float *full, float *first)
{
    int vocab = l->s->vocab;
    (void)timed(l, CHOSEN);
    memcpy(first, l->s->logits, sizeof *first * (size_t)vocab);
    double ms = timed(l, vocab);
    t->lm_head = ms < t->lm_head ? ms : t->lm_head;
    memcpy(full, l->s->logits, sizeof *full * (size_t)vocab);
    t->differences += differ(first, full, vocab, CHOSEN, &t->first);
    for (int i = 0; i < NWANTED; i++) {
        ms = timed(l, wanted[i]);
        t->topk[i] = ms < t->topk[i] ? ms : t->topk[i];
        t->differences += differ(l->s->logits, full, vocab, wanted[i], &t->computed[i]);
    }
    t->positions++;
}

/* Texts from many beginnings, warm enough to leave the common paths. */
static void walk(Lib *l, Tally *t, long positions)
{
    float *full = malloc(2 * sizeof *full * (size_t)l->s->vocab);
    bn_sampling how = {.temperature = 1.1f, .top_k = CHOSEN, .seed = 20};
    int32_t token = 1;
    const int end = l->s->context < 200 ? l->s->context : 200;
    while (full && t->positions < positions) {
        if (bn_position(l->s) >= end) {
            bn_rewind(l->s, 0);
            token = (int32_t)(how.seed % (uint64_t)l->s->vocab);
        }
        if (bn_eval(l->s, &token, 1, NULL) != BN_OK)
            break;
        compare(l, t, full, full + l->s->vocab);
        l->s->known = 0;
        token = bn_sample(l->s, &how);
    }
    free(full);
}

static int check(const char *path, long positions)
{
    Lib l = {.name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path};
    Tally t = {.lm_head = 1e9, .topk = {1e9, 1e9, 1e9, 1e9}};
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so)
        return fprintf(stderr, "%s\n", dlerror()), 1;
    l.model = dlsym(so, "m_model");
    bn_status status = bn_open(&l.w, l.model, NULL);
    if (status == BN_CPU)
        return printf("%s: skipped, %s\n", l.name, l.w.message), 0;
    size_t size = status == BN_OK ? bn_state_size(l.model, 2) : 0;
    void *block = size ? malloc(size) : NULL;
    if (!block || bn_init(&l.s, &l.w, 2, block, size) != BN_OK)
        return fprintf(stderr, "%s: %s\n", l.name, l.w.message), 1;
    if (l.w.code->topk)
        walk(&l, &t, positions);
    printf("%s: %ld positions, %ld differences; lm_head %.3f ms", l.name, t.positions,
           t.differences, t.lm_head);
    for (int i = 0; i < NWANTED; i++)
        printf(", top %d %.3f ms (%.3g%% computed)", wanted[i], t.topk[i],
               100.0 * (double)t.computed[i] / (double)t.positions / l.s->vocab);
    printf(", in a step %.3g%%\n", 100.0 * (double)t.first / (double)t.positions / l.s->vocab);
    bn_done(l.s);
    free(block);
    dlclose(so);
    return t.positions < positions || t.differences;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (int i = 1; i + 1 < argc; i += 2)
        if (check(argv[i + 1], atol(argv[i])))
            failed++;
        else
            passed++;
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
