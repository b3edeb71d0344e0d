/* normalizer.c: what tokenizer.json does to a text before merges, as steps of the tables.
 *
 * One idea: a list of steps (ir/vocab_normal.c) says most of what normalizers do, and the tables
 * have a rule for where SentencePiece's space goes; what neither can say is refused by its name,
 * since a near miss gives a model that talks nonsense.
 *
 * In a SentencePiece in JSON the normalizer, or Metaspace among the pre-tokenizers, puts U+2581 in
 * the place of spaces and before texts. To the tables a space and that mark are one symbol: the
 * replacement needs no step, but nothing may come behind it.
 */
#include <string.h>

#include "checkpoint/tokenizer.h"
#include "ir/escape.h"

#define SPACE_MARK "\u2581"

static void add_word(Tokenizer *z, const char *word)
{
    z->step = grow(z->s, z->step, z->nsteps, sizeof *z->step);
    z->step[z->nsteps++] = (VocabText){word, strlen(word)};
}

_Noreturn static void refuse(const Tokenizer *z, const json_t *v, const char *why)
{
    fail(z->s, z->at, "the normalizer %s%s has no counterpart in bnc's tables%s",
         hf_type_shown(z, v), why,
         z->f->spm ? ""
                   : "; where the model's makers give a tokenizer.model, put it in the place of "
                     "tokenizer.json");
}

static void add_replace(Tokenizer *z, const json_t *v)
{
    const char *from = json_member_text(json_member(v, "pattern"), "String"),
               *to = json_member_text(v, "content"),
               *regex = json_member_text(json_member(v, "pattern"), "Regex");
    if (regex)
        refuse(z, v, format(z->s, " of the pattern %s", quote(z->s, regex, strlen(regex))));
    if (!from || !to || !*from)
        refuse(z, v, " without a String that it replaces");
    add_word(z, "replace");
    add_word(z, from);
    add_word(z, to);
}

static void add_strip(Tokenizer *z, const json_t *v)
{
    if (!json_is_false(json_member(v, "strip_left")))
        add_word(z, "strip-left");
    if (!json_is_false(json_member(v, "strip_right")))
        add_word(z, "strip-right");
}

static void add_prepend(Tokenizer *z, const json_t *v)
{
    const char *text = json_member_text(v, "prepend");
    if (!text)
        refuse(z, v, " without a text");
    add_word(z, "prepend");
    add_word(z, text);
}

/* One part of a normalizer that is none of SentencePiece's. */
static void add_part(Tokenizer *z, const json_t *v)
{
    static const char *const same[][2] = {{"NFC", "nfc"},
                                          {"NFD", "nfd"},
                                          {"NFKC", "nfkc"},
                                          {"NFKD", "nfkd"},
                                          {"Lowercase", "lowercase"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (hf_is(v, same[i][0])) {
            add_word(z, same[i][1]);
            return;
        }
    if (hf_is(v, "Strip"))
        add_strip(z, v);
    else if (hf_is(v, "Replace"))
        add_replace(z, v);
    else if (hf_is(v, "Prepend"))
        add_prepend(z, v);
    else
        refuse(z, v, "");
}

/* Lists in lists become one; part by part to `take`. */
static void each_part(Tokenizer *z, const json_t *v, int depth,
                      void (*take)(Tokenizer *, const json_t *))
{
    const json_t *p;
    if (depth > 8)
        fail(z->s, z->at, "normalizers stand in each other more than 8 deep");
    for (size_t i = 0; (p = hf_part(v, "normalizers", i)); i++)
        if (hf_is(p, "Sequence"))
            each_part(z, p, depth + 1, take);
        else
            take(z, p);
}

/* ---- byte-level BPE ---- */

static const struct {
    const char *pattern, *pre;
} patterns[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "llama-bpe"},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "qwen2"},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", "gpt-2"},
};

/* The pre-tokenizer is ByteLevel with its own pattern (GPT-2's), or one Split before a ByteLevel
 * without; NULL where it is neither, or of another pattern. */
static const char *known_cut(const json_t *v)
{
    const json_t *first = hf_part(v, "pretokenizers", 0), *second = hf_part(v, "pretokenizers", 1);
    const json_t *level = second ? second : first, *split = second ? first : NULL;
    const char *regex = json_member_text(json_member(split, "pattern"), "Regex"),
               *behavior = json_member_text(split, "behavior");
    bool own = !json_is_false(json_member(level, "use_regex"));
    if (hf_part(v, "pretokenizers", 2) && hf_is(v, "Sequence"))
        return NULL;
    if (!level || !hf_is(level, "ByteLevel") ||
        json_is_true(json_member(level, "add_prefix_space")))
        return NULL;
    if (!split)
        return own ? "gpt-2" : NULL;
    if (own || !hf_is(split, "Split") || !regex || !behavior || strcmp(behavior, "Isolated") ||
        json_is_true(json_member(split, "invert")))
        return NULL;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (!strcmp(regex, patterns[i].pattern))
            return patterns[i].pre;
    return NULL;
}

const char *hf_pretokenizer(const Tokenizer *z, const char *given)
{
    const json_t *v = json_member(z->f->own, "pre_tokenizer"),
                 *level = hf_part_of_type(v, "pretokenizers", "ByteLevel");
    const char *found = known_cut(v);
    if (json_is_true(json_member(level, "add_prefix_space")))
        fail(z->s, z->at,
             "ByteLevel has add_prefix_space: true, a space before each text, which bnc's tables "
             "cannot put for a byte-level BPE");
    if (given)
        return given;
    if (!found)
        fail(z->s, z->at,
             "the pre-tokenizer is none that bnc knows by its pattern, and another one would give "
             "wrong tokens; if the model's makers name it, give that: --pre=NAME of %s",
             vocab_pretokenizers);
    return found;
}

void hf_normalizer_bpe(Tokenizer *z)
{
    each_part(z, json_member(z->f->own, "normalizer"), 0, add_part);
}

/* ---- SentencePiece in JSON ---- */

static void take_spm_part(Tokenizer *z, const json_t *v)
{
    const char *from = json_member_text(json_member(v, "pattern"), "String"),
               *to = json_member_text(v, "content"), *prefix = json_member_text(v, "prepend");
    bool prepend = hf_is(v, "Prepend") && prefix && !strcmp(prefix, SPACE_MARK) && !z->prepends,
         replace =
             hf_is(v, "Replace") && from && to && !strcmp(from, " ") && !strcmp(to, SPACE_MARK);
    z->prepends |= prepend;
    z->marks |= replace;
    if (prepend || replace)
        return;
    if (z->prepends || z->marks)
        refuse(z, v, " behind what puts \"" SPACE_MARK "\"");
    add_part(z, v);
}

static void take_metaspace(Tokenizer *z, const json_t *v)
{
    const char *scheme = json_member_text(v, "prepend_scheme"),
               *mark = json_member_text(v, "replacement");
    bool old = !json_is_false(json_member(v, "add_prefix_space"));
    if (mark && strcmp(mark, SPACE_MARK))
        fail(z->s, z->at, "Metaspace writes %s for a space; bnc's tables write \"" SPACE_MARK "\"",
             quote(z->s, mark, strlen(mark)));
    scheme = scheme ? scheme : old ? "always" : "never";
    if (!strcmp(scheme, "always"))
        z->prefix = "lacking";
    else if (!strcmp(scheme, "first"))
        z->prefix = "first";
    else if (strcmp(scheme, "never"))
        fail(z->s, z->at, "prepend_scheme of Metaspace is %s; known: always, first, never",
             quote(z->s, scheme, strlen(scheme)));
    z->split_spaces = !json_is_false(json_member(v, "split"));
    if (z->split_spaces)
        note(z->s, "Metaspace splits: every space begins a word, and no token holds two of them");
    z->marks = true;
}

/* tokenizer.json that carries SentencePiece's own character map: tokenizer.model has all of it. */
static bool is_precompiled(const json_t *v)
{
    return hf_part_of_type(v, "normalizers", "Precompiled") != NULL;
}

static void spm_by_model(Tokenizer *z)
{
    HfTokens *t = &z->t;
    bool user = false;
    for (int64_t i = 0; i < t->n; i++)
        if (t->type[i] == VOCAB_USER) {
            user = true;
            t->flags[i] |=
                VOCAB_NORMALIZED; /* SentencePiece looks for them behind its normalizer */
        }
    if (t->charsmap_bytes || t->remove_extra || t->suffix || user)
        add_word(z, "sentencepiece");
    if (t->space_prefix && !t->suffix && json_is_false(json_member(z->f->config, "legacy")))
        z->prefix = "first"; /* transformers' rule for those that say so */
}

void hf_normalizer_spm(Tokenizer *z)
{
    const json_t *normal = json_member(z->f->own, "normalizer"),
                 *cut = json_member(z->f->own, "pre_tokenizer"), *p;
    if (!z->f->own || (z->f->spm && is_precompiled(normal))) {
        spm_by_model(z);
        return;
    }
    z->t.charsmap = NULL; /* tokenizer.json counts, as in transformers */
    z->t.charsmap_bytes = 0;
    z->t.remove_extra = z->t.suffix = false;
    each_part(z, normal, 0, take_spm_part);
    for (size_t i = 0; (p = hf_part(cut, "pretokenizers", i)); i++)
        if (hf_is(p, "Metaspace") && i == 0)
            take_metaspace(z, p);
        else
            fail(z->s, z->at,
                 "the pre-tokenizer %s is not SentencePiece's: convert from "
                 "tokenizer.model, without tokenizer.json",
                 hf_type_shown(z, p));
    if (!z->marks)
        fail(z->s, z->at, "nothing turns spaces into \"" SPACE_MARK "\", as SentencePiece does");
    z->t.space_prefix = z->prepends || z->prefix;
}

/* User-defined tokens that are looked for in the normalized text want its mark before a text there,
 * not put later; and special ones are found as they are. */
void hf_normalizer_finish(Tokenizer *z, bool spm)
{
    bool late = false, odd = false, changes = z->nsteps || z->prepends;
    for (int64_t i = 0; i < z->t.n; i++)
        if (z->t.flags[i] & VOCAB_NORMALIZED) {
            late |= z->t.type[i] == VOCAB_USER;
            odd |= z->t.type[i] == VOCAB_CONTROL;
        }
    if (odd && changes && z->f->own)
        note(z->s,
             "special tokens with normalized: true are found in a text as it was given, not in "
             "the normalized one");
    if (!spm || !z->f->own || !z->prepends || !(late || z->prefix))
        return;
    if (z->marks)
        for (int i = 0; i < 3; i++)
            add_word(z, i == 0 ? "replace" : i == 1 ? SPACE_MARK : " ");
    add_word(z, "prepend");
    add_word(z, " ");
    if (!z->prefix)
        z->prefix = "none";
}
