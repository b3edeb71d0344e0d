/* checkpoint.h: a Hugging Face checkpoint: what its JSON files say, and its way into a GGUF file.
 *
 *     config.json                    the graph and its sizes
 *     model.safetensors[.index.json] the weights (frontend/safetensors.h)
 *     tokenizer.json                 the tokenizer, or tokenizer.model (SentencePiece)
 *     tokenizer_config.json, special_tokens_map.json, generation_config.json, added_tokens.json,
 *     chat_template.jinja            where they are there
 */
#ifndef BNC_HF_H
#define BNC_HF_H

#include "checkpoint/gguf_out.h"
#include "frontend/json.h"
#include "ir/vocab.h"

typedef struct HfConfig {
    Session *s;
    const char *dir;
    json_t *config; /* config.json */
    const char *config_path;
    const char *arch; /* GGUF's name of the graph */
    int layers, width, ffn, heads, kv_heads, head_dim, vocab, context;
    bool own_head_dim; /* given, not width / heads */
    double eps, base;
    bool tied;    /* the embedding is the output matrix; else lm_head.weight, if there */
    bool divide;  /* packed weights: divided by weight_scale, not multiplied */
    bool trained; /* float projections were trained to be rounded to ternary */
} HfConfig;

/* config.c. fail() where the graph is not one that bnc writes, or a size makes no sense. */
HfConfig *hf_config_read(Session *s, const char *dir);
/* general.* and the sizes; `title` NULL: the folder's name. */
void hf_config_put(const HfConfig *c, GgufOut *g, const char *title);

/* tokenizer.c: every tokenizer.* key; `pre` NULL: found by the pre-tokenizer's pattern. */
void hf_tokenizer_put(const HfConfig *c, GgufOut *g, const char *pre);

/* A tokenizer on its way: tokens[n] of the model's vocabulary. Texts end with a NUL beyond len. */
typedef struct HfTokens {
    Session *s;
    const char *path; /* for messages */
    VocabText *text;  /* ptr NULL: not named yet */
    int32_t *type;    /* VOCAB_* */
    float *score;     /* of SentencePiece */
    int64_t n;
    json_t *ids;                /* text -> number; of equal texts the first */
    bool space_prefix;          /* SentencePiece: a space is put before the text */
    int64_t bos, eos, unk, pad; /* -1: not said */
} HfTokens;
/* fail() where the number is not of the vocabulary or has another text. */
void hf_token_set(HfTokens *t, int64_t id, const char *text, size_t len, int type);
int64_t hf_token_find(const HfTokens *t, const char *text); /* -1: none */
/* sentencepiece.c: tokenizer.model, SentencePiece's protobuf. Every fault ends in fail(). */
void hf_spm_read(HfTokens *t, const char *path);
void hf_spm_parse(HfTokens *t, const uint8_t *bytes, size_t size);

/* convert.c: the checkpoint in the folder `dir` written as a GGUF file to `output`. */
typedef struct ConvertOptions {
    const char *dir, *output;
    const char *title; /* general.name; NULL: the folder's */
    const char *pre;   /* the pre-tokenizer; NULL: found by its pattern */
    Fmt fmt;           /* of the projections, such that convert_writes */
} ConvertOptions;
void checkpoint_convert(Session *s, const ConvertOptions *o);
bool convert_writes(Fmt fmt);
/* The path of a model file: `path` itself or, where that is the folder of a checkpoint, a GGUF
 * converted into a temporary folder of the session, its projections in `fmt`. */
const char *model_file(Session *s, const char *path, Fmt fmt);

#endif
