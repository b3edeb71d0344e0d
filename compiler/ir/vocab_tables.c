/* vocab_tables.c: lays out the tables of bn_vocab.h.
 *
 * One idea: count, place, fill. The sizes of all tables follow from the symbols, pairs, characters
 * and special texts that vocab.c gathered; each is then filled in an order that the source alone
 * decides, so the same source gives the same bytes.
 */
#include "vocab_build.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(bn_vocab) == 2368, "the picture in bn_vocab.h");
_Static_assert(sizeof(bn_vocab_pair) == 16 && sizeof(bn_vocab_special) == 16 &&
                   sizeof(bn_vocab_step) == 24 && sizeof(bn_vocab_map) == 12,
               "BN_VOCAB_TABLES");

/* ---- special texts ---- */

typedef struct Special {
    VocabText text;
    int64_t token;
} Special;

static int starts_with(const VocabText *t, const VocabText *prefix)
{
    return t->len >= prefix->len && memcmp(t->ptr, prefix->ptr, prefix->len) == 0;
}

static int by_text(const void *left, const void *right)
{
    const Special *l = left, *r = right;
    size_t n = l->text.len < r->text.len ? l->text.len : r->text.len;
    int order = memcmp(l->text.ptr, r->text.ptr, n);
    if (order == 0 && l->text.len != r->text.len)
        order = l->text.len < r->text.len ? -1 : 1;
    return order ? order : l->token < r->token ? -1 : l->token > r->token;
}

static int is_late(const VocabBuild *b, int64_t token)
{
    return vocab_type(b, token) == VOCAB_USER && b->src->flags && b->nsteps &&
           b->src->flags[token] & VOCAB_NORMALIZED;
}

static int belongs(const VocabBuild *b, int64_t token, int table)
{
    if (table == BN_VOCAB_LATE || is_late(b, token))
        return table == BN_VOCAB_LATE && is_late(b, token);
    return table == BN_VOCAB_SPECIAL || vocab_type(b, token) == VOCAB_USER;
}

/* Fills one of the tables USER, SPECIAL, LATE from the sorted texts, behind those that are filled:
 * one entry a text, parents linked. Returns the entries; their place in the pool is left to
 * place_special. */
static uint32_t collect_special(VocabBuild *b, const Special *sorted, uint64_t count, int table)
{
    uint32_t n = 0, parent, before = b->nuser + b->nspecial;
    bn_vocab_special *out = b->special + before;
    VocabText *text = b->special_text + before;
    for (uint64_t i = 0; i < count; i++) {
        const VocabText *t = &sorted[i].text;
        if (!belongs(b, sorted[i].token, table) || !t->len)
            continue;
        for (parent = n - 1; parent != BN_VOCAB_NONE; parent = out[parent].parent)
            if (starts_with(t, text + parent))
                break;
        if (parent != BN_VOCAB_NONE && out[parent].len == t->len)
            continue;
        uint32_t flags = b->src->flags ? b->src->flags[sorted[i].token] & 7u : 0;
        text[n] = *t;
        out[n++] = (bn_vocab_special){0, (uint32_t)t->len, flags << 24 | (uint32_t)sorted[i].token,
                                      parent};
        uint8_t byte = (uint8_t)t->ptr[0];
        b->head.first[table - BN_VOCAB_USER][byte >> 3] |= (uint8_t)(1 << (byte & 7));
    }
    return n;
}

/* Texts of late tokens are looked for in normalized texts. SentencePiece leaves them alone, but for
 * the space mark; other normalizers change them like any text. `section`: the steps, written. */
static int late_text(VocabBuild *b, const uint8_t *section, Special *x, char **at)
{
    const bn_vocab *v = (const bn_vocab *)(const void *)section;
    unsigned char buffer[9 * 1024];
    size_t len = x->text.len;
    const char *text = x->text.ptr;
    for (uint32_t i = 0; i < b->nsteps; i++)
        if (b->step[i].kind == BN_STEP_SPM)
            v = NULL;
    if (v && len > 64)
        return vocab_fail(b,
                          "token %lld is %zu bytes long; at most 64 are possible where its text "
                          "is normalized",
                          (long long)x->token, len);
    if (v)
        text = (const char *)bn_normalize(v, (const unsigned char *)text, len, buffer,
                                          sizeof buffer, &len);
    if (!text)
        return vocab_fail(b, "the normalizer makes too much of token %lld", (long long)x->token);
    x->text.ptr = *at;
    for (size_t i = 0; i < len;) { /* the mark and a space are one in a text */
        int mark = b->head.kind == BN_VOCAB_SPM && len - i > 2 && !memcmp(text + i, "\u2581", 3);
        *(*at)++ = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    x->text.len = (size_t)(*at - x->text.ptr);
    return 1;
}

/* b->special: the tables USER and SPECIAL; with the section of steps LATE. */
static int gather_specials(VocabBuild *b, const uint8_t *section, Special *sorted, char *texts)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (vocab_is_special(b, i) && (!is_late(b, i) || section)) {
            sorted[n] = (Special){b->src->tokens[i], i};
            if (is_late(b, i) && !late_text(b, section, sorted + n, &texts))
                return 0;
            n++;
        }
    qsort(sorted, (size_t)n, sizeof *sorted, by_text);
    memset(b->head.first, 0, sizeof b->head.first);
    b->nuser = b->nspecial = b->nlate = 0;
    b->nuser = collect_special(b, sorted, n, BN_VOCAB_USER);
    b->nspecial = collect_special(b, sorted, n, BN_VOCAB_SPECIAL);
    b->nlate = collect_special(b, sorted, n, BN_VOCAB_LATE);
    return 1;
}

/* ---- pieces ---- */

/* A text of the GPT-2 alphabet back to bytes; what is foreign to it stays. 0 where some is. */
static int decode_bpe(const VocabBuild *b, const VocabText *t, unsigned char *out, size_t *len)
{
    const unsigned char *s = (const unsigned char *)t->ptr;
    int pure = 1;
    *len = 0;
    for (size_t at = 0, step; at < t->len; at += step) {
        uint32_t code;
        step = bn_vocab_decode(s + at, t->len - at, &code);
        if (code < 512 && b->alphabet[code] < 256) {
            out[(*len)++] = (unsigned char)b->alphabet[code];
            continue;
        }
        memcpy(out + *len, s + at, step);
        *len += step;
        pure = 0;
    }
    return pure;
}

/* U+2581 becomes a space. */
static size_t decode_spm(const VocabText *t, unsigned char *out)
{
    const unsigned char *s = (const unsigned char *)t->ptr;
    size_t len = 0;
    for (size_t at = 0, step; at < t->len; at += step) {
        uint32_t code;
        step = bn_vocab_decode(s + at, t->len - at, &code);
        if (code == BN_VOCAB_SPACE) {
            out[len++] = ' ';
            continue;
        }
        memcpy(out + len, s + at, step);
        len += step;
    }
    return len;
}

/* What symbol i prints, at most as long as its text. */
static size_t piece_of(const VocabBuild *b, uint32_t i, unsigned char *out)
{
    const VocabText *t = b->symbol + i;
    size_t len = t->len;
    int bpe = b->head.kind == BN_VOCAB_BPE, token = (int64_t)i < b->n;
    int type = token ? vocab_type(b, i) : VOCAB_NORMAL;
    if (type == VOCAB_UNKNOWN || type == VOCAB_CONTROL || type == VOCAB_UNUSED)
        return 0;
    if (bpe ? type == VOCAB_USER : !token) {
        memcpy(out, len ? t->ptr : "", len);
    } else if (bpe) {
        decode_bpe(b, t, out, &len);
    } else if (type == VOCAB_BYTE) {
        out[0] = (unsigned char)vocab_byte(t);
        len = 1;
    } else {
        len = decode_spm(t, out);
    }
    return len;
}

/* Does token i belong into WORDS? Its piece must be all that its text says. */
static int is_word(const VocabBuild *b, int64_t i)
{
    unsigned char piece[VOCAB_MAX_TEXT];
    size_t len;
    return b->head.flags & BN_VOCAB_WHOLE_WORDS && vocab_is_first(b, i) &&
           decode_bpe(b, b->src->tokens + i, piece, &len);
}

/* ---- layout ---- */

static uint64_t lay_out(VocabBuild *b, uint64_t pool)
{
    static const uint64_t unit[BN_VOCAB_NTABLES] = {
#define LAYOUT_UNIT(name, bytes) bytes,
        BN_VOCAB_TABLES(LAYOUT_UNIT)
#undef LAYOUT_UNIT
    };
    const uint64_t count[BN_VOCAB_NTABLES] = {
        [BN_VOCAB_PIECES] = (uint64_t)b->nsymbols + 1,
        [BN_VOCAB_POOL] = pool,
        [BN_VOCAB_PAIRS] = bn_vocab_slots(b->npairs),
        [BN_VOCAB_CHARS] = b->chars ? bn_vocab_slots(b->nchars) : 0,
        [BN_VOCAB_WORDS] = b->nwords ? bn_vocab_slots(b->nwords) : 0,
        [BN_VOCAB_USER] = b->nuser,
        [BN_VOCAB_SPECIAL] = b->nspecial,
        [BN_VOCAB_LATE] = b->nlate,
        [BN_VOCAB_ENDS] = b->nends,
        [BN_VOCAB_STEPS] = b->nsteps,
        [BN_VOCAB_MAP] = b->nmap,
        [BN_VOCAB_CLASS] = b->nclass,
        [BN_VOCAB_COMPOSE] = b->ncompose,
        [BN_VOCAB_TRIE] = b->ntrie,
    };
    uint64_t at = sizeof(bn_vocab);
    for (int i = 0; i < BN_VOCAB_NTABLES; i++) {
        if (at > UINT32_MAX || count[i] > UINT32_MAX)
            return UINT64_MAX;
        b->head.table[i].at = (uint32_t)at;
        b->head.table[i].count = (uint32_t)count[i];
        at = (at + count[i] * unit[i] + 63) & ~(uint64_t)63;
    }
    return at;
}

static void fill_pieces(const VocabBuild *b, uint32_t *at, unsigned char *pool)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < b->nsymbols; i++) {
        at[i] = used;
        used += (uint32_t)piece_of(b, i, pool + used);
    }
    at[b->nsymbols] = used;
}

static void fill_pairs(const VocabBuild *b, bn_vocab_pair *table, uint32_t slots)
{
    memset(table, 0xff, slots * sizeof *table);
    for (size_t i = 0; i < b->npairs; i++) {
        const bn_vocab_pair *p = b->pair + i;
        uint32_t at = bn_vocab_slot(bn_vocab_pair_hash(p->left, p->right), slots);
        while (table[at].left != BN_VOCAB_NONE &&
               (table[at].left != p->left || table[at].right != p->right))
            at = at + 1 < slots ? at + 1 : 0;
        if (table[at].left == BN_VOCAB_NONE)
            table[at] = *p;
    }
}

static void fill_chars(const VocabBuild *b, bn_vocab_char *table, uint32_t slots)
{
    memset(table, 0xff, slots * sizeof *table);
    for (uint32_t i = 0; i < b->nchars; i++) {
        uint32_t at = bn_vocab_slot(b->chars[i].code, slots);
        while (table[at].code != BN_VOCAB_NONE)
            at = at + 1 < slots ? at + 1 : 0;
        table[at] = b->chars[i];
    }
}

static void fill_words(const VocabBuild *b, uint32_t *table, uint32_t slots, const uint32_t *piece,
                       const unsigned char *pool)
{
    memset(table, 0xff, slots * sizeof *table);
    for (int64_t i = 0; slots && i < b->n; i++) {
        if (!is_word(b, i))
            continue;
        uint64_t h = bn_vocab_hash(pool + piece[i], piece[i + 1] - piece[i]);
        uint32_t at = bn_vocab_slot(h, slots);
        while (table[at] != BN_VOCAB_NONE)
            at = at + 1 < slots ? at + 1 : 0;
        table[at] = bn_vocab_tag(h) | (uint32_t)i;
    }
}

/* The texts of special tokens follow the pieces, those of steps follow these; returns the end. pool
 * NULL: only counts. */
static uint64_t place_texts(VocabBuild *b, uint64_t at, unsigned char *pool)
{
    for (uint32_t i = 0; i < b->nuser + b->nspecial + b->nlate; i++) {
        bn_vocab_special *e = b->special + i;
        if (pool)
            memcpy(pool + at, b->special_text[i].ptr, e->len);
        e->at = (uint32_t)at;
        at += e->len;
    }
    if (pool && b->extra_used)
        memcpy(pool + at, b->extra, b->extra_used);
    return at + b->extra_used;
}

/* The same places in the steps, whose texts stand from `base` on in the pool. */
static void fill_steps(const VocabBuild *b, uint64_t base, bn_vocab_step *step, bn_vocab_map *map)
{
    for (uint32_t i = 0; i < b->nsteps; i++) {
        step[i] = b->step[i];
        if (step[i].kind == BN_STEP_MAP)
            continue;
        step[i].at += (uint32_t)base;
        step[i].with += (uint32_t)base;
    }
    for (uint32_t i = 0; i < b->nmap; i++) {
        map[i] = b->map[i];
        if (map[i].code != BN_VOCAB_NONE)
            map[i].at += (uint32_t)base;
    }
}

static void fill(void *out, const void *from, size_t count, size_t bytes)
{
    if (count)
        memcpy(out, from, count * bytes);
}

static uint8_t *write_section(VocabBuild *b, uint64_t pieces, size_t *size)
{
    uint64_t texts = place_texts(b, pieces, NULL), bytes = lay_out(b, texts);
    uint8_t *out = bytes <= UINT32_MAX ? aligned_alloc(64, (size_t)bytes) : NULL;
    if (!out) {
        vocab_fail(b, bytes <= UINT32_MAX ? "no memory for the tokenizer's tables"
                                          : "the tokenizer's tables would exceed 4 GB");
        return NULL;
    }
    memset(out, 0, (size_t)bytes);
    b->head.magic = BN_VOCAB_MAGIC;
    b->head.version = BN_VOCAB_VERSION;
    b->head.bytes = (uint32_t)bytes;
    b->head.symbols = (int32_t)b->nsymbols;
    memcpy(out, &b->head, sizeof b->head);
#define AT(name) ((void *)(out + b->head.table[BN_VOCAB_##name].at))
#define COUNT(name) b->head.table[BN_VOCAB_##name].count
    fill_pieces(b, AT(PIECES), AT(POOL));
    place_texts(b, pieces, AT(POOL));
    fill_pairs(b, AT(PAIRS), COUNT(PAIRS));
    fill_chars(b, AT(CHARS), COUNT(CHARS));
    fill_words(b, AT(WORDS), COUNT(WORDS), AT(PIECES), AT(POOL));
    fill(AT(USER), b->special, b->nuser, sizeof *b->special);
    fill(AT(SPECIAL), b->special + b->nuser, b->nspecial, sizeof *b->special);
    fill(AT(LATE), b->special + b->nuser + b->nspecial, b->nlate, sizeof *b->special);
    fill(AT(ENDS), b->ends, b->nends, sizeof *b->ends);
    fill_steps(b, texts - b->extra_used, AT(STEPS), AT(MAP));
    fill(AT(CLASS), b->class, b->nclass, sizeof *b->class);
    fill(AT(COMPOSE), b->compose, b->ncompose, sizeof *b->compose);
    fill(AT(TRIE), b->trie, b->ntrie, sizeof *b->trie);
#undef AT
#undef COUNT
    *size = (size_t)bytes;
    return out;
}

static uint8_t *vocab_write(VocabBuild *b, size_t *size)
{
    unsigned char piece[VOCAB_MAX_TEXT * 2];
    uint64_t pieces = 0, longest = 0, count = 0, late = 0;
    for (uint32_t i = 0; i < b->nsymbols; i++) {
        uint64_t len = piece_of(b, i, piece);
        pieces += len;
        if ((int64_t)i < b->n && is_word(b, i)) {
            b->nwords++;
            longest = len > longest ? len : longest;
        }
    }
    b->head.longest = (uint32_t)longest;
    for (int64_t i = 0; i < b->n; i++) {
        count += (uint64_t)vocab_is_special(b, i);
        late += (uint64_t)is_late(b, i);
    }
    Special *sorted = vocab_reserve(b, count, sizeof *sorted);
    char *texts = vocab_reserve(b, late, VOCAB_MAX_TEXT + BN_VOCAB_GROW * 64);
    b->special = vocab_reserve(b, 2 * count, sizeof *b->special);
    b->special_text = vocab_reserve(b, 2 * count, sizeof *b->special_text);
    uint8_t *out = NULL;
    if (sorted && texts && b->special && b->special_text && gather_specials(b, NULL, sorted, texts))
        out = write_section(b, pieces, size);
    if (out && late) { /* again, with the texts that the steps make */
        uint8_t *steps = out;
        out = gather_specials(b, steps, sorted, texts) ? write_section(b, pieces, size) : NULL;
        free(steps);
    }
    free(sorted);
    free(texts);
    return out;
}

/* ---- the whole ---- */

uint8_t *vocab_build(const VocabSource *src, size_t *size, char message[256])
{
    VocabBuild b = {.own = *src, .message = message};
    b.src = &b.own;
    message[0] = 0;
    *size = 0;
    uint8_t *out =
        vocab_begin(&b) && vocab_spaces(&b) && vocab_symbols(&b) ? vocab_write(&b, size) : NULL;
    free(b.guessed);
    free(b.symbol);
    free(b.slot);
    free(b.text);
    free(b.pair);
    free(b.chars);
    free(b.rank);
    free(b.special);
    free(b.special_text);
    free(b.extra);
    free(b.map);
    free(b.class);
    free(b.compose);
    free(b.trie);
    return out;
}
