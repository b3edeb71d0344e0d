/* vocab_build.h: what vocab.c gathers and vocab_tables.c writes; nobody else includes it. */
#ifndef BNC_VOCAB_BUILD_H
#define BNC_VOCAB_BUILD_H

#include "vocab.h"

#define VOCAB_MAX_STEPS 32
#define VOCAB_MAX_ENDS 256
#define VOCAB_MAX_TEXT 4096 /* bytes of a token; bounds the time that hostile texts cost */

typedef struct VocabSlot {
    uint32_t tag, symbol; /* symbol BN_VOCAB_NONE: empty */
} VocabSlot;

typedef struct VocabBuild {
    const VocabSource *src; /* own: the caller's, with types */
    VocabSource own;
    int32_t *guessed; /* own.types where the caller gave none; free()d with the rest */
    char *message;
    bn_vocab head;
    int64_t n;
    VocabText *symbol; /* [nsymbols]: the tokens, then the others */
    uint32_t nsymbols;
    VocabSlot *slot; /* text -> symbol, [nslots] */
    uint32_t nslots;
    char *text; /* where texts of made-up symbols live */
    size_t text_used;
    bn_vocab_pair *pair; /* in rank order */
    size_t npairs, max_pairs;
    bn_vocab_char *chars; /* SPM, by code point */
    uint32_t nchars;
    uint32_t *rank;            /* SPM: of each token */
    bn_vocab_special *special; /* sorted texts of user-defined, control, unknown tokens: the tables
                                  USER, SPECIAL, LATE */
    VocabText *special_text;
    uint32_t nspecial, nuser, nlate, nwords;
    int32_t ends[VOCAB_MAX_ENDS];
    uint32_t nends;
    bn_vocab_step step[VOCAB_MAX_STEPS]; /* `at`, `with` of texts: in extra */
    uint32_t nsteps;
    unsigned char *extra; /* texts of steps and of map, the last part of the pool */
    size_t extra_used, extra_room;
    bn_vocab_map *map; /* [nmap] slots, as the next three */
    bn_vocab_char *class;
    bn_vocab_pair *compose;
    uint32_t *trie;
    uint32_t nmap, nclass, ncompose, ntrie;
    uint16_t alphabet[512]; /* GPT-2 alphabet: code point -> byte, or 256 */
} VocabBuild;

/* ---- vocab.c */
int vocab_fail(VocabBuild *b, const char *format, ...);           /* sets the message; returns 0 */
void *vocab_reserve(VocabBuild *b, uint64_t count, size_t bytes); /* zeroed, or NULL and message */
int vocab_type(const VocabBuild *b, int64_t token);
/* Is it a text that bn_tokenize looks for before it merges? */
int vocab_is_special(const VocabBuild *b, int64_t token);
/* Can plain text become this token, and is it the first with its text? */
int vocab_is_first(const VocabBuild *b, int64_t token);
int vocab_byte(const VocabText *t); /* the value of "<0x41>", or -1 */

/* The steps of vocab_build, in this order; 0: it cannot be, and message says why. */
int vocab_begin(
    VocabBuild *b); /* vocab.c: checks the source; flags, and the tokens that end a text */
int vocab_spaces(VocabBuild *b); /* vocab_normal.c: where spaces go, normalization and its tables */
int vocab_symbols(VocabBuild *b); /* vocab.c: pieces, pairs and tokens */

static inline void vocab_flag(VocabBuild *b, uint32_t flag, int wanted) /* wanted -1: as it is */
{
    if (wanted >= 0)
        b->head.flags = wanted ? b->head.flags | flag : b->head.flags & ~flag;
}

#endif
