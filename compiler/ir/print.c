/* print.c: the module as text, at any stage. What is printed here the grammar reads back to the
 * same module, so every fact that later stages need must stand in the text. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/escape.h"
#include "ir/ir.h"

/* Quoted where the lexer would not read it as one identifier. */
static void put_word(Out *o, const char *text)
{
    static const char *const keywords[] = {"arch",   "model",  "facts",  "dim",   "const",
                                           "expect", "ignore", "weight", "state", "func",
                                           "layers", "from",   "at",     "x"};
    bool plain = isalpha((unsigned char)*text) || *text == '_';
    for (const char *c = text; *c; c++)
        plain &= isalnum((unsigned char)*c) || strchr("_.-", *c);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        plain &= strcmp(text, keywords[i]) != 0;
    if (plain)
        put(o, "%s", text);
    else
        put_tir_string(o, text);
}

/* As a float where that is exact; whole numbers beyond stand in full. */
static void put_number(Out *o, double v)
{
    if ((double)(float)v != v && fabs(v) < 1e15 && v == floor(v))
        put(o, "%.0f", v);
    else
        put_float(o, v);
}

static void put_dim(Out *o, Dim d)
{
    if (d.sym)
        put(o, "%s", d.sym);
    else
        put(o, "%" PRId64, d.n);
}

void type_print(const Type *t, Out *o)
{
    put(o, "%s", fmt_info[t->fmt].name);
    for (int i = 0; i < t->rank; i++) {
        put(o, i ? " x " : "<");
        put_dim(o, t->dim[i]);
    }
    put(o, t->rank ? ">" : "");
}

static void put_attr(Out *o, const Attr *a)
{
    put(o, "%s = ", a->name);
    if (a->ref)
        put(o, "%s", a->ref);
    else if (a->kind == ATTR_INT)
        put(o, "%" PRId64, a->i);
    else if (a->kind == ATTR_FLOAT)
        put_float(o, a->f);
    else
        put_word(o, a->s);
}

static const char *const space_name[] = {"", "shared", "own", "logits", "hidden", "arg"};

static void put_place(Out *o, const Value *v)
{
    if (v->space == SPACE_SHARED || v->space == SPACE_OWN)
        put(o, " at %s %" PRId64, space_name[v->space], v->slot);
    else if (v->space != SPACE_NONE)
        put(o, " at %s", space_name[v->space]);
}

static void put_operands(Out *o, const Op *op)
{
    for (int i = 0; i < op->nin; i++)
        put(o, "%s%c%s", i ? ", " : " ", op->in[i]->weight ? '@' : '%', op->in[i]->name);
}

static void put_attrs(Out *o, const Op *op)
{
    for (int i = 0; i < op->nattr; i++) {
        put(o, i ? ", " : " {");
        put_attr(o, &op->attr[i]);
    }
    put(o, op->nattr ? "}" : "");
}

void op_print(const Op *op, Out *o)
{
    for (int i = 0; i < op->nout; i++)
        put(o, "%s%%%s", i ? ", " : "", op->out[i]->name);
    put(o, "%s%s", op->nout ? " = " : "", op_info[op->code].name);
    if (op->code == OP_LAYERS) {
        for (int i = 0; i < op->nin; i++)
            put(o, "%s%%%s = %%%s", i ? ", " : "(", op->body->arg[i]->name, op->in[i]->name);
        put(o, ")");
        put_attrs(o, op);
        return;
    }
    put_operands(o, op);
    put_attrs(o, op);
    for (int i = 0; i < op->nout; i++) {
        put(o, i ? ", " : " : ");
        type_print(op->out[i]->type, o);
        put_place(o, op->out[i]);
    }
}

static void put_block(Out *o, const Block *b, int depth)
{
    for (const Op *op = b->first; op; op = op->next) {
        put(o, "%*s", 2 * depth, "");
        op_print(op, o);
        if (op->body) {
            put(o, " {\n");
            put_block(o, op->body, depth + 1);
            put(o, "%*s}", 2 * depth, "");
        }
        put(o, "\n");
    }
}

static void put_func(Out *o, const Func *f)
{
    put(o, "\nfunc @%s(", f->name);
    for (int i = 0; i < f->body->narg; i++) {
        put(o, "%s%%%s: ", i ? ", " : "", f->body->arg[i]->name);
        type_print(f->body->arg[i]->type, o);
    }
    put(o, ") {\n");
    put_block(o, f->body, 1);
    put(o, "}\n");
}

static void put_weight(Out *o, const Weight *w)
{
    put(o, "%s @%s", w->is_state ? "state" : "weight", w->name);
    if (w->layers.sym || w->count) {
        put(o, " [");
        put_dim(o, w->layers.sym ? w->layers : (Dim){w->count, NULL});
        if (w->first)
            put(o, " from %d", w->first);
        put(o, "]");
    }
    put(o, " : ");
    type_print(w->type, o);
    if (w->pattern) {
        put(o, " = ");
        put_tir_string(o, w->pattern);
    }
    if (w->same_as)
        put(o, " | @%s", w->same_as);
    if (w->has_const) {
        put(o, w->pattern ? " | " : " = ");
        if (w->constant_of)
            put(o, "%s", w->constant_of);
        else
            put_float(o, (double)w->constant);
    }
    put(o, w->optional ? " | none" : "");
    const char *sep = " {";
    if (w->scheme) {
        put(o, "%sscheme = ", sep);
        put_word(o, w->scheme);
        sep = ", ";
    }
    if (w->times) {
        put(o, "%stimes = ", sep);
        put_tir_string(o, w->times);
        sep = ", ";
    }
    if (w->at >= 0) {
        put(o, "%sat = %" PRId64 ", stride = %" PRId64, sep, w->at, w->stride);
        if (w->scales)
            put(o, ", scales = %" PRId64, w->scales);
        sep = ", ";
    }
    put(o, *sep == ',' ? "}\n" : "\n");
}

static void put_symbol(Out *o, const Symbol *y)
{
    put(o, "%s %s", y->is_dim ? "dim" : "const", y->name);
    if (y->known) {
        put(o, " = ");
        if (y->is_dim)
            put(o, "%" PRId64, y->n);
        else
            put_float(o, y->f);
    }
    for (const Choice *c = y->known ? NULL : y->choices; c; c = c->next) {
        put(o, c == y->choices ? " = " : " | ");
        if (c->key)
            put_tir_string(o, c->key);
        else if (c->a && c->b)
            put(o, "%s %c %s", c->a, c->op, c->b);
        else if (c->a)
            put(o, c->op == 'r' ? "sqrt(%s)" : "%s", c->a);
        else
            put_number(o, c->number);
    }
    put(o, "\n");
}

/* The sizes that `packed` and `planned` rest on stand in the model line: without it they are lost.
 */
static void put_facts(Out *o, const Module *m)
{
    unsigned facts = m->title ? m->facts : m->facts & ~(unsigned)(FACT_PACKED | FACT_PLANNED);
    put(o, m->title || facts ? "facts" : "");
#define FACT_PUT(name, text) put(o, facts &FACT_##name ? " " text : "");
    FACTS(FACT_PUT)
#undef FACT_PUT
    put(o, m->title || facts ? "\n" : "");
}

static void put_model(Out *o, const Module *m)
{
    put(o, "model ");
    put_tir_string(o, m->title);
    put(o, " {source = ");
    put_tir_string(o, m->source);
    put(o, ", hash = \"%016" PRIx64 "\", batch = %d", m->hash, m->batch);
    if (m->i2s_layout) {
        put(o, ", i2s_layout = ");
        put_word(o, m->i2s_layout);
    }
    if (m->pooling) {
        put(o, ", pooling = ");
        put_word(o, m->pooling);
    }
    if (m->target) {
        put(o, ", target = ");
        put_tir_string(o, m->target);
    }
    if (m->facts & FACT_PACKED)
        put(o, ", weight_bytes = %" PRId64 ", vocab_at = %" PRId64, m->weight_bytes, m->vocab_at);
    if (m->facts & FACT_PLANNED)
        put(o, ", shared = %" PRId64 ", own = %" PRId64 ", cache = %" PRId64, m->shared_bytes,
            m->own_bytes, m->cache_bytes);
    put(o, "}\n");
}

void module_print(const Module *m, Out *o)
{
    put(o, "arch ");
    for (int i = 0; i < m->narch; i++) {
        put(o, i ? " | " : "");
        put_tir_string(o, m->arch[i]);
    }
    if (m->masters) {
        put(o, " {masters = ");
        put_word(o, m->masters);
        put(o, "}");
    }
    put(o, "\n");
    if (m->title)
        put_model(o, m);
    put_facts(o, m);
    for (const Symbol *y = m->symbols; y; y = y->next)
        put_symbol(o, y);
    for (const Expect *e = m->expects; e; e = e->next) {
        put(o, e->ignored ? "ignore " : "expect ");
        put_tir_string(o, e->key);
        if (!e->ignored)
            put(o, " = ");
        if (e->text)
            put_tir_string(o, e->text);
        else if (e->symbol)
            put(o, "%s", e->symbol);
        else if (!e->ignored)
            put_number(o, e->number);
        put(o, "\n");
    }
    for (const Weight *w = m->weights; w; w = w->next)
        put_weight(o, w);
    for (const Func *f = m->funcs; f; f = f->next)
        put_func(o, f);
}

void module_save(const Module *m, const char *path)
{
    Out text = {.s = m->s};
    module_print(m, &text);
    file_save(m->s, path, &text);
    out_free(&text);
}
