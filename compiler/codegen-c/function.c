/* function.c: the printer of functions. It decides nothing: kernels, layouts, places and barriers
 * stand in the module, and the `args` words of ops.def say how each call is written. A function of
 * the module is a C function, and each body of its layers another, which all functions share whose
 * bodies come out the same.
 */
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"

typedef struct Layer { /* a layers body, printed */
    const char *name, *body;
    int64_t first, last;
    const char *users; /* the functions whose layers it is: @prefill and @score */
    const Func *func;  /* the first of them */
    struct Layer *next;
} Layer;

typedef struct Printer {
    const Module *m;
    Session *s;
    const Probes *probes; /* NULL: without --profile */
    Out *out;
    const Func *f;
    Layer *layers;         /* in order of printing */
    const char **function; /* of f's layers ops, in order */
    bool paragraph;        /* an empty line stands before the next op */
} Printer;

#define MARGIN "    "

static const char *c_type(const Type *t)
{
    return t->fmt == FMT_I8    ? "int8_t"
           : t->fmt == FMT_I32 ? "int32_t"
           : t->fmt == FMT_F16 ? "uint16_t"
           : t->fmt == FMT_KV8 ? "uint8_t"
                               : "float";
}

/* ---- weights ---- */

static void put_macro(const Module *m, const Weight *w, const char *prefix, Out *o)
{
    put(o, "#define ");
    put_weight_name(o, prefix, m, w);
    put(o, w->count || w->is_state ? "(i) " : " ");
}

static void put_scales_macro(const Module *m, const Weight *w, Out *o)
{
    put_macro(m, w, "SCALES_", o);
    put(o, "((const float *)(");
    put_weight_name(o, "WEIGHT_", m, w);
    put(o, "%s + %" PRId64 "))\n", w->count ? "(i)" : "", w->scales);
}

void put_macros(const Module *m, Out *o)
{
    put(o, "/* ---- weights, at their offsets in the .bnw, and their scales; the KV cache, in the "
           "state "
           "---- */\n\n");
    for (const Weight *w = m->weights; w; w = w->next) {
        Out type = {.s = m->s};
        bool floats = !w->is_state && w->type->rank == 1;
        type_print(w->type, &type);
        put_macro(m, w, w->is_state ? "STATE_" : "WEIGHT_", o);
        if (w->is_state || floats)
            put(o, "((%s%s *)", floats ? "const " : "", floats ? "float" : c_type(w->type));
        put(o, "(c->%s + %" PRId64, w->is_state ? "cache" : "weights", w->at);
        if (w->count && w->first)
            put(o, " + (size_t)((i) - %d) * %" PRId64, w->first, w->stride);
        else if (w->count)
            put(o, " + (size_t)(i) * %" PRId64, w->stride);
        put(o, "%s /* %s */\n", w->is_state || floats ? "))" : ")", type.text);
        out_free(&type);
        if (w->scales)
            put_scales_macro(m, w, o);
    }
    put(o, "\n");
}

/* ---- arguments ---- */

static void put_weight(Printer *p, const Value *v, bool scales)
{
    const Weight *w = v->weight;
    put_weight_name(p->out, scales ? "SCALES_" : w->is_state ? "STATE_" : "WEIGHT_", p->m, w);
    put(p->out, w->count || w->is_state ? "(i)" : "");
}

static void put_float_arg(Out *o, double f)
{
    Out text = {.s = o->s};
    put_float(&text, f);
    put(o, "%s%sf", text.text, strpbrk(text.text, ".e") ? "" : ".0");
    out_free(&text);
}

static void put_value_arg(Out *o, const Value *v)
{
    if (v->space == SPACE_ARG)
        put(o, "c->tokens");
    else if (v->space == SPACE_HIDDEN && !v->def)
        put(o, "c->hidden");
    else
        put_value_name(o, v);
}

static void put_arg(Printer *p, const Op *op, const Arg *a)
{
    static const char *const fixed[] = {
        [ARG_POS] = "c->pos", [ARG_TOKENS] = "c->ntok", [ARG_TOPK] = "c->topk",
        [ARG_LAYER] = "i",    [ARG_NULL] = "NULL",      [ARG_WORK] = ""};
    switch (a->kind) {
    case ARG_INT:
        put(p->out, "%" PRId64, a->i);
        break;
    case ARG_FLOAT:
        put_float_arg(p->out, a->f);
        break;
    case ARG_WORD:
        put_word_name(p->out, a->word);
        break;
    case ARG_SHARE:
        put(p->out, op_repeats(op) ? "0, 1" : op_dynamic(op) ? "r.from, r.to" : "from, to");
        break;
    case ARG_FIRST:
        put(p->out, op_dynamic(op) ? "r.turn == 1" : "1");
        break;
    case ARG_VALUE:
        put_value_arg(p->out, a->value);
        break;
    case ARG_WEIGHT:
    case ARG_SCALES:
        put_weight(p, a->value, a->kind == ARG_SCALES);
        break;
    case ARG_WORK:
        put(p->out, "c->own + %" PRId64, a->i);
        break;
    default:
        put(p->out, "%s", fixed[a->kind]);
    }
}

/* The arguments, on as few lines as hold them, below each other. */
static void put_arguments(Printer *p, const Op *op)
{
    Arg args[CALL_ARGS];
    Out *o = p->out, text = {.s = p->s};
    size_t column = out_column(o);
    for (int i = 0, n = call_args(op, args); i < n; i++) {
        text.len = 0;
        p->out = &text;
        put_arg(p, op, &args[i]);
        p->out = o;
        if (i && out_column(o) + text.len + 4 > LINE_LENGTH)
            put(o, ",\n%*s", (int)column, "");
        else
            put(o, i ? ", " : "");
        put_bytes(o, text.text, text.len);
    }
    out_free(&text);
}

/* ---- ops ---- */

static void put_result(Out *o, const Value *v)
{
    const char *type = c_type(v->type);
    put(o, MARGIN "%s *const ", type);
    put_value_name(o, v);
    if (v->space == SPACE_LOGITS || v->space == SPACE_HIDDEN)
        put(o, " = c->%s;\n", v->space == SPACE_LOGITS ? "logits" : "hidden");
    else
        put(o, " = (%s *)(c->%s + %" PRId64 ");\n", type, v->space == SPACE_OWN ? "own" : "shared",
            v->slot);
}

static void put_share(Out *o, const Op *op)
{
    Dim units = op_units(op);
    if (op_repeats(op))
        return;
    if (op_dynamic(op))
        put(o,
            MARGIN "for (bn_rows r = {0, 0, 0}; bn_rows_next(c, %" PRId64 ", %" PRId64 ", %" PRId64
                   ", &r);)\n" MARGIN,
            attr_int(op, "ticket", 0), units.n, op_least_units(op));
    else if (units.sym)
        put(o, MARGIN "bn_share(c, c->ntok, &from, &to);\n");
    else
        put(o, MARGIN "bn_share(c, %" PRId64 ", &from, &to);\n", units.n);
}

static void put_call(Printer *p, const Op *op)
{
    put_op_comment(p->out, op, MARGIN);
    for (int i = 0; i < op->nout; i++)
        put_result(p->out, op->out[i]);
    put_share(p->out, op);
    put(p->out, MARGIN "%s(", op->kernel->symbol);
    put_arguments(p, op);
    put(p->out, ");\n");
    if (p->probes)
        put_interval(p->probes, op, p->out);
}

static void put_barrier(Printer *p, const Op *op)
{
    put(p->out, MARGIN "bn_barrier(c);\n");
    if (p->probes)
        put_interval(p->probes, op, p->out);
    p->paragraph = true;
}

static void put_layers(Printer *p, const Op *op, const char *function)
{
    int64_t first = attr_int(op, "first", 0), count = attr_int(op, "count", 1);
    put_op_comment(p->out, op, MARGIN);
    put(p->out,
        MARGIN "for (int i = %" PRId64 "; i < %" PRId64 "; i++)\n" MARGIN MARGIN "%s(c, i);\n",
        first, first + count, function);
    p->paragraph = true;
}

static void put_ops(Printer *p, const Block *b)
{
    int layers = 0;
    for (const Op *op = b->first; op; op = op->next) {
        bool prints = op->code == OP_LAYERS || op->code == OP_BARRIER || op->kernel;
        if (prints && p->paragraph)
            put(p->out, "\n");
        p->paragraph &= !prints;
        if (op->code == OP_LAYERS)
            put_layers(p, op, p->function[layers++]);
        else if (op->code == OP_BARRIER)
            put_barrier(p, op);
        else if (op->kernel)
            put_call(p, op);
    }
    p->paragraph = false;
}

/* ---- functions ---- */

/* Values of the function around that a layers body reads, once each. */
struct Outside {
    Out *out;
    const Block *body;
    bool *seen; /* by Value.id */
};

static void find_outside(Op *op, void *arg)
{
    struct Outside *x = arg;
    for (int i = 0; i < op->nin; i++) {
        Value *v = op->in[i];
        if (v->weight || v->space == SPACE_ARG || x->seen[v->id] ||
            (v->def && v->def->block == x->body))
            continue;
        x->seen[v->id] = true;
        if (op->code != OP_YIELD)
            put_result(x->out, v);
    }
}

static bool uses_layer_index(const Block *b)
{
    bool uses = false;
    for (const Op *op = b->first; op; op = op->next) {
        uses |= strstr(op_info[op->code].args, "layer") != NULL;
        for (int i = 0; i < op->nin; i++)
            uses |= op->in[i]->weight && op->in[i]->weight->count;
    }
    return uses;
}

static bool shares(const Block *b)
{
    for (const Op *op = b->first; op; op = op->next)
        if (op->kernel && !op_repeats(op) && !op_dynamic(op))
            return true;
    return false;
}

/* The braces around ops, and the declarations before them. */
static void put_body_start(Printer *p, const Block *b)
{
    put(p->out, "{\n");
    if (shares(b))
        put(p->out, MARGIN "int from, to;\n");
}

static void put_body_ops(Printer *p, const Block *b, size_t start)
{
    p->paragraph = p->out->len > start; /* declarations stand apart */
    if (p->probes && !b->owner) {
        put(p->out, p->paragraph ? "\n" : "");
        p->paragraph = false;
        put_start(p->probes, p->f, p->out);
    }
    put_ops(p, b);
    put(p->out, "}\n");
}

static void put_layer_body(Printer *p, const Op *op)
{
    struct Outside x = {p->out, op->body, NEW_ARRAY(p->s, bool, p->f->nvalue)};
    size_t start = p->out->len + strlen("{\n");
    put_body_start(p, op->body);
    walk(op->body, find_outside, &x);
    if (!uses_layer_index(op->body))
        put(p->out, MARGIN "(void)i;\n");
    put_body_ops(p, op->body, start);
}

/* One function per block; forms whose blocks come out the same (prefill and score do) share it. */
static const char *layer_function(Printer *p, const Op *op, int n)
{
    Out *file = p->out, body = {.s = p->s};
    Layer **end = &p->layers;
    p->out = &body;
    put_layer_body(p, op);
    p->out = file;
    for (; *end; end = &(*end)->next)
        if (!strcmp((*end)->body, body.text))
            break;
    if (*end) {
        (*end)->users = format(p->s, "%s, @%s", (*end)->users, p->f->name);
    } else {
        *end = NEW(p->s, Layer);
        **end = (Layer){
            .name = format(p->s, "%s_layer%s", p->f->name, n ? format(p->s, "_%d", n + 1) : ""),
            .body = name(p->s, body.text),
            .first = attr_int(op, "first", 0),
            .users = format(p->s, "@%s", p->f->name),
            .func = p->f};
        (*end)->last = (*end)->first + attr_int(op, "count", 1) - 1;
    }
    out_free(&body);
    return (*end)->name;
}

static void put_results_of_layers(Printer *p, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next)
        for (int i = 0; op->code == OP_LAYERS && i < op->nout; i++)
            if (op->out[i]->nuse)
                put_result(p->out, op->out[i]);
}

/* The function's body, and into p->layers what it calls. */
static const char *function_body(Printer *p, Func *f)
{
    Out body = {.s = p->s};
    size_t layers = 0, start = strlen("{\n");
    p->f = f;
    p->function = NULL;
    func_number(f);
    for (const Op *op = f->body->first; op; op = op->next)
        if (op->code == OP_LAYERS) {
            const char *function = layer_function(p, op, (int)layers);
            p->function = grow(p->s, p->function, layers, sizeof *p->function);
            p->function[layers++] = function;
        }
    p->out = &body;
    put_body_start(p, f->body);
    put_results_of_layers(p, f->body);
    put_body_ops(p, f->body, start);
    const char *text = name(p->s, body.text);
    out_free(&body);
    return text;
}

static void put_layer_functions(const Printer *p, const Func *f, Out *o)
{
    for (const Layer *l = p->layers; l; l = l->next) {
        if (l->func != f)
            continue;
        put(o, "/* ");
        put_comment_line(o,
                         format(p->s, "One of the layers %" PRId64 " to %" PRId64 " of %s.",
                                l->first, l->last, l->users),
                         " * ");
        put(o, " */\nstatic void %s(const bn_call *c, int i)\n%s\n", l->name, l->body);
    }
}

/* All are made first: a layer's comment names the later functions, too, that it is called from. */
void put_functions(const Module *m, const Target *target, const Probes *probes, Out *o)
{
    Printer p = {.m = m, .s = m->s, .probes = probes};
    const char **body = NULL;
    size_t n = 0, i = 0;
    for (Func *f = m->funcs; f; f = f->next) {
        body = grow(m->s, body, n, sizeof *body);
        body[n++] = function_body(&p, f);
    }
    const Target *part = NULL;
    for (const Func *f = m->funcs; f; f = f->next) {
        uint32_t isa = (f->target ? f->target : target)->isa;
        if (f == m->funcs || f->target != part)
            emit_isa(isa, o);
        part = f->target;
        put_layer_functions(&p, f, o);
        put(o, "static void %s(const bn_call *c)\n%s\n", f->name, body[i++]);
        if (!f->next || f->next->target != part)
            emit_isa_end(isa, o);
    }
}
