/* cache.c: what bnc compiled for itself, kept for the next time.
 *
 * One idea: an entry is a folder whose name is BLAKE2b over all that its content depends on: the
 * model's bytes, the options, bnc itself, the C compiler and the processor. So nothing stale is ever
 * started, and nobody can make another input with the same name.
 *
 *     $XDG_CACHE_HOME/bnc or ~/.cache/bnc    0700, ours alone
 *         limit                              bytes that all entries may take
 *         KEY/                               32 hexadecimal digits
 *             entry                          the rest, with sizes and hashes; written last
 *             model | model.so               a program (bnc run), a library (inproc.c)
 *             model.bnw                      weights; equal ones of entries are one file (hard links)
 *             model.tir, *.o                 with --jit: the planned module, objects (jit/load.c)
 *
 * The folder is locked while it is made; whoever uses it holds a shared lock, which a started program
 * inherits, so that `bnc cache` removes nothing that runs. An entry whose files are not what `entry`
 * says is made again.
 */
#define _GNU_SOURCE /* flock */
#include <blake2.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "bn.h"
#include "bn_cpu.h"
#include "driver/driver.h"
#include "frontend/gguf.h"

enum { DIGEST = 32, KEY_DIGITS = 32 };

/* ---- the key ---- */

typedef struct Pieces {
    const uint8_t *bytes;
    size_t size;
    uint8_t *digest; /* [DIGEST] of each */
} Pieces;
static const size_t PIECE = 4 << 20;

static void digest_piece(Session *own, int i, void *arg)
{
    const Pieces *p = arg;
    size_t at = (size_t)i * PIECE, n = p->size - at < PIECE ? p->size - at : PIECE;
    (void)own;
    blake2b(p->digest + (size_t)i * DIGEST, p->bytes + at, NULL, DIGEST, n, 0);
}

static void add_bytes(blake2b_state *key, const void *bytes, size_t n)
{
    uint64_t size = n; /* in front: no two lists of texts give the same bytes */
    blake2b_update(key, (const uint8_t *)&size, sizeof size);
    blake2b_update(key, bytes, n);
}

static void add_text(blake2b_state *key, const char *text)
{
    add_bytes(key, text ? text : "", text ? strlen(text) + 1 : 0);
}

/* A file by the digests of its pieces, made on all cores. */
static void add_file(Session *s, blake2b_state *key, const char *path, bool must)
{
    struct stat st;
    if (!must && (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)) {
        add_text(key, path);
        return;
    }
    Pieces p = {0};
    p.bytes = file_view(s, path, "cannot open it", &p.size);
    int n = (int)((p.size + PIECE - 1) / PIECE);
    p.digest = NEW_ARRAY(s, uint8_t, (size_t)n * DIGEST);
    parallel(n, digest_piece, &p);
    add_bytes(key, p.digest, (size_t)n * DIGEST);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A model file with its other parts, or the names and bytes of all files in a checkpoint's folder. */
static void add_input(Session *s, blake2b_state *key, const char *path)
{
    const char **file = NULL, *part;
    size_t n = 0;
    DIR *d = opendir(path);
    if (!d) {
        add_file(s, key, path, true);
        for (int64_t i = 0; (part = gguf_part_path(s, path, i)); i++)
            add_file(s, key, part, false);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        const char *at = format(s, "%s/%s", path, e->d_name);
        if (stat(at, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
            continue;
        file = grow(s, file, n, sizeof *file);
        file[n++] = at;
    }
    closedir(d);
    if (n)
        qsort(file, n, sizeof *file, by_text);
    for (size_t i = 0; i < n; i++) {
        add_text(key, file_name(file[i]));
        add_file(s, key, file[i], true);
    }
}

/* The program that `words` begins with, by its file's identity: another compiler, another entry. */
static void add_program(Session *s, blake2b_state *key, const char *words)
{
    const char *path = getenv("PATH"), *first = intern(s, words, strcspn(words, " "));
    struct stat st = {0};
    bool found = strchr(first, '/') && stat(first, &st) == 0;
    for (const char *p = path ? path : ""; *p && !found && !strchr(first, '/'); p += *p == ':') {
        size_t n = strcspn(p, ":");
        found = stat(format(s, "%.*s/%s", (int)n, p, first), &st) == 0 && S_ISREG(st.st_mode);
        p += n;
    }
    int64_t what[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, (int64_t)st.st_size,
                      (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
    add_text(key, words);
    add_bytes(key, what, sizeof what);
}

static const char *key_of(Session *s, const Options *o, const char *emit)
{
    uint8_t digest[DIGEST];
    char text[KEY_DIGITS + 1];
    blake2b_state key;
    const char *cc = getenv("CC"), *flags = compiler_flags(o);
    uint32_t isa = bn_cpu(UINT32_MAX);
    blake2b_init(&key, DIGEST);
    add_text(&key, BN_VERSION);
    add_file(s, &key, "/proc/self/exe", false);
    add_text(&key, emit);
    add_text(&key, o->text);
    add_program(s, &key, cc && *cc ? cc : "cc");
    add_text(&key, flags);
    add_bytes(&key, &isa, sizeof isa);
    add_input(s, &key, o->input);
    const char *const files[] = {o->arch, o->tune, o->chat};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i])
            add_file(s, &key, files[i], false);
    blake2b_final(&key, digest, DIGEST);
    for (int i = 0; i < KEY_DIGITS / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return name(s, text);
}

/* ---- the folder ---- */

/* What another user could have put there, or could change, must not be executed. */
static void check_ours(Session *s, const char *path, bool whole)
{
    struct stat st;
    if (stat(path, &st) != 0)
        fail(s, loc_file(s, path), "cannot look at the cache folder: %s", strerror(errno));
    bool sticky = !whole && (st.st_mode & S_ISVTX);
    if (!S_ISDIR(st.st_mode))
        fail(s, loc_file(s, path), "is no folder; the cache belongs there");
    if (whole ? st.st_uid != geteuid() : st.st_uid != geteuid() && st.st_uid != 0 && !sticky)
        fail(
            s, loc_file(s, path),
            "belongs to another user (uid %ld), who could plant programs in it: set XDG_CACHE_HOME "
            "to a folder of yours, or use --no-cache",
            (long)st.st_uid);
    if (st.st_mode & 022 && !sticky)
        fail(s, loc_file(s, path),
             "may be written by others, who could plant programs in it: chmod go-w it, set "
             "XDG_CACHE_HOME to a folder of yours, or use --no-cache");
}

static void make_dirs(Session *s, const char *path)
{
    for (const char *c = path + 1; c[-1]; c++)
        if ((*c == '/' || !*c) && mkdir(intern(s, path, (size_t)(c - path)), 0700) &&
            errno != EEXIST)
            fail(s, (Loc){0}, "cannot make the cache folder %s: %s; --no-cache goes without it",
                 path, strerror(errno));
}

const char *cache_dir(Session *s)
{
    /* By the XDG specification a relative path is to be ignored. */
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *base = xdg && *xdg == '/'     ? xdg
                       : home && *home == '/' ? format(s, "%s/.cache", home)
                                              : NULL;
    if (!base)
        fail(s, (Loc){0},
             "no cache folder: set XDG_CACHE_HOME or HOME to an absolute path, or use --no-cache");
    const char *dir = format(s, "%s/bnc", base);
    make_dirs(s, dir);
    check_ours(s, base, false);
    check_ours(s, dir, true);
    return dir;
}

/* ---- an entry ---- */

static uint64_t file_hash(Session *s, const char *path, uint64_t *size)
{
    size_t n;
    const uint8_t *bytes = file_view(s, path, "cannot open it", &n);
    *size = n;
    return XXH3_64bits(bytes, n);
}

/* Files of an entry: those that may differ only by damage. Weights are as large as the model: their
 * header is hashed, which has the hash of the rest, and the rest again where the file was touched. */
static void put_file(Session *s, const char *dir, const char *file, Out *o)
{
    const char *path = format(s, "%s/%s", dir, file);
    struct stat st;
    uint64_t size = 0;
    if (stat(path, &st) != 0)
        return;
    uint64_t hash = file_hash(s, path, &size);
    put(o, "file %s %" PRIu64 " %016" PRIx64 " %" PRId64 ".%09ld\n", file, size, hash,
        (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static const char *const kept[] = {"model", "model.so", "model.bnw"};

static bool file_whole(Session *s, const char *dir, const char *line)
{
    char file[64], timestamp[64], now[64];
    uint64_t size, hash, found;
    struct stat st;
    if (sscanf(line, "file %63s %" SCNu64 " %" SCNx64 " %63s", file, &size, &hash, timestamp) != 4)
        return false;
    const char *path = format(s, "%s/%s", dir, file);
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        st.st_mode & 022 || (uint64_t)st.st_size != size)
        return false;
    snprintf(now, sizeof now, "%" PRId64 ".%09ld", (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    bool weights = !strcmp(file_name(path), "model.bnw");
    return (weights && !strcmp(now, timestamp)) ||
           (file_hash(s, path, &found) == hash && found == size);
}

static bool entry_whole(Session *s, const char *dir)
{
    const char *path = format(s, "%s/entry", dir);
    int files = 0;
    if (!file_exists(path))
        return false;
    for (const char *line = file_read(s, path, NULL); *line;
         line += strcspn(line, "\n"), line += *line == '\n')
        if (!strncmp(line, "file ", 5)) {
            files++;
            if (!file_whole(s, dir, intern(s, line, strcspn(line, "\n"))))
                return false;
        }
    return files > 0;
}

static void write_entry(Session *s, const Options *o, const char *dir, const char *emit)
{
    Out text = {.s = s};
    char when[32];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", gmtime(&now));
    put(&text, "model ");
    put_json_text(&text, o->input, strlen(o->input));
    put(&text, "\noptions ");
    put_json_text(&text, o->text, strlen(o->text));
    put(&text, "\nkind %s\nmade %s UTC\n", emit, when);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        put_file(s, dir, kept[i], &text);
    file_save(s, format(s, "%s/entry", dir), &text);
    out_free(&text);
}

/* Where another entry has the same weights, both become one file. */
static void share_weights(Session *s, const char *cache, const char *dir)
{
    const char *own = format(s, "%s/model.bnw", dir);
    struct stat a, b;
    DIR *d = stat(own, &a) == 0 ? opendir(cache) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n, k;
        const char *other = format(s, "%s/%s/model.bnw", cache, e->d_name);
        if (strlen(e->d_name) != KEY_DIGITS || lstat(other, &b) != 0 || !S_ISREG(b.st_mode) ||
            b.st_uid != geteuid() || b.st_size != a.st_size || b.st_ino == a.st_ino)
            continue;
        const uint8_t *x = file_view(s, own, "cannot open it", &n),
                      *y = file_view(s, other, "cannot open it", &k);
        const char *next = format(s, "%s.same", own);
        if (n == k && !memcmp(x, y, n) && link(other, next) == 0 && rename(next, own) == 0)
            break;
    }
    if (d)
        closedir(d);
}

static void lock_entry(Session *s, const CacheEntry *e, int how)
{
    while (flock(e->fd, how) != 0)
        if (errno != EINTR)
            fail(s, loc_file(s, e->dir), "cannot lock it: %s", strerror(errno));
}

/* The lock goes when the process ends, or the program that it became. */
static void open_entry(Session *s, CacheEntry *e)
{
    if (mkdir(e->dir, 0700) != 0 && errno != EEXIST)
        fail(s, loc_file(s, e->dir), "cannot make it: %s", strerror(errno));
    e->fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (e->fd < 0)
        fail(s, loc_file(s, e->dir), "cannot open it: %s", strerror(errno));
    check_ours(s, e->dir, true);
    lock_entry(s, e, LOCK_SH);
}

static void empty_entry(Session *s, const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            remove_tree(format(s, "%s/%s", dir, e->d_name));
    if (d)
        closedir(d);
}

/* ---- making one ---- */

CacheEntry cache_place(Session *s, Options *o, const char *emit)
{
    CacheEntry e = {.emit = emit};
    o->chat_optional = true;
    e.cache = o->cache ? o->cache : o->no_cache ? temp_dir(s) : cache_dir(s);
    e.dir = format(s, "%s/%s", e.cache, key_of(s, o, emit));
    open_entry(s, &e);
    utimensat(AT_FDCWD, e.dir, NULL, 0); /* when it was last used */
    o->output = format(s, "%s/model", e.dir);
    o->weights = "file";
    o->name = "model";
    return e;
}

bool cache_begin(Session *s, const CacheEntry *e)
{
    if (entry_whole(s, e->dir))
        return false;
    lock_entry(s, e, LOCK_EX); /* waits for whoever makes it */
    if (entry_whole(s, e->dir)) {
        lock_entry(s, e, LOCK_SH);
        return false;
    }
    empty_entry(s, e->dir);
    return true;
}

void cache_end(Session *s, const CacheEntry *e, const Options *o)
{
    mode_t mask = umask(077);
    share_weights(s, e->cache, e->dir);
    write_entry(s, o, e->dir, e->emit);
    umask(mask);
    lock_entry(s, e, LOCK_SH);
    if (!o->cache && !o->no_cache)
        cache_trim(s, e->cache);
}

/* ---- what is there ---- */

/* The text behind "WORD " in an entry; "" where there is none. */
static const char *said(Session *s, const char *entry, const char *word)
{
    size_t n = strlen(word);
    for (const char *line = entry; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (!strncmp(line, word, n) && line[n] == ' ')
            return intern(s, line + n + 1, strcspn(line + n + 1, "\n"));
    return "";
}

static void add_sizes(Session *s, CacheInfo *i)
{
    DIR *d = opendir(i->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (lstat(format(s, "%s/%s", i->dir, e->d_name), &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        i->bytes += (uint64_t)st.st_size;
        i->own_bytes += (uint64_t)st.st_size / (st.st_nlink ? st.st_nlink : 1);
    }
    if (d)
        closedir(d);
}

static int by_use(const void *a, const void *b)
{
    const CacheInfo *x = a, *y = b;
    return x->used != y->used ? (x->used < y->used ? -1 : 1) : strcmp(x->dir, y->dir);
}

size_t cache_list(Session *s, const char *cache, CacheInfo **list)
{
    size_t n = 0;
    DIR *d = opendir(cache);
    *list = NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        CacheInfo i = {.dir = format(s, "%s/%s", cache, e->d_name), .key = name(s, e->d_name)};
        if (strlen(e->d_name) != KEY_DIGITS || lstat(i.dir, &st) != 0 || !S_ISDIR(st.st_mode) ||
            st.st_uid != geteuid())
            continue;
        const char *path = format(s, "%s/entry", i.dir);
        const char *entry = file_exists(path) ? file_read(s, path, NULL) : "";
        i.model = said(s, entry, "model");
        i.options = said(s, entry, "options");
        i.kind = said(s, entry, "kind");
        i.used = (int64_t)st.st_mtim.tv_sec;
        int fd = open(i.dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        i.busy = fd >= 0 && !path_lock(fd, true);
        if (fd >= 0)
            close(fd);
        add_sizes(s, &i);
        *list = grow(s, *list, n, sizeof **list);
        (*list)[n++] = i;
    }
    if (d)
        closedir(d);
    if (n)
        qsort(*list, n, sizeof **list, by_use);
    return n;
}

bool cache_remove(const CacheInfo *i)
{
    int fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool ours = fd >= 0 && path_lock(fd, true);
    if (ours)
        remove_tree(i->dir);
    if (fd >= 0)
        close(fd);
    return ours;
}

uint64_t cache_limit(Session *s, const char *cache)
{
    const char *path = format(s, "%s/limit", cache);
    return file_exists(path) ? strtoull(file_read(s, path, NULL), NULL, 10) : 0;
}

void cache_set_limit(Session *s, const char *cache, uint64_t bytes)
{
    Out text = {.s = s};
    put(&text, "%" PRIu64 "\n", bytes);
    file_save(s, format(s, "%s/limit", cache), &text);
    out_free(&text);
}

void cache_trim(Session *s, const char *cache)
{
    CacheInfo *list;
    uint64_t most = cache_limit(s, cache), all = 0;
    size_t n = most ? cache_list(s, cache, &list) : 0;
    for (size_t i = 0; i < n; i++)
        all += list[i].own_bytes;
    for (size_t i = 0; i < n && all > most; i++)
        if (!list[i].busy && cache_remove(&list[i]))
            all -= list[i].own_bytes;
}
