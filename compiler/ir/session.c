/* session.c: memory, interned names and messages.
 *
 * One idea: everything that a run of the compiler owns hangs on one Session and ends with it, so
 * no code frees anything and an error may leave from any depth by longjmp.
 */
#include "ir/ir.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bn.h"
#include "ir/escape.h"

/* ---- memory: blocks, filled from the front ---- */

struct MemBlock {
    struct MemBlock *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

/* Under the address sanitizer every allocation is a block of its own, so that it sees overruns. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLOCK_SIZE 0
#endif
#endif
#if !defined(BLOCK_SIZE) && defined(__SANITIZE_ADDRESS__)
#define BLOCK_SIZE 0
#endif
#if !defined(BLOCK_SIZE)
#define BLOCK_SIZE ((size_t)256 << 10)
#endif

struct Cleanup {
    struct Cleanup *next;
    void (*fn)(void *);
    void *arg;
};

void session_start(Session *s, FILE *log)
{
    memset(s, 0, sizeof *s);
    s->log = log;
}

/* ---- buffers that grow: they stand behind a link in a list, so that those which a fail() jumps
 * over are freed with the session ---- */

struct Buffer {
    struct Buffer *prev, *next;
    char text[];
};

static struct Buffer *buffer_of(char *text)
{
    return (struct Buffer *)(void *)(text - offsetof(struct Buffer, text));
}

static void buffer_unlink(Session *s, struct Buffer *b)
{
    *(b->prev ? &b->prev->next : &s->buffers) = b->next;
    if (b->next)
        b->next->prev = b->prev;
}

char *buffer_grow(Session *s, char *text, size_t size)
{
    struct Buffer *old = text ? buffer_of(text) : NULL;
    if (old)
        buffer_unlink(s, old);
    struct Buffer *b = realloc(old, sizeof *b + size);
    if (!b) {
        free(old);
        fail(s, (Loc){0}, "the system has no memory left for %zu bytes of text", size);
    }
    b->prev = NULL;
    b->next = s->buffers;
    if (b->next)
        b->next->prev = b;
    s->buffers = b;
    return b->text;
}

void buffer_free(Session *s, char *text)
{
    if (text) {
        buffer_unlink(s, buffer_of(text));
        free(buffer_of(text));
    }
}

/* ---- the whole ---- */

void session_end(Session *s)
{
    while (s->cleanups) {
        struct Cleanup *c = s->cleanups;
        s->cleanups = c->next;
        c->fn(c->arg);
    }
    while (s->buffers)
        buffer_free(s, s->buffers->text);
    while (s->mem) {
        struct MemBlock *b = s->mem;
        s->mem = b->next;
        free(b);
    }
    free(s->names);
    s->names = NULL;
    s->nname = s->capname = 0;
}

_Noreturn static void out_of_memory(Session *s, size_t size)
{
    err(s, (Loc){0}, "the system has no memory left for %zu bytes more", size);
    give_up(s);
}

/* A large block goes behind the one being filled, which keeps its free space. */
static struct MemBlock *block_add(Session *s, size_t size)
{
    size_t room = size > BLOCK_SIZE / 4 ? size : BLOCK_SIZE;
    struct MemBlock *b = calloc(1, sizeof *b + room);
    if (!b)
        out_of_memory(s, size);
    b->size = room;
    if (s->mem && room == size) {
        b->next = s->mem->next;
        s->mem->next = b;
    } else {
        b->next = s->mem;
        s->mem = b;
    }
    return b;
}

void *alloc(Session *s, size_t size)
{
    if (size > SIZE_MAX / 2)
        out_of_memory(s, size);
    if (BLOCK_SIZE > 0)
        size = (size + 15) & ~(size_t)15;
    struct MemBlock *b = s->mem;
    if (!b || b->size - b->used < size || BLOCK_SIZE == 0)
        b = block_add(s, size);
    void *p = b->bytes + b->used;
    b->used += size;
    s->bytes += size;
    s->nalloc++;
    return p;
}

void *alloc_array(Session *s, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        out_of_memory(s, SIZE_MAX);
    return alloc(s, n * size);
}

/* The capacity follows from n alone: 8, then the powers of two. */
void *grow(Session *s, void *array, size_t n, size_t size)
{
    bool full = n == 0 ? !array : n >= 8 && (n & (n - 1)) == 0;
    if (!full)
        return array;
    void *bigger = alloc_array(s, n ? 2 * n : 8, size);
    if (n)
        memcpy(bigger, array, n * size);
    return bigger;
}

void session_defer(Session *s, void (*fn)(void *), void *arg)
{
    struct Cleanup *c = NEW(s, struct Cleanup);
    *c = (struct Cleanup){s->cleanups, fn, arg};
    s->cleanups = c;
}

/* ---- names: open addressing, at most half full ---- */

struct Name {
    uint64_t hash;
    size_t len;
    char text[];
};

static uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

static void names_double(Session *s)
{
    size_t cap = s->capname ? 2 * s->capname : 256;
    struct Name **to = calloc(cap, sizeof *to);
    if (!to)
        out_of_memory(s, cap * sizeof *to);
    for (size_t i = 0; i < s->capname; i++) {
        struct Name *n = s->names[i];
        if (!n)
            continue;
        size_t k = n->hash & (cap - 1);
        while (to[k])
            k = (k + 1) & (cap - 1);
        to[k] = n;
    }
    free(s->names);
    s->names = to;
    s->capname = cap;
}

const char *intern(Session *s, const char *text, size_t len)
{
    if (2 * s->nname >= s->capname)
        names_double(s);
    uint64_t h = hash_bytes(text, len);
    size_t k = h & (s->capname - 1);
    for (struct Name *n; (n = s->names[k]); k = (k + 1) & (s->capname - 1))
        if (n->hash == h && n->len == len && memcmp(n->text, text, len) == 0)
            return n->text;
    struct Name *n = alloc(s, sizeof *n + len + 1);
    n->hash = h;
    n->len = len;
    memcpy(n->text, text, len);
    s->names[k] = n;
    s->nname++;
    return n->text;
}

const char *name(Session *s, const char *text)
{
    return intern(s, text, strlen(text));
}

const char *format(Session *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    char *p = alloc(s, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return intern(s, p, (size_t)n);
}

const char *grouped(Session *s, int64_t n)
{
    char digits[32], text[48];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), k = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0 && digits[i - 1] != '-')
            text[k++] = ',';
        text[k++] = digits[i];
    }
    return format(s, "%.*s", k, text);
}

char *scratch_copy(Session *s, const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(alloc(s, n), text, n);
}

/* ---- characters that a message may hold ---- */

int utf8_char(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    int len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len == 0 || p[0] > 0xf4 || (size_t)len > n)
        return 0;
    for (int i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
    bool beyond = p[0] == 0xf4 && p[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : len;
}

int utf8_printable(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    int len = utf8_char(text, n);
    if (p[0] < 0x20 || p[0] == 0x7f || (len == 2 && p[0] == 0xc2 && p[1] < 0xa0))
        return 0;
    if (len == 3 && p[0] == 0xe2) { /* U+2028 to 202E, 2060 to 206F; 200B to 200F */
        bool breaks = p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae;
        bool hidden = p[1] == 0x80 && p[2] >= 0x8b && p[2] <= 0x8f;
        bool marks = p[1] == 0x81 && p[2] >= 0xa0 && p[2] <= 0xaf;
        return breaks || hidden || marks ? 0 : len;
    }
    return len;
}

/* ---- messages ---- */

enum { ERRORS_SHOWN = 20, WINDOW = 96 };

/* A message is one paragraph: what follows a newline is indented, so that bytes of an input
 * cannot pose as a message of their own. */
static void print_paragraph(FILE *log, const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(p + i, n - i);
        if (len)
            fwrite(p + i, 1, (size_t)len, log);
        else if (p[i] == '\n')
            fputs("\n  ", log);
        else
            fprintf(log, "\\x%02x", (unsigned char)p[i]);
        i += len ? (size_t)len : 1;
    }
}

static void print_message(Session *s, const char *fmt, va_list ap)
{
    char small[1024];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    char *big = n >= (int)sizeof small ? malloc((size_t)n + 1) : NULL;
    if (big)
        vsnprintf(big, (size_t)n + 1, fmt, again);
    va_end(again);
    size_t len = n < 0 ? 0 : big || n < (int)sizeof small ? (size_t)n : sizeof small - 1;
    print_paragraph(s->log, big ? big : small, len);
    putc('\n', s->log);
    free(big);
}

/* The source line that holds `at`, and its length; NULL where the text has no such line. */
static const char *source_line(Loc at, size_t *len)
{
    const char *p = at.text->bytes, *end = p + at.text->size;
    for (int line = 1; line < at.line; line++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p)
            return NULL;
        p++;
    }
    const char *nl = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    *len = (size_t)((nl ? nl : end) - p);
    if (*len && p[*len - 1] == '\r')
        --*len;
    return p;
}

/* Prints one character of a source line, or with `blank` the space that it takes. */
static size_t print_cell(FILE *log, const char *p, size_t n, bool blank)
{
    int len = utf8_printable(p, n);
    if (*p == '\t')
        putc('\t', log);
    else if (len && !blank)
        fwrite(p, 1, (size_t)len, log);
    else if (len)
        putc(' ', log);
    else if (blank)
        fputs("    ", log);
    else
        fprintf(log, "\\x%02x", (unsigned char)*p);
    return len ? (size_t)len : 1;
}

/* The line, cut to a window around the column where it is long, and a caret below it. */
static void print_caret(FILE *log, Loc at)
{
    size_t len = 0;
    const char *line = at.text && at.text->bytes && at.line > 0 ? source_line(at, &len) : NULL;
    if (!line || at.col < 1)
        return;
    size_t col = (size_t)at.col - 1 < len ? (size_t)at.col - 1 : len;
    size_t from = col > WINDOW * 2 / 3 && len > WINDOW ? col - WINDOW * 2 / 3 : 0;
    while (from && (line[from] & 0xc0) == 0x80)
        from--;
    size_t to = len - from > WINDOW ? from + WINDOW : len;
    while (to < len && (line[to] & 0xc0) == 0x80)
        to++;
    fputs(from ? "  ..." : "  ", log);
    for (size_t i = from; i < to;)
        i += print_cell(log, line + i, to - i, false);
    fputs(to < len ? "...\n" : "\n", log);
    fputs(from ? "     " : "  ", log);
    for (size_t i = from; i < col;)
        i += print_cell(log, line + i, to - i, true);
    fputs("^\n", log);
}

static void print_place(FILE *log, Loc at)
{
    if (!at.text || !at.text->path) {
        fputs("bnc: ", log);
        return;
    }
    print_paragraph(log, at.text->path, strlen(at.text->path));
    if (at.line > 0)
        fprintf(log, ":%d", at.line);
    if (at.line > 0 && at.col > 0)
        fprintf(log, ":%d", at.col);
    fputs(": ", log);
}

void progress_end(Session *s)
{
    if (s->progress_at > 0 && s->log) {
        fputs("\r\033[K", s->log);
        fflush(s->log);
    }
    s->progress_at = 0;
}

static void report(Session *s, Loc at, const char *kind, const char *fmt, va_list ap)
{
    if (!s->log)
        return;
    progress_end(s);
    print_place(s->log, at);
    fputs(kind, s->log);
    print_message(s, fmt, ap);
    print_caret(s->log, at);
    fflush(s->log);
}

void err(Session *s, Loc at, const char *fmt, ...)
{
    s->nerror++;
    if (s->nerror == ERRORS_SHOWN + 1 && s->log)
        fputs("bnc: more errors follow; the first ones are shown\n", s->log);
    if (s->nerror > ERRORS_SHOWN)
        return;
    va_list ap;
    va_start(ap, fmt);
    report(s, at, "error: ", fmt, ap);
    va_end(ap);
}

void fail(Session *s, Loc at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    s->nerror++;
    report(s, at, "error: ", fmt, ap);
    va_end(ap);
    give_up(s);
}

void give_up(Session *s)
{
    if (s->home)
        longjmp(*s->home, 1);
    session_end(s);
    exit(1);
}

void stop_on_errors(Session *s)
{
    if (s->nerror > 0)
        give_up(s);
}

void warn(Session *s, Loc at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    s->nwarning++;
    report(s, at, "warning: ", fmt, ap);
    va_end(ap);
}

void note(Session *s, const char *fmt, ...)
{
    if (s->quiet)
        return;
    va_list ap;
    va_start(ap, fmt);
    report(s, (Loc){0}, "", fmt, ap);
    va_end(ap);
}

void progress(Session *s, const char *fmt, ...)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    if (s->quiet || !s->log || now - s->progress_at < 0.25 || !isatty(fileno(s->log)))
        return;
    va_list ap;
    va_start(ap, fmt);
    s->progress_at = now;
    fputs("\r\033[K", s->log);
    vfprintf(s->log, fmt, ap);
    fflush(s->log);
    va_end(ap);
}

void show_remark(Session *s, Loc at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(s, at, "remark: ", fmt, ap);
    va_end(ap);
}

struct Alias {
    const char *path, *shown;
    struct Alias *next;
};

void session_alias(Session *s, const char *path, const char *shown)
{
    struct Alias *a = NEW(s, struct Alias);
    *a = (struct Alias){name(s, path), name(s, shown), s->aliases};
    s->aliases = a;
}

Loc loc_file(Session *s, const char *path)
{
    Text *t = NEW(s, Text);
    t->path = name(s, path);
    for (const struct Alias *a = s->aliases; a; a = a->next)
        if (a->path == t->path)
            t->path = a->shown;
    return (Loc){t, 0, 0};
}

void die_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "bnc: internal error at %s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputs("\nThis is a mistake in bnc, not in your model: please report it.\n", stderr);
    va_end(ap);
    abort();
}

bool session_try(Session *s, void (*fn)(void *arg), void *arg)
{
    jmp_buf here, *outer = s->home;
    volatile bool done = false;
    s->home = &here;
    if (setjmp(here) == 0) {
        fn(arg);
        done = true;
    }
    s->home = outer;
    return done;
}

/* ---- several cores ---- */

enum { MOST_WORKERS = 64 };

typedef struct Jobs {
    int n;
    atomic_int next;
    void (*fn)(Session *own, int i, void *arg);
    void *arg;
} Jobs;

static void *work(void *arg)
{
    Jobs *jobs = arg;
    for (int i; (i = atomic_fetch_add(&jobs->next, 1)) < jobs->n;) {
        Session own;
        session_start(&own, NULL);
        jobs->fn(&own, i, jobs->arg);
        session_end(&own);
    }
    return NULL;
}

void parallel(int n, void (*fn)(Session *own, int i, void *arg), void *arg)
{
    Jobs jobs = {.n = n, .fn = fn, .arg = arg};
    pthread_t thread[MOST_WORKERS];
    int cores = bn_cpus(), more = cores < n ? cores - 1 : n - 1, started = 0;
    atomic_init(&jobs.next, 0);
    while (started < more && started < MOST_WORKERS &&
           pthread_create(&thread[started], NULL, work, &jobs) == 0)
        started++;
    work(&jobs);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
}
