/* vocab_tables.c: lays out the tables of bn_vocab.h.
 *
 * One idea: count, place, fill. The sizes of all tables follow from the symbols, pairs, characters
 * and special texts that vocab.c gathered; each is then filled in an order that the source alone
 * decides, so the same source gives the same bytes.
 */
#include "vocab_build.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(bn_vocab) == 2240, "the picture in bn_vocab.h");
_Static_assert(sizeof(bn_vocab_pair) == 16 && sizeof(bn_vocab_special) == 16, "BN_VOCAB_TABLES");

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

/* Fills `out`, the table USER (only_user) or SPECIAL, from the sorted texts: one entry a text,
 * parents linked. Returns the entries; their place in the pool is left to place_special. */
static uint32_t collect_special(VocabBuild *b, const Special *sorted, uint64_t count, int only_user,
                                bn_vocab_special *out)
{
    uint32_t n = 0, parent;
    for (uint64_t i = 0; i < count; i++) {
        const VocabText *t = &sorted[i].text;
        if (only_user && vocab_type(b, sorted[i].token) != VOCAB_USER)
            continue;
        for (parent = n - 1; parent != BN_VOCAB_NONE; parent = out[parent].parent)
            if (starts_with(t, b->src->tokens + out[parent].token))
                break;
        if (parent != BN_VOCAB_NONE && out[parent].len == t->len)
            continue;
        out[n++] = (bn_vocab_special){0, (uint32_t)t->len, (int32_t)sorted[i].token, parent};
        uint8_t byte = (uint8_t)t->ptr[0];
        b->head.first[!only_user][byte >> 3] |= (uint8_t)(1 << (byte & 7));
    }
    return n;
}

/* b->special: the table USER, then the table SPECIAL. */
static int gather_specials(VocabBuild *b)
{
    uint64_t count = 0, n = 0;
    for (int64_t i = 0; i < b->n; i++)
        count += (uint64_t)vocab_is_special(b, i);
    Special *sorted = vocab_reserve(b, count, sizeof *sorted);
    b->special = vocab_reserve(b, 2 * count, sizeof *b->special);
    if (sorted && b->special) {
        for (int64_t i = 0; i < b->n; i++)
            if (vocab_is_special(b, i))
                sorted[n++] = (Special){b->src->tokens[i], i};
        qsort(sorted, (size_t)n, sizeof *sorted, by_text);
        b->nuser = collect_special(b, sorted, n, 1, b->special);
        b->nspecial = collect_special(b, sorted, n, 0, b->special + b->nuser);
    }
    free(sorted);
    return sorted && b->special;
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

/* The texts of USER and SPECIAL follow the pieces; returns the end. pool NULL: only counts. */
static uint64_t place_special(VocabBuild *b, uint64_t at, unsigned char *pool)
{
    for (uint32_t i = 0; i < b->nuser + b->nspecial; i++) {
        bn_vocab_special *e = b->special + i;
        if (pool)
            memcpy(pool + at, b->src->tokens[e->token].ptr, e->len);
        e->at = (uint32_t)at;
        at += e->len;
    }
    return at;
}

static uint8_t *write_section(VocabBuild *b, size_t *size)
{
    unsigned char piece[VOCAB_MAX_TEXT * 2];
    uint64_t pieces = 0, longest = 0;
    for (uint32_t i = 0; i < b->nsymbols; i++) {
        uint64_t len = piece_of(b, i, piece);
        pieces += len;
        if ((int64_t)i < b->n && is_word(b, i)) {
            b->nwords++;
            longest = len > longest ? len : longest;
        }
    }
    uint64_t bytes = lay_out(b, place_special(b, pieces, NULL));
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
    b->head.longest = (uint32_t)longest;
    memcpy(out, &b->head, sizeof b->head);
#define AT(name) ((void *)(out + b->head.table[BN_VOCAB_##name].at))
#define COUNT(name) b->head.table[BN_VOCAB_##name].count
    fill_pieces(b, AT(PIECES), AT(POOL));
    place_special(b, pieces, AT(POOL));
    fill_pairs(b, AT(PAIRS), COUNT(PAIRS));
    fill_chars(b, AT(CHARS), COUNT(CHARS));
    fill_words(b, AT(WORDS), COUNT(WORDS), AT(PIECES), AT(POOL));
    memcpy(AT(USER), b->special, b->nuser * sizeof *b->special);
    memcpy(AT(SPECIAL), b->special + b->nuser, b->nspecial * sizeof *b->special);
#undef AT
#undef COUNT
    *size = (size_t)bytes;
    return out;
}

/* ---- the whole ---- */

uint8_t *vocab_build(const VocabSource *src, size_t *size, char message[256])
{
    VocabBuild b = {.own = *src, .message = message};
    b.src = &b.own;
    message[0] = 0;
    *size = 0;
    uint8_t *out = vocab_gather(&b) && gather_specials(&b) ? write_section(&b, size) : NULL;
    free(b.guessed);
    free(b.symbol);
    free(b.slot);
    free(b.text);
    free(b.pair);
    free(b.chars);
    free(b.rank);
    free(b.special);
    return out;
}
