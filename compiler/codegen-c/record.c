/* record.c: the constants of a compiled model (its descriptor, the functions for each processor,
 * the sites of --profile) as lists of fields: the C printer writes them, the JIT (compiler/jit)
 * makes them in memory. The structures that they fill stand in bn_model.h and bn_profile.h. */
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "bn_vocab.h"
#include "codegen-c/codegen.h"

/* ---- building ---- */

static Field *add(Record *r, FieldKind kind)
{
    r->field = grow(r->s, r->field, r->n, sizeof *r->field);
    r->field[r->n] = (Field){.kind = kind};
    return &r->field[r->n++];
}

void record_open(Record *r)
{
    add(r, FIELD_OPEN);
}

void record_close(Record *r)
{
    add(r, FIELD_CLOSE);
}

void record_int(Record *r, int64_t i)
{
    add(r, FIELD_INT)->i = i;
}

void record_word(Record *r, const char *word, int i)
{
    Field *f = add(r, FIELD_INT);
    f->text = word;
    f->i = i;
}

void record_long(Record *r, int64_t i)
{
    add(r, FIELD_LONG)->i = i;
}

void record_hash(Record *r, uint64_t hash)
{
    add(r, FIELD_HASH)->i = (int64_t)hash;
}

void record_text(Record *r, const char *text)
{
    add(r, FIELD_TEXT)->text = text;
}

void record_symbol(Record *r, const char *symbol)
{
    add(r, FIELD_SYMBOL)->text = symbol;
}

void record_line(Record *r, const char *comment)
{
    r->field[r->n - 1].line = comment;
}

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
    return profile ? sites_own_bytes(sites_find(m)) : m->own_bytes;
}

static int64_t layer_count(const Module *m)
{
    int64_t n = 0;
    for (const Op *op = m->funcs->body->first; op; op = op->next)
        n += op->code == OP_LAYERS ? attr_int(op, "count", 1) : 0;
    return n;
}

/* bn_info */
static void record_info(Record *r, const Module *m, const Target *target)
{
    bn_vocab v = {.bos = -1, .eos = -1, .eot = -1};
    if (m->vocab_tables)
        memcpy(&v, m->vocab_tables, sizeof v);
    record_open(r);
    record_text(r, m->title);
    record_text(r, m->arch[0]);
    record_text(r, target->name);
    record_text(r, format(r->s, "%016" PRIx64, m->hash));
    record_text(r, "bnc " BN_VERSION);
    record_line(r, "");
    record_int(r, result_of(m, FORM_SCORE)->dim[1].n);
    record_int(r, m->context);
    record_int(r, layer_count(m));
    record_int(r, m->funcs->body->first->out[0]->type->dim[1].n);
    record_line(r, "words, positions, layers, width");
    record_int(r, m->batch);
    record_int(r, v.bos);
    record_int(r, v.eos);
    record_int(r, v.eot);
    record_int(r, (v.flags & BN_VOCAB_ADD_BOS) != 0);
    record_int(r, (v.flags & BN_VOCAB_ADD_EOS) != 0);
    record_line(r, "batch; BOS, EOS, EOT; add BOS, EOS");
    record_int(r, result_of(m, FORM_DECODE)->dim[1].n);
    record_int(r, m->pooling ? pooling_by_name(m->pooling) : BN_POOL_LAST);
    record_long(r, m->weight_bytes);
    record_close(r);
    record_line(r, "floats of an embedding, pooling, bytes");
}

void record_model(Record *r, const Module *m, const Target *target, const EmitOptions *o)
{
    record_word(r, "BN_ABI", BN_ABI);
    record_line(r, "");
    record_info(r, m, target);
    record_hash(r, m->bnw_hash);
    record_long(r, m->vocab_at);
    record_long(r, m->vocab_size);
    record_hash(r, m->vocab_hash);
    record_line(r, ".bnw: hash; tokenizer: at, bytes, hash");
    record_long(r, o->device ? 0 : m->shared_bytes);
    record_long(r, o->device ? 0 : own_bytes(m, o->profile));
    record_long(r, o->device ? 0 : m->cache_bytes);
    record_long(r, hidden_bytes(m));
    record_line(r, "bytes: shared, own, cache, hidden");
    record_symbol(r, "code");
    record_int(r, target->npart ? target->npart : 1);
    if (o->weights == WEIGHTS_FILE) {
        record_symbol(r, NULL);
        record_text(r, o->bnw_name);
    } else {
        record_symbol(r, format(r->s, "%s_bnw", o->prefix));
        record_text(r, NULL);
    }
    record_symbol(r, o->chat.bytes ? "chat_template" : NULL);
    record_long(r, (int64_t)o->chat.size);
    record_symbol(r, o->device ? "&device" : NULL);
    record_line(r, "");
}

const Func *record_code(Record *r, const Func *f, const Target *target)
{
    const Target *part = f->target;
    const Func *of[FORM_COUNT] = {NULL};
    record_open(r);
    record_int(r, (part ? part : target)->isa);
    for (; f && f->target == part; f = f->next)
        of[f->form] = f;
    for (Form form = FORM_DECODE; form < FORM_COUNT; form++)
        record_symbol(r, of[form] ? of[form]->name : NULL);
    record_close(r);
    record_line(r, part ? part->name : "");
    return f;
}
