/* tokenizer.h: what the files that read a checkpoint's tokenizer share; nobody else includes it. */
#ifndef BNC_HF_TOKENIZER_H
#define BNC_HF_TOKENIZER_H

#include "checkpoint/checkpoint.h"

/* A tokenizer on its way: tokens[n] of the model's vocabulary. Texts end with a NUL beyond len. */
typedef struct HfTokens {
    Session *s;
    const char *path; /* for messages */
    VocabText *text;  /* ptr NULL: not named yet */
    int32_t *type;    /* VOCAB_* */
    uint8_t *flags;   /* VOCAB_LSTRIP ... */
    float *score;     /* of SentencePiece */
    int64_t n;
    json_t *ids;                /* text -> number; of equal texts the first */
    int64_t bos, eos, unk, pad; /* -1: not said */
    /* SentencePiece's NormalizerSpec, and where spaces go in its TrainerSpec */
    const uint8_t *charsmap;
    size_t charsmap_bytes;
    bool space_prefix, remove_extra, keep_spaces, suffix; /* keep: no U+2581 in their place */
} HfTokens;
/* fail() where the number is not of the vocabulary or has another text. */
void hf_token_set(HfTokens *t, int64_t id, const char *text, size_t len, int type);
int64_t hf_token_find(const HfTokens *t, const char *text); /* -1: none */

typedef struct Tokenizer {
    Session *s;
    const HfTokenizerFiles *f;
    HfTokens t;
    const json_t *model; /* "model" of tokenizer.json */
    Loc at;              /* tokenizer.json or tokenizer.model */
    /* normalizer.c's results */
    VocabText *step; /* [nsteps], as in VocabSource */
    size_t nsteps;
    const char *prefix;
    bool split_spaces;
    bool prepends; /* the normalizer puts the space mark before each text */
    bool marks;    /* and in the place of spaces */
} Tokenizer;

bool hf_is(const json_t *object, const char *type); /* its "type" */
/* The parts of a Sequence, which stand under `list`, or the thing itself; NULL after the last. */
const json_t *hf_part(const json_t *v, const char *list, size_t i);
const json_t *hf_part_of_type(const json_t *v, const char *list, const char *type);
const char *hf_type_shown(const Tokenizer *z, const json_t *v);

/* normalizer.c: what is done to a text before merges, by tokenizer.json. fail() where it is nothing
 * that the tables can hold. */
void hf_normalizer_bpe(Tokenizer *z);
void hf_normalizer_spm(Tokenizer *z);
/* When the tokens are known: what the steps must say in their place. */
void hf_normalizer_finish(Tokenizer *z, bool spm);
const char *hf_pretokenizer(const Tokenizer *z, const char *given);

/* sentencepiece.c: tokenizer.model, SentencePiece's protobuf. Every fault ends in fail(). */
void hf_spm_parse(HfTokens *t, const uint8_t *bytes, size_t size);

#endif
