/* tokens.c: what the readers of a checkpoint's tokenizer share: tokens by number and text, and the
 * parts of tokenizer.json.
 */
#include <string.h>

#include "checkpoint/tokenizer.h"
#include "ir/escape.h"

/* ---- tokens, whichever file names them ---- */

int64_t hf_token_find(const HfTokens *t, const char *text)
{
    int64_t id;
    return json_whole(json_object_get(t->ids, text), &id) ? id : -1;
}

void hf_token_set(HfTokens *t, int64_t id, const char *text, size_t len, int type)
{
    if (id < 0 || id >= t->n)
        fail(t->s, loc_file(t->s, t->path),
             "token %s has the number %lld; vocab_size of config.json allows 0 to %lld: these "
             "files are not of one model",
             quote(t->s, text, len), (long long)id, (long long)t->n - 1);
    VocabText *old = &t->text[id];
    if (old->ptr && (old->len != len || memcmp(old->ptr, text, len)))
        fail(t->s, loc_file(t->s, t->path), "tokens %s and %s have the same number %lld",
             quote(t->s, old->ptr, old->len), quote(t->s, text, len), (long long)id);
    *old = (VocabText){text, len};
    t->type[id] = type;
    if (!json_object_get(t->ids, text) &&
        json_object_set_new_nocheck(t->ids, text, json_real((double)id)))
        fail(t->s, (Loc){0}, "no memory for the vocabulary");
}

/* ---- tokenizer.json ---- */

bool hf_is(const json_t *object, const char *type)
{
    const char *own = json_member_text(object, "type");
    return own && !strcmp(own, type);
}

const json_t *hf_part(const json_t *v, const char *list, size_t i)
{
    if (v && hf_is(v, "Sequence"))
        return json_array_get(json_member(v, list), i);
    return i == 0 ? v : NULL;
}

const json_t *hf_part_of_type(const json_t *v, const char *list, const char *type)
{
    const json_t *p;
    for (size_t i = 0; (p = hf_part(v, list, i)); i++)
        if (hf_is(p, type))
            return p;
    return NULL;
}

const char *hf_type_shown(const Tokenizer *z, const json_t *v)
{
    const char *type = json_member_text(v, "type");
    return type ? quote(z->s, type, strlen(type)) : "(without a type)";
}
