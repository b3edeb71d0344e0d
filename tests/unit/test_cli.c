/* test_cli.c: the command line of a compiled model, on the model of fake_model.h.
 *
 * Link with the objects of load, team, state, sample, generate and cli, without the tokenizer.
 */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli.h"
#include "fake_model.h"

static char cli_output[1 << 18], cli_errors[1024];

/* Runs bn_cli with its standard streams on files. */
static int cli_with(const char *input, char **argv)
{
    FILE *file[3];
    int old[3], argc = 0;
    while (argv[argc])
        argc++;
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        file[i] = tmpfile();
        old[i] = dup(i);
        if (i == 0)
            fputs(input, file[i]);
        rewind(file[i]);
        dup2(fileno(file[i]), i);
    }
    rewind(stdin);
    fake_bnw(fake_bytes);
    bn_model m = fake_model;
    m.embedded = fake_bytes;
    int code = bn_cli(&m, argc, argv);
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        dup2(old[i], i);
        close(old[i]);
    }
    rewind(file[1]);
    rewind(file[2]);
    cli_output[fread(cli_output, 1, sizeof cli_output - 1, file[1])] = 0;
    cli_errors[fread(cli_errors, 1, sizeof cli_errors - 1, file[2])] = 0;
    for (int i = 0; i < 3; i++)
        fclose(file[i]);
    return code;
}

#define CLI(input, ...) cli_with(input, (char *[]){(char *)"fake", __VA_ARGS__, NULL})

static void test_cli_text(void **unused)
{
    (void)unused;
    fake_winner = 'x';
    assert_int_equal(CLI("", "-p", "abc", "-n", "3", "--temp=0"), 0);
    assert_string_equal(cli_output, "abcxxx\n");
    assert_string_equal(cli_errors, "");
    assert_int_equal(CLI("hello", "--prompt=-", "--tokens", "2", "-t", "3", "--stats"), 0);
    assert_string_equal(cli_output, "helloxx\n");
    assert_non_null(strstr(cli_errors, "prompt 6 tokens"));
    assert_non_null(strstr(cli_errors, "written 2 tokens"));
    assert_int_equal(CLI("", "-n", "1"), 0);
    assert_string_equal(cli_output, "x\n");
    assert_int_equal(CLI(" 256\n97 98 ", "--ids", "-", "-n", "1"), 0);
    assert_string_equal(cli_output, "abx\n");
    assert_int_equal(CLI("", "-p", "a", "-n", "1000"), 0);
    assert_int_equal(strlen(cli_output), FAKE_CONTEXT + 1); /* 1 of prompt, 63, newline */
    assert_string_equal(cli_errors, "fake: stopped: the context of 64 tokens is full\n");
    fake_winner = -1;
    assert_int_equal(CLI("", "-p", "a", "-n", "20", "--seed", "7"), 0);
    char *first = strdup(cli_output);
    assert_int_equal(CLI("", "-p", "a", "-n", "20", "--seed", "7", "-t", "2"), 0);
    assert_string_equal(cli_output, first);
    assert_int_equal(CLI("", "-p", "a", "-n", "20", "--seed", "8"), 0);
    assert_string_not_equal(cli_output, first);
    free(first);
}

static void test_cli_stop(void **unused)
{
    (void)unused;
    fake_winner = 'x';
    assert_int_equal(CLI("", "-p", "axx", "-n", "9", "--temp=0", "--stop", "xxxx"), 0);
    assert_string_equal(cli_output, "axx\n"); /* the prompt does not count */
    assert_int_equal(CLI("", "-p", "a", "-n", "3", "--temp=0", "--stop=xxxx", "--stop=b"), 0);
    assert_string_equal(cli_output, "axxx\n");
    assert_int_equal(CLI("", "-p", "a", "-n", "3", "--stop=b", "--stop=x", "--stop=c"), 0);
    assert_string_equal(cli_output, "a\n");
    fake_winner = -1;
    assert_int_equal(CLI("", "-p", "a", "--stop", ""), 1);
    assert_string_equal(cli_errors,
                        "fake: --stop: expected 1 to 256 bytes that begin with a character, "
                        "found ''\n");
    char *many[2 * BN_STOPS + 4] = {"fake"};
    for (int i = 0; i <= BN_STOPS; i++) {
        many[1 + 2 * i] = "--stop";
        many[2 + 2 * i] = "q";
    }
    assert_int_equal(cli_with("", many), 1);
    assert_non_null(strstr(cli_errors, "--stop: expected it at most 64 times"));
}

static void test_cli_numbers(void **unused)
{
    (void)unused;
    double nll;
    int best, used, numbers = 0, lines = 0;
    assert_int_equal(CLI("1 2 3 4 5 6 7 8 9 10\n11", "--score"), 0);
    const char *p = cli_output;
    for (int i = 0; i < 11; i++, p += used) {
        assert_int_equal(sscanf(p, "%lf %d\n%n", &nll, &best, &used), 2);
        assert_in_range(best, 0, FAKE_VOCAB - 1);
        assert_true(i == 10 ? isnan(nll) : nll > 0);
    }
    assert_int_equal(*p, 0);
    assert_int_equal(CLI("1 2 3", "--logits", "--ids=-"), 0);
    for (p = cli_output; *p; p++) {
        numbers += *p == ' ' || *p == '\n';
        lines += *p == '\n';
    }
    assert_int_equal(lines, 3);
    assert_int_equal(numbers, 3 * FAKE_VOCAB);
    assert_int_equal(CLI("", "--bench", "8", "-t", "1"), 0);
    assert_non_null(strstr(cli_output, "\"decode_tps\":"));
    assert_int_equal(CLI("", "--bench", "4", "--bench-prefill", "8,16", "--bench-context", "4,20",
                         "--bench-repeat", "3"),
                     0);
    assert_non_null(strstr(cli_output, "\"prefill\":[{\"tokens\":8,\"tps\":["));
    assert_non_null(strstr(cli_output, "{\"context\":20,\"tps\":["));
    assert_int_equal(CLI("", "--info"), 0);
    assert_non_null(strstr(cli_output, "\"vocab\":300"));
    assert_int_equal(CLI("", "-h"), 0);
    assert_non_null(strstr(cli_output, "--repeat-penalty F"));
}

/* "-log softmax" of known logits. */
static void test_cli_nll(void **unused)
{
    (void)unused;
    double nll;
    int best;
    for (int i = 0; i < FAKE_VOCAB; i++)
        fake_logit[i] = 1000 - (i % 2) * 1e6f;
    fake_logit[9] = 1001;
    fake_fixed = 1;
    assert_int_equal(CLI("1 2", "--score"), 0);
    fake_fixed = 0;
    assert_int_equal(sscanf(cli_output, "%lf %d", &nll, &best), 2);
    assert_int_equal(best, 9);
    assert_true(fabs(nll - log(150 + exp(1))) < 1e-6);
}

static void cli_refuses(int code, const char *says)
{
    assert_int_equal(code, 1);
    assert_string_equal(cli_output, "");
    if (!strstr(cli_errors, says))
        fail_msg("expected '%s' in '%s'", says, cli_errors);
}

static void test_cli_refuses(void **unused)
{
    (void)unused;
    cli_refuses(CLI("", "--no-such"), "fake: unexpected '--no-such'; fake --help lists");
    cli_refuses(CLI("", "-t2"), "unexpected '-t2'");
    cli_refuses(CLI("", "-n"), "--tokens: expected N");
    cli_refuses(CLI("", "-n", "x"), "expected a whole number from 0 to 2147483647, found 'x'");
    cli_refuses(CLI("", "-n", "99999999999999999999"), "found '99999999999999999999'");
    cli_refuses(CLI("", "--temp", "nan"), "expected a number from 0 to 1e+06, found 'nan'");
    cli_refuses(CLI("", "--top-p", "1.5"), "expected a number from 0 to 1, found '1.5'");
    cli_refuses(CLI("", "--seed", "-1"), "found '-1'");
    cli_refuses(CLI("", "--threads", "0"), "from 1 to 256");
    cli_refuses(CLI("", "--help=1"), "--help takes no value");
    cli_refuses(CLI("", "-w", "/nonexistent"), "/nonexistent: there is no such file");
    cli_refuses(CLI("", "--score"), "expected at least one token id, found none");
    cli_refuses(CLI("1 2x", "--score"), "-: expected token ids, found '2x'");
    cli_refuses(CLI("300", "--score"), "expected ids from 0 to 299, found 300");
    cli_refuses(CLI("-1", "--score"), "expected ids from 0 to 299, found -1");
    cli_refuses(CLI("", "--ids", "-", "-p", "a"), "expected --ids or --prompt, found both");
    cli_refuses(CLI("", "--bench", "1000"), "expected at most 32 tokens, found 1000");
    cli_refuses(CLI("", "--bench", "4", "--bench-context", "9,61"), "at most 60 beside the tokens");
    cli_refuses(CLI("", "--bench", "4", "--bench-prefill", "8,x"), "commas, found '8,x'");
    cli_refuses(CLI("", "--bench", "4", "--bench-prefill", "65"), "expected at most 64, found 65");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_text), cmocka_unit_test(test_cli_stop),
        cmocka_unit_test(test_cli_numbers), cmocka_unit_test(test_cli_nll),
        cmocka_unit_test(test_cli_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
