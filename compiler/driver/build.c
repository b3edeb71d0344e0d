/* build.c: from C to objects, libraries and programs with the machine's own compiler ($CC or cc).
 * The runtime comes out of bnc itself, so a model can be built where there is no checkout. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver/driver.h"

typedef struct Words {
    Session *s;
    char **word;
    int n;
    const char *tmpdir; /* where the tool puts what it makes on the way */
} Words;

static void add(Words *w, const char *word)
{
    w->word = grow(w->s, w->word, (size_t)w->n, sizeof *w->word);
    w->word[w->n++] = (char *)(uintptr_t)word;
}

static void add_split(Words *w, const char *words)
{
    for (; *words; words += strcspn(words, " "), words += strspn(words, " "))
        add(w, intern(w->s, words, strcspn(words, " ")));
}

/* ---- compilers for other machines ---- */

const char *compiler_flags(const Options *o)
{
    const char *flags = o->cflags ? o->cflags : getenv("CFLAGS");
    return flags && *flags ? flags : NULL;
}

/* Families of processors: the start of a target's name, of uname's machine, and a compiler for it.
 */
static const struct {
    const char *target, *machine, *cc;
} families[] = {{"x86-64", "x86_64", "x86_64-linux-gnu-gcc"},
                {"arm64", "aarch64", "aarch64-linux-gnu-gcc"},
                {"arm64", "arm64", "aarch64-linux-gnu-gcc"},
                {"wasm32", "wasm32", "clang"}};

/* A compiler that writes for the target; NULL: this machine's own does. */
static const char *cross_compiler(const Target *target)
{
    struct utsname system;
    const char *cc = NULL;
    if (uname(&system) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strncmp(target->name, families[i].target, strlen(families[i].target)))
            continue;
        if (!strcmp(system.machine, families[i].machine))
            return NULL;
        cc = families[i].cc;
    }
    return cc;
}

void check_compiler(Session *s, const Target *target)
{
    const char *cc = getenv("CC"), *cross = cross_compiler(target);
    if (cross && (!cc || !*cc))
        fail(s, (Loc){0},
             "cc writes for this machine, not for %s: name a compiler that does, as in CC=%s, or "
             "write C (-o model.c) and compile it there",
             target->name, cross);
}

/* ---- tools ---- */

/* `target`: what a C compiler was to write for; NULL: the tool is none. */
static void run_tool(Words *w, const Target *target)
{
    const char *cross = target ? cross_compiler(target) : NULL;
    const char *hint =
        cross ? format(w->s, "; for %s name a compiler that writes for it, as in CC=%s",
                       target->name, cross)
              : "";
    add(w, NULL);
    pid_t pid = child_start(w->s, w->word, &(ChildOptions){.tmpdir = w->tmpdir});
    if (pid < 0)
        fail(w->s, (Loc){0},
             "cannot run %s: %s; set CC to a C compiler, or use --emit=c and compile elsewhere%s",
             w->word[0], strerror(errno), hint);
    int status = child_wait(pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail(w->s, (Loc){0}, "%s failed (its messages stand above)%s", w->word[0], hint);
}

static void start_cc(Words *w, const Build *b)
{
    const char *cc = getenv("CC");
    w->tmpdir = b->dir;
    add_split(w, cc && *cc ? cc : "cc");
    add_split(w, "-std=c11 -O3 -pthread");
    add_split(w, b->target->cflags);
    add_split(w, b->cflags ? b->cflags : "");
}

/* Headers and sources of the runtime into the temporary folder. */
static void unpack_runtime(Session *s, const char *dir)
{
    const char *path, *bytes;
    size_t size;
    for (int i = 0; (bytes = embedded_at(i, &path, &size)); i++) {
        if (strchr(path, '/'))
            continue;
        Out text = {.s = s};
        put_bytes(&text, bytes, size);
        file_save(s, format(s, "%s/%s", dir, path), &text);
        out_free(&text);
    }
}

void build_object(Session *s, const Build *b, const char *object, const char *source, bool pic)
{
    Words w = {.s = s};
    start_cc(&w, b);
    add_split(&w, pic ? "-fPIC -c" : "-c");
    add(&w, source);
    add(&w, "-I");
    add(&w, b->dir);
    add(&w, "-o");
    add(&w, object);
    run_tool(&w, b->target);
}

/* kind: exe; module, whose runtime is that of the program around it; so, which has one inside, hides
 * all of it but bn.h, and calls its own whatever else of that name is loaded before it. */
static void build_linked(Session *s, const Build *b, const char *object, const char *kind)
{
    Words w = {.s = s};
    start_cc(&w, b);
    if (strcmp(kind, "exe") != 0)
        add_split(&w, "-shared -fPIC");
    if (!strcmp(kind, "so"))
        add_split(&w, "-fvisibility=hidden -DBN_SHARED");
    if (!strcmp(kind, "so") && !on_mac()) /* whose libraries always do so */
        add_split(&w, "-Wl,-Bsymbolic-functions");
    add(&w, "-I");
    add(&w, b->dir);
    add(&w, b->source);
    if (b->soname && !on_mac()) { /* -Wl would cut the name at its commas */
        add_split(&w, "-Xlinker -soname -Xlinker");
        add(&w, b->soname);
    }
    add_split(&w, "-lm -o");
    add(&w, object);
    run_tool(&w, b->target);
}

static void build_library(Session *s, const Build *b, const char *object, const char *archive)
{
    const char *runtime = format(s, "%s/bnrt.o", b->dir), *source = format(s, "%s/bnrt.c", b->dir);
    Words w = {.s = s};
    Out text = {.s = s};
    emit_runtime(&text, b->profile, true);
    file_save(s, source, &text);
    out_free(&text);
    build_object(s, b, runtime, source, true);
    add_split(&w, "ar rcsD");
    add(&w, archive);
    add(&w, object);
    add(&w, runtime);
    run_tool(&w, NULL);
}

bool on_mac(void)
{
    struct utsname system;
    return uname(&system) == 0 && !strcmp(system.sysname, "Darwin");
}

void build_metallib(Session *s, const char *shaders, const char *library)
{
    const char *air = format(s, "%s/shaders.air", temp_dir(s));
    Words compile = {.s = s}, link = {.s = s};
    add_split(&compile, "xcrun -sdk macosx metal -O3 -fno-fast-math -c");
    add(&compile, shaders);
    add(&compile, "-o");
    add(&compile, air);
    run_tool(&compile, NULL);
    add_split(&link, "xcrun -sdk macosx metallib");
    add(&link, air);
    add(&link, "-o");
    add(&link, library);
    run_tool(&link, NULL);
}

void build_output(Session *s, const Build *b, const char *kind)
{
    const char *result = b->output;
    if (!strcmp(kind, "module"))
        unpack_runtime(s, b->dir);
    if (!strcmp(kind, "exe") || !strcmp(kind, "so") || !strcmp(kind, "module")) {
        build_linked(s, b, result, kind);
    } else {
        const char *object = !strcmp(kind, "obj") ? result : format(s, "%s/model.o", b->dir);
        unpack_runtime(s, b->dir);
        build_object(s, b, object, b->source, true);
        if (!strcmp(kind, "lib"))
            build_library(s, b, object, result);
    }
}
