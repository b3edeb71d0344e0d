/* tables.c: what a host file holds of a model: which entry points are launched in which order, with
 * which grids, and where things stand on the device. */
#include <inttypes.h>

#include "codegen-gpu/gpu.h"

static void put_row(Printer *p, const Dispatch *d, int64_t layer, int *barrier)
{
    put(p->out,
        "    {BN_NAME(%s), %" PRId64 ", {%" PRId64 ", %" PRId64 ", %" PRId64 "}, %" PRId64
        ", %d},\n",
        d->entry, layer, d->groups[TIMES_ONCE], d->groups[TIMES_TOKEN], d->groups[TIMES_TILE],
        d->bytes, (*barrier)++);
}

/* Every dispatch waits for all before it, but the first. */
static void put_rows(Printer *p, const Dispatch *d, int64_t layer, int *barrier)
{
    for (; d; d = d->next) {
        if (!d->layers) {
            put_row(p, d, layer, barrier);
            continue;
        }
        int64_t first = attr_int(d->layers, "first", 0), n = attr_int(d->layers, "count", 1);
        for (int64_t i = first; i < first + n; i++)
            put_rows(p, d->body, i, barrier);
    }
}

/* The table of one function. */
static void put_table(Printer *p, Func *f, Out *out)
{
    const GpuDialect *d = p->dialect;
    Out shaders = {.s = p->s}; /* are printed elsewhere */
    int barrier = 0;
    p->form = f->form;
    put(out, "static const bn_dispatch %s_table[] = {\n", f->name);
    if (func_persistent(f, &d->target)) {
        put(out, "    {BN_NAME(%s_step), 0, {0, 0, 0}, %s, 0},\n", f->name,
            d->persistent_bytes(p, f));
    } else {
        p->out = &shaders;
        const Dispatch *first = dispatches_of(p, f);
        p->out = out;
        put_rows(p, first, 0, &barrier);
    }
    put(out, "};\n\n");
    out_free(&shaders);
}

void emit_tables(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out)
{
    Printer p = gpu_printer(m, o, d, out);
    int64_t layers = 1;
    for (const Weight *w = m->weights; w; w = w->next)
        layers = w->count + w->first > layers ? w->count + w->first : layers;
    put(out,
        "/* An entry point; the layer that it is called for; threadgroups: at all events, for "
        "each token and\n"
        " * for each 32 tokens%s; bytes of threadgroup memory;\n"
        " * the number of the barrier before it, 0: none. */\n"
        "typedef struct bn_dispatch {\n    bn_entry entry;\n    int layer, groups[3], bytes, "
        "barrier;\n} bn_dispatch;\n\n"
        "static inline unsigned bn_groups(const bn_dispatch *d, int ntok)\n{\n"
        "    return (unsigned)(d->groups[0] + d->groups[1] * ntok + d->groups[2] * ((ntok + "
        "31) / 32));\n}\n\n",
        d->put_persistent ? " (none: BN_BLOCKS, a cooperative launch)" : "");
    for (Func *f = m->funcs; f; f = f->next)
        put_table(&p, f, out);
    if (d->put_tables)
        d->put_tables(&p);
    put(out,
        "/* Bytes of the state on the device, and where things stand in it; how many layers "
        "there are. */\n"
        "enum {\n    BN_LAYERS = %" PRId64 ",\n    BN_BATCH = %d,\n    BN_VOCAB = %" PRId64 "\n};\n"
        "static const size_t at_tokens = %" PRId64 ", at_hidden = %" PRId64 ", at_logits = %" PRId64
        ",\n                    hidden_bytes = %" PRId64 ", state_bytes = %" PRId64 ";\n\n",
        layers, m->batch, result_of(m, FORM_SCORE)->dim[1].n, p.at.tokens, p.at.hidden, p.at.logits,
        hidden_bytes(m), p.at.end);
    out_free(&p.seen);
}
