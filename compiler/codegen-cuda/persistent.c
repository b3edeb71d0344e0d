/* persistent.c: prints a decode step, or @topk, as one persistent kernel: the ops of the planned
 * function in order, a grid barrier for each of the plan's barriers. One idea: blocks are to it
 * what threads are to C.
 *
 * Which blocks run an op follows from its kernel's grid and from where its results are: every block
 * computes a result in its own shared memory for itself; block 0 computes one that all share, of
 * one token; heads, rows and others are distributed; the kernel of a GRID_SHARE distributes itself
 * over the blocks of all GPUs. kernels/persistent.cu has the rest, and the picture of the shared
 * memory.
 */
#include <inttypes.h>

#include "codegen-cuda/internal.h"

/* What an op uses of the block: between two that use the same stands a block barrier. */
enum { USES_OWN = 1, USES_SCRATCH = 2, USES_SUMS = 4 };

/* ---- ops ---- */

static bool own_result(const Op *op)
{
    return op->nout && op->out[0]->space == SPACE_OWN;
}

static unsigned uses_of(const Printer *p, const Op *op)
{
    unsigned uses = is_product(p, op) ? USES_SUMS : facts_of(p, op).scratch ? USES_SCRATCH : 0;
    for (int i = 0; i < op->nin; i++)
        uses |= !op->in[i]->weight && op->in[i]->space == SPACE_OWN ? USES_OWN : 0;
    return uses | (own_result(op) ? USES_OWN : 0);
}

static void put_sync(Step *s, unsigned uses, const char *margin)
{
    if (s->used & uses)
        put(s->p->out, "%s__syncthreads();\n", margin);
    s->used = s->used & uses ? uses : s->used | uses;
}

static void put_tile_name(Step *s, int tile)
{
    put(s->p->out, tile < 0 ? "no_tile, " : "tile_%d, ", tile);
}

/* Where the sums of matrix j of product i of the run from op on begin: text. */
static const char *sums_text(const Step *s, const Op *op, int i, int j)
{
    const Op *product = op;
    for (int k = 0; k < i; k++)
        product = product->next;
    const char *before = i ? run_text(s, op, i) : "";
    if (j)
        before = format(s->p->s, "%s%sSHARE(%" PRId64 ")", before, i ? " + " : "",
                        (matrix_type(product)->dim[0].n + 3) / 4);
    return *before ? format(s->p->s, "sums + 4 * (%s)", before) : "sums";
}

/* The sums of the share's rows of the n products from op on. */
static void put_sums_of(Step *s, const Op *op, int n, const char *margin)
{
    Out *o = s->p->out;
    const Op *product = op;
    int count = 0;
    put(o, "%sconst bn_matrix run_%d[] = {", margin, s->nproduct);
    for (int i = 0; i < n; i++, product = product->next) {
        const Type *t = matrix_type(product);
        int at[2], many = matrices(product, at), tile = tile_of(s, product);
        for (int j = 0; j < many; j++) {
            put(o, "%s\n%s    matrix_of(", count++ ? "," : "", margin);
            put_place_of(s->p, product->in[at[j]]->weight, "layer");
            put(o, ", %" PRId64 ", %" PRId64 ", ", t->dim[0].n, t->dim[1].n);
            put_tile_name(s, tile < 0 ? tile : tile + j);
            put(o, "b, %s)", sums_text(s, op, i, j));
        }
    }
    put(o, "};\n");
    put_prefetches(s, op, "PRODUCER", margin);
    put(o, "%sshare_sums(run_%d, %d, ", margin, s->nproduct, count);
    put_operand(s->p, op->in[0]);
    put(o, ", %" PRId64 ", me);\n", op->in[0]->type->dim[1].n);
}

/* The scales of a product's matrices, each with a comma behind it. */
static void put_scales(Step *s, const Op *product)
{
    for (int j = 0, at[2]; j < matrices(product, at); j++) {
        put_scales_of(s->p, product->in[at[j]]->weight, "layer");
        put(s->p->out, ", ");
    }
}

/* The residual, which a product of its own adds nothing to. */
static void put_residual(Step *s, const Op *product)
{
    if (product->code == OP_TMATMUL_ADD)
        put_operand(s->p, product->in[3]);
    else
        put(s->p->out, "nullptr");
    put(s->p->out, ", ");
}

/* Of product i of a run: what its rows' epilogue needs, loaded before the sums. */
static void put_product_preload(Step *s, const Op *product, int i, const char *margin)
{
    Out *o = s->p->out;
    int tile = tile_of(s, product);
    put_ir_comment(s->p, product, margin);
    put(o, "%sconst bn_epilogue epilogue_%d = %s_preload(", margin, s->nproduct + i,
        product->kernel->symbol);
    put_scales(s, product);
    put_operand(s->p, product->in[1]);
    put(o, ", ");
    if (product->code != OP_TGLU)
        put_residual(s, product);
    for (int j = 0, at[2]; j < matrices(product, at); j++)
        put_tile_name(s, tile < 0 ? tile : tile + j);
    put(o, "share_of(%" PRId64 ", b, me, %d));\n", matrix_type(product)->dim[0].n, 2 * i);
}

/* The epilogue of product i of the run from op on. */
static void put_product_epilogue(Step *s, const Op *op, const Op *product, int i,
                                 const char *margin)
{
    Out *o = s->p->out;
    int tile = tile_of(s, product);
    put(o, "%s%s_epilogue(epilogue_%d, ", margin, product->kernel->symbol, s->nproduct + i);
    if (product->code != OP_TGLU)
        put_residual(s, product);
    put_operand(s->p, product->out[0]);
    put(o, ", ");
    if (product->code == OP_TGLU)
        put_activation(s->p, product);
    for (int j = 0, at[2]; j < matrices(product, at); j++)
        put_tile_name(s, tile < 0 ? tile : tile + j);
    put(o, "share_of(%" PRId64 ", b, me, %d), step, %s);\n", matrix_type(product)->dim[0].n, 2 * i,
        sums_text(s, op, i, 0));
}

/* The n products from op on. */
static void put_products(Step *s, const Op *op, int n, const char *margin)
{
    const Op *product = op;
    put_sync(s, uses_of(s->p, op), margin);
    for (int i = 0; i < n; i++, product = product->next)
        put_product_preload(s, product, i, margin);
    put_sums_of(s, op, n, margin);
    put(s->p->out, "%s__syncthreads();\n", margin);
    product = op;
    for (int i = 0; i < n; i++, product = product->next)
        put_product_epilogue(s, op, product, i, margin);
    s->used = USES_SUMS;
    s->nproduct += n;
}

/* Whether an op reads what does not depend on the ops before it: gains, the cache of earlier
 * positions. */
static bool has_preload(const Op *op)
{
    return op && op->kernel && (op->code == OP_RMSNORM_QUANT || op->code == OP_ROPE_ATTENTION);
}
static int preload_of(const Step *s, const Op *op)
{
    for (int i = 0; i < s->npreload; i++)
        if (s->preload[i] == op)
            return i;
    return -1;
}

/* Registers for that, and the call that loads them for a layer. */
static void put_registers(Step *s, const Op *op, const char *margin)
{
    s->preload = grow(s->p->s, s->preload, (size_t)s->npreload, sizeof *s->preload);
    s->preload[s->npreload++] = op;
    if (op->code == OP_RMSNORM_QUANT)
        put(s->p->out, "%sbn_gains preload_%d;\n", margin, s->npreload - 1);
    else
        put(s->p->out, "%sbn_cached<%s> preload_%d;\n", margin,
            op->in[4]->type->fmt == FMT_F16 ? "half" : "float", s->npreload - 1);
}
static void put_cache(Step *s, const Op *op, const char *layer)
{
    const Type *t = op->in[4]->type;
    for (int i = 4; i < 6; i++) {
        put_place_of(s->p, op->in[i]->weight, layer);
        put(s->p->out, ", ");
    }
    int64_t heads = attr_int(op, "heads", 0);
    put(s->p->out,
        "step.pos, bn_attention_shape{%" PRId64 ", {%" PRId64 ", %" PRId64 ", %" PRId64
        "}}, chunk_%" PRId64 ", b, me",
        heads, t->dim[0].n, t->dim[1].n, t->dim[2].n, heads);
}
static void put_preload(Step *s, const Op *op, const char *layer, const char *margin)
{
    Out *o = s->p->out;
    if (op->code == OP_RMSNORM_QUANT) {
        put(o, "%sgains_preload(FLOATS(", margin);
        put_place_of(s->p, op->in[1]->weight, layer);
        put(o, "), %" PRId64 ", me, preload_%d);\n", op->in[1]->type->dim[0].n, preload_of(s, op));
    } else {
        put(o, "%sattention_preload(preload_%d, ", margin, preload_of(s, op));
        put_cache(s, op, layer);
        put(o, ");\n");
    }
}

/* Prefetches to L2 what the next layer's attention and norms read. */
static void put_prefetch_l2(Step *s, const Block *b, const char *margin)
{
    Out *o = s->p->out;
    put(o, "%sif (layer + 1 < %s) {\n", margin, layers_end(s));
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_RMSNORM_QUANT && op->in[1]->weight->count) {
            put(o, "%s    prefetch_l2(", margin);
            put_place_of(s->p, op->in[1]->weight, "layer + 1");
            put(o, ", %" PRId64 ", here, me);\n", 4 * op->in[1]->type->dim[0].n);
        }
        if (op->code == OP_ROPE_ATTENTION) {
            put(o, "%s    attention_prefetch_l2(", margin);
            put_cache(s, op, "layer + 1");
            put(o, ");\n");
        }
    }
    put(o, "%s}\n", margin);
}

/* A grid barrier. Between a block's arrival and its wait it starts the copies of the weight tiles
 * that replace those it has used (earlier ones would delay its own arrival), and preloads for the
 * ops behind the barrier. */
static void put_grid_barrier(Step *s, const Op *barrier, const char *margin)
{
    Out *o = s->p->out;
    const char *deeper = format(s->p->s, "%s    ", margin);
    bool attended = barrier->prev && barrier->prev->code == OP_ROPE_ATTENTION;
    put(o, "%sgrid_arrive(step, grid);\n", margin);
    if (attended && s->layers)
        put_prefetches(s, barrier->prev, "0", margin);
    if (s->next_layer && (!s->idle || attended)) {
        put_prefetch_l2(s, s->next_layer, margin);
        s->next_layer = NULL;
    }
    const Op *next = barrier->next;
    while (next && !next->kernel && !next->body)
        next = next->next;
    if (has_preload(next)) {
        put_registers(s, next, margin);
        put_preload(s, next, "layer", margin);
    } else if (!next && s->carried) {
        put(o, "%sif (layer + 1 < %s)\n", margin, layers_end(s));
        put_preload(s, s->carried, "layer + 1", deeper);
    }
    put(o, "%sgrid_wait(grid);\n", margin);
    s->used = 0;
}

static void put_group_call(Step *s, const Op *op, const char *group)
{
    put(s->p->out, "%s(", op->kernel->symbol);
    put_arguments(s->p, op);
    if (has_preload(op))
        put(s->p->out, "preload_%d, ", preload_of(s, op));
    put(s->p->out, "%s, me%s);\n", group, facts_of(s->p, op).scratch ? ", tg" : "");
}

static void put_op(Step *s, const Op *op, const char *margin)
{
    Out *o = s->p->out;
    int grid = facts_of(s->p, op).grid;
    if (has_preload(op) && preload_of(s, op) < 0) {
        put_registers(s, op, margin);
        put_preload(s, op, "layer", margin);
    }
    put_sync(s, uses_of(s->p, op), margin);
    put_ir_comment(s->p, op, margin);
    if (grid == GRID_SHARE) {
        put(o, "%s%s(", margin, op->kernel->symbol);
        put_arguments(s->p, op);
        if (op->code == OP_SCREEN)
            put(o, "AT(float, %" PRId64 "), step, grid, b, me, (bn_screen *)tg, (float *)sums);\n",
                s->p->at.own[AT_FOUND]);
        else
            put(o,
                "bn_chunks{AT(float, %" PRId64 "), chunk_%" PRId64
                "}, preload_%d, step, grid, b, me, tg);\n",
                s->p->at.own[AT_CHUNKS], attr_int(op, "heads", 0), preload_of(s, op));
        return;
    }
    if (own_result(op)) {
        put(o, "%s", margin);
        put_group_call(s, op, "0");
    } else if (grid == GRID_TOKEN) {
        put(o, "%sif (here == 0)\n%s    ", margin, margin);
        put_group_call(s, op, "0");
    } else {
        Times times;
        put(o, "%sfor (uint g = here; g < %" PRId64 "; g += BN_BLOCKS) {\n", margin,
            groups_of(s->p, op, &times));
        if (facts_of(s->p, op).scratch)
            put(o, "%s    if (g != here)\n%s        __syncthreads();\n", margin, margin);
        put(o, "%s    ", margin);
        put_group_call(s, op, "g");
        put(o, "%s}\n", margin);
    }
}

static void put_block(Step *s, const Block *b, const char *margin)
{
    Out *o = s->p->out;
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_BARRIER) {
            put_grid_barrier(s, op, margin);
        } else if (op->body) {
            int64_t first = attr_int(op, "first", 0);
            s->carried = has_preload(op->body->first) ? op->body->first : NULL;
            s->next_layer = op->body;
            s->idle = false;
            for (const Op *in = op->body->first; in; in = in->next)
                s->idle |= in->code == OP_ROPE_ATTENTION;
            if (s->carried) {
                put_registers(s, s->carried, margin);
                put_preload(s, s->carried, format(s->p->s, "%" PRId64, first), margin);
            }
            put(o,
                "#pragma unroll 1\n%sfor (uint layer = %" PRId64 "; layer < %" PRId64
                "; layer++) {\n",
                margin, first, first + attr_int(op, "count", 1));
            s->layers = op;
            put_block(s, op->body, format(s->p->s, "%s    ", margin));
            s->layers = NULL;
            put(o, "%s}\n", margin);
        } else if (is_product(s->p, op)) {
            int n = run_of(s->p, op);
            put_products(s, op, n, margin);
            while (--n)
                op = op->next;
        } else if (op->kernel) {
            put_op(s, op, margin);
        }
    }
}

static void put_chunks(Step *s, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        int64_t heads = attr_int(op, "heads", 0);
        int i = 0;
        if (op->body)
            put_chunks(s, op->body);
        while (i < s->nheads && s->heads[i] != heads)
            i++;
        if (op->code != OP_ROPE_ATTENTION || i < s->nheads)
            continue;
        s->heads = grow(s->p->s, s->heads, (size_t)s->nheads, sizeof *s->heads);
        s->heads[s->nheads++] = heads;
        put(s->p->out, "    const int chunk_%" PRId64 " = chunk_of(step.pos + 1, %" PRId64 ");\n",
            heads, heads);
    }
}

static const char *step_places(const Func *f)
{
    return f->form == FORM_DECODE ? "STEP" : "TOPK";
}

/* What a decode step begins with: it reads its parameters, and starts the copies of the first
 * layers' tiles. */
static void put_step_start(Step *s)
{
    Out *o = s->p->out;
    if (s->ntile)
        put(o, "    ulong *mbar = (ulong *)(own + STEP_MBARS);\n"
               "    float *scales = (float *)(own + STEP_SCALES);\n");
    for (int i = 0; i < s->ntile; i++) {
        const char *from = i ? format(s->p->s, "STEP_END_%d", i - 1) : "STEP_TILES";
        put(o,
            "    bn_weight_tile tile_%d = {own + %s, STEP_END_%d > %s, mbar + %d, 0, scales + "
            "%" PRId64 "};\n",
            i, from, i, from, i, s->tile[i].scales);
    }
    if (s->others)
        put(o, "    bn_weight_tile no_tile = {nullptr, false, nullptr, 0, nullptr};\n");
    put(o,
        "    if (here == 0 && me == 0)\n        step_from_host(step, (bn_step *)state, AT(int, "
        "%" PRId64 "));\n    grid_signal(step, grid);\n",
        s->p->at.tokens);
    put_first_tiles(s);
    put(o, "#pragma unroll 1\n    for (int i = int(me); i < (STEP_MBARS - STEP_SUMS) / 4; i += "
           "THREADS)\n        "
           "sums[i] = 0;\n    grid_wait(grid);\n"
           "    step.pos = ((const bn_step *)state)->pos;\n");
}

const char *persistent_bytes(Printer *p, const Func *f)
{
    return format(p->s, "%s_BYTES", step_places(f));
}

void put_persistent(Printer *p, const Func *f)
{
    Step s = {.p = p, .places = step_places(f)};
    Out *o = p->out;
    find_tiles(&s, f->body, NULL);
    put_layout(&s, f);
    put(o,
        "extern \"C\" __global__ void __launch_bounds__(THREADS, 1) %s_step(uchar *state, "
        "const uchar *weights, uint)\n"
        "{\n    BN_SHARED(shared);\n    bn_step step = *(const bn_step *)state;\n"
        "    const uint here = blockIdx.x, b = gpu_of(step) * BN_BLOCKS + here, me = "
        "threadIdx.x;\n"
        "    uchar *own = (uchar *)shared;\n    float *tg = (float *)(own + %s_SCRATCH);\n"
        "    int *sums = (int *)(own + %s_SUMS);\n    uint *arrived = AT(uint, %" PRId64
        ");\n    bn_grid grid = {arrived, arrived[1]};\n",
        f->name, s.places, s.places, p->at.own[AT_BARRIER]);
    if (f->form == FORM_DECODE)
        put_step_start(&s);
    else
        put(o,
            "    if (here == 0)\n        hidden_out(step, AT(float, %" PRId64 "), %" PRId64
            ", me);\n",
            p->at.hidden, hidden_bytes(p->m) / 4);
    put_chunks(&s, f->body);
    put_block(&s, f->body, "    ");
    put(o, "    if (here == 0 && me == 0)\n        arrived[1] = grid.expected;\n}\n\n");
}
