/* out.c: text and files being written, files read whole or mapped.
 *
 * One idea: an output appears at its path complete or not at all. It is written beside its target
 * and renamed over it; whatever was not committed is removed when the session ends.
 */
#include "ir/ir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a growing buffer ---- */

/* Makes room for n bytes and the NUL after them. */
static void out_room(Out *o, size_t n)
{
    if (o->cap - o->len > n)
        return;
    size_t cap = o->cap ? 2 * o->cap : 256;
    while (cap - o->len <= n)
        cap *= 2;
    char *text = o->text;
    o->text = NULL; /* it is gone where this fails */
    o->text = buffer_grow(o->s, text, cap);
    o->cap = cap;
}

void put(Out *o, const char *fmt, ...)
{
    va_list ap;
    out_room(o, 128);
    va_start(ap, fmt);
    int n = vsnprintf(o->text + o->len, o->cap - o->len, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    if ((size_t)n >= o->cap - o->len) {
        out_room(o, (size_t)n);
        va_start(ap, fmt);
        vsnprintf(o->text + o->len, o->cap - o->len, fmt, ap);
        va_end(ap);
    }
    o->len += (size_t)n;
}

void put_bytes(Out *o, const void *bytes, size_t n)
{
    out_room(o, n);
    if (n)
        memcpy(o->text + o->len, bytes, n);
    o->len += n;
    o->text[o->len] = 0;
}

/* "%g" writes 1e-05, 5e+05 and 512; a float here always shows a point or an exponent, and the
 * exponent no more than it needs: 1e-5, 5e5, 512.0. */
static void put_g(Out *o, const char *text)
{
    const char *e = strchr(text, 'e');
    if (!e) {
        put(o, strchr(text, '.') ? "%s" : "%s.0", text);
        return;
    }
    put(o, "%.*se%ld", (int)(e - text), text, strtol(e + 1, NULL, 10));
}

void put_float(Out *o, double v)
{
    float f = (float)v;
    if (f != f || f - f != 0) {
        put(o, "%s", f != f ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f)
            break;
    }
    put_g(o, text);
}

void out_free(Out *o)
{
    buffer_free(o->s, o->text);
    o->text = NULL;
    o->len = o->cap = 0;
}

/* ---- files being written ---- */

struct OutFile {
    Session *s;
    const char *path, *temp; /* temp NULL: written in place */
    FILE *f;
    bool named; /* by files_commit */
    uint64_t size;
    uint8_t *map, *memory; /* what file_map gave: one or neither */
};

_Noreturn static void file_fail(OutFile *f, const char *doing)
{
    fail(f->s, loc_file(f->s, f->path), "cannot %s: %s", doing, strerror(errno));
}

static void file_abandon(void *arg)
{
    OutFile *f = arg;
    if (f->map)
        munmap(f->map, f->size);
    f->map = NULL;
    if (f->f && f->f != stdout)
        fclose(f->f);
    if (f->temp) {
        unlink(f->temp);
        temp_forget(f->temp);
    }
    f->f = NULL;
    f->temp = NULL;
}

/* Opens the file beside the target, with the rights that fopen would have given. */
static void open_beside(OutFile *f)
{
    char *temp = scratch_copy(f->s, format(f->s, "%s.tmp-XXXXXX", f->path));
    const char *base = file_name(f->path),
               *dir = base == f->path ? "" : format(f->s, "%.*s", (int)(base - f->path), f->path);
    temps_sweep(f->s, dir, format(f->s, "%s.tmp-", base));
    int fd = mkstemp(temp);
    if (fd < 0)
        file_fail(f, "create it there");
    f->temp = temp;
    temp_keep(temp);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    path_lock(fd, true);
    mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    f->f = fdopen(fd, "wb");
    if (!f->f) {
        close(fd);
        file_fail(f, "write it");
    }
}

OutFile *file_create(Session *s, const char *path)
{
    OutFile *f = NEW(s, OutFile);
    f->s = s;
    f->path = name(s, path);
    session_defer(s, file_abandon, f);
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (strcmp(path, "-") == 0) {
        f->f = stdout;
    } else if (there && S_ISDIR(st.st_mode)) {
        fail(s, loc_file(s, path), "is a folder; give the name of a file to write");
    } else if (there && !S_ISREG(st.st_mode)) { /* /dev/null, a pipe: nothing to rename over */
        f->f = fopen(path, "wb");
        if (!f->f)
            file_fail(f, "write it");
    } else {
        open_beside(f);
    }
    return f;
}

void file_write(OutFile *f, const void *bytes, size_t n)
{
    if (n && fwrite(bytes, 1, n, f->f) != n)
        file_fail(f, "write it");
    f->size += n;
}

/* Room on the disk is taken before it is mapped: a full disk is a message here, and would be a
 * signal later. What is no regular file gets its bytes from memory, at the end. */
uint8_t *file_map(OutFile *f, uint64_t size)
{
    CHECK(!f->size && size);
    f->size = size;
    if (!f->temp)
        return f->memory = alloc(f->s, size);
    if ((errno = posix_fallocate(fileno(f->f), 0, (off_t)size)) != 0)
        file_fail(f, "make room for it");
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f->f), 0);
    if (map == MAP_FAILED)
        file_fail(f, "map it");
    return f->map = map;
}

void file_finish(OutFile *f)
{
    FILE *stream = f->f;
    if (!stream)
        return;
    if (f->memory && fwrite(f->memory, 1, f->size, stream) != f->size)
        file_fail(f, "write it");
    if (f->map && munmap(f->map, f->size) != 0)
        file_fail(f, "write it");
    f->map = NULL;
    if (fflush(stream) != 0 || ferror(stream))
        file_fail(f, "write it");
    f->f = NULL;
    if (stream != stdout && fclose(stream) != 0)
        file_fail(f, "write it");
}

void files_commit(OutFile *const *f, int n)
{
    for (int i = 0; i < n; i++)
        file_finish(f[i]);
    for (int i = 0; i < n; i++) {
        if (f[i]->temp && rename(f[i]->temp, f[i]->path) != 0) {
            int why = errno;
            for (int k = 0; k < i; k++)
                if (f[k]->named)
                    unlink(f[k]->path);
            errno = why;
            file_fail(f[i], "put the finished file in its place");
        }
        f[i]->named = f[i]->temp != NULL;
        if (f[i]->temp)
            temp_forget(f[i]->temp);
        f[i]->temp = NULL;
    }
}

void file_commit(OutFile *f)
{
    files_commit(&f, 1);
}

OutFile *file_text(Session *s, const char *path, const Out *text)
{
    OutFile *f = file_create(s, path);
    file_write(f, text->text, text->len);
    return f;
}

void file_save(Session *s, const char *path, const Out *text)
{
    file_commit(file_text(s, path, text));
}

/* ---- files read whole ---- */

static void input_add(Session *s, const char *path)
{
    path = name(s, path);
    for (size_t i = 0; i < s->ninput; i++)
        if (s->inputs[i] == path)
            return;
    s->inputs = grow(s, s->inputs, s->ninput, sizeof *s->inputs);
    s->inputs[s->ninput++] = path;
}

static void close_stream(void *arg)
{
    FILE **f = arg;
    if (*f)
        fclose(*f);
    *f = NULL;
}

/* Size to begin with: a regular file's own, and one byte that notices the end. */
static size_t first_room(FILE *f)
{
    struct stat st;
    bool known = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    return known ? (size_t)st.st_size + 2 : 4096;
}

const char *file_placeholder(const void *bytes, size_t size)
{
    static const char lfs[] = "a git-lfs pointer, not the file: run git lfs pull",
                      page[] = "a web page: the download gave a page in place of the file",
                      refusal[] = "a server's refusal: the download gave that in place of the file";
    static const struct {
        const char *start, *what; /* in any case of ASCII letters */
    } row[] = {{"version https://git-lfs", lfs},
               {"<!doctype", page},
               {"<html", page},
               {"entry not found", refusal},
               {"invalid username or password", refusal},
               {"access to model ", refusal}};
    const char *text = bytes, *end = text + size;
    while (text < end && (*text == ' ' || *text == '\n' || *text == '\r' || *text == '\t'))
        text++;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t n = strlen(row[i].start), k = 0;
        while (k < n && k < (size_t)(end - text) &&
               tolower((unsigned char)text[k]) == row[i].start[k])
            k++;
        if (k == n)
            return row[i].what;
    }
    return NULL;
}

char *file_read(Session *s, const char *path, size_t *size)
{
    FILE **f = NEW(s, FILE *);
    session_defer(s, close_stream, f);
    *f = fopen(path, "rb");
    if (!*f)
        fail(s, loc_file(s, path), "cannot open it: %s", strerror(errno));
    input_add(s, path);
    size_t cap = first_room(*f), n = 0;
    char *p = alloc(s, cap);
    for (size_t got; (got = fread(p + n, 1, cap - 1 - n, *f)) > 0;) {
        n += got;
        if (n < cap - 1)
            continue;
        char *bigger = alloc(s, 2 * cap);
        memcpy(bigger, p, n);
        p = bigger;
        cap *= 2;
    }
    if (ferror(*f))
        fail(s, loc_file(s, path), "cannot read it: %s", strerror(errno));
    close_stream(f);
    p[n] = 0;
    if (size)
        *size = n;
    return p;
}

bool file_exists(const char *path)
{
    return access(path, R_OK) == 0;
}

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

const char *without_extension(Session *s, const char *path)
{
    const char *dot = strrchr(file_name(path), '.');
    return dot && dot != file_name(path) ? intern(s, path, (size_t)(dot - path)) : path;
}

/* ---- files mapped to be read ---- */

typedef struct View {
    int fd;
    void *bytes;
    size_t size;
} View;

static void view_end(void *arg)
{
    View *v = arg;
    if (v->fd >= 0)
        close(v->fd);
    if (v->bytes)
        munmap(v->bytes, v->size);
}

const uint8_t *file_view(Session *s, const char *path, const char *lost, size_t *size)
{
    Loc loc = loc_file(s, path);
    View *v = NEW(s, View);
    struct stat st;
    v->fd = open(path, O_RDONLY | O_NONBLOCK); /* a pipe must not hang, it is refused below */
    session_defer(s, view_end, v);
    if (v->fd < 0 || fstat(v->fd, &st) != 0)
        fail(s, loc, "%s: %s", lost, strerror(errno));
    input_add(s, path);
    if (!S_ISREG(st.st_mode))
        fail(s, loc, "is %s; a model is a regular file",
             S_ISDIR(st.st_mode) ? "a folder" : "not a regular file and cannot be mapped");
    if (st.st_size == 0)
        fail(s, loc, "the file is empty: fetch or convert the model again");
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, v->fd, 0);
    if (bytes == MAP_FAILED)
        fail(s, loc, "cannot map the model: %s", strerror(errno));
    v->bytes = bytes;
    v->size = *size = (size_t)st.st_size;
    close(v->fd); /* the mapping stays; models have hundreds of parts */
    v->fd = -1;
    return bytes;
}

/* ---- copies ---- */

OutFile *file_copy(Session *s, const char *from, const char *to)
{
    enum { PART = 1 << 20 };
    struct stat st;
    char *part = alloc(s, PART);
    OutFile *out = file_create(s, to);
    FILE *in = fopen(from, "rb");
    if (!in)
        fail(s, loc_file(s, from), "cannot open it: %s", strerror(errno));
    for (size_t n; (n = fread(part, 1, PART, in)) > 0;)
        file_write(out, part, n);
    bool whole = !ferror(in);
    if (out->temp && fstat(fileno(in), &st) == 0)
        (void)fchmod(fileno(out->f), st.st_mode & 0777);
    fclose(in);
    if (!whole)
        fail(s, loc_file(s, from), "cannot read it: %s", strerror(errno));
    return out;
}
