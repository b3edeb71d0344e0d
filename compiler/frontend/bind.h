/* bind.h: what the files that bind an architecture to a model file share (bind.c, keys.c,
 * rope.c). */
#ifndef BNC_BIND_H
#define BNC_BIND_H

#include "frontend/frontend.h"
#include "frontend/gguf.h"

typedef struct Bind {
    Session *s;
    Module *m;
    Gguf *g;
    const char *path, *arch;
    Fmt kv; /* of states that are declared `any` */
    Loc file;
    bool *used;           /* by tensor index */
    const Weight *absent; /* an optional weight that the file lacks */
} Bind;

/* "{arch}.block_count" -> "bitnet-b1.58.block_count"; {i} -> the layer. */
const char *bind_key(const Bind *b, const char *pattern, int layer);
/* err()s for every key of the file that asks for what the module's graph does not compute. */
void bind_check_keys(Bind *b);
/* rope.c. Whether a rope_table of the module takes this key, behind "{arch}.", from the file. */
bool bind_rope_key(const Bind *b, const char *suffix);
/* When numbers are bound: gives rope_tables with {scaling = file} the file's frequencies, and marks
 * the tensors that hold some as used. fail() where it asks for what is not computed. */
void bind_rope(Bind *b);

#endif
