/* sentencepiece.c: SentencePiece's tokenizer.model.
 *
 * One idea: a protobuf message is a list of fields, and only a few of them matter here. Numbers are
 * those of sentencepiece_model.proto (google/sentencepiece); token types are GGUF's, which took
 * them from there.
 *
 *     ModelProto       1 piece (message, repeated)   2 trainer_spec   3 normalizer_spec
 *     SentencePiece    1 piece (text)   2 score (f32)   3 type (1 normal ... 6 byte; absent: 1)
 *     TrainerSpec      3 model_type (1 unigram, 2 BPE; absent: 1)   40 unk  41 bos  42 eos  43 pad
 *                      24 treat_whitespace_as_suffix (absent: 0)
 *     NormalizerSpec   2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces
 *                      5 escape_whitespaces (absent: 1, all three)
 */
#include <math.h>
#include <string.h>

#include "checkpoint/tokenizer.h"

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };
enum { BPE = 2, LONGEST_PIECE = 1 << 16 };

typedef struct Message {
    HfTokens *t;
    const uint8_t *p, *end;
} Message;

typedef struct Field {
    uint64_t number;
    uint64_t value; /* of varints and fixed numbers */
    Message inside; /* of bytes */
    int wire;
} Field;

_Noreturn static void damaged(const HfTokens *t, const char *what)
{
    fail(t->s, loc_file(t->s, t->path), "%s: not a SentencePiece model, or damaged", what);
}

static uint64_t varint(Message *m)
{
    uint64_t x = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->p == m->end)
            damaged(m->t, "a number ends with the file");
        uint8_t b = *m->p++;
        x |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return x;
    }
    damaged(m->t, "a number has more than 10 bytes");
}

static void need(const Message *m, uint64_t n)
{
    if (n > (uint64_t)(m->end - m->p))
        damaged(m->t, "a field is longer than what holds it");
}

/* False after the last field. */
static bool next(Message *m, Field *f)
{
    if (m->p == m->end)
        return false;
    uint64_t tag = varint(m);
    *f = (Field){.number = tag >> 3, .wire = (int)(tag & 7)};
    if (f->wire == WIRE_VARINT) {
        f->value = varint(m);
    } else if (f->wire == WIRE_32 || f->wire == WIRE_64) {
        int bytes = f->wire == WIRE_32 ? 4 : 8;
        need(m, (uint64_t)bytes);
        f->value = gguf_load(m->p, bytes);
        m->p += bytes;
    } else if (f->wire == WIRE_BYTES) {
        uint64_t n = varint(m);
        need(m, n);
        f->inside = (Message){m->t, m->p, m->p + n};
        m->p += n;
    } else {
        damaged(m->t, "a field has a wire type that protobuf does not define");
    }
    return true;
}

static void take_piece(Message m, int64_t id)
{
    HfTokens *t = m.t;
    const uint8_t *text = m.p;
    size_t len = 0;
    uint64_t type = VOCAB_NORMAL;
    float score = 0;
    for (Field f; next(&m, &f);) {
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            text = f.inside.p;
            len = (size_t)(f.inside.end - f.inside.p);
        } else if (f.number == 2 && f.wire == WIRE_32) {
            memcpy(&score, &bits, 4);
        } else if (f.number == 3 && f.wire == WIRE_VARINT) {
            type = f.value;
        }
    }
    if (len > LONGEST_PIECE || type < VOCAB_NORMAL || type > VOCAB_BYTE || !isfinite(score))
        damaged(t, format(t->s, "piece %lld is too long, of no known type or without a score",
                          (long long)id));
    hf_token_set(t, id, intern(t->s, (const char *)text, len), len, (int)type);
    t->score[id] = score;
}

static void take_trainer(Message m, uint64_t *kind)
{
    HfTokens *t = m.t;
    t->unk = 0; /* the message's defaults */
    t->bos = 1;
    t->eos = 2;
    for (Field f; next(&m, &f);) {
        if (f.wire != WIRE_VARINT)
            continue;
        int32_t id = (int32_t)(uint32_t)f.value; /* -1: none */
        if (f.number == 3)
            *kind = f.value;
        else if (f.number == 24)
            t->suffix = f.value != 0;
        else if (f.number >= 40 && f.number <= 43)
            *(f.number == 40   ? &t->unk
              : f.number == 41 ? &t->bos
              : f.number == 42 ? &t->eos
                               : &t->pad) = id < t->n ? id : -1;
    }
}

static void take_normalizer(Message m)
{
    HfTokens *t = m.t;
    for (Field f; next(&m, &f);) {
        if (f.number == 2 && f.wire == WIRE_BYTES) {
            t->charsmap_bytes = (size_t)(f.inside.end - f.inside.p);
            t->charsmap = f.inside.p;
        }
        if (f.wire != WIRE_VARINT)
            continue;
        if (f.number == 3)
            t->space_prefix = f.value != 0;
        else if (f.number == 4)
            t->remove_extra = f.value != 0;
        else if (f.number == 5)
            t->keep_spaces = f.value == 0;
    }
}

void hf_spm_parse(HfTokens *t, const uint8_t *bytes, size_t size)
{
    Message m = {t, bytes, bytes + size};
    uint64_t kind = 1;
    int64_t n = 0;
    const char *instead = file_placeholder(bytes, size);
    if (instead)
        fail(t->s, loc_file(t->s, t->path), "not a SentencePiece model; it looks like %s", instead);
    t->space_prefix = true;
    t->remove_extra = true;
    for (Field f; next(&m, &f);) {
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == 1)
            take_piece(f.inside, n++);
        else if (f.number == 2)
            take_trainer(f.inside, &kind);
        else if (f.number == 3)
            take_normalizer(f.inside);
    }
    if (n == 0)
        damaged(t, "there is not one piece in it");
    if (t->keep_spaces)
        fail(t->s, loc_file(t->s, t->path),
             "escape_whitespaces is false in its NormalizerSpec; bnc's tables write a space as "
             "U+2581 "
             "always: train the tokenizer with the default, or give a tokenizer.json");
    if (kind != BPE)
        fail(t->s, loc_file(t->s, t->path),
             "a SentencePiece model of type %llu (1: unigram); a GGUF file holds its BPE (2)",
             (unsigned long long)kind);
}
