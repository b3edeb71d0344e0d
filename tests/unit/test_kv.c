/* test_kv.c: the KV cache in each format: stores, and attention against a naive reference in
 * double over what the cache holds. The bits must be the same for every split of the heads and
 * every cut into calls; rows that are not the call's are neither read nor written.
 */
#include "kernel_case.h"

#include "../../compiler/codegen-c/kernels/scalar_kv.c"
#if defined(__x86_64__)
#define TEST_AVX2
#endif

/* ---- the kernels under test ---- */

typedef struct Cache { /* kernels of one format: x or q, cache, ... */
    void (*store)(const float *, void *, int, int, int, int, int, int, int);
    void (*rope_store)(const float *, const float *, void *, int, int, int, int, int, int, int, int,
                       int);
    void (*attention)(const float *, const void *, const void *, float *, int, int, int, int, int,
                      int, int, int);
    void (*window)(const float *, const void *, const void *, float *, int, int, int, int, int, int,
                   int, int, int, int, int);
    void (*literal)(const float *, const void *, float *); /* 6/2 heads of 20 at position 40 */
} Cache;
typedef struct Kernels {
    const char *name;
    Cache cache[3];
} Kernels;
enum { F32, F16, KV8, FORMATS };

#define CACHE(type, store_, rope_store_, attention_, window_)                                      \
    static void do_##store_##attention_(const float *x, void *c, int pos, int T, int g, int ctx,   \
                                        int d, int from, int to)                                   \
    {                                                                                              \
        store_(x, (type *)c, pos, T, g, ctx, d, from, to);                                         \
    }                                                                                              \
    static void do_##rope_store_##attention_(const float *x, const float *r, void *c, int pos,     \
                                             int T, int g, int ctx, int d, int rot, int mode,      \
                                             int from, int to)                                     \
    {                                                                                              \
        rope_store_(x, r, (type *)c, pos, T, g, ctx, d, rot, mode, from, to);                      \
    }                                                                                              \
    static void do_##attention_(const float *q, const void *k, const void *v, float *y, int pos,   \
                                int T, int h, int g, int ctx, int d, int from, int to)             \
    {                                                                                              \
        attention_(q, (const type *)k, (const type *)v, y, pos, T, h, g, ctx, d, from, to);        \
    }                                                                                              \
    static void do_##window_(const float *q, const void *k, const void *v, float *y, int pos,      \
                             int T, int h, int g, int ctx, int d, int window, int every,           \
                             int layer, int from, int to)                                          \
    {                                                                                              \
        window_(q, (const type *)k, (const type *)v, y, pos, T, h, g, ctx, d, window, every,       \
                layer, from, to);                                                                  \
    }                                                                                              \
    static void literal_##attention_(const float *q, const void *c, float *y)                      \
    {                                                                                              \
        attention_(q, (const type *)c, (const type *)c, y, 40, 1, 6, 2, 41, 20, 0, 6);             \
    }
#define ROW(store_, rope_store_, attention_, window_)                                              \
    {                                                                                              \
        do_##store_##attention_, do_##rope_store_##attention_, do_##attention_, do_##window_,      \
            literal_##attention_                                                                   \
    }

CACHE(float, store_f32, rope_store_f32, attention_f32, window_f32)
CACHE(uint16_t, store_f16, rope_store_f16, attention_f16, window_f16)
CACHE(uint8_t, store_kv8, rope_store_kv8, attention_kv8, window_kv8)
static const Kernels kernels = {"plain C",
                                {ROW(store_f32, rope_store_f32, attention_f32, window_f32),
                                 ROW(store_f16, rope_store_f16, attention_f16, window_f16),
                                 ROW(store_kv8, rope_store_kv8, attention_kv8, window_kv8)}};
#ifdef TEST_AVX2
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "../../compiler/codegen-c/kernels/avx2_kv.c"
CACHE(float, store_f32, rope_store_f32, attention_f32_avx2, window_f32_avx2)
CACHE(uint16_t, store_f16_avx2, rope_store_f16_avx2, attention_f16_avx2, window_f16_avx2)
CACHE(uint8_t, store_kv8_avx2, rope_store_kv8_avx2, attention_kv8_avx2, window_kv8_avx2)
static const Kernels kernels_avx2 = {
    "AVX2",
    {ROW(store_f32, rope_store_f32, attention_f32_avx2, window_f32_avx2),
     ROW(store_f16_avx2, rope_store_f16_avx2, attention_f16_avx2, window_f16_avx2),
     ROW(store_kv8_avx2, rope_store_kv8_avx2, attention_kv8_avx2, window_kv8_avx2)}};
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

/* Of other machines, those that have kernels for f32 caches alone. */
#if defined(__aarch64__) || defined(__wasm_simd128__)
#include "../kernels/machine.h"
#ifdef __aarch64__
CACHE(float, store_f32, rope_store_f32, attention_f32_neon, window_f32_neon)
#define VECTORS ROW(store_f32, rope_store_f32, attention_f32_neon, window_f32_neon)
#else
CACHE(float, store_f32, rope_store_f32, attention_f32_simd128, window_f32_simd128)
#define VECTORS ROW(store_f32, rope_store_f32, attention_f32_simd128, window_f32_simd128)
#endif
static const Kernels kernels_vectors = {
    "vectors",
    {VECTORS, ROW(store_f16, rope_store_f16, attention_f16, window_f16),
     ROW(store_kv8, rope_store_kv8, attention_kv8, window_kv8)}};
#endif

static const Kernels *sets[2] = {&kernels};
static int nset = 1;

/* ---- caches ---- */

static size_t cache_bytes(int format, int kv_heads, int context, int d)
{
    const size_t n = (size_t)(kv_heads * context * d);
    if (format == KV8)
        return (n + 63) / 64 * 64 + (size_t)(kv_heads * context) * sizeof(float);
    return n * (format == F32 ? sizeof(float) : 2);
}

/* Of int8: where row `row` of all has its scale. */
static float *scale_of(const void *cache, int rows, int row, int d)
{
    return (float *)cache + ((size_t)(rows * d) + 63) / 64 * 16 + row;
}

/* What a cache of `rows` rows holds at element i of one. */
static double held(int format, const void *cache, int rows, int row, int d, int i)
{
    const size_t at = (size_t)row * (size_t)d + (size_t)i;
    if (format == F32)
        return (double)((const float *)cache)[at];
    if (format == F16)
        return half_value(((const uint16_t *)cache)[at]);
    return (double)((const int8_t *)cache)[at] * (double)*scale_of(cache, rows, row, d);
}

/* Makes a row one that nobody may look at. */
static void spoil(int format, void *cache, int rows, int row, int d)
{
    for (int i = 0; i < d; i++) {
        const size_t at = (size_t)row * (size_t)d + (size_t)i;
        if (format == F32)
            ((float *)cache)[at] = NAN;
        else if (format == F16)
            ((uint16_t *)cache)[at] = 0x7e00;
        else
            *scale_of(cache, rows, row, d) = NAN;
    }
}

/* ---- f16 ---- */

static uint16_t stored(const Kernels *k, float x)
{
    uint16_t h[9];
    const float in[9] = {x, x, x, x, x, x, x, x, x};
    k->cache[F16].store(in, h, 0, 1, 1, 1, 9, 0, 1);
    assert_int_equal(h[0], h[8]);
    return h[8];
}

static uint16_t stored_bits(const Kernels *k, uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return stored(k, x);
}

/* Every half, every middle between two, and their neighbours. */
static void test_half(void **state)
{
    (void)state;
    for (int s = 0; s < nset; s++) {
        for (int h = 0; h < 0x7c00; h++) {
            const float x = (float)half_value((uint16_t)h);
            const float up = h < 0x7bff ? (float)half_value((uint16_t)(h + 1)) : 65536.0f;
            const float middle = x + (up - x) / 2;
            assert_int_equal(stored(sets[s], x), h);
            assert_int_equal(stored(sets[s], -x), h | 0x8000);
            assert_int_equal(stored(sets[s], middle), h + (h & 1));
            assert_int_equal(stored(sets[s], -middle), (h + (h & 1)) | 0x8000);
            assert_int_equal(stored(sets[s], nextafterf(middle, 0.0f)), h);
            assert_int_equal(stored(sets[s], nextafterf(middle, 1e30f)), h + 1);
        }
        assert_int_equal(stored(sets[s], 1e30f), 0x7c00);
        assert_int_equal(stored(sets[s], -INFINITY), 0xfc00);
        assert_int_equal(stored(sets[s], 1e-45f), 0);
        assert_int_equal(stored_bits(sets[s], 0x7f800001u), 0x7e00); /* NaNs */
        assert_int_equal(stored_bits(sets[s], 0xffd54321u), 0xfe00 | (0x554321 >> 13 & 0x3ff));
        for (int i = 0; i < 200000; i++) {
            uint32_t bits = any() ^ any() << 16;
            assert_int_equal(stored_bits(sets[s], bits), stored_bits(sets[0], bits));
        }
    }
}

/* ---- stores ---- */

/* Whether a row holds x as the format has it. */
static void check_row(int format, const void *cache, int rows, int row, int d, const float *x)
{
    float most = 0.0f;
    for (int i = 0; i < d; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (format == KV8)
        assert_true(*scale_of(cache, rows, row, d) == most / 127.0f);
    for (int i = 0; i < d; i++) {
        volatile float product = x[i] * (most > 0.0f ? 127.0f / most : 0.0f); /* rounds it */
        if (format == F32)
            assert_true(held(format, cache, rows, row, d, i) == (double)x[i]);
        else if (format == F16)
            assert_int_equal(((const uint16_t *)cache)[row * d + i], f32_to_f16(x[i]));
        else
            assert_int_equal(((const int8_t *)cache)[row * d + i], (int)nearbyintf(product));
    }
}

static void check_untouched(int format, const void *cache, int rows, int row, int d)
{
    const size_t bytes = (size_t)d * (format == F32 ? 4 : format == F16 ? 2 : 1);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const uint8_t *)cache)[(size_t)row * bytes + i], 0x5a);
    for (size_t i = 0; format == KV8 && i < sizeof(float); i++)
        assert_int_equal(((const uint8_t *)scale_of(cache, rows, row, d))[i], 0x5a);
}

static void check_store(int format, int T, int kv_heads, int d, int rot, int mode)
{
    enum { POS = 2 };
    const int context = POS + T + 2, all = T * kv_heads * d;
    const size_t size = cache_bytes(format, kv_heads, context, d);
    float *x = reals(all), *table = floats(T * rot + 1), *y = floats(all);
    uint8_t *first = NULL;
    rope_table(5, table, rot, 10000.0f, 0, T);
    rope(x, table, y, T, kv_heads, kv_heads * d, rot, mode, 0, kv_heads);
    for (int s = 0; s < nset; s++) {
        const Cache *k = &sets[s]->cache[format];
        uint8_t *a = (uint8_t *)keep(size, 1), *b = (uint8_t *)keep(size, 1);
        memset(a, 0x5a, size);
        memset(b, 0x5a, size);
        k->rope_store(x, table, a, POS, T, kv_heads, context, d, rot, mode, 0, kv_heads);
        for (int g = kv_heads - 1; g >= 0; g--)
            for (int t = 0; t < T; t++)
                k->store(y + t * kv_heads * d, b, POS + t, 1, kv_heads, context, d, g, g + 1);
        for (int row = 0; row < kv_heads * context; row++) {
            const int t = row % context - POS;
            if (t >= 0 && t < T)
                check_row(format, a, kv_heads * context, row, d,
                          y + (t * kv_heads + row / context) * d);
            else
                check_untouched(format, a, kv_heads * context, row, d);
        }
        first = first ? first : a;
        same(a, b, size);
        same(a, first, size); /* AVX2 as scalar */
    }
    done();
}

static void test_store(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (int mode = BN_NEOX; mode <= BN_NORM; mode++) {
            for (int d = 1; d <= 70; d += d < 40 ? 1 : 15)
                for (int rot = d / 4 * 2; rot <= d; rot += 2)
                    check_store(f, 1 + rot % 4, 1 + rot % 3, d, rot, mode);
            check_store(f, 3, 5, 128, 128, mode);
        }
}

/* ---- attention ---- */

typedef struct Case {
    int format, pos, T, heads, kv_heads, context, d;
    float *q;
    void *k, *v;
} Case;

/* Result and bound of one query over rows [from, n) of a group. A score that is off by e moves
 * every weight by a factor within exp(-2 e) .. exp(2 e), and so a value by no more than
 * (exp(2 e) - 1) max |v|. Queries over int8 are off by half a step of max |q| / 8191 an element. */
static double reference(const Case *c, const float *q, int g, int from, int n, double *y)
{
    const int d = c->d, f = c->format, rows = c->kv_heads * c->context, row = g * c->context;
    double *p = (double *)malloc((size_t)n * sizeof *p), top = -1e300, sum = 0.0, off = 0.0;
    double most = 0.0, size = 0.0;
    assert_non_null(p);
    for (int i = 0; i < d; i++)
        most = fabs((double)q[i]) > most ? fabs((double)q[i]) : most;
    for (int j = from; j < n; j++) {
        double all = 0.0, keys = 0.0;
        p[j] = 0.0;
        for (int i = 0; i < d; i++) {
            const double k = held(f, c->k, rows, row + j, d, i);
            p[j] += q[i] * k;
            all += fabs(q[i] * k);
            keys += fabs(k);
        }
        all = 3e-7 * all + (f == KV8 ? keys * most / 8191.0 / 2.0 : 0.0);
        off = all > off ? all : off;
        p[j] /= sqrt((double)d);
        top = p[j] > top ? p[j] : top;
    }
    for (int j = from; j < n; j++)
        sum += p[j] = exp(p[j] - top);
    for (int i = 0; i < d; i++) {
        y[i] = 0.0;
        for (int j = from; j < n; j++) {
            const double v = held(f, c->v, rows, row + j, d, i);
            y[i] += p[j] / sum * v;
            size = fabs(v) > size ? fabs(v) : size;
        }
    }
    free(p);
    return size * (expm1(2.0 * off / sqrt((double)d)) + 6e-7);
}

static Case attention_case(int format, int pos, int T, int heads, int kv_heads, int d, float span)
{
    Case c = {format, pos, T, heads, kv_heads, pos + T + 3, d, reals(T * heads * d), NULL, NULL};
    const size_t size = cache_bytes(format, kv_heads, c.context, d);
    const float *x = reals(c.context * kv_heads * d), *z = reals(c.context * kv_heads * d);
    for (int i = 0; i < T * heads * d; i++)
        c.q[i] *= span;
    c.k = input(size);
    c.v = input(size);
    kernels.cache[format].store(x, c.k, 0, c.context, kv_heads, c.context, d, 0, kv_heads);
    kernels.cache[format].store(z, c.v, 0, c.context, kv_heads, c.context, d, 0, kv_heads);
    for (int row = 0; row < kv_heads * c.context; row++)
        if (row % c.context >= pos + T) {
            spoil(format, c.k, kv_heads * c.context, row, d);
            spoil(format, c.v, kv_heads * c.context, row, d);
        }
    return c;
}

static void attend_some(const Kernels *s, const Case *c, float *y, int t, int T, int from, int to)
{
    const int width = c->heads * c->d;
    s->cache[c->format].attention(c->q + t * width, c->k, c->v, y + t * width, c->pos + t, T,
                                  c->heads, c->kv_heads, c->context, c->d, from, to);
}

static void check_attention(int format, int pos, int T, int heads, int kv_heads, int d, float span)
{
    const Case c = attention_case(format, pos, T, heads, kv_heads, d, span);
    const int all = T * heads * d, each = heads / kv_heads;
    double *want = (double *)input((size_t)d * sizeof *want);
    for (int s = 0; s < nset; s++) {
        float *y = floats(all), *z = floats(all);
        attend_some(sets[s], &c, y, 0, T, 0, heads);
        for (int t = 0; t < T; t++)
            for (int h = 0; h < heads; h++) {
                const int at = (t * heads + h) * d;
                const double bound = reference(&c, c.q + at, h / each, 0, pos + t + 1, want);
                for (int i = 0; i < d; i++)
                    near_(y[at + i], want[i], 1.0, bound);
            }
        for (int t = T - 1; t >= 0; t--) /* token by token, head by head: the same bits */
            for (int h = 0; h < heads; h++)
                attend_some(sets[s], &c, z, t, 1, h, h + 1);
        same(y, z, all);
        for (int threads = 2; threads <= 5; threads++) {
            memset(z, 0x5a, (size_t)all * sizeof *z);
            for (int i = 0; i < threads; i++)
                attend_some(sets[s], &c, z, 0, T, heads * i / threads, heads * (i + 1) / threads);
            same(y, z, all);
        }
    }
    done();
}

static void test_attention(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++) {
        for (int d = 1; d <= 40; d++)
            check_attention(f, d * 7 % 71, 1 + d % 4, 2 * (1 + d % 9), 2, d, 1.0f);
        check_attention(f, 0, 1, 1, 1, 128, 1.0f);
        check_attention(f, 0, 70, 4, 2, 16, 3.0f);
        check_attention(f, 13, 20, 4, 1, 64, 3.0f);
        check_attention(f, 300, 2, 20, 5, 128, 5.0f);
        check_attention(f, 31, 3, 6, 1, 100, 30.0f);
        check_attention(f, 40, 9, 5, 5, 80, 2.0f);
        check_attention(f, 65, 2, 3, 3, 512, 1.0f);
    }
}

static void window_some(const Kernels *s, const Case *c, const int *how, float *y, int t, int T,
                        int from, int to)
{
    const int width = c->heads * c->d;
    s->cache[c->format].window(c->q + t * width, c->k, c->v, y + t * width, c->pos + t, T, c->heads,
                               c->kv_heads, c->context, c->d, how[0], how[1], how[2], from, to);
}

/* Windows of `window` positions in layer `layer`; layers 2, 5, 8 ... see everything. */
static void check_window(int format, int pos, int T, int heads, int kv_heads, int d, int window,
                         int layer)
{
    const Case c = attention_case(format, pos, T, heads, kv_heads, d, 2.0f);
    const int how[] = {window, 3, layer}, all = T * heads * d, each = heads / kv_heads;
    const int whole = layer % 3 == 2;
    double *want = (double *)input((size_t)d * sizeof *want);
    for (int row = 0; row < kv_heads * c.context && !whole; row++)
        if (row % c.context < pos + 1 - window) { /* in nobody's sight */
            spoil(format, c.k, kv_heads * c.context, row, d);
            spoil(format, c.v, kv_heads * c.context, row, d);
        }
    for (int s = 0; s < nset; s++) {
        float *y = floats(all), *z = floats(all);
        window_some(sets[s], &c, how, y, 0, T, 0, heads);
        for (int t = 0; t < T; t++)
            for (int h = 0; h < heads; h++) {
                const int at = (t * heads + h) * d, n = pos + t + 1;
                const int from = whole || n < window ? 0 : n - window;
                const double bound = reference(&c, c.q + at, h / each, from, n, want);
                for (int i = 0; i < d; i++)
                    near_(y[at + i], want[i], 1.0, bound);
            }
        for (int t = T - 1; t >= 0; t--)
            for (int h = 0; h < heads; h++)
                window_some(sets[s], &c, how, z, t, 1, h, h + 1);
        same(y, z, all);
    }
    done();
}

static void test_window(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (int layer = 0; layer < 6; layer++) {
            check_window(f, 0, 20, 4, 2, 16, 8, layer);
            check_window(f, 100, 9, 6, 2, 24, 33, layer);
            check_window(f, 30, 5, 3, 3, 20, 32, layer);
            check_window(f, 70, 1, 4, 1, 64, 1, layer);
            check_window(f, 5, 3, 2, 1, 16, 100, layer);
        }
}

/* A copy of the kernel whose sizes are literals gives the same bits. */
static void test_literal(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (int s = 0; s < nset; s++) {
            Case c = attention_case(f, 40, 1, 6, 2, 20, 2.0f);
            void *cache = input(cache_bytes(f, 2, 41, 20));
            const float *x = reals(41 * 2 * 20);
            float *y = floats(120), *z = floats(120);
            kernels.cache[f].store(x, cache, 0, 41, 2, 41, 20, 0, 2);
            sets[s]->cache[f].literal(c.q, cache, y);
            sets[s]->cache[f].attention(c.q, cache, cache, z, 40, 1, 6, 2, 41, 20, 0, 6);
            same(y, z, 120);
            done();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),      cmocka_unit_test(test_store),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_window),
        cmocka_unit_test(test_literal),
    };
#ifdef TEST_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[nset++] = &kernels_avx2;
#endif
#ifdef VECTORS
    sets[nset++] = &kernels_vectors;
#endif
    if (nset == 1)
        print_message("no AVX2 here: those kernels are skipped\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
