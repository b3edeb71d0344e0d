/* tokenizer.c: tokenizer.json and its companions to the tokenizer keys of a GGUF file.
 *
 * One idea: two kinds are known by what they are made of. A byte-level BPE (ByteLevel in its
 * pre-tokenizer) becomes "gpt2" with its merges; a BPE with byte fallback is SentencePiece in JSON
 * and becomes "llama", where a token's score is minus the rank of the first merge that makes it, or
 * its own score where tokenizer.model is there. Anything else is refused: a near miss gives a model
 * that talks nonsense.
 */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "ir/escape.h"
#include "ir/vocab_build.h"

typedef struct Tokenizer {
    Session *s;
    const HfConfig *c;
    HfTokens t;
    const json_t *own;        /* tokenizer.json; NULL: absent, as each of these may be */
    const json_t *config;     /* tokenizer_config.json */
    const json_t *map;        /* special_tokens_map.json */
    const json_t *generation; /* generation_config.json */
    const json_t *model;      /* "model" of tokenizer.json */
    Loc at;                   /* tokenizer.json or tokenizer.model */
} Tokenizer;

static const char *path_of(const Tokenizer *z, const char *file)
{
    return format(z->s, "%s/%s", z->c->dir, file);
}

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return v && !json_is_null(v) ? v : NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_or_null(member(object, key));
}

static bool is_type(const json_t *object, const char *type)
{
    const char *own = text_of(object, "type");
    return own && !strcmp(own, type);
}

/* The parts of a Sequence, which stand under `list`, or the thing itself; NULL after the last. */
static const json_t *part(const json_t *v, const char *list, size_t i)
{
    if (v && is_type(v, "Sequence"))
        return json_array_get(member(v, list), i);
    return i == 0 ? v : NULL;
}

static const json_t *part_of_type(const json_t *v, const char *list, const char *type)
{
    const json_t *p;
    for (size_t i = 0; (p = part(v, list, i)); i++)
        if (is_type(p, type))
            return p;
    return NULL;
}

static const char *type_shown(const Tokenizer *z, const json_t *v)
{
    const char *type = text_of(v, "type");
    return type ? quote(z->s, type, strlen(type)) : "(without a type)";
}

/* ---- tokens ---- */

int64_t hf_token_find(const HfTokens *t, const char *text)
{
    int64_t id;
    return json_whole(json_object_get(t->ids, text), &id) ? id : -1;
}

static int64_t number_of(const json_t *v)
{
    int64_t id;
    return json_whole(v, &id) ? id : -1;
}

/* What a model adds to its vocabulary: control tokens where special, else words that a text may
 * hold. A token that the vocabulary has already keeps its number. */
static void add_token(Tokenizer *z, int64_t id, const char *text, bool special)
{
    int64_t old = text ? hf_token_find(&z->t, text) : -1;
    int type = special ? VOCAB_CONTROL : VOCAB_USER;
    if (!text)
        fail(z->s, z->at, "an added token has no content");
    if (old < 0)
        hf_token_set(&z->t, id, text, strlen(text), type);
    else if (z->t.type[old] != VOCAB_UNKNOWN)
        z->t.type[old] = type;
}

/* tokenizer.json lists them; without it the other files do. */
static void read_added(Tokenizer *z)
{
    const json_t *list = member(z->own, "added_tokens"),
                 *decoder = member(z->config, "added_tokens_decoder");
    const char *key;
    json_t *v;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        add_token(z, number_of(member(a, "id")), text_of(a, "content"),
                  json_is_true(member(a, "special")));
    }
    if (z->own)
        return;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, v)
        add_token(z, strtoll(key, NULL, 10), text_of(v, "content"),
                  json_is_true(member(v, "special")));
    json_t *added = decoder ? NULL : json_file(z->s, path_of(z, "added_tokens.json"));
    json_object_foreach(added, key, v)
        add_token(z, number_of(v), key, false);
}

/* The vocabulary of tokenizer.json. */
static void read_vocabulary(Tokenizer *z, bool bytes)
{
    const json_t *vocab = member(z->model, "vocab");
    const char *key, *unk = text_of(z->model, "unk_token");
    json_t *v;
    if (!json_is_object(vocab))
        fail(z->s, z->at, "model.vocab is no object of tokens and their numbers");
    json_object_foreach((json_t *)(uintptr_t)vocab, key, v) {
        VocabText text = {key, strlen(key)};
        int type = !bytes ? VOCAB_NORMAL : vocab_byte(&text) >= 0 ? VOCAB_BYTE : VOCAB_NORMAL;
        hf_token_set(&z->t, number_of(v), key, text.len, type);
    }
    z->t.unk = unk ? hf_token_find(&z->t, unk) : -1;
    if (bytes && z->t.unk >= 0)
        z->t.type[z->t.unk] = VOCAB_UNKNOWN;
}

/* ---- merges ---- */

/* "left right" of merge i: a text with a space, or an array of two. */
static const char *merge_at(const Tokenizer *z, const json_t *merges, size_t i, size_t *left)
{
    const json_t *m = json_array_get(merges, i);
    const char *a = json_string_or_null(json_array_get(m, 0)),
               *b = json_string_or_null(json_array_get(m, 1)), *both = json_string_or_null(m);
    if (a && b && json_array_size(m) == 2 && *a && *b && !strchr(a, ' ') && !strchr(b, ' '))
        both = format(z->s, "%s %s", a, b);
    const char *space = both && *both ? strchr(both + 1, ' ') : NULL;
    if (!space || !space[1])
        fail(z->s, z->at, "merge %zu is not two symbols without spaces", i);
    *left = (size_t)(space - both);
    return both;
}

/* The token that merge i makes, or -1. */
static int64_t merged(const Tokenizer *z, const char *both, size_t left)
{
    return hf_token_find(&z->t, format(z->s, "%.*s%s", (int)left, both, both + left + 1));
}

static const json_t *merges_of(const Tokenizer *z)
{
    const json_t *merges = member(z->model, "merges");
    if (!json_is_array(merges))
        fail(z->s, z->at, "model.merges is no array of merges");
    return merges;
}

/* SentencePiece merges the pair whose token has the best score; a token that no merge makes comes
 * last. Ranks are exact in f32. */
static void scores_of_ranks(Tokenizer *z)
{
    const json_t *merges = merges_of(z);
    size_t n = json_array_size(merges), left;
    if (n >= 1 << 24)
        fail(z->s, z->at, "%zu merges; at most %d are possible", n, (1 << 24) - 1);
    for (int64_t i = 0; i < z->t.n; i++)
        z->t.score[i] = z->t.type[i] == VOCAB_NORMAL ? (float)-(int64_t)n : 0;
    for (size_t i = n; i-- > 0;) {
        const char *both = merge_at(z, merges, i, &left);
        int64_t id = merged(z, both, left);
        if (id >= 0)
            z->t.score[id] = (float)-(int64_t)i;
    }
}

/* Pre-tokenizers like llama-bpe's take a word that is a token whole; tokenizer.json may say that
 * only merges count. That differs where no merge makes a token. */
static void check_whole_words(Tokenizer *z, const bool *made)
{
    int64_t odd = 0, last = 0;
    for (int64_t i = 0; i < z->t.n; i++) {
        const VocabText *x = &z->t.text[i];
        if (!x->ptr || !x->len || z->t.type[i] != VOCAB_NORMAL || made[i] ||
            (size_t)utf8_char(x->ptr, x->len) == x->len)
            continue;
        odd++;
        last = i;
    }
    if (odd)
        warn(z->s, z->at,
             "%lld tokens are made by no merge (%s for one), and ignore_merges is false: GGUF's "
             "pre-tokenizer finds them in a text, the original tokenizer does not",
             (long long)odd, quote(z->s, z->t.text[last].ptr, z->t.text[last].len));
}

static void put_merges(Tokenizer *z, GgufOut *g)
{
    const json_t *merges = merges_of(z);
    size_t n = json_array_size(merges), left;
    bool *made = NEW_ARRAY(z->s, bool, z->t.n);
    gguf_put_texts(g, "tokenizer.ggml.merges", (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        const char *both = merge_at(z, merges, i, &left);
        int64_t id = merged(z, both, left);
        if (id >= 0)
            made[id] = true;
        gguf_put_item(g, both);
    }
    if (!json_is_true(member(z->model, "ignore_merges")))
        check_whole_words(z, made);
}

/* ---- how a text is cut: byte-level BPE ---- */

static const struct {
    const char *pattern, *pre;
} patterns[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "llama-bpe"},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", "gpt-2"},
};

/* The pre-tokenizer is ByteLevel with its own pattern (GPT-2's), or one Split before a ByteLevel
 * without; NULL where it is neither, or of another pattern. */
static const char *known_cut(const json_t *v)
{
    const json_t *first = part(v, "pretokenizers", 0), *second = part(v, "pretokenizers", 1);
    const json_t *level = second ? second : first, *split = second ? first : NULL;
    const char *regex = text_of(member(split, "pattern"), "Regex"),
               *behavior = text_of(split, "behavior");
    bool own = !json_is_false(member(level, "use_regex"));
    if (part(v, "pretokenizers", 2) && is_type(v, "Sequence"))
        return NULL;
    if (!level || !is_type(level, "ByteLevel") || json_is_true(member(level, "add_prefix_space")))
        return NULL;
    if (!split)
        return own ? "gpt-2" : NULL;
    if (own || !is_type(split, "Split") || !regex || !behavior || strcmp(behavior, "Isolated") ||
        json_is_true(member(split, "invert")))
        return NULL;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (!strcmp(regex, patterns[i].pattern))
            return patterns[i].pre;
    return NULL;
}

static const char *pre_of(const Tokenizer *z, const char *given)
{
    const json_t *v = member(z->own, "pre_tokenizer");
    const char *found = known_cut(v);
    if (given)
        return given;
    if (!found)
        fail(z->s, z->at,
             "the pre-tokenizer is none that bnc knows by its pattern, and another one would give "
             "wrong tokens; if the model's makers name it, give that: --pre=NAME of %s",
             vocab_pretokenizers);
    return found;
}

static void check_bpe(const Tokenizer *z)
{
    const json_t *p, *normal = member(z->own, "normalizer");
    for (size_t i = 0; (p = part(normal, "normalizers", i)); i++)
        if (is_type(p, "NFC"))
            warn(z->s, z->at,
                 "the tokenizer brings texts into Unicode's normal form C first; a compiled model "
                 "takes them as they are");
        else
            fail(z->s, z->at, "the normalizer %s has no counterpart in a GGUF file",
                 type_shown(z, p));
}

/* ---- how a text is cut: SentencePiece in JSON ---- */

#define SPACE_MARK "\u2581"

static void check_spm(Tokenizer *z)
{
    const json_t *p, *normal = member(z->own, "normalizer"), *cut = member(z->own, "pre_tokenizer");
    bool marks = false;
    for (size_t i = 0; (p = part(normal, "normalizers", i)); i++) {
        const char *from = text_of(member(p, "pattern"), "String"), *to = text_of(p, "content"),
                   *prefix = text_of(p, "prepend");
        bool prepend = is_type(p, "Prepend") && prefix && !strcmp(prefix, SPACE_MARK),
             replace = is_type(p, "Replace") && from && to && !strcmp(from, " ") &&
                       !strcmp(to, SPACE_MARK);
        if (!prepend && !replace)
            fail(z->s, z->at,
                 "the normalizer %s is not SentencePiece's: convert from "
                 "tokenizer.model, without tokenizer.json",
                 type_shown(z, p));
        z->t.space_prefix |= prepend;
        marks |= replace;
    }
    if (cut && is_type(cut, "Metaspace")) {
        const char *scheme = text_of(cut, "prepend_scheme");
        z->t.space_prefix |=
            scheme ? strcmp(scheme, "never") != 0 : !json_is_false(member(cut, "add_prefix_space"));
        marks = true;
    } else if (cut) {
        fail(z->s, z->at,
             "the pre-tokenizer %s is not SentencePiece's: convert from "
             "tokenizer.model, without tokenizer.json",
             type_shown(z, cut));
    }
    if (!marks)
        fail(z->s, z->at, "nothing turns spaces into \"" SPACE_MARK "\", as SentencePiece does");
}

/* ---- special tokens ---- */

typedef struct Special {
    const char *token, *id, *key;
} Special;
enum { BOS, EOS, UNK, PAD, SPECIALS };
static const Special specials[SPECIALS] = {
    {"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
    {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
    {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
};

/* The token that a file names by its text (or by an object with it); -1: none. */
static int64_t named(const Tokenizer *z, const json_t *file, const char *key)
{
    const json_t *v = member(file, key);
    const char *text = json_is_object(v) ? text_of(v, "content") : json_string_or_null(v);
    return text ? hf_token_find(&z->t, text) : -1;
}

/* Number i of an id, which may be a list; -1: none. */
static int64_t listed(const Tokenizer *z, const json_t *file, const char *key, size_t i)
{
    const json_t *v = member(file, key);
    int64_t id = number_of(json_is_array(v) ? json_array_get(v, i) : i == 0 ? v : NULL);
    if (id >= z->t.n)
        fail(z->s, loc_file(z->s, z->c->dir), "%s is %lld, but vocab_size is %lld", key,
             (long long)id, (long long)z->t.n);
    return id;
}

/* The tokenizer's own word counts before the model's. */
static int64_t special_of(const Tokenizer *z, const Special *k, int64_t own)
{
    const int64_t by_text[] = {named(z, z->config, k->token), named(z, z->map, k->token), own},
                  by_id[] = {listed(z, z->c->config, k->id, 0), listed(z, z->generation, k->id, 0)};
    for (int i = 0; i < 3; i++)
        if (by_text[i] >= 0)
            return by_text[i];
    return by_id[0] >= 0 ? by_id[0] : by_id[1];
}

/* Of several tokens that end a text, the first that is not EOS ends a turn. */
static int64_t turn_end(const Tokenizer *z, int64_t eos)
{
    const json_t *files[] = {z->generation, z->c->config};
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < json_array_size(member(files[f], "eos_token_id")); i++) {
            int64_t id = listed(z, files[f], "eos_token_id", i);
            if (id >= 0 && id != eos)
                return id;
        }
    return -1;
}

/* What the tokenizer puts first (last = 0) or last around a text: 1 a special token, 0 none. */
static int template_adds(const Tokenizer *z, bool last)
{
    const json_t *t =
        part_of_type(member(z->own, "post_processor"), "processors", "TemplateProcessing");
    const json_t *single = member(t, "single");
    size_t n = json_array_size(single);
    return n > 0 && member(json_array_get(single, last ? n - 1 : 0), "SpecialToken") != NULL;
}

static void put_flags(const Tokenizer *z, GgufOut *g, const int64_t id[SPECIALS], bool spm)
{
    const json_t *bos = member(z->config, "add_bos_token"),
                 *eos = member(z->config, "add_eos_token");
    bool add_bos = json_is_boolean(bos) ? json_is_true(bos) : spm || template_adds(z, false),
         add_eos = json_is_boolean(eos) ? json_is_true(eos) : template_adds(z, true);
    gguf_put_bool(g, "tokenizer.ggml.add_bos_token", add_bos && id[BOS] >= 0);
    if (add_eos && id[EOS] >= 0)
        gguf_put_bool(g, "tokenizer.ggml.add_eos_token", true);
    if (spm)
        gguf_put_bool(g, "tokenizer.ggml.add_space_prefix", z->t.space_prefix);
}

/* ---- the template of a chat ---- */

static void put_template(const Tokenizer *z, GgufOut *g)
{
    const char *path = path_of(z, "chat_template.jinja"), *text = NULL;
    const json_t *v = member(z->config, "chat_template");
    size_t size = 0;
    if (file_exists(path))
        text = file_read(z->s, path, &size);
    else if (json_is_string(v))
        text = json_string_value(v);
    for (size_t i = 0; !text && i < json_array_size(v); i++) {
        const char *own = text_of(json_array_get(v, i), "name");
        if (own && !strcmp(own, "default"))
            text = text_of(json_array_get(v, i), "template");
    }
    if (text)
        gguf_put_text(g, "tokenizer.chat_template", text);
}

/* ---- the whole ---- */

static void put_tokens(Tokenizer *z, GgufOut *g, bool spm)
{
    HfTokens *t = &z->t;
    gguf_put_texts(g, "tokenizer.ggml.tokens", t->n);
    for (int64_t i = 0; i < t->n; i++) {
        if (!t->text[i].ptr) {
            const char *pad = format(z->s, "[PAD%lld]", (long long)i);
            t->text[i] = (VocabText){pad, strlen(pad)};
            t->type[i] = VOCAB_UNUSED;
        }
        gguf_put_bytes(g, t->text[i].ptr, t->text[i].len);
    }
    if (spm)
        gguf_put_f32s(g, "tokenizer.ggml.scores", t->score, t->n);
    gguf_put_i32s(g, "tokenizer.ggml.token_type", t->type, t->n);
}

static void open_files(Tokenizer *z)
{
    const char *own = path_of(z, "tokenizer.json"), *spm = path_of(z, "tokenizer.model");
    z->own = json_file(z->s, own);
    z->config = json_file(z->s, path_of(z, "tokenizer_config.json"));
    z->map = json_file(z->s, path_of(z, "special_tokens_map.json"));
    z->generation = json_file(z->s, path_of(z, "generation_config.json"));
    if (!z->own && !file_exists(spm))
        fail(z->s, loc_file(z->s, z->c->dir), "holds no tokenizer.json and no tokenizer.model");
    z->t.path = z->own ? own : spm;
    z->at = loc_file(z->s, z->t.path);
    z->model = member(z->own, "model");
}

static void free_ids(void *arg)
{
    json_decref(arg);
}

/* Reads the vocabulary; true where it is SentencePiece's. */
static bool read_tokens(Tokenizer *z)
{
    const json_t *cut = member(z->own, "pre_tokenizer");
    bool bpe = z->own && part_of_type(cut, "pretokenizers", "ByteLevel"),
         spm = !z->own || json_is_true(member(z->model, "byte_fallback")), ranked = false;
    if (z->own && (!is_type(z->model, "BPE") || (!bpe && !spm)))
        fail(z->s, z->at,
             "the tokenizer is %s without ByteLevel or byte_fallback; bnc converts byte-level BPE "
             "and SentencePiece",
             type_shown(z, z->model));
    const char *model = path_of(z, "tokenizer.model");
    if (bpe) {
        check_bpe(z);
        read_vocabulary(z, false);
    } else if (file_exists(model)) {
        hf_spm_read(&z->t, model);
    } else {
        check_spm(z);
        read_vocabulary(z, true);
        ranked = true;
    }
    read_added(z);
    if (ranked)
        scores_of_ranks(z);
    return !bpe;
}

void hf_tokenizer_put(const HfConfig *c, GgufOut *g, const char *pre)
{
    Tokenizer *z = NEW(c->s, Tokenizer);
    HfTokens *t = &z->t;
    z->s = t->s = c->s;
    z->c = c;
    t->n = c->vocab;
    t->text = NEW_ARRAY(c->s, VocabText, t->n);
    t->type = NEW_ARRAY(c->s, int32_t, t->n);
    t->score = NEW_ARRAY(c->s, float, t->n);
    t->bos = t->eos = t->unk = t->pad = -1;
    t->ids = json_object();
    session_defer(c->s, free_ids, t->ids);
    open_files(z);
    bool spm = read_tokens(z);
    gguf_put_text(g, "tokenizer.ggml.model", spm ? "llama" : "gpt2");
    gguf_put_text(g, "tokenizer.ggml.pre", spm ? "default" : pre_of(z, pre));
    put_tokens(z, g, spm);
    if (!spm)
        put_merges(z, g);
    const int64_t own[SPECIALS] = {t->bos, t->eos, t->unk, t->pad};
    int64_t id[SPECIALS];
    for (int i = 0; i < SPECIALS; i++)
        if ((id[i] = special_of(z, &specials[i], own[i])) >= 0)
            gguf_put_u32(g, specials[i].key, (uint32_t)id[i]);
    int64_t eot = turn_end(z, id[EOS]);
    if (eot >= 0)
        gguf_put_u32(g, "tokenizer.ggml.eot_token_id", (uint32_t)eot);
    put_flags(z, g, id, spm);
    put_template(z, g);
}
