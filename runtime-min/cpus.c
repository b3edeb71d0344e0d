/* cpus.c: how many processors this process may use.
 *
 * One idea: three limits hold at once and the smallest counts: processors online, the affinity mask
 * (taskset, cpuset) and the CPU quota of the process's cgroup and of every group above it (cpu.max of
 * version 2, cpu.cfs_quota_us of version 1). A file that is absent or reads oddly sets no limit.
 * Nothing is allocated: lines and paths longer than PATH_MAX are passed over.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bn_model.h"
#include "internal.h"

enum { CPUS_LINE = 4096, CPUS_MASK_WORDS = 1024 /* 65,536 processors */ };

typedef struct cpus_file {
    int file;
    size_t at, n;
    char bytes[1024];
} cpus_file;

static int cpus_open(cpus_file *f, const char *root, const char *path)
{
    char full[CPUS_LINE];
    int len = snprintf(full, sizeof full, "%s%s", root, path);
    f->at = f->n = 0;
    f->file = len > 0 && (size_t)len < sizeof full ? open(full, O_RDONLY | O_CLOEXEC) : -1;
    return f->file >= 0;
}

static int cpus_byte(cpus_file *f)
{
    if (f->at == f->n) {
        ssize_t got = read(f->file, f->bytes, sizeof f->bytes);
        f->n = got > 0 ? (size_t)got : 0;
        f->at = 0;
    }
    return f->at < f->n ? (unsigned char)f->bytes[f->at++] : -1;
}

/* The next line that fits, without its end; 0 at the end of the file. */
static int cpus_line(cpus_file *f, char line[CPUS_LINE])
{
    for (;;) {
        size_t n = 0;
        int c;
        while ((c = cpus_byte(f)) >= 0 && c != '\n') {
            if (n < CPUS_LINE)
                line[n] = (char)c;
            n++;
        }
        if (c < 0 && n == 0)
            return 0;
        if (n < CPUS_LINE) {
            line[n] = 0;
            return 1;
        }
    }
}

/* Whether `word` is one of the words of `list` between commas. */
static int cpus_listed(const char *list, const char *word)
{
    size_t len = strlen(word), n;
    for (;; list += n + 1) {
        n = strcspn(list, ",");
        if (n == len && memcmp(list, word, n) == 0)
            return 1;
        if (!list[n])
            return 0;
    }
}

/* The group of this process, "/a/b", from lines "hierarchy:controllers:path". Version 2 has no
 * controllers there. */
static int cpus_group(const char *root, int version, char path[CPUS_LINE])
{
    char line[CPUS_LINE];
    cpus_file f;
    int found = 0;
    if (!cpus_open(&f, root, "/proc/self/cgroup"))
        return 0;
    while (!found && cpus_line(&f, line)) {
        char *controllers = strchr(line, ':'), *group;
        group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        found = version == 2 ? strcmp(line, "0:") == 0 : cpus_listed(controllers + 1, "cpu");
        if (found)
            memmove(path, group, strlen(group) + 1);
    }
    close(f.file);
    return found;
}

/* mountinfo writes a space as \040. */
static void cpus_unescape(char *text)
{
    char *out = text;
    for (; *text; text++) {
        int octal = text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
                    text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
        *out++ =
            octal ? (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0')) : *text;
        text += octal ? 3 : 0;
    }
    *out = 0;
}

/* What of `path` stands below the mount's root; NULL where the mount does not show it. */
static const char *cpus_below(const char *path, const char *mount_root)
{
    size_t len = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(path, mount_root, len) != 0 || (path[len] && path[len] != '/') ||
        strstr(path, "/.."))
        return NULL;
    return strcmp(path + len, "/") == 0 ? "" : path + len;
}

/* The folder of the group `path` in `dir`, and in *mount how much of it is the mount point. A mount
 * that does not show the group (a container's own) stands for it. */
static int cpus_folder(const char *root, int version, const char *path, char dir[CPUS_LINE],
                       size_t *mount)
{
    char line[CPUS_LINE];
    cpus_file f;
    int found = 0;
    if (!cpus_open(&f, root, "/proc/self/mountinfo"))
        return 0;
    while (found < 2 &&
           cpus_line(&f, line)) { /* 36 25 0:31 ROOT POINT options - type source more */
        char *field[5] = {0}, *rest = strstr(line, " - "), *save = NULL;
        if (!rest)
            continue;
        *rest = 0;
        for (int i = 0; i < 5; i++)
            field[i] = strtok_r(i ? NULL : line, " ", &save);
        char *type = strtok_r(rest + 3, " ", &save), *options = NULL;
        if (type && strtok_r(NULL, " ", &save))
            options = strtok_r(NULL, " ", &save);
        if (!field[4] || !type || strcmp(type, version == 2 ? "cgroup2" : "cgroup") != 0 ||
            (version == 1 && !(options && cpus_listed(options, "cpu"))))
            continue;
        cpus_unescape(field[3]);
        cpus_unescape(field[4]);
        const char *below = cpus_below(path, field[3]);
        if (!below && found)
            continue;
        int len = snprintf(dir, CPUS_LINE, "%s%s", field[4], below ? below : "");
        *mount = strlen(field[4]);
        found = len > 0 && len < CPUS_LINE ? 1 + (below != NULL) : found;
    }
    close(f.file);
    return found;
}

/* The number at the start of line `name` of the folder; its second into *second where that is asked
 * for. -1: there is none ("max" is none). */
static long long cpus_number(const char *root, const char *dir, const char *name, long long *second)
{
    char line[CPUS_LINE], *end;
    cpus_file f;
    int len = snprintf(line, sizeof line, "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof line || !cpus_open(&f, root, line))
        return -1;
    int read = cpus_line(&f, line);
    close(f.file);
    if (!read || *line < '0' || *line > '9')
        return -1;
    long long first = strtoll(line, &end, 10);
    if (second)
        *second = strtoll(end, NULL, 10);
    return first;
}

/* Microseconds of processor time in each period, as processors, rounded up; 0: no limit. */
static int cpus_quota_of(const char *root, int version, const char *dir)
{
    long long period = 0,
              quota = cpus_number(root, dir, version == 2 ? "cpu.max" : "cpu.cfs_quota_us",
                                  version == 2 ? &period : NULL);
    if (version == 1)
        period = cpus_number(root, dir, "cpu.cfs_period_us", NULL);
    if (quota <= 0 || period <= 0)
        return 0;
    long long cpus = quota / period + (quota % period > 0);
    return cpus < INT_MAX ? (int)cpus : 0;
}

int bn_cpu_quota(const char *root)
{
    char path[CPUS_LINE], dir[CPUS_LINE];
    size_t mount = 0;
    int least = 0;
    for (int version = 1; version <= 2; version++) {
        if (!cpus_group(root, version, path) || !cpus_folder(root, version, path, dir, &mount))
            continue;
        for (size_t len = strlen(dir); len >= mount; len--) {
            if (dir[len] && dir[len] != '/')
                continue;
            dir[len] = 0;
            int quota = cpus_quota_of(root, version, dir);
            least = quota && (!least || quota < least) ? quota : least;
            if (len == 0)
                break;
        }
    }
    return least;
}

static int cpus_allowed(void)
{
#ifdef __linux__
    static const size_t bytes = CPUS_MASK_WORDS * sizeof(unsigned long);
    unsigned long mask[CPUS_MASK_WORDS] = {0};
    int n = 0;
    if (sched_getaffinity(0, bytes, (cpu_set_t *)(void *)mask) == 0)
        for (int i = 0; i < CPUS_MASK_WORDS; i++)
            for (unsigned long rest = mask[i]; rest; rest &= rest - 1)
                n++;
    if (n > 0)
        return n;
#endif
#ifdef _SC_NPROCESSORS_ONLN
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (online > 0 && online < INT_MAX)
        return (int)online;
#endif
    return 1;
}

int bn_cpus(void)
{
    int allowed = cpus_allowed(), quota = 0;
#ifdef __linux__
    quota = bn_cpu_quota("");
#endif
    return quota && quota < allowed ? quota : allowed;
}
