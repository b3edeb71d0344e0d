/* gpu.h: what the GPU backends share: a planned module as shaders with an entry point for each
 * dispatch, and the table by which a host launches these.
 *
 * One idea: a GPU language is a dialect. The shared kernels (kernels/) are written in Metal; a
 * dialect is one folder that fills in one GpuDialect record: its target, the facts of its kernels,
 * and hooks for what only it has. This folder knows a dialect by its record alone, and dialects do
 * not know each other.
 */
#ifndef BNC_CODEGEN_GPU_H
#define BNC_CODEGEN_GPU_H

#include "codegen-c/codegen.h"

/* ---- the table of kernels ---- */

/* How many threadgroups (CUDA: blocks) a kernel's op takes, and what their threads share: columns
 * of kernels.def, which explains them. Values from GRID_OWN and SCRATCH_OWN on are the dialect's
 * own: its hooks count those. */
enum { GRID_TOKEN, GRID_ROWS, GRID_ROWS4, GRID_HEADS, GRID_OWN };
enum { SCRATCH_NONE, SCRATCH_REDUCE, SCRATCH_ATTEND, SCRATCH_OWN };
typedef struct KernelFacts {
    int grid, scratch;
} KernelFacts;

/* A row of a .def file as a Kernel; `cols`: the most columns for which its sums are exact, 0: any
 * number. */
#define GPU_KERNEL(op, weight, forms, call, cols)                                                  \
    {                                                                                              \
        OP_##op, FMT_##weight, 0, FORMS_##forms, 4, false, NULL, #call, cols                       \
    }
#define GPU_FACTS(op, weight, forms, grid, scratch, call) {GRID_##grid, SCRATCH_##scratch},

/* Weight layouts of the shared kernels, for Target.layout. */
extern const LayoutRule gpu_layouts[];
enum { GPU_LAYOUTS = 2, WARP = 32 };

/* ---- the printer ---- */

/* Byte offsets in the state on the device; `own`: the dialect's. */
typedef struct Places {
    int64_t tokens, hidden, logits, scratch, cache, own[4], end;
} Places;

typedef struct GpuDialect GpuDialect;
typedef struct Printer {
    const GpuDialect *dialect;
    const Module *m;
    const EmitOptions *o;
    Session *s;
    Out *out; /* where shaders are printed */
    Places at;
    Out seen;  /* bodies of entry points so far: "name\0text\0" */
    int gpus;  /* that share a pass */
    Form form; /* of the function that is printed */
} Printer;

/* What an op's threadgroups are counted for: the pass, each of its tokens, each 32 of them. */
typedef enum Times { TIMES_ONCE, TIMES_TOKEN, TIMES_TILE } Times;

typedef struct Dispatch { /* an entry point, or the dispatches of a layers op */
    const char *entry;
    int64_t groups[3]; /* for each of Times */
    int64_t bytes;     /* of threadgroup memory */
    const Op *layers;
    struct Dispatch *body, *next;
} Dispatch;

/* Where a weight stands on a device: its first layer, from one to the next; where its scales are
 * from a layer's beginning. fine > 0: the device holds a slice of the rows, by units of so many, or
 * of `coarse`; `row` bytes each, `rows` in the file. `less`: text to be added to a place, for rows
 * are counted from the whole matrix's first. */
typedef struct Slice {
    int64_t at, stride, fine, coarse, row, rows, scales;
    const char *less;
} Slice;

struct GpuDialect {
    Target target;
    const KernelFacts *facts; /* of target.kernel, row by row */
    const KernelFile *file;   /* of chunks; a later one may need an earlier one's */
    int nfile;
    int threads;   /* of a threadgroup */
    int batch;     /* tokens of a prefill pass unless --batch says; 0: every target's default */
    int most_gpus; /* that can share a pass (tensor parallelism), 1: --shards is refused */
    /* Extensions: of the shaders; of the host's file, NULL: emit prints both as one file; of the
     * library that --emit=lib compiles of them on a Mac, NULL: it cannot. */
    const char *source, *host, *library;
    /* Printed before the entry points: BN_ENTRY and the step, unless a file of chunks has them. */
    const char *prelude;

    /* The shaders; and the host, which loads the file `source` (NULL: with .host). */
    void (*emit)(const Module *m, const EmitOptions *o, Out *out);
    void (*emit_host)(const Module *m, const EmitOptions *o, const char *source, Out *out);

    /* Threadgroups and bytes of scratch of kernels whose columns are the dialect's own. */
    int64_t (*groups)(const Printer *p, const Op *op, Times *times);
    int64_t (*scratch)(const Printer *p, const Op *op);

    /* What follows is NULL where a dialect has nothing of the kind. */
    /* Takes its own places behind *end. */
    void (*places)(const Printer *p, int64_t *end, Places *at);
    /* Names of chunks that are called by other than ops; NULL ends them. */
    const char *const *(*chunks)(const Printer *p);
    /* Arguments of a call that the op's row does not name, each with a comma behind it. */
    void (*put_more_arguments)(Printer *p, const Op *op);
    /* A value that stands elsewhere than the plan says: text; NULL: it does not. */
    const char *(*operand)(const Printer *p, const Value *v);
    /* What the first entry point of a function begins with. */
    void (*put_prologue)(Printer *p);
    /* The macro that begins the entry point of from..to; NULL: BN_ENTRY. */
    const char *(*entry_macro)(const Op *from, const Op *to);

    /* Tensor parallelism. Values of a result that one of an op's units makes, where GPUs share
     * them: calls stand behind has_unit(step, unit, units), a chunk; 0: each GPU makes all. */
    int (*unit_width)(const Printer *p, const Op *op);
    Slice (*slice)(const Printer *p, const Weight *w);
    /* The entry point, named `wanted` if it is a new one, that gives what each GPU has of
     * from..to's results to the others; NULL: they need nothing. */
    Dispatch *(*exchange)(Printer *p, const Op *from, const Op *to, const char *wanted);

    /* DEVICE_PERSISTENT: a function (func_persistent) as one kernel, the constant that has its
     * bytes of shared memory, and what else the host's tables hold. */
    void (*put_persistent)(Printer *p, const Func *f);
    const char *(*persistent_bytes)(Printer *p, const Func *f);
    void (*put_tables)(Printer *p);
};

/* ---- grid.c ---- */

KernelFacts facts_of(const Printer *p, const Op *op);
Printer gpu_printer(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out);
/* The next place of so many bytes. */
int64_t take_place(int64_t *end, int64_t bytes);
/* Threadgroups of an op, for each of what *times says. */
int64_t groups_of(const Printer *p, const Op *op, Times *times);
/* Bytes of threadgroup memory, never none: Metal has no binding of 0 bytes. */
int64_t scratch_bytes(const Printer *p, const Op *op);
/* Values of a head of an attention's; fails where there are too many for its kernel. */
int64_t head_dim(const Op *op);
/* Of the dialect; 0: each GPU makes all. */
int unit_width(const Printer *p, const Op *op);
/* Values of a result for each token. */
int64_t width_of(const Value *v);
/* Of the dialect; without tensor parallelism a weight stands as in the file. */
Slice slice_of(const Printer *p, const Weight *w);

/* ---- operands.c: text of calls ---- */

void put_operand(Printer *p, const Value *v);
/* Where a weight of `layer`, or a state, begins; where a matrix's scales do. */
void put_place_of(Printer *p, const Weight *w, const char *layer);
void put_scales_of(Printer *p, const Weight *w, const char *layer);
/* Each with a comma behind it; what kernels take as records as these. */
void put_arguments(Printer *p, const Op *op);
void put_activation(Printer *p, const Op *op); /* of a tglu, likewise */
void put_call(Printer *p, const Op *op);       /* by threadgroup g of the op */
void put_ir_comment(Printer *p, const Op *op, const char *margin);
/* Generated text with its long lines broken, macros and comments too. */
void put_wrapped(const char *text, Out *out);
/* Macros W_NAME (and C_NAME for scales that stand apart), tables of rotary positions. */
void put_weight_macros(Printer *p);
void put_rope_tables(Printer *p);

/* ---- dispatch.c ---- */

/* The entry point that has this body already; NULL, and the next one with it is `wanted`: it is
 * new. */
const char *entry_of(Printer *p, const char *wanted, const char *body);
/* The dispatches of a function; prints those of their entry points that are new. */
Dispatch *dispatches_of(Printer *p, Func *f);
void emit_shaders(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out);

/* ---- tables.c ---- */

void put_threads(const GpuDialect *d, Out *out);
/* The tables of dispatches, of bn_entry as BN_NAME makes them, and the constants of host files. */
void emit_tables(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out);

#endif
