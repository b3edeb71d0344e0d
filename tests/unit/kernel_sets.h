/* kernel_sets.h: the kernels of this machine as tables for test_kernels.c, each file compiled for
 * the instruction sets it was written for. */

/* The pragmas that generated code has around a file: see emit_isa of codegen-c/emit.c. */
#define SETS_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define SETS_FOR(gcc_isa, isa)                                                                     \
    SETS_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define SETS_END SETS_PRAGMA(clang attribute pop)
#else
#define SETS_FOR(isa, clang_isa) SETS_PRAGMA(GCC push_options) SETS_PRAGMA(GCC target(isa))
#define SETS_END SETS_PRAGMA(GCC pop_options)
#endif

TABLE(, )
static const Kernels *sets[4] = {&kernels};
static int nset;

#if defined(__x86_64__)
#include <immintrin.h>
SETS_FOR("avx2,fma,f16c", "avx2,fma,f16c")
#include "../../compiler/codegen-c/kernels/avx2_linear.c"
#include "../../compiler/codegen-c/kernels/avx2_attention.c"
#include "../../compiler/codegen-c/kernels/avx2_q2.c"
TABLE(_avx2, _avx2)
SETS_END

static int find_sets(void)
{
    int n = 1;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[n++] = &kernels_avx2;
    return n;
}

#elif defined(__aarch64__)
#include <arm_neon.h>
#include "../../compiler/codegen-c/kernels/neon_float.c"
#include "../../compiler/codegen-c/kernels/neon_q2.c"
#define linear_q8_0_neon linear_q8_0
TABLE(_neon, _neon)
SETS_FOR("arch=armv8.2-a+dotprod", "dotprod")
#include "../../compiler/codegen-c/kernels/neon_dotprod.c"
TABLE(_neon, _dotprod)
SETS_END
SETS_FOR("arch=armv8.2-a+dotprod+i8mm", "dotprod,i8mm")
#include "../../compiler/codegen-c/kernels/neon_i8mm.c"
TABLE(_neon, _i8mm)
SETS_END

/* Run these under a processor that has them all (qemu-aarch64 -cpu max). */
static int find_sets(void)
{
    sets[1] = &kernels_neon;
    sets[2] = &kernels_dotprod;
    sets[3] = &kernels_i8mm;
    return 4;
}

#elif defined(__wasm_simd128__)
#include "../../compiler/codegen-c/kernels/wasm_simd128.c"
#define embed_f16_simd128 embed_f16
#define linear_bf16_simd128 linear_bf16
#define linear_q8_0_simd128 linear_q8_0
TABLE(_simd128, _simd128)

static int find_sets(void)
{
    sets[1] = &kernels_simd128;
    return 2;
}

#else
static int find_sets(void)
{
    return 1;
}
#endif
