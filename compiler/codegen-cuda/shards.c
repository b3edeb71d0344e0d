/* shards.c: tensor parallelism: which slice of each weight a GPU holds, and the all-gather of
 * results. One idea: a matrix is split by rows where every op that reads it is; the others, and
 * what is small, each GPU has whole. A decode step shares blocks of 4 rows, other passes tiles, so
 * a GPU holds the rows of both. Places are the same on all GPUs:
 *
 *   weights   | a matrix: rows of layer 0 | scales | rows of layer 1 | scales | ... | the next |
 *
 * Rows are counted from the whole matrix's first, so kernels receive the address that this one
 * would have.
 */
#include <inttypes.h>

#include "codegen-cuda/internal.h"

enum { PLACE = 256 };

/* ---- units of work ---- */

/* Their values have a thread each; a head whose size is no power of two is alone, as in a decode
 * step. */
int64_t heads_together(const Op *op)
{
    if (op->code == OP_ROPE_ATTENTION)
        return 1;
    int64_t heads = attr_int(op, "heads", 0);
    const Type *cache = op->in[1]->type;
    int64_t each = heads / cache->dim[0].n, dim = cache->dim[2].n, many = 1;
    bool even = dim >= 32 && dim <= 256 && !(dim & (dim - 1));
    for (int64_t n = 2; even && n <= 8 && n * dim <= CUDA_THREADS; n++)
        many = each % n ? many : n;
    return many;
}

int cuda_unit_width(const Printer *p, const Op *op)
{
    int grid = facts_of(p, op).grid;
    if (p->gpus < 2 || !op->nout)
        return 0;
    return grid == GRID_ROWS    ? p->dialect->threads / WARP
           : grid == GRID_SETS  ? (int)(heads_together(op) * op->in[1]->type->dim[2].n)
           : grid == GRID_TILES ? 128
                                : 0;
}

/* ---- slices of weights ---- */

/* Rows of a unit that a decode step, or @lm_head, shares, and of one that other passes share; bytes
 * of a row; rows that stand in the file. */
static bool split_rows(const Printer *p, const Weight *w, Slice *s)
{
    const Type *t = w->type;
    if (t->rank != 2)
        return false;
    int64_t n = t->dim[0].n, k = t->dim[1].n, head = p->dialect->threads / WARP;
    if (t->fmt == FMT_Q2R4)
        *s =
            (Slice){.fine = 4, .coarse = 128, .row = (k + 127) / 128 * 32, .rows = (n + 3) / 4 * 4};
    else if (t->fmt == FMT_F16)
        *s = (Slice){.fine = head, .coarse = head, .row = 2 * k, .rows = n};
    else
        return false;
    return true;
}

typedef struct Uses {
    const Printer *p;
    const Weight *w;
    bool persistent, split; /* in a persistent function; by all ops so far */
} Uses;

static void look(Op *op, void *arg)
{
    Uses *u = arg;
    for (int i = 0; i < op->nin && op->kernel; i++)
        if (op->in[i]->weight == u->w)
            u->split &= u->persistent ? facts_of(u->p, op).grid == GRID_SHARE
                                      : cuda_unit_width(u->p, op) > 0;
}

static bool is_split(const Printer *p, const Weight *w)
{
    Uses u = {p, w, false, true};
    for (Func *f = p->m->funcs; f; f = f->next) {
        u.persistent = func_persistent(f, &p->dialect->target);
        walk(f->body, look, &u);
    }
    return u.split;
}

/* As in tensor_parallel.cu. */
static int64_t unit_from(int64_t n, int gpu, int gpus)
{
    return n * gpu / gpus;
}

/* The first row that a GPU holds; `end`: the first that the GPU before it does not hold. */
static int64_t held(const Slice *s, int64_t n, int gpu, int gpus, bool end)
{
    int64_t fine = s->fine * unit_from((n + s->fine - 1) / s->fine, gpu, gpus),
            coarse = s->coarse * unit_from((n + s->coarse - 1) / s->coarse, gpu, gpus);
    return (fine < coarse) != end ? fine : coarse;
}

static int64_t most_rows(const Slice *s, int64_t n, int gpus)
{
    int64_t most = 0;
    for (int c = 0; c < gpus; c++) {
        int64_t end = held(s, n, c + 1, gpus, true), rows;
        rows = (end < s->rows ? end : s->rows) - held(s, n, c, gpus, false);
        most = rows > most ? rows : most;
    }
    return most;
}

/* NULL: where the last one ends. */
Slice cuda_slice(const Printer *p, const Weight *wanted)
{
    int64_t end = 0;
    for (const Weight *w = p->m->weights; w; w = w->next) {
        Slice s = {0};
        if (w->is_state)
            continue;
        if (p->gpus > 1 && split_rows(p, w, &s) && is_split(p, w)) {
            int64_t bytes = most_rows(&s, w->type->dim[0].n, p->gpus) * s.row;
            s.scales = w->scales ? round_up(bytes, PLACE) : 0;
            s.stride = round_up(w->scales ? s.scales + w->stride - w->scales : bytes, PLACE);
        } else {
            s = (Slice){.stride = p->gpus > 1 ? round_up(w->stride, PLACE) : w->stride};
        }
        s.less = s.fine ? format(p->s,
                                 " - ulong(held_from(%" PRId64 ", %" PRId64 ", %" PRId64
                                 ", gpu_of(step))) * %" PRId64,
                                 w->type->dim[0].n, s.fine, s.coarse, s.row)
                        : "";
        s.at = p->gpus > 1 ? end : w->at; /* as in the file on one GPU */
        end = s.at + s.stride * (w->count ? w->count : 1);
        if (w == wanted)
            return s;
    }
    CHECK(!wanted);
    return (Slice){.at = end};
}

void put_slices(Printer *p)
{
    Out *o = p->out;
    put(o,
        "/* The slice of the weights on each GPU: where a tensor's layers begin in the file and on "
        "the GPU, "
        "with strides;\n"
        " * how many layers; bytes of a row, and rows; rows of a unit that GPUs share in decode, "
        "and in "
        "other passes, 0: each\n"
        " * GPU has all; where scales are from a layer's beginning in the file, and on the GPU. "
        "*/\n"
        "typedef struct bn_slice {\n    size_t from, stride, to, to_stride;\n    int layers;\n"
        "    size_t row;\n    int rows, fine, coarse;\n    size_t scales, to_scales;\n} bn_slice;\n"
        "static const bn_slice slices[] = {\n");
    for (const Weight *w = p->m->weights; w; w = w->next) {
        if (w->is_state)
            continue;
        Slice s = cuda_slice(p, w);
        put(o,
            "    {%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ", %d, %" PRId64 ", %" PRId64
            ", %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "}, /* %s */\n",
            w->at, w->stride, s.at, s.stride, w->count ? w->count : 1, s.fine ? s.row : w->stride,
            s.fine ? s.rows : 1, s.fine, s.coarse, s.fine ? w->scales : 0, s.scales, w->name);
    }
    put(o, "};\nstatic const size_t gpu_bytes = %" PRId64 ";\n\n", cuda_slice(p, NULL).at);
}

/* ---- exchange ---- */

Dispatch *cuda_exchange(Printer *p, const Op *from, const Op *to, const char *wanted)
{
    Out body = {.s = p->s};
    for (const Op *op = from; op != to; op = op->next) {
        Out *file = p->out;
        int wide = op->kernel ? cuda_unit_width(p, op) : 0;
        if (!wide || op->out[0]->space == SPACE_LOGITS)
            continue;
        p->out = &body;
        put(p->out, "    all_gather(step, ");
        put_operand(p, op->out[0]);
        put(p->out, ", %s, %" PRId64 ", %d, g, me);\n",
            op->out[0]->type->dim[0].sym ? "step.ntok" : "1", width_of(op->out[0]), wide);
        p->out = file;
    }
    if (!body.len)
        return NULL;
    Dispatch *d = NEW(p->s, Dispatch);
    put_bytes(&body, "", 1);
    d->entry = entry_of(p, wanted, body.text);
    if (!d->entry) {
        d->entry = wanted;
        put(p->out,
            "extern \"C\" __global__ void __launch_bounds__(THREADS) %s(uchar *state, const uchar "
            "*weights, uint)\n{\n    const bn_step step = *(const bn_step *)state;\n"
            "    const uint g = blockIdx.x, me = threadIdx.x;\n    uint *arrived = AT(uint, "
            "%" PRId64
            ");\n    bn_grid grid = {arrived, arrived[1]};\n    all_gather_begin(step, grid);\n%s"
            "    all_gather_end(step, grid, g, me);\n}\n\n",
            wanted, p->at.own[AT_BARRIER], body.text);
    }
    out_free(&body);
    return d;
}
