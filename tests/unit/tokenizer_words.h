/* tokenizer_words.h: what the tokenizer's tests share: a model that is a tokenizer only, and the
 * comparisons that every test of it makes. Include it once.
 */
#ifndef TOKENIZER_WORDS_H
#define TOKENIZER_WORDS_H

#include "../../compiler/ir/vocab.h"
#include "../../runtime-min/bn_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define UNDERSCORE "\xe2\x96\x81" /* U+2581 */

/* ---- a model of a tokenizer only ---- */

typedef struct Words {
    bn_model model;
    bn_weights w;
    uint8_t *tables;
    char message[256];
} Words;

static inline int open_words(Words *t, const VocabSource *src)
{
    size_t size;
    memset(t, 0, sizeof *t);
    t->tables = vocab_build(src, &size, t->message);
    if (!t->tables)
        return 0;
    t->model.vocab_size = size;
    t->w = (bn_weights){.model = &t->model, .data = t->tables, .size = size};
    assert_int_equal(bn_vocab_check(&t->w), BN_OK);
    return 1;
}

static inline void open_or_fail(Words *t, const VocabSource *src)
{
    if (!open_words(t, src))
        fail_msg("%s", t->message);
}

/* Tokens of a text in an exactly fitting buffer; the caller frees them. */
static inline int32_t *ids_of(const Words *t, const char *text, size_t len, unsigned flags,
                              size_t *count)
{
    int32_t *ids = malloc(BN_TOKEN_ROOM(len) * sizeof *ids);
    assert_int_equal(bn_tokenize(&t->w, text, len, flags, ids, BN_TOKEN_ROOM(len), count), BN_OK);
    return ids;
}

static inline void expect(const Words *t, const char *text, unsigned flags, const int32_t *want,
                          size_t n)
{
    size_t count;
    int32_t *ids = ids_of(t, text, strlen(text), flags, &count);
    int same = count == n && memcmp(ids, want, n * sizeof *ids) == 0;
    for (size_t i = 0; !same && i < count; i++)
        print_error("%d ", (int)ids[i]);
    free(ids);
    if (!same)
        fail_msg("tokens of \"%s\"", text);
}
#define EXPECT(t, text, flags, ...)                                                                \
    expect(t, text, flags, (const int32_t[]){__VA_ARGS__}, COUNT(((const int32_t[]){__VA_ARGS__})))

/* The pieces of all tokens, one after the other. */
static inline void expect_pieces(const Words *t, const int32_t *ids, size_t count, const char *text,
                                 size_t len)
{
    size_t at = 0, n;
    for (size_t i = 0; i < count; i++, at += n) {
        const char *piece = bn_piece(&t->w, ids[i], &n);
        assert_true(n <= len - at);
        assert_memory_equal(piece, text + at, n);
    }
    assert_int_equal(at, len);
}

/* What streaming prints; every call must give whole characters. */
static inline size_t print_ids(const Words *t, const int32_t *ids, size_t count, char *out)
{
    bn_text stream;
    size_t n = 0;
    bn_text_start(&stream, &t->w);
    for (size_t i = 0; i <= count; i++) {
        size_t more =
            i < count ? bn_detokenize(&stream, ids[i], out + n) : bn_text_finish(&stream, out + n);
        for (size_t at = 0, step; at < more; at += step) {
            uint32_t code;
            step = bn_vocab_decode((unsigned char *)out + n + at, more - at, &code);
            assert_true(code < BN_VOCAB_BAD);
        }
        n += more;
    }
    return n;
}

#endif
