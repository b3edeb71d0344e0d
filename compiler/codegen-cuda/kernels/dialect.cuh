/* dialect.cuh: makes the shared kernels (codegen-gpu/kernels, in Metal) CUDA C++: for nvcc, for
 * clang and, with the headers of tests/cuda, for any C++ compiler. Keywords that cannot be macros,
 * such as address spaces, are translated by cuda.c.
 *
 * A threadgroup is a block, a simdgroup a warp. An entry point reads its bn_step from the first
 * bytes of the state.
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

/* Blocks of a persistent kernel, one a multiprocessor (occupancy 1): an H100 or H200 has 132. */
#ifndef BN_BLOCKS
#define BN_BLOCKS 132
#endif

/* GPUs that share a pass (tensor parallelism): see tensor_parallel.cu. */
#ifndef BN_GPUS
#define BN_GPUS 1
#endif

/* The parameters of a pass: position of the first token, number of tokens, how many top-k logits
 * are wanted; the number of this GPU; the distance in bytes from its state to each GPU's state, and
 * to the host's copy of the state's first bytes; where hidden values and logits go in the host's
 * memory. */
struct bn_step {
    int pos, ntok, topk;
    uint gpu;
    long away[BN_GPUS], host;
    float *hidden, *logits;
};

/* Positions of one chunk of attention, at most; the results of several chunks are combined
 * (split-KV). */
#ifndef BN_CHUNK
#define BN_CHUNK 512
#endif

/* The grid barrier, of all blocks of all GPUs, in two halves: between them a block does what needs
 * no other block. Each GPU has a counter, `arrived`, to which every block adds 1; the barrier is
 * passed when it reaches `expected`. What was written before the barrier is seen behind it. Blocks
 * are co-resident, for the launch is cooperative. */
enum { ALL_BLOCKS = BN_GPUS * BN_BLOCKS };
struct bn_grid {
    uint *arrived, expected;
};

#ifndef BN_FAKE_CUDA
/* Asynchronous bulk copies to shared memory (PTX's mbarrier and cp.async.bulk): an mbarrier counts
 * the bytes that have arrived. */
static inline __device__ uint shared_at(const void *p)
{
    return (uint)__cvta_generic_to_shared(p);
}
static inline __device__ void mbar_init(ulong *mbar)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_at(mbar)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
static inline __device__ void mbar_expect_tx(ulong *mbar, uint bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(mbar)),
                 "r"(bytes)
                 : "memory");
}
static inline __device__ void cp_async_bulk(void *to, const void *from, uint bytes, ulong *mbar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(shared_at(to)),
                 "l"(from), "r"(bytes), "r"(shared_at(mbar))
                 : "memory");
}
static inline __device__ void mbar_wait(ulong *mbar, uint parity)
{
    uint there;
    do
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
                     "selp.u32 %0, 1, 0, p;}"
                     : "=r"(there)
                     : "r"(shared_at(mbar)), "r"(parity)
                     : "memory");
    while (!there);
}
/* Prefetches to the L2 cache: one line of 128 bytes; a multiple of 16 bytes. */
static inline __device__ void prefetch_l2_line(const void *from)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}
static inline __device__ void prefetch_l2_bytes(const void *from, uint bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
}

/* Tensor cores (PTX's cp.async, ldmatrix, mma). cp_async16: 16 bytes to shared memory,
 * asynchronously; cp_async_wait: all copies that this thread has committed have arrived.
 * ldmatrix_x4: 4 matrices of 8 rows x 16 bytes, lane i naming row i % 8 of matrix i / 8; a lane
 * receives 4 bytes, i % 4, of row i / 4 of each. mma_u8s8: sums [16 x 8] += a [16 x 32] b [32 x 8].
 */
static inline __device__ void cp_async16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_at(to)), "l"(from)
                 : "memory");
}
static inline __device__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
static inline __device__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}
static inline __device__ void ldmatrix_x4(uint *to, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_at(row))
                 : "memory");
}
static inline __device__ void mma_u8s8(int *sums, const uint *a, const uint *b)
{
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* For a block whose threads are synchronized already. */
static inline __device__ void grid_signal(const bn_step &step, const bn_grid &grid)
{
    if (threadIdx.x)
        return;
    if (BN_GPUS == 1) {
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(grid.arrived) : "memory");
        return;
    }
    __threadfence_system();
    for (int i = 0; i < BN_GPUS; i++)
        asm volatile(
            "red.relaxed.sys.global.add.u32 [%0], 1;" ::"l"((uchar *)grid.arrived + step.away[i])
            : "memory");
}
static inline __device__ void grid_arrive(const bn_step &step, const bn_grid &grid)
{
    __syncthreads();
    grid_signal(step, grid);
}
static inline __device__ uint grid_count(const uint *arrived)
{
    uint seen;
    if (BN_GPUS == 1)
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
    else
        asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
    return seen;
}
/* The thread that polls is of another warp than the one that signals, which may still be
 * prefetching. */
static inline __device__ void grid_wait(bn_grid &grid)
{
    grid.expected += ALL_BLOCKS;
    while (threadIdx.x == 32 && int(grid_count(grid.arrived) - grid.expected) < 0)
        continue;
    __syncthreads();
}
/* v, as a value that the compiler cannot trace: it recomputes what depends on v where that is used,
 * instead of keeping it in a register from the kernel's beginning. */
static inline __device__ uint opaque(uint v)
{
    asm volatile("" : "+r"(v));
    return v;
}
/* A generic pointer known to be shared: loads become ld.shared. */
static inline __device__ const uchar *as_shared(const uchar *p)
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

/* simd_sum of int by one instruction; simd_max_abs: simd_max of values that are not negative, whose
 * bits compare as the values do. */
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 800
static inline __device__ int simd_sum(int v)
{
    return __reduce_add_sync(0xffffffffu, v);
}
static inline __device__ float simd_max_abs(float v)
{
    return __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(v)));
}
#else
static inline __device__ float simd_max_abs(float v)
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

/* An entry point that is launched with a block for each group of the dispatch's grid.
 * BN_LIGHT_ENTRY limits registers so that the occupancy is a multiprocessor's 2048 threads. */
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
