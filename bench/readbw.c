/* readbw.c: how fast this machine reads memory: the ceiling of decode. readbw THREADS [MB]
 *
 * Each thread sums its part of one buffer much larger than the caches; the best of seven rounds
 * counts, because neighbours can only slow it down. Prints "threads GB/s" for 1 to THREADS.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 7, LANES = 32, THREADS_MAX = 256 };

typedef struct Part {
    const uint64_t *from;
    size_t n; /* a multiple of LANES */
    pthread_barrier_t *barrier;
    uint64_t sum; /* so that the reads are not dropped */
    double seconds;
} Part;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *read_part(void *arg)
{
    Part *p = arg;
    p->seconds = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t lane[LANES] = {0};
        pthread_barrier_wait(p->barrier);
        double start = now();
        for (size_t i = 0; i < p->n; i += LANES)
            for (int j = 0; j < LANES; j++)
                lane[j] += p->from[i + (size_t)j];
        pthread_barrier_wait(p->barrier);
        double took = now() - start;
        p->seconds = took < p->seconds ? took : p->seconds;
        for (int j = 0; j < LANES; j++)
            p->sum += lane[j];
    }
    return NULL;
}

/* GB/s of `threads` threads over n words; 0 where a thread cannot be started. */
static double measure(const uint64_t *words, size_t n, int threads)
{
    static Part part[THREADS_MAX];
    pthread_t id[THREADS_MAX];
    pthread_barrier_t barrier;
    size_t share = n / (size_t)threads / LANES * LANES;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int t = 0; t < threads; t++) {
        part[t] = (Part){.from = words + share * (size_t)t, .n = share, .barrier = &barrier};
        if (t > 0 && pthread_create(&id[t], NULL, read_part, &part[t]) != 0)
            return 0;
    }
    read_part(&part[0]);
    for (int t = 1; t < threads; t++)
        pthread_join(id[t], NULL);
    pthread_barrier_destroy(&barrier);
    return (double)share * 8e-9 * threads / part[0].seconds;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1, mb = argc > 2 ? atoi(argv[2]) : 512;
    if (threads < 1 || threads > THREADS_MAX || mb < 1 || mb > 1 << 16) {
        fprintf(stderr, "usage: readbw THREADS [MB]\n");
        return 1;
    }
    size_t n = (size_t)mb << 17;
    uint64_t *words = malloc(n * sizeof *words);
    if (!words) {
        fprintf(stderr, "readbw: no memory for %d MB; give less\n", mb);
        return 1;
    }
    for (size_t i = 0; i < n; i++)
        words[i] = i;
    for (int t = 1; t <= threads; t++) {
        double rate = measure(words, n, t);
        if (rate <= 0) {
            fprintf(stderr, "readbw: cannot start %d threads\n", t);
            return 1;
        }
        printf("%d %.2f\n", t, rate);
    }
    free(words);
    return 0;
}
