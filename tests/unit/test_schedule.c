/* test_schedule.c: bn_rows_next gives every unit of work to exactly one thread, again after every
 * barrier, whatever the numbers of units, threads and the least piece. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime-min/internal.h"

enum { MOST_UNITS = 700, ROUNDS = 3, MOST_THREADS = 5 };
static struct Case {
    int units, least;
} now;
static atomic_int scheduled[ROUNDS][2][MOST_UNITS];
static atomic_int outside;

/* Two counters between two barriers, as two products of one input have. */
static void schedule(const bn_call *c)
{
    for (int round = 0; round < ROUNDS; round++) {
        for (int slot = 0; slot < 2; slot++)
            for (bn_rows r = {0, 0, 0}; bn_rows_next(c, slot, now.units, now.least, &r);)
                for (int u = r.from; u < r.to; u++)
                    if (u < 0 || u >= now.units)
                        outside++;
                    else
                        scheduled[round][slot][u]++;
        bn_barrier(c);
    }
}

static void every_unit_once(void **state)
{
    static const struct Case cases[] = {{1, 1},    {3, 1},     {4, 1},    {7, 2},
                                        {16, 16},  {80, 1},    {80, 3},   {216, 1},
                                        {384, 16}, {512, 100}, {699, 13}, {700, 1}};
    static bn_slot slot[MOST_THREADS];
    static bn_team team;
    (void)state;
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        for (int i = 0; i < threads; i++) {
            slot[i].call.thread = i;
            slot[i].call.nthread = threads;
            slot[i].call.team = &team;
        }
        assert_int_equal(bn_team_start(&team, slot, threads), BN_OK);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            now = cases[i];
            memset(scheduled, 0, sizeof scheduled);
            bn_team_run(&team, schedule);
            assert_int_equal(outside, 0);
            for (int round = 0; round < ROUNDS; round++)
                for (int u = 0; u < 2 * MOST_UNITS; u++)
                    assert_int_equal(scheduled[round][u / MOST_UNITS][u % MOST_UNITS],
                                     u % MOST_UNITS < now.units);
        }
        bn_team_stop(&team);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_unit_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
