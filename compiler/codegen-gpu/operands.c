/* operands.c: the text of a call: its operands as places in the state and in the weights, its IR
 * line above it; and the macros and tables that this text names. What an op is called with comes
 * from codegen-c/call.c. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-gpu/gpu.h"
#include "ir/escape.h"

/* ---- operands ---- */

static const char *msl_type(const Type *t)
{
    return t->fmt == FMT_I8    ? "char"
           : t->fmt == FMT_I32 ? "int"
           : t->fmt == FMT_F16 ? "half"
                               : "float";
}

void put_operand(Printer *p, const Value *v)
{
    const char *elsewhere = p->dialect->operand ? p->dialect->operand(p, v) : NULL;
    if (elsewhere) {
        put(p->out, "%s", elsewhere);
        return;
    }
    if (v->space == SPACE_OWN) {
        put(p->out, "OWN(%s, %" PRId64 ")", msl_type(v->type), v->slot);
        return;
    }
    int64_t at = v->space == SPACE_ARG      ? p->at.tokens
                 : v->space == SPACE_HIDDEN ? p->at.hidden
                 : v->space == SPACE_LOGITS ? p->at.logits
                                            : p->at.scratch + v->slot;
    put(p->out, "AT(%s, %" PRId64 ")", v->space == SPACE_ARG ? "int" : msl_type(v->type), at);
}

void put_place_of(Printer *p, const Weight *w, const char *layer)
{
    put_weight_name(p->out, "W_", p->m, w);
    if (w->count || w->is_state)
        put(p->out, "(%s)", layer);
}

void put_scales_of(Printer *p, const Weight *w, const char *layer)
{
    bool apart = slice_of(p, w).fine > 0;
    put(p->out, "FLOATS(");
    put_weight_name(p->out, apart ? "C_" : "W_", p->m, w);
    if (w->count)
        put(p->out, "(%s)", layer);
    if (!apart)
        put(p->out, " + %" PRId64, w->scales);
    put(p->out, ")");
}

static void put_weight(Printer *p, const Value *v)
{
    bool floats = v->type->rank == 1 && !v->weight->is_state;
    put(p->out, floats ? "FLOATS(" : "");
    put_place_of(p, v->weight, "layer");
    put(p->out, floats ? ")" : "");
}

static const char *rope_table_name(Session *s, const Op *op)
{
    Out base = {.s = s};
    put_float(&base, attr_float(op, "base", 0));
    return format(s, "rope_table_%lld_%s", (long long)attr_int(op, "dim", 0), c_name(s, base.text));
}

/* ---- calls ---- */

static void put_arg(Printer *p, const Op *op, const Arg *a)
{
    Out *o = p->out;
    if (a->kind == ARG_INT) {
        put(o, "%" PRId64, a->i);
    } else if (a->kind == ARG_FLOAT && op->code == OP_ROPE_TABLE) {
        put(o, "%s", rope_table_name(p->s, op));
    } else if (a->kind == ARG_FLOAT) {
        Out text = {.s = p->s};
        put_float(&text, a->f);
        put(o, "%s%sf", text.text, strpbrk(text.text, ".e") ? "" : ".0");
        out_free(&text);
    } else if (a->kind == ARG_WORD) {
        put_word_name(o, a->word);
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
                                            [ARG_TOPK] = "step.topk",
                                            [ARG_NULL] = "nullptr"};
        CHECK(a->kind < sizeof fixed / sizeof *fixed && fixed[a->kind]);
        put(o, "%s", fixed[a->kind]);
    }
}

/* Arguments that kernels take as records: from the op's argument `from` on, one for each `#`. */
static const struct {
    OpCode op;
    int from;
    const char *record;
} records[] = {
    {OP_STORE, 4, "bn_cache_shape{#, #, #}"},
    {OP_ROPE_STORE, 5, "bn_cache_shape{#, #, #}"},
    {OP_ATTENTION, 6, "bn_attention_shape{#, {#, #, #}}"},
    {OP_ATTENTION_WINDOW, 6, "bn_attention_shape{#, {#, #, #}}"},
    {OP_ROPE_ATTENTION, 0, "bn_qkv{#, #, #, #}"},
    {OP_ROPE_ATTENTION, 8, "bn_attention_shape{#, {#, #, #}}"},
    {OP_ROPE_ATTENTION, 12, "bn_rope{#, #}"},
    {OP_SCREEN, 1, "bn_lowbit{#, #}"},
    {OP_SCREEN, 3, "bn_activations{#, #, #}"},
};

/* The record that begins with argument i; "#": it is no record. */
static const char *record_at(const Op *op, int i)
{
    for (size_t r = 0; r < sizeof records / sizeof *records; r++)
        if (records[r].op == op->code && records[r].from == i)
            return records[r].record;
    return "#";
}

void put_arguments(Printer *p, const Op *op)
{
    Arg args[CALL_ARGS];
    int n = 0;
    for (int i = 0, all = call_args(op, args); i < all; i++)
        if (args[i].kind != ARG_SHARE && args[i].kind != ARG_FIRST)
            args[n++] = args[i];
    for (int i = 0; i < n;) {
        for (const char *c = record_at(op, i); *c; c++)
            if (*c == '#')
                put_arg(p, op, &args[i++]);
            else
                put(p->out, "%c", *c);
        put(p->out, ", ");
    }
    if (p->dialect->put_more_arguments)
        p->dialect->put_more_arguments(p, op);
}

void put_activation(Printer *p, const Op *op)
{
    put_word_name(p->out, attr_word(op, "act", NULL));
    put(p->out, ", ");
}

void put_call(Printer *p, const Op *op)
{
    put(p->out, "%s(", op->kernel->symbol);
    put_arguments(p, op);
    put(p->out, "%s", op->code == OP_LAST ? "0, me" : "g, me");
    put(p->out, "%s);\n", facts_of(p, op).scratch ? ", tg" : "");
}

void put_ir_comment(Printer *p, const Op *op, const char *margin)
{
    Out line = {.s = p->s};
    op_print(op, &line);
    put(p->out, "%s/* ", margin);
    put_comment(p->out, line.text);
    put(p->out, " */\n");
    out_free(&line);
}

/* ---- tables of rotary positions ---- */

static void put_rope_table(Op *op, void *arg)
{
    Printer *p = arg;
    if (op->code != OP_ROPE_TABLE)
        return;
    const char *name = rope_table_name(p->s, op);
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

void put_rope_tables(Printer *p)
{
    for (Func *f = p->m->funcs; f; f = f->next)
        walk(f->body, put_rope_table, p);
}

/* ---- places of weights ---- */

/* W_NAME, or C_NAME, which is its scales': of layer i, from `at` on. */
static void put_weight_macro(Printer *p, const Weight *w, const char *prefix, const Slice *s,
                             int64_t at, const char *less)
{
    Out *o = p->out, type = {.s = p->s};
    if (*prefix == 'C')
        put(&type, "its scales");
    else
        type_print(w->type, &type);
    put(o, "#define ");
    put_weight_name(o, prefix, p->m, w);
    put(o, w->count || w->is_state ? "(i) " : " ");
    if (w->is_state)
        put(o, "((device %s *)(state + %" PRId64, msl_type(w->type), at);
    else
        put(o, "(weights + %" PRId64, at);
    if (w->count && w->first)
        put(o, " + ulong((i) - %d) * %" PRId64, w->first, s->stride);
    else if (w->count)
        put(o, " + ulong(i) * %" PRId64, s->stride);
    put(o, "%s%s) /* %s */\n", less, w->is_state ? ")" : "", type.text);
    out_free(&type);
}

void put_weight_macros(Printer *p)
{
    for (const Weight *w = p->m->weights; w; w = w->next) {
        Slice s = w->is_state ? (Slice){.at = p->at.cache + w->at, .stride = w->stride, .less = ""}
                              : slice_of(p, w);
        put_weight_macro(p, w, "W_", &s, s.at, s.less);
        if (s.fine && w->scales)
            put_weight_macro(p, w, "C_", &s, s.at + s.scales, "");
    }
    put(p->out, "\n");
}

/* ---- long lines ---- */

enum { COLUMNS = 110 };

/* Where a line of n characters is to be broken, in its second half: behind the comma that fewest
 * brackets enclose, else behind a space; 0: nowhere. */
static size_t break_at(const char *line, size_t n, size_t margin, size_t columns)
{
    size_t space = 0, comma = 0;
    int depth = 0, least = 1 << 20;
    for (size_t i = margin + 1; i + 4 < n && i < columns; i++) {
        depth += strchr("({[", line[i]) ? 1 : strchr(")}]", line[i]) ? -1 : 0;
        if (line[i] != ' ' || i < columns / 2)
            continue;
        space = i + 1;
        if (line[i - 1] == ',' && depth <= least) {
            least = depth;
            comma = i + 1;
        }
    }
    return comma ? comma : space;
}

void put_wrapped(const char *text, Out *out)
{
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n"), margin = strspn(line, " "), indent = 0, at;
        bool opens = !strncmp(line + margin, "/*", 2), comment = opens || line[margin] == '*';
        const char *next = comment ? "*  " : "", *end = line[0] == '#' ? " \\" : "";
        while (indent + n > COLUMNS &&
               (at = break_at(line, n, indent ? 0 : margin, COLUMNS - indent))) {
            put_bytes(out, line, at - 1); /* without the space */
            indent = comment ? margin + opens : margin + 4;
            put(out, "%s\n%*s%s", end, (int)indent, "", next);
            line += at;
            n -= at;
        }
        put_bytes(out, line, n + (line[n] == '\n'));
        line += n + (line[n] == '\n');
    }
}

/* ---- entry points that are there already ---- */

const char *entry_of(Printer *p, const char *wanted, const char *body)
{
    for (const char *at = p->seen.text; at && at < p->seen.text + p->seen.len;) {
        const char *entry = at, *text = at + strlen(at) + 1;
        if (!strcmp(text, body))
            return name(p->s, entry);
        at = text + strlen(text) + 1;
    }
    put_bytes(&p->seen, wanted, strlen(wanted) + 1);
    put_bytes(&p->seen, body, strlen(body) + 1);
    return NULL;
}
