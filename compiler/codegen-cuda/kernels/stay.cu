/* stay.cu: a decode step whose blocks stay: one launch of BN_BLOCKS blocks, one a multiprocessor,
 * which meet where the plan has a barrier. A layer's code has to stay in the cache of instructions:
 * what only some threads do, or the rare case, is called, not inlined. Work on one token each
 * repeats for itself, in its own shared memory; rows of a product it takes a share of, and the same
 * in every layer, so that of the next layer is on its way while the block multiplies by another:
 *
 *   shared   | own values | scratch | sums | marks | scales | part of matrix 0 | of 1 | ... |
 *
 * A part is a share's blocks of 4 rows of one matrix, as they stand in the weights; a matrix whose
 * part finds no room is read in the card's memory.
 */

//@ stay : group cards
/* Share b of n units, fewer than 2^32 / ALL_BLOCKS: units share_from(n, b) to share_from(n, b + 1),
 * SHARE(n) at most. */
#define SHARE(n) (((n) + ALL_BLOCKS - 1) / ALL_BLOCKS)
/* The thread that asks for parts and brings to the cache: of the last warp, which most products
 * leave without rows. */
enum { ASKS = THREADS - LANES };
static inline int share_from(int n, uint b)
{
    return int(uint(n) * b / ALL_BLOCKS);
}

/* A step's position, token and number of best words, from the host's memory, for the card's blocks:
 * by one thread, for the blocks' own reads would come one behind the other, 1 us each. */
static inline void step_given(const bn_step &step, bn_step *to, int *token)
{
    const bn_step *from = (const bn_step *)((const uchar *)to + step.host);
    const int pos = *(const volatile int *)&from->pos, best = *(const volatile int *)&from->best;
    *token = *(const volatile int *)((const uchar *)token + step.host);
    to->pos = pos;
    to->best = best;
}

/* Where a matrix's part of a layer arrives, and whether there is such a place; the mark on which
 * arrivals are counted; how many of them have been waited for; this layer's scale.
 */
struct bn_part {
    uchar *at;
    bool here;
    ulong *mark;
    uint turn;
    const float *scale;
};

/* A product's share in a matrix of n x k: where it begins, its bytes. */
static inline ulong share_at(int n, int k, uint b)
{
    return ulong(share_from((n + 3) / 4, b)) * ((k + 127) / 128 * 128);
}
static inline uint share_bytes(int n, int k, uint b)
{
    return uint(share_at(n, k, b + 1) - share_at(n, k, b));
}

/* One thread asks for a layer's part of the matrix at `w`. All of the block have done with the part
 * before it. */
static __noinline__ __device__ void part_ask(uchar *at, ulong *mark, const uchar *from, uint bytes)
{
    part_expect(mark, bytes);
    part_copy(at, from, bytes, mark);
}
static inline void part_next(const bn_part &p, const uchar *w, int n, int k, uint b)
{
    const uint bytes = share_bytes(n, k, b);
    if (p.here && bytes)
        part_ask(p.at, p.mark, w + share_at(n, k, b), bytes);
}

/* Brings to the L2 cache what a layer ahead needs, each block of a card some lines of it. */
static inline void bring(const uchar *from, uint bytes, uint here, uint me)
{
#pragma unroll 1
    for (uint i = here; me == ASKS && i < (bytes + 127) / 128; i += BN_BLOCKS)
        bring_line(from + 128 * i);
}

//@ share_sums : stay
/* A block's share of a matrix: `blocks` blocks of 4 rows, which come in units of 2 to the matrix
 * unit, as many as the largest share has; where its rows' sums stand. */
struct bn_matrix {
    const uchar *w;
    int blocks, units;
    int *sum;
};
/* When it has come. */
static inline bn_matrix matrix_of(const uchar *w, int n, int k, bn_part &p, uint b, int *sum)
{
    const int blocks = share_from((n + 3) / 4, b + 1) - share_from((n + 3) / 4, b);
    if (p.here && blocks)
        part_wait(p.mark, p.turn++ & 1);
    return {p.here ? in_shared(p.at) : w + share_at(n, k, b), blocks, (SHARE((n + 3) / 4) + 1) / 2,
            sum};
}
/* Adds to a row's sum what the share has of sum_k w[r][k] q[k], for `count` matrices of one width.
 * A warp takes 8 rows and some pairs of q2r4's steps, 128 columns each, to the matrix unit. Lane 4
 * g + t has bytes 8 t .. 8 t + 7 of row g in each step, with codes w + 1 of four planes at bits 2
 * p: the first 4 of them are the unit's row g, the others its row g + 8. What they meet stands in
 * the unit's 8 columns:
 *
 *   column   | first 4: plane 0 | plane 1 | plane 2 | plane 3 | others: plane 0 | .. |
 *
 * Each plane's sum is the difference of two, by all planes up to it and by those below, 4^p too
 * large. Exact for K below 2^16.
 */
static inline void share_sums(const bn_matrix *m, int count, const char *q, int k, uint me)
{
    const int steps = (k + 127) / 128, pairs = (steps + 1) / 2;
    const int lane = int(afresh(me) % LANES), g = lane / 4, t = lane % 4;
    int units = 0;
    for (int i = 0; i < count; i++)
        units += m[i].units;
    const int parts = units < GROUPS ? GROUPS / units : 1;
#pragma unroll 1
    for (int u = int(afresh(me) / LANES); u < units * parts; u += GROUPS) {
        const int part = u / units, end = pairs * (part + 1) / parts;
        int first = u % units;
        bn_matrix mine = m[0];
        for (int i = 1, before = m[0].units; i < count; before += m[i++].units)
            if (u % units >= before) {
                mine = m[i];
                first = u % units - before;
            }
        if (2 * first >= mine.blocks)
            continue; /* the whole warp */
        const uchar *row =
            mine.w + min(2 * first + g / 4, mine.blocks - 1) * (128 * steps) + g % 4 * 32 + 8 * t;
        const char *in = q + g % 4 * 32 + 8 * t + g / 4 * 4;
        int sums[4][4] = {}, over = 0;
#pragma unroll 1
        for (int j = pairs * part / parts; j < end; j++) {
            const bool both = steps % 2 == 0 || 2 * j + 1 < steps;
            const uint2 x = *(const uint2 *)(row + 256 * j),
                        z = *(const uint2 *)(row + 256 * j + (both ? 128 : 0));
            const uint by[2] = {*(const uint *)(in + 256 * j),
                                both ? *(const uint *)(in + 256 * j + 128) : 0};
            for (int p = 0; p < 4; p++) {
                const uint mask = 0x01010101u * ((4u << 2 * p) - 1),
                           a[4] = {x.x & mask, x.y & mask, z.x & mask, z.y & mask};
                tile_multiply(sums[p], a, by);
            }
            over = __dp4a(0x01010101, int(by[0]), __dp4a(0x01010101, int(by[1]), over));
        }
        over = simd_sum(over);
        int even[4], odd[4]; /* of a column by planes 0 .. p, of the one beside it */
        for (int p = 0; p < 4; p++) {
            even[p] = t < 2 ? sums[p][0] : sums[p][2];
            odd[p] = t < 2 ? sums[p][1] : sums[p][3];
        }
        const int value = t % 2 ? ((even[2] - even[1]) >> 4) + ((odd[3] - odd[2]) >> 6)
                                : even[0] + ((odd[1] - odd[0]) >> 2);
        if (2 * first + g / 4 < mine.blocks)
            atomicAdd(&mine.sum[8 * first + g], t ? value : value - over);
    }
}

/* The row that a thread writes out, last warps first: they have less to sum up. Products that meet
 * together begin some warps further on. */
static inline uint row_of(uint me, uint warps)
{
    return ((me ^ (THREADS - LANES)) + THREADS - warps * LANES) % THREADS;
}
/* What a thread has ready for row `row` of its block's when the sums are there: a residual, scales
 * by the activations' one. */
struct bn_ready {
    float before, scale, second;
};

//@ tmatmul_stay : share_sums
/* y[r] = (sum_k w[r][k] q[k]) c[0] / s (+ res[r]) for the block's share of rows; y may be res. What
 * is ready before the sums, and, when the block's threads have met behind them, the rows, row, row
 * + THREADS, .. of them each. Rows of sums are zeros before and behind:
 *
 *   sum   | rows [4 SHARE] | of a second matrix [4 SHARE] |
 */
static inline bn_ready tmatmul_stay(const uchar *w, const float *c, const char *q, const float *s,
                                    const float *res, float *y, int T, int n, int k,
                                    const bn_part &p, uint b, uint row)
{
    const int r = 4 * share_from((n + 3) / 4, b) + int(row);
    bn_ready ready = {0, 0, 0};
    if (row < 4 * SHARE((n + 3) / 4)) {
        ready.before = res && r < n ? res[r] : 0;
        ready.scale = (p.mark ? p.scale[0] : c[0]) / s[0];
    }
    return ready;
}
static inline void tmatmul_stay_end(const uchar *w, const float *c, const char *q, const float *s,
                                    const float *res, float *y, int T, int n, int k, bn_part &p,
                                    bn_ready ready, const bn_step &step, uint b, uint row, int *sum)
{
    const int from = share_from((n + 3) / 4, b), blocks = share_from((n + 3) / 4, b + 1) - from;
#pragma unroll 1
    for (int i = int(row); i < 4 * blocks; i += THREADS) {
        const int r = 4 * from + i;
        if (r < n)
            give(step, y + r,
                 fma(float(sum[i]), ready.scale,
                     i == int(row) ? ready.before
                     : res         ? res[r]
                                   : 0));
        sum[i] = 0;
        if (4 * SHARE((n + 3) / 4) <= THREADS)
            break; /* known to the compiler: there is no loop */
    }
    p.scale++;
}

//@ tglu_stay : share_sums glu_act
/* y = act(gate) * up. */
static inline bn_ready tglu_stay(const uchar *wg, const float *cg, const uchar *wu, const float *cu,
                                 const char *q, const float *s, float *y, int act, int T, int n,
                                 int k, const bn_part &gate, const bn_part &up, uint b, uint row)
{
    bn_ready ready = {0, 0, 0};
    if (row < 4 * SHARE((n + 3) / 4)) {
        ready.scale = (gate.mark ? gate.scale[0] : cg[0]) / s[0];
        ready.second = (up.mark ? up.scale[0] : cu[0]) / s[0];
    }
    return ready;
}
static inline void tglu_stay_end(const uchar *wg, const float *cg, const uchar *wu, const float *cu,
                                 const char *q, const float *s, float *y, int act, int T, int n,
                                 int k, bn_part &gate, bn_part &up, bn_ready ready,
                                 const bn_step &step, uint b, uint row, int *sum)
{
    const int from = share_from((n + 3) / 4, b), blocks = share_from((n + 3) / 4, b + 1) - from;
    int *second = sum + 4 * SHARE((n + 3) / 4);
#pragma unroll 1
    for (int i = int(row); i < 4 * blocks; i += THREADS) {
        if (4 * from + i < n)
            give(step, y + 4 * from + i,
                 glu_act(float(sum[i]) * ready.scale, float(second[i]) * ready.second, act));
        sum[i] = second[i] = 0;
        if (4 * SHARE((n + 3) / 4) <= THREADS)
            break;
    }
    gate.scale++;
    up.scale++;
}

//@ attention_stay : attend_chunk cache_row stay
/* rope_attention: a unit is a chunk of positions and a head. Where there are several chunks, each
 * leaves its part, and when all blocks have met, they share the values, which are added up in the
 * order of positions.
 *
 *   parts   | [heads][chunks]: most, sum, value [dim] |
 */
enum { AT_ONCE = 8 }; /* parts on their way to be added up */
static inline void attention_add(const bn_step &step, const float *parts, float *y, int heads,
                                 int chunks, int dim, uint b, uint me)
{
    const int each = dim + 2, end = share_from(heads * dim, b + 1);
#pragma unroll 1
    for (int i = share_from(heads * dim, b) + int(me); i < end; i += THREADS) {
        const float *part = parts + ulong(i / dim) * chunks * each;
        attend_run run = {-INFINITY, 0, 0};
#pragma unroll 1
        for (int first = 0; first < chunks; first += AT_ONCE) {
            float from[AT_ONCE][3];
            for (int j = 0; j < AT_ONCE; j++) {
                const float *at = part + min(first + j, chunks - 1) * each;
                from[j][0] = at[0];
                from[j][1] = at[1];
                from[j][2] = at[2 + i % dim];
            }
            for (int j = 0; j < AT_ONCE; j++)
                if (first + j < chunks)
                    attend_add(run, from[j][0], from[j][1], from[j][2]);
        }
        give(step, y + i, run.value / run.sum);
    }
}
/* A unit's query, rotated, to tg; where the unit has the last position, its key and value to the
 * cache, which heads of one KV head store alike, and to `now`. Threads have pairs of the query,
 * then of the key, then values. */
template <typename K>
static inline void attention_take(const bn_step &step, const float *q, const float *key,
                                  const float *value, const float *table, K *kcache, K *vcache,
                                  bool last, int dim, int rot, int mode, uint me, float *tg, K *now)
{
    const int pairs = (rot / 2) + (dim - rot / 2 * 2);
#pragma unroll 1
    for (int i = int(me); i < (last ? 2 * pairs + dim : pairs); i += THREADS) {
        const int j = i % pairs;
        const bool query = i < pairs;
        const float *x = query ? q : key;
        const int a = mode == BN_NEOX ? j : 2 * j, b = mode == BN_NEOX ? j + rot / 2 : 2 * j + 1;
        if (i >= 2 * pairs) {
            const int d = i - 2 * pairs;
            give(step, vcache + d, now[dim + d] = K(value[d]));
        } else if (j >= rot / 2) {
            const int d = j + rot / 2;
            if (query)
                tg[d] = x[d];
            else
                give(step, kcache + d, now[d] = K(x[d]));
        } else {
            const float u = x[a], v = x[b], c = table[2 * j], s = table[2 * j + 1];
            const float ya = fma(u, c, -(v * s)), yb = fma(u, s, v * c);
            if (query) {
                tg[a] = ya;
                tg[b] = yb;
            } else {
                give(step, kcache + a, now[a] = K(ya));
                give(step, kcache + b, now[b] = K(yb));
            }
        }
    }
}
/* Brings to the L2 cache what each of the block's units reads, where all heads have one chunk; else
 * its first pass, for more would be in the way of the weights. */
template <typename K>
static inline void attention_bring(const K *kcache, const K *vcache, int pos, int heads, int groups,
                                   int context, int dim, int chunk, uint b, uint me)
{
#pragma unroll 1
    for (int u = int(b); me == ASKS && u < heads * (pos / chunk + 1); u += ALL_BLOCKS) {
        const int n = min(pos - u / heads * chunk, int(pos < CHUNK ? CHUNK : PASS));
        const ulong at = cache_row(u % heads / (heads / groups), context, u / heads * chunk, dim);
        const uint bytes = uint(ulong(n) * dim * sizeof(K)) / 16 * 16;
        if (bytes && at * sizeof(K) % 16 == 0) {
            bring_bytes(kcache + at, bytes);
            bring_bytes(vcache + at, bytes);
        }
    }
}
/* The first pass's rows of the block's first unit, but for the last position's: they are there
 * before this step. */
template <typename K>
static inline void attention_ahead(bn_cached<K> &rows, const K *kcache, const K *vcache, int pos,
                                   int heads, int groups, int context, int dim, int chunk, uint b,
                                   uint me)
{
    const int h = int(b) % heads / (heads / groups), c = int(b) / heads;
    const ulong at = cache_row(h, context, c * chunk, dim);
    if (c <= pos / chunk)
        rows_load(rows, kcache + at, vcache + at, 0, min(pos - c * chunk, chunk), dim, me);
}
/* `rows`: by attention_ahead; chunk: chunk_of(pos + 1, heads), which a step asks for once. */
template <typename K>
static inline void attention_stay(const float *q, const float *key, const float *value,
                                  const float *table, K *kcache, K *vcache, float *y, int pos,
                                  int heads, int groups, int context, int dim, int rot, int mode,
                                  float *parts, int chunk, bn_cached<K> &rows, const bn_step &step,
                                  uint *met, uint &all, uint b, uint me, float *tg)
{
    const int chunks = pos / chunk + 1;
    K *now = (K *)(tg + dim + 2 * GROUPS + GROUPS * dim);
#pragma unroll 1
    for (int u = int(b); u < heads * chunks; u += ALL_BLOCKS) {
        const int head = u % heads, c = u / heads, h = head / (heads / groups),
                  n = min(pos - c * chunk + 1, chunk);
        const ulong cache = cache_row(h, context, 0, dim), at = cache + ulong(c) * chunk * dim,
                    last = cache + ulong(pos) * dim;
        const bool loaded = u == int(b);
        if (!loaded)
            __syncthreads();
        attention_take(step, q + head * dim, key + h * dim, value + h * dim, table, kcache + last,
                       vcache + last, c == chunks - 1, dim, rot, mode, me, tg, now);
        __syncthreads();
        if (loaded && c == chunks - 1 && n <= PASS)
            rows_load(rows, now, now + dim, n - 1, n, dim, me);
        const attend_run run =
            attend_chunk(rows, loaded, kcache + at, vcache + at, n, 1, dim, me, tg);
        if (int(me) >= dim)
            continue;
        if (chunks == 1) {
            give(step, y + head * dim + me, run.value / run.sum);
        } else {
            float *part = parts + (ulong(head) * chunks + c) * (dim + 2);
            give(step, part + 2 + me, run.value);
            if (me == 0) {
                give(step, part, run.most);
                give(step, part + 1, run.sum);
            }
        }
    }
    if (chunks > 1) {
        grid_arrive(step, met);
        grid_wait(met, all += ALL_BLOCKS);
        attention_add(step, parts, y, heads, chunks, dim, b, me);
    }
}

//@ rmsnorm_quant_stay : rmsnorm_quant_rows stay
/* rmsnorm_quant_rows with the gains in registers: gain_ahead brings them while others are waited
 * for. */
struct bn_gains {
    float4 by[HOLDS];
};
static inline void gain_ahead(const float *gain, int k, uint me, bn_gains &gains)
{
    for (int i = 0; i < HOLDS && i * STRIDE < k && row_held(k); i++)
        gains.by[i] = four(gain, 4 * int(me) + i * STRIDE, k);
}
static inline void rmsnorm_quant_stay(const float *x, const float *gain, char *q, float *s, int k,
                                      float eps, const bn_gains &gains, uint g, uint me, float *tg)
{
    float4 v[HOLDS];
    if (!row_held(k)) {
        rmsnorm_quant(x, gain, q, s, k, eps, g, me, tg);
        return;
    }
    for (int i = 0; i < HOLDS && i * STRIDE < (k + 127) / 128 * 128; i++)
        v[i] = four(x, 4 * int(me) + i * STRIDE, k);
    rmsnorm_quant_held(v, gains.by, q, s, k, eps, me, tg);
}
