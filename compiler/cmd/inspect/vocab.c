/* vocab.c: the checks of `bnc inspect --check` that look at the tokenizer and at the chat
 * template: nothing there makes a model crash, all of it makes one talk nonsense. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cmd/inspect/check.h"
#include "driver/driver.h"
#include "ir/escape.h"

void found(Check *c, Grade grade, const char *text)
{
    Inspect *p = c->p;
    p->finding = grow(p->s, p->finding, (size_t)p->nfinding, sizeof *p->finding);
    p->finding[p->nfinding++] = (Finding){c->name, text, grade};
    p->nerror += grade == ERROR;
    p->nwarning += grade == WARNING;
}

/* ---- tokens by their text ---- */

typedef struct Vocab {
    const Gguf *g;
    const GgufValue *list;
    int64_t n;
    uint32_t *slot; /* 1 + id of a token, open addressing; 0: free */
    size_t mask;
} Vocab;

static size_t slot_of(const Vocab *w, const char *text, size_t len)
{
    size_t at = (size_t)XXH64(text, len, 0) & w->mask, k;
    for (; w->slot[at]; at = (at + 1) & w->mask) {
        const char *other = gguf_string_at(w->g, w->list, w->slot[at] - 1, &k);
        if (k == len && !memcmp(other, text, len))
            break;
    }
    return at;
}

/* Id of the token with this text; -1: none. */
static int64_t token_id(const Vocab *w, const char *text, size_t len)
{
    return (int64_t)w->slot[slot_of(w, text, len)] - 1;
}

/* False where the file has no list of tokens. *twice counts texts that are there already. */
static bool vocab_open(Vocab *w, const Inspect *p, int64_t *twice)
{
    size_t size = 16, len;
    *w = (Vocab){.g = p->g, .list = gguf_get(p->g, "tokenizer.ggml.tokens")};
    *twice = 0;
    w->n = w->list ? gguf_string_count(w->list) : -1;
    if (w->n < 1 || w->n > BN_VOCAB_MAX)
        return false;
    while (size < 2 * (size_t)w->n)
        size *= 2;
    w->mask = size - 1;
    w->slot = NEW_ARRAY(p->s, uint32_t, size);
    for (int64_t i = 0; i < w->n; i++) {
        const char *text = gguf_string_at(w->g, w->list, i, &len);
        size_t at = slot_of(w, text, len);
        if (w->slot[at])
            ++*twice;
        else
            w->slot[at] = (uint32_t)i + 1;
    }
    return true;
}

/* ---- tokenizer ---- */

static bool is_model(const Inspect *p, const char *want)
{
    const char *text;
    size_t len;
    return gguf_string(p->g, "tokenizer.ggml.model", &text, &len) && len == strlen(want) &&
           !memcmp(text, want, len);
}

/* Whether "left right" joins two tokens to a third. */
static bool merge_known(const Vocab *w, const char *merge, size_t len)
{
    char both[512];
    const char *space = len > 2 ? memchr(merge + 1, ' ', len - 2) : NULL;
    size_t left = space ? (size_t)(space - merge) : 0, right = space ? len - left - 1 : 0;
    if (!space || len > sizeof both)
        return false;
    memcpy(both, merge, left);
    memcpy(both + left, space + 1, right);
    return token_id(w, both, left) >= 0 && token_id(w, both + left, right) >= 0 &&
           token_id(w, both, left + right) >= 0;
}

void check_merges(Check *c)
{
    Inspect *p = c->p;
    Vocab w;
    const GgufValue *list = gguf_get(p->g, "tokenizer.ggml.merges");
    int64_t n = list ? gguf_string_count(list) : 0, unknown = 0, first = -1, twice;
    size_t len;
    if (!vocab_open(&w, p, &twice)) {
        found(c, ERROR, "there are no tokens (tokenizer.ggml.tokens)");
        return;
    }
    if (twice)
        found(c, WARNING,
              format(p->s, "%s tokens repeat the text of another", grouped(p->s, twice)));
    if (!is_model(p, "gpt2"))
        c->fine = "no merges needed: the tokenizer is not a BPE";
    else if (n < 1)
        found(c, ERROR,
              "a BPE tokenizer without merges (tokenizer.ggml.merges) writes single bytes");
    for (int64_t i = 0; i < n; i++) {
        const char *text = gguf_string_at(p->g, list, i, &len);
        if (!merge_known(&w, text, len)) {
            unknown++;
            first = first < 0 ? i : first;
        }
    }
    if (unknown) {
        const char *text = gguf_string_at(p->g, list, first, &len);
        found(c, WARNING,
              format(p->s,
                     "%s of %s merges name parts that are no tokens, number %lld first, %s: tokens "
                     "and merges may be of different models",
                     grouped(p->s, unknown), grouped(p->s, n), (long long)first,
                     quote(p->s, text, len)));
    }
}

/* ---- special tokens ---- */

static void check_special_ids(Check *c, const Vocab *w)
{
    static const char *const keys[] = {"bos",     "eos",       "eot", "eom", "unknown",
                                       "padding", "seperator", "cls", "mask"};
    Inspect *p = c->p;
    int64_t id;
    bool add;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *key = format(p->s, "tokenizer.ggml.%s_token_id", keys[i]);
        if (gguf_get(p->g, key) && (!gguf_int(p->g, key, &id) || id < 0 || id >= w->n))
            found(c, ERROR,
                  format(p->s, "%s is no token: the vocabulary has %lld", key, (long long)w->n));
    }
    if (!gguf_get(p->g, "tokenizer.ggml.eos_token_id"))
        found(c, WARNING, "no tokenizer.ggml.eos_token_id: the model never stops by itself");
    if (gguf_bool(p->g, "tokenizer.ggml.add_bos_token", &add) && add &&
        !gguf_get(p->g, "tokenizer.ggml.bos_token_id"))
        found(c, ERROR, "texts shall begin with BOS (add_bos_token), but no bos_token_id is given");
}

/* Text like <|eot_id|> that a template writes as one token. */
static bool looks_special(const char *text, size_t len)
{
    return len > 4 && !memcmp(text, "<|", 2) && !memcmp(text + len - 2, "|>", 2);
}

void check_specials(Check *c)
{
    Inspect *p = c->p;
    Vocab w;
    int64_t twice, type, plain = 0, first = -1;
    size_t len;
    const GgufValue *types = gguf_get(p->g, "tokenizer.ggml.token_type");
    if (!vocab_open(&w, p, &twice))
        return; /* check_merges says so */
    check_special_ids(c, &w);
    if (!types) {
        found(c, WARNING, "no tokenizer.ggml.token_type: which tokens are special is guessed");
        return;
    }
    for (int64_t i = 0; i < w.n && i < types->count; i++) {
        const char *text = gguf_string_at(p->g, w.list, i, &len);
        if (looks_special(text, len) && gguf_int_at(types, i, &type) && type == VOCAB_NORMAL) {
            plain++;
            first = first < 0 ? i : first;
        }
    }
    if (plain) {
        const char *text = gguf_string_at(p->g, w.list, first, &len);
        found(c, WARNING,
              format(p->s,
                     "%s tokens look special but are marked as ordinary text, %s first: a chat "
                     "would not see its own marks",
                     grouped(p->s, plain), quote(p->s, text, len)));
    }
}

/* ---- chat template ---- */

static const char *find(const char *text, size_t len, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= len; i++)
        if (!memcmp(text + i, what, n))
            return text + i;
    return NULL;
}

/* Every <|mark|> that stands in the template must be a token. */
static void check_marks(Check *c, const Vocab *w, const char *text, size_t len)
{
    const char *end = text + len, *at = text, *close;
    while ((at = find(at, (size_t)(end - at), "<|")) != NULL) {
        close = find(at, (size_t)(end - at), "|>");
        size_t n = close ? (size_t)(close + 2 - at) : 0;
        if (n > 4 && n < 48 && !memchr(at, ' ', n) && !memchr(at, '\'', n) && !memchr(at, '"', n) &&
            token_id(w, at, n) < 0)
            found(c, WARNING,
                  format(c->p->s, "the chat template writes %s, which is no token of this model",
                         quote(c->p->s, at, n)));
        at += 2;
    }
}

void check_template(Check *c)
{
    Inspect *p = c->p;
    Vocab w;
    const char *text;
    size_t len;
    int64_t twice;
    if (!vocab_open(&w, p, &twice))
        return;
    if (!gguf_string(p->g, "tokenizer.chat_template", &text, &len)) {
        if (token_id(&w, "<|eot_id|>", 10) >= 0 || token_id(&w, "<|im_end|>", 10) >= 0)
            found(c, WARNING,
                  "the vocabulary has chat marks, but there is no tokenizer.chat_template");
        return;
    }
    const char *fault =
        template_fault(p->s, p->arch ? p->arch : "", p->path, intern(p->s, text, len));
    if (fault)
        found(c, ERROR,
              format(p->s, "%s; bnc MODEL -o wants another, or --chat-template=none", fault));
    if (find(text, len, "BITNETAssistant"))
        found(c, WARNING,
              "the chat template is the converter's ('Human: ', 'BITNETAssistant: '); BitNet b1.58 "
              "2B4T was trained with 'User: ' and 'Assistant: ' after <|eot_id|>, so it answers "
              "badly with this one");
    check_marks(c, &w, text, len);
}
