/* temps.c: what must not outlive the process: unfinished files, temporary folders, children.
 *
 * One idea: whoever makes such a thing registers it here. A session that ends, by success or by a
 * mistake, removes its own; a signal that ends the process (SIGINT, SIGTERM, SIGHUP) is first handed
 * to a thread that ends the children and removes all that is registered. SIGKILL leaves litter: each
 * thing is locked (flock) as long as its maker lives, so the next run knows what nobody owns.
 */
#define _GNU_SOURCE /* flock, prctl */
#include "ir/ir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* ---- the register ---- */

typedef struct Temp {
    char *path; /* NULL: a child */
    pid_t child;
    struct Temp *next;
} Temp;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Temp *temps;

static void keep(const char *path, pid_t child)
{
    Temp *t = calloc(1, sizeof *t);
    if (!t || (path && !(t->path = strdup(path))))
        die("no memory to register a temporary file");
    t->child = child;
    pthread_mutex_lock(&lock);
    t->next = temps;
    temps = t;
    pthread_mutex_unlock(&lock);
}

static void forget(const char *path, pid_t child)
{
    pthread_mutex_lock(&lock);
    for (Temp **t = &temps; *t; t = &(*t)->next)
        if (path ? (*t)->path && !strcmp((*t)->path, path) : (*t)->child == child && child) {
            Temp *gone = *t;
            *t = gone->next;
            free(gone->path);
            free(gone);
            break;
        }
    pthread_mutex_unlock(&lock);
}

void temp_keep(const char *path)
{
    keep(path, 0);
}

void temp_forget(const char *path)
{
    forget(path, 0);
}

/* ---- removal ---- */

void remove_tree(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    DIR *d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char *inside = NULL;
        size_t n = strlen(path) + strlen(e->d_name) + 2;
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && (inside = malloc(n))) {
            snprintf(inside, n, "%s/%s", path, e->d_name);
            remove_tree(inside);
        }
        free(inside);
    }
    if (d)
        closedir(d);
    if (S_ISDIR(st.st_mode))
        rmdir(path);
    else
        unlink(path);
}

bool path_lock(int fd, bool exclusive)
{
    return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0;
}

/* Two seconds are long enough for a maker to lock what it has made. */
static bool abandoned(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0 || st.st_uid != geteuid() || S_ISLNK(st.st_mode) ||
        time(NULL) - st.st_mtime < 2)
        return false;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool free_now = fd >= 0 && path_lock(fd, true);
    if (fd >= 0)
        close(fd);
    return free_now;
}

void temps_sweep(Session *s, const char *dir, const char *prefix)
{
    size_t n = strlen(prefix);
    DIR *d = opendir(*dir ? dir : ".");
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, prefix, n) && strlen(e->d_name) == n + strlen("XXXXXX")) {
            const char *path = format(s, "%s%s%s", dir, *dir ? "/" : "", e->d_name);
            if (abandoned(path))
                remove_tree(path);
        }
    if (d)
        closedir(d);
}

/* ---- temporary folders ---- */

typedef struct TempDir {
    char *path;
    int fd;
} TempDir;

static void remove_dir(void *arg)
{
    TempDir *t = arg;
    remove_tree(t->path);
    forget(t->path, 0);
    close(t->fd);
}

const char *temp_dir(Session *s)
{
    const char *base = getenv("TMPDIR");
    base = base && *base ? base : "/tmp";
    temps_sweep(s, base, "bnc.");
    TempDir *t = NEW(s, TempDir);
    t->path = scratch_copy(s, format(s, "%s/bnc.XXXXXX", base));
    if (!mkdtemp(t->path))
        fail(s, (Loc){0}, "cannot make a temporary folder %s: %s", t->path, strerror(errno));
    keep(t->path, 0);
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    session_defer(s, remove_dir, t);
    if (t->fd >= 0)
        path_lock(t->fd, true);
    return t->path;
}

/* ---- children ---- */

static void become_child(char *const *words, const ChildOptions *o, int report)
{
    if (!o || !o->foreground)
        setpgid(0, 0); /* a signal for it reaches what it starts, too */
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
    if (o && o->quiet) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, STDERR_FILENO);
    }
    if (o && o->output)
        dup2(o->output, STDOUT_FILENO);
    if (o && o->tmpdir)
        setenv("TMPDIR", o->tmpdir, 1);
    execvp(o && o->path ? o->path : words[0], words);
    int why = errno;
    if (write(report, &why, sizeof why) < 0)
        _exit(126);
    _exit(127);
}

pid_t child_start(Session *s, char *const *words, const ChildOptions *o)
{
    int ends[2], why = 0;
    if (pipe(ends) != 0)
        fail(s, (Loc){0}, "cannot make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_child(words, o, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        fail(s, (Loc){0}, "cannot start %s: %s", words[0], strerror(errno));
    }
    keep(NULL, pid);
    ssize_t n;
    while ((n = read(ends[0], &why, sizeof why)) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    if (n == (ssize_t)sizeof why) {
        child_wait(pid);
        errno = why;
        return -1;
    }
    return pid;
}

int child_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    forget(NULL, pid);
    return status;
}

/* ---- signals ---- */

static int wake[2]; /* a byte, the number of a signal, wakes the thread */

static void on_signal(int number)
{
    int before = errno;
    char byte = (char)number;
    if (write(wake[1], &byte, 1) < 0)
        _exit(128 + number);
    errno = before;
}

static void *clean_up(void *none)
{
    char number;
    (void)none;
    while (read(wake[0], &number, 1) < 1)
        if (errno != EINTR)
            return NULL;
    pthread_mutex_lock(&lock); /* and keeps it: nothing more is made */
    for (const Temp *t = temps; t; t = t->next)
        if (!t->path && kill(-t->child, SIGKILL) != 0)
            kill(t->child, SIGTERM);
    for (int rounds = 0; rounds < 3; rounds++) /* another thread may be writing a last file */
        for (const Temp *t = temps; t; t = t->next)
            if (t->path)
                remove_tree(t->path);
    signal(number, SIG_DFL);
    kill(getpid(), number);
    for (;;)
        pause();
}

void temps_guard(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = on_signal}, old;
    pthread_t thread;
    if (pipe(wake) != 0)
        return;
    fcntl(wake[0], F_SETFD, FD_CLOEXEC);
    fcntl(wake[1], F_SETFD, FD_CLOEXEC);
    if (pthread_create(&thread, NULL, clean_up, NULL) != 0)
        return;
    pthread_detach(thread);
    sigfillset(&act.sa_mask);
    act.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(ends[i], &act, NULL);
}
