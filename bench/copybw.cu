/* copybw.cu: how fast a GPU copies and reads its own memory: the ceiling of decode. Prints two
 * lines, "copy GB/s" and "read GB/s": the median of ROUNDS. A copy counts what is read and what is
 * written. */
#include <algorithm>
#include <cstdio>
#include <cuda_runtime.h>

enum { ROUNDS = 21, THREADS = 512, BLOCKS = 132 * 4 };
static const size_t BYTES = (size_t)4 << 30; /* much more than any cache */

static void must(cudaError_t e)
{
    if (e != cudaSuccess) {
        fprintf(stderr, "copybw: %s\n", cudaGetErrorString(e));
        exit(1);
    }
}

/* Each thread keeps 8 loads of 16 bytes in flight. */
__global__ void read_all(const uint4 *from, size_t n, unsigned *sum)
{
    const size_t step = (size_t)gridDim.x * blockDim.x;
    unsigned all = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i + 7 * step < n;
         i += 8 * step) {
        uint4 v[8];
        for (int j = 0; j < 8; j++)
            v[j] = __ldcs(from + i + j * step);
        for (int j = 0; j < 8; j++)
            all += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (all == 12345) /* never dropped, hardly ever written */
        *sum = all;
}

int main()
{
    char *a, *b;
    unsigned *sum;
    cudaEvent_t from, to;
    must(cudaMalloc(&a, BYTES));
    must(cudaMalloc(&b, BYTES));
    must(cudaMalloc(&sum, sizeof *sum));
    must(cudaMemset(a, 0x5a, BYTES));
    must(cudaEventCreate(&from));
    must(cudaEventCreate(&to));
    for (int reading = 0; reading < 2; reading++) {
        float ms[ROUNDS];
        for (int i = -2; i < ROUNDS; i++) {
            must(cudaEventRecord(from));
            if (reading)
                read_all<<<BLOCKS, THREADS>>>((const uint4 *)a, BYTES / 16, sum);
            else
                must(cudaMemcpyAsync(b, a, BYTES, cudaMemcpyDeviceToDevice));
            must(cudaEventRecord(to));
            must(cudaEventSynchronize(to));
            must(cudaEventElapsedTime(&ms[i < 0 ? 0 : i], from, to));
        }
        std::sort(ms, ms + ROUNDS);
        printf("%s %.0f\n", reading ? "read" : "copy",
               (double)BYTES * (reading ? 1 : 2) / (ms[ROUNDS / 2] * 1e6));
    }
    return 0;
}
