/* jinja_run.c: runs a compiled chat template (bn_template.h): a stack machine whose loops and calls
 * live in the caller's buffer, so the C stack is as deep for one template as for another. */
#include <string.h>

#include "jinja.h"

static uint32_t word_at(const unsigned char *table, size_t i)
{
    const unsigned char *p = table + 4 * i;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int bnj_open(bnj_run *r, const unsigned char *template, size_t bytes)
{
    enum { MACRO_WORDS = 5 };
    uint64_t words;
    if (bytes < 4 * BN_TEMPLATE_HEADER ||
        word_at(template, BN_TEMPLATE_AT_MAGIC) != BN_TEMPLATE_MAGIC)
        return 0;
    r->ninstr = word_at(template, BN_TEMPLATE_NINSTR);
    r->ntext = word_at(template, BN_TEMPLATE_NTEXT);
    r->nmacro = word_at(template, BN_TEMPLATE_NMACRO);
    r->nguard = word_at(template, BN_TEMPLATE_NGUARD);
    r->nline = word_at(template, BN_TEMPLATE_NLINE);
    r->nslot = word_at(template, BN_TEMPLATE_NSLOT);
    r->nstack = word_at(template, BN_TEMPLATE_STACK);
    words = BN_TEMPLATE_HEADER + (uint64_t)r->ninstr + 2 * (uint64_t)r->ntext +
            MACRO_WORDS * (uint64_t)r->nmacro + r->nguard + 2 * (uint64_t)r->nline;
    if (4 * words > bytes)
        return 0;
    r->code = template + 4 * BN_TEMPLATE_HEADER;
    r->text = r->code + 4 * (size_t)r->ninstr;
    r->macro = r->text + 8 * (size_t)r->ntext;
    r->guard = r->macro + 4 * MACRO_WORDS * (size_t)r->nmacro;
    r->line = r->guard + 4 * (size_t)r->nguard;
    r->bytes = r->line + 8 * (size_t)r->nline;
    r->nbytes = (uint32_t)(bytes - 4 * (size_t)words);
    return 1;
}

bnj_value bnj_text_at(const bnj_run *r, uint32_t i)
{
    uint32_t at = i < r->ntext ? word_at(r->text, 2 * (size_t)i) : 0,
             n = i < r->ntext ? word_at(r->text, 2 * (size_t)i + 1) : 0;
    if (at > r->nbytes || n > r->nbytes - at)
        n = at = 0;
    return bnj_view((const char *)r->bytes + at, n, NULL, 1);
}

/* ---- output ---- */

static void jj_write(bnj_run *r, bnj_value v)
{
    size_t n = v.n, take = r->marked ? 2 * n : n, taken = (size_t)(r->end - r->top) + r->used;
    if (n == 0 || !bnj_work(r, n / 16))
        return;
    if (n > r->limit / 2 || taken > r->limit - take) {
        bnj_fail(r, "it takes more than %zu bytes for messages of this size", r->limit);
        return;
    }
    if (take > (size_t)(r->top - (unsigned char *)r->out) - r->used) {
        r->status = BN_SPACE;
        return;
    }
    char *to = r->out + r->used;
    r->used += take;
    if (!r->marked) {
        memcpy(to, v.u.s, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = v.u.s[i];
        to[2 * i + 1] = (char)(v.mark ? v.mark[i] : v.own);
    }
}

static void jj_put(bnj_run *r, bnj_value v)
{
    v = bnj_string(r, v);
    if (r->status != BN_OK)
        return;
    if (!r->capture) {
        jj_write(r, v);
        return;
    }
    bnj_piece *p = bnj_alloc(r, sizeof *p);
    if (!p)
        return;
    *p = (bnj_piece){NULL, v};
    if (r->capture->last)
        r->capture->last->next = p;
    else
        r->capture->first = p;
    r->capture->last = p;
}

static void jj_capture(bnj_run *r)
{
    bnj_capture *c = bnj_alloc(r, sizeof *c);
    if (!c)
        return;
    *c = (bnj_capture){r->capture, NULL, NULL};
    r->capture = c;
}

static void jj_write_pieces(bnj_run *r, bnj_sink *o, const void *arg)
{
    (void)r;
    for (const bnj_piece *p = arg; p; p = p->next)
        bnj_put(o, p->text);
}

static bnj_value jj_captured(bnj_run *r)
{
    const bnj_capture *c = r->capture;
    r->capture = c->outer;
    if (c->first && !c->first->next)
        return c->first->text;
    return bnj_make(r, jj_write_pieces, c->first);
}

/* ---- names ---- */

static bnj_value jj_global(bnj_run *r, bnj_value name, const bnj_value *otherwise)
{
    const bnj_value *found;
    if (bnj_is(name, "messages"))
        return r->messages;
    if (bnj_is(name, "add_generation_prompt"))
        return bnj_bool(r->begin_answer);
    if (bnj_is(name, "tools") && r->tools.kind != BNJ_MISSING)
        return r->tools;
    found = r->variables.n ? bnj_find_key(r, r->variables.u.item, r->variables.n, name) : NULL;
    if (found)
        return *found;
    if (otherwise)
        return *otherwise;
    if (bnj_is(name, "tools") || bnj_is(name, "documents")) /* as transformers passes them */
        return bnj_plain(BNJ_NONE, 0);
    int id = bnj_function_id(name);
    if (id < 0 || (id == BN_FUNCTION_STRFTIME && !r->now))
        return bnj_undefined();
    return bnj_plain(BNJ_FUNCTION, id);
}

static bnj_value jj_const(uint32_t a)
{
    return a == BN_CONST_NONE    ? bnj_plain(BNJ_NONE, 0)
           : a == BN_CONST_FALSE ? bnj_bool(0)
           : a == BN_CONST_TRUE  ? bnj_bool(1)
                                 : bnj_undefined();
}

static bnj_value jj_big(bnj_run *r, bnj_value v)
{
    return bnj_parse_number(r, v.u.s, v.n);
}

/* ---- expressions ---- */

/* a + b + c: texts in one piece; else two by two. */
static bnj_value jj_add(bnj_run *r, const bnj_value *v, uint32_t n)
{
    uint32_t texts = 0;
    while (texts < n && v[texts].kind == BNJ_TEXT)
        texts++;
    if (texts == n)
        return bnj_join(r, v, n, bnj_literal(""));
    bnj_value y = v[0];
    for (uint32_t i = 1; i < n && r->status == BN_OK; i++) {
        if (y.kind == BNJ_TEXT && v[i].kind == BNJ_TEXT) {
            bnj_value two[2] = {y, v[i]};
            y = bnj_join(r, two, 2, bnj_literal(""));
        } else if (y.kind == BNJ_LIST && v[i].kind == BNJ_LIST && y.own == v[i].own) {
            bnj_value *item = bnj_array(r, y.n + v[i].n, sizeof *item);
            for (size_t k = 0; item && k < y.n + v[i].n; k++)
                item[k] = k < y.n ? y.u.item[k] : v[i].u.item[k - y.n];
            y = bnj_list(item, item ? y.n + v[i].n : 0);
            y.own = v[i].own;
        } else if (y.kind == BNJ_UNDEFINED || v[i].kind == BNJ_UNDEFINED) {
            y = bnj_fail(r, "+ with what is not defined");
        } else if (bnj_number(y) && bnj_number(v[i])) {
            y = bnj_calculate(r, BN_OPERATOR_ADD, y, v[i]);
        } else {
            y = bnj_fail(r, "+ joins %s and %s", bnj_type(y), bnj_type(v[i]));
        }
    }
    return y;
}

static bnj_value jj_join_all(bnj_run *r, bnj_value *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        v[i] = bnj_string(r, v[i]);
    return r->status == BN_OK ? bnj_join(r, v, n, bnj_literal("")) : bnj_undefined();
}

static bnj_value jj_collect(bnj_run *r, bnj_kind kind, const bnj_value *v, uint32_t n, int tuple)
{
    if (kind == BNJ_DICT) {
        bnj_space s = {NULL, 0, 0};
        for (uint32_t i = 0; i < n; i++)
            bnj_set_key(r, &s, v[2 * i], v[2 * i + 1]);
        bnj_value dict = bnj_list(s.item, s.n);
        dict.kind = BNJ_DICT;
        return dict;
    }
    bnj_value *item = bnj_array(r, n, sizeof *item);
    if (item && n)
        memcpy(item, v, n * sizeof *v);
    bnj_value list = bnj_list(item, item ? n : 0);
    list.own = (uint8_t)tuple;
    return list;
}

/* ---- macros ---- */

enum { MACRO_AT, MACRO_SLOT, MACRO_NSLOT, MACRO_NARG, MACRO_NAME, MACRO_SIZE };

static void jj_arguments(bnj_run *r, const unsigned char *m, const bnj_value *v, int npos, int nkw)
{
    uint32_t narg = word_at(m, MACRO_NARG), names = word_at(m, MACRO_NAME);
    bnj_value *slot = r->slot + word_at(m, MACRO_SLOT);
    for (uint32_t i = 0; i < narg; i++)
        slot[i] = (int)i < npos ? v[i] : bnj_plain(BNJ_MISSING, 0);
    if (npos > (int)narg)
        bnj_fail(r, "a macro of %u arguments gets %d", (unsigned)narg, npos);
    for (int i = 0; i < nkw && r->status == BN_OK; i++) {
        const bnj_value *kw = v + npos + 2 * i;
        uint32_t at = 0;
        while (at < narg && !bnj_equal(r, bnj_text_at(r, names + at), kw[0], 0))
            at++;
        if (at == narg || slot[at].kind != BNJ_MISSING)
            bnj_fail(r, "a macro has no argument %.*s, or twice", kw[0].n < 40 ? (int)kw[0].n : 40,
                     kw[0].u.s);
        else
            slot[at] = kw[1];
    }
}

/* Enters a macro; what stands at v and behind it leaves the stack when it returns. */
static void jj_enter(bnj_run *r, const bnj_value *v, int npos, int nkw)
{
    const unsigned char *m = r->macro + 4 * MACRO_SIZE * (size_t)v[0].u.i;
    size_t first = word_at(m, MACRO_SLOT), n = word_at(m, MACRO_NSLOT);
    if (r->calls == BNJ_CALLS) {
        bnj_fail(r, "macros call each other more than %d deep", BNJ_CALLS);
        return;
    }
    bnj_frame *f = bnj_alloc(r, sizeof *f);
    bnj_value *saved = bnj_array(r, n, sizeof *saved),
              *stack = bnj_array(r, r->nstack + 4, sizeof *stack);
    if (!f || !saved || !stack)
        return;
    *f = (bnj_frame){r->frame, r->at, (size_t)(v - r->stack), first, n, saved, r->stack};
    if (n)
        memcpy(saved, r->slot + first, n * sizeof *saved);
    jj_arguments(r, m, v + 1, npos, nkw);
    r->frame = f;
    r->calls++;
    r->stack = stack;
    r->sp = 0;
    r->at = word_at(m, MACRO_AT);
}

static void jj_return(bnj_run *r)
{
    bnj_frame *f = r->frame;
    bnj_value v = r->stack[r->sp - 1];
    if (f->n)
        memcpy(r->slot + f->first, f->saved, f->n * sizeof v);
    r->at = f->back;
    r->stack = f->stack;
    r->sp = f->sp;
    r->stack[r->sp++] = v;
    r->frame = f->outer;
    r->calls--;
}

static void jj_call(bnj_run *r, int op, uint32_t a)
{
    int id = (int)(a >> 16), npos = a >> 8 & 255, nkw = a & 255;
    bnj_value *v = r->stack + (r->sp - 1 - (size_t)npos - 2 * (size_t)nkw);
    if (op == BN_OP_CALL && v->kind == BNJ_MACRO) {
        jj_enter(r, v, npos, nkw);
        return;
    }
    if (op == BN_OP_FILTER)
        v[0] = bnj_filter(r, id, v, npos, nkw);
    else if (op == BN_OP_TEST)
        v[0] = bnj_test(r, id, v, npos, nkw);
    else if (op == BN_OP_METHOD)
        v[0] = bnj_method(r, id, v, npos, nkw);
    else if (v->kind == BNJ_FUNCTION)
        v[0] = bnj_function(r, (int)v->u.i, v + 1, npos, nkw);
    else
        bnj_fail(r, "a call of %s",
                 v->kind == BNJ_UNDEFINED ? "what is not defined" : bnj_type(*v));
    r->sp = (size_t)(v - r->stack) + 1;
}

/* ---- loops ---- */

static void jj_for(bnj_run *r, bnj_value *slot, bnj_value v)
{
    slot[0] = bnj_items(r, v);
    slot[1] = bnj_int(0);
    slot[2] = bnj_undefined();
    r->floor = r->top;
}

/* 0: there is no further item. */
static int jj_next(bnj_value *slot, bnj_value *item)
{
    if (slot[1].u.i >= (int64_t)slot[0].n)
        return 0;
    *item = slot[0].u.item[slot[1].u.i++];
    return 1;
}

static void jj_keep(bnj_run *r, bnj_value *slot, int yes)
{
    if (slot[2].kind != BNJ_LIST) {
        bnj_value *item = bnj_array(r, slot[0].n, sizeof *item);
        slot[2] = bnj_list(item, 0);
    }
    r->floor = r->top;
    if (yes && r->status == BN_OK)
        ((bnj_value *)(uintptr_t)slot[2].u.item)[slot[2].n++] = slot[0].u.item[slot[1].u.i - 1];
}

static void jj_kept(bnj_value *slot)
{
    slot[0] = slot[2].kind == BNJ_LIST ? slot[2] : bnj_list(NULL, 0);
    slot[1] = bnj_int(0);
}

static void jj_unpack(bnj_run *r, uint32_t n)
{
    bnj_value list = bnj_items(r, r->stack[--r->sp]);
    if (r->status == BN_OK && list.n != n)
        bnj_fail(r, "%zu values for %u names", list.n, (unsigned)n);
    if (r->status != BN_OK || r->sp + n > r->nstack)
        return;
    for (uint32_t i = n; i-- > 0;)
        r->stack[r->sp++] = list.u.item[i];
}

/* ---- the machine ---- */

/* Instructions that only take values from the stack and put one there. */
static void jj_value(bnj_run *r, uint32_t op, uint32_t a)
{
    bnj_value *top = r->stack + r->sp;
    switch (op) {
    case BN_OP_ATTR:
        top[-1] = bnj_attr(r, top[-1], bnj_text_at(r, a));
        break;
    case BN_OP_ITEM:
        top[-2] = bnj_item(r, top[-2], top[-1]);
        r->sp--;
        break;
    case BN_OP_SLICE:
        top[-4] = bnj_slice(r, top - 4);
        r->sp -= 3;
        break;
    case BN_OP_LIST:
    case BN_OP_TUPLE:
        top -= a;
        *top = jj_collect(r, BNJ_LIST, top, a, op == BN_OP_TUPLE);
        r->sp = (size_t)(top - r->stack) + 1;
        break;
    case BN_OP_DICT:
        top -= 2 * (size_t)a;
        *top = jj_collect(r, BNJ_DICT, top, a, 0);
        r->sp = (size_t)(top - r->stack) + 1;
        break;
    case BN_OP_NOT:
        top[-1] = bnj_bool(!bnj_true(top[-1]));
        break;
    case BN_OP_NEG:
        top[-1] = top[-1].kind == BNJ_FLOAT
                      ? bnj_float(-top[-1].u.f)
                      : bnj_calculate(r, BN_OPERATOR_SUB, bnj_int(0), top[-1]);
        break;
    case BN_OP_POS:
        top[-1] = bnj_calculate(r, BN_OPERATOR_ADD, bnj_int(0), top[-1]);
        break;
    case BN_OP_ADD:
    case BN_OP_JOIN:
        top -= a;
        *top = op == BN_OP_ADD ? jj_add(r, top, a) : jj_join_all(r, top, a);
        r->sp = (size_t)(top - r->stack) + 1;
        break;
    case BN_OP_BINARY:
    case BN_OP_COMPARE:
        top[-2] = op == BN_OP_BINARY ? bnj_calculate(r, (int)a, top[-2], top[-1])
                                     : bnj_compare(r, (int)a, top[-2], top[-1]);
        r->sp--;
        break;
    case BN_OP_CHAIN: {
        bnj_value y = bnj_compare(r, (int)a, top[-2], top[-1]);
        top[-2] = top[-1];
        top[-1] = y;
        break;
    }
    case BN_OP_KEEP_SECOND:
        top[-2] = top[-1];
        r->sp--;
        break;
    case BN_OP_UNPACK:
        jj_unpack(r, a);
        break;
    default:
        jj_call(r, (int)op, a);
    }
}

/* Instructions that put a value on the stack. */
static bnj_value jj_load(bnj_run *r, uint32_t op, uint32_t a)
{
    bnj_value text;
    switch (op) {
    case BN_OP_TEXT:
        return bnj_text_at(r, a);
    case BN_OP_INT:
        return bnj_int((int64_t)a - BN_TEMPLATE_MOST);
    case BN_OP_BIG:
        return jj_big(r, bnj_text_at(r, a));
    case BN_OP_CONST:
        return jj_const(a);
    case BN_OP_GLOBAL:
        return jj_global(r, bnj_text_at(r, a), NULL);
    case BN_OP_TOKEN:
        text = bnj_text_at(r, a + 1);
        return jj_global(r, bnj_text_at(r, a), &text);
    case BN_OP_LOAD:
        return r->slot[a];
    case BN_OP_NONE_DONE:
        return bnj_bool(r->slot[a + 1].u.i == 0);
    case BN_OP_LOOP:
        return bnj_plain(BNJ_LOOP, a);
    case BN_OP_MACRO:
        return bnj_plain(BNJ_MACRO, a);
    case BN_OP_GIVEN:
        return bnj_bool(r->slot[a].kind != BNJ_MISSING);
    case BN_OP_CAPTURED:
        return jj_captured(r);
    default:
        text = bnj_text_at(r, a);
        return bnj_fail(r, "%.*s", text.n < 100 ? (int)text.n : 100, text.u.s);
    }
}

static void jj_set_attr(bnj_run *r, uint32_t a)
{
    bnj_value space = r->stack[r->sp - 2];
    if (space.kind == BNJ_SPACE)
        bnj_set_key(r, space.u.space, bnj_text_at(r, a), r->stack[r->sp - 1]);
    else
        bnj_fail(r, "a part is set of %s, which is no namespace", bnj_type(space));
    r->sp -= 2;
    r->floor = r->top;
}

/* Statements and jumps. 0 at the end. */
static int jj_step(bnj_run *r, uint32_t op, uint32_t a)
{
    bnj_value item;
    switch (op) {
    case BN_OP_END:
        return 0;
    case BN_OP_LINE:
        if (!r->capture && !r->frame)
            r->top = r->floor;
        break;
    case BN_OP_PUT_TEXT:
        jj_put(r, bnj_text_at(r, a));
        break;
    case BN_OP_PUT:
        jj_put(r, r->stack[--r->sp]);
        break;
    case BN_OP_STORE:
        r->slot[a] = r->stack[--r->sp];
        r->floor = r->top;
        break;
    case BN_OP_POP:
        r->sp--;
        break;
    case BN_OP_JUMP:
        r->at = a;
        break;
    case BN_OP_UNLESS:
        if (!bnj_true(r->stack[--r->sp]))
            r->at = a;
        break;
    case BN_OP_AND:
    case BN_OP_OR:
        if (bnj_true(r->stack[r->sp - 1]) == (op == BN_OP_OR))
            r->at = a;
        else
            r->sp--;
        break;
    case BN_OP_FOR:
        jj_for(r, r->slot + a, r->stack[--r->sp]);
        break;
    case BN_OP_NEXT:
        if (jj_next(r->slot + a, &item)) {
            r->stack[r->sp++] = item;
            r->at++;
        } else {
            r->at = word_at(r->code, r->at);
        }
        break;
    case BN_OP_KEEP:
        jj_keep(r, r->slot + a, bnj_true(r->stack[--r->sp]));
        break;
    case BN_OP_KEPT:
        jj_kept(r->slot + a);
        break;
    case BN_OP_RETURN:
        jj_return(r);
        break;
    case BN_OP_CAPTURE:
        jj_capture(r);
        break;
    case BN_OP_SET_ATTR:
        jj_set_attr(r, a);
        break;
    default:
        jj_value(r, op, a);
    }
    return 1;
}

void bnj_execute(bnj_run *r)
{
    r->slot = bnj_array(r, r->nslot, sizeof *r->slot);
    r->stack = bnj_array(r, r->nstack + 4, sizeof *r->stack);
    for (uint32_t i = 0; r->slot && i < r->nslot; i++)
        r->slot[i] = bnj_undefined();
    r->floor = r->top;
    while (r->status == BN_OK && r->at < r->ninstr && bnj_work(r, 1)) {
        uint32_t word = word_at(r->code, r->at++), op = word & 255, a = word >> 8;
        switch (op) {
        case BN_OP_TEXT:
        case BN_OP_INT:
        case BN_OP_BIG:
        case BN_OP_CONST:
        case BN_OP_GLOBAL:
        case BN_OP_TOKEN:
        case BN_OP_LOAD:
        case BN_OP_NONE_DONE:
        case BN_OP_LOOP:
        case BN_OP_MACRO:
        case BN_OP_GIVEN:
        case BN_OP_CAPTURED:
        case BN_OP_FAIL:
            if (r->sp < r->nstack)
                r->stack[r->sp++] = jj_load(r, op, a);
            else
                bnj_fail(r, "the stack is full");
            break;
        default:
            if (!jj_step(r, op, a))
                return;
        }
    }
}
