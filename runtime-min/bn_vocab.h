/* bn_vocab.h: the tokenizer tables inside a .bnw, as the compiler writes them and the runtime
 * reads them.
 *
 * One idea: everything that costs time (splitting merges, hashing, sorting, ranking) happens in the
 * compiler; the runtime probes finished hash tables in the mapped file. There is no start-up work,
 * no heap, no pointer to fix.
 *
 * The section, little-endian; it stands 64-byte aligned at bn_model.vocab_at:
 *
 *   0      4        8       12     16      20      24     28        32
 *   +------+--------+-------+------+-------+-------+------+---------+
 *   |magic |version | bytes | kind | split | flags |  n   | symbols |
 *   +------+--------+-------+------+-------+-------+------+---------+
 *   | bos  |  eos   |  eot  | unk  |  pad  |longest| grow |    0    |
 *   +------+--------+-------+------+-------+-------+------+---------+ 64
 *   | table[14] = {at, count}                              |   0    |
 *   +------------------------------------------------------+--------+ 192
 *   | 256 bits each: first bytes in USER | in SPECIAL | in LATE | 0 |
 *   +---------------------------------------------------------------+ 320
 *   | start[256]: the symbol where each byte or character starts    |
 *   +---------------------------------------------------------------+ 1344
 *   | byte[256]: the token of each byte                             |
 *   +---------------------------------------------------------------+ 2368
 *   | PIECES ...  POOL ...  PAIRS ...  and so on                    |
 *   +---------------------------------------------------------------+ bytes
 *
 * `at` counts bytes from the start of the section; every table starts on a multiple of 64, in this
 * order, gaps are zero:
 *
 *   PIECES   u32 [symbols + 1]     piece i is POOL[PIECES[i] .. PIECES[i+1])
 *   POOL     u8  [...]             pieces (what a token prints), then texts that other tables name
 *   PAIRS    bn_vocab_pair [...]   hash table: (left, right) -> rank, merged
 *   CHARS    bn_vocab_char [...]   hash table: code point -> symbol (SPM only)
 *   WORDS    u32 [...]             hash table: piece -> token (splits that take whole words first)
 *              31      24 23           0
 *             +----------+--------------+   tag: 8 bits of the hash, to skip most comparisons
 *             |   tag    |    token     |   all ones: empty
 *             +----------+--------------+
 *   USER     bn_vocab_special [...] texts recognised in any text (user-defined tokens), sorted
 *   SPECIAL  bn_vocab_special [...] texts recognised under BN_PARSE_SPECIAL, sorted
 *   LATE     bn_vocab_special [...] user-defined tokens recognised in the normalized text, sorted
 *   ENDS     i32 [...]             the tokens that end a text, each once
 *   STEPS    bn_vocab_step [...]   the normalizer: what is done to a text, in this order
 *   MAP      bn_vocab_map [...]    hash tables, one a step: code point -> text in POOL
 *   CLASS    bn_vocab_char [...]   hash table: code point -> canonical combining class above 0
 *   COMPOSE  bn_vocab_pair [...]   hash table: (code point, code point) -> 0, code point
 *   TRIE     u32 [...]             double array over the keys of SentencePiece's character map:
 *                                  bit 8: a key ends; 31, 7..0: its byte; 30..10, 9: where to go on
 *
 * Symbols 0 .. n-1 are the tokens; symbols n .. are what merging passes through without being a
 * token; those come out as bytes. A hash table is open addressing with linear probing; it has
 * bn_vocab_slots(entries) slots and thus always an empty one.
 */
#ifndef BN_VOCAB_H
#define BN_VOCAB_H

#include "bn_model.h"

#define BN_VOCAB_MAGIC 0x1a564e42u /* "BNV\x1a" */
#define BN_VOCAB_VERSION 2u
#define BN_VOCAB_NONE 0xffffffffu    /* an empty slot, no pair, no parent */
#define BN_VOCAB_MAX ((1 << 24) - 1) /* tokens: the width of WORDS */
#define BN_VOCAB_GROW 64u            /* the most that a normalizer may make of one byte */
#define BN_VOCAB_SPACE 0x2581u       /* what SPM writes for a space */
#define BN_VOCAB_BAD 0x110000u       /* a byte b that is no UTF-8 is the code point BAD + b */

enum { BN_VOCAB_BPE = 1, BN_VOCAB_SPM = 2 };                                 /* kind */
enum { BN_VOCAB_SPLIT_GPT2 = 1, BN_VOCAB_SPLIT_LLAMA, BN_VOCAB_SPLIT_QWEN }; /* split; 0 for SPM */
enum {                                                                       /* flags */
       BN_VOCAB_ADD_BOS = 1,
       BN_VOCAB_ADD_EOS = 2,
       BN_VOCAB_SPACE_PREFIX = 4,  /* SPM puts a space before a text, and detokenizing drops it */
       BN_VOCAB_WHOLE_WORDS = 8,   /* a pre-token that is a token needs no merging */
       BN_VOCAB_CUT_SPACES = 16,   /* SPM: no token holds a space after another character, so a text
                                  falls apart there without changing the result */
       BN_VOCAB_SPLIT_SPACES = 32, /* SPM: every space begins a word; no token goes on behind one */
       /* Where that space is put: before each part between special tokens, or only before one with
     * which the text begins; not where the part begins with a space. None: the STEPS put it. */
       BN_VOCAB_PREFIX_EACH = 64,
       BN_VOCAB_PREFIX_FIRST = 128,
       BN_VOCAB_PREFIX_LACKING = 256
};

/* Steps of a normalizer. A text is what stands between two special tokens. */
enum {
    BN_STEP_MAP = 1, /* each code point by MAP[at .. at + len) */
    BN_STEP_ORDER,   /* marks behind a base by their class, as Unicode's normal forms have it */
    BN_STEP_COMPOSE, /* bases with their marks by COMPOSE */
    BN_STEP_REPLACE, /* POOL[at .. at + len) by POOL[with .. with + with_len) */
    BN_STEP_PREPEND, /* POOL[at .. at + len) before a text that is not empty */
    BN_STEP_STRIP,   /* spaces at an end */
    BN_STEP_SPM      /* SentencePiece's: TRIE, whose values are offsets into POOL[at .. at + len),
                          of texts that end with a NUL; spaces; user-defined tokens as they are */
};
enum {                      /* flags of steps */
       BN_STEP_UNICODE = 1, /* MAP: takes syllables of Hangul apart, and leaves ASCII alone */
       BN_STEP_LEFT = 1,    /* STRIP */
       BN_STEP_RIGHT = 2,
       BN_STEP_SQUEEZE = 1, /* SPM: no spaces at the ends, single ones inside */
       BN_STEP_PREFIX = 2,  /* SPM: a space first */
       BN_STEP_SUFFIX = 4   /* SPM: a space last */
};

/* Above the token of a bn_vocab_special: */
enum {
    BN_SPECIAL_LSTRIP = 1 << 24, /* takes the spaces before it in */
    BN_SPECIAL_RSTRIP = 1 << 25, /* takes the spaces behind it in */
    BN_SPECIAL_WORD = 1 << 26    /* only where no letter, digit, mark or underscore touches it */
};

/* Every table with the bytes of one element. */
#define BN_VOCAB_TABLES(T)                                                                         \
    T(PIECES, 4)                                                                                   \
    T(POOL, 1)                                                                                     \
    T(PAIRS, 16) T(CHARS, 8) T(WORDS, 4) T(USER, 16) T(SPECIAL, 16) T(LATE, 16) T(ENDS, 4)         \
        T(STEPS, 24) T(MAP, 12) T(CLASS, 8) T(COMPOSE, 16) T(TRIE, 4)
enum {
#define BN_VOCAB_ENUM(name, bytes) BN_VOCAB_##name,
    BN_VOCAB_TABLES(BN_VOCAB_ENUM)
#undef BN_VOCAB_ENUM
        BN_VOCAB_NTABLES
};

typedef struct bn_vocab {
    uint32_t magic, version, bytes, kind;
    uint32_t split, flags;
    int32_t n, symbols;
    int32_t bos, eos, eot, unk, pad; /* -1: none */
    uint32_t longest;                /* bytes of the longest piece in WORDS */
    uint32_t grow; /* the steps make at most grow * n bytes of n; 1 where there are none */
    uint32_t zero;
    struct {
        uint32_t at, count;
    } table[BN_VOCAB_NTABLES];
    uint32_t zero2[4];
    uint8_t first[4][32]; /* bit b: some text of USER, SPECIAL, LATE starts with byte b */
    int32_t start[256];   /* BPE: symbol of each byte. SPM: symbol of each ASCII character, that of
                             U+2581 for the space; -1 - c where the vocabulary never uses c */
    int32_t byte[256];    /* the token that stands for one raw byte */
} bn_vocab;

typedef struct bn_vocab_pair {
    uint32_t left, right, rank, merged; /* left BN_VOCAB_NONE: empty. Lower ranks merge first */
} bn_vocab_pair;

typedef struct bn_vocab_char {
    uint32_t code, symbol; /* code BN_VOCAB_NONE: empty */
} bn_vocab_char;

/* Sorted by bytes, no text twice. parent: the entry with the longest proper prefix of this text
 * (always an earlier one), so the longest match is found by one binary search and a walk up. */
typedef struct bn_vocab_special {
    uint32_t at, len; /* in POOL */
    uint32_t token;   /* with BN_SPECIAL_* above its 24 bits */
    uint32_t parent;
} bn_vocab_special;

typedef struct bn_vocab_step {
    uint32_t kind, flags, at, len, with, with_len;
} bn_vocab_step;

typedef struct bn_vocab_map {
    uint32_t code, at, len; /* code BN_VOCAB_NONE: empty; the text in POOL */
} bn_vocab_map;

static inline const void *bn_vocab_table(const bn_vocab *v, int table)
{
    return (const unsigned char *)v + v->table[table].at;
}

/* Slots of a hash table with `entries` entries: load at most 2/3. */
BN_INLINE uint64_t bn_vocab_slots(uint64_t entries)
{
    return entries + entries / 2 + 1;
}

/* The slot where probing for hash h starts; slots > 0. */
static inline uint32_t bn_vocab_slot(uint64_t h, uint32_t slots)
{
    h = (h ^ h >> 29) * 0x9e3779b97f4a7c15u;
    return (uint32_t)((h >> 32) * slots >> 32);
}

static inline uint64_t bn_vocab_pair_hash(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* A polynomial in BN_VOCAB_BASE: the hash of any substring follows from those of two prefixes. */
#define BN_VOCAB_BASE 0x9ddfea08eb382d69u
static inline uint64_t bn_vocab_hash(const unsigned char *s, size_t n)
{
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++)
        h = h * BN_VOCAB_BASE + s[i] + 1;
    return h;
}

static inline uint32_t bn_vocab_tag(uint64_t h)
{
    return (uint32_t)(h * 0xd6e8feb86659fd93u >> 56) << 24;
}

/* How text falls into code points, on both sides: a byte at s (n >= 1) that does not start a
 * well-formed UTF-8 sequence is a code point of its own, BN_VOCAB_BAD + byte. Returns its bytes. */
static inline size_t bn_vocab_decode(const unsigned char *s, size_t n, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = s[0];
    size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    *code = c;
    if (len == 1)
        return 1;
    *code = BN_VOCAB_BAD + c;
    if (len == 0 || len > n)
        return 1;
    c &= 0x7fu >> len;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 1;
    *code = c;
    return len;
}

/* The reverse; returns bytes written, 1 to 4. */
static inline size_t bn_vocab_encode(uint32_t c, unsigned char out[4])
{
    size_t len = c < 0x80 || c >= BN_VOCAB_BAD ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (len == 1) {
        out[0] = (unsigned char)(c >= BN_VOCAB_BAD ? c - BN_VOCAB_BAD : c);
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (unsigned char)(0x80 | (c & 0x3f));
    out[0] = (unsigned char)(lead[len] | c);
    return len;
}

/* ---- detokenize.c. The section of w, NULL where the model has no tokenizer. */
const bn_vocab *bn_vocab_of(const bn_weights *w);
/* What a symbol prints; empty for a number that is none. */
const unsigned char *bn_vocab_piece(const bn_vocab *v, uint32_t symbol, size_t *len);
/* Called by bn_open after the checksum of the section. Looks at the header only; with it sound, no
 * content of the tables can lead a read or write astray or keep a loop running. A model without
 * tokenizer (vocab_size 0) passes; bn_tokenize then returns BN_ARGUMENT. */
bn_status bn_vocab_check(const bn_weights *w);

/* ---- tokenize.c. bn_tokenize with neither BOS nor EOS, whose special tokens count only where every
 * byte of theirs has a mark; mark [len]. So do user-defined tokens for which `guarded`, which may be
 * NULL, returns 1; the others count everywhere. */
typedef int (*bn_guarded)(const void *arg, int32_t token);
bn_status bn_tokenize_marked(const bn_weights *w, const char *text, size_t len,
                             const unsigned char *mark, bn_guarded guarded, const void *arg,
                             int32_t *tokens, size_t cap, size_t *count);

/* The longest entry of the table (USER, SPECIAL or LATE) that s starts with, or NULL. */
const bn_vocab_special *bn_vocab_longest(const bn_vocab *v, int table, const unsigned char *s,
                                         size_t n);

/* ---- normalize.c. The steps over s[0 .. n); the result, *len bytes, ends where buffer[0 .. room)
 * ends. NULL where that is too small; 2 grow (n + 1) + 64 is not. s stands outside the buffer. */
const unsigned char *bn_normalize(const bn_vocab *v, const unsigned char *s, size_t n,
                                  unsigned char *buffer, size_t room, size_t *len);
/* TRIE from *node on by the byte c: 0 where no key goes on so; else *node moves, and *leaf tells
 * whether a key ends there: its value is the unit at *node. The first node is that of unit 0. */
BN_INLINE uint32_t bn_vocab_node(uint32_t at, uint32_t unit)
{
    return at ^ (unit >> 10) << ((unit & 0x200) >> 6);
}
BN_INLINE int bn_vocab_walk(const uint32_t *trie, uint32_t units, unsigned char c, uint32_t *node,
                            int *leaf)
{
    uint32_t at = *node ^ c;
    if (at >= units || (trie[at] & 0x800000ffu) != c)
        return 0;
    *node = bn_vocab_node(at, trie[at]);
    *leaf = trie[at] >> 8 & 1;
    return 1;
}

/* ---- pretokenize.c. \s and \w of a code point. */
int bn_is_space(uint32_t code);
int bn_is_word(uint32_t code);
/* The length of the first pre-token of s[0 .. n), n >= 1; at least 1. The sum over a text takes linear
 * time. */
size_t bn_pretoken(uint32_t split, const unsigned char *s, size_t n);

#endif
