/* cuda_runtime.h: what the generated CUDA uses of CUDA, for clang++ -x c++ on any machine: blocks
 * run on tests/metal/grid.h, memory of the GPU is memory, a stream does its work at once, a graph
 * is the list of calls that were captured.
 *
 * Where there are several GPUs (FAKE_CUDA_GPUS), their streams work when they are waited for, all
 * at once.
 *
 * One idea: what a GPU would not allow is refused. Pointers are checked to be the GPU's or the
 * host's as a copy says; nothing may be allocated while a stream is captured; a launch must fit a
 * block's limits.
 */
#ifndef BN_FAKE_CUDA
#define BN_FAKE_CUDA

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "grid.h"

#define __global__
#define __host__
#define __device__
#define __inline__ inline
#define __launch_bounds__(...)
#define __noinline__
#define BN_SHARED(name) float *name = fake_shared()
#define blockIdx (fake_block())
#define threadIdx (fake_thread())
#define __syncthreads() grid_barrier(__LINE__)
#define __syncthreads_or(v) fake_any(v, __LINE__)
#define __threadfence() ((void)0)
#define __syncwarp() ((void)grid_sum_int(0))
int fake_any(int v, int line);
/* Of dialect.cuh: the grid barrier, asynchronous copies, prefetches. */
#define grid_signal(step, grid) fake_signal((grid).arrived, (step).away, BN_GPUS)
#define grid_arrive(step, grid) (grid_barrier(__LINE__), grid_signal(step, grid))
#define grid_wait(grid) fake_wait((grid).arrived, (grid).expected += ALL_BLOCKS, __LINE__)
void fake_signal(unsigned *arrived, const long *away, int gpus);
void fake_wait(unsigned *arrived, unsigned expected, int line);
#define opaque(v) (v)
#define as_shared(p) ((const unsigned char *)(p))
void mbar_init(unsigned long *mbar);
void mbar_expect_tx(unsigned long *mbar, unsigned bytes);
void cp_async_bulk(void *to, const void *from, unsigned bytes, unsigned long *mbar);
void mbar_wait(unsigned long *mbar, unsigned parity);
inline void prefetch_l2_line(const void *)
{
}
void prefetch_l2_bytes(const void *from, unsigned bytes);
/* Tensor cores. */
void cp_async16(void *to, const void *from);
void cp_async_commit();
void cp_async_wait();
void ldmatrix_x4(unsigned *to, const void *row);
void mma_u8s8(int *sums, const unsigned *a, const unsigned *b);

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned n = 1) : x(n), y(1), z(1)
    {
    }
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

float *fake_shared();
dim3 fake_block(), fake_thread();
unsigned fake_shuffle(unsigned bits, int mask); /* of the lane whose number differs by mask */
unsigned fake_from(unsigned bits, int lane);

template <typename T> inline T __shfl_xor_sync(unsigned lanes, T v, int mask)
{
    static_assert(sizeof(T) % 4 == 0, "values of 32 bits, or of twice as many");
    unsigned bits[sizeof(T) / 4];
    (void)lanes;
    memcpy(bits, &v, sizeof v);
    for (unsigned &half : bits)
        half = fake_shuffle(half, mask);
    memcpy(&v, bits, sizeof v);
    return v;
}

template <typename T> inline T __shfl_sync(unsigned lanes, T v, int lane)
{
    static_assert(sizeof(T) == 4, "values of 32 bits");
    unsigned bits;
    (void)lanes;
    memcpy(&bits, &v, 4);
    bits = fake_from(bits, lane);
    memcpy(&v, &bits, 4);
    return v;
}

inline int __dp4a(int a, int b, int sum)
{
    for (int i = 0; i < 32; i += 8)
        sum += int8_t(a >> i) * int8_t(b >> i);
    return sum;
}

inline float __fadd_rn(float a, float b) /* compiled by -ffp-contract=off */
{
    return a + b;
}
inline float __fmul_rn(float a, float b)
{
    return a * b;
}

template <typename T> inline T __ldg(const T *p)
{
    return *p;
}
template <typename T> inline T __ldcs(const T *p)
{
    return *p;
}
template <typename T> inline T atomicAdd(T *p, T v) /* fibers change where they wait alone */
{
    T was = *p;
    *p += v;
    return was;
}
inline int min(int a, int b)
{
    return a < b ? a : b;
}
inline float max(float a, float b)
{
    return fmaxf(a, b);
}
inline float min(float a, float b)
{
    return fminf(a, b);
}

typedef enum cudaError {
    cudaSuccess,
    cudaErrorInvalidValue,
    cudaErrorMemoryAllocation,
    cudaErrorIllegalState,
    cudaErrorPeerAccessAlreadyEnabled
} cudaError_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum { cudaStreamNonBlocking = 1, cudaStreamCaptureModeThreadLocal = 1 };
typedef struct FakeStream *cudaStream_t;
typedef struct FakeGraph *cudaGraph_t, *cudaGraphExec_t;

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaFreeHost(void *p);
enum { cudaHostRegisterPortable = 1, cudaHostRegisterMapped = 2 };
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags);
cudaError_t cudaHostGetDevicePointer(void **to, void *p, unsigned flags);
cudaError_t cudaHostUnregister(void *p);
cudaError_t cudaMemset(void *p, int value, size_t bytes);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t wide, size_t rows, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaLaunchKernel(const void *entry, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t s);
cudaError_t cudaLaunchCooperativeKernel(const void *entry, dim3 grid, dim3 block, void **args,
                                        size_t shared, cudaStream_t s);
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
cudaError_t cudaFuncSetAttribute(const void *entry, cudaFuncAttribute what, int value);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int gpu);
cudaError_t cudaDeviceCanAccessPeer(int *can, int gpu, int other);
cudaError_t cudaDeviceEnablePeerAccess(int other, unsigned flags);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int gpu);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, int mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

#endif
