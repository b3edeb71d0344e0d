/* test_session.c: memory, names, messages and files of the compiler (session.c, out.c).
 *
 * One idea: messages are goldens. Each case gives a source and a place, and the text that the
 * user must see, hostile bytes included.
 */
#include "ir/escape.h"
#include "ir/ir.h" /* before cmocka.h, which makes fail a macro */

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Fixture {
    Session s;
    char *log;
    size_t len;
} Fixture;

static void open_log(Fixture *f)
{
    FILE *log = open_memstream(&f->log, &f->len);
    assert_non_null(log);
    session_start(&f->s, log);
}

static void close_log(Fixture *f)
{
    FILE *log = f->s.log;
    session_end(&f->s);
    fclose(log);
    free(f->log);
}

/* ---- memory and names ---- */

static void memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    Session s;
    session_start(&s, NULL);
    for (size_t n = 0; n < 300000; n = n * 3 + 1) {
        unsigned char *p = alloc(&s, n);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    int *a = NULL;
    for (int i = 0; i < 1000; i++) {
        a = grow(&s, a, (size_t)i, sizeof *a);
        a[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(a[i], i);
    session_end(&s);
}

static void equal_names_are_one(void **state)
{
    (void)state;
    Session s;
    session_start(&s, NULL);
    const char *first[2000];
    for (int i = 0; i < 2000; i++)
        first[i] = name(&s, format(&s, "name%d", i));
    for (int i = 0; i < 2000; i++)
        assert_ptr_equal(first[i], name(&s, format(&s, "name%d", i)));
    assert_ptr_equal(intern(&s, "a\0b", 3), intern(&s, "a\0b", 3));
    assert_ptr_not_equal(intern(&s, "a\0b", 3), intern(&s, "a\0c", 3));
    assert_string_equal(intern(&s, "abcdef", 3), "abc");
    session_end(&s);
}

static void count_up(void *arg)
{
    ++*(int *)arg;
}

static void cleanups_run_once(void **state)
{
    (void)state;
    Session s;
    int n = 0;
    session_start(&s, NULL);
    session_defer(&s, count_up, &n);
    session_defer(&s, count_up, &n);
    session_end(&s);
    session_end(&s);
    assert_int_equal(n, 2);
}

/* ---- messages ---- */

#define LONG "0123456789012345678901234567890123456789"
static const struct {
    const char *source;
    int line, col;
    const char *text, *want;
} messages[] = {
    {"one\ntwo three\n", 2, 5, "no three", "a.tir:2:5: error: no three\n  two three\n      ^\n"},
    {"\tx = y", 1, 6, "tab kept", "a.tir:1:6: error: tab kept\n  \tx = y\n  \t    ^\n"},
    {"ab\r\ncd", 1, 3, "at the end", "a.tir:1:3: error: at the end\n  ab\n    ^\n"},
    {"\x1b[31mred", 1, 6, "escaped", "a.tir:1:6: error: escaped\n  \\x1b[31mred\n          ^\n"},
    {"\xc3\xa9t\xc3\xa9 x", 1, 7, "wide letters",
     "a.tir:1:7: error: wide letters\n  \xc3\xa9t\xc3\xa9 x\n      ^\n"},
    {"a", 9, 1, "no such line", "a.tir:9:1: error: no such line\n"},
    {"a", 1, 99, "past the line", "a.tir:1:99: error: past the line\n  a\n   ^\n"},
    {"a", 0, 0, "whole file", "a.tir: error: whole file\n"},
    {"", 1, 1, "empty", "a.tir:1:1: error: empty\n  \n  ^\n"},
    {LONG LONG LONG "x" LONG LONG, 1, 121, "a window",
     "a.tir:1:121: error: a window\n  ...6789012345678901234567890123456789012345678901234567890123"
     "456789x0123456789012345678901234567890...\n"
     "                                                                     ^\n"},
    {"a", 0, 0, "line one\nb.tir: error: forged \x1b]0;\x07",
     "a.tir: error: line one\n  b.tir: error: forged \\x1b]0;\\x07\n"},
};

static void messages_point(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        Fixture f;
        open_log(&f);
        Text t = {"a.tir", messages[i].source, strlen(messages[i].source)};
        err(&f.s, (Loc){&t, messages[i].line, messages[i].col}, "%s", messages[i].text);
        assert_string_equal(f.log, messages[i].want);
        assert_int_equal(f.s.nerror, 1);
        close_log(&f);
    }
}

static void other_messages(void **state)
{
    (void)state;
    Fixture f;
    open_log(&f);
    warn(&f.s, loc_file(&f.s, "m.gguf"), "odd %d", 1);
    note(&f.s, "done in %d ms", 5);
    f.s.quiet = true;
    note(&f.s, "not seen");
    err(&f.s, (Loc){0}, "no place");
    assert_string_equal(f.log, "m.gguf: warning: odd 1\nbnc: done in 5 ms\nbnc: error: no place\n");
    assert_int_equal(f.s.nwarning, 1);
    close_log(&f);
}

static void fail_twice(void *arg)
{
    Session *s = arg;
    stop_on_errors(s);
    (fail)(s, (Loc){0}, "first"); /* ours, not the macro */
}

static void fail_leaves(void **state)
{
    (void)state;
    Fixture f;
    open_log(&f);
    assert_false(session_try(&f.s, fail_twice, &f.s));
    assert_false(session_try(&f.s, fail_twice, &f.s));
    assert_string_equal(f.log, "bnc: error: first\n");
    close_log(&f);
}

static void quoting(void **state)
{
    (void)state;
    Session s;
    session_start(&s, NULL);
    assert_string_equal(quote(&s, "a\nb\0c\xff\\", 7), "'a\\nb\\x00c\\xff\\\\'");
    assert_string_equal(quote(&s,
                              "\xe2\x80\xae"
                              "evil",
                              7),
                        "'\\xe2\\x80\\xaeevil'");
    assert_string_equal(quote(&s, LONG LONG LONG, 120),
                        "'" LONG "0123456789012345678901234567890123456...'");
    assert_int_equal(utf8_char("\xc0\x80", 2), 0);     /* overlong */
    assert_int_equal(utf8_char("\xed\xa0\x80", 3), 0); /* surrogate */
    assert_int_equal(utf8_char("\xf4\x90\x80\x80", 4), 0);
    assert_int_equal(utf8_char("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(utf8_char("\xf0\x9f\x98\x80", 3), 0);
    session_end(&s);
}

/* ---- text and files ---- */

static void floats_read_back(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{1, "1.0"},
                 {0, "0.0"},
                 {1e-5, "1e-5"},
                 {5e5, "5e5"},
                 {0.1, "0.1"},
                 {-512, "-512.0"},
                 {1.0 / 3, "0.33333334"},
                 {3e38, "3e38"},
                 {1e-45, "1e-45"},
                 {16777216, "16777216.0"}};
    Session s;
    session_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Out o = {.s = &s};
        put_float(&o, cases[i].v);
        assert_string_equal(o.text, cases[i].text);
        assert_true(strtof(o.text, NULL) == (float)cases[i].v);
        out_free(&o);
    }
    session_end(&s);
}

static int entries(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void files_appear_complete_or_not(void **state)
{
    (void)state;
    char folder[] = "/tmp/bnc-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    Session s;
    session_start(&s, NULL);
    const char *path = format(&s, "%s/out", folder);
    OutFile *f = file_create(&s, path);
    file_write(f, "hello world", 11);
    file_write(f, "!", 1);
    assert_int_equal(access(path, F_OK), -1);
    file_commit(f);
    size_t size;
    assert_string_equal(file_read(&s, path, &size), "hello world!");
    assert_int_equal(size, 12);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    f = file_create(&s, path);
    file_write(f, "never seen", 10);
    assert_int_equal(entries(folder), 2);
    const char *kept = strdup(path);
    session_end(&s);
    assert_int_equal(entries(folder), 1);
    session_start(&s, NULL);
    assert_string_equal(file_read(&s, kept, NULL), "hello world!");
    Out text = {.s = &s};
    put(&text, "%s", "x");
    file_save(&s, kept, &text);
    file_save(&s, "/dev/null", &text);
    assert_string_equal(file_read(&s, kept, NULL), "x");
    out_free(&text);
    session_end(&s);
    unlink(kept);
    rmdir(folder);
    free((char *)kept);
}

static void read_nothing(void *s)
{
    file_read(s, "/nowhere/at/all", NULL);
}
static void write_nowhere(void *s)
{
    file_create(s, "/nowhere/at/all");
}
static void write_folder(void *s)
{
    file_create(s, "/tmp");
}

static void file_failures(void **state)
{
    (void)state;
    Fixture f;
    open_log(&f);
    assert_false(session_try(&f.s, read_nothing, &f.s));
    assert_false(session_try(&f.s, write_nowhere, &f.s));
    assert_false(session_try(&f.s, write_folder, &f.s));
    assert_string_equal(f.log, "/nowhere/at/all: error: cannot open it: No such file or directory\n"
                               "/nowhere/at/all: error: cannot create it there: No such file or "
                               "directory\n"
                               "/tmp: error: is a folder; give the name of a file to write\n");
    close_log(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(equal_names_are_one),
        cmocka_unit_test(cleanups_run_once),
        cmocka_unit_test(messages_point),
        cmocka_unit_test(other_messages),
        cmocka_unit_test(fail_leaves),
        cmocka_unit_test(quoting),
        cmocka_unit_test(floats_read_back),
        cmocka_unit_test(files_appear_complete_or_not),
        cmocka_unit_test(file_failures),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
