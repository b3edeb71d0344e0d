/* baseline.h: what `bnc bench --save` wrote, read again. */
#ifndef BNC_BASELINE_H
#define BNC_BASELINE_H

#include "ir/ir.h"

typedef struct BaselineRow {
    bool decode; /* else a prompt */
    int threads, size, tokens;
    double tokens_per_s, noise; /* above 0; at least 0: a part of tokens_per_s */
} BaselineRow;

/* The rows of a baseline's text, *n of them, in memory of the session; fail() with the place where
 * it is none. `path` is for messages. */
const BaselineRow *baseline_parse(Session *s, const char *path, const char *bytes, size_t size,
                                  size_t *n);

#endif
