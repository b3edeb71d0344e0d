/* tune_bench.c: the program that `bnc tune` builds around kernel calls with literal shapes. It is
 * printed behind the runtime and the kernels and before the cases:
 *
 *   tune_case tune_cases[], int tune_ncase, uint32_t tune_isa
 *
 * Cases of one group do the same work. They run in turn, so that a slow moment of the machine hits
 * all alike; a line "group case nanoseconds" a case gives the median of the rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TUNE_ROUNDS = 9, TUNE_TOKENS = 64 };

typedef struct tune_data {
    int8_t *q, *tables; /* [tokens x K], what lut3 makes of the first row */
    float *s, *y;       /* [tokens], [tokens x N] */
    uint8_t *work;      /* of this thread */
} tune_data;
typedef struct tune_case {
    int group, layers, tokens, units, rows, k;
    size_t bytes; /* of one layer's weights (both of a gated pair) */
    size_t work;
    void (*prepare)(const int8_t *q, int8_t *tables);
    void (*run)(const uint8_t *w, const tune_data *d, int from, int to);
} tune_case;
extern const tune_case tune_cases[];
extern const int tune_ncase;
extern const uint32_t tune_isa; /* BN_ISA_* that the cases need */

static const tune_case *tune_now;
static uint8_t *tune_weights;
static tune_data tune_of[BN_MAX_THREADS];

/* All layers of one shape, one after the other, as a pass reads them. */
static void tune_pass(const bn_call *c)
{
    const tune_case *t = tune_now;
    const tune_data *d = &tune_of[c->thread];
    for (int i = 0; i < t->layers; i++) {
        const uint8_t *w = tune_weights + (size_t)i * t->bytes;
        int from, to;
        if (t->prepare)
            t->prepare(d->q, d->tables);
        if (t->tokens == 1) {
            for (bn_rows r = {0, 0, 0}; bn_rows_next(c, 0, t->units, 1, &r);)
                t->run(w, d, r.from, r.to);
        } else {
            bn_share(c, t->units, &from, &to);
            t->run(w, d, from, to);
        }
        bn_barrier(c);
    }
}

static double tune_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *tune_memory(size_t size)
{
    void *p = NULL;
    if (posix_memalign(&p, 128, size + 8192) != 0) {
        fprintf(stderr, "tune: out of memory\n");
        exit(1);
    }
    memset(p, 0, size + 8192);
    return p;
}

/* Room for the largest case; weights are random codes, activations small and random. */
static void tune_setup(int threads)
{
    size_t weights = 0, work = 0, q = 0, y = 0;
    uint32_t seed = 1;
    for (int i = 0; i < tune_ncase; i++) {
        const tune_case *t = &tune_cases[i];
        size_t w = t->bytes * (size_t)t->layers, k = ((size_t)t->k + 127) / 128 * 128;
        weights = w > weights ? w : weights;
        work = t->work > work ? t->work : work;
        q = k > q ? k : q;
        y = (size_t)t->rows > y ? (size_t)t->rows : y;
    }
    tune_weights = (uint8_t *)tune_memory(weights);
    for (size_t i = 0; i < weights; i++)
        tune_weights[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24 & 0x55);
    tune_data d = {(int8_t *)tune_memory(q * TUNE_TOKENS), NULL,
                   (float *)tune_memory(TUNE_TOKENS * sizeof(float)),
                   (float *)tune_memory(y * TUNE_TOKENS * sizeof(float)), NULL};
    for (size_t i = 0; i < q * TUNE_TOKENS; i++)
        d.q[i] = (int8_t)((seed = seed * 1664525u + 1013904223u) >> 26);
    for (int i = 0; i < TUNE_TOKENS; i++)
        d.s[i] = 1.0f;
    for (int i = 0; i < threads; i++) {
        tune_of[i] = d;
        tune_of[i].work = (uint8_t *)tune_memory(work);
        tune_of[i].tables = (int8_t *)tune_memory(q * 11 + 512);
    }
}

static int tune_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Passes that take some milliseconds together. */
static double tune_time(bn_team *team, const tune_case *t)
{
    int n = 0;
    double start = tune_seconds(), end;
    tune_now = t;
    do {
        bn_team_run(team, tune_pass);
        n++;
        end = tune_seconds();
    } while (end - start < 4e-3);
    return (end - start) / n;
}

int main(int argc, char **argv)
{
    static bn_slot slot[BN_MAX_THREADS];
    static bn_team team;
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    /* As bn_open does: this also asks Linux for the tile registers, before any thread starts. */
    if (tune_isa & ~bn_cpu(tune_isa)) {
        fprintf(stderr, "tune: this process may not use all instructions of the target\n");
        return 1;
    }
    double *time = (double *)tune_memory((size_t)tune_ncase * (TUNE_ROUNDS + 1) * sizeof *time);
    tune_setup(threads);
    for (int i = 0; i < threads; i++) {
        slot[i].call.thread = i;
        slot[i].call.nthread = threads;
        slot[i].call.team = &team;
    }
    if (bn_team_start(&team, slot, threads) != BN_OK) {
        fprintf(stderr, "tune: cannot start %d threads\n", threads);
        return 1;
    }
    for (int from = 0, to; from < tune_ncase; from = to) {
        for (to = from; to < tune_ncase && tune_cases[to].group == tune_cases[from].group;)
            to++;
        for (int round = -1; round < TUNE_ROUNDS; round++)
            for (int i = from; i < to; i++) {
                double seconds = tune_time(&team, &tune_cases[i]);
                if (round >= 0)
                    time[i * TUNE_ROUNDS + round] = seconds;
            }
        for (int i = from; i < to; i++) {
            qsort(&time[i * TUNE_ROUNDS], TUNE_ROUNDS, sizeof *time, tune_order);
            printf("%d %d %.0f\n", tune_cases[i].group, i,
                   time[i * TUNE_ROUNDS + TUNE_ROUNDS / 2] * 1e9);
            fflush(stdout);
        }
    }
    bn_team_stop(&team);
    return 0;
}
