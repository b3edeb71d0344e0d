/* gguf.h: the GGUF container, read from hostile bytes.
 *
 * gguf_parse checks everything that a reader relies on (lengths, types, offsets, extents, overlap,
 * names), so no function below can fail for the file's sake. Keys, texts and tensor data point
 * into the file; nothing of it is copied but names.
 *
 *     "GGUF" | version u32 | tensors u64 | keys u64
 *     key:     name | type u32 | value             string: length u64 | bytes
 *     tensor:  name | rank u32 | dims u64 x rank | type u32 | offset u64
 *     padding to general.alignment (32), tensor data
 */
#ifndef BNC_GGUF_H
#define BNC_GGUF_H

#include "ir/ir.h"

/* Types of metadata values: id, name, bytes (0: varies). */
#define GGUF_VALUE_TYPES(T)                                                                        \
    T(U8, "u8", 1)                                                                                 \
    T(I8, "i8", 1)                                                                                 \
    T(U16, "u16", 2) T(I16, "i16", 2) T(U32, "u32", 4) T(I32, "i32", 4) T(F32, "f32", 4)           \
        T(BOOL, "bool", 1) T(STRING, "string", 0) T(ARRAY, "array", 0) T(U64, "u64", 8)            \
            T(I64, "i64", 8) T(F64, "f64", 8)
typedef enum GgufValueType {
#define GGUF_ENUM(name, text, bytes) GGUF_##name,
    GGUF_VALUE_TYPES(GGUF_ENUM)
#undef GGUF_ENUM
        GGUF_TYPES
} GgufValueType;
extern const char *const gguf_value_type_name[GGUF_TYPES];
extern const uint8_t gguf_value_bytes[GGUF_TYPES];
/* A little-endian number of 1 to 8 bytes, anywhere. */
static inline uint64_t gguf_load(const uint8_t *p, int bytes)
{
    uint64_t x = 0;
    for (int i = bytes - 1; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

/* A scalar is an array of one: `type` is then the type of its only item, `is_array` false. */
typedef struct GgufValue {
    const char *key;
    GgufValueType type; /* of the items; never ARRAY */
    bool is_array;
    int64_t count;
    const uint8_t *data;  /* the items; of a single string its bytes */
    const size_t *string; /* array of strings: where the bytes of each begin in the file */
} GgufValue;

typedef struct GgufTensor {
    Tensor t; /* fmt FMT_COUNT: a type that bnc cannot decode */
    int64_t id;
    const char *type;
    int rank;
    int64_t dim[4]; /* dim[0] is contiguous: t.cols; t.rows is the product of the others */
    uint64_t at;    /* byte offset of the data in the file, or its part */
} GgufTensor;

typedef struct Gguf {
    Session *s;
    Loc loc; /* the file, for messages */
    const uint8_t *data;
    size_t size;
    unsigned version;
    uint64_t alignment;
    GgufValue *value; /* in the order of the file */
    GgufTensor *tensor;
    int64_t nvalue, ntensor;
    const GgufValue **value_by_name;
    const GgufTensor **tensor_by_name;
    uint64_t hash;
    bool hashed;
    struct Gguf **part; /* of a split model; part[0] has the metadata */
    int nparts;
    size_t total; /* bytes of all parts */
} Gguf;

/* Maps and parses; unmapped at session_end. Every fault of the file ends in fail(). A part of a
 * split model (split.count above 1) opens them all, as one model (gguf_open.c). */
Gguf *gguf_open(Session *s, const char *path);
/* The path of part i of a split model from that of any part, NAME-00002-of-00003.gguf; NULL: no
 * such name, or i is not below the count in it. */
const char *gguf_part_path(Session *s, const char *path, int64_t i);
/* The same over bytes that outlive the session's use of them; need not be aligned. */
Gguf *gguf_parse(Session *s, const char *path, const uint8_t *data, size_t size);
/* Reads every I2_S tensor as `fmt`: I2_S (x128), I2_S_ARM64 or I2_S_ROW4. fail() where a tensor's
 * shape has no such layout. */
void gguf_i2s_layout(Gguf *g, Fmt fmt);
/* i2s.c: which layout the weights were packed in, by statistics. own, best: how far zeros and norms
 * depend on each other in `layout` and in `fits`, the layout that fits best; chance alone gives 1. Looks
 * at about `most` weights. sure: packed as `layout`; other: packed as `fits`; neither: undecided. */
typedef struct I2sEvidence {
    double own, best;
    Fmt fits;
    bool sure, other;
} I2sEvidence;
I2sEvidence gguf_i2s_evidence(const Gguf *g, Fmt layout, int64_t most);
uint64_t gguf_hash(Gguf *g); /* XXH64 of the file; of parts, each seeded with the last */

/* ---- metadata (gguf_get.c) ---- */

const GgufValue *gguf_get(const Gguf *g, const char *key); /* NULL: absent */
/* False where the key is absent or not a scalar of that kind; integers also where they exceed
 * int64_t. Texts are not NUL-terminated and may hold any bytes. */
bool gguf_int(const Gguf *g, const char *key, int64_t *out);
bool gguf_float(const Gguf *g, const char *key, double *out);
bool gguf_bool(const Gguf *g, const char *key, bool *out);
bool gguf_string(const Gguf *g, const char *key, const char **text, size_t *len);

int64_t gguf_key_count(const Gguf *g);
const GgufValue *gguf_key_at(const Gguf *g, int64_t i);
/* Item i of a value; i < count, else our mistake. False: not of that kind. */
bool gguf_int_at(const GgufValue *v, int64_t i, int64_t *out); /* integers and bools */
bool gguf_float_at(const GgufValue *v, int64_t i, double *out);
/* Items of an array of strings, -1 where v is not one; 0 also for an empty array of any type. */
int64_t gguf_string_count(const GgufValue *v);
/* String i of an array, or with i = 0 a single string. */
const char *gguf_string_at(const Gguf *g, const GgufValue *v, int64_t i, size_t *len);
/* Whole arrays, copied; NULL and *n = 0 where the key is absent. fail() where the items are of
 * another kind or beyond 32 bits. */
const float *gguf_floats(const Gguf *g, const char *key, int64_t *n);
const int32_t *gguf_ints(const Gguf *g, const char *key, int64_t *n);

/* ---- tensors (gguf_get.c) ---- */

int64_t gguf_tensor_count(const Gguf *g);
const Tensor *gguf_tensor_at(const Gguf *g, int64_t i);          /* in the order of the file */
const Tensor *gguf_tensor_find(const Gguf *g, const char *name); /* NULL: absent */
/* What the file says beyond `t`, which must be a pointer that these functions gave. */
const GgufTensor *gguf_tensor_info(const Tensor *t);
const char *gguf_type_name(const Gguf *g, const Tensor *t);

#endif
