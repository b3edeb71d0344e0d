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
    P("hunyuan", BN_VOCAB_SPLIT_QWEN, 0)                                                           \
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

/* How a special token is found, beside its type. */
enum {
    VOCAB_LSTRIP = 1,      /* takes in the spaces before it */
    VOCAB_RSTRIP = 2,      /* and those behind it */
    VOCAB_SINGLE_WORD = 4, /* only where no word goes on over its ends */
    VOCAB_NORMALIZED =
        8 /* user-defined: looked for in the normalized text, by its normalized text */
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
    const VocabText *merges;                /* [nmerges] "left right", best first */
    int64_t bos, eos, eot, unk, pad;        /* -1: none; eot is then looked for by its text */
    int add_bos, add_eos, add_space_prefix; /* 0, 1; -1: the file does not say */
    /* What follows may be left 0 or NULL, and then asks for nothing. */
    const int32_t *ends; /* [nends]: further tokens that end a text */
    int64_t nends;
    const uint8_t *flags;   /* [n] VOCAB_LSTRIP ... VOCAB_NORMALIZED */
    const VocabText *steps; /* [nsteps]: the normalizer (vocab_normal.c) */
    int64_t nsteps;
    const uint8_t *charsmap; /* [charsmap_bytes]: SentencePiece's precompiled_charsmap */
    int64_t charsmap_bytes;
    int remove_extra_spaces,
        space_suffix; /* SentencePiece's; suffix: the space goes behind the text */
    int split_spaces; /* every space begins a word */
    int only_merges;  /* gpt2: a pre-token that is a token is not taken whole */
    int by_merges;    /* llama: the merges, not the scores, say what merges, and when */
    const char
        *prefix; /* where the space before a text goes: "each" part, "lacking": each that does
                    not begin with one; "first": the same of that which begins the text; "none":
                    the normalizer puts it. NULL: each, or SentencePiece's normalizer */
} VocabSource;

/* The section of bn_vocab.h: 64-byte aligned, *size a multiple of 64; the caller frees it. Its
 * first bytes are a bn_vocab, where the ids and flags stand as the rules settled them.
 * `message` gets, on failure (NULL), what is wrong; on success, what was assumed, or "". */
uint8_t *vocab_build(const VocabSource *src, size_t *size, char message[256]);

#endif
