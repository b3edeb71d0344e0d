/* gpu_products.cu: the ternary products of bnc's decode step by themselves, beside what gpu_peer.cu
 * prints. Compiled with -DMODEL='"m.cu"' for a model of 2B4T's shape, whose file it includes: its
 * blocks stay, weights come a layer ahead, all meet behind each product, as in decode_step. Prints
 * "ours ROWS COLUMNS us" for q, k and v; o; gate and up; down, then "ours-layers LAYERS us". */
#include MODEL

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#define AT(type, offset) ((type *)(state + (offset)))
#define FLOATS(at) ((const float *)(at))

enum { Q = 1, O = 2, GATE = 4, DOWN = 8, ALL = 15, ROUNDS = 21, N = 2560, KV = 640, FF = 6912 };

/* One product of n x k over all layers' weights w(layer), and of a second matrix where there is
 * one. */
#define PART(i, from) bn_part part_##i = {own + (from), mark + i, 0, {0, 0}}
#define FIRST(i, n, k, w, second)                                                                  \
    part_ask(part_##i, (w) + share_at(n, k, b), (second) ? (second) + share_at(n, k, b) : nullptr, \
             share_bytes(n, k, b))
#define SUMS(i, n, k, w, at)                                                                       \
    tmatmul_stay(w, FLOATS(w), q, s, nullptr, y, 1, n, k, part_##i, b, me, sums + GROUPS + (at))
#define ROWS_OF(i, n, k, w, next, at)                                                              \
    tmatmul_stay_end(w, FLOATS(w), q, s, nullptr, y, 1, n, k, part_##i,                            \
                     layer + 1 < BN_LAYERS ? (next) : nullptr, sums, 0, b, me,                     \
                     sums + GROUPS + (at))

template <int WHICH>
__global__ void __launch_bounds__(THREADS, 1) products(uchar *state, const uchar *weights)
{
    BN_SHARED(room);
    const uint b = blockIdx.x, me = threadIdx.x;
    uchar *own = (uchar *)room;
    int *sums = (int *)(own + STEP_SUMS);
    ulong *mark = (ulong *)(own + STEP_MARKS);
    uint *met = (uint *)(state + 128), all = 0;
    float *y = AT(float, 4096), *s = (float *)own;
    char *q = (char *)own + 128;
    PART(0, STEP_PARTS);
    PART(1, STEP_END_0);
    PART(2, STEP_END_1);
    PART(3, STEP_END_2);
    PART(4, STEP_END_3);
    PART(5, STEP_END_4);
    for (int i = int(me); i < FF; i += THREADS)
        q[i] = char(i * 37);
    for (int i = int(me); i < (STEP_MARKS - STEP_SUMS) / 4; i += THREADS)
        sums[i] = 0;
    if (me == 0) {
        *s = 127;
        for (int i = 0; i < 6; i++)
            part_mark(mark + i);
        if (WHICH & Q) {
            FIRST(0, N, N, W_ATTN_Q(0), (const uchar *)nullptr);
            FIRST(1, KV, N, W_ATTN_K(0), (const uchar *)nullptr);
            FIRST(2, KV, N, W_ATTN_V(0), (const uchar *)nullptr);
        }
        if (WHICH & O)
            FIRST(3, N, N, W_ATTN_OUTPUT(0), (const uchar *)nullptr);
        if (WHICH & GATE)
            FIRST(4, FF, N, W_FFN_GATE(0), W_FFN_UP(0));
        if (WHICH & DOWN)
            FIRST(5, N, FF, W_FFN_DOWN(0), (const uchar *)nullptr);
    }
    __syncthreads();
#pragma unroll 1
    for (uint layer = 0; layer < BN_LAYERS; layer++) {
        if (WHICH & Q) {
            const int k_at = 4 * SHARE(N / 4), v_at = k_at + 4 * SHARE(KV / 4);
            share_over(q, N, me, sums);
            SUMS(0, N, N, W_ATTN_Q(layer), 0);
            SUMS(1, KV, N, W_ATTN_K(layer), k_at);
            SUMS(2, KV, N, W_ATTN_V(layer), v_at);
            __syncthreads();
            ROWS_OF(0, N, N, W_ATTN_Q(layer), W_ATTN_Q(layer + 1), 0);
            ROWS_OF(1, KV, N, W_ATTN_K(layer), W_ATTN_K(layer + 1), k_at);
            ROWS_OF(2, KV, N, W_ATTN_V(layer), W_ATTN_V(layer + 1), v_at);
            grid_meet(met, all += BN_BLOCKS);
        }
        if (WHICH & O) {
            share_over(q, N, me, sums);
            SUMS(3, N, N, W_ATTN_OUTPUT(layer), 0);
            __syncthreads();
            ROWS_OF(3, N, N, W_ATTN_OUTPUT(layer), W_ATTN_OUTPUT(layer + 1), 0);
            grid_meet(met, all += BN_BLOCKS);
        }
        if (WHICH & GATE) {
            const uchar *gate = W_FFN_GATE(layer), *up = W_FFN_UP(layer);
            share_over(q, N, me, sums);
            tglu_stay(gate, FLOATS(gate), up, FLOATS(up), q, s, y, BN_RELU2, 1, FF, N, part_4, b,
                      me, sums + GROUPS);
            __syncthreads();
            tglu_stay_end(gate, FLOATS(gate), up, FLOATS(up), q, s, y, BN_RELU2, 1, FF, N, part_4,
                          layer + 1 < BN_LAYERS ? W_FFN_GATE(layer + 1) : nullptr,
                          W_FFN_UP(layer + 1), sums, 0, b, me, sums + GROUPS);
            grid_meet(met, all += BN_BLOCKS);
        }
        if (WHICH & DOWN) {
            share_over(q, FF, me, sums);
            SUMS(5, N, FF, W_FFN_DOWN(layer), 0);
            __syncthreads();
            ROWS_OF(5, N, FF, W_FFN_DOWN(layer), W_FFN_DOWN(layer + 1), 0);
            grid_meet(met, all += BN_BLOCKS);
        }
    }
}

static void must(cudaError_t e)
{
    if (e != cudaSuccess) {
        fprintf(stderr, "gpu_products: %s\n", cudaGetErrorString(e));
        exit(1);
    }
}

template <int WHICH> static double time_of(uchar *state, uchar *weights)
{
    void *args[] = {&state, &weights};
    const void *kernel = (const void *)products<WHICH>;
    cudaEvent_t from, to;
    float ms[ROUNDS];
    must(cudaEventCreate(&from));
    must(cudaEventCreate(&to));
    must(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, STEP_BYTES));
    for (int i = -2; i < ROUNDS; i++) {
        must(cudaMemset(state, 0, 4096));
        must(cudaEventRecord(from));
        must(cudaLaunchCooperativeKernel(kernel, dim3(BN_BLOCKS), dim3(THREADS), args, STEP_BYTES,
                                         0));
        must(cudaEventRecord(to));
        must(cudaEventSynchronize(to));
        must(cudaEventElapsedTime(&ms[i < 0 ? 0 : i], from, to));
    }
    std::sort(ms, ms + ROUNDS);
    return ms[ROUNDS / 2] * 1000;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL; /* the weights */
    uchar *state, *weights;
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return 2;
    size_t size = (size_t)ftell(f);
    void *host = malloc(size);
    rewind(f);
    if (!host || fread(host, 1, size, f) != size)
        return 2;
    must(cudaMalloc(&weights, size));
    must(cudaMemcpy(weights, host, size, cudaMemcpyHostToDevice));
    must(cudaMalloc(&state, 1 << 20));
    printf("ours %d %d %.2f\n", N + 2 * KV, N, time_of<Q>(state, weights) / BN_LAYERS);
    printf("ours %d %d %.2f\n", N, N, time_of<O>(state, weights) / BN_LAYERS);
    printf("ours %d %d %.2f\n", 2 * FF, N, time_of<GATE>(state, weights) / BN_LAYERS);
    printf("ours %d %d %.2f\n", N, FF, time_of<DOWN>(state, weights) / BN_LAYERS);
    printf("ours-layers %d %.1f\n", BN_LAYERS, time_of<ALL>(state, weights));
    return 0;
}
