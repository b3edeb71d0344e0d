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
    bool profile;          /* laps inside, and PREFIX_profile to read them by */
} EmitOptions;
/* emit.c: a planned module as one C file and its header. */
void emit_c(const Module *m, const Target *target, const EmitOptions *o, Out *out);
void emit_header(const Module *m, const EmitOptions *o, Out *out);

/* The runtime and its command line as one C file; what reads profiles only where asked for. */
void emit_runtime(Out *out, bool profile);
bool op_repeats(const Op *op); /* whether every thread does the whole op for itself */

/* sites.c: the places of a module that end laps (bn_profile.h), and their printing. */
typedef struct Sites Sites;
/* Adds what one call of op's kernel reads and writes, and its multiply-adds; see bn_site. */
struct bn_site;
void op_cost(const Op *op, struct bn_site *is);
Sites *sites_find(const Module *m);
int64_t sites_own_bytes(const Sites *t); /* of a thread's scratch: the plan's and the logs */
void put_sites(const Sites *t, const char *prefix, Out *o); /* before the functions */
void put_start(const Sites *t, const Func *f, Out *o);
void put_lap(const Sites *t, const Op *op, Out *o);

/* chunks.c: n kernels, each once, with what they need, in the order of their files, and the headers
 * that these ask for. */
void emit_kernels(Session *s, const Kernel **kernel, int n, Out *out);

/* targets.c: names of instruction sets, `before` the first and `between` each two. */
void isa_names(Out *o, uint32_t isa, const char *before, const char *between);
/* What stands between the two is compiled for instruction sets beyond the baseline. */
void emit_isa(uint32_t isa, Out *out);
void emit_isa_end(uint32_t isa, Out *out);

#endif
