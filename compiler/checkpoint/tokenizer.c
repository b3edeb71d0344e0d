/* tokenizer.c: tokenizer.json and its companions to the tokenizer keys of a GGUF file.
 *
 * One idea: two kinds are known by what they are made of. A byte-level BPE (ByteLevel in its
 * pre-tokenizer) becomes "gpt2" with its merges; a BPE with byte fallback is SentencePiece in JSON
 * and becomes "llama", with its own scores where tokenizer.model is there, else with its merges
 * and, for readers who know scores only, minus the rank of the first merge that makes a token.
 * Anything else is refused: a near miss gives a model that talks nonsense.
 */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/tokenizer.h"
#include "ir/escape.h"
#include "ir/vocab_build.h"

static int64_t number_of(const json_t *v)
{
    int64_t id;
    return json_whole(v, &id) ? id : -1;
}

/* What a model adds to its vocabulary: control tokens where special, else tokens that a text may
 * hold. A token that the vocabulary has already keeps its number. */
static void add_token(Tokenizer *z, int64_t id, const char *text, int type, unsigned flags)
{
    int64_t old = text ? hf_token_find(&z->t, text) : -1;
    if (!text)
        fail(z->s, z->at, "an added token has no content");
    if (old < 0)
        hf_token_set(&z->t, id, text, strlen(text), type);
    id = old < 0 ? id : old;
    if (z->t.type[id] != VOCAB_UNKNOWN)
        z->t.type[id] = type;
    z->t.flags[id] = (uint8_t)flags;
}

/* An entry of added_tokens or of added_tokens_decoder, which says less of ordinary tokens. */
static void add_entry(Tokenizer *z, int64_t id, const json_t *v, bool normalized)
{
    static const struct {
        const char *key;
        unsigned flag;
    } row[] = {{"lstrip", VOCAB_LSTRIP},
               {"rstrip", VOCAB_RSTRIP},
               {"single_word", VOCAB_SINGLE_WORD},
               {"normalized", VOCAB_NORMALIZED}};
    bool special = json_is_true(json_member(v, "special"));
    unsigned flags = normalized && !special && !json_member(v, "normalized") ? VOCAB_NORMALIZED : 0;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (json_is_true(json_member(v, row[i].key)))
            flags |= row[i].flag;
    add_token(z, id, json_member_text(v, "content"), special ? VOCAB_CONTROL : VOCAB_USER, flags);
}

/* The text of a token that a file names, by itself or in an object with it; or NULL. */
static const char *token_text(const json_t *v)
{
    return json_is_object(v) ? json_member_text(v, "content") : json_string_or_null(v);
}

static const char *const special_names[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                            "sep_token", "cls_token", "mask_token"};
enum { SPECIAL_NAMES = sizeof special_names / sizeof *special_names };

/* Special token i that tokenizer_config.json or special_tokens_map.json names, in one of their
 * ways; false after the last. *text NULL: this place names none. */
static bool special_name(const Tokenizer *z, size_t i, const char **text)
{
    const json_t *file = i % 2 ? z->f->map : z->f->config;
    const json_t *more = json_member(file, "additional_special_tokens");
    size_t k = i / 2;
    *text = token_text(k < SPECIAL_NAMES ? json_member(file, special_names[k])
                                         : json_array_get(more, k - SPECIAL_NAMES));
    return k < SPECIAL_NAMES || k - SPECIAL_NAMES < 1 << 16;
}

static size_t special_places(const Tokenizer *z)
{
    size_t a = json_array_size(json_member(z->f->config, "additional_special_tokens")),
           b = json_array_size(json_member(z->f->map, "additional_special_tokens"));
    return 2 * (SPECIAL_NAMES + (a > b ? a : b));
}

static bool is_named_special(const Tokenizer *z, const char *key)
{
    const char *text;
    for (size_t i = 0; i < special_places(z) && special_name(z, i, &text); i++)
        if (text && !strcmp(text, key))
            return true;
    return false;
}

/* Special tokens that are named only: transformers adds them when it loads, where there is none at
 * the end of the vocabulary. */
static void add_named(Tokenizer *z, const json_t *known)
{
    const char *text;
    int64_t next = 0;
    for (int64_t i = 0; i < z->t.n; i++)
        next = z->t.text[i].ptr ? i + 1 : next;
    for (size_t i = 0; i < special_places(z) && special_name(z, i, &text); i++) {
        int64_t id = text && *text ? hf_token_find(&z->t, text) : 0;
        if (id >= 0 && (!text || !*text || json_object_get(known, text)))
            continue;
        if (id >= 0 && z->t.type[id] == VOCAB_NORMAL) {
            add_token(z, id, text, VOCAB_CONTROL, 0);
        } else if (id < 0 && next < z->t.n) {
            warn(z->s, z->at,
                 "no file has a number for the special token %s; it takes %lld, the next one, as "
                 "transformers gives it",
                 quote(z->s, text, strlen(text)), (long long)next);
            add_token(z, next++, text, VOCAB_CONTROL, 0);
        } else if (id < 0) {
            warn(z->s, z->at,
                 "the special token %s is not in the vocabulary, and the embedding has no row left "
                 "for it: it is left out",
                 quote(z->s, text, strlen(text)));
        }
    }
}

static void know(Tokenizer *z, json_t *known, const char *text)
{
    if (text && json_object_set_new_nocheck(known, text, json_true()))
        fail(z->s, (Loc){0}, "no memory for the vocabulary");
}

/* `good`: the value of a key is of a type that this reads. Another would be passed over in silence. */
static void want(const Tokenizer *z, bool good, const char *key, const char *wanted)
{
    if (!good)
        fail(z->s, loc_file(z->s, z->f->dir), "%s in the files of its tokenizer is not %s", key,
             wanted);
}

static void release(void *arg)
{
    json_decref(arg);
}

/* tokenizer.json lists them, and the other files may have more, which transformers adds. */
static void read_added(Tokenizer *z)
{
    const json_t *list = json_member(z->f->own, "added_tokens"),
                 *decoder = json_member(z->f->config, "added_tokens_decoder");
    json_t *known = json_object(), *v;
    const char *key;
    session_defer(z->s, release, known);
    want(z, !list || json_is_array(list), "added_tokens", "an array");
    want(z, !decoder || json_is_object(decoder), "added_tokens_decoder", "an object");
    want(z, !z->f->added || json_is_object(z->f->added), "what added_tokens.json holds",
         "an object");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        add_entry(z, number_of(json_member(a, "id")), a, false);
        know(z, known, json_member_text(a, "content"));
    }
    json_object_foreach((json_t *)(uintptr_t)decoder, key, v) {
        const char *text = json_member_text(v, "content");
        char *end;
        int64_t id = strtoll(key, &end, 10);
        if (text && json_object_get(known, text))
            continue;
        add_entry(z, *key && !*end ? id : -1, v, true);
        know(z, known, text);
    }
    json_object_foreach((json_t *)(uintptr_t)z->f->added, key, v) {
        if (json_object_get(known, key))
            continue;
        add_token(z, number_of(v), key, is_named_special(z, key) ? VOCAB_CONTROL : VOCAB_USER, 0);
        know(z, known, key);
    }
    add_named(z, known);
}

/* The vocabulary of tokenizer.json. */
static void read_vocabulary(Tokenizer *z, bool bytes)
{
    const json_t *vocab = json_member(z->model, "vocab");
    const char *key, *unk = json_member_text(z->model, "unk_token");
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
    const json_t *merges = json_member(z->model, "merges");
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

static void read_merges(Tokenizer *z, VocabSource *v)
{
    const json_t *merges = merges_of(z);
    size_t n = json_array_size(merges), left;
    VocabText *out = NEW_ARRAY(z->s, VocabText, n);
    for (size_t i = 0; i < n; i++) {
        const char *both = merge_at(z, merges, i, &left);
        out[i] = (VocabText){both, strlen(both)};
    }
    v->merges = out;
    v->nmerges = (int64_t)n;
    /* llama-bpe's pre-tokens that are tokens need no merges, where the file does not say else. */
    v->only_merges = !v->scores && !json_is_true(json_member(z->model, "ignore_merges"));
    v->by_merges = v->scores != NULL;
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
    const char *text = token_text(json_member(file, key));
    return text ? hf_token_find(&z->t, text) : -1;
}

/* Number i of an id, which may be a list; -1: none. */
static int64_t listed(const Tokenizer *z, const json_t *file, const char *key, size_t i)
{
    const json_t *v = json_member(file, key);
    const json_t *x = json_is_array(v) ? json_array_get(v, i) : i == 0 ? v : NULL;
    int64_t id = -1;
    want(z, !x || json_is_null(x) || json_whole(x, &id) || json_real_value(x) < 0, key,
         "a number of a token, or a list of such");
    if (id >= z->t.n)
        fail(z->s, loc_file(z->s, z->f->dir), "%s is %lld, but vocab_size is %lld", key,
             (long long)id, (long long)z->t.n);
    return id;
}

/* The tokenizer's own files come before the model's. */
static int64_t special_of(const Tokenizer *z, const Special *k, int64_t own)
{
    const int64_t by_text[] = {named(z, z->f->config, k->token), named(z, z->f->map, k->token),
                               own},
                  by_id[] = {listed(z, z->f->model, k->id, 0),
                             listed(z, z->f->generation, k->id, 0)};
    for (int i = 0; i < 3; i++)
        if (by_text[i] >= 0)
            return by_text[i];
    return by_id[0] >= 0 ? by_id[0] : by_id[1];
}

/* Every token that ends a text: the tokenizer's own, and those of generation_config.json or,
 * without it, of config.json. Of several, the first that is not EOS ends a turn. */
static void read_ends(const Tokenizer *z, VocabSource *v)
{
    const json_t *file =
        json_member(z->f->generation, "eos_token_id") ? z->f->generation : z->f->model;
    const json_t *list = json_member(file, "eos_token_id");
    size_t n = json_is_array(list) ? json_array_size(list) : 1;
    int32_t *ends = NULL;
    if (v->eos >= 0) {
        ends = grow(z->s, ends, 0, sizeof *ends);
        ends[v->nends++] = (int32_t)v->eos;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t id = listed(z, file, "eos_token_id", i), k = 0;
        while (k < v->nends && ends[k] != id)
            k++;
        if (id < 0 || k < v->nends)
            continue;
        if (v->nends == VOCAB_MAX_ENDS)
            fail(z->s, loc_file(z->s, z->f->dir), "more than %d tokens end a text (eos_token_id)",
                 VOCAB_MAX_ENDS);
        ends = grow(z->s, ends, (size_t)v->nends, sizeof *ends);
        ends[v->nends++] = (int32_t)id;
        if (v->eot < 0 && id != v->eos)
            v->eot = id;
    }
    v->ends = ends;
}

/* What the tokenizer puts first (last = 0) or last around a text: 1 a special token, 0 none. */
static int template_adds(const Tokenizer *z, bool last)
{
    const json_t *t = hf_part_of_type(json_member(z->f->own, "post_processor"), "processors",
                                      "TemplateProcessing");
    const json_t *single = json_member(t, "single");
    size_t n = json_array_size(single);
    return n > 0 && json_member(json_array_get(single, last ? n - 1 : 0), "SpecialToken") != NULL;
}

static void read_flags(const Tokenizer *z, VocabSource *v, bool spm)
{
    const json_t *bos = json_member(z->f->config, "add_bos_token"),
                 *eos = json_member(z->f->config, "add_eos_token");
    want(z, !bos || json_is_boolean(bos), "add_bos_token", "true or false");
    want(z, !eos || json_is_boolean(eos), "add_eos_token", "true or false");
    bool add_bos = json_is_boolean(bos) ? json_is_true(bos) : spm || template_adds(z, false),
         add_eos = json_is_boolean(eos) ? json_is_true(eos) : template_adds(z, true);
    v->add_bos = add_bos && v->bos >= 0;
    v->add_eos = add_eos && v->eos >= 0;
}

/* ---- the template of a chat ---- */

/* A template, or the one that is called default in a list or an object of several. */
static const char *template_in(const Tokenizer *z, const json_t *v)
{
    const char *text = json_is_object(v) ? json_member_text(v, "default") : json_string_or_null(v);
    size_t n = json_array_size(v);
    want(z, text || json_is_object(v) || json_is_array(v), "chat_template", "a text or several");
    for (size_t i = 0; !text && i < n; i++) {
        const char *own = json_member_text(json_array_get(v, i), "name");
        if (n == 1 || (own && !strcmp(own, "default")))
            text = json_member_text(json_array_get(v, i), "template");
    }
    if (!text && (n || json_object_size(v)))
        note(z->s, "none of the chat templates of %s is called default: none is taken", z->f->dir);
    return text;
}

/* transformers' order: a tokenizer reads chat_template.jinja before its own file, and only
 * processors read chat_template.json, which is looked at last. */
static const char *read_template(const Tokenizer *z)
{
    const json_t *own = json_member(z->f->config, "chat_template"), *chat = z->f->chat;
    if (z->f->jinja)
        return z->f->jinja;
    const char *text = own ? template_in(z, own) : NULL;
    if (!text && chat)
        text = template_in(z, json_is_object(chat) && json_member(chat, "chat_template")
                                  ? json_member(chat, "chat_template")
                                  : chat);
    return text;
}

/* ---- the whole ---- */

/* Reads the vocabulary and how a text is cut; true where it is SentencePiece's. */
static bool read_tokens(Tokenizer *z)
{
    const HfTokenizerFiles *f = z->f;
    const json_t *cut = json_member(f->own, "pre_tokenizer");
    bool bpe = f->own && hf_part_of_type(cut, "pretokenizers", "ByteLevel"),
         spm = !f->own || json_is_true(json_member(z->model, "byte_fallback")), ranked = false;
    if (f->own && (!hf_is(z->model, "BPE") || (!bpe && !spm)))
        fail(z->s, z->at,
             "the tokenizer is %s without ByteLevel or byte_fallback; bnc converts byte-level BPE "
             "and SentencePiece",
             hf_type_shown(z, z->model));
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "end_of_word_suffix" : "continuing_subword_prefix",
                   *text = json_member_text(z->model, key);
        if (text && *text)
            fail(z->s, z->at, "%s is %s; bnc converts a BPE without one", key,
                 quote(z->s, text, strlen(text)));
    }
    if (bpe) {
        hf_normalizer_bpe(z);
        read_vocabulary(z, false);
    } else {
        if (f->spm) {
            z->t.path = name(z->s, format(z->s, "%s/tokenizer.model", f->dir));
            hf_spm_parse(&z->t, f->spm, f->spm_bytes);
        } else {
            read_vocabulary(z, true);
            ranked = true;
        }
        hf_normalizer_spm(z);
    }
    read_added(z);
    if (ranked)
        scores_of_ranks(z);
    return !bpe;
}

static void name_rest(HfTokens *t)
{
    for (int64_t i = 0; i < t->n; i++)
        if (!t->text[i].ptr) {
            const char *pad = format(t->s, "[PAD%lld]", (long long)i);
            t->text[i] = (VocabText){pad, strlen(pad)};
            t->type[i] = VOCAB_UNUSED;
        }
}

static Tokenizer *new_tokenizer(Session *s, const HfTokenizerFiles *f)
{
    Tokenizer *z = NEW(s, Tokenizer);
    HfTokens *t = &z->t;
    z->s = t->s = s;
    z->f = f;
    z->model = json_member(f->own, "model");
    t->path = format(s, "%s/%s", f->dir, f->own ? "tokenizer.json" : "tokenizer.model");
    z->at = loc_file(s, t->path);
    t->n = f->vocab;
    t->text = NEW_ARRAY(s, VocabText, t->n);
    t->type = NEW_ARRAY(s, int32_t, t->n);
    t->flags = NEW_ARRAY(s, uint8_t, t->n);
    t->score = NEW_ARRAY(s, float, t->n);
    t->bos = t->eos = t->unk = t->pad = -1;
    t->ids = json_object();
    session_defer(s, release, t->ids);
    return z;
}

VocabSource *hf_tokenizer_read(Session *s, const HfTokenizerFiles *f, const char *pre,
                               const char **chat)
{
    Tokenizer *z = new_tokenizer(s, f);
    HfTokens *t = &z->t;
    VocabSource *v = NEW(s, VocabSource);
    bool spm = read_tokens(z);
    hf_normalizer_finish(z, spm);
    name_rest(t);
    *v = (VocabSource){.model = spm ? "llama" : "gpt2",
                       .pre = spm ? "default" : hf_pretokenizer(z, pre),
                       .n = t->n,
                       .tokens = t->text,
                       .scores = spm ? t->score : NULL,
                       .types = t->type,
                       .flags = t->flags,
                       .bos = special_of(z, &specials[BOS], t->bos),
                       .eos = special_of(z, &specials[EOS], t->eos),
                       .unk = special_of(z, &specials[UNK], t->unk),
                       .pad = special_of(z, &specials[PAD], t->pad),
                       .eot = -1,
                       .add_space_prefix = spm ? t->space_prefix : -1,
                       .steps = z->step,
                       .nsteps = (int64_t)z->nsteps,
                       .charsmap = t->charsmap,
                       .charsmap_bytes = (int64_t)t->charsmap_bytes,
                       .remove_extra_spaces = t->remove_extra,
                       .space_suffix = t->suffix,
                       .prefix = z->prefix,
                       .split_spaces = z->split_spaces};
    if (!spm || !f->spm)
        read_merges(z, v);
    read_ends(z, v);
    read_flags(z, v, spm);
    *chat = read_template(z);
    return v;
}

/* ---- to the keys of a GGUF file ---- */

static void put_texts(GgufOut *g, const char *key, const VocabText *text, int64_t n)
{
    gguf_put_texts(g, key, n);
    for (int64_t i = 0; i < n; i++)
        gguf_put_bytes(g, text[i].ptr, text[i].len);
}

static void put_id(GgufOut *g, const char *key, int64_t id)
{
    if (id >= 0)
        gguf_put_u32(g, key, (uint32_t)id);
}

/* What others have no keys for stands under tokenizer.bnc. */
static void put_normalizer(GgufOut *g, const VocabSource *v)
{
    bool flags = false;
    for (int64_t i = 0; i < v->n; i++) {
        bool early = v->types[i] != VOCAB_USER || !v->nsteps; /* where normalized says nothing */
        flags |= (v->flags[i] & (early ? ~VOCAB_NORMALIZED : ~0)) != 0;
    }
    if (v->charsmap_bytes)
        gguf_put_u8s(g, "tokenizer.ggml.precompiled_charsmap", v->charsmap, v->charsmap_bytes);
    if (v->remove_extra_spaces)
        gguf_put_bool(g, "tokenizer.ggml.remove_extra_whitespaces", true);
    if (v->space_suffix)
        gguf_put_bool(g, "tokenizer.ggml.treat_whitespace_as_suffix", true);
    if (v->nsteps)
        put_texts(g, "tokenizer.bnc.normalizer", v->steps, v->nsteps);
    if (v->prefix)
        gguf_put_text(g, "tokenizer.bnc.space_prefix", v->prefix);
    if (v->split_spaces)
        gguf_put_bool(g, "tokenizer.bnc.split_spaces", true);
    if (v->only_merges)
        gguf_put_bool(g, "tokenizer.bnc.only_merges", true);
    if (v->by_merges)
        gguf_put_bool(g, "tokenizer.bnc.by_merges", true);
    if (flags)
        gguf_put_u8s(g, "tokenizer.bnc.token_flags", v->flags, v->n);
}

/* llama.cpp's keys hold three tokens that end a text; eog_token_ids, which some read, all. */
static void put_ends(GgufOut *g, const VocabSource *v)
{
    int64_t eom = -1;
    for (int64_t i = 0; i < v->nends && eom < 0; i++)
        if (v->ends[i] != v->eos && v->ends[i] != v->eot)
            eom = v->ends[i];
    put_id(g, "tokenizer.ggml.eot_token_id", v->eot);
    put_id(g, "tokenizer.ggml.eom_token_id", eom);
    if (eom >= 0)
        gguf_put_i32s(g, "tokenizer.ggml.eog_token_ids", v->ends, v->nends);
}

static void put_source(GgufOut *g, const VocabSource *v)
{
    gguf_put_text(g, "tokenizer.ggml.model", v->model);
    gguf_put_text(g, "tokenizer.ggml.pre", v->pre);
    put_texts(g, "tokenizer.ggml.tokens", v->tokens, v->n);
    if (v->scores)
        gguf_put_f32s(g, "tokenizer.ggml.scores", v->scores, v->n);
    gguf_put_i32s(g, "tokenizer.ggml.token_type", v->types, v->n);
    if (v->merges)
        put_texts(g, "tokenizer.ggml.merges", v->merges, v->nmerges);
    put_id(g, specials[BOS].key, v->bos);
    put_id(g, specials[EOS].key, v->eos);
    put_id(g, specials[UNK].key, v->unk);
    put_id(g, specials[PAD].key, v->pad);
    put_ends(g, v);
    gguf_put_bool(g, "tokenizer.ggml.add_bos_token", v->add_bos);
    if (v->add_eos)
        gguf_put_bool(g, "tokenizer.ggml.add_eos_token", true);
    if (v->scores)
        gguf_put_bool(g, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    put_normalizer(g, v);
}

/* ---- the folder ---- */

static const char *path_in(const HfConfig *c, const char *file)
{
    return format(c->s, "%s/%s", c->dir, file);
}

/* The bytes of a file that may be absent. */
static const char *bytes_in(const HfConfig *c, const char *file, size_t *size)
{
    const char *path = path_in(c, file);
    *size = 0;
    return file_exists(path) ? file_read(c->s, path, size) : NULL;
}

void hf_tokenizer_put(const HfConfig *c, GgufOut *g, const char *pre)
{
    HfTokenizerFiles f = {.dir = c->dir, .vocab = c->vocab, .model = c->config};
    const char *chat;
    size_t size;
    f.own = json_file(c->s, path_in(c, "tokenizer.json"));
    f.config = json_file(c->s, path_in(c, "tokenizer_config.json"));
    f.map = json_file(c->s, path_in(c, "special_tokens_map.json"));
    f.generation = json_file(c->s, path_in(c, "generation_config.json"));
    f.added = json_file(c->s, path_in(c, "added_tokens.json"));
    f.spm = (const uint8_t *)bytes_in(c, "tokenizer.model", &f.spm_bytes);
    f.jinja = bytes_in(c, "chat_template.jinja", &size);
    const char *instead = f.jinja ? file_placeholder(f.jinja, size) : NULL;
    if (instead)
        fail(c->s, loc_file(c->s, path_in(c, "chat_template.jinja")),
             "not a chat template; it looks like %s", instead);
    const char *text = bytes_in(c, "chat_template.json", &size);
    if (text)
        f.chat = json_text(c->s, path_in(c, "chat_template.json"), text, size);
    if (!f.own && !f.spm && !f.config && !f.map && !f.added && !pre) {
        note(c->s, "the checkpoint has no tokenizer: the model will take token ids only");
        return;
    }
    if (!f.own && !f.spm)
        fail(c->s, loc_file(c->s, c->dir), "holds no tokenizer.json and no tokenizer.model");
    put_source(g, hf_tokenizer_read(c->s, &f, pre, &chat));
    if (chat)
        gguf_put_text(g, "tokenizer.chat_template", chat);
}
