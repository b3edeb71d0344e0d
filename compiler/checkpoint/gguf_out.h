/* gguf_out.h: a GGUF file written in one stream (the container is drawn in frontend/gguf.h).
 *
 * In this order: keys and tensors in any mixture, gguf_begin, the bytes of every tensor in the
 * order of their declaration in pieces of any size, gguf_end. Nothing is kept of the data, so a
 * file may be larger than memory.
 */
#ifndef BNC_GGUF_OUT_H
#define BNC_GGUF_OUT_H

#include "frontend/gguf.h"

typedef struct GgufOut GgufOut;

GgufOut *gguf_create(Session *s, const char *path);

void gguf_put_u32(GgufOut *g, const char *key, uint32_t value);
void gguf_put_f32(GgufOut *g, const char *key, float value);
void gguf_put_bool(GgufOut *g, const char *key, bool value);
void gguf_put_text(GgufOut *g, const char *key, const char *text);
void gguf_put_i32s(GgufOut *g, const char *key, const int32_t *value, int64_t n);
void gguf_put_u8s(GgufOut *g, const char *key, const uint8_t *value, int64_t n);
void gguf_put_f32s(GgufOut *g, const char *key, const float *value, int64_t n);
/* An array of n strings, each given by its gguf_put_item before anything else. */
void gguf_put_texts(GgufOut *g, const char *key, int64_t n);
void gguf_put_item(GgufOut *g, const char *text);
void gguf_put_bytes(GgufOut *g, const char *bytes, size_t n); /* the same, of any bytes */

/* A key of another file, its bytes unchanged; general.alignment then holds for this file too. */
void gguf_put_value(GgufOut *g, const Gguf *from, const GgufValue *v);
/* What general.file_type says of a model whose matrices are in this format; -1: no number is known.
 */
int gguf_file_type(Fmt fmt);

/* A vector has one row. fail() where the format's blocks do not divide the shape. */
void gguf_put_tensor(GgufOut *g, const char *name, Fmt fmt, int64_t rows, int64_t cols);
/* The name and dimensions of another file's tensor, in a format whose blocks divide its shape. */
void gguf_put_like(GgufOut *g, const GgufTensor *t, Fmt fmt);
int64_t gguf_bytes(const GgufOut *g); /* of all tensors declared so far */

void gguf_begin(GgufOut *g);
void gguf_data(GgufOut *g, const void *bytes, size_t n);
void gguf_end(GgufOut *g); /* CHECKs that every tensor is complete, and commits */

#endif
