/* bn_model.h: the contract between generated code and the runtime. Products include bn.h only.
 *
 * One idea: the compiler knows every size, so a model is a constant record of numbers and a few
 * functions, and the runtime allocates, maps and schedules by those numbers alone.
 */
#ifndef BN_MODEL_H
#define BN_MODEL_H

#include "bn.h"

#ifdef __cplusplus
extern "C" {
#define BN_RESTRICT
#else
#define BN_RESTRICT restrict
#endif

#if defined(__GNUC__) || defined(__clang__)
#define BN_INLINE static inline __attribute__((always_inline, unused))
#else
#define BN_INLINE static inline
#endif

#define BN_ABI 7 /* raised when anything below changes */

/* Instruction sets a model may need: one X-macro for compiler, runtime and targets. */
#define BN_ISAS(I)                                                                                 \
    I(AVX2, 0, "avx2")                                                                             \
    I(FMA, 1, "fma")                                                                               \
    I(F16C, 2, "f16c")                                                                             \
    I(AVX_VNNI, 3, "avxvnni")                                                                      \
    I(AVX512, 4, "avx512f,avx512bw,avx512dq,avx512vl")                                             \
    I(AVX512_VNNI, 5, "avx512vnni")                                                                \
    I(AVX512_VBMI, 6, "avx512vbmi")                                                                \
    I(AMX_INT8, 7, "amx-tile,amx-int8")                                                            \
    I(NEON, 8, "neon")                                                                             \
    I(DOTPROD, 9, "dotprod")                                                                       \
    I(I8MM, 10, "i8mm")                                                                            \
    I(SIMD128, 11, "simd128")                                                                      \
    I(BMI, 12, "bmi")
enum {
#define BN_ISA_ENUM(name, bit, text) BN_ISA_##name = 1 << bit,
    BN_ISAS(BN_ISA_ENUM)
#undef BN_ISA_ENUM
};

/* Names that are attributes in the IR, and the numbers that kernels receive for them. */
#define BN_WORDS(W)                                                                                \
    W(NEOX, 0)  /* rope: pairs (j, j + rot/2) */                                                   \
    W(NORM, 1)  /* rope: pairs (2j, 2j + 1) */                                                     \
    W(RELU2, 0) /* tglu: max(x, 0)^2 */                                                            \
    W(SILU, 1)  /* tglu: x / (1 + exp(-x)) */                                                      \
    W(GELU, 2)  /* tglu: see gelu_arg of kernels/scalar.c */                                       \
    W(GROUP, 0) /* quant_group: a scale of its own for each group of columns */                    \
    W(TOKEN, 1) /* quant_group: one scale for all of them */
enum {
#define BN_WORD_ENUM(name, value) BN_##name = value,
    BN_WORDS(BN_WORD_ENUM)
#undef BN_WORD_ENUM
};

typedef struct bn_team bn_team;

/* One thread's view of one forward pass. Pointers are 64-byte aligned, but for `tokens` and, in a
 * score function, `logits`: those rows stand in the caller's buffer. */
typedef struct bn_call {
    const uint8_t *weights; /* the .bnw */
    uint8_t *shared;        /* scratch that all threads of the pass see */
    uint8_t *own;           /* scratch of this thread */
    uint8_t *cache;         /* KV cache */
    const int32_t *tokens;  /* [ntok] */
    float *hidden;          /* decode, prefill write it, lm_head and topk read it */
    float *logits;          /* lm_head, topk: [vocab]; score: [ntok x vocab] */
    int ntok, pos;          /* 1 <= ntok <= batch; position of tokens[0] */
    int topk;               /* topk: 1 <= topk <= BN_TOPK_MAX */
    int thread, nthread;
    bn_team *team;
    void *device; /* of bn_device.start */
} bn_call;

/* Runs on every thread of the team at once. */
typedef void (*bn_forward)(const bn_call *c);
#define BN_TOPK_MAX 256

/* A barrier: returns when every thread of the call has arrived; orders all memory accesses before and
 * after it. */
void bn_barrier(const bn_call *c);

/* Takes a ticket: the next number, from 0 on, of counter `slot` below BN_TICKETS; no two threads get the
 * same. Barriers set all counters back to 0. */
#define BN_TICKETS 16
int bn_ticket(const bn_call *c, int slot);

/* The part [*lo, *hi) of `units` equal pieces of work that falls to this thread. */
BN_INLINE void bn_share(const bn_call *c, int units, int *lo, int *hi)
{
    *lo = (int)((int64_t)units * c->thread / c->nthread);
    *hi = (int)((int64_t)units * (c->thread + 1) / c->nthread);
}

/* The dynamic schedule of `units` pieces of work: the next [from, to) of this thread, until it returns
 * 0. Three quarters are shared as by bn_share; the rest goes by ticket, in small pieces of `least` units
 * or more, to threads that have time, so that a thread that is delayed delays no other. Start from
 * {0, 0, 0}. */
typedef struct bn_rows {
    int from, to, turn;
} bn_rows;
BN_INLINE int bn_rows_next(const bn_call *c, int slot, int units, int least, bn_rows *r)
{
    int rest = c->nthread == 1 ? 0 : units / 4, piece = rest / (4 * c->nthread);
    piece = piece > least ? piece : least;
    if (rest < 2 * piece)
        rest = 0;
    if (r->turn++ == 0) {
        bn_share(c, units - rest, &r->from, &r->to);
        if (r->from < r->to)
            return 1;
    }
    if (rest == 0)
        return 0;
    r->from = units - rest + bn_ticket(c, slot) * piece;
    r->to = r->from + piece < units ? r->from + piece : units;
    return r->from < units;
}

/* The functions for one kind of processor. decode (one token) and prefill (2 to `batch` tokens) end with
 * the hidden vector of their last token, from which lm_head computes its logits; score computes the
 * logits of all its tokens. topk, which may be NULL, is exact top-k: for each token whose logit may be
 * one of the c->topk largest, equal ones included, it writes the logit, bit-exact with lm_head; for any
 * other token that logit or -INFINITY. NaN and -INFINITY count as the smallest finite number, INFINITY
 * as the largest. */
typedef struct bn_code {
    uint32_t isa; /* BN_ISA_* bits that it needs */
    bn_forward decode, prefill, score, lm_head, topk;
} bn_code;

/* A model that runs on a GPU keeps KV cache and scratch there: those of the state are empty. bn_init
 * calls start with the call of the first thread, bn_done calls stop; forward functions find in c->device
 * what start stored there, and work on the first thread alone. */
typedef struct bn_device {
    bn_status (*start)(bn_call *c, const bn_weights *w);
    void (*stop)(bn_call *c);
} bn_device;

struct bn_model {
    uint32_t abi; /* BN_ABI */
    bn_info info;
    uint64_t hash;                             /* of the .bnw body, as its header repeats it */
    uint64_t vocab_at, vocab_size, vocab_hash; /* tokenizer tables in the .bnw (bn_vocab.h) */
    uint64_t shared_bytes, own_bytes, cache_bytes, hidden_bytes;
    const bn_code *code; /* [ncode], weakest first; bn_open takes the last that can run */
    int ncode;
    const unsigned char *embedded; /* the .bnw inside the program, or NULL */
    const char *weights_file;      /* default file name, or NULL */
    const unsigned char *chat;     /* the chat template (bn_template.h); NULL: the model has none */
    uint64_t chat_bytes;
    const bn_device *device; /* NULL: it runs on the processor */
};

/* The .bnw file, little-endian:
 *
 *   0                   8     12           16           24          32           40      4096
 *   +-------------------+-----+------------+------------+-----------+------------+-------+---------
 *   | "BNW\r\n\x1a\n\0" | abi | 0x01020304 | file bytes | body hash | vocab hash | 0 ... | sections
 *   +-------------------+-----+------------+------------+-----------+------------+-------+---------
 *
 * Sections (weights as the kernels want them, tokenizer tables) stand at offsets that only the
 * model knows, each 64-byte aligned. Hashes are XXH64, seed 0; that of the body, all behind the
 * header, is the hash of the hashes of its 4 MiB pieces, so that several cores can make it. */
#define BN_BNW_MAGIC "BNW\r\n\x1a\n"
#define BN_BNW_BODY 4096
#define BN_BNW_PIECE ((size_t)4 << 20)
typedef struct bn_bnw {
    char magic[8];
    uint32_t abi, order; /* BN_ABI, 0x01020304 */
    uint64_t bytes, hash, vocab_hash;
} bn_bnw;

#ifdef __cplusplus
}
#endif
#endif
