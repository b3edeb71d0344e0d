/* kernel_case.h: what the tests of kernels share: memory between guards, numbers, comparisons.
 * Outputs lie between guard bytes, inputs end where malloc says they do (AddressSanitizer looks
 * there). */
#ifndef KERNEL_CASE_H
#define KERNEL_CASE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64, BLOCKS = 64 };
static struct Kept {
    uint8_t *base;
    size_t size; /* 0: an input, without guards */
} block[BLOCKS];
static int nblock;

static inline void *keep(size_t size, int guarded)
{
    size_t extra = guarded ? 2 * GUARD : 0;
    uint8_t *p = (uint8_t *)malloc(size + extra);
    assert_true(p && nblock < BLOCKS);
    memset(p, 0xa5, size + extra);
    block[nblock].base = p;
    block[nblock++].size = guarded ? size : 0;
    return guarded ? p + GUARD : p;
}

#define input(size) keep(size, 0)
static inline float *floats(int n)
{
    return (float *)keep((size_t)n * sizeof(float), 1);
}

/* The frequencies of a rope_table over `rot` values, by the base 10000. */
static inline const double *rope_powers(int rot)
{
    double *freq = (double *)keep((size_t)rot / 2 * sizeof(double), 1);
    for (int j = 0; j < rot / 2; j++)
        freq[j] = pow(10000.0, -2.0 * j / rot);
    return freq;
}

/* Ends a case: looks at every guard and frees everything. */
static inline void done(void)
{
    while (nblock > 0) {
        struct Kept *b = &block[--nblock];
        for (size_t i = 0; b->size && i < GUARD; i++) {
            assert_int_equal(b->base[i], 0xa5);
            assert_int_equal(b->base[GUARD + b->size + i], 0xa5);
        }
        free(b->base);
    }
}

static inline uint32_t any(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static inline float real(void)
{
    return (float)((int)(any() % 2000001u) - 1000000) * 1e-6f;
}

static inline float *reals(int n)
{
    float *x = (float *)input((size_t)n * sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] = real();
    return x;
}

#define same(a, b, n) assert_memory_equal(a, b, (size_t)(n) * sizeof *(a))

/* |got - want| within `rel` of `size`, the magnitude of what was summed. */
static inline void near_(double got, double want, double size, double rel)
{
    if (!(fabs(got - want) <= rel * size + 1e-30))
        fail_msg("got %.9g, want %.9g, off by %.3g of %.3g", got, want, got - want, size);
}

static inline double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

#endif
