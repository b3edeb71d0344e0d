/* baseline.c: the rows of a file that `bnc bench --save` wrote.
 *
 * One idea: a row is read whole or the file is refused, before anything is measured. Keys of the file that
 * say more than a row (the model, the machine) are for readers.
 */
#include "cmd/baseline.h"

#include <math.h>
#include <string.h>

#include "frontend/json.h"

/* A number above or at `least`; fail() for anything else. */
static double number(Session *s, const char *path, const json_t *row, size_t i, const char *key,
                     double least)
{
    const json_t *v = json_object_get(row, key);
    if (!json_is_real(v) || !(json_real_value(v) >= least))
        fail(s, loc_file(s, path), "row %zu of it has no %s; write it anew with --save", i, key);
    return json_real_value(v);
}

static int whole(Session *s, const char *path, const json_t *row, size_t i, const char *key)
{
    double d = number(s, path, row, i, key, 0);
    if (d > INT32_MAX || d != floor(d))
        fail(s, loc_file(s, path), "row %zu of it: %s is %g, expected a whole number", i, key, d);
    return (int)d;
}

const BaselineRow *baseline_parse(Session *s, const char *path, const char *bytes, size_t size,
                                  size_t *n)
{
    const json_t *file = json_text(s, path, bytes, size), *rows = json_object_get(file, "rows");
    if (!json_is_array(rows))
        fail(s, loc_file(s, path), "is no result that `bnc bench --save` wrote");
    *n = json_array_size(rows);
    BaselineRow *out = NEW_ARRAY(s, BaselineRow, *n);
    for (size_t i = 0; i < *n; i++) {
        const json_t *x = json_array_get(rows, i);
        BaselineRow *r = &out[i];
        r->tokens_per_s = number(s, path, x, i, "tokens_per_s", 1e-30);
        r->noise = number(s, path, x, i, "noise", 0);
        const char *what = json_string_or_null(json_object_get(x, "what"));
        if (!what || (strcmp(what, "decode") && strcmp(what, "prompt")))
            fail(s, loc_file(s, path), "row %zu of it is neither of a prompt nor of decode", i);
        r->decode = !strcmp(what, "decode");
        r->threads = whole(s, path, x, i, "threads");
        r->size = whole(s, path, x, i, "size");
        r->tokens = whole(s, path, x, i, "tokens");
    }
    return out;
}
