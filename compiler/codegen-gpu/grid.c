/* grid.c: how large an op's grid and its scratch are, and where things stand on the device. Places
 * in the state follow from the plan:
 *
 *   state   | step | tokens | hidden | logits | scratch | KV cache | the dialect's |      each at a
 * multiple of 256
 */
#include "codegen-gpu/gpu.h"

enum { ALIGN = 256, MOST_HEAD = 512 };

const LayoutRule gpu_layouts[GPU_LAYOUTS] = {{FMT_TERN, FMT_Q2R4, 0, 0},
                                             {FMT_TERN256, FMT_Q2R4B, 0, 0}};

KernelFacts facts_of(const Printer *p, const Op *op)
{
    return p->dialect->facts[op->kernel - p->dialect->target.kernel];
}

/* ---- places ---- */

int64_t take_place(int64_t *end, int64_t bytes)
{
    int64_t at = *end;
    *end = (at + bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static Places places(const Printer *p)
{
    const Module *m = p->m;
    Places at = {0};
    int64_t end = ALIGN, vocab = result_of(m, FORM_SCORE)->dim[1].n;
    at.tokens = take_place(&end, 4 * (int64_t)m->batch);
    at.hidden = take_place(&end, hidden_bytes(m));
    at.logits = take_place(&end, 4 * vocab * m->batch);
    at.scratch = take_place(&end, m->shared_bytes);
    at.cache = take_place(&end, m->cache_bytes);
    if (p->dialect->places)
        p->dialect->places(p, &end, &at);
    at.end = end;
    return at;
}

Printer gpu_printer(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out)
{
    Printer p = {.dialect = d,
                 .m = m,
                 .o = o,
                 .s = m->s,
                 .out = out,
                 .seen = {.s = m->s},
                 .gpus = d->most_gpus > 1 ? o->gpus : 1};
    p.at = places(&p);
    return p;
}

Slice slice_of(const Printer *p, const Weight *w)
{
    return p->dialect->slice ? p->dialect->slice(p, w)
                             : (Slice){.at = w->at, .stride = w->stride, .less = ""};
}

/* ---- grids ---- */

int64_t groups_of(const Printer *p, const Op *op, Times *times)
{
    const Type *t = op->nout ? op->out[0]->type : op->in[0]->type;
    int64_t rows = p->dialect->threads / WARP;
    *times = t->rank && t->dim[0].sym ? TIMES_TOKEN : TIMES_ONCE;
    switch (facts_of(p, op).grid) {
    case GRID_TOKEN:
        return 1;
    case GRID_ROWS:
        return (op->out[0]->type->dim[1].n + rows - 1) / rows;
    case GRID_ROWS4:
        return (op->out[0]->type->dim[1].n + 4 * rows - 1) / (4 * rows);
    case GRID_HEADS:
        return op_units(op).n;
    default:
        return p->dialect->groups(p, op, times);
    }
}

int unit_width(const Printer *p, const Op *op)
{
    return p->dialect->unit_width ? p->dialect->unit_width(p, op) : 0;
}

int64_t width_of(const Value *v)
{
    int64_t n = 1;
    for (int i = 1; i < v->type->rank; i++)
        n *= v->type->dim[i].n;
    return n;
}

/* ---- scratch ---- */

int64_t head_dim(const Op *op)
{
    int64_t dim = op->in[op->code == OP_ROPE_ATTENTION ? 4 : 1]->type->dim[2].n;
    if (dim > MOST_HEAD)
        fail(op->block->func->module->s, op->loc,
             "a head of %lld values: attention on a GPU takes %d", (long long)dim, MOST_HEAD);
    return dim;
}

int64_t scratch_bytes(const Printer *p, const Op *op)
{
    int64_t warps = p->dialect->threads / WARP, bytes;
    switch (facts_of(p, op).scratch) {
    case SCRATCH_NONE:
        bytes = 4 * warps;
        break;
    case SCRATCH_REDUCE:
        bytes = 4 * 2 * warps;
        break;
    case SCRATCH_ATTEND:
        bytes = 4 * warps * (2 + head_dim(op));
        break;
    default:
        bytes = p->dialect->scratch(p, op);
    }
    return (bytes + 15) / 16 * 16;
}
