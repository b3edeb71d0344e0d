/* frontend.h: texts and files in, modules out. */
#ifndef BNC_FRONTEND_H
#define BNC_FRONTEND_H

#include "ir/ir.h"

/* tir.y: the textual IR. Every error of a text is reported (up to a limit), then fail()s. */
Module *tir_parse_text(Session *s, const char *path, const char *bytes, size_t size);
Module *tir_read(Session *s, const char *path);

/* bind.c: architecture + file -> bound module. */
typedef struct BindOptions {
    const char
        *arch_path; /* --arch=FILE.tir; NULL: the embedded text for the file's architecture */
    const char *i2s_layout; /* x128 (NULL), arm64, row4 */
    int context;            /* --ctx=N; 0: the model's own, at most 4096 */
    int batch;              /* tokens in a prefill pass; 0: 64 */
    const char *kv;         /* what states declared `any` hold: f16 (NULL), int8, f32 */
} BindOptions;
Module *bind_model(Session *s, const char *path, const BindOptions *options);
/* Gives a module read from text the weights and tokenizer of the model file that it names (or of
 * `path`); the file must hash to what the text says. */
void bind_weights(Module *m, const char *path);
/* The tokenizer of a model file alone, whatever its architecture. */
const struct VocabSource *read_vocabulary(Session *s, const char *path);

#endif
