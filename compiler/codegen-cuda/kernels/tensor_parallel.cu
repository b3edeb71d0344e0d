/* tensor_parallel.cu: BN_GPUS GPUs share a pass. Each has a whole state and repeats what is small;
 * of the rows of products, the heads of attention and the rows of the lm_head it computes a slice,
 * in order, and stores what others need in the states of all GPUs. Each value is computed by one
 * thread as on one GPU, so results are bit-exact for every number of GPUs; a grid barrier is one of
 * the blocks of all GPUs.
 *
 *   y [T][n]   | rows of GPU 0 | rows of GPU 1 | ... |
 */

//@ tensor_parallel
static inline uint gpu_of(const bn_step &step)
{
    return BN_GPUS > 1 ? step.gpu : 0;
}
/* Of n units of work a GPU has those from unit_from(n, gpu) to unit_from(n, gpu + 1). */
__host__ static inline int unit_from(int n, uint gpu)
{
    return int(uint(n) * gpu / BN_GPUS);
}
/* *p = v in the states of all GPUs; p is in this GPU's. */
template <typename V> static inline void peer_store(const bn_step &step, V *p, V v)
{
    for (int i = 0; i < BN_GPUS; i++)
        *(V *)((uchar *)p + (BN_GPUS > 1 ? step.away[i] : 0)) = v;
}

//@ hidden_out : tensor_parallel group
/* Hidden values to the host's memory, by one block of the first GPU. */
static inline void hidden_out(const bn_step &step, const float *y, int n, uint me)
{
    for (int i = int(me); i < n && gpu_of(step) == 0; i += THREADS)
        step.hidden[i] = y[i];
}

//@ held_from : tensor_parallel
/* A GPU holds the rows from held_from to held_end of a matrix of n rows, where decode steps split
 * it by units of `fine` rows and other passes by `coarse`. */
__host__ static inline int held_from(int n, int fine, int coarse, uint gpu)
{
    const int a = fine * unit_from((n + fine - 1) / fine, gpu),
              b = coarse * unit_from((n + coarse - 1) / coarse, gpu);
    return a < b ? a : b;
}
__host__ static inline int held_end(int n, int fine, int coarse, uint gpu)
{
    const int a = fine * unit_from((n + fine - 1) / fine, gpu + 1),
              b = coarse * unit_from((n + coarse - 1) / coarse, gpu + 1), end = a > b ? a : b;
    return end < n ? end : n;
}

//@ has_unit : tensor_parallel
static inline bool has_unit(const bn_step &step, uint unit, int n)
{
    const uint gpu = gpu_of(step);
    return int(unit) >= unit_from(n, gpu) && int(unit) < unit_from(n, gpu + 1);
}

//@ all_gather : tensor_parallel group
/* The all-gather of results, by BN_BLOCKS blocks of each GPU: a grid barrier, behind which all GPUs
 * have computed their slices and nobody reads what stood there before; each GPU's stores; another
 * barrier. */
static inline void all_gather_begin(const bn_step &step, bn_grid &grid)
{
    grid_signal(step, grid);
    grid_wait(grid);
}
/* This GPU's slice of y [T][n], `wide` columns a unit. */
static inline void all_gather(const bn_step &step, float *y, int T, int n, int wide, uint g,
                              uint me)
{
    const int units = (n + wide - 1) / wide, from = unit_from(units, gpu_of(step)) * wide,
              each = min(unit_from(units, gpu_of(step) + 1) * wide, n) - from;
#pragma unroll 1
    for (int t = int(g); t < T; t += BN_BLOCKS)
        for (int i = int(me); i < each; i += THREADS)
            peer_store(step, y + ulong(t) * n + from + i, y[ulong(t) * n + from + i]);
}
static inline void all_gather_end(const bn_step &step, bn_grid &grid, uint g, uint me)
{
    grid_arrive(step, grid);
    grid_wait(grid);
    if (g == 0 && me == 0)
        grid.arrived[1] = grid.expected;
}
