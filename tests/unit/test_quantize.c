/* test_quantize.c: `bnc quantize` called as a user calls it, and its files read back.
 *
 * One idea: small masters are written here, so every expected code, scale and figure is known; and
 * what was trained elsewhere (../shared) must come out as its makers published it.
 */
#include "checkpoint/gguf_out.h" /* before cmocka.h, which makes fail a macro */
#include "cmd/quantize/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 8, COLS = 512, WORDS = 64 };
static char dir[] = "/tmp/bnc-quantize-XXXXXX";
static char said[4096]; /* the messages of the last call */

static const char *path(const char *file)
{
    static char p[4][128];
    static int next;
    char *to = p[next++ % 4];
    snprintf(to, sizeof p[0], "%s/%s", dir, file);
    return to;
}

/* ---- calling the command ---- */

struct Call {
    Session s;
    int argc;
    char **argv;
};

static void call(void *arg)
{
    struct Call *c = arg;
    command_run(&c->s, c->argc, c->argv);
}

/* Options are words with a space between. Whether it succeeded. */
static bool quantize(const char *in, const char *out, const char *options)
{
    char words[256], *argv[17] = {(char *)"bnc", (char *)"quantize",     (char *)(uintptr_t)in,
                                  (char *)"-o",  (char *)(uintptr_t)out, (char *)"--quiet"};
    struct Call c = {.argc = 6, .argv = argv};
    snprintf(words, sizeof words, "%s", options);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[c.argc++] = w;
    FILE *log = tmpfile();
    session_start(&c.s, log);
    bool done = session_try(&c.s, call, &c);
    session_end(&c.s);
    rewind(log);
    said[fread(said, 1, sizeof said - 1, log)] = 0;
    fclose(log);
    return done;
}

/* ---- masters ---- */

static uint32_t seed = 3;
static double uniform(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) * 0x1p-24 + 0x1p-25;
}

static float bell(void)
{
    return (float)(sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
}

typedef enum Kind { BELL, FLAT, PILED, TRIMODAL, EXACT, BIG, NOT_A_NUMBER, KINDS } Kind;

/* PILED: as rounded training leaves it, thickest at +-0.5 of the mean magnitude. */
static float weight_of(Kind kind, int64_t i)
{
    switch (kind) {
    case FLAT:
        return (float)(2 * uniform() - 1);
    case PILED: {
        double a = uniform() < 0.55 ? 0.45 + 0.16 * (double)bell() : fabs((double)bell()) * 1.7;
        return (float)(0.02 * (uniform() < 0.5 ? a : -a));
    }
    case TRIMODAL:
        return 0.02f * (float)(i % 3 - 1) + 0.002f * bell();
    case EXACT:
        return 0.02f * (float)(i % 3 - 1);
    case BIG:
        return i == 77 ? 1e6f : bell();
    case NOT_A_NUMBER:
        return i == 1000 ? NAN : bell();
    default:
        return 0.02f * bell();
    }
}

static void write_master(const char *file, Kind kind, Fmt fmt)
{
    Session s;
    float w[ROWS * COLS], words[WORDS * COLS], gain[COLS];
    uint8_t bytes[4 * WORDS * COLS];
    session_start(&s, stderr);
    GgufOut *g = gguf_create(&s, file);
    for (int i = 0; i < ROWS * COLS; i++)
        w[i] =
            weight_of(kind, i) * (i / COLS == 3 && kind == BELL ? 4 : 1); /* a row that is larger */
    for (int i = 0; i < WORDS * COLS; i++)
        words[i] = bell();
    for (int i = 0; i < COLS; i++)
        gain[i] = 1;
    gguf_put_text(g, "general.architecture", "llama");
    gguf_put_u32(g, "general.file_type", 1);
    gguf_put_texts(g, "tokenizer.ggml.tokens", 2);
    gguf_put_item(g, "a");
    gguf_put_item(g, "\xc4\xa0 b");
    gguf_put_i32s(g, "tokenizer.ggml.token_type", (int32_t[]){1, 3}, 2);
    gguf_put_bool(g, "tokenizer.ggml.add_bos_token", true);
    gguf_put_f32(g, "llama.rope.freq_base", 10000);
    gguf_put_tensor(g, "token_embd.weight", FMT_F32, WORDS, COLS);
    gguf_put_tensor(g, "blk.0.attn_norm.weight", FMT_F32, 1, COLS);
    gguf_put_tensor(g, "blk.0.ffn_up.weight", fmt, ROWS, COLS);
    gguf_put_tensor(g, "blk.10.ffn_up.weight", fmt, ROWS, COLS);
    gguf_begin(g);
    gguf_data(g, words, sizeof words);
    gguf_data(g, gain, sizeof gain);
    for (int i = 0; i < 2; i++)
        gguf_data(g, bytes, floats_encode(fmt, w, ROWS * COLS, bytes));
    gguf_end(g);
    session_end(&s);
}

/* ---- reading back ---- */

static const Tensor *tensor_of(Gguf *g, const char *tensor)
{
    const Tensor *t = gguf_tensor_find(g, tensor);
    assert_non_null(t);
    return t;
}

/* Codes and scales of blk.0.ffn_up against round(w / mean|w|) over `run` values of the master. */
static void codes_are_absmean(const char *master, const char *file, Fmt fmt, int run)
{
    Session s;
    float w[ROWS * COLS];
    int8_t code[ROWS * COLS];
    session_start(&s, stderr);
    tensor_floats(tensor_of(gguf_open(&s, master), "blk.0.ffn_up.weight"), 0, ROWS * COLS, w);
    const Tensor *t = tensor_of(gguf_open(&s, file), "blk.0.ffn_up.weight");
    assert_int_equal(t->fmt, fmt);
    tensor_codes(t, 0, ROWS * COLS, code);
    for (int at = 0; at < ROWS * COLS; at += run) {
        double mean = 0;
        for (int i = 0; i < run; i++)
            mean += fabs((double)w[at + i]) / run;
        double bound = fmt == FMT_I2_S ? 1e-6 : 0x1p-11 * 1.001; /* f16 rounds the scale */
        assert_true(fabs((double)tensor_scale(t, at) / mean - 1) <= bound);
        for (int i = 0; i < run; i++) {
            double x = (double)w[at + i] / mean;
            if (fabs(fabs(x) - 0.5) > 1e-5)
                assert_int_equal(code[at + i], x > 0.5 ? 1 : x < -0.5 ? -1 : 0);
        }
    }
    session_end(&s);
}

static void every_container_holds_absmean(void **state)
{
    (void)state;
    static const Fmt from[] = {FMT_F32, FMT_F16, FMT_BF16};
    for (int i = 0; i < 3; i++) {
        write_master(path("m"), BELL, from[i]);
        assert_true(quantize(path("m"), path("q"), ""));
        codes_are_absmean(path("m"), path("q"), FMT_I2_S, ROWS * COLS);
        assert_true(quantize(path("m"), path("q"), "--type=tq1_0"));
        codes_are_absmean(path("m"), path("q"), FMT_TQ1_0, ROWS * COLS);
        assert_true(quantize(path("m"), path("q"), "--type=tq2_0 --scale=row"));
        codes_are_absmean(path("m"), path("q"), FMT_TQ2_0, COLS);
        assert_true(quantize(path("m"), path("q"), "--scale=256 --type=tq1_0"));
        codes_are_absmean(path("m"), path("q"), FMT_TQ1_0, 256);
    }
}

/* From container to container the codes stay, and the scale but for f16's rounding. */
static void containers_lead_back(void **state)
{
    static const char *const to[] = {"--type=tq2_0", "--type=tq1_0", "--type=i2_s"};
    (void)state;
    write_master(path("m"), PILED, FMT_F16);
    assert_true(quantize(path("m"), path("a"), ""));
    for (int i = 0; i < 3; i++) {
        assert_true(quantize(path("a"), path("b"), to[i]));
        if (i < 2) /* the last is in bytes, a copy of its scale in f16 */
            codes_are_absmean(path("m"), path("b"), i ? FMT_TQ1_0 : FMT_TQ2_0, ROWS * COLS);
        assert_int_equal(rename(path("b"), path("a")), 0);
    }
    Session s;
    int8_t a[ROWS * COLS], b[ROWS * COLS];
    session_start(&s, stderr);
    assert_true(quantize(path("m"), path("b"), ""));
    const Tensor *t = tensor_of(gguf_open(&s, path("a")), "blk.10.ffn_up.weight");
    const Tensor *u = tensor_of(gguf_open(&s, path("b")), "blk.10.ffn_up.weight");
    assert_int_equal(t->fmt, FMT_I2_S);
    tensor_codes(t, 0, ROWS * COLS, a);
    tensor_codes(u, 0, ROWS * COLS, b);
    assert_memory_equal(a, b, sizeof a);
    assert_float_equal(tensor_scale(t, 0) / tensor_scale(u, 0), 1, 0x1p-11);
    session_end(&s);
}

/* Floats that are ternary already keep their scale, which is not their mean. */
static void exact_floats_stay(void **state)
{
    static const char *const how[] = {"", "--type=tq2_0 --scale=256"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        Session s;
        float w[ROWS * COLS], q[ROWS * COLS];
        write_master(path("m"), EXACT, FMT_F16);
        assert_true(quantize(path("m"), path("q"), how[i]));
        session_start(&s, stderr);
        tensor_floats(tensor_of(gguf_open(&s, path("m")), "blk.0.ffn_up.weight"), 0, ROWS * COLS,
                      w);
        tensor_floats(tensor_of(gguf_open(&s, path("q")), "blk.0.ffn_up.weight"), 0, ROWS * COLS,
                      q);
        assert_memory_equal(w, q, sizeof w);
        assert_null(strstr(said, "not trained"));
        session_end(&s);
    }
}

static void keep_and_words_choose_types(void **state)
{
    Session s;
    (void)state;
    write_master(path("m"), PILED, FMT_F16);
    assert_true(quantize(path("m"), path("q"), "--keep=blk.1?.*=q8_0 --embed=q6_k"));
    session_start(&s, stderr);
    Gguf *g = gguf_open(&s, path("q"));
    assert_int_equal(tensor_of(g, "blk.0.ffn_up.weight")->fmt, FMT_I2_S);
    assert_int_equal(tensor_of(g, "blk.10.ffn_up.weight")->fmt, FMT_Q8_0);
    assert_int_equal(tensor_of(g, "token_embd.weight")->fmt, FMT_Q6_K);
    assert_int_equal(tensor_of(g, "blk.0.attn_norm.weight")->fmt, FMT_F32);
    session_end(&s);
    assert_true(quantize(path("m"), path("q"), "--keep=*=same --keep=token_embd.weight=q4_0"));
    session_start(&s, stderr);
    g = gguf_open(&s, path("q"));
    assert_int_equal(tensor_of(g, "blk.0.ffn_up.weight")->fmt, FMT_F16);
    assert_int_equal(tensor_of(g, "token_embd.weight")->fmt, FMT_Q4_0);
    session_end(&s);
}

static void metadata_is_copied(void **state)
{
    Session s;
    int64_t type;
    (void)state;
    write_master(path("m"), PILED, FMT_BF16);
    assert_true(quantize(path("m"), path("q"), "--type=tq1_0"));
    session_start(&s, stderr);
    Gguf *a = gguf_open(&s, path("m")), *b = gguf_open(&s, path("q"));
    assert_int_equal(gguf_key_count(a), gguf_key_count(b));
    for (int64_t i = 0; i < gguf_key_count(a); i++) {
        const GgufValue *v = gguf_key_at(a, i), *u = gguf_key_at(b, i);
        assert_string_equal(v->key, u->key);
        assert_int_equal(v->type, u->type);
        assert_int_equal(v->count, u->count);
        for (int64_t k = 0; v->type == GGUF_STRING && k < v->count; k++) {
            size_t n, m;
            const char *x = gguf_string_at(a, v, k, &n), *y = gguf_string_at(b, u, k, &m);
            assert_int_equal(n, m);
            assert_memory_equal(x, y, n);
        }
        if (v->type != GGUF_STRING && strcmp(v->key, "general.file_type") != 0)
            assert_memory_equal(v->data, u->data, (size_t)v->count * gguf_value_bytes[v->type]);
    }
    assert_true(gguf_int(b, "general.file_type", &type));
    assert_int_equal(type, 36);
    session_end(&s);
}

/* Whoever was never trained for ternary gets the note; who was, or is nearly ternary, does not. */
static void only_untrained_masters_are_warned_of(void **state)
{
    static const struct {
        Kind kind;
        bool warned;
    } cases[] = {{BELL, true}, {FLAT, true}, {PILED, false}, {TRIMODAL, false}, {EXACT, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_master(path("m"), cases[i].kind, FMT_F32);
        assert_true(quantize(path("m"), path("q"), ""));
        assert_int_equal(strstr(said, "2 of 2 matrices were not trained") != NULL, cases[i].warned);
        assert_true(quantize(path("m"), path("q"), "--type=q4_0"));
        assert_string_equal(said, "");
    }
}

static void refused(const char *why, const char *options)
{
    unlink(path("q"));
    assert_false(quantize(path("m"), path("q"), options));
    if (!strstr(said, why))
        print_error("expected '%s', got: %s\n", why, said);
    assert_non_null(strstr(said, why));
    assert_int_not_equal(access(path("q"), F_OK), 0);
}

static void mistakes_teach(void **state)
{
    (void)state;
    write_master(path("m"), BELL, FMT_F32);
    refused("i2_s holds one scale a tensor", "--scale=row");
    refused("one for each 256 values", "--scale=128 --type=tq2_0");
    refused("one scale a tensor; a scale for each row",
            "--type=tq2_0 --keep=*10*=i2_s --scale=row");
    refused("--type is i2_s, tq1_0", "--type=q9");
    refused("never ternary", "--embed=i2_s");
    refused("no matrix has a name like 'blk.9.*'", "--keep=blk.9.*=f16");
    refused("--keep wants a pattern and a type", "--keep=f16");
    refused("--auto needs a text", "--auto --budget=20M");
    refused("belong to --auto", "--budget=20M");
    refused("wants a size", "--auto --budget=20X");
    refused("unknown option '--frobnicate' of bnc quantize", "--frobnicate");
    write_master(path("m"), BIG, FMT_F32);
    refused("holds values up to 1e+06", "--type=f16");
    write_master(path("m"), NOT_A_NUMBER, FMT_F32);
    refused("infinite or NaN", "");
}

/* ---- what others published ---- */

static void compare(Session *s, const char *ours, const char *theirs, const char *master)
{
    Gguf *a = gguf_open(s, ours), *b = gguf_open(s, theirs), *m = gguf_open(s, master);
    int64_t near = 0, all = 0, differ = 0;
    assert_int_equal(gguf_tensor_count(a), gguf_tensor_count(b));
    for (int64_t i = 0; i < gguf_tensor_count(b); i++) {
        const Tensor *u = gguf_tensor_at(b, i), *t = tensor_of(a, u->name),
                     *w = tensor_of(m, u->name);
        int64_t n = u->rows * u->cols;
        assert_int_equal(t->fmt, u->fmt);
        if (fmt_info[u->fmt].kind != KIND_TERNARY) {
            assert_memory_equal(t->data, u->data, u->size);
            continue;
        }
        int8_t *x = NEW_ARRAY(s, int8_t, n), *y = NEW_ARRAY(s, int8_t, n);
        float *v = NEW_ARRAY(s, float, n);
        tensor_codes(t, 0, n, x);
        tensor_codes(u, 0, n, y);
        tensor_floats(w, 0, n, v);
        for (int64_t k = 0; k < n; k += 256)
            assert_float_equal(tensor_scale(t, k) / tensor_scale(u, k), 1, 1e-6);
        double scale = 0;
        for (int64_t k = 0; k < n; k++)
            scale += fabs((double)v[k]) / (double)n;
        for (int64_t k = 0; k < n; k++) {
            bool half = fabs(fabs((double)v[k]) / scale - 0.5) <= 1e-5;
            near += half;
            differ += x[k] != y[k];
            assert_true(half || x[k] == y[k]);
        }
        all += n;
    }
    print_message("%s: %lld of %lld codes differ, all among the %lld within 1e-5 of a half\n",
                  file_name(theirs), (long long)differ, (long long)all, (long long)near);
    assert_true(all > 0 && near < all / 100 && differ < 100);
}

static void masters_become_the_published_files(void **state)
{
    static const char *const cases[][3] = {{"tales-4m", "i2_s", "--type=i2_s"},
                                           {"tales-27m", "i2_s", "--type=i2_s"},
                                           {"tales-27m", "tq1_0", "--type=tq1_0"},
                                           {"tales-27m", "tq2_0", "--type=tq2_0"}};
    const char *shared = getenv("BN_SHARED");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Session s;
        session_start(&s, stderr);
        const char *stem = format(&s, "%s/models/%s", shared ? shared : "../shared", cases[i][0]);
        const char *master = format(&s, "%s-f16.gguf", stem);
        if (!file_exists(master)) {
            session_end(&s);
            skip();
        }
        assert_true(quantize(master, path("q"), cases[i][2]));
        assert_string_equal(said, ""); /* trained for ternary: no warning */
        compare(&s, path("q"), format(&s, "%s-%s.gguf", stem, cases[i][1]), master);
        session_end(&s);
    }
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    static const char *const files[] = {"m", "q", "a", "b"};
    (void)state;
    for (int i = 0; i < 4; i++)
        unlink(path(files[i]));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_container_holds_absmean),
        cmocka_unit_test(containers_lead_back),
        cmocka_unit_test(exact_floats_stay),
        cmocka_unit_test(keep_and_words_choose_types),
        cmocka_unit_test(metadata_is_copied),
        cmocka_unit_test(only_untrained_masters_are_warned_of),
        cmocka_unit_test(mistakes_teach),
        cmocka_unit_test(masters_become_the_published_files),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
