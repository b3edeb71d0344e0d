/* jinja_call.c: what a chat template can call: filters, tests, methods, functions. */
#include <math.h>
#include <string.h>

#include "jinja.h"

#define BNJ_ROW(id, text, least, most, args) {text, least, most, args},
static const bn_callable jj_filters[] = {BN_TEMPLATE_FILTERS(BNJ_ROW)};
static const bn_callable jj_tests[] = {BN_TEMPLATE_TESTS(BNJ_ROW)};
static const bn_callable jj_methods[] = {BN_TEMPLATE_METHODS(BNJ_ROW)};
static const bn_callable jj_functions[] = {BN_TEMPLATE_FUNCTIONS(BNJ_ROW)};

static int jj_id_of(const bn_callable *table, int n, bnj_value name)
{
    for (int i = 0; i < n; i++)
        if (bnj_is(name, table[i].name))
            return i;
    return -1;
}

int bnj_function_id(bnj_value name)
{
    return jj_id_of(jj_functions, BN_NFUNCTION, name);
}

/* The place of argument `name` in "a b c"; -1: there is none of that name. */
static int jj_place_of(const char *args, bnj_value name)
{
    for (int i = 0; *args; i++) {
        size_t n = strcspn(args, " ");
        if (n == name.n && !memcmp(args, name.u.s, n))
            return i;
        args += n + (args[n] == ' ');
    }
    return -1;
}

/* Arguments to their places; those that are not given are MISSING. 0 after a failure. */
static int jj_bind(bnj_run *r, const bn_callable *f, const bnj_value *v, int npos, int nkw,
                   bnj_value arg[BNJ_ARGS])
{
    for (int i = 0; i < BNJ_ARGS; i++)
        arg[i] = i < npos && i < f->most ? v[i] : bnj_plain(BNJ_MISSING, 0);
    if (npos + nkw < f->least || npos + nkw > f->most || npos > BNJ_ARGS)
        bnj_fail(r, "%s takes %d to %d arguments, not %d", f->name, f->least, f->most, npos + nkw);
    for (int i = 0; i < nkw && r->status == BN_OK; i++) {
        const bnj_value *kw = v + npos + 2 * i;
        int at = jj_place_of(f->args, kw[0]);
        if (at < 0 || at >= BNJ_ARGS || arg[at].kind != BNJ_MISSING)
            bnj_fail(r, "%s: the argument %.*s=", f->name, kw[0].n < 40 ? (int)kw[0].n : 40,
                     kw[0].u.s);
        else
            arg[at] = kw[1];
    }
    return r->status == BN_OK;
}

static int jj_is_text(bnj_run *r, const char *who, bnj_value v)
{
    if (v.kind != BNJ_TEXT)
        bnj_fail(r, "%s wants a text, not %s", who, bnj_type(v));
    return r->status == BN_OK;
}

static int64_t jj_int_or(bnj_value v, int64_t otherwise)
{
    return v.kind == BNJ_INT || v.kind == BNJ_BOOL ? v.u.i : otherwise;
}

/* ---- tests ---- */

static int jj_is_odd(bnj_run *r, bnj_value v)
{
    return bnj_true(bnj_calculate(r, BN_OPERATOR_MOD, v, bnj_int(2)));
}

static int jj_is_case(bnj_run *r, bnj_value v, char how)
{
    int letter = 0;
    v = bnj_string(r, v);
    for (size_t i = 0; r->status == BN_OK && i < v.n; i++) {
        int up = v.u.s[i] >= 'A' && v.u.s[i] <= 'Z', low = v.u.s[i] >= 'a' && v.u.s[i] <= 'z';
        if (how == 'u' ? low : up)
            return 0;
        letter |= up || low;
    }
    return letter;
}

static int jj_same(bnj_run *r, bnj_value a, bnj_value b)
{
    return a.kind == b.kind && bnj_equal(r, a, b, 0);
}

bnj_value bnj_test(bnj_run *r, int id, const bnj_value *v, int npos, int nkw)
{
    bnj_value arg[BNJ_ARGS], x = v[0];
    static const unsigned char operators[BN_NTEST] = {
        [BN_TEST_GE] = BN_OPERATOR_GE,          [BN_TEST_GT] = BN_OPERATOR_GT,
        [BN_TEST_GREATERTHAN] = BN_OPERATOR_GT, [BN_TEST_LE] = BN_OPERATOR_LE,
        [BN_TEST_LT] = BN_OPERATOR_LT,          [BN_TEST_LESSTHAN] = BN_OPERATOR_LT,
        [BN_TEST_EQ] = BN_OPERATOR_EQ,          [BN_TEST_EQ_SIGN] = BN_OPERATOR_EQ,
        [BN_TEST_EQUALTO] = BN_OPERATOR_EQ,     [BN_TEST_NE] = BN_OPERATOR_NE,
        [BN_TEST_NE_SIGN] = BN_OPERATOR_NE,     [BN_TEST_IN] = BN_OPERATOR_IN};
    if (!jj_bind(r, &jj_tests[id], v + 1, npos, nkw, arg))
        return bnj_undefined();
    if (operators[id])
        return bnj_compare(r, operators[id], x, arg[0]);
    switch (id) {
    case BN_TEST_BOOLEAN:
        return bnj_bool(x.kind == BNJ_BOOL);
    case BN_TEST_CALLABLE:
        return bnj_bool(x.kind >= BNJ_MACRO);
    case BN_TEST_DEFINED:
        return bnj_bool(x.kind != BNJ_UNDEFINED);
    case BN_TEST_UNDEFINED:
        return bnj_bool(x.kind == BNJ_UNDEFINED);
    case BN_TEST_DIVISIBLEBY:
        return bnj_bool(!bnj_true(bnj_calculate(r, BN_OPERATOR_MOD, x, arg[0])));
    case BN_TEST_EVEN:
        return bnj_bool(!jj_is_odd(r, x));
    case BN_TEST_ODD:
        return bnj_bool(jj_is_odd(r, x));
    case BN_TEST_FALSE:
        return bnj_bool(x.kind == BNJ_BOOL && !x.u.i);
    case BN_TEST_TRUE:
        return bnj_bool(x.kind == BNJ_BOOL && x.u.i);
    case BN_TEST_FLOAT:
        return bnj_bool(x.kind == BNJ_FLOAT);
    case BN_TEST_INTEGER:
        return bnj_bool(x.kind == BNJ_INT);
    case BN_TEST_NUMBER:
        return bnj_bool(bnj_number(x));
    case BN_TEST_ITERABLE:
        return bnj_bool(x.kind == BNJ_UNDEFINED || x.kind == BNJ_TEXT || x.kind == BNJ_LIST ||
                        x.kind == BNJ_DICT || x.kind == BNJ_LOOP || x.kind == BNJ_ITERATOR);
    case BN_TEST_SEQUENCE:
        return bnj_bool(x.kind == BNJ_UNDEFINED || x.kind == BNJ_TEXT || x.kind == BNJ_LIST ||
                        x.kind == BNJ_DICT);
    case BN_TEST_MAPPING:
        return bnj_bool(x.kind == BNJ_DICT);
    case BN_TEST_NONE:
        return bnj_bool(x.kind == BNJ_NONE);
    case BN_TEST_SAMEAS:
        return bnj_bool(jj_same(r, x, arg[0]));
    case BN_TEST_STRING:
        return bnj_bool(x.kind == BNJ_TEXT);
    default:
        return bnj_bool(jj_is_case(r, x, id == BN_TEST_UPPER ? 'u' : 'l'));
    }
}

/* ---- filters over lists ---- */

/* The path a.b.0 of a filter's attribute; an item that has none of it is undefined. */
static bnj_value jj_path(bnj_run *r, bnj_value v, bnj_value name)
{
    if (name.kind == BNJ_INT)
        return bnj_item(r, v, name);
    if (name.kind != BNJ_TEXT)
        return bnj_fail(r, "an attribute is a name, not %s", bnj_type(name));
    for (size_t from = 0, to; from <= name.n && r->status == BN_OK; from = to + 1) {
        to = from;
        while (to < name.n && name.u.s[to] != '.')
            to++;
        bnj_value key = bnj_cut(name, from, to), none = bnj_undefined();
        int digits = to > from && to - from < 9;
        for (size_t i = from; i < to; i++)
            digits &= name.u.s[i] >= '0' && name.u.s[i] <= '9';
        if (digits)
            key = bnj_parse_number(r, key.u.s, key.n);
        if (v.kind == BNJ_UNDEFINED && from == 0)
            return none;
        v = bnj_item(r, v, key);
    }
    return v;
}

/* select, reject, selectattr, rejectattr: [attribute,] [test, arguments of the test]. */
static bnj_value jj_pick(bnj_run *r, bnj_value list, const bnj_value *arg, int n, int by_attr,
                         int yes)
{
    int id = BN_NTEST;
    const bnj_value *rest = arg + by_attr;
    size_t kept = 0;
    n -= by_attr;
    if (n > 0)
        id = jj_id_of(jj_tests, BN_NTEST, rest[0]);
    if (id < 0)
        return bnj_fail(r, "the test '%.*s' is not known",
                        rest[0].kind == BNJ_TEXT && rest[0].n < 40 ? (int)rest[0].n : 0,
                        rest[0].kind == BNJ_TEXT ? rest[0].u.s : "");
    bnj_value *item = bnj_array(r, list.n, sizeof *item);
    for (size_t i = 0; item && i < list.n && bnj_work(r, 1); i++) {
        bnj_value v[1 + BNJ_ARGS];
        v[0] = by_attr ? jj_path(r, list.u.item[i], arg[0]) : list.u.item[i];
        for (int k = 1; k < n; k++)
            v[k] = rest[k];
        int is = id == BN_NTEST ? bnj_true(v[0]) : bnj_true(bnj_test(r, id, v, n - 1, 0));
        if (is == yes)
            item[kept++] = list.u.item[i];
    }
    return bnj_list(item, item ? kept : 0);
}

/* map('upper'), map(attribute='x', default=y) */
static bnj_value jj_map(bnj_run *r, bnj_value list, const bnj_value *arg, int npos, int nkw)
{
    bnj_value attribute = bnj_undefined(), otherwise = bnj_undefined();
    int id = npos > 0 ? jj_id_of(jj_filters, BN_NFILTER, arg[0]) : -1;
    for (int i = 0; npos == 0 && i < nkw; i++) {
        const bnj_value *kw = arg + 2 * i;
        if (bnj_is(kw[0], "attribute"))
            attribute = kw[1];
        else if (bnj_is(kw[0], "default"))
            otherwise = kw[1];
    }
    if (id == BN_FILTER_MAP || (npos > 0 ? id < 0 : attribute.kind == BNJ_UNDEFINED))
        return bnj_fail(r, "map wants the name of a filter, or attribute=");
    bnj_value *item = bnj_array(r, list.n, sizeof *item);
    for (size_t i = 0; item && i < list.n && bnj_work(r, 1); i++) {
        bnj_value v[1 + 2 * BNJ_ARGS];
        v[0] = list.u.item[i];
        if (npos == 0) {
            item[i] = jj_path(r, v[0], attribute);
            if (item[i].kind == BNJ_UNDEFINED)
                item[i] = otherwise;
            continue;
        }
        for (int k = 1; k < npos + 2 * nkw; k++)
            v[k] = arg[k];
        item[i] = bnj_filter(r, id, v, npos - 1, nkw);
    }
    return bnj_list(item, item ? list.n : 0);
}

/* What sort, unique, min and max compare: texts without regard to case, unless case_sensitive is given. */
static bnj_value jj_sort_key(bnj_run *r, bnj_value v, bnj_value attribute, int case_sensitive)
{
    if (attribute.kind == BNJ_TEXT || attribute.kind == BNJ_INT)
        v = jj_path(r, v, attribute);
    return v.kind == BNJ_TEXT && !case_sensitive ? bnj_case(r, v, 'l') : v;
}

/* Merges key[lo .. mid) and key[mid .. hi), with their items; stable. */
static void jj_merge(bnj_run *r, bnj_value *key, bnj_value *item, bnj_value *spare, size_t lo,
                     size_t mid, size_t hi, int reverse)
{
    size_t a = lo, b = mid, n = 0;
    while ((a < mid || b < hi) && r->status == BN_OK) {
        int second =
            a == mid ||
            (b < hi && (reverse ? bnj_less(r, key[a], key[b], 0) : bnj_less(r, key[b], key[a], 0)));
        size_t from = second ? b++ : a++;
        spare[2 * n] = key[from];
        spare[2 * n++ + 1] = item[from];
    }
    for (size_t i = 0; i < n; i++) {
        key[lo + i] = spare[2 * i];
        item[lo + i] = spare[2 * i + 1];
    }
}

static bnj_value jj_sorted(bnj_run *r, bnj_value list, bnj_value attribute, int case_sensitive,
                           int reverse)
{
    size_t n = list.n;
    bnj_value *item = bnj_array(r, n, sizeof *item), *key = bnj_array(r, n, sizeof *key),
              *spare = bnj_array(r, n, 2 * sizeof *key);
    for (size_t i = 0; r->status == BN_OK && i < n; i++) {
        item[i] = list.u.item[i];
        key[i] = jj_sort_key(r, item[i], attribute, case_sensitive);
    }
    for (size_t wide = 1; r->status == BN_OK && wide < n; wide *= 2)
        for (size_t lo = 0; lo + wide < n && r->status == BN_OK; lo += 2 * wide)
            jj_merge(r, key, item, spare, lo, lo + wide, n - lo < 2 * wide ? n : lo + 2 * wide,
                     reverse);
    return r->status == BN_OK ? bnj_list(item, n) : bnj_undefined();
}

static bnj_value jj_unique(bnj_run *r, bnj_value list, bnj_value attribute, int case_sensitive)
{
    bnj_value *item = bnj_array(r, list.n, sizeof *item), *key = bnj_array(r, list.n, sizeof *key);
    size_t n = 0;
    for (size_t i = 0; r->status == BN_OK && i < list.n; i++) {
        key[n] = jj_sort_key(r, list.u.item[i], attribute, case_sensitive);
        size_t k = 0;
        while (k < n && !bnj_equal(r, key[k], key[n], 0))
            k++;
        if (k == n)
            item[n++] = list.u.item[i];
    }
    return r->status == BN_OK ? bnj_list(item, n) : bnj_undefined();
}

/* min, max */
static bnj_value jj_extreme(bnj_run *r, bnj_value list, int most)
{
    bnj_value best = bnj_undefined(), none = bnj_undefined(), of_best = none;
    for (size_t i = 0; i < list.n && r->status == BN_OK; i++) {
        bnj_value key = jj_sort_key(r, list.u.item[i], none, 0);
        if (i == 0 || (most ? bnj_less(r, of_best, key, 0) : bnj_less(r, key, of_best, 0))) {
            best = list.u.item[i];
            of_best = key;
        }
    }
    return best;
}

static bnj_value jj_sum(bnj_run *r, bnj_value list, bnj_value attribute, bnj_value start)
{
    bnj_value y = start.kind == BNJ_MISSING ? bnj_int(0) : start;
    for (size_t i = 0; i < list.n && r->status == BN_OK; i++) {
        bnj_value v = list.u.item[i];
        y = bnj_calculate(r, BN_OPERATOR_ADD, y,
                          attribute.kind > BNJ_NONE ? jj_path(r, v, attribute) : v);
    }
    return y;
}

static bnj_value jj_join(bnj_run *r, bnj_value list, bnj_value by, bnj_value attribute)
{
    bnj_value *text = bnj_array(r, list.n, sizeof *text);
    for (size_t i = 0; text && i < list.n; i++) {
        bnj_value v = list.u.item[i];
        text[i] = bnj_string(r, attribute.kind > BNJ_NONE ? jj_path(r, v, attribute) : v);
    }
    by = by.kind == BNJ_MISSING ? bnj_literal("") : bnj_string(r, by);
    return r->status == BN_OK ? bnj_join(r, text, list.n, by) : bnj_undefined();
}

/* The pairs of a dictionary: tuples (what 3), keys (1) or values (2). */
static bnj_value jj_pairs(bnj_run *r, bnj_value v, int what)
{
    bnj_value *item = bnj_array(r, v.n, sizeof *item);
    for (size_t i = 0; item && i < v.n; i++) {
        const bnj_value *pair = v.u.item + 2 * i;
        item[i] = what == 3 ? bnj_list(pair, 2) : pair[what - 1];
        if (what == 3)
            item[i].own = 1;
    }
    return bnj_list(item, item ? v.n : 0);
}

static bnj_value jj_reversed(bnj_run *r, bnj_value v)
{
    if (v.kind == BNJ_TEXT) {
        bnj_value cut[4] = {v, bnj_plain(BNJ_NONE, 0), bnj_plain(BNJ_NONE, 0), bnj_int(-1)};
        return bnj_slice(r, cut);
    }
    bnj_value list = bnj_items(r, v);
    bnj_value *item = bnj_array(r, list.n, sizeof *item);
    for (size_t i = 0; item && i < list.n; i++)
        item[i] = list.u.item[list.n - 1 - i];
    return bnj_iterator(r, bnj_list(item, item ? list.n : 0));
}

/* ---- filters of numbers ---- */

static bnj_value jj_to_number(bnj_run *r, bnj_value v, bnj_value otherwise, int whole)
{
    if (otherwise.kind == BNJ_MISSING)
        otherwise = whole ? bnj_int(0) : bnj_float(0);
    if (v.kind == BNJ_TEXT) {
        v = bnj_strip(r, v, 3, NULL);
        size_t at = v.n && (v.u.s[0] == '-' || v.u.s[0] == '+'), digits = 0;
        int broken = 0, good = v.n < 19;
        for (size_t i = at; i < v.n; i++) {
            digits += v.u.s[i] >= '0' && v.u.s[i] <= '9';
            broken += v.u.s[i] == '.';
            good &= v.u.s[i] == '.' || (v.u.s[i] >= '0' && v.u.s[i] <= '9');
        }
        if (!good || digits == 0 || broken > 1)
            return otherwise;
        v = v.u.s[0] == '+' ? bnj_cut(v, 1, v.n) : v;
        v = bnj_parse_number(r, v.u.s, v.n);
    }
    if (!bnj_number(v))
        return otherwise;
    if (!whole)
        return bnj_float(bnj_double(v));
    if (v.kind != BNJ_FLOAT)
        return bnj_int(v.u.i);
    return fabs(v.u.f) < 9e18 ? bnj_int((int64_t)v.u.f) : otherwise;
}

static bnj_value jj_rounded(bnj_run *r, bnj_value v, bnj_value precision, bnj_value method)
{
    double by = pow(10, (double)jj_int_or(precision, 0)), x = bnj_double(v) * by;
    if (!bnj_number(v) || !(fabs(x) < 1e15))
        return bnj_fail(r, "round of %s", bnj_type(v));
    x = bnj_is(method, "ceil") ? ceil(x) : bnj_is(method, "floor") ? floor(x) : nearbyint(x);
    return bnj_float(x / by);
}

/* ---- filters ---- */

static bnj_value jj_list_filter(bnj_run *r, int id, bnj_value x, const bnj_value *arg)
{
    bnj_value none = bnj_undefined();
    if (x.kind == BNJ_ITERATOR && id == BN_FILTER_FIRST && x.u.space->n > 0) {
        x.u.space->n--;
        return *x.u.space->item++;
    }
    if (x.kind == BNJ_ITERATOR && id == BN_FILTER_LAST)
        return bnj_fail(r, "last of %s", bnj_type(x));
    if (x.kind == BNJ_DICT && id == BN_FILTER_DICTSORT)
        return jj_sorted(r, jj_pairs(r, x, 3), bnj_int(bnj_is(arg[1], "value")), bnj_true(arg[0]),
                         bnj_true(arg[2]));
    if (id == BN_FILTER_ITEMS)
        return x.kind == BNJ_DICT        ? bnj_iterator(r, jj_pairs(r, x, 3))
               : x.kind == BNJ_UNDEFINED ? bnj_iterator(r, bnj_list(NULL, 0))
                                         : bnj_fail(r, "items of %s", bnj_type(x));
    x = bnj_items(r, x);
    if (r->status != BN_OK)
        return none;
    switch (id) {
    case BN_FILTER_FIRST:
        return x.n ? x.u.item[0] : none;
    case BN_FILTER_LAST:
        return x.n ? x.u.item[x.n - 1] : none;
    case BN_FILTER_LIST:
        x.own = 0;
        return x;
    case BN_FILTER_JOIN:
        return jj_join(r, x, arg[0], arg[1]);
    case BN_FILTER_MAX:
    case BN_FILTER_MIN:
        return jj_extreme(r, x, id == BN_FILTER_MAX);
    case BN_FILTER_SORT:
        return jj_sorted(r, x, arg[2], bnj_true(arg[1]), bnj_true(arg[0]));
    case BN_FILTER_UNIQUE:
        return bnj_iterator(r, jj_unique(r, x, arg[1], bnj_true(arg[0])));
    case BN_FILTER_SUM:
        return jj_sum(r, x, arg[0], arg[1]);
    default:
        return bnj_fail(r, "%s of %s", jj_filters[id].name, bnj_type(x));
    }
}

static bnj_value jj_text_filter(bnj_run *r, int id, bnj_value x, const bnj_value *arg)
{
    bnj_value old = arg[0], by = arg[1];
    x = bnj_string(r, x);
    if (r->status != BN_OK)
        return x;
    switch (id) {
    case BN_FILTER_CAPITALIZE:
        return bnj_case(r, x, 'c');
    case BN_FILTER_LOWER:
        return bnj_case(r, x, 'l');
    case BN_FILTER_UPPER:
        return bnj_case(r, x, 'u');
    case BN_FILTER_TITLE:
        return bnj_case(r, x, 'j');
    case BN_FILTER_TRIM:
        if (arg[0].kind > BNJ_NONE && !jj_is_text(r, "trim", arg[0]))
            return x;
        return bnj_strip(r, x, 3, arg[0].kind == BNJ_TEXT ? arg : NULL);
    case BN_FILTER_REPLACE:
        old = bnj_string(r, old);
        by = bnj_string(r, by);
        return r->status == BN_OK ? bnj_replace(r, x, old, by, jj_int_or(arg[2], -1)) : x;
    case BN_FILTER_INDENT: {
        int64_t n = jj_int_or(arg[0], 4);
        static const char spaces[] =
            "                                                                ";
        if (arg[0].kind == BNJ_TEXT)
            return bnj_indent(r, x, arg[0], bnj_true(arg[1]), bnj_true(arg[2]));
        if (n > (int64_t)sizeof spaces - 1)
            return bnj_fail(r, "indent by more than %zu", sizeof spaces - 1);
        return bnj_indent(r, x, bnj_view(spaces, n > 0 ? (size_t)n : 0, NULL, 1), bnj_true(arg[1]),
                          bnj_true(arg[2]));
    }
    default:
        return x;
    }
}

bnj_value bnj_filter(bnj_run *r, int id, const bnj_value *v, int npos, int nkw)
{
    bnj_value arg[BNJ_ARGS], x = v[0];
    if (id == BN_FILTER_MAP || id == BN_FILTER_SELECT || id == BN_FILTER_REJECT ||
        id == BN_FILTER_SELECTATTR || id == BN_FILTER_REJECTATTR) {
        int by_attr = id == BN_FILTER_SELECTATTR || id == BN_FILTER_REJECTATTR;
        if (npos + nkw > BNJ_ARGS || npos + nkw < by_attr || (nkw && id != BN_FILTER_MAP))
            return bnj_fail(r, "%s: these arguments", jj_filters[id].name);
        x = bnj_true(x) ? bnj_items(r, x) : bnj_list(NULL, 0);
        if (r->status != BN_OK)
            return x;
        x = id == BN_FILTER_MAP ? jj_map(r, x, v + 1, npos, nkw)
                                : jj_pick(r, x, v + 1, npos, by_attr,
                                          id == BN_FILTER_SELECT || id == BN_FILTER_SELECTATTR);
        return bnj_iterator(r, x);
    }
    if (!jj_bind(r, &jj_filters[id], v + 1, npos, nkw, arg))
        return bnj_undefined();
    switch (id) {
    case BN_FILTER_ABS:
        return x.kind == BNJ_FLOAT          ? bnj_float(fabs(x.u.f))
               : bnj_number(x) && x.u.i < 0 ? bnj_calculate(r, BN_OPERATOR_SUB, bnj_int(0), x)
                                            : bnj_calculate(r, BN_OPERATOR_ADD, bnj_int(0), x);
    case BN_FILTER_COUNT:
    case BN_FILTER_LENGTH:
        return bnj_int(bnj_length(r, x));
    case BN_FILTER_D:
    case BN_FILTER_DEFAULT:
        if (x.kind != BNJ_UNDEFINED && !(bnj_true(arg[1]) && !bnj_true(x)))
            return x;
        return arg[0].kind == BNJ_MISSING ? bnj_literal("") : arg[0];
    case BN_FILTER_FLOAT:
    case BN_FILTER_INT:
        return jj_to_number(r, x, arg[0], id == BN_FILTER_INT);
    case BN_FILTER_ROUND:
        return jj_rounded(r, x, arg[0], arg[1]);
    case BN_FILTER_REVERSE:
        return jj_reversed(r, x);
    case BN_FILTER_SAFE:
    case BN_FILTER_STRING:
        return bnj_string(r, x);
    case BN_FILTER_TOJSON:
        return bnj_json(r, x, arg);
    case BN_FILTER_CAPITALIZE:
    case BN_FILTER_LOWER:
    case BN_FILTER_UPPER:
    case BN_FILTER_TITLE:
    case BN_FILTER_TRIM:
    case BN_FILTER_REPLACE:
    case BN_FILTER_INDENT:
        return jj_text_filter(r, id, x, arg);
    default:
        return jj_list_filter(r, id, x, arg);
    }
}

/* ---- methods ---- */

static bnj_value jj_find_in(bnj_run *r, int id, bnj_value x, bnj_value what)
{
    size_t at = (size_t)-1, next;
    int64_t n = 0;
    if (!jj_is_text(r, jj_methods[id].name, what))
        return bnj_undefined();
    if (id == BN_METHOD_COUNT && what.n == 0)
        return bnj_int((int64_t)bnj_count(x) + 1);
    for (size_t from = 0; (next = bnj_find(r, x.u.s, x.n, from, what.u.s, what.n)) != (size_t)-1;) {
        at = next;
        n++;
        from = id == BN_METHOD_COUNT ? at + what.n : at + 1;
        if (id == BN_METHOD_FIND || id == BN_METHOD_INDEX || !bnj_work(r, 1))
            break;
    }
    if (id == BN_METHOD_COUNT)
        return bnj_int(n);
    if (id == BN_METHOD_INDEX && n == 0)
        return bnj_fail(r, "index: that text is not there");
    return bnj_int(n ? (int64_t)bnj_count(bnj_cut(x, 0, at)) : -1);
}

/* startswith, endswith: a text or a tuple of them. */
static int jj_starts(bnj_run *r, int id, bnj_value x, bnj_value with)
{
    if (with.kind == BNJ_LIST && with.own) {
        for (size_t i = 0; i < with.n; i++)
            if (with.u.item[i].kind == BNJ_TEXT && jj_starts(r, id, x, with.u.item[i]))
                return 1;
        return 0;
    }
    if (!jj_is_text(r, jj_methods[id].name, with) || with.n > x.n || !bnj_work(r, with.n / 16))
        return 0;
    return with.n == 0 ||
           !memcmp(id == BN_METHOD_ENDSWITH ? x.u.s + x.n - with.n : x.u.s, with.u.s, with.n);
}

/* Of ASCII; other characters count as letters, but for spaces. */
static int jj_all_are(bnj_value x, int id)
{
    size_t len;
    uint32_t c;
    for (size_t at = 0; at < x.n; at += len) {
        len = bnj_char(x.u.s + at, x.n - at, &c);
        int space = bnj_space_code(c), digit = c >= '0' && c <= '9',
            letter = (c | 32) >= 'a' && (c | 32) <= 'z';
        letter |= c > 127 && !space;
        if (!(id == BN_METHOD_ISSPACE   ? space
              : id == BN_METHOD_ISDIGIT ? digit
              : id == BN_METHOD_ISALPHA ? letter
                                        : letter || digit))
            return 0;
    }
    return x.n > 0;
}

static bnj_value jj_split(bnj_run *r, int id, bnj_value x, const bnj_value *arg)
{
    if (arg[0].kind > BNJ_NONE && !jj_is_text(r, jj_methods[id].name, arg[0]))
        return bnj_undefined();
    return bnj_split(r, x, arg[0].kind == BNJ_TEXT ? arg : NULL, jj_int_or(arg[1], -1),
                     id == BN_METHOD_RSPLIT);
}

static bnj_value jj_join_method(bnj_run *r, bnj_value by, bnj_value list)
{
    list = bnj_items(r, list);
    for (size_t i = 0; r->status == BN_OK && i < list.n; i++)
        jj_is_text(r, "join", list.u.item[i]);
    return r->status == BN_OK ? bnj_join(r, list.u.item, list.n, by) : bnj_undefined();
}

static bnj_value jj_text_method(bnj_run *r, int id, bnj_value x, const bnj_value *arg, int n)
{
    const bnj_value *set = arg[0].kind == BNJ_TEXT ? arg : NULL;
    switch (id) {
    case BN_METHOD_CAPITALIZE:
        return bnj_case(r, x, 'c');
    case BN_METHOD_LOWER:
        return bnj_case(r, x, 'l');
    case BN_METHOD_UPPER:
        return bnj_case(r, x, 'u');
    case BN_METHOD_TITLE:
        return bnj_case(r, x, 't');
    case BN_METHOD_STRIP:
    case BN_METHOD_LSTRIP:
    case BN_METHOD_RSTRIP:
        if (arg[0].kind > BNJ_NONE && !jj_is_text(r, jj_methods[id].name, arg[0]))
            return x;
        return bnj_strip(r, x, id == BN_METHOD_STRIP ? 3 : id == BN_METHOD_LSTRIP ? 1 : 2, set);
    case BN_METHOD_SPLIT:
    case BN_METHOD_RSPLIT:
        return jj_split(r, id, x, arg);
    case BN_METHOD_SPLITLINES:
        return bnj_lines(r, x, bnj_true(arg[0]));
    case BN_METHOD_REPLACE:
        return jj_is_text(r, "replace", arg[0]) && jj_is_text(r, "replace", arg[1])
                   ? bnj_replace(r, x, arg[0], arg[1], jj_int_or(arg[2], -1))
                   : x;
    case BN_METHOD_STARTSWITH:
    case BN_METHOD_ENDSWITH:
        return bnj_bool(jj_starts(r, id, x, arg[0]));
    case BN_METHOD_REMOVEPREFIX:
    case BN_METHOD_REMOVESUFFIX: {
        int suffix = id == BN_METHOD_REMOVESUFFIX;
        if (!jj_is_text(r, jj_methods[id].name, arg[0]) ||
            !jj_starts(r, suffix ? BN_METHOD_ENDSWITH : BN_METHOD_STARTSWITH, x, arg[0]))
            return x;
        return suffix ? bnj_cut(x, 0, x.n - arg[0].n) : bnj_cut(x, arg[0].n, x.n);
    }
    case BN_METHOD_COUNT:
    case BN_METHOD_FIND:
    case BN_METHOD_RFIND:
    case BN_METHOD_INDEX:
        return jj_find_in(r, id, x, arg[0]);
    case BN_METHOD_JOIN:
        return jj_join_method(r, x, arg[0]);
    case BN_METHOD_FORMAT:
        return bnj_format(r, x, arg, n);
    case BN_METHOD_ISALNUM:
    case BN_METHOD_ISALPHA:
    case BN_METHOD_ISDIGIT:
    case BN_METHOD_ISSPACE:
        return bnj_bool(jj_all_are(x, id));
    default:
        return bnj_fail(r, "a text has no method %s", jj_methods[id].name);
    }
}

static bnj_value jj_list_method(bnj_run *r, int id, bnj_value x, bnj_value what)
{
    int64_t n = 0;
    if (id != BN_METHOD_COUNT && id != BN_METHOD_INDEX)
        return bnj_fail(r, "a list has no method %s", jj_methods[id].name);
    for (size_t i = 0; i < x.n; i++)
        if (bnj_equal(r, x.u.item[i], what, 0)) {
            n++;
            if (id == BN_METHOD_INDEX)
                return bnj_int((int64_t)i);
        }
    return id == BN_METHOD_COUNT ? bnj_int(n) : bnj_fail(r, "index: that value is not there");
}

bnj_value bnj_method(bnj_run *r, int id, const bnj_value *v, int npos, int nkw)
{
    bnj_value arg[BNJ_ARGS], x = v[0];
    const bnj_value *found;
    if (x.kind == BNJ_UNDEFINED)
        return bnj_fail(r, "the method %s of what is not defined", jj_methods[id].name);
    if (!jj_bind(r, &jj_methods[id], v + 1, npos, nkw, arg) ||
        !bnj_work(r, x.kind == BNJ_TEXT ? x.n / 16 : 0))
        return bnj_undefined();
    if (x.kind == BNJ_TEXT)
        return jj_text_method(r, id, x, arg, npos);
    if (x.kind == BNJ_LIST)
        return jj_list_method(r, id, x, arg[0]);
    if (x.kind == BNJ_DICT && id == BN_METHOD_GET) {
        found = bnj_find_key(r, x.u.item, x.n, arg[0]);
        return found ? *found : arg[1].kind == BNJ_MISSING ? bnj_plain(BNJ_NONE, 0) : arg[1];
    }
    if (x.kind == BNJ_DICT &&
        (id == BN_METHOD_ITEMS || id == BN_METHOD_KEYS || id == BN_METHOD_VALUES)) {
        x = jj_pairs(r, x, id == BN_METHOD_ITEMS ? 3 : id == BN_METHOD_KEYS ? 1 : 2);
        x.own = 2;
        return x;
    }
    return bnj_fail(r, "%s has no method %s", bnj_type(x), jj_methods[id].name);
}

/* ---- functions ---- */

static bnj_value jj_range(bnj_run *r, const bnj_value *v, int n)
{
    int64_t from = n > 1 ? v[0].u.i : 0, to = v[n > 1].u.i, by = n > 2 ? v[2].u.i : 1, count;
    for (int i = 0; i < n; i++)
        if ((v[i].kind != BNJ_INT && v[i].kind != BNJ_BOOL) || v[i].u.i > INT32_MAX ||
            v[i].u.i < -INT32_MAX)
            return bnj_fail(r, "range wants numbers below 2^31");
    if (by == 0)
        return bnj_fail(r, "range by steps of 0");
    count = by > 0 ? (to - from + by - 1) / by : (from - to - by - 1) / -by;
    if (by > 0 ? to <= from : from <= to)
        count = 0;
    if (count > BNJ_RANGE)
        return bnj_fail(r, "a range of more than %d", BNJ_RANGE);
    bnj_value *item = bnj_array(r, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++)
        item[i] = bnj_int(from + i * by);
    return bnj_list(item, item ? (size_t)count : 0);
}

/* namespace(a, b=1), dict(...): the pairs of a dictionary, if there is one, and named arguments. */
static bnj_value jj_space(bnj_run *r, int id, const bnj_value *v, int npos, int nkw)
{
    bnj_space s = {NULL, 0, 0}, *kept;
    if (npos > 1 || (npos == 1 && v[0].kind != BNJ_DICT))
        return bnj_fail(r, "%s takes a dictionary and name=value", jj_functions[id].name);
    for (size_t i = 0; npos == 1 && i < v[0].n; i++)
        bnj_set_key(r, &s, v[0].u.item[2 * i], v[0].u.item[2 * i + 1]);
    for (int i = 0; i < nkw; i++)
        bnj_set_key(r, &s, v[npos + 2 * i], v[npos + 2 * i + 1]);
    bnj_value y = bnj_list(s.item, s.n);
    y.kind = BNJ_DICT;
    if (id == BN_FUNCTION_DICT)
        return y;
    kept = bnj_alloc(r, sizeof *kept);
    if (!kept)
        return bnj_undefined();
    *kept = s;
    y = bnj_plain(BNJ_SPACE, 0);
    y.u.space = kept;
    return y;
}

bnj_value bnj_function(bnj_run *r, int id, const bnj_value *v, int npos, int nkw)
{
    bnj_value arg[BNJ_ARGS];
    if (id == BN_FUNCTION_NAMESPACE || id == BN_FUNCTION_DICT)
        return jj_space(r, id, v, npos, nkw);
    if (!jj_bind(r, &jj_functions[id], v, npos, nkw, arg))
        return bnj_undefined();
    if (id == BN_FUNCTION_RANGE)
        return jj_range(r, v, npos);
    if (id == BN_FUNCTION_STRFTIME)
        return jj_is_text(r, "strftime_now", arg[0]) ? bnj_strftime(r, arg[0]) : arg[0];
    arg[0] = bnj_string(r, arg[0]);
    if (r->status == BN_OK) {
        r->status = BN_TEMPLATE;
        r->reason = arg[0];
    }
    return bnj_undefined();
}
