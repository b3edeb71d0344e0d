/* fuzz_baseline.c: any bytes as a baseline of `bnc bench`.
 *
 * One idea: a file is either refused with one message, or each of its rows can be divided by.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/baseline.h"
#include "must.h"

typedef struct Run {
    Session s;
    const char *bytes;
    size_t size, n;
    const BaselineRow *row;
} Run;

static void parse(void *arg)
{
    Run *r = arg;
    r->row = baseline_parse(&r->s, "fuzz.json", r->bytes, r->size, &r->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Run r;
    char *copy = must_copy(data, size);
    memset(&r, 0, sizeof r);
    session_start(&r.s, NULL);
    r.bytes = copy;
    r.size = size;
    bool ok = session_try(&r.s, parse, &r);
    MUST(r.s.nerror == (ok ? 0 : 1));
    for (size_t i = 0; ok && i < r.n; i++) {
        const BaselineRow *x = &r.row[i];
        MUST(x->threads >= 0 && x->size >= 0 && x->tokens >= 0);
        MUST(x->tokens_per_s > 0 && x->noise >= 0);
        MUST(isfinite(1 / x->tokens_per_s) && isfinite(x->noise));
    }
    session_end(&r.s);
    free(copy);
    return 0;
}
