/* jit.h: models without a C compiler: LLVM, through its C API, in place of cc. Optional: `make
 * JIT=1` puts it in; without it jit_built() is false and the others die.
 *
 * One idea: the C backend stays the only one. Its kernels were compiled when bnc was: to machine
 * code, which --jit calls, and to LLVM's bitcode, which --jit=O3, --emit=llvm and --emit=obj
 * specialise to the model's shapes, as a C compiler does. What is left to make at run time are the
 * functions that call them, from the arguments and constants of codegen-c (call.c, record.c).
 */
#ifndef BNC_JIT_H
#define BNC_JIT_H

#include "bn_profile.h"
#include "codegen-c/codegen.h"

bool jit_built(void);
const char *jit_version(void); /* "LLVM 14.0.6" */

/* ---- here and now ---- */

typedef struct JitOptions {
    const EmitOptions *emit; /* prefix, weights file, chat template, profile */
    bool specialize;         /* O3: kernels of the model's shapes for all functions, not for decode
                              * alone as soon as they are made */
    const char *cache;       /* the folder of objects made before */
    const char *text;        /* path of the module's text, for debuggers; NULL: none */
} JitOptions;
typedef struct Jit {
    const bn_model *model;
    const bn_profile *profile; /* NULL without --profile */
} Jit;
/* The best target whose kernels stand in this bnc and that this processor can run; for `name`, that
 * one, or fail(). */
const Target *jit_target(Session *s, const char *name);
/* Loads m, planned for a target of jit_target, into this process until the session ends. Functions
 * are made when they are first called; a thread may make a faster one meanwhile. */
Jit *jit_open(Session *s, const Module *m, const Target *target, const JitOptions *o);

/* ---- for elsewhere: llvm.c ---- */

/* Machines that --emit=llvm and obj write for by LLVM's own back ends: machines.def. */
typedef struct JitMachine {
    const char *name, *target, *row, *triple, *cpu, *what;
} JitMachine;
const JitMachine *jit_machine(const char *name); /* NULL: none */
const JitMachine *jit_machine_at(int i);         /* NULL after the last */
/* The module as an object, as bitcode or as LLVM's text, to be linked with the runtime. */
typedef enum JitKind { JIT_OBJECT, JIT_BITCODE, JIT_TEXT } JitKind;
void jit_write(Session *s, const Module *m, const Target *target, const JitMachine *machine,
               const EmitOptions *o, JitKind kind, Out *out);

#endif
