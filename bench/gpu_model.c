/* gpu_model.c: how fast a compiled model is behind bn.h: gpu_model WEIGHTS PROMPT AT STEPS REPEAT.
 * Compiled with -DHEADER='"m.h"' for a model of --name=m. Prints "prompt", "decode", "all", "top1",
 * "top40" or "open", then tokens/s (open: seconds), the median of REPEAT and the least and the
 * most: of a prompt of PROMPT tokens, and of STEPS tokens written behind AT others: given ones,
 * each with all its logits; or what bn_sample chooses: the largest of all logits, the top 1, or one
 * of the top 40. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include HEADER

enum { MOST = 64 }; /* REPEAT */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(int status, const char *message)
{
    if (status == BN_OK)
        return;
    fprintf(stderr, "gpu_model: %s\n", message);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *what, int tokens, double *rate, int n)
{
    qsort(rate, (size_t)n, sizeof *rate, by_value);
    printf("%s %d %.1f %.1f %.1f\n", what, tokens, rate[n / 2], rate[0], rate[n - 1]);
    fflush(stdout);
}

/* Evaluates n tokens behind those there are. */
static void eval(bn_state *s, int n, int vocab)
{
    int32_t token[4096];
    const float *logits;
    for (int i = 0; i < n; i++)
        token[i] = (bn_position(s) + i * 7919) % vocab;
    must(bn_eval(s, token, n, &logits), bn_message(s));
}

/* STEPS tokens behind `at` others, with all logits or what bn_sample needs; topk: top_k, 0: none
 * is sampled. */
static void decode(bn_state *s, const char *what, bool all, int topk, int at, int steps, int repeat)
{
    double rate[MOST];
    for (int i = -1; i < repeat; i++) {
        bn_sampling how = {.temperature = 1, .top_k = topk, .seed = 1};
        must(bn_rewind(s, 0), bn_message(s));
        eval(s, at, bn_describe(&m_model)->vocab);
        int32_t token = 1;
        const float *logits;
        double start = now();
        for (int j = 0; j < steps; j++) {
            must(bn_eval(s, &token, 1, all ? &logits : NULL), bn_message(s));
            token = topk ? bn_sample(s, &how) : (token + 7919) % bn_describe(&m_model)->vocab;
        }
        rate[i < 0 ? 0 : i] = steps / (now() - start);
    }
    print_row(what, at, rate, repeat);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    int prompt = atoi(argv[2]), at = atoi(argv[3]), steps = atoi(argv[4]), repeat = atoi(argv[5]);
    const bn_info *info = bn_describe(&m_model);
    size_t size = bn_state_size(&m_model, 1);
    double rate[MOST];
    bn_weights w;
    bn_state *s;
    if (prompt > 4096 || at > 4096 || repeat < 1 || repeat > MOST)
        return 2;
    double start = now();
    must(bn_open(&w, &m_model, argv[1]), w.message);
    must(bn_init(&s, &w, 1, malloc(size), size), "bn_init failed");
    rate[0] = now() - start;
    print_row("open", 0, rate, 1);
    for (int i = -1; prompt && i < repeat; i++) {
        must(bn_rewind(s, 0), bn_message(s));
        start = now();
        eval(s, prompt, info->vocab);
        rate[i < 0 ? 0 : i] = prompt / (now() - start);
    }
    if (prompt)
        print_row("prompt", prompt, rate, repeat);
    decode(s, "decode", true, 0, at, steps, repeat);
    decode(s, "all", true, 1, at, steps, repeat);
    decode(s, "top1", false, 1, at, steps, repeat);
    decode(s, "top40", false, 40, at, steps, repeat);
    bn_done(s);
    bn_close(&w);
    return 0;
}
