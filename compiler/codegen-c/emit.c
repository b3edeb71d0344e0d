/* emit.c: the printer. It decides nothing: kernels, layouts, places and barriers stand in the
 * module, and the `args` words of ops.def say how each call is written. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"

typedef struct Layer { /* a block's function, already printed */
    const char *name, *body;
    struct Layer *next;
} Layer;

typedef struct Emit {
    const Module *m;
    const Target *target;
    const EmitOptions *o;
    const Sites *sites; /* NULL: without --profile */
    Out *out;
    const Func *f;
    int depth; /* 1: inside a function */
    Layer *layers;
    const char **function; /* of f's layers ops, in order */
} Emit;

static uint32_t target_isa(const Emit *e, const Func *f)
{
    return f->target ? f->target->isa : e->target->isa;
}

/* ---- names ---- */

static void put_upper(Out *o, const char *prefix, const char *text)
{
    put(o, "%s", prefix);
    for (; *text; text++)
        put(o, "%c", isalnum((unsigned char)*text) ? toupper((unsigned char)*text) : '_');
}

/* A value's variable: its name, made unique where C cannot spell it. */
static void put_value(Out *o, const Value *v)
{
    bool plain = true;
    put(o, "v_");
    for (const char *c = v->name; *c; c++) {
        bool good = isalnum((unsigned char)*c) || *c == '_';
        plain &= good;
        put(o, "%c", good ? *c : '_');
    }
    if (!plain)
        put(o, "__%d", v->id);
}

static const char *c_type(const Type *t)
{
    return t->fmt == FMT_I8    ? "int8_t"
           : t->fmt == FMT_I32 ? "int32_t"
           : t->fmt == FMT_F16 ? "uint16_t"
           : t->fmt == FMT_KV8 ? "uint8_t"
                               : "float";
}

/* Text inside a comment: nothing in it may end the comment or the line. */
static void put_comment(Out *o, const char *text)
{
    for (; *text; text++)
        put(o, "%c", (*text == '*' && text[1] == '/') || (unsigned char)*text < 32 ? '.' : *text);
}

static void indent(Emit *e)
{
    put(e->out, "%*s", 4 * e->depth, "");
}

/* ---- arguments ---- */

static void put_weight(Emit *e, const Value *v, bool scales)
{
    bool floats = scales || v->type->rank == 1;
    if (v->weight->is_state) {
        put_upper(e->out, "W_", v->name);
        put(e->out, "(i)");
        return;
    }
    put(e->out, floats ? "(const float *)(" : "");
    put_upper(e->out, "W_", v->name);
    put(e->out, "%s", v->weight->count ? "(i)" : "");
    if (scales)
        put(e->out, " + %" PRId64, v->weight->scales);
    put(e->out, floats ? ")" : "");
}

static void put_float_arg(Emit *e, double f)
{
    Out text = {.s = e->m->s};
    put_float(&text, f);
    put(e->out, "%s%sf", text.text, strpbrk(text.text, ".e") ? "" : ".0");
    out_free(&text);
}

static void put_value_arg(Emit *e, const Value *v)
{
    if (v->room == ROOM_ARG)
        put(e->out, "c->tokens");
    else if (v->room == ROOM_HIDDEN && !v->def)
        put(e->out, "c->hidden");
    else
        put_value(e->out, v);
}

static void put_arg(Emit *e, const Op *op, const Arg *a)
{
    static const char *const fixed[] = {
        [ARG_POS] = "c->pos", [ARG_TOKENS] = "c->ntok", [ARG_BEST] = "c->best",
        [ARG_LAYER] = "i",    [ARG_NULL] = "NULL",      [ARG_WORK] = ""};
    switch (a->kind) {
    case ARG_INT:
        put(e->out, "%" PRId64, a->i);
        break;
    case ARG_FLOAT:
        put_float_arg(e, a->f);
        break;
    case ARG_WORD:
        put_upper(e->out, "BN_", a->word);
        break;
    case ARG_SHARE:
        put(e->out, op_repeats(op) ? "0, 1" : op_dealt(op) ? "r.from, r.to" : "from, to");
        break;
    case ARG_FIRST:
        put(e->out, op_dealt(op) ? "r.turn == 1" : "1");
        break;
    case ARG_VALUE:
        put_value_arg(e, a->value);
        break;
    case ARG_WEIGHT:
    case ARG_SCALES:
        put_weight(e, a->value, a->kind == ARG_SCALES);
        break;
    case ARG_WORK:
        put(e->out, "c->own + %" PRId64, a->i);
        break;
    default:
        put(e->out, "%s", fixed[a->kind]);
    }
}

/* ---- ops ---- */

static void put_result(Emit *e, const Value *v)
{
    const char *type = c_type(v->type);
    indent(e);
    put(e->out, "%s *const ", type);
    put_value(e->out, v);
    if (v->room == ROOM_LOGITS || v->room == ROOM_HIDDEN)
        put(e->out, " = c->%s;\n", v->room == ROOM_LOGITS ? "logits" : "hidden");
    else
        put(e->out, " = (%s *)(c->%s + %" PRId64 ");\n", type,
            v->room == ROOM_OWN ? "own" : "shared", v->slot);
}

static void put_share(Emit *e, const Op *op)
{
    Dim units = op_units(op);
    if (op_repeats(op))
        return;
    indent(e);
    if (op_dealt(op)) {
        put(e->out,
            "for (bn_rows r = {0, 0, 0}; bn_rows_next(c, %" PRId64 ", %" PRId64 ", %" PRId64
            ", &r);)\n    ",
            attr_int(op, "claim", 0), units.n, op_least_units(op));
        return;
    }
    put(e->out, "bn_share(c, ");
    if (units.sym)
        put(e->out, "c->ntok");
    else
        put(e->out, "%" PRId64, units.n);
    put(e->out, ", &from, &to);\n");
}

static void put_ir_line(Emit *e, const Op *op)
{
    Out line = {.s = e->m->s};
    op_print(op, &line);
    indent(e);
    put(e->out, "/* ");
    put_comment(e->out, line.text);
    put(e->out, " */\n");
    out_free(&line);
}

static void put_call(Emit *e, const Op *op)
{
    put_ir_line(e, op);
    for (int i = 0; i < op->nout; i++)
        put_result(e, op->out[i]);
    put_share(e, op);
    indent(e);
    put(e->out, "%s(", op->kernel->symbol);
    Arg args[CALL_ARGS];
    for (int i = 0, n = call_args(op, args); i < n; i++) {
        put(e->out, i ? ", " : "");
        put_arg(e, op, &args[i]);
    }
    put(e->out, ");\n");
    if (e->sites)
        put_lap(e->sites, op, e->out);
}

static void put_barrier(Emit *e, const Op *op)
{
    indent(e);
    put(e->out, "bn_barrier(c);\n");
    if (e->sites)
        put_lap(e->sites, op, e->out);
}

static void put_layers(Emit *e, const Op *op, const char *function)
{
    int64_t first = attr_int(op, "first", 0), count = attr_int(op, "count", 1);
    put_ir_line(e, op);
    indent(e);
    put(e->out, "for (int i = %" PRId64 "; i < %" PRId64 "; i++)\n", first, first + count);
    indent(e);
    put(e->out, "    %s(c, i);\n", function);
}

/* Values of the function around that a layers body reads, once each. */
struct Outside {
    Emit *e;
    const Block *body;
    bool *seen; /* by Value.id */
};

static void find_outside(Op *op, void *arg)
{
    struct Outside *x = arg;
    for (int i = 0; i < op->nin; i++) {
        Value *v = op->in[i];
        if (v->weight || v->room == ROOM_ARG || x->seen[v->id] ||
            (v->def && v->def->block == x->body))
            continue;
        x->seen[v->id] = true;
        if (op->code != OP_YIELD)
            put_result(x->e, v);
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

static void put_ops(Emit *e, const Block *b)
{
    int layers = 0;
    for (const Op *op = b->first; op; op = op->next)
        if (op->code == OP_LAYERS)
            put_layers(e, op, e->function[layers++]);
        else if (op->code == OP_BARRIER)
            put_barrier(e, op);
        else if (op->kernel)
            put_call(e, op);
}

static bool shares(const Block *b)
{
    for (const Op *op = b->first; op; op = op->next)
        if (op->kernel && !op_repeats(op) && !op_dealt(op))
            return true;
    return false;
}

/* The body of a layers op as a C function body. */
static void put_layer_body(Emit *e, const Op *op)
{
    struct Outside x = {e, op->body, NEW_ARRAY(e->m->s, bool, e->f->nvalue)};
    put(e->out, "{\n");
    if (shares(op->body))
        put(e->out, "    int from, to;\n");
    if (!uses_layer_index(op->body))
        put(e->out, "    (void)i;\n");
    walk(op->body, find_outside, &x);
    put(e->out, "\n");
    put_ops(e, op->body);
    put(e->out, "}\n\n");
}

/* One function per block; forms whose blocks come out the same (prefill and score do) share it. */
static const char *put_layer_function(Emit *e, const Op *op, int n)
{
    Session *s = e->m->s;
    Out *file = e->out, body = {.s = s};
    e->out = &body;
    put_layer_body(e, op);
    e->out = file;
    for (const Layer *l = e->layers; l; l = l->next)
        if (!strcmp(l->body, body.text)) {
            out_free(&body);
            return l->name;
        }
    Layer *l = NEW(s, Layer);
    *l = (Layer){format(s, "%s_layer%s", e->f->name, n ? format(s, "_%d", n + 1) : ""),
                 name(s, body.text), e->layers};
    e->layers = l;
    put(file, "/* One block of @%s, layers %" PRId64 " to %" PRId64 ". */\n", e->f->name,
        attr_int(op, "first", 0), attr_int(op, "first", 0) + attr_int(op, "count", 1) - 1);
    put(file, "static void %s(const bn_call *c, int i)\n%s", l->name, l->body);
    out_free(&body);
    return l->name;
}

static void put_results_of_layers(Emit *e, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next)
        for (int i = 0; op->code == OP_LAYERS && i < op->nout; i++)
            if (op->out[i]->nuse)
                put_result(e, op->out[i]);
}

static void put_function(Emit *e, Func *f)
{
    size_t layers = 0;
    e->f = f;
    e->depth = 1;
    e->function = NULL;
    func_number(f);
    for (const Op *op = f->body->first; op; op = op->next)
        if (op->code == OP_LAYERS) {
            const char *function = put_layer_function(e, op, (int)layers);
            e->function = grow(e->m->s, e->function, layers, sizeof *e->function);
            e->function[layers++] = function;
        }
    put(e->out, "static void %s(const bn_call *c)\n{\n", f->name);
    if (shares(f->body))
        put(e->out, "    int from, to;\n");
    put_results_of_layers(e, f->body);
    put(e->out, "\n");
    if (e->sites)
        put_start(e->sites, f, e->out);
    put_ops(e, f->body);
    put(e->out, "}\n\n");
}

/* ---- the file around them ---- */

/* A copy of another weight's tensors has no parameters of its own. */
static bool is_copy(const Module *m, const Weight *w)
{
    for (const Weight *o = m->weights; o != w; o = o->next)
        if (o->pattern && o->pattern == w->pattern && o->first == w->first)
            return true;
    return false;
}

static int64_t parameters(const Module *m)
{
    int64_t n = 0;
    for (const Weight *w = m->weights; w; w = w->next) {
        int64_t one = w->is_state || is_copy(m, w) ? 0 : 1;
        for (int i = 0; i < w->type->rank; i++)
            one *= w->type->dim[i].n;
        one += w->times != NULL;
        n += one * (w->count ? w->count : 1);
    }
    return n;
}

static void put_head(Emit *e)
{
    const Module *m = e->m;
    Out *o = e->out;
    put(o, "/* ");
    put_comment(o, m->title);
    put(o, ", compiled by bnc " BN_VERSION
           ". Generated: change the model or the compiler, not this.\n *\n");
    put(o, " * model    %s, %.1f M parameters, from ", m->arch[0], (double)parameters(m) / 1e6);
    put_comment(o, file_name(m->source));
    put(o, " (XXH64 %016" PRIx64 ")\n * flags    ", m->hash);
    put_comment(o, e->o->flags);
    put(o, "\n * target   %s: %s", e->target->name, e->target->what);
    isa_names(o, e->target->isa, " (", " ");
    put(o, "%s\n", e->target->isa ? ")" : "");
    put(o,
        " * bytes    weights %" PRId64 ", KV cache %" PRId64 ", scratch %" PRId64 " and %" PRId64
        " a thread\n",
        m->weight_bytes, m->cache_bytes, m->shared_bytes, own_bytes(m, e->o->profile));
    put(o, " * context  %d positions, prefill %d at a time\n *\n", m->context, m->batch);
    put(o, " * Every call stands below the IR line that it computes; `shared`, `own` and `cache` "
           "are parts of\n"
           " * the state, at offsets that the compiler's plan chose. See bn.h for how to run it. "
           "*/\n");
}

static void put_weights(Emit *e)
{
    Out *o = e->out;
    put(o, "/* ---- weights: offsets in the .bnw; then the KV cache, in the state ---- */\n\n");
    for (const Weight *w = e->m->weights; w; w = w->next) {
        Out type = {.s = e->m->s};
        type_print(w->type, &type);
        put_upper(o, "#define W_", w->name);
        put(o, w->count || w->is_state ? "(i) " : " ");
        if (w->is_state)
            put(o, "(%s *)", c_type(w->type));
        put(o, "(c->%s + %" PRId64, w->is_state ? "cache" : "weights", w->at);
        if (w->count && w->first)
            put(o, " + (size_t)((i) - %d) * %" PRId64, w->first, w->stride);
        else if (w->count)
            put(o, " + (size_t)(i) * %" PRId64, w->stride);
        put(o, ") /* %s */\n", type.text);
        out_free(&type);
    }
    put(o, "\n");
}

static void put_c_string(Out *o, const char *text)
{
    put(o, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        put(o, c < 32 || c > 126 || c == '"' || c == '\\' || c == '?' ? "\\%03o" : "%c", c);
    }
    put(o, "\"");
}

/* Inside a string of assembler inside a string of C. */
static void put_incbin_path(Out *o, const char *path)
{
    for (; *path; path++)
        put(o, *path == '"' || *path == '\\' ? "\\\\\\%c" : "%c", *path);
}

static void put_embedded(Emit *e)
{
    Out *o = e->out;
    const char *p = e->o->prefix;
    if (e->o->weights == WEIGHTS_INCBIN) {
        put(o,
            "#if !defined(__GNUC__)\n#error \"--weights=incbin needs gcc or clang; compile the "
            "model with "
            "--weights=file\"\n#endif\n#if defined(__APPLE__)\n__asm__(\".const\\n.p2align "
            "12\\n.globl _%s_bnw\\n"
            "_%s_bnw:\\n.incbin \\\"",
            p, p);
        put_incbin_path(o, e->o->bnw_path);
        put(o,
            "\\\"\\n.text\\n\");\n#else\n__asm__(\".pushsection .rodata\\n.balign 4096\\n.globl "
            "%s_bnw\\n"
            "%s_bnw:\\n.incbin \\\"",
            p, p);
        put_incbin_path(o, e->o->bnw_path);
        put(o, "\\\"\\n.popsection\\n\");\n#endif\nextern const unsigned char %s_bnw[];\n\n", p);
    } else if (e->o->weights == WEIGHTS_C) {
        put(o,
            "#ifdef __cplusplus\nalignas(64)\n#else\n_Alignas(64)\n#endif\nstatic const uint64_t "
            "%s_words[] = {",
            p);
        for (int64_t i = 0; i < e->m->weight_bytes; i += 8) {
            uint64_t word;
            memcpy(&word, e->o->bnw + i, sizeof word);
            put(o, "%s0x%" PRIx64 ",", i % 64 ? "" : "\n", word);
        }
        put(o, "\n};\n#define %s_bnw ((const unsigned char *)%s_words)\n\n", p, p);
    }
}

void put_fields(const Record *r, Out *o)
{
    for (size_t i = 0; i < r->n; i++) {
        const Field *f = &r->field[i];
        bool last = i + 1 == r->n || f[1].kind == FIELD_CLOSE;
        if (f->kind == FIELD_INT && f->text)
            put(o, "%s", f->text);
        else if (f->kind == FIELD_INT || f->kind == FIELD_LONG)
            put(o, "%" PRId64 "%s", f->i, f->kind == FIELD_LONG ? "u" : "");
        else if (f->kind == FIELD_HASH)
            put(o, "0x%016" PRIx64 "u", (uint64_t)f->i);
        else if (f->kind == FIELD_TEXT && f->text)
            put_c_string(o, f->text);
        else if (f->kind == FIELD_TEXT || f->kind == FIELD_SYMBOL)
            put(o, "%s", f->text ? f->text : "NULL");
        else
            put(o, f->kind == FIELD_OPEN ? "{" : "}");
        if (!last && f->kind != FIELD_OPEN)
            put(o, f->line ? "," : ", ");
        if (f->line)
            put(o, "%s%s%s\n%s", *f->line ? " /* " : "", f->line, *f->line ? " */" : "",
                last ? "" : "    ");
    }
}

/* The functions of each part, in the order of bn_code; a module has them part by part. */
static void put_code(Emit *e)
{
    put(e->out, "/* What a processor must have, and the functions for it; bn_open takes the last "
                "that fits. */\nstatic const bn_code code[] = {\n    ");
    Record r = {.s = e->m->s};
    for (const Func *f = e->m->funcs; f;)
        f = record_code(&r, f, e->target);
    put_fields(&r, e->out);
    put(e->out, "};\n\n");
}

static void put_descriptor(Emit *e)
{
    Record r = {.s = e->m->s};
    const char *p = e->o->prefix;
    put(e->out, "extern const bn_model %s_model;\nconst bn_model %s_model = {\n    ", p, p);
    record_model(&r, e->m, e->target, e->o);
    put_fields(&r, e->out);
    put(e->out, "};\n");
}

/* A file of the runtime, without the includes of its neighbours. */
static void put_runtime(Out *o, const char *path)
{
    size_t size;
    const char *text = embedded_file(path, &size);
    CHECK(text);
    const char *end = text + size;
    put(o, "\n/* ==== %s ==== */\n", path);
    while (text < end) {
        size_t len = strcspn(text, "\n") + 1;
        if (strncmp(text, "#include \"", 10))
            put_bytes(o, text, len);
        text += len;
    }
}

void emit_runtime(Out *o, bool profile)
{
    static const char *const files[] = {
        "bn.h",   "bn_model.h", "bn_template.h", "bn_cpu.h",   "bn_vocab.h",    "internal.h", "unicode_tables.h", "jinja.h",
        "load.c", "team.c",     "state.c",    "pretokenize.c", "tokenize.c", "detokenize.c",
        "chat.c", "jinja_run.c", "jinja_value.c", "jinja_text.c", "jinja_json.c", "jinja_call.c", "sample.c",   "generate.c", "cli.h",         "cli.c"};
    put(o, "#ifndef _POSIX_C_SOURCE\n#define _POSIX_C_SOURCE 200809L\n#endif\n");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        put_runtime(o, files[i]);
    if (profile) {
        put_runtime(o, "bn_profile.h");
        put_runtime(o, "profile.c");
    }
}

static void put_main(Emit *e)
{
    put(e->out,
        "\n/* Alone, this file is a program; a main of the product's own takes precedence. */\n"
        "#if defined(__GNUC__)\n__attribute__((weak))\n#endif\nint main(int argc, char **argv)\n{\n"
        "    return bn_cli(&%s_model, argc, argv);\n}\n",
        e->o->prefix);
}

/* What the runtime relies on and a hand-written architecture could get wrong. */
static void check_shape(const Module *m)
{
    const Type *logits = result_of(m, FORM_SCORE), *hidden = result_of(m, FORM_DECODE);
    if (!logits || !hidden || !result_of(m, FORM_PREFILL) || !result_of(m, FORM_HEAD))
        fail(m->s, (Loc){m->text, 0, 0},
             "a program needs @decode, @prefill, @score and @head; run the pass specialize");
    for (Func *f = m->funcs; f; f = f->next) {
        const Type *y = f->body->last->in[0]->type;
        bool cut = result_room(f) == ROOM_HIDDEN;
        if (cut ? y != hidden
                : y->dim[1].n != logits->dim[1].n ||
                      (f->form != FORM_SCORE && f->body->arg[0]->type != hidden))
            fail(m->s, f->body->last->loc, "@%s hands on or takes another type than the others",
                 f->name);
        for (const Op *op = f->body->first; op; op = op->next)
            if (op->code == OP_EMBED && op->in[1]->type->dim[0].n < logits->dim[1].n)
                fail(m->s, op->loc,
                     "@%s: the embedding has %lld rows, the logits %lld words: a token could have "
                     "no row",
                     f->name, (long long)op->in[1]->type->dim[0].n, (long long)logits->dim[1].n);
        if (f->form == FORM_FORWARD)
            fail(m->s, (Loc){m->text, 0, 0}, "@forward is still general; run the pass specialize");
    }
}

/* The chat template is a stranger's text: numbers alone reach the C. */
static void put_template(const EmitOptions *o, Out *out)
{
    if (!o->chat.bytes)
        return;
    put(out, "/* The chat template, for the runtime's interpreter (bn_template.h). */\n"
             "static const unsigned char chat_template[] = {");
    for (size_t i = 0; i < o->chat.size; i++)
        put(out, i % 24 ? "%u," : "\n    %u,", o->chat.bytes[i]);
    put(out, "\n};\n\n");
}

void emit_constants(const Module *m, const Target *target, const EmitOptions *o, Out *out)
{
    Emit e = {.m = m, .target = target, .o = o, .out = out};
    put_template(o, out);
    put_code(&e);
    put_embedded(&e);
    put_descriptor(&e);
}

struct Used {
    Session *s;
    const Kernel **kernel;
    int n;
};

static void note_kernel(Op *op, void *arg)
{
    struct Used *u = arg;
    if (!op->kernel)
        return;
    u->kernel = grow(u->s, u->kernel, (size_t)u->n, sizeof *u->kernel);
    u->kernel[u->n++] = op->kernel;
}

void emit_c(const Module *m, const Target *target, const EmitOptions *o, Out *out)
{
    Emit e = {.m = m, .target = target, .o = o, .out = out};
    e.sites = o->profile ? sites_find(m) : NULL;
    struct Used used = {m->s, NULL, 0};
    const Target *part = NULL;
    check_shape(m);
    put_head(&e);
    if (o->amalgamate) {
        emit_runtime(out, o->profile);
        put(out, "\n/* ==== the model ==== */\n\n");
    }
    put(out, "#include <math.h>\n#include <string.h>\n\n%s",
        o->amalgamate ? ""
        : o->profile  ? "#include \"bn_profile.h\"\n\n"
                      : "#include \"bn_model.h\"\n\n");
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, note_kernel, &used);
    emit_kernels(m->s, used.kernel, used.n, out);
    put_weights(&e);
    if (e.sites)
        put_sites(e.sites, o->prefix, out);
    for (Func *f = m->funcs; f; f = f->next) {
        if (f == m->funcs || f->target != part)
            emit_isa(target_isa(&e, f), out);
        part = f->target;
        put_function(&e, f);
        if (!f->next || f->next->target != part)
            emit_isa_end(target_isa(&e, f), out);
    }
    emit_constants(m, target, o, out);
    if (o->amalgamate)
        put_main(&e);
}

void emit_header(const Module *m, const EmitOptions *o, Out *out)
{
    const Type *logits = result_of(m, FORM_SCORE);
    Out name_of = {.s = m->s};
    put_upper(&name_of, "", o->prefix);
    const char *big = name(m->s, name_of.text);
    out_free(&name_of);
    put(out, "/* ");
    put_comment(out, m->title);
    put(out,
        ", compiled by bnc " BN_VERSION
        ": see bn.h for how to run it. */\n#ifndef %s_MODEL_H\n#define %s_MODEL_H\n\n",
        big, big);
    if (o->amalgamate)
        put_runtime(out, "bn.h");
    else
        put(out, "#include \"bn.h\"\n");
    put(out, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\nextern const bn_model %s_model;\n\n",
        o->prefix);
    if (o->profile)
        put(out, "extern const struct bn_profile %s_profile; /* see bn_profile.h */\n", o->prefix);
    put(out, "#define %s_VOCAB %" PRId64 "\n#define %s_CONTEXT %d\n", big, logits->dim[1].n, big,
        m->context);
    put(out,
        "/* Bytes that bn_init needs at most, for a block set aside at compile time. */\n"
        "#define %s_STATE_BYTES(threads) \\\n    BN_STATE_BYTES(threads, %" PRId64 ", %" PRId64
        ", %" PRId64 ", %" PRId64 ", %d)\n",
        big, m->shared_bytes + hidden_bytes(m), own_bytes(m, o->profile), m->cache_bytes,
        logits->dim[1].n, m->context);
    put(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
