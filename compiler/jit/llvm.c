/* llvm.c: the optimizer and the back ends: from a module to an object, bitcode or text. */
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/Linker.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <llvm/Config/llvm-config.h>

#include "jit/lower.h"

bool jit_built(void)
{
    return true;
}

const char *jit_version(void)
{
    return "LLVM " LLVM_VERSION_STRING;
}

/* ---- machines ---- */

static const JitMachine machines[] = {
#define MACHINE(name, target, row, triple, cpu, what) {name, target, row, triple, cpu, what},
#include "jit/machines.def"
#undef MACHINE
};
enum { NMACHINE = sizeof machines / sizeof *machines };

const JitMachine *jit_machine_at(int i)
{
    return i < NMACHINE ? &machines[i] : NULL;
}

const JitMachine *jit_machine(const char *name)
{
    for (int i = 0; i < NMACHINE; i++)
        if (!strcmp(machines[i].name, name))
            return &machines[i];
    return NULL;
}

void llvm_start(void)
{
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    LLVMInitializeNativeAsmParser();
}

LLVMTargetMachineRef llvm_machine(Session *s, const char *triple, const char *cpu,
                                  const char *features)
{
    LLVMTargetRef target;
    char *why = NULL;
    if (LLVMGetTargetFromTriple(triple, &target, &why)) {
        const char *text = name(s, why);
        LLVMDisposeMessage(why);
        fail(s, (Loc){0}, "this LLVM has no back end for %s: %s", triple, text);
    }
    return LLVMCreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelAggressive,
                                   LLVMRelocPIC, LLVMCodeModelDefault);
}

/* ---- rows ---- */

LLVMModuleRef llvm_bitcode(LLVMContextRef context, const Row *row)
{
    LLVMModuleRef m;
    size_t size = (size_t)(row->end - row->bitcode);
    LLVMMemoryBufferRef b =
        LLVMCreateMemoryBufferWithMemoryRange((const char *)row->bitcode, size, row->name, 0);
    if (LLVMParseBitcodeInContext2(context, b, &m))
        die("the bitcode of %s in this bnc cannot be read by %s", row->name, jit_version());
    LLVMDisposeMemoryBuffer(b);
    return m;
}

static void link_into(LLVMModuleRef m, LLVMModuleRef from)
{
    LLVMSetTarget(from, LLVMGetTarget(m));
    LLVMSetDataLayout(from, LLVMGetDataLayoutStr(m));
    if (LLVMLinkModules2(m, from))
        die("the modules of a model do not link");
}

/* The row's code beside the module's own: what is static in the row, but called here, must have a
 * name outside it to be found. */
static void link_row(LLVMModuleRef m, const Row *row)
{
    LLVMModuleRef from = llvm_bitcode(LLVMGetModuleContext(m), row);
    LLVMDeleteGlobal(LLVMGetNamedGlobal(from, "ROW"));
    for (LLVMValueRef f = LLVMGetFirstFunction(from); f; f = LLVMGetNextFunction(f)) {
        size_t len;
        if (!LLVMIsDeclaration(f) && LLVMGetNamedFunction(m, LLVMGetValueName2(f, &len)))
            LLVMSetLinkage(f, LLVMExternalLinkage);
    }
    link_into(m, from);
}

/* ---- optimization ---- */

static void check(LLVMErrorRef e, const char *what)
{
    if (e)
        die("%s: %s", what, LLVMGetErrorMessage(e));
}

static bool listed(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

static void set_attribute(LLVMValueRef f, const char *key, const char *value)
{
    LLVMRemoveStringAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, key,
                                     (unsigned)strlen(key));
    LLVMAddTargetDependentFunctionAttr(f, key, value);
}

/* What a function of the row says that it needs. */
static const char *row_features(Session *s, LLVMModuleRef m)
{
    for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f)) {
        LLVMAttributeRef a = LLVMGetStringAttributeAtIndex(
            f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, "target-features", 15);
        unsigned len;
        const char *text = a && !LLVMIsDeclaration(f) ? LLVMGetStringAttributeValue(a, &len) : NULL;
        if (text)
            return intern(s, text, len);
    }
    return "";
}

void llvm_optimize(Session *s, LLVMModuleRef m, const Row *row, LLVMTargetMachineRef machine,
                   const char *const *keep, int n, const char *cpu, const char *features)
{
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    char *why = NULL;
    if (row)
        link_row(m, row);
    if (!features)
        features = row_features(s, m);
    for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f)) {
        size_t len;
        const char *name = LLVMGetValueName2(f, &len);
        if (LLVMIsDeclaration(f))
            continue;
        if (!listed(keep, n, name))
            LLVMSetLinkage(f, LLVMInternalLinkage);
        set_attribute(f, "target-cpu", cpu);
        set_attribute(f, "target-features", features);
    }
    if (LLVMVerifyModule(m, LLVMReturnStatusAction, &why))
        die("the JIT made a broken module: %s", why);
    LLVMDisposeMessage(why);
    check(LLVMRunPasses(m, "globaldce,default<O3>", machine, o), "LLVM's passes");
    LLVMDisposePassBuilderOptions(o);
}

LLVMMemoryBufferRef llvm_object(LLVMModuleRef module, LLVMTargetMachineRef machine)
{
    LLVMMemoryBufferRef b = NULL;
    char *why = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &why, &b))
        die("LLVM cannot write an object: %s", why);
    return b;
}

/* ---- whole models for elsewhere ---- */

/* The functions pass doubles in registers, as the module says and lp64d has it; up to LLVM 14 the
 * header of the object is written from an option that the C API cannot set. e_flags is at byte 48
 * of ELF64; the float ABI stands in its bits 1 and 2, 2 is double (RISC-V ELF psABI). */
static void mark_double_floats(Out *out)
{
    enum { E_FLAGS = 48, FLOAT_ABI = 6, DOUBLE = 4 };
    CHECK(out->len > E_FLAGS);
    out->text[E_FLAGS] = (char)((out->text[E_FLAGS] & ~FLOAT_ABI) | DOUBLE);
}

static void put_result(LLVMModuleRef m, LLVMTargetMachineRef machine, JitKind kind, Out *out)
{
    if (kind == JIT_TEXT) {
        char *text = LLVMPrintModuleToString(m);
        put_bytes(out, text, strlen(text));
        LLVMDisposeMessage(text);
        return;
    }
    LLVMMemoryBufferRef b =
        kind == JIT_OBJECT ? llvm_object(m, machine) : LLVMWriteBitcodeToMemoryBuffer(m);
    put_bytes(out, LLVMGetBufferStart(b), LLVMGetBufferSize(b));
    LLVMDisposeMemoryBuffer(b);
}

void jit_write(Session *s, const Module *m, const Target *target, const JitMachine *machine,
               const EmitOptions *o, JitKind kind, Out *out)
{
    const Row *row = row_find(machine->row);
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
    LLVMInitializeAllAsmParsers();
    if (!row || row->bitcode == row->end)
        fail(s, (Loc){0}, "this bnc was built without the kernels of %s (JIT_ROWS of the Makefile)",
             machine->row);
    LLVMContextRef context = LLVMContextCreate();
    Lower l = {.s = s, .m = m, .target = target, .o = o};
    char *triple =
        machine->triple ? LLVMNormalizeTargetTriple(machine->triple) : LLVMGetDefaultTargetTriple();
    char *cpu = machine->cpu ? LLVMCreateMessage(machine->cpu) : LLVMGetHostCPUName();
    char *features = machine->cpu ? NULL : LLVMGetHostCPUFeatures();
    LLVMTargetMachineRef tm = llvm_machine(s, triple, cpu, features ? features : "");
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext(o->prefix, context);
    const char *keep[] = {format(s, "%s_model", o->prefix), format(s, "%s_profile", o->prefix)};
    l.probes = o->profile ? probes_find(m) : NULL;
    LLVMSetTarget(module, triple);
    lower_start(&l, module, LLVMCreateTargetDataLayout(tm));
    LLVMSetModuleDataLayout(module, l.layout);
    lower_constants(&l);
    for (Func *f = m->funcs; f; f = f->next)
        lower_function(&l, f, f->name);
    lower_end(&l);
    llvm_optimize(s, module, row, tm, keep, 2, cpu, features);
    put_result(module, tm, kind, out);
    if (kind == JIT_OBJECT && !strncmp(triple, "riscv64", 7))
        mark_double_floats(out);
    LLVMDisposeTargetData(l.layout);
    LLVMDisposeModule(module);
    LLVMDisposeTargetMachine(tm);
    LLVMContextDispose(context);
    if (features)
        LLVMDisposeMessage(features);
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(triple);
}
