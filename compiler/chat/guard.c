/* guard.c: which user-defined tokens are the template's own. User-defined tokens count in any text;
 * but one that the template writes, a mark of a turn say, would let a message forge a turn, so in a
 * conversation it counts only where the template wrote it, as control tokens do.
 *
 * One idea: all tokens are sorted, each with the longest other one that it begins with, so one pass
 * over the template's texts finds those in it. Those that a template puts together around a role
 * ("<|" + role + "|>") are found by the ends of its texts.
 */
#include <stdlib.h>
#include <string.h>

#include "chat/write.h"

typedef struct Token {
    const char *text;
    size_t size;
    int32_t id;
    size_t parent; /* + 1; 0: none */
    bool guarded;
} Token;

static int by_text(const void *a, const void *b)
{
    const Token *x = a, *y = b;
    int c = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool begins(const Token *t, const char *text, size_t size)
{
    return t->size <= size && !memcmp(t->text, text, t->size);
}

static Token *user_tokens(Program *p, size_t *n)
{
    const VocabSource *v = p->tokens->vocab;
    Token *t = NULL;
    *n = 0;
    for (int64_t i = 0; v && v->types && i < v->n; i++) {
        if (v->types[i] != VOCAB_USER || v->tokens[i].len == 0)
            continue;
        t = grow(p->s, t, *n, sizeof *t);
        t[(*n)++] = (Token){v->tokens[i].ptr, v->tokens[i].len, (int32_t)i, 0, false};
    }
    if (*n > 1)
        qsort(t, *n, sizeof *t, by_text);
    for (size_t i = 1; i < *n; i++) {
        size_t up = i; /* the one before, or what that begins with */
        while (up && !begins(&t[up - 1], t[i].text, t[i].size))
            up = t[up - 1].parent;
        t[i].parent = up;
    }
    return t;
}

/* All tokens that `text` begins with. */
static void guard_at(Token *t, size_t n, const char *text, size_t size)
{
    size_t lo = 0, hi = n;
    const Token here = {text, size, 0, 0, false};
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (by_text(&t[mid], &here) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    size_t up = lo, common = 0;
    while (up && common < size && common < t[up - 1].size && t[up - 1].text[common] == text[common])
        common++;
    while (up && t[up - 1].size > common)
        up = t[up - 1].parent;
    for (; up && !t[up - 1].guarded; up = t[up - 1].parent)
        t[up - 1].guarded = true;
}

/* ---- tokens around a role ---- */

enum { END = 24 }; /* bytes of a text's end that may belong to such a token */

static uint64_t hash_of(const char *text, size_t size, bool front)
{
    uint64_t h = front ? 0xcbf29ce484222325u : 0x9ae16a3b2f90404fu;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

/* Hashes of what the template's texts end with and of what they begin with, sorted. */
static uint64_t *text_ends(const Program *p, size_t *n)
{
    uint64_t *h = NULL;
    *n = 0;
    for (size_t i = 0; i < p->ntext; i++) {
        const ChatText *t = &p->text[i];
        for (size_t k = 1; t->written && k <= END && k <= t->size; k++) {
            h = grow(p->s, h, *n, sizeof *h);
            h[(*n)++] = hash_of(t->text + t->size - k, k, false);
            h = grow(p->s, h, *n, sizeof *h);
            h[(*n)++] = hash_of(t->text, k, true);
        }
    }
    if (*n > 1)
        qsort(h, *n, sizeof *h, by_hash);
    return h;
}

static bool around_role(const Token *t, const uint64_t *end, size_t nend)
{
    static const char *const roles[] = {"system", "user",    "assistant", "tool",       "developer",
                                        "model",  "ipython", "function",  "observation"};
    for (size_t i = 0; nend && t->size < 2 * END + 12 && i < sizeof roles / sizeof *roles; i++) {
        size_t n = strlen(roles[i]);
        for (size_t at = 1; at + n < t->size; at++) {
            if (memcmp(t->text + at, roles[i], n) != 0 || at > END || t->size - at - n > END)
                continue;
            uint64_t a = hash_of(t->text, at, false),
                     b = hash_of(t->text + at + n, t->size - at - n, true);
            if (bsearch(&a, end, nend, sizeof a, by_hash) &&
                bsearch(&b, end, nend, sizeof b, by_hash))
                return true;
        }
    }
    return false;
}

int32_t *guards_find(Program *p, size_t *n)
{
    size_t ntoken, nend;
    Token *token = user_tokens(p, &ntoken);
    int32_t *guard = NULL;
    *n = 0;
    if (ntoken == 0)
        return NULL;
    for (size_t i = 0; i < p->ntext; i++)
        for (size_t at = 0; p->text[i].written && at < p->text[i].size; at++)
            guard_at(token, ntoken, p->text[i].text + at, p->text[i].size - at);
    const uint64_t *end = text_ends(p, &nend);
    for (size_t i = 0; i < ntoken; i++)
        if (token[i].guarded || around_role(&token[i], end, nend)) {
            guard = grow(p->s, guard, *n, sizeof *guard);
            guard[(*n)++] = token[i].id;
        }
    if (*n > 1)
        qsort(guard, *n, sizeof *guard, by_number);
    return guard;
}
