/* test_safetensors.c: the safetensors reader against valid and hostile files.
 *
 * One idea: a case is a header's text, the bytes behind it, and what the user must then be told; a
 * case without a message must be read. The bytes stand in a block of their own size.
 */
#include "frontend/safetensors.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Case {
    const char *header;
    int data;            /* bytes behind it */
    int64_t claim;       /* of the header's size; 0: its own */
    const char *message; /* NULL: read; else a part of it */
} Case;

#define A(dtype, shape, at)                                                                        \
    "\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" at "}"
#define B(shape, at) "\"b\":{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":" at "}"

static const Case cases[] = {
    {"{" A("BF16", "[2,3]", "[0,12]") "}", 12, 0, NULL},
    {"{\"__metadata__\":{\"format\":\"pt\"}," A("F32", "[]", "[0,4]") "}  ", 4, 0, NULL},
    {"{" A("U8", "[0,7]", "[0,0]") "," B("[4]", "[0,4]") "}", 4, 0, NULL},
    {"{}", 0, 0, NULL},
    {"", 0, 0, "fewer than any header"},
    {"{}", 0, 3, "claim a header of 3 bytes"},
    {"{}", 0, INT64_MAX, "claim a header of 9223372036854775807 bytes"},
    {"[]", 0, 0, "begins with '{'"},
    {"{\"a\":1", 0, 0, "not the JSON that it should be"},
    {"{" A("U8", "[4]", "[0,4]") "," A("U8", "[4]", "[4,8]") "}", 8, 0, "duplicate object key"},
    {"{\"a\":7}", 0, 0, "is no object"},
    {"{\"\":{}}", 0, 0, "names have 1 to 255 printable bytes"},
    {"{\"a\\nb\":{}}", 0, 0, "names a tensor 'a\\nb'"},
    {"{" A("U9", "[4]", "[0,4]") "}", 4, 0, "has the dtype 'U9'"},
    {"{" A("U8", "4", "[0,4]") "}", 4, 0, "has no shape of at most 8 dimensions"},
    {"{" A("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, 0, "has no shape of at most 8 dimensions"},
    {"{" A("U8", "[-4]", "[0,4]") "}", 4, 0, "dimension 0 of tensor 'a'"},
    {"{" A("U8", "[4.5]", "[0,4]") "}", 4, 0, "dimension 0 of tensor 'a'"},
    {"{" A("F64", "[9007199254740992,9007199254740992]", "[0,4]") "}", 4, 0,
     "more than 2^63 bytes"},
    {"{" A("U8", "[4]", "[0,4,8]") "}", 4, 0, "has no data_offsets"},
    {"{" A("U8", "[4]", "[4,0]") "}", 4, 0, "has no data_offsets"},
    {"{" A("U8", "[4]", "[0,5]") "}", 5, 0, "takes 4 bytes, but its data_offsets span 5"},
    {"{" A("U8", "[8]", "[0,8]") "}", 7, 0,
     "ends at byte 8 of the data, but the file holds only 7"},
    {"{" A("U8", "[4]", "[0,4]") "," B("[4]", "[2,6]") "}", 6, 0,
     "tensor 'b' (bytes 2 to 6 of the data) overlaps tensor 'a'"},
    {"{" A("U8", "[4]", "[0,4]") "," B("[4]", "[6,10]") "}", 10, 0, "no tensor holds bytes 4 to 6"},
    {"{" A("U8", "[4]", "[0,4]") "}", 6, 0, "the tensors end at byte 4 of the data, the file at 6"},
};

typedef struct Run {
    Session s;
    const char *path;
    const uint8_t *data;
    size_t size;
    Safetensors *all;
    char *log;
    size_t loglen;
} Run;

static void parse(void *arg)
{
    Run *r = arg;
    r->all = r->data ? safetensors_parse(&r->s, r->path, r->data, r->size)
                     : safetensors_open(&r->s, r->path);
}

/* Whether it was read; else the message must hold `message`. */
static void expect(Run *r, const char *message)
{
    FILE *log = open_memstream(&r->log, &r->loglen);
    session_start(&r->s, log);
    bool ok = session_try(&r->s, parse, r);
    fflush(log);
    if (ok != !message || (message && !strstr(r->log, message)))
        print_message("said: %s\nwanted: %s\n", r->log, message ? message : "nothing");
    assert_int_equal(ok, !message);
    assert_true(!message || strstr(r->log, message));
    for (int64_t i = 0; ok && i < r->all->ntensor; i++) {
        const SafeTensor *t = &r->all->tensor[i];
        volatile uint8_t last = t->end > t->begin ? t->data[t->end - t->begin - 1] : 0;
        (void)last;
        assert_ptr_equal(safetensors_find(r->all, t->name), t);
    }
    session_end(&r->s);
    fclose(log);
    free(r->log);
}

static uint8_t *file_of(const Case *c, size_t *size)
{
    size_t n = strlen(c->header);
    uint64_t claim = c->claim ? (uint64_t)c->claim : n;
    *size = n ? 8 + n + (size_t)c->data : 0;
    uint8_t *bytes = calloc(1, *size ? *size : 1);
    assert_non_null(bytes);
    for (int i = 0; n && i < 8; i++)
        bytes[i] = (uint8_t)(claim >> 8 * i);
    if (n)
        memcpy(bytes + 8, c->header, n);
    return bytes;
}

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Run r = {.path = "m.safetensors"};
        uint8_t *bytes = file_of(&cases[i], &r.size);
        r.data = bytes;
        expect(&r, cases[i].message);
        free(bytes);
    }
}

/* Nesting must end in a message, not in the stack. */
static void test_deep(void **state)
{
    enum { DEEP = 1 << 20 };
    (void)state;
    char *text = malloc(DEEP + 1);
    assert_non_null(text);
    memset(text, '[', DEEP);
    memcpy(text, "{\"a\":", 5);
    text[DEEP] = 0;
    Run r = {.path = "m.safetensors"};
    uint8_t *bytes = file_of(&(Case){.header = text}, &r.size);
    r.data = bytes;
    expect(&r, "maximum parsing depth reached");
    free(bytes);
    free(text);
}

/* ---- folders ---- */

static char folder[] = "/tmp/bnc-safetensors-XXXXXX";

static void save(const char *name, const void *bytes, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void save_shard(const char *name, const char *header, int data)
{
    size_t size;
    uint8_t *bytes = file_of(&(Case){header, data, 0, NULL}, &size);
    save(name, bytes, size);
    free(bytes);
}

static void expect_index(const char *map, const char *message)
{
    char text[512];
    int n = snprintf(text, sizeof text, "{\"weight_map\":%s}", map);
    save("model.safetensors.index.json", text, (size_t)n);
    Run r = {.path = folder};
    expect(&r, message);
}

static void test_index(void **state)
{
    (void)state;
    save_shard("one.safetensors", "{" A("U8", "[4]", "[0,4]") "}", 4);
    save_shard("two.safetensors", "{" B("[2]", "[0,2]") "}", 2);
    save_shard("too.safetensors", "{" B("[2]", "[0,2]") "}", 2);
    expect_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}", NULL);
    expect_index("[]", "has no object weight_map");
    expect_index("{\"a\":\"../one.safetensors\"}",
                 "expected the name of a .safetensors file of this");
    expect_index("{\"a\":\"/etc/passwd\"}", "expected the name of a .safetensors file of this");
    expect_index("{\"a\":\".hidden.safetensors\"}", "expected the name of a .safetensors file");
    expect_index("{\"a\":\"one.bin\"}", "expected the name of a .safetensors file of this");
    expect_index("{\"a\":7}", "puts tensor 'a' into no file");
    expect_index("{\"a\":\"none.safetensors\"}", "cannot open the weights");
    expect_index("{\"a\":\"two.safetensors\"}", "which does not hold it");
    expect_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"too.safetensors\"}",
                 "tensor 'b' stands in two files");
}

static int make_folder(void **state)
{
    (void)state;
    return !mkdtemp(folder);
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"one.safetensors", "two.safetensors", "too.safetensors",
                                        "model.safetensors.index.json"};
    char path[256];
    (void)state;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_deep),
        cmocka_unit_test_setup_teardown(test_index, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
