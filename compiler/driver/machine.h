/* machine.h: measurements of this machine and of a run on it: memory bandwidth, hardware counters,
 * energy. Each says why where the machine does not give it. */
#ifndef BNC_MACHINE_H
#define BNC_MACHINE_H

#include "ir/ir.h"

/* GB/s that this many threads read from memory, the largest of several rounds over a buffer of 256 MB;
 * 0 where there is no memory for it or a thread cannot be started. Takes tenths of a second. */
double machine_read_rate(Session *s, int threads);

/* Counts of all threads of this process in user mode, between start and stop. */
#define COUNTERS(C)                                                                                \
    C(CYCLES, "cycles", PERF_COUNT_HW_CPU_CYCLES)                                                  \
    C(INSTRUCTIONS, "instructions", PERF_COUNT_HW_INSTRUCTIONS)                                    \
    C(CACHE_MISSES, "cache misses", PERF_COUNT_HW_CACHE_MISSES)
enum {
#define COUNTER_ENUM(id, text, config) COUNTER_##id,
    COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_COUNT
};
extern const char *const counter_name[COUNTER_COUNT];
typedef struct Counters {
    const char *why; /* NULL: counted; else why not */
    uint64_t count[COUNTER_COUNT];
} Counters;
typedef struct CounterRun CounterRun;
CounterRun *counters_start(Session *s);
Counters counters_stop(CounterRun *r);

/* The energy counters of the processor packages (RAPL), in joules since some moment. */
enum { ENERGY_MOST = 8 }; /* packages */
typedef struct Energy {
    int n;
    double joules[ENERGY_MOST], range[ENERGY_MOST]; /* range: where one begins again at 0 */
    const char *why;                                /* NULL: read; else why not */
} Energy;
Energy energy_read(Session *s);
double energy_between(const Energy *a, const Energy *b); /* joules; < 0: not known */

double machine_seconds(void); /* of a clock that only goes forward */

#endif
