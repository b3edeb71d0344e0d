/* test_prefill.c: the many-token ternary kernels against naive sums, and bit-exact with
 * scalar.c: ragged shapes, extremes that reach every flush, every share of the rows. Results and
 * scratch lie between guard bytes, inputs end where malloc says (AddressSanitizer looks there). */
#include "codegen-c/codegen.h" /* before cmocka.h, which makes fail a macro */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen-c/kernels/scalar_t3.c"
#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "codegen-c/kernels/avx2_fr3.c"

/* Each kernel, and its tables whatever the size, where it would choose to multiply. */
static void q2_kernel(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                      const float *res, float *y, int T, int n, int k, int from, int to, void *work)
{
    tmatmul_q2_fr_avx2(w, c, q, s, res, y, T, n, k, from, to, work);
}

static void q2_tables(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                      const float *res, float *y, int T, int n, int k, int from, int to, void *work)
{
    fr4_run(&q2_fr4_layout, w, c, NULL, NULL, q, s, res, y, 0, T, n, k, 4 * from, 4 * to, work);
}

static void q2_kernel_glu(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                          const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                          int from, int to, void *work)
{
    tglu_q2_fr_avx2(wg, cg, wu, cu, q, s, y, act, T, n, k, from, to, work);
}

static void t3_kernel(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                      const float *res, float *y, int T, int n, int k, int from, int to, void *work)
{
    tmatmul_t3_fr_avx2(w, c, q, s, res, y, T, n, k, from, to, work);
}

static void t3_kernel_glu(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                          const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                          int from, int to, void *work)
{
    tglu_t3_fr_avx2(wg, cg, wu, cu, q, s, y, act, T, n, k, from, to, work);
}

/* What SiLU must give, bit-exact. */
static void q2_smooth(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, float *y, int act, int T, int n, int k)
{
    tglu_q2_avx2(wg, cg, wu, cu, q, s, y, act, T, n, k, 0, (n + 3) / 4);
}

static void q2_tables_glu(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                          const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                          int from, int to, void *work)
{
    fr4_run(&q2_fr4_layout, wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, 4 * from, 4 * to, work);
}
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

enum { GUARD = 64, MOST = 128 }; /* MOST: tokens */

static const int tokens[] = {1, 2, 15, 16, 31, 32, 33, 64, 100, 128};
enum { NTOKENS = sizeof tokens / sizeof *tokens };

/* ---- memory and numbers ---- */

static void *input(size_t size)
{
    void *p = malloc(size);
    assert_non_null(p);
    return p;
}

/* Between guards, 64-byte aligned. */
static uint8_t *guarded(size_t size)
{
    uint8_t *p = (uint8_t *)aligned_alloc(64, (size + 2 * GUARD + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xa5, size + 2 * GUARD);
    return p + GUARD;
}

static void release(void *at, size_t size)
{
    uint8_t *p = (uint8_t *)at - GUARD;
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(p[i], 0xa5);
        assert_int_equal(p[GUARD + size + i], 0xa5);
    }
    free(p);
}

static uint32_t any(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

/* ---- layouts, bit by bit ---- */

static uint8_t *pack_q2(const int8_t *w, int n, int k)
{
    const int steps = BN_QPAD(k) / 128, blocks = (n + 3) / 4;
    uint8_t *out = (uint8_t *)input((size_t)blocks * (size_t)steps * 128);
    memset(out, 0, (size_t)blocks * (size_t)steps * 128);
    for (int r = 0; r < 4 * blocks; r++)
        for (int j = 0; j < steps * 128; j++) {
            int code = r < n && j < k ? w[r * k + j] + 1 : 1, in = j % 128;
            size_t at = ((size_t)(r / 4) * (size_t)steps + (size_t)(j / 128)) * 128 +
                        (size_t)(r % 4 * 32 + in % 32);
            out[at] = (uint8_t)(out[at] | code << 2 * (in / 32));
        }
    return out;
}

/* The scale and, for T3R32, what follows it. */
static float *scales_q2(const int8_t *w, int n, int k, float scale)
{
    float *c = (float *)input(sizeof *c);
    (void)w, (void)n, (void)k;
    *c = scale;
    return c;
}

static int group_t3(const int8_t *w, int n, int k, int r, int j)
{
    int v = 0;
    for (int i = j; i < j + 3; i++)
        v = 3 * v + (r < n && i < k ? w[r * k + i] : 0);
    return v;
}

static uint8_t *pack_t3(const int8_t *w, int n, int k)
{
    const int steps = (k + 23) / 24, blocks = (n + 31) / 32;
    uint8_t *out = (uint8_t *)input((size_t)blocks * (size_t)steps * 160);
    memset(out, 0, (size_t)blocks * (size_t)steps * 160);
    for (int r = 0; r < 32 * blocks; r++)
        for (int i = 0; i < 8 * steps; i++) {
            const int v = group_t3(w, n, k, r, 3 * i), g = i % 8;
            uint8_t *step = out + (size_t)(r / 32 * steps + i / 8) * 160;
            uint8_t *plane = step + g / 2 * 32 + r % 32, *sign = step + 128 + r % 32;
            *plane = (uint8_t)(*plane | abs(v) << g % 2 * 4);
            *sign = (uint8_t)(*sign | (v < 0) << (7 - g));
        }
    return out;
}

static float *scales_t3(const int8_t *w, int n, int k, float scale)
{
    const int rows = (n + 31) / 32 * 32;
    float *c = (float *)input((size_t)(16 + rows) * sizeof *c);
    for (int i = 0; i < 16; i++)
        c[i] = scale;
    for (int r = 0; r < rows; r++) {
        int32_t loss = 0;
        for (int j = 0; j < k; j += 3)
            loss += 33 * (group_t3(w, n, k, r, j) < 0);
        memcpy(&c[16 + r], &loss, sizeof loss);
    }
    return c;
}

typedef void (*Matmul)(const uint8_t *, const float *, const int8_t *, const float *, const float *,
                       float *, int, int, int, int, int, void *);
typedef void (*Glu)(const uint8_t *, const float *, const uint8_t *, const float *, const int8_t *,
                    const float *, float *, int, int, int, int, int, int, void *);
typedef struct Layout {
    const char *symbol; /* of matmul[0], in kernels.def */
    int unit;           /* rows */
    uint8_t *(*pack)(const int8_t *w, int n, int k);
    float *(*scales)(const int8_t *w, int n, int k, float scale);
    Matmul matmul[2]; /* the kernel; its tables, or NULL */
    Glu glu[2];
} Layout;

static const Layout layouts[] = {
    {"tmatmul_q2_fr_avx2",
     4,
     pack_q2,
     scales_q2,
     {q2_kernel, q2_tables},
     {q2_kernel_glu, q2_tables_glu}},
    {"tmatmul_t3_fr_avx2", 32, pack_t3, scales_t3, {t3_kernel, NULL}, {t3_kernel_glu, NULL}},
};
enum { NLAYOUT = sizeof layouts / sizeof *layouts };

/* ---- a case: weights of n x k, MOST tokens, what must come out ---- */

typedef struct Case {
    int n, k;
    int8_t *w, *q;  /* [n x k], [MOST x BN_QPAD(k)] */
    uint8_t *plain; /* Q2R4, for the references */
    float c, s[MOST];
    float *res, *want, *want_res; /* [MOST x n] */
} Case;
enum { RANDOM, LOW, HIGH, MIXED }; /* activations: any, all -128, all 127, by turns */
enum { ANY_TRIT = 2 };             /* else every weight */

static float naive(const Case *a, int r, int t, float res)
{
    int64_t sum = 0;
    for (int j = 0; j < a->k; j++)
        sum += a->w[r * a->k + j] * a->q[t * BN_QPAD(a->k) + j];
    return (float)((double)sum * (double)(a->c / a->s[t]) + (double)res);
}

static void start(Case *a, int n, int k, int act, int weight)
{
    const int wide = BN_QPAD(k), all = MOST * n;
    *a = (Case){.n = n, .k = k, .c = 0.3f + (float)(any() % 1000) / 1000};
    a->w = (int8_t *)input((size_t)(n * k));
    a->q = (int8_t *)input((size_t)(MOST * wide));
    memset(a->q, 0, (size_t)(MOST * wide));
    for (int i = 0; i < n * k; i++)
        a->w[i] = (int8_t)(weight == ANY_TRIT ? (int)(any() % 3) - 1 : weight);
    for (int t = 0; t < MOST; t++) {
        a->s[t] = 1.0f + (float)(any() % 100000) / 2000;
        for (int j = 0; j < k; j++)
            a->q[t * wide + j] = (int8_t)(act == LOW || (act == MIXED && (j + t) % 2) ? -128
                                          : act == RANDOM                             ? (int)any()
                                                                                      : 127);
    }
    a->plain = pack_q2(a->w, n, k);
    a->res = (float *)input((size_t)all * sizeof *a->res);
    a->want = (float *)input((size_t)all * sizeof *a->want);
    a->want_res = (float *)input((size_t)all * sizeof *a->want);
    for (int i = 0; i < all; i++)
        a->res[i] = (float)((int)(any() % 2001) - 1000) / 64;
    for (int i = 0; i < all; i++) {
        a->want[i] = naive(a, i % n, i / n, 0);
        a->want_res[i] = naive(a, i % n, i / n, a->res[i]);
    }
}

static void end(Case *a)
{
    void *all[] = {a->w, a->q, a->plain, a->res, a->want, a->want_res};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static int64_t work_bytes(const char *symbol, int n, int k, int T)
{
    Session s;
    int64_t bytes = -1;
    session_start(&s, stderr);
    const Target *target = target_find(&s, "x86-64-v3");
    for (int i = 0; i < target->nkernel; i++)
        if (!strcmp(target->kernel[i].symbol, symbol) && target->kernel[i].work)
            bytes = target->kernel[i].work(n, k, T);
    session_end(&s);
    assert_true(bytes > 0);
    return bytes;
}

static void same(const float *y, const float *want, int all, const Case *a, const char *what)
{
    for (int i = 0; i < all; i++)
        if (memcmp(&y[i], &want[i], sizeof *y))
            fail_msg("%s %d x %d of %d tokens: y[%d][%d] is %.9g, not %.9g", what, a->n, a->k,
                     all / a->n, i / a->n, i % a->n, (double)y[i], (double)want[i]);
}

/* One number of tokens by one kernel, in `threads` shares; the last time onto the residual. */
static void check_matmul(const Case *a, const Layout *l, int which, const uint8_t *w,
                         const float *c, int T, int threads)
{
    const int units = (a->n + l->unit - 1) / l->unit, all = T * a->n;
    const size_t bytes = (size_t)work_bytes(l->symbol, a->n, a->k, T);
    const size_t size = (size_t)all * sizeof(float);
    float *y = (float *)guarded(size);
    uint8_t *work = guarded(bytes);
    for (int form = 0; form < 3; form++) {
        const float *res = form == 0 ? NULL : form == 1 ? a->res : y;
        if (form == 2)
            memcpy(y, a->res, size);
        for (int t = threads - 1; t >= 0; t--)
            l->matmul[which](w, c, a->q, a->s, res, y, T, a->n, a->k, units * t / threads,
                             units * (t + 1) / threads, work);
        same(y, form ? a->want_res : a->want, all, a, l->symbol);
    }
    release(y, size);
    release(work, bytes);
}

static void check_case(Case *a, const int *Ts, int nT, int most_threads)
{
    for (int i = 0; i < NLAYOUT; i++) {
        const Layout *l = &layouts[i];
        uint8_t *w = l->pack(a->w, a->n, a->k);
        float *c = l->scales(a->w, a->n, a->k, a->c);
        for (int j = 0; j < nT; j++)
            for (int which = 0; which < 2 && l->matmul[which]; which++)
                for (int threads = 1; threads <= most_threads; threads++)
                    check_matmul(a, l, which, w, c, Ts[j], threads);
        free(w);
        free(c);
    }
}

/* The reference of this file is that of the house. */
static void check_scalar(const Case *a)
{
    float *y = (float *)input((size_t)(MOST * a->n) * sizeof *y);
    tmatmul_q2(a->plain, &a->c, a->q, a->s, a->res, y, MOST, a->n, a->k, 0, (a->n + 3) / 4);
    same(y, a->want_res, MOST * a->n, a, "tmatmul_q2");
    free(y);
}

static void test_shapes(void **state)
{
    static const int ns[] = {1, 3, 5, 33, 130}, ks[] = {1, 24, 100, 128, 384, 896, 2560};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 7; j++) {
            Case a;
            start(&a, ns[i], ks[j], RANDOM, ANY_TRIT);
            check_scalar(&a);
            check_case(&a, tokens, NTOKENS, 1);
            end(&a);
        }
}

static void test_any_length(void **state)
{
    (void)state;
    for (int k = 1; k <= 300; k += 1 + k / 12) {
        static const int Ts[] = {5, 16, 27};
        Case a;
        start(&a, 1 + k % 41, k, RANDOM, ANY_TRIT);
        check_case(&a, Ts, 3, 1);
        end(&a);
    }
}

static void test_extremes(void **state)
{
    static const int ks[] = {256, 384, 2560}, Ts[] = {9, 33};
    (void)state;
    for (int i = 0; i < 3; i++)
        for (int act = LOW; act <= MIXED; act++)
            for (int weight = -1; weight <= ANY_TRIT; weight++) {
                Case a;
                start(&a, 6, ks[i], act, weight);
                check_case(&a, Ts, 2, 1);
                end(&a);
            }
}

/* Every number of equal shares, and rows enough for tables, panels and fallbacks. */
static void test_shares(void **state)
{
    static const int Ts[] = {3, 16, 70};
    Case a;
    (void)state;
    start(&a, 130, 200, RANDOM, ANY_TRIT);
    check_case(&a, Ts, 3, 34);
    end(&a);
    start(&a, 4001, 40, RANDOM, ANY_TRIT);
    check_case(&a, Ts, 3, 3);
    end(&a);
}

static void check_glu(const Case *g, const Case *u, const Layout *l, int which, int T, int act)
{
    const int n = g->n, k = g->k, units = (n + l->unit - 1) / l->unit, all = T * n;
    const size_t bytes = (size_t)work_bytes(l->symbol, n, k, T), size = (size_t)all * sizeof(float);
    uint8_t *wg = l->pack(g->w, n, k), *wu = l->pack(u->w, n, k), *work = guarded(bytes);
    float *cg = l->scales(g->w, n, k, g->c), *cu = l->scales(u->w, n, k, u->c);
    float *y = (float *)guarded(size), *want = (float *)input(size);
    if (act != BN_RELU2)
        q2_smooth(g->plain, &g->c, u->plain, &u->c, g->q, g->s, want, act, T, n, k);
    else
        tglu_q2(g->plain, &g->c, u->plain, &u->c, g->q, g->s, want, act, T, n, k, 0, (n + 3) / 4);
    for (int threads = 1; threads <= 3; threads++) {
        for (int t = 0; t < threads; t++)
            l->glu[which](wg, cg, wu, cu, g->q, g->s, y, act, T, n, k, units * t / threads,
                          units * (t + 1) / threads, work);
        same(y, want, all, g, "tglu");
    }
    release(y, size);
    release(work, bytes);
    free(want);
    free(wg);
    free(wu);
    free(cg);
    free(cu);
}

static void test_glu(void **state)
{
    static const int ns[] = {1, 5, 33, 130, 1500}, ks[] = {24, 100, 300, 512, 96};
    (void)state;
    for (int i = 0; i < 5; i++) {
        Case g, u;
        start(&g, ns[i], ks[i], i % 2 ? LOW : RANDOM, ANY_TRIT);
        start(&u, ns[i], ks[i], RANDOM, ANY_TRIT);
        for (int j = 0; j < NTOKENS; j += 1 + i / 4)
            for (int v = 0; v < 6 * NLAYOUT; v++)
                if (layouts[v / 6].glu[v % 2])
                    check_glu(&g, &u, &layouts[v / 6], v % 2, tokens[j], v / 2 % 3);
        end(&g);
        end(&u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_any_length),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_glu),
    };
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        print_message("no AVX2 here: skipped\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    print_message("no AVX2 here: skipped\n");
    return 0;
}
#endif
