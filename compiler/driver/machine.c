/* machine.c: bandwidth by reading, counters by perf_event_open, energy by RAPL. */
#ifdef __linux__
#define _GNU_SOURCE /* syscall */
#endif
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/syscall.h>
#endif

#include "bn.h"
#include "driver/machine.h"

/* ---- bandwidth: every thread sums its part of a buffer that no cache holds ---- */

enum { RATE_BYTES = 256 << 20, RATE_ROUNDS = 5, LANES = 32 };

typedef struct Part {
    uint64_t *from;
    size_t n; /* a multiple of LANES */
    pthread_barrier_t *barrier;
    atomic_int *go;        /* 0: wait, 1: read, -1: leave */
    volatile uint64_t sum; /* so that the reads are not dropped */
    double seconds;
} Part;

double machine_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *read_part(void *arg)
{
    Part *p = arg;
    for (size_t i = 0; i < p->n; i++) /* pages where this thread runs */
        p->from[i] = i;
    while (atomic_load(p->go) == 0)
        sched_yield();
    p->seconds = 1e9;
    for (int round = 0; round<RATE_ROUNDS && * p->go> 0; round++) {
        uint64_t lane[LANES] = {0};
        pthread_barrier_wait(p->barrier);
        double start = machine_seconds();
        for (size_t i = 0; i < p->n; i += LANES)
            for (int j = 0; j < LANES; j++)
                lane[j] += p->from[i + (size_t)j];
        pthread_barrier_wait(p->barrier);
        double took = machine_seconds() - start;
        p->seconds = took < p->seconds ? took : p->seconds;
        for (int j = 0; j < LANES; j++)
            p->sum += lane[j];
    }
    return NULL;
}

double machine_read_rate(Session *s, int threads)
{
    Part *part = NEW_ARRAY(s, Part, threads);
    pthread_t *id = NEW_ARRAY(s, pthread_t, threads);
    pthread_barrier_t barrier;
    atomic_int go = 0;
    size_t share = RATE_BYTES / sizeof(uint64_t) / (size_t)threads / LANES * LANES;
    uint64_t *words = malloc(share * (size_t)threads * sizeof *words);
    int started = 1;
    if (!words || pthread_barrier_init(&barrier, NULL, (unsigned)threads) != 0) {
        free(words);
        return 0;
    }
    for (int t = 0; t < threads; t++)
        part[t] =
            (Part){.from = words + share * (size_t)t, .n = share, .barrier = &barrier, .go = &go};
    while (started < threads && pthread_create(&id[started], NULL, read_part, &part[started]) == 0)
        started++;
    atomic_store(&go, started < threads ? -1 : 1);
    if (started == threads)
        read_part(&part[0]);
    for (int t = 1; t < started; t++)
        pthread_join(id[t], NULL);
    pthread_barrier_destroy(&barrier);
    free(words);
    return started < threads ? 0 : (double)share * 8e-9 * threads / part[0].seconds;
}

/* ---- hardware counters ---- */

const char *const counter_name[COUNTER_COUNT] = {
#define COUNTER_NAME(id, text, config) text,
    COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
};

struct CounterRun {
    Session *s;
    const char *why;
    int (*fd)[COUNTER_COUNT]; /* of each thread */
    size_t n;
};

static void close_counters(CounterRun *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (int c = 0; c < COUNTER_COUNT; c++)
            if (r->fd[i][c] >= 0)
                close(r->fd[i][c]);
    r->n = 0;
}

#ifdef __linux__
static int open_counter(int thread, int which)
{
    static const uint64_t config[] = {
#define COUNTER_CONFIG(id, text, config) config,
        COUNTERS(COUNTER_CONFIG)
#undef COUNTER_CONFIG
    };
    struct perf_event_attr a = {.type = PERF_TYPE_HARDWARE,
                                .size = sizeof a,
                                .config = config[which],
                                .exclude_kernel = 1,
                                .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &a, thread, -1, -1, 0);
}

CounterRun *counters_start(Session *s)
{
    CounterRun *r = NEW(s, CounterRun);
    DIR *d = opendir("/proc/self/task");
    r->s = s;
    r->why = d ? NULL : "there is no /proc/self/task";
    for (struct dirent *e; d && !r->why && (e = readdir(d));) {
        int thread = atoi(e->d_name);
        if (thread <= 0)
            continue;
        r->fd = grow(s, r->fd, r->n, sizeof *r->fd);
        for (int c = 0; c < COUNTER_COUNT; c++)
            r->fd[r->n][c] = -1;
        r->n++;
        for (int c = 0; c < COUNTER_COUNT && !r->why; c++)
            if ((r->fd[r->n - 1][c] = open_counter(thread, c)) < 0)
                r->why = format(s, "perf_event_open: %s", strerror(errno));
    }
    if (d)
        closedir(d);
    if (r->why)
        close_counters(r);
    return r;
}
#else
CounterRun *counters_start(Session *s)
{
    CounterRun *r = NEW(s, CounterRun);
    r->s = s;
    r->why = "they are read by Linux's perf_event_open";
    return r;
}
#endif

Counters counters_stop(CounterRun *r)
{
    Counters x = {.why = r->why};
    for (size_t i = 0; i < r->n; i++)
        for (int c = 0; c < COUNTER_COUNT; c++) {
            uint64_t n;
            if (read(r->fd[i][c], &n, sizeof n) == (ssize_t)sizeof n)
                x.count[c] += n;
            else
                x.why = "a counter could not be read";
        }
    close_counters(r);
    return x;
}

/* ---- energy ---- */

static double read_number(const char *path)
{
    double x = -1;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lf", &x) != 1)
        x = -1;
    if (f)
        fclose(f);
    return x;
}

Energy energy_read(Session *s)
{
    Energy e = {.why = "there is no RAPL in /sys/class/powercap"};
    for (int i = 0; i < ENERGY_MOST; i++) {
        const char *dir = format(s, "/sys/class/powercap/intel-rapl:%d", i);
        if (access(dir, F_OK) != 0)
            break;
        double now = read_number(format(s, "%s/energy_uj", dir));
        double range = read_number(format(s, "%s/max_energy_range_uj", dir));
        e.why = now < 0 ? "RAPL is not readable for this user" : NULL;
        if (e.why)
            break;
        e.joules[e.n] = now * 1e-6;
        e.range[e.n++] = range * 1e-6;
    }
    return e;
}

double energy_between(const Energy *a, const Energy *b)
{
    double sum = 0;
    if (a->why || b->why || a->n != b->n)
        return -1;
    for (int i = 0; i < a->n; i++) {
        double used = b->joules[i] - a->joules[i];
        sum += used < 0 ? used + a->range[i] : used;
    }
    return sum;
}
