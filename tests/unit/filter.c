/* filter.c: TEST_FILTER names the tests of a program that run, by * and ?; linked to every unit test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void filter(void)
{
    const char *pattern = getenv("TEST_FILTER");
    if (pattern)
        cmocka_set_test_filter(pattern);
}
