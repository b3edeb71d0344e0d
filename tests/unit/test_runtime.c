/* test_runtime.c: loading, states, threads, sampling and generation, on fake_model.h.
 *
 * Link with the objects of load, team, state, sample and generate, without the tokenizer.
 */
#define _POSIX_C_SOURCE 200809L

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bn.h"
#include "fake_model.h"

/* Allocations are counted by standing in front of glibc's; sanitizers want that place. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define TEST_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define TEST_SANITIZED
#endif

static atomic_int test_allocations;

#ifndef TEST_SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *p);

void *malloc(size_t size)
{
    test_allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    test_allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    test_allocations++;
    return __libc_realloc(old, size);
}

void free(void *p)
{
    __libc_free(p);
}
#endif

static const bn_sampling test_greedy;

static void ids_of(int32_t *ids, int n)
{
    for (int i = 0; i < n; i++)
        ids[i] = (i * 37 + 11) % FAKE_VOCAB;
}

/* Loading. */

static void open_refuses(const void *data, size_t size, bn_status expected, const char *says)
{
    bn_weights w;
    assert_int_equal(bn_open_memory(&w, &fake_model, data, size), expected);
    assert_null(w.data);
    if (!strstr(w.message, says))
        fail_msg("expected '%s' in '%s'", says, w.message);
    bn_close(&w);
}

static void test_open_sizes(void **unused)
{
    (void)unused;
    fake_bnw(fake_bytes);
    for (size_t size = 0; size < BN_BNW_BODY; size++) {
        unsigned char *copy = aligned_alloc(64, BN_BNW_BODY); /* exact end under ASan */
        memcpy(copy, fake_bytes, size);
        open_refuses(copy, size, BN_FORMAT, "4096 bytes or more");
        free(copy);
    }
    for (size_t size = BN_BNW_BODY; size < FAKE_BYTES; size++)
        open_refuses(fake_bytes, size, BN_FORMAT, "truncated or extended: expected 4288");
    open_refuses(fake_bytes, FAKE_BYTES + 1, BN_FORMAT, "truncated or extended");
    open_refuses(NULL, FAKE_BYTES, BN_ARGUMENT, "no data");
    fake_bnw(fake_bytes + 1);
    open_refuses(fake_bytes + 1, FAKE_BYTES, BN_ARGUMENT, "64-byte aligned");
}

static void test_open_header(void **unused)
{
    (void)unused;
    static const struct {
        size_t from, to;
        bn_status status;
        const char *says;
    } part[] = {{0, 8, BN_FORMAT, "not a bnw file"},
                {8, 12, BN_FORMAT, "version: expected"},
                {12, 16, BN_FORMAT, "byte order mark: expected 01020304"},
                {16, 24, BN_FORMAT, "truncated or extended"},
                {24, 32, BN_MISMATCH, "weights of another model: expected hash 1122334455667788"},
                {32, 40, BN_MISMATCH, "tokenizer of another model"},
                {FAKE_VOCAB_AT, FAKE_VOCAB_AT + FAKE_VOCAB_SIZE, BN_FORMAT, "damaged"}};
    fake_bnw(fake_bytes);
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        for (size_t at = part[i].from; at < part[i].to; at++) {
            fake_bytes[at] ^= 1;
            open_refuses(fake_bytes, FAKE_BYTES, part[i].status, part[i].says);
            fake_bytes[at] ^= 1;
        }
    bn_weights w;
    assert_int_equal(bn_open_memory(&w, &fake_model, fake_bytes, FAKE_BYTES), BN_OK);
    assert_string_equal(w.message, "");
    assert_int_equal(bn_open_memory(NULL, &fake_model, fake_bytes, FAKE_BYTES), BN_ARGUMENT);
}

static void model_refuses(const bn_model *m, bn_status expected, const char *says)
{
    bn_weights w;
    assert_int_equal(bn_open_memory(&w, m, fake_bytes, FAKE_BYTES), expected);
    if (!strstr(w.message, says))
        fail_msg("expected '%s' in '%s'", says, w.message);
}

static void test_open_model(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t at, size;
    } range[] = {{FAKE_BYTES + 64, 8},      {FAKE_VOCAB_AT, FAKE_BYTES},
                 {FAKE_VOCAB_AT, UINT64_MAX},  {FAKE_VOCAB_AT + 1, 8}, {64, 8},
                 {UINT64_MAX - 63, 64},        {UINT64_MAX - 63, UINT64_MAX}};
    fake_bnw(fake_bytes);
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        bn_model m = fake_model;
        m.vocab_at = range[i].at;
        m.vocab_size = range[i].size;
        model_refuses(&m, BN_MISMATCH, "expects its tokenizer at");
    }
    bn_model m = fake_model;
    m.info.weight_bytes++;
    model_refuses(&m, BN_MISMATCH, "expected 4289 bytes, found 4288");
    m = fake_model;
    m.abi++;
    model_refuses(&m, BN_MISMATCH, "compiled for runtime version");
    m = fake_model;
    bn_code code = fake_code;
    code.isa = 1u << 31;
    m.code = &code;
    model_refuses(&m, BN_CPU, "instructions unknown to this runtime");
    model_refuses(NULL, BN_ARGUMENT, "no model");
    fake_vocab_status = BN_FORMAT;
    model_refuses(&fake_model, BN_FORMAT, "contradict");
    fake_vocab_status = BN_OK;
}

/* Known answers of XXH64 over 0, 1, 2, ..., seen through the tokenizer's check. */
static void test_open_hash(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t len, hash;
    } known[] = {{0, 0xef46db3751d8e999u},  {1, 0xe934a84adb052768u},  {3, 0xe5c7bb4533bc65ddu},
                 {4, 0xffced8604453cc1eu},  {7, 0x14cc643f630c72d2u},  {8, 0x884a173614b81b8du},
                 {31, 0xc346d2b59b4d8ee1u}, {32, 0xcbf59c5116ff32b4u}, {33, 0x0c535d1acafb8eadu},
                 {64, 0xf7c67301db6713f0u}, {101, FAKE_VOCAB_HASH}};
    fake_bnw(fake_bytes);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        bn_model m = fake_model;
        bn_weights w;
        m.vocab_size = known[i].len;
        m.vocab_hash = known[i].hash;
        memcpy(fake_bytes + offsetof(bn_bnw, vocab_hash), &known[i].hash, 8);
        assert_int_equal(bn_open_memory(&w, &m, fake_bytes, FAKE_BYTES), BN_OK);
    }
}

static void test_open_file(void **unused)
{
    (void)unused;
    char path[] = "/tmp/test_runtime_XXXXXX";
    bn_weights w;
    int file = mkstemp(path);
    fake_bnw(fake_bytes);
    assert_int_equal(write(file, fake_bytes, FAKE_BYTES - 1), FAKE_BYTES - 1);
    assert_int_equal(bn_open(&w, &fake_model, path), BN_FORMAT);
    assert_non_null(strstr(w.message, path));
    assert_int_equal(write(file, fake_bytes + FAKE_BYTES - 1, 1), 1);
    assert_int_equal(bn_open(&w, &fake_model, path), BN_OK);
    assert_true(w.mapped);
    assert_memory_equal(w.data, fake_bytes, FAKE_BYTES);
    bn_close(&w);
    bn_close(&w);
    assert_null(w.data);
    bn_model m = fake_model;
    assert_int_equal(bn_open(&w, &m, NULL), BN_ARGUMENT);
    m.weights_file = path;
    assert_int_equal(bn_open(&w, &m, NULL), BN_OK);
    bn_close(&w);
    m.embedded = fake_bytes;
    assert_int_equal(bn_open(&w, &m, NULL), BN_OK);
    assert_ptr_equal(w.data, fake_bytes);
    bn_close(&w);
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(bn_open(&w, &fake_model, path), BN_FORMAT);
    close(file);
    unlink(path);
    assert_int_equal(bn_open(&w, &fake_model, path), BN_IO);
    assert_non_null(strstr(w.message, "no such file"));
    assert_int_equal(bn_open(&w, &fake_model, "/tmp"), BN_IO);
    char name[600];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(bn_open(&w, &fake_model, name), BN_IO);
}

static void test_texts(void **unused)
{
    (void)unused;
    assert_string_equal(bn_status_text(BN_OK), "success");
    assert_string_equal(bn_status_text(BN_STOPPED), "the callback asked to stop");
    assert_string_equal(bn_status_text((bn_status)1000), "unknown status");
    assert_string_equal(bn_version(), BN_VERSION);
    assert_string_equal(bn_describe(&fake_model)->name, "fake");
}

/* States. */

static void test_init_refuses(void **unused)
{
    (void)unused;
    rig r;
    bn_state *s;
    rig_up(&r, 2);
    bn_weights closed = r.w;
    closed.data = NULL;
    assert_int_equal(bn_state_size(&fake_model, 0), 0);
    assert_int_equal(bn_state_size(&fake_model, BN_MAX_THREADS + 1), 0);
    assert_int_equal(bn_state_size(NULL, 1), 0);
    bn_model huge = fake_model;
    huge.cache_bytes = UINT64_MAX - 100;
    assert_int_equal(bn_state_size(&huge, 1), 0);
    huge = fake_model;
    huge.own_bytes = UINT64_MAX / 4;
    assert_int_equal(bn_state_size(&huge, 8), 0);
    char *small = malloc(r.size);
    assert_int_equal(bn_init(&s, &r.w, 2, small + 1, r.size - BN_MAX_THREADS), BN_SPACE);
    assert_null(s);
    assert_int_equal(bn_init(&s, &r.w, 2, small + 1, 0), BN_SPACE);
    assert_int_equal(bn_init(&s, &r.w, 2, NULL, r.size), BN_ARGUMENT);
    assert_int_equal(bn_init(&s, &r.w, 0, small, r.size), BN_ARGUMENT);
    assert_int_equal(bn_init(&s, &closed, 1, small, r.size), BN_ARGUMENT);
    assert_int_equal(bn_init(NULL, &r.w, 1, small, r.size), BN_ARGUMENT);
    free(small);
    rig_down(&r);
    bn_done(NULL);
}

static void score_all(int threads, const int *cuts, float *logits)
{
    rig r;
    int32_t ids[FAKE_CONTEXT];
    ids_of(ids, FAKE_CONTEXT);
    rig_up(&r, threads);
    for (int at = 0; at < FAKE_CONTEXT; at += *cuts++)
        assert_int_equal(bn_score(r.s, ids + at, *cuts, logits + at * FAKE_VOCAB), BN_OK);
    assert_int_equal(bn_position(r.s), FAKE_CONTEXT);
    rig_down(&r);
}

static float rows_a[FAKE_CONTEXT * FAKE_VOCAB], rows_b[FAKE_CONTEXT * FAKE_VOCAB];

static void test_threads_and_cuts(void **unused)
{
    (void)unused;
    static const int whole[] = {64}, cut[] = {1, 8, 9, 17, 2, 7, 20};
    score_all(1, whole, rows_a);
    for (int threads = 1; threads <= 4; threads++) {
        memset(rows_b, 0, sizeof rows_b);
        score_all(threads, threads % 2 ? cut : whole, rows_b);
        assert_memory_equal(rows_a, rows_b, sizeof rows_a);
    }
    score_all(19, cut, rows_b); /* more threads than there is work */
    assert_memory_equal(rows_a, rows_b, sizeof rows_a);
}

static void test_eval(void **unused)
{
    (void)unused;
    static const int whole[] = {64}, cut[] = {1, 1, 9, 17, 8, 8, 20};
    int32_t ids[FAKE_CONTEXT];
    ids_of(ids, FAKE_CONTEXT);
    score_all(1, whole, rows_a);
    for (int threads = 1; threads <= 3; threads++) {
        rig r;
        const float *logits = NULL;
        rig_up(&r, threads);
        for (int at = 0, i = 0; at < FAKE_CONTEXT; at += cut[i++]) {
            assert_int_equal(bn_eval(r.s, ids + at, cut[i], &logits), BN_OK);
            const float *row = rows_a + (at + cut[i] - 1) * FAKE_VOCAB;
            assert_memory_equal(logits, row, FAKE_VOCAB * sizeof *row);
        }
        rig_down(&r);
    }
}

static void test_eval_refuses(void **unused)
{
    (void)unused;
    rig r;
    int32_t ids[FAKE_CONTEXT + 1], bad[3] = {1, FAKE_VOCAB, 2};
    float row[FAKE_VOCAB];
    ids_of(ids, FAKE_CONTEXT + 1);
    rig_up(&r, 2);
    assert_int_equal(bn_eval(r.s, ids, FAKE_CONTEXT + 1, NULL), BN_CONTEXT);
    assert_int_equal(bn_position(r.s), 0);
    assert_int_equal(bn_eval(r.s, ids, FAKE_CONTEXT - 1, NULL), BN_OK);
    assert_int_equal(bn_eval(r.s, ids, 2, NULL), BN_CONTEXT);
    assert_string_equal(bn_message(r.s),
                        "the context holds 64 tokens: 63 are in it, 2 more do not fit");
    assert_int_equal(bn_eval(r.s, ids, 1, NULL), BN_OK);
    assert_int_equal(bn_score(r.s, ids, 1, row), BN_CONTEXT);
    assert_int_equal(bn_rewind(r.s, 0), BN_OK);
    assert_int_equal(bn_eval(r.s, bad, 3, NULL), BN_ARGUMENT);
    assert_non_null(strstr(bn_message(r.s), "token 300 (number 1)"));
    bad[1] = -1;
    assert_int_equal(bn_score(r.s, bad, 3, row), BN_ARGUMENT);
    assert_int_equal(bn_eval(r.s, ids, 0, NULL), BN_ARGUMENT);
    assert_int_equal(bn_eval(r.s, ids, -5, NULL), BN_ARGUMENT);
    assert_int_equal(bn_eval(r.s, NULL, 1, NULL), BN_ARGUMENT);
    assert_int_equal(bn_score(r.s, ids, 1, NULL), BN_ARGUMENT);
    assert_int_equal(bn_position(r.s), 0);
    rig_down(&r);
}

static void test_rewind(void **unused)
{
    (void)unused;
    rig r;
    int32_t ids[20];
    float first[FAKE_VOCAB];
    const float *logits;
    ids_of(ids, 20);
    rig_up(&r, 3);
    assert_int_equal(bn_eval(r.s, ids, 20, &logits), BN_OK);
    memcpy(first, logits, sizeof first);
    assert_int_equal(bn_rewind(r.s, 21), BN_ARGUMENT);
    assert_int_equal(bn_rewind(r.s, -1), BN_ARGUMENT);
    assert_int_equal(bn_position(r.s), 20);
    for (int at = 0; at < 20; at += 5) {
        int32_t other[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        assert_int_equal(bn_rewind(r.s, at), BN_OK);
        assert_int_equal(bn_eval(r.s, other, 10, &logits), BN_OK);
        assert_memory_not_equal(first, logits, sizeof first);
        assert_int_equal(bn_rewind(r.s, at), BN_OK);
        assert_int_equal(bn_eval(r.s, ids + at, 20 - at, &logits), BN_OK);
        assert_memory_equal(first, logits, sizeof first);
    }
    rig_down(&r);
}

static void test_no_allocation(void **unused)
{
    (void)unused;
    rig r;
    int32_t ids[20];
    float row[FAKE_VOCAB];
    bn_sampling how = {.temperature = 1, .top_k = 20, .top_p = 0.9f, .min_p = 0.01f,
                       .repeat_penalty = 1.1f};
    ids_of(ids, 20);
    rig_up(&r, 4);
    int before = test_allocations;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(bn_rewind(r.s, 0), BN_OK);
        assert_int_equal(bn_eval(r.s, ids, 20, NULL), BN_OK);
        assert_int_equal(bn_score(r.s, ids, 1, row), BN_OK);
        (void)bn_eval(r.s, ids, 100, NULL);
        (void)bn_sample(r.s, &how);
        (void)bn_generate(r.s, "abc", 10, &how, NULL, NULL);
    }
    assert_int_equal(test_allocations, before);
    rig_down(&r);
}

/* Pauses let the workers fall asleep, so that waking them is tested too. */
static void test_sleep(void **unused)
{
    (void)unused;
    rig r;
    int32_t ids[8];
    const float *logits;
    float first[FAKE_VOCAB];
    ids_of(ids, 8);
    rig_up(&r, 4);
    for (int i = 0; i < 20; i++) {
        struct timespec pause = {0, i * 500000};
        nanosleep(&pause, NULL);
        assert_int_equal(bn_rewind(r.s, 0), BN_OK);
        assert_int_equal(bn_eval(r.s, ids, 8, &logits), BN_OK);
        if (i == 0)
            memcpy(first, logits, sizeof first);
        assert_memory_equal(first, logits, sizeof first);
    }
    rig_down(&r);
}

typedef struct runner {
    const bn_weights *w;
    int32_t got[40];
    int failed;
} runner;

static void *run_state(void *user)
{
    runner *r = user;
    size_t size = bn_state_size(&fake_model, 2);
    void *block = malloc(size);
    bn_state *s = NULL;
    int32_t token = 5;
    r->failed = !block || bn_init(&s, r->w, 2, block, size) != BN_OK;
    for (int i = 0; i < 40 && !r->failed; i++) {
        bn_sampling how = test_greedy;
        r->failed = bn_eval(s, &token, 1, NULL) != BN_OK;
        r->got[i] = token = bn_sample(s, &how);
    }
    bn_done(s);
    free(block);
    return NULL;
}

static void test_two_states(void **unused)
{
    (void)unused;
    rig r;
    runner run[2] = {0};
    pthread_t thread[2];
    rig_up(&r, 1);
    for (int i = 0; i < 2; i++) {
        run[i].w = &r.w;
        assert_int_equal(pthread_create(&thread[i], NULL, run_state, &run[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_false(run[0].failed || run[1].failed);
    assert_memory_equal(run[0].got, run[1].got, sizeof run[0].got);
    rig_down(&r);
}

/* Sampling. */

enum { TEST_DRAWS = 20000 };

/* A state whose last logits are fake_logit. */
static void rig_logits(rig *r)
{
    int32_t token = 299;
    fake_fixed = 1;
    rig_up(r, 1);
    assert_int_equal(bn_eval(r->s, &token, 1, NULL), BN_OK);
}

static void set_logits(float base)
{
    for (int i = 0; i < FAKE_VOCAB; i++)
        fake_logit[i] = base;
}

static void rig_logits_down(rig *r)
{
    fake_fixed = 0;
    rig_down(r);
}

static void count_draws(bn_state *s, bn_sampling how, int *count)
{
    memset(count, 0, FAKE_VOCAB * sizeof *count);
    for (int i = 0; i < TEST_DRAWS; i++) {
        int32_t id = bn_sample(s, &how);
        assert_in_range(id, 0, FAKE_VOCAB - 1);
        count[id]++;
    }
}

static void test_sample_greedy(void **unused)
{
    (void)unused;
    rig r;
    bn_sampling how = test_greedy;
    rig_up(&r, 1);
    assert_int_equal(bn_sample(r.s, &how), -1);
    rig_down(&r);
    set_logits(-5);
    fake_logit[40] = fake_logit[41] = 2;
    rig_logits(&r);
    assert_int_equal(bn_sample(r.s, &how), 40);
    assert_int_equal(bn_sample(r.s, NULL), 40);
    assert_int_equal(how.seed, 0);
    how = (bn_sampling){.temperature = 5, .top_k = 1};
    for (int i = 0; i < 100; i++)
        assert_int_equal(bn_sample(r.s, &how), 40);
    how = (bn_sampling){.temperature = 1e-30f};
    for (int i = 0; i < 100; i++)
        assert_in_range(bn_sample(r.s, &how), 40, 41);
    how = (bn_sampling){.temperature = 5, .top_p = 1e-9f};
    for (int i = 0; i < 100; i++)
        assert_int_equal(bn_sample(r.s, &how), 40);
    how = (bn_sampling){.temperature = 5, .min_p = 7};
    for (int i = 0; i < 100; i++)
        assert_in_range(bn_sample(r.s, &how), 40, 41);
    rig_logits_down(&r);
}

static void test_sample_distribution(void **unused)
{
    (void)unused;
    rig r;
    int count[FAKE_VOCAB];
    double sum = 0;
    set_logits(-INFINITY);
    for (int i = 0; i < 10; i++) {
        fake_logit[i * 29] = (float)i * 0.5f;
        sum += exp(i * 0.5 / 1.5);
    }
    rig_logits(&r);
    count_draws(r.s, (bn_sampling){.temperature = 1.5f, .seed = 3}, count);
    for (int i = 0; i < FAKE_VOCAB; i++) {
        double p = i % 29 || i / 29 >= 10 ? 0 : exp(i / 29 * 0.5 / 1.5) / sum;
        double sigma = sqrt(TEST_DRAWS * p * (1 - p));
        assert_true(fabs(count[i] - TEST_DRAWS * p) <= 5 * sigma);
    }
    rig_logits_down(&r);
}

/* Logits 0 .. -9 at scattered ids, so best first is known. */
static int ladder(int rank)
{
    return (rank * 101 + 7) % FAKE_VOCAB;
}

static void test_sample_filters(void **unused)
{
    (void)unused;
    rig r;
    int count[FAKE_VOCAB];
    set_logits(-INFINITY);
    for (int i = 0; i < 10; i++)
        fake_logit[ladder(i)] = -(float)i;
    rig_logits(&r);
    for (int k = 1; k <= 10; k++) {
        count_draws(r.s, (bn_sampling){.temperature = 100, .top_k = k, .seed = 9}, count);
        for (int i = 0; i < 10; i++)
            assert_int_equal(count[ladder(i)] > 0, i < k);
    }
    /* p = 0.632, 0.233, 0.086, ...: sums 0.632, 0.865, 0.950 */
    static const struct {
        float top_p, min_p;
        int top_k, kept;
    } row[] = {{0.5f, 0, 0, 1},  {0.7f, 0, 0, 2},    {0.9f, 0, 0, 3},    {0.9f, 0, 2, 2},
               {0.7f, 0, 1, 1},  {0, 0.3f, 0, 2},    {0, 0.1f, 0, 3},    {0.9f, 0.3f, 0, 2},
               {0.7f, 0.1f, 0, 2}, {0.9f, 0.1f, 5, 3}, {0.99f, 0.1f, 2, 2}};
    for (size_t j = 0; j < sizeof row / sizeof *row; j++) {
        bn_sampling how = {.temperature = 1, .top_p = row[j].top_p, .min_p = row[j].min_p,
                           .top_k = row[j].top_k, .seed = 5};
        count_draws(r.s, how, count);
        for (int i = 0; i < 10; i++)
            assert_int_equal(count[ladder(i)] > 0, i < row[j].kept);
    }
    rig_logits_down(&r);
}

static void test_sample_seed(void **unused)
{
    (void)unused;
    rig r;
    bn_sampling a = {.temperature = 1, .seed = 42}, b = a, c = {.temperature = 1, .seed = 43};
    int differ = 0;
    set_logits(0);
    rig_logits(&r);
    for (int i = 0; i < 200; i++) {
        int32_t id = bn_sample(r.s, &a);
        assert_int_equal(id, bn_sample(r.s, &b));
        differ += id != bn_sample(r.s, &c);
    }
    assert_true(a.seed == b.seed && a.seed != 42);
    assert_true(differ > 150);
    rig_logits_down(&r);
}

static void test_sample_bad_logits(void **unused)
{
    (void)unused;
    static const float base[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0};
    static const float temperature[] = {0, 1e-38f, 1, 1e30f, INFINITY, NAN, -1};
    static const float odd[] = {0, NAN, -1, 2, INFINITY, 0.5f, FLT_MIN};
    rig r;
    for (size_t i = 0; i < sizeof base / sizeof *base; i++)
        for (size_t j = 0; j < sizeof temperature / sizeof *temperature; j++)
            for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
                set_logits(base[i]);
                fake_logit[100] = NAN;
                fake_logit[200] = 1;
                rig_logits(&r);
                bn_sampling how = {.temperature = temperature[j], .top_p = odd[k],
                                   .min_p = odd[k], .repeat_penalty = odd[k],
                                   .top_k = k == 3 ? 7 : k == 4 ? INT32_MAX : -(int)k,
                                   .repeat_last = k & 1 ? INT32_MAX : -1};
                for (int n = 0; n < 50; n++)
                    assert_in_range(bn_sample(r.s, &how), 0, FAKE_VOCAB - 1);
                rig_logits_down(&r);
            }
    set_logits(NAN);
    fake_logit[200] = -30;
    rig_logits(&r);
    assert_int_equal(bn_sample(r.s, NULL), 200);
    rig_logits_down(&r);
}

static void test_sample_penalty(void **unused)
{
    (void)unused;
    rig r;
    int32_t seen[] = {10, 10, 10, 20};
    bn_sampling how = {.repeat_penalty = 2};
    set_logits(-8);
    fake_logit[10] = 5;
    fake_logit[11] = 2.6f;
    rig_logits(&r);
    assert_int_equal(bn_eval(r.s, seen, 4, NULL), BN_OK);
    assert_int_equal(bn_sample(r.s, &how), 11); /* 5 / 2 */
    how.repeat_penalty = 1.9f;
    assert_int_equal(bn_sample(r.s, &how), 10); /* 5 / 1.9, once */
    how = (bn_sampling){.repeat_penalty = 2, .repeat_last = 1};
    assert_int_equal(bn_sample(r.s, &how), 10);
    rig_logits_down(&r);
    set_logits(-8);
    fake_logit[20] = -3;
    fake_logit[21] = -5;
    rig_logits(&r);
    assert_int_equal(bn_eval(r.s, seen, 4, NULL), BN_OK);
    assert_int_equal(bn_sample(r.s, &how), 21); /* -3 * 2 */
    rig_logits_down(&r);
}

/* The choice from the largest logits alone is that from all of them. */
static int32_t sample_from(bn_state *s, bn_sampling how, int all)
{
    const float *logits;
    int32_t token = bn_position(s) % FAKE_VOCAB;
    assert_int_equal(bn_eval(s, &token, 1, all ? &logits : NULL), BN_OK);
    token = bn_sample(s, &how);
    assert_int_equal(bn_rewind(s, bn_position(s) - 1), BN_OK);
    return token;
}

static void test_sample_lazy(void **unused)
{
    (void)unused;
    static const bn_sampling some[] = {{.top_k = 5},
                                       {.temperature = 1, .top_k = 1},
                                       {.temperature = 3, .top_k = 40, .top_p = 0.9f},
                                       {.temperature = 30, .top_k = 20, .repeat_penalty = 1.5f},
                                       {.repeat_penalty = 3, .repeat_last = 7},
                                       {.temperature = INFINITY, .top_k = 9}};
    static const float odd[] = {NAN, -INFINITY, INFINITY, -FLT_MAX, 0};
    int32_t ids[40], token = 0;
    rig r;
    ids_of(ids, 40);
    rig_up(&r, 3);
    assert_int_equal(bn_eval(r.s, ids, 40, NULL), BN_OK);
    fake_nbest = 0;
    for (int i = 0; i < 600; i++) {
        bn_sampling how = some[i % 6];
        how.seed = (uint64_t)i;
        fake_fixed = i >= 300;
        for (int v = 0; v < FAKE_VOCAB; v++)
            fake_logit[v] = i & 1 ? odd[(v * 7 + i) % 5] : odd[i / 2 % 5] * (float)(v % 2);
        assert_int_equal(sample_from(r.s, how, 0), sample_from(r.s, how, 1));
    }
    assert_int_equal(fake_nbest, 600);
    fake_fixed = 0;
    static const bn_sampling all[] = {{.temperature = 1}, {.repeat_penalty = 0.5f},
                                      {.temperature = 1, .top_k = FAKE_VOCAB},
                                      {.temperature = 1, .top_k = 257}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(sample_from(r.s, all[i], 0), sample_from(r.s, all[i], 1));
    assert_int_equal(fake_nbest, 600);
    /* Asked again, it computes only what is missing. */
    bn_sampling how = some[0];
    assert_int_equal(bn_eval(r.s, &token, 1, NULL), BN_OK);
    (void)bn_sample(r.s, &how);
    (void)bn_sample(r.s, &how);
    assert_int_equal(fake_nbest, 601);
    how = some[2];
    (void)bn_sample(r.s, &how);
    how = some[1];
    (void)bn_sample(r.s, &how);
    assert_int_equal(fake_nbest, 602);
    rig_down(&r);
}

/* Generation. */

typedef struct heard {
    char text[400];
    size_t len;
    int calls, stop_at;
} heard;

static int hear(void *user, const char *text, size_t len)
{
    heard *h = user;
    if (h->len + len < sizeof h->text)
        memcpy(h->text + h->len, text, len);
    h->len += len;
    return ++h->calls == h->stop_at;
}

static void test_generate(void **unused)
{
    (void)unused;
    rig r;
    heard h = {0};
    rig_up(&r, 2);
    fake_winner = 'x';
    assert_int_equal(bn_generate(r.s, "abc", 5, NULL, hear, &h), BN_OK);
    assert_string_equal(h.text, "xxxxx");
    assert_int_equal(bn_position(r.s), 1 + 3 + 5); /* BOS, prompt, text */
    fake_winner = ' '; /* a leading space stays: the text goes on */
    h = (heard){0};
    assert_int_equal(bn_generate(r.s, "", 1, NULL, hear, &h), BN_OK);
    assert_string_equal(h.text, "x"); /* the logits were of before fake_winner changed */
    h = (heard){0};
    assert_int_equal(bn_generate(r.s, "y", 2, NULL, hear, &h), BN_OK);
    assert_string_equal(h.text, "  ");
    assert_int_equal(bn_position(r.s), 13); /* no second BOS */
    assert_int_equal(bn_generate(r.s, "z", 0, NULL, hear, &h), BN_OK);
    assert_int_equal(bn_position(r.s), 14);
    fake_winner = -1;
    rig_down(&r);
}

static void test_generate_ends(void **unused)
{
    (void)unused;
    static const int ends[] = {FAKE_EOS, FAKE_EOT};
    for (int i = 0; i < 2; i++) {
        rig r;
        heard h = {0};
        rig_up(&r, 1);
        fake_winner = ends[i];
        assert_int_equal(bn_generate(r.s, "abc", 5, NULL, hear, &h), BN_OK);
        assert_int_equal(h.calls, 0);
        assert_int_equal(bn_position(r.s), 4);
        fake_winner = 0xc3; /* half a character: held, then finished as one that is broken */
        assert_int_equal(bn_generate(r.s, "d", 1, NULL, hear, &h), BN_OK);
        assert_string_equal(h.text, "\xef\xbf\xbd");
        fake_winner = -1;
        rig_down(&r);
    }
}

static void test_generate_stops(void **unused)
{
    (void)unused;
    rig r;
    heard h = {.stop_at = 3};
    char many[700];
    memset(many, 'a', sizeof many);
    rig_up(&r, 1);
    fake_winner = 'x';
    assert_int_equal(bn_generate(r.s, "", 9, NULL, hear, &h), BN_STOPPED);
    assert_string_equal(h.text, "xxx");
    assert_int_equal(bn_position(r.s), 1 + 2);
    h = (heard){0};
    assert_int_equal(bn_generate(r.s, "a", 100, NULL, hear, &h), BN_CONTEXT);
    assert_int_equal(bn_position(r.s), FAKE_CONTEXT);
    assert_int_equal(h.len, FAKE_CONTEXT - 4 + 1);
    assert_int_equal(bn_rewind(r.s, 0), BN_OK);
    many[FAKE_CONTEXT] = 0;
    assert_int_equal(bn_generate(r.s, many, 1, NULL, hear, &h), BN_CONTEXT);
    assert_non_null(strstr(bn_message(r.s), "makes 65 tokens"));
    many[FAKE_CONTEXT] = 'a';
    assert_int_equal(bn_position(r.s), 0);
    assert_int_equal(bn_generate(r.s, NULL, 1, NULL, hear, &h), BN_ARGUMENT);
    assert_int_equal(bn_generate(r.s, "a", -1, NULL, hear, &h), BN_ARGUMENT);
    fake_winner = FAKE_LONG;
    assert_int_equal(bn_generate(r.s, "a", 1, NULL, hear, &h), BN_SPACE);
    fake_winner = -1;
    rig_down(&r);
}

static void test_generate_long_prompt(void **unused)
{
    (void)unused;
    rig r;
    char *many = malloc(5000);
    memset(many, 'a', 4999);
    many[4999] = 0;
    rig_up(&r, 1);
    assert_int_equal(bn_generate(r.s, many, 1, NULL, NULL, NULL), BN_SPACE);
    assert_non_null(strstr(bn_message(r.s), "4999 bytes: too long"));
    free(many);
    rig_down(&r);
    bn_model silent = fake_model;
    silent.info.add_bos = 0;
    rig_up(&r, 1);
    r.w.model = &silent;
    assert_int_equal(bn_generate(r.s, "", 1, NULL, NULL, NULL), BN_ARGUMENT);
    assert_non_null(strstr(bn_message(r.s), "nothing to go on from"));
    rig_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_sizes),       cmocka_unit_test(test_open_header),
        cmocka_unit_test(test_open_model),       cmocka_unit_test(test_open_hash),
        cmocka_unit_test(test_open_file),        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_init_refuses),     cmocka_unit_test(test_threads_and_cuts),
        cmocka_unit_test(test_eval),             cmocka_unit_test(test_eval_refuses),
        cmocka_unit_test(test_rewind),           cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_sleep),            cmocka_unit_test(test_two_states),
        cmocka_unit_test(test_sample_greedy),    cmocka_unit_test(test_sample_distribution),
        cmocka_unit_test(test_sample_filters),   cmocka_unit_test(test_sample_seed),
        cmocka_unit_test(test_sample_bad_logits), cmocka_unit_test(test_sample_penalty),
        cmocka_unit_test(test_sample_lazy),
        cmocka_unit_test(test_generate),         cmocka_unit_test(test_generate_ends),
        cmocka_unit_test(test_generate_stops),   cmocka_unit_test(test_generate_long_prompt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
