/* fuzz_safetensors.c: any bytes as a safetensors file.
 *
 * One idea: a file is either refused with one message, or every tensor lies in it: the first and
 * last byte of each can be read, its size is its shape's, and its name finds it. The input is
 * copied to a block of its own size, so that a read past its end is seen.
 */
#include "frontend/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "must.h"

typedef struct Run {
    Session s;
    const uint8_t *data;
    size_t size;
    Safetensors *all;
} Run;

static volatile unsigned sink; /* keeps the reads */

static void parse(void *arg)
{
    Run *r = arg;
    r->all = safetensors_parse(&r->s, "fuzz.safetensors", r->data, r->size);
}

static void read_tensors(Run *r)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < r->all->ntensor; i++) {
        SafeTensor *t = &r->all->tensor[i];
        uint64_t n = t->end - t->begin;
        MUST(safetensors_find(r->all, t->name) == t && safe_shape(&r->s, t));
        MUST(t->rank <= SAFE_RANK && t->type < SAFE_TYPE_COUNT);
        if (n)
            sink += t->data[0] + t->data[n - 1];
        total += n;
    }
    MUST(total < r->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *log;
    if (!log)
        log = fopen("/dev/null", "w");
    Run r = {.size = size};
    uint8_t *copy = must_copy(data, size);
    MUST(log);
    r.data = copy;
    session_start(&r.s, log);
    bool ok = session_try(&r.s, parse, &r);
    MUST(r.s.nerror == (ok ? 0 : 1));
    if (ok)
        read_tensors(&r);
    session_end(&r.s);
    free(copy);
    return 0;
}
