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

#define ROWS kernels, (int)(sizeof kernels / sizeof *kernels)
static const Target table[] = {
#define TARGET(name, isa, cflags, what) {name, what, isa, cflags, ROWS},
#include "codegen-c/targets.def"
#undef TARGET
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

const Target *target_find(Session *s, const char *name)
{
    for (int i = 0; i < NTARGET; i++)
        if (!strcmp(table[i].name, name))
            return &table[i];
    if (strcmp(name, "native"))
        return NULL;
    Target *t = NEW(s, Target);
    *t = (Target){"native", "this machine", native_isa(), "-march=native", ROWS};
    return t;
}

const Target *target_at(int i)
{
    return i < NTARGET ? &table[i] : NULL;
}
