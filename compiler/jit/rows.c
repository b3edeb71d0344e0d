/* rows.c: the kernels that the build put inside (tools/rows.c): machine code and bitcode. */
#include <stdint.h>
#include <string.h>

#include "jit/lower.h"

/* The build lists the rows that it made, and gives the folder of their bitcode. */
#define BYTES(id, name)                                                                            \
    __asm__(".section .rodata\n.balign 16\n.globl row_" #id "_bc, row_" #id "_end\nrow_" #id       \
            "_bc:\n.incbin \"" JIT_FOLDER "/" name ".bc\"\nrow_" #id "_end:\n.byte 0\n.text\n");   \
    extern const unsigned char row_##id##_bc[], row_##id##_end[];
#define ROW_HERE(id, name) BYTES(id, name) extern const JitKernel row_##id[];
#define ROW_ELSEWHERE(id, name) BYTES(id, name)
#include "jit_rows.def"
#undef ROW_HERE
#undef ROW_ELSEWHERE

static const Row rows[] = {
#define ROW_HERE(id, name) {name, row_##id, row_##id##_bc, row_##id##_end},
#define ROW_ELSEWHERE(id, name) {name, NULL, row_##id##_bc, row_##id##_end},
#include "jit_rows.def"
#undef ROW_HERE
#undef ROW_ELSEWHERE
};
enum { NROW = sizeof rows / sizeof *rows };

const Row *row_at(int i)
{
    return i < NROW ? &rows[i] : NULL;
}

const Row *row_find(const char *name)
{
    for (int i = 0; i < NROW; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}
