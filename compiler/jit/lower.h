/* lower.h: what the files of the JIT share. */
#ifndef BNC_JIT_LOWER_H
#define BNC_JIT_LOWER_H

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "jit/jit.h"
#include "jit/row.h"

/* A module of LLVM being built. Works with typed (LLVM 14) and with opaque pointers: every pointer
 * is an i8 *, which the linker casts where a kernel's bitcode says otherwise. */
typedef struct Lower {
    Session *s;
    const Module *m;
    const Target *target;
    const EmitOptions *o;
    const Probes *probes; /* NULL: without --profile */
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef build;
    LLVMTargetDataRef layout;
    LLVMTypeRef byte, ptr, i32, i64, f32, none, size;
    struct Debug *debug; /* NULL: without lines */
    /* of the function that is being built */
    LLVMValueRef function, call, layer, part, rows;
} Lower;

/* lower.c */
void lower_start(Lower *l, LLVMModuleRef module, LLVMTargetDataRef layout);
void lower_end(Lower *l); /* frees the builder, not the module */
/* f and the functions of its layers; f's gets the name `symbol`. */
void lower_function(Lower *l, Func *f, const char *symbol);
LLVMValueRef lower_declare(Lower *l, const char *name, LLVMTypeRef type);
LLVMValueRef lower_call(Lower *l, const char *name, LLVMTypeRef result, LLVMValueRef *arg, int n);
LLVMValueRef lower_int(Lower *l, int64_t i);
LLVMTypeRef lower_type(LLVMValueRef function);
LLVMTypeRef lower_forward(Lower *l); /* of bn_forward */

/* constants.c: PREFIX_model, PREFIX_profile and what they point at. */
void lower_constants(Lower *l);

/* debug.c: lines of the module's text for every instruction. */
struct Debug *debug_start(Lower *l, const char *path);
void debug_function(Lower *l, LLVMValueRef function, const char *name, const Op *first);
void debug_at(Lower *l, const Op *op);
void debug_end(Lower *l);

/* rows.c: the rows in this bnc. */
typedef struct Row {
    const char *name;
    const JitKernel *kernel; /* machine code; NULL: of another machine */
    const unsigned char *bitcode, *end;
} Row;
const Row *row_find(const char *name); /* NULL: none */
const Row *row_at(int i);

/* llvm.c */
LLVMModuleRef llvm_bitcode(LLVMContextRef context, const Row *row);
void llvm_start(void); /* this machine's back end */
LLVMMemoryBufferRef llvm_object(LLVMModuleRef module, LLVMTargetMachineRef machine);
LLVMTargetMachineRef llvm_machine(Session *s, const char *triple, const char *cpu,
                                  const char *features);
/* Links the row's kernels in, where one is given, keeps `keep` alone as public, removes what these
 * do not need, and optimizes. features NULL: those of the row's kernels. */
void llvm_optimize(Session *s, LLVMModuleRef module, const Row *row, LLVMTargetMachineRef machine,
                   const char *const *keep, int n, const char *cpu, const char *features);

#endif
