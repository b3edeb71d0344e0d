/* columns.h: what the words in the columns `isa` and `work` of kernels.def and files.def mean. */
#ifndef BNC_COLUMNS_H
#define BNC_COLUMNS_H

#include "bn_model.h"

/* ---- isa: one word, 0 or a set of this list ---- */

#define AVX2_SET (BN_ISA_AVX2 | BN_ISA_FMA | BN_ISA_F16C | BN_ISA_BMI)
#define AVXVNNI_SET (AVX2_SET | BN_ISA_AVX_VNNI)
#define AVX512_SET (AVX2_SET | BN_ISA_AVX512 | BN_ISA_AVX512_VNNI)
#define AMX_SET (AVX512_SET | BN_ISA_AMX_INT8)
#define NEON_SET BN_ISA_NEON
#define DOTPROD_SET (NEON_SET | BN_ISA_DOTPROD)
#define I8MM_SET (DOTPROD_SET | BN_ISA_I8MM)
#define SIMD128_SET BN_ISA_SIMD128

/* ---- work: bytes a thread, for n rows, k columns, up to t tokens ---- */

#define work_NONE NULL
#define work_LUT3 NULL
enum {
    TABLES_NONE,
    TABLES_LUT3,
    TABLES_FR4 = 0,
    TABLES_FR3 = 0,
    TABLES_AMX = 0,
    TABLES_SCREEN = 0
};

/* avx2_fr4.c, whose head pictures it: sums and turned activations, then a panel of rows that takes
 * 64 bytes a row and as many for each 16 tokens, of two matrices at once, up to FR4_PANEL. */
static inline int64_t work_FR4(int64_t n, int64_t k, int64_t t)
{
    const int64_t fixed = 8 * 81 * 32 + 128 * 16, most = 800 * 1024;
    int64_t tiles = t < 64 ? (t + 15) / 16 : 4, panel = 2 * ((n + 31) / 32 * 32) * 64 * (1 + tiles);
    (void)k;
    return fixed + (panel < most ? panel : most);
}

/* avx2_fr3.c: that, or the 32 bytes a group of lut3 for each of at most 8 tokens. */
static inline int64_t work_FR3(int64_t n, int64_t k, int64_t t)
{
    int64_t few = (t < 8 ? t : 8) * ((k + 23) / 24) * 256, many = t < 9 ? 0 : work_FR4(n, k, t);
    return few > many ? few : many;
}

/* amx.c, whose head pictures it. */
static inline int64_t work_AMX(int64_t n, int64_t k, int64_t t)
{
    (void)n;
    return 32 * 32 * 4 + (t + 15) / 16 * 64 + (k + 127) / 128 * 128 * 32;
}

/* scalar_head.c: a bn_screen and a row of int8 behind it. */
static inline int64_t work_SCREEN(int64_t n, int64_t k, int64_t t)
{
    (void)n, (void)t;
    return (BN_TOPK_MAX + 16) * (int64_t)sizeof(float) + (k + 127) / 128 * 128;
}

#endif
