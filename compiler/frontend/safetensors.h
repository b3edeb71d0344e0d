/* safetensors.h: the safetensors container, read from hostile bytes.
 *
 * Everything that a reader relies on is checked (header, types, shapes, offsets, holes, overlap,
 * names) before anything is returned. Tensor data point into the mapped file.
 *
 *     0        8                    8 + n
 *     +--------+--------------------+--------------------------------------+
 *     | n: u64 | header: JSON, n B  | data, each tensor behind the last    |
 *     +--------+--------------------+--------------------------------------+
 *     header: {"NAME": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
 *              "__metadata__": {"key": "text"}}         offsets count from the data's first byte
 *
 * Source of the format: the safetensors README (huggingface/safetensors, "Format").
 */
#ifndef BNC_SAFETENSORS_H
#define BNC_SAFETENSORS_H

#include "ir/ir.h"

/* Types: name, bytes a value, the format of bnc that reads it (FMT_COUNT: none). */
#define SAFE_TYPES(T)                                                                              \
    T(BOOL, 1, COUNT)                                                                              \
    T(U8, 1, COUNT)                                                                                \
    T(I8, 1, COUNT) T(F8_E5M2, 1, COUNT) T(F8_E4M3, 1, COUNT) T(I16, 2, COUNT) T(U16, 2, COUNT)    \
        T(F16, 2, F16) T(BF16, 2, BF16) T(I32, 4, COUNT) T(U32, 4, COUNT) T(F32, 4, F32)           \
            T(I64, 8, COUNT) T(U64, 8, COUNT) T(F64, 8, COUNT)
typedef enum SafeType {
#define SAFE_ENUM(name, bytes, fmt) SAFE_##name,
    SAFE_TYPES(SAFE_ENUM)
#undef SAFE_ENUM
        SAFE_TYPE_COUNT
} SafeType;
extern const char *const safe_type_name[SAFE_TYPE_COUNT];
extern const Fmt safe_type_fmt[SAFE_TYPE_COUNT];

enum { SAFE_RANK = 8 };
typedef struct SafeTensor {
    const char *name, *path; /* the file that holds it */
    SafeType type;
    int rank;
    int64_t dim[SAFE_RANK]; /* the last is contiguous */
    uint64_t begin, end;    /* byte offsets in the file's data */
    const uint8_t *data;
    bool used; /* for the reader of a checkpoint to mark */
} SafeTensor;

typedef struct Safetensors {
    Session *s;
    SafeTensor *tensor; /* by name; every name once */
    int64_t ntensor;
} Safetensors;

/* One file's bytes, which outlive the session's use of them. Every fault ends in fail(). */
Safetensors *safetensors_parse(Session *s, const char *path, const uint8_t *data, size_t size);
/* All tensors of a checkpoint's folder: its model.safetensors, or the files that its
 * model.safetensors.index.json names, which must lie in the folder itself. Mapped until
 * session_end. */
Safetensors *safetensors_open(Session *s, const char *dir);
SafeTensor *safetensors_find(const Safetensors *t, const char *name); /* NULL: absent */
const char *safe_shape(Session *s, const SafeTensor *t);              /* "256 x 64", for messages */

#endif
