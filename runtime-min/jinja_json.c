/* jinja_json.c: numbers and JSON of chat templates, both ways, as Python reads and writes them. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja.h"

/* ---- numbers ---- */

size_t bnj_put_int(int64_t i, char out[24])
{
    char back[24];
    size_t n = 0, at = 0;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do
        back[n++] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (i < 0)
        out[at++] = '-';
    while (n > 0)
        out[at++] = back[--n];
    return at;
}

/* As repr(): the fewest digits that read back as f. Whatever the locale's decimal point is, only
 * the digits that snprintf writes are taken. */
size_t bnj_put_float(double f, char out[40])
{
    char e[48], digit[24];
    int nd = 0, exponent, precision = 0;
    size_t n = 0;
    if (isnan(f) || isinf(f))
        return (size_t)snprintf(out, 40, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    for (; precision < 17; precision++) {
        snprintf(e, sizeof e, "%.*e", precision, f);
        if (strtod(e, NULL) == f)
            break;
    }
    const char *c = e;
    for (; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9' && nd < 20)
            digit[nd++] = *c;
    exponent = *c ? (int)strtol(c + 1, NULL, 10) : 0;
    while (nd > 1 && digit[nd - 1] == '0')
        nd--;
    if (signbit(f))
        out[n++] = '-';
    if (exponent < -4 || exponent >= 16) {
        out[n++] = digit[0];
        if (nd > 1)
            out[n++] = '.';
        memcpy(out + n, digit + 1, (size_t)nd - 1);
        n += (size_t)nd - 1;
        return n + (size_t)snprintf(out + n, 40 - n, "e%c%02d", exponent < 0 ? '-' : '+',
                                    abs(exponent));
    }
    if (exponent < 0) {
        out[n++] = '0';
        out[n++] = '.';
        for (int i = -1; i > exponent; i--)
            out[n++] = '0';
    }
    for (int i = 0; i < nd || i <= exponent; i++) {
        out[n++] = i < nd ? digit[i] : '0';
        if (i == exponent)
            out[n++] = '.';
    }
    if (out[n - 1] == '.')
        out[n++] = '0';
    return n;
}

/* A number as JSON has it, n >= 1 bytes. */
bnj_value bnj_parse_number(bnj_run *r, const char *s, size_t n)
{
    char copy[64], point[8], *end;
    size_t used = 0, at = 0;
    int broken = 0;
    for (size_t i = 0; i < n; i++)
        broken |= s[i] == '.' || s[i] == 'e' || s[i] == 'E';
    if (!broken) {
        int64_t x = 0;
        for (at = s[0] == '-'; at < n; at++) {
            if (s[at] < '0' || s[at] > '9' || x > (INT64_MAX - 9) / 10)
                return bnj_fail(r, "a number beyond 2^63");
            x = 10 * x + (s[at] - '0');
        }
        return bnj_int(s[0] == '-' ? -x : x);
    }
    snprintf(point, sizeof point, "%.1f", 0.5); /* 0, the point, 5 */
    for (; at < n && used < sizeof copy - 8; at++)
        if (s[at] == '.')
            used += (size_t)snprintf(copy + used, 8, "%.*s", (int)strlen(point) - 2, point + 1);
        else
            copy[used++] = s[at];
    copy[used] = 0;
    double f = strtod(copy, &end);
    return at < n || *end ? bnj_fail(r, "a number that is too long, or none") : bnj_float(f);
}

/* ---- reading ---- */

typedef struct jj_reader {
    bnj_run *r;
    const char *what, *start, *at, *end;
} jj_reader;

static bnj_value jj_bad(jj_reader *p, const char *why)
{
    return bnj_fail(p->r, "%s: byte %zu: %s", p->what, (size_t)(p->at - p->start), why);
}

static char jj_peek(jj_reader *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
    return p->at < p->end ? *p->at : 0;
}

static int jj_hex4(const char *s, const char *end, uint32_t *x)
{
    *x = 0;
    if (end - s < 4)
        return 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            return 0;
        *x = *x << 4 | (uint32_t)d;
    }
    return 1;
}

static size_t jj_put_utf8(uint32_t c, char *out)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (n == 1) {
        out[0] = (char)c;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* Behind a backslash, which `at` is at; 0 where that is no escape. */
static int jj_unescape(jj_reader *p, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t x, low;
    const char *c = p->at + 1 < p->end ? strchr(from, p->at[1]) : NULL;
    if (c && *c) {
        out[(*n)++] = to[c - from];
        p->at += 2;
        return 1;
    }
    if (p->at + 1 >= p->end || p->at[1] != 'u' || !jj_hex4(p->at + 2, p->end, &x))
        return 0;
    p->at += 6;
    if (x >= 0xd800 && x < 0xdc00 && p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u' &&
        jj_hex4(p->at + 2, p->end, &low) && low >= 0xdc00 && low < 0xe000) {
        x = 0x10000 + ((x - 0xd800) << 10) + (low - 0xdc00);
        p->at += 6;
    }
    *n += jj_put_utf8(x >= 0xd800 && x < 0xe000 ? 0xfffd : x, out + *n);
    return 1;
}

static bnj_value jj_parse_text(jj_reader *p)
{
    const char *start = ++p->at, *close = start;
    int plain = 1;
    while (close < p->end && *close != '"') {
        plain &= *close != '\\';
        if ((unsigned char)*close < 32) {
            p->at = close;
            return jj_bad(p, "a control character in a text");
        }
        close += *close == '\\' && p->end - close > 1 ? 2 : 1;
    }
    if (close >= p->end)
        return jj_bad(p, "a text without its end");
    p->at = close + 1;
    if (plain)
        return bnj_view(start, (size_t)(close - start), NULL, 0);
    char *out = bnj_alloc(p->r, (size_t)(close - start));
    size_t n = 0;
    if (!out)
        return bnj_undefined();
    for (p->at = start; p->at < close;) {
        if (*p->at != '\\')
            out[n++] = *p->at++;
        else if (!jj_unescape(p, out, &n))
            return jj_bad(p, "an unknown escape");
    }
    p->at = close + 1;
    return bnj_view(out, n, NULL, 0);
}

static bnj_value jj_parse_value(jj_reader *p, int depth);

/* A list, or with `pairs` a dictionary: collected in an array that doubles. */
static bnj_value jj_parse_many(jj_reader *p, int pairs, int depth)
{
    bnj_space s = {NULL, 0, 0};
    bnj_value *item = NULL;
    size_t n = 0, cap = 0;
    char close = pairs ? '}' : ']';
    p->at++;
    for (int first = 1; jj_peek(p) != close || !first; first = 0) {
        bnj_value key = bnj_undefined();
        if (!first && *p->at == ',' && p->at < p->end)
            p->at++;
        else if (!first)
            return jj_bad(p, pairs ? "expected , or }" : "expected , or ]");
        if (pairs && jj_peek(p) != '"')
            return jj_bad(p, "expected a key in quotes");
        if (pairs)
            key = jj_parse_text(p);
        if (pairs && jj_peek(p) != ':' && p->r->status == BN_OK)
            return jj_bad(p, "expected :");
        p->at += pairs;
        bnj_value v = jj_parse_value(p, depth + 1);
        if (p->r->status != BN_OK)
            return v;
        if (pairs) {
            bnj_set_key(p->r, &s, key, v);
        } else {
            if (n == cap) {
                size_t more = cap ? 2 * cap : 4;
                bnj_value *bigger = bnj_array(p->r, more, sizeof v);
                if (!bigger)
                    return v;
                if (n)
                    memcpy(bigger, item, n * sizeof v);
                item = bigger;
                cap = more;
            }
            item[n++] = v;
        }
        if (jj_peek(p) == close)
            break;
    }
    p->at++;
    bnj_value all = bnj_list(pairs ? s.item : item, pairs ? s.n : n);
    all.kind = pairs ? BNJ_DICT : BNJ_LIST;
    return all;
}

static bnj_value jj_parse_value(jj_reader *p, int depth)
{
    static const struct {
        const char *text;
        bnj_kind kind;
        int i;
    } words[] = {{"null", BNJ_NONE, 0}, {"true", BNJ_BOOL, 1}, {"false", BNJ_BOOL, 0}};
    char c = jj_peek(p);
    if (depth > BNJ_DEPTH - 2)
        return jj_bad(p, "values nest too deep");
    if (!bnj_work(p->r, 1))
        return bnj_undefined();
    if (c == '{' || c == '[')
        return jj_parse_many(p, c == '{', depth);
    if (c == '"')
        return jj_parse_text(p);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].text);
        if ((size_t)(p->end - p->at) >= n && !memcmp(p->at, words[i].text, n)) {
            p->at += n;
            return bnj_plain(words[i].kind, words[i].i);
        }
    }
    size_t n = 0;
    while ((size_t)(p->end - p->at) > n && p->at[n] && strchr("0123456789+-.eE", p->at[n]))
        n++;
    if (n == 0 || (c != '-' && (c < '0' || c > '9')) || (n == 1 && c == '-'))
        return jj_bad(p, "expected a value");
    p->at += n;
    return bnj_parse_number(p->r, p->at - n, n);
}

bnj_value bnj_parse(bnj_run *r, const char *what, const char *json)
{
    jj_reader p = {r, what, json, json, json + strlen(json)};
    bnj_value v = jj_parse_value(&p, 0);
    if (r->status == BN_OK && (jj_peek(&p) || p.at < p.end))
        return jj_bad(&p, "something behind the value");
    return v;
}

/* ---- writing ---- */

static void jj_put_number(bnj_sink *o, bnj_value v)
{
    char number[40];
    bnj_put_own(o, number,
                v.kind == BNJ_FLOAT ? bnj_put_float(v.u.f, number) : bnj_put_int(v.u.i, number));
}

/* Bytes that the text's owner wrote, as an escape. */
static void jj_put_escape(bnj_sink *o, bnj_value v, size_t at, const char *s, size_t n)
{
    int own = v.mark ? v.mark[at] : v.own;
    bnj_put(o, bnj_view(s, n, NULL, own));
}

static void jj_put_json_text(bnj_run *r, bnj_sink *o, bnj_value v, int ascii)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char out[16];
    size_t from = 0, at = 0, len;
    uint32_t code;
    bnj_put_own(o, "\"", 1);
    for (; at < v.n; at += len) {
        len = bnj_char(v.u.s + at, v.n - at, &code);
        size_t i = 0, n = 0;
        while (i + 1 < sizeof names - 1 && (unsigned char)names[i] != code)
            i += 2;
        if (i + 1 < sizeof names - 1)
            n = (size_t)snprintf(out, sizeof out, "\\%c", names[i + 1]);
        else if (code < 32 || (ascii && code > 126 && code < 0x10000))
            n = (size_t)snprintf(out, sizeof out, "\\u%04x", (unsigned)code);
        else if (ascii && code > 126)
            n = (size_t)snprintf(out, sizeof out, "\\u%04x\\u%04x",
                                 (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                                 (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
        if (n == 0 || (ascii && code == 127))
            continue;
        bnj_put(o, bnj_cut(v, from, at));
        jj_put_escape(o, v, at, out, n);
        from = at + len;
    }
    bnj_put(o, bnj_cut(v, from, v.n));
    bnj_put_own(o, "\"", 1);
    bnj_work(r, v.n / 16);
}

typedef struct jj_style {
    bnj_value v, indent, comma, colon; /* indent UNDEFINED: all in one line */
    int ascii, sort;
} jj_style;

static void jj_put_line(bnj_sink *o, const jj_style *t, int depth)
{
    if (t->indent.kind != BNJ_TEXT)
        return;
    bnj_put_own(o, "\n", 1);
    while (depth-- > 0)
        bnj_put(o, t->indent);
}

static void jj_put_json(bnj_run *r, bnj_sink *o, const jj_style *t, bnj_value v, int depth);

/* The pair that comes after `last` in the order of keys; NULL first. */
static const bnj_value *jj_next_key(bnj_run *r, bnj_value v, const bnj_value *last)
{
    const bnj_value *best = NULL;
    for (size_t i = 0; i < v.n; i++) {
        const bnj_value *k = v.u.item + 2 * i;
        if ((!last || bnj_less(r, *last, *k, 0)) && (!best || bnj_less(r, *k, *best, 0)))
            best = k;
    }
    return best;
}

static void jj_put_many(bnj_run *r, bnj_sink *o, const jj_style *t, bnj_value v, int depth)
{
    int dict = v.kind == BNJ_DICT;
    const bnj_value *key = NULL;
    bnj_put_own(o, dict ? "{" : "[", 1);
    for (size_t i = 0; i < v.n && r->status == BN_OK; i++) {
        if (i > 0)
            bnj_put(o, t->comma);
        jj_put_line(o, t, depth + 1);
        if (!dict) {
            jj_put_json(r, o, t, v.u.item[i], depth + 1);
            continue;
        }
        key = t->sort ? jj_next_key(r, v, key) : v.u.item + 2 * i;
        if (!key || key->kind != BNJ_TEXT) {
            bnj_fail(r, "tojson wants keys that are texts");
            return;
        }
        jj_put_json_text(r, o, *key, t->ascii);
        bnj_put(o, t->colon);
        jj_put_json(r, o, t, key[1], depth + 1);
    }
    if (v.n > 0)
        jj_put_line(o, t, depth);
    bnj_put_own(o, dict ? "}" : "]", 1);
}

static void jj_put_json(bnj_run *r, bnj_sink *o, const jj_style *t, bnj_value v, int depth)
{
    if (!bnj_work(r, 1))
        return;
    if (v.kind == BNJ_NONE)
        bnj_put_own(o, "null", 4);
    else if (v.kind == BNJ_BOOL)
        bnj_put_own(o, v.u.i ? "true" : "false", v.u.i ? 4 : 5);
    else if (v.kind == BNJ_INT || v.kind == BNJ_FLOAT)
        jj_put_number(o, v);
    else if (v.kind == BNJ_TEXT)
        jj_put_json_text(r, o, v, t->ascii);
    else if (((v.kind == BNJ_LIST && v.own < 2) || v.kind == BNJ_DICT) && depth <= BNJ_DEPTH)
        jj_put_many(r, o, t, v, depth);
    else
        bnj_fail(r, depth > BNJ_DEPTH ? "values nest too deep" : "tojson of %s", bnj_type(v));
}

static void jj_write_json(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_style *t = arg;
    jj_put_json(r, o, t, t->v, 0);
}

bnj_value bnj_json(bnj_run *r, bnj_value v, const bnj_value arg[BNJ_ARGS])
{
    static const char spaces[] = "                ";
    jj_style t = {
        .v = v, .indent = bnj_undefined(), .comma = bnj_literal(", "), .colon = bnj_literal(": ")};
    t.ascii = bnj_true(arg[0]);
    t.sort = bnj_true(arg[3]);
    if (arg[1].kind == BNJ_INT && arg[1].u.i <= 16)
        t.indent = bnj_view(spaces, arg[1].u.i > 0 ? (size_t)arg[1].u.i : 0, NULL, 1);
    else if (arg[1].kind == BNJ_TEXT)
        t.indent = arg[1];
    else if (arg[1].kind > BNJ_NONE)
        return bnj_fail(r, "tojson: indent is a number up to 16 or a text");
    if (t.indent.kind == BNJ_TEXT)
        t.comma = bnj_literal(",");
    if (arg[2].kind == BNJ_LIST && arg[2].n == 2 && arg[2].u.item[0].kind == BNJ_TEXT &&
        arg[2].u.item[1].kind == BNJ_TEXT) {
        t.comma = arg[2].u.item[0];
        t.colon = arg[2].u.item[1];
    } else if (arg[2].kind > BNJ_NONE) {
        return bnj_fail(r, "tojson: separators are two texts");
    }
    return bnj_make(r, jj_write_json, &t);
}

/* What repr() does not show as it is; of what is not ASCII, the kinds that texts are likely to
 * have. */
static int jj_hidden(uint32_t c)
{
    return c < 32 || (c >= 127 && c < 0xa1) || c == 0xad || (c != ' ' && bnj_space_code(c)) ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || (c >= 0xe000 && c <= 0xf8ff) || c == 0xfeff ||
           (c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000;
}

static void jj_put_repr_text(bnj_run *r, bnj_sink *o, bnj_value v)
{
    int single = v.n && memchr(v.u.s, '\'', v.n), both = single && memchr(v.u.s, '"', v.n);
    char quote = single && !both ? '"' : '\'', out[16];
    size_t from = 0, len;
    uint32_t c;
    bnj_put_own(o, &quote, 1);
    for (size_t at = 0; at < v.n; at += len) {
        len = bnj_char(v.u.s + at, v.n - at, &c);
        size_t n = 0;
        if (c == '\\' || c == (unsigned char)quote)
            n = (size_t)snprintf(out, sizeof out, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            n = (size_t)snprintf(out, sizeof out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (jj_hidden(c))
            n = (size_t)snprintf(out, sizeof out,
                                 c < 256     ? "\\x%02x"
                                 : c < 65536 ? "\\u%04x"
                                             : "\\U%08x",
                                 (unsigned)c);
        if (n == 0)
            continue;
        bnj_put(o, bnj_cut(v, from, at));
        jj_put_escape(o, v, at, out, n);
        from = at + len;
    }
    bnj_put(o, bnj_cut(v, from, v.n));
    bnj_put_own(o, &quote, 1);
    bnj_work(r, v.n / 16);
}

void bnj_repr(bnj_run *r, bnj_sink *o, bnj_value v, int depth)
{
    int dict = v.kind == BNJ_DICT, tuple = v.kind == BNJ_LIST && v.own == 1;
    if (!bnj_work(r, 1))
        return;
    if (v.kind == BNJ_TEXT) {
        jj_put_repr_text(r, o, v);
    } else if (v.kind == BNJ_INT || v.kind == BNJ_FLOAT) {
        jj_put_number(o, v);
    } else if (v.kind == BNJ_NONE || v.kind == BNJ_BOOL) {
        bnj_put(o, bnj_string(r, v));
    } else if (v.kind == BNJ_UNDEFINED) {
        bnj_put_own(o, "Undefined", 9);
    } else if ((dict || (v.kind == BNJ_LIST && v.own < 2)) && depth <= BNJ_DEPTH) {
        bnj_put_own(o, dict ? "{" : tuple ? "(" : "[", 1);
        for (size_t i = 0; i < v.n && r->status == BN_OK; i++) {
            if (i > 0)
                bnj_put_own(o, ", ", 2);
            bnj_repr(r, o, v.u.item[dict ? 2 * i : i], depth + 1);
            if (!dict)
                continue;
            bnj_put_own(o, ": ", 2);
            bnj_repr(r, o, v.u.item[2 * i + 1], depth + 1);
        }
        bnj_put_own(o,
                    dict    ? "}"
                    : tuple ? (v.n == 1 ? ",)" : ")")
                            : "]",
                    tuple && v.n == 1 ? 2 : 1);
    } else {
        bnj_fail(r, depth > BNJ_DEPTH ? "values nest too deep" : "%s is no text", bnj_type(v));
    }
}

/* ---- texts of values ---- */

bnj_value bnj_string(bnj_run *r, bnj_value v)
{
    char number[40];
    size_t n;
    switch (v.kind) {
    case BNJ_TEXT:
        return v;
    case BNJ_UNDEFINED:
    case BNJ_MISSING:
        return bnj_literal("");
    case BNJ_NONE:
        return bnj_literal("None");
    case BNJ_BOOL:
        return bnj_literal(v.u.i ? "True" : "False");
    case BNJ_INT:
    case BNJ_FLOAT: {
        n = v.kind == BNJ_INT ? bnj_put_int(v.u.i, number) : bnj_put_float(v.u.f, number);
        char *to = bnj_alloc(r, n);
        if (!to)
            return bnj_undefined();
        memcpy(to, number, n);
        return bnj_view(to, n, NULL, 1);
    }
    case BNJ_LIST:
    case BNJ_DICT: {
        bnj_sink count = {NULL, NULL, 0, 0}, out = {NULL, NULL, 0, 0};
        bnj_repr(r, &count, v, 0);
        out.s = bnj_alloc(r, count.n + 1);
        out.mark = bnj_alloc(r, count.n + 1);
        if (r->status == BN_OK)
            bnj_repr(r, &out, v, 0);
        return r->status == BN_OK ? bnj_view(out.s, out.n, out.mark, 0) : bnj_undefined();
    }
    default:
        return bnj_fail(r, "%s is no text", bnj_type(v));
    }
}

/* ---- str.format: {}, {0}; what stands behind a colon is refused ---- */

typedef struct jj_formatted {
    bnj_value v;
    const bnj_value *text;
    int n;
} jj_formatted;

static void jj_write_formatted(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_formatted *f = arg;
    const char *s = f->v.u.s;
    int next = 0;
    for (size_t at = 0; at < f->v.n && bnj_work(r, 1); at++) {
        int brace = s[at] == '{' || s[at] == '}';
        if (!brace || (at + 1 < f->v.n && s[at + 1] == s[at])) {
            bnj_put(o, bnj_cut(f->v, at, at + 1));
            at += brace;
            continue;
        }
        int i = -1;
        if (s[at] == '{' && at + 1 < f->v.n && s[at + 1] == '}')
            i = next++;
        else if (s[at] == '{' && at + 2 < f->v.n && s[at + 2] == '}' && s[at + 1] >= '0' &&
                 s[at + 1] <= '9')
            i = s[at + 1] - '0';
        if (i < 0 || i >= f->n) {
            bnj_fail(r, "format knows {} and {0} with a value for each");
            return;
        }
        bnj_put(o, f->text[i]);
        at += s[at + 1] == '}' ? 1 : 2;
    }
}

bnj_value bnj_format(bnj_run *r, bnj_value v, const bnj_value *arg, int n)
{
    bnj_value text[BNJ_ARGS];
    jj_formatted f = {v, text, n};
    for (int i = 0; i < n; i++)
        text[i] = bnj_string(r, arg[i]);
    return bnj_make(r, jj_write_formatted, &f);
}
