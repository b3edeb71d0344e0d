/* vocab_normal.c: the steps of a tokenizer's normalizer, and the tables that they need.
 *
 * One idea: a normalizer is a list of names, as a GGUF file can hold it, some of them with texts
 * behind them; each becomes one or a few steps of bn_vocab.h:
 *
 *     nfc, nfd, nfkc, nfkd     Unicode's normal forms: decompose, order marks, compose
 *     lowercase                code point by code point, final sigma like any other
 *     replace FROM TO          every FROM, leftmost first
 *     prepend TEXT             before a text that is not empty
 *     strip-left, strip-right  white space
 *     sentencepiece            what its NormalizerSpec says: character map, spaces
 *
 * Mappings are those of unicode_normal.h. Of each step it is computed how much longer it can make a
 * text, since callers of bn_tokenize bring the memory.
 */
#include "vocab_build.h"

#include "unicode_normal.h"

#include <stdlib.h>
#include <string.h>

#define ROWS(a) (sizeof(a) / sizeof *(a))
enum { LONGEST_TEXT = 64, LONGEST_KEY = 256, EXPANDED = 64 };

/* ---- texts and steps ---- */

static int keep_text(VocabBuild *b, const void *text, size_t len, uint32_t *at)
{
    if (len > b->extra_room - b->extra_used) {
        size_t room = 2 * b->extra_room + len + 4096;
        unsigned char *more = room < UINT32_MAX ? realloc(b->extra, room) : NULL;
        if (!more)
            return vocab_fail(b, "no memory for the normalizer's tables");
        b->extra = more;
        b->extra_room = room;
    }
    memcpy(b->extra + b->extra_used, text, len);
    *at = (uint32_t)b->extra_used;
    b->extra_used += len;
    return 1;
}

/* Appends a step that makes at most num / den bytes of one. */
static int add_step(VocabBuild *b, bn_vocab_step step, size_t num, size_t den)
{
    uint64_t grow = (num + den - 1) / den;
    if (b->nsteps == VOCAB_MAX_STEPS)
        return vocab_fail(b, "a normalizer of more than %d steps", VOCAB_MAX_STEPS);
    b->step[b->nsteps++] = step;
    b->head.grow = (uint32_t)(b->head.grow * (grow > 1 ? grow : 1));
    if (grow > BN_VOCAB_GROW || b->head.grow > BN_VOCAB_GROW)
        return vocab_fail(b,
                          "the normalizer can make a text more than %u times as long; such a "
                          "tokenizer is not supported",
                          BN_VOCAB_GROW);
    return 1;
}

/* ---- code point to text ---- */

typedef struct Mapping {
    bn_vocab_map *row; /* [n], rows of MAP before they are hashed */
    uint32_t n;
    size_t num, den; /* the most that a row lengthens a text */
} Mapping;

static int add_mapping(VocabBuild *b, Mapping *m, uint32_t code, const uint32_t *to, int n)
{
    unsigned char text[4 * EXPANDED], own[4];
    size_t len = 0, from = bn_vocab_encode(code, own);
    for (int i = 0; i < n; i++)
        len += bn_vocab_encode(to[i], text + len);
    if (len * m->den > m->num * from) {
        m->num = len;
        m->den = from;
    }
    m->row[m->n] = (bn_vocab_map){code, 0, (uint32_t)len};
    return keep_text(b, text, len, &m->row[m->n++].at);
}

static int mapping_at(uint32_t code)
{
    size_t lo = 0, hi = ROWS(uni_mapping);
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (uni_mapping[mid].code <= code)
            lo = mid;
        else
            hi = mid;
    }
    return uni_mapping[lo].code == code ? (int)lo : -1;
}

/* The full decomposition of a code point; mappings lead to others, not in circles. */
static int expand(uint32_t code, int compat, uint32_t *out, int n)
{
    int i = mapping_at(code);
    if (i < 0 || (uni_mapping[i].compat && !compat)) {
        if (n < EXPANDED)
            out[n] = code;
        return n + (n < EXPANDED);
    }
    for (const uint32_t *to = uni_mapping[i].to; *to; to++)
        n = expand(*to, compat, out, n);
    return n;
}

/* The rows as a hash table behind those of earlier steps, and the step. */
static int add_map(VocabBuild *b, const Mapping *m, uint32_t flags)
{
    uint32_t slots = (uint32_t)bn_vocab_slots(m->n), at = b->nmap;
    bn_vocab_map *more = realloc(b->map, (at + slots) * sizeof *more);
    if (!more)
        return vocab_fail(b, "no memory for the normalizer's tables");
    b->map = more;
    b->nmap += slots;
    memset(more + at, 0xff, slots * sizeof *more);
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t slot = bn_vocab_slot(m->row[i].code, slots);
        while (more[at + slot].code != BN_VOCAB_NONE)
            slot = slot + 1 < slots ? slot + 1 : 0;
        more[at + slot] = m->row[i];
    }
    size_t hangul = flags & BN_STEP_UNICODE ? 3 : 1, most = (m->num + m->den - 1) / m->den;
    return add_step(b, (bn_vocab_step){BN_STEP_MAP, flags, at, slots, 0, 0},
                    most > hangul ? most : hangul, 1);
}

static int add_decomposition(VocabBuild *b, int compat)
{
    Mapping m = {.row = vocab_reserve(b, ROWS(uni_mapping), sizeof *m.row), .num = 1, .den = 1};
    int good = m.row != NULL;
    for (size_t i = 0; good && i < ROWS(uni_mapping); i++) {
        uint32_t to[EXPANDED];
        if (compat || !uni_mapping[i].compat)
            good = add_mapping(b, &m, uni_mapping[i].code, to,
                               expand(uni_mapping[i].code, compat, to, 0));
    }
    good = good && add_map(b, &m, BN_STEP_UNICODE);
    free(m.row);
    return good;
}

static int add_lower(VocabBuild *b)
{
    static const uint32_t dotted[] = {'i', 0x307}; /* U+0130, the one in SpecialCasing.txt */
    Mapping m = {.row = vocab_reserve(b, ROWS(uni_lower), sizeof *m.row), .num = 1, .den = 1};
    int good = m.row != NULL;
    for (size_t i = 0; good && i < ROWS(uni_lower); i++)
        good = uni_lower[i][0] == 0x130 ? add_mapping(b, &m, 0x130, dotted, 2)
                                        : add_mapping(b, &m, uni_lower[i][0], &uni_lower[i][1], 1);
    good = good && add_map(b, &m, 0);
    free(m.row);
    return good;
}

static int excluded(uint32_t code)
{
    size_t lo = 0, hi = ROWS(uni_excluded);
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (uni_excluded[mid][0] <= code)
            lo = mid;
        else
            hi = mid;
    }
    return uni_excluded[lo][0] == code;
}

/* Does composition make mapping i of its two code points? */
static int composes(size_t i)
{
    const uint32_t *to = uni_mapping[i].to;
    return !uni_mapping[i].compat && to[1] && !to[2] && !excluded(uni_mapping[i].code);
}

/* CLASS and COMPOSE, once for all steps. */
static int add_marks(VocabBuild *b)
{
    uint32_t pairs = 0;
    if (b->class)
        return 1;
    b->nclass = (uint32_t)bn_vocab_slots(ROWS(uni_class));
    for (size_t i = 0; i < ROWS(uni_mapping); i++)
        pairs += (uint32_t)composes(i);
    b->ncompose = (uint32_t)bn_vocab_slots(pairs);
    b->class = vocab_reserve(b, b->nclass, sizeof *b->class);
    b->compose = vocab_reserve(b, b->ncompose, sizeof *b->compose);
    if (!b->class || !b->compose)
        return 0;
    memset(b->class, 0xff, b->nclass * sizeof *b->class);
    memset(b->compose, 0xff, b->ncompose * sizeof *b->compose);
    for (size_t i = 0; i < ROWS(uni_class); i++) {
        uint32_t slot = bn_vocab_slot(uni_class[i][0], b->nclass);
        while (b->class[slot].code != BN_VOCAB_NONE)
            slot = slot + 1 < b->nclass ? slot + 1 : 0;
        b->class[slot] = (bn_vocab_char){uni_class[i][0], uni_class[i][1]};
    }
    for (size_t i = 0; i < ROWS(uni_mapping); i++) {
        const uint32_t *to = uni_mapping[i].to;
        if (!composes(i))
            continue;
        uint32_t slot = bn_vocab_slot(bn_vocab_pair_hash(to[0], to[1]), b->ncompose);
        while (b->compose[slot].left != BN_VOCAB_NONE)
            slot = slot + 1 < b->ncompose ? slot + 1 : 0;
        b->compose[slot] = (bn_vocab_pair){to[0], to[1], 0, uni_mapping[i].code};
    }
    return 1;
}

static int add_normal_form(VocabBuild *b, int compat, int compose)
{
    return add_decomposition(b, compat) && add_marks(b) &&
           add_step(b, (bn_vocab_step){.kind = BN_STEP_ORDER}, 1, 1) &&
           (!compose || add_step(b, (bn_vocab_step){.kind = BN_STEP_COMPOSE}, 1, 1));
}

/* ---- SentencePiece's character map ---- */

typedef struct Trie {
    VocabBuild *b;
    const uint32_t *unit;
    uint32_t n;
    const unsigned char *strings;
    size_t bytes;
    uint8_t *state; /* [n + 256] of nodes: 1 being walked, 2 done */
    uint16_t *deep; /* [n + 256]: the longest way on from a node that is done */
    size_t num, den;
} Trie;

/* Walks all keys below a node, each node once, `depth` bytes from the first. */
static int walk(Trie *t, uint32_t node, unsigned depth)
{
    unsigned deep = 0;
    int leaf;
    t->state[node] = 1;
    for (unsigned c = 1; c < 256; c++) {
        uint32_t next = node;
        if (!bn_vocab_walk(t->unit, t->n, (unsigned char)c, &next, &leaf))
            continue;
        if (leaf && (next >= t->n || (t->unit[next] & 0x7fffffff) >= t->bytes))
            return vocab_fail(t->b, "the precompiled_charsmap is damaged: a key's text lies "
                                    "outside of it");
        if (next >= t->n + 256)
            continue; /* no unit is there: the key ends */
        if (t->state[next] == 1 || depth + 1 >= LONGEST_KEY)
            return vocab_fail(t->b,
                              "the precompiled_charsmap is damaged: its keys run in a circle "
                              "or are longer than %d bytes",
                              LONGEST_KEY);
        if (!t->state[next] && !walk(t, next, depth + 1))
            return 0;
        if (depth + 1u + t->deep[next] > LONGEST_KEY)
            return vocab_fail(t->b, "the precompiled_charsmap has keys of more than %d bytes",
                              LONGEST_KEY);
        deep = t->deep[next] + 1u > deep ? t->deep[next] + 1u : deep;
    }
    t->state[node] = 2;
    t->deep[node] = (uint16_t)deep;
    return 1;
}

/* How much a key can lengthen a text: nodes in the order of their distance from the first. */
static int measure(Trie *t, uint32_t first)
{
    uint32_t *queue = vocab_reserve(t->b, (uint64_t)t->n + 256, sizeof *queue), n = 0;
    int leaf;
    if (!queue)
        return 0;
    memset(t->deep, 0, ((size_t)t->n + 256) * sizeof *t->deep);
    queue[n++] = first;
    t->state[first] = 3;
    for (uint32_t i = 0; i < n; i++)
        for (unsigned c = 1; c < 256; c++) {
            uint32_t next = queue[i];
            if (!bn_vocab_walk(t->unit, t->n, (unsigned char)c, &next, &leaf))
                continue;
            size_t from = t->deep[queue[i]] + 1u;
            if (leaf) {
                const unsigned char *text = t->strings + (t->unit[next] & 0x7fffffff);
                const unsigned char *end = memchr(text, 0, t->bytes - (size_t)(text - t->strings));
                size_t len = end ? (size_t)(end - text) : 0;
                if (len * t->den > t->num * from) {
                    t->num = len;
                    t->den = from;
                }
            }
            if (next < t->n + 256 && t->state[next] != 3) {
                t->state[next] = 3;
                t->deep[next] = (uint16_t)from;
                queue[n++] = next;
            }
        }
    free(queue);
    return 1;
}

/* u32 bytes of the trie, the trie, texts that end with a NUL each. */
static int read_charsmap(VocabBuild *b, Trie *t)
{
    const VocabSource *s = b->src;
    const uint8_t *p = s->charsmap;
    uint32_t size = 0;
    for (int i = 0; i < 4 && s->charsmap_bytes >= 4; i++)
        size |= (uint32_t)p[i] << 8 * i;
    if (s->charsmap_bytes < 9 || size < 4 || size % 4 || size > s->charsmap_bytes - 5 ||
        s->charsmap_bytes > 1 << 26 || p[s->charsmap_bytes - 1])
        return vocab_fail(b,
                          "the precompiled_charsmap is damaged: its parts do not fill its %lld "
                          "bytes",
                          (long long)s->charsmap_bytes);
    b->ntrie = t->n = size / 4;
    b->trie = vocab_reserve(b, t->n, sizeof *b->trie);
    t->state = vocab_reserve(b, (uint64_t)t->n + 256, sizeof *t->state);
    t->deep = vocab_reserve(b, (uint64_t)t->n + 256, sizeof *t->deep);
    if (!b->trie || !t->state || !t->deep)
        return 0;
    for (uint32_t i = 0; i < size; i++)
        b->trie[i / 4] |= (uint32_t)p[4 + i] << i % 4 * 8;
    t->unit = b->trie;
    t->strings = p + 4 + size;
    t->bytes = (size_t)s->charsmap_bytes - 4 - size;
    uint32_t first = bn_vocab_node(0, t->unit[0]);
    if (first >= t->n + 256)
        return vocab_fail(b, "the precompiled_charsmap is damaged: it has no keys");
    return walk(t, first, 0) && measure(t, first);
}

static int add_sentencepiece(VocabBuild *b)
{
    const VocabSource *s = b->src;
    Trie t = {.b = b, .num = 1, .den = 1};
    bn_vocab_step step = {.kind = BN_STEP_SPM};
    int good = 1, spaced = b->head.flags & BN_VOCAB_SPACE_PREFIX && !s->prefix;
    if (s->remove_extra_spaces)
        step.flags |= BN_STEP_SQUEEZE;
    if (spaced)
        step.flags |= s->space_suffix ? BN_STEP_SUFFIX : BN_STEP_PREFIX;
    if (s->charsmap_bytes) {
        t.num = 3; /* a byte that is no UTF-8 becomes U+FFFD */
        good = read_charsmap(b, &t);
        good = good && keep_text(b, t.strings, t.bytes, &step.at);
        step.len = (uint32_t)t.bytes;
    }
    free(t.state);
    free(t.deep);
    return good && add_step(b, step, t.num, t.den);
}

/* ---- the list ---- */

static int is_word(const VocabText *t, const char *word)
{
    return t->len == strlen(word) && !memcmp(t->ptr, word, t->len);
}

/* Text i of the list, an argument. */
static const VocabText *argument(VocabBuild *b, int64_t i)
{
    const VocabSource *s = b->src;
    if (i < s->nsteps && s->steps[i].len <= LONGEST_TEXT)
        return &s->steps[i];
    vocab_fail(b, "a step of the normalizer lacks a text, or one has more than %d bytes",
               LONGEST_TEXT);
    return NULL;
}

static int add_prepend(VocabBuild *b, int64_t i)
{
    const VocabText *t = argument(b, i);
    bn_vocab_step step = {.kind = BN_STEP_PREPEND};
    if (!t || !keep_text(b, t->ptr, t->len, &step.at))
        return 0;
    step.len = (uint32_t)t->len;
    return add_step(b, step, t->len > 1 ? t->len + 1 : 1, 1);
}

static int add_replace(VocabBuild *b, int64_t i)
{
    const VocabText *from = argument(b, i), *to = argument(b, i + 1);
    bn_vocab_step step = {.kind = BN_STEP_REPLACE};
    if (!from || !to)
        return 0;
    if (!from->len)
        return vocab_fail(b, "the normalizer replaces an empty text");
    if (!keep_text(b, from->ptr, from->len, &step.at) ||
        !keep_text(b, to->ptr, to->len, &step.with))
        return 0;
    step.len = (uint32_t)from->len;
    step.with_len = (uint32_t)to->len;
    return add_step(b, step, to->len, from->len);
}

static int build_steps(VocabBuild *b)
{
    const VocabSource *s = b->src;
    static const struct {
        const char *word;
        int compat, compose;
    } forms[] = {{"nfc", 0, 1}, {"nfd", 0, 0}, {"nfkc", 1, 1}, {"nfkd", 1, 0}};
    b->head.grow = 1;
    if (!s->nsteps && (s->charsmap_bytes || s->remove_extra_spaces || s->space_suffix))
        return add_sentencepiece(b);
    for (int64_t i = 0; i < s->nsteps; i++) {
        const VocabText *t = s->steps + i;
        int done = 0, good = 1;
        for (size_t k = 0; k < ROWS(forms) && !done; k++)
            if ((done = is_word(t, forms[k].word)) != 0)
                good = add_normal_form(b, forms[k].compat, forms[k].compose);
        if (done)
            ;
        else if (is_word(t, "lowercase"))
            good = add_lower(b);
        else if (is_word(t, "strip-left") || is_word(t, "strip-right"))
            good = add_step(
                b,
                (bn_vocab_step){.kind = BN_STEP_STRIP,
                                .flags = is_word(t, "strip-left") ? BN_STEP_LEFT : BN_STEP_RIGHT},
                1, 1);
        else if (is_word(t, "prepend"))
            good = add_prepend(b, ++i);
        else if (is_word(t, "replace"))
            good = add_replace(b, (i += 2) - 1);
        else if (is_word(t, "sentencepiece") && b->head.kind == BN_VOCAB_SPM)
            good = add_sentencepiece(b);
        else
            return vocab_fail(b, "the normalizer has a step '%.*s', which is not known",
                              (int)(t->len < 40 ? t->len : 40), t->len ? t->ptr : "");
        if (!good)
            return 0;
    }
    return 1;
}

/* Where SentencePiece's space goes. */
int vocab_spaces(VocabBuild *b)
{
    static const struct {
        const char *name;
        uint32_t flags;
    } row[] = {{"none", 0},
               {"each", BN_VOCAB_PREFIX_EACH},
               {"lacking", BN_VOCAB_PREFIX_EACH | BN_VOCAB_PREFIX_LACKING},
               {"first", BN_VOCAB_PREFIX_FIRST | BN_VOCAB_PREFIX_LACKING}};
    const VocabSource *s = b->src;
    const char *prefix = s->prefix ? s->prefix : "each";
    uint32_t *flags = &b->head.flags;
    size_t i = 0, rows = sizeof row / sizeof *row;
    int asked = s->charsmap_bytes || s->remove_extra_spaces || s->space_suffix;
    if (s->only_merges)
        *flags &= ~(uint32_t)BN_VOCAB_WHOLE_WORDS;
    if (b->head.kind != BN_VOCAB_SPM)
        return asked || s->split_spaces || s->prefix
                   ? vocab_fail(b, "a byte-level BPE does not treat spaces as SentencePiece does")
                   : build_steps(b);
    while (i < rows && strcmp(prefix, row[i].name))
        i++;
    if (i == rows)
        return vocab_fail(
            b, "the space before a text goes '%.40s'; known: none, each, lacking, first", prefix);
    vocab_flag(b, BN_VOCAB_SPACE_PREFIX, s->add_space_prefix);
    *flags &= ~(uint32_t)BN_VOCAB_PREFIX_EACH;
    for (int64_t k = 0; k < s->nsteps; k++)
        asked |= s->steps[k].len == 13 && !memcmp(s->steps[k].ptr, "sentencepiece", 13);
    if (*flags & BN_VOCAB_SPACE_PREFIX && (s->prefix || !asked))
        *flags |= row[i].flags;
    if (s->split_spaces)
        *flags |= BN_VOCAB_SPLIT_SPACES;
    if (!build_steps(b))
        return 0;
    if (s->space_suffix)
        *flags &= ~(uint32_t)BN_VOCAB_SPACE_PREFIX; /* nothing to drop at the start */
    return 1;
}
