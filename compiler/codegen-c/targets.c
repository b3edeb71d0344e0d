/* targets.c: the kernel table and the targets, in memory. "native" is the last target of the table
 * that this processor can run, compiled with -march=native. */
#include <string.h>

#include "bn_cpu.h"
#include "codegen-c/codegen.h"

static const Kernel kernels[] = {
#define KERNEL(op, weight, isa, form, mr, work, symbol)                                            \
    {OP_##op, FMT_##weight, isa, FORMS_##form, mr, TABLES_##work, work_##work, #symbol, 0},
#include "codegen-c/kernels.def"
#undef KERNEL
};

static const LayoutRule layouts[] = {
#define LAYOUT(from, to, isa, megabytes) {FMT_##from, FMT_##to, isa, megabytes},
#include "codegen-c/layouts.def"
#undef LAYOUT
};

#define LENGTH(table) (int)(sizeof table / sizeof *table)
#define ROWS kernels, LENGTH(kernels), layouts, LENGTH(layouts)
static const struct Entry {
    Target target;
    const char *parts; /* NULL: a machine of its own */
} table[] = {
#define TARGET(name, isa, cflags, what)                                                            \
    {{name, what, isa, cflags, ROWS, NULL, 0, DEVICE_NONE}, NULL},
#define TARGETS(name, parts, cflags, what)                                                         \
    {{name, what, 0, cflags, ROWS, NULL, 0, DEVICE_NONE}, parts},
#include "codegen-c/targets.def"
#undef TARGET
#undef TARGETS
};
enum { NTARGET = sizeof table / sizeof *table };

static const Target *named(const char *name, size_t len)
{
    for (int i = 0; i < NTARGET; i++)
        if (strlen(table[i].target.name) == len && !strncmp(table[i].target.name, name, len))
            return &table[i].target;
    return NULL;
}

static const Target *with_parts(Session *s, const struct Entry *e)
{
    Target *t = NEW(s, Target);
    *t = e->target;
    for (const char *at = e->parts; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        const Target *part = named(at, strcspn(at, " "));
        CHECK(part);
        t->part = grow(s, t->part, (size_t)t->npart, sizeof *t->part);
        t->part[t->npart++] = part;
        t->isa = part->isa;
    }
    return t;
}

const Target *target_find(Session *s, const char *name)
{
    const Target *t = named(name, strlen(name));
    if (t) {
        const struct Entry *e = (const struct Entry *)(const void *)t; /* its first member */
        return e->parts ? with_parts(s, e) : t;
    }
    if (strcmp(name, "native"))
        return NULL;
    Target *native = NEW(s, Target);
    *native = (Target){"native", "this machine", bn_cpu(~(uint32_t)0), "-march=native", ROWS, NULL,
                       0,        DEVICE_NONE};
    return native;
}

const Target *target_at(int i)
{
    return i < NTARGET ? &table[i].target : NULL;
}

/* ---- instruction sets in C ---- */

void isa_names(Out *o, uint32_t isa, const char *before, const char *between)
{
    const char *glue = before;
#define ISA_PUT(name, bit, text)                                                                   \
    if (isa & BN_ISA_##name) {                                                                     \
        put(o, "%s" text, glue);                                                                   \
        glue = between;                                                                            \
    }
    BN_ISAS(ISA_PUT)
#undef ISA_PUT
}

/* Bits that every compiler for that architecture has on are named, but not asked for. */
#define BASELINE ((uint32_t)BN_ISA_NEON)
#define AARCH64 (BN_ISA_DOTPROD | BN_ISA_I8MM)

/* For AArch64, gcc adds "+name" to what the command line gives; it has the intrinsics from Armv8.2
 * on, which is asked for where the command line says less: "arch" would lose what it says more. */
static void put_gcc_isa(Out *o, uint32_t isa)
{
    if (!(isa & AARCH64)) {
        isa_names(o, isa, "#pragma GCC target(\"", ",");
        put(o, "\")\n");
        return;
    }
    isa_names(o, isa, "#ifdef __ARM_FEATURE_DOTPROD\n#pragma GCC target(\"+", "+");
    isa_names(o, isa, "\")\n#else\n#pragma GCC target(\"arch=armv8.2-a+", "+");
    put(o, "\")\n#endif\n");
}

void emit_isa(uint32_t isa, Out *o)
{
    isa &= ~BASELINE;
    if (!isa)
        return;
    put(o, "#if defined(__clang__)\n#pragma clang attribute push( \\\n    __attribute__((target(");
    isa_names(o, isa, "\"", ",");
    put(o,
        "\"))), \\\n    apply_to = function)\n#elif defined(__GNUC__)\n#pragma GCC push_options\n");
    put_gcc_isa(o, isa);
    put(o, "#endif\n\n");
}

void emit_isa_end(uint32_t isa, Out *o)
{
    if (isa & ~BASELINE)
        put(o, "#if defined(__clang__)\n#pragma clang attribute pop\n#elif defined(__GNUC__)\n"
               "#pragma GCC pop_options\n#endif\n\n");
}
