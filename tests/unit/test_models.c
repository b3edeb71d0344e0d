/* test_models.c: the same trained weights in four containers. f16 masters through absmean give the
 * codes of the i2_s file, but where |w| / scale is within 1e-5 of a half, and scales within 1e-6;
 * tq1_0 and tq2_0 differ from i2_s by the f16 rounding of the scale alone. Needs ../shared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/gguf.h" /* before cmocka.h, whose fail() is another */

#include <cmocka.h>

typedef struct Pair {
    Session s;
    Gguf *a, *b;
} Pair;

static const char *models(void)
{
    static char path[400];
    const char *shared = getenv("BN_SHARED");
    snprintf(path, sizeof path, "%s/models", shared ? shared : "../shared");
    return path;
}

static void open_both(Pair *p, const char *a, const char *b)
{
    session_start(&p->s, stderr);
    const char *path = format(&p->s, "%s/%s", models(), a);
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        session_end(&p->s);
        skip();
    }
    p->a = gguf_open(&p->s, path);
    p->b = gguf_open(&p->s, format(&p->s, "%s/%s", models(), b));
}

static int8_t *codes(Pair *p, const Tensor *t, float scale)
{
    int8_t *c = NEW_ARRAY(&p->s, int8_t, t->rows * t->cols);
    ternary_codes(t, scale, 0, t->rows * t->cols, c);
    return c;
}

/* Number of codes that differ; those of float masters may, near a half. */
static int64_t compare_codes(Pair *p, const Tensor *ternary, const Tensor *other)
{
    float sa = ternary_scale(ternary), sb = ternary_scale(other);
    int8_t *a = codes(p, ternary, sa), *b = codes(p, other, sb);
    int64_t n = ternary->rows * ternary->cols, differ = 0;
    for (int64_t i = 0; i < n; i++) {
        if (a[i] == b[i])
            continue;
        float w;
        differ++;
        assert_int_equal(fmt_info[other->fmt].kind, KIND_FLOAT);
        tensor_floats(other, i, 1, &w);
        assert_true(fabs(fabs((double)w) / (double)sb - 0.5) < 1e-5);
    }
    return differ;
}

static void compare(const char *a, const char *b, double tolerance)
{
    Pair p;
    double worst = 0;
    int64_t differ = 0, compared = 0;
    open_both(&p, a, b);
    for (int64_t i = 0; i < gguf_tensor_count(p.a); i++) {
        const Tensor *t = gguf_tensor_at(p.a, i), *o = gguf_tensor_find(p.b, t->name);
        assert_non_null(o);
        if (fmt_info[t->fmt].kind != KIND_TERNARY)
            continue;
        double off = fabs((double)ternary_scale(o) / (double)ternary_scale(t) - 1);
        worst = off > worst ? off : worst;
        differ += compare_codes(&p, t, o);
        compared += t->rows * t->cols;
    }
    print_message("%s, %s: %lld of %lld codes differ, scales by %.2e at most\n", a, b,
                  (long long)differ, (long long)compared, worst);
    assert_true(compared > 0);
    assert_true(worst < tolerance);
    session_end(&p.s);
}

static void test_masters_27m(void **state)
{
    (void)state;
    compare("tales-27m-i2_s.gguf", "tales-27m-f16.gguf", 1e-6);
}

static void test_masters_4m(void **state)
{
    (void)state;
    compare("tales-4m-i2_s.gguf", "tales-4m-f16.gguf", 1e-6);
}

static void test_tq1_0(void **state)
{
    (void)state;
    compare("tales-27m-i2_s.gguf", "tales-27m-tq1_0.gguf", 1.0 / 2048);
}

static void test_tq2_0(void **state)
{
    (void)state;
    compare("tales-27m-i2_s.gguf", "tales-27m-tq2_0.gguf", 1.0 / 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masters_27m),
        cmocka_unit_test(test_masters_4m),
        cmocka_unit_test(test_tq1_0),
        cmocka_unit_test(test_tq2_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
