/* weight_tiles.c: the shared memory of a block of a persistent kernel, and when it asks for the weights that are
 * on their way to it. kernels/stay.cu pictures it.
 */
#include <inttypes.h>

#include "codegen-cuda/internal.h"

bool is_product(const Printer *p, const Op *op)
{
    return op->kernel && facts_of(p, op).scratch == SCRATCH_SUMS;
}

int matrices(const Op *op, int at[2])
{
    int n = 0;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight) {
            CHECK(n < 2);
            at[n++] = i;
        }
    return n;
}

/* The first product of the run behind op's, or before it; NULL: there is none. */
static const Op *other_run(const Printer *p, const Op *op, bool before)
{
    const Op *o = op;
    while (o && (!is_product(p, o) || o->in[0] == op->in[0]))
        o = before ? o->prev : o->next;
    while (o && before && o->prev && is_product(p, o->prev) && o->prev->in[0] == o->in[0])
        o = o->prev;
    return o;
}

/* When a part is asked for: while the block multiplies, it needs the card's memory for nothing
 * else, and what comes then is in nobody's way. The next run of products will do, but not behind
 * the layer's last: the attention there would wait. That is asked for as the run before it
 * multiplies. Two matrices at once are too many, so the second comes behind the attention. */
static bool set_when(const Printer *p, Part *part)
{
    const Op *attention = part->op, *next = other_run(p, part->op, false);
    while (attention && attention->code != OP_ROPE_ATTENTION)
        attention = attention->prev;
    bool second = part->matrix && attention;
    part->late = second || !next;
    part->when = second ? attention : next ? next : other_run(p, part->op, true);
    return part->when;
}

/* Parts of the products in layers whose matrices change from layer to layer. */
void find_parts(Step *s, const Block *b, const Op *layers)
{
    for (const Op *op = b->first; op; op = op->next) {
        int at[2];
        if (op->body)
            find_parts(s, op->body, op);
        if (!is_product(s->p, op))
            continue;
        int n = matrices(op, at);
        Part part = {.op = op, .layers = layers};
        bool changes = layers && set_when(s->p, &part);
        for (int i = 0; i < n; i++)
            changes &= op->in[at[i]]->weight->count > 0;
        s->others += !changes;
        for (; changes && part.matrix < n; part.matrix++) {
            CHECK(set_when(s->p, &part));
            part.scales = s->scales;
            s->part = grow(s->p->s, s->part, (size_t)s->npart, sizeof *s->part);
            s->part[s->npart++] = part;
            s->scales += attr_int(layers, "count", 1);
        }
    }
}

int part_of(const Step *s, const Op *op)
{
    for (int i = 0; i < s->npart; i++)
        if (s->part[i].op == op)
            return i;
    return -1;
}

const Type *matrix_type(const Op *op)
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

int run_of(const Printer *p, const Op *op)
{
    int n = 0;
    for (const Op *o = op; o && is_product(p, o) && o->in[0] == op->in[0]; o = o->next)
        n++;
    return n;
}

const char *run_text(const Step *s, const Op *op, int n)
{
    const char *text = "0";
    for (int i = 0; i < n; i++, op = op->next)
        text = i ? format(s->p->s, "%s + %s", text, share_text(s, op)) : share_text(s, op);
    return text;
}

/* What a screen's rows are shared by: a row a warp. */
static int64_t screen_units(const Printer *p, const Op *op)
{
    const int64_t warps = p->dialect->threads / WARP;
    return (op->out[0]->type->dim[1].n + warps - 1) / warps;
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

/* Blocks of 4 rows, of which an op keeps a sum each, or a bound: text. NULL: none. */
static const char *rows_text(const Step *s, const Op *op)
{
    if (op->code == OP_SCREEN)
        return format(s->p->s, "4 * SHARE(%" PRId64 ")", screen_units(s->p, op));
    return is_product(s->p, op) ? run_text(s, op, run_of(s->p, op)) : NULL;
}

/* The rows of the hungriest run of products, or other op, as a constant of its own for each. */
static void put_sums(Step *s, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        const char *here = rows_text(s, op), *before = "0";
        if (op->body)
            put_sums(s, op->body);
        if (!here)
            continue;
        if (s->nrun)
            before = format(s->p->s, "%s_ROWS_%d", s->places, s->nrun - 1);
        put(s->p->out, "    %s_ROWS_%d = %s > %s ? %s : %s,\n", s->places, s->nrun++, here, before,
            here, before);
        for (int n = run_of(s->p, op); n > 1; n--)
            op = op->next;
    }
}

/* Places as constants that depend on BN_BLOCKS alone; a part that does not fit has none, and ends
 * where it begins. */
void put_layout(Step *s, const Func *f)
{
    Out *o = s->p->out;
    int64_t scratch = 0;
    most_scratch(s, f->body, &scratch);
    const char *at = s->places;
    put(o, "/* Shared memory of a block of %s_step: see stay.cu. */\nenum {\n", f->name);
    if (s->npart)
        put(o, "    STEP_MOST = 227 << 10,\n");
    put_sums(s, f->body);
    put(o, "    %s_SCRATCH = %" PRId64 ",\n    %s_SUMS = %s_SCRATCH + %" PRId64 ",\n", at,
        (s->p->m->own_bytes + 127) / 128 * 128, at, at, scratch);
    put(o, "    %s_MARKS = %s_SUMS + 16 * (%s),\n", at, at,
        s->nrun ? format(s->p->s, "%s_ROWS_%d", at, s->nrun - 1) : "0");
    if (!s->npart) {
        put(o, "    %s_BYTES = %s_MARKS\n};\n", at, at);
        return;
    }
    put(o,
        "    STEP_SCALES = STEP_MARKS + %d,\n    STEP_PARTS = (STEP_SCALES + %" PRId64
        ") / 128 * 128,\n",
        8 * s->npart, 4 * s->scales + 127);
    for (int i = 0; i < s->npart; i++) {
        const char *before = i ? format(s->p->s, "STEP_END_%d", i - 1) : "STEP_PARTS";
        const Type *t = matrix_type(s->part[i].op);
        put(o,
            "    STEP_BYTES_%d = SHARE(%" PRId64 ") * %" PRId64 ",\n"
            "    STEP_END_%d = %s + (%s + STEP_BYTES_%d > STEP_MOST ? 0 : STEP_BYTES_%d),\n",
            i, (t->dim[0].n + 3) / 4, (t->dim[1].n + 127) / 128 * 128, i, before, before, i, i);
    }
    put(o, "    STEP_BYTES = STEP_END_%d\n};\n", s->npart - 1);
}

static const Weight *weight_of(const Part *part)
{
    int at[2];
    CHECK(matrices(part->op, at) > part->matrix);
    return part->op->in[at[part->matrix]]->weight;
}

static void put_part(Step *s, int i, const char *layer)
{
    Out *o = s->p->out;
    const Type *t = matrix_type(s->part[i].op);
    put(o, "part_next(part_%d, ", i);
    put_place_of(s->p, weight_of(&s->part[i]), layer);
    put(o, ", %" PRId64 ", %" PRId64 ", b);\n", t->dim[0].n, t->dim[1].n);
}

const char *layers_end(const Step *s)
{
    return format(s->p->s, "%" PRId64,
                  attr_int(s->layers, "first", 0) + attr_int(s->layers, "count", 1));
}

/* One thread, `who`, asks for what is asked for at `when`. */
void put_asks(Step *s, const Op *when, const char *who, const char *margin)
{
    Out *o = s->p->out;
    for (int late = 0; late < 2; late++) {
        bool any = false;
        for (int i = 0; i < s->npart; i++) {
            if (s->part[i].when != when || s->part[i].late != late)
                continue;
            if (!any && late)
                put(o, "%sif (me == %s && layer > %" PRId64 ") {\n", margin, who,
                    attr_int(s->layers, "first", 0));
            else if (!any)
                put(o, "%sif (me == %s && layer + 1 < %s) {\n", margin, who, layers_end(s));
            any = true;
            put(o, "%s    ", margin);
            put_part(s, i, late ? "layer" : "layer + 1");
        }
        if (any)
            put(o, "%s}\n", margin);
    }
}

/* Marks, all scales, and the parts of the first layers, when all threads have met. */
void put_first_parts(Step *s)
{
    Out *o = s->p->out;
    if (!s->npart)
        return;
    put(o,
        "    if (me == 0) {\n        for (int i = 0; i < %d; i++)\n            "
        "part_mark(mark + i);\n",
        s->npart);
    for (int i = 0; i < s->npart; i++) {
        put(o, "        ");
        put_part(s, i, format(s->p->s, "%" PRId64, attr_int(s->part[i].layers, "first", 0)));
    }
    put(o, "    }\n");
    for (int i = 0; i < s->npart; i++) {
        const Part *part = &s->part[i];
        int64_t first = attr_int(part->layers, "first", 0);
        put(o, "#pragma unroll 1\n    for (int i = int(me); i < %" PRId64 "; i += THREADS)\n",
            attr_int(part->layers, "count", 1));
        put(o, "        scales[%" PRId64 " + i] = *", part->scales);
        put_scales_of(s->p, weight_of(part),
                      first ? format(s->p->s, "%" PRId64 " + i", first) : "i");
        put(o, ";\n");
    }
}
