/* own_head.c: own_head IN.gguf OUT.gguf ARCH: the same model under another architecture name and
 * with an output matrix of its own, a copy of the embedding: what the newcomer's test of
 * docs/adding.md compiles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/gguf.h"

static void number(FILE *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        putc((int)(v >> 8 * i & 255), f);
}

static void text(FILE *f, const char *t, size_t len)
{
    number(f, len, 8);
    fwrite(t, 1, len, f);
}

/* Keys that begin with the old architecture's name get the new one. */
static void put_key(FILE *f, const GgufValue *v, const char *old, size_t len, const char *arch)
{
    char key[256];
    if (!strncmp(v->key, old, len) && v->key[len] == '.')
        snprintf(key, sizeof key, "%s%s", arch, v->key + len);
    else
        snprintf(key, sizeof key, "%s", v->key);
    text(f, key, strlen(key));
}

static void put_value(FILE *f, const Gguf *g, const GgufValue *v, const char *arch)
{
    int id = v->type;
    number(f, v->is_array ? GGUF_ARRAY : (uint64_t)id, 4);
    if (v->is_array) {
        number(f, (uint64_t)id, 4);
        number(f, (uint64_t)v->count, 8);
    }
    for (int64_t i = 0; i < v->count; i++)
        if (v->type != GGUF_STRING) {
            fwrite(v->data + i * gguf_value_bytes[id], 1, gguf_value_bytes[id], f);
        } else {
            size_t len;
            const char *t = gguf_string_at(g, v, i, &len);
            bool name_of_arch = !strcmp(v->key, "general.architecture");
            text(f, name_of_arch ? arch : t, name_of_arch ? strlen(arch) : len);
        }
}

static void put_tensor(FILE *f, const GgufTensor *t, const char *name, uint64_t at)
{
    text(f, name, strlen(name));
    number(f, (uint64_t)t->rank, 4);
    for (int i = 0; i < t->rank; i++)
        number(f, (uint64_t)t->dim[i], 8);
    number(f, (uint64_t)t->id, 4);
    number(f, at, 8);
}

static uint64_t padded(uint64_t n)
{
    return (n + 31) / 32 * 32;
}

static void put_data(FILE *f, const GgufTensor *t)
{
    fwrite(t->t.data, 1, t->t.size, f);
    for (uint64_t n = t->t.size; n < padded(t->t.size); n++)
        putc(0, f);
}

int main(int argc, char **argv)
{
    Session s;
    session_start(&s, stderr);
    if (argc != 4)
        return 1;
    Gguf *g = gguf_open(&s, argv[1]);
    const char *old;
    size_t len;
    FILE *f = fopen(argv[2], "wb");
    const Tensor *embedding = gguf_tensor_find(g, "token_embd.weight");
    if (!f || !embedding || !gguf_string(g, "general.architecture", &old, &len))
        return 1;
    fwrite("GGUF", 1, 4, f);
    number(f, 3, 4);
    number(f, (uint64_t)g->ntensor + 1, 8);
    number(f, (uint64_t)g->nvalue, 8);
    for (int64_t i = 0; i < g->nvalue; i++) {
        put_key(f, &g->value[i], old, len, argv[3]);
        put_value(f, g, &g->value[i], argv[3]);
    }
    uint64_t at = 0;
    for (int64_t i = 0; i < g->ntensor; at += padded(g->tensor[i++].t.size))
        put_tensor(f, &g->tensor[i], g->tensor[i].t.name, at);
    put_tensor(f, gguf_tensor_info(embedding), "output.weight", at);
    while (ftell(f) % 32)
        putc(0, f);
    for (int64_t i = 0; i < g->ntensor; i++)
        put_data(f, &g->tensor[i]);
    put_data(f, gguf_tensor_info(embedding));
    int bad = fclose(f);
    session_end(&s);
    return bad != 0;
}
