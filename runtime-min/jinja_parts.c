/* jinja_parts.c: what can be done with any values of a chat template: comparison, arithmetic, parts. */
#include <math.h>
#include <string.h>

#include "jinja.h"

/* ---- comparison ---- */

static int jj_equal_dicts(bnj_run *r, bnj_value a, bnj_value b, int depth)
{
    if (a.n != b.n)
        return 0;
    for (size_t i = 0; i < a.n; i++) {
        const bnj_value *other = bnj_find_key(r, b.u.item, b.n, a.u.item[2 * i]);
        if (!other || !bnj_equal(r, a.u.item[2 * i + 1], *other, depth + 1))
            return 0;
    }
    return 1;
}

int bnj_equal(bnj_run *r, bnj_value a, bnj_value b, int depth)
{
    if (!bnj_work(r, 1))
        return 0;
    if (bnj_number(a) && bnj_number(b))
        return a.kind == BNJ_FLOAT || b.kind == BNJ_FLOAT ? bnj_double(a) == bnj_double(b)
                                                          : a.u.i == b.u.i;
    if (a.kind != b.kind)
        return 0;
    if (depth > BNJ_DEPTH) {
        bnj_fail(r, "values nest too deep");
        return 0;
    }
    switch (a.kind) {
    case BNJ_UNDEFINED:
    case BNJ_NONE:
        return 1;
    case BNJ_TEXT:
        return a.n == b.n && (a.n == 0 || (bnj_work(r, a.n / 16) && !memcmp(a.u.s, b.u.s, a.n)));
    case BNJ_LIST:
        if (a.n != b.n || a.own != b.own)
            return 0;
        for (size_t i = 0; i < a.n; i++)
            if (!bnj_equal(r, a.u.item[i], b.u.item[i], depth + 1))
                return 0;
        return 1;
    case BNJ_DICT:
        return jj_equal_dicts(r, a, b, depth);
    case BNJ_SPACE:
    case BNJ_ITERATOR:
        return a.u.space == b.u.space;
    default:
        return a.u.i == b.u.i;
    }
}

int bnj_less(bnj_run *r, bnj_value a, bnj_value b, int depth)
{
    if (!bnj_work(r, 1))
        return 0;
    if (bnj_number(a) && bnj_number(b))
        return a.kind == BNJ_FLOAT || b.kind == BNJ_FLOAT ? bnj_double(a) < bnj_double(b)
                                                          : a.u.i < b.u.i;
    if (a.kind == BNJ_TEXT && b.kind == BNJ_TEXT) {
        size_t n = a.n < b.n ? a.n : b.n;
        int c = n && bnj_work(r, n / 16) ? memcmp(a.u.s, b.u.s, n) : 0;
        return c ? c < 0 : a.n < b.n;
    }
    if (a.kind == BNJ_LIST && b.kind == BNJ_LIST && a.own == b.own && depth <= BNJ_DEPTH) {
        for (size_t i = 0; i < a.n && i < b.n; i++)
            if (!bnj_equal(r, a.u.item[i], b.u.item[i], depth + 1))
                return bnj_less(r, a.u.item[i], b.u.item[i], depth + 1);
        return a.n < b.n;
    }
    bnj_fail(r, "%s and %s have no order", bnj_type(a), bnj_type(b));
    return 0;
}

int bnj_in(bnj_run *r, bnj_value a, bnj_value b)
{
    switch (b.kind) {
    case BNJ_UNDEFINED:
        return 0;
    case BNJ_TEXT:
        if (a.kind != BNJ_TEXT) {
            bnj_fail(r, "%s in a text", bnj_type(a));
            return 0;
        }
        if (!bnj_work(r, b.n / 16 + 1))
            return 0;
        return a.n == 0 || bnj_find(r, b.u.s, b.n, 0, a.u.s, a.n) != (size_t)-1;
    case BNJ_LIST:
        for (size_t i = 0; i < b.n; i++)
            if (bnj_equal(r, b.u.item[i], a, 0))
                return 1;
        return 0;
    case BNJ_DICT:
        return bnj_find_key(r, b.u.item, b.n, a) != NULL;
    case BNJ_ITERATOR: /* what was looked at is gone */
        while (b.u.space->n > 0 && r->status == BN_OK) {
            b.u.space->n--;
            if (bnj_equal(r, *b.u.space->item++, a, 0))
                return 1;
        }
        return 0;
    default:
        bnj_fail(r, "`in` wants a text, a list or a dictionary, not %s", bnj_type(b));
        return 0;
    }
}

bnj_value bnj_compare(bnj_run *r, int op, bnj_value a, bnj_value b)
{
    int order = op == BN_OPERATOR_LT || op == BN_OPERATOR_LE || op == BN_OPERATOR_GT ||
                op == BN_OPERATOR_GE;
    if (order && bnj_number(a) && bnj_number(b) && (isnan(bnj_double(a)) || isnan(bnj_double(b))))
        return bnj_bool(0);
    switch (op) {
    case BN_OPERATOR_EQ:
        return bnj_bool(bnj_equal(r, a, b, 0));
    case BN_OPERATOR_NE:
        return bnj_bool(!bnj_equal(r, a, b, 0));
    case BN_OPERATOR_LT:
        return bnj_bool(bnj_less(r, a, b, 0));
    case BN_OPERATOR_LE:
        return bnj_bool(!bnj_less(r, b, a, 0));
    case BN_OPERATOR_GT:
        return bnj_bool(bnj_less(r, b, a, 0));
    case BN_OPERATOR_GE:
        return bnj_bool(!bnj_less(r, a, b, 0));
    case BN_OPERATOR_IN:
        return bnj_bool(bnj_in(r, a, b));
    default:
        return bnj_bool(!bnj_in(r, a, b));
    }
}

/* ---- arithmetic ---- */

static bnj_value jj_times(bnj_run *r, bnj_value v, int64_t n)
{
    size_t size = v.n, count = n > 0 && size > 0 ? (size_t)n : 0;
    if (v.kind == BNJ_TEXT) {
        unsigned char *mark = NULL;
        if (count > SIZE_MAX / 2 / (size ? size : 1))
            count = SIZE_MAX / 2 / size;
        char *s = bnj_array(r, count, size ? size : 1);
        if (v.mark)
            mark = bnj_array(r, count, size ? size : 1);
        for (size_t i = 0; r->status == BN_OK && i < count; i++) {
            memcpy(s + i * size, v.u.s, size);
            if (mark)
                memcpy(mark + i * size, v.mark, size);
        }
        return r->status == BN_OK ? bnj_view(s, count * size, mark, v.own) : bnj_undefined();
    }
    if (count > SIZE_MAX / sizeof v / (size ? size : 1))
        count = SIZE_MAX / sizeof v / size;
    bnj_value *item = bnj_array(r, count * size, sizeof v);
    for (size_t i = 0; item && i < count; i++)
        memcpy(item + i * size, v.u.item, size * sizeof v);
    bnj_value all = bnj_list(item, count * size);
    all.own = v.own;
    return all;
}

static bnj_value jj_power(bnj_run *r, int64_t a, int64_t n)
{
    int64_t y = 1;
    for (; n > 0; n--) {
        if (a != 0 && a != 1 && a != -1 &&
            (y > INT64_MAX / 2 / (a < 0 ? -a : a) || y < -(INT64_MAX / 2 / (a < 0 ? -a : a))))
            return bnj_fail(r, "a number beyond 2^63");
        y *= a;
        if (a == 0 || a == 1)
            break;
        if (a == -1)
            return bnj_int(n & 1 ? -1 : 1);
    }
    return bnj_int(y);
}

static bnj_value jj_whole(bnj_run *r, int op, int64_t a, int64_t b)
{
    const int64_t most = INT64_MAX;
    int over = 0;
    int64_t y = 0;
    switch (op) {
    case BN_OPERATOR_ADD:
        over = b > 0 ? a > most - b : a < -most - b;
        y = over ? 0 : a + b;
        break;
    case BN_OPERATOR_SUB:
        over = b < 0 ? a > most + b : a < -most + b;
        y = over ? 0 : a - b;
        break;
    case BN_OPERATOR_MUL: {
        int64_t ua = a < 0 ? -a : a, ub = b < 0 ? -b : b;
        over = a < -most || b < -most || (ub != 0 && ua > most / ub);
        y = over ? 0 : a * b;
        break;
    }
    case BN_OPERATOR_FLOOR:
    case BN_OPERATOR_MOD:
        if (b == 0)
            return bnj_fail(r, "a division by zero");
        if (a < -most)
            over = 1;
        else
            y = a / b - (a % b != 0 && (a < 0) != (b < 0));
        if (op == BN_OPERATOR_MOD && !over)
            y = a - y * b;
        break;
    default:
        return b < 0 ? bnj_float(pow((double)a, (double)b)) : jj_power(r, a, b);
    }
    return over ? bnj_fail(r, "a number beyond 2^63") : bnj_int(y);
}

static bnj_value jj_broken(bnj_run *r, int op, double a, double b)
{
    if (b == 0 && (op == BN_OPERATOR_DIV || op == BN_OPERATOR_FLOOR || op == BN_OPERATOR_MOD))
        return bnj_fail(r, "a division by zero");
    switch (op) {
    case BN_OPERATOR_ADD:
        return bnj_float(a + b);
    case BN_OPERATOR_SUB:
        return bnj_float(a - b);
    case BN_OPERATOR_MUL:
        return bnj_float(a * b);
    case BN_OPERATOR_DIV:
        return bnj_float(a / b);
    case BN_OPERATOR_FLOOR:
        return bnj_float(floor(a / b));
    case BN_OPERATOR_MOD: {
        double m = fmod(a, b);
        return bnj_float(m != 0 && (m < 0) != (b < 0) ? m + b : m);
    }
    default:
        return bnj_float(pow(a, b));
    }
}

bnj_value bnj_calculate(bnj_run *r, int op, bnj_value a, bnj_value b)
{
    if (op == BN_OPERATOR_MUL && (a.kind == BNJ_TEXT || a.kind == BNJ_LIST) &&
        (b.kind == BNJ_INT || b.kind == BNJ_BOOL))
        return jj_times(r, a, b.u.i);
    if (op == BN_OPERATOR_MUL && (b.kind == BNJ_TEXT || b.kind == BNJ_LIST) &&
        (a.kind == BNJ_INT || a.kind == BNJ_BOOL))
        return jj_times(r, b, a.u.i);
    if (!bnj_number(a) || !bnj_number(b))
        return bnj_fail(r, "a calculation with %s and %s", bnj_type(a), bnj_type(b));
    if (a.kind == BNJ_FLOAT || b.kind == BNJ_FLOAT || op == BN_OPERATOR_DIV)
        return jj_broken(r, op, bnj_double(a), bnj_double(b));
    return jj_whole(r, op, a.u.i, b.u.i);
}

/* ---- parts ---- */

int bnj_method_id(bnj_value name)
{
#define BNJ_NAME(id, text, least, most, args) text,
    static const char *const names[] = {BN_TEMPLATE_METHODS(BNJ_NAME)};
#undef BNJ_NAME
    for (int i = 0; i < BN_NMETHOD; i++)
        if (bnj_is(name, names[i]))
            return i;
    return -1;
}

const bnj_value *bnj_find_key(bnj_run *r, const bnj_value *item, size_t n, bnj_value key)
{
    for (size_t i = 0; i < n; i++)
        if (bnj_equal(r, item[2 * i], key, 0))
            return &item[2 * i + 1];
    return NULL;
}

void bnj_set_key(bnj_run *r, bnj_space *s, bnj_value key, bnj_value v)
{
    bnj_value *old = (bnj_value *)(uintptr_t)bnj_find_key(r, s->item, s->n, key);
    if (old) {
        *old = v;
        return;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 4;
        bnj_value *item = bnj_array(r, 2 * cap, sizeof v);
        if (!item)
            return;
        if (s->n)
            memcpy(item, s->item, 2 * s->n * sizeof v);
        s->item = item;
        s->cap = cap;
    }
    s->item[2 * s->n] = key;
    s->item[2 * s->n + 1] = v;
    s->n++;
}

int64_t bnj_length(bnj_run *r, bnj_value v)
{
    switch (v.kind) {
    case BNJ_TEXT:
        return bnj_work(r, v.n / 16) ? (int64_t)bnj_count(v) : 0;
    case BNJ_LIST:
    case BNJ_DICT:
        return (int64_t)v.n;
    case BNJ_UNDEFINED:
        return 0;
    default:
        bnj_fail(r, "%s has no length", bnj_type(v));
        return 0;
    }
}

bnj_value bnj_items(bnj_run *r, bnj_value v)
{
    bnj_value *item;
    if (v.kind == BNJ_ITERATOR) {
        bnj_value all = bnj_list(v.u.space->item, v.u.space->n);
        v.u.space->n = 0;
        return all;
    }
    size_t n = v.kind == BNJ_UNDEFINED ? 0 : (size_t)bnj_length(r, v), at = 0;
    if (v.kind == BNJ_LIST || r->status != BN_OK)
        return v;
    item = bnj_array(r, n, sizeof v);
    for (size_t i = 0; item && i < n; i++) {
        if (v.kind == BNJ_DICT) {
            item[i] = v.u.item[2 * i];
        } else {
            uint32_t code;
            size_t len = bnj_char(v.u.s + at, v.n - at, &code);
            item[i] = bnj_cut(v, at, at + len);
            at += len;
        }
    }
    return bnj_list(item, item ? n : 0);
}

/* loop.x */
static bnj_value jj_loop_attr(bnj_run *r, size_t slot, bnj_value key)
{
    const bnj_value *l = &r->slot[slot];
    int64_t n = (int64_t)l[0].n, i = l[1].u.i;
    if (bnj_is(key, "index"))
        return bnj_int(i);
    if (bnj_is(key, "index0"))
        return bnj_int(i - 1);
    if (bnj_is(key, "first"))
        return bnj_bool(i == 1);
    if (bnj_is(key, "last"))
        return bnj_bool(i == n);
    if (bnj_is(key, "length"))
        return bnj_int(n);
    if (bnj_is(key, "revindex"))
        return bnj_int(n - i + 1);
    if (bnj_is(key, "revindex0"))
        return bnj_int(n - i);
    if (bnj_is(key, "depth"))
        return bnj_int(1);
    if (bnj_is(key, "depth0"))
        return bnj_int(0);
    if (bnj_is(key, "previtem"))
        return i > 1 && i - 2 < n ? l[0].u.item[i - 2] : bnj_undefined();
    if (bnj_is(key, "nextitem"))
        return i < n && i >= 0 ? l[0].u.item[i] : bnj_undefined();
    return bnj_undefined();
}

bnj_value bnj_attr(bnj_run *r, bnj_value v, bnj_value key)
{
    const bnj_value *found;
    int method;
    switch (v.kind) {
    case BNJ_UNDEFINED:
        return bnj_fail(r, "the part '%.*s' of what is not defined", key.n < 40 ? (int)key.n : 40,
                        key.u.s);
    case BNJ_LOOP:
        return jj_loop_attr(r, (size_t)v.u.i, key);
    case BNJ_SPACE:
        found = bnj_find_key(r, v.u.space->item, v.u.space->n, key);
        return found ? *found : bnj_undefined();
    case BNJ_DICT:
    case BNJ_TEXT:
    case BNJ_LIST:
        method = bnj_method_id(key);
        if (v.kind == BNJ_DICT ? method == BN_METHOD_ITEMS || method == BN_METHOD_KEYS ||
                                     method == BN_METHOD_VALUES || method == BN_METHOD_GET ||
                                     bnj_is(key, "copy") || bnj_is(key, "pop") ||
                                     bnj_is(key, "update") || bnj_is(key, "clear")
            : v.kind == BNJ_LIST
                ? method == BN_METHOD_COUNT || method == BN_METHOD_INDEX
                : method >= 0 && method != BN_METHOD_ITEMS && method != BN_METHOD_KEYS &&
                      method != BN_METHOD_VALUES && method != BN_METHOD_GET)
            return bnj_plain(BNJ_METHOD, method);
        found = v.kind == BNJ_DICT ? bnj_find_key(r, v.u.item, v.n, key) : NULL;
        return found ? *found : bnj_undefined();
    default:
        return bnj_undefined();
    }
}

/* Byte offset of character i. */
static size_t jj_char_at(bnj_value v, int64_t i)
{
    size_t at = 0;
    uint32_t code;
    while (i-- > 0 && at < v.n)
        at += bnj_char(v.u.s + at, v.n - at, &code);
    return at;
}

bnj_value bnj_item(bnj_run *r, bnj_value v, bnj_value key)
{
    const bnj_value *found;
    uint32_t code;
    if (v.kind == BNJ_UNDEFINED)
        return bnj_fail(r, "a part of what is not defined");
    if (v.kind == BNJ_DICT) {
        found = bnj_find_key(r, v.u.item, v.n, key);
        return found ? *found : bnj_undefined();
    }
    if (key.kind == BNJ_TEXT)
        return v.kind == BNJ_SPACE || v.kind == BNJ_LOOP ? bnj_attr(r, v, key) : bnj_undefined();
    if ((key.kind != BNJ_INT && key.kind != BNJ_BOOL) || (v.kind == BNJ_LIST && v.own == 2) ||
        (v.kind != BNJ_LIST && v.kind != BNJ_TEXT))
        return bnj_undefined();
    int64_t n = bnj_length(r, v), i = key.u.i < 0 ? key.u.i + n : key.u.i;
    if (i < 0 || i >= n)
        return bnj_undefined();
    if (v.kind == BNJ_LIST)
        return v.u.item[i];
    size_t at = jj_char_at(v, i);
    return bnj_cut(v, at, at + bnj_char(v.u.s + at, v.n - at, &code));
}

/* One end of a slice, as Python clamps it. */
static int64_t jj_slice_end(bnj_value v, int64_t n, int64_t step, int64_t otherwise)
{
    int64_t lo = step < 0 ? -1 : 0, hi = step < 0 ? n - 1 : n, i = v.u.i;
    if (v.kind == BNJ_NONE)
        return otherwise;
    i = i < 0 ? (i < -n ? -1 - n : i) + n : i;
    return i < lo ? lo : i > hi ? hi : i;
}

/* v[0][v[1]:v[2]:v[3]] */
bnj_value bnj_slice(bnj_run *r, const bnj_value *v)
{
    if (v[0].kind == BNJ_UNDEFINED)
        return bnj_fail(r, "a part of what is not defined");
    if ((v[0].kind != BNJ_LIST || v[0].own == 2) && v[0].kind != BNJ_TEXT)
        return bnj_undefined();
    for (int i = 1; i < 4; i++)
        if (v[i].kind != BNJ_NONE && v[i].kind != BNJ_INT && v[i].kind != BNJ_BOOL)
            return bnj_undefined();
    int64_t n = bnj_length(r, v[0]), step = v[3].kind == BNJ_NONE ? 1 : v[3].u.i;
    if (step == 0)
        return bnj_fail(r, "a slice by steps of 0");
    step = step > n + 1 ? n + 1 : step < -n - 1 ? -n - 1 : step;
    int64_t lo = jj_slice_end(v[1], n, step, step < 0 ? n - 1 : 0),
            hi = jj_slice_end(v[2], n, step, step < 0 ? -1 : n);
    int64_t count = step > 0 ? (hi - lo + step - 1) / step : (lo - hi - step - 1) / -step;
    if (step > 0 ? hi <= lo : lo <= hi)
        count = 0;
    if (v[0].kind == BNJ_TEXT && step == 1) {
        size_t from = jj_char_at(v[0], lo), to = from;
        bnj_value rest = bnj_cut(v[0], from, v[0].n);
        to += jj_char_at(rest, count);
        return bnj_cut(v[0], from, to);
    }
    bnj_value list = bnj_items(r, v[0]);
    bnj_value *item = bnj_array(r, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++)
        item[i] = list.u.item[lo + i * step];
    bnj_value all = bnj_list(item, item ? (size_t)count : 0);
    all.own = v[0].kind == BNJ_LIST ? v[0].own : 0;
    return v[0].kind == BNJ_TEXT ? bnj_join(r, item, all.n, bnj_literal("")) : all;
}
