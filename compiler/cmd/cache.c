/* cache.c: what bnc compiled for itself, kept for the next time. A result is found again by XXH64
 * over the model's bytes, the flags and the compiler itself, so nothing stale is ever started.
 *
 *     $XDG_CACHE_HOME/bnc or ~/.cache/bnc
 *         KEY       a program (bnc run)
 *         KEY.so    a library (live.c)
 *         KEY.bnw   the weights of both, which are the same bytes
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "bn.h"
#include "cmd/cmd.h"

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

const char *cache_compile(Session *s, const Options *given, const char *emit, const char *extension)
{
    Options o = *given;
    if (o.output || o.emit || o.amalgamate || o.print_after || o.weights)
        fail(s, (Loc){0},
             "this command chooses -o, --emit, --weights and --amalgamate itself; to choose, "
             "compile with --emit=exe");
    uint64_t key = hash_file(s, o.input, 0, true);
    key = XXH64(o.text, strlen(o.text), key);
    key = XXH64(BN_VERSION, strlen(BN_VERSION), key);
    key = hash_file(s, "/proc/self/exe", key, false);
    if (o.arch)
        key = hash_file(s, o.arch, key, true);
    if (o.tune)
        key = hash_file(s, o.tune, key, true);
    if (o.chat)
        key = hash_file(s, o.chat, key, false);
    const char *stem = format(s, "%s/%016" PRIx64, cache_dir(s), key);
    o.output = format(s, "%s%s", stem, extension);
    o.emit = emit;
    o.weights = "file";
    o.name = "model";
    if (!file_exists(o.output) || !file_exists(format(s, "%s.bnw", stem)))
        compile_apart(s, &o);
    return o.output;
}
