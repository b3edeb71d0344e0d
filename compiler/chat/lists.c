/* lists.c: the second half of text.c, which comes before it in what bnc writes: lists, loops,
 * operators, tests.
 *
 * One idea: a list is a view, too: messages by first, step and number, the parts of a split text by
 * that text and what cuts it. A loop finds its next item when it gets there.
 */

/* ---- lists ---- */

static int64_t ch_length(bn_chat_call *c, int line, ch_value v)
{
    int64_t parts = 1;
    switch (v.kind) {
    case CH_TEXT:
        return (int64_t)ch_count(v);
    case CH_MESSAGES:
    case CH_RANGE:
        return (int64_t)v.n;
    case CH_MESSAGE:
        return 2;
    case CH_UNDEFINED:
        return 0;
    case CH_PARTS:
        for (size_t at = 0; (at = ch_find(v.s, v.n, at, v.by, v.nby)) != (size_t)-1; at += v.nby)
            parts++;
        return parts;
    default:
        ch_fail(c, line, "this has no length");
        return 0;
    }
}

/* A loop over a list. `at` is where the next part or character begins, or how many are done. */
typedef struct ch_loop {
    ch_value list;
    size_t at;
    int64_t index, length; /* index counts from 1; 0: not begun */
} ch_loop;

static ch_loop ch_begin(bn_chat_call *c, int line, ch_value v)
{
    ch_loop l;
    l.list = v;
    l.at = 0;
    l.index = 0;
    l.length = ch_length(c, line, v);
    if (v.kind == CH_MESSAGE) {
        ch_fail(c, line, "a loop over a message's keys");
        l.length = 0;
    }
    return l;
}

/* The next item; 0: there is none. */
static int ch_step(const bn_chat_call *c, ch_loop *l, ch_value *item)
{
    const ch_value *v = &l->list;
    uint32_t code;
    if (c->status != BN_OK)
        return 0;
    if (v->kind == CH_PARTS ? l->at > v->n : l->at >= v->n || v->kind == CH_UNDEFINED)
        return 0;
    if (v->kind == CH_PARTS) {
        size_t end = ch_find(v->s, v->n, l->at, v->by, v->nby);
        size_t stop = end == (size_t)-1 ? v->n : end;
        *item = ch_cut(*v, l->at, stop);
        l->at = end == (size_t)-1 ? v->n + 1 : end + v->nby;
    } else if (v->kind == CH_TEXT) {
        size_t len = ch_char(v->s + l->at, v->n - l->at, &code);
        *item = ch_cut(*v, l->at, l->at + len);
        l->at += len;
    } else {
        int64_t i = v->i + (int64_t)l->at++ * v->step;
        *item = v->kind == CH_MESSAGES ? ch_plain(CH_MESSAGE, 0) : ch_int(i);
        if (v->kind == CH_MESSAGES)
            item->m = v->m + i;
    }
    l->index++;
    return 1;
}

static ch_value ch_at(bn_chat_call *c, int line, ch_value v, int64_t i)
{
    ch_value item = ch_undefined();
    int64_t n = ch_length(c, line, v);
    i = i < 0 ? i + n : i;
    if (c->status != BN_OK || i < 0 || i >= n)
        return ch_undefined();
    if (v.kind == CH_MESSAGES || v.kind == CH_RANGE) {
        v.i += i * v.step;
        v.n = 1;
        i = 0;
    }
    ch_loop l = ch_begin(c, line, v);
    while (i-- >= 0 && ch_step(c, &l, &item))
        ;
    return item;
}

static int ch_same(ch_value v, const char *s)
{
    return v.n == strlen(s) && memcmp(v.s, s, v.n) == 0;
}

/* v.key, v['key'], v[number] */
static ch_value ch_item(bn_chat_call *c, int line, ch_value v, ch_value key)
{
    if (c->status != BN_OK)
        return ch_undefined();
    if (v.kind == CH_UNDEFINED || v.kind == CH_NONE) /* of none it is undefined to Jinja */
        return v.kind == CH_NONE ? ch_undefined()
                                 : ch_fail(c, line, "a part of what is not defined");
    if (key.kind == CH_TEXT) {
        const char *s = v.kind != CH_MESSAGE      ? NULL
                        : ch_same(key, "role")    ? v.m->role
                        : ch_same(key, "content") ? v.m->content
                                                  : NULL;
        if (!s)
            return v.kind == CH_MESSAGE && ch_same(key, "content") ? ch_none() : ch_undefined();
        return ch_view(s, strlen(s), NULL, 0);
    }
    if ((key.kind != CH_INT && key.kind != CH_BOOL) || v.kind < CH_TEXT || v.kind == CH_MESSAGE)
        return ch_undefined();
    return ch_at(c, line, v, key.i);
}

/* One end of a slice, as Python clamps it. */
static int64_t ch_end(const ch_value *v, int64_t n, int64_t step, int64_t otherwise)
{
    int64_t lo = step < 0 ? -1 : 0, hi = step < 0 ? n - 1 : n, i = v->i;
    if (v->kind != CH_INT)
        return otherwise;
    i = i < 0 ? i + n : i;
    return i < lo ? lo : i > hi ? hi : i;
}

/* v[from:to:by]; none where left out. */
static ch_value ch_slice(bn_chat_call *c, int line, ch_value v, ch_value from, ch_value to,
                        ch_value by)
{
    int64_t n = ch_length(c, line, v), step = by.kind == CH_INT ? by.i : 1;
    int64_t lo = ch_end(&from, n, step, step < 0 ? n - 1 : 0),
            hi = ch_end(&to, n, step, step < 0 ? -1 : n);
    if (c->status != BN_OK)
        return ch_undefined();
    if (step == 0 || step > 1 << 30 || step < -(1 << 30))
        return ch_fail(c, line, "the step of a slice");
    int64_t count = step > 0 ? (hi - lo + step - 1) / step : (lo - hi - step - 1) / -step;
    if (count < 0 || (step > 0 ? hi <= lo : lo <= hi))
        count = 0;
    if (v.kind == CH_MESSAGES || v.kind == CH_RANGE) {
        v.i += lo * v.step;
        v.step *= step;
        v.n = (size_t)count;
        return v;
    }
    if (v.kind != CH_TEXT || step != 1)
        return ch_fail(c, line, "a slice of what is no list of messages and no text");
    size_t start = 0, at = 0;
    uint32_t code;
    for (int64_t i = 0; i < lo + count; i++) {
        at += ch_char(v.s + at, v.n - at, &code);
        start = i < lo ? at : start;
    }
    return ch_cut(v, start, at > start ? at : start);
}

static ch_value ch_range(bn_chat_call *c, int line, ch_value from, ch_value to)
{
    ch_value v = ch_plain(CH_RANGE, from.i);
    if (from.kind != CH_INT || to.kind != CH_INT || to.i - from.i > 1 << 20)
        return ch_fail(c, line, "range wants numbers");
    v.n = to.i > from.i ? (size_t)(to.i - from.i) : 0;
    v.step = 1;
    return v;
}

static ch_value ch_joined(bn_chat_call *c, int line, ch_value v, ch_value by)
{
    ch_value item;
    size_t n = 0, out = 0;
    if ((v.kind != CH_PARTS && v.kind != CH_TEXT) || by.kind != CH_TEXT)
        return ch_fail(c, line, "join takes the parts of a text, and a text");
    ch_loop l = ch_begin(c, line, v);
    while (ch_step(c, &l, &item))
        n += item.n + (l.index > 1 ? by.n : 0);
    char *to = ch_room(c, n);
    if (!to)
        return ch_undefined();
    for (l = ch_begin(c, line, v); ch_step(c, &l, &item); out += item.n) {
        if (l.index > 1) {
            ch_fill(to, n, out, by);
            out += by.n;
        }
        ch_fill(to, n, out, item);
    }
    return ch_made(to, n);
}

/* ---- operators ---- */

static int ch_true(ch_value v)
{
    return v.kind == CH_BOOL || v.kind == CH_INT        ? v.i != 0
           : v.kind == CH_MESSAGE || v.kind == CH_PARTS ? 1
           : v.kind < CH_BOOL                           ? 0
                                                        : v.n > 0;
}

static int ch_number(ch_value v)
{
    return v.kind == CH_BOOL || v.kind == CH_INT;
}

static int ch_equal(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    if (ch_number(a) && ch_number(b))
        return a.i == b.i;
    if (a.kind != b.kind)
        return 0;
    if (a.kind > CH_TEXT)
        ch_fail(c, line, "a comparison of lists or messages");
    return a.kind != CH_TEXT || (a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0));
}

static int ch_less(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    if (!ch_number(a) || !ch_number(b))
        ch_fail(c, line, "a comparison of what is no number");
    return a.i < b.i;
}
static int ch_more(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_less(c, line, b, a);
}
static int ch_less_equal(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return !ch_less(c, line, b, a);
}
static int ch_more_equal(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return !ch_less(c, line, a, b);
}

static int ch_in(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    ch_value item;
    if (b.kind == CH_UNDEFINED)
        return 0;
    if (b.kind == CH_MESSAGE)
        return a.kind == CH_TEXT && (ch_same(a, "role") || ch_same(a, "content"));
    if (b.kind == CH_TEXT && ch_is_text(c, line, a))
        return a.n == 0 || ch_find(b.s, b.n, 0, a.s, a.n) != (size_t)-1;
    if (b.kind < CH_MESSAGES)
        return (int)ch_fail(c, line, "`in` wants a text or a list").i;
    if (b.kind == CH_MESSAGES)
        return 0;
    for (ch_loop l = ch_begin(c, line, b); ch_step(c, &l, &item);)
        if (ch_equal(c, line, item, a))
            return 1;
    return 0;
}

/* Texts one behind the other; `any` as str() has them. */
static ch_value ch_both(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    a = ch_string(c, line, a);
    b = ch_string(c, line, b);
    char *to = c->status == BN_OK ? ch_room(c, a.n + b.n) : NULL;
    if (!to)
        return ch_undefined();
    ch_fill(to, a.n + b.n, 0, a);
    ch_fill(to, a.n + b.n, a.n, b);
    return ch_made(to, a.n + b.n);
}
static ch_value ch_join(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_both(c, line, a, b);
}

static ch_value ch_calculate(bn_chat_call *c, int line, ch_value a, ch_value b, char op)
{
    const int64_t most = (int64_t)1 << 31;
    if (!ch_number(a) || !ch_number(b))
        return ch_fail(c, line, "a calculation with what is no number");
    if (a.i > most || a.i < -most || b.i > most || b.i < -most)
        return ch_fail(c, line, "a number beyond 2^31");
    if ((op == '/' || op == '%') && b.i == 0)
        return ch_fail(c, line, "a division by zero");
    int64_t q = op == '/' || op == '%' ? a.i / b.i - (a.i % b.i != 0 && (a.i < 0) != (b.i < 0)) : 0;
    return ch_int(op == '+'   ? a.i + b.i
                  : op == '-' ? a.i - b.i
                  : op == '*' ? a.i * b.i
                  : op == '/' ? q
                              : a.i - q * b.i);
}

static ch_value ch_add(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    if (a.kind == CH_TEXT && b.kind == CH_TEXT)
        return ch_both(c, line, a, b);
    if (a.kind == CH_TEXT || b.kind == CH_TEXT)
        return ch_fail(c, line, "+ joins a text and what is none");
    return ch_calculate(c, line, a, b, '+');
}
static ch_value ch_subtract(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_calculate(c, line, a, b, '-');
}
static ch_value ch_multiply(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_calculate(c, line, a, b, '*');
}
static ch_value ch_divide(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_calculate(c, line, a, b, '/');
}
static ch_value ch_modulo(bn_chat_call *c, int line, ch_value a, ch_value b)
{
    return ch_calculate(c, line, a, b, '%');
}

/* default(v, d): d where v is undefined, with `false_too` where it is false. */
static ch_value ch_default(ch_value v, ch_value otherwise, int false_too)
{
    return v.kind == CH_UNDEFINED || (false_too && !ch_true(v)) ? otherwise : v;
}

static int ch_is_list(ch_value v)
{
    return v.kind == CH_MESSAGES || v.kind == CH_PARTS || v.kind == CH_RANGE;
}

/* What Jinja calls iterable and a sequence; the undefined is an empty one. */
static int ch_is_iterable(ch_value v)
{
    return v.kind == CH_TEXT || v.kind == CH_MESSAGE || v.kind == CH_UNDEFINED || ch_is_list(v);
}

static int ch_is(ch_value v, int on)
{
    return v.kind == CH_BOOL && v.i == on;
}

static int ch_is_odd(bn_chat_call *c, int line, ch_value v)
{
    return (int)(ch_calculate(c, line, v, ch_int(2), '%').i & 1);
}

/* The item before or behind the loop's own. */
static ch_value ch_near(bn_chat_call *c, const ch_loop *l, int by)
{
    int64_t at = l->index - 1 + by;
    return at < 0 || at >= l->length ? ch_undefined() : ch_at(c, 0, l->list, at);
}

/* What a method of texts is called on. */
static ch_value ch_checked(bn_chat_call *c, int line, ch_value v)
{
    return ch_is_text(c, line, v) ? v : ch_undefined();
}
