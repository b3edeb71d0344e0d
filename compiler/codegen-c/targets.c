/* targets.c: the kernel table and the targets, in memory. "native" is the last target of the table
 * that this processor can run, compiled with -march=native. */
#include <string.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"

/* ---- scratch that kernels ask for: bytes a thread, for n rows, k columns, t tokens ---- */

#define work_NONE NULL
#define work_LUT3 NULL
enum { TABLES_NONE = false, TABLES_LUT3 = true, TABLES_FR4 = false, TABLES_FR3 = false };

/* avx2_fr4.c, whose head pictures it: sums and turned activations, then a panel of rows that takes
 * 64 bytes a row and as many for each 16 tokens, of two matrices at once, up to FR4_PANEL. */
static int64_t work_FR4(int64_t n, int64_t k, int64_t t)
{
    const int64_t fixed = 8 * 81 * 32 + 128 * 16, most = 800 * 1024;
    int64_t tiles = t < 64 ? (t + 15) / 16 : 4, panel = 2 * ((n + 31) / 32 * 32) * 64 * (1 + tiles);
    (void)k;
    return fixed + (panel < most ? panel : most);
}

/* avx2_fr3.c: that, or the 32 bytes a group of lut3 for each of at most 7 tokens. */
static int64_t work_FR3(int64_t n, int64_t k, int64_t t)
{
    int64_t few = (t < 7 ? t : 7) * ((k + 23) / 24) * 256, many = t < 8 ? 0 : work_FR4(n, k, t);
    return few > many ? few : many;
}

static const Kernel kernels[] = {
#define KERNEL(op, weight, isa, form, mr, work, symbol)                                            \
    {OP_##op, FMT_##weight, isa, FORMS_##form, mr, TABLES_##work, work_##work, #symbol},
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
#define TARGET(name, isa, cflags, what) {{name, what, isa, cflags, ROWS, NULL, 0}, NULL},
#define TARGETS(name, parts, cflags, what) {{name, what, 0, cflags, ROWS, NULL, 0}, parts},
#include "codegen-c/targets.def"
#undef TARGET
#undef TARGETS
};
enum { NTARGET = sizeof table / sizeof *table };

static uint32_t native_isa(void)
{
    uint32_t isa = 0;
#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
    __builtin_cpu_init();
    /* every processor with AVX2 and FMA has F16C, which gcc 12 cannot ask for */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        isa = AVX2_SET;
#endif
    return isa;
}

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
    *native = (Target){"native", "this machine", native_isa(), "-march=native", ROWS, NULL, 0};
    return native;
}

const Target *target_at(int i)
{
    return i < NTARGET ? &table[i].target : NULL;
}
