/* jinja_value.c: the values of a chat template, their memory, and how a run fails. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jinja.h"

/* ---- memory and failure ---- */

void *bnj_alloc(bnj_run *r, size_t bytes)
{
    size_t taken = (size_t)(r->end - r->top) + r->used;
    if (r->status != BN_OK)
        return NULL;
    if (bytes > r->limit || taken > r->limit - bytes) {
        bnj_fail(r, "it takes more than %zu bytes for messages of this size", r->limit);
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    if ((size_t)(r->top - (unsigned char *)r->out) < r->used ||
        bytes > (size_t)(r->top - (unsigned char *)r->out) - r->used) {
        r->status = BN_SPACE;
        return NULL;
    }
    if (!bnj_work(r, bytes / 16))
        return NULL;
    return r->top -= bytes;
}

void *bnj_array(bnj_run *r, size_t n, size_t bytes)
{
    return bnj_alloc(r, n > SIZE_MAX / bytes ? SIZE_MAX : n * bytes);
}

int bnj_work(bnj_run *r, size_t steps)
{
    if (r->status != BN_OK)
        return 0;
    if ((uint64_t)steps > (uint64_t)r->steps) {
        r->steps = 0;
        bnj_fail(r, "it takes more than %lld steps for messages of this size",
                 (long long)BN_JINJA_STEPS);
        return 0;
    }
    r->steps -= (int64_t)steps;
    return 1;
}

/* The line of the instruction that runs. */
static unsigned jj_line_at(const bnj_run *r)
{
    unsigned line = 0;
    for (uint32_t i = 0; i < r->nline; i++) {
        const unsigned char *p = r->line + 8 * (size_t)i;
        uint32_t from = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (from >= r->at)
            break;
        line = p[4] | (unsigned)p[5] << 8 | (unsigned)p[6] << 16 | (unsigned)p[7] << 24;
    }
    return line;
}

bnj_value bnj_fail(bnj_run *r, const char *format, ...)
{
    if (r->status == BN_OK) {
        char what[120];
        va_list ap;
        va_start(ap, format);
        vsnprintf(what, sizeof what, format, ap);
        va_end(ap);
        unsigned line = jj_line_at(r);
        if (line)
            snprintf(r->sentence, sizeof r->sentence, "line %u of the chat template: %s", line,
                     what);
        else
            snprintf(r->sentence, sizeof r->sentence, "%s", what);
        r->status = BN_TEMPLATE;
        r->reason = bnj_literal(r->sentence);
    }
    return bnj_undefined();
}

/* ---- values ---- */

bnj_value bnj_plain(bnj_kind kind, int64_t i)
{
    bnj_value v;
    memset(&v, 0, sizeof v);
    v.kind = (uint8_t)kind;
    v.u.i = i;
    return v;
}

bnj_value bnj_undefined(void)
{
    return bnj_plain(BNJ_UNDEFINED, 0);
}

bnj_value bnj_bool(int on)
{
    return bnj_plain(BNJ_BOOL, on != 0);
}

bnj_value bnj_int(int64_t i)
{
    return bnj_plain(BNJ_INT, i);
}

bnj_value bnj_float(double f)
{
    bnj_value v = bnj_plain(BNJ_FLOAT, 0);
    v.u.f = f;
    return v;
}

bnj_value bnj_view(const char *s, size_t n, const unsigned char *mark, int own)
{
    bnj_value v = bnj_plain(BNJ_TEXT, 0);
    v.u.s = s;
    v.n = n;
    v.mark = mark;
    v.own = (uint8_t)own;
    return v;
}

bnj_value bnj_cut(bnj_value v, size_t from, size_t to)
{
    return bnj_view(v.u.s + from, to - from, v.mark ? v.mark + from : NULL, v.own);
}

bnj_value bnj_literal(const char *s)
{
    return bnj_view(s, strlen(s), NULL, 1);
}

bnj_value bnj_list(const bnj_value *item, size_t n)
{
    bnj_value v = bnj_plain(BNJ_LIST, 0);
    v.u.item = item;
    v.n = n;
    return v;
}

bnj_value bnj_iterator(bnj_run *r, bnj_value list)
{
    bnj_value v = bnj_plain(BNJ_ITERATOR, 0);
    bnj_space *s = bnj_alloc(r, sizeof *s);
    if (!s)
        return bnj_undefined();
    *s = (bnj_space){(bnj_value *)(uintptr_t)list.u.item, list.n, 0};
    v.u.space = s;
    return v;
}

int bnj_is(bnj_value v, const char *s)
{
    return v.kind == BNJ_TEXT && v.n == strlen(s) && memcmp(v.u.s, s, v.n) == 0;
}

int bnj_number(bnj_value v)
{
    return v.kind == BNJ_BOOL || v.kind == BNJ_INT || v.kind == BNJ_FLOAT;
}

double bnj_double(bnj_value v)
{
    return v.kind == BNJ_FLOAT ? v.u.f : (double)v.u.i;
}

int bnj_true(bnj_value v)
{
    switch (v.kind) {
    case BNJ_MISSING:
    case BNJ_UNDEFINED:
    case BNJ_NONE:
        return 0;
    case BNJ_BOOL:
    case BNJ_INT:
        return v.u.i != 0;
    case BNJ_FLOAT:
        return v.u.f != 0;
    case BNJ_TEXT:
    case BNJ_LIST:
    case BNJ_DICT:
        return v.n > 0;
    default:
        return 1;
    }
}

const char *bnj_type(bnj_value v)
{
    static const char *const names[] = {
        [BNJ_MISSING] = "undefined",    [BNJ_UNDEFINED] = "undefined", [BNJ_NONE] = "none",
        [BNJ_BOOL] = "a truth value",   [BNJ_INT] = "a number",        [BNJ_FLOAT] = "a number",
        [BNJ_TEXT] = "a text",          [BNJ_LIST] = "a list",         [BNJ_DICT] = "a dictionary",
        [BNJ_ITERATOR] = "an iterator", [BNJ_SPACE] = "a namespace",   [BNJ_LOOP] = "a loop",
        [BNJ_MACRO] = "a macro",        [BNJ_FUNCTION] = "a function", [BNJ_METHOD] = "a method"};
    return v.kind < sizeof names / sizeof *names ? names[v.kind] : "?";
}
