/* bn.h: run a language model that bnc compiled.
 *
 * The whole public interface. A product needs five calls:
 *
 *     bn_weights w;  bn_open(&w, &story_model, "story.bnw");
 *     void *block = malloc(bn_state_size(&story_model, 2));
 *     bn_state *s;   bn_init(&s, &w, 2, block, bn_state_size(&story_model, 2));
 *     bn_generate(s, "Once upon a time", 100, &sampling, on_text, NULL);
 *     bn_done(s);    bn_close(&w);
 *
 * Rules that hold everywhere: nothing is allocated after bn_init, nothing is printed, nothing
 * exits. A call that can fail returns a bn_status; the weights and the state keep a sentence
 * about the last failure (bn_weights.message, bn_message). One state belongs to one thread at a
 * time; any number of states may share one bn_weights, each in a thread of its own.
 * Logits do not depend on the number of threads, nor on how tokens are cut into calls.
 */
#ifndef BN_H
#define BN_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* With BN_SHARED, which `bnc --emit=so` compiles with beside -fvisibility=hidden, a shared object
 * exports what this header declares and the model, and nothing else. */
#if defined(BN_SHARED) && defined(__GNUC__)
#define BN_EXPORT __attribute__((visibility("default")))
#pragma GCC visibility push(default)
#else
#define BN_EXPORT
#endif

#define BN_VERSION "0.1.0"

/* Every status with its meaning; bn_status_text returns the text. */
#define BN_STATUSES(S)                                                                             \
    S(OK, "success")                                                                               \
    S(ARGUMENT, "an argument is out of range")                                                     \
    S(IO, "the weights file could not be opened or mapped")                                        \
    S(FORMAT, "the weights file is not a bnw file of this version and byte order")                 \
    S(MISMATCH, "the weights belong to another compiled model")                                    \
    S(SPACE, "the caller's buffer is too small")                                                   \
    S(CONTEXT, "the context is full")                                                              \
    S(THREAD, "a worker thread could not be started")                                              \
    S(CPU, "this processor lacks instructions that the model was compiled for")                    \
    S(DEVICE, "the GPU cannot be used, or its code not be loaded")                                 \
    S(STOPPED, "the callback asked to stop")                                                       \
    S(TEMPLATE, "the chat template refuses these messages")
typedef enum bn_status {
#define BN_STATUS_ENUM(name, text) BN_##name,
    BN_STATUSES(BN_STATUS_ENUM)
#undef BN_STATUS_ENUM
        BN_STATUS_COUNT
} bn_status;
const char *bn_status_text(bn_status status);
const char *bn_version(void);

/* A compiled model: a constant that the generated header declares (story_model, say). */
typedef struct bn_model bn_model;

/* The properties of a model; all strings live as long as the program. Token ids are -1 where
 * the model has none. */
typedef struct bn_info {
    const char *name, *arch, *target, *source_hash, *compiler;
    int32_t vocab, context, layers, width; /* tokens, positions, blocks, model dimension */
    int32_t batch;                         /* tokens that one prefill pass takes */
    int32_t bos, eos, eot; /* of several that end a text, the tokenizer's own and that of a turn */
    int32_t add_bos, add_eos;   /* whether bn_tokenize(BN_ADD_SPECIAL) puts them */
    int32_t embedding, pooling; /* floats of an embedding; how the model makes it: bn_pooling */
    uint64_t weight_bytes;      /* size of the .bnw */
    const int32_t *ends;        /* [nends]: every token that ends a text, eos and eot among them */
    int32_t nends;
} bn_info;
const bn_info *bn_describe(const bn_model *model);
/* Does this token end a text? True for ids below 0, which bn_sample returns for none. */
int bn_ends(const bn_model *model, int32_t token);

/* Weights, read-only and shared. The struct is the caller's; its fields are for reading. */
typedef struct bn_weights {
    const bn_model *model;
    const struct bn_code *code; /* the part of the model that this processor runs */
    const unsigned char *data;  /* the .bnw bytes: mapped, embedded or the caller's */
    size_t size;
    int mapped; /* 1: bn_close unmaps the file; 2: it frees the copy of bn_open_copy */
    char message[192];
} bn_weights;

/* Opens weights: from the file `path`; with path NULL, from the program itself (--weights=incbin
 * or c), else from the file name that the compiler wrote beside model.c. Mapped, never copied: a
 * file that somebody truncates while it is open ends the program by SIGBUS; files that are replaced
 * by renaming, as bnc does, are safe.
 * Checked: the processor; magic, version, byte order and size in the header; its hashes against those
 * of the model; and the tokenizer's bytes. The weights' own bytes are not read: bn_verify does. */
bn_status bn_open(bn_weights *w, const bn_model *model, const char *path);
/* The same, but a file is read into memory of bn_open_copy's own, which bn_close frees: what happens
 * to the file afterwards does not matter. Weights inside the program are not copied. */
bn_status bn_open_copy(bn_weights *w, const bn_model *model, const char *path);
/* The same over `size` bytes at `data`, 64-byte aligned, which must outlive every state. */
bn_status bn_open_memory(bn_weights *w, const bn_model *model, const void *data, size_t size);
/* Checks all that bn_open checks and every byte of the weights against the model's hash: that finds
 * damage, not forgery. BN_FORMAT or BN_MISMATCH with w->message; the weights stay open in any case. */
bn_status bn_verify(bn_weights *w);
void bn_close(bn_weights *w);

/* Processors that this process may use, 1 or more: those of its affinity mask, less where the CPU quota
 * of its cgroup, or of one above it, is less (rounded up). More threads than that make a model slower.
 * Reads some small files of /proc and /sys. */
int bn_cpus(void);

/* A state: KV cache, scratch, token history, thread team, all in one block that the caller gives
 * and may free after bn_done. `threads` counts the calling thread: 1 to BN_MAX_THREADS. */
typedef struct bn_state bn_state;
#define BN_MAX_THREADS 256
size_t bn_state_size(const bn_model *model, int threads); /* 0 where threads is out of range */
/* No less than bn_state_size, as a constant: what PREFIX_STATE_BYTES of a generated header uses. */
#define BN_STATE_BYTES(threads, shared, own, cache, vocab, context)                                \
    ((size_t)4096 + (size_t)(threads) * ((own) + 512) + (shared) + (cache) +                       \
     12 * (size_t)(vocab) + 260 * (size_t)(context))
bn_status bn_init(bn_state **state, const bn_weights *w, int threads, void *block, size_t size);
void bn_done(bn_state *state); /* stops the workers; the block is the caller's again */
const char *bn_message(const bn_state *state);

/* Evaluates n >= 1 tokens at the current position. *logits: `vocab` floats of the last token, in the
 * state until the next call. Pass NULL where bn_sample follows: it computes no more logits than its
 * filters need. */
bn_status bn_eval(bn_state *state, const int32_t *tokens, int n, const float **logits);
/* The same with all logits, [n x vocab] into the caller's buffer: what perplexity needs. */
bn_status bn_score(bn_state *state, const int32_t *tokens, int n, float *logits);
/* The embedding of a text: what goes into the output matrix, of one token or on average, divided by
 * its Euclidean length: `embedding` floats into out. BN_POOL_MODEL: as the metadata says,
 * else the last token. The state forgets what it held and is at position 0 afterwards. MEAN evaluates
 * token by token. */
#define BN_POOLINGS(P) P(LAST, "last") P(MEAN, "mean") P(CLS, "cls") /* cls: the first token */
typedef enum bn_pooling {
    BN_POOL_MODEL,
#define BN_POOLING_ENUM(name, text) BN_POOL_##name,
    BN_POOLINGS(BN_POOLING_ENUM)
#undef BN_POOLING_ENUM
} bn_pooling;
bn_status bn_embed(bn_state *state, const int32_t *tokens, int n, bn_pooling how, float *out);
int bn_position(const bn_state *state);
/* Forgets everything from `position` on (0: all). The next call continues there. */
bn_status bn_rewind(bn_state *state, int position);

/* Text to tokens. `tokens` is result and workspace in one: room for bn_token_room(w, len) ids is
 * always enough, and much less for ordinary text; BN_SPACE where it was too little. That room is
 * BN_TOKEN_ROOM(len), a constant where len is, unless the tokenizer normalizes texts in a way that
 * can make them longer. */
enum {
    BN_ADD_SPECIAL = 1, /* BOS and EOS as the model's metadata says */
    BN_PARSE_SPECIAL = 2
}; /* text of special tokens ("<|eot_id|>") becomes their ids */
#define BN_TOKEN_ROOM(bytes) (8 * (size_t)(bytes) + 16)
size_t bn_token_room(const bn_weights *w, size_t len);
bn_status bn_tokenize(const bn_weights *w, const char *text, size_t len, unsigned flags,
                      int32_t *tokens, size_t cap, size_t *count);
/* The raw bytes of one token, in the weights; they may be a part of a UTF-8 character. Empty for
 * control tokens and ids outside the vocabulary. */
const char *bn_piece(const bn_weights *w, int32_t token, size_t *len);

/* Tokens to text, streaming: each call yields whole UTF-8 characters only and keeps the rest.
 * Start from bn_text_start. out needs BN_TEXT_ROOM(len of bn_piece) bytes. Returns bytes written. */
typedef struct bn_text {
    const bn_weights *w;
    unsigned char held[4];
    int nheld, started;
} bn_text;
#define BN_TEXT_ROOM(bytes) (3 * (size_t)(bytes) + 16)
void bn_text_start(bn_text *t, const bn_weights *w);
size_t bn_detokenize(bn_text *t, int32_t token, char *out);
size_t bn_text_finish(bn_text *t, char *out); /* an unfinished character becomes U+FFFD */

/* How to choose the next token. All zero: greedy. Filters apply in this order: repetition
 * penalty, top_k, temperature, top_p, min_p; a zero switches its filter off. */
typedef struct bn_sampling {
    float temperature; /* 0: the token with the largest logit, the first of equals */
    int32_t top_k;
    float top_p, min_p;
    float repeat_penalty; /* 1.1: divide positive, multiply negative logits of recent tokens */
    int32_t repeat_last;  /* how many recent tokens; 0: 64 */
    uint64_t seed;        /* advanced by every draw: the same seed draws the same tokens */
    /* For bn_generate: the text ends before the first of these strings (BN_STOPS). */
    const char *const *stop; /* nstop strings */
    int32_t nstop;           /* 0: none */
    int32_t stopped;         /* set by bn_generate: which of them ended the text; -1: none did */
} bn_sampling;
/* Samples from the logits of the last bn_eval; -1 before the first one. Greedy or with top_k only the
 * largest logits are computed; the choice is that from all of them. */
int32_t bn_sample(bn_state *state, bn_sampling *how);

/* Feeds `prompt` (with BN_ADD_SPECIAL at position 0; special tokens' text stays text), then samples
 * up to max_tokens, handing each piece of whole characters to on_text, until an end
 * token, a full context (BN_CONTEXT) or a non-zero result of on_text (BN_STOPPED). */
typedef int (*bn_on_text)(void *user, const char *text, size_t len);
/* With stop strings the text ends (BN_OK) before the first that is complete: of several that end at
 * the same byte, before the longest. Only text of this call counts, not the prompt. No byte of the
 * string is handed over; all other text is, as it would be without. The token that completed the
 * string is not evaluated, tokens before it are: bn_rewind drops them. BN_ARGUMENT: more than
 * BN_STOPS strings, an empty one, one longer than BN_STOP_BYTES, or one that begins inside a UTF-8
 * character. */
bn_status bn_generate(bn_state *state, const char *prompt, int max_tokens, bn_sampling *how,
                      bn_on_text on_text, void *user);

/* The stop strings of bn_generate for a loop of one's own: text goes in by pieces of whole characters,
 * and what cannot belong to a stop string comes out by on_text. The strings must outlive the filter.
 * Of what it keeps back it needs no copy: that is the beginning of one of the strings. */
#define BN_STOPS 64
#define BN_STOP_BYTES 256
typedef struct bn_stop {
    const char *const *text;
    int n, found; /* which string was found; -1: none yet */
    int held_of;  /* the filter's own: the last `held` bytes begin text[held_of] */
    size_t held;
} bn_stop;
/* BN_ARGUMENT as for bn_generate; then the filter has no strings. */
bn_status bn_stop_start(bn_stop *stop, const char *const *text, int n);
/* Non-zero ends the text: 1 where a string was found, else what on_text returned. on_text may be
 * called twice for a piece, each time with whole characters. */
int bn_stop_text(bn_stop *stop, const char *text, size_t len, bn_on_text on_text, void *user);
/* Hands over what was kept back, where the text ended without a stop string. */
int bn_stop_finish(bn_stop *stop, bn_on_text on_text, void *user);

/* A turn of a conversation: "system", "user" or "assistant", and what was said; UTF-8. Both may
 * hold anything: they reach the model as text, never as special tokens. */
typedef struct bn_turn {
    const char *role, *content;
} bn_turn;
/* What else a chat template may look at. All zero, or NULL in place of the struct: nothing. Texts in
 * the JSON are text to the model, as messages are. */
typedef struct bn_chat_options {
    const char *messages; /* JSON, in place of turns (n 0): [{"role": ..., "content": ...,
                              "tool_calls": ...}, ...] with whatever keys the template knows */
    const char *tools;    /* JSON: a list of tools, as the template's family has them */
    const char
        *variables;       /* JSON: {"enable_thinking": false, ...}: further names of the template */
    const struct tm *now; /* for strftime_now; NULL: templates find it undefined */
} bn_chat_options;
/* n messages as the model's chat template writes them, with begin_answer up to where the
 * assistant's answer starts. The same arguments give the same text. BN_OK: `out` holds *need bytes
 * and a NUL. BN_SPACE: too small (cap 0 with out NULL is fine); *need is the size to try next, more
 * than cap: call in a loop. BN_TEMPLATE: the template refuses, or the JSON is wrong, or the template
 * would take more than a fixed number of steps or some 64 MB and 64 times what it was given; `out`
 * holds the reason, cut to cap. BN_ARGUMENT: also where the model has no template (bn_chat_known).
 * `out` is workspace, too, and is written in any case. */
int bn_chat_known(const bn_model *model);
bn_status bn_chat(const bn_weights *w, const bn_turn *messages, int n, int begin_answer,
                  const bn_chat_options *options, char *out, size_t cap, size_t *need);
/* The same as tokens, BOS included where the model wants one. Texts of special tokens are those
 * only where the template wrote them, and so are user-defined tokens that the template holds; merges
 * do not stop where a message begins or ends. BN_OK: *need tokens are there. BN_SPACE as above.
 * After BN_TEMPLATE bn_chat gives the reason. */
bn_status bn_chat_tokens(const bn_weights *w, const bn_turn *messages, int n, int begin_answer,
                         const bn_chat_options *options, int32_t *tokens, size_t cap, size_t *need);

#if defined(BN_SHARED) && defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
