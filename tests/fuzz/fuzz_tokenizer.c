/* fuzz_tokenizer.c: hostile texts, hostile vocabularies, damaged tables.
 *
 * One idea: the first byte chooses which of the three the rest is, and every accepted input must
 * keep the promises of bn.h: room, ids in range, whole characters, and for byte-level BPE the
 * exact text back.
 *
 *   0      1       2     3
 *   +------+-------+-----+------------------------------------------------------------------------
 *   | mode | flags | cap | 0..2, 9: text for the fixed vocabularies llama-bpe, gpt-2, SPM, SPM +
 * steps |      |       |     | 3..5, 10: { len, type, score, text }... 0, merges { len, text }...
 * 0, text |      |       |     | 6..8, 11: { at u24, value u32 } x 4, text
 *   +------+-------+-----+------------------------------------------------------------------------
 *
 * The fourth has a normalizer of every kind of step and special tokens with every flag.
 */
#include "../../compiler/ir/vocab.h"
#include "../../runtime-min/bn_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"

enum { MOST = 400 };
typedef struct Source {
    VocabSource src;
    VocabText token[MOST], merge[MOST];
    float score[MOST];
    int32_t type[MOST];
    char text[256][8];
} Source;

typedef struct Input {
    const uint8_t *p;
    size_t n;
} Input;

static uint32_t next(Input *in, int bytes)
{
    uint32_t x = 0;
    for (; bytes > 0 && in->n > 0; bytes--, in->p++, in->n--)
        x = x << 8 | *in->p;
    return x;
}

static VocabText next_text(Input *in, size_t len)
{
    len = len < in->n ? len : in->n;
    in->p += len;
    in->n -= len;
    return (VocabText){(const char *)in->p - len, len};
}

static void add_token(Source *s, const char *text, int32_t type, float score)
{
    s->token[s->src.n] = (VocabText){text, strlen(text)};
    s->type[s->src.n] = type;
    s->score[s->src.n++] = score;
}

static void bytes_of(Source *s, int spm, const char *pre)
{
    memset(s, 0, sizeof *s);
    s->src = (VocabSource){.model = spm ? "llama" : "gpt2",
                           .pre = pre,
                           .tokens = s->token,
                           .scores = s->score,
                           .types = s->type,
                           .merges = s->merge,
                           .bos = -1,
                           .eos = -1,
                           .eot = -1,
                           .unk = -1,
                           .pad = -1,
                           .add_bos = -1,
                           .add_eos = -1,
                           .add_space_prefix = -1};
    for (uint32_t c = 0, other = 256; c < 256; c++) {
        int plain = (c > 32 && c < 127) || (c > 160 && c != 173);
        if (spm)
            snprintf(s->text[c], 8, "<0x%02X>", (unsigned)c);
        else
            bn_vocab_encode(plain ? c : other++, (unsigned char *)s->text[c]);
        add_token(s, s->text[c], spm ? VOCAB_BYTE : VOCAB_NORMAL, 0);
    }
}

/* Every kind of step, and flags. */
static void add_steps(Source *s, int from)
{
    static const VocabText step[] = {
        {"nfkc", 4},        {"lowercase", 9},      {"replace", 7}, {"th", 2}, {"t", 1},
        {"strip-left", 10}, {"sentencepiece", 13}, {"prepend", 7}, {"e", 1}};
    static uint8_t flags[MOST];
    for (int i = 256; i < MOST; i++)
        flags[i] = (uint8_t)(i % 16);
    s->src.steps = step + from;
    s->src.nsteps = (int)(sizeof step / sizeof *step) - from;
    s->src.flags = flags;
    s->src.remove_extra_spaces = 1;
}

/* A small vocabulary with merges, specials, and symbols that are no tokens. */
static void fixed_source(Source *s, int which)
{
    static const char *const word[] = {"th",   "\xc4\xa0t",       "the", "\xc4\xa0the", "aa",
                                       "aaaa", "\xc3\x83\xc2\xa9"};
    static const char *const piece[] = {"t",
                                        "h",
                                        "e",
                                        "th",
                                        "\xe2\x96\x81t",
                                        "the",
                                        "\xe2\x96\x81",
                                        "\xe2\x96\x81\xe2\x96\x81",
                                        "aa",
                                        "aaaa",
                                        "\xc3\xa9\xc3\xa9"};
    static const char *const merge[] = {
        "t h", "\xc4\xa0 t", "th e",  "\xc4\xa0t he",      "h e",
        "a a", "aa a",       "aa aa", "\xc3\x83 \xc2\xa9", "\xc4\xa0 \xc4\xa0"};
    bytes_of(s, which >= 2, which ? "gpt-2" : "llama-bpe");
    if (which == 3)
        add_steps(s, 0);
    for (size_t i = 0; which < 2 && i < sizeof word / sizeof *word; i++)
        add_token(s, word[i], VOCAB_NORMAL, 0);
    for (size_t i = 0; which < 2 && i < sizeof merge / sizeof *merge; i++)
        s->merge[s->src.nmerges++] = (VocabText){merge[i], strlen(merge[i])};
    for (size_t i = 0; which >= 2 && i < sizeof piece / sizeof *piece; i++)
        add_token(s, piece[i], VOCAB_NORMAL, -(float)(i / 2));
    s->src.bos = s->src.n;
    add_token(s, "<s>", VOCAB_CONTROL, 0);
    add_token(s, "<s><s>e", VOCAB_USER, 0);
    add_token(s, "<u>", VOCAB_USER, 0);
}

/* Tokens and merges out of the input, behind the byte tokens. */
static void hostile_source(Source *s, int which, Input *in)
{
    uint32_t len;
    bytes_of(s, which >= 2, which ? "gpt-2" : "");
    if (which == 3)
        add_steps(s, 1); /* without the normal form, whose tables take a millisecond */
    while (s->src.n < MOST && (len = next(in, 1) % 32) > 0) {
        uint32_t type = next(in, 1);
        s->type[s->src.n] = (int32_t)(type < 250 ? type % 7 : type);
        s->score[s->src.n] = (float)(int8_t)next(in, 1);
        s->token[s->src.n++] = next_text(in, len);
    }
    while (s->src.nmerges < MOST && (len = next(in, 1) % 32) > 0)
        s->merge[s->src.nmerges++] = next_text(in, len);
    s->src.bos = s->src.n > 256 ? 256 : -1;
    s->src.unk = s->src.n > 257 ? 257 : -1;
}

static void print(const bn_weights *w, const int32_t *ids, size_t count)
{
    bn_text stream;
    bn_text_start(&stream, w);
    for (size_t i = 0; i <= count; i++) {
        size_t len = 0, n, at = 0;
        if (i < count)
            bn_piece(w, ids[i], &len);
        char *out = malloc(BN_TEXT_ROOM(len));
        n = i < count ? bn_detokenize(&stream, ids[i], out) : bn_text_finish(&stream, out);
        MUST(n <= BN_TEXT_ROOM(len));
        while (at < n) {
            uint32_t code;
            at += bn_vocab_decode((unsigned char *)out + at, n - at, &code);
            MUST(code < BN_VOCAB_BAD);
        }
        free(out);
    }
}

/* sound: the tables are as built, so the promises hold; else only that nothing breaks. */
static void tokenize(const bn_weights *w, const VocabSource *src, Input in, unsigned flags,
                     size_t small, int sound)
{
    size_t cap = bn_token_room(w, in.n), count, few, at = 0, len;
    int32_t *ids = malloc(cap * sizeof *ids), *less = malloc((small + 1) * sizeof *ids);
    bn_status status = bn_tokenize(w, (const char *)in.p, in.n, flags, ids, cap, &count);
    MUST(!sound || status == BN_OK);
    status = bn_tokenize(w, (const char *)in.p, in.n, flags, less, small, &few);
    MUST(status == BN_SPACE || !sound ||
         (few == count && memcmp(ids, less, few * sizeof *ids) == 0));
    print(w, ids, count);
    for (size_t i = 0; sound && i < count; i++) {
        MUST(ids[i] >= 0 && ids[i] < src->n);
        MUST(flags || src->types[ids[i]] != VOCAB_CONTROL);
        const char *piece = bn_piece(w, ids[i], &len);
        if (flags == 0 && strcmp(src->model, "gpt2") == 0) {
            MUST(len <= in.n - at && memcmp(piece, in.p + at, len) == 0);
            at += len;
        }
    }
    MUST(!sound || flags || strcmp(src->model, "gpt2") != 0 || at == in.n);
    free(ids);
    free(less);
}

/* The fixed sources and their tables are built once. */
static const Source *fixed(int which, uint8_t **tables, size_t *bytes)
{
    static Source source[4];
    static uint8_t *built[4];
    static size_t size[4];
    char message[256];
    if (!built[which]) {
        fixed_source(source + which, which);
        built[which] = vocab_build(&source[which].src, size + which, message);
        MUST(built[which] && !*message);
    }
    *bytes = size[which];
    *tables = aligned_alloc(64, *bytes);
    memcpy(*tables, built[which], *bytes);
    return source + which;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Source hostile;
    Input in = {data, size};
    int mode = (int)(next(&in, 1) % 12), kind = mode < 9 ? mode / 3 : mode - 9,
        which = mode < 9 ? mode % 3 : 3, damaged = kind == 2;
    unsigned flags = next(&in, 1) % 4;
    size_t small = next(&in, 1), bytes;
    const Source *s = &hostile;
    uint8_t *tables;
    if (kind == 1) {
        char message[256];
        hostile_source(&hostile, which, &in);
        tables = vocab_build(&hostile.src, &bytes, message);
        MUST(tables || *message);
        if (!tables)
            return 0;
    } else {
        s = fixed(which, &tables, &bytes);
    }
    bn_model model = {.vocab_size = bytes};
    bn_weights w = {.model = &model, .data = tables, .size = bytes};
    for (int i = 0; damaged && i < 4; i++) {
        uint32_t at = next(&in, 3), value = next(&in, 4);
        memcpy(tables + at % (bytes / 4) * 4, &value, 4);
    }
    bn_status status = bn_vocab_check(&w);
    MUST(status == BN_OK || damaged);
    if (status == BN_OK)
        tokenize(&w, &s->src, in, flags, small, !damaged);
    free(tables);
    return 0;
}
