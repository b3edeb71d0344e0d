/* record.c: the constants of a compiled model (its descriptor, the functions for each processor) as
 * lists of fields: the C printer writes them, the JIT (compiler/jit)
 * makes them in memory. The structures that they fill stand in bn_model.h. */
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "bn_vocab.h"
#include "codegen-c/codegen.h"

/* ---- the model ---- */

const Type *result_of(const Module *m, Form form)
{
    const Func *f = m->funcs;
    while (f && f->form != form)
        f = f->next;
    return f ? f->body->last->in[0]->type : NULL;
}

int64_t hidden_bytes(const Module *m)
{
    return value_bytes(m, result_of(m, FORM_DECODE));
}

int64_t own_bytes(const Module *m, bool profile)
{
    return profile ? probes_own_bytes(probes_find(m)) : m->own_bytes;
}

static int64_t layer_count(const Module *m)
{
    int64_t n = 0;
    for (const Op *op = m->funcs->body->first; op; op = op->next)
        n += op->code == OP_LAYERS ? attr_int(op, "count", 1) : 0;
    return n;
}

const int32_t *end_tokens(const Module *m, int64_t *n)
{
    const bn_vocab *v = (const bn_vocab *)(const void *)m->vocab_tables;
    *n = v ? v->table[BN_VOCAB_ENDS].count : 0;
    return *n ? bn_vocab_table(v, BN_VOCAB_ENDS) : NULL;
}

static const char *pooling_word(bn_pooling how)
{
    static const char *const words[] = {[BN_POOL_MODEL] = "BN_POOL_MODEL",
#define POOLING_WORD(name, text) [BN_POOL_##name] = "BN_POOL_" #name,
                                        BN_POOLINGS(POOLING_WORD)
#undef POOLING_WORD
    };
    return words[how];
}

/* bn_info */
static void record_info(Record *r, const Module *m, const Target *target)
{
    bn_vocab v = {.bos = -1, .eos = -1, .eot = -1};
    bn_pooling how = m->pooling ? (bn_pooling)pooling_by_name(m->pooling) : BN_POOL_LAST;
    if (m->vocab_tables)
        memcpy(&v, m->vocab_tables, sizeof v);
    record_open(r, "info");
    record_text(r, "name", m->title);
    record_text(r, "arch", m->arch[0]);
    record_text(r, "target", target->name);
    record_text(r, "source_hash", format(r->s, "%016" PRIx64, m->hash));
    record_text(r, "compiler", "bnc " BN_VERSION);
    record_int(r, "vocab", result_of(m, FORM_SCORE)->dim[1].n);
    record_int(r, "context", m->context);
    record_int(r, "layers", layer_count(m));
    record_int(r, "width", m->funcs->body->first->out[0]->type->dim[1].n);
    record_int(r, "batch", m->batch);
    record_int(r, "bos", v.bos);
    record_int(r, "eos", v.eos);
    record_int(r, "eot", v.eot);
    record_int(r, "add_bos", (v.flags & BN_VOCAB_ADD_BOS) != 0);
    record_int(r, "add_eos", (v.flags & BN_VOCAB_ADD_EOS) != 0);
    record_int(r, "embedding", result_of(m, FORM_DECODE)->dim[1].n);
    record_word(r, "pooling", pooling_word(how), how);
    record_long(r, "weight_bytes", m->weight_bytes);
    int64_t nends;
    record_symbol(r, "ends", end_tokens(m, &nends) ? "end_tokens" : NULL);
    record_int(r, "nends", nends);
    record_close(r);
}

/* The weights: inside, or in which file. */
static void record_weights(Record *r, const EmitOptions *o)
{
    bool inside = o->weights != WEIGHTS_FILE;
    record_symbol(r, "embedded", inside ? format(r->s, "%s_bnw", o->prefix) : NULL);
    record_text(r, "weights_file", inside ? NULL : o->bnw_name);
}

void record_model(Record *r, const Module *m, const Target *target, const EmitOptions *o)
{
    record_word(r, "abi", "BN_ABI", BN_ABI);
    record_info(r, m, target);
    record_hash(r, "hash", m->bnw_hash);
    record_comment(r, "of the .bnw");
    record_long(r, "vocab_at", m->vocab_at);
    record_comment(r, "tokenizer tables in the .bnw");
    record_long(r, "vocab_size", m->vocab_size);
    record_hash(r, "vocab_hash", m->vocab_hash);
    record_long(r, "shared_bytes", o->device ? 0 : m->shared_bytes);
    record_long(r, "own_bytes", o->device ? 0 : own_bytes(m, o->profile));
    record_long(r, "cache_bytes", o->device ? 0 : m->cache_bytes);
    record_long(r, "hidden_bytes", hidden_bytes(m));
    record_symbol(r, "code", "code");
    record_int(r, "ncode", target->npart ? target->npart : 1);
    record_weights(r, o);
    record_symbol(r, "chat", o->chat.bytes ? "chat_template" : NULL);
    record_long(r, "chat_bytes", (int64_t)o->chat.size);
    record_symbol(r, "device", o->device ? "&device" : NULL);
}

/* The bits as C spells them. */
static const char *isa_word(Session *s, uint32_t isa)
{
    const char *word = NULL;
#define ISA_WORD(name, bit, text)                                                                  \
    if (isa & BN_ISA_##name)                                                                       \
        word = word ? format(s, "%s | BN_ISA_" #name, word) : "BN_ISA_" #name;
    BN_ISAS(ISA_WORD)
#undef ISA_WORD
    return word ? word : "0";
}

const Func *record_code(Record *r, const Func *f, const Target *target)
{
    const Target *part = f->target, *machine = part ? part : target;
    const Func *of[FORM_COUNT] = {NULL};
    record_open(r, NULL);
    record_word(r, "isa", isa_word(r->s, machine->isa), machine->isa);
    if (part)
        record_comment(r, part->name);
    for (; f && f->target == part; f = f->next)
        of[f->form] = f;
    for (Form form = FORM_DECODE; form < FORM_COUNT; form++)
        record_symbol(r, form_name[form], of[form] ? of[form]->name : NULL);
    record_close(r);
    return f;
}
