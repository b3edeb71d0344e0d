/* parse.c: builds the module that the grammar reads. Names are resolved as they come (a value must
 * be defined above its use), so every mistake is reported at its own line and column. */
#include "frontend/parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "ir/escape.h"

struct Bound { /* a value's name; `block` NULL once its block is closed */
    const char *name;
    Value *value;
    Block *block;
};

Loc tir_loc(const Parse *p, TirPlace at)
{
    return (Loc){p->text, at.line, at.col};
}

void list_add(Parse *p, List *list, void *item)
{
    list->item = grow(p->s, list->item, (size_t)list->n, sizeof *list->item);
    list->item[list->n++] = item;
}

bool tir_integer(const char *text, int64_t *out)
{
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

double tir_number(Parse *p, TirPlace at, const char *text)
{
    double v = strtod(text, NULL);
    if (isfinite((float)v))
        return v;
    err(p->s, tir_loc(p, at), "the number %.40s is beyond a float", text);
    return 0;
}

/* The text between the quotes with \" \\ \xHH undone. */
const char *tir_string(Parse *p, const char *text, size_t len)
{
    char *buf = NEW_ARRAY(p->s, char, len);
    size_t n = 0;
    for (size_t i = 1; i + 1 < len; i++) {
        unsigned hex;
        if (text[i] == '\\' && text[i + 1] == 'x' && i + 4 < len &&
            sscanf(text + i + 2, "%2x", &hex) == 1) {
            buf[n++] = (char)(hex ? hex : '?');
            i += 3;
        } else {
            i += text[i] == '\\';
            buf[n++] = text[i];
        }
    }
    return intern(p->s, buf, n);
}

Fmt tir_fmt(Parse *p, TirPlace at, const char *word)
{
    Fmt f = fmt_by_name(word);
    if (f == FMT_COUNT)
        err(p->s, tir_loc(p, at), "'%s' is not an element format; use any, f32, i8, i32, tern, ...",
            word);
    return f == FMT_COUNT ? FMT_F32 : f;
}

Space tir_space(Parse *p, TirPlace at, const char *word)
{
    static const char *const spaces[] = {[SPACE_SHARED] = "shared",
                                         [SPACE_OWN] = "own",
                                         [SPACE_LOGITS] = "logits",
                                         [SPACE_HIDDEN] = "hidden"};
    for (Space r = SPACE_SHARED; r <= SPACE_HIDDEN; r++)
        if (!strcmp(spaces[r], word))
            return r;
    err(p->s, tir_loc(p, at), "a value stands at shared N, own N, hidden or logits, not at '%s'",
        word);
    return SPACE_NONE;
}

/* Texts of graphs hold some dozens of these, those of bound models a few thousand ops. What comes
 * near the limits is no model, and would keep the passes busy for long. */
enum {
    MOST_SYMBOLS = 512,
    MOST_WEIGHTS = 4096,
    MOST_EXPECTS = 4096,
    MOST_OPS = 8192,
    MOST_ATTRS = 64
};

static void limit(Parse *p, TirPlace at, int n, int most, const char *what)
{
    if (n > most)
        fail(p->s, tir_loc(p, at), "more than %d %s: this is no graph of a model", most, what);
}

/* ---- module statements ---- */

static const Attr *find(List attrs, const char *key, AttrKind kind)
{
    for (int i = 0; i < attrs.n; i++) {
        const Attr *a = attrs.item[i];
        if (!strcmp(a->name, key) && a->kind == kind)
            return a;
    }
    return NULL;
}

static int64_t number_of(List attrs, const char *key, int64_t absent)
{
    const Attr *a = find(attrs, key, ATTR_INT);
    return a ? a->i : absent;
}

static const char *word_of(List attrs, const char *key)
{
    const Attr *a = find(attrs, key, ATTR_WORD);
    return a ? a->s : NULL;
}

void tir_arch(Parse *p, TirPlace at, List names, List attrs)
{
    for (int i = 0; i < names.n; i++) {
        const char *name = names.item[i];
        if (!name_good(name))
            err(p->s, tir_loc(p, at),
                "%s is no name of an architecture: 1 to %d letters, digits, _ . or -, the first a "
                "letter or a digit",
                quote(p->s, name, strlen(name)), NAME_LENGTH);
    }
    p->m->arch = (const char **)names.item;
    p->m->narch = names.n;
    p->m->masters = word_of(attrs, "masters");
    if (attrs.n && (attrs.n > 1 || !p->m->masters || strcmp(p->m->masters, "absmean")))
        err(p->s, tir_loc(p, at),
            "an arch line knows one attribute, {masters = absmean}: float weights are the masters "
            "of ternary ones");
}

void tir_model(Parse *p, TirPlace at, const char *title, List attrs)
{
    Module *m = p->m;
    m->title = title;
    m->source = word_of(attrs, "source");
    m->i2s_layout = word_of(attrs, "i2s_layout");
    m->target = word_of(attrs, "target");
    m->pooling = word_of(attrs, "pooling");
    if (pooling_by_name(m->pooling) < 0)
        err(p->s, tir_loc(p, at), "pooling is last, mean or cls, not '%s'", m->pooling);
    const char *hash = word_of(attrs, "hash");
    if (!m->source || !hash)
        err(p->s, tir_loc(p, at), "a model line names its source and hash");
    else
        m->hash = strtoull(hash, NULL, 16);
    int64_t batch = number_of(attrs, "batch", 0);
    if (batch < 1 || batch > 4096)
        err(p->s, tir_loc(p, at), "a model line gives a batch from 1 to 4096");
    m->batch = (int)batch;
    m->weight_bytes = number_of(attrs, "weight_bytes", 0);
    m->vocab_at = number_of(attrs, "vocab_at", 0);
    m->shared_bytes = number_of(attrs, "shared", 0);
    m->own_bytes = number_of(attrs, "own", 0);
    m->cache_bytes = number_of(attrs, "cache", 0);
}

void tir_fact(Parse *p, TirPlace at, const char *fact)
{
#define FACT_READ(name, text)                                                                      \
    if (!strcmp(fact, text)) {                                                                     \
        p->m->facts |= FACT_##name;                                                                \
        return;                                                                                    \
    }
    FACTS(FACT_READ)
#undef FACT_READ
    err(p->s, tir_loc(p, at), "'%s' is not a fact of any pass", fact);
}

void tir_symbol(Parse *p, TirPlace at, bool is_dim, const char *name, Choice *choices)
{
    if (symbol_find(p->m, name)) {
        err(p->s, tir_loc(p, at), "%s is declared twice", name);
        return;
    }
    Symbol *y = NEW(p->s, Symbol), **end = &p->m->symbols;
    limit(p, at, ++p->nsymbol, MOST_SYMBOLS, "dims and consts");
    *y = (Symbol){.name = name, .is_dim = is_dim, .loc = tir_loc(p, at), .choices = choices};
    if (choices && !choices->next && !choices->key && !choices->a) {
        y->known = true;
        y->f = choices->number;
        y->n = fabs(y->f) < 1e15 ? (int64_t)y->f : 0;
    }
    while (*end)
        end = &(*end)->next;
    *end = y;
}

void tir_expect(Parse *p, TirPlace at, Expect e)
{
    Expect *x = NEW(p->s, Expect);
    limit(p, at, ++p->nexpect, MOST_EXPECTS, "keys that are expected or ignored");
    *x = e;
    x->loc = tir_loc(p, at);
    *p->last_expect = x;
    p->last_expect = &x->next;
}

Weight *tir_weight(Parse *p, TirPlace at, bool state, const char *name, const Type *type)
{
    limit(p, at, ++p->nweight, MOST_WEIGHTS, "weights and states");
    if (weight_find(p->m, name))
        err(p->s, tir_loc(p, at), "@%s is declared twice", name);
    Weight *w = weight_add(p->m, name, type);
    w->loc = tir_loc(p, at);
    w->is_state = state;
    return w;
}

void tir_weight_attrs(Parse *p, TirPlace at, Weight *w, List attrs)
{
    w->scheme = word_of(attrs, "scheme");
    w->times = word_of(attrs, "times");
    w->at = number_of(attrs, "at", -1);
    w->stride = number_of(attrs, "stride", 0);
    w->scales = number_of(attrs, "scales", 0);
    if (!w->layers.sym) {
        if (w->layers.n > 1 << 20 || w->layers.n < 0 || w->first < 0 || w->first > 1 << 20)
            err(p->s, tir_loc(p, at), "@%s: a weight has 1 to %d layers", w->name, 1 << 20);
        w->count = (int)(w->layers.n & 0x1FFFFF);
        w->layers.n = 0;
    }
    if (w->is_state ? w->type->rank != 3 : w->type->rank < 1 || w->type->rank > 2)
        err(p->s, w->loc,
            w->is_state ? "@%s: a state has three dimensions, f32<G x C x E>"
                        : "@%s: a weight has one dimension or two",
            w->name);
    if (!w->is_state && !w->pattern && !w->has_const)
        err(p->s, tir_loc(p, at), "@%s names no tensor: write = \"tensor name\"", w->name);
    FmtKind kind = fmt_info[w->type->fmt].kind;
    if (w->times &&
        (!w->pattern || w->type->rank != 2 || (kind != KIND_LOGICAL && kind != KIND_PACKED)))
        err(p->s, w->loc, "@%s: only the tensors of a ternary matrix have a factor (times)",
            w->name);
    if (w->has_const && kind == KIND_FLOAT && w->type->fmt != FMT_F32 && w->type->fmt != FMT_F16)
        err(p->s, w->loc, "@%s: a constant is f32 or f16", w->name);
}

/* ---- values ---- */

static size_t bound_slot(const Parse *p, const char *name)
{
    size_t i = ((uintptr_t)name >> 4) * 0x9E3779B97F4A7C15u & (p->capbound - 1);
    while (p->bound[i].name && p->bound[i].name != name)
        i = (i + 1) & (p->capbound - 1);
    return i;
}

static void bound_grow(Parse *p)
{
    struct Bound *old = p->bound;
    size_t n = p->capbound;
    p->capbound = n ? n * 2 : 64;
    p->bound = NEW_ARRAY(p->s, struct Bound, p->capbound);
    for (size_t i = 0; i < n; i++)
        if (old[i].name)
            p->bound[bound_slot(p, old[i].name)] = old[i];
}

void tir_bind_value(Parse *p, TirPlace at, Value *v)
{
    if (p->nbound * 2 >= p->capbound)
        bound_grow(p);
    struct Bound *b = &p->bound[bound_slot(p, v->name)];
    if (b->name)
        err(p->s, tir_loc(p, at), "%%%s is defined twice in @%s", v->name, p->func->name);
    else
        p->nbound++;
    *b = (struct Bound){v->name, v, p->block};
}

Value *tir_operand(Parse *p, TirPlace at, const char *name, bool symbol)
{
    if (symbol) {
        Weight *w = weight_find(p->m, name);
        if (w)
            w->used = true;
        else
            err(p->s, tir_loc(p, at), "no weight or state is called @%s", name);
        return w ? &w->value : NULL;
    }
    struct Bound *b = p->capbound ? &p->bound[bound_slot(p, name)] : NULL;
    if (b && b->name && b->block)
        return b->value;
    err(p->s, tir_loc(p, at),
        b && b->name ? "%%%s is not visible here: it belongs to a layers body"
                     : "%%%s is not defined above",
        name);
    return NULL;
}

static void close_block(Parse *p, const Block *b)
{
    for (size_t i = 0; i < p->capbound; i++)
        if (p->bound[i].block == b)
            p->bound[i].block = NULL;
}

/* ---- functions ---- */

void tir_func_begin(Parse *p, TirPlace at, const char *name)
{
    if (func_find(p->m, name))
        err(p->s, tir_loc(p, at), "@%s is defined twice", name);
    p->func = func_add(p->m, name);
    if (p->func->form == FORM_FORWARD && strcmp(name, form_name[FORM_FORWARD]))
        err(p->s, tir_loc(p, at),
            "a function is @forward or one of its forms @decode, @prefill, @score, @lm_head, "
            "@topk");
    p->block = p->func->body;
    p->bound = NULL;
    p->nbound = p->capbound = 0;
}

void tir_param(Parse *p, TirPlace at, const char *name, const Type *type)
{
    Block *b = p->block;
    Value *v = value_new(p->s, name, type);
    v->space = type->fmt == FMT_F32 ? SPACE_HIDDEN : SPACE_ARG;
    b->arg = grow(p->s, b->arg, (size_t)b->narg, sizeof *b->arg);
    b->arg[b->narg++] = v;
    tir_bind_value(p, at, v);
}

void tir_func_end(Parse *p, TirPlace at)
{
    Block *b = p->block;
    const Type *first = b->arg[0]->type;
    if (p->func->form == FORM_LM_HEAD || p->func->form == FORM_TOPK) {
        if (b->narg != 1 || first->fmt != FMT_F32 || first->rank != 2 || first->dim[0].sym ||
            first->dim[0].n != 1)
            err(p->s, tir_loc(p, at), "@%s takes (%%y: f32<1 x D>)", p->func->name);
    } else if (b->narg != 2 || first->fmt != FMT_I32 || first->rank != 1 ||
               b->arg[1]->type->fmt != FMT_I32 || b->arg[1]->type->rank != 0) {
        err(p->s, tir_loc(p, at), "@%s takes (%%token: i32<T>, %%pos: i32)", p->func->name);
    }
    if (!b->last || b->last->code != OP_RETURN)
        err(p->s, tir_loc(p, at), "@%s does not end with return", p->func->name);
}

static void take_attrs(Parse *p, Op *op, List attrs)
{
    for (int i = 0; i < attrs.n; i++) {
        Attr *a = attrs.item[i];
        const Symbol *y = a->kind == ATTR_WORD ? symbol_find(p->m, a->s) : NULL;
        if (attr_find(op, a->name))
            err(p->s, op->loc, "attribute %s stands twice", a->name);
        if (y)
            a->ref = y->name;
        op->attr = grow(p->s, op->attr, (size_t)op->nattr, sizeof *op->attr);
        op->attr[op->nattr++] = *a;
    }
}

/* Operands into the op; false where one was unknown (and reported). */
static bool take_operands(Op *op, List operands)
{
    bool ok = true;
    for (int i = 0; i < operands.n; i++)
        ok &= (op->in[i] = operands.item[i]) != NULL;
    return ok;
}

static void check_results(Parse *p, Op *op, List results)
{
    if (results.n != op->nout && results.n)
        err(p->s, op->loc, "%s gives %d results, %d types stand here", op_info[op->code].name,
            op->nout, results.n);
    for (int i = 0; i < results.n && i < op->nout; i++) {
        const Result *r = results.item[i];
        if (r->type != op->out[i]->type) {
            Out o = {.s = p->s};
            type_print(op->out[i]->type, &o);
            put(&o, ", not ");
            type_print(r->type, &o);
            err(p->s, op->loc, "%%%s is %s", op->out[i]->name, o.text);
            out_free(&o);
        }
        op->out[i]->space = r->space;
        op->out[i]->slot = r->slot;
    }
}

/* The results of an op that could not be read: defined, so that their uses are no further errors.
 */
void tir_lost(Parse *p, TirPlace at, List outs)
{
    for (int i = 0; i < outs.n; i++)
        tir_bind_value(p, at, value_new(p->s, outs.item[i], type_get(p->s, FMT_ANY, 0, NULL)));
}

static bool well_placed(Parse *p, const Op *op)
{
    bool body = p->block->owner;
    const Op *last = op->prev;
    if (last && (last->code == OP_YIELD || last->code == OP_RETURN))
        err(p->s, op->loc, "nothing follows %s", op_info[last->code].name);
    else if ((op->code == OP_RETURN && body) || (op->code == OP_YIELD && !body))
        err(p->s, op->loc, body ? "a layers body ends with yield" : "yield ends a layers body");
    else if (op->code == OP_YIELD && op->nin != p->block->narg)
        err(p->s, op->loc, "yield renews the %d carried values, not %d", p->block->narg, op->nin);
    else
        return true;
    return false;
}

void tir_op(Parse *p, TirPlace at, List outs, const char *text, List operands, List attrs,
            List results)
{
    OpCode code = op_by_name(text);
    limit(p, at, ++p->nop, MOST_OPS, "ops");
    limit(p, at, attrs.n, MOST_ATTRS, "attributes");
    if (code == OP_COUNT) {
        err(p->s, tir_loc(p, at), "there is no op '%s' (docs/ir.md lists them)", text);
        code = OP_BARRIER;
    }
    Op *op = op_new(p->block, NULL, code, operands.n, outs.n);
    op->loc = tir_loc(p, at);
    take_attrs(p, op, attrs);
    bool ok = take_operands(op, operands);
    for (int i = 0; i < outs.n; i++) {
        op->out[i]->name = outs.item[i];
        op->out[i]->type = type_get(p->s, FMT_ANY, 0, NULL);
        tir_bind_value(p, at, op->out[i]);
    }
    if (ok && p->s->nerror == 0 && well_placed(p, op) && op_infer(p->m, op))
        check_results(p, op, results);
}

void tir_layers_begin(Parse *p, TirPlace at, List outs, List attrs)
{
    Op *op = op_new(p->block, NULL, OP_LAYERS, p->inits.n, outs.n);
    op->loc = tir_loc(p, at);
    if (p->block->owner)
        err(p->s, op->loc, "layers does not nest");
    take_attrs(p, op, attrs);
    bool ok = take_operands(op, p->inits);
    Block *b = block_new(p->func, op);
    b->narg = p->args.n;
    b->arg = NEW_ARRAY(p->s, Value *, b->narg);
    for (int i = 0; i < b->narg; i++)
        b->arg[i] = value_new(p->s, p->args.item[i], type_get(p->s, FMT_ANY, 0, NULL));
    for (int i = 0; i < outs.n; i++) {
        op->out[i]->name = outs.item[i];
        op->out[i]->type = type_get(p->s, FMT_ANY, 0, NULL);
        tir_bind_value(p, at, op->out[i]);
    }
    if (ok && p->s->nerror == 0 && op_infer(p->m, op))
        for (int i = 0; i < op->nin; i++) {
            b->arg[i]->space = op->out[i]->space = op->in[i]->space;
            b->arg[i]->slot = op->out[i]->slot = op->in[i]->slot;
        }
    p->block = b;
    for (int i = 0; i < b->narg; i++)
        tir_bind_value(p, at, b->arg[i]);
}

void tir_layers_end(Parse *p)
{
    Block *b = p->block;
    const Op *op = b->owner;
    if (!b->last || b->last->code != OP_YIELD)
        err(p->s, op->loc, "this layers body does not end with yield");
    else if (p->s->nerror == 0)
        for (int i = 0; i < b->narg; i++)
            if (b->last->in[i]->type != b->arg[i]->type)
                err(p->s, b->last->loc, "yield gives %%%s another type than %%%s has",
                    b->last->in[i]->name, b->arg[i]->name);
    close_block(p, b);
    p->block = op->block;
}

/* ---- facts ---- */

static bool type_is_bound(const Type *t)
{
    bool bound = t->rank > 0;
    for (int i = 0; i < t->rank; i++)
        bound &= !t->dim[i].sym;
    return bound;
}

static void check_bound_op(Op *op, void *arg)
{
    Parse *p = arg;
    for (int i = 0; i < op->nattr; i++)
        if (op->attr[i].ref)
            err(p->s, op->loc, "%s = %s has no number, and the facts call this module bound",
                op->attr[i].name, op->attr[i].ref);
}

static void check_place(Op *op, void *arg)
{
    Parse *p = arg;
    for (int i = 0; i < op->nout && op->code != OP_LAYERS; i++) {
        const Value *v = op->out[i];
        int64_t size = value_bytes(p->m, v->type),
                room = v->space == SPACE_OWN ? p->m->own_bytes : p->m->shared_bytes;
        bool inside = v->slot >= 0 && v->slot % 64 == 0 && size <= room && v->slot <= room - size;
        if (v->space == SPACE_NONE || (v->space < SPACE_LOGITS && !inside))
            err(p->s, op->loc,
                "%%%s has no place in the scratch memory, and the facts call this module planned",
                v->name);
    }
}

/* Passes rely on facts and do not check them: a text may only state those that hold. */
static void check_facts(Parse *p)
{
    const Module *m = p->m;
    Loc top = {p->text, 1, 1};
    if (m->facts && !(m->facts & FACT_BOUND))
        err(p->s, top, "the facts of a module begin with bound");
    if (m->facts & (FACT_PACKED | FACT_PLANNED) && !m->title)
        err(p->s, top, "a packed or planned module has a model line, which gives its sizes");
    for (const Weight *w = m->facts ? m->weights : NULL; w; w = w->next)
        if (w->layers.sym || !type_is_bound(w->type))
            err(p->s, w->loc, "@%s has no size in numbers, and the facts call this module bound",
                w->name);
    for (const Func *f = m->facts && !p->s->nerror ? m->funcs : NULL; f; f = f->next) {
        walk(f->body, check_bound_op, p);
        if (m->facts & FACT_PLANNED)
            walk(f->body, check_place, p);
    }
}

/* ---- the whole, but for the lexer and the grammar between ---- */

void tir_begin(Parse *p, Session *s, const char *path, const char *bytes, size_t size)
{
    Text *text = NEW(s, Text);
    *text = (Text){name(s, path), bytes, size};
    *p = (Parse){.s = s, .text = text, .line = 1, .col = 1};
    p->m = module_new(s, text);
    p->last_expect = &p->m->expects;
    p->m->batch = 64; /* as bind_model's; the model line may give another */
    if (size > INT32_MAX / 2)
        fail(s, loc_file(s, path), "a text of %zu bytes is no module", size);
}

Module *tir_end(Parse *p)
{
    if (!p->s->nerror && !p->m->narch)
        err(p->s, (Loc){p->text, 1, 1}, "no arch line: a module begins with arch \"name\"");
    if (!p->s->nerror && !p->m->funcs)
        err(p->s, (Loc){p->text, 1, 1}, "no function: a module has at least func @forward");
    if (!p->s->nerror)
        check_facts(p);
    stop_on_errors(p->s);
    p->m->context = 0;
    for (const Weight *w = p->m->weights; w; w = w->next)
        if (w->is_state && w->type->rank == 3 && !w->type->dim[1].sym)
            p->m->context = (int)w->type->dim[1].n;
    return p->m;
}
