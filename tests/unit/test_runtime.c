/* test_runtime.c: loading, states, threads and generation, on fake_model.h.
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
#include <xxhash.h>

#include "bn.h"
#include "fake_model.h"
#include "../../runtime-min/internal.h"

/* Allocations are counted by standing in front of glibc's; sanitizers want that place. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
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
    } range[] = {{FAKE_BYTES + 64, 8},
                 {FAKE_VOCAB_AT, FAKE_BYTES},
                 {FAKE_VOCAB_AT, UINT64_MAX},
                 {FAKE_VOCAB_AT + 1, 8},
                 {64, 8},
                 {UINT64_MAX - 63, 64},
                 {UINT64_MAX - 63, UINT64_MAX}};
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

/* A copy survives what happens to its file. */
static void test_open_copy(void **unused)
{
    (void)unused;
    char path[] = "/tmp/test_runtime_XXXXXX";
    bn_weights w;
    int file = mkstemp(path);
    fake_bnw(fake_bytes);
    assert_int_equal(write(file, fake_bytes, FAKE_BYTES), FAKE_BYTES);
    assert_int_equal(bn_open_copy(&w, &fake_model, path), BN_OK);
    assert_int_equal(ftruncate(file, 0), 0);
    assert_memory_equal(w.data, fake_bytes, FAKE_BYTES);
    bn_close(&w);
    assert_null(w.data);
    assert_int_equal(bn_open_copy(&w, &fake_model, path), BN_FORMAT);
    fake_bytes[0] ^= 1;
    assert_int_equal(pwrite(file, fake_bytes, FAKE_BYTES, 0), FAKE_BYTES);
    assert_int_equal(bn_open_copy(&w, &fake_model, path), BN_FORMAT);
    assert_null(w.data);
    close(file);
    unlink(path);
    assert_int_equal(bn_open_copy(&w, &fake_model, path), BN_IO);
    assert_int_equal(bn_open_copy(NULL, &fake_model, path), BN_ARGUMENT);
    bn_model m = fake_model;
    m.embedded = fake_bytes;
    fake_bytes[0] ^= 1;
    assert_int_equal(bn_open_copy(&w, &m, NULL), BN_OK);
    assert_ptr_equal(w.data, fake_bytes);
    bn_close(&w);
}

/* Bodies of 1 to 6 pieces, their hash by libxxhash as compiler/ir/weights.c makes it. */
static void test_verify(void **unused)
{
    (void)unused;
    static const size_t ragged[] = {FAKE_BYTES - BN_BNW_BODY, BN_BNW_PIECE, 77};
    for (size_t i = 0; i < 18; i++) {
        size_t body = i / 3 * BN_BNW_PIECE + ragged[i % 3], n = 0;
        unsigned char *bytes = aligned_alloc(64, (BN_BNW_BODY + body + 63) / 64 * 64);
        uint64_t hash[8];
        for (size_t at = 0; at < body; at++)
            bytes[BN_BNW_BODY + at] = (unsigned char)(at * 2654435761u >> 13);
        for (size_t at = 0; at < body; at += BN_BNW_PIECE, n++)
            hash[n] = XXH64(bytes + BN_BNW_BODY + at,
                            body - at < BN_BNW_PIECE ? body - at : BN_BNW_PIECE, 0);
        bn_model m = fake_model;
        m.vocab_size = 0;
        m.hash = XXH64(hash, n * sizeof *hash, 0);
        m.info.weight_bytes = BN_BNW_BODY + body;
        bn_bnw h = {.abi = BN_ABI,
                    .order = 0x01020304,
                    .bytes = m.info.weight_bytes,
                    .hash = m.hash,
                    .vocab_hash = FAKE_VOCAB_HASH};
        memcpy(h.magic, BN_BNW_MAGIC, sizeof h.magic);
        memcpy(bytes, &h, sizeof h);
        bn_weights w;
        assert_int_equal(bn_open_memory(&w, &m, bytes, BN_BNW_BODY + body), BN_OK);
        assert_int_equal(bn_verify(&w), BN_OK);
        for (size_t at = BN_BNW_BODY; at < BN_BNW_BODY + body; at += body / 3) {
            bytes[at] ^= 4;
            assert_int_equal(bn_verify(&w), BN_FORMAT);
            assert_non_null(strstr(w.message, "the weights are damaged: expected hash"));
            bytes[at] ^= 4;
        }
        assert_int_equal(bn_verify(&w), BN_OK);
        assert_string_equal(w.message, "");
        bytes[BN_BNW_BODY - 4096 + 24] ^= 1;
        assert_int_equal(bn_verify(&w), BN_MISMATCH);
        free(bytes);
        bn_close(&w);
        assert_int_equal(bn_verify(&w), BN_ARGUMENT);
    }
    assert_int_equal(bn_verify(NULL), BN_ARGUMENT);
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

/* Against hidden vectors taken one by one; a text starts at position 0 whatever was there. */
static void test_embed(void **unused)
{
    enum { N = 21, W = FAKE_EMBEDDING };
    (void)unused;
    int32_t ids[N];
    float row[N][W], out[W];
    ids_of(ids, N);
    for (int threads = 1; threads <= 3; threads++) {
        rig r;
        rig_up(&r, threads);
        for (int t = 0; t < N; t++) {
            assert_int_equal(bn_eval(r.s, ids + t, 1, NULL), BN_OK);
            memcpy(row[t], r.s->hidden, sizeof row[t]);
        }
        for (bn_pooling how = BN_POOL_MODEL; how <= BN_POOL_CLS; how++) {
            double want[W] = {0}, length = 0;
            for (int i = 0; i < W; i++) {
                for (int t = 0; t < N; t++)
                    want[i] += how == BN_POOL_MEAN                     ? row[t][i]
                               : t == (how == BN_POOL_CLS ? 0 : N - 1) ? row[t][i]
                                                                       : 0;
                length += want[i] * want[i];
            }
            assert_int_equal(bn_embed(r.s, ids, N, how, out), BN_OK);
            for (int i = 0; i < W; i++)
                assert_true(fabs(out[i] - want[i] / sqrt(length)) < 1e-6);
            assert_int_equal(bn_position(r.s), 0);
        }
        assert_int_equal(bn_embed(r.s, ids, 0, BN_POOL_MEAN, out), BN_ARGUMENT);
        assert_int_equal(bn_embed(r.s, ids, N, BN_POOL_MEAN, NULL), BN_ARGUMENT);
        assert_int_equal(bn_embed(r.s, ids, N, (bn_pooling)(BN_POOL_CLS + 1), out), BN_ARGUMENT);
        assert_int_equal(bn_embed(r.s, ids, FAKE_CONTEXT + 1, BN_POOL_LAST, out), BN_CONTEXT);
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
    bn_sampling how = {
        .temperature = 1, .top_k = 20, .top_p = 0.9f, .min_p = 0.01f, .repeat_penalty = 1.1f};
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
        assert_int_equal(bn_verify(&r.w), BN_FORMAT); /* its bytes are not those of its hash */
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
    fake_winner = ' ';                             /* a leading space stays: the text goes on */
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_open_sizes),
                                       cmocka_unit_test(test_open_header),
                                       cmocka_unit_test(test_open_model),
                                       cmocka_unit_test(test_open_hash),
                                       cmocka_unit_test(test_open_file),
                                       cmocka_unit_test(test_open_copy),
                                       cmocka_unit_test(test_verify),
                                       cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_init_refuses),
                                       cmocka_unit_test(test_threads_and_cuts),
                                       cmocka_unit_test(test_embed),
                                       cmocka_unit_test(test_eval),
                                       cmocka_unit_test(test_eval_refuses),
                                       cmocka_unit_test(test_rewind),
                                       cmocka_unit_test(test_no_allocation),
                                       cmocka_unit_test(test_sleep),
                                       cmocka_unit_test(test_two_states),
                                       cmocka_unit_test(test_generate),
                                       cmocka_unit_test(test_generate_ends),
                                       cmocka_unit_test(test_generate_stops),
                                       cmocka_unit_test(test_generate_long_prompt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
