/* gguf.c: the GGUF container.
 *
 * One idea: a cursor that cannot leave the file. Each number is checked against the bytes that are
 * left before anything is allocated or skipped by it, so memory and time follow the file's size
 * whatever it claims. Every message says what was found, where, what would be right, what to do.
 */
#include "frontend/gguf.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "ir/escape.h"

typedef unsigned long long ull; /* for %llu */

enum {
    HEADER = 24,
    LEAST_KEY = 14,    /* length 8, one letter, type 4, a byte */
    LEAST_TENSOR = 33, /* length 8, one letter, rank 4, a dimension 8, type 4, offset 8 */
    LONGEST_KEY = 65535,
    LONGEST_NAME = 255,
    LARGEST_ALIGNMENT = 1 << 20,
};

/* ---- the cursor ---- */

typedef struct Cursor {
    Gguf *g;
    uint64_t at;
    const char *kind; /* "key", "tensor", "header" */
    int64_t index;    /* -1: the only one */
    const char *name; /* NULL: not read yet */
} Cursor;

static const char *item(const Cursor *c)
{
    Session *s = c->g->s;
    if (c->name)
        return format(s, "%s %s", c->kind, quote(s, c->name, strlen(c->name)));
    if (c->index < 0)
        return format(s, "the %s", c->kind);
    return format(s, "%s %lld", c->kind, (long long)c->index);
}

/* The file must have n bytes more for `part` of the item. */
static void need(const Cursor *c, uint64_t n, const char *part)
{
    uint64_t left = c->g->size - c->at;
    if (n > left)
        fail(c->g->s, c->g->loc,
             "the file ends inside %s: its %s needs %llu bytes from byte %llu on, %llu are left. "
             "It is cut short or damaged: fetch or convert it again",
             item(c), part, (ull)n, (ull)c->at, (ull)left);
}

static uint64_t take(Cursor *c, int bytes, const char *part)
{
    need(c, (uint64_t)bytes, part);
    c->at += (uint64_t)bytes;
    return gguf_load(c->g->data + c->at - bytes, bytes);
}

/* Skips a string and returns its bytes. */
static const char *take_string(Cursor *c, const char *part, size_t *len)
{
    uint64_t n = take(c, 8, part);
    need(c, n, part);
    c->at += n;
    *len = (size_t)n;
    return (const char *)c->g->data + c->at - n;
}

/* The name of a key or tensor: short, not empty, printable. Returns a copy with a NUL. */
static const char *take_name(Cursor *c, size_t longest)
{
    Session *s = c->g->s;
    size_t len;
    uint64_t at = c->at;
    const char *text = take_string(c, "name", &len);
    if (len == 0 || len > longest)
        fail(s, c->g->loc,
             "the name of %s at byte %llu has %zu bytes, expected 1 to %zu: the file is damaged, "
             "convert it again",
             item(c), (ull)at, len, longest);
    for (size_t i = 0; i < len;) {
        int n = utf8_printable(text + i, len - i);
        if (n == 0)
            fail(s, c->g->loc,
                 "the name of %s at byte %llu holds bytes that are not printable UTF-8: %s. The "
                 "file is damaged, convert it again",
                 item(c), (ull)at, quote(s, text, len));
        i += (size_t)n;
    }
    char *copy = alloc(s, len + 1);
    memcpy(copy, text, len);
    return copy;
}

/* ---- what is not a GGUF file ---- */

static const struct {
    const char *magic;
    size_t len;
    const char *what;
} looks[] = {
    {"FUGG", 4, "a GGUF file with its bytes swapped: convert it to little-endian"},
    {"lmgg", 4, "an old ggml file (2023): convert the original model to GGUF again"},
    {"fmgg", 4, "an old ggml file (2023): convert the original model to GGUF again"},
    {"tjgg", 4, "an old ggml file (2023): convert the original model to GGUF again"},
    {"BNW\r\n\x1a\n", 7, "weights that bnc wrote: give the model that they were made from"},
    {"PK\3\4", 4, "a zip archive, perhaps a PyTorch checkpoint: convert it to GGUF"},
    {"\x1f\x8b", 2, "gzip data: unpack it first"},
    {"BZh", 3, "bzip2 data: unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "zstd data: unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "xz data: unpack it first"},
    {"7z\xbc\xaf", 4, "a 7z archive: unpack it first"},
    {"\x7f"
     "ELF",
     4, "an ELF object or program"},
    {"\xcf\xfa\xed\xfe", 4, "a Mach-O object or program"},
    {"\x89HDF", 4, "an HDF5 file: convert the model to GGUF"},
    {"\x93NUMPY", 6, "a NumPy array: convert the model to GGUF"},
    {"\x80\x02", 2, "a Python pickle: convert the model to GGUF"},
    {"#!", 2, "a script"},
    {"{", 1, "JSON text"},
};

static bool is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && i < 64; i++)
        if (p[i] >= 0x7f || (p[i] < 0x20 && p[i] != '\n' && p[i] != '\r' && p[i] != '\t'))
            return false;
    return true;
}

static const char *looks_like(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (n >= looks[i].len && memcmp(p, looks[i].magic, looks[i].len) == 0)
            return looks[i].what;
    if (file_placeholder(p, n))
        return file_placeholder(p, n);
    if (n > 8 && p[8] == '{' && gguf_load(p, 8) < n)
        return "safetensors: give bnc the folder that it lies in";
    return is_text(p, n) ? "text" : NULL;
}

_Noreturn static void not_gguf(Gguf *g)
{
    const uint8_t *p = g->data;
    const char *what = g->size ? looks_like(p, g->size) : NULL;
    if (what)
        fail(g->s, g->loc, "not a GGUF file; it looks like %s", what);
    if (g->size >= 4)
        fail(g->s, g->loc,
             "not a GGUF file: it begins with bytes %02x %02x %02x %02x, expected 47 47 55 46 "
             "(\"GGUF\")",
             p[0], p[1], p[2], p[3]);
    fail(g->s, g->loc, "not a GGUF file: it has %zu bytes, fewer than a header of %d", g->size,
         HEADER);
}

static void check_version(Gguf *g, uint64_t version)
{
    if (version == 2 || version == 3)
        return;
    if (version == 1)
        fail(g->s, g->loc,
             "GGUF version 1 (2023) at byte 4; bnc reads 2 and 3: convert the original model "
             "again");
    if (version >> 16 && (version & 0xffff) == 0)
        fail(g->s, g->loc,
             "a big-endian GGUF file (version %08llx at byte 4); bnc reads little-endian files: "
             "convert it, for instance with gguf_convert_endian.py",
             (ull)version);
    fail(g->s, g->loc, "GGUF version %llu at byte 4; bnc reads 2 and 3", (ull)version);
}

/* A count that the rest of the file could hold. */
static int64_t checked_count(const Gguf *g, uint64_t n, const char *what, uint64_t at, int least)
{
    uint64_t most = (g->size - HEADER) / (uint64_t)least;
    if (n > most)
        fail(g->s, g->loc,
             "the header claims %llu %s at byte %llu, but %zu bytes have room for %llu at most: "
             "the file is cut short or damaged",
             (ull)n, what, (ull)at, g->size, (ull)most);
    return (int64_t)n;
}

static void parse_header(Cursor *c)
{
    Gguf *g = c->g;
    if (g->size < 4 || memcmp(g->data, "GGUF", 4) != 0)
        not_gguf(g);
    c->kind = "header";
    c->index = -1;
    c->at = 4;
    g->version = (unsigned)take(c, 4, "version");
    check_version(g, g->version);
    uint64_t ntensor = take(c, 8, "number of tensors"), nvalue = take(c, 8, "number of keys");
    g->ntensor = checked_count(g, ntensor, "tensors", 8, LEAST_TENSOR);
    g->nvalue = checked_count(g, nvalue, "keys", 16, LEAST_KEY);
}

/* ---- metadata ---- */

static GgufValueType take_type(Cursor *c, const char *part)
{
    uint64_t at = c->at, id = take(c, 4, part);
    if (id >= GGUF_TYPES)
        fail(c->g->s, c->g->loc,
             "%s has %s %llu at byte %llu, expected 0 to %d: the file is damaged or newer than "
             "this bnc",
             item(c), part, (ull)id, (ull)at, GGUF_TYPES - 1);
    return (GgufValueType)id;
}

static void take_strings(Cursor *c, GgufValue *v)
{
    size_t *start = NEW_ARRAY(c->g->s, size_t, v->count);
    for (int64_t i = 0; i < v->count; i++) {
        size_t len;
        const char *text = take_string(c, "array of strings", &len);
        start[i] = (size_t)((const uint8_t *)text - c->g->data);
    }
    v->string = start;
}

static void take_array(Cursor *c, GgufValue *v)
{
    Gguf *g = c->g;
    v->is_array = true;
    v->type = take_type(c, "item type");
    if (v->type == GGUF_ARRAY)
        fail(g->s, g->loc, "%s at byte %llu is an array of arrays, which no model uses", item(c),
             (ull)c->at - 4);
    uint64_t at = c->at, n = take(c, 8, "array length");
    uint64_t least = v->type == GGUF_STRING ? 8 : gguf_value_bytes[v->type];
    uint64_t most = (g->size - c->at) / least;
    if (n > most)
        fail(g->s, g->loc,
             "%s claims an array of %llu items (%s) at byte %llu; the rest of the file has room "
             "for %llu: it is cut short or damaged",
             item(c), (ull)n, gguf_value_type_name[v->type], (ull)at, (ull)most);
    v->count = (int64_t)n;
    v->data = g->data + c->at;
    if (v->type == GGUF_STRING)
        take_strings(c, v);
    else
        c->at += n * least;
}

static void take_scalar(Cursor *c, GgufValue *v)
{
    size_t len;
    v->count = 1;
    if (v->type == GGUF_STRING) {
        v->data = (const uint8_t *)take_string(c, "text", &len);
        return;
    }
    v->data = c->g->data + c->at;
    uint64_t x = take(c, gguf_value_bytes[v->type], "value");
    if (v->type == GGUF_BOOL && x > 1)
        fail(c->g->s, c->g->loc,
             "%s is a bool of value %llu at byte %llu, expected 0 or 1: the "
             "file is damaged",
             item(c), (ull)x, (ull)c->at - 1);
}

static void parse_values(Cursor *c)
{
    Gguf *g = c->g;
    g->value = NEW_ARRAY(g->s, GgufValue, g->nvalue);
    for (int64_t i = 0; i < g->nvalue; i++) {
        GgufValue *v = &g->value[i];
        c->kind = "key";
        c->index = i;
        c->name = NULL;
        c->name = v->key = take_name(c, LONGEST_KEY);
        v->type = take_type(c, "type");
        if (v->type == GGUF_ARRAY)
            take_array(c, v);
        else
            take_scalar(c, v);
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const GgufValue *const *)a)->key, (*(const GgufValue *const *)b)->key);
}

static void sort_values(Gguf *g)
{
    size_t n = (size_t)g->nvalue;
    const GgufValue **v = g->value_by_name = NEW_ARRAY(g->s, const GgufValue *, n);
    for (size_t i = 0; i < n; i++)
        v[i] = &g->value[i];
    if (n)
        qsort(v, n, sizeof *v, by_key);
    for (size_t i = 1; i < n; i++)
        if (strcmp(v[i - 1]->key, v[i]->key) == 0)
            fail(g->s, g->loc,
                 "the key %s stands twice in the metadata; which one counts is unclear: convert "
                 "the model again",
                 quote(g->s, v[i]->key, strlen(v[i]->key)));
}

static void read_alignment(Gguf *g)
{
    int64_t n = 32;
    const GgufValue *v = gguf_get(g, "general.alignment");
    bool fits = !v || gguf_int(g, "general.alignment", &n);
    if (!fits || n <= 0 || n > LARGEST_ALIGNMENT || (n & (n - 1)) != 0)
        fail(g->s, g->loc,
             "general.alignment is %s, expected a power of two up to %d: convert the model again",
             fits ? format(g->s, "%lld", (long long)n) : "not a number", LARGEST_ALIGNMENT);
    g->alignment = (uint64_t)n;
}

/* ---- tensors ---- */

typedef struct TypeRow {
    int64_t id;
    const char *name;
    int64_t elems, bytes;
} TypeRow;
static const TypeRow more_types[] = {
#define GGUF_TYPE(id, name, elems, bytes) {id, name, elems, bytes},
#include "frontend/gguf_types.def"
#undef GGUF_TYPE
};

/* Id 39 is MXFP4 upstream and TL2 in Microsoft's fork; only the rest of the file tells. */
static bool means_tl2(const Gguf *g)
{
    int64_t file_type = 0;
    const char *arch;
    size_t len;
    if (gguf_int(g, "general.file_type", &file_type) && file_type == 39)
        return true;
    return gguf_string(g, "general.architecture", &arch, &len) && len >= 6 &&
           memcmp(arch, "bitnet", 6) == 0;
}

static TypeRow find_type(const Cursor *c, int64_t id)
{
    Gguf *g = c->g;
    Fmt fmt = fmt_by_gguf(id);
    if (fmt != FMT_COUNT)
        return (TypeRow){id, fmt_info[fmt].name, fmt_info[fmt].elems, fmt_info[fmt].bytes};
    TypeRow row = {id, NULL, 0, 0};
    for (size_t i = 0; i < sizeof more_types / sizeof *more_types; i++)
        if (more_types[i].id == id)
            row = more_types[i];
    if (!row.name)
        fail(g->s, g->loc,
             "%s has type id %lld, which bnc does not know; of ternary types it reads I2_S (36), "
             "TQ1_0 (34) and TQ2_0 (35): convert the model to one of them",
             item(c), (long long)id);
    if (id == 39 && means_tl2(g))
        row = (TypeRow){id, "tl2", 0, 0};
    if (row.elems == 0)
        fail(g->s, g->loc,
             "%s has type %s (id %lld), whose layout depends on the build that wrote the file: "
             "convert the model to I2_S or TQ2_0 instead",
             item(c), row.name, (long long)id);
    return row;
}

/* Sets dim, rows and cols; the number of values fits int64_t. */
static void take_shape(Cursor *c, GgufTensor *x)
{
    Gguf *g = c->g;
    uint64_t at = c->at, rank = take(c, 4, "number of dimensions"), total = 1;
    if (rank < 1 || rank > 4)
        fail(g->s, g->loc,
             "%s has %llu dimensions at byte %llu, expected 1 to 4: the file is damaged", item(c),
             (ull)rank, (ull)at);
    x->rank = (int)rank;
    for (int i = 0; i < 4; i++) {
        at = c->at;
        uint64_t n = i < x->rank ? take(c, 8, "dimension") : 1;
        if (n == 0)
            fail(g->s, g->loc, "dimension %d of %s is 0 at byte %llu: there are no values in it", i,
                 item(c), (ull)at);
        if (n > INT64_MAX / total)
            fail(g->s, g->loc,
                 "dimension %d of %s is %llu at byte %llu: the tensor would have more than 2^63 "
                 "values, so the file is damaged",
                 i, item(c), (ull)n, (ull)at);
        x->dim[i] = (int64_t)n;
        total *= n;
    }
    x->t.cols = x->dim[0];
    x->t.rows = (int64_t)total / x->dim[0];
}

static const char *shape_text(Session *s, const GgufTensor *x)
{
    const char *text = format(s, "%lld", (long long)x->dim[0]);
    for (int i = 1; i < x->rank; i++)
        text = format(s, "%s x %lld", text, (long long)x->dim[i]);
    return text;
}

/* Sets type, fmt and size. */
static void measure(const Cursor *c, GgufTensor *x, int64_t id)
{
    Gguf *g = c->g;
    TypeRow row = find_type(c, id);
    Fmt fmt = fmt_by_gguf(id);
    Tensor *t = &x->t;
    x->id = id;
    x->type = row.name;
    t->fmt = fmt_decodes(fmt) ? fmt : FMT_COUNT;
    if (fmt != FMT_COUNT)
        t->size = fmt_extent(fmt, t->rows, t->cols);
    else if (t->cols % row.elems == 0 && t->cols / row.elems <= INT64_MAX / row.bytes / t->rows)
        t->size = (size_t)(t->cols / row.elems * row.bytes * t->rows);
    if (t->size > 0)
        return;
    bool flat = fmt == FMT_I2_S;
    if ((flat ? t->rows * t->cols : t->cols) % row.elems != 0)
        fail(g->s, g->loc,
             "%s is %s values of type %s, but %s must be a multiple of %lld: the file is damaged "
             "or was converted wrongly",
             item(c), shape_text(g->s, x), row.name, flat ? "their number" : "the first dimension",
             (long long)row.elems);
    fail(g->s, g->loc, "%s of %s values takes more than 2^63 bytes: the file is damaged", item(c),
         shape_text(g->s, x));
}

/* One tensor's entry; x->at holds the offset within the data section until place_tensors. */
static void parse_tensors(Cursor *c)
{
    Gguf *g = c->g;
    g->tensor = NEW_ARRAY(g->s, GgufTensor, g->ntensor);
    for (int64_t i = 0; i < g->ntensor; i++) {
        GgufTensor *x = &g->tensor[i];
        c->kind = "tensor";
        c->index = i;
        c->name = NULL;
        c->name = x->t.name = take_name(c, LONGEST_NAME);
        take_shape(c, x);
        measure(c, x, (int64_t)take(c, 4, "type"));
        uint64_t at = c->at;
        x->at = take(c, 8, "offset");
        if (x->at % g->alignment != 0)
            fail(g->s, g->loc,
                 "%s begins at offset %llu (read at byte %llu), which is no multiple of the "
                 "alignment %llu: the file is damaged",
                 item(c), (ull)x->at, (ull)at, (ull)g->alignment);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const GgufTensor *const *)a)->t.name, (*(const GgufTensor *const *)b)->t.name);
}

static int by_place(const void *a, const void *b)
{
    const GgufTensor *x = *(const GgufTensor *const *)a, *y = *(const GgufTensor *const *)b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : by_name(a, b);
}

static const char *quoted(const Gguf *g, const GgufTensor *x)
{
    return quote(g->s, x->t.name, strlen(x->t.name));
}

static uint64_t aligned(const Gguf *g, uint64_t n)
{
    return n + (g->alignment - n % g->alignment) % g->alignment;
}

/* ---- id 42: q2_0 in blocks of 64 values, or of 128 in a fork, or stq1_0; id 43: stq1_0 ---- */

/* Whether `bytes` fill the room up to the next tensor, or to the end of the file. */
static bool fills(const Gguf *g, size_t bytes, uint64_t room, bool last)
{
    return bytes && (room == aligned(g, bytes) || (last && room == bytes));
}

static const Fmt by_room[] = {FMT_Q2_0, FMT_PQ2_0, FMT_STQ1_0};
enum { NROOM = sizeof by_room / sizeof *by_room };

static void set_format(GgufTensor *x, Fmt fmt)
{
    x->t.fmt = fmt;
    x->type = fmt_info[fmt].name;
    x->t.size = fmt_extent(fmt, x->t.rows, x->t.cols);
}

/* Which of by_room fit the room of x; those that do not fall out of fits[]. */
static void try_room(const Gguf *g, const GgufTensor *x, uint64_t room, bool last, bool *fits)
{
    size_t size[NROOM];
    bool any = false;
    for (int f = 0; f < NROOM; f++) {
        size[f] = fmt_extent(by_room[f], x->t.rows, x->t.cols);
        any |= fits[f] &= fills(g, size[f], room, last);
    }
    if (!any)
        fail(g->s, g->loc,
             "tensor %s has type id 42 and %llu bytes of room; q2_0 takes %zu in blocks of 64 "
             "values and %zu in blocks of 128, stq1_0 %zu, and one must fit all tensors. Id 42 means "
             "something else in this file, or it is damaged: convert the model to TQ2_0 or F16",
             quoted(g, x), (ull)room, size[0], size[1], size[2]);
}

/* The tensors' places say which: every one must fill its room in the blocks that are chosen. */
static void settle_q2(Gguf *g, uint64_t end)
{
    size_t n = (size_t)g->ntensor;
    uint64_t start = aligned(g, end), data = g->size > start ? g->size - start : 0;
    bool any = false, fits[NROOM] = {true, true, true};
    int chosen = 0, ways = 0;
    for (size_t i = 0; i < n; i++)
        any |= g->tensor[i].id == 42 || g->tensor[i].id == 43;
    if (!any)
        return;
    any = false;
    const GgufTensor **x = NEW_ARRAY(g->s, const GgufTensor *, n + 1);
    for (size_t i = 0; i < n; i++)
        x[i] = &g->tensor[i];
    qsort(x, n, sizeof *x, by_place);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        uint64_t stop = last ? data : x[i + 1]->at, room = stop > x[i]->at ? stop - x[i]->at : 0;
        if (x[i]->t.fmt == FMT_STQ1_0 && !fills(g, x[i]->t.size, room, last))
            fail(g->s, g->loc,
                 "tensor %s has type id 43 and %llu bytes of room, stq1_0 takes %zu: id 43 means "
                 "something else in this file, or it is damaged. Convert the model to TQ2_0 or F16",
                 quoted(g, x[i]), (ull)room, x[i]->t.size);
        if (x[i]->t.fmt != FMT_Q2_0)
            continue;
        any = true;
        try_room(g, x[i], room, last, fits);
    }
    for (int f = 0; any && f < NROOM; f++) {
        ways += fits[f];
        chosen = fits[f] ? f : chosen;
    }
    if (ways > 1)
        fail(g->s, g->loc,
             "its tensors of type id 42 are so small that several layouts (q2_0, pq2_0, stq1_0) "
             "fill the same room: convert the model to TQ2_0 or F16");
    for (size_t i = 0; chosen && i < n; i++)
        if (g->tensor[i].t.fmt == FMT_Q2_0)
            set_format(&g->tensor[i], by_room[chosen]);
}

/* What speaks for the scale at byte `scale` of the 34 of each block, the codes in the other 32. */
typedef struct Order {
    bool scales; /* each could be one: a number, not below zero. Where codes stand, many could not */
    bool codes;  /* none is 3, which ternary weights do not have */
} Order;

static void look(const Tensor *t, size_t scale, Order *o)
{
    for (size_t at = 0; at < t->size; at += 34) {
        const uint8_t *block = t->data + at, *codes = block + (scale ? 0 : 2);
        unsigned three = 0;
        o->scales = o->scales && block[scale + 1] < 0x7c;
        for (size_t i = 0; i < 32; i++)
            three |= codes[i] & codes[i] >> 1 & 0x55;
        o->codes = o->codes && !three;
    }
}

/* Of blocks of 128 under id 42 there are two kinds: the scale first, or the codes. */
static void settle_order(Gguf *g)
{
    Order first = {true, true}, last = {true, true};
    bool any = false;
    for (int64_t i = 0; i < g->ntensor; i++) {
        const GgufTensor *x = &g->tensor[i];
        if (x->id != 42 || x->t.fmt != FMT_PQ2_0)
            continue;
        any = true;
        look(&x->t, 0, &first);
        look(&x->t, 32, &last);
    }
    bool tie = first.scales == last.scales;
    if (any && (!(first.scales || last.scales) || (tie && first.codes == last.codes)))
        fail(g->s, g->loc,
             "its tensors of type id 42 have blocks of 128 values, and %s: convert the model to "
             "TQ2_0 or F16",
             tie && first.scales ? "nothing tells whether their scales stand before or behind codes"
                                 : "neither before nor behind their codes stand scales");
    for (int64_t i = 0; any && (tie ? last.codes : last.scales) && i < g->ntensor; i++)
        if (g->tensor[i].id == 42 && g->tensor[i].t.fmt == FMT_PQ2_0)
            set_format(&g->tensor[i], FMT_PQ2_0_LAST);
}

/* Points the tensors into the file. */
static void place_tensors(Gguf *g, uint64_t end)
{
    uint64_t start = aligned(g, end);
    for (int64_t i = 0; i < g->ntensor; i++) {
        GgufTensor *x = &g->tensor[i];
        uint64_t room = g->size > start ? g->size - start : 0;
        if (x->at > room || x->t.size > room - x->at)
            fail(g->s, g->loc,
                 "tensor %s (%s, %zu bytes at offset %llu) reaches beyond the end of the file: "
                 "%llu bytes of tensor data begin at byte %llu. The file is cut short or damaged: "
                 "fetch it again",
                 quoted(g, x), x->type, x->t.size, (ull)x->at, (ull)room, (ull)start);
        x->at += start;
        x->t.data = g->data + x->at;
    }
}

static void check_overlap(const Gguf *g, const GgufTensor **x)
{
    qsort(x, (size_t)g->ntensor, sizeof *x, by_place);
    for (int64_t i = 1; i < g->ntensor; i++)
        if (x[i - 1]->at + x[i - 1]->t.size > x[i]->at)
            fail(g->s, g->loc,
                 "tensor %s (%s, bytes %llu to %llu) overlaps tensor %s, which begins at byte "
                 "%llu: the file is damaged, or its type ids mean something else than here",
                 quoted(g, x[i - 1]), x[i - 1]->type, (ull)x[i - 1]->at,
                 (ull)(x[i - 1]->at + x[i - 1]->t.size), quoted(g, x[i]), (ull)x[i]->at);
}

static void sort_tensors(Gguf *g)
{
    size_t n = (size_t)g->ntensor;
    const GgufTensor **x = g->tensor_by_name = NEW_ARRAY(g->s, const GgufTensor *, n);
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = &g->tensor[i];
    check_overlap(g, x);
    qsort(x, n, sizeof *x, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(x[i - 1]->t.name, x[i]->t.name) == 0)
            fail(g->s, g->loc,
                 "there are two tensors %s, at bytes %llu and %llu; which one counts is unclear: "
                 "convert the model again",
                 quoted(g, x[i]), (ull)x[i - 1]->at, (ull)x[i]->at);
}

/* ---- the whole ---- */

Gguf *gguf_parse(Session *s, const char *path, const uint8_t *data, size_t size)
{
    Gguf *g = NEW(s, Gguf);
    g->s = s;
    g->loc = loc_file(s, path);
    g->data = data;
    g->size = g->total = size;
    Cursor c = {.g = g};
    parse_header(&c);
    parse_values(&c);
    sort_values(g);
    read_alignment(g);
    parse_tensors(&c);
    settle_q2(g, c.at);
    place_tensors(g, c.at);
    settle_order(g);
    sort_tensors(g);
    return g;
}

void gguf_i2s_layout(Gguf *g, Fmt fmt)
{
    CHECK(fmt == FMT_I2_S || fmt == FMT_I2_S_ARM64 || fmt == FMT_I2_S_ROW4);
    for (int64_t i = 0; i < g->ntensor; i++) {
        Tensor *t = &g->tensor[i].t;
        if (g->tensor[i].id != fmt_info[FMT_I2_S].gguf)
            continue;
        if (fmt_extent(fmt, t->rows, t->cols) != t->size)
            fail(g->s, g->loc,
                 "tensor %s of %s values cannot be %s, which interleaves rows by four: give "
                 "another --i2s-layout",
                 quoted(g, &g->tensor[i]), shape_text(g->s, &g->tensor[i]), fmt_info[fmt].name);
        t->fmt = fmt;
    }
}

uint64_t gguf_hash(Gguf *g)
{
    if (!g->hashed)
        g->hash = XXH64(g->data, g->size, 0);
    for (int i = 1; !g->hashed && i < g->nparts; i++)
        g->hash = XXH64(g->part[i]->data, g->part[i]->size, g->hash);
    g->hashed = true;
    return g->hash;
}
