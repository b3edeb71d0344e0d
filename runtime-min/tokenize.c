/* tokenize.c: text to tokens.
 *
 * One idea: one merge engine serves byte-level BPE and SentencePiece. A text is a row of symbols;
 * a hash table that the compiler made (bn_vocab.h) says which neighbours merge and in what order; a
 * heap keeps the candidates, lowest rank first, leftmost of equals. n symbols take O(n log n).
 *
 * Start-up costs nothing: the tables are used where they are mapped, and the checksum in load.c has
 * read them all once by then.
 *
 * Nothing is allocated: the caller's token buffer is the workspace, behind the tokens already
 * written. A segment (a pre-token of BPE, a word or a text of SPM) of m symbols takes 7 m ids:
 *
 *   out    count         4 m                m             m           m         cap
 *   +------+-------------------------+-------------+------------+------------+------+
 *   |tokens| heap: 2 m (pos, rank)   | slot        | id         | link       | free |
 *   +------+-------------------------+-------------+------------+------------+------+
 *           results go here; a symbol of k bytes gives at most k of them, a space of SPM 3
 *
 * So BN_TOKEN_ROOM, 8 ids a byte and 16 more, is always enough: what precedes a segment has left
 * at most 4 tokens a byte (a special token of one byte and the three of the SPM space behind it),
 * and the segment itself, with that space, takes 7 m <= 7 bytes + 7. A normalizer makes at most
 * `grow` bytes of one; its text stands at the end of the buffer while it is cut, an id for 4
 * bytes: bn_token_room has the factor, and the eighth id of a byte is that text's place.
 *
 * The heap holds at most 2 m entries: m - 1 at first, then each merge takes one and adds two.
 * Symbol [p .. e] has its id at id[p]; link[p] = e and link[e] = p, so both neighbours are found.
 * slot[p] is the PAIRS slot of the symbol at p and its right neighbour, or none; a heap entry
 * whose rank is no longer that of slot[pos] is stale and skipped.
 *
 * Every id, offset and count read from the tables is compared before it is used, so tables that
 * were damaged in spite of the checksum give wrong tokens, never a wild access.
 */
#include "bn_vocab.h"

#include <string.h>

#define TOK_LONGEST ((size_t)1 << 28) /* bytes of text: positions stay far from 32 bits */
#define TOK_WORK 7                    /* ids of workspace a symbol */
#define TOK_CODE 0x80000000u          /* symbols from here on are ~code point: in no table */

typedef struct tok_run {
    const bn_vocab *v;
    const bn_vocab_pair *pairs;
    uint32_t npairs;
    int32_t *out;
    size_t cap, count;
    uint32_t *heap, *slot, *id, *link; /* of the segment in work */
    uint32_t nheap, m;
} tok_run;

/* ---- the tables ---- */

/* The slot of the pair (left, right), or BN_VOCAB_NONE. */
static uint32_t tok_pair(const tok_run *r, uint32_t left, uint32_t right)
{
    if ((left | right) >= TOK_CODE || r->npairs == 0)
        return BN_VOCAB_NONE;
    uint32_t at = bn_vocab_slot(bn_vocab_pair_hash(left, right), r->npairs);
    for (uint32_t probes = r->npairs; probes > 0; probes--) {
        const bn_vocab_pair *p = r->pairs + at;
        if (p->left == left && p->right == right)
            return at;
        if (p->left == BN_VOCAB_NONE)
            break;
        at = at + 1 < r->npairs ? at + 1 : 0;
    }
    return BN_VOCAB_NONE;
}

/* The token that prints exactly these bytes, or -1. */
static int32_t tok_whole(const bn_vocab *v, const unsigned char *s, size_t n)
{
    const uint32_t *word = bn_vocab_table(v, BN_VOCAB_WORDS);
    uint32_t slots = v->table[BN_VOCAB_WORDS].count;
    if (n > v->longest || slots == 0)
        return -1;
    uint64_t h = bn_vocab_hash(s, n);
    uint32_t tag = bn_vocab_tag(h), at = bn_vocab_slot(h, slots);
    for (uint32_t probes = slots; probes > 0 && word[at] != BN_VOCAB_NONE; probes--) {
        if ((word[at] & 0xff000000u) == tag) {
            size_t len;
            const unsigned char *piece = bn_vocab_piece(v, word[at] & 0xffffff, &len);
            if (len == n && memcmp(piece, s, n) == 0)
                return (int32_t)(word[at] & 0xffffff);
        }
        at = at + 1 < slots ? at + 1 : 0;
    }
    return -1;
}

/* SPM: the symbol of a character, ~code where the vocabulary never uses it. */
static uint32_t tok_symbol(const bn_vocab *v, uint32_t code)
{
    const bn_vocab_char *chars = bn_vocab_table(v, BN_VOCAB_CHARS);
    uint32_t slots = v->table[BN_VOCAB_CHARS].count;
    if (code < 128)
        return (uint32_t)v->start[code];
    if (slots == 0)
        return ~code;
    uint32_t at = bn_vocab_slot(code, slots);
    for (uint32_t probes = slots; probes > 0 && chars[at].code != BN_VOCAB_NONE; probes--) {
        if (chars[at].code == code)
            return chars[at].symbol;
        at = at + 1 < slots ? at + 1 : 0;
    }
    return ~code;
}

/* ---- the heap: entry i is two words, read as one number (rank, pos) ---- */

static uint64_t tok_key(const uint32_t *heap, uint32_t i)
{
    return (uint64_t)heap[2 * (size_t)i + 1] << 32 | heap[2 * (size_t)i];
}

static void tok_set(uint32_t *heap, uint32_t i, uint64_t key)
{
    heap[2 * (size_t)i] = (uint32_t)key;
    heap[2 * (size_t)i + 1] = (uint32_t)(key >> 32);
}

static void tok_down(uint32_t *heap, uint32_t n, uint32_t i, uint64_t key)
{
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        uint64_t least = tok_key(heap, child);
        if (child + 1 < n && tok_key(heap, child + 1) < least)
            least = tok_key(heap, ++child);
        if (key <= least)
            break;
        tok_set(heap, i, least);
    }
    tok_set(heap, i, key);
}

static void tok_up(uint32_t *heap, uint32_t i, uint64_t key)
{
    for (uint32_t parent; i > 0; i = parent) {
        parent = (i - 1) / 2;
        if (tok_key(heap, parent) <= key)
            break;
        tok_set(heap, i, tok_key(heap, parent));
    }
    tok_set(heap, i, key);
}

/* ---- the engine ---- */

static int tok_push(tok_run *r, int32_t token)
{
    if (r->count >= r->cap)
        return 0;
    r->out[r->count++] = token;
    return 1;
}

/* Lays out the workspace for a segment of at most `symbols`; 0 where it does not fit. */
static int tok_open(tok_run *r, size_t symbols)
{
    if (symbols > (r->cap - r->count) / TOK_WORK)
        return 0;
    r->heap = (uint32_t *)(r->out + r->count);
    r->slot = r->heap + 4 * symbols;
    r->id = r->slot + symbols;
    r->link = r->id + symbols;
    r->nheap = r->m = 0;
    return 1;
}

/* Sets slot[p] for the symbols at p and q; the heap key of the pair in *key. */
static int tok_match(tok_run *r, uint32_t p, uint32_t q, uint64_t *key)
{
    r->slot[p] = tok_pair(r, r->id[p], r->id[q]);
    if (r->slot[p] == BN_VOCAB_NONE)
        return 0;
    *key = (uint64_t)r->pairs[r->slot[p]].rank << 32 | p;
    return 1;
}

static void tok_offer(tok_run *r, uint32_t p, uint32_t q)
{
    uint64_t key;
    if (tok_match(r, p, q, &key))
        tok_up(r->heap, r->nheap++, key);
}

/* The symbol at p takes in its right neighbour. */
static void tok_join(tok_run *r, uint32_t p)
{
    uint32_t q = r->link[p] + 1, end = r->link[q];
    r->id[p] = r->pairs[r->slot[p]].merged;
    r->slot[p] = r->slot[q] = BN_VOCAB_NONE;
    r->link[p] = end;
    r->link[end] = p;
    if (end + 1 < r->m)
        tok_offer(r, p, end + 1);
    if (p > 0)
        tok_offer(r, r->link[p - 1], p);
}

/* Merges id[0 .. m) until no neighbours merge any more. */
static void tok_merge(tok_run *r)
{
    uint64_t key;
    for (uint32_t p = 0; p < r->m; p++) {
        r->link[p] = p;
        r->slot[p] = BN_VOCAB_NONE;
        if (p + 1 < r->m && tok_match(r, p, p + 1, &key))
            tok_set(r->heap, r->nheap++, key);
    }
    for (uint32_t i = r->nheap / 2; i-- > 0;)
        tok_down(r->heap, r->nheap, i, tok_key(r->heap, i));
    while (r->nheap > 0) {
        key = tok_key(r->heap, 0);
        if (--r->nheap > 0)
            tok_down(r->heap, r->nheap, 0, tok_key(r->heap, r->nheap));
        uint32_t p = (uint32_t)key, slot = r->slot[p];
        if (slot != BN_VOCAB_NONE && r->pairs[slot].rank == key >> 32)
            tok_join(r, p);
    }
}

/* Writes the tokens of the segment; what is no token comes out byte by byte. */
static int tok_emit(tok_run *r)
{
    const size_t room = (size_t)((int32_t *)r->id - r->out); /* id and link are still being read */
    for (uint32_t p = 0; p < r->m; p = r->link[p] + 1) {
        uint32_t symbol = r->id[p];
        unsigned char code[4];
        const unsigned char *s = code;
        size_t n;
        if (symbol < (uint32_t)r->v->n) {
            if (r->count >= room)
                return 0;
            r->out[r->count++] = (int32_t)symbol;
            continue;
        }
        if (symbol >= TOK_CODE)
            n = bn_vocab_encode(~symbol, code);
        else
            s = bn_vocab_piece(r->v, symbol, &n);
        if (n > room - r->count)
            return 0;
        for (size_t i = 0; i < n; i++)
            r->out[r->count++] = r->v->byte[s[i]];
    }
    return 1;
}

/* ---- segments ---- */

static int tok_bpe(tok_run *r, const unsigned char *s, size_t n)
{
    for (size_t len; n > 0; s += len, n -= len) {
        len = bn_pretoken(r->v->split, s, n);
        int32_t token = r->v->flags & BN_VOCAB_WHOLE_WORDS ? tok_whole(r->v, s, len) : -1;
        if (token >= 0) {
            if (!tok_push(r, token))
                return 0;
            continue;
        }
        if (!tok_open(r, len))
            return 0;
        for (size_t i = 0; i < len; i++)
            r->id[i] = (uint32_t)r->v->start[s[i]];
        r->m = (uint32_t)len;
        tok_merge(r);
        if (!tok_emit(r))
            return 0;
    }
    return 1;
}

/* Is the character at s a space to SPM? Its bytes, or 0. */
static size_t tok_space(const unsigned char *s, size_t n)
{
    return s[0] == ' ' ? 1 : n > 2 && s[0] == 0xe2 && s[1] == 0x96 && s[2] == 0x81 ? 3 : 0;
}

/* The first place after the start where a run of spaces begins, else n. */
static size_t tok_cut(const unsigned char *s, size_t n)
{
    size_t at = 0, len;
    while (at < n && (len = tok_space(s + at, n - at)) > 0)
        at += len;
    while (at < n && !tok_space(s + at, n - at))
        at++;
    return at;
}

/* The first place after the start where a space stands, else n. */
static size_t tok_word(const unsigned char *s, size_t n)
{
    size_t at = tok_space(s, n);
    at += at == 0;
    while (at < n && !tok_space(s + at, n - at))
        at++;
    return at;
}

static int tok_spm(tok_run *r, const unsigned char *s, size_t n, int prefix)
{
    uint32_t code;
    const uint32_t flags = r->v->flags;
    for (size_t len; n > 0; s += len, n -= len, prefix = 0) {
        len = flags & BN_VOCAB_CUT_SPACES ? tok_cut(s, n) : n;
        if (flags & BN_VOCAB_SPLIT_SPACES)
            len = prefix && tok_space(s, n) ? 0 : tok_word(s, n);
        if (!tok_open(r, len + (prefix != 0)))
            return 0;
        if (prefix)
            r->id[r->m++] = (uint32_t)r->v->start[' '];
        for (size_t at = 0; at < len;) {
            at += bn_vocab_decode(s + at, len - at, &code);
            r->id[r->m++] = tok_symbol(r->v, code);
        }
        tok_merge(r);
        if (!tok_emit(r))
            return 0;
    }
    return 1;
}

/* Does a space go before this part of a text? */
static int tok_prefix(const bn_vocab *v, const unsigned char *s, size_t n, int begins)
{
    if (v->flags & BN_VOCAB_PREFIX_LACKING && n > 0 && tok_space(s, n))
        return 0;
    return v->flags & BN_VOCAB_PREFIX_EACH || (begins && v->flags & BN_VOCAB_PREFIX_FIRST);
}

/* A part without special tokens; `begins`: the text begins with it. */
static int tok_part(tok_run *r, const unsigned char *s, size_t n, int begins)
{
    if (r->v->kind == BN_VOCAB_BPE)
        return tok_bpe(r, s, n);
    return tok_spm(r, s, n, tok_prefix(r->v, s, n, begins));
}

/* ---- special tokens ---- */

/* Whose bytes are the template's (mark; NULL: nobody looks), and which user-defined tokens are only
 * its to write. */
typedef struct tok_marks {
    const unsigned char *mark;
    bn_guarded guarded;
    const void *arg;
} tok_marks;

/* e, else the longest entry that it begins with, that may count where `run` bytes have marks. With
 * `only`, of those that are guarded. */
static const bn_vocab_special *tok_allowed(const bn_vocab *v, int table, const bn_vocab_special *e,
                                           const tok_marks *m, size_t run, int only)
{
    const bn_vocab_special *entry = bn_vocab_table(v, table);
    for (; e; e = e->parent < (uint32_t)(e - entry) ? entry + e->parent : NULL) {
        int guarded = m && m->guarded && m->guarded(m->arg, (int32_t)(e->token & BN_VOCAB_MAX));
        if (guarded ? e->len <= run : !only)
            return e->len > 0 ? e : NULL;
    }
    return NULL;
}

/* Finds the leftmost special text in s; *at is where it or the end is. */
static const bn_vocab_special *tok_special(const bn_vocab *v, int table, const unsigned char *s,
                                           size_t n, const tok_marks *m, size_t *at)
{
    const uint8_t *first = v->first[table - BN_VOCAB_USER];
    *at = n;
    if (v->table[table].count == 0)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (!(first[s[i] >> 3] >> (s[i] & 7) & 1))
            continue;
        const bn_vocab_special *e = bn_vocab_longest(v, table, s + i, n - i);
        if (e && m->guarded)
            e = tok_allowed(v, table, e, m, 0, 0);
        if (e) {
            *at = i;
            return e;
        }
    }
    return NULL;
}

/* The same, where special and guarded tokens need a mark on each of their bytes, also those that else
 * are looked for in the normalized text; other user-defined ones need none.
 * *end is where the marks that were last looked at stop, kept from call to call: no mark is read
 * more than once. */
static const bn_vocab_special *tok_marked(const bn_vocab *v, const unsigned char *s, size_t n,
                                          const tok_marks *m, const unsigned char *mark,
                                          const unsigned char **end, size_t *at)
{
    size_t run = *end > mark ? (size_t)(*end - mark) : 0; /* of the marked bytes from i on */
    for (size_t i = 0; i < n; i++) {
        const bn_vocab_special *user = NULL, *special = NULL, *late = NULL;
        unsigned char bit = (unsigned char)(1 << (s[i] & 7));
        while (run < n && (run < i || mark[run]))
            run++;
        *end = mark + run;
        if (v->first[0][s[i] >> 3] & bit)
            user = tok_allowed(v, BN_VOCAB_USER, bn_vocab_longest(v, BN_VOCAB_USER, s + i, n - i),
                               m, run - i, 0);
        if (run > i && v->first[1][s[i] >> 3] & bit)
            special = bn_vocab_longest(v, BN_VOCAB_SPECIAL, s + i, run - i);
        if (m->guarded && run > i && v->first[2][s[i] >> 3] & bit && v->table[BN_VOCAB_LATE].count)
            late = tok_allowed(v, BN_VOCAB_LATE, bn_vocab_longest(v, BN_VOCAB_LATE, s + i, run - i),
                               m, run - i, 1);
        if (user && (!special || user->len > special->len))
            special = user;
        if (late && (!special || late->len > special->len))
            special = late;
        if (special) {
            *at = i;
            return special;
        }
    }
    *at = n;
    return NULL;
}

/* The spaces at the start of s[0 .. n), and those at its end. */
static size_t tok_spaces_first(const unsigned char *s, size_t n)
{
    size_t at = 0, len;
    uint32_t code;
    for (; at < n; at += len) {
        len = bn_vocab_decode(s + at, n - at, &code);
        if (!bn_is_space(code))
            break;
    }
    return at;
}

/* The last code point of s[0 .. n), n >= 1, and its bytes. */
static size_t tok_last(const unsigned char *s, size_t n, uint32_t *code)
{
    size_t len = 1;
    while (len < 4 && len < n && (s[n - len] & 0xc0) == 0x80)
        len++;
    if (bn_vocab_decode(s + n - len, len, code) == len)
        return len;
    *code = BN_VOCAB_BAD + s[n - 1];
    return 1;
}

static size_t tok_spaces_last(const unsigned char *s, size_t n)
{
    uint32_t code;
    for (size_t end = n, len; end > 0; end -= len) {
        len = tok_last(s, end, &code);
        if (!bn_is_space(code))
            return n - end;
    }
    return n;
}

/* Does no word go on over the ends of the token s[at .. end)? */
static int tok_alone(const unsigned char *s, size_t n, size_t at, size_t end)
{
    uint32_t code;
    if (at > 0 && (tok_last(s, at, &code), bn_is_word(code)))
        return 0;
    return end == n || (bn_vocab_decode(s + end, n - end, &code), !bn_is_word(code));
}

static int tok_plain(tok_run *r, const unsigned char *s, size_t n, const tok_marks *m, int begins);

/* What stands between the special tokens of `table`. */
static int tok_between(tok_run *r, const unsigned char *s, size_t n, int table, const tok_marks *m,
                       int begins)
{
    return table == BN_VOCAB_LATE ? tok_part(r, s, n, begins) : tok_plain(r, s, n, m, begins);
}

/* Special tokens of `table` and what stands between them, in turn. A token that takes spaces in may
 * reach over the next one: that one counts all the same, as in Hugging Face's tokenizers. */
static int tok_split(tok_run *r, const unsigned char *s, size_t n, int table, const tok_marks *m,
                     int begins)
{
    const unsigned char *mark = table == BN_VOCAB_LATE ? NULL : m->mark;
    size_t from = 0, next = 0, run = 0, run_end = 0; /* s[run .. run_end) was seen to be spaces */
    const unsigned char *marks = mark;
    while (next < n) {
        size_t at;
        const bn_vocab_special *e =
            mark ? tok_marked(r->v, s + next, n - next, m, mark + next, &marks, &at)
                 : tok_special(r->v, table, s + next, n - next, m, &at);
        if (!e)
            break;
        at += next;
        size_t start = at, stop = next = at + e->len;
        if (e->token & BN_SPECIAL_WORD && !tok_alone(s, n, at, stop))
            continue;
        if (e->token & BN_SPECIAL_LSTRIP && at > from)
            start -= tok_spaces_last(s + from, at - from);
        if (e->token & BN_SPECIAL_RSTRIP) {
            if (stop < run || stop > run_end) {
                run = stop;
                run_end = stop + tok_spaces_first(s + stop, n - stop);
            }
            stop = run_end;
        }
        if (from < start && !tok_between(r, s + from, start - from, table, m, begins && from == 0))
            return 0;
        if (!tok_push(r, (int32_t)(e->token & BN_VOCAB_MAX)))
            return 0;
        from = stop;
    }
    return from >= n || tok_between(r, s + from, n - from, table, m, begins && from == 0);
}

/* A part without the special tokens that are looked for before a text is normalized. */
static int tok_plain(tok_run *r, const unsigned char *s, size_t n, const tok_marks *m, int begins)
{
    const size_t cap = r->cap;
    if (r->v->table[BN_VOCAB_STEPS].count) {
        size_t room = (r->cap - r->count) * sizeof *r->out;
        s = bn_normalize(r->v, s, n, (unsigned char *)(r->out + r->count), room, &n);
        if (!s)
            return 0;
        r->cap -= (n + sizeof *r->out - 1) / sizeof *r->out;
    }
    int fits = r->v->table[BN_VOCAB_LATE].count ? tok_split(r, s, n, BN_VOCAB_LATE, m, begins)
                                                : tok_part(r, s, n, begins);
    r->cap = cap;
    return fits;
}

static int tok_text(tok_run *r, const unsigned char *s, size_t n, unsigned flags,
                    const tok_marks *m)
{
    const bn_vocab *v = r->v;
    int table = flags & BN_PARSE_SPECIAL ? BN_VOCAB_SPECIAL : BN_VOCAB_USER;
    int add_bos = flags & BN_ADD_SPECIAL && v->flags & BN_VOCAB_ADD_BOS && v->bos >= 0;
    int add_eos = flags & BN_ADD_SPECIAL && v->flags & BN_VOCAB_ADD_EOS && v->eos >= 0;
    if (add_bos && !tok_push(r, v->bos))
        return 0;
    if (!tok_split(r, s, n, table, m, 1))
        return 0;
    return !add_eos || tok_push(r, v->eos);
}

size_t bn_token_room(const bn_weights *w, size_t len)
{
    const bn_vocab *v = bn_vocab_of(w);
    size_t grow = v && v->grow > 0 ? v->grow : 1;
    return len <= TOK_LONGEST ? BN_TOKEN_ROOM(grow * len) : BN_TOKEN_ROOM(len);
}

static bn_status tok_start(const bn_weights *w, const char *text, size_t len, unsigned flags,
                           const tok_marks *m, int32_t *tokens, size_t cap, size_t *count)
{
    tok_run r = {0};
    if (!count)
        return BN_ARGUMENT;
    *count = 0;
    r.v = bn_vocab_of(w);
    if (!r.v || (!text && len > 0) || (!tokens && cap > 0) || len > TOK_LONGEST ||
        flags > (BN_ADD_SPECIAL | BN_PARSE_SPECIAL))
        return BN_ARGUMENT;
    r.pairs = bn_vocab_table(r.v, BN_VOCAB_PAIRS);
    r.npairs = r.v->table[BN_VOCAB_PAIRS].count;
    r.out = tokens;
    r.cap = cap;
    if (!tok_text(&r, (const unsigned char *)text, len, flags, m))
        return BN_SPACE;
    *count = r.count;
    return BN_OK;
}

bn_status bn_tokenize(const bn_weights *w, const char *text, size_t len, unsigned flags,
                      int32_t *tokens, size_t cap, size_t *count)
{
    const tok_marks none = {NULL, NULL, NULL};
    return tok_start(w, text, len, flags, &none, tokens, cap, count);
}

bn_status bn_tokenize_marked(const bn_weights *w, const char *text, size_t len,
                             const unsigned char *mark, bn_guarded guarded, const void *arg,
                             int32_t *tokens, size_t cap, size_t *count)
{
    const tok_marks m = {mark, guarded, arg};
    return tok_start(w, text, len, 0, &m, tokens, cap, count);
}
