/* passes.h: the pipeline as the driver sees it, and the passes as the runner sees them. */
#ifndef BNC_PASSES_H
#define BNC_PASSES_H

#include "ir/ir.h"

typedef struct Pass {
    const char *name;
    int level;
    unsigned needs, gives, breaks;
    void (*run)(Module *m, const Target *target);
    const char *what;
} Pass;
extern const Pass passes[];
extern const int npass;

/* report.c: what somebody asked to hear; passes by name, "all" or NULL. */
typedef struct ReportOptions {
    const char *print_before, *print_after, *save_temps; /* save_temps: a folder */
    bool print_changed, colour, time, stats, remarks, json;
    FILE *to;
} ReportOptions;
typedef struct Report Report;
Report *report_new(Session *s, const ReportOptions *o);
/* Around a step of the driver that is no pass: reading, writing. */
void stage_begin(Session *s, Report *r, const char *name);
void stage_end(Session *s, Report *r);
/* Around a pass; what is printed of the module comes at once. */
void pass_begin(Report *r, Module *m, const char *pass);
void pass_end(Report *r);
/* Stage i, from 0, of those that ended; false: there are no more. Seconds; before and after. */
typedef struct StageInfo {
    const char *name;
    bool is_pass; /* the rest is known of passes alone */
    double wall, cpu;
    int ops[2], values[2];
    int64_t weights[2], scratch[2];
} StageInfo;
bool report_stage(const Report *r, int i, StageInfo *out);
void report_print(Session *s, const Report *r); /* the rest */

/* What the runner does besides running. */
typedef struct PassOptions {
    int level;              /* -O0 .. -O2 */
    const char *names;      /* --passes=a,b,c in place of the pipeline; NULL: by level */
    const char *stop_after; /* a pass, or NULL */
    bool verify_each;       /* else only after the last */
} PassOptions;
/* Runs the passes; a pass whose facts are missing or unknown is the user's mistake. Facts that a
 * module read from text already has are not made again. */
void passes_run(Module *m, const Target *target, const PassOptions *options, Report *report);
/* fail()s unless it is NULL, a pass or, where `all` says so, "all"; the option is for the message. */
void check_pass(Session *s, const char *option, const char *pass, bool all);

/* What a function is compiled for: the part of the target, or all of it. */
static inline const Target *target_of(const Func *f, const Target *target)
{
    return f->target ? f->target : target;
}

/* tuning.c: a record of `bnc tune`; mistakes in it are the user's. */
const Tuning *tuning_read(Session *s, const char *path);
/* The same of a text, whose bytes need no NUL behind them. */
const Tuning *tuning_parse(Session *s, const Text *text);

/* select.c: the last kernel row that serves one op; an error where there is none. */
void select_kernel(Module *m, Op *op, const Target *target);
/* select.c: how many tokens op works on, as kernels name it. */
unsigned forms_of(const Op *op);
/* select.c: whether a row serves an op whose ternary weight lies in `format`. */
bool kernel_fits(const Kernel *k, const Op *op, Fmt format, const Target *target);
/* select.c: whether every op that reads w has a kernel for it in `format`. */
bool layout_possible(Module *m, const Weight *w, Fmt format, const Target *target);
/* select.c: finds the kernel rows that a module read from text names. */
void rebind_kernels(Module *m, const Target *target);

#define PASS(name, level, needs, gives, breaks, what)                                              \
    void pass_##name(Module *m, const Target *target);
#include "passes/passes.def"
#undef PASS

#endif
