/* safetensors.c: the container behind safetensors.h.
 *
 * One idea: the header is a claim, and the tensors sorted by their offsets must tile the data from
 * its first byte to its last. That one check finds overlap, holes, offsets beyond the file and
 * files cut short.
 */
#include "frontend/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"
#include "ir/escape.h"

typedef unsigned long long ull; /* for %llu */

enum {
    LARGEST_HEADER = 100000000, /* the format's own limit */
    LONGEST_NAME = 255,
};

const char *const safe_type_name[SAFE_TYPE_COUNT] = {
#define SAFE_NAME(name, bytes, fmt) #name,
    SAFE_TYPES(SAFE_NAME)
#undef SAFE_NAME
};
const Fmt safe_type_fmt[SAFE_TYPE_COUNT] = {
#define SAFE_FMT(name, bytes, fmt) FMT_##fmt,
    SAFE_TYPES(SAFE_FMT)
#undef SAFE_FMT
};
static const uint8_t type_bytes[SAFE_TYPE_COUNT] = {
#define SAFE_BYTES(name, bytes, fmt) bytes,
    SAFE_TYPES(SAFE_BYTES)
#undef SAFE_BYTES
};

typedef struct File { /* being parsed */
    Session *s;
    Loc loc;
    const char *path;
    const uint8_t *data; /* the first byte behind the header */
    uint64_t size;       /* of the data */
} File;

static const char *quoted(const File *f, const char *text)
{
    return quote(f->s, text, strlen(text));
}

const char *safe_shape(Session *s, const SafeTensor *t)
{
    const char *text = t->rank ? format(s, "%lld", (long long)t->dim[0]) : "a single value";
    for (int i = 1; i < t->rank; i++)
        text = format(s, "%s x %lld", text, (long long)t->dim[i]);
    return text;
}

/* ---- one tensor of the header ---- */

static void check_name(const File *f, const char *text)
{
    size_t len = strlen(text);
    bool good = len > 0 && len <= LONGEST_NAME;
    for (size_t i = 0; good && i < len;) {
        int n = utf8_printable(text + i, len - i);
        good = n > 0;
        i += (size_t)n;
    }
    if (!good)
        fail(f->s, f->loc,
             "the header names a tensor %s: names have 1 to %d printable bytes. The file is "
             "damaged, fetch it again",
             quote(f->s, text, len), LONGEST_NAME);
}

static SafeType type_of(const File *f, const SafeTensor *t, const json_t *v)
{
    const char *text = json_string_or_null(v);
    for (int i = 0; text && i < SAFE_TYPE_COUNT; i++)
        if (!strcmp(text, safe_type_name[i]))
            return (SafeType)i;
    fail(f->s, f->loc,
         "tensor %s has the dtype %s, which bnc does not know; a checkpoint holds BF16, F16, F32 "
         "or packed U8",
         quoted(f, t->name), text ? quoted(f, text) : "(none)");
}

/* Sets the shape and returns the bytes that it takes. */
static uint64_t shape_of(const File *f, SafeTensor *t, const json_t *v)
{
    uint64_t bytes = type_bytes[t->type];
    bool empty = false;
    if (!json_is_array(v) || json_array_size(v) > SAFE_RANK)
        fail(f->s, f->loc, "tensor %s has no shape of at most %d dimensions: the header is damaged",
             quoted(f, t->name), SAFE_RANK);
    t->rank = (int)json_array_size(v);
    for (int i = 0; i < t->rank; i++) {
        if (!json_whole(json_array_get(v, (size_t)i), &t->dim[i]))
            fail(f->s, f->loc,
                 "dimension %d of tensor %s is no whole number from 0 to 2^53: the header is "
                 "damaged",
                 i, quoted(f, t->name));
        uint64_t n = (uint64_t)t->dim[i];
        empty |= n == 0;
        if (n && bytes > INT64_MAX / n)
            fail(f->s, f->loc,
                 "tensor %s of %s values would have more than 2^63 bytes: the header is damaged",
                 quoted(f, t->name), safe_shape(f->s, t));
        bytes *= n ? n : 1;
    }
    return empty ? 0 : bytes;
}

static void offsets_of(const File *f, SafeTensor *t, const json_t *v, uint64_t bytes)
{
    int64_t begin, end;
    if (!json_is_array(v) || json_array_size(v) != 2 || !json_whole(json_array_get(v, 0), &begin) ||
        !json_whole(json_array_get(v, 1), &end) || end < begin)
        fail(f->s, f->loc,
             "tensor %s has no data_offsets [begin, end] in rising order: the header is damaged",
             quoted(f, t->name));
    t->begin = (uint64_t)begin;
    t->end = (uint64_t)end;
    if (t->end > f->size)
        fail(f->s, f->loc,
             "tensor %s ends at byte %llu of the data, but the file holds only %llu: it is cut "
             "short or damaged, fetch it again",
             quoted(f, t->name), (ull)t->end, (ull)f->size);
    if (t->end - t->begin != bytes)
        fail(f->s, f->loc,
             "tensor %s (%s, %s) takes %llu bytes, but its data_offsets span %llu: the header is "
             "damaged",
             quoted(f, t->name), safe_type_name[t->type], safe_shape(f->s, t), (ull)bytes,
             (ull)(t->end - t->begin));
    t->data = f->data + t->begin;
}

static void take_tensor(const File *f, SafeTensor *t, const char *key, const json_t *v)
{
    check_name(f, key);
    t->name = name(f->s, key);
    t->path = f->path;
    if (!json_is_object(v))
        fail(f->s, f->loc, "the header's entry of tensor %s is no object: the header is damaged",
             quoted(f, key));
    t->type = type_of(f, t, json_object_get(v, "dtype"));
    uint64_t bytes = shape_of(f, t, json_object_get(v, "shape"));
    offsets_of(f, t, json_object_get(v, "data_offsets"), bytes);
}

/* ---- the file ---- */

static int by_place(const void *a, const void *b)
{
    const SafeTensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const SafeTensor *)a)->name, ((const SafeTensor *)b)->name);
}

/* Sorts by place, for the check, then by name, for the reader. */
static void check_tiling(const File *f, Safetensors *all)
{
    uint64_t at = 0;
    const char *before = NULL;
    if (all->ntensor)
        qsort(all->tensor, (size_t)all->ntensor, sizeof *all->tensor, by_place);
    for (int64_t i = 0; i < all->ntensor; i++) {
        const SafeTensor *t = &all->tensor[i];
        if (t->begin < at)
            fail(f->s, f->loc,
                 "tensor %s (bytes %llu to %llu of the data) overlaps tensor %s, which ends at "
                 "byte %llu: the header is damaged",
                 quoted(f, t->name), (ull)t->begin, (ull)t->end, quoted(f, before), (ull)at);
        if (t->begin > at)
            fail(f->s, f->loc,
                 "no tensor holds bytes %llu to %llu of the data, before tensor %s: the header is "
                 "damaged",
                 (ull)at, (ull)t->begin, quoted(f, t->name));
        at = t->end;
        before = t->name;
    }
    if (at != f->size)
        fail(f->s, f->loc,
             "the tensors end at byte %llu of the data, the file at %llu: the header is damaged",
             (ull)at, (ull)f->size);
    if (all->ntensor)
        qsort(all->tensor, (size_t)all->ntensor, sizeof *all->tensor, by_name);
}

static uint64_t header_size(const File *f, const uint8_t *data, size_t size)
{
    uint64_t n = 0;
    const char *instead = file_placeholder(data, size);
    if (instead)
        fail(f->s, f->loc, "not a safetensors file; it looks like %s", instead);
    if (size < 10)
        fail(f->s, f->loc, "not a safetensors file: it has %zu bytes, fewer than any header", size);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    if (n > LARGEST_HEADER || n > size - 8 || data[8] != '{')
        fail(f->s, f->loc,
             "not a safetensors file, or cut short: its first 8 bytes claim a header of %llu bytes "
             "that begins with '{'; the file has %zu and the format allows %d",
             (ull)n, size, LARGEST_HEADER);
    return n;
}

Safetensors *safetensors_parse(Session *s, const char *path, const uint8_t *data, size_t size)
{
    File f = {.s = s, .loc = loc_file(s, path), .path = name(s, path)};
    Safetensors *all = NEW(s, Safetensors);
    const char *why, *key;
    json_t *entry;
    all->s = s;
    uint64_t n = header_size(&f, data, size);
    json_t *header = json_part(s, (const char *)data + 8, (size_t)n, &why);
    if (!header)
        fail(s, f.loc,
             "the header is not the JSON that it should be: %s. The file is damaged, "
             "fetch it again",
             why);
    f.data = data + 8 + n;
    f.size = size - 8 - n;
    all->tensor = NEW_ARRAY(s, SafeTensor, json_object_size(header));
    json_object_foreach(header, key, entry)
        if (strcmp(key, "__metadata__"))
            take_tensor(&f, &all->tensor[all->ntensor++], key, entry);
    check_tiling(&f, all);
    return all;
}

/* ---- a checkpoint's folder ---- */

static Safetensors *open_file(Session *s, const char *path)
{
    size_t size;
    const uint8_t *bytes = file_view(s, path, "cannot open the weights", &size);
    return safetensors_parse(s, path, bytes, size);
}

/* Shards are named by plain names: an index must not lead out of its folder. */
static const char *shard_name(Session *s, Loc index, const char *tensor, const json_t *v)
{
    const char *file = json_string_or_null(v);
    size_t n = file ? strlen(file) : 0;
    if (n < 13 || n > 255 || strchr(file, '/') || *file == '.' ||
        strcmp(file + n - 12, ".safetensors"))
        fail(s, index,
             "weight_map puts tensor %s into %s; expected the name of a .safetensors file of this "
             "folder",
             quote(s, tensor, strlen(tensor)), file ? quote(s, file, n) : "no file");
    return name(s, file);
}

static void add_all(Safetensors *all, const Safetensors *more)
{
    for (int64_t i = 0; i < more->ntensor; i++) {
        all->tensor = grow(all->s, all->tensor, (size_t)all->ntensor, sizeof *all->tensor);
        all->tensor[all->ntensor++] = more->tensor[i];
    }
}

/* Every tensor must stand in exactly the file that the index says. */
static void check_index(Session *s, Loc at, const Safetensors *all, const json_t *map,
                        const char *dir)
{
    const char *key;
    json_t *v;
    for (int64_t i = 1; i < all->ntensor; i++)
        if (!strcmp(all->tensor[i - 1].name, all->tensor[i].name))
            fail(s, at, "tensor %s stands in two files, %s and %s; which one counts is unclear",
                 quote(s, all->tensor[i].name, strlen(all->tensor[i].name)),
                 file_name(all->tensor[i - 1].path), file_name(all->tensor[i].path));
    json_object_foreach((json_t *)(uintptr_t)map, key, v) {
        const SafeTensor *t = safetensors_find(all, key);
        const char *file = format(s, "%s/%s", dir, json_string_value(v));
        if (!t || strcmp(t->path, file))
            fail(s, at, "weight_map puts tensor %s into %s, which does not hold it",
                 quote(s, key, strlen(key)), json_string_value(v));
    }
}

static Safetensors *open_index(Session *s, const char *dir, const char *path)
{
    Loc at = loc_file(s, path);
    Safetensors *all = NEW(s, Safetensors);
    const json_t *map = json_object_get(json_file_required(s, path), "weight_map");
    const char *key, **file = NULL;
    size_t nfile = 0;
    json_t *v;
    all->s = s;
    if (!json_is_object(map))
        fail(s, at, "has no object weight_map, which says in which file each tensor is");
    json_object_foreach((json_t *)(uintptr_t)map, key, v) {
        const char *shard = shard_name(s, at, key, v);
        size_t i = 0;
        while (i < nfile && file[i] != shard)
            i++;
        if (i < nfile)
            continue;
        file = grow(s, file, nfile, sizeof *file);
        file[nfile++] = shard;
        add_all(all, open_file(s, format(s, "%s/%s", dir, shard)));
    }
    if (all->ntensor)
        qsort(all->tensor, (size_t)all->ntensor, sizeof *all->tensor, by_name);
    check_index(s, at, all, map, dir);
    return all;
}

Safetensors *safetensors_open(Session *s, const char *dir)
{
    const char *one = format(s, "%s/model.safetensors", dir),
               *index = format(s, "%s/model.safetensors.index.json", dir);
    if (file_exists(index))
        return open_index(s, dir, index);
    if (!file_exists(one))
        fail(
            s, loc_file(s, dir),
            "holds no model.safetensors and no model.safetensors.index.json; bnc reads "
            "checkpoints in safetensors (a .bin checkpoint: save it with safe_serialization=True)");
    return open_file(s, one);
}

SafeTensor *safetensors_find(const Safetensors *all, const char *wanted)
{
    SafeTensor key = {.name = wanted};
    return all->ntensor ? bsearch(&key, all->tensor, (size_t)all->ntensor, sizeof key, by_name)
                        : NULL;
}
