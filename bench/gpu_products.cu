/* gpu_products.cu: the ternary products of bnc's decode step by themselves, beside what gpu_peer.cu
 * prints. Compiled with -DMODEL='"m.cu"' for a model of 2B4T's shape, whose file it includes: a
 * persistent kernel, weight tiles copied a layer before, a grid barrier behind each product, as in
 * decode_step. Prints "ours ROWS COLUMNS us" for q, k and v; o; gate and up; down, then
 * "ours-layers LAYERS us". */
#include MODEL

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#define AT(type, offset) ((type *)(state + (offset)))
#define FLOATS(at) ((const float *)(at))

enum { Q = 1, O = 2, GATE = 4, DOWN = 8, ALL = 15, ROUNDS = 21, N = 2560, KV = 640, FF = 6912 };

#define TILE(i, from)                                                                              \
    {                                                                                              \
        own + (from), true, mbar + i, 0, scales                                                    \
    }
#define MATRIX(i, n, k, w, at) matrix_of(w, n, k, tile[i], b, sums + 4 * (at))
#define PRELOAD(i, n, k, w)                                                                        \
    const bn_epilogue epilogue_##i =                                                               \
        tmatmul_persistent_preload(FLOATS(w), s, nullptr, tile[i], share_of(n, b, me, 0))
#define EPILOGUE(i, n, k, w, at)                                                                   \
    tmatmul_persistent_epilogue(epilogue_##i, nullptr, y, tile[i], share_of(n, b, me, 0), step,    \
                                sums + 4 * (at))
/* The tile of this layer or of the next one, whose copy starts as in decode_step: while the block
 * multiplies by another matrix. A product alone has no other, and starts it when its block has
 * arrived. */
#define LATE(i, n, k, w, who)                                                                      \
    if (WHICH == ALL && me == who && layer > 0)                                                    \
    tile_prefetch(tile[i], w(layer), n, k, b)
#define NEXT(i, n, k, w, who, together)                                                            \
    if ((WHICH == ALL) == together && me == who && layer + 1 < BN_LAYERS)                          \
    tile_prefetch(tile[i], w(layer + 1), n, k, b)
#define BARRIER_AND(what)                                                                          \
    grid_arrive(step, grid);                                                                       \
    what;                                                                                          \
    grid_wait(grid)

/* Initializes the mbarriers and starts the copies of the first layer's tiles, by one thread. */
template <int WHICH>
static inline __device__ void first_tiles(bn_weight_tile *tile, ulong *mbar, const uchar *weights,
                                          uint b)
{
    for (int i = 0; i < 7; i++)
        mbar_init(mbar + i);
    if (WHICH & Q) {
        tile_prefetch(tile[0], W_ATTN_Q(0), N, N, b);
        tile_prefetch(tile[1], W_ATTN_K(0), KV, N, b);
        tile_prefetch(tile[2], W_ATTN_V(0), KV, N, b);
    }
    if (WHICH & O)
        tile_prefetch(tile[3], W_ATTN_OUTPUT(0), N, N, b);
    if (WHICH & GATE) {
        tile_prefetch(tile[4], W_FFN_GATE(0), FF, N, b);
        tile_prefetch(tile[5], W_FFN_UP(0), FF, N, b);
    }
    if (WHICH & DOWN)
        tile_prefetch(tile[6], W_FFN_DOWN(0), N, FF, b);
}

/* Scales are one layer's all along: the sums are what is timed. */
template <int WHICH>
__global__ void __launch_bounds__(THREADS, 1) products(uchar *state, const uchar *weights)
{
    BN_SHARED(products_shared);
    const uint b = blockIdx.x, me = threadIdx.x;
    uchar *own = (uchar *)products_shared;
    int *sums = (int *)(own + STEP_SUMS);
    ulong *mbar = (ulong *)(own + STEP_MBARS);
    const float *scales = (const float *)(own + STEP_SCALES);
    const bn_step step = {};
    bn_grid grid = {(uint *)(state + 128), 0};
    float *y = AT(float, 4096), *s = (float *)own;
    char *q = (char *)own + 128;
    const int k_at = SHARE(N / 4), v_at = k_at + SHARE(KV / 4);
    bn_weight_tile tile[] = {TILE(0, STEP_TILES), TILE(1, STEP_END_0), TILE(2, STEP_END_1),
                             TILE(3, STEP_END_2), TILE(4, STEP_END_3), TILE(5, STEP_END_4),
                             TILE(6, STEP_END_5)};
    for (int i = int(me); i < FF; i += THREADS)
        q[i] = char(i * 37);
    for (int i = int(me); i < (STEP_TILES - STEP_SUMS) / 4; i += THREADS)
        sums[i] = 0;
    __syncthreads();
    if (me == 0) {
        *s = 127;
        first_tiles<WHICH>(tile, mbar, weights, b);
    }
    __syncthreads();
#pragma unroll 1
    for (uint layer = 0; layer < BN_LAYERS; layer++) {
        if (WHICH & Q) {
            PRELOAD(0, N, N, W_ATTN_Q(layer));
            PRELOAD(1, KV, N, W_ATTN_K(layer));
            PRELOAD(2, KV, N, W_ATTN_V(layer));
            const bn_matrix run[] = {MATRIX(0, N, N, W_ATTN_Q(layer), 0),
                                     MATRIX(1, KV, N, W_ATTN_K(layer), k_at),
                                     MATRIX(2, KV, N, W_ATTN_V(layer), v_at)};
            share_sums(run, 3, q, N, me);
            __syncthreads();
            EPILOGUE(0, N, N, W_ATTN_Q(layer), 0);
            EPILOGUE(1, KV, N, W_ATTN_K(layer), k_at);
            EPILOGUE(2, KV, N, W_ATTN_V(layer), v_at);
            BARRIER_AND(NEXT(0, N, N, W_ATTN_Q, 0, false); NEXT(1, KV, N, W_ATTN_K, 0, false);
                        NEXT(2, KV, N, W_ATTN_V, 0, false); LATE(5, FF, N, W_FFN_UP, 0));
        }
        if (WHICH & O) {
            PRELOAD(3, N, N, W_ATTN_OUTPUT(layer));
            const bn_matrix run[] = {MATRIX(3, N, N, W_ATTN_OUTPUT(layer), 0)};
            NEXT(0, N, N, W_ATTN_Q, PRODUCER, true);
            NEXT(1, KV, N, W_ATTN_K, PRODUCER, true);
            NEXT(2, KV, N, W_ATTN_V, PRODUCER, true);
            share_sums(run, 1, q, N, me);
            __syncthreads();
            EPILOGUE(3, N, N, W_ATTN_OUTPUT(layer), 0);
            BARRIER_AND(NEXT(3, N, N, W_ATTN_OUTPUT, 0, false));
        }
        if (WHICH & GATE) {
            const uchar *gate = W_FFN_GATE(layer), *up = W_FFN_UP(layer);
            const bn_epilogue epilogue = tglu_persistent_preload(
                FLOATS(gate), FLOATS(up), s, tile[4], tile[5], share_of(FF, b, me, 0));
            const bn_matrix run[] = {MATRIX(4, FF, N, gate, 0),
                                     MATRIX(5, FF, N, up, SHARE(FF / 4))};
            NEXT(3, N, N, W_ATTN_OUTPUT, PRODUCER, true);
            LATE(6, N, FF, W_FFN_DOWN, PRODUCER);
            share_sums(run, 2, q, N, me);
            __syncthreads();
            tglu_persistent_epilogue(epilogue, y, BN_RELU2, tile[4], tile[5],
                                     share_of(FF, b, me, 0), step, sums);
            BARRIER_AND(NEXT(4, FF, N, W_FFN_GATE, 0, false); NEXT(5, FF, N, W_FFN_UP, 0, false));
        }
        if (WHICH & DOWN) {
            PRELOAD(6, N, FF, W_FFN_DOWN(layer));
            const bn_matrix run[] = {MATRIX(6, N, FF, W_FFN_DOWN(layer), 0)};
            NEXT(4, FF, N, W_FFN_GATE, PRODUCER, true);
            share_sums(run, 1, q, FF, me);
            __syncthreads();
            EPILOGUE(6, N, FF, W_FFN_DOWN(layer), 0);
            BARRIER_AND(NEXT(6, N, FF, W_FFN_DOWN, 0, false));
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
