/* checkpoint.h: a Hugging Face checkpoint: what its JSON files say, and its way into a GGUF file.
 *
 *     config.json                    the graph and its sizes
 *     model.safetensors[.index.json] the weights (frontend/safetensors.h)
 *     tokenizer.json                 the tokenizer, or tokenizer.model (SentencePiece)
 *     tokenizer_config.json, special_tokens_map.json, generation_config.json, added_tokens.json,
 *     chat_template.jinja, chat_template.json    where they are there
 */
#ifndef BNC_HF_H
#define BNC_HF_H

#include "checkpoint/gguf_out.h"
#include "frontend/json.h"
#include "ir/vocab.h"

/* RoPE, beside its base. */
typedef struct HfRope {
    const json_t *settings; /* rope_scaling or rope_parameters; NULL: neither */
    const char *type;       /* as GGUF has it: none, linear, yarn, longrope */
    double factor, magnitude, original, fast, slow;
    const double *few, *many; /* longrope's, [head_dim / 2]; NULL: another type */
    double *divisor;          /* of each frequency, [head_dim / 2]; NULL: none */
} HfRope;

typedef struct HfConfig {
    Session *s;
    const char *dir;
    json_t *config; /* config.json */
    const char *config_path;
    const char *arch; /* GGUF's name of the graph */
    int layers, width, ffn, heads, kv_heads, head_dim, vocab, context;
    bool own_head_dim;           /* given, not width / heads */
    double eps, base, near_base; /* near: of gemma3's layers with a window, else 0 */
    HfRope rope;
    int window, every; /* gemma3: every so-many-th layer sees all positions; else 0 */
    double embedding_scale, residual_scale, logit_scale; /* minicpm; else 0 */
    bool tied;    /* the embedding is the output matrix; else lm_head.weight, if there */
    bool divide;  /* packed weights: divided by weight_scale, not multiplied */
    bool trained; /* float projections were trained to be rounded to ternary */
} HfConfig;

/* config.c. fail() where the graph is not one that bnc writes, or a size makes no sense. */
HfConfig *hf_config_read(Session *s, const char *dir);
/* rope.c: c->base, near_base and rope, for c->arch and its sizes; and their keys. */
void hf_rope_read(HfConfig *c);
void hf_rope_put(const HfConfig *c, GgufOut *g);
/* general.* and the sizes; `title` NULL: the folder's name. */
void hf_config_put(const HfConfig *c, GgufOut *g, const char *title);

/* The files of a tokenizer, read; NULL: not there. */
typedef struct HfTokenizerFiles {
    const char *dir;     /* for messages */
    int64_t vocab;       /* rows of the embedding */
    const json_t *model; /* config.json */
    const json_t *own;   /* tokenizer.json */
    const json_t *config, *map,
        *generation;     /* tokenizer_config, special_tokens_map, generation_config */
    const json_t *added; /* added_tokens.json */
    const json_t *chat;  /* chat_template.json, of any kind of value */
    const char *jinja;   /* chat_template.jinja */
    const uint8_t *spm;  /* tokenizer.model */
    size_t spm_bytes;
} HfTokenizerFiles;

/* tokenizer.c. The tokenizer that the files describe; `pre` NULL: found by the pre-tokenizer's
 * pattern. *chat: the template, or NULL. Every fault ends in fail(). */
VocabSource *hf_tokenizer_read(Session *s, const HfTokenizerFiles *f, const char *pre,
                               const char **chat);
/* The same from the checkpoint's folder, as every tokenizer.* key. */
void hf_tokenizer_put(const HfConfig *c, GgufOut *g, const char *pre);

/* convert.c: the checkpoint in the folder `dir` written as a GGUF file to `output`. */
typedef struct ConvertOptions {
    const char *dir, *output;
    const char *title; /* general.name; NULL: the folder's */
    const char *pre;   /* the pre-tokenizer; NULL: found by its pattern */
    Fmt fmt;           /* of the projections, such that convert_writes */
    bool wide; /* scales of 128 columns are written as pq2_0, not as q2_0, which more read */
} ConvertOptions;
void checkpoint_convert(Session *s, const ConvertOptions *o);
bool convert_writes(Fmt fmt);
/* The path of a model file: `path` itself or, where that is the folder of a checkpoint, a GGUF
 * converted into a temporary folder of the session, its projections in `fmt`. */
const char *model_file(Session *s, const char *path, Fmt fmt);

#endif
