/* stay.c: prints a decode step as one kernel whose blocks stay: the ops of the planned function in
 * order, a meeting of all blocks for each of the plan's barriers. One idea: blocks are to it what
 * threads are to C.
 *
 * What an op's blocks do follows from its kernel's grid and from where its results stand: a result
 * of each block's own all make; one that is shared, of a token, block 0; heads, rows and others are
 * dealt out; a share's kernel does that itself. kernels/stay.cu has the rest, and the picture of
 * the shared memory.
 */
#include <inttypes.h>
#include <string.h>

#include "codegen-metal/print.h"

typedef struct Part { /* of a product's weights that come a layer ahead */
    const Op *op, *layers;
} Part;

typedef struct Step {
    Printer *p;
    Part *part;
    int npart, others;  /* others: products that have no part */
    int nrun, nproduct; /* of runs whose sums, products whose calls are printed */
    const Op *layers;   /* whose body is printed; NULL: none */
    unsigned used;      /* what the block's threads share that was used since they met: USES_* */
} Step;

/* Two ops that use the same, one behind the other, have the block's threads meet in between. */
enum { USES_OWN = 1, USES_SCRATCH = 2, USES_SUMS = 4 };

static bool is_product(const Op *op)
{
    return op->kernel && facts_of(op).scratch == SCRATCH_SUMS;
}

/* How many of a product's operands are matrices: their places, first and second. */
static int matrices(const Op *op, int at[2])
{
    int n = 0;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight) {
            CHECK(n < 2);
            at[n++] = i;
        }
    return n;
}

/* Parts of the products in layers whose matrices change from layer to layer. */
static void find_parts(Step *s, const Block *b, const Op *layers)
{
    for (const Op *op = b->first; op; op = op->next) {
        int at[2];
        if (op->body)
            find_parts(s, op->body, op);
        if (!is_product(op))
            continue;
        bool changes = layers;
        for (int i = 0, n = matrices(op, at); i < n; i++)
            changes &= op->in[at[i]]->weight->count > 0;
        if (!changes) {
            s->others++;
            continue;
        }
        s->part = grow(s->p->s, s->part, (size_t)s->npart, sizeof *s->part);
        s->part[s->npart++] = (Part){op, layers};
    }
}

static int part_of(const Step *s, const Op *op)
{
    for (int i = 0; i < s->npart; i++)
        if (s->part[i].op == op)
            return i;
    return -1;
}

static const Type *matrix_type(const Op *op)
{
    int at[2];
    CHECK(matrices(op, at));
    return op->in[at[0]]->type;
}

/* ---- shared memory ---- */

/* Blocks of rows in a product's share of BN_BLOCKS, of all its matrices: text. */
static const char *share_text(const Step *s, const Op *op)
{
    int at[2], n = matrices(op, at);
    return format(s->p->s, "%d * SHARE(%" PRId64 ")", n, (op->in[at[0]]->type->dim[0].n + 3) / 4);
}

/* How many products from op on, one behind the other, are of one row of activations. */
static int run_of(const Op *op)
{
    int n = 0;
    for (const Op *o = op; o && is_product(o) && o->in[0] == op->in[0]; o = o->next)
        n++;
    return n;
}

static const char *run_text(const Step *s, const Op *op, int n)
{
    const char *text = "0";
    for (int i = 0; i < n; i++, op = op->next)
        text = i ? format(s->p->s, "%s + %s", text, share_text(s, op)) : share_text(s, op);
    return text;
}

static void most_scratch(const Step *s, const Block *b, int64_t *scratch)
{
    for (const Op *op = b->first; op; op = op->next) {
        if (op->body)
            most_scratch(s, op->body, scratch);
        if (!op->kernel)
            continue;
        int64_t bytes = scratch_bytes(s->p, op);
        *scratch = bytes > *scratch ? bytes : *scratch;
    }
}

/* The sums that the hungriest run of products needs, as a constant of its own for each. */
static void put_sums(Step *s, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        if (op->body)
            put_sums(s, op->body);
        if (!is_product(op))
            continue;
        int n = run_of(op);
        const char *before = s->nrun ? format(s->p->s, "STEP_ROWS_%d", s->nrun - 1) : "0",
                   *here = run_text(s, op, n);
        put(s->p->out, "    STEP_ROWS_%d = %s > %s ? %s : %s,\n", s->nrun++, here, before, here,
            before);
        while (--n)
            op = op->next;
    }
}

/* Places as constants that depend on BN_BLOCKS alone; a part that does not fit has none, and ends
 * where it begins. */
static void put_layout(Step *s, const Func *f)
{
    Out *o = s->p->out;
    int64_t scratch = 0;
    most_scratch(s, f->body, &scratch);
    put(o, "/* Shared memory of a block of decode_step: see stay.cu. */\n"
           "enum {\n    STEP_MOST = 227 << 10,\n");
    put_sums(s, f->body);
    put(o,
        "    STEP_SCRATCH = %" PRId64 ",\n    STEP_SUMS = STEP_SCRATCH + %" PRId64
        ",\n    STEP_MARKS = STEP_SUMS + 4 * (GROUPS + 4 * %s),\n    STEP_PARTS = STEP_MARKS + "
        "%d,\n",
        (s->p->m->own_bytes + 127) / 128 * 128, scratch,
        s->nrun ? format(s->p->s, "STEP_ROWS_%d", s->nrun - 1) : "0",
        (8 * s->npart + 127) / 128 * 128);
    for (int i = 0; i < s->npart; i++) {
        const char *before = i ? format(s->p->s, "STEP_END_%d", i - 1) : "STEP_PARTS";
        put(o,
            "    STEP_BYTES_%d = %s * %" PRId64 ",\n"
            "    STEP_END_%d = %s + (%s + STEP_BYTES_%d > STEP_MOST ? 0 : STEP_BYTES_%d),\n",
            i, share_text(s, s->part[i].op),
            (matrix_type(s->part[i].op)->dim[1].n + 127) / 128 * 128, i, before, before, i, i);
    }
    put(o, "    STEP_BYTES = %s\n};\n\n",
        s->npart ? format(s->p->s, "STEP_END_%d", s->npart - 1) : "STEP_PARTS");
}

static void put_first_parts(Step *s)
{
    Out *o = s->p->out;
    if (!s->npart)
        return;
    for (int i = 0; i < s->npart; i++) {
        const Op *op = s->part[i].op;
        int at[2], n = matrices(op, at);
        const char *first = format(s->p->s, "%" PRId64, attr_int(s->part[i].layers, "first", 0));
        for (int j = 0; j < n; j++) {
            put(o, "    part_%d.scale[%d] = *FLOATS(", i, j);
            put_bytes_of(s->p, op->in[at[j]]->weight, first);
            put(o, " + %" PRId64 ");\n", op->in[at[j]]->weight->scales);
        }
    }
    put(o, "    if (me == 0) {\n");
    for (int i = 0; i < s->npart; i++)
        put(o, "        part_mark(mark + %d);\n", i);
    for (int i = 0; i < s->npart; i++) {
        const Op *op = s->part[i].op;
        const Type *t = matrix_type(op);
        int at[2], n = matrices(op, at);
        const char *first = format(s->p->s, "%" PRId64, attr_int(s->part[i].layers, "first", 0));
        const char *shape =
            format(s->p->s, "%" PRId64 ", %" PRId64 ", b", t->dim[0].n, t->dim[1].n);
        put(o, "        if (part_%d.at && share_bytes(%s))\n            part_ask(part_%d, ", i,
            shape, i);
        put_bytes_of(s->p, op->in[at[0]]->weight, first);
        put(o, " + share_at(%s), ", shape);
        if (n == 2) {
            put_bytes_of(s->p, op->in[at[1]]->weight, first);
            put(o, " + share_at(%s), ", shape);
        } else {
            put(o, "nullptr, ");
        }
        put(o, "share_bytes(%s));\n", shape);
    }
    put(o, "    }\n");
}

/* ---- ops ---- */

/* A weight in the layer behind this one, NULL behind the last, with a comma. */
static void put_next(Step *s, const Value *w)
{
    if (!s->layers || !w->weight->count) {
        put(s->p->out, "nullptr, ");
        return;
    }
    put(s->p->out, "layer + 1 < %" PRId64 " ? ",
        attr_int(s->layers, "first", 0) + attr_int(s->layers, "count", 1));
    put_bytes_of(s->p, w->weight, "layer + 1");
    put(s->p->out, " : nullptr, ");
}

static bool own_result(const Op *op)
{
    return op->nout && op->out[0]->room == ROOM_OWN;
}

static unsigned uses_of(const Op *op)
{
    unsigned uses = is_product(op) ? USES_SUMS : facts_of(op).scratch ? USES_SCRATCH : 0;
    for (int i = 0; i < op->nin; i++)
        uses |= !op->in[i]->weight && op->in[i]->room == ROOM_OWN ? USES_OWN : 0;
    return uses | (own_result(op) ? USES_OWN : 0);
}

static void put_sync(Step *s, unsigned uses, const char *margin)
{
    if (s->used & uses)
        put(s->p->out, "%s__syncthreads();\n", margin);
    s->used = s->used & uses ? uses : s->used | uses;
}

static void put_group_call(Step *s, const Op *op, const char *group)
{
    put(s->p->out, "%s(", op->kernel->symbol);
    put_arguments(s->p, op);
    put(s->p->out, "%s, me%s);\n", group, facts_of(op).scratch ? ", tg" : "");
}

/* The n products from op on: their sums, then, when the block's threads have met, their rows. */
static void put_products(Step *s, const Op *op, int n, const char *margin)
{
    Out *o = s->p->out;
    int first = s->nproduct;
    put_sync(s, uses_of(op), margin);
    put(o, "%sshare_over(", margin);
    put_operand(s->p, op->in[0]);
    put(o, ", %" PRId64 ", me, sums);\n", op->in[0]->type->dim[1].n);
    for (int end = 0; end < 2; end++) {
        const Op *product = op;
        for (int i = 0; i < n; i++, product = product->next) {
            int part = part_of(s, product), at[2], many = matrices(product, at);
            if (!end)
                put_ir_line(s->p, product, margin);
            if (end)
                put(o, "%s%s_end(", margin, product->kernel->symbol);
            else
                put(o, "%sconst float before_%d = %s(", margin, first + i, product->kernel->symbol);
            put_arguments(s->p, product);
            put(o, part < 0 ? "no_part, " : "part_%d, ", part);
            for (int j = 0; end && j < many; j++)
                put_next(s, product->in[at[j]]);
            if (end)
                put(o, "sums, before_%d, ", first + i);
            put(o, "b, me, sums + GROUPS + 4 * (%s));\n", run_text(s, op, i));
        }
        if (!end)
            put(o, "%s__syncthreads();\n", margin);
    }
    s->nproduct += n;
}

static void put_op(Step *s, const Op *op, const char *margin)
{
    Out *o = s->p->out;
    Grid grid = facts_of(op).grid;
    put_sync(s, uses_of(op), margin);
    put_ir_line(s->p, op, margin);
    if (grid == GRID_SHARE) {
        put(o, "%s%s(", margin, op->kernel->symbol);
        put_arguments(s->p, op);
        put(o, "AT(float, %" PRId64 "), b, me, tg);\n", s->p->at.parts);
        return;
    }
    if (own_result(op)) {
        put(o, "%s", margin);
        put_group_call(s, op, "0");
    } else if (grid == GRID_TOKEN) {
        put(o, "%sif (b == 0)\n%s    ", margin, margin);
        put_group_call(s, op, "0");
    } else {
        put(o, "%sfor (uint g = b; g < %" PRId64 "; g += BN_BLOCKS) {\n", margin,
            groups_of(s->p, op));
        if (facts_of(op).scratch)
            put(o, "%s    if (g != b)\n%s        __syncthreads();\n", margin, margin);
        put(o, "%s    ", margin);
        put_group_call(s, op, "g");
        put(o, "%s}\n", margin);
    }
}

/* What a layer's ops read that no part brings: on its way to the cache from the layer's beginning.
 */
static void put_ahead(Step *s, const Block *b, const char *margin)
{
    Out *o = s->p->out;
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_RMSNORM_QUANT) {
            put(o, "%sbring(", margin);
            put_next(s, op->in[1]);
            put(o, "%" PRId64 ", b, me);\n", 4 * op->in[1]->type->dim[0].n);
        }
        if (op->code == OP_ROPE_ATTENTION) {
            const Type *t = op->in[4]->type;
            put(o, "%sattention_ahead(", margin);
            put_bytes_of(s->p, op->in[4]->weight, "layer");
            put(o, ", ");
            put_bytes_of(s->p, op->in[5]->weight, "layer");
            put(o,
                ", step.pos, %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                ", b, me);\n",
                attr_int(op, "heads", 0), t->dim[0].n, t->dim[1].n, t->dim[2].n,
                heads_together(op));
        }
    }
}

static void put_block(Step *s, const Block *b, const char *margin)
{
    Out *o = s->p->out;
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_BARRIER) {
            put(o, "%sgrid_meet(met, all += BN_BLOCKS);\n", margin);
            s->used = 0;
        } else if (op->body) {
            int64_t first = attr_int(op, "first", 0);
            put(o,
                "#pragma unroll 1\n%sfor (uint layer = %" PRId64 "; layer < %" PRId64
                "; layer++) {\n",
                margin, first, first + attr_int(op, "count", 1));
            s->layers = op;
            put_ahead(s, op->body, format(s->p->s, "%s    ", margin));
            put_block(s, op->body, format(s->p->s, "%s    ", margin));
            s->layers = NULL;
            put(o, "%s}\n", margin);
        } else if (is_product(op)) {
            int n = run_of(op);
            put_products(s, op, n, margin);
            while (--n)
                op = op->next;
        } else if (op->kernel) {
            put_op(s, op, margin);
        }
    }
}

void put_decode_step(Printer *p, const Func *f)
{
    Step s = {.p = p};
    Out *o = p->out;
    find_parts(&s, f->body, NULL);
    put_layout(&s, f);
    put(o,
        "#define OWN(type, offset) ((type *)(own + (offset)))\n"
        "extern \"C\" __global__ void __launch_bounds__(THREADS, 1) decode_step(uchar *state, "
        "const uchar *weights)\n"
        "{\n    BN_SHARED(shared);\n    const bn_step step = *(const bn_step *)state;\n"
        "    const uint b = blockIdx.x, me = threadIdx.x;\n"
        "    uchar *own = (uchar *)shared;\n    float *tg = (float *)(own + STEP_SCRATCH);\n"
        "    int *sums = (int *)(own + STEP_SUMS);\n    uint *met = (uint *)(state + %d), all = "
        "0;\n",
        STEP_MET);
    if (s.npart)
        put(o, "    ulong *mark = (ulong *)(own + STEP_MARKS);\n");
    for (int i = 0; i < s.npart; i++) {
        const char *from = i ? format(p->s, "STEP_END_%d", i - 1) : "STEP_PARTS";
        put(o, "    bn_part part_%d = {STEP_END_%d > %s ? own + %s : nullptr, mark + %d, 0};\n", i,
            i, from, from, i);
    }
    if (s.others)
        put(o, "    bn_part no_part = {nullptr, nullptr, 0, {0, 0}};\n");
    put_first_parts(&s);
    put(o, "    for (int i = int(me); i < (STEP_MARKS - STEP_SUMS) / 4; i += THREADS)\n        "
           "sums[i] = 0;\n");
    s.used = USES_SUMS;
    put_block(&s, f->body, "    ");
    put(o, "}\n\n");
}
