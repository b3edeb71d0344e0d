/* fuzz_hf.h: what the two targets over a checkpoint's tokenizer share.
 *
 * One idea: files are either refused with one message, or they give a tokenizer whose tables are
 * sound: the check of the runtime passes, texts with odd spaces and with the tokens' own texts
 * become tokens of the vocabulary, and the room that bn_token_room promises is enough.
 */
#ifndef FUZZ_HF_H
#define FUZZ_HF_H

#include "bn_vocab.h"
#include "checkpoint/checkpoint.h"
#include "must.h"

#include <string.h>

enum { FUZZ_VOCAB = 512 };

typedef struct FuzzRun {
    Session s;
    const uint8_t *data;
    size_t size;
    HfTokenizerFiles files;
    VocabSource *source;
} FuzzRun;

static inline void fuzz_text(const bn_weights *w, const VocabSource *v, const char *text,
                             size_t len)
{
    const size_t room = bn_token_room(w, len);
    int32_t *ids = malloc(room * sizeof *ids);
    char *copy = malloc(len + !len); /* of its own size: a read past its end is seen */
    size_t n;
    memcpy(copy, text, len);
    for (unsigned flags = 0; flags < 4; flags += 2) {
        MUST(bn_tokenize(w, copy, len, flags, ids, room, &n) == BN_OK && n <= room);
        for (size_t i = 0; i < n; i++) {
            MUST(ids[i] >= 0 && ids[i] < v->n);
            MUST(flags || v->types[ids[i]] != VOCAB_CONTROL || ids[i] == v->unk);
        }
    }
    free(copy);
    free(ids);
}

static inline void fuzz_source(const VocabSource *v)
{
    static const char text[] =
        " a  b\t\r\n\xc2\xa0\xe3\x80\x80 e\xcc\x81\xcc\xa3 \xef\xb7\xba\xff\xe2\x96\x81"
        "A\xea\xb0\x80<a> x ";
    char message[256], special[256];
    size_t bytes, len = 0;
    uint8_t *tables = vocab_build(v, &bytes, message);
    MUST(tables || *message);
    if (!tables)
        return;
    bn_model model = {.vocab_size = bytes};
    bn_weights w = {.model = &model, .data = tables, .size = bytes};
    MUST(bn_vocab_check(&w) == BN_OK);
    fuzz_text(&w, v, text, sizeof text - 1);
    for (int64_t i = 0; i < v->n; i++) /* special tokens with spaces around them */
        if (v->types[i] >= VOCAB_UNKNOWN && v->types[i] <= VOCAB_USER &&
            v->tokens[i].len < sizeof special - 2 - len) {
            special[len++] = ' ';
            memcpy(special + len, v->tokens[i].ptr, v->tokens[i].len);
            len += v->tokens[i].len;
        }
    fuzz_text(&w, v, special, len);
    free(tables);
}

/* Runs `parse`, which fills r->source. */
static inline void fuzz_run(const uint8_t *data, size_t size, void (*parse)(void *))
{
    static FILE *log;
    if (!log)
        log = fopen("/dev/null", "w");
    FuzzRun r = {.size = size};
    uint8_t *copy = must_copy(data, size);
    MUST(log);
    r.data = copy;
    session_start(&r.s, log);
    bool ok = session_try(&r.s, parse, &r);
    MUST(r.s.nerror == (ok ? 0 : 1));
    if (ok)
        fuzz_source(r.source);
    session_end(&r.s);
    free(copy);
}

#endif
