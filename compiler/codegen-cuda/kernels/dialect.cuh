/* dialect.cuh: what makes the shaders of codegen-metal CUDA C++: nvcc's, clang's (-x cuda), and,
 * with the headers of tests/cuda, plain C++. Words that are no macros, as address spaces, cuda.c
 * translates.
 *
 * A threadgroup is a block, a simdgroup a warp. An entry point reads the step from the first bytes
 * of the state.
 */
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
static_assert(sizeof(ulong) == 8 && char(-1) < 0, "as in Metal");

#ifndef BN_SHARED
#define BN_SHARED(name) extern __shared__ float name[]
#endif
#define BN_TABLE static __device__ const

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
#define threadgroup_barrier(flags) __syncthreads()

static inline __device__ float clamp(float x, float lo, float hi)
{
    return fminf(fmaxf(x, lo), hi);
}

template <typename T> static inline __device__ T simd_sum(T v)
{
    for (int i = 16; i; i /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, i);
    return v;
}

static inline __device__ float simd_max(float v)
{
    for (int i = 16; i; i /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, i));
    return v;
}

template <typename T, typename U> static inline __device__ T as_type(U u)
{
    static_assert(sizeof(T) == sizeof(U), "as_type keeps the bits");
    T t;
    memcpy(&t, &u, sizeof t);
    return t;
}

/* layer by value: a launch is given a copy. */
#define BN_ENTRY(name)                                                                             \
    static inline __device__ void in_##name(uchar *state, const uchar *weights,                    \
                                            const bn_step &step, uint layer, float *tg, uint g,    \
                                            uint me);                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                          \
        name(uchar *state, const uchar *weights, uint layer)                                       \
    {                                                                                              \
        BN_SHARED(tg);                                                                             \
        in_##name(state, weights, *(const bn_step *)state, layer, tg, blockIdx.x, threadIdx.x);    \
    }                                                                                              \
    static inline __device__ void in_##name(uchar *state, const uchar *weights,                    \
                                            const bn_step &step, uint layer, float *tg, uint g,    \
                                            uint me)
