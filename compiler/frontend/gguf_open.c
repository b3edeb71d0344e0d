/* gguf_open.c: GGUF files from disk, one or the parts of a split model.
 *
 * One idea: parts are opened like files of their own, and then the first one, which has the
 * metadata, takes all tensors. Nobody else needs to know that there were several.
 *
 *     NAME-00001-of-00003.gguf   split.no 0, split.count 3, split.tensors.count: of all parts
 *     NAME-00002-of-00003.gguf   split.no 1, split.count 3        (names count from 1, keys from 0)
 *     NAME-00003-of-00003.gguf   split.no 2, split.count 3
 *
 * Names and keys as llama.cpp's gguf-split writes them (ggml-org/llama.cpp, tools/gguf-split, and
 * pull request 6187). Its parts but the first have no other keys.
 */
#include "frontend/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "ir/escape.h"

typedef long long ll; /* for %lld */

/* ---- one file ---- */

/* `part`: what to say of a file that cannot be opened, before the reason. */
static Gguf *open_one(Session *s, const char *path, const char *part)
{
    size_t size;
    const uint8_t *bytes = file_view(s, path, part, &size);
    return gguf_parse(s, path, bytes, size);
}

/* ---- names of parts ---- */

enum { DIGITS = 5, TAIL = sizeof "-00001-of-00003.gguf" - 1 };

static int64_t digits(const char *text)
{
    int64_t n = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        n = 10 * n + text[i] - '0';
    }
    return n;
}

/* Number and count that a name ends in; false where it does not. */
static bool part_of(const char *path, int64_t *no, int64_t *count)
{
    size_t len = strlen(path);
    const char *t = path + len - TAIL;
    if (len < TAIL || t[0] != '-' || strncmp(t + 6, "-of-", 4) || strcmp(t + 15, ".gguf"))
        return false;
    *no = digits(t + 1) - 1;
    *count = digits(t + 10);
    return *no >= 0 && *count > *no;
}

const char *gguf_part_path(Session *s, const char *path, int64_t i)
{
    int64_t no, count;
    if (!part_of(path, &no, &count) || i < 0 || i >= count)
        return NULL;
    return format(s, "%.*s-%05d-of-%05d.gguf", (int)(strlen(path) - TAIL), path, (int)i + 1,
                  (int)count);
}

/* ---- parts ---- */

static void check_part(Gguf *g, int64_t i, int64_t count)
{
    int64_t no = -1, of = -1;
    gguf_int(g, "split.no", &no);
    gguf_int(g, "split.count", &of);
    if (no != i || of != count)
        fail(g->s, g->loc,
             "by its name this is part %lld of %lld, by its keys split.no + 1 = %lld of %lld: the "
             "parts are mixed up or of different models; fetch or split the model again",
             (ll)i + 1, (ll)count, (ll)no + 1, (ll)of);
}

/* Equal names in the order of the parts. */
static int by_name(const void *a, const void *b)
{
    const GgufTensor *x = *(const GgufTensor *const *)a, *y = *(const GgufTensor *const *)b;
    int order = strcmp(x->t.name, y->t.name);
    return order ? order : (x > y) - (x < y);
}

static const Gguf *part_with(const Gguf *g, const GgufTensor *x)
{
    int i = 0;
    for (int64_t first = 0; x - g->tensor >= first + g->part[i]->ntensor; i++)
        first += g->part[i]->ntensor;
    return g->part[i];
}

/* All tensors into a copy of the first part. */
static Gguf *join(Session *s, Gguf **part, int count)
{
    Gguf *g = NEW(s, Gguf);
    int64_t n = 0, promised = 0;
    *g = *part[0];
    g->part = part;
    g->nparts = count;
    g->total = 0;
    for (int i = 0; i < count; i++) {
        n += part[i]->ntensor;
        g->total += part[i]->size;
    }
    if (gguf_int(g, "split.tensors.count", &promised) && promised != n)
        fail(s, g->loc,
             "split.tensors.count promises %lld tensors, the %d parts have %lld: parts are of "
             "different models or damaged; fetch or split the model again",
             (ll)promised, count, (ll)n);
    g->ntensor = 0;
    g->tensor = NEW_ARRAY(s, GgufTensor, n + 1);
    g->tensor_by_name = NEW_ARRAY(s, const GgufTensor *, n + 1);
    for (int i = 0; i < count; i++)
        for (int64_t j = 0; j < part[i]->ntensor; j++) {
            g->tensor_by_name[g->ntensor] = &g->tensor[g->ntensor];
            g->tensor[g->ntensor++] = part[i]->tensor[j];
        }
    qsort(g->tensor_by_name, (size_t)n, sizeof *g->tensor_by_name, by_name);
    for (int64_t i = 1; i < n; i++) {
        const GgufTensor *a = g->tensor_by_name[i - 1], *b = g->tensor_by_name[i];
        if (strcmp(a->t.name, b->t.name) == 0)
            fail(s, part_with(g, a)->loc,
                 "tensor %s stands here and in %s; which one counts is unclear: fetch or split "
                 "the model again",
                 quote(s, a->t.name, strlen(a->t.name)), part_with(g, b)->loc.text->path);
    }
    return g;
}

Gguf *gguf_open(Session *s, const char *path)
{
    Gguf *g = open_one(s, path, "cannot open the model");
    int64_t no = 0, count = 0, wanted = 0;
    if (!gguf_int(g, "split.count", &wanted) || wanted <= 1)
        return g;
    if (!part_of(path, &no, &count))
        fail(s, g->loc,
             "this is a part of a model that was split in %lld, but its name does not end in "
             "-0000N-of-%05lld.gguf, so the others cannot be found: give all parts the names that "
             "they were written with",
             (ll)wanted, (ll)wanted);
    check_part(g, no, count);
    Gguf **part = NEW_ARRAY(s, Gguf *, count);
    for (int64_t i = 0; i < count; i++) {
        const char *lost = format(s, "part %lld of %lld of this model is missing, put it beside %s",
                                  (ll)i + 1, (ll)count, file_name(path));
        part[i] = i == no ? g : open_one(s, gguf_part_path(s, path, i), lost);
        check_part(part[i], i, count);
    }
    return join(s, part, (int)count);
}
