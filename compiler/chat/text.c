/* text.c: what compiled chat templates call; bnc copies what one needs in front of it.
 *
 * One idea: a text is a view. Cutting (trim, split, slices) only moves its ends; what must be made
 * (joined, capitalized, replaced) is made in the caller's scratch, never freed, never on a heap.
 * Each byte of a text knows whether the template wrote it or it came out of a message: `mark` has
 * a byte for each, or is NULL where all are `own`. Marks are what keeps "<|eot_id|>" in a message
 * from becoming a token.
 *
 *   work   +-- text a --+-- marks a --+-- text b --+-- marks b --+---- free ----+
 *
 * Results follow Python. After a failure every call does nothing, so callers need not look.
 */
#include <string.h>

enum {
    CH_UNDEFINED,
    CH_NONE,
    CH_BOOL,
    CH_INT,
    CH_TEXT,
    CH_MESSAGE,
    CH_MESSAGES,
    CH_PARTS,
    CH_RANGE
};
typedef struct ch_value {
    int kind, own;
    int64_t i, step; /* BOOL, INT: i. MESSAGES, RANGE: first, step; n of them */
    const char *s;   /* TEXT: n bytes. PARTS: the text that was split */
    size_t n;
    const unsigned char *mark;
    const char *by; /* PARTS: split by these */
    size_t nby;
    const bn_turn *m; /* MESSAGE; MESSAGES: all of them */
} ch_value;

/* ---- values ---- */

static ch_value ch_plain(int kind, int64_t i)
{
    ch_value v;
    memset(&v, 0, sizeof v);
    v.kind = kind;
    v.i = i;
    return v;
}

static ch_value ch_undefined(void)
{
    return ch_plain(CH_UNDEFINED, 0);
}
static ch_value ch_none(void)
{
    return ch_plain(CH_NONE, 0);
}
static ch_value ch_bool(int on)
{
    return ch_plain(CH_BOOL, on != 0);
}
static ch_value ch_int(int64_t i)
{
    return ch_plain(CH_INT, i);
}

static ch_value ch_view(const char *s, size_t n, const unsigned char *mark, int own)
{
    ch_value v = ch_plain(CH_TEXT, 0);
    v.s = s;
    v.n = n;
    v.mark = mark;
    v.own = own;
    return v;
}

/* A text of the template's own. */
static ch_value ch_text(const char *s, size_t n)
{
    return ch_view(s, n, NULL, 1);
}

static ch_value ch_cut(ch_value v, size_t from, size_t to)
{
    return ch_view(v.s + from, to - from, v.mark ? v.mark + from : NULL, v.own);
}

static ch_value ch_messages(const bn_chat_call *c)
{
    ch_value v = ch_plain(CH_MESSAGES, 0);
    v.step = 1;
    v.n = (size_t)c->n;
    v.m = c->messages;
    return v;
}

/* ---- output and failure ---- */

static void ch_write(bn_chat_call *c, const char *s, size_t n, const unsigned char *mark, int own)
{
    if (n > 0 && c->text <= c->cap && n <= c->cap - c->text) {
        memcpy(c->out + c->text, s, n);
        if (c->mark && mark)
            memcpy(c->mark + c->text, mark, n);
        else if (c->mark)
            memset(c->mark + c->text, own, n);
    }
    c->text += n;
}

/* The reason takes the place of the text; of too long a one, the beginning. */
static void ch_reason(bn_chat_call *c, const char *s, size_t n)
{
    size_t room = c->cap > c->text ? c->cap - c->text : 0, part = n < room ? n : room;
    if (part)
        memcpy(c->out + c->text, s, part);
    c->text += n;
}

/* A decimal number's digits, in out; returns how many. */
static size_t ch_digits(int64_t i, char out[24])
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

static ch_value ch_fail(bn_chat_call *c, int line, const char *what)
{
    if (c->status == BN_OK) {
        char number[24];
        c->status = BN_TEMPLATE;
        c->text = 0;
        ch_reason(c, "line ", 5);
        ch_reason(c, number, ch_digits(line, number));
        ch_reason(c, " of the chat template: ", 23);
        ch_reason(c, what, strlen(what));
    }
    return ch_undefined();
}

/* n bytes and n marks; NULL where scratch is too small. */
static char *ch_room(bn_chat_call *c, size_t n)
{
    size_t room = c->work_bytes - c->used;
    if (c->status != BN_OK)
        return NULL;
    if (n > room / 2) {
        c->status = BN_SPACE;
        return NULL;
    }
    c->used += 2 * n;
    return (char *)c->work + (c->used - 2 * n);
}

static void ch_fill(char *to, size_t n, size_t at, ch_value v)
{
    unsigned char *mark = (unsigned char *)to + n;
    if (v.n == 0)
        return;
    memcpy(to + at, v.s, v.n);
    if (v.mark)
        memcpy(mark + at, v.mark, v.n);
    else
        memset(mark + at, v.own, v.n);
}

static ch_value ch_made(const char *s, size_t n)
{
    return ch_view(s, n, (const unsigned char *)s + n, 0);
}

/* As str() and {{ }} write it. */
static ch_value ch_string(bn_chat_call *c, int line, ch_value v)
{
    char number[24];
    switch (v.kind) {
    case CH_TEXT:
        return v;
    case CH_UNDEFINED:
        return ch_text("", 0);
    case CH_NONE:
        return ch_text("None", 4);
    case CH_BOOL:
        return v.i ? ch_text("True", 4) : ch_text("False", 5);
    case CH_INT: {
        size_t n = ch_digits(v.i, number);
        char *to = ch_room(c, n);
        if (!to)
            return ch_undefined();
        ch_fill(to, n, 0, ch_text(number, n));
        return ch_made(to, n);
    }
    default:
        return ch_fail(c, line, "a list or message is no text");
    }
}

static void ch_put(bn_chat_call *c, int line, ch_value v)
{
    char number[24];
    if (c->status != BN_OK)
        return;
    if (v.kind == CH_INT)
        v = ch_text(number, ch_digits(v.i, number));
    else
        v = ch_string(c, line, v);
    if (c->status == BN_OK)
        ch_write(c, v.s, v.n, v.mark, v.own);
}

/* One of the operands of `+` where another is a text. */
static void ch_put_text(bn_chat_call *c, int line, ch_value v)
{
    if (v.kind != CH_TEXT)
        ch_fail(c, line, "+ joins a text and what is none");
    ch_put(c, line, v);
}

static void ch_put_own(bn_chat_call *c, const char *s, size_t n)
{
    if (c->status == BN_OK)
        ch_write(c, s, n, NULL, 1);
}

static ch_value ch_raise(bn_chat_call *c, int line, ch_value v)
{
    v = ch_string(c, line, v);
    if (c->status == BN_OK) {
        c->status = BN_TEMPLATE;
        c->text = 0;
        ch_reason(c, v.s, v.n);
    }
    return ch_undefined();
}

/* ---- characters ---- */

/* Bytes of the character at s, n >= 1 left; what is no UTF-8 is a character of one byte. */
static size_t ch_char(const char *s, size_t n, uint32_t *code)
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

static size_t ch_count(ch_value v)
{
    size_t count = 0;
    uint32_t code;
    for (size_t at = 0; at < v.n; count++)
        at += ch_char(v.s + at, v.n - at, &code);
    return count;
}

/* What Python strips. */
static int ch_is_space(uint32_t x)
{
    return (x >= 9 && x <= 13) || (x >= 28 && x <= 32) || x == 0x85 || x == 0xa0 || x == 0x1680 ||
           (x >= 0x2000 && x <= 0x200a) || x == 0x2028 || x == 0x2029 || x == 0x202f ||
           x == 0x205f || x == 0x3000;
}

/* Is the character s[0 .. len) to be stripped: a space, or one of `set`? */
static int ch_strips(const char *s, size_t len, uint32_t code, const ch_value *set)
{
    uint32_t other;
    if (!set)
        return ch_is_space(code);
    for (size_t at = 0, n; at < set->n; at += n) {
        n = ch_char(set->s + at, set->n - at, &other);
        if (n == len && memcmp(set->s + at, s, n) == 0)
            return 1;
    }
    return 0;
}

static size_t ch_find(const char *s, size_t n, size_t from, const char *what, size_t len)
{
    for (; from + len <= n; from++)
        if (memcmp(s + from, what, len) == 0)
            return from;
    return (size_t)-1;
}

/* ---- methods of texts ---- */

static int ch_is_text(bn_chat_call *c, int line, ch_value v)
{
    if (v.kind != CH_TEXT)
        ch_fail(c, line, v.kind == CH_UNDEFINED ? "a text is not defined" : "expected a text");
    return v.kind == CH_TEXT && c->status == BN_OK;
}

/* ends: 1 left, 2 right, 3 both. set NULL: spaces. */
static ch_value ch_strip(bn_chat_call *c, int line, ch_value v, int ends, const ch_value *set)
{
    size_t from = 0, to = v.n;
    uint32_t code;
    if (!ch_is_text(c, line, v) || (set && !ch_is_text(c, line, *set)))
        return ch_undefined();
    for (size_t len; ends & 1 && from < to; from += len) {
        len = ch_char(v.s + from, to - from, &code);
        if (!ch_strips(v.s + from, len, code, set))
            break;
    }
    while (ends & 2 && from < to) {
        size_t at = to - 1, len;
        while (at > from && to - at < 4 && ((unsigned char)v.s[at] & 0xc0) == 0x80)
            at--;
        len = ch_char(v.s + at, to - at, &code);
        if (len != to - at) { /* not one character: its last byte stands alone */
            at = to - 1;
            len = ch_char(v.s + at, 1, &code);
        }
        if (!ch_strips(v.s + at, len, code, set))
            break;
        to = at;
    }
    return ch_cut(v, from, to);
}

/* The filter: of what is no text, its str(). */
static ch_value ch_trim(bn_chat_call *c, int line, ch_value v, const ch_value *set)
{
    v = ch_string(c, line, v);
    return c->status == BN_OK ? ch_strip(c, line, v, 3, set) : v;
}

static int ch_starts(bn_chat_call *c, int line, ch_value v, ch_value with)
{
    return ch_is_text(c, line, v) && ch_is_text(c, line, with) && with.n <= v.n &&
           (with.n == 0 || memcmp(v.s, with.s, with.n) == 0);
}

static int ch_ends(bn_chat_call *c, int line, ch_value v, ch_value with)
{
    return ch_is_text(c, line, v) && ch_is_text(c, line, with) && with.n <= v.n &&
           (with.n == 0 || memcmp(v.s + v.n - with.n, with.s, with.n) == 0);
}

static ch_value ch_split(bn_chat_call *c, int line, ch_value v, ch_value by)
{
    if (!ch_is_text(c, line, v) || !ch_is_text(c, line, by))
        return ch_undefined();
    if (by.n == 0)
        return ch_fail(c, line, "split by an empty text");
    v.kind = CH_PARTS;
    v.by = by.s;
    v.nby = by.n;
    return v;
}

enum { CH_UPPER, CH_LOWER, CH_CAPITALIZE, CH_TITLE };
/* Letters of ASCII; others stay as they are. */
static ch_value ch_case(bn_chat_call *c, int line, ch_value v, int how)
{
    v = ch_string(c, line, v);
    char *to = c->status == BN_OK ? ch_room(c, v.n) : NULL;
    if (!to)
        return ch_undefined();
    ch_fill(to, v.n, 0, v);
    for (size_t i = 0, inside = 0; i < v.n; i++) {
        int up = to[i] >= 'A' && to[i] <= 'Z', low = to[i] >= 'a' && to[i] <= 'z';
        int upper =
            how == CH_UPPER || (how == CH_CAPITALIZE && i == 0) || (how == CH_TITLE && !inside);
        if (upper ? low : up)
            to[i] = (char)(to[i] ^ 0x20);
        inside = up || low || (unsigned char)to[i] >= 0x80;
    }
    return ch_made(to, v.n);
}

/* Jinja's filter, unlike Python's method, begins a word behind spaces and opening brackets. */
static ch_value ch_title(bn_chat_call *c, int line, ch_value v)
{
    v = ch_case(c, line, v, CH_LOWER);
    char *s = c->status == BN_OK ? ch_room(c, v.n) : NULL;
    if (!s)
        return ch_undefined();
    ch_fill(s, v.n, 0, v);
    for (size_t i = 0; i < v.n; i++)
        if ((i == 0 || strchr("-({[<", s[i - 1]) || ch_is_space((unsigned char)s[i - 1])) &&
            s[i] >= 'a' && s[i] <= 'z')
            s[i] = (char)(s[i] ^ 0x20);
    return ch_made(s, v.n);
}

static ch_value ch_replace(bn_chat_call *c, int line, ch_value v, ch_value old, ch_value by)
{
    size_t n = 0, at, from = 0, out = 0;
    if (!ch_is_text(c, line, v) || !ch_is_text(c, line, old) || !ch_is_text(c, line, by))
        return ch_undefined();
    if (old.n == 0)
        return ch_fail(c, line, "replace an empty text");
    for (at = 0; (at = ch_find(v.s, v.n, at, old.s, old.n)) != (size_t)-1; at += old.n)
        n++;
    n = v.n - n * old.n + n * by.n;
    char *to = ch_room(c, n);
    if (!to)
        return ch_undefined();
    for (; (at = ch_find(v.s, v.n, from, old.s, old.n)) != (size_t)-1; from = at + old.n) {
        ch_fill(to, n, out, ch_cut(v, from, at));
        ch_fill(to, n, out + at - from, by);
        out += at - from + by.n;
    }
    ch_fill(to, n, out, ch_cut(v, from, v.n));
    return ch_made(to, n);
}

/* How json.dumps(ensure_ascii=False) writes a byte of a string; its length. */
static size_t ch_json_byte(unsigned char b, char out[8])
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt", hex[] = "0123456789abcdef";
    out[0] = '\\';
    for (size_t i = 0; i + 1 < sizeof names; i += 2)
        if ((unsigned char)names[i] == b) {
            out[1] = names[i + 1];
            return 2;
        }
    if (b >= 32) {
        out[0] = (char)b;
        return 1;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[b >> 4];
    out[5] = hex[b & 15];
    return 6;
}

static ch_value ch_json(bn_chat_call *c, int line, ch_value v)
{
    char part[8];
    size_t n = 2, at = 1;
    if (v.kind == CH_NONE)
        return ch_text("null", 4);
    if (v.kind == CH_BOOL)
        return v.i ? ch_text("true", 4) : ch_text("false", 5);
    if (v.kind == CH_INT)
        return ch_string(c, line, v);
    if (v.kind != CH_TEXT)
        return ch_fail(c, line, "tojson takes a text, a number, true, false or none");
    for (size_t i = 0; i < v.n; i++)
        n += ch_json_byte((unsigned char)v.s[i], part);
    char *to = ch_room(c, n);
    if (!to)
        return ch_undefined();
    memset(to + n, 1, n);
    to[0] = to[n - 1] = '"';
    for (size_t i = 0, len; i < v.n; i++, at += len) {
        len = ch_json_byte((unsigned char)v.s[i], part);
        ch_fill(to, n, at, ch_view(part, len, NULL, v.mark ? v.mark[i] : v.own));
    }
    return ch_made(to, n);
}
