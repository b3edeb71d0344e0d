/* test_encode.c: encoders of float formats.
 *
 * One idea: what comes back from decode(encode(x)) is bounded block by block, by the step of the
 * format and by what plain rounding (ggml's published reference formulas, written again here)
 * loses.
 */
#include "ir/ir.h" /* before cmocka.h, which makes fail a macro */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 400, MOST = 256 };
static uint32_t seed = 7;

static float draw(void) /* -1 to 1 */
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)(seed & 0xffffff00u) * 0x1p-31f;
}

/* Blocks of many kinds: bells of all sizes, one outlier, one sign, zeros. */
static void fill(float *x, int n, int kind)
{
    float size = ldexpf(1, kind % 20 - 10);
    for (int i = 0; i < n; i++)
        x[i] = size * (draw() + draw() + draw());
    if (kind % 5 == 1)
        x[kind % n] *= 20;
    for (int i = 0; kind % 5 == 2 && i < n; i++)
        x[i] = fabsf(x[i]);
    if (kind % 7 == 3)
        memset(x + n / 4, 0, sizeof *x * (size_t)(n / 2));
    if (kind % 50 == 49)
        memset(x, 0, sizeof *x * (size_t)n);
}

static void back(Fmt fmt, const float *x, int n, uint8_t *b, float *y)
{
    size_t size = floats_encode(fmt, x, n, b);
    Tensor t = {.name = "t", .fmt = fmt, .rows = 1, .cols = n, .data = b, .size = size};
    assert_int_equal(size, fmt_extent(fmt, 1, n));
    tensor_floats(&t, 0, n, y);
}

static double squares(const float *x, const float *y, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sum;
}

static float most(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > fabsf(m) ? x[i] : m;
    return m;
}

static void plain_floats_round_to_nearest_even(void **state)
{
    float x[4] = {1.0f, 1.00390625f, 1.01171875f, -3.1415927f}, y[4];
    uint8_t b[16];
    (void)state;
    back(FMT_F32, x, 4, b, y);
    assert_memory_equal(x, y, sizeof x);
    back(FMT_BF16, x, 4, b, y); /* steps of 2^-7 at 1: halves go to the even one */
    assert_true(y[0] == 1 && y[1] == 1 && y[2] == 1.015625f && y[3] == -3.140625f);
    back(FMT_F16, x, 4, b, y);
    assert_true(y[1] == x[1] && y[2] == x[2] && y[3] == -3.140625f);
}

/* d = max|x| / 127, q = round(x / d): the bytes of the reference. */
static void q8_0_is_the_reference(void **state)
{
    float x[32], y[32];
    uint8_t b[34], want[34];
    (void)state;
    for (int kind = 0; kind < BLOCKS; kind++) {
        fill(x, 32, kind);
        back(FMT_Q8_0, x, 32, b, y);
        float d = fabsf(most(x, 32)) / 127, inverse = d != 0 ? 1.0f / d : 0;
        uint16_t half = float_to_f16(d);
        memcpy(want, &half, 2);
        for (int i = 0; i < 32; i++) {
            want[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
            /* half a step, and what the scale's rounding to f16 does to 127 steps */
            assert_true(fabsf(x[i] - y[i]) <=
                        d * (0.5f + 127 * 0x1p-11f) * 1.0001f + 127 * 0x1p-25f);
        }
        assert_memory_equal(b, want, sizeof b);
    }
}

/* d = (the extreme value) / -8, q = min(15, trunc(x / d + 8.5)). */
static void q4_0_loses_no_more_than_the_reference(void **state)
{
    float x[32], y[32], plain[32];
    uint8_t b[18];
    double ours = 0, theirs = 0;
    (void)state;
    for (int kind = 0; kind < BLOCKS; kind++) {
        fill(x, 32, kind);
        back(FMT_Q4_0, x, 32, b, y);
        float d = most(x, 32) / -8, inverse = d != 0 ? 1.0f / d : 0;
        float half = f16_to_float(float_to_f16(d));
        for (int i = 0; i < 32; i++) {
            int q = (int8_t)(x[i] * inverse + 8.5f);
            plain[i] = half * (float)((q < 15 ? q : 15) - 8);
        }
        double e = squares(x, y, 32), r = squares(x, plain, 32);
        assert_true(e <= r * (1 + 1e-5) + 1e-12);
        ours += kind % 20 == 10 ? e : 0;
        theirs += kind % 20 == 10 ? r : 0;
    }
    assert_true(ours < 0.95 * theirs);
}

/* Groups of 16 with a scale max / -32 each, and those in steps of the largest / -128. */
static void q6_k_loses_no_more_than_rounding(void **state)
{
    float x[MOST], y[MOST], plain[MOST];
    uint8_t b[210];
    double ours = 0, theirs = 0;
    (void)state;
    for (int kind = 0; kind < BLOCKS; kind++) {
        float scale[16];
        fill(x, 256, kind);
        back(FMT_Q6_K, x, 256, b, y);
        for (int g = 0; g < 16; g++)
            scale[g] = most(x + 16 * g, 16) / -32;
        float d = f16_to_float(float_to_f16(most(scale, 16) / -128));
        for (int i = 0; i < 256; i++) {
            float s = d != 0 ? roundf(scale[i / 16] / d) : 0;
            float step = d * (s > 127    ? 127
                              : s < -128 ? -128
                                         : s),
                  q = step != 0 ? roundf(x[i] / step) : 0;
            plain[i] = step * (q > 31 ? 31 : q < -32 ? -32 : q);
            /* A group's step is its own scale within half a step of d. */
            float bound = fabsf(scale[i / 16]) + 32 * fabsf(d);
            assert_true(fabsf(x[i] - y[i]) <= bound * 1.5f + 1e-6f);
        }
        double e = squares(x, y, 256), r = squares(x, plain, 256);
        assert_true(e <= r * (1 + 1e-5) + 1e-12);
        ours += kind % 20 == 10 ? e : 0;
        theirs += kind % 20 == 10 ? r : 0;
    }
    assert_true(ours < 0.9 * theirs);
}

/* Decoded blocks lie on the format's grid: encoding them once more loses little more, where
 * another scale seems to fit the grid. */
static void a_second_time_changes_little(void **state)
{
    static const Fmt fmts[] = {FMT_Q8_0, FMT_Q4_0, FMT_Q6_K};
    float x[MOST], y[MOST], z[MOST];
    uint8_t b[4 * MOST];
    (void)state;
    for (size_t f = 0; f < sizeof fmts / sizeof *fmts; f++)
        for (int kind = 0; kind < BLOCKS; kind++) {
            fill(x, MOST, kind);
            back(fmts[f], x, MOST, b, y);
            back(fmts[f], y, MOST, b, z);
            assert_true(squares(y, z, MOST) <= 0.25 * squares(x, y, MOST) + 1e-12);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_floats_round_to_nearest_even),
        cmocka_unit_test(q8_0_is_the_reference),
        cmocka_unit_test(q4_0_loses_no_more_than_the_reference),
        cmocka_unit_test(q6_k_loses_no_more_than_rounding),
        cmocka_unit_test(a_second_time_changes_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
