/* test_tokenizer_golden.c: the tokenizer against real vocabularies.
 *
 * One idea: the golden ids come from another implementation, so they are the one witness that does
 * not share our reading of the rules. The files lie in BN_SHARED (default ../shared) and are no
 * part of the project: where they are missing every test here is skipped and says so.
 */
#include "tokenizer_words.h"

#include <time.h>

/* ---- real vocabularies ---- */

typedef struct File {
    char *bytes;
    size_t size, at;
} File;

/* A file of BN_SHARED; without it the test is skipped. */
static File read_shared(const char *name)
{
    char path[512];
    const char *shared = getenv("BN_SHARED");
    snprintf(path, sizeof path, "%s/%s", shared ? shared : "../shared", name);
    FILE *f = fopen(path, "rb");
    File file = {NULL, 0, 0};
    if (!f) {
        print_message("skipped: no %s (set BN_SHARED)\n", path);
        skip();
    }
    fseek(f, 0, SEEK_END);
    file.bytes = malloc((size_t)ftell(f) + 1);
    file.size = (size_t)ftell(f);
    rewind(f);
    assert_int_equal(fread(file.bytes, 1, file.size, f), file.size);
    file.bytes[file.size] = 0;
    fclose(f);
    return file;
}

static uint64_t take(File *f, size_t bytes)
{
    uint64_t x = 0;
    assert_true(bytes <= f->size - f->at);
    memcpy(&x, f->bytes + f->at, bytes);
    f->at += bytes;
    return x;
}

static VocabText take_text(File *f)
{
    size_t n = (size_t)take(f, 8);
    assert_true(n <= f->size - f->at);
    f->at += n;
    return (VocabText){f->bytes + f->at - n, n};
}

static size_t gguf_width(uint32_t type)
{
    static const uint8_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    assert_true(type < COUNT(width));
    return width[type];
}

/* One GGUF value: the number or text, or for an array its n elements, texts as VocabText. */
typedef struct Value {
    uint64_t number, n;
    VocabText text;
    void *array;
} Value;

static Value take_value(File *f)
{
    uint32_t type = (uint32_t)take(f, 4);
    Value v = {.n = 1};
    if (type == 8) {
        v.text = take_text(f);
    } else if (type != 9) {
        v.number = take(f, gguf_width(type));
    } else {
        uint32_t element = (uint32_t)take(f, 4);
        v.n = take(f, 8);
        size_t width = element == 8 ? sizeof(VocabText) : gguf_width(element);
        v.array = malloc((size_t)v.n * width);
        for (uint64_t i = 0; element == 8 && i < v.n; i++)
            ((VocabText *)v.array)[i] = take_text(f);
        if (element != 8) {
            memcpy(v.array, f->bytes + f->at, (size_t)v.n * width);
            f->at += (size_t)v.n * width;
        }
    }
    return v;
}

static Words *real_words(const char *name)
{
    static const char *const key[] = {"model",
                                      "pre",
                                      "tokens",
                                      "scores",
                                      "token_type",
                                      "merges",
                                      "bos_token_id",
                                      "eos_token_id",
                                      "eot_token_id",
                                      "unknown_token_id",
                                      "padding_token_id",
                                      "add_bos_token",
                                      "add_eos_token",
                                      "add_space_prefix"};
    enum { KEYS = 14 };
    Value v[KEYS] = {{0}};
    File f = read_shared(name);
    f.at = 16;
    for (uint64_t left = take(&f, 8); left > 0; left--) {
        char full[128];
        VocabText k = take_text(&f);
        Value value = take_value(&f);
        int which = -1;
        for (int i = 0; i < KEYS; i++) {
            snprintf(full, sizeof full, "tokenizer.ggml.%s", key[i]);
            if (k.len == strlen(full) && memcmp(k.ptr, full, k.len) == 0)
                which = i;
        }
        if (which >= 0)
            v[which] = value;
        else
            free(value.array);
    }
    char text[2][64] = {"", ""};
    int64_t id[8];
    for (int i = 0; i < 2; i++)
        snprintf(text[i], 64, "%.*s", (int)v[i].text.len, v[i].text.ptr ? v[i].text.ptr : "");
    for (int i = 0; i < 8; i++)
        id[i] = v[6 + i].n ? (int64_t)v[6 + i].number : -1;
    VocabSource src = {.model = text[0],
                       .pre = text[1],
                       .n = (int64_t)v[2].n,
                       .tokens = v[2].array,
                       .scores = v[3].array,
                       .types = v[4].array,
                       .nmerges = (int64_t)v[5].n,
                       .merges = v[5].array,
                       .bos = id[0],
                       .eos = id[1],
                       .eot = id[2],
                       .unk = id[3],
                       .pad = id[4],
                       .add_bos = (int)id[5],
                       .add_eos = (int)id[6],
                       .add_space_prefix = (int)id[7]};
    Words *t = malloc(sizeof *t);
    clock_t start = clock();
    open_or_fail(t, &src);
    print_message("%s: %zu bytes of tables in %.3f s\n", name, t->w.size,
                  (double)(clock() - start) / CLOCKS_PER_SEC);
    for (int i = 0; i < KEYS; i++)
        free(v[i].array);
    free(f.bytes);
    return t;
}

static void check_golden(const char *name, int spm)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[128];
    snprintf(path, sizeof path, "models/vocab-%s.gguf", name);
    Words *t = real_words(path);
    snprintf(path, sizeof path, "golden/vocab-%s.inp", name);
    File in = read_shared(path);
    snprintf(path, sizeof path, "golden/vocab-%s.out", name);
    File out = read_shared(path);
    char *line = out.bytes, *text = in.bytes, *end;
    int texts = 0;
    for (; (end = strstr(text, separator)) != NULL; text = end + strlen(separator), texts++) {
        int32_t want[1024];
        char printed[4096];
        size_t n = 0, count, len = (size_t)(end - text);
        *end = 0;
        for (; *line && *line != '\n'; n++)
            want[n] = (int32_t)strtol(line, &line, 10);
        line += *line == '\n';
        expect(t, text, 0, want, n);
        int32_t *ids = ids_of(t, text, len, 0, &count);
        if (!spm)
            expect_pieces(t, ids, count, text, len);
        assert_int_equal(print_ids(t, ids, count, printed), len);
        assert_memory_equal(printed, text, len);
        free(ids);
    }
    assert_true(texts > 40 && !*line);
    free(in.bytes);
    free(out.bytes);
    free(t->tables);
    free(t);
}

static void test_golden_bpe(void **state)
{
    (void)state;
    check_golden("llama-bpe", 0);
}

static void test_golden_spm(void **state)
{
    (void)state;
    check_golden("llama-spm", 1);
}

/* A JSON string and an array of numbers, from behind the opening mark; both return their end. */
static char *json_text(char *p, char *text)
{
    for (; *p != '"'; p++) {
        int escaped = *p == '\\';
        p += escaped;
        assert_true(!escaped || strchr("n\"\\", *p));
        *text++ = escaped && *p == 'n' ? '\n' : *p;
    }
    *text = 0;
    return p;
}

static char *json_ids(char *p, int32_t *ids, size_t *n)
{
    for (*n = 0; *p != ']'; p += *p == ',' || *p == '\n')
        if (*p != ',' && *p != '\n')
            ids[(*n)++] = (int32_t)strtol(p, &p, 10);
    return p;
}

/* Every object of a golden file with "text" and "tokens", which stand in either order. */
static void check_prompts(const char *name)
{
    static const char text_key[] = "\n\"text\": \"", ids_key[] = "\n\"tokens\": [";
    char path[128], text[4096];
    snprintf(path, sizeof path, "models/%s-i2_s.gguf", name);
    Words *t = real_words(path);
    snprintf(path, sizeof path, "golden/%s.json", name);
    File f = read_shared(path);
    int texts = 0;
    for (char *p = f.bytes, *ids; (ids = strstr(p, ids_key)) != NULL; texts++) {
        int32_t want[1024];
        size_t n;
        p = strstr(p, text_key);
        assert_non_null(p);
        int text_first = p < ids;
        char *text_end = json_text(p + strlen(text_key), text);
        char *ids_end = json_ids(ids + strlen(ids_key), want, &n);
        expect(t, text, BN_ADD_SPECIAL, want, n);
        p = text_first ? ids_end : text_end;
    }
    assert_true(texts > 4);
    free(f.bytes);
    free(t->tables);
    free(t);
}

static void test_golden_tales(void **state)
{
    (void)state;
    check_prompts("tales-4m");
    check_prompts("tales-27m");
}

static uint32_t seed = 1;
static int rnd(int n)
{
    seed = seed * 1664525 + 1013904223;
    return (int)((seed >> 8) % (uint32_t)n);
}

/* Processor time to cut a text, the least of three. */
static double time_of(const Words *t, const char *text, size_t size)
{
    double least = 0;
    for (int i = 0; i < 3; i++) {
        size_t count;
        clock_t start = clock();
        free(ids_of(t, text, size, 3, &count));
        double took = (double)(clock() - start) / CLOCKS_PER_SEC;
        least = i && least < took ? least : took;
    }
    return least;
}

/* A megabyte of each shape that makes a careless tokenizer quadratic. */
static void test_shapes(void **state)
{
    static const struct {
        const char *name, *unit; /* NULL: random bytes; "" random letters */
    } shape[] = {
        {"prose", "It was a dark and stormy night; the rain fell in torrents, and 47 men waited. "},
        {"letter", "a"},
        {"letters", ""},
        {"spaces", " "},
        {"newlines", "\n"},
        {"lines", " \n"},
        {"digits", "0123456789"},
        {"emoji", "\xf0\x9f\x98\xb6\xe2\x80\x8d\xf0\x9f\x8c\xab"},
        {"han", "\xe6\x88\x91\xe6\x83\xb3"},
        {"bad", "\xff\xc3"},
        {"bytes", NULL},
        {"open", "<|"},
        {"U+2581", UNDERSCORE},
        {"quotes", "'"},
    };
    enum { SIZE = 1 << 20 };
    (void)state;
    for (int m = 0; m < 2; m++) {
        Words *t = real_words(m ? "models/vocab-llama-spm.gguf" : "models/vocab-llama-bpe.gguf");
        char *text = malloc(SIZE);
        for (size_t k = 0; k < COUNT(shape); k++) {
            const char *unit = shape[k].unit;
            size_t length = unit ? strlen(unit) : 0;
            for (size_t i = 0; i < SIZE; i++)
                text[i] = (char)(!unit ? rnd(256) : *unit ? unit[i % length] : 'a' + rnd(26));
            size_t count;
            double part = time_of(t, text, SIZE / 8), whole = time_of(t, text, SIZE);
            int32_t *ids = ids_of(t, text, SIZE, 3, &count);
            print_message("  1 MB %-8s %7zu tokens %.3f s\n", shape[k].name, count, whole);
            assert_true(whole < 24 * part); /* a quadratic one takes 64 times as long */
            if (!m)
                expect_pieces(t, ids + 1, count - 1, text, SIZE);
            free(ids);
        }
        free(text);
        free(t->tables);
        free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bpe),
        cmocka_unit_test(test_golden_spm),
        cmocka_unit_test(test_golden_tales),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
