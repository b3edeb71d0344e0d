/* cmocka.h: what test_kernels.c and test_kv.c use of cmocka, for machines that have a C library alone. */
#ifndef BN_TEST_CMOCKA_H
#define BN_TEST_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*test)(void **state);
};
#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f                                                                                      \
    }
#define print_message printf
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        printf("%s:%d: ", __FILE__, __LINE__);                                                     \
        printf(__VA_ARGS__);                                                                       \
        printf("\n0 passed, 1 failed\n");                                                          \
        exit(1);                                                                                   \
    } while (0)
#define assert_true(what)                                                                          \
    do {                                                                                           \
        if (!(what))                                                                               \
            fail_msg("%s", #what);                                                                 \
    } while (0)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)

/* Runs all; the first failure ends the program. */
static int run_group(const struct CMUnitTest *tests, int n)
{
    for (int i = 0; i < n; i++)
        tests[i].test(NULL);
    printf("%d passed, 0 failed\n", n);
    return 0;
}
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    run_group(tests, (int)(sizeof(tests) / sizeof *(tests)))

#endif
