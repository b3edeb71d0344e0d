/* out.c: text and files being written, files read whole or mapped, bytes made printable.
 *
 * One idea: an output appears at its path complete or not at all. It is written beside its target
 * and renamed over it; whatever was not committed is removed when the session ends.
 */
#include "ir/ir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/escape.h"

/* ---- a growing buffer ---- */

/* The bytes of a buffer stand behind a link in the session's list of live buffers, so that those
 * which a fail() jumps over are freed with the session. */
struct OutBlock {
    struct OutBlock *prev, *next;
    char text[];
};

static struct OutBlock *block_of(char *text)
{
    return (struct OutBlock *)(void *)(text - offsetof(struct OutBlock, text));
}

static void block_unlink(Session *s, struct OutBlock *b)
{
    *(b->prev ? &b->prev->next : &s->buffers) = b->next;
    if (b->next)
        b->next->prev = b->prev;
}

/* Makes room for n bytes and the NUL after them. */
static void out_room(Out *o, size_t n)
{
    if (o->cap - o->len > n)
        return;
    size_t cap = o->cap ? 2 * o->cap : 256;
    while (cap - o->len <= n)
        cap *= 2;
    struct OutBlock *old = o->text ? block_of(o->text) : NULL;
    if (old)
        block_unlink(o->s, old);
    struct OutBlock *b = realloc(old, sizeof *b + cap);
    if (!b) {
        free(old);
        o->text = NULL;
        fail(o->s, (Loc){0}, "the system has no memory left for %zu bytes of text", cap);
    }
    b->prev = NULL;
    b->next = o->s->buffers;
    if (b->next)
        b->next->prev = b;
    o->s->buffers = b;
    o->text = b->text;
    o->cap = cap;
}

void buffers_free(Session *s)
{
    while (s->buffers) {
        struct OutBlock *b = s->buffers;
        s->buffers = b->next;
        free(b);
    }
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
    if (o->text) {
        block_unlink(o->s, block_of(o->text));
        free(block_of(o->text));
    }
    o->text = NULL;
    o->len = o->cap = 0;
}

/* ---- bytes made printable ---- */

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

void put_escaped(Out *o, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(bytes + i, n - i);
        char c = bytes[i];
        if (c == '\\' || c == '\n' || c == '\t')
            put(o, c == '\\' ? "\\\\" : c == '\n' ? "\\n" : "\\t");
        else if (len)
            put_bytes(o, bytes + i, (size_t)len);
        else
            put(o, "\\x%02x", (unsigned char)c);
        i += len ? (size_t)len : 1;
    }
}

const char *quote(Session *s, const char *bytes, size_t n)
{
    Out o = {.s = s};
    size_t cut = n > 80 ? 77 : n;
    while (cut < n && cut && ((unsigned char)bytes[cut] & 0xc0) == 0x80)
        cut--;
    put(&o, "'");
    put_escaped(&o, bytes, cut);
    put(&o, cut < n ? "...'" : "'");
    const char *text = format(s, "%s", o.text);
    out_free(&o);
    return text;
}

void put_json_text(Out *o, const char *text, size_t len)
{
    put(o, "\"");
    for (size_t i = 0; i < len;) {
        int n = utf8_char(text + i, len - i);
        if (n == 0)
            put(o, "\\ufffd");
        else if (text[i] == '"' || text[i] == '\\')
            put(o, "\\%c", text[i]);
        else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            put(o, "\\u%04x", text[i]);
        else
            put_bytes(o, text + i, (size_t)n);
        i += n ? (size_t)n : 1;
    }
    put(o, "\"");
}

/* ---- files being written ---- */

struct OutFile {
    Session *s;
    const char *path, *temp; /* temp NULL: written in place */
    FILE *f;
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
    const char *base = file_name(f->path), *dir = base == f->path ? "" : format(f->s, "%.*s", (int)(base - f->path), f->path);
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

void file_commit(OutFile *f)
{
    FILE *stream = f->f;
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
    if (f->temp && rename(f->temp, f->path) != 0)
        file_fail(f, "put the finished file in its place");
    if (f->temp)
        temp_forget(f->temp);
    f->temp = NULL;
}

void file_save(Session *s, const char *path, const Out *text)
{
    OutFile *f = file_create(s, path);
    file_write(f, text->text, text->len);
    file_commit(f);
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

void file_copy(Session *s, const char *from, const char *to)
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
    fclose(in);
    if (!whole)
        fail(s, loc_file(s, from), "cannot read it: %s", strerror(errno));
    file_commit(out);
    if (stat(from, &st) == 0)
        (void)chmod(to, st.st_mode & 0777);
}
