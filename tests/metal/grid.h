/* grid.h: a GPU's grid on the processor: each thread of a threadgroup is a fiber, which runs until
 * it must wait: at a threadgroup barrier, or where the lanes of its simdgroup exchange values.
 *
 * One idea: whatever a GPU may do is an order. The engine runs one simdgroup as far as it gets
 * without the others, then the next, and where several groups run at once, one group as far as it
 * gets before the next; threads and simdgroups in a given order, forwards, backwards or
 * shuffled; a kernel that lacks a barrier gives another result in one of
 * these. Memory that a group shares is poisoned before it.
 */
#ifndef BN_GRID_H
#define BN_GRID_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum grid_order { GRID_FORWARD, GRID_BACKWARD, GRID_SHUFFLED } grid_order;
enum {
    GRID_LANES = 32,
    GRID_MOST = 1024,
    GRID_FIBERS = 4 * GRID_MOST
}; /* threads: a group, at once */

/* Runs fn(arg, tg, group, thread) for every thread of `groups` groups of `threads`; tg: `bytes` of
 * shared memory. Aborts with a message where threads wait for different things, or where a group
 * wrote beyond its memory. */
typedef void (*grid_kernel)(void *arg, float *tg, unsigned group, unsigned thread);
void grid_run(grid_kernel fn, void *arg, unsigned groups, unsigned threads, size_t bytes,
              grid_order order);

/* The same, with all groups at once, for barriers of all of them. */
void grid_run_at_once(grid_kernel fn, void *arg, unsigned groups, unsigned threads, size_t bytes,
                      grid_order order);

/* What kernels call. A barrier is known by its line; grid_skip names one that does nothing (0:
 * none), for tests. */
void grid_barrier(int line);
void grid_barrier_all(int line); /* a barrier of all groups that run at once */
void grid_later(void); /* lets others go on, for a thread that waits for what they write */
/* Shows `bytes` at `mine` (at most GRID_WORD) to the lanes of its simdgroup, which all come to the same line:
 * those of lane l stand at GRID_WORD l of the result, until the simdgroup's next exchange. */
enum { GRID_WORD = 32 };
const unsigned char *grid_exchange(int line, const void *mine, size_t bytes);
float grid_sum(float v);
float grid_max(float v);
int grid_sum_int(int v);
unsigned grid_thread(void);       /* the one that asks, in its group */
void grid_stop(const char *what); /* ends the process: a rule is broken */
unsigned grid_fiber(void);        /* among all that run at once */
extern int grid_skip;
extern unsigned grid_seed; /* not 0: of GRID_SHUFFLED, before the first run */
/* Lines of the barriers that threads arrived at: grid_arrived[line]. */
enum { GRID_LINES = 1 << 14 };
extern unsigned char grid_arrived[GRID_LINES];

#ifdef __cplusplus
}
#endif
#endif
