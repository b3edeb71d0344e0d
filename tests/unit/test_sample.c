/* test_sample.c: how the next token is chosen, on fake_model.h: filters, draws, and which logits are
 * computed for them. Links as test_runtime. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bn.h"
#include "fake_model.h"

static const bn_sampling test_greedy;

static void ids_of(int32_t *ids, int n)
{
    for (int i = 0; i < n; i++)
        ids[i] = (i * 37 + 11) % FAKE_VOCAB;
}

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
    } row[] = {{0.5f, 0, 0, 1},    {0.7f, 0, 0, 2},    {0.9f, 0, 0, 3},    {0.9f, 0, 2, 2},
               {0.7f, 0, 1, 1},    {0, 0.3f, 0, 2},    {0, 0.1f, 0, 3},    {0.9f, 0.3f, 0, 2},
               {0.7f, 0.1f, 0, 2}, {0.9f, 0.1f, 5, 3}, {0.99f, 0.1f, 2, 2}};
    for (size_t j = 0; j < sizeof row / sizeof *row; j++) {
        bn_sampling how = {.temperature = 1,
                           .top_p = row[j].top_p,
                           .min_p = row[j].min_p,
                           .top_k = row[j].top_k,
                           .seed = 5};
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
                bn_sampling how = {.temperature = temperature[j],
                                   .top_p = odd[k],
                                   .min_p = odd[k],
                                   .repeat_penalty = odd[k],
                                   .top_k = k == 3   ? 7
                                            : k == 4 ? INT32_MAX
                                                     : -(int)k,
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
    fake_ntopk = 0;
    for (int i = 0; i < 600; i++) {
        bn_sampling how = some[i % 6];
        how.seed = (uint64_t)i;
        fake_fixed = i >= 300;
        for (int v = 0; v < FAKE_VOCAB; v++)
            fake_logit[v] = i & 1 ? odd[(v * 7 + i) % 5] : odd[i / 2 % 5] * (float)(v % 2);
        assert_int_equal(sample_from(r.s, how, 0), sample_from(r.s, how, 1));
    }
    assert_int_equal(fake_ntopk, 600);
    fake_fixed = 0;
    static const bn_sampling all[] = {{.temperature = 1},
                                      {.repeat_penalty = 0.5f},
                                      {.temperature = 1, .top_k = FAKE_VOCAB},
                                      {.temperature = 1, .top_k = 257}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(sample_from(r.s, all[i], 0), sample_from(r.s, all[i], 1));
    assert_int_equal(fake_ntopk, 600);
    /* Asked again, it computes only what is missing. */
    bn_sampling how = some[0];
    assert_int_equal(bn_eval(r.s, &token, 1, NULL), BN_OK);
    (void)bn_sample(r.s, &how);
    (void)bn_sample(r.s, &how);
    assert_int_equal(fake_ntopk, 601);
    how = some[2];
    (void)bn_sample(r.s, &how);
    how = some[1];
    (void)bn_sample(r.s, &how);
    assert_int_equal(fake_ntopk, 602);
    rig_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_greedy),     cmocka_unit_test(test_sample_distribution),
        cmocka_unit_test(test_sample_filters),    cmocka_unit_test(test_sample_seed),
        cmocka_unit_test(test_sample_bad_logits), cmocka_unit_test(test_sample_penalty),
        cmocka_unit_test(test_sample_lazy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
