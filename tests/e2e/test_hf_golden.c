/* test_hf_golden.c: a compiled model against a golden file of ../shared/golden/hf.
 *
 *     test_hf_golden GOLDEN.json MODEL.so ROW
 *
 * ROW names the row of the table "Tolerances that follow" of that folder's README: f32, or int8, whose
 * bounds are 2 and 2.5 times what the golden file measured of int8 inputs with a scale for 128 values.
 * The library was written with --emit=so --name=m --kv=f32. All positions of all prompts are scored by
 * one, two and three threads, and evaluated token by token and in passes: the bits must be the same.
 */
#include <dlfcn.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"

typedef struct Lib {
    __typeof__(&bn_open) open;
    __typeof__(&bn_init) init;
    __typeof__(&bn_done) done;
    __typeof__(&bn_state_size) size;
    __typeof__(&bn_score) score;
    __typeof__(&bn_eval) eval;
    __typeof__(&bn_describe) describe;
    const bn_model *model;
    bn_weights w;
} Lib;
typedef struct Distance { /* in units of logit_sd */
    double square, worst, nll;
    long count;
    int wrong; /* argmax where the golden margin is clear */
} Distance;

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "test_hf_golden: %s\n", what);
    exit(1);
}

static void load(Lib *l, const char *path)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    need(so != NULL, dlerror());
    l->model = (const bn_model *)dlsym(so, "m_model");
    *(void **)&l->open = dlsym(so, "bn_open");
    *(void **)&l->init = dlsym(so, "bn_init");
    *(void **)&l->done = dlsym(so, "bn_done");
    *(void **)&l->size = dlsym(so, "bn_state_size");
    *(void **)&l->score = dlsym(so, "bn_score");
    *(void **)&l->eval = dlsym(so, "bn_eval");
    *(void **)&l->describe = dlsym(so, "bn_describe");
    need(l->model && l->open(&l->w, l->model, NULL) == BN_OK, "cannot open the model");
}

static bn_state *start(Lib *l, int threads, void **block)
{
    bn_state *s;
    size_t size = l->size(l->model, threads);
    *block = malloc(size);
    need(*block && l->init(&s, &l->w, threads, *block, size) == BN_OK, "bn_init");
    return s;
}

static void check_same(Lib *l, const int *tokens, int n, int vocab, const float *want)
{
    size_t bytes = sizeof(float) * (size_t)n * (size_t)vocab;
    float *x = (float *)malloc(bytes);
    for (int threads = 2; threads <= 3; threads++) {
        void *block;
        bn_state *s = start(l, threads, &block);
        need(l->score(s, tokens, n, x) == BN_OK, "bn_score");
        l->done(s);
        free(block);
        need(!memcmp(x, want, bytes), "other bits by more threads");
    }
    for (int cut = 1; cut <= n; cut = 3 * cut + 1) {
        const float *logits;
        void *block;
        bn_state *s = start(l, 2, &block);
        for (int at = 0; at < n; at += cut) {
            int k = n - at < cut ? n - at : cut;
            need(l->eval(s, tokens + at, k, &logits) == BN_OK, "bn_eval");
            need(!memcmp(logits, want + (size_t)(at + k - 1) * (size_t)vocab,
                         sizeof(float) * (size_t)vocab),
                 "other bits by passes of other sizes");
        }
        l->done(s);
        free(block);
    }
    free(x);
}

static int best_of(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static void differ(Distance *d, double got, double want, double sd)
{
    double off = fabs(got - want) / sd;
    d->square += off * off;
    d->worst = off > d->worst || off != off ? off : d->worst;
    d->count++;
}

static void check_prompt(Lib *l, const json_t *p, double sd, double margin, Distance *d)
{
    const json_t *ids = json_object_get(p, "tokens"), *last = json_object_get(p, "last_logits"),
                 *head = json_object_get(p, "head_logits"), *best = json_object_get(p, "argmax"),
                 *lead = json_object_get(p, "margin");
    int n = (int)json_array_size(ids), vocab = l->describe(l->model)->vocab, tokens[256];
    float *x = (float *)malloc(sizeof(float) * (size_t)n * (size_t)vocab);
    double nll = 0;
    void *block;
    for (int i = 0; i < n; i++)
        tokens[i] = (int)json_integer_value(json_array_get(ids, (size_t)i));
    bn_state *s = start(l, 1, &block);
    need(l->score(s, tokens, n, x) == BN_OK, "bn_score");
    l->done(s);
    free(block);
    check_same(l, tokens, n, vocab, x);
    for (int i = 0; i < n; i++) {
        const float *row = x + (size_t)i * (size_t)vocab;
        double sum = 0;
        for (int j = 0; j < vocab; j++)
            sum += exp((double)row[j] - (double)row[best_of(row, vocab)]);
        if (i + 1 < n)
            nll += (log(sum) + (double)row[best_of(row, vocab)] - (double)row[tokens[i + 1]]) /
                   (n - 1);
        for (size_t j = 0; j < 8; j++)
            differ(d, (double)row[j],
                   json_number_value(json_array_get(json_array_get(head, (size_t)i), j)), sd);
        d->wrong += json_number_value(json_array_get(lead, (size_t)i)) > margin * sd &&
                    best_of(row, vocab) != (int)json_integer_value(json_array_get(best, (size_t)i));
    }
    for (int j = 0; j < vocab; j++)
        differ(d, (double)x[(size_t)(n - 1) * (size_t)vocab + (size_t)j],
               json_number_value(json_array_get(last, (size_t)j)), sd);
    nll = fabs(nll - json_number_value(json_object_get(p, "nll")));
    d->nll = nll > d->nll ? nll : d->nll;
    free(x);
}

int main(int argc, char **argv)
{
    need(argc == 4, "usage: test_hf_golden GOLDEN.json MODEL.so f32|int8");
    json_t *g = json_load_file(argv[1], 0, NULL);
    need(g != NULL, "cannot read the golden file");
    const json_t *noise =
        json_object_get(json_object_get(g, "noise"), "same, a scale for 128 values");
    double sd = json_number_value(json_object_get(g, "logit_sd")), rms = 3e-5, max = 5e-4;
    double nll = 2e-5, margin = 1e-3;
    if (!strcmp(argv[3], "int8")) {
        rms = 2 * json_number_value(json_object_get(noise, "rms"));
        max = 2.5 * json_number_value(json_object_get(noise, "max"));
        nll = 0.15;
        margin = max / 2.5 * 2;
    }
    Lib l;
    Distance d = {0};
    load(&l, argv[2]);
    const json_t *prompts = json_object_get(g, "prompts");
    for (size_t i = 0; i < json_array_size(prompts); i++)
        check_prompt(&l, json_array_get(prompts, i), sd, margin, &d);
    double off = sqrt(d.square / (double)d.count);
    printf("%s: rms %.3g sd (at most %.3g), largest %.3g (%.3g), NLL %.2g (%.2g), %d clear choices "
           "differ\n",
           argv[2], off, rms, d.worst, max, d.nll, nll, d.wrong);
    return !(off <= rms && d.worst <= max && d.nll <= nll && rms > 0 && !d.wrong);
}
