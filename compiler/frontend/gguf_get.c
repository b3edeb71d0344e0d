/* gguf_get.c: what a parsed GGUF file says.
 *
 * One idea: gguf_parse has checked every byte that is read here, so a getter only returns whether
 * the file has such a thing and what it is. Lookups are binary searches in the sorted names.
 */
#include "frontend/gguf.h"

#include <string.h>

const char *const gguf_value_type_name[GGUF_TYPES] = {
#define GGUF_NAME(name, text, bytes) text,
    GGUF_VALUE_TYPES(GGUF_NAME)
#undef GGUF_NAME
};
const uint8_t gguf_value_bytes[GGUF_TYPES] = {
#define GGUF_BYTES(name, text, bytes) bytes,
    GGUF_VALUE_TYPES(GGUF_BYTES)
#undef GGUF_BYTES
};

/* ---- metadata ---- */

const GgufValue *gguf_get(const Gguf *g, const char *key)
{
    int64_t lo = 0, hi = g->nvalue;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int order = strcmp(key, g->value_by_name[mid]->key);
        if (order == 0)
            return g->value_by_name[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

bool gguf_int_at(const GgufValue *v, int64_t i, int64_t *out)
{
    CHECK(i >= 0 && i < v->count);
    int bytes = gguf_value_bytes[v->type];
    if (bytes == 0 || v->type == GGUF_F32 || v->type == GGUF_F64)
        return false;
    uint64_t x = gguf_load(v->data + i * bytes, bytes);
    switch (v->type) {
    case GGUF_I8:
        *out = (int8_t)x;
        return true;
    case GGUF_I16:
        *out = (int16_t)x;
        return true;
    case GGUF_I32:
        *out = (int32_t)x;
        return true;
    default:
        *out = (int64_t)x;
        return v->type != GGUF_U64 || x <= INT64_MAX;
    }
}

bool gguf_float_at(const GgufValue *v, int64_t i, double *out)
{
    CHECK(i >= 0 && i < v->count);
    float single;
    if (v->type == GGUF_F64) {
        memcpy(out, v->data + 8 * i, 8);
        return true;
    }
    if (v->type != GGUF_F32)
        return false;
    memcpy(&single, v->data + 4 * i, 4);
    *out = (double)single;
    return true;
}

static const GgufValue *scalar(const Gguf *g, const char *key)
{
    const GgufValue *v = gguf_get(g, key);
    return v && !v->is_array ? v : NULL;
}

bool gguf_int(const Gguf *g, const char *key, int64_t *out)
{
    const GgufValue *v = scalar(g, key);
    return v && v->type != GGUF_BOOL && gguf_int_at(v, 0, out);
}

bool gguf_float(const Gguf *g, const char *key, double *out)
{
    const GgufValue *v = scalar(g, key);
    return v && gguf_float_at(v, 0, out);
}

bool gguf_bool(const Gguf *g, const char *key, bool *out)
{
    const GgufValue *v = scalar(g, key);
    if (v && v->type == GGUF_BOOL)
        *out = v->data[0] != 0;
    return v && v->type == GGUF_BOOL;
}

bool gguf_string(const Gguf *g, const char *key, const char **text, size_t *len)
{
    const GgufValue *v = scalar(g, key);
    if (!v || v->type != GGUF_STRING)
        return false;
    *text = gguf_string_at(g, v, 0, len);
    return true;
}

int64_t gguf_key_count(const Gguf *g)
{
    return g->nvalue;
}

const GgufValue *gguf_key_at(const Gguf *g, int64_t i)
{
    CHECK(i >= 0 && i < g->nvalue);
    return &g->value[i];
}

int64_t gguf_string_count(const GgufValue *v)
{
    bool strings = v->is_array && (v->type == GGUF_STRING || v->count == 0);
    return strings ? v->count : -1;
}

const char *gguf_string_at(const Gguf *g, const GgufValue *v, int64_t i, size_t *len)
{
    CHECK(v->type == GGUF_STRING && i >= 0 && i < v->count);
    const uint8_t *text = v->string ? g->data + v->string[i] : v->data;
    *len = (size_t)gguf_load(text - 8, 8);
    return (const char *)text;
}

/* The array of a key; NULL where absent. */
static const GgufValue *array(const Gguf *g, const char *key, int64_t *n)
{
    const GgufValue *v = gguf_get(g, key);
    *n = v ? v->count : 0;
    if (v && !v->is_array)
        fail(g->s, g->loc, "%s is a single %s; an array is expected: convert the model again", key,
             gguf_value_type_name[v->type]);
    return v;
}

_Noreturn static void wrong_item(const Gguf *g, const GgufValue *v, int64_t i, const char *wanted)
{
    fail(g->s, g->loc, "%s is an array of %s, and item %lld is not %s: convert the model again",
         v->key, gguf_value_type_name[v->type], (long long)i, wanted);
}

const float *gguf_floats(const Gguf *g, const char *key, int64_t *n)
{
    const GgufValue *v = array(g, key, n);
    float *out = v ? NEW_ARRAY(g->s, float, *n) : NULL;
    for (int64_t i = 0; i < *n; i++) {
        double x;
        if (!gguf_float_at(v, i, &x))
            wrong_item(g, v, i, "a float");
        out[i] = (float)x;
    }
    return out;
}

const int32_t *gguf_ints(const Gguf *g, const char *key, int64_t *n)
{
    const GgufValue *v = array(g, key, n);
    int32_t *out = v ? NEW_ARRAY(g->s, int32_t, *n) : NULL;
    for (int64_t i = 0; i < *n; i++) {
        int64_t x;
        if (!gguf_int_at(v, i, &x) || x < INT32_MIN || x > INT32_MAX)
            wrong_item(g, v, i, "an integer of 32 bits");
        out[i] = (int32_t)x;
    }
    return out;
}

/* ---- tensors ---- */

int64_t gguf_tensor_count(const Gguf *g)
{
    return g->ntensor;
}

const Tensor *gguf_tensor_at(const Gguf *g, int64_t i)
{
    CHECK(i >= 0 && i < g->ntensor);
    return &g->tensor[i].t;
}

const Tensor *gguf_tensor_find(const Gguf *g, const char *key)
{
    int64_t lo = 0, hi = g->ntensor;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int order = strcmp(key, g->tensor_by_name[mid]->t.name);
        if (order == 0)
            return &g->tensor_by_name[mid]->t;
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const GgufTensor *gguf_tensor_info(const Tensor *t)
{
    return (const GgufTensor *)(const void *)t; /* its first member */
}

const char *gguf_type_name(const Gguf *g, const Tensor *t)
{
    const GgufTensor *x = gguf_tensor_info(t);
    CHECK(x >= g->tensor && x < g->tensor + g->ntensor);
    return t->fmt != FMT_COUNT ? fmt_info[t->fmt].name : x->type;
}
