/* normalize.c: what some tokenizers do to a text before they cut it: Unicode's normal forms, lower
 * case, replacements, SentencePiece's character map and its way with spaces.
 *
 * One idea: the compiler made a list of steps and the tables that they need; each step reads the
 * text that the one before it left and writes another. Both stand in one buffer:
 *
 *   buffer                                      room
 *   +-- what a step writes --> ... <-- what it reads --+      then the former moves to the end
 *
 * Each step takes linear time, whatever the text; what the tables say is compared before it is
 * used.
 */
#include "bn_vocab.h"

#include <string.h>

/* The longest entry of `table` (USER or SPECIAL) that s starts with, or NULL. Every text between
 * that entry and s in sorted order starts with it too, so it is the last text not above s or one
 * of that text's parents: the first no longer than what the two have in common. */
const bn_vocab_special *bn_vocab_longest(const bn_vocab *v, int table, const unsigned char *s,
                                         size_t n)
{
    const bn_vocab_special *entry = bn_vocab_table(v, table);
    const unsigned char *pool = bn_vocab_table(v, BN_VOCAB_POOL);
    uint32_t pool_bytes = v->table[BN_VOCAB_POOL].count, lo = 0, hi = v->table[table].count;
    size_t common = 0; /* of s and entry[lo - 1] */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const bn_vocab_special *e = entry + mid;
        size_t i = 0;
        if (e->at > pool_bytes || e->len > pool_bytes - e->at)
            return NULL;
        while (i < n && i < e->len && s[i] == pool[e->at + i])
            i++;
        if (i < e->len && (i == n || s[i] < pool[e->at + i])) {
            hi = mid;
        } else {
            lo = mid + 1;
            common = i;
        }
    }
    for (uint32_t at = lo - 1; at != BN_VOCAB_NONE;) {
        const bn_vocab_special *e = entry + at;
        if (e->len > 0 && e->len <= common)
            return e;
        at = e->parent < at ? e->parent : BN_VOCAB_NONE;
    }
    return NULL;
}

typedef struct norm {
    const bn_vocab *v;
    const unsigned char *pool;
    uint32_t pool_bytes;
    const unsigned char *s; /* what the step reads */
    size_t n;
    unsigned char *out; /* what it writes */
    size_t count, cap;
    int full;
} norm;

static void norm_put(norm *z, const unsigned char *s, size_t n)
{
    if (n > z->cap - z->count) {
        z->full = 1;
        return;
    }
    memcpy(z->out + z->count, s, n);
    z->count += n;
}

static void norm_put_code(norm *z, uint32_t code)
{
    unsigned char s[4];
    norm_put(z, s, bn_vocab_encode(code, s));
}

/* A text in the pool; empty where the tables are wrong. */
static const unsigned char *norm_text(const norm *z, uint32_t at, uint32_t len, size_t *n)
{
    int inside = at <= z->pool_bytes && len <= z->pool_bytes - at;
    *n = inside ? len : 0;
    return z->pool + (inside ? at : 0);
}

/* ---- Unicode: decomposition, order, composition ---- */

enum { /* Hangul's syllables: L V or L V T, by calculation */
       HANGUL = 0xac00,
       HANGUL_L = 0x1100,
       HANGUL_V = 0x1161,
       HANGUL_T = 0x11a7,
       HANGUL_NL = 19,
       HANGUL_NV = 21,
       HANGUL_NT = 28,
       HANGUL_ALL = HANGUL_NL * HANGUL_NV * HANGUL_NT
};

static const bn_vocab_map *norm_find(const norm *z, const bn_vocab_step *step, uint32_t code)
{
    const bn_vocab_map *map = bn_vocab_table(z->v, BN_VOCAB_MAP);
    uint32_t count = z->v->table[BN_VOCAB_MAP].count;
    if (step->len == 0 || step->at > count || step->len > count - step->at)
        return NULL;
    map += step->at;
    uint32_t at = bn_vocab_slot(code, step->len);
    for (uint32_t probes = step->len; probes > 0 && map[at].code != BN_VOCAB_NONE; probes--) {
        if (map[at].code == code)
            return map + at;
        at = at + 1 < step->len ? at + 1 : 0;
    }
    return NULL;
}

static void norm_map(norm *z, const bn_vocab_step *step)
{
    uint32_t code;
    for (size_t at = 0, len, n; at < z->n; at += len) {
        len = bn_vocab_decode(z->s + at, z->n - at, &code);
        const bn_vocab_map *m = NULL;
        if (!(step->flags & BN_STEP_UNICODE) || code >= 128)
            m = norm_find(z, step, code);
        if (m) {
            const unsigned char *text = norm_text(z, m->at, m->len, &n);
            norm_put(z, text, n);
        } else if (step->flags & BN_STEP_UNICODE && code - HANGUL < HANGUL_ALL) {
            uint32_t i = code - HANGUL, t = i % HANGUL_NT;
            norm_put_code(z, HANGUL_L + i / HANGUL_NT / HANGUL_NV);
            norm_put_code(z, HANGUL_V + i / HANGUL_NT % HANGUL_NV);
            if (t)
                norm_put_code(z, HANGUL_T + t);
        } else {
            norm_put(z, z->s + at, len);
        }
    }
}

static uint32_t norm_class(const norm *z, uint32_t code)
{
    const bn_vocab_char *class = bn_vocab_table(z->v, BN_VOCAB_CLASS);
    uint32_t slots = z->v->table[BN_VOCAB_CLASS].count;
    if (code < 0x300 || slots == 0)
        return 0;
    uint32_t at = bn_vocab_slot(code, slots);
    for (uint32_t probes = slots; probes > 0 && class[at].code != BN_VOCAB_NONE; probes--) {
        if (class[at].code == code)
            return class[at].symbol & 255;
        at = at + 1 < slots ? at + 1 : 0;
    }
    return 0;
}

/* Writes the marks s[0 .. n) by class, those of one class in their order. Looks at all of them
 * twice for each class that occurs; there are 55. */
static void norm_sort(norm *z, const unsigned char *s, size_t n)
{
    for (uint32_t last = 0, next, code;; last = next) {
        next = 256;
        for (size_t at = 0; at < n;) {
            at += bn_vocab_decode(s + at, n - at, &code);
            uint32_t class = norm_class(z, code);
            if (class > last && class < next)
                next = class;
        }
        if (next == 256)
            return;
        for (size_t at = 0, len; at < n; at += len) {
            len = bn_vocab_decode(s + at, n - at, &code);
            if (norm_class(z, code) == next)
                norm_put(z, s + at, len);
        }
    }
}

static void norm_order(norm *z)
{
    uint32_t code;
    for (size_t at = 0, len = 0, run, end; at < z->n; at = end) {
        for (end = run = at; end < z->n; end += len, run++) {
            len = bn_vocab_decode(z->s + end, z->n - end, &code);
            if (norm_class(z, code) == 0)
                break;
        }
        if (run > at + 1)
            norm_sort(z, z->s + at, end - at);
        else
            norm_put(z, z->s + at, end - at);
        if (end < z->n) { /* what ended the run */
            norm_put(z, z->s + end, len);
            end += len;
        }
    }
}

/* What two code points make; 0: nothing. */
static uint32_t norm_pair(const norm *z, uint32_t a, uint32_t b)
{
    const bn_vocab_pair *pair = bn_vocab_table(z->v, BN_VOCAB_COMPOSE);
    uint32_t slots = z->v->table[BN_VOCAB_COMPOSE].count;
    if (a - HANGUL_L < HANGUL_NL && b - HANGUL_V < HANGUL_NV)
        return HANGUL + ((a - HANGUL_L) * HANGUL_NV + b - HANGUL_V) * HANGUL_NT;
    if (a - HANGUL < HANGUL_ALL && (a - HANGUL) % HANGUL_NT == 0 && b > HANGUL_T &&
        b < HANGUL_T + HANGUL_NT)
        return a + b - HANGUL_T;
    if (b < 0x300 || slots == 0)
        return 0;
    uint32_t at = bn_vocab_slot(bn_vocab_pair_hash(a, b), slots);
    for (uint32_t probes = slots; probes > 0 && pair[at].left != BN_VOCAB_NONE; probes--) {
        if (pair[at].left == a && pair[at].right == b)
            return pair[at].merged < BN_VOCAB_BAD ? pair[at].merged : 0;
        at = at + 1 < slots ? at + 1 : 0;
    }
    return 0;
}

static void norm_compose(norm *z)
{
    size_t base = 0, base_len = 0; /* the last code point of class 0, where it was written */
    uint32_t base_code = 0, last = 256, code;
    for (size_t at = 0, len; at < z->n && !z->full; at += len) {
        len = bn_vocab_decode(z->s + at, z->n - at, &code);
        uint32_t class = norm_class(z, code);
        uint32_t both = last == 0 || last < class ? norm_pair(z, base_code, code) : 0;
        if (both) {
            unsigned char s[4];
            size_t n = bn_vocab_encode(both, s), rest = z->count - base - base_len;
            if (n > base_len && n - base_len > z->cap - z->count) {
                z->full = 1;
                return;
            }
            memmove(z->out + base + n, z->out + base + base_len, rest);
            memcpy(z->out + base, s, n);
            z->count = base + n + rest;
            base_len = n;
            base_code = both;
            continue;
        }
        if (class == 0) {
            base = z->count;
            base_len = len;
            base_code = code;
        }
        last = class == 0 || base_len ? class : 256; /* 256: no base to compose with */
        norm_put(z, z->s + at, len);
    }
}

/* ---- spaces and texts ---- */

static void norm_strip(norm *z, uint32_t flags)
{
    size_t from = 0, end = 0, len;
    uint32_t code;
    while (flags & BN_STEP_LEFT && from < z->n) {
        len = bn_vocab_decode(z->s + from, z->n - from, &code);
        if (!bn_is_space(code))
            break;
        from += len;
    }
    for (size_t at = end = from; at < z->n; at += len) {
        len = bn_vocab_decode(z->s + at, z->n - at, &code);
        if (!(flags & BN_STEP_RIGHT) || !bn_is_space(code))
            end = at + len;
    }
    norm_put(z, z->s + from, end - from);
}

static void norm_replace(norm *z, const bn_vocab_step *step)
{
    size_t n, to;
    const unsigned char *from = norm_text(z, step->at, step->len, &n),
                        *with = norm_text(z, step->with, step->with_len, &to);
    for (size_t at = 0; at < z->n;) {
        if (n > 0 && n <= z->n - at && z->s[at] == from[0] && memcmp(z->s + at, from, n) == 0) {
            norm_put(z, with, to);
            at += n;
        } else {
            norm_put(z, z->s + at++, 1);
        }
    }
}

/* ---- SentencePiece ---- */

/* The longest key of the character map that s starts with: its bytes, or 0, and what it becomes. */
static size_t norm_key(const norm *z, const bn_vocab_step *step, const unsigned char *s, size_t n,
                       const unsigned char **text, size_t *len)
{
    const uint32_t *trie = bn_vocab_table(z->v, BN_VOCAB_TRIE);
    uint32_t units = z->v->table[BN_VOCAB_TRIE].count, node, value = 0;
    size_t longest = 0, all;
    int leaf;
    if (units == 0)
        return 0;
    node = bn_vocab_node(0, trie[0]);
    for (size_t i = 0; i < n && i < 256 && bn_vocab_walk(trie, units, s[i], &node, &leaf); i++)
        if (leaf && node < units) {
            value = trie[node] & 0x7fffffff;
            longest = i + 1;
        }
    const unsigned char *strings = norm_text(z, step->at, step->len, &all);
    if (longest == 0 || value >= all)
        return 0;
    *text = strings + value;
    const unsigned char *end = memchr(*text, 0, all - value);
    *len = end ? (size_t)(end - *text) : all - value;
    return longest;
}

/* What stands at s, as SentencePiece reads it: its bytes, and what they become. */
static size_t norm_prefix(const norm *z, const bn_vocab_step *step, const unsigned char *s,
                          size_t n, const unsigned char **text, size_t *len)
{
    const bn_vocab_special *user = bn_vocab_longest(z->v, BN_VOCAB_LATE, s, n);
    uint32_t code;
    *text = s;
    if (user && !memchr(s, ' ', user->len))
        return *len = user->len;
    size_t bytes = norm_key(z, step, s, n, text, len);
    if (bytes)
        return bytes;
    bytes = *len = bn_vocab_decode(s, n, &code);
    if (code >= BN_VOCAB_BAD && z->v->table[BN_VOCAB_TRIE].count) {
        *text = (const unsigned char *)"\xef\xbf\xbd";
        *len = 3;
    }
    return bytes;
}

/* The space mark becomes a space, which has the same symbol. */
static void norm_put_spaces(norm *z, const unsigned char *s, size_t n)
{
    for (size_t at = 0, len; at < n; at += len) {
        int mark = n - at > 2 && s[at] == 0xe2 && s[at + 1] == 0x96 && s[at + 2] == 0x81;
        len = mark ? 3 : 1;
        norm_put(z, mark ? (const unsigned char *)" " : s + at, 1);
    }
}

static void norm_spm(norm *z, const bn_vocab_step *step)
{
    const unsigned char *text, *space = (const unsigned char *)" ";
    int squeeze = (step->flags & BN_STEP_SQUEEZE) != 0, was_space = squeeze;
    size_t at = 0, bytes, len;
    while (squeeze && at < z->n) {
        bytes = norm_prefix(z, step, z->s + at, z->n - at, &text, &len);
        if (len != 1 || *text != ' ')
            break;
        at += bytes;
    }
    if (at == z->n)
        return;
    if (step->flags & BN_STEP_PREFIX)
        norm_put(z, space, 1);
    for (; at < z->n; at += bytes) {
        bytes = norm_prefix(z, step, z->s + at, z->n - at, &text, &len);
        for (; was_space && len > 0 && *text == ' '; len--)
            text++;
        norm_put_spaces(z, text, len);
        if (len > 0)
            was_space = squeeze && text[len - 1] == ' ';
    }
    while (squeeze && z->count > 0 && z->out[z->count - 1] == ' ')
        z->count--;
    if (step->flags & BN_STEP_SUFFIX)
        norm_put(z, space, 1);
}

/* ---- all steps ---- */

static void norm_step(norm *z, const bn_vocab_step *step)
{
    size_t n;
    const unsigned char *text;
    switch (step->kind) {
    case BN_STEP_MAP:
        norm_map(z, step);
        break;
    case BN_STEP_ORDER:
        norm_order(z);
        break;
    case BN_STEP_COMPOSE:
        norm_compose(z);
        break;
    case BN_STEP_REPLACE:
        norm_replace(z, step);
        break;
    case BN_STEP_STRIP:
        norm_strip(z, step->flags);
        break;
    case BN_STEP_SPM:
        norm_spm(z, step);
        break;
    default: /* BN_STEP_PREPEND; damaged tables may hold any number */
        text = norm_text(z, step->at, step->len, &n);
        if (z->n > 0)
            norm_put(z, text, n);
        norm_put(z, z->s, z->n);
    }
}

const unsigned char *bn_normalize(const bn_vocab *v, const unsigned char *s, size_t n,
                                  unsigned char *buffer, size_t room, size_t *len)
{
    const bn_vocab_step *step = bn_vocab_table(v, BN_VOCAB_STEPS);
    norm z = {.v = v, .pool = bn_vocab_table(v, BN_VOCAB_POOL), .out = buffer};
    z.pool_bytes = v->table[BN_VOCAB_POOL].count;
    z.s = s;
    z.n = n;
    z.cap = room;
    for (uint32_t i = 0; i < v->table[BN_VOCAB_STEPS].count; i++) {
        z.count = 0;
        norm_step(&z, step + i);
        if (z.full)
            return NULL;
        z.s = memmove(buffer + (room - z.count), buffer, z.count);
        z.n = z.count;
        z.cap = room - z.n;
    }
    *len = z.n;
    return z.s;
}
