/* topk.cu: the op `screen`, exact top-k logits by upper bounds: a copy of the lm_head in 6 bits,
 * whose errors are known, bounds each logit from above; only rows that may be among the top k are
 * computed. compiler/ir/lowbit.c pictures the copy; codegen-c/kernels/scalar_head.c proves the bound,
 * and that a token whose bound is below a value that k logits reach is not among the top k.
 *
 * One idea: find a threshold first. A warp reads the copy of its rows and bounds their logits; of
 * each set of warps the row that looks largest is computed, as linear computes it, and given to all
 * blocks. Behind a grid barrier the k-th largest of these candidates is the threshold; each warp
 * computes those of its rows whose bound reaches it.
 *
 *   bounds, then logits, of a block's rows   | of warp 0 [SHARE] | of warp 1 [SHARE] | .. |
 */

//@ screen : persistent
enum { SET = 4, SETS = WARPS / SET }; /* warps of a set, sets of a block */
static_assert(BN_BLOCKS * SETS <= 4096, "CUDA_SETS in codegen-cuda/internal.h");
/* Scratch of a block. */
struct bn_screen {
    double x[WARPS], d[WARPS]; /* each warp's part of the sums of x^2, of (x - q / s)^2, of q */
    int q[WARPS];
    int row[WARPS]; /* each warp's row that looks largest, and its logit by the copy */
    float top[WARPS];
    float threshold;
};
static_assert(sizeof(bn_screen) == 4 * (7 * WARPS + 2), "SCRATCH_SCREEN in codegen-cuda/cuda.c");
/* scalar_head.c's A and B, 1 / s, and the sum of q. */
struct bn_slack {
    float a, b, unit;
    int total;
};
/* As f32, rounded up; 2^-100 is added because denormals are rounded coarsely. */
static inline float screen_up(double v)
{
    return float(v * (1.0 + 1.0 / 4194304.0) + 7.8886090522101181e-31);
}
static inline bn_slack screen_start(const float *x, const char *q, float s, int k, uint me,
                                    bn_screen *tg)
{
    const double b = 1.0 / 16777216.0, g = (k + 8) * b / (1.0 - (k + 8) * b);
    bn_slack slack = {0, 0, 1.0f / s, 0};
    double xx = 0, dd = 0;
    for (int i = int(me); i < k; i += THREADS) {
        const double v = x[i], d = v - q[i] * double(slack.unit);
        xx += v * v;
        dd += d * d;
        slack.total += q[i];
    }
    xx = simd_sum(xx);
    dd = simd_sum(dd);
    slack.total = simd_sum(slack.total);
    if (me % LANES == 0) {
        tg->x[me / LANES] = xx;
        tg->d[me / LANES] = dd;
        tg->q[me / LANES] = slack.total;
    }
    __syncthreads();
    xx = dd = 0;
    slack.total = 0;
    for (int i = 0; i < WARPS; i++) {
        xx += tg->x[i];
        dd += tg->d[i];
        slack.total += tg->q[i];
    }
    xx = sqrt(xx) * (1.0 + 1.0 / 1073741824.0);
    dd = sqrt(dd) * (1.0 + 1.0 / 1073741824.0);
    if (!(xx <= 1152921504606846976.0))
        xx = double(INFINITY);
    slack.a = screen_up((1.0 + g) * xx * (1.0 + 32 * b));
    slack.b = screen_up((dd + g * xx + 8 * b * (xx + 3 * dd)) * (1.0 + 32 * b));
    return slack;
}

/* A row's logit by the copy, and its upper bound. */
struct bn_bound {
    float about, most;
};
static inline bn_bound screen_bound(const bn_slack &slack, int sum, float scale, float e, float v)
{
    const float about = 0.5f * scale * (slack.unit * float(2 * sum - 63 * slack.total));
    return {about, about + (e * slack.a + (v * slack.b + 7.8886091e-31f))};
}

/* A warp's sums of codes by q for SIDE rows, whose 4 bits and 2 bits begin at w4 and w2: lanes 8 j
 * to 8 j + 7 have block j % 4 of 128 columns, lane 8 j + i columns 4 i .. 4 i + 3 of each 32. */
enum { SIDE = 2 };
static inline void screen_sums(const uchar *const *w4, const uchar *const *w2, const char *q,
                               int wide, int lane, int *sum)
{
#pragma unroll 5
    for (int j = lane / 8; j < wide / 128; j += LANES / 8) {
        const uint *in = (const uint *)(q + 128 * j) + lane % 8;
        for (int i = 0; i < SIDE; i++) {
            const uint *four = (const uint *)(w4[i] + 64 * j) + lane % 8;
            const uint low = __ldcs(four), high = __ldcs(four + 8),
                       two = __ldcs((const uint *)(w2[i] + 32 * j) + lane % 8);
            const uint code[4] = {(low << 2 & 0x3c3c3c3cu) | (two & 0x03030303u),
                                  (low >> 2 & 0x3c3c3c3cu) | (two >> 2 & 0x03030303u),
                                  (high << 2 & 0x3c3c3c3cu) | (two >> 4 & 0x03030303u),
                                  (high >> 2 & 0x3c3c3c3cu) | (two >> 6 & 0x03030303u)};
            for (int p = 0; p < 4; p++)
                sum[i] = __dp4a(int(code[p]), int(in[8 * p]), sum[i]);
        }
    }
    for (int i = 0; i < SIDE; i++)
        sum[i] = simd_sum(sum[i]);
}

/* Keys that compare as the sampler compares logits: NaN and -INFINITY are the smallest finite
 * value, INFINITY the largest. */
static inline uint screen_key(float v)
{
    const float most = 3.40282346638528859812e+38f;
    const uint bits = as_type<uint>(v > -most ? (v < most ? v : most) : -most);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
/* The threshold, by a warp: the upper 16 bits of the largest value that `topk` sets' candidates
 * reach; NaN, which no bound is below, where there are fewer. */
static inline float screen_threshold(const float *found, int topk, int lane)
{
    enum { EACH_HAS = (ALL_BLOCKS * SETS + LANES - 1) / LANES };
    uint key[EACH_HAS], least = 0;
    for (int i = 0; i < EACH_HAS; i++) {
        const int set = i * LANES + lane;
        key[i] = set < ALL_BLOCKS * SETS ? screen_key(found[set]) : 0;
    }
#pragma unroll 1
    for (uint bit = 1u << 31; bit > 0x8000; bit /= 2) {
        int reach = 0;
        for (int i = 0; i < EACH_HAS; i++)
            reach += key[i] >= (least | bit);
        least |= simd_sum(reach) >= topk ? bit : 0;
    }
    return as_type<float>(least >> 31 ? least & 0x7fffffffu : ~least);
}

//@ screen_persistent : screen warp_row
/* A low-bit copy: its codes, factors for each 8 rows; activations, and as int8 with a scale. */
struct bn_lowbit {
    const uchar *codes;
    const float *about;
};
struct bn_activations {
    const float *x;
    const char *q;
    const float *s;
};
/* A block's share of the n rows: `count` units of WARPS rows, one a warp, from row `from` on. A warp's
 * rows are mine + u WARPS; `bound` has their upper bounds, then their logits. */
struct bn_screen_share {
    int n, from, count, lane, warp, mine;
    float *bound;
};
/* Bounds the logits of the warp's rows; leaves in tg its row that looks largest, and how large. */
static inline void screen_bounds(const bn_screen_share &s, bn_lowbit copy, const char *q, int k,
                                 const bn_slack &slack, bn_screen *tg)
{
    const int wide = (k + 127) / 128 * 128;
    const uchar *low = copy.codes, *low2 = low + ulong((s.n + 7) / 8 * 8) * (wide / 2);
    float top = -INFINITY;
    int largest = -1;
#pragma unroll 1
    for (int u = 0; u < s.count; u += SIDE) {
        const uchar *w4[SIDE], *w2[SIDE];
        int row[SIDE], sum[SIDE] = {};
        float of[SIDE][3];
        for (int i = 0; i < SIDE; i++) { /* units beyond the last repeat it */
            row[i] = min(s.mine + min(u + i, s.count - 1) * WARPS, s.n - 1);
            w4[i] = low + ulong(row[i]) * (wide / 2);
            w2[i] = low2 + ulong(row[i]) * (wide / 4);
            for (int j = 0; j < 3; j++)
                of[i][j] = copy.about[row[i] / 8 * 40 + row[i] % 8 + (j ? 8 * j + 16 : 0)];
        }
        screen_sums(w4, w2, q, wide, s.lane, sum);
        for (int i = 0; i < SIDE; i++) {
            const bn_bound is = screen_bound(slack, sum[i], of[i][0], of[i][1], of[i][2]);
            if (is.about > top && s.mine + (u + i) * WARPS < s.n) { /* not a repeated one */
                top = is.about;
                largest = row[i];
            }
            if (s.lane == 0 && u + i < s.count)
                s.bound[u + i] = is.most;
        }
    }
    if (s.lane == 0) {
        tg->row[s.warp] = largest;
        tg->top[s.warp] = top;
    }
}
/* Computes the row that looks largest in the warp's set; its logit is a candidate. */
template <typename W>
static inline float screen_candidate(const bn_screen_share &s, const uchar *w, const float *x,
                                     int k, uint me, const bn_screen *tg)
{
    float top = -INFINITY;
    int largest = -1;
    for (int i = s.warp * SET; i < (s.warp + 1) * SET; i++)
        if (i == s.warp * SET || tg->top[i] > top) {
            top = tg->top[i];
            largest = tg->row[i];
        }
    return largest < 0 ? -INFINITY : warp_row<W>(w, x, k, largest, me);
}
/* Computes the warp's rows whose bound reaches the threshold; -INFINITY for the others. */
template <typename W>
static inline void screen_logits(const bn_screen_share &s, const uchar *w, const float *x, int k,
                                 float threshold, uint me)
{
#pragma unroll 1
    for (int u = 0; u < s.count; u += LANES) {
        const int mine = u + s.lane;
        const bool may = mine < s.count && s.mine + mine * WARPS < s.n &&
                         !(s.bound[min(mine, s.count - 1)] < threshold);
        uint left = uint(simd_sum(may ? int(1u << s.lane) : 0));
        if (mine < s.count && !may)
            s.bound[mine] = -INFINITY;
#pragma unroll 1
        for (int i = 0; i < LANES; i++) {
            if (!(left >> i & 1))
                continue; /* the whole warp */
            const float logit = warp_row<W>(w, x, k, s.mine + (u + i) * WARPS, me);
            if (s.lane == 0)
                s.bound[u + i] = logit < threshold ? -INFINITY : logit;
        }
    }
}
/* y[r] = sum_k w[r][k] x[k], bit-exact as of linear, where that may be among the `topk` largest,
 * else -INFINITY. w, y: the lm_head [n x k] and all logits, in the host's memory. found: a candidate
 * for each set of all blocks, in the state. */
template <typename W>
static inline void screen_persistent(const uchar *w, bn_lowbit copy, bn_activations in, float *y,
                                     int topk, int n, int k, float *found, const bn_step &step,
                                     bn_grid &grid, uint b, uint me, bn_screen *tg, float *bounds)
{
    const int units = (n + WARPS - 1) / WARPS, from = share_from(units, b) * WARPS,
              count = share_from(units, b + 1) - share_from(units, b), warp = int(me / LANES);
    const bn_screen_share share = {
        n, from, count, int(me % LANES), warp, from + warp, bounds + warp * SHARE(units)};
    for (int i = int(me); i < count * WARPS; i += THREADS)
        if (from + i < n)
            y[from + i] = -INFINITY;
    const bn_slack slack = screen_start(in.x, in.q, *in.s, k, me, tg);
    screen_bounds(share, copy, in.q, k, slack, tg);
    __syncthreads();
    if (warp < SETS) {
        const float logit = screen_candidate<W>(share, w, in.x, k, me, tg);
        if (share.lane == 0)
            peer_store(step, found + b * SETS + warp, logit);
    }
    grid_arrive(step, grid);
    grid_wait(grid);
    if (warp == 0) {
        const float threshold = screen_threshold(found, topk, share.lane);
        if (share.lane == 0)
            tg->threshold = threshold;
    }
    __syncthreads();
    screen_logits<W>(share, w, in.x, k, tg->threshold, me);
    __syncthreads();
    for (int i = int(me); i < count * WARPS; i += THREADS) {
        const float v = bounds[i % WARPS * SHARE(units) + i / WARPS];
        if (from + i < n && v != -INFINITY)
            y[from + i] = v;
    }
}
