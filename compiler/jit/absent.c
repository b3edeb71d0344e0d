/* absent.c: a bnc without LLVM. */
#include "jit/jit.h"

bool jit_built(void)
{
    return false;
}

const char *jit_version(void)
{
    return "no LLVM";
}

const Target *jit_target(Session *s, const char *name)
{
    (void)name;
    fail(s, (Loc){0},
         "this bnc was built without LLVM: build one with `make JIT=1`, which needs Debian's "
         "llvm-dev "
         "and clang (versions 14 to 19)");
}

Jit *jit_open(Session *s, const Module *m, const Target *target, const JitOptions *o)
{
    (void)s, (void)m, (void)target, (void)o;
    die("no LLVM");
}

const JitMachine *jit_machine(const char *name)
{
    (void)name;
    return NULL;
}

const JitMachine *jit_machine_at(int i)
{
    (void)i;
    return NULL;
}

void jit_write(Session *s, const Module *m, const Target *target, const JitMachine *machine,
               const EmitOptions *o, JitKind kind, Out *out)
{
    (void)s, (void)m, (void)target, (void)machine, (void)o, (void)kind, (void)out;
    die("no LLVM");
}
