/* metal.c: the printer of shaders and of the table by which the host dispatches them.
 *
 * One idea: a dispatch is what stands between two barriers of the plan. The groups of its ops stand
 * one after another in one grid, so q, k and v, or a rotation and both stores, are one dispatch
 * without being a special case, and "wait" has one meaning: the next dispatch. What an op is called
 * with comes from codegen-c/call.c, as for C; places in the state follow from the plan:
 *
 *   state   | step | tokens | hidden | logits | scratch | KV cache |      each at a multiple of 256
 */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-metal/print.h"

/* ---- the table of kernels ---- */

enum { ALIGN = 256, MOST_HEAD = 512, LANES = 32 };
/* Rows and tokens of a tile of tile.metal. */
enum { TILE = 32 };

/* Columns for which sums are exact, where a kernel has a limit: float has 2^24, 128 for a column;
 * share_sums' int leaves weights where they stand in a byte, 2^14 for a column. */
#define MOST_COLS(grid, scratch)                                                                   \
    ((grid) == GRID_TILE32 ? 1 << 17 : (scratch) == SCRATCH_SUMS ? 1 << 16 : 0)

static const Kernel kernels[] = {
#define KERNEL(op, weight, forms, grid, scratch, call)                                             \
    {OP_##op,                                                                                      \
     FMT_##weight,                                                                                 \
     0,                                                                                            \
     FORMS_##forms,                                                                                \
     4,                                                                                            \
     false,                                                                                        \
     NULL,                                                                                         \
     #call,                                                                                        \
     MOST_COLS(GRID_##grid, SCRATCH_##scratch)},
#include "codegen-metal/kernels.def"
#include "codegen-metal/cuda.def"
#undef KERNEL
};
static const KernelFacts facts[] = {
/* of kernels, row by row */
#define KERNEL(op, weight, forms, grid, scratch, call) {GRID_##grid, SCRATCH_##scratch},
#include "codegen-metal/kernels.def"
#include "codegen-metal/cuda.def"
#undef KERNEL
};
enum { NKERNEL = sizeof kernels / sizeof *kernels };
enum { /* rows that are every dialect's; CUDA's own stand behind them */
       NMETAL = 0
#define KERNEL(op, weight, forms, grid, scratch, call) +1
#include "codegen-metal/kernels.def"
#undef KERNEL
};

static const LayoutRule layouts[] = {{FMT_TERN, FMT_Q2R4, 0, 0}, {FMT_TERN256, FMT_Q2R4B, 0, 0}};

const Target *metal_target(void)
{
    static const Target target = {
        "metal",        "Metal, for the GPUs of Apple", 0, "", kernels, NMETAL, layouts, 2, NULL, 0,
        DEVICE_LAUNCHES};
    return &target;
}

const Target *cuda_target(void)
{
    static const Target target = {
        "cuda",      "CUDA, for the GPUs of NVIDIA", 0, "", kernels, NKERNEL, layouts, 2, NULL, 0,
        DEVICE_STAYS};
    return &target;
}

KernelFacts facts_of(const Op *op)
{
    return facts[op->kernel - kernels];
}

static int threads_of(const Target *target)
{
    return target == cuda_target() ? CUDA_THREADS : METAL_THREADS;
}

/* ---- places ---- */

static int64_t take(int64_t *end, int64_t bytes)
{
    int64_t at = *end;
    *end = (at + bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

/* What the chunks of a decode step's attention leave for each other: see attention_stay. */
static int64_t parts_bytes(const Module *m)
{
    int64_t most = 0;
    for (const Func *f = m->funcs; f; f = f->next)
        for (const Op *op = f->body->first; op; op = op->next)
            for (const Op *in = op->body ? op->body->first : NULL; in; in = in->next)
                if (in->code == OP_ROPE_ATTENTION) {
                    const Type *cache = in->in[4]->type;
                    int64_t heads = attr_int(in, "heads", 0), chunks = cache->dim[1].n / 128 + 1;
                    int64_t bytes = 4 * heads * chunks * (cache->dim[2].n + 2);
                    most = bytes > most ? bytes : most;
                }
    return most;
}

/* cards: as in Printer. */
static Places places(const Module *m, int cards)
{
    Places p;
    int64_t end = ALIGN, vocab = result_of(m, FORM_SCORE)->dim[1].n;
    p.tokens = take(&end, 4 * (int64_t)m->batch);
    p.hidden = take(&end, hidden_bytes(m));
    p.logits = take(&end, 4 * vocab * m->batch);
    p.scratch = take(&end, m->shared_bytes);
    p.cache = take(&end, m->cache_bytes);
    p.parts = take(&end, parts_bytes(m));
    p.found = take(&end, (int64_t)4 * CUDA_SETS * cards);
    p.met = take(&end, cards ? 8 : 0);
    p.end = end;
    return p;
}

/* ---- dispatches ---- */

typedef struct Dispatch { /* an entry point, or the dispatches of a layers op */
    const char *entry;
    int64_t groups[3]; /* for each of Times */
    int64_t bytes;     /* of threadgroup memory */
    const Op *layers;
    struct Dispatch *body, *next;
} Dispatch;

/* The groups of CUDA's tiles are those of a whole batch: some find no work. */
Times times_of(const Op *op)
{
    if (facts_of(op).grid == GRID_TILE32)
        return TIMES_TILE;
    if (facts_of(op).grid == GRID_TILES)
        return TIMES_ONCE;
    const Type *t = op->nout ? op->out[0]->type : op->in[0]->type;
    return t->rank && t->dim[0].sym ? TIMES_TOKEN : TIMES_ONCE;
}

/* How many queries of a KV head a group of CUDA's attention takes together: their values have a
 * thread each, and where a head is no power of two it comes alone, as in a decode step. */
static int64_t heads_together(const Op *op)
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

int64_t groups_of(const Printer *p, const Op *op)
{
    int64_t rows = p->threads / LANES;
    switch (facts_of(op).grid) {
    case GRID_ROWS:
        return (op->out[0]->type->dim[1].n + rows - 1) / rows;
    case GRID_ROWS4:
        return (op->out[0]->type->dim[1].n + 4 * rows - 1) / (4 * rows);
    case GRID_HEADS:
        return op_units(op).n;
    case GRID_SETS:
        return attr_int(op, "heads", 0) / heads_together(op);
    case GRID_TILE32:
        return (op->out[0]->type->dim[1].n + TILE - 1) / TILE;
    case GRID_TILES:
        return (op->out[0]->type->dim[1].n + 127) / 128 * ((p->m->batch + 63) / 64);
    default:
        return 1;
    }
}

int unit_wide(const Printer *p, const Op *op)
{
    Grid grid = facts_of(op).grid;
    if (p->cards < 2 || !op->nout)
        return 0;
    return grid == GRID_ROWS    ? p->threads / LANES
           : grid == GRID_SETS  ? (int)(heads_together(op) * op->in[1]->type->dim[2].n)
           : grid == GRID_TILES ? 128
                                : 0;
}

/* Values of a result for each token. */
static int64_t width_of(const Value *v)
{
    int64_t n = 1;
    for (int i = 1; i < v->type->rank; i++)
        n *= v->type->dim[i].n;
    return n;
}

/* Bytes of scratch that an op's group shares; none at all is no binding. */
int64_t scratch_bytes(const Printer *p, const Op *op)
{
    int64_t groups = p->threads / LANES, floats = groups;
    Scratch kind = facts_of(op).scratch;
    if (kind == SCRATCH_REDUCE)
        floats = 2 * groups;
    if (kind == SCRATCH_ATTEND || kind == SCRATCH_CHUNK) {
        int64_t dim = op->in[op->code == OP_ROPE_ATTENTION ? 4 : 1]->type->dim[2].n;
        if (dim > MOST_HEAD)
            fail(op->block->func->module->s, op->loc,
                 "a head of %lld values: attention on a GPU takes %d", (long long)dim, MOST_HEAD);
        floats = kind == SCRATCH_ATTEND ? groups * (2 + dim)
                                        : heads_together(op) * (dim + (2 + dim) * groups) + 2 * dim;
    }
    if (kind == SCRATCH_TILE32)
        floats = (op->code == OP_TGLU ? 2 : 1) * TILE * TILE;
    if (kind == SCRATCH_SCREEN)
        floats = 7 * groups + 2;
    if (kind == SCRATCH_TILE)
        return 2 * ((op->code == OP_TGLU ? 2 : 1) * 4096 + 64 * 144);
    return (4 * floats + 15) / 16 * 16;
}

/* ---- printing ---- */

static void put_upper(Out *o, const char *prefix, const char *text)
{
    put(o, "%s", prefix);
    for (; *text; text++)
        put(o, "%c", isalnum((unsigned char)*text) ? toupper((unsigned char)*text) : '_');
}

static const char *msl_type(const Type *t)
{
    return t->fmt == FMT_I8    ? "char"
           : t->fmt == FMT_I32 ? "int"
           : t->fmt == FMT_F16 ? "half"
                               : "float";
}

void put_operand(Printer *p, const Value *v)
{
    if (v->room == ROOM_OWN) {
        put(p->out, "OWN(%s, %" PRId64 ")", msl_type(v->type), v->slot);
        return;
    }
    if (v->room == ROOM_LOGITS && p->cards && (p->form == FORM_HEAD || p->form == FORM_BEST)) {
        put(p->out, "step.logits");
        return;
    }
    int64_t at = v->room == ROOM_ARG      ? p->at.tokens
                 : v->room == ROOM_HIDDEN ? p->at.hidden
                 : v->room == ROOM_LOGITS ? p->at.logits
                                          : p->at.scratch + v->slot;
    put(p->out, "AT(%s, %" PRId64 ")", v->room == ROOM_ARG ? "int" : msl_type(v->type), at);
}

void put_bytes_of(Printer *p, const Weight *w, const char *layer)
{
    put_upper(p->out, "W_", w->name);
    if (w->count || w->is_state)
        put(p->out, "(%s)", layer);
}

void put_scales_of(Printer *p, const Weight *w, const char *layer)
{
    bool apart = slice_of(p, w).fine > 0;
    put(p->out, "FLOATS(");
    put_upper(p->out, apart ? "C_" : "W_", w->name);
    put(p->out, w->count ? "(%s)" : "", layer);
    if (!apart)
        put(p->out, " + %" PRId64, w->scales);
    put(p->out, ")");
}

static void put_weight(Printer *p, const Value *v)
{
    bool floats = v->type->rank == 1 && !v->weight->is_state;
    put(p->out, floats ? "FLOATS(" : "");
    put_bytes_of(p, v->weight, "layer");
    put(p->out, floats ? ")" : "");
}

static const char *turns_name(Session *s, const Op *op)
{
    Out base = {.s = s};
    put_float(&base, attr_float(op, "base", 0));
    return format(s, "turns_%lld_%s", (long long)attr_int(op, "dim", 0), c_name(s, base.text));
}

static void put_arg(Printer *p, const Op *op, const Arg *a)
{
    Out *o = p->out;
    if (a->kind == ARG_INT) {
        put(o, "%" PRId64, a->i);
    } else if (a->kind == ARG_FLOAT && op->code == OP_ROPE_TABLE) {
        put(o, "%s", turns_name(p->s, op));
    } else if (a->kind == ARG_FLOAT) {
        Out text = {.s = p->s};
        put_float(&text, a->f);
        put(o, "%s%sf", text.text, strpbrk(text.text, ".e") ? "" : ".0");
        out_free(&text);
    } else if (a->kind == ARG_WORD) {
        put_upper(o, "BN_", a->word);
    } else if (a->kind == ARG_VALUE) {
        put_operand(p, a->value);
    } else if (a->kind == ARG_WEIGHT) {
        put_weight(p, a->value);
    } else if (a->kind == ARG_SCALES) {
        put_scales_of(p, a->value->weight, "layer");
    } else {
        static const char *const fixed[] = {[ARG_POS] = "step.pos",
                                            [ARG_TOKENS] = "step.ntok",
                                            [ARG_LAYER] = "int(layer)",
                                            [ARG_BEST] = "step.best",
                                            [ARG_NULL] = "nullptr"};
        CHECK(a->kind < sizeof fixed / sizeof *fixed && fixed[a->kind]);
        put(o, "%s", fixed[a->kind]);
    }
}

void put_arguments(Printer *p, const Op *op)
{
    Arg args[CALL_ARGS];
    for (int i = 0, n = call_args(op, args); i < n; i++)
        if (args[i].kind != ARG_SHARE && args[i].kind != ARG_FIRST) {
            put_arg(p, op, &args[i]);
            put(p->out, ", ");
        }
    if (facts_of(op).grid == GRID_SETS)
        put(p->out, "%" PRId64 ", ", heads_together(op));
}

static void put_call(Printer *p, const Op *op)
{
    put(p->out, "%s(", op->kernel->symbol);
    put_arguments(p, op);
    put(p->out, "%s", op->code == OP_LAST ? "0, me" : "g, me");
    put(p->out, "%s);\n", facts_of(op).scratch ? ", tg" : "");
}

void put_ir_line(Printer *p, const Op *op, const char *margin)
{
    Out line = {.s = p->s};
    op_print(op, &line);
    put(p->out, "%s/* ", margin);
    for (const char *c = line.text; *c; c++)
        put(p->out, "%c", (*c == '*' && c[1] == '/') || (unsigned char)*c < 32 ? '.' : *c);
    put(p->out, " */\n");
    out_free(&line);
}

/* The ops from..to (not included) as the body of an entry point. */
static void put_body(Printer *p, const Op *from, const Op *to)
{
    static const char *const times[] = {[TIMES_ONCE] = "",
                                        [TIMES_TOKEN] = " * uint(step.ntok)",
                                        [TIMES_TILE] = " * (uint(step.ntok + 31) / 32)"};
    if (p->cards && p->form == FORM_HEAD && from == from->block->first)
        put(p->out,
            "    if (g == 0)\n        hidden_out(step, AT(float, %" PRId64 "), %" PRId64 ", me);\n",
            p->at.hidden, hidden_bytes(p->m) / 4);
    for (const Op *op = from; op != to; op = op->next) {
        if (!op->kernel)
            continue;
        const Op *rest = op->next;
        while (rest != to && !rest->kernel)
            rest = rest->next;
        const char *n = format(p->s, "%" PRId64 "%s", groups_of(p, op), times[times_of(op)]);
        int wide = unit_wide(p, op);
        const char *margin = rest == to ? "    " : "        ";
        put_ir_line(p, op, "    ");
        if (rest != to)
            put(p->out, "    if (g < %s) {\n", n);
        if (wide) {
            int64_t units = (width_of(op->out[0]) + wide - 1) / wide;
            put(p->out, "%sif (has_unit(step, g %% %" PRId64 ", %" PRId64 "))\n    ", margin, units,
                units);
        }
        put(p->out, "%s", margin);
        put_call(p, op);
        if (rest != to)
            put(p->out, "        return;\n    }\n    g -= %s;\n", n);
    }
}

/* The entry point for a body: a new one, or that of the same body before (prefill's and score's).
 */
static const char *entry_of(Printer *p, const char *name_wanted, const char *body)
{
    for (const char *at = p->seen.text; at && at < p->seen.text + p->seen.len;) {
        const char *entry = at, *text = at + strlen(at) + 1;
        if (!strcmp(text, body))
            return name(p->s, entry);
        at = text + strlen(text) + 1;
    }
    put_bytes(&p->seen, name_wanted, strlen(name_wanted) + 1);
    put_bytes(&p->seen, body, strlen(body) + 1);
    return NULL;
}

static Dispatch *dispatch_of(Printer *p, const Op *from, const Op *to, const char *wanted)
{
    Dispatch *d = NEW(p->s, Dispatch);
    Out body = {.s = p->s}, *file = p->out;
    bool light = p->cards;
    for (const Op *op = from; op != to; op = op->next) {
        if (!op->kernel)
            continue;
        light &= op->code == OP_LINEAR;
        d->groups[times_of(op)] += groups_of(p, op);
        d->bytes = scratch_bytes(p, op) > d->bytes ? scratch_bytes(p, op) : d->bytes;
    }
    p->out = &body;
    put_body(p, from, to);
    p->out = file;
    d->entry = entry_of(p, wanted, body.text);
    if (!d->entry) {
        d->entry = wanted;
        put(file, light ? "BN_LIGHT_ENTRY(%s)" : "BN_ENTRY(%s)", wanted);
        put(file, "\n{\n%s}\n\n", body.text);
    }
    out_free(&body);
    return d;
}

/* What cards share of the ops from..to, each gives to the others, when all have met: then they meet
 * again. NULL: they share nothing that a card reads. */
static Dispatch *giving(Printer *p, const Op *from, const Op *to, const char *wanted)
{
    Out body = {.s = p->s};
    for (const Op *op = from; op != to; op = op->next) {
        Out *file = p->out;
        int wide = op->kernel ? unit_wide(p, op) : 0;
        if (!wide || op->out[0]->room == ROOM_LOGITS)
            continue;
        p->out = &body;
        put(p->out, "    give_part(step, ");
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
            "    const uint g = blockIdx.x, me = threadIdx.x;\n    uint *met = AT(uint, %" PRId64
            "), all = met[1];\n    give_begin(step, met, all);\n%s"
            "    give_end(step, met, all, g, me);\n}\n\n",
            wanted, p->at.met, body.text);
    }
    out_free(&body);
    return d;
}

static bool works(const Op *from, const Op *to)
{
    for (; from != to; from = from->next)
        if (from->kernel)
            return true;
    return false;
}

static Dispatch *dispatches(Printer *p, const Block *b, const char *stem)
{
    Dispatch *first = NULL, **end = &first;
    int n = 0;
    for (const Op *op = b->first; op;) {
        const Op *to = op;
        while (to && to->code != OP_BARRIER && to->code != OP_LAYERS)
            to = to->next;
        if (works(op, to)) {
            *end = dispatch_of(p, op, to, format(p->s, "%s_%d", stem, ++n));
            end = &(*end)->next;
            *end = giving(p, op, to, format(p->s, "%s_%d_give", stem, n));
            end = *end ? &(*end)->next : end;
        }
        if (to && to->code == OP_LAYERS) {
            Dispatch *d = NEW(p->s, Dispatch);
            d->layers = to;
            d->body = dispatches(p, to->body, format(p->s, "%s_layer", stem));
            *end = d;
            end = &d->next;
        }
        op = to ? to->next : NULL;
    }
    return first;
}

/* ---- the file of shaders ---- */

static void put_turns(Op *op, void *arg)
{
    Printer *p = arg;
    if (op->code != OP_ROPE_TABLE)
        return;
    const char *name = turns_name(p->s, op);
    if (entry_of(p, name, name))
        return;
    int64_t dim = attr_int(op, "dim", 0);
    double base = attr_float(op, "base", 0);
    put(p->out,
        "/* Pair j turns by base^(-2j/dim) / 2 pi of a full turn a position; in 2^-64. */\n"
        "BN_TABLE ulong %s[] = {",
        name);
    for (int64_t j = 0; j < dim / 2; j++) {
        long double turn = powl((long double)base, -2.0L * (long double)j / (long double)dim) /
                           6.283185307179586476925286766559L;
        put(p->out, "%s0x%016" PRIx64 ",", j % 4 ? " " : "\n    ",
            (uint64_t)(turn * 18446744073709551616.0L));
    }
    put(p->out, "\n};\n\n");
}

/* W_NAME, or C_NAME, which is its scales': of layer i, from `at` on, less what a card lacks before
 * its rows. */
static void put_place(Printer *p, const Weight *w, const char *prefix, int64_t at, int64_t stride,
                      const char *less)
{
    Out *o = p->out, type = {.s = p->s};
    if (*prefix == 'C')
        put(&type, "its scales");
    else
        type_print(w->type, &type);
    put_upper(o, format(p->s, "#define %s", prefix), w->name);
    put(o, w->count || w->is_state ? "(i) " : " ");
    if (w->is_state)
        put(o, "((device %s *)(state + %" PRId64, msl_type(w->type), at);
    else
        put(o, "(weights + %" PRId64, at);
    if (w->count)
        put(o, " + ulong((i) - %d) * %" PRId64, w->first, stride);
    put(o, "%s%s) /* %s */\n", less, w->is_state ? ")" : "", type.text);
    out_free(&type);
}

static void put_weights(Printer *p)
{
    for (const Weight *w = p->m->weights; w; w = w->next) {
        Slice s =
            w->is_state ? (Slice){.at = p->at.cache + w->at, .stride = w->stride} : slice_of(p, w);
        const char *less = "";
        if (s.fine)
            less = format(p->s,
                          " - ulong(held_from(%" PRId64 ", %" PRId64 ", %" PRId64
                          ", card_of(step))) * %" PRId64,
                          w->type->dim[0].n, s.fine, s.coarse, s.row);
        put_place(p, w, "W_", s.at, s.stride, less);
        if (s.fine && w->scales)
            put_place(p, w, "C_", s.at + s.scales, s.stride, "");
    }
    put(p->out, "\n");
}

static void note_kernel(Op *op, void *arg)
{
    Record *r = arg; /* a list of symbols */
    if (op->kernel)
        record_symbol(r, op->kernel->symbol);
}

/* The chunks of kernels/ that the model calls; a call's name ends where its template's words begin.
 * CUDA's come last, so that they may need Metal's; Metal calls none of them. */
static void put_kernels(Printer *p)
{
    static const KernelFile files[] = {
        {"metal/common.metal", 0, ""},    {"metal/ternary.metal", 0, ""},
        {"metal/attention.metal", 0, ""}, {"metal/tile.metal", 0, ""},
        {"cuda/cards.cu", 0, ""},         {"cuda/hot.cu", 0, ""},
        {"cuda/tile.cu", 0, ""},          {"cuda/stay.cu", 0, ""},
        {"cuda/best.cu", 0, ""}};
    Record calls = {.s = p->s};
    for (Func *f = p->m->funcs; f; f = f->next)
        walk(f->body, note_kernel, &calls);
    const char **symbol = NEW_ARRAY(p->s, const char *, calls.n + 4);
    for (size_t i = 0; i < calls.n; i++)
        symbol[i] = intern(p->s, calls.field[i].text, strcspn(calls.field[i].text, "<"));
    static const char *const shared[] = {"held_from", "hidden_out", "has_unit", "give_part"};
    const int used = p->cards > 1 ? 4 : p->cards == 1 ? 2 : 0; /* the first ones: of any CUDA */
    for (int i = 0; i < used; i++)
        symbol[calls.n++] = shared[i];
    emit_chunks(p->s, files, sizeof files / sizeof *files, symbol, (int)calls.n, p->out);
}

static Printer printer(const Module *m, const EmitOptions *o, const Target *target, Out *out)
{
    int cards = target == cuda_target() ? o->cards : 0;
    return (Printer){.m = m,
                     .o = o,
                     .s = m->s,
                     .out = out,
                     .at = places(m, cards),
                     .seen = {.s = m->s},
                     .threads = threads_of(target),
                     .cards = cards};
}

static void put_threads(const Target *target, Out *out)
{
    put(out, "#define BN_THREADS %d /* of a group */\n\n", threads_of(target));
}

static Dispatch *all_of(Printer *p, Func *f)
{
    func_number(f);
    return dispatches(p, f->body, f->name);
}

void emit_metal(const Module *m, const EmitOptions *o, Out *out)
{
    put(out,
        "/* Shaders of a model compiled by bnc " BN_VERSION ": %s, from %s (XXH64 %016" PRIx64
        "), flags: %s.\n"
        " * Generated: change the model or the compiler, not this. Every call stands below the IR "
        "line that it\n"
        " * computes; `state` and `weights` are buffers, at offsets that the compiler's plan "
        "chose.\n"
        " * %s dispatches the entry points. */\n"
        "#include <metal_stdlib>\nusing namespace metal;\n\n",
        c_name(m->s, m->title), file_name(m->source), m->hash, o->flags, "The host file");
    put(out, "/* Words of the IR. */\nenum {");
#define PUT_WORD(name, value) put(out, " BN_" #name " = %d,", value);
    BN_WORDS(PUT_WORD)
#undef PUT_WORD
    put(out, " };\n\n");
    emit_shaders(m, o, metal_target(), out);
}

void emit_shaders(const Module *m, const EmitOptions *o, const Target *target, Out *out)
{
    Printer p = printer(m, o, target, out);
    put_threads(target, out);
    put_kernels(&p);
    put(out, "/* ---- entry points: `group` of the grid works with THREADS threads ---- */\n\n");
    if (target == metal_target())
        put(out, "struct bn_step {\n    int pos, ntok; /* position of the first token, how many "
                 "there are */\n};\n"
                 "#ifndef BN_ENTRY\n#define BN_TABLE constant\n#define BN_ENTRY(name) \\\n"
                 "    kernel void name(device uchar *state [[buffer(0)]], device const uchar "
                 "*weights [[buffer(1)]], \\\n"
                 "                     constant bn_step &step [[buffer(2)]], constant uint &layer "
                 "[[buffer(3)]], \\\n"
                 "                     threadgroup float *tg [[threadgroup(0)]], \\\n"
                 "                     uint g [[threadgroup_position_in_grid]], uint me "
                 "[[thread_position_in_threadgroup]])\n#endif\n");
    put(out,
        "#define AT(type, offset) ((device type *)(state + (offset)))\n"
        "#define FLOATS(at) ((device const float *)(at))\n%s\n",
        target->device == DEVICE_STAYS ? "#define OWN(type, offset) ((type *)(own + (offset)))\n"
                                       : "");
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, put_turns, &p);
    put_weights(&p);
    for (Func *f = m->funcs; f; f = f->next) {
        p.form = f->form;
        if (func_stays(f, target))
            put_step(&p, f);
        else
            (void)all_of(&p, f);
    }
    out_free(&p.seen);
}

/* ---- the host ---- */

static void put_row(Printer *p, const Dispatch *d, int64_t layer, int *barrier)
{
    put(p->out,
        "    {BN_NAME(%s), %" PRId64 ", {%" PRId64 ", %" PRId64 ", %" PRId64 "}, %" PRId64
        ", %d},\n",
        d->entry, layer, d->groups[TIMES_ONCE], d->groups[TIMES_TOKEN], d->groups[TIMES_TILE],
        d->bytes, (*barrier)++);
}

/* Every dispatch waits for all before it, but the first. */
static void put_rows(Printer *p, const Dispatch *d, int64_t layer, int *barrier)
{
    for (; d; d = d->next) {
        if (!d->layers) {
            put_row(p, d, layer, barrier);
            continue;
        }
        int64_t first = attr_int(d->layers, "first", 0), n = attr_int(d->layers, "count", 1);
        for (int64_t i = first; i < first + n; i++)
            put_rows(p, d->body, i, barrier);
    }
}

void emit_tables(const Module *m, const EmitOptions *o, const Target *target, Out *out)
{
    Out shaders = {.s = m->s};
    Printer p = printer(m, o, target, &shaders);
    int64_t layers = 1;
    for (const Weight *w = m->weights; w; w = w->next)
        layers = w->count + w->first > layers ? w->count + w->first : layers;
    put(out,
        "/* An entry point; the layer that it is called for; threadgroups: at all events, for "
        "each token and\n"
        " * for each 32 tokens%s; bytes of threadgroup memory; the number of the barrier before "
        "it, 0: none. */\n"
        "typedef struct bn_dispatch {\n    bn_entry entry;\n    int layer, groups[3], bytes, "
        "barrier;\n} bn_dispatch;\n\n"
        "static inline unsigned bn_groups(const bn_dispatch *d, int ntok)\n{\n"
        "    return (unsigned)(d->groups[0] + d->groups[1] * ntok + d->groups[2] * ((ntok + "
        "31) / 32));\n}\n\n",
        target->device == DEVICE_STAYS ? " (none: BN_BLOCKS, all at once)" : "");
    for (Func *f = m->funcs; f; f = f->next) {
        int barrier = 0;
        p.form = f->form;
        if (func_stays(f, target)) {
            put(out,
                "static const bn_dispatch %s_table[] = {\n    {BN_NAME(%s_step), 0, {0, 0, "
                "0}, %s_BYTES, 0},\n};\n",
                f->name, f->name, step_places(f));
            continue;
        }
        const Dispatch *d = all_of(&p, f);
        put(out, "static const bn_dispatch %s_table[] = {\n", f->name);
        p.out = out;
        put_rows(&p, d, 0, &barrier);
        p.out = &shaders;
        put(out, "};\n");
    }
    if (target->device == DEVICE_STAYS) {
        put(out, "#define BN_SCREENED %d /* whether there is a best_step */\n",
            func_find(m, name(m->s, form_name[FORM_BEST])) != NULL);
        p.out = out;
        put_slices(&p);
        p.out = &shaders;
    }
    put(out,
        "\n/* Bytes of the state on the device, and where things stand in it; how many layers "
        "there are. */\n"
        "enum {\n    BN_LAYERS = %" PRId64 ",\n    BN_BATCH = %d,\n    BN_VOCAB = %" PRId64 "\n};\n"
        "static const size_t at_tokens = %" PRId64 ", at_hidden = %" PRId64 ", at_logits = %" PRId64
        ", hidden_bytes = %" PRId64 ",\n    state_bytes = %" PRId64 ";\n",
        layers, m->batch, result_of(m, FORM_SCORE)->dim[1].n, p.at.tokens, p.at.hidden, p.at.logits,
        hidden_bytes(m), p.at.end);
    out_free(&shaders);
    out_free(&p.seen);
}

void emit_metal_host(const Module *m, const EmitOptions *o, const char *library, Out *out)
{
    size_t size;
    const char *host = embedded_file("metal/host.m", &size);
    CHECK(host);
    put(out,
        "/* The host of a model compiled by bnc " BN_VERSION
        " for Metal: %s. Generated. Compile it with\n"
        " *     clang -fobjc-arc- -O2 %s_metal.m app.c libbnrt.a -framework Metal -framework "
        "Foundation\n"
        " */\n#include <string.h>\n\n#include \"bn_model.h\"\n\n"
        "typedef const char *bn_entry;\n#define BN_NAME(entry) #entry\n\n",
        c_name(m->s, m->title), o->prefix);
    put_threads(metal_target(), out);
    emit_tables(m, o, metal_target(), out);
    put(out, "static const char library_name[] = \"%s\";\n\n", library);
    put_bytes(out, host, size);
    put(out, "\n");
    emit_constants(m, metal_target(), o, out);
}
