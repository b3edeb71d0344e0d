/* pack.c: weights take their kernel's layout, and the tokenizer its tables; both get their places
 * in the .bnw. Bytes are made when that file is written (weights.c). */
#include <stdlib.h>

#include "ir/vocab.h"
#include "passes/passes.h"

static void take_format(Op *op, void *arg)
{
    Module *m = arg;
    for (int i = 0; i < op->nin; i++) {
        Weight *w = op->in[i]->weight;
        if (!w || w->is_state || fmt_info[w->type->fmt].kind != KIND_LOGICAL)
            continue;
        CHECK(op->kernel);
        w->type = w->value.type = type_with(m->s, w->type, op->kernel->weight);
        tally(m, "weights given a kernel's layout", w->count ? w->count : 1);
    }
}

static void pack_vocabulary(Module *m)
{
    char why[256];
    size_t size = 0;
    if (!m->vocab || !m->vocab->n) /* a text without its file, a file without a tokenizer */
        return;
    uint8_t *tables = vocab_build(m->vocab, &size, why);
    if (!tables)
        fail(m->s, loc_file(m->s, m->source), "%s", why);
    session_defer(m->s, free, tables);
    if (*why)
        warn(m->s, m->source ? loc_file(m->s, m->source) : (Loc){0}, "tokenizer: %s", why);
    m->vocab_tables = tables;
    m->vocab_size = (int64_t)size;
}

/* Sizes of numbers that a text or a file claims: up to 2^40 values, so that sums of bytes fit. */
static void check_size(Module *m, const Weight *w)
{
    int64_t n = w->count ? w->count : 1, most = (int64_t)1 << 40;
    for (int i = 0; i < w->type->rank; i++) {
        int64_t d = w->type->dim[i].n;
        n = d > most / n ? most + 1 : n * d;
        if (n > most)
            fail(m->s, w->loc, "@%s has more than 2^40 values, which no machine holds", w->name);
    }
}

void pass_pack(Module *m, const Target *target)
{
    (void)target;
    for (const Weight *w = m->weights; w; w = w->next)
        check_size(m, w);
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, take_format, m);
    pack_vocabulary(m);
    weights_place(m);
    int64_t cache = 0;
    for (Weight *w = m->weights; w; w = w->next) {
        if (!w->is_state)
            continue;
        w->at = cache;
        w->stride = value_bytes(m, w->type);
        cache += w->stride * (w->count ? w->count : 1);
    }
    m->cache_bytes = cache;
    note(m->s, "pack: weights and tables %.1f MB, KV cache %.1f MB", (double)m->weight_bytes / 1e6,
         (double)cache / 1e6);
}
