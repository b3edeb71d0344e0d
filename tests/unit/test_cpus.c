/* test_cpus.c: affinity masks and CPU quotas, the latter from made-up files of /proc and /sys. */
#define _GNU_SOURCE /* sched_setaffinity, nftw */
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime-min/internal.h"

static char root[] = "/tmp/test_cpus_XXXXXX";

/* Writes root/path and the folders above it. */
static void put(const char *path, const char *text)
{
    char full[8192];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        (void)mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int fresh(void **state)
{
    (void)state;
    memcpy(root + sizeof root - 7, "XXXXXX", 6);
    return !mkdtemp(root);
}

static int clean(void **state)
{
    (void)state;
    return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

#define V2 "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1 "36 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"

static void no_files(void **state)
{
    (void)state;
    assert_int_equal(bn_cpu_quota(root), 0);
    put("/proc/self/cgroup", "0::/a\n");
    assert_int_equal(bn_cpu_quota(root), 0);
    put("/proc/self/mountinfo", V2);
    assert_int_equal(bn_cpu_quota(root), 0);
}

static void version_2(void **state)
{
    static const struct {
        const char *text;
        int cpus;
    } c[] = {{"max 100000\n", 0},
             {"200000 100000\n", 2},
             {"150000 100000\n", 2},
             {"1000 100000\n", 1},
             {"50000 25000", 2},
             {"", 0},
             {"\n", 0},
             {"-1 100000\n", 0},
             {"100000\n", 0},
             {"100000 0\n", 0},
             {"100000 -5\n", 0},
             {"junk 7\n", 0},
             {"99999999999999999999 1\n", 0}};
    (void)state;
    put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" V2);
    put("/proc/self/cgroup", "0::/user.slice/run-1.scope\n");
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        put("/sys/fs/cgroup/user.slice/run-1.scope/cpu.max", c[i].text);
        assert_int_equal(bn_cpu_quota(root), c[i].cpus);
    }
}

/* The least of the group and all above it, the mount's own folder included, and no others. */
static void parents(void **state)
{
    (void)state;
    put("/proc/self/mountinfo", V2);
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/b/d/cpu.max", "100000 100000\n");
    put("/sys/cpu.max", "100000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 8);
    put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 3);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 2);
}

static void version_1(void **state)
{
    (void)state;
    put("/proc/self/mountinfo",
        "35 24 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" V1);
    put("/proc/self/cgroup", "5:cpuset:/wrong\n4:cpu,cpuacct:/a\n0::/none\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpuset/wrong/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/cgroup/cpuset/wrong/cpu.cfs_period_us", "100000\n");
    assert_int_equal(bn_cpu_quota(root), 0);
    put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(bn_cpu_quota(root), 3);
}

/* A container: the mount shows a part of the tree, or the path is above what it shows. */
static void containers(void **state)
{
    (void)state;
    put("/proc/self/mountinfo", "1 2 0:3 /docker/9f /sys/fs/my\\040group rw - cgroup2 none rw\n");
    put("/proc/self/cgroup", "0::/docker/9f/job\n");
    put("/sys/fs/my group/job/cpu.max", "400000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 4);
    put("/sys/fs/my group/cpu.max", "300000 100000\n");
    put("/proc/self/cgroup", "0::/docker/9fe\n");
    assert_int_equal(bn_cpu_quota(root), 3);
    put("/proc/self/cgroup", "0::/../../job\n");
    assert_int_equal(bn_cpu_quota(root), 3);
    /* A mount that shows the group is better than one before it that does not. */
    put("/proc/self/mountinfo", "1 2 0:3 /other /sys/fs/other rw - cgroup2 none rw\n" V2);
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/other/cpu.max", "100000 100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "600000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 6);
}

/* Lines that are too long are passed over; lines without their fields, too. */
static void odd_files(void **state)
{
    static char text[20000];
    (void)state;
    memset(text, 'x', 10000);
    strcpy(text + 10000, "\n\n - \n1 - cgroup2\n1 2 3 4 - cgroup2 c c\n" V2);
    put("/proc/self/mountinfo", text);
    memset(text, ':', 9000);
    strcpy(text + 9000, "\n:\n::\n\n0\n0::/a");
    put("/proc/self/cgroup", text);
    put("/sys/fs/cgroup/a/cpu.max", "500000 100000\n");
    assert_int_equal(bn_cpu_quota(root), 5);
    /* A path that no buffer holds together with its mount point. */
    memset(text, 0, sizeof text);
    memset(text, 'p', 4090);
    memcpy(text, "0::/", 4);
    put("/proc/self/cgroup", text);
    assert_int_equal(bn_cpu_quota(root), 0);
}

static void affinity(void **state)
{
    cpu_set_t before, one;
    int quota = bn_cpu_quota("");
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int n = CPU_COUNT(&before);
    assert_int_equal(bn_cpus(), quota && quota < n ? quota : n);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(bn_cpus(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST_IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, fresh, clean)
        TEST_IN_FOLDER(no_files),   TEST_IN_FOLDER(version_2),  TEST_IN_FOLDER(parents),
        TEST_IN_FOLDER(version_1),  TEST_IN_FOLDER(containers), TEST_IN_FOLDER(odd_files),
        cmocka_unit_test(affinity),
    };
    return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
