/* test_stop.c: stop strings, alone and in bn_generate, on fake_model.h.
 *
 * Link with the objects of load, team, state, sample and generate, without the tokenizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bn.h"
#include "fake_model.h"

typedef struct stopped {
    char text[600];
    size_t len;
    int refuses;
} stopped;

static int stop_hear(void *user, const char *text, size_t len)
{
    stopped *h = user;
    assert_true(h->len + len < sizeof h->text);
    memcpy(h->text + h->len, text, len);
    h->len += len;
    return h->refuses;
}

/* The text that may be seen, by looking at every end of the text: the first end at which a string is
 * complete, the longest of those there. *which: that string, or -1. */
static size_t stop_expected(const char *text, size_t len, const char *const *stop, int n,
                            int *which)
{
    *which = -1;
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (int i = 0; i < n; i++) {
            size_t k = strlen(stop[i]);
            if (k <= end && k > longest && memcmp(text + end - k, stop[i], k) == 0) {
                longest = k;
                *which = i;
            }
        }
        if (longest)
            return end - longest;
    }
    return len;
}

/* The text in pieces that end behind the set bits of `cuts`; whatever the pieces, at no moment more
 * may have been seen than what no string that is still possible can take back. */
static void stop_check(const char *text, size_t len, const char *const *stop, int n, uint32_t cuts)
{
    bn_stop f;
    stopped h = {0};
    int which, ended = 0;
    size_t want = stop_expected(text, len, stop, n, &which);
    assert_int_equal(bn_stop_start(&f, stop, n), BN_OK);
    for (size_t from = 0, to; from < len && !ended; from = to) {
        for (to = from + 1; to < len && !(cuts >> to & 1);)
            to++;
        char *piece = malloc(to - from); /* exact ends under ASan */
        memcpy(piece, text + from, to - from);
        ended = bn_stop_text(&f, piece, to - from, stop_hear, &h);
        free(piece);
        assert_true(h.len <= want);
    }
    assert_int_equal(ended, which >= 0);
    assert_int_equal(f.found, which);
    if (ended)
        assert_int_equal(bn_stop_text(&f, "more", 4, stop_hear, &h), 1);
    assert_int_equal(bn_stop_finish(&f, stop_hear, &h), 0);
    assert_int_equal(h.len, want);
    assert_memory_equal(h.text, text, want);
}

static void test_stops(void **unused)
{
    (void)unused;
    static const struct {
        const char *stop[4], *text, *seen;
    } c[] = {
        {{"END"}, "the END of it", "the "},
        {{"END"}, "the EN", "the EN"},
        {{"aab"}, "aaaab", "aa"}, /* overlaps itself */
        {{"abab!"}, "abababab!", "abab"},
        {{"ababc", "bab"}, "xababc", "xa"}, /* inside another */
        {{"ab", "abc"}, "xabc", "x"},       /* prefixes of each other: the first complete */
        {{"abc", "ab"}, "xabc", "x"},
        {{"bc", "abc"}, "abc", ""}, /* ends of each other: the longest */
        {{"abcd", "bce"}, "abce", "a"},
        {{"\n\n", "\nUser:"}, "Hi\nUser: a", "Hi"},
        {{"caf\xc3"}, "a caf\xc3\xa9 b", "a "}, /* ends inside a character */
        {{"\xc3\xa9!"}, "caf\xc3\xa9?", "caf\xc3\xa9?"},
        {{"\xe2\x82\xac"}, "5 \xe2\x82\xac", "5 "},
        {{"\xe2\x82\xac"}, "5 \xe2\x82\xad", "5 \xe2\x82\xad"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        int n = 0, which;
        size_t len = strlen(c[i].text);
        while (c[i].stop[n])
            n++;
        assert_int_equal(stop_expected(c[i].text, len, c[i].stop, n, &which), strlen(c[i].seen));
        for (uint32_t cuts = 0; cuts < 1u << (len < 9 ? len : 9); cuts++)
            stop_check(c[i].text, len, c[i].stop, n, cuts);
        stop_check(c[i].text, len, c[i].stop, n, UINT32_MAX);
    }
}

static uint32_t random_below(uint32_t n)
{
    static uint32_t seed = 1;
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 16) % n;
}

/* Of two letters strings overlap in every way. */
static void test_stops_random(void **unused)
{
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        char text[25], stop[3][7];
        const char *given[3] = {stop[0], stop[1], stop[2]};
        size_t len = 1 + random_below(24);
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + random_below(2));
        if (random_below(8) == 0)
            text[random_below(len)] = 0;
        for (int i = 0; i < 3; i++) {
            size_t k = 1 + random_below(6);
            for (size_t j = 0; j < k; j++)
                stop[i][j] = (char)('a' + random_below(2));
            stop[i][k] = 0;
        }
        stop_check(text, len, given, (int)(random_below(4)),
                   random_below(1u << 16) << 9 | random_below(1u << 9));
    }
}

static void test_stops_refused(void **unused)
{
    (void)unused;
    static char longest[BN_STOP_BYTES + 2];
    const char *many[BN_STOPS + 1], *one[1];
    bn_stop f;
    rig r;
    for (int i = 0; i <= BN_STOPS; i++)
        many[i] = "x";
    memset(longest, 'a', sizeof longest - 1);
    assert_int_equal(bn_stop_start(&f, many, BN_STOPS), BN_OK);
    assert_int_equal(bn_stop_start(&f, many, BN_STOPS + 1), BN_ARGUMENT);
    assert_int_equal(bn_stop_start(&f, many, -1), BN_ARGUMENT);
    assert_int_equal(bn_stop_start(&f, NULL, 1), BN_ARGUMENT);
    const char *bad[] = {"", NULL, "\x82\xac", longest};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        one[0] = bad[i];
        assert_int_equal(bn_stop_start(&f, one, 1), BN_ARGUMENT);
        assert_int_equal(f.n, 0);
    }
    longest[BN_STOP_BYTES] = 0;
    assert_int_equal(bn_stop_start(&f, one, 1), BN_OK);
    /* In bn_generate: the text, which string it was, and what was evaluated. */
    bn_sampling how = {.stop = many, .nstop = 1};
    stopped h = {0};
    rig_up(&r, 2);
    fake_winner = 'x';
    assert_int_equal(bn_generate(r.s, "abx", 5, &how, stop_hear, &h), BN_OK);
    assert_int_equal(h.len, 0);
    assert_int_equal(how.stopped, 0);
    assert_int_equal(bn_position(r.s), 1 + 3);
    many[0] = "none";
    many[1] = "xxx";
    how.nstop = 2;
    assert_int_equal(bn_generate(r.s, "", 2, &how, stop_hear, &h), BN_OK);
    assert_string_equal(h.text, "xx"); /* the end of the text: no stop string any more */
    assert_int_equal(how.stopped, -1);
    h = (stopped){0};
    int at = bn_position(r.s);
    assert_int_equal(bn_generate(r.s, "", 9, &how, stop_hear, &h), BN_OK);
    assert_int_equal(h.len, 0);
    assert_int_equal(how.stopped, 1);
    assert_int_equal(bn_position(r.s), at + 2);
    h = (stopped){.refuses = 1};
    assert_int_equal(bn_rewind(r.s, 4), BN_OK);
    how.nstop = 1;
    assert_int_equal(bn_generate(r.s, "y", 9, &how, stop_hear, &h), BN_STOPPED);
    one[0] = "";
    how.stop = one;
    at = bn_position(r.s);
    assert_int_equal(bn_generate(r.s, "y", 1, &how, stop_hear, &h), BN_ARGUMENT);
    assert_non_null(strstr(bn_message(r.s), "expected up to 64 stop strings"));
    assert_int_equal(bn_position(r.s), at);
    fake_winner = -1;
    rig_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stops),
                                       cmocka_unit_test(test_stops_random),
                                       cmocka_unit_test(test_stops_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
