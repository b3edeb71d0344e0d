/* test_normalize.c: normalizers, and special tokens that take in what stands around them.
 *
 * One idea: Unicode's own conformance test says what the normal forms of some eighteen thousand
 * texts are; the rest is small enough for cases by hand. Whole tokenizers against other libraries:
 * tests/run_tokenizers.sh.
 */
#define _POSIX_C_SOURCE 200809L
#include <unistd.h>

#include "tokenizer_words.h"

enum { MOST = 300, SPACE = 256 };
typedef struct Source {
    VocabSource src;
    VocabText token[MOST];
    float score[MOST];
    int32_t type[MOST];
    uint8_t flags[MOST];
    char byte[256][8];
} Source;

static int32_t add_token(Source *s, const char *text, int type, int flags)
{
    int32_t id = (int32_t)s->src.n++;
    s->token[id] = (VocabText){text, strlen(text)};
    s->type[id] = type;
    s->flags[id] = (uint8_t)flags;
    return id;
}

/* SentencePiece with the byte tokens 0 to 255, a space and a normalizer; texts come out byte by
 * byte. */
static Source *new_source(const VocabText *steps, int64_t nsteps)
{
    Source *s = calloc(1, sizeof *s);
    s->src = (VocabSource){.model = "llama",
                           .tokens = s->token,
                           .scores = s->score,
                           .types = s->type,
                           .flags = s->flags,
                           .bos = -1,
                           .eos = -1,
                           .eot = -1,
                           .unk = -1,
                           .pad = -1,
                           .add_bos = 0,
                           .add_eos = 0,
                           .add_space_prefix = 0,
                           .steps = steps,
                           .nsteps = nsteps};
    for (int c = 0; c < 256; c++) {
        snprintf(s->byte[c], sizeof s->byte[c], "<0x%02X>", c);
        add_token(s, s->byte[c], VOCAB_BYTE, 0);
    }
    add_token(s, UNDERSCORE, VOCAB_NORMAL, 0);
    return s;
}

static void expect_normal(const Words *t, const char *text, size_t len, const char *want, size_t n)
{
    size_t got, room = 2 * bn_vocab_of(&t->w)->grow * (len + 1) + 64;
    unsigned char *buffer = malloc(room);
    const unsigned char *out =
        bn_normalize(bn_vocab_of(&t->w), (const unsigned char *)text, len, buffer, room, &got);
    assert_non_null(out);
    if (got != n || memcmp(out, want, n) != 0)
        fail_msg("%.*s became %.*s, expected %.*s", (int)len, text, (int)got, (const char *)out,
                 (int)n, want);
    free(buffer);
}

/* ---- normal forms ---- */

/* "0044 0307" as UTF-8. */
static size_t utf8_of(const char *codes, char *out)
{
    size_t n = 0;
    char *end = (char *)(uintptr_t)codes;
    for (unsigned long c; c = strtoul(end, &end, 16), c != 0;)
        n += bn_vocab_encode((uint32_t)c, (unsigned char *)out + n);
    return n;
}

/* Columns of NormalizationTest.txt: source; NFC; NFD; NFKC; NFKD. */
static void test_conformance(void **state)
{
    static const struct {
        VocabText word;
        int of_canonical, of_all; /* what columns 1 to 3 become, what all five do; 0: that */
    } form[] = {{{"nfc", 3}, 2, 0}, {{"nfd", 3}, 3, 0}, {{"nfkc", 4}, 0, 4}, {{"nfkd", 4}, 0, 5}};
    (void)state;
    FILE *f = access("/usr/share/unicode/NormalizationTest.txt.bz2", R_OK) == 0
                  ? popen("bzcat /usr/share/unicode/NormalizationTest.txt.bz2", "r")
                  : NULL;
    char line[2048], column[6][512];
    Words t[4];
    Source *s[4];
    int lines = 0;
    for (int k = 0; k < 4; k++) {
        s[k] = new_source(&form[k].word, 1);
        open_or_fail(&t[k], &s[k]->src);
    }
    for (; f && fgets(line, sizeof line, f);) {
        size_t len[6];
        char *p = line;
        if (*line == '#' || *line == '@')
            continue;
        for (int c = 1; c < 6; c++) {
            len[c] = utf8_of(p, column[c]);
            p = strchr(p, ';') + 1;
        }
        for (int k = 0; k < 4; k++)
            for (int c = 1; c < 6; c++) {
                int canonical = form[k].of_canonical, to = form[k].of_all;
                if (!to) /* columns 4 and 5 become column 4 or 5 */
                    to = c < 4 ? canonical : canonical + 2;
                expect_normal(&t[k], column[c], len[c], column[to], len[to]);
            }
        lines++;
    }
    if (f)
        pclose(f);
    for (int k = 0; k < 4; k++) {
        free(t[k].tables);
        free(s[k]);
    }
    if (lines < 10000) {
        print_message("skipped: no bzcat or no /usr/share/unicode/NormalizationTest.txt.bz2\n");
        skip();
    }
}

/* ---- steps ---- */

static void expect_steps(const VocabText *steps, int64_t n, const char *text, const char *want)
{
    Words t;
    Source *s = new_source(steps, n);
    open_or_fail(&t, &s->src);
    expect_normal(&t, text, strlen(text), want, strlen(want));
    free(t.tables);
    free(s);
}
#define STEPS(text, want, ...)                                                                     \
    expect_steps((const VocabText[]){__VA_ARGS__}, COUNT(((const VocabText[]){__VA_ARGS__})),      \
                 text, want)
#define W(word)                                                                                    \
    {                                                                                              \
        word, sizeof word - 1                                                                      \
    }

static void test_steps(void **state)
{
    (void)state;
    STEPS("A\xc3\x89\xce\xa3\xc4\xb0\xc8\xba", "a\xc3\xa9\xcf\x83i\xcc\x87\xe2\xb1\xa5",
          W("lowercase"));
    STEPS(" \t\xe3\x80\x80 a \xc2\x85", "a \xc2\x85", W("strip-left"));
    STEPS(" a \xe2\x80\xa8\xc2\xa0", " a", W("strip-right"));
    STEPS(" \n ", "", W("strip-left"), W("strip-right"));
    STEPS("aaa", "ba", W("replace"), W("aa"), W("b"));
    STEPS("", "", W("prepend"), W("xyz"));
    STEPS("a", "xyza", W("prepend"), W("xyz"));
    STEPS("Ab", "x ab", W("lowercase"), W("prepend"), W("x "));
    STEPS("\xff"
          "E\xcc\x81",
          "\xff\xc3\xa9", W("lowercase"), W("nfc")); /* a lone byte stays */
}

static void test_refused_steps(void **state)
{
    static const struct {
        VocabText step[3];
        int n;
        const char *why;
    } row[] = {{{W("nfx")}, 1, "which is not known"},
               {{W("prepend")}, 1, "lacks a text"},
               {{W("replace"), W("a")}, 2, "lacks a text"},
               {{W("replace"), W(""), W("a")}, 3, "replaces an empty text"},
               {{W("nfkc"), W("nfkc")}, 2, "more than 64 times as long"}};
    (void)state;
    for (size_t i = 0; i < COUNT(row); i++) {
        Words t;
        Source *s = new_source(row[i].step, row[i].n);
        assert_false(open_words(&t, &s->src));
        assert_non_null(strstr(t.message, row[i].why));
        free(s);
    }
}

/* The longest that a text can become, in the room that bn_token_room promises. */
static void test_room(void **state)
{
    static const VocabText steps[] = {W("nfkc")};
    char text[3000];
    (void)state;
    Source *s = new_source(steps, 1);
    Words t;
    open_or_fail(&t, &s->src);
    for (size_t len = 0; len <= sizeof text; len = len ? 10 * len : 3) {
        for (size_t i = 0; i < len; i += 3)
            memcpy(text + i, "\xef\xb7\xba", 3); /* U+FDFA: 3 bytes that become 33 */
        size_t room = bn_token_room(&t.w, len), count;
        int32_t *ids = malloc(room * sizeof *ids);
        assert_int_equal(bn_tokenize(&t.w, text, len, 0, ids, room, &count), BN_OK);
        assert_int_equal(count, 11 * len);
        for (size_t cap = 0; cap < count; cap += 1 + cap / 4)
            assert_int_equal(bn_tokenize(&t.w, text, len, 0, ids, cap, &room), BN_SPACE);
        free(ids);
    }
    free(t.tables);
    free(s);
}

/* ---- special tokens ---- */

static void test_flags(void **state)
{
    (void)state;
    Source *s = new_source(NULL, 0);
    int32_t l = add_token(s, "<l>", VOCAB_USER, VOCAB_LSTRIP),
            r = add_token(s, "<r>", VOCAB_USER, VOCAB_RSTRIP),
            w = add_token(s, "<w>", VOCAB_USER, VOCAB_SINGLE_WORD),
            c = add_token(s, "<c>", VOCAB_CONTROL, VOCAB_LSTRIP | VOCAB_RSTRIP),
            n = add_token(s, "\n\n", VOCAB_USER, 0);
    Words t;
    open_or_fail(&t, &s->src);
    EXPECT(&t, "a \t<l> b", 0, 'a', l, SPACE, 'b');
    EXPECT(&t, " <r>\xe3\x80\x80\r\nb", 0, SPACE, r, 'b');
    EXPECT(&t, "<r> <l>", 0, r, l);
    EXPECT(&t, "<r>  \n\n b", 0, r, n, SPACE, 'b'); /* a token in the spaces counts all the same */
    EXPECT(&t, "a <c> b", 0, 'a', SPACE, '<', 'c', '>', SPACE, 'b');
    EXPECT(&t, "a <c> b", BN_PARSE_SPECIAL, 'a', c, 'b');
    EXPECT(&t, "<w>", 0, w);
    EXPECT(&t, "-<w> ", 0, '-', w, SPACE);
    EXPECT(&t, "a<w>", 0, 'a', '<', 'w', '>');
    EXPECT(&t, "<w>_", 0, '<', 'w', '>', '_');
    EXPECT(&t, "1<w>", 0, '1', '<', 'w', '>');
    EXPECT(&t, "<w>\xcc\x81", 0, '<', 'w', '>', 0xcc, 0x81); /* a mark belongs to a word */
    EXPECT(&t, "\xc2\xb2<w>\xe2\x82\xac", 0, 0xc2, 0xb2, w, 0xe2, 0x82,
           0xac); /* no digit, no letter */
    free(t.tables);
    free(s);
}

/* Many tokens that each take in the same long run of spaces. */
static void test_long_runs(void **state)
{
    enum { SIZE = 1 << 18 };
    (void)state;
    Source *s = new_source(NULL, 0);
    int32_t r = add_token(s, "\n", VOCAB_USER, VOCAB_LSTRIP | VOCAB_RSTRIP);
    char *text = malloc(SIZE);
    Words t;
    size_t n;
    open_or_fail(&t, &s->src);
    memset(text, '\n', SIZE);
    int32_t *ids = ids_of(&t, text, SIZE, 0, &n);
    assert_int_equal(n, SIZE);
    assert_int_equal(ids[SIZE - 1], r);
    free(ids);
    free(text);
    free(t.tables);
    free(s);
}

static void test_ends(void **state)
{
    static const int32_t ends[] = {7, 9, 7, 257};
    (void)state;
    Source *s = new_source(NULL, 0);
    s->src.eos = add_token(s, "</s>", VOCAB_CONTROL, 0);
    s->src.eot = 9;
    s->src.ends = ends;
    s->src.nends = COUNT(ends);
    Words t;
    open_or_fail(&t, &s->src);
    const bn_vocab *v = bn_vocab_of(&t.w);
    assert_int_equal(v->table[BN_VOCAB_ENDS].count, 3);
    assert_memory_equal(bn_vocab_table(v, BN_VOCAB_ENDS), ((const int32_t[]){257, 9, 7}), 12);
    free(t.tables);
    s->src.ends = (const int32_t[]){258};
    s->src.nends = 1;
    assert_false(open_words(&t, &s->src));
    assert_non_null(strstr(t.message, "a token that ends texts is token 258"));
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conformance),   cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refused_steps), cmocka_unit_test(test_room),
        cmocka_unit_test(test_flags),         cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
