/* cli.c: the command line of a compiled model: text in, text out, and numbers for tests.
 *
 * One idea: one table of options (cli_options.h), from which parsing and the help both follow, and
 * one function for each mode. It is the product, so unlike the rest of the runtime it allocates and prints; programs
 * that do not call bn_cli do not link it.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bn_model.h"
#include "bn_vocab.h"
#include "cli.h"
#include "cli_options.h"

typedef enum cli_id {
#define CLI_ENUM(id, field, letter, name, kind, least, most, initial, value, what) CLI_##id,
    CLI_OPTIONS(CLI_ENUM, CLI_ENUM)
#undef CLI_ENUM
        CLI_HELP,
    CLI_COUNT
} cli_id;

static const struct {
    char letter;
    const char *name, *value, *what;
    double least, most, initial; /* of numbers */
} cli_option[CLI_COUNT] = {
#define CLI_ROW(id, field, letter, name, kind, least, most, initial, value, what)                  \
    {letter, name, value, what, least, most, initial},
    CLI_OPTIONS(CLI_ROW, CLI_ROW)
#undef CLI_ROW
        {'h', "help", NULL, "this text", 0, 0, 0}};

enum { CLI_BENCH_PROMPT = 64, CLI_BENCH_CASES = 8, CLI_THREADS_MAX = 8 };

typedef struct cli {
    const bn_model *model;
    const bn_info *info;
    const char *program;
    const char *value[CLI_COUNT]; /* as given; "" for options without a value; NULL: not given */
    const char *stop[BN_STOPS];
    int tokens, threads, bench;
    bn_sampling how;
    bn_weights w;
    void *block;
    bn_state *state;
    char *prompt; /* allocated, NUL after prompt_len bytes; NULL with --ids */
    size_t prompt_len;
    int32_t *ids; /* the input, allocated */
    size_t nids;
    double start, opened, prefilled, first, end; /* milliseconds */
} cli;

/* Text of others. */

/* Would a terminal do something else than show it? C0 and C1, and the bidirectional embeddings,
 * overrides and isolates, which reorder what stands beside them. */
static int cli_commands(uint32_t c)
{
    if (c == '\n' || c == '\t')
        return 0;
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c >= BN_VOCAB_BAD;
}

int bn_show(FILE *to, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t code;
    if (!isatty(fileno(to)))
        return fwrite(text, 1, len, to) == len ? 0 : -1;
    for (size_t i = 0, n; i < len; i += n) {
        n = bn_vocab_decode(s + i, len - i, &code);
        if (!cli_commands(code)) {
            if (fwrite(s + i, 1, n, to) != n)
                return -1;
            continue;
        }
        for (size_t k = 0; k < n; k++)
            if (fprintf(to, "\\x%02x", (unsigned)s[i + k]) < 0)
                return -1;
    }
    return 0;
}

/* Messages. Every failure returns -1 up to bn_cli, which makes it exit status 1. */

#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 2, 3)))
#endif
static int
cli_err(const cli *c, const char *format, ...)
{
    char text[2 * PATH_MAX];
    va_list args;
    fflush(stdout);
    int n = snprintf(text, sizeof text / 2, "%s: ", c->program);
    size_t at = n < 0 ? 0 : (size_t)n < sizeof text / 2 ? (size_t)n : sizeof text / 2 - 1;
    va_start(args, format);
    vsnprintf(text + at, sizeof text - at, format, args);
    va_end(args);
    (void)bn_show(stderr, text, strlen(text));
    fputc('\n', stderr);
    return -1;
}

static int cli_failed(const cli *c, bn_status status, const char *message)
{
    return cli_err(c, "%s", message && *message ? message : bn_status_text(status));
}

static int cli_help(const cli *c)
{
    printf("usage: ");
    (void)bn_show(stdout, c->program, strlen(c->program));
    printf(" [options]\n\n");
    (void)bn_show(stdout, c->info->name, strlen(c->info->name));
    printf(" (%s, %" PRId32 " tokens, context %" PRId32 ") for %s.\n\n", c->info->arch,
           c->info->vocab, c->info->context, c->info->target);
    for (int i = 0; i < CLI_COUNT; i++) {
        char left[40], letter[5] = "    ";
        if (cli_option[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", cli_option[i].letter);
        snprintf(left, sizeof left, "%s--%s %s", letter, cli_option[i].name,
                 cli_option[i].value ? cli_option[i].value : "");
        printf("  %-26s %s\n", left, cli_option[i].what);
    }
    return 0;
}

static double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Options. */

static int cli_find(const char *arg, const char **value)
{
    *value = NULL;
    for (int i = 0; i < CLI_COUNT; i++) {
        size_t len = strlen(cli_option[i].name);
        if (arg[0] == '-' && cli_option[i].letter && arg[1] == cli_option[i].letter && !arg[2])
            return i;
        if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, cli_option[i].name, len) != 0)
            continue;
        if (arg[2 + len] == '=')
            *value = arg + 2 + len + 1;
        if (!arg[2 + len] || *value)
            return i;
    }
    return -1;
}

static int cli_parse(cli *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        int id = cli_find(argv[i], &value);
        if (id < 0)
            return cli_err(c, "unexpected '%s'; %s --help lists the options", argv[i], c->program);
        if (value && !cli_option[id].value)
            return cli_err(c, "--%s takes no value", cli_option[id].name);
        if (!value && cli_option[id].value) {
            if (++i == argc)
                return cli_err(c, "--%s: expected %s", cli_option[id].name, cli_option[id].value);
            value = argv[i];
        }
        c->value[id] = value ? value : "";
        if (id == CLI_STOP && c->how.nstop == BN_STOPS)
            return cli_err(c, "--stop: expected it at most %d times", BN_STOPS);
        if (id == CLI_STOP)
            c->stop[c->how.nstop++] = value;
    }
    return 0;
}

static int cli_int(const cli *c, cli_id id, int otherwise, int *out)
{
    const double lo = cli_option[id].least, hi = cli_option[id].most;
    char *end;
    *out = otherwise;
    if (!c->value[id])
        return 0;
    errno = 0;
    long x = strtol(c->value[id], &end, 10);
    if (errno || *end || end == c->value[id] || (double)x < lo || (double)x > hi)
        return cli_err(c, "--%s: expected a whole number from %.0f to %.0f, found '%s'",
                       cli_option[id].name, lo, hi, c->value[id]);
    *out = (int)x;
    return 0;
}

static int cli_float(const cli *c, cli_id id, float *out)
{
    const double hi = cli_option[id].most;
    char *end;
    *out = (float)cli_option[id].initial;
    if (!c->value[id])
        return 0;
    double x = strtod(c->value[id], &end);
    if (*end || end == c->value[id] || !(x >= 0 && x <= hi))
        return cli_err(c, "--%s: expected a number from 0 to %g, found '%s'", cli_option[id].name,
                       hi, c->value[id]);
    *out = (float)x;
    return 0;
}

static int cli_seed(cli *c)
{
    const char *text = c->value[CLI_SEED];
    char *end;
    c->how.seed = (uint64_t)cli_option[CLI_SEED].initial;
    if (!text)
        return 0;
    errno = 0;
    c->how.seed = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9')
        return cli_err(c, "--seed: expected a whole number below 2^64, found '%s'", text);
    return 0;
}

static int cli_processors(void)
{
    int n = bn_cpus();
    return n < CLI_THREADS_MAX ? n : CLI_THREADS_MAX;
}

static int cli_settings(cli *c)
{
    int top_k = 0;
    if (cli_int(c, CLI_TOKENS, (int)cli_option[CLI_TOKENS].initial, &c->tokens) ||
        cli_int(c, CLI_BENCH, 0, &c->bench) ||
        cli_int(c, CLI_THREADS, cli_processors(), &c->threads) ||
        cli_int(c, CLI_TOP_K, (int)cli_option[CLI_TOP_K].initial, &top_k) ||
        cli_float(c, CLI_TEMPERATURE, &c->how.temperature) ||
        cli_float(c, CLI_TOP_P, &c->how.top_p) || cli_float(c, CLI_MIN_P, &c->how.min_p) ||
        cli_float(c, CLI_PENALTY, &c->how.repeat_penalty) || cli_seed(c))
        return -1;
    c->how.top_k = top_k;
    c->how.stop = c->stop;
    bn_stop stop;
    for (int i = 0; i < c->how.nstop; i++)
        if (bn_stop_start(&stop, c->stop + i, 1) != BN_OK)
            return cli_err(c,
                           "--stop: expected 1 to %d bytes that begin with a character, found '%s'",
                           BN_STOP_BYTES, c->stop[i]);
    if (c->value[CLI_IDS] && c->value[CLI_PROMPT])
        return cli_err(c, "expected --ids or --prompt, found both");
    return 0;
}

/* Input. */

static char *cli_read(const cli *c, const char *path, size_t *len)
{
    int is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    size_t cap = 4096, got;
    char *text = f ? malloc(cap) : NULL;
    *len = 0;
    while (text && (got = fread(text + *len, 1, cap - *len - 1, f)) > 0) {
        *len += got;
        if (*len + 1 < cap)
            continue;
        char *more = cap < SIZE_MAX / 2 ? realloc(text, cap *= 2) : NULL;
        if (!more)
            free(text);
        text = more;
    }
    if (!f)
        cli_err(c, "%s: %s", path, strerror(errno));
    else if (!text)
        cli_err(c, "%s: not enough memory for it", path);
    else if (ferror(f)) {
        cli_err(c, "%s: cannot be read", path);
        free(text);
        text = NULL;
    }
    if (text)
        text[*len] = 0;
    if (f && !is_stdin)
        fclose(f);
    return text;
}

static int cli_parse_ids(cli *c, const char *path, const char *text, size_t bytes)
{
    const char *p = text;
    char *end;
    for (; p += strspn(p, " \t\r\n\f\v"), *p; p = end) {
        errno = 0;
        long id = strtol(p, &end, 10);
        int len = (int)strcspn(p, " \t\r\n\f\v");
        if (end == p || end != p + len)
            return cli_err(c, "%s: expected token ids, found '%.*s'", path, len < 40 ? len : 40, p);
        if (errno || id < 0 || id >= c->info->vocab)
            return cli_err(c, "%s: expected ids from 0 to %" PRId32 ", found %.*s", path,
                           c->info->vocab - 1, len < 40 ? len : 40, p);
        c->ids[c->nids++] = (int32_t)id;
    }
    if (p != text + bytes)
        return cli_err(c, "%s: expected text, found a zero byte", path);
    return 0;
}

static int cli_load_ids(cli *c, const char *path)
{
    size_t len;
    char *text = cli_read(c, path, &len);
    if (!text)
        return -1;
    c->ids = malloc((len / 2 + 1) * sizeof *c->ids);
    int failed = c->ids ? cli_parse_ids(c, path, text, len) : cli_err(c, "not enough memory");
    free(text);
    return failed;
}

static int cli_load_prompt(cli *c)
{
    const char *given = c->value[CLI_PROMPT] ? c->value[CLI_PROMPT] : "";
    if (strcmp(given, "-") == 0) {
        c->prompt = cli_read(c, given, &c->prompt_len);
        return c->prompt ? 0 : -1;
    }
    c->prompt_len = strlen(given);
    c->prompt = malloc(c->prompt_len + 1);
    if (!c->prompt)
        return cli_err(c, "not enough memory");
    memcpy(c->prompt, given, c->prompt_len + 1);
    return 0;
}

static int cli_tokenize(cli *c)
{
    size_t cap = bn_token_room(&c->w, c->prompt_len);
    unsigned flags = BN_ADD_SPECIAL | (c->value[CLI_SPECIAL] ? BN_PARSE_SPECIAL : 0u);
    c->ids = c->prompt_len < SIZE_MAX / 64 ? malloc(cap * sizeof *c->ids) : NULL;
    if (!c->ids)
        return cli_err(c, "not enough memory for a prompt of %zu bytes", c->prompt_len);
    bn_status status = bn_tokenize(&c->w, c->prompt, c->prompt_len, flags, c->ids, cap, &c->nids);
    return status == BN_OK ? 0 : cli_failed(c, status, NULL);
}

static int cli_input(cli *c)
{
    const char *ids = c->value[CLI_IDS];
    if (!ids && c->value[CLI_SCORE] && !c->value[CLI_PROMPT])
        ids = "-";
    int failed = ids ? cli_load_ids(c, ids) : cli_load_prompt(c);
    if (!failed && !ids)
        failed = cli_tokenize(c);
    if (!failed && !c->nids)
        return cli_err(c, ids ? "expected at least one token id, found none"
                              : "expected a prompt (-p): this model has no start token");
    if (!failed && c->nids > (size_t)c->info->context)
        return cli_err(c, "%zu tokens do not fit: the context holds %" PRId32, c->nids,
                       c->info->context);
    return failed;
}

static int cli_open(cli *c)
{
    bn_status (*open)(bn_weights *, const bn_model *, const char *) =
        c->value[CLI_COPY] ? bn_open_copy : bn_open;
    bn_status status = open(&c->w, c->model, c->value[CLI_WEIGHTS]);
    if (status != BN_OK)
        return cli_failed(c, status, c->w.message);
    size_t size = bn_state_size(c->model, c->threads);
    c->block = size ? malloc(size) : NULL;
    if (!c->block)
        return cli_err(c, "not enough memory: the state takes %zu bytes", size);
    status = bn_init(&c->state, &c->w, c->threads, c->block, size);
    if (status != BN_OK)
        return cli_failed(c, status, NULL);
    c->opened = cli_now();
    return 0;
}

static void cli_close(cli *c)
{
    bn_done(c->state);
    bn_close(&c->w);
    free(c->block);
    free(c->prompt);
    free(c->ids);
}

/* Writing text. */

static int cli_piece(void *user, const char *text, size_t len)
{
    cli *c = user;
    if (c->first == 0)
        c->first = cli_now();
    return bn_show(stdout, text, len) != 0 || fflush(stdout) != 0;
}

static int cli_echo_ids(cli *c)
{
    bn_text text;
    bn_text_start(&text, &c->w);
    for (size_t i = 0; i < c->nids; i++) {
        size_t len;
        (void)bn_piece(&c->w, c->ids[i], &len);
        char *out = malloc(BN_TEXT_ROOM(len));
        if (!out)
            return cli_err(c, "not enough memory");
        (void)bn_show(stdout, out, bn_detokenize(&text, c->ids[i], out));
        free(out);
    }
    return 0;
}

static void cli_stats(const cli *c, int written)
{
    double prefill = c->prefilled - c->opened, decode = c->end - c->prefilled;
    fprintf(stderr, "open %.1f ms; prompt %zu tokens, %.1f/s; first text after %.1f ms; ",
            c->opened - c->start, c->nids, (double)c->nids * 1e3 / prefill,
            c->first > 0 ? c->first - c->start : 0.0);
    fprintf(stderr, "written %d tokens, %.1f/s; %d threads\n", written,
            decode > 0 ? written * 1e3 / decode : 0.0, c->threads);
}

/* The prompt is evaluated here, with the tokens that the options made of it; bn_generate goes on
 * from there with an empty one. */
static int cli_generate(cli *c)
{
    if (!c->prompt && cli_echo_ids(c))
        return -1;
    if (c->prompt)
        (void)bn_show(stdout, c->prompt, c->prompt_len);
    fflush(stdout);
    bn_status status = bn_eval(c->state, c->ids, (int)c->nids, NULL);
    if (status != BN_OK)
        return cli_failed(c, status, bn_message(c->state));
    c->prefilled = cli_now();
    status = bn_generate(c->state, "", c->tokens, &c->how, cli_piece, c);
    c->end = cli_now();
    putchar('\n');
    if (status == BN_STOPPED)
        return cli_err(c, "standard output: %s", strerror(errno));
    if (status == BN_CONTEXT)
        cli_err(c, "stopped: the context of %" PRId32 " tokens is full", c->info->context);
    else if (status != BN_OK)
        return cli_failed(c, status, bn_message(c->state));
    if (c->value[CLI_STATS])
        cli_stats(c, bn_position(c->state) - (int)c->nids);
    return 0;
}

/* Numbers for tests. */

/* -log p(next) under one row of logits[vocab], in double. */
static double cli_nll(const float *logits, int vocab, int best, int next)
{
    double sum = 0, max = (double)logits[best];
    for (int i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - max);
    return log(sum) + max - (double)logits[next];
}

/* "nll argmax": the surprise at the token that follows this one (nan after the last), and the
 * likeliest token, first of equals. */
static void cli_print_score(const float *logits, int vocab, int next)
{
    int best = 0;
    for (int i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    if (next < 0)
        printf("nan %d\n", best);
    else
        printf("%.9g %d\n", cli_nll(logits, vocab, best, next), best);
}

static void cli_print_logits(const float *logits, int vocab)
{
    for (int i = 0; i < vocab; i++)
        printf(i ? " %.9g" : "%.9g", (double)logits[i]);
    putchar('\n');
}

static int cli_rows(cli *c)
{
    size_t chunk = c->info->batch > 1 ? (size_t)c->info->batch : 1, vocab = (size_t)c->info->vocab;
    chunk = chunk < c->nids ? chunk : c->nids;
    float *logits =
        chunk < SIZE_MAX / sizeof *logits / vocab ? malloc(chunk * vocab * sizeof *logits) : NULL;
    if (!logits)
        return cli_err(c, "not enough memory for %zu rows of logits", chunk);
    bn_status status = BN_OK;
    for (size_t i = 0; i < c->nids && status == BN_OK; i += chunk) {
        size_t n = chunk < c->nids - i ? chunk : c->nids - i;
        status = bn_score(c->state, c->ids + i, (int)n, logits);
        for (size_t j = 0; j < n && status == BN_OK; j++) {
            const float *row = logits + j * vocab;
            if (c->value[CLI_LOGITS])
                cli_print_logits(row, c->info->vocab);
            else
                cli_print_score(row, c->info->vocab, i + j + 1 < c->nids ? c->ids[i + j + 1] : -1);
        }
    }
    free(logits);
    return status == BN_OK ? 0 : cli_failed(c, status, bn_message(c->state));
}

/* What --bench times: each case is a number of tokens (of a prompt, or before the written ones),
 * with the tokens a second of each repetition. */
typedef struct cli_cases {
    int n, times, size[CLI_BENCH_CASES];
    double rate[CLI_BENCH_CASES][CLI_BENCH_TIMES];
} cli_cases;

/* "64,512"; without the option what a small context leaves of 64. Each leaves room for `more`. */
static int cli_bench_cases(const cli *c, cli_id id, int more, cli_cases *out)
{
    int room = c->info->context - more;
    const char *text = c->value[id];
    out->n = 0;
    if (!text) {
        int half = c->info->context / 2;
        out->size[out->n++] = half < CLI_BENCH_PROMPT ? half : CLI_BENCH_PROMPT;
    }
    for (char *end; text; text = *end ? end + 1 : NULL) {
        errno = 0;
        long x = strtol(text, &end, 10);
        if (errno || end == text || (*end && *end != ',') || x < 1 || out->n == CLI_BENCH_CASES)
            return cli_err(c, "--%s: expected up to %d whole numbers with commas, found '%s'",
                           cli_option[id].name, CLI_BENCH_CASES, c->value[id]);
        if (x > room)
            return cli_err(c, "--%s: expected at most %d%s, found %ld", cli_option[id].name, room,
                           more ? " beside the tokens of --bench" : "", x);
        out->size[out->n++] = (int)x;
    }
    return 0;
}

static double cli_median(const cli_cases *b, int i)
{
    double v[CLI_BENCH_TIMES] = {0};
    for (int k = 0; k < b->times; k++) {
        int at = k;
        for (; at > 0 && v[at - 1] > b->rate[i][k]; at--)
            v[at] = v[at - 1];
        v[at] = b->rate[i][k];
    }
    return (v[(b->times - 1) / 2] + v[b->times / 2]) / 2;
}

static void cli_bench_print(const char *key, const char *size, const cli_cases *b)
{
    printf(",\"%s\":[", key);
    for (int i = 0; i < b->n; i++) {
        printf("%s{\"%s\":%d,\"tps\":[", i ? "," : "", size, b->size[i]);
        for (int k = 0; k < b->times; k++)
            printf(k ? ",%.3f" : "%.3f", b->rate[i][k]);
        printf("]}");
    }
    putchar(']');
}

static uint64_t cli_peak_rss(void)
{
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) != 0)
        return 0;
#ifdef __APPLE__
    return (uint64_t)use.ru_maxrss;
#else
    return (uint64_t)use.ru_maxrss * 1024;
#endif
}

/* The first tokens (ids) of a state, from nothing. */
static bn_status cli_bench_fill(bn_state *s, const int32_t *ids, int n)
{
    bn_status status = bn_rewind(s, 0);
    return status == BN_OK ? bn_eval(s, ids, n, NULL) : status;
}

static bn_status cli_bench_prefill(cli *c, const int32_t *ids, cli_cases *b)
{
    bn_status status = BN_OK;
    for (int i = 0; i < b->n; i++)
        for (int k = -1; k < b->times && status == BN_OK; k++) { /* the first warms */
            double start = cli_now();
            status = cli_bench_fill(c->state, ids, b->size[i]);
            if (k >= 0)
                b->rate[i][k] = b->size[i] * 1e3 / (cli_now() - start);
        }
    return status;
}

/* Each repetition goes back to the same position and chooses the same tokens. */
static bn_status cli_bench_decode(cli *c, const int32_t *ids, cli_cases *b)
{
    bn_sampling greedy = {0};
    bn_status status = BN_OK;
    for (int i = 0; i < b->n && status == BN_OK; i++) {
        int at = b->size[i];
        status = cli_bench_fill(c->state, ids, at);
        for (int k = 0; k < b->times && status == BN_OK; k++) {
            status = bn_rewind(c->state, at - 1);
            if (status == BN_OK)
                status = bn_eval(c->state, ids + at - 1, 1, NULL);
            double start = cli_now();
            for (int j = 0; j < c->bench && status == BN_OK; j++) {
                int32_t token = bn_sample(c->state, &greedy);
                status = bn_eval(c->state, &token, 1, NULL);
            }
            b->rate[i][k] = c->bench * 1e3 / (cli_now() - start);
        }
    }
    return status;
}

/* first_token_ms: from the start of the program's work to a first token of a prompt of one, page
 * faults included. */
static int cli_bench(cli *c)
{
    cli_cases prefill, decode;
    bn_sampling greedy = {0};
    if (cli_int(c, CLI_BENCH_REPEAT, 1, &prefill.times) ||
        cli_bench_cases(c, CLI_BENCH_PREFILL, 0, &prefill) ||
        cli_bench_cases(c, CLI_BENCH_CONTEXT, c->bench, &decode))
        return -1;
    decode.times = prefill.times;
    if (c->bench > c->info->context - decode.size[0] || decode.size[0] < 1)
        return cli_err(c, "--bench: expected at most %" PRId32 " tokens, found %d",
                       c->info->context - decode.size[0], c->bench);
    c->ids = malloc((size_t)c->info->context * sizeof *c->ids);
    if (!c->ids)
        return cli_err(c, "not enough memory");
    for (int i = 0; i < c->info->context; i++)
        c->ids[i] = (int32_t)((1 + (int64_t)i * 7919) % c->info->vocab);
    bn_status status = bn_eval(c->state, c->ids, 1, NULL);
    (void)bn_sample(c->state, &greedy);
    c->first = cli_now();
    if (status == BN_OK)
        status = cli_bench_prefill(c, c->ids, &prefill);
    if (status == BN_OK)
        status = cli_bench_decode(c, c->ids, &decode);
    if (status != BN_OK)
        return cli_failed(c, status, bn_message(c->state));
    printf("{\"prefill_tps\":%.2f,\"decode_tps\":%.2f,\"open_ms\":%.3f,\"first_token_ms\":%.3f,"
           "\"threads\":%d,\"peak_rss\":%" PRIu64 ",\"weight_bytes\":%" PRIu64,
           cli_median(&prefill, 0), cli_median(&decode, 0), c->opened - c->start,
           c->first - c->start, c->threads, cli_peak_rss(), c->info->weight_bytes);
    cli_bench_print("prefill", "tokens", &prefill);
    cli_bench_print("decode", "context", &decode);
    puts("}");
    return 0;
}

/* A member of a JSON object; what is no UTF-8 becomes U+FFFD. */
static void cli_json_text(const char *key, const char *text)
{
    const unsigned char *s = (const unsigned char *)(text ? text : "");
    uint32_t code;
    printf("\"%s\":\"", key);
    for (size_t n, left = strlen((const char *)s); left; s += n, left -= n) {
        n = bn_vocab_decode(s, left, &code);
        if (code < 0x20 || code == 0x7f || code >= BN_VOCAB_BAD)
            printf("\\u%04x", code < BN_VOCAB_BAD ? (unsigned)code : 0xfffdu);
        else
            printf(code == '"' || code == '\\' ? "\\%.*s" : "%.*s", (int)n, (const char *)s);
    }
    printf("\",");
}

static int cli_info(const cli *c)
{
    const bn_info *x = c->info;
    putchar('{');
    cli_json_text("name", x->name);
    cli_json_text("arch", x->arch);
    cli_json_text("target", x->target);
    cli_json_text("source_hash", x->source_hash);
    cli_json_text("compiler", x->compiler);
    printf("\"vocab\":%" PRId32 ",\"context\":%" PRId32 ",\"layers\":%" PRId32 ",\"width\":%" PRId32
           ",\"batch\":%" PRId32,
           x->vocab, x->context, x->layers, x->width, x->batch);
    printf(",\"bos\":%" PRId32 ",\"eos\":%" PRId32 ",\"eot\":%" PRId32, x->bos, x->eos, x->eot);
    printf(",\"ends\":[");
    for (int32_t i = 0; i < x->nends; i++)
        printf("%s%" PRId32, i ? "," : "", x->ends[i]);
    printf("],\"add_bos\":%s,\"add_eos\":%s,\"embedding\":%" PRId32 ",\"weight_bytes\":%" PRIu64
           "}\n",
           x->add_bos ? "true" : "false", x->add_eos ? "true" : "false", x->embedding,
           x->weight_bytes);
    return 0;
}

static int cli_run(cli *c, int argc, char **argv)
{
    c->start = cli_now();
    if (cli_parse(c, argc, argv))
        return -1;
    if (c->value[CLI_HELP])
        return cli_help(c);
    if (c->value[CLI_INFO])
        return cli_info(c);
    if (cli_settings(c) || cli_open(c))
        return -1;
    if (c->value[CLI_BENCH])
        return cli_bench(c);
    if (cli_input(c))
        return -1;
    if (c->value[CLI_SCORE] || c->value[CLI_LOGITS])
        return cli_rows(c);
    return cli_generate(c);
}

int bn_cli(const bn_model *model, int argc, char **argv)
{
    const char *name = argc > 0 && argv[0] ? argv[0] : "model";
    const char *slash = strrchr(name, '/');
    cli c = {.model = model, .info = bn_describe(model), .program = slash ? slash + 1 : name};
    int failed = c.info ? cli_run(&c, argc, argv) : cli_err(&c, "no model was given");
    cli_close(&c);
    if (!failed && (fflush(stdout) != 0 || ferror(stdout)))
        failed = cli_err(&c, "standard output: %s", strerror(errno));
    return failed ? 1 : 0;
}
