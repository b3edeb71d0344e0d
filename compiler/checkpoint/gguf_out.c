/* gguf_out.c: the writer behind gguf_out.h.
 *
 * One idea: the head of the file is built in memory, where it is small, and extents are computed
 * from formats and shapes, so that data can follow without going back.
 */
#include "checkpoint/gguf_out.h"

#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32, PADDING = 4096 };

struct GgufOut {
    Session *s;
    const char *path;
    OutFile *f;
    Out keys, tensors;
    uint64_t nkey, ntensor;
    uint64_t alignment;
    uint64_t *extent; /* of each tensor */
    uint64_t size;    /* of all tensors, padding included */
    uint64_t now;     /* the tensor being written and its bytes so far */
    uint64_t written;
};

static void put_number(Out *o, uint64_t x, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (uint8_t)(x >> 8 * i);
    put_bytes(o, b, (size_t)bytes);
}

static void put_text(Out *o, const char *text, size_t n)
{
    put_number(o, n, 8);
    put_bytes(o, text, n);
}

static void put_string(Out *o, const char *text)
{
    put_text(o, text, strlen(text));
}

static void put_key(GgufOut *g, const char *key, GgufValueType type)
{
    g->nkey++;
    put_string(&g->keys, key);
    put_number(&g->keys, type, 4);
}

static void put_array(GgufOut *g, const char *key, GgufValueType type, int64_t n)
{
    put_key(g, key, GGUF_ARRAY);
    put_number(&g->keys, type, 4);
    put_number(&g->keys, (uint64_t)n, 8);
}

static uint64_t padded(const GgufOut *g, uint64_t n)
{
    return (n + g->alignment - 1) / g->alignment * g->alignment;
}

/* The file is created here, so that a path that cannot be written is refused before any work. */
GgufOut *gguf_create(Session *s, const char *path)
{
    GgufOut *g = NEW(s, GgufOut);
    CHECK(strcmp(path, "-"));
    g->s = g->keys.s = g->tensors.s = s;
    g->path = name(s, path);
    g->alignment = ALIGNMENT;
    g->f = file_create(s, path);
    return g;
}

void gguf_put_u32(GgufOut *g, const char *key, uint32_t value)
{
    put_key(g, key, GGUF_U32);
    put_number(&g->keys, value, 4);
}

void gguf_put_f32(GgufOut *g, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put_key(g, key, GGUF_F32);
    put_number(&g->keys, bits, 4);
}

void gguf_put_bool(GgufOut *g, const char *key, bool value)
{
    put_key(g, key, GGUF_BOOL);
    put_number(&g->keys, value, 1);
}

void gguf_put_text(GgufOut *g, const char *key, const char *text)
{
    put_key(g, key, GGUF_STRING);
    put_string(&g->keys, text);
}

void gguf_put_i32s(GgufOut *g, const char *key, const int32_t *value, int64_t n)
{
    put_array(g, key, GGUF_I32, n);
    for (int64_t i = 0; i < n; i++)
        put_number(&g->keys, (uint32_t)value[i], 4);
}

void gguf_put_u8s(GgufOut *g, const char *key, const uint8_t *value, int64_t n)
{
    put_array(g, key, GGUF_U8, n);
    put_bytes(&g->keys, value, (size_t)n);
}

void gguf_put_f32s(GgufOut *g, const char *key, const float *value, int64_t n)
{
    put_array(g, key, GGUF_F32, n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], 4);
        put_number(&g->keys, bits, 4);
    }
}

void gguf_put_texts(GgufOut *g, const char *key, int64_t n)
{
    put_array(g, key, GGUF_STRING, n);
}

void gguf_put_item(GgufOut *g, const char *text)
{
    put_string(&g->keys, text);
}

void gguf_put_bytes(GgufOut *g, const char *bytes, size_t n)
{
    put_text(&g->keys, bytes, n);
}

void gguf_put_value(GgufOut *g, const Gguf *from, const GgufValue *v)
{
    int64_t n = v->count;
    if (strcmp(v->key, "general.alignment") == 0) {
        CHECK(!g->ntensor); /* whose offsets follow from it */
        g->alignment = from->alignment;
    }
    if (v->is_array)
        put_array(g, v->key, v->type, n);
    else
        put_key(g, v->key, v->type);
    for (int64_t i = 0; v->type == GGUF_STRING && i < n; i++) {
        size_t len;
        const char *text = gguf_string_at(from, v, i, &len);
        put_number(&g->keys, len, 8);
        put_bytes(&g->keys, text, len);
    }
    if (v->type != GGUF_STRING)
        put_bytes(&g->keys, v->data, (size_t)n * gguf_value_bytes[v->type]);
}

/* Numbers of ggml's llama_ftype; 40 is that of Microsoft's fork. */
int gguf_file_type(Fmt fmt)
{
    static const struct {
        Fmt fmt;
        int type;
    } types[] = {{FMT_F32, 0},   {FMT_F16, 1},    {FMT_Q4_0, 2},   {FMT_Q8_0, 7}, {FMT_Q6_K, 18},
                 {FMT_BF16, 32}, {FMT_TQ1_0, 36}, {FMT_TQ2_0, 37}, {FMT_I2_S, 40}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].fmt == fmt)
            return types[i].type;
    return -1;
}

/* Declares a tensor of `bytes` bytes. */
static void put_info(GgufOut *g, const char *tensor, int rank, const int64_t *dim, int64_t id,
                     uint64_t bytes)
{
    g->extent = grow(g->s, g->extent, (size_t)g->ntensor, sizeof *g->extent);
    g->extent[g->ntensor++] = bytes;
    put_string(&g->tensors, tensor);
    put_number(&g->tensors, (uint64_t)rank, 4);
    for (int i = 0; i < rank; i++)
        put_number(&g->tensors, (uint64_t)dim[i], 8);
    put_number(&g->tensors, (uint64_t)id, 4);
    put_number(&g->tensors, g->size, 8);
    g->size += padded(g, bytes);
}

void gguf_put_like(GgufOut *g, const GgufTensor *t, Fmt fmt)
{
    size_t bytes = fmt_extent(fmt, t->t.rows, t->t.cols);
    CHECK(bytes && fmt_info[fmt].gguf >= 0);
    put_info(g, t->t.name, t->rank, t->dim, fmt_info[fmt].gguf, bytes);
}

void gguf_put_tensor(GgufOut *g, const char *tensor, Fmt fmt, int64_t rows, int64_t cols)
{
    const FmtInfo *f = &fmt_info[fmt];
    size_t bytes = fmt_extent(fmt, rows, cols);
    if (!bytes || f->gguf < 0)
        fail(g->s, loc_file(g->s, g->path),
             "%s has rows of %lld values, which %s cannot hold in its blocks of %d; choose another "
             "type",
             tensor, (long long)cols, f->name, f->elems);
    put_info(g, tensor, rows == 1 ? 1 : 2, (int64_t[]){cols, rows}, f->gguf, bytes);
}

int64_t gguf_bytes(const GgufOut *g)
{
    return (int64_t)g->size;
}

static void pad(GgufOut *g, uint64_t written)
{
    static const uint8_t zeros[PADDING];
    for (uint64_t left = padded(g, written) - written, n; left; left -= n) {
        n = left < PADDING ? left : PADDING;
        file_write(g->f, zeros, (size_t)n);
    }
}

void gguf_begin(GgufOut *g)
{
    Out head = {.s = g->s};
    put_bytes(&head, "GGUF", 4);
    put_number(&head, VERSION, 4);
    put_number(&head, g->ntensor, 8);
    put_number(&head, g->nkey, 8);
    put_bytes(&head, g->keys.text, g->keys.len);
    put_bytes(&head, g->tensors.text, g->tensors.len);
    file_write(g->f, head.text, head.len);
    pad(g, head.len);
    out_free(&head);
    out_free(&g->keys);
    out_free(&g->tensors);
}

void gguf_data(GgufOut *g, const void *bytes, size_t n)
{
    CHECK(g->now < g->ntensor && n <= g->extent[g->now] - g->written);
    file_write(g->f, bytes, n);
    g->written += n;
    if (g->written < g->extent[g->now])
        return;
    pad(g, g->written);
    g->now++;
    g->written = 0;
}

void gguf_end(GgufOut *g)
{
    CHECK(g->now == g->ntensor);
    file_commit(g->f);
}
