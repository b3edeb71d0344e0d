/* vocab.c: builds the tokenizer tables.
 *
 * One idea: both kinds of vocabulary become the same thing, a set of symbols and a table of pairs
 * (left, right) -> (rank, merged). BPE lists its pairs; SPM implies them: every way to cut a token
 * in two symbols is a pair, ranked by the token's score. What merging passes through without being
 * a token (a BPE intermediate, a character that only occurs inside tokens) is a symbol beyond the
 * tokens. vocab_tables.c lays it all out.
 *
 * Only normal and user-defined tokens (and byte tokens by value) can come out of plain text:
 * control, unknown and unused tokens are matched by no merge, so text cannot forge them.
 * Of tokens with equal texts the first one is found; the others keep their pieces.
 */
#include "vocab_build.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_MERGES = 1 << 25,
    MAX_PAIRS = 1 << 27,
    CODES = BN_VOCAB_BAD + 256 /* code points, bad bytes among them; a multiple of 64 */
};

static const char names[] =
#define PRE_NAME(name, split, flags) ", " name
    VOCAB_PRETOKENIZERS(PRE_NAME)
#undef PRE_NAME
    ;
const char *const vocab_pretokenizers = names + 2;

int vocab_fail(VocabBuild *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(b->message, 256, format, args);
    va_end(args);
    for (char *p = b->message; *p; p++) /* names from the file may hold anything */
        *p = (unsigned char)*p < ' ' || *p == 127 ? '?' : *p;
    return 0;
}

void *vocab_reserve(VocabBuild *b, uint64_t count, size_t bytes)
{
    void *p = count < SIZE_MAX / bytes ? calloc(count ? (size_t)count : 1, bytes) : NULL;
    if (!p)
        vocab_fail(b, "no memory for the tokenizer's tables");
    return p;
}

/* ---- the source, checked ---- */

int vocab_type(const VocabBuild *b, int64_t i)
{
    return b->src->types[i] ? b->src->types[i] : VOCAB_NORMAL;
}

/* Can merging lead to token i? BPE spells user-defined tokens plainly, not in its alphabet, so a
 * merge into one would print another text. */
static int findable(const VocabBuild *b, int64_t i)
{
    int type = vocab_type(b, i);
    return b->src->tokens[i].len > 0 &&
           (type == VOCAB_NORMAL ||
            type == (b->head.kind == BN_VOCAB_BPE ? VOCAB_BYTE : VOCAB_USER));
}

int vocab_is_special(const VocabBuild *b, int64_t i)
{
    int type = vocab_type(b, i);
    return b->src->tokens[i].len > 0 &&
           (type == VOCAB_UNKNOWN || type == VOCAB_CONTROL || type == VOCAB_USER);
}

int vocab_byte(const VocabText *t)
{
    static const char hex[] = "0123456789ABCDEFabcdef";
    const char *hi, *lo;
    if (t->len != 6 || memcmp(t->ptr, "<0x", 3) != 0 || t->ptr[5] != '>' ||
        !(hi = memchr(hex, t->ptr[3], 22)) || !(lo = memchr(hex, t->ptr[4], 22)))
        return -1;
    int h = (int)(hi - hex), l = (int)(lo - hex);
    return (h < 16 ? h : h - 6) * 16 + (l < 16 ? l : l - 6);
}

static int check_kind(VocabBuild *b)
{
    const VocabSource *s = b->src;
    const char *pre = s->pre ? s->pre : "";
    if (!s->model)
        return vocab_fail(b,
                          "the file names no tokenizer (tokenizer.ggml.model); known: gpt2, llama");
    if (strcmp(s->model, "llama") == 0) {
        b->head.kind = BN_VOCAB_SPM;
        b->head.flags = BN_VOCAB_ADD_BOS | BN_VOCAB_SPACE_PREFIX | BN_VOCAB_PREFIX_EACH;
        return 1;
    }
    if (strcmp(s->model, "gpt2") != 0)
        return vocab_fail(b,
                          "tokenizer \"%.40s\" is not supported; known: gpt2 (byte-level BPE), "
                          "llama (SentencePiece)",
                          s->model);
    b->head.kind = BN_VOCAB_BPE;
    static const struct {
        const char *name;
        uint32_t split, flags;
    } row[] = {
#define PRE_ROW(name, split, flags) {name, split, flags},
        VOCAB_PRETOKENIZERS(PRE_ROW)
#undef PRE_ROW
    };
    if (!*pre) {
        pre = row[0].name;
        snprintf(b->message, 256,
                 "the file names no pre-tokenizer (tokenizer.ggml.pre): "
                 "assuming %s, as BitNet b1.58 2B4T needs",
                 pre);
    }
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (strcmp(pre, row[i].name) == 0) {
            b->head.split = row[i].split;
            b->head.flags = row[i].flags;
            return 1;
        }
    return vocab_fail(b,
                      "pre-tokenizer \"%.40s\" is not supported, and another one would give wrong "
                      "tokens; known: %s",
                      pre, vocab_pretokenizers);
}

static int check_id(VocabBuild *b, const char *name, int64_t id, int32_t *out)
{
    *out = (int32_t)id;
    if (id < -1 || id >= b->n)
        return vocab_fail(b, "%s is token %lld, but the vocabulary has %lld", name, (long long)id,
                          (long long)b->n);
    return 1;
}

static int check_tokens(VocabBuild *b)
{
    const VocabSource *s = b->src;
    if (s->n < 1 || s->n > BN_VOCAB_MAX || !s->tokens)
        return vocab_fail(b, "a vocabulary of %lld tokens; possible are 1 to %d", (long long)s->n,
                          BN_VOCAB_MAX);
    b->n = s->n;
    for (int64_t i = 0; i < b->n; i++) {
        if (s->tokens[i].len > VOCAB_MAX_TEXT || (!s->tokens[i].ptr && s->tokens[i].len))
            return vocab_fail(b, "token %lld is %zu bytes long; at most %d are possible",
                              (long long)i, s->tokens[i].len, VOCAB_MAX_TEXT);
        if (s->types && (s->types[i] < 0 || s->types[i] > VOCAB_BYTE))
            return vocab_fail(b, "token %lld has type %d; known are 1 (normal) to 6 (byte)",
                              (long long)i, (int)s->types[i]);
        if (s->scores && isnan(s->scores[i]))
            return vocab_fail(b, "the score of token %lld is not a number", (long long)i);
    }
    if (b->head.kind == BN_VOCAB_SPM && !s->scores)
        return vocab_fail(b, "a SentencePiece vocabulary needs scores (tokenizer.ggml.scores)");
    if (s->nmerges < 0 || s->nmerges > MAX_MERGES || (s->nmerges && !s->merges))
        return vocab_fail(b, "%lld merges; at most %d are possible", (long long)s->nmerges,
                          MAX_MERGES);
    b->head.n = (int32_t)b->n;
    return check_id(b, "BOS", s->bos, &b->head.bos) && check_id(b, "EOS", s->eos, &b->head.eos) &&
           check_id(b, "EOT", s->eot, &b->head.eot) && check_id(b, "UNK", s->unk, &b->head.unk) &&
           check_id(b, "PAD", s->pad, &b->head.pad);
}

/* A file without types: the named ids are control tokens, <0x41> is a byte of SPM. */
static int32_t *guess_types(VocabBuild *b)
{
    const int32_t control[] = {b->head.bos, b->head.eos, b->head.eot, b->head.pad};
    int32_t *types = vocab_reserve(b, (uint64_t)b->n, sizeof *types);
    if (!types)
        return NULL;
    for (int64_t i = 0; i < b->n; i++)
        if (b->head.kind == BN_VOCAB_SPM && vocab_byte(b->src->tokens + i) >= 0)
            types[i] = VOCAB_BYTE;
    for (int i = 0; i < 4; i++)
        if (control[i] >= 0)
            types[control[i]] = VOCAB_CONTROL;
    if (b->head.unk >= 0)
        types[b->head.unk] = VOCAB_UNKNOWN;
    return types;
}

static int add_end(VocabBuild *b, int64_t id)
{
    int32_t end;
    if (!check_id(b, "a token that ends texts", id, &end))
        return 0;
    for (uint32_t i = 0; i < b->nends; i++)
        if (b->ends[i] == end)
            return 1;
    if (end >= 0 && b->nends == VOCAB_MAX_ENDS)
        return vocab_fail(b, "more than %d tokens end a text", VOCAB_MAX_ENDS);
    if (end >= 0)
        b->ends[b->nends++] = end;
    return 1;
}

static int settle_ends(VocabBuild *b)
{
    int good = add_end(b, b->head.eos) && add_end(b, b->head.eot);
    for (int64_t i = 0; good && i < b->src->nends; i++)
        good = add_end(b, b->src->ends[i]);
    return good;
}

/* What bn_tokenize adds, and where a turn ends when the file does not say. */
static int settle(VocabBuild *b)
{
    static const char *const turn[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};
    vocab_flag(b, BN_VOCAB_ADD_BOS, b->head.bos < 0 ? 0 : b->src->add_bos);
    vocab_flag(b, BN_VOCAB_ADD_EOS, b->head.eos < 0 ? 0 : b->src->add_eos);
    for (int k = 0; k < 4 && b->head.eot < 0; k++)
        for (int64_t i = 0; i < b->n && b->head.eot < 0; i++) {
            const VocabText *t = b->src->tokens + i;
            if (vocab_is_special(b, i) && t->len == strlen(turn[k]) &&
                memcmp(t->ptr, turn[k], t->len) == 0)
                b->head.eot = (int32_t)i;
        }
    return settle_ends(b);
}

/* ---- symbols: text -> number ---- */

/* The slot of the text with hash h: its own, or an empty one with the tag set. */
static VocabSlot *seek(const VocabBuild *b, const char *s, size_t n, uint64_t h)
{
    uint32_t at = bn_vocab_slot(h, b->nslots), tag = (uint32_t)(h >> 32) ^ (uint32_t)h;
    for (;; at = at + 1 < b->nslots ? at + 1 : 0) {
        VocabSlot *slot = b->slot + at;
        if (slot->symbol == BN_VOCAB_NONE) {
            slot->tag = tag;
            return slot;
        }
        const VocabText *t = b->symbol + slot->symbol;
        if (slot->tag == tag && t->len == n && memcmp(t->ptr, s, n) == 0)
            return slot;
    }
}

static VocabSlot *seek_text(const VocabBuild *b, const VocabText *t)
{
    return seek(b, t->ptr, t->len, bn_vocab_hash((const unsigned char *)t->ptr, t->len));
}

int vocab_is_first(const VocabBuild *b, int64_t i)
{
    return findable(b, i) && seek_text(b, b->src->tokens + i)->symbol == (uint32_t)i;
}

/* The symbol of a text, made where there is none. The text must last as long as b. */
static uint32_t intern(VocabBuild *b, const char *s, size_t n)
{
    VocabText text = {s, n};
    VocabSlot *slot = seek_text(b, &text);
    if (slot->symbol == BN_VOCAB_NONE) {
        b->symbol[b->nsymbols] = text;
        slot->symbol = b->nsymbols++;
    }
    return slot->symbol;
}

/* All tokens get their numbers, the findable ones a slot; there is room for `extra` symbols and
 * `bytes` of texts beyond the tokens. */
static int number_tokens(VocabBuild *b, uint64_t extra, uint64_t bytes)
{
    uint64_t most = (uint64_t)b->n + extra, slots = bn_vocab_slots(most);
    b->symbol = vocab_reserve(b, most, sizeof *b->symbol);
    b->slot = vocab_reserve(b, slots, sizeof *b->slot);
    b->text = vocab_reserve(b, bytes, 1);
    if (!b->symbol || !b->slot || !b->text)
        return 0;
    b->nslots = (uint32_t)slots;
    memset(b->slot, 0xff, (size_t)slots * sizeof *b->slot);
    b->nsymbols = (uint32_t)b->n;
    for (int64_t i = 0; i < b->n; i++) {
        const VocabText *t = b->src->tokens + i;
        b->symbol[i] = *t;
        if (!findable(b, i))
            continue;
        VocabSlot *slot = seek_text(b, t);
        if (slot->symbol == BN_VOCAB_NONE)
            slot->symbol = (uint32_t)i;
    }
    return 1;
}

static int add_pair(VocabBuild *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t merged)
{
    if (b->npairs == b->max_pairs) {
        size_t more = b->max_pairs ? 2 * b->max_pairs : 4096;
        bn_vocab_pair *p = more <= MAX_PAIRS ? realloc(b->pair, more * sizeof *p) : NULL;
        if (!p)
            return vocab_fail(b, "no memory for more than %zu merges", b->npairs);
        b->pair = p;
        b->max_pairs = more;
    }
    b->pair[b->npairs++] = (bn_vocab_pair){left, right, rank, merged};
    return 1;
}

/* ---- byte-level BPE ---- */

/* GPT-2 writes bytes as printable characters: these as themselves, the others from 256 on. */
static void make_alphabet(VocabBuild *b, uint32_t code_of[256])
{
    uint32_t next = 256;
    for (int i = 0; i < 512; i++)
        b->alphabet[i] = 256;
    for (uint32_t c = 0; c < 256; c++) {
        int plain = (c > 32 && c < 127) || (c > 160 && c != 173);
        code_of[c] = plain ? c : next++;
        b->alphabet[code_of[c]] = (uint16_t)c;
    }
}

/* Every byte is a symbol, and a token or else the unknown token. */
static int number_bytes(VocabBuild *b)
{
    uint32_t code_of[256];
    make_alphabet(b, code_of);
    for (int c = 0; c < 256; c++) {
        char *s = b->text + b->text_used;
        size_t n = bn_vocab_encode(code_of[c], (unsigned char *)s);
        uint32_t symbol = intern(b, s, n);
        b->text_used += n;
        b->head.start[c] = (int32_t)symbol;
        b->head.byte[c] = symbol < (uint32_t)b->n ? (int32_t)symbol : b->head.unk;
        if (b->head.byte[c] < 0)
            return vocab_fail(b,
                              "no token stands for byte 0x%02X (\"%.*s\"), and there is no unknown "
                              "token: some texts could not be written",
                              c, (int)n, s);
    }
    return 1;
}

/* "left right" at the first space after the first byte, as everyone reads it. */
static int number_merge(VocabBuild *b, int64_t i)
{
    const VocabText *m = b->src->merges + i;
    if (!m->ptr || m->len < 3 || m->len > 2 * VOCAB_MAX_TEXT + 1)
        return vocab_fail(b, "merge %lld is %zu bytes long; possible are 3 to %d", (long long)i,
                          m->len, 2 * VOCAB_MAX_TEXT + 1);
    const char *space = memchr(m->ptr + 1, ' ', m->len - 2);
    if (!space)
        return vocab_fail(b, "merge %lld is not two symbols with a space between", (long long)i);
    size_t nleft = (size_t)(space - m->ptr), nright = m->len - nleft - 1;
    char *both = b->text + b->text_used;
    memcpy(both, m->ptr, nleft);
    memcpy(both + nleft, space + 1, nright);
    uint32_t left = intern(b, both, nleft), right = intern(b, both + nleft, nright);
    uint32_t before = b->nsymbols, merged = intern(b, both, nleft + nright);
    if (left >= (uint32_t)b->n || right >= (uint32_t)b->n || merged >= before)
        b->text_used += nleft + nright;
    return add_pair(b, left, right, (uint32_t)i, merged);
}

static int build_bpe(VocabBuild *b)
{
    uint64_t bytes = 1024;
    for (int64_t i = 0; i < b->src->nmerges; i++)
        bytes += b->src->merges[i].len < 3 * VOCAB_MAX_TEXT ? b->src->merges[i].len : 0;
    if (!number_tokens(b, 256 + 3 * (uint64_t)b->src->nmerges, bytes) || !number_bytes(b))
        return 0;
    for (int64_t i = 0; i < b->src->nmerges; i++)
        if (!number_merge(b, i))
            return 0;
    return 1;
}

/* ---- SentencePiece ---- */

typedef struct Chars { /* code points, each once: a bit each, and a list */
    uint64_t *used;
    uint32_t *code;
    uint32_t n, room;
} Chars;

static int mark_char(VocabBuild *b, Chars *c, uint32_t code)
{
    uint64_t bit = (uint64_t)1 << code % 64;
    if (c->used[code / 64] & bit)
        return 1;
    if (c->n == c->room) {
        uint32_t room = c->room ? 2 * c->room : 256;
        uint32_t *more = realloc(c->code, room * sizeof *more);
        if (!more)
            return vocab_fail(b, "no memory for the tokenizer's tables");
        c->code = more;
        c->room = room;
    }
    c->used[code / 64] |= bit;
    c->code[c->n++] = code;
    return 1;
}

/* Marks the characters of all tokens; learns whether spaces only ever lead. */
static int mark_chars(VocabBuild *b, Chars *c)
{
    b->head.flags |= BN_VOCAB_CUT_SPACES;
    if (!mark_char(b, c, BN_VOCAB_SPACE))
        return 0;
    for (int64_t i = 0; i < b->n; i++) {
        const unsigned char *s = (const unsigned char *)b->src->tokens[i].ptr;
        uint32_t code, before = BN_VOCAB_SPACE;
        if (!findable(b, i))
            continue;
        for (size_t at = 0; at < b->src->tokens[i].len; before = code) {
            at += bn_vocab_decode(s + at, b->src->tokens[i].len - at, &code);
            if (!mark_char(b, c, code))
                return 0;
            if (code == BN_VOCAB_SPACE && before != BN_VOCAB_SPACE)
                b->head.flags &= ~(uint32_t)BN_VOCAB_CUT_SPACES;
        }
    }
    return 1;
}

static int by_code(const void *left, const void *right)
{
    uint32_t l = *(const uint32_t *)left, r = *(const uint32_t *)right;
    return (l > r) - (l < r);
}

static int number_chars(VocabBuild *b)
{
    Chars c = {.used = vocab_reserve(b, CODES / 64, sizeof *c.used)};
    int good = c.used && mark_chars(b, &c) && number_tokens(b, c.n, 4 * (uint64_t)c.n) &&
               (b->chars = vocab_reserve(b, c.n, sizeof *b->chars)) != NULL;
    if (good)
        qsort(c.code, c.n, sizeof *c.code, by_code);
    for (uint32_t i = 0; good && i < c.n; i++) {
        char *s = b->text + b->text_used;
        size_t n = bn_vocab_encode(c.code[i], (unsigned char *)s);
        b->text_used += n;
        b->chars[b->nchars++] = (bn_vocab_char){c.code[i], intern(b, s, n)};
    }
    free(c.used);
    free(c.code);
    return good;
}

/* Where characters start: ASCII as itself, the space as U+2581. */
static void start_chars(VocabBuild *b)
{
    for (int c = 0; c < 256; c++)
        b->head.start[c] = -1 - c;
    for (uint32_t i = 0; i < b->nchars; i++) {
        uint32_t code = b->chars[i].code, symbol = b->chars[i].symbol;
        if (code == BN_VOCAB_SPACE)
            b->head.start[' '] = (int32_t)symbol;
        else if (code < 128 && code != ' ')
            b->head.start[code] = (int32_t)symbol;
    }
}

typedef struct Scored {
    float score;
    uint32_t token;
} Scored;

static int by_score(const void *left, const void *right)
{
    const Scored *l = left, *r = right;
    if (l->score != r->score)
        return l->score > r->score ? -1 : 1;
    return l->token < r->token ? -1 : l->token > r->token;
}

/* Dense ranks, best score first; equal scores share one, so that the left pair goes first. */
static int rank_tokens(VocabBuild *b)
{
    Scored *s = vocab_reserve(b, (uint64_t)b->n, sizeof *s);
    b->rank = vocab_reserve(b, (uint64_t)b->n, sizeof *b->rank);
    if (!s || !b->rank) {
        free(s);
        return 0;
    }
    for (int64_t i = 0; i < b->n; i++)
        s[i] = (Scored){b->src->scores[i], (uint32_t)i};
    qsort(s, (size_t)b->n, sizeof *s, by_score);
    for (int64_t i = 0, rank = 0; i < b->n; i++) {
        rank += i > 0 && s[i].score < s[i - 1].score;
        b->rank[s[i].token] = (uint32_t)rank;
    }
    free(s);
    return 1;
}

/* A pair for each way to cut token i into two symbols. prefix[k]: the hash of its first k bytes. */
static int cut_token(VocabBuild *b, int64_t i, const uint64_t *power)
{
    const VocabText *t = b->src->tokens + i;
    const unsigned char *s = (const unsigned char *)t->ptr;
    uint64_t prefix[VOCAB_MAX_TEXT + 1];
    uint32_t code;
    prefix[0] = 0;
    for (size_t k = 0; k < t->len; k++)
        prefix[k + 1] = prefix[k] * BN_VOCAB_BASE + s[k] + 1;
    for (size_t k = bn_vocab_decode(s, t->len, &code); k < t->len;
         k += bn_vocab_decode(s + k, t->len - k, &code)) {
        size_t rest = t->len - k;
        uint32_t left = seek(b, t->ptr, k, prefix[k])->symbol;
        if (left == BN_VOCAB_NONE)
            continue;
        uint64_t h = prefix[t->len] - prefix[k] * power[rest];
        uint32_t right = seek(b, t->ptr + k, rest, h)->symbol;
        if (right != BN_VOCAB_NONE && !add_pair(b, left, right, b->rank[i], (uint32_t)i))
            return 0;
    }
    return 1;
}

/* Every byte has a token: <0x41>, else the character itself, else the unknown token. */
static int number_spm_bytes(VocabBuild *b)
{
    for (int c = 0; c < 256; c++) {
        char text = (char)c;
        uint32_t symbol = seek_text(b, &(VocabText){&text, 1})->symbol;
        b->head.byte[c] = symbol < (uint32_t)b->n ? (int32_t)symbol : b->head.unk;
    }
    for (int64_t i = b->n; i-- > 0;) {
        int value = vocab_type(b, i) == VOCAB_BYTE ? vocab_byte(b->src->tokens + i) : 0;
        if (value < 0)
            return vocab_fail(b, "token %lld is a byte by type, but its text is not like <0x41>",
                              (long long)i);
        if (vocab_type(b, i) == VOCAB_BYTE)
            b->head.byte[value] = (int32_t)i;
    }
    for (int c = 0; c < 256; c++)
        if (b->head.byte[c] < 0)
            return vocab_fail(b,
                              "no token stands for byte 0x%02X (<0x%02X>), and there is no unknown "
                              "token: some texts could not be written",
                              c, c);
    return 1;
}

/* Merge i of a SentencePiece in JSON, between tokens that text can become. */
static int list_pair(VocabBuild *b, int64_t i)
{
    const VocabText *m = b->src->merges + i;
    const char *space = m->ptr && m->len > 2 ? memchr(m->ptr + 1, ' ', m->len - 2) : NULL;
    char both[2 * VOCAB_MAX_TEXT];
    if (!space || m->len > sizeof both)
        return vocab_fail(b, "merge %lld is not two symbols with a space between", (long long)i);
    VocabText left = {m->ptr, (size_t)(space - m->ptr)}, right = {space + 1, m->len - left.len - 1};
    memcpy(both, left.ptr, left.len);
    memcpy(both + left.len, right.ptr, right.len);
    uint32_t l = seek_text(b, &left)->symbol, r = seek_text(b, &right)->symbol,
             merged = seek_text(b, &(VocabText){both, left.len + right.len})->symbol;
    if (l == BN_VOCAB_NONE || r == BN_VOCAB_NONE || merged == BN_VOCAB_NONE)
        return 1;
    return add_pair(b, l, r, (uint32_t)i, merged);
}

static int build_spm(VocabBuild *b)
{
    uint64_t power[VOCAB_MAX_TEXT + 1] = {1};
    for (int i = 0; i < VOCAB_MAX_TEXT; i++)
        power[i + 1] = power[i] * BN_VOCAB_BASE;
    if (!number_chars(b) || !rank_tokens(b) || !number_spm_bytes(b))
        return 0;
    start_chars(b);
    for (int64_t i = 0; b->src->by_merges && i < b->src->nmerges; i++)
        if (!list_pair(b, i))
            return 0;
    for (int64_t i = 0; !b->src->by_merges && i < b->n; i++)
        if (vocab_is_first(b, i) && !cut_token(b, i, power))
            return 0;
    return 1;
}

int vocab_begin(VocabBuild *b)
{
    if (!check_kind(b) || !check_tokens(b))
        return 0;
    if (!b->own.types && !(b->own.types = b->guessed = guess_types(b)))
        return 0;
    return settle(b);
}

int vocab_symbols(VocabBuild *b)
{
    return b->head.kind == BN_VOCAB_BPE ? build_bpe(b) : build_spm(b);
}
