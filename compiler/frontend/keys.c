/* keys.c: metadata that asks for another computation than the graph's is refused.
 *
 * One idea: every key of the architecture's namespace must be accounted for. It is named by a dim,
 * a const, an expect or an ignore of the architecture's text, or it has the value by which keys.def
 * says that it asks for nothing. Any other key is an error that names it: a graph that ignored it
 * would silently compute something else than the file says.
 */
#include <math.h>
#include <string.h>

#include "frontend/bind.h"
#include "ir/escape.h"

enum { LISTED = 8 }; /* errors that are reported singly */

static const struct {
    const char *suffix;
    double neutral, also; /* NAN: there is none */
    const char *what;
} known[] = {
#define NONE NAN
#define KEY(suffix, neutral, also, what) {suffix, neutral, also, what},
#include "frontend/keys.def"
#undef KEY
#undef NONE
};
enum { NKNOWN = sizeof known / sizeof *known };

/* What bnc computes of every model. */
static const char *const honoured[] = {"pooling_type"};

const char *bind_key(const Bind *b, const char *pattern, int layer)
{
    Out o = {.s = b->s};
    for (const char *c = pattern; *c; c++)
        if (!strncmp(c, "{arch}", 6) && b->arch) {
            put(&o, "%s", b->arch);
            c += 5;
        } else if (!strncmp(c, "{i}", 3)) {
            put(&o, "%d", layer);
            c += 2;
        } else {
            put(&o, "%c", *c);
        }
    const char *text = name(b->s, o.len ? o.text : "");
    out_free(&o);
    return text;
}

static bool named(const Bind *b, const char *pattern, const char *key)
{
    return pattern && !strcmp(bind_key(b, pattern, 0), key);
}

static bool accounted(const Bind *b, const char *key, const char *suffix)
{
    for (size_t i = 0; i < sizeof honoured / sizeof *honoured; i++)
        if (!strcmp(honoured[i], suffix))
            return true;
    for (const Symbol *y = b->m->symbols; y; y = y->next)
        for (const Choice *c = y->choices; c; c = c->next)
            if (named(b, c->key, key))
                return true;
    for (const Expect *e = b->m->expects; e; e = e->next)
        if (named(b, e->key, key))
            return true;
    return false;
}

static int find(const char *suffix)
{
    for (int i = 0; i < NKNOWN; i++) {
        size_t n = strlen(known[i].suffix);
        bool any = known[i].suffix[n - 1] == '*';
        if (any ? !strncmp(known[i].suffix, suffix, n - 1) : !strcmp(known[i].suffix, suffix))
            return i;
    }
    return -1;
}

/* A value as messages show it, and as a number where it is one. */
static const char *value_text(const Bind *b, const char *key, double *number)
{
    const char *text;
    size_t len;
    int64_t i;
    bool on;
    *number = NAN;
    if (gguf_bool(b->g, key, &on)) {
        *number = on;
        return on ? "true" : "false";
    }
    if (gguf_int(b->g, key, &i)) {
        *number = (double)i;
        return format(b->s, "%lld", (long long)i);
    }
    if (gguf_float(b->g, key, number))
        return format(b->s, "%g", *number);
    if (gguf_string(b->g, key, &text, &len))
        return quote(b->s, text, len < 60 ? len : 60);
    return "an array";
}

static void refuse(Bind *b, const char *key, int row, const char *value)
{
    key = quote(b->s, key, strlen(key));
    if (row >= 0)
        err(b->s, b->file,
            "%s is %s: it asks for %s, which the graph of %s does not compute. A graph that does "
            "can be given with --arch=FILE.tir",
            key, value, known[row].what, b->m->arch[0]);
    else
        err(b->s, b->file,
            "%s is %s: architecture %s does not know this key, so what it asks for would not be "
            "computed. If it changes nothing, say so by `ignore` in a text of the graph, given "
            "with "
            "--arch=FILE.tir (docs/adding.md)",
            key, value, b->m->arch[0]);
}

/* Rotated weights (Ternary-Bonsai-2): read as they are, they give nonsense. */
static void check_transforms(Bind *b)
{
    static const char prefix[] = "prism.hadamard.";
    for (int64_t i = 0; i < gguf_key_count(b->g); i++)
        if (!strncmp(gguf_key_at(b->g, i)->key, prefix, sizeof prefix - 1)) {
            err(b->s, b->file,
                "%s says that the weights of this file are rotated by Hadamard transforms, which "
                "bnc does "
                "not compute; take a file of the model without them",
                quote(b->s, gguf_key_at(b->g, i)->key, strlen(gguf_key_at(b->g, i)->key)));
            return;
        }
}

static void check_kind(Bind *b)
{
    const char *text;
    size_t len;
    if (gguf_string(b->g, "general.type", &text, &len) && len &&
        (len != 5 || memcmp(text, "model", 5)))
        err(b->s, b->file, "general.type is %s: this file is not a model by itself",
            quote(b->s, text, len < 60 ? len : 60));
}

void bind_check_keys(Bind *b)
{
    const char *prefix = format(b->s, "%s.", b->arch);
    size_t n = strlen(prefix);
    int more = 0;
    for (int64_t i = 0; i < gguf_key_count(b->g); i++) {
        const char *key = gguf_key_at(b->g, i)->key;
        if (strncmp(key, prefix, n) || accounted(b, key, key + n))
            continue;
        double number;
        const char *value = value_text(b, key, &number);
        int row = find(key + n);
        if (row >= 0 && (number == known[row].neutral || number == known[row].also))
            continue;
        if (++more <= LISTED)
            refuse(b, gguf_key_at(b->g, i)->key, row, value);
    }
    if (more > LISTED)
        err(b->s, b->file, "and %d more keys that this graph does not compute", more - LISTED);
    check_transforms(b);
    check_kind(b);
}
