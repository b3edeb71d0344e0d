/* stay.c: prints a decode step, or @best, as one kernel whose blocks stay: the ops of the planned
 * function in order, a meeting of all blocks for each of the plan's barriers. One idea: blocks are
 * to it what threads are to C.
 *
 * What an op's blocks do follows from its kernel's grid and from where its results stand: a result
 * of each block's own all make; one that is shared, of a token, block 0; heads, rows and others are
 * dealt out; a share's kernel does that itself, over the blocks of all cards. kernels/stay.cu has
 * the rest, and the picture of the shared memory.
 */
#include <inttypes.h>

#include "codegen-cuda/internal.h"

/* Two ops that use the same, one behind the other, have the block's threads meet in between. */
enum { USES_OWN = 1, USES_SCRATCH = 2, USES_SUMS = 4 };

/* ---- ops ---- */

static bool own_result(const Op *op)
{
    return op->nout && op->out[0]->room == ROOM_OWN;
}

static unsigned uses_of(const Printer *p, const Op *op)
{
    unsigned uses = is_product(p, op) ? USES_SUMS : facts_of(p, op).scratch ? USES_SCRATCH : 0;
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

static void put_part_name(Step *s, int part)
{
    put(s->p->out, part < 0 ? "no_part, " : "part_%d, ", part);
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
        int at[2], many = matrices(product, at), part = part_of(s, product);
        for (int j = 0; j < many; j++) {
            put(o, "%s\n%s    matrix_of(", count++ ? "," : "", margin);
            put_place_of(s->p, product->in[at[j]]->weight, "layer");
            put(o, ", %" PRId64 ", %" PRId64 ", ", t->dim[0].n, t->dim[1].n);
            put_part_name(s, part < 0 ? part : part + j);
            put(o, "b, sums + 4 * (%s", run_text(s, op, i));
            put(o, j ? " + SHARE(%" PRId64 ")))" : "))", (t->dim[0].n + 3) / 4);
        }
    }
    put(o, "};\n");
    put_asks(s, op, "ASKS", margin);
    put(o, "%sshare_sums(run_%d, %d, ", margin, s->nproduct, count);
    put_operand(s->p, op->in[0]);
    put(o, ", %" PRId64 ", me);\n", op->in[0]->type->dim[1].n);
}

/* The n products from op on: what is ready before their sums, these, and, when the block's threads
 * have met, their rows. */
static void put_products(Step *s, const Op *op, int n, const char *margin)
{
    Out *o = s->p->out;
    put_sync(s, uses_of(s->p, op), margin);
    for (int end = 0; end < 2; end++) {
        const Op *product = op;
        for (int i = 0; i < n; i++, product = product->next) {
            int part = part_of(s, product);
            if (!end)
                put_ir_comment(s->p, product, margin);
            if (end)
                put(o, "%s%s_end(", margin, product->kernel->symbol);
            else
                put(o, "%sconst bn_ready ready_%d = %s(", margin, s->nproduct + i,
                    product->kernel->symbol);
            put_arguments(s->p, product);
            for (int j = 0, at[2]; j < matrices(product, at); j++)
                put_part_name(s, part < 0 ? part : part + j);
            if (end)
                put(o, "ready_%d, step, b, row_of(me, %d), sums + 4 * (%s));\n", s->nproduct + i,
                    2 * i, run_text(s, op, i));
            else
                put(o, "b, row_of(me, %d));\n", 2 * i);
        }
        if (end)
            continue;
        put_sums_of(s, op, n, margin);
        put(o, "%s__syncthreads();\n", margin);
    }
    s->used = USES_SUMS;
    s->nproduct += n;
}

/* What an op reads that is there before others have come: gains, the cache of earlier positions. */
static bool has_ahead(const Op *op)
{
    return op && op->kernel && (op->code == OP_RMSNORM_QUANT || op->code == OP_ROPE_ATTENTION);
}
static int ahead_of(const Step *s, const Op *op)
{
    for (int i = 0; i < s->nahead; i++)
        if (s->ahead[i] == op)
            return i;
    return -1;
}

/* Registers for it, and what fills them in a layer; `declared`: they are there. */
static void put_registers(Step *s, const Op *op, const char *margin)
{
    s->ahead = grow(s->p->s, s->ahead, (size_t)s->nahead, sizeof *s->ahead);
    s->ahead[s->nahead++] = op;
    if (op->code == OP_RMSNORM_QUANT)
        put(s->p->out, "%sbn_gains ahead_%d;\n", margin, s->nahead - 1);
    else
        put(s->p->out, "%sbn_cached<%s> ahead_%d;\n", margin,
            op->in[4]->type->fmt == FMT_F16 ? "half" : "float", s->nahead - 1);
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
        "step.pos, %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ", chunk_%" PRId64 ", b, me",
        heads, t->dim[0].n, t->dim[1].n, t->dim[2].n, heads);
}
static void put_ahead(Step *s, const Op *op, const char *layer, const char *margin)
{
    Out *o = s->p->out;
    if (op->code == OP_RMSNORM_QUANT) {
        put(o, "%sgain_ahead(FLOATS(", margin);
        put_place_of(s->p, op->in[1]->weight, layer);
        put(o, "), %" PRId64 ", me, ahead_%d);\n", op->in[1]->type->dim[0].n, ahead_of(s, op));
    } else {
        put(o, "%sattention_ahead(ahead_%d, ", margin, ahead_of(s, op));
        put_cache(s, op, layer);
        put(o, ");\n");
    }
}

/* On its way to the cache: what the next layer's attention and norms read. */
static void put_bring(Step *s, const Block *b, const char *margin)
{
    Out *o = s->p->out;
    put(o, "%sif (layer + 1 < %s) {\n", margin, layers_end(s));
    for (const Op *op = b->first; op; op = op->next) {
        if (op->code == OP_RMSNORM_QUANT && op->in[1]->weight->count) {
            put(o, "%s    bring(", margin);
            put_place_of(s->p, op->in[1]->weight, "layer + 1");
            put(o, ", %" PRId64 ", here, me);\n", 4 * op->in[1]->type->dim[0].n);
        }
        if (op->code == OP_ROPE_ATTENTION) {
            put(o, "%s    attention_bring(", margin);
            put_cache(s, op, "layer + 1");
            put(o, ");\n");
        }
    }
    put(o, "%s}\n", margin);
}

/* All blocks meet. Between a block's coming and its going on it asks for what comes in the place
 * of the parts that it has done with (before, the weights on their way would hold its word up), and
 * for what the ops behind need. */
static void put_meet(Step *s, const Op *barrier, const char *margin)
{
    Out *o = s->p->out;
    const char *deeper = format(s->p->s, "%s    ", margin);
    bool attended = barrier->prev && barrier->prev->code == OP_ROPE_ATTENTION;
    put(o, "%sgrid_arrive(step, met);\n", margin);
    if (attended && s->layers)
        put_asks(s, barrier->prev, "0", margin);
    if (s->to_come && (!s->idle || attended)) {
        put_bring(s, s->to_come, margin);
        s->to_come = NULL;
    }
    const Op *next = barrier->next;
    while (next && !next->kernel && !next->body)
        next = next->next;
    if (has_ahead(next)) {
        put_registers(s, next, margin);
        put_ahead(s, next, "layer", margin);
    } else if (!next && s->carried) {
        put(o, "%sif (layer + 1 < %s)\n", margin, layers_end(s));
        put_ahead(s, s->carried, "layer + 1", deeper);
    }
    put(o, "%sgrid_wait(met, all += ALL_BLOCKS);\n", margin);
    s->used = 0;
}

static void put_group_call(Step *s, const Op *op, const char *group)
{
    put(s->p->out, "%s(", op->kernel->symbol);
    put_arguments(s->p, op);
    if (has_ahead(op))
        put(s->p->out, "ahead_%d, ", ahead_of(s, op));
    put(s->p->out, "%s, me%s);\n", group, facts_of(s->p, op).scratch ? ", tg" : "");
}

static void put_op(Step *s, const Op *op, const char *margin)
{
    Out *o = s->p->out;
    int grid = facts_of(s->p, op).grid;
    if (has_ahead(op) && ahead_of(s, op) < 0) {
        put_registers(s, op, margin);
        put_ahead(s, op, "layer", margin);
    }
    put_sync(s, uses_of(s->p, op), margin);
    put_ir_comment(s->p, op, margin);
    if (grid == GRID_SHARE) {
        put(o, "%s%s(", margin, op->kernel->symbol);
        put_arguments(s->p, op);
        if (op->code == OP_SCREEN)
            put(o,
                "AT(float, %" PRId64 "), step, met, all, b, me, (bn_screen *)tg, (float *)sums);\n",
                s->p->at.own[AT_FOUND]);
        else
            put(o,
                "AT(float, %" PRId64 "), chunk_%" PRId64
                ", ahead_%d, step, met, all, b, me, tg);\n",
                s->p->at.own[AT_CHUNKS], attr_int(op, "heads", 0), ahead_of(s, op));
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
            put_meet(s, op, margin);
        } else if (op->body) {
            int64_t first = attr_int(op, "first", 0);
            s->carried = has_ahead(op->body->first) ? op->body->first : NULL;
            s->to_come = op->body;
            s->idle = false;
            for (const Op *in = op->body->first; in; in = in->next)
                s->idle |= in->code == OP_ROPE_ATTENTION;
            if (s->carried) {
                put_registers(s, s->carried, margin);
                put_ahead(s, s->carried, format(s->p->s, "%" PRId64, first), margin);
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
    return f->form == FORM_DECODE ? "STEP" : "BEST";
}

/* What a decode step begins with: it is told what to do, and has the first layers' parts come. */
static void put_given(Step *s)
{
    Out *o = s->p->out;
    if (s->npart)
        put(o, "    ulong *mark = (ulong *)(own + STEP_MARKS);\n"
               "    float *scales = (float *)(own + STEP_SCALES);\n");
    for (int i = 0; i < s->npart; i++) {
        const char *from = i ? format(s->p->s, "STEP_END_%d", i - 1) : "STEP_PARTS";
        put(o,
            "    bn_part part_%d = {own + %s, STEP_END_%d > %s, mark + %d, 0, scales + %" PRId64
            "};\n",
            i, from, i, from, i, s->part[i].scales);
    }
    if (s->others)
        put(o, "    bn_part no_part = {nullptr, false, nullptr, 0, nullptr};\n");
    put(o,
        "    if (here == 0 && me == 0)\n        step_given(step, (bn_step *)state, AT(int, %" PRId64
        "));\n    grid_come(step, met);\n",
        s->p->at.tokens);
    put_first_parts(s);
    put(o, "#pragma unroll 1\n    for (int i = int(me); i < (STEP_MARKS - STEP_SUMS) / 4; i += "
           "THREADS)\n        "
           "sums[i] = 0;\n    grid_wait(met, all += ALL_BLOCKS);\n"
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
    find_parts(&s, f->body, NULL);
    put_layout(&s, f);
    put(o,
        "extern \"C\" __global__ void __launch_bounds__(THREADS, 1) %s_step(uchar *state, "
        "const uchar *weights, uint)\n"
        "{\n    BN_SHARED(shared);\n    bn_step step = *(const bn_step *)state;\n"
        "    const uint here = blockIdx.x, b = card_of(step) * BN_BLOCKS + here, me = "
        "threadIdx.x;\n"
        "    uchar *own = (uchar *)shared;\n    float *tg = (float *)(own + %s_SCRATCH);\n"
        "    int *sums = (int *)(own + %s_SUMS);\n    uint *met = AT(uint, %" PRId64
        "), all = met[1];\n",
        f->name, s.places, s.places, p->at.own[AT_BARRIER]);
    if (f->form == FORM_DECODE)
        put_given(&s);
    else
        put(o,
            "    if (here == 0)\n        hidden_out(step, AT(float, %" PRId64 "), %" PRId64
            ", me);\n",
            p->at.hidden, hidden_bytes(p->m) / 4);
    put_chunks(&s, f->body);
    put_block(&s, f->body, "    ");
    put(o, "    if (here == 0 && me == 0)\n        met[1] = all;\n}\n\n");
}
