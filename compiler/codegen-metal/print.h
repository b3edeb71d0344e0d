/* print.h: what the printers of Metal and CUDA share: metal.c has it. */
#ifndef BNC_CODEGEN_PRINT_H
#define BNC_CODEGEN_PRINT_H

#include "codegen-metal/metal.h"

/* CUDA_SETS: of a card's blocks, at most: see best.cu. */
enum { METAL_THREADS = 128, CUDA_THREADS = 512, CUDA_SETS = 4096 };

/* Columns of kernels.def and cuda.def. */
typedef enum Grid {
    GRID_TOKEN,
    GRID_ROWS,
    GRID_ROWS4,
    GRID_HEADS,
    GRID_SETS,
    GRID_TILES,
    GRID_TILE32,
    GRID_SHARE
} Grid;
typedef enum Scratch {
    SCRATCH_NONE,
    SCRATCH_REDUCE,
    SCRATCH_ATTEND,
    SCRATCH_CHUNK,
    SCRATCH_SUMS,
    SCRATCH_SCREEN,
    SCRATCH_TILE,
    SCRATCH_TILE32
} Scratch;
typedef struct KernelFacts {
    Grid grid;
    Scratch scratch;
} KernelFacts;
KernelFacts facts_of(const Op *op);

/* Offsets in the state on the device; parts, found: see stay.cu and best.cu; met: how many blocks
 * have come to meetings, and, from one launch to the next, what that was. */
typedef struct Places {
    int64_t tokens, hidden, logits, scratch, cache, parts, found, met, end;
} Places;

typedef struct Printer {
    const Module *m;
    const EmitOptions *o;
    Session *s;
    Out *out; /* NULL: only the dispatches are wanted */
    Places at;
    Out seen;    /* bodies of entry points so far: "name\0text\0" */
    int threads; /* of a group */
    int cards;   /* that share a pass; 0: not CUDA's */
    Form form;   /* of the function that is printed */
} Printer;

/* What an op's groups are counted for: all tokens at once, each of them, each 32 of them. */
typedef enum Times { TIMES_ONCE, TIMES_TOKEN, TIMES_TILE } Times;
Times times_of(const Op *op);
int64_t groups_of(const Printer *p, const Op *op); /* of an op, for its Times */
int64_t scratch_bytes(const Printer *p, const Op *op);
void put_operand(Printer *p, const Value *v);
void put_bytes_of(Printer *p, const Weight *w, const char *layer); /* where a weight, or a state, begins */
void put_arguments(Printer *p, const Op *op); /* each with a comma behind it */
void put_ir_line(Printer *p, const Op *op, const char *margin);

/* How many values of a result one of an op's units makes, where cards share it: its groups for a
 * token, or a tile's rows. 0: each card does it for itself. */
int unit_wide(const Printer *p, const Op *op);
/* shards.c: where a weight stands on a card; NULL: where the last one ends. `fine` > 0: a card has
 * some rows, by units of so many, or of `coarse`; `scales` is from a layer's beginning. */
typedef struct Slice {
    int64_t at, stride, fine, coarse, row, rows, scales;
} Slice;
Slice slice_of(const Printer *p, const Weight *w);
void put_slices(Printer *p); /* the table by which the host copies weights to a card */
/* Where the scales of a matrix begin. */
void put_scales_of(Printer *p, const Weight *w, const char *layer);
/* stay.c: a function that stays as one kernel, decode_step or best_step, for CUDA. */
void put_step(Printer *p, const Func *f);
/* What the names of its places in shared memory begin with. */
const char *step_places(const Func *f);

#endif
