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

#ifdef __NVCC__
#pragma nv_diag_suppress 177 /* a model uses some of these functions */
#endif

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
static_assert(sizeof(ulong) == 8 && char(-1) < 0, "as in Metal");

#ifndef BN_SHARED
#define BN_SHARED(name) extern __shared__ float name[]
#endif
#define BN_TABLE static __device__ const

/* Blocks of a decode step, which run at once: the multiprocessors of an H100 or H200. */
#ifndef BN_BLOCKS
#define BN_BLOCKS 132
#endif

/* Cards that share a pass: see cards.cu. */
#ifndef BN_CARDS
#define BN_CARDS 1
#endif

/* What a pass is told: the position of its first token, how many tokens there are, how many of the
 * best words are wanted; which card this is; how far the cards' states stand from its own, and what
 * the host has of its beginning, in bytes; where in the host's memory hidden values and logits
 * belong. */
struct bn_step {
    int pos, ntok, best;
    uint card;
    long away[BN_CARDS], host;
    float *hidden, *logits;
};

/* Positions that attention takes one behind the other at most; others are added up with them. */
#ifndef BN_CHUNK
#define BN_CHUNK 512
#endif

#ifndef BN_FAKE_CUDA
/* Weights on their way to shared memory (PTX's mbarrier and cp.async.bulk): a mark counts the bytes
 * that arrive. */
static inline __device__ uint shared_at(const void *p)
{
    return (uint)__cvta_generic_to_shared(p);
}
static inline __device__ void part_mark(ulong *mark)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_at(mark)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
static inline __device__ void part_expect(ulong *mark, uint bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(mark)),
                 "r"(bytes)
                 : "memory");
}
static inline __device__ void part_copy(void *to, const void *from, uint bytes, ulong *mark)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(shared_at(to)),
                 "l"(from), "r"(bytes), "r"(shared_at(mark))
                 : "memory");
}
static inline __device__ void part_wait(ulong *mark, uint parity)
{
    uint there;
    do
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
                     "selp.u32 %0, 1, 0, p;}"
                     : "=r"(there)
                     : "r"(shared_at(mark)), "r"(parity)
                     : "memory");
    while (!there);
}
/* Prefetches to the L2 cache: a line; bytes, of 16 each. */
static inline __device__ void bring_line(const void *from)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}
static inline __device__ void bring_bytes(const void *from, uint bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
}

/* The matrix units (PTX's cp.async, ldmatrix, mma): 16 bytes to shared memory, later; all that was
 * asked for is there, for the thread that asked; 4 matrices of 8 rows x 16 bytes, lane i naming row
 * i % 8 of matrix i / 8, of which a lane gets 4 bytes i % 4 of row i / 4; sums [16 x 8] += a [16 x
 * 32] b [32 x 8]. */
static inline __device__ void tile_copy(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_at(to)), "l"(from)
                 : "memory");
}
static inline __device__ void tile_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
static inline __device__ void tile_arrived()
{
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}
static inline __device__ void tile_load(uint *to, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_at(row))
                 : "memory");
}
static inline __device__ void tile_multiply(int *sums, const uint *a, const uint *b)
{
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* All blocks of all cards meet: *count, which each card has, has reached `all` when each has come.
 * What they wrote before is seen behind it. In two steps: a block has come, and does meanwhile what
 * needs no other; all have. grid_come: its threads have met already. */
static inline __device__ void grid_come(const bn_step &step, uint *count)
{
    if (threadIdx.x)
        return;
    if (BN_CARDS == 1) {
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
        return;
    }
    __threadfence_system();
    for (int c = 0; c < BN_CARDS; c++)
        asm volatile("red.relaxed.sys.global.add.u32 [%0], 1;" ::"l"((uchar *)count + step.away[c])
                     : "memory");
}
static inline __device__ void grid_arrive(const bn_step &step, uint *count)
{
    __syncthreads();
    grid_come(step, count);
}
static inline __device__ uint grid_count(const uint *count)
{
    uint seen;
    if (BN_CARDS == 1)
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory");
    else
        asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(count) : "memory");
    return seen;
}
/* Another warp looks than the one that has said that its block has come, and may still ask. */
static inline __device__ void grid_wait(const uint *count, uint all)
{
    while (threadIdx.x == 32 && int(grid_count(count) - all) < 0)
        continue;
    __syncthreads();
}
/* v, of which the compiler knows nothing: what it computes from it, it does where it is used, and
 * keeps in no register from the kernel's beginning. */
static inline __device__ uint afresh(uint v)
{
    asm volatile("" : "+r"(v));
    return v;
}
/* A pointer that leads to shared memory: loads need not find out. */
static inline __device__ const uchar *in_shared(const uchar *p)
{
    return (const uchar *)__cvta_shared_to_generic(__cvta_generic_to_shared(p));
}
#endif

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

/* simd_max of values of 0 or more, whose bits are in the order of the values. */
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 800
static inline __device__ int simd_sum(int v)
{
    return __reduce_add_sync(0xffffffffu, v);
}
static inline __device__ float simd_most(float v)
{
    return __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(v)));
}
#else
static inline __device__ float simd_most(float v)
{
    return simd_max(v);
}
#endif

template <typename T, typename U> static inline __device__ T as_type(U u)
{
    static_assert(sizeof(T) == sizeof(U), "as_type keeps the bits");
    T t;
    memcpy(&t, &u, sizeof t);
    return t;
}

/* layer by value: a launch is given a copy. A light one uses so few registers that a
 * multiprocessor's 2048 threads can all run it. */
#define BN_ENTRY(name) BN_ENTRY_OF(name, __launch_bounds__(THREADS))
#define BN_LIGHT_ENTRY(name) BN_ENTRY_OF(name, __launch_bounds__(THREADS, 2048 / THREADS))
#define BN_ENTRY_OF(name, bounds)                                                                  \
    static inline __device__ void in_##name(uchar *state, const uchar *weights,                    \
                                            const bn_step &step, uint layer, float *tg, uint g,    \
                                            uint me);                                              \
    extern "C" __global__ void bounds name(uchar *state, const uchar *weights, uint layer)         \
    {                                                                                              \
        BN_SHARED(tg);                                                                             \
        in_##name(state, weights, *(const bn_step *)state, layer, tg, blockIdx.x, threadIdx.x);    \
    }                                                                                              \
    static inline __device__ void in_##name(uchar *state, const uchar *weights,                    \
                                            const bn_step &step, uint layer, float *tg, uint g,    \
                                            uint me)
