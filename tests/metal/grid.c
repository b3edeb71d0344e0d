/* grid.c: see grid.h. Fibers change by a dozen instructions where the machine is known, by ucontext
 * elsewhere. */
#define _GNU_SOURCE
#include "grid.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK = 64 << 10, GUARD = 64, IDLE = 100000 };
typedef enum Wait { READY, BARRIER, BARRIER_ALL, SUM, MAX, SUM_INT, WORD, LATER, DONE } Wait;

typedef struct Fiber {
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    char *stack;
    Wait wait;
    int line; /* of the barrier, or the exchange */
    float value;
    int number;
    unsigned char word[GRID_WORD];
} Fiber;

static Fiber fiber[GRID_FIBERS];
static unsigned char shown[GRID_FIBERS][GRID_WORD];
static unsigned now, count, threads_each; /* the fiber that runs, how many there are, of a group */
static struct {
    grid_kernel fn;
    void *arg;
    float *tg;
    size_t tg_stride;     /* floats from a group's memory to the next one's */
    unsigned group, down; /* of fiber 0; whether later ones have lower numbers */
} job;
int grid_skip;
unsigned char grid_arrived[GRID_LINES];

static unsigned group_of(unsigned i)
{
    return job.down ? job.group - i / threads_each : job.group + i / threads_each;
}

static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "grid: group %u, thread %u: %s\n", group_of(now), grid_thread(), what);
    exit(3);
}

/* ---- changing fibers ---- */

static void body(void)
{
    job.fn(job.arg, job.tg + now / threads_each * job.tg_stride, group_of(now), now % threads_each);
    fiber[now].wait = DONE;
}

#if defined(__x86_64__)
static void *home;

/* Keeps what a call must keep, and goes on where `to` stopped. */
void grid_change(void **from, void *to);
__asm__(".text\n.globl grid_change\ngrid_change:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq "
        "%r15\n"
        "    movq %rsp, (%rdi)\n    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq "
        "%rbp\n    ret\n");

static void leave(void)
{
    grid_change(&fiber[now].sp, home);
}

static void start(void)
{
    body();
    leave();
    abort();
}

static void prepare(Fiber *f)
{
    void **top = (void **)(void *)(f->stack + STACK) - 3; /* as behind a call: 8 off 16 */
    *--top = (void *)start;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    f->sp = top;
}

static void resume(Fiber *f)
{
    grid_change(&home, f->sp);
}
#else
static ucontext_t home;

static void leave(void)
{
    swapcontext(&fiber[now].context, &home);
}

static void start(void)
{
    body();
    leave();
}

static void prepare(Fiber *f)
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, start, 0);
}

static void resume(Fiber *f)
{
    swapcontext(&home, &f->context);
}
#endif

/* ---- waiting ---- */

void grid_barrier(int line)
{
    if (line > 0 && line < GRID_LINES)
        grid_arrived[line] = 1;
    if (line == grid_skip)
        return;
    fiber[now].wait = BARRIER;
    fiber[now].line = line;
    leave();
}

void grid_barrier_all(int line)
{
    if (line > 0 && line < GRID_LINES)
        grid_arrived[line] = 1;
    if (line == grid_skip)
        return;
    fiber[now].wait = BARRIER_ALL;
    fiber[now].line = line;
    leave();
}

void grid_later(void)
{
    fiber[now].wait = LATER;
    leave();
}

float grid_sum(float v)
{
    fiber[now].wait = SUM;
    fiber[now].value = v;
    leave();
    return fiber[now].value;
}

float grid_max(float v)
{
    fiber[now].wait = MAX;
    fiber[now].value = v;
    leave();
    return fiber[now].value;
}

int grid_sum_int(int v)
{
    fiber[now].wait = SUM_INT;
    fiber[now].number = v;
    leave();
    return fiber[now].number;
}

const unsigned char *grid_exchange(int line, const void *mine, size_t bytes)
{
    if (bytes > GRID_WORD)
        broken("lanes show each other too much");
    fiber[now].wait = WORD;
    fiber[now].line = line;
    memcpy(fiber[now].word, mine, bytes);
    leave();
    return shown[now / GRID_LANES * GRID_LANES];
}

void grid_stop(const char *what)
{
    broken(what);
}

unsigned grid_thread(void)
{
    return now % threads_each;
}

unsigned grid_fiber(void)
{
    return now;
}

/* Lets a simdgroup go on whose lanes all exchange values. */
static int exchange(Fiber *f)
{
    float sum = 0, most = f->value;
    int number = 0;
    if (f->wait != SUM && f->wait != MAX && f->wait != SUM_INT && f->wait != WORD)
        return 0;
    for (int i = 0; i < GRID_LANES; i++)
        if (f[i].wait == LATER)
            return 0;
    for (int i = 0; i < GRID_LANES; i++) {
        if (f[i].wait != f->wait || (f->wait == WORD && f[i].line != f->line))
            broken("some lanes of a simdgroup exchange values, others do not");
        sum += f[i].value;
        most = f[i].value > most ? f[i].value : most;
        number += f[i].number;
    }
    for (int i = 0; i < GRID_LANES; i++) {
        f[i].value = f[i].wait == SUM ? sum : most;
        f[i].number = number;
        memcpy(shown[f + i - fiber], f[i].word, GRID_WORD);
        f[i].wait = READY;
    }
    return 1;
}

/* Lets fibers go on that are all at one barrier. */
static int pass(unsigned first, unsigned n, Wait what)
{
    for (unsigned i = first; i < first + n; i++)
        if (fiber[i].wait != what || fiber[i].line != fiber[first].line)
            return 0;
    for (unsigned i = first; i < first + n; i++)
        fiber[i].wait = READY;
    return 1;
}

/* ---- groups that run at once ---- */

unsigned grid_seed = 2463534242u;

static unsigned chance(void)
{
    static uint32_t x;
    x = x ? x : grid_seed;
    x ^= x << 13;
    x ^= x >> 17;
    return x ^= x << 5;
}

static void order_some(unsigned *order, unsigned n, grid_order how)
{
    for (unsigned i = 0; i < n; i++)
        order[i] = how == GRID_BACKWARD ? n - 1 - i : i;
    for (unsigned i = n; how == GRID_SHUFFLED && i > 1; i--) {
        unsigned other = chance() % i, t = order[i - 1];
        order[i - 1] = order[other];
        order[other] = t;
    }
}

/* Whether it ended. */
static unsigned run_lane(unsigned i)
{
    now = i;
    resume(&fiber[now]);
    return fiber[now].wait == DONE;
}

/* A simdgroup as far as it gets before it needs the others: until its lanes have ended or are at a
 * barrier. How many ended. */
static unsigned run_simdgroup(unsigned first, const unsigned *order)
{
    unsigned done = 0;
    do
        for (unsigned i = 0; i < GRID_LANES; i++) {
            if (fiber[first + order[i]].wait == READY)
                done += run_lane(first + order[i]);
        }
    while (exchange(&fiber[first]));
    return done;
}

/* A group as far as it gets before it needs other groups; how many threads ended. */
static unsigned run_group(unsigned first, const unsigned *sub, const unsigned *lane)
{
    unsigned done = 0, before;
    do {
        before = done;
        for (unsigned i = 0; i < threads_each / GRID_LANES; i++)
            done += run_simdgroup(first + sub[i] * GRID_LANES, lane);
    } while (pass(first, threads_each, BARRIER) || done > before);
    return done;
}

/* Lets lanes go on that waited for what others write; whether there were any. */
static bool wake(unsigned first, unsigned n)
{
    bool any = false;
    for (unsigned i = first; i < first + n; i++)
        if (fiber[i].wait == LATER) {
            fiber[i].wait = READY;
            any = true;
        }
    return any;
}

static unsigned ready_lane(unsigned first)
{
    unsigned i = first;
    while (i < first + GRID_LANES && fiber[i].wait != READY)
        i++;
    return i;
}

/* A simdgroup of some group, by chance: others wait long meanwhile, and `kept` until nobody else
 * gets on, so that what it should have been waited for is missed. False: all need others. */
static bool run_some(const unsigned *lane, unsigned *done)
{
    const unsigned n = count / GRID_LANES, from = chance() % n;
    static unsigned idle, spun, kept;
    for (unsigned i = 0; i < 2 * n; i++) {
        const unsigned at = (from + i) % n, first = at * GRID_LANES;
        unsigned ready = ready_lane(first);
        if (at == kept % n && spun < n && i < n)
            continue;
        idle = ready == first + GRID_LANES ? idle + 1 : 0;
        if (idle && !wake(first, GRID_LANES))
            continue;
        ready = idle ? ready_lane(first) : ready;
        spun = idle ? spun + 1 : 0;
        if (idle > IDLE)
            broken("threads wait for what nobody writes");
        if (at == kept % n) {
            kept = chance();
            spun = 0;
        }
        if (chance() % 4 == 0) /* one lane of it */
            *done += run_lane(ready);
        else
            *done += run_simdgroup(first, lane);
        pass(first / threads_each * threads_each, threads_each, BARRIER);
        return true;
    }
    return false;
}

static void run_groups(grid_order how)
{
    unsigned lane[GRID_LANES], sub[GRID_MOST / GRID_LANES], done = 0;
    for (unsigned i = 0; i < count; i++) {
        fiber[i].wait = READY;
        if (!fiber[i].stack && !(fiber[i].stack = malloc(STACK)))
            abort();
        prepare(&fiber[i]);
    }
    order_some(lane, GRID_LANES, how);
    order_some(sub, threads_each / GRID_LANES, how);
    for (unsigned idle = 0, before; done < count;) {
        before = done;
        for (unsigned first = 0; first < count && how != GRID_SHUFFLED; first += threads_each)
            done += run_group(first, sub, lane);
        while (how == GRID_SHUFFLED && run_some(lane, &done))
            continue;
        if (pass(0, count, BARRIER_ALL) || done > before) {
            idle = 0;
            continue;
        }
        if (!wake(0, count))
            broken("threads wait for different things: some have ended or are at another barrier");
        if (++idle > IDLE)
            broken("threads wait for what nobody writes");
    }
}

/* Memory of n groups, each between guards. */
static unsigned char *poisoned(size_t stride, unsigned n)
{
    unsigned char *m = malloc(stride * n);
    if (!m)
        abort();
    return m;
}

static void poison(unsigned char *m, size_t bytes)
{
    memset(m, 0xa5, bytes + 2 * GUARD);
    memset(m + GUARD, 0xff, bytes); /* NaN */
}

static void check_guards(const unsigned char *m, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++)
        if (m[i] != 0xa5 || m[GUARD + bytes + i] != 0xa5)
            broken("wrote beyond its threadgroup memory");
}

/* `at_once` groups at a time. */
static void run(grid_kernel fn, void *arg, unsigned groups, unsigned at_once, unsigned threads,
                size_t bytes, grid_order order)
{
    size_t room = (bytes + 15) / 16 * 16, stride = room + 2 * GUARD;
    unsigned char *m = poisoned(stride, at_once);
    threads_each = threads;
    count = threads * at_once;
    if (threads == 0 || threads > GRID_MOST || threads % GRID_LANES || count > GRID_FIBERS)
        broken("a group has 32 to 1024 threads, a multiple of 32, and so many do not run at once");
    job.fn = fn;
    job.arg = arg;
    job.tg = (float *)(void *)(m + GUARD);
    job.tg_stride = stride / sizeof(float);
    job.down = order == GRID_BACKWARD;
    for (unsigned i = 0; i < groups; i += at_once) {
        job.group = job.down ? groups - 1 - i : i;
        for (unsigned j = 0; j < at_once; j++)
            poison(m + j * stride, room);
        run_groups(order);
        for (unsigned j = 0; j < at_once; j++)
            check_guards(m + j * stride, room);
    }
    free(m);
}

void grid_run(grid_kernel fn, void *arg, unsigned groups, unsigned threads, size_t bytes,
              grid_order order)
{
    run(fn, arg, groups, 1, threads, bytes, order);
}

void grid_run_at_once(grid_kernel fn, void *arg, unsigned groups, unsigned threads, size_t bytes,
                      grid_order order)
{
    run(fn, arg, groups, groups, threads, bytes, order);
}
