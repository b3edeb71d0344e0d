/* jinja_text.c: texts of a chat template. Cutting (strip, split, slices) only moves the ends of a
 * view; what must be made is counted first and then written. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jinja.h"

/* ---- making ---- */

static void jj_put_bytes(bnj_sink *o, const char *s, size_t n, const unsigned char *mark, int own)
{
    if (n == 0)
        return;
    if (o->s) {
        memcpy(o->s + o->n, s, n);
        if (o->mark && mark)
            memcpy(o->mark + o->n, mark, n);
        else if (o->mark)
            memset(o->mark + o->n, own, n);
    } else if (mark) {
        o->seen |= (memchr(mark, 1, n) ? 1 : 0) | (memchr(mark, 0, n) ? 2 : 0);
    } else {
        o->seen |= own ? 1 : 2;
    }
    o->n = n > SIZE_MAX / 4 - o->n ? SIZE_MAX / 4 : o->n + n;
}

void bnj_put(bnj_sink *o, bnj_value text)
{
    jj_put_bytes(o, text.u.s, text.n, text.mark, text.own);
}

void bnj_put_own(bnj_sink *o, const char *s, size_t n)
{
    jj_put_bytes(o, s, n, NULL, 1);
}

bnj_value bnj_make(bnj_run *r, bnj_writer write, const void *arg)
{
    bnj_sink count = {NULL, NULL, 0, 0}, out = {NULL, NULL, 0, 0};
    if (r->status != BN_OK)
        return bnj_undefined();
    write(r, &count, arg);
    if (r->status != BN_OK)
        return bnj_undefined();
    out.s = bnj_alloc(r, count.n ? count.n : 1);
    if (count.seen == 3)
        out.mark = bnj_alloc(r, count.n);
    if (r->status != BN_OK)
        return bnj_undefined();
    write(r, &out, arg);
    return bnj_view(out.s, out.n, out.mark, count.seen != 2);
}

/* ---- characters ---- */

/* Bytes of the character at s, n >= 1 left; what is no UTF-8 is a character of one byte. */
size_t bnj_char(const char *s, size_t n, uint32_t *code)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] < 0x80   ? 1
                 : u[0] < 0xc2 ? 0
                 : u[0] < 0xe0 ? 2
                 : u[0] < 0xf0 ? 3
                 : u[0] < 0xf5 ? 4
                               : 0;
    *code = len == 1 ? u[0] : 0xfffd;
    if (len < 2 || len > n)
        return 1;
    uint32_t x = u[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 1;
        x = x << 6 | (u[i] & 0x3fu);
    }
    *code = x;
    return len;
}

size_t bnj_count(bnj_value v)
{
    size_t count = 0;
    uint32_t code;
    for (size_t at = 0; at < v.n; count++)
        at += bnj_char(v.u.s + at, v.n - at, &code);
    return count;
}

/* What Python strips. */
int bnj_space_code(uint32_t x)
{
    return (x >= 9 && x <= 13) || (x >= 28 && x <= 32) || x == 0x85 || x == 0xa0 || x == 0x1680 ||
           (x >= 0x2000 && x <= 0x200a) || x == 0x2028 || x == 0x2029 || x == 0x202f ||
           x == 0x205f || x == 0x3000;
}

size_t bnj_find(bnj_run *r, const char *s, size_t n, size_t from, const char *what, size_t len)
{
    while (len > 0 && from + len <= n) {
        const char *at = memchr(s + from, what[0], n - len + 1 - from);
        if (!at || !bnj_work(r, len / 16))
            return (size_t)-1;
        from = (size_t)(at - s);
        if (memcmp(at, what, len) == 0)
            return from;
        from++;
    }
    return len == 0 && from <= n ? from : (size_t)-1;
}

/* ---- joining ---- */

typedef struct jj_joined {
    const bnj_value *text;
    size_t n;
    bnj_value by;
} jj_joined;

static void jj_write_joined(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_joined *j = arg;
    (void)r;
    for (size_t i = 0; i < j->n; i++) {
        if (i > 0)
            bnj_put(o, j->by);
        bnj_put(o, j->text[i]);
    }
}

bnj_value bnj_join(bnj_run *r, const bnj_value *text, size_t n, bnj_value by)
{
    jj_joined j = {text, n, by};
    return bnj_work(r, n) ? bnj_make(r, jj_write_joined, &j) : bnj_undefined();
}

/* ---- case: of ASCII letters; all others stay ---- */

typedef struct jj_cased {
    bnj_value v;
    char how;
} jj_cased;

static void jj_write_cased(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_cased *k = arg;
    size_t n = k->v.n, at = o->n;
    int in_word = 0;
    (void)r;
    bnj_put(o, k->v);
    for (size_t i = 0; o->s && i < n; i++) {
        char *c = o->s + at + i;
        int upper = *c >= 'A' && *c <= 'Z', letter = upper || (*c >= 'a' && *c <= 'z');
        int up = k->how == 'u' || (k->how == 'c' && i == 0) ||
                 (k->how != 'l' && k->how != 'c' && !in_word);
        if (letter && up == !upper)
            *c = (char)(*c ^ 0x20);
        /* Python's title begins a word behind every character that is no letter, Jinja's behind
         * spaces and opening brackets. */
        in_word = k->how == 'j' ? !((*c >= 9 && *c <= 13) || (*c >= 28 && *c <= 32) ||
                                    (*c && strchr("-({[<", *c)))
                                : letter || (unsigned char)*c >= 0x80;
    }
}

bnj_value bnj_case(bnj_run *r, bnj_value v, char how)
{
    jj_cased k = {v, how};
    return bnj_make(r, jj_write_cased, &k);
}

/* ---- cutting ---- */

/* Is the character s[0 .. len) to be stripped: a space, or one of `set`? */
static int jj_strips(bnj_run *r, const char *s, size_t len, uint32_t code, const bnj_value *set)
{
    uint32_t other;
    if (!set)
        return bnj_space_code(code);
    if (!bnj_work(r, set->n / 16))
        return 0;
    for (size_t at = 0, n; at < set->n; at += n) {
        n = bnj_char(set->u.s + at, set->n - at, &other);
        if (n == len && memcmp(set->u.s + at, s, n) == 0)
            return 1;
    }
    return 0;
}

bnj_value bnj_strip(bnj_run *r, bnj_value v, int ends, const bnj_value *set)
{
    size_t from = 0, to = v.n;
    uint32_t code;
    for (size_t len; ends & 1 && from < to; from += len) {
        len = bnj_char(v.u.s + from, to - from, &code);
        if (!jj_strips(r, v.u.s + from, len, code, set))
            break;
    }
    while (ends & 2 && from < to) {
        size_t at = to - 1, len;
        while (at > from && to - at < 4 && ((unsigned char)v.u.s[at] & 0xc0) == 0x80)
            at--;
        len = bnj_char(v.u.s + at, to - at, &code);
        if (len != to - at) {
            at = to - 1;
            len = bnj_char(v.u.s + at, 1, &code);
        }
        if (!jj_strips(r, v.u.s + at, len, code, set))
            break;
        to = at;
    }
    bnj_work(r, (v.n - (to - from)) / 16);
    return bnj_cut(v, from, to);
}

typedef struct jj_replaced {
    bnj_value v, old, by;
    int64_t count;
} jj_replaced;

static void jj_write_replaced(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_replaced *x = arg;
    size_t from = 0;
    uint32_t code;
    int64_t left = x->count < 0 ? INT64_MAX : x->count;
    if (x->old.n == 0) { /* between all characters */
        for (size_t at = 0; left > 0 && bnj_work(r, 1); left--) {
            bnj_put(o, x->by);
            if (at == x->v.n)
                return;
            size_t len = bnj_char(x->v.u.s + at, x->v.n - at, &code);
            bnj_put(o, bnj_cut(x->v, at, at + len));
            from = at += len;
        }
    }
    for (size_t at; x->old.n > 0 && left > 0 && bnj_work(r, 1); left--, from = at + x->old.n) {
        at = bnj_find(r, x->v.u.s, x->v.n, from, x->old.u.s, x->old.n);
        if (at == (size_t)-1)
            break;
        bnj_put(o, bnj_cut(x->v, from, at));
        bnj_put(o, x->by);
    }
    bnj_put(o, bnj_cut(x->v, from, x->v.n));
}

bnj_value bnj_replace(bnj_run *r, bnj_value v, bnj_value old, bnj_value by, int64_t count)
{
    jj_replaced x = {v, old, by, count};
    if (count == 0 || (old.n > 0 && bnj_find(r, v.u.s, v.n, 0, old.u.s, old.n) == (size_t)-1))
        return v;
    return bnj_make(r, jj_write_replaced, &x);
}

/* The parts between separators into `part` (NULL: counted only). most < 0: all. */
static size_t jj_cut_by(bnj_run *r, bnj_value v, bnj_value by, int64_t most, bnj_value *part)
{
    size_t n = 0, from = 0, at;
    while ((most < 0 || (int64_t)n < most) && bnj_work(r, 1) &&
           (at = bnj_find(r, v.u.s, v.n, from, by.u.s, by.n)) != (size_t)-1) {
        if (part)
            part[n] = bnj_cut(v, from, at);
        n++;
        from = at + by.n;
    }
    if (part)
        part[n] = bnj_cut(v, from, v.n);
    return n + 1;
}

/* The last `most` separators only; parts from the last to the first. */
static size_t jj_cut_from_right(bnj_run *r, bnj_value v, bnj_value by, int64_t most,
                                bnj_value *part)
{
    size_t n = 0, to = v.n, at = v.n;
    while ((int64_t)n < most && at >= by.n && bnj_work(r, 1)) {
        if (memcmp(v.u.s + at - by.n, by.u.s, by.n) != 0) {
            at--;
            continue;
        }
        if (part)
            part[n] = bnj_cut(v, at, to);
        n++;
        to = at -= by.n;
    }
    if (part)
        part[n] = bnj_cut(v, 0, to);
    return n + 1;
}

/* Words between spaces. */
static size_t jj_cut_words(bnj_run *r, bnj_value v, int64_t most, bnj_value *part)
{
    size_t n = 0, at = 0, len;
    uint32_t code;
    while (bnj_work(r, 1)) {
        for (; at < v.n; at += len) {
            len = bnj_char(v.u.s + at, v.n - at, &code);
            if (!bnj_space_code(code))
                break;
        }
        if (at == v.n)
            break;
        size_t from = at;
        if (most >= 0 && (int64_t)n >= most) {
            if (part)
                part[n] = bnj_strip(r, bnj_cut(v, from, v.n), 2, NULL);
            return n + 1;
        }
        for (; at < v.n; at += len) {
            len = bnj_char(v.u.s + at, v.n - at, &code);
            if (bnj_space_code(code))
                break;
        }
        if (part)
            part[n] = bnj_cut(v, from, at);
        n++;
    }
    return n;
}

bnj_value bnj_split(bnj_run *r, bnj_value v, const bnj_value *by, int64_t most, int from_right)
{
    size_t n;
    from_right = from_right && most >= 0;
    if (by && by->n == 0)
        return bnj_fail(r, "split by an empty text");
    if (from_right && !by)
        return bnj_fail(r, "rsplit by spaces with a number");
    if (!bnj_work(r, v.n / 16))
        return bnj_undefined();
    n = from_right ? jj_cut_from_right(r, v, *by, most, NULL)
        : by       ? jj_cut_by(r, v, *by, most, NULL)
                   : jj_cut_words(r, v, most, NULL);
    bnj_value *part = bnj_array(r, n, sizeof *part);
    if (!part)
        return bnj_undefined();
    n = from_right ? jj_cut_from_right(r, v, *by, most, part)
        : by       ? jj_cut_by(r, v, *by, most, part)
                   : jj_cut_words(r, v, most, part);
    if (r->status != BN_OK)
        return bnj_undefined();
    for (size_t i = 0; from_right && i < n / 2; i++) {
        bnj_value other = part[i];
        part[i] = part[n - 1 - i];
        part[n - 1 - i] = other;
    }
    return bnj_list(part, n);
}

/* The end of the line that begins at `from`; *next: that of the following one. */
static size_t jj_line_end(bnj_value v, size_t from, size_t *next)
{
    size_t at = from, len;
    uint32_t x;
    for (; at < v.n; at += len) {
        len = bnj_char(v.u.s + at, v.n - at, &x);
        if ((x >= 10 && x <= 13) || (x >= 28 && x <= 30) || x == 0x85 || x == 0x2028 || x == 0x2029)
            break;
    }
    *next = at;
    if (at < v.n) {
        *next += bnj_char(v.u.s + at, v.n - at, &x);
        if (x == '\r' && *next < v.n && v.u.s[*next] == '\n')
            ++*next;
    }
    return at;
}

bnj_value bnj_lines(bnj_run *r, bnj_value v, int keep)
{
    size_t n = 0, next;
    for (size_t from = 0; from < v.n; from = next, n++)
        (void)jj_line_end(v, from, &next);
    bnj_value *part = bnj_array(r, n, sizeof *part);
    n = 0;
    for (size_t from = 0; part && from < v.n; from = next) {
        size_t end = jj_line_end(v, from, &next);
        part[n++] = bnj_cut(v, from, keep ? next : end);
    }
    return bnj_list(part, n);
}

/* Jinja's indent: lines joined by \n, `with` before each but the first and empty ones. */
typedef struct jj_indented {
    bnj_value v, with;
    int first, blank;
} jj_indented;

static void jj_write_indented(bnj_run *r, bnj_sink *o, const void *arg)
{
    const jj_indented *x = arg;
    size_t from = 0, next;
    for (int first = 1; bnj_work(r, 1); first = 0, from = next) {
        size_t end = jj_line_end(x->v, from, &next);
        if (!first)
            bnj_put_own(o, "\n", 1);
        if (first ? x->first : x->blank || end > from)
            bnj_put(o, x->with);
        bnj_put(o, bnj_cut(x->v, from, end));
        if (next == x->v.n && next == end)
            break;
    }
}

bnj_value bnj_indent(bnj_run *r, bnj_value v, bnj_value with, int first, int blank)
{
    jj_indented x = {v, with, first, blank};
    return bnj_make(r, jj_write_indented, &x);
}

/* ---- the date, in English whatever the locale ---- */

static size_t jj_put_date(const struct tm *t, char c, int plain, char out[48])
{
    static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    static const char numbers[] = "dmHMSjyIeklCuw"; /* others are texts */
    const char *day = days[(unsigned)t->tm_wday % 7], *month = months[(unsigned)t->tm_mon % 12];
    int year = t->tm_year + 1900, hour = t->tm_hour % 12 ? t->tm_hour % 12 : 12, n = 0, wide = 2;
    if (strchr(numbers, c)) {
        int x = c == 'd' || c == 'e'   ? t->tm_mday
                : c == 'm'             ? t->tm_mon + 1
                : c == 'H' || c == 'k' ? t->tm_hour
                : c == 'M'             ? t->tm_min
                : c == 'S'             ? t->tm_sec
                : c == 'j'             ? t->tm_yday + 1
                : c == 'y'             ? year % 100
                : c == 'C'             ? year / 100
                : c == 'u'             ? (t->tm_wday + 6) % 7 + 1
                : c == 'w'             ? t->tm_wday
                                       : hour;
        wide = c == 'j' ? 3 : c == 'u' || c == 'w' || plain ? 1 : 2;
        n = snprintf(out, 48, c == 'e' || c == 'k' || c == 'l' ? "%*d" : "%0*d", wide, x);
    } else if (c == 'Y') {
        n = snprintf(out, 48, "%d", year);
    } else if (c == 'B' || c == 'A') {
        n = snprintf(out, 48, "%s", c == 'B' ? month : day);
    } else if (c == 'b' || c == 'h' || c == 'a') {
        n = snprintf(out, 48, "%.3s", c == 'a' ? day : month);
    } else if (c == 'p') {
        n = snprintf(out, 48, "%s", t->tm_hour < 12 ? "AM" : "PM");
    } else if (c == 'F') {
        n = snprintf(out, 48, "%d-%02d-%02d", year, t->tm_mon + 1, t->tm_mday);
    } else if (c == 'D' || c == 'x') {
        n = snprintf(out, 48, "%02d/%02d/%02d", t->tm_mon + 1, t->tm_mday, year % 100);
    } else if (c == 'T' || c == 'X') {
        n = snprintf(out, 48, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec);
    } else if (c == 'R') {
        n = snprintf(out, 48, "%02d:%02d", t->tm_hour, t->tm_min);
    } else if (c == 'c') {
        n = snprintf(out, 48, "%.3s %.3s %2d %02d:%02d:%02d %d", day, month, t->tm_mday, t->tm_hour,
                     t->tm_min, t->tm_sec, year);
    } else if (c == 'n' || c == 't' || c == '%') {
        out[n++] = c == 'n' ? '\n' : c == 't' ? '\t' : '%';
    }
    return n > 0 && n < 48 ? (size_t)n : 0;
}

static void jj_write_date(bnj_run *r, bnj_sink *o, const void *arg)
{
    const bnj_value *f = arg;
    char part[48];
    for (size_t at = 0; at < f->n; at++) {
        if (f->u.s[at] != '%' || at + 1 == f->n) {
            bnj_put(o, bnj_cut(*f, at, at + 1));
            continue;
        }
        int plain = f->u.s[at + 1] == '-' && at + 2 < f->n;
        at += plain ? 2 : 1;
        size_t n = jj_put_date(r->now, f->u.s[at], plain, part);
        if (n == 0 && f->u.s[at] != 'Z' && f->u.s[at] != 'z')
            bnj_fail(r, "strftime_now does not know %%%c", f->u.s[at]);
        bnj_put_own(o, part, n);
    }
}

bnj_value bnj_strftime(bnj_run *r, bnj_value format)
{
    return bnj_make(r, jj_write_date, &format);
}
