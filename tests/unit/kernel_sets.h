/* kernel_sets.h: the kernels of this machine as tables for test_kernels.c. */
#include "../kernels/machine.h"

TABLE(, )
static const Kernels *sets[4] = {&kernels};
static int nset;

#if defined(__x86_64__)
#include <immintrin.h>
FOR("avx2,fma,f16c")
#include "../../compiler/codegen-c/kernels/avx2_linear.c"
#include "../../compiler/codegen-c/kernels/avx2_q2.c"
TABLE(_avx2, _avx2)
FOR_END

static int find_sets(void)
{
    int n = 1;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[n++] = &kernels_avx2;
    return n;
}

#elif defined(__aarch64__)
#define linear_q8_0_neon linear_q8_0
TABLE(_neon, _neon)
FOR(DOTPROD_TARGET)
TABLE(_neon, _dotprod)
FOR_END
FOR(I8MM_TARGET)
TABLE(_neon, _i8mm)
FOR_END

/* Run these under a processor that has them all (qemu-aarch64 -cpu max). */
static int find_sets(void)
{
    sets[1] = &kernels_neon;
    sets[2] = &kernels_dotprod;
    sets[3] = &kernels_i8mm;
    return 4;
}

#elif defined(__wasm_simd128__)
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
