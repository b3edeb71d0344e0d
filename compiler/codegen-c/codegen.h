/* codegen.h: the C backend: targets and the printer. */
#ifndef BNC_CODEGEN_C_H
#define BNC_CODEGEN_C_H

#include "codegen-c/columns.h"
#include "ir/ir.h"

/* targets.c. NULL where there is none of that name; "native" is this machine. */
const Target *target_find(Session *s, const char *name);
const Target *target_at(int i); /* the named ones; NULL after the last */

typedef enum WeightsMode { WEIGHTS_FILE, WEIGHTS_INCBIN, WEIGHTS_C } WeightsMode;
typedef struct EmitOptions {
    const char *prefix;    /* C identifier: the descriptor is PREFIX_model */
    const char *header;    /* file name of the generated header */
    const char *bnw_name;  /* what bn_open(NULL) opens with WEIGHTS_FILE */
    const char *bnw_path;  /* WEIGHTS_INCBIN: where the assembler finds it */
    const char *flags;     /* command line options, for the comment on top */
    const char *chat;      /* C that defines chat_template; NULL: the model has none */
    const uint8_t *bnw;    /* WEIGHTS_C: its bytes */
    WeightsMode weights;
    bool amalgamate;       /* runtime and command line inside, nothing to include or link */
} EmitOptions;
/* emit.c: a planned module as one C file and its header. */
void emit_c(const Module *m, const Target *target, const EmitOptions *o, Out *out);
void emit_header(const Module *m, const EmitOptions *o, Out *out);

void emit_runtime(Out *out); /* the runtime and its command line as one C file */

/* chunks.c: n kernels, each once, with what they need, in the order of their files, and the headers
 * that these ask for. */
void emit_kernels(Session *s, const Kernel **kernel, int n, Out *out);

/* emit.c: what stands between the two is compiled for instruction sets beyond the baseline. */
void emit_isa(uint32_t isa, Out *out);
void emit_isa_end(uint32_t isa, Out *out);

#endif
