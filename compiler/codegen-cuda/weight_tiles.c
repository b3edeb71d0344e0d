/* weight_tiles.c: the shared memory of a block of a persistent kernel, and when the copies of
 * weight tiles to it start. kernels/persistent.cu pictures it.
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

/* When the copy of a tile starts: while the block multiplies, it needs no other data from global
 * memory, so the copy delays nothing. The run of products behind its own is the time, unless that
 * is in the next layer: the copy would delay the attention there, so it starts during the run
 * before its own. Two matrices at once are too many: the second one's copy starts behind the
 * attention. */
static bool set_when(const Printer *p, WeightTile *tile)
{
    const Op *attention = tile->op, *next = other_run(p, tile->op, false);
    while (attention && attention->code != OP_ROPE_ATTENTION)
        attention = attention->prev;
    bool second = tile->matrix && attention;
    tile->late = second || !next;
    tile->when = second ? attention : next ? next : other_run(p, tile->op, true);
    return tile->when;
}

/* Tiles are for products in layers whose matrices differ from layer to layer. */
void find_tiles(Step *s, const Block *b, const Op *layers)
{
    for (const Op *op = b->first; op; op = op->next) {
        int at[2];
        if (op->body)
            find_tiles(s, op->body, op);
        if (!is_product(s->p, op))
            continue;
        int n = matrices(op, at);
        WeightTile tile = {.op = op, .layers = layers};
        bool changes = layers && set_when(s->p, &tile);
        for (int i = 0; i < n; i++)
            changes &= op->in[at[i]]->weight->count > 0;
        s->others += !changes;
        for (; changes && tile.matrix < n; tile.matrix++) {
            CHECK(set_when(s->p, &tile));
            tile.scales = s->scales;
            s->tile = grow(s->p->s, s->tile, (size_t)s->ntile, sizeof *s->tile);
            s->tile[s->ntile++] = tile;
            s->scales += attr_int(layers, "count", 1);
        }
    }
}

int tile_of(const Step *s, const Op *op)
{
    for (int i = 0; i < s->ntile; i++)
        if (s->tile[i].op == op)
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

/* Blocks of 4 rows in a product's share, of all its matrices: text. */
static const char *share_text(const Step *s, const Op *op)
{
    int at[2], n = matrices(op, at);
    const char *times = n > 1 ? format(s->p->s, "%d * ", n) : "";
    return format(s->p->s, "%sSHARE(%" PRId64 ")", times, (op->in[at[0]]->type->dim[0].n + 3) / 4);
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

/* Units of a screen: a row for each warp. */
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

/* Blocks of 4 rows, for each of which an op keeps a sum, or a bound: text. NULL: none. */
static const char *rows_text(const Step *s, const Op *op)
{
    if (op->code == OP_SCREEN)
        return format(s->p->s, "4 * SHARE(%" PRId64 ")", screen_units(s->p, op));
    return is_product(s->p, op) ? run_text(s, op, run_of(s->p, op)) : NULL;
}

/* The most blocks of rows so far, of runs of products and other ops: a constant for each. */
static void put_sums(Step *s, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        const char *here = rows_text(s, op);
        if (op->body)
            put_sums(s, op->body);
        if (!here)
            continue;
        if (s->nrun) {
            const char *before = format(s->p->s, "%s_ROWS_%d", s->places, s->nrun - 1);
            here = format(s->p->s, "%s > %s ? %s : %s", here, before, here, before);
        }
        put(s->p->out, "    %s_ROWS_%d = %s,\n", s->places, s->nrun++, here);
        for (int n = run_of(s->p, op); n > 1; n--)
            op = op->next;
    }
}

/* Places, as constants that depend on BN_BLOCKS alone; a tile that does not fit ends where it
 * begins. */
void put_layout(Step *s, const Func *f)
{
    Out *o = s->p->out;
    int64_t scratch = 0;
    most_scratch(s, f->body, &scratch);
    const char *at = s->places;
    put(o, "/* Shared memory of a block of %s_step: see persistent.cu. */\nenum {\n", f->name);
    if (s->ntile)
        put(o, "    STEP_MOST = 227 << 10,\n");
    put_sums(s, f->body);
    put(o, "    %s_SCRATCH = %" PRId64 ",\n    %s_SUMS = %s_SCRATCH + %" PRId64 ",\n", at,
        (s->p->m->own_bytes + 127) / 128 * 128, at, at, scratch);
    put(o, "    %s_MBARS = %s_SUMS + 16 * (%s),\n", at, at,
        s->nrun ? format(s->p->s, "%s_ROWS_%d", at, s->nrun - 1) : "0");
    if (!s->ntile) {
        put(o, "    %s_BYTES = %s_MBARS\n};\n\n", at, at);
        return;
    }
    put(o,
        "    STEP_SCALES = STEP_MBARS + %d,\n    STEP_TILES = (STEP_SCALES + %" PRId64
        ") / 128 * 128,\n",
        8 * s->ntile, 4 * s->scales + 127);
    for (int i = 0; i < s->ntile; i++) {
        const char *before = i ? format(s->p->s, "STEP_END_%d", i - 1) : "STEP_TILES";
        const Type *t = matrix_type(s->tile[i].op);
        put(o,
            "    STEP_BYTES_%d = SHARE(%" PRId64 ") * %" PRId64 ",\n"
            "    STEP_END_%d = %s + (%s + STEP_BYTES_%d > STEP_MOST ? 0 : STEP_BYTES_%d),\n",
            i, (t->dim[0].n + 3) / 4, (t->dim[1].n + 127) / 128 * 128, i, before, before, i, i);
    }
    put(o, "    STEP_BYTES = STEP_END_%d\n};\n\n", s->ntile - 1);
}

static const Weight *weight_of(const WeightTile *tile)
{
    int at[2];
    CHECK(matrices(tile->op, at) > tile->matrix);
    return tile->op->in[at[tile->matrix]]->weight;
}

static void put_prefetch(Step *s, int i, const char *layer)
{
    Out *o = s->p->out;
    const Type *t = matrix_type(s->tile[i].op);
    put(o, "tile_prefetch(tile_%d, ", i);
    put_place_of(s->p, weight_of(&s->tile[i]), layer);
    put(o, ", %" PRId64 ", %" PRId64 ", b);\n", t->dim[0].n, t->dim[1].n);
}

const char *layers_end(const Step *s)
{
    return format(s->p->s, "%" PRId64,
                  attr_int(s->layers, "first", 0) + attr_int(s->layers, "count", 1));
}

/* Thread `who` starts the copies whose time is `when`. */
void put_prefetches(Step *s, const Op *when, const char *who, const char *margin)
{
    Out *o = s->p->out;
    for (int late = 0; late < 2; late++) {
        bool any = false;
        for (int i = 0; i < s->ntile; i++) {
            if (s->tile[i].when != when || s->tile[i].late != late)
                continue;
            if (!any && late)
                put(o, "%sif (me == %s && layer > %" PRId64 ") {\n", margin, who,
                    attr_int(s->layers, "first", 0));
            else if (!any)
                put(o, "%sif (me == %s && layer + 1 < %s) {\n", margin, who, layers_end(s));
            any = true;
            put(o, "%s    ", margin);
            put_prefetch(s, i, late ? "layer" : "layer + 1");
        }
        if (any)
            put(o, "%s}\n", margin);
    }
}

/* Initializes the mbarriers, starts the copies of the first layers' tiles, loads all scales. */
void put_first_tiles(Step *s)
{
    Out *o = s->p->out;
    if (!s->ntile)
        return;
    put(o,
        "    if (me == 0) {\n        for (int i = 0; i < %d; i++)\n            "
        "mbar_init(mbar + i);\n",
        s->ntile);
    for (int i = 0; i < s->ntile; i++) {
        put(o, "        ");
        put_prefetch(s, i, format(s->p->s, "%" PRId64, attr_int(s->tile[i].layers, "first", 0)));
    }
    put(o, "    }\n");
    for (int i = 0; i < s->ntile; i++) {
        const WeightTile *tile = &s->tile[i];
        int64_t first = attr_int(tile->layers, "first", 0);
        put(o, "#pragma unroll 1\n    for (int i = int(me); i < %" PRId64 "; i += THREADS)\n",
            attr_int(tile->layers, "count", 1));
        put(o, "        scales[%" PRId64 " + i] = *", tile->scales);
        put_scales_of(s->p, weight_of(tile),
                      first ? format(s->p->s, "%" PRId64 " + i", first) : "i");
        put(o, ";\n");
    }
}
