/* vocab.h: from the tokenizer of a model file to the tables of bn_vocab.h.
 *
 * A VocabSource is plain arrays, as GGUF or tokenizer.json give them; vocab_build checks them and
 * returns the finished section. The same source gives the same bytes on every machine.
 */
#ifndef BNC_VOCAB_H
#define BNC_VOCAB_H

#include "../../runtime-min/bn_vocab.h"

#include <stddef.h>
#include <stdint.h>

/* Every pre-tokenizer that byte-level BPE files may name:
 *     name, split, flags (BN_VOCAB_*; ADD_BOS: where the file does not say)
 * A file without a name is taken for the first row. */
#define VOCAB_LLAMA_FLAGS (BN_VOCAB_WHOLE_WORDS | BN_VOCAB_ADD_BOS)
#define VOCAB_PRETOKENIZERS(P)                                                                     \
    P("llama-bpe", BN_VOCAB_SPLIT_LLAMA, VOCAB_LLAMA_FLAGS)                                        \
    P("llama3", BN_VOCAB_SPLIT_LLAMA, VOCAB_LLAMA_FLAGS)                                           \
    P("llama-v3", BN_VOCAB_SPLIT_LLAMA, VOCAB_LLAMA_FLAGS)                                         \
    P("falcon3", BN_VOCAB_SPLIT_LLAMA, VOCAB_LLAMA_FLAGS)                                          \
    P("falcon_e", BN_VOCAB_SPLIT_LLAMA, VOCAB_LLAMA_FLAGS)                                         \
    P("qwen2", BN_VOCAB_SPLIT_QWEN, 0)                                                             \
    P("gpt-2", BN_VOCAB_SPLIT_GPT2, 0)                                                             \
    P("gpt2", BN_VOCAB_SPLIT_GPT2, 0)

/* The names above for a message: "llama-bpe, llama3, ...". */
extern const char *const vocab_pretokenizers;

/* Token types, as GGUF numbers them. */
enum {
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2,
    VOCAB_CONTROL = 3,
    VOCAB_USER = 4,
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6
};

typedef struct VocabText {
    const char *ptr; /* any bytes, no terminator needed */
    size_t len;
} VocabText;

/* Nothing here is trusted except that the pointers reach as far as n, nmerges and len say. The
 * source may go as soon as vocab_build has returned. */
typedef struct VocabSource {
    const char *model; /* "gpt2": byte-level BPE, "llama": SentencePiece */
    const char *pre;   /* pre-tokenizer of gpt2; NULL or "": the file names none */
    int64_t n;
    const VocabText *tokens; /* [n] */
    const float *scores;     /* [n]; llama needs them */
    const int32_t *types;    /* [n] VOCAB_*, 0 means normal; NULL: guessed from the ids below */
    int64_t nmerges;
    const VocabText *merges;                /* [nmerges] "left right", best first; gpt2 only */
    int64_t bos, eos, eot, unk, pad;        /* -1: none; eot is then looked for by its text */
    int add_bos, add_eos, add_space_prefix; /* 0, 1; -1: the file does not say */
} VocabSource;

/* The section of bn_vocab.h: 64-byte aligned, *size a multiple of 64; the caller frees it. Its
 * first bytes are a bn_vocab, where the ids and flags stand as the rules settled them.
 * `message` gets, on failure (NULL), what is wrong; on success, what was assumed, or "". */
uint8_t *vocab_build(const VocabSource *src, size_t *size, char message[256]);

#endif
