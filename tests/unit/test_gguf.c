/* test_gguf.c: the GGUF reader against valid, damaged and hostile files.
 *
 * One idea: a case is a field of one small valid file (gguf_file.h), a value to write there, and
 * the whole message that the user must then see.
 * With BN_WRITE_SEEDS=folder the valid variants are written there, as seeds for tests/fuzz.
 */
#include "gguf_file.h" /* first, because cmocka.h makes fail a macro */

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- parsing in a session of its own ---- */

typedef struct Run {
    Session s;
    Gguf *g;
    const uint8_t *data;
    size_t size;
    char *log;
    size_t loglen;
} Run;

static volatile double sink; /* keeps the reads */
/* Reads all that a file gives: the sanitizers check the bounds. */
static void touch(Gguf *g)
{
    for (int64_t i = 0; i < gguf_key_count(g); i++) {
        const GgufValue *v = gguf_key_at(g, i);
        assert_ptr_equal(gguf_get(g, v->key), v);
        for (int64_t k = 0; k < v->count; k++) {
            int64_t n;
            double x;
            size_t len = 0;
            if (v->type == GGUF_STRING && gguf_string_at(g, v, k, &len) && len)
                sink += gguf_string_at(g, v, k, &len)[len - 1];
            else if (gguf_int_at(v, k, &n) || gguf_float_at(v, k, &x))
                sink += 1;
        }
    }
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        float x;
        assert_ptr_equal(gguf_tensor_find(g, t->name), t);
        assert_non_null(gguf_type_name(g, t));
        sink += t->data[0] + t->data[t->size - 1];
        if (t->fmt == FMT_COUNT)
            continue;
        tensor_floats(t, 0, 1, &x);
        tensor_floats(t, t->rows * t->cols - 1, 1, &x);
    }
    sink += (double)gguf_hash(g);
}

static void parse(void *arg)
{
    Run *r = arg;
    r->g = gguf_parse(&r->s, "m.gguf", r->data, r->size);
    touch(r->g);
}

/* The bytes stand at the end of a block of their own, so that a read beyond them is seen. */
static bool run_parse(Run *r, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    *r = (Run){.data = copy, .size = size};
    FILE *log = open_memstream(&r->log, &r->loglen);
    session_start(&r->s, log);
    return session_try(&r->s, parse, r);
}

static void run_end(Run *r)
{
    FILE *log = r->s.log;
    session_end(&r->s);
    fclose(log);
    free(r->log);
    free((void *)r->data);
}

static void expect(const char *what, const uint8_t *data, size_t size, const char *want)
{
    Run r;
    bool ok = run_parse(&r, data, size);
    fflush(r.s.log);
    if (ok || strncmp(r.log, "m.gguf: error: ", 15) != 0 || strcmp(r.log + 15, want) != 0)
        fail_msg("%s: %s\n%sexpected\n%s", what, ok ? "accepted" : "message", r.log, want);
    run_end(&r);
}

/* ---- valid files ---- */

static void check_metadata(const Gguf *g)
{
    const char *s;
    size_t len;
    int64_t i;
    double x;
    bool on = false;
    assert_true(gguf_string(g, "general.architecture", &s, &len));
    assert_int_equal(len, 12);
    assert_memory_equal(s, "bitnet-b1.58", 12);
    assert_true(gguf_int(g, "general.file_type", &i) && i == 40);
    assert_true(gguf_int(g, "t.i8", &i) && i == -2);
    assert_true(gguf_float(g, "t.f32", &x) && x == 0.5);
    assert_true(gguf_bool(g, "t.bool", &on) && on);
    assert_false(gguf_int(g, "t.u64", &i)); /* beyond int64_t */
    assert_false(gguf_int(g, "t.f32", &i));
    assert_false(gguf_int(g, "t.bool", &i));
    assert_false(gguf_int(g, "t.ints", &i));
    assert_false(gguf_float(g, "t.i8", &x));
    assert_false(gguf_string(g, "t.strings", &s, &len));
    assert_null(gguf_get(g, "t.absent"));
    const GgufValue *v = gguf_get(g, "t.strings");
    assert_int_equal(gguf_string_count(v), 3);
    assert_memory_equal(gguf_string_at(g, v, 1, &len), "bc", 2);
    assert_int_equal(len, 2);
    gguf_string_at(g, v, 2, &len);
    assert_int_equal(len, 0);
    assert_int_equal(gguf_string_count(gguf_get(g, "t.none")), 0);
    assert_int_equal(gguf_string_count(gguf_get(g, "t.ints")), -1);
    const int32_t *ints = gguf_ints(g, "t.ints", &i);
    assert_true(i == 3 && ints[0] == 1 && ints[1] == -1 && ints[2] == 7);
    assert_null(gguf_floats(g, "t.absent", &i));
    assert_int_equal(i, 0);
}

static void check_tensors(Gguf *g, const File *f)
{
    const Tensor *a = gguf_tensor_find(g, "a.weight"), *b = gguf_tensor_find(g, "b.weight");
    const Tensor *c = gguf_tensor_find(g, "c.weight"), *d = gguf_tensor_find(g, "d.weight");
    assert_ptr_equal(gguf_tensor_at(g, 1), b);
    assert_null(gguf_tensor_find(g, "e.weight"));
    assert_true(a->fmt == FMT_F32 && a->rows == 1 && a->cols == 4 && a->size == 16);
    assert_true(b->fmt == FMT_I2_S && b->rows == 8 && b->cols == 64 && b->size == 160);
    assert_true(c->fmt == FMT_TQ2_0 && c->rows == 1 && c->cols == 256 && c->size == 66);
    assert_true(d->fmt == FMT_Q4_K && d->rows == 2 && d->cols == 256 && d->size == 288);
    assert_string_equal(gguf_type_name(g, d), "q4_k");
    assert_int_equal(gguf_tensor_info(d)->rank, 3);
    assert_int_equal(gguf_tensor_info(d)->at, f->at[DATA] + 384);
    float x[4];
    tensor_floats(a, 0, 4, x);
    assert_true(x[0] == 1 && x[3] == 4);
    assert_true(tensor_scale(b, 0) == 0.25f);
    gguf_i2s_layout(g, FMT_I2_S_ROW4);
    assert_int_equal(b->fmt, FMT_I2_S_ROW4);
    assert_string_equal(gguf_type_name(g, b), "i2_s_row4");
}

static void valid_files(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++)
        for (unsigned alignment = 32; alignment <= 64; alignment *= 2) {
            File f = build(version, alignment);
            Run r;
            assert_true(run_parse(&r, f.b, f.n));
            check_metadata(r.g);
            check_tensors(r.g, &f);
            assert_int_equal(r.g->version, version);
            run_end(&r);
            free(f.b);
        }
}

static void no_tensors_no_keys(void **state)
{
    (void)state;
    Run r;
    static const uint8_t empty[24] = "GGUF\3";
    assert_true(run_parse(&r, empty, sizeof empty));
    assert_null(gguf_get(r.g, "x"));
    run_end(&r);
}

/* ---- damaged files ---- */

#define AGAIN "fetch or convert it again\n"
#define CUT "It is cut short or damaged: " AGAIN
static const struct {
    enum Field field;
    uint64_t value;
    int bytes;
    const char *want;
} cases[] = {
    {VERSION, 1, 4,
     "GGUF version 1 (2023) at byte 4; bnc reads 2 and 3: convert the original model again\n"},
    {VERSION, 4, 4, "GGUF version 4 at byte 4; bnc reads 2 and 3\n"},
    {VERSION, 0x03000000, 4,
     "a big-endian GGUF file (version 03000000 at byte 4); bnc reads little-endian files: convert "
     "it, for instance with gguf_convert_endian.py\n"},
    {NTENSOR, 1ull << 60, 8,
     "the header claims 1152921504606846976 tensors at byte 8, but 1216 bytes have room for 36 at "
     "most: the file is cut short or damaged\n"},
    {NKEY, 1ull << 60, 8,
     "the header claims 1152921504606846976 keys at byte 16, but 1216 bytes have room for 85 at "
     "most: the file is cut short or damaged\n"},
    {KEY0_LEN, 1ull << 63, 8,
     "the file ends inside key 0: its name needs 9223372036854775808 bytes from byte 32 on, 1184 "
     "are left. " CUT},
    {KEY0_LEN, 0, 8,
     "the name of key 0 at byte 24 has 0 bytes, expected 1 to 65535: the file is damaged, convert "
     "it again\n"},
    {KEY0_TEXT, '\n', 1,
     "the name of key 0 at byte 24 holds bytes that are not printable UTF-8: "
     "'\\neneral.architecture'. The file is damaged, convert it again\n"},
    {KEY0_TYPE, 13, 4,
     "key 'general.architecture' has type 13 at byte 52, expected 0 to 12: the file is damaged or "
     "newer than this bnc\n"},
    {ARCH_LEN, 1000000, 8,
     "the file ends inside key 'general.architecture': its text needs 1000000 bytes from byte 64 "
     "on, 1152 are left. " CUT},
    {ALIGN_TYPE, GGUF_F32, 4,
     "general.alignment is not a number, expected a power of two up to 1048576: convert the model "
     "again\n"},
    {ALIGN, 0, 4,
     "general.alignment is 0, expected a power of two up to 1048576: convert the model again\n"},
    {ALIGN, 24, 4,
     "general.alignment is 24, expected a power of two up to 1048576: convert the model again\n"},
    {ALIGN, 1u << 30, 4,
     "general.alignment is 1073741824, expected a power of two up to 1048576: convert the model "
     "again\n"},
    {STRINGS_ITEM, GGUF_ARRAY, 4,
     "key 't.strings' at byte 130 is an array of arrays, which no model uses\n"},
    {STRINGS_ITEM, 99, 4,
     "key 't.strings' has item type 99 at byte 130, expected 0 to 12: the file is damaged or newer "
     "than this bnc\n"},
    {STRINGS_COUNT, 1ull << 61, 8,
     "key 't.strings' claims an array of 2305843009213693952 items (string) at byte 134; the rest "
     "of the file has room for 134: it is cut short or damaged\n"},
    {STRING1_LEN, UINT64_MAX, 8,
     "the file ends inside key 't.strings': its array of strings needs 18446744073709551615 bytes "
     "from byte 159 on, 1057 are left. " CUT},
    {INTS_COUNT, 1ull << 63, 8,
     "key 't.ints' claims an array of 9223372036854775808 items (i16) at byte 191; the rest of the "
     "file has room for 508: it is cut short or damaged\n"},
    {BOOL, 2, 1,
     "key 't.bool' is a bool of value 2 at byte 253, expected 0 or 1: the file is damaged\n"},
    {NAME_A_LEN, 256, 8,
     "the name of tensor 0 at byte 350 has 256 bytes, expected 1 to 255: the file is damaged, "
     "convert it again\n"},
    {NAME_A, 0xff, 1,
     "the name of tensor 0 at byte 350 holds bytes that are not printable UTF-8: '\\xff.weight'. "
     "The file is damaged, convert it again\n"},
    {NAME_A, 0x1b, 1,
     "the name of tensor 0 at byte 350 holds bytes that are not printable UTF-8: '\\x1b.weight'. "
     "The file is damaged, convert it again\n"},
    {NAME_A, 'b', 1,
     "there are two tensors 'b.weight', at bytes 544 and 608; which one counts is unclear: convert "
     "the model again\n"},
    {RANK_A, 0, 4,
     "tensor 'a.weight' has 0 dimensions at byte 366, expected 1 to 4: the file is damaged\n"},
    {RANK_A, 5, 4,
     "tensor 'a.weight' has 5 dimensions at byte 366, expected 1 to 4: the file is damaged\n"},
    {DIM_A, 0, 8, "dimension 0 of tensor 'a.weight' is 0 at byte 370: there are no values in it\n"},
    {DIM_A, 1ull << 63, 8,
     "dimension 0 of tensor 'a.weight' is 9223372036854775808 at byte 370: the tensor would have "
     "more than 2^63 values, so the file is damaged\n"},
    {DIM_A, 1ull << 62, 8,
     "tensor 'a.weight' of 4611686018427387904 values takes more than 2^63 bytes: the file is "
     "damaged\n"},
    {DIM_B1, 1ull << 58, 8,
     "dimension 1 of tensor 'b.weight' is 288230376151711744 at byte 418: the tensor would have "
     "more than 2^63 values, so the file is damaged\n"},
    {TYPE_A, 4, 4,
     "tensor 'a.weight' has type id 4, which bnc does not know; of ternary types it reads I2_S "
     "(36), TQ1_0 (34) and TQ2_0 (35): convert the model to one of them\n"},
    {TYPE_A, UINT32_MAX, 4,
     "tensor 'a.weight' has type id 4294967295, which bnc does not know; of ternary types it reads "
     "I2_S (36), TQ1_0 (34) and TQ2_0 (35): convert the model to one of them\n"},
    {TYPE_B, 38, 4,
     "tensor 'b.weight' has type tl1 (id 38), whose layout depends on the build that wrote the "
     "file: convert the model to I2_S or TQ2_0 instead\n"},
    {TYPE_B, 39, 4,
     "tensor 'b.weight' has type tl2 (id 39), whose layout depends on the build that wrote the "
     "file: convert the model to I2_S or TQ2_0 instead\n"},
    {TYPE_B, 35, 4,
     "tensor 'b.weight' is 64 x 8 values of type tq2_0, but the first dimension must be a multiple "
     "of 256: the file is damaged or was converted wrongly\n"},
    {DIM_B, 60, 8,
     "tensor 'b.weight' is 60 x 8 values of type i2_s, but their number must be a multiple of 128: "
     "the file is damaged or was converted wrongly\n"},
    {OFFSET_A, 1, 8,
     "tensor 'a.weight' begins at offset 1 (read at byte 382), which is no multiple of the "
     "alignment 32: the file is damaged\n"},
    {OFFSET_D, 1ull << 63, 8,
     "tensor 'd.weight' (q4_k, 288 bytes at offset 9223372036854775808) reaches beyond the end of "
     "the file: 672 bytes of tensor data begin at byte 544. The file is cut short or damaged: "
     "fetch it again\n"},
    {OFFSET_D, 416, 8,
     "tensor 'd.weight' (q4_k, 288 bytes at offset 416) reaches beyond the end of the file: 672 "
     "bytes of tensor data begin at byte 544. The file is cut short or damaged: fetch it again\n"},
    {OFFSET_B, 0, 8,
     "tensor 'a.weight' (f32, bytes 544 to 560) overlaps tensor 'b.weight', which begins at byte "
     "544: the file is damaged, or its type ids mean something else than here\n"},
    {OFFSET_C, 192, 8, /* within the 32 bytes behind the codes of b.weight */
     "tensor 'b.weight' (i2_s, bytes 608 to 768) overlaps tensor 'c.weight', which begins at byte "
     "736: the file is damaged, or its type ids mean something else than here\n"},
};

static void damaged_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        File f = build(3, 32);
        char what[32];
        write_at(&f, cases[i].field, cases[i].value, cases[i].bytes);
        snprintf(what, sizeof what, "case %zu", i);
        expect(what, f.b, f.n, cases[i].want);
        free(f.b);
    }
}

static void duplicate_key(void **state)
{
    (void)state;
    File f = {0};
    bytes(&f, "GGUF\3\0\0", 8);
    number(&f, 0, 8);
    number(&f, 2, 8);
    for (int i = 0; i < 2; i++) {
        key(&f, "general.name", GGUF_U8);
        number(&f, 1, 1);
    }
    expect("duplicate", f.b, f.n,
           "the key 'general.name' stands twice in the metadata; which one counts is unclear: "
           "convert the model again\n");
    free(f.b);
}

/* Id 39 is MXFP4 unless the file speaks of BitNet. */
static void type_39(void **state)
{
    (void)state;
    File f = build(3, 32);
    memcpy(f.b + f.at[ARCH_LEN] + 8, "llama-b1.580", 12);
    write_at(&f, FILE_TYPE, 1, 4);
    write_at(&f, TYPE_D, 39, 4);
    Run r;
    assert_true(run_parse(&r, f.b, f.n));
    const Tensor *d = gguf_tensor_find(r.g, "d.weight");
    assert_string_equal(gguf_type_name(r.g, d), "mxfp4");
    assert_true(d->fmt == FMT_COUNT && d->size == 512 / 32 * 17);
    run_end(&r);
    write_at(&f, FILE_TYPE, 39, 4);
    expect("tl2 by file type", f.b, f.n,
           "tensor 'd.weight' has type tl2 (id 39), whose layout depends on the build that wrote "
           "the file: convert the model to I2_S or TQ2_0 instead\n");
    free(f.b);
}

/* Id 42 has blocks of 64 values, of 128 or of 256: the room of d.weight, 512 values at the end, tells;
 * of blocks of 128, where a scale could stand. */
static void type_42(void **state)
{
    (void)state;
    static const struct {
        size_t room, size;
        Fmt fmt;
    } rooms[] = {{144, 144, FMT_Q2_0},
                 {136, 136, FMT_PQ2_0},
                 {136, 136, FMT_PQ2_0_LAST},
                 {84, 84, FMT_STQ1_0}};
    File f = build(3, 32);
    write_at(&f, TYPE_D, 42, 4);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        Run r;
        for (size_t at = 0; at < 4; at++) { /* blocks of the codes 0 and 2, and the scale 1 */
            size_t block = f.at[DATA] + 384 + 34 * at;
            memset(f.b + block, 0x88, 34);
            memcpy(f.b + block + (rooms[i].fmt == FMT_PQ2_0_LAST ? 32 : 0), "\x00\x3c", 2);
        }
        assert_true(run_parse(&r, f.b, f.at[DATA] + 384 + rooms[i].room));
        const Tensor *d = gguf_tensor_find(r.g, "d.weight");
        assert_int_equal(d->fmt, rooms[i].fmt);
        assert_int_equal(d->size, rooms[i].size);
        assert_string_equal(gguf_type_name(r.g, d), fmt_info[rooms[i].fmt].name);
        run_end(&r);
    }
    expect("both", f.b, f.at[DATA] + 384 + 160,
           "its tensors of type id 42 are so small that several layouts (q2_0, pq2_0, stq1_0) "
           "fill the same room: convert the model to TQ2_0 or F16\n");
    memset(f.b + f.at[DATA] + 384, 0, 136);
    expect("no order", f.b, f.at[DATA] + 384 + 136,
           "its tensors of type id 42 have blocks of 128 values, and nothing tells whether their "
           "scales stand before or behind codes: convert the model to TQ2_0 or F16\n");
    memset(f.b + f.at[DATA] + 384, 0xff, 136);
    expect("no scale", f.b, f.at[DATA] + 384 + 136,
           "its tensors of type id 42 have blocks of 128 values, and neither before nor behind "
           "their codes stand scales: convert the model to TQ2_0 or F16\n");
    expect("neither", f.b, f.n,
           "tensor 'd.weight' has type id 42 and 288 bytes of room; q2_0 takes 144 in blocks of 64 "
           "values and 136 in blocks of 128, stq1_0 84, and one must fit all tensors. Id 42 means "
           "something else in this file, or it is damaged: convert the model to TQ2_0 or F16\n");
    write_at(&f, TYPE_D, 43, 4);
    expect("id 43", f.b, f.n,
           "tensor 'd.weight' has type id 43 and 288 bytes of room, stq1_0 takes 84: id 43 means "
           "something else in this file, or it is damaged. Convert the model to TQ2_0 or F16\n");
    write_at(&f, TYPE_A, 42, 4); /* 4 values: no whole block */
    expect("cut", f.b, f.n,
           "tensor 'a.weight' is 4 values of type q2_0, but the first dimension must be a multiple "
           "of 64: the file is damaged or was converted wrongly\n");
    free(f.b);
}

static void to_row4(void *arg)
{
    gguf_i2s_layout(((Run *)arg)->g, FMT_I2_S_ROW4);
}

static void row4_needs_four_rows(void **state)
{
    (void)state;
    File f = build(3, 32);
    write_at(&f, DIM_B, 256, 8);
    write_at(&f, DIM_B1, 2, 8);
    Run r;
    assert_true(run_parse(&r, f.b, f.n));
    assert_false(session_try(&r.s, to_row4, &r));
    fflush(r.s.log);
    assert_string_equal(r.log,
                        "m.gguf: error: tensor 'b.weight' of 256 x 2 values cannot be i2_s_row4, "
                        "which interleaves rows by four: give another --i2s-layout\n");
    run_end(&r);
    free(f.b);
}

/* ---- what is no GGUF file ---- */

#define LOOKS "not a GGUF file; it looks like "
static const struct {
    const char *data;
    size_t size;
    const char *want;
} strangers[] = {
    {"", 0, "not a GGUF file: it has 0 bytes, fewer than a header of 24\n"},
    {"\0\0", 2, "not a GGUF file: it has 2 bytes, fewer than a header of 24\n"},
    {"\1\2\3\4\5", 5,
     "not a GGUF file: it begins with bytes 01 02 03 04, expected 47 47 55 46 (\"GGUF\")\n"},
    {"\x0a\0\0\0\0\0\0\0{\"a\":{}}   ", 20,
     LOOKS "safetensors: give bnc the folder that it lies in\n"},
    {"PK\3\4aaaa", 8, LOOKS "a zip archive, perhaps a PyTorch checkpoint: convert it to GGUF\n"},
    {"\x1f\x8b\x08", 3, LOOKS "gzip data: unpack it first\n"},
    {"\x7f"
     "ELF\2\1\1",
     7, LOOKS "an ELF object or program\n"},
    {"version https://git-lfs.github.com/spec/v1\n", 43,
     LOOKS "a git-lfs pointer, not the file: run git lfs pull\n"},
    {"<!DOCTYPE html>", 15, LOOKS "a web page: the download gave a page in place of the file\n"},
    {"arch \"x\"\n", 9, LOOKS "text\n"},
    {"tjgg\1\0\0\0", 8,
     LOOKS "an old ggml file (2023): convert the original model to GGUF again\n"},
    {"BNW\r\n\x1a\n", 7, LOOKS "weights that bnc wrote: give the model that they were made from\n"},
    {"GGUF", 4,
     "the file ends inside the header: its version needs 4 bytes from byte 4 on, 0 are left. " CUT},
};

static void strange_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        expect("stranger", (const uint8_t *)strangers[i].data, strangers[i].size,
               strangers[i].want);
}

/* ---- all small damage ---- */

static void every_truncation_fails(void **state)
{
    (void)state;
    File f = build(3, 32);
    for (size_t n = 0; n < f.n; n++) {
        Run r;
        assert_false(run_parse(&r, f.b, n));
        assert_int_equal(r.s.nerror, 1);
        run_end(&r);
    }
    free(f.b);
}

static void every_flip_is_survived(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x08, 0x20, 0x80, 0xff};
    File f = build(3, 32);
    for (size_t at = 0; at < f.at[DATA]; at++)
        for (size_t m = 0; m < sizeof masks; m++) {
            Run r;
            f.b[at] ^= masks[m];
            bool ok = run_parse(&r, f.b, f.n);
            assert_int_equal(r.s.nerror, ok ? 0 : 1);
            run_end(&r);
            f.b[at] ^= masks[m];
        }
    free(f.b);
}

/* A file that is nothing but tiny entries. */
static File tiny_entries(int keys, int tensors)
{
    File f = {0};
    char label[16];
    bytes(&f, "GGUF\3\0\0", 8);
    number(&f, (uint64_t)tensors, 8);
    number(&f, (uint64_t)keys, 8);
    for (int i = 0; i < keys; i++) {
        snprintf(label, sizeof label, "%x", i * 7919);
        key(&f, label, GGUF_U8);
        number(&f, 0, 1);
    }
    for (int i = 0; i < tensors; i++) {
        snprintf(label, sizeof label, "%d", (int)(i * 7919ll % tensors));
        text(&f, label);
        number(&f, 1, 4);
        number(&f, 8, 8);
        number(&f, 0, 4);
        number(&f, 32 * (uint64_t)i, 8);
    }
    pad_to(&f, f.n + 32 * ((size_t)tensors + 1));
    return f;
}

/* Processor time to read it, the least of three. */
static double time_to_read(const File *f)
{
    double least = 0;
    for (int i = 0; i < 3; i++) {
        Run r;
        clock_t begin = clock();
        assert_true(run_parse(&r, f->b, f->n));
        double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
        assert_true(r.s.bytes < 16 * f->n);
        run_end(&r);
        least = i && least < took ? least : took;
    }
    return least;
}

/* Memory and time follow the size: 8 times the entries take some 8 times as long, not 64. */
static void many_tiny_entries(void **state)
{
    (void)state;
    File small = tiny_entries(7500, 2500), large = tiny_entries(60000, 20000);
    double first = time_to_read(&small), second = time_to_read(&large);
    print_message("  %.4f s, 8 times the entries: %.4f s\n", first, second);
    assert_true(second < 24 * first);
    free(small.b);
    free(large.b);
}

/* ---- files on disk ---- */

typedef struct Opening {
    Session s;
    const char *path;
    Gguf *g;
} Opening;

static void open_model(void *arg)
{
    Opening *o = arg;
    o->g = gguf_open(&o->s, o->path);
    touch(o->g);
}

static void expect_open(const char *path, const char *want)
{
    char *log = NULL;
    size_t len;
    FILE *stream = open_memstream(&log, &len);
    Opening o = {.path = path};
    session_start(&o.s, stream);
    bool ok = session_try(&o.s, open_model, &o);
    session_end(&o.s);
    fclose(stream);
    assert_string_equal(log, want);
    assert_true(ok == (*want == 0));
    free(log);
}

static void opening_files(void **state)
{
    (void)state;
    char path[] = "/tmp/bnc-gguf-XXXXXX", want[128];
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "wb");
    snprintf(want, sizeof want, "%s: error: the file is empty: fetch or convert the model again\n",
             path);
    expect_open(path, want);
    File f = build(3, 32);
    assert_int_equal(fwrite(f.b, 1, f.n, out), f.n);
    fclose(out);
    expect_open(path, "");
    remove(path);
    expect_open("/tmp", "/tmp: error: is a folder; a model is a regular file\n");
    expect_open("/dev/null",
                "/dev/null: error: is not a regular file and cannot be mapped; a model is a "
                "regular file\n");
    expect_open("/nowhere.gguf",
                "/nowhere.gguf: error: cannot open the model: No such file or directory\n");
    free(f.b);
}

static void shared_models(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t tensors, tokens, merges;
        Fmt fmt; /* of a projection */
    } models[] = {
        {"tales-27m-f16.gguf", 90, 4096, 3832, FMT_F16},
        {"tales-27m-i2_s.gguf", 90, 4096, 3832, FMT_I2_S},
        {"tales-27m-tq1_0.gguf", 90, 4096, 3832, FMT_TQ1_0},
        {"tales-27m-tq2_0.gguf", 90, 4096, 3832, FMT_TQ2_0},
        {"vocab-llama-bpe.gguf", 0, 128256, 280147, FMT_COUNT},
    };
    const char *shared = getenv("BN_SHARED") ? getenv("BN_SHARED") : "../shared";
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        Opening o = {0};
        session_start(&o.s, stderr);
        o.path = format(&o.s, "%s/models/%s", shared, models[i].name);
        FILE *f = fopen(o.path, "rb");
        if (!f) {
            print_message("skipped: no %s (set BN_SHARED)\n", o.path);
            session_end(&o.s);
            skip();
        }
        fclose(f);
        assert_true(session_try(&o.s, open_model, &o));
        assert_int_equal(gguf_tensor_count(o.g), models[i].tensors);
        assert_int_equal(gguf_get(o.g, "tokenizer.ggml.tokens")->count, models[i].tokens);
        assert_int_equal(gguf_get(o.g, "tokenizer.ggml.merges")->count, models[i].merges);
        if (models[i].tensors)
            assert_int_equal(gguf_tensor_find(o.g, "blk.7.ffn_down.weight")->fmt, models[i].fmt);
        session_end(&o.s);
    }
}

/* The three containers of one model hold the same codes, in scales that agree to f16. */
static void containers_agree(void **state)
{
    (void)state;
    const char *shared = getenv("BN_SHARED") ? getenv("BN_SHARED") : "../shared";
    static const char *const kinds[] = {"i2_s", "tq1_0", "tq2_0"};
    enum { N = 512 * 1536 };
    static int8_t code[3][N];
    float scale[3];
    for (int i = 0; i < 3; i++) {
        Opening o = {0};
        session_start(&o.s, stderr);
        o.path = format(&o.s, "%s/models/tales-27m-%s.gguf", shared, kinds[i]);
        FILE *f = fopen(o.path, "rb");
        if (!f) {
            print_message("skipped: no %s (set BN_SHARED)\n", o.path);
            session_end(&o.s);
            skip();
        }
        fclose(f);
        assert_true(session_try(&o.s, open_model, &o));
        const Tensor *t = gguf_tensor_find(o.g, "blk.3.ffn_down.weight");
        assert_int_equal(t->rows * t->cols, N);
        tensor_codes(t, 0, N, code[i]);
        scale[i] = tensor_scale(t, 0);
        session_end(&o.s);
    }
    for (int i = 1; i < 3; i++) {
        assert_memory_equal(code[0], code[i], N);
        assert_int_equal(float_to_f16(scale[0]), float_to_f16(scale[i]));
    }
}

/* ---- seeds ---- */

static void write_seed(const char *folder, const char *seed, File f)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, seed);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(f.b, 1, f.n, out) != f.n || fclose(out) != 0)
        fail_msg("cannot write %s", path);
    free(f.b);
}

static File changed(enum Field which, uint64_t x, int n)
{
    File f = build(3, 32);
    write_at(&f, which, x, n);
    return f;
}

static void write_seeds(void **state)
{
    (void)state;
    const char *folder = getenv("BN_WRITE_SEEDS");
    if (!folder)
        return;
    File keys = build(3, 32), bare = {0};
    write_at(&keys, NTENSOR, 0, 8);
    keys.n = keys.at[NAME_A_LEN];
    bytes(&bare, "GGUF\3\0\0", 8);
    number(&bare, 0, 8);
    number(&bare, 0, 8);
    write_seed(folder, "v3", build(3, 32));
    write_seed(folder, "v2", build(2, 32));
    write_seed(folder, "align64", build(3, 64));
    write_seed(folder, "keys", keys);
    write_seed(folder, "bare", bare);
    write_seed(folder, "q8", changed(TYPE_B, 8, 4));
    File q2 = changed(TYPE_D, 42, 4);
    q2.n = q2.at[DATA] + 384 + 144;
    write_seed(folder, "q2", q2);
    write_seed(folder, "q4", changed(TYPE_B, 2, 4));
    write_seed(folder, "q6_k", changed(TYPE_D, 14, 4));
    write_seed(folder, "i64", changed(TYPE_A, 27, 4));
    write_seed(folder, "bf16", changed(TYPE_A, 30, 4));
    write_seed(folder, "overlap", changed(OFFSET_C, 192, 8));
    write_seed(folder, "claims", changed(NTENSOR, 1ull << 60, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_files),
        cmocka_unit_test(no_tensors_no_keys),
        cmocka_unit_test(damaged_fields),
        cmocka_unit_test(duplicate_key),
        cmocka_unit_test(type_39),
        cmocka_unit_test(type_42),
        cmocka_unit_test(row4_needs_four_rows),
        cmocka_unit_test(strange_files),
        cmocka_unit_test(every_truncation_fails),
        cmocka_unit_test(every_flip_is_survived),
        cmocka_unit_test(many_tiny_entries),
        cmocka_unit_test(opening_files),
        cmocka_unit_test(shared_models),
        cmocka_unit_test(containers_agree),
        cmocka_unit_test(write_seeds),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
