/* gpu_peer.cu: Microsoft's kernels (gpu/bitnet_kernels of microsoft/BitNet, whose file is compiled
 * beside this one) on the matrices of 2B4T's layers. Prints "peer ROWS COLUMNS us" for each matrix
 * and "peer-layers LAYERS us" for all of a token's, one CUDA graph, medians. Each layer has weights
 * of its own, so they come from memory. */
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" void bitlinear_int8xint2(int8_t *in, int8_t *w, __nv_bfloat16 *out, __nv_bfloat16 *s,
                                    __nv_bfloat16 *ws, int m, int n, int k, cudaStream_t stream);

enum { LAYERS = 30, ROUNDS = 21, WIDEST = 13824 };
static const int shape[][2] = {{3840, 2560}, {2560, 2560}, {13824, 2560}, {2560, 6912}};
enum { SHAPES = sizeof shape / sizeof *shape };

static void must(cudaError_t e)
{
    if (e != cudaSuccess) {
        fprintf(stderr, "gpu_peer: %s\n", cudaGetErrorString(e));
        exit(1);
    }
}

static int8_t *random_bytes(size_t n)
{
    int8_t *host = (int8_t *)malloc(n), *gpu;
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++)
        host[i] = (int8_t)((x = x * 1664525u + 1013904223u) >> 24);
    must(cudaMalloc(&gpu, n));
    must(cudaMemcpy(gpu, host, n, cudaMemcpyHostToDevice));
    free(host);
    return gpu;
}

int main()
{
    int8_t *weights[SHAPES], *in = random_bytes(WIDEST);
    __nv_bfloat16 *out, *s, one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    cudaStream_t stream;
    cudaEvent_t from, to;
    must(cudaMalloc(&out, WIDEST * sizeof *out));
    must(cudaMalloc(&s, sizeof one));
    must(cudaMemcpy(s, one, sizeof one, cudaMemcpyHostToDevice));
    must(cudaStreamCreate(&stream));
    must(cudaEventCreate(&from));
    must(cudaEventCreate(&to));
    for (int i = 0; i < SHAPES; i++)
        weights[i] = random_bytes((size_t)LAYERS * shape[i][0] * shape[i][1] / 4);
    for (int which = 0; which <= SHAPES; which++) { /* SHAPES: all of them */
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        float ms[ROUNDS];
        must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        for (int layer = 0; layer < LAYERS; layer++)
            for (int i = 0; i < SHAPES; i++)
                if (which == i || which == SHAPES)
                    bitlinear_int8xint2(in,
                                        weights[i] + (size_t)layer * shape[i][0] * shape[i][1] / 4,
                                        out, s, s, 1, shape[i][0], shape[i][1], stream);
        must(cudaStreamEndCapture(stream, &graph));
        must(cudaGraphInstantiate(&exec, graph, 0));
        for (int i = -2; i < ROUNDS; i++) {
            must(cudaEventRecord(from, stream));
            must(cudaGraphLaunch(exec, stream));
            must(cudaEventRecord(to, stream));
            must(cudaEventSynchronize(to));
            must(cudaEventElapsedTime(&ms[i < 0 ? 0 : i], from, to));
        }
        std::sort(ms, ms + ROUNDS);
        if (which == SHAPES)
            printf("peer-layers %d %.1f\n", LAYERS, ms[ROUNDS / 2] * 1000);
        else
            printf("peer %d %d %.2f\n", shape[which][0], shape[which][1],
                   ms[ROUNDS / 2] * 1000 / LAYERS);
    }
    return 0;
}
