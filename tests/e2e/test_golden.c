/* test_golden.c: compiled models against ../shared/golden, tests/golden and tests/arch-models, with the
 * tolerances that their READMEs derive. Usage: test_golden GOLDEN_DIR MODEL.TARGET.so ... : each library was written by
 * `bnc MODEL.gguf --emit=so --name=m --target=TARGET --kv=f32`, MODEL.kv-KV.TARGET.so with
 * --kv=KV; MODEL up to its last '-' names the golden file. Malloc counts while armed: nothing may be allocated after bn_init. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "bn_model.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static volatile int armed, allocations;

void *malloc(size_t n)
{
    allocations += armed;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations += armed;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    allocations += armed;
    return __libc_realloc(p, n);
}

/* The library's own runtime, by name. */
#define API(F)                                                                                     \
    F(bn_open)                                                                                     \
    F(bn_close)                                                                                    \
    F(bn_state_size)                                                                               \
    F(bn_init)                                                                                     \
    F(bn_done) F(bn_eval) F(bn_score) F(bn_rewind) F(bn_position) F(bn_describe) F(bn_tokenize)    \
        F(bn_sample) F(bn_generate) F(bn_piece) F(bn_embed) F(bn_chat) F(bn_chat_tokens)
typedef struct Lib {
#define POINTER(f) __typeof__(&f) f;
    API(POINTER)
#undef POINTER
    const bn_model *model;
    bn_weights w;
    void *block;
    bn_state *s;
    json_t *golden;
    char name[64];
    int slow; /* a GPU's stand-in (tests/metal/grid.h) takes its time: without repetitions */
} Lib;

static const char *golden_dir;

static void start(Lib *l, int threads)
{
    size_t size = l->bn_state_size(l->model, threads);
    l->block = __libc_malloc(size);
    memset(l->block, 0xA5, size);
    assert_int_equal(l->bn_init(&l->s, &l->w, threads, l->block, size), BN_OK);
}

static void stop(Lib *l)
{
    l->bn_done(l->s);
    free(l->block);
}

static int vocab(const Lib *l)
{
    return l->bn_describe(l->model)->vocab;
}

static int *ints(const json_t *array, int *n)
{
    *n = (int)json_array_size(array);
    int *v = __libc_malloc(sizeof *v * (size_t)(*n + 1));
    for (int i = 0; i < *n; i++)
        v[i] = (int)json_integer_value(json_array_get(array, (size_t)i));
    return v;
}

static double number(const json_t *array, int i)
{
    return json_number_value(json_array_get(array, (size_t)i));
}

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static float lead(const float *x, int n)
{
    int best = argmax(x, n);
    float second = -INFINITY;
    for (int i = 0; i < n; i++)
        second = i != best && x[i] > second ? x[i] : second;
    return x[best] - second;
}

/* A model for a GPU: its driver allocates as it likes. */
static int on_device(const Lib *l)
{
    return l->model->device != NULL;
}

/* Scores with `threads`, checks that no thread count changes a bit, returns [n x vocab]. */
static float *score(Lib *l, const int *tokens, int n)
{
    size_t size = sizeof(float) * (size_t)n * (size_t)vocab(l);
    float *first = NULL;
    for (int threads = 1; threads <= (l->slow ? 1 : 3); threads++) {
        float *x = __libc_malloc(size);
        start(l, threads);
        armed = 1;
        allocations = 0;
        assert_int_equal(l->bn_score(l->s, tokens, n, x), BN_OK);
        armed = 0;
        assert_true(allocations == 0 || on_device(l));
        stop(l);
        if (first) {
            assert_memory_equal(first, x, size);
            free(x);
        } else {
            first = x;
        }
    }
    return first;
}

/* Token by token, in prefill passes of any cut, and scored at once: the same bits. */
static void check_cuts(Lib *l, const int *tokens, int n, const float *scored)
{
    int v = vocab(l);
    for (int cut = l->slow ? n / 2 : 1; cut <= n; cut = cut * 2 + 1) {
        start(l, 2);
        const float *logits;
        for (int at = 0; at < n; at += cut) {
            int k = n - at < cut ? n - at : cut;
            assert_int_equal(l->bn_eval(l->s, tokens + at, k, &logits), BN_OK);
            assert_memory_equal(logits, scored + (size_t)(at + k - 1) * (size_t)v,
                                sizeof(float) * (size_t)v);
        }
        assert_int_equal(l->bn_position(l->s), n);
        assert_int_equal(l->bn_rewind(l->s, n / 2), BN_OK);
        assert_int_equal(l->bn_eval(l->s, tokens + n / 2, n - n / 2, &logits), BN_OK);
        assert_memory_equal(logits, scored + (size_t)(n - 1) * (size_t)v,
                            sizeof(float) * (size_t)v);
        stop(l);
    }
}

/* ---- random models: embeddings, logits ---- */

/* Vectors of length 1. A sum of squared differences is 2 - 2 cos of the angle: rms 0.03 of the
 * hidden states' deviation, as logits may have, makes 0.0009. */
static void check_embeddings(Lib *l)
{
    static const char *const names[] = {
        [BN_POOL_LAST] = "last", [BN_POOL_MEAN] = "mean", [BN_POOL_CLS] = "cls"};
    const json_t *all = json_object_get(l->golden, "embeddings");
    int width = l->bn_describe(l->model)->embedding;
    float *x = __libc_malloc(sizeof *x * (size_t)width);
    for (size_t i = 0; i < json_array_size(all); i++)
        for (int how = BN_POOL_LAST; how <= BN_POOL_CLS; how++) {
            const json_t *e = json_array_get(all, i), *want = json_object_get(e, names[how]);
            int n, *tokens = ints(json_object_get(e, "tokens"), &n);
            double length = 0, off = 0;
            assert_int_equal((int)json_array_size(want), width);
            start(l, 2);
            assert_int_equal(l->bn_embed(l->s, tokens, n, (bn_pooling)how, x), BN_OK);
            stop(l);
            for (int j = 0; j < width; j++) {
                length += (double)x[j] * x[j];
                off += (x[j] - number(want, j)) * (x[j] - number(want, j));
            }
            print_message("%s: embedding %zu, %s: off by %.6f\n", l->name, i, names[how],
                          sqrt(off));
            assert_true(fabs(length - 1) < 1e-5);
            assert_true(off < 0.0009);
            free(tokens);
        }
    free(x);
}

static void check_synth(Lib *l)
{
    const json_t *first16 = json_object_get(l->golden, "logits_first16_each_position");
    const json_t *last = json_object_get(l->golden, "last_logits");
    int n, v = vocab(l), topk, *tokens = ints(json_object_get(l->golden, "tokens"), &n);
    int *best = ints(json_object_get(l->golden, "argmax_each_position"), &topk);
    float *x = score(l, tokens, n);
    double sum = 0, square = 0, off = 0, worst = 0, at0 = 0;
    int count = 0;
    for (int i = 0; i < v; i++) {
        sum += number(last, i);
        square += number(last, i) * number(last, i);
    }
    double sd = sqrt(square / v - sum / v * sum / v);
    for (int p = 0; p < n; p++) {
        for (int i = 0; i < (p == n - 1 ? v : 16); i++) {
            double want =
                p == n - 1 ? number(last, i) : number(json_array_get(first16, (size_t)p), i);
            double d = fabs(x[p * v + i] - want);
            off += d * d;
            count++;
            worst = d > worst ? d : worst;
            at0 = p == 0 && d > at0 ? d : at0;
        }
        if (lead(x + p * v, v) > 0.3 * sd)
            assert_int_equal(argmax(x + p * v, v), best[p]);
    }
    double rms = sqrt(off / count) / sd;
    print_message("%s: rms %.5f sd, largest %.5f, position 0 %.6f\n", l->name, rms, worst / sd,
                  at0 / sd);
    if (!strstr(l->name, ".kv-")) /* where no rounding of the cache is mixed in */
        assert_true(at0 < 1e-3 * sd);
    assert_true(rms < (strstr(l->name, "synth-tiny-llama") ? 0.06 : 0.03));
    assert_true(worst < 0.4 * sd);
    check_cuts(l, tokens, n, x);
    check_embeddings(l);
    free(x);
    free(tokens);
    free(best);
}

/* ---- trained models: prompts, greedy tokens, likelihood ---- */

/* The tokens of a conversation that begins an answer, and its text: what the template compiled to. */
static void check_messages(Lib *l, const json_t *messages, const char *text, int32_t *tokens,
                           size_t cap, size_t *n)
{
    bn_turn turns[16];
    size_t count = json_array_size(messages), need;
    assert_in_range(count, 1, sizeof turns / sizeof *turns);
    for (size_t i = 0; i < count; i++) {
        const json_t *m = json_array_get(messages, i);
        turns[i] = (bn_turn){json_string_value(json_object_get(m, "role")),
                             json_string_value(json_object_get(m, "content"))};
    }
    size_t room = 8 * strlen(text) + 4096; /* the text, and what the template works with */
    char *said = __libc_malloc(room);
    assert_int_equal(l->bn_chat(&l->w, turns, (int)count, 1, NULL, said, room, &need), BN_OK);
    assert_string_equal(said, text);
    free(said);
    assert_int_equal(l->bn_chat_tokens(&l->w, turns, (int)count, 1, NULL, tokens, cap, n), BN_OK);
}

static void check_prompt(Lib *l, const json_t *p)
{
    int n, steps, v = vocab(l), *tokens = ints(json_object_get(p, "tokens"), &n);
    int *greedy = ints(json_object_get(p, "greedy"), &steps);
    const char *text = json_string_value(json_object_get(p, "text"));
    const json_t *top = json_object_get(p, "last_top"),
                 *margin = json_object_get(p, "greedy_margin"),
                 *messages = json_object_get(p, "messages");
    int32_t got[BN_TOKEN_ROOM(4096)];
    size_t ngot, cap = sizeof got / sizeof *got;
    if (messages)
        check_messages(l, messages, text, got, cap, &ngot);
    else
        assert_int_equal(l->bn_tokenize(&l->w, text, strlen(text), BN_ADD_SPECIAL, got, cap, &ngot),
                         BN_OK);
    assert_int_equal(ngot, n);
    assert_memory_equal(got, tokens, sizeof(int32_t) * (size_t)n);
    start(l, 2);
    const float *logits;
    assert_int_equal(l->bn_eval(l->s, tokens, n, &logits), BN_OK);
    double sum = 0, square = 0;
    for (int i = 0; i < v; i++) {
        sum += logits[i];
        square += (double)logits[i] * logits[i];
    }
    double sd = sqrt(square / v - sum / v * sum / v);
    assert_true(fabs(sqrt(square) - json_number_value(json_object_get(p, "logit_l2"))) <
                0.03 * sd * sqrt(v));
    for (int i = 0; i < 10; i++) {
        const json_t *pair = json_array_get(top, (size_t)i);
        assert_true(fabs(logits[(int)number(pair, 0)] - number(pair, 1)) < 0.4 * sd);
    }
    /* Where the golden leaves no doubt the token is the same; either way it goes on with the golden's. */
    for (int i = 0; i < steps; i++) {
        bn_sampling greedily = {0};
        if (number(margin, i) >= 0.5)
            assert_int_equal(l->bn_sample(l->s, &greedily), greedy[i]);
        assert_int_equal(l->bn_eval(l->s, greedy + i, 1, &logits), BN_OK);
    }
    stop(l);
    free(tokens);
    free(greedy);
}

/* An int8 cache rounds keys and values to within 1/254 of the largest of their head: excerpts were
 * seen to move by up to 0.0063 nats, both together by 0.004, where f16 moves them by 0.0024. The
 * bounds, 0.02 and 0.012, are three times that. */
static double nll_slack(const Lib *l)
{
    return strstr(l->name, ".kv-int8") ? 4.0 : 1.0;
}

/* How far the mean NLL of an excerpt may be off, in nats a token. A golden may say so. */
static double nll_bound(const Lib *l)
{
    const json_t *own = json_object_get(l->golden, "nll_bound");
    return (own ? json_number_value(own) : 0.005) * nll_slack(l);
}

static double check_excerpt(Lib *l, const json_t *e)
{
    int n, v = vocab(l), *tokens = ints(json_object_get(e, "tokens"), &n);
    float *x = score(l, tokens, n);
    double mean = 0, want = json_number_value(json_object_get(e, "mean"));
    for (int p = 0; p + 1 < n; p++) {
        double sum = 0;
        for (int i = 0; i < v; i++)
            sum += exp((double)x[p * v + i] - x[p * v + tokens[p + 1]]);
        mean += log(sum) / (n - 1);
    }
    print_message("%s: mean NLL %.5f, golden %.5f (%+.5f)\n", l->name, mean, want, mean - want);
    assert_true(fabs(mean - want) < nll_bound(l));
    if (!l->slow)
        check_cuts(l, tokens, n < 80 ? n : 80, x);
    free(x);
    free(tokens);
    return mean - want;
}

static void check_trained(Lib *l)
{
    const json_t *prompts = json_object_get(l->golden, "prompts"),
                 *nll = json_object_get(l->golden, "nll");
    double off = 0;
    for (size_t i = 0; i < json_array_size(prompts); i++)
        check_prompt(l, json_array_get(prompts, i));
    size_t excerpts = l->slow ? 1 : json_array_size(nll);
    for (size_t i = 0; i < excerpts; i++)
        off += check_excerpt(l, json_array_get(nll, i)) / (double)excerpts;
    assert_true(fabs(off) < 0.6 * nll_bound(l));
}

/* ---- loading ---- */

static void test_library(void **state)
{
    const char *path = *state, *file = strrchr(path, '/') + 1;
    Lib l = {.block = NULL};
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so)
        fail_msg("%s", dlerror());
#define LOAD(f) *(void **)&l.f = dlsym(so, #f);
    API(LOAD)
#undef LOAD
    l.model = dlsym(so, "m_model");
    l.slow = dlsym(so, "grid_barrier") != NULL;
    assert_non_null(l.model);
    bn_status status = l.bn_open(&l.w, l.model, NULL);
    if (status == BN_CPU) {
        print_message("%s: skipped, %s\n", file, l.w.message);
        skip();
    }
    assert_int_equal(status, BN_OK);
    snprintf(l.name, sizeof l.name, "%s", file);
    char golden[512], model[64];
    snprintf(model, sizeof model, "%s", file);
    *strstr(model, ".x86") = 0;
    if (strstr(model, ".kv-"))
        *strstr(model, ".kv-") = 0;
    *strrchr(model, '-') = 0;
    snprintf(golden, sizeof golden, "%s/%s.json", golden_dir, model);
    json_error_t error;
    l.golden = json_load_file(golden, 0, &error);
    if (!l.golden)
        fail_msg("%s: %s", golden, error.text);
    if (json_object_get(l.golden, "prompts"))
        check_trained(&l);
    else
        check_synth(&l);
    json_decref(l.golden);
    l.bn_close(&l.w);
    dlclose(so);
}

int main(int argc, char **argv)
{
    struct CMUnitTest *tests = calloc((size_t)argc, sizeof *tests);
    if (!tests || argc < 3)
        return 1;
    golden_dir = argv[1];
    for (int i = 2; i < argc; i++)
        tests[i - 2] =
            (struct CMUnitTest){strrchr(argv[i], '/') + 1, test_library, NULL, NULL, argv[i]};
    int failed = _cmocka_run_group_tests("golden", tests, (size_t)argc - 2, NULL, NULL);
    free(tests);
    return failed != 0;
}
