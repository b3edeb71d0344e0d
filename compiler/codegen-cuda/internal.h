/* internal.h: what the files of this folder share. */
#ifndef BNC_CODEGEN_CUDA_INTERNAL_H
#define BNC_CODEGEN_CUDA_INTERNAL_H

#include "codegen-cuda/cuda.h"

/* Threads of a block; sets of warps of a GPU's blocks, at most, which have a candidate each
 * (topk.cu). */
enum { CUDA_THREADS = 512, CUDA_SETS = 4096 };
/* Columns of cuda.def. */
enum { GRID_SETS = GRID_OWN, GRID_TILES, GRID_SHARE };
enum { SCRATCH_CHUNK = SCRATCH_OWN, SCRATCH_SUMS, SCRATCH_SCREEN, SCRATCH_TILE };
/* Places.own: partial results of attention's chunks (attention_persistent); candidates (topk.cu);
 * the counter of the grid barrier, and what it was when the last launch ended. */
enum { AT_CHUNKS, AT_FOUND, AT_BARRIER };

/* ---- shards.c: tensor parallelism ---- */

/* How many queries of a KV head (GQA) a block of attention takes together. */
int64_t heads_together(const Op *op);
int cuda_unit_width(const Printer *p, const Op *op);
Slice cuda_slice(const Printer *p, const Weight *w);
Dispatch *cuda_exchange(Printer *p, const Op *from, const Op *to, const char *wanted);
/* The table by which the host copies weights to a GPU. */
void put_slices(Printer *p);

/* ---- persistent.c: a decode step, or @topk, as one kernel ---- */

void put_persistent(Printer *p, const Func *f);
const char *persistent_bytes(Printer *p, const Func *f);

/* ---- weight_tiles.c: its shared memory, and the weights on their way to it ---- */

typedef struct WeightTile { /* a block's share of the rows of one matrix of a product */
    const Op *op, *layers;
    int matrix;     /* of the op's, 0 or 1 */
    int64_t scales; /* where its scales begin, in floats: one a layer */
    const Op *when; /* the copy starts during this product's run, or behind this attention */
    bool late;      /* of that layer; else of the one before it */
} WeightTile;

typedef struct Step {
    Printer *p;
    const char *places; /* what the names of its places in shared memory begin with */
    WeightTile *tile;
    int ntile, others;  /* others: products that have no tile */
    int64_t scales;     /* of all tiles */
    int nrun, nproduct; /* of runs whose sums, products whose calls are printed */
    const Op *layers;   /* whose body is printed; NULL: none */
    const Op *carried;  /* the body's first op, if it has a preload, which crosses the loop's end */
    const Block *next_layer; /* the body, until its prefetches to L2 are printed */
    bool idle;               /* it has an attention, behind which most blocks wait */
    const Op **preload; /* ops that have registers for a preload, in the order of their numbers */
    int npreload;
    int64_t *heads; /* of attentions, each number once: for one, chunk_HEADS is printed */
    int nheads;
    unsigned used; /* what the block's threads have used since the last block barrier: USES_* */
} Step;

bool is_product(const Printer *p, const Op *op);
/* How many of a product's operands are matrices: their places, first and second. */
int matrices(const Op *op, int at[2]);
const Type *matrix_type(const Op *op);
/* How many products from op on, one behind the other, are of one row of activations; text of the
 * blocks of 4 rows in the shares of the first n of them. */
int run_of(const Printer *p, const Op *op);
const char *run_text(const Step *s, const Op *op, int n);
void find_tiles(Step *s, const Block *b, const Op *layers);
/* The number of its first matrix's tile; its second's is the next one. -1: it has none. */
int tile_of(const Step *s, const Op *op);
void put_layout(Step *s, const Func *f);
/* Behind the last layer of the body that is printed: text. */
const char *layers_end(const Step *s);
void put_prefetches(Step *s, const Op *when, const char *who, const char *margin);
void put_first_tiles(Step *s);

#endif
