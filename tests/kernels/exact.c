/* exact.c: every kernel of ternary products that this machine can run, against one plain loop.
 *
 * One idea: kernels.def is the list. A row that was compiled and that the processor has is called
 * on ragged shapes, extremes and cut shares, and must give the reference's bits (SiLU, whose exp
 * is each kernel's own, the same to rounding). It needs libc alone, so it also runs under qemu,
 * under WASI and on machines that have nothing but a compiler:
 *
 *   cc -O3 -std=gnu11 tests/kernels/exact.c -Icompiler -Iruntime-min -lm -lpthread -o exact
 *   ./exact                      one line a row, then the sum; exit status 1 on a failure
 *   ./exact some                 a quarter of the shapes, for make check
 *   ./exact quick                a few of them, without plain C: for emulators
 *   ./exact bench [NAME] [MiB]   speed of the rows whose symbol has NAME in it, the weights being
 *                                in copies of that many MiB (512: from memory); -DEXACT_ALONE
 *                                leaves it and threads out
 *
 * Another machine's kernels: a HAVE_ line for each of its sets, the includes under the pragmas that
 * generated code uses (machine.h, for other than x86), and its part of bn_cpu.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen-c/columns.h"
#include "bn_cpu.h"
#ifndef EXACT_ALONE
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#endif

/* ---- the kernels, each file under its instruction sets ---- */

#include "codegen-c/kernels/scalar.c"
#include "codegen-c/kernels/scalar_q2g.c"
#include "codegen-c/kernels/scalar_t3.c"
#include "codegen-c/kernels/scalar_kv.c"
#include "codegen-c/kernels/scalar_head.c"
#include "machine.h"
#define HAVE_0(...) __VA_ARGS__

#if defined(__x86_64__)
#define HAVE_AVX2_SET(...) __VA_ARGS__
#define HAVE_AVXVNNI_SET(...) __VA_ARGS__
#define HAVE_AVX512_SET(...) __VA_ARGS__
#define HAVE_AMX_SET(...) __VA_ARGS__
#include <immintrin.h>
FOR("avx2,fma,f16c")
#include "codegen-c/kernels/avx2.c"
#include "codegen-c/kernels/avx2_linear.c"
#include "codegen-c/kernels/avx2_head.c"
#include "codegen-c/kernels/avx2_kv.c"
#include "codegen-c/kernels/avx2_q2.c"
#include "codegen-c/kernels/avx2_q2g.c"
#include "codegen-c/kernels/avx2_t3.c"
#include "codegen-c/kernels/avx2_fr4.c"
#include "codegen-c/kernels/avx2_fr3.c"
FOR_END
FOR("avx2,fma,f16c,avxvnni")
#include "codegen-c/kernels/avxvnni.c"
#include "codegen-c/kernels/avxvnni_q2g.c"
FOR_END
FOR("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#include "codegen-c/kernels/avx512.c"
#include "codegen-c/kernels/avx512_q2g.c"
FOR_END
FOR("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")
#include "codegen-c/kernels/amx.c"
FOR_END
#else
#define HAVE_AVX2_SET(...)
#define HAVE_AVXVNNI_SET(...)
#define HAVE_AVX512_SET(...)
#define HAVE_AMX_SET(...)
#endif

static uint32_t cpu(void)
{
    return bn_cpu(~(uint32_t)0);
}

/* ---- the table ---- */

typedef struct Call { /* the arguments of one product; up is NULL but for TGLU */
    const uint8_t *w, *up;
    const float *c, *cu;
    const void *q; /* activations, or what lut3 makes of them */
    const float *s, *res;
    float *y;
    int act, T, n, k, from, to;
    void *work;
} Call;
typedef void (*Matmul)(const uint8_t *, const float *, const void *, const float *, const float *,
                       float *, int, int, int, int, int);
typedef void (*MatmulWork)(const uint8_t *, const float *, const void *, const float *,
                           const float *, float *, int, int, int, int, int, void *);
typedef void (*Glu)(const uint8_t *, const float *, const uint8_t *, const float *, const void *,
                    const float *, float *, int, int, int, int, int, int);
typedef void (*GluWork)(const uint8_t *, const float *, const uint8_t *, const float *,
                        const void *, const float *, float *, int, int, int, int, int, int, void *);

enum { ONE = 1, MANY = 2, ANY = 3 };
static const struct Row {
    const char *op, *weight, *symbol;
    uint32_t isa;
    int forms, mr, tables;
    int64_t (*work)(int64_t n, int64_t k, int64_t t);
    void (*kernel)(void);
} rows[] = {
#define ROW(op, weight, isa, form, mr, work, symbol)                                               \
    {#op, #weight, #symbol, isa, form, mr, TABLES_##work, work_##work, (void (*)(void))symbol},
#define KERNEL(op, weight, isa, form, mr, work, symbol)                                            \
    HAVE_##isa(ROW(op, weight, isa, form, mr, work, symbol))
#include "codegen-c/kernels.def"
#undef KERNEL
};
enum { NROW = sizeof rows / sizeof *rows };

static int is_glu(const struct Row *r)
{
    return !strcmp(r->op, "TGLU");
}

static int is_ternary(const struct Row *r)
{
    const int grouped = !strncmp(r->weight, "Q2R16G", 6); /* tests/unit/test_groups.c */
    return !grouped && (is_glu(r) || !strcmp(r->op, "TMATMUL") || !strcmp(r->op, "TMATMUL_ADD"));
}

static void call(const struct Row *r, const Call *a)
{
    if (is_glu(r) && r->work)
        ((GluWork)r->kernel)(a->w, a->c, a->up, a->cu, a->q, a->s, a->y, a->act, a->T, a->n, a->k,
                             a->from, a->to, a->work);
    else if (is_glu(r))
        ((Glu)r->kernel)(a->w, a->c, a->up, a->cu, a->q, a->s, a->y, a->act, a->T, a->n, a->k,
                         a->from, a->to);
    else if (r->work)
        ((MatmulWork)r->kernel)(a->w, a->c, a->q, a->s, a->res, a->y, a->T, a->n, a->k, a->from,
                                a->to, a->work);
    else
        ((Matmul)r->kernel)(a->w, a->c, a->q, a->s, a->res, a->y, a->T, a->n, a->k, a->from, a->to);
}

/* ---- memory and numbers ---- */

enum { GUARD = 64, GUARDED = 0xa5 };

static void *room(size_t size)
{
    void *p = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    if (!p) {
        fprintf(stderr, "exact: no memory\n");
        exit(2);
    }
    memset(p, 0, (size + 63) / 64 * 64 + 64);
    return p;
}

static uint32_t any(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static float real(void)
{
    return (float)((int)(any() % 2000001u) - 1000000) * 1e-6f;
}

/* ---- layouts: packed weights, and at c the scales as kernels get them ---- */

typedef struct Matrix {
    int8_t *w; /* [n x k] */
    uint8_t *packed;
    float *c;
} Matrix;

/* scalar.c pictures it under q2_layout. */
static void pack_q2(const int8_t *w, int n, int k, uint8_t *out)
{
    const int wide = BN_QPAD(k);
    for (int r = 0; r < (n + 3) / 4 * 4; r++)
        for (int j = 0; j < wide; j++) {
            const int code = r < n && j < k ? w[(size_t)r * (size_t)k + (size_t)j] + 1 : 1;
            out[(size_t)(r / 4) * (size_t)wide + (size_t)(j / 128 * 128 + r % 4 * 32 + j % 32)] |=
                (uint8_t)(code << j % 128 / 32 * 2);
        }
}

static size_t bytes_q2(int n, int k)
{
    return (size_t)((n + 3) / 4) * BN_QPAD((size_t)k);
}

/* scalar_t3.c pictures it under t3_layout; what a row loses stands 64 bytes behind its scale. */
static void pack_t3(const int8_t *w, int n, int k, uint8_t *out)
{
    for (int r = 0; r < n; r++)
        for (int g = 0; 3 * g < k; g++) {
            const int8_t *x = w + (size_t)r * (size_t)k + 3 * (size_t)g;
            const int left = k - 3 * g;
            const int v = 9 * x[0] + (left > 1 ? 3 * x[1] : 0) + (left > 2 ? x[2] : 0);
            uint8_t *step = out + (size_t)(r / 32) * BN_T3_BLOCK(k) + (size_t)(g / 8) * 160;
            step[g % 8 / 2 * 32 + r % 32] |= (uint8_t)(abs(v) << g % 2 * 4);
            step[128 + r % 32] |= (uint8_t)((v < 0) << (7 - g % 8));
        }
}

static size_t bytes_t3(int n, int k)
{
    return (size_t)((n + 31) / 32) * BN_T3_BLOCK(k);
}

static void scales_t3(const int8_t *w, int n, int k, float *c)
{
    for (int r = 0; r < n; r++) {
        int32_t loss = 0;
        for (int j = 0; j < k; j += 3) {
            const int8_t *x = w + (size_t)r * (size_t)k + (size_t)j;
            loss += 33 * (9 * x[0] + (k - j > 1 ? 3 * x[1] : 0) + (k - j > 2 ? x[2] : 0) < 0);
        }
        memcpy(c + 16 + r, &loss, sizeof loss);
    }
}

static const struct Layout {
    const char *weight;
    int blocked; /* a scale for 256 k of a row */
    size_t (*bytes)(int n, int k);
    void (*pack)(const int8_t *w, int n, int k, uint8_t *out);
    void (*scales)(const int8_t *w, int n, int k, float *c); /* what follows c[0], or NULL */
} layouts[] = {
    {"Q2R4", 0, bytes_q2, pack_q2, NULL},
    {"Q2R4B", 1, bytes_q2, pack_q2, NULL},
    {"T3R32", 0, bytes_t3, pack_t3, scales_t3},
};
enum { NLAYOUT = sizeof layouts / sizeof *layouts };

static int layout_of(const struct Row *r)
{
    for (int i = 0; i < NLAYOUT; i++)
        if (!strcmp(layouts[i].weight, r->weight))
            return i;
    return -1;
}

static Matrix matrix(const int8_t *w, int n, int k, const struct Layout *l)
{
    const int each = l->blocked ? BN_Q2_SCALES(k) : 0;
    Matrix m = {(int8_t *)room((size_t)n * (size_t)k), (uint8_t *)room(l->bytes(n, k)),
                (float *)room(sizeof(float) * (size_t)(64 + n + n * each))};
    memcpy(m.w, w, (size_t)n * (size_t)k);
    l->pack(w, n, k, m.packed);
    for (int i = 0; i < (l->blocked ? n * each : 1); i++)
        m.c[i] = l->blocked ? real() : 0.5f + fabsf(real());
    if (l->scales)
        l->scales(w, n, k, m.c);
    return m;
}

static void matrix_free(Matrix *m)
{
    free(m->w);
    free(m->packed);
    free(m->c);
}

/* ---- one shape: inputs, and what must come out ---- */

enum { RANDOM, LOW, HIGH, MIXED }; /* activations; weights: RANDOM, -1, +1 */
enum { PLAIN, RESIDUAL, GLU_RELU2, GLU_SILU, GLU_GELU, RESULTS }; /* kinds of results */
typedef struct Shape {
    int n, k, T;
    int8_t *q, *tables;
    float *s, *res;
    Matrix m[NLAYOUT][2];    /* gate or the only one, up */
    float *want[2][RESULTS]; /* [blocked] */
} Shape;

static void weights(int8_t *w, size_t size, int kind)
{
    for (size_t i = 0; i < size; i++)
        w[i] = (int8_t)(kind == LOW ? -1 : kind == HIGH ? 1 : (int)(any() % 3) - 1);
}

/* As q2_value of scalar.c says it. */
static double value(const Shape *x, const Matrix *m, int r, int t, int blocked)
{
    const int8_t *w = m->w + (size_t)r * (size_t)x->k;
    const int8_t *q = x->q + (size_t)t * BN_QPAD((size_t)x->k);
    const int step = blocked ? 256 : x->k;
    double total = 0.0;
    for (int from = 0, b = 0; from < x->k; from += step, b++) {
        const int end = x->k - from < step ? x->k : from + step;
        int32_t sum = 0;
        for (int j = from; j < end; j++)
            sum += w[j] * q[j];
        if (!blocked)
            return (double)sum * (double)(m->c[0] / x->s[t]);
        total += (double)m->c[(size_t)r * BN_Q2_SCALES((size_t)x->k) + (size_t)b] * (double)sum;
    }
    return total / (double)x->s[t];
}

static void reference(Shape *x, int blocked)
{
    float **want = x->want[blocked];
    for (int t = 0; t < x->T; t++)
        for (int r = 0; r < x->n; r++) {
            const size_t at = (size_t)t * (size_t)x->n + (size_t)r;
            const double v = value(x, &x->m[blocked][0], r, t, blocked);
            const float gate = (float)v, up = (float)value(x, &x->m[blocked][1], r, t, blocked);
            const float most = gate > 0.0f ? gate : 0.0f;
            want[PLAIN][at] = gate;
            want[RESIDUAL][at] = (float)(v + (double)x->res[at]);
            want[GLU_RELU2][at] = most * most * up;
            want[GLU_SILU][at] = gate / (1.0f + expf(-gate)) * up;
            want[GLU_GELU][at] = glu_act(gate, up, BN_GELU);
        }
}

static Shape shape(int n, int k, int T, int act, int weight)
{
    const size_t all = (size_t)n * (size_t)k, out = (size_t)n * (size_t)T;
    Shape x = {.n = n, .k = k, .T = T};
    int8_t *w[2] = {(int8_t *)room(all), (int8_t *)room(all)};
    x.q = (int8_t *)room((size_t)T * BN_QPAD((size_t)k));
    x.tables = (int8_t *)room((size_t)T * (size_t)BN_T3_STEPS(k) * 256);
    x.s = (float *)room((size_t)T * sizeof(float));
    x.res = (float *)room(out * sizeof(float));
    weights(w[0], all, weight);
    weights(w[1], all, weight);
    for (int t = 0; t < T; t++) {
        x.s[t] = 20.0f + 50.0f * fabsf(real());
        for (int j = 0; j < k; j++)
            x.q[(size_t)t * BN_QPAD((size_t)k) + (size_t)j] =
                (int8_t)(act == LOW     ? -128
                         : act == HIGH  ? 127
                         : act == MIXED ? (j % 2 ? -128 : 127)
                                        : (int8_t)any());
    }
    lut3(x.q, x.tables, k, 0, T);
    for (size_t i = 0; i < out; i++)
        x.res[i] = real();
    for (int l = 0; l < NLAYOUT; l++)
        for (int i = 0; i < 2; i++) {
            x.m[l][i] = matrix(w[i], n, k, &layouts[l]);
            if (!layouts[l].blocked)
                x.m[l][i].c[0] = x.m[0][i].c[0];
        }
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < RESULTS; i++)
            x.want[b][i] = (float *)room(out * sizeof(float));
        reference(&x, b);
    }
    free(w[0]);
    free(w[1]);
    return x;
}

static void shape_free(Shape *x)
{
    for (int l = 0; l < NLAYOUT; l++)
        for (int i = 0; i < 2; i++)
            matrix_free(&x->m[l][i]);
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < RESULTS; i++)
            free(x->want[b][i]);
    free(x->q);
    free(x->tables);
    free(x->s);
    free(x->res);
}

/* ---- one kernel on one shape ---- */

typedef struct Tally {
    long cases, failures;
    char first[160]; /* what failed */
} Tally;
typedef struct Trial {
    const struct Row *row;
    const Shape *x;
    Tally *tally;
    Call a;
    int kind, units;
    uint8_t *y, *work; /* with guards */
    size_t out, scratch;
    const char *what; /* this case */
} Trial;

static int guards_hold(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < GUARD; i++)
        if (p[i] != GUARDED || p[GUARD + size + i] != GUARDED)
            return 0;
    return 1;
}

static uint8_t *guarded(size_t size)
{
    uint8_t *p = (uint8_t *)room(size + 2 * (size_t)GUARD);
    memset(p, GUARDED, size + 2 * (size_t)GUARD);
    return p;
}

static int equal(float got, float want, int kind)
{
    /* The argument of gelu's exp, of three roundings, is below 46 where the result is not below
     * 1e-20: an error of 46 * 3 * 2^-24. */
    if (kind == GLU_SILU || kind == GLU_GELU)
        return fabs((double)got - (double)want) <=
               (kind == GLU_GELU ? 1e-5 : 1e-6) * fabs((double)want) + 1e-20;
    return memcmp(&got, &want, sizeof got) == 0 || (got == 0.0f && want == 0.0f);
}

/* Compares what stands in rows of units [from, to); the others must still be `old` (NULL: guard
 * bytes). */
static void look(Trial *t, int from, int to, const float *old)
{
    const float *want = t->x->want[layouts[layout_of(t->row)].blocked][t->kind];
    const int n = t->x->n, low = from * t->row->mr, high = to * t->row->mr;
    const float *y = t->a.y;
    float guard;
    int bad = -1;

    memset(&guard, GUARDED, sizeof guard);
    for (int i = 0; i < n * t->x->T && bad < 0; i++) {
        const int inside = i % n >= low && i % n < high;
        const float *as_was = old ? &old[i] : &guard;
        if (inside ? !equal(y[i], want[i], t->kind) : memcmp(&y[i], as_was, sizeof *y) != 0)
            bad = i;
    }
    t->tally->cases++;
    if (bad < 0 && guards_hold(t->y, t->out) && guards_hold(t->work, t->scratch))
        return;
    if (t->tally->failures++)
        return;
    if (bad < 0)
        snprintf(t->tally->first, sizeof t->tally->first, "%d x %d, T %d, %s: wrote outside", n,
                 t->x->k, t->x->T, t->what);
    else
        snprintf(t->tally->first, sizeof t->tally->first,
                 "%d x %d, T %d, %s: y[%d][%d] is %.9g, not %.9g", n, t->x->k, t->x->T, t->what,
                 bad / n, bad % n, (double)y[bad], (double)want[bad]);
}

static void part(Trial *t, int from, int to)
{
    t->a.from = from;
    t->a.to = to;
    call(t->row, &t->a);
}

static void fresh(Trial *t)
{
    memset(t->y, GUARDED, t->out + 2 * (size_t)GUARD);
}

/* The whole at once; each cut in two (where that is not too much, else one), one part looked at
 * alone; a unit at a time. */
static void shares(Trial *t)
{
    const double effort = (double)t->x->n * t->x->k * t->x->T * t->units;
    const int step = effort < 3e7 ? 1 : t->units / 2 + 1;

    fresh(t);
    t->what = "one share";
    part(t, 0, t->units);
    look(t, 0, t->units, NULL);
    t->what = "cut shares";
    for (int cut = step == 1 ? 0 : t->units / 2; cut <= t->units; cut += step) {
        fresh(t);
        part(t, cut, t->units);
        look(t, cut, t->units, NULL);
        part(t, 0, cut);
        look(t, 0, t->units, NULL);
    }
    fresh(t);
    t->what = "single units";
    for (int u = t->units - 1; u >= 0; u--)
        part(t, u, u + 1);
    look(t, 0, t->units, NULL);
}

static void residuals(Trial *t)
{
    t->a.res = t->x->res;
    shares(t);
    t->a.res = t->a.y;
    t->what = "onto the residual";
    fresh(t);
    memcpy(t->a.y, t->x->res, t->out);
    part(t, t->units / 2, t->units);
    look(t, t->units / 2, t->units, t->x->res);
    part(t, 0, t->units / 2);
    look(t, 0, t->units, t->x->res);
}

static void try_row(const struct Row *r, const Shape *x, Tally *tally)
{
    const int l = layout_of(r);
    const Matrix *m = x->m[l];
    Trial t = {.row = r, .x = x, .tally = tally, .units = (x->n + r->mr - 1) / r->mr};

    if (!(r->forms & (x->T == 1 ? ANY : MANY)) || (r->tables && x->T != 1))
        return;
    t.out = (size_t)x->n * (size_t)x->T * sizeof(float);
    t.scratch = r->work ? (size_t)(r->work(x->n, x->k, x->T) + 63) / 64 * 64 : 0;
    t.y = guarded(t.out);
    t.work = guarded(t.scratch);
    t.a = (Call){m[0].packed,
                 m[1].packed,
                 m[0].c,
                 m[1].c,
                 r->tables ? x->tables : x->q,
                 x->s,
                 NULL,
                 (float *)(void *)(t.y + GUARD),
                 BN_RELU2,
                 x->T,
                 x->n,
                 x->k,
                 0,
                 0,
                 t.work + GUARD};
    if (is_glu(r)) {
        t.kind = GLU_RELU2;
        shares(&t);
        for (int act = BN_SILU; act <= BN_GELU; act++) {
            t.kind = GLU_RELU2 + act;
            t.a.act = act;
            shares(&t);
        }
    } else if (!strcmp(r->op, "TMATMUL_ADD")) {
        t.kind = RESIDUAL;
        residuals(&t);
    } else {
        t.kind = PLAIN;
        shares(&t);
    }
    free(t.y);
    free(t.work);
}

static int quick;     /* plain C is left out, and most shapes */
static int every = 1; /* each which shape is taken */

static int runs(const struct Row *r)
{
    return is_ternary(r) && layout_of(r) >= 0 && !(r->isa & ~cpu()) && (!quick || r->isa);
}

static void try_shape(int n, int k, int T, int act, int weight, Tally *tally)
{
    Shape x = shape(n, k, T, act, weight);
    for (int i = 0; i < NROW; i++)
        if (runs(&rows[i]))
            try_row(&rows[i], &x, &tally[i]);
    shape_free(&x);
}

static int exact(void)
{
    static const int ns[] = {1, 3, 5, 16, 17, 33, 130}, ts[] = {1, 2, 3, 5, 8, 16, 17, 33, 64};
    static const int ks[] = {1, 24, 100, 128, 384, 896, 1000, 2560};
    static Tally tally[NROW];
    int passed = 0, failed = 0, skipped = 0;

    for (int k = 0; k < 8; k++)
        for (int n = 0; n < 7; n++)
            for (int T = 0; T < 9; T++)
                if ((k + n + T) % every == 0)
                    try_shape(ns[n], ks[k], ts[T], RANDOM, RANDOM, tally);
    for (int act = LOW; act <= MIXED; act++)
        for (int weight = RANDOM; weight <= HIGH; weight++)
            for (int T = 1; T <= 17; T += quick ? 16 : 8) {
                try_shape(quick ? 5 : 33, 8640, T, act, weight, tally);
                try_shape(17, 1000, T, act, weight, tally);
            }
    for (int i = 0; i < NROW; i++) {
        const Tally *t = &tally[i];
        if (!is_ternary(&rows[i]) || (quick && !rows[i].isa))
            continue;
        printf("%-11s %-5s %-24s ", rows[i].op, rows[i].weight, rows[i].symbol);
        if (!runs(&rows[i]))
            printf("skipped: %s\n",
                   layout_of(&rows[i]) < 0 ? "no such layout here" : "this processor lacks it");
        else if (t->failures)
            printf("FAILED %ld of %ld: %s\n", t->failures, t->cases, t->first);
        else
            printf("passed, %ld cases\n", t->cases);
        skipped += !runs(&rows[i]);
        failed += runs(&rows[i]) && t->failures;
        passed += runs(&rows[i]) && !t->failures;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}

/* ---- speed ---- */

#ifndef EXACT_ALONE
typedef struct Bench { /* what all threads share */
    const struct Row *row;
    uint8_t *copies;
    size_t bytes; /* a copy */
    int ncopy, passes, threads, units;
    Call a;
    pthread_barrier_t barrier;
} Bench;
typedef struct Worker {
    Bench *b;
    int thread;
    void *work;
} Worker;

static void work_off(const Worker *w)
{
    const Bench *b = w->b;
    Call a = b->a;
    a.from = b->units * w->thread / b->threads;
    a.to = b->units * (w->thread + 1) / b->threads;
    a.work = w->work;
    for (int pass = 0; pass < b->passes; pass++)
        for (int i = 0; i < b->ncopy; i++) {
            a.w = b->copies + (size_t)i * b->bytes;
            call(b->row, &a);
        }
}

static void *worker(void *arg)
{
    const Worker *w = (const Worker *)arg;
    pthread_barrier_wait(&w->b->barrier);
    work_off(w);
    pthread_barrier_wait(&w->b->barrier);
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds a product. */
static double seconds(Bench *b, int passes)
{
    enum { MOST = 64 };
    Worker w[MOST];
    pthread_t id[MOST];
    double start;
    const size_t scratch = b->row->work ? (size_t)b->row->work(b->a.n, b->a.k, b->a.T) : 0;

    b->passes = passes;
    pthread_barrier_init(&b->barrier, NULL, (unsigned)b->threads);
    for (int i = 0; i < b->threads; i++) {
        w[i] = (Worker){b, i, room(scratch)};
        if (i && pthread_create(&id[i], NULL, worker, &w[i]))
            exit(2);
    }
    pthread_barrier_wait(&b->barrier);
    start = now();
    work_off(&w[0]);
    pthread_barrier_wait(&b->barrier);
    start = now() - start;
    for (int i = 0; i < b->threads; i++) {
        if (i)
            pthread_join(id[i], NULL);
        free(w[i].work);
    }
    pthread_barrier_destroy(&b->barrier);
    return start / passes / b->ncopy;
}

static void bench_row(const struct Row *r, const Shape *x, int T, size_t size)
{
    const struct Layout *l = &layouts[layout_of(r)];
    const Matrix *m = &x->m[layout_of(r)][0];
    const double products = (double)x->n * x->k * T;
    Bench b = {.row = r, .bytes = l->bytes(x->n, x->k), .units = (x->n + r->mr - 1) / r->mr};
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);

    b.bytes = (b.bytes + 63) / 64 * 64;
    b.ncopy = size > b.bytes ? (int)(size / b.bytes) : 1;
    if (T > 1 && b.ncopy > 16)
        b.ncopy = 16;
    b.copies = (uint8_t *)room(b.bytes * (size_t)b.ncopy + 8192);
    for (int i = 0; i < b.ncopy; i++)
        memcpy(b.copies + (size_t)i * b.bytes, m->packed, l->bytes(x->n, x->k));
    b.a = (Call){NULL,
                 NULL,
                 m->c,
                 NULL,
                 r->tables ? x->tables : x->q,
                 x->s,
                 NULL,
                 (float *)room(sizeof(float) * (size_t)x->n * (size_t)T),
                 0,
                 T,
                 x->n,
                 x->k,
                 0,
                 0,
                 NULL};
    printf("%-20s %4d x %4d T %3d %s:", r->symbol, x->n, x->k, T, T == 1 ? "Gweights/s" : "GMAC/s");
    for (b.threads = 1; b.threads <= cores && b.threads <= 16; b.threads *= 2) {
        double best = seconds(&b, 1);
        const int passes = 1 + (int)(0.05 / (best * b.ncopy));
        for (int i = 0; i < 3; i++) {
            const double again = seconds(&b, passes);
            best = again < best ? again : best;
        }
        printf(" %dt %.1f", b.threads, products / best * 1e-9);
        fflush(stdout);
    }
    printf("\n");
    free(b.copies);
    free(b.a.y);
}

static int bench(const char *name, size_t size)
{
    static const int sizes[][2] = {{2560, 2560}, {6912, 2560}, {2560, 6912}}, ts[] = {1, 64, 128};
    for (int i = 0; i < 3; i++) {
        Shape x = shape(sizes[i][0], sizes[i][1], 128, RANDOM, RANDOM);
        for (int T = 0; T < 3; T++)
            for (int r = 0; r < NROW; r++)
                if (runs(&rows[r]) && !strcmp(rows[r].op, "TMATMUL") &&
                    strstr(rows[r].symbol, name) && rows[r].forms & (T ? MANY : ONE))
                    bench_row(&rows[r], &x, ts[T], size);
        shape_free(&x);
    }
    return 0;
}
#endif

int main(int argc, char **argv)
{
#ifndef EXACT_ALONE
    if (argc > 1 && !strcmp(argv[1], "bench"))
        return bench(argc > 2 ? argv[2] : "", (size_t)(argc > 3 ? atoi(argv[3]) : 512) << 20);
#endif
    if (argc > 1 && strcmp(argv[1], "quick") && strcmp(argv[1], "some")) {
        fprintf(stderr, "usage: %s [some | quick | bench [NAME] [MiB]]\n", argv[0]);
        return 2;
    }
    quick = argc > 1 && *argv[1] == 'q';
    every = quick ? 13 : argc > 1 ? 4 : 1;
    return exact();
}
