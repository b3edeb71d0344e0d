/* cache.c: what bnc compiled for itself, kept for the next time. A result is found again by XXH64
 * over the model's bytes, the flags and the compiler itself, so nothing stale is ever started.
 *
 *     $XDG_CACHE_HOME/bnc or ~/.cache/bnc
 *         KEY       a program (bnc run)
 *         KEY.so    a library (inproc.c)
 *         KEY.bnw   the weights of these, which are the same bytes
 *         KEY.tir   with --jit, the planned module, for debuggers (jit.c)
 *         KEY.o     an object of the JIT, under a key of its own (jit/load.c)
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "bn.h"
#include "driver/driver.h"
#include "frontend/gguf.h"

static uint64_t hash_file(Session *s, const char *path, uint64_t seed, bool must)
{
    enum { PART = 1 << 20 };
    FILE *f = fopen(path, "rb");
    if (!f && must)
        fail(s, loc_file(s, path), "cannot open: %s", strerror(errno));
    char *part = NEW_ARRAY(s, char, PART);
    XXH64_state_t *hash = XXH64_createState();
    CHECK(hash);
    XXH64_reset(hash, seed);
    for (size_t n; f && (n = fread(part, 1, PART, f)) > 0;)
        XXH64_update(hash, part, n);
    uint64_t h = XXH64_digest(hash);
    XXH64_freeState(hash);
    if (f)
        fclose(f);
    return h;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of a model file, or over the names and bytes of all files in a checkpoint's folder. */
static uint64_t hash_input(Session *s, const char *path)
{
    const char **file = NULL;
    size_t n = 0;
    uint64_t h = 0;
    DIR *d = opendir(path);
    if (!d)
        return hash_file(s, path, 0, true);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        const char *at = format(s, "%s/%s", path, e->d_name);
        if (stat(at, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        file = grow(s, file, n, sizeof *file);
        file[n++] = at;
    }
    closedir(d);
    if (n)
        qsort(file, n, sizeof *file, by_text);
    for (size_t i = 0; i < n; i++)
        h = hash_file(s, file[i], XXH64(file_name(file[i]), strlen(file_name(file[i])), h), true);
    return h;
}

static void make_dirs(Session *s, const char *path)
{
    for (const char *c = path + 1; c[-1]; c++)
        if ((*c == '/' || !*c) && mkdir(intern(s, path, (size_t)(c - path)), 0777) &&
            errno != EEXIST)
            fail(s, (Loc){0}, "cannot make the cache folder %s: %s", path, strerror(errno));
}

static const char *cache_dir(Session *s)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *dir = base && *base   ? format(s, "%s/bnc", base)
                      : home && *home ? format(s, "%s/.cache/bnc", home)
                                      : NULL;
    if (!dir)
        fail(s, (Loc){0}, "no cache folder: set XDG_CACHE_HOME or HOME");
    make_dirs(s, dir);
    return dir;
}

struct Apart {
    Session session;
    const Options *options;
};

static void compile_options(void *arg)
{
    struct Apart *a = arg;
    compile_to(&a->session, a->options);
}

/* In a session of its own: its memory and temporary files are gone before the model runs. */
static void compile_apart(Session *s, const Options *o)
{
    struct Apart a = {.options = o};
    note(s, "compiling %s", o->input);
    session_start(&a.session, s->log);
    a.session.quiet = true;
    bool done = session_try(&a.session, compile_options, &a);
    session_end(&a.session);
    if (!done)
        give_up(s);
}

void cache_place(Session *s, Options *o)
{
    const char *part, *cflags = compiler_flags(o);
    uint64_t key = hash_input(s, o->input);
    for (int64_t i = 0; (part = gguf_part_path(s, o->input, i)); i++)
        key = hash_file(s, part, key, false);
    key = XXH64(o->text, strlen(o->text), key);
    if (cflags)
        key = XXH64(cflags, strlen(cflags), key);
    key = XXH64(BN_VERSION, strlen(BN_VERSION), key);
    key = hash_file(s, "/proc/self/exe", key, false);
    if (o->arch)
        key = hash_file(s, o->arch, key, true);
    if (o->tune)
        key = hash_file(s, o->tune, key, true);
    if (o->chat)
        key = hash_file(s, o->chat, key, false);
    o->cache = o->cache ? o->cache : cache_dir(s);
    o->output = format(s, "%s/%016" PRIx64, o->cache, key);
    o->weights = "file";
    o->name = "model";
}

const char *cache_compile(Session *s, const Options *given, const char *emit, const char *extension)
{
    Options o = *given;
    cache_place(s, &o);
    const char *stem = o.output;
    o.output = format(s, "%s%s", stem, extension);
    o.emit = emit;
    if (!file_exists(o.output) || !file_exists(format(s, "%s.bnw", stem)))
        compile_apart(s, &o);
    return o.output;
}
