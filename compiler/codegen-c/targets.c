/* targets.c: the kernel table and the targets, in memory. "native" is the last target of the table
 * that this processor can run, compiled with -march=native. */
#include <string.h>

#include "bn_cpu.h"
#include "codegen-c/codegen.h"

static const Kernel kernels[] = {
#define KERNEL(op, weight, isa, form, mr, work, symbol)                                            \
    {OP_##op, FMT_##weight, isa, FORMS_##form, mr, TABLES_##work, work_##work, #symbol},
#include "codegen-c/kernels.def"
#undef KERNEL
};

#define ROWS kernels, (int)(sizeof kernels / sizeof *kernels)
static const Target table[] = {
#define TARGET(name, isa, cflags, what) {name, what, isa, cflags, ROWS},
#include "codegen-c/targets.def"
#undef TARGET
};
enum { NTARGET = sizeof table / sizeof *table };

const Target *target_find(Session *s, const char *name)
{
    for (int i = 0; i < NTARGET; i++)
        if (!strcmp(table[i].name, name))
            return &table[i];
    if (strcmp(name, "native"))
        return NULL;
    Target *t = NEW(s, Target);
    *t = (Target){"native", "this machine", bn_cpu(~(uint32_t)0), "-march=native", ROWS};
    return t;
}

const Target *target_at(int i)
{
    return i < NTARGET ? &table[i] : NULL;
}
