/* test_formats.c: decoders of element formats.
 *
 * One idea: each packed layout is written a second time here, as a function from a value's place
 * to its byte and shift, and random tensors must decode to the codes that went in. Block formats
 * of ggml are compared with blocks that an independent decoder read (../shared/golden/quants).
 */
#include "ir/ir.h" /* before cmocka.h, which makes fail a macro */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t seed = 1;
static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* ---- the table ---- */

static void names_and_ids(void **state)
{
    (void)state;
    assert_int_equal(fmt_by_name("tq2_0"), FMT_TQ2_0);
    assert_int_equal(fmt_by_name("q9"), FMT_COUNT);
    assert_int_equal(fmt_by_gguf(36), FMT_I2_S);
    assert_int_equal(fmt_by_gguf(-1), FMT_COUNT);
    assert_int_equal(fmt_by_gguf(12), FMT_Q4_K);
    assert_int_equal(fmt_by_gguf(42), FMT_Q2_0);
    assert_int_equal(fmt_by_gguf(16), FMT_COUNT);
    for (int f = 0; f < FMT_COUNT; f++)
        assert_int_equal(fmt_by_name(fmt_info[f].name), f);
}

static void extents(void **state)
{
    (void)state;
    assert_int_equal(fmt_extent(FMT_F32, 3, 5), 60);
    assert_int_equal(fmt_extent(FMT_Q8_0, 2, 64), 136);
    assert_int_equal(fmt_extent(FMT_Q8_0, 2, 48), 0);
    assert_int_equal(fmt_extent(FMT_TQ1_0, 4, 512), 432);
    assert_int_equal(fmt_extent(FMT_I2_S, 4, 96), 128); /* blocks run across rows */
    assert_int_equal(fmt_extent(FMT_I2_S, 1, 96), 0);
    assert_int_equal(fmt_extent(FMT_I2_S_ARM64, 1, 64), 48);
    assert_int_equal(fmt_extent(FMT_I2_S_ROW4, 4, 128), 160);
    assert_int_equal(fmt_extent(FMT_I2_S_ROW4, 2, 128), 0);
    assert_int_equal(fmt_extent(FMT_TERN, 2, 128), 0);
    assert_int_equal(fmt_extent(FMT_F32, 0, 5), 0);
    assert_int_equal(fmt_extent(FMT_F32, INT64_MAX, 2), 0);
    assert_int_equal(fmt_extent(FMT_F32, INT64_MAX / 2, 2), 0);
    assert_int_equal(fmt_extent(FMT_I2_S, INT64_MAX / 128, 128), INT64_MAX / 128 * 32 + 32);
}

/* ---- half precision ---- */

static double half_value(unsigned h)
{
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double m = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -m : m;
}

static void every_half_widens_and_returns(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = f16_to_float((uint16_t)h);
        if ((h & 0x7fff) < 0x7c00)
            assert_true((double)f == half_value(h) && !signbit(f) == !(h & 0x8000));
        else
            assert_true((h & 0x3ff) ? isnan(f) : isinf(f) && !signbit(f) == !(h & 0x8000));
        unsigned back = float_to_f16(f);
        assert_int_equal(back, (h & 0x7fff) > 0x7c00 ? h | 0x200 : h);
    }
}

/* Between two neighbours the nearer one wins, in the middle the even one. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) {
        float low = (float)half_value(h), high = (float)half_value(h + 1);
        float middle = (low + high) / 2; /* exact: f32 has 13 bits more */
        assert_int_equal(float_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(float_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(float_to_f16(-nextafterf(middle, 1e9f)), (h + 1) | 0x8000);
    }
    assert_int_equal(float_to_f16(65519.99f), 0x7bff);
    assert_int_equal(float_to_f16(65520), 0x7c00);
    assert_int_equal(float_to_f16(1e30f), 0x7c00);
    assert_int_equal(float_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(float_to_f16(1e-30f), 0);
    assert_int_equal(float_to_f16(-1e-30f), 0x8000);
}

/* ---- layouts, written from the value's side ---- */

typedef struct Place {
    int64_t byte;
    int shift;
} Place;

static Place place_of(Fmt fmt, int64_t at, int64_t cols)
{
    int64_t row = at / cols, j;
    switch (fmt) {
    case FMT_I2_S:
        j = at % 128;
        return (Place){at / 128 * 32 + j % 32, 6 - 2 * (int)(j / 32)};
    case FMT_I2_S_ARM64:
        j = at % 64;
        return (Place){at / 64 * 16 + j % 16, 6 - 2 * (int)(j / 16)};
    case FMT_I2_S_ROW4:
        return (Place){row / 4 * cols + at % cols, 6 - 2 * (int)(row % 4)};
    case FMT_Q2_0:
        return (Place){at / 64 * 18 + 2 + at % 64 / 4, 2 * (int)(at % 4)};
    case FMT_PQ2_0:
        return (Place){at / 128 * 34 + 2 + at % 128 / 4, 2 * (int)(at % 4)};
    default: /* TQ2_0 */
        j = at % 256;
        return (Place){at / 256 * 66 + j / 128 * 32 + j % 32, 2 * (int)(j / 32 % 4)};
    }
}

/* A tensor of random codes 0..3 in *codes (3 is invalid and reads as 2). */
static Tensor packed(Fmt fmt, int64_t rows, int64_t cols, int8_t *codes, float scale)
{
    size_t size = fmt_extent(fmt, rows, cols);
    uint8_t *data = calloc(1, size);
    assert_true(size > 0 && data);
    for (int64_t i = 0; i < rows * cols; i++) {
        unsigned code = draw() % 4;
        Place p = place_of(fmt, i, cols);
        data[p.byte] |= (uint8_t)(code << p.shift);
        codes[i] = (int8_t)((int)code - 1);
    }
    uint16_t half = float_to_f16(scale);
    const FmtInfo *f = &fmt_info[fmt];
    bool first = fmt == FMT_Q2_0 || fmt == FMT_PQ2_0;
    for (size_t b = 0; !f->tail && b < size; b += (size_t)f->bytes)
        memcpy(data + b + (first ? 0 : f->bytes - 2), &half, 2);
    if (f->tail)
        memcpy(data + rows * cols / 4, &scale, 4);
    return (Tensor){"t", fmt, rows, cols, data, size};
}

/* Every range (in steps of a prime) decodes to the same as the whole. */
static void check_layout(Fmt fmt, int64_t rows, int64_t cols)
{
    int64_t n = rows * cols;
    int8_t *want = malloc((size_t)n), *got = malloc((size_t)n);
    float *floats = malloc((size_t)n * sizeof *floats);
    Tensor t = packed(fmt, rows, cols, want, 0.375f);
    for (int64_t first = 0; first < n; first += 61)
        for (int64_t k = 0; k <= n - first; k += 1 + k / 2) {
            tensor_codes(&t, first, k, got);
            assert_memory_equal(got, want + first, (size_t)k);
            tensor_floats(&t, first, k, floats);
            for (int64_t i = 0; i < k; i++)
                assert_true(floats[i] == 0.375f * (float)want[first + i]);
        }
    assert_true(tensor_scale(&t, n - 1) == 0.375f);
    free((void *)t.data);
    free(want);
    free(got);
    free(floats);
}

static void two_bit_layouts(void **state)
{
    (void)state;
    check_layout(FMT_I2_S, 4, 128);
    check_layout(FMT_I2_S, 8, 80); /* blocks that cross rows */
    check_layout(FMT_I2_S_ARM64, 3, 192);
    check_layout(FMT_I2_S_ARM64, 8, 72);
    check_layout(FMT_I2_S_ROW4, 8, 144);
    check_layout(FMT_I2_S_ROW4, 12, 32);
    check_layout(FMT_TQ2_0, 3, 512);
    check_layout(FMT_Q2_0, 3, 192);
    check_layout(FMT_PQ2_0, 5, 256);
}

static void ternary_digits(void **state)
{
    (void)state;
    /* Byte v of five digits d0..d4 is the least fraction whose digits they are. */
    for (int v = 0; v < 243; v++) {
        uint8_t block[54] = {[0] = (uint8_t)((v * 256 + 242) / 243)};
        int8_t got[256];
        Tensor t = {"t", FMT_TQ1_0, 1, 256, block, sizeof block};
        tensor_codes(&t, 0, 256, got);
        static const int power[5] = {81, 27, 9, 3, 1};
        for (int k = 0; k < 5; k++)
            assert_int_equal(got[32 * k], v / power[k] % 3 - 1);
    }
}

/* ---- plain formats ---- */

static void plain_ranges(Fmt fmt)
{
    enum { N = 96 };
    uint8_t data[N * 4];
    Tensor t = {"t", fmt, 1, N, data, fmt_extent(fmt, 1, N)};
    float all[N], part[N];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(draw() % 0x70); /* no infinities, no NaN */
    tensor_floats(&t, 0, N, all);
    for (int64_t first = 0; first < N; first++)
        for (int64_t k = 0; k <= N - first; k += 5) {
            tensor_floats(&t, first, k, part);
            assert_memory_equal(part, all + first, (size_t)k * sizeof *part);
        }
    for (int i = 0; fmt == FMT_BF16 && i < N; i++) {
        uint32_t bits = (uint32_t)data[2 * i] << 16 | (uint32_t)data[2 * i + 1] << 24;
        assert_memory_equal(&bits, &all[i], 4);
    }
    for (int i = 0; fmt == FMT_F16 && i < N; i++)
        assert_true((double)all[i] == half_value(data[2 * i] | (unsigned)data[2 * i + 1] << 8));
}

/* Every range of a block format is a part of the whole. */
static void block_ranges(void **state)
{
    (void)state;
    enum { N = 512 };
    uint8_t data[N * 8];
    float all[N], part[N];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(draw() % 0x70);
    for (Fmt fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!float_block[fmt])
            continue;
        Tensor t = {"t", fmt, 1, N, data, fmt_extent(fmt, 1, N)};
        assert_true(fmt_decodes(fmt) && t.size && t.size <= sizeof data);
        tensor_floats(&t, 0, N, all);
        for (int64_t first = 0; first < N; first += 13)
            for (int64_t k = 0; k <= N - first; k += 1 + k / 2) {
                tensor_floats(&t, first, k, part);
                assert_memory_equal(part, all + first, (size_t)k * sizeof *part);
            }
    }
}

static void plain_numbers(void **state)
{
    (void)state;
    static const int64_t i64[3] = {-3, 1 << 24, -((int64_t)1 << 62)};
    static const int32_t i32[3] = {-3, 1 << 24, INT32_MIN};
    static const int16_t i16[3] = {-3, 77, INT16_MIN};
    static const int8_t i8[3] = {-3, 77, INT8_MIN};
    static const double f64[3] = {-3, 0.5, 0.1};
    const struct {
        Fmt fmt;
        const void *data;
        float want[3];
    } cases[] = {{FMT_I64, i64, {-3, 0x1p24f, -0x1p62f}},
                 {FMT_I32, i32, {-3, 0x1p24f, -0x1p31f}},
                 {FMT_I16, i16, {-3, 77, -32768}},
                 {FMT_I8, i8, {-3, 77, -128}},
                 {FMT_F64, f64, {-3, 0.5f, 0.1f}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float got[3];
        Tensor t = {"t", cases[i].fmt, 1, 3, cases[i].data, fmt_extent(cases[i].fmt, 1, 3)};
        tensor_floats(&t, 0, 3, got);
        assert_memory_equal(got, cases[i].want, sizeof got);
        assert_int_equal(fmt_as_floats(t.fmt), FMT_F32);
    }
}

/* What fmt_as_floats calls q8_0: the block's scale times a whole number. */
static void exact_in_q8(void **state)
{
    (void)state;
    enum { N = 256 };
    uint8_t data[N * 2];
    float v[N];
    int n = 0;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(draw() % 0x70);
    for (Fmt fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!fmt_decodes(fmt) || fmt_as_floats(fmt) != FMT_Q8_0)
            continue;
        Tensor t = {"t", fmt, 1, N, data, fmt_extent(fmt, 1, N)};
        assert_true(t.size && t.size <= sizeof data && fmt_info[fmt].elems % 32 == 0);
        tensor_floats(&t, 0, N, v);
        for (int i = 0; i < N; i++) {
            float d = tensor_scale(&t, i), q = roundf(v[i] / d);
            assert_true(d == f16_to_float(float_to_f16(d)) && fabsf(q) < 128 && q * d == v[i]);
        }
        n++;
    }
    assert_true(n >= 8);
}

static void plain_formats(void **state)
{
    (void)state;
    plain_ranges(FMT_F32);
    plain_ranges(FMT_F16);
    plain_ranges(FMT_BF16);
    plain_ranges(FMT_Q8_0);
}

/* ---- ggml blocks, against an independent decoder ---- */

static void check_golden(Session *s, const char *folder, const char *fmt_name)
{
    size_t nblock, nfloat;
    const char *path = format(s, "%s/%s.blocks", folder, fmt_name);
    const uint8_t *blocks = (const uint8_t *)file_read(s, path, &nblock);
    const char *want = file_read(s, format(s, "%s/%s.f32", folder, fmt_name), &nfloat);
    Fmt fmt = fmt_by_name(fmt_name);
    int64_t n = (int64_t)(nfloat / sizeof(float));
    Tensor t = {fmt_name, fmt, 1, n, blocks, nblock};
    float *got = NEW_ARRAY(s, float, n);
    assert_int_equal(fmt_extent(fmt, 1, n), nblock);
    tensor_floats(&t, 0, n, got);
    for (int64_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, want + 4 * i, 4);
        if (memcmp(&got[i], &w, 4) != 0)
            fail_msg("%s: value %lld is %g, expected %g", fmt_name, (long long)i, (double)got[i],
                     (double)w);
    }
}

static void golden_blocks(void **state)
{
    (void)state;
    const char *shared = getenv("BN_SHARED") ? getenv("BN_SHARED") : "../shared";
    Session s;
    session_start(&s, stderr);
    const char *folder = format(&s, "%s/golden/quants", shared);
    FILE *f = fopen(format(&s, "%s/index.txt", folder), "r");
    if (!f) {
        session_end(&s);
        print_message("skipped: no %s/golden/quants (set BN_SHARED)\n", shared);
        skip();
    }
    fclose(f);
    static const char *const formats[] = {"q4_0",   "q4_1",   "q5_0",  "q5_1", "q8_0",
                                          "q2_k",   "q3_k",   "q4_k",  "q5_k", "q6_k",
                                          "iq4_nl", "iq4_xs", "tq1_0", "tq2_0"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        check_golden(&s, folder, formats[i]);
    session_end(&s);
}

/* Every format that codes_encode writes decodes to what went in. */
static void encoding_returns(void **state)
{
    (void)state;
    static const Fmt formats[] = {FMT_I2_S, FMT_TQ1_0, FMT_TQ2_0};
    enum { N = 1024 };
    int8_t codes[N], back[N];
    uint8_t bytes[N + 32];
    for (int i = 0; i < N; i++)
        codes[i] = (int8_t)(draw() % 3 - 1);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        Fmt fmt = formats[i];
        size_t size = codes_encode(fmt, codes, N, 0.375f, bytes);
        size += codes_tail(fmt, 0.375f, bytes + size);
        assert_int_equal(size, fmt_extent(fmt, 2, N / 2));
        Tensor t = {.fmt = fmt, .rows = 2, .cols = N / 2, .data = bytes, .size = size};
        tensor_codes(&t, 0, N, back);
        assert_memory_equal(codes, back, N);
        assert_true(tensor_scale(&t, N - 1) == 0.375f);
    }
    uint8_t halves[2 * N];
    float value[N];
    assert_int_equal(codes_encode(FMT_F16, codes, N, 0.375f, halves), 2 * N);
    assert_int_equal(codes_tail(FMT_F16, 0.375f, halves), 0);
    Tensor t = {.fmt = FMT_F16, .rows = 1, .cols = N, .data = halves, .size = 2 * N};
    tensor_floats(&t, 0, N, value);
    for (int i = 0; i < N; i++)
        assert_true(value[i] == 0.375f * (float)codes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_ids),
        cmocka_unit_test(extents),
        cmocka_unit_test(every_half_widens_and_returns),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(two_bit_layouts),
        cmocka_unit_test(ternary_digits),
        cmocka_unit_test(plain_formats),
        cmocka_unit_test(block_ranges),
        cmocka_unit_test(plain_numbers),
        cmocka_unit_test(exact_in_q8),
        cmocka_unit_test(golden_blocks),
        cmocka_unit_test(encoding_returns),
    };
    return cmocka_run_group_tests_name("formats", tests, NULL, NULL);
}
