/* avx2_fr4.c: many tokens by ternary weights without multiplying, AVX2 ("four Russians").
 *
 * One idea: 4 trits have 81 sums. For 16 tokens (int16 lanes) and 8 groups of 4 k, all 8 * 81 sums
 * are built once, 20 KB that stay in L1; then a row of weights is 8 loads and 8 adds for 512
 * products. What a row needs is where its sums lie: weights are unpacked to those offsets once for
 * up to 64 tokens. Loads bound it, two a cycle, so accumulators go through memory as seldom as L1
 * allows. The core knows no weight layout; each layout has an unpack of its own.
 *
 * scratch (work), 64-byte aligned, for a panel of R rows and G tiles of 16 tokens:
 *
 *   sums   [8][81][16] int16     group, weights, token
 *   turned [128][16]   int8      activations of a step, k first
 *   at     [4][R][8]   uint16    pass, row, group: byte offsets into a group's sums
 *   low    [G][R][16]  int16     the sums so far are 1024 * high + low
 *   high   [G][R][16]  int16
 */
#ifndef BN_KERNELS_AVX2_Q2
#include "avx2_q2.c"
#endif
#define BN_KERNELS_AVX2_FR4 /* avx2_fr3.c uses chunks of this file */

//@ fr4_avx2 : out4 act4 qpad
/* A layout: unpack(w, k, row, rows, step, at, R) gives the offsets of rows [row, row + rows) in one
 * step, `step` k, each pass 32 of them, as at[pass][0 .. rows). Digit d (worth 3^d) of group g in
 * pass p is k = first + pass * p + group * g + digit * d of the step; where passes do not
 * interleave (pass is 32), those past K are left out. */
enum { FR4_TILES = 4, FR4_SUMS = 81 * 32, FR4_FIXED = 8 * FR4_SUMS + 128 * 16 };
enum { FR4_PANEL = 800 * 1024 }; /* bytes for the rest: 2560 rows by 64 tokens */
/* One copy for all calls of a model: ten would be a quarter of a megabyte. */
#define FR4_ONCE static __attribute__((noinline, unused))
typedef struct fr4_layout {
    void (*unpack)(const uint8_t *w, int k, int row, int rows, int step, uint16_t *at, int panel);
    int unit, step, first, pass, group, digit; /* unit: rows that unpack takes at a time */
} fr4_layout;

/* For unpack: 16 groups' numbers as offsets. */
BN_INLINE void fr4_offsets(uint16_t *at, __m128i numbers)
{
    _mm256_storeu_si256((__m256i *)at, _mm256_slli_epi16(_mm256_cvtepu8_epi16(numbers), 5));
}

/* 16 k of up to 16 tokens (rows of q, `stride` bytes), k first; tokens past `toks` are zero. */
BN_INLINE void fr4_turn(const int8_t *q, size_t stride, int toks, int8_t *out)
{
    __m128i a[16], b[16];

    for (int t = 0; t < 16; t++)
        a[t] = t < toks ? _mm_loadu_si128((const __m128i *)(q + (size_t)t * stride))
                        : _mm_setzero_si128();
    for (int i = 0; i < 2; i++) {
        for (int t = 0; t < 8; t++) {
            b[2 * t] = _mm_unpacklo_epi8(a[t], a[t + 8]);
            b[2 * t + 1] = _mm_unpackhi_epi8(a[t], a[t + 8]);
        }
        for (int t = 0; t < 8; t++) {
            a[2 * t] = _mm_unpacklo_epi8(b[t], b[t + 8]);
            a[2 * t + 1] = _mm_unpackhi_epi8(b[t], b[t + 8]);
        }
    }
    for (int i = 0; i < 16; i++)
        _mm_store_si128((__m128i *)(out + 16 * i), a[i]);
}

/* What fr4_turn will want of the next tile; by then it would have left the caches. */
BN_INLINE void fr4_fetch(const int8_t *q, size_t stride, int toks)
{
    for (int t = 0; t < 16 && t < toks; t++) {
        _mm_prefetch((const char *)(q + (size_t)t * stride), _MM_HINT_T0);
        _mm_prefetch((const char *)(q + (size_t)t * stride + 64), _MM_HINT_T0);
    }
}

BN_INLINE __m256i fr4_load(const int8_t *x)
{
    return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)x));
}

BN_INLINE void fr4_put(uint8_t *sums, int at, __m256i v)
{
    _mm256_store_si256((__m256i *)(sums + 32 * at), v);
}

/* The 81 sums of a group: number (wa + 1) + 3 (wb + 1) + 9 (wc + 1) + 27 (wd + 1) is
 * wa a + wb b + wc c + wd d, where digit d lies at x + d * next. Returns |a| + |b| + |c| + |d|. */
BN_INLINE __m256i fr4_sums(const int8_t *x, int next, uint8_t *sums)
{
    const __m256i a = fr4_load(x), b = fr4_load(x + next), c = fr4_load(x + 2 * next);
    const __m256i d = fr4_load(x + 3 * next), zero = _mm256_setzero_si256();
    const __m256i less = _mm256_sub_epi16(zero, a), sum = _mm256_add_epi16(a, b);
    const __m256i diff = _mm256_sub_epi16(a, b);
    const __m256i two[9] = {_mm256_sub_epi16(zero, sum),
                            _mm256_sub_epi16(zero, b),
                            diff,
                            less,
                            zero,
                            a,
                            _mm256_sub_epi16(zero, diff),
                            b,
                            sum};

#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) {
        const __m256i low = _mm256_sub_epi16(two[i], c), high = _mm256_add_epi16(two[i], c);
        fr4_put(sums, i, _mm256_sub_epi16(low, d));
        fr4_put(sums, i + 9, _mm256_sub_epi16(two[i], d));
        fr4_put(sums, i + 18, _mm256_sub_epi16(high, d));
        fr4_put(sums, i + 27, low);
        fr4_put(sums, i + 36, two[i]);
        fr4_put(sums, i + 45, high);
        fr4_put(sums, i + 54, _mm256_add_epi16(low, d));
        fr4_put(sums, i + 63, _mm256_add_epi16(two[i], d));
        fr4_put(sums, i + 72, _mm256_add_epi16(high, d));
    }
    return _mm256_add_epi16(_mm256_add_epi16(_mm256_abs_epi16(a), _mm256_abs_epi16(b)),
                            _mm256_add_epi16(_mm256_abs_epi16(c), _mm256_abs_epi16(d)));
}

/* One pass: 8 groups of `rows` rows (one at least) by 16 tokens. Compilers take twice the
 * instructions for the offsets, and those are what is short; bextr (BMI1) is in every processor
 * with AVX2. */
#define FR4_FOUR(at, group)                                                                        \
    "movq " #at "(%[at],%[i]), %%rax\n\t"                                                          \
    "movzwl %%ax, %%ecx\n\t"                                                                       \
    "bextr %[second], %%rax, %%rdx\n\t"                                                            \
    "vpaddw " #group "*2592(%[sums],%%rcx), %%ymm0, %%ymm0\n\t"                                    \
    "bextr %[third], %%rax, %%rcx\n\t"                                                             \
    "shrq $48, %%rax\n\t"                                                                          \
    "vpaddw (" #group "+1)*2592(%[sums],%%rdx), %%ymm0, %%ymm0\n\t"                                \
    "vpaddw (" #group "+2)*2592(%[sums],%%rcx), %%ymm0, %%ymm0\n\t"                                \
    "vpaddw (" #group "+3)*2592(%[sums],%%rax), %%ymm0, %%ymm0\n\t"
BN_INLINE void fr4_rows(const uint16_t *at, const uint8_t *sums, int16_t *low, int rows)
{
    int64_t i = -16 * (int64_t)rows;

    __asm__ volatile(".p2align 5\n"
                     "1:\n\t"
                     "vmovdqa (%[low],%[i],2), %%ymm0\n\t" FR4_FOUR(0, 0)
                         FR4_FOUR(8, 4) "vmovdqa %%ymm0, (%[low],%[i],2)\n\t"
                                        "addq $16, %[i]\n\t"
                                        "jnz 1b"
                     : [i] "+&r"(i)
                     : [low] "r"(low - i), [at] "r"(at - i / 2), [sums] "r"(sums),
                       [second] "r"((uint64_t)0x1010), [third] "r"((uint64_t)0x1020)
                     : "rax", "rcx", "rdx", "xmm0", "memory", "cc");
}

/* Moves multiples of 1024 from low to high: low in 0 .. 1023 again. Room in high for K < 2^17. */
BN_INLINE void fr4_flush(int16_t *low, int16_t *high, int rows)
{
    for (int i = 0; i < 16 * rows; i += 16) {
        __m256i *l = (__m256i *)(low + i), *h = (__m256i *)(high + i), v = _mm256_load_si256(l);
        _mm256_store_si256(l, _mm256_and_si256(v, _mm256_set1_epi16(1023)));
        v = _mm256_srai_epi16(v, 10);
        _mm256_store_si256(h, _mm256_add_epi16(_mm256_load_si256(h), v));
    }
}

/* One step of a tile: `passes` passes. bound: what |low| cannot exceed, each token, saturating;
 * where it might reach 32767 low is flushed first. */
BN_INLINE __m256i fr4_step(const fr4_layout *l, const int8_t *turned, uint8_t *sums,
                           const uint16_t *at, int16_t *low, int16_t *high, int rows, int panel,
                           int passes, __m256i bound)
{
    for (int p = 0; p < passes; p++) {
        const int8_t *x = turned + 16 * (l->first + l->pass * p);
        __m256i more = _mm256_setzero_si256(), full;
        for (int g = 0; g < 8; g++)
            more = _mm256_add_epi16(
                more, fr4_sums(x + 16 * l->group * g, 16 * l->digit, sums + g * FR4_SUMS));
        bound = _mm256_adds_epi16(bound, more);
        full = _mm256_cmpeq_epi16(bound, _mm256_set1_epi16(32767));
        if (!_mm256_testz_si256(full, full)) {
            fr4_flush(low, high, rows);
            bound = _mm256_add_epi16(more, _mm256_set1_epi16(1023));
        }
        fr4_rows(at + 8 * (size_t)p * (size_t)panel, sums, low, rows);
    }
    return bound;
}

/* The sums of 4 rows by 16 tokens: lane r of codes[t] is row r for token t. */
BN_INLINE void fr4_codes(const int16_t *low, const int16_t *high, __m128i *codes)
{
    const __m256i unit = _mm256_set1_epi32(1024 << 16 | 1);
    __m256i a[4], b[4], v[8];

    for (int r = 0; r < 4; r++) {
        __m256i l = _mm256_load_si256((const __m256i *)(low + 16 * r));
        __m256i h = _mm256_load_si256((const __m256i *)(high + 16 * r));
        a[r] = _mm256_madd_epi16(_mm256_unpacklo_epi16(l, h), unit);
        b[r] = _mm256_madd_epi16(_mm256_unpackhi_epi16(l, h), unit);
    }
    for (int i = 0; i < 2; i++) {
        const __m256i *u = i ? b : a;
        __m256i ab = _mm256_unpacklo_epi32(u[0], u[1]), cd = _mm256_unpacklo_epi32(u[2], u[3]);
        v[4 * i] = _mm256_unpacklo_epi64(ab, cd);
        v[4 * i + 1] = _mm256_unpackhi_epi64(ab, cd);
        ab = _mm256_unpackhi_epi32(u[0], u[1]);
        cd = _mm256_unpackhi_epi32(u[2], u[3]);
        v[4 * i + 2] = _mm256_unpacklo_epi64(ab, cd);
        v[4 * i + 3] = _mm256_unpackhi_epi64(ab, cd);
    }
    for (int t = 0; t < 8; t++) {
        codes[t] = _mm256_castsi256_si128(v[t]);
        codes[t + 8] = _mm256_extracti128_si256(v[t], 1);
    }
}

/* Writes a tile: rows [row, row + rows) of y, for `toks` tokens; a cache line of each token's at a
 * time. Where there is cu, the sums of the second matrix follow `rows` rows behind the first's. */
BN_INLINE void fr4_finish(const int16_t *low, const int16_t *high, const float *c, const float *cu,
                          const float *s, const float *res, float *y, int act, int toks, int n,
                          int row, int rows)
{
    const int up = 16 * rows, end = n - row < rows ? n - row : rows;

    for (int r = 0; r < end; r += 16) {
        __m128i codes[4][16], codes_up[4][16];
        for (int i = 0; i < 4; i++) { /* past the end, any rows */
            const int at = 16 * (r + 4 * i < end ? r + 4 * i : r);
            fr4_codes(low + at, high + at, codes[i]);
            if (cu)
                fr4_codes(low + up + at, high + up + at, codes_up[i]);
        }
        for (int t = 0; t < toks; t++) {
            const __m256d factor = _mm256_set1_pd((double)(c[0] / s[t]));
            const __m256d factor_up = _mm256_set1_pd(cu ? (double)(cu[0] / s[t]) : 0.0);
            for (int i = 0; i < 4 && r + 4 * i < end; i++) {
                const size_t at = (size_t)t * (size_t)n + (size_t)(row + r + 4 * i);
                const __m256d v = out4_times(codes[i][t], factor);
                if (cu)
                    out4_store(y + at, act4(v, out4_times(codes_up[i][t], factor_up), act),
                               end - r - 4 * i);
                else
                    out4(y + at, v, res ? res + at : NULL, end - r - 4 * i);
            }
        }
    }
}

/* A panel: rows [row, row + rows), a multiple of 4, of w (and of wu) by up to 64 tokens. */
BN_INLINE void fr4_panel(const fr4_layout *l, const uint8_t *w, const float *c, const uint8_t *wu,
                         const float *cu, const int8_t *q, const float *s, const float *res,
                         float *y, int act, int toks, int n, int k, int row, int rows, void *work)
{
    const size_t stride = BN_QPAD((size_t)k);
    const int both = wu ? 2 * rows : rows, tile = 16 * both, tiles = (toks + 15) / 16;
    uint8_t *sums = (uint8_t *)work;
    int8_t *turned = (int8_t *)work + 8 * FR4_SUMS;
    uint16_t *at = (uint16_t *)((uint8_t *)work + FR4_FIXED);
    int16_t *low = (int16_t *)(at + 32 * (size_t)both), *high = low + (size_t)tiles * tile;
    __m256i bound[FR4_TILES];

    memset(low, 0, 4 * (size_t)tiles * tile);
    for (int i = 0; i < FR4_TILES; i++)
        bound[i] = _mm256_setzero_si256();
    for (int j = 0; j * l->step < k; j++) {
        const int left = k - j * l->step < l->step ? k - j * l->step : l->step;
        const int passes = l->pass == 32 ? (left + 31) / 32 : l->step / 32;
        l->unpack(w, k, row, rows, j, at, both);
        if (wu)
            l->unpack(wu, k, row, rows, j, at + 8 * rows, both);
        for (int i = 0; i < tiles; i++) {
            const int8_t *x = q + 16 * (size_t)i * stride + (size_t)j * (size_t)l->step;
            const int some = toks - 16 * i < 16 ? toks - 16 * i : 16;
            for (int b = 0; b < 2 * passes; b++)
                fr4_turn(x + 16 * b, stride, some, turned + 256 * b);
            fr4_fetch(x + 16 * stride, stride, i + 1 < tiles ? toks - 16 * i - 16 : 0);
            bound[i] = fr4_step(l, turned, sums, at, low + (size_t)i * tile,
                                high + (size_t)i * tile, both, both, passes, bound[i]);
        }
    }
    for (int i = 0; i < tiles; i++) {
        const size_t first = 16 * (size_t)i;
        fr4_finish(low + i * (size_t)tile, high + i * (size_t)tile, c, cu, s + first,
                   res ? res + first * (size_t)n : NULL, y + first * (size_t)n, act,
                   toks - 16 * i < 16 ? toks - 16 * i : 16, n, row, rows);
    }
}

/* Rows [from, to), of which `from` is a multiple of the layout's unit: equal panels of rows that
 * fit the scratch, by equal parts of the tokens. */
BN_INLINE void fr4_run(const fr4_layout *l, const uint8_t *w, const float *c, const uint8_t *wu,
                       const float *cu, const int8_t *q, const float *s, const float *res, float *y,
                       int act, int T, int n, int k, int from, int to, void *work)
{
    const size_t stride = BN_QPAD((size_t)k);
    const int unit = l->unit, tiles = (T + 15) / 16, parts = (tiles + FR4_TILES - 1) / FR4_TILES;
    const int most = FR4_PANEL / 64 / (1 + (tiles + parts - 1) / parts) / (wu ? 2 : 1);
    const int panels = (to - from + most - 1) / (most / unit * unit);

    for (int p = 0; p < parts; p++) {
        const int t = tiles * p / parts * 16, end = tiles * (p + 1) / parts * 16;
        const size_t at = (size_t)t * (size_t)n;
        for (int i = 0, row = from; row < to; i++) {
            const int units = (to - row + unit - 1) / unit;
            const int rows = (units + panels - i - 1) / (panels - i) * unit;
            fr4_panel(l, w, c, wu, cu, q + (size_t)t * stride, s + t, res ? res + at : NULL, y + at,
                      act, (end < T ? end : T) - t, n, k, row, rows, work);
            row += rows;
        }
    }
}

//@ q2_fr4_avx2 : fr4_avx2 q2_core_avx2
/* Q2R4: a step is 128 k, byte i of a row's 32 is group i. Two rows at a time; the next blocks lie
 * too far apart for the processor to see them coming. */
BN_INLINE __m256i q2_fr4_number(const uint8_t *w)
{
    const __m256i m15 = _mm256_set1_epi8(15);
    const __m256i low = _mm256_setr_epi8(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0, 0, 1, 2, 0,
                                         3, 4, 5, 0, 6, 7, 8, 0, 0, 0, 0, 0);
    const __m256i high = _mm256_setr_epi8(0, 9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0, 0,
                                          9, 18, 0, 27, 36, 45, 0, 54, 63, 72, 0, 0, 0, 0, 0);
    const __m256i v = _mm256_loadu_si256((const __m256i *)w);

    return _mm256_add_epi8(
        _mm256_shuffle_epi8(low, _mm256_and_si256(v, m15)),
        _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(v, 4), m15)));
}

BN_INLINE void q2_fr4_unpack(const uint8_t *w, int k, int row, int rows, int step, uint16_t *at,
                             int panel)
{
    const size_t block = BN_QPAD((size_t)k), plane = 8 * (size_t)panel;

    w += (size_t)(row / 4) * block + 128 * (size_t)step;
    for (int r = 0; r < rows; r += 2, at += 16, w += r % 4 ? 64 : block - 64) {
        _mm_prefetch((const char *)((uintptr_t)w + 16 * block), _MM_HINT_T0);
        __m256i a = q2_fr4_number(w), b = q2_fr4_number(w + 32);
        __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
        fr4_offsets(at, _mm256_castsi256_si128(even));
        fr4_offsets(at + plane, _mm256_castsi256_si128(odd));
        fr4_offsets(at + 2 * plane, _mm256_extracti128_si256(even, 1));
        fr4_offsets(at + 3 * plane, _mm256_extracti128_si256(odd, 1));
    }
}

static const fr4_layout q2_fr4_layout = {q2_fr4_unpack, 4, 128, 0, 8, 1, 32};

/* Where tables pay: 16 tokens fill a tile and a table is used by many rows. What is left over, and
 * all else, goes to the multiplying kernel. */
enum { FR4_ROWS = 96, FR4_TOKENS = 8 };
FR4_ONCE void q2_fr4(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                     const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                     int n, int k, int from, int to, void *work)
{
    const int rest = T % 16 < FR4_TOKENS ? T % 16 : 0;
    const int many = (to - from) * (wu ? 8 : 4) < FR4_ROWS ? 0 : T - rest;
    const size_t at = (size_t)many * (size_t)n;

    if (many)
        fr4_run(&q2_fr4_layout, w, c, wu, cu, q, s, res, y, act, many, n, k, 4 * from, 4 * to,
                work);
    if (many < T)
        q2_run(&q2_core_avx2, w, c, wu, cu, q + (size_t)many * BN_QPAD((size_t)k), s + many,
               res ? res + at : NULL, y + at, act, T - many, n, k, from, to, 0);
}

//@ tmatmul_q2_fr_avx2 : q2_fr4_avx2
/* Bit-exact with tmatmul_q2 of scalar.c; work: scratch of this thread, work_FR4 bytes of targets.c. */
BN_INLINE void tmatmul_q2_fr_avx2(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                                  const float *res, float *y, int T, int n, int k, int from, int to,
                                  void *work)
{
    q2_fr4(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, work);
}

//@ tglu_q2_fr_avx2 : q2_fr4_avx2
/* Bit-exact with tglu_q2_avx2; work as above. */
BN_INLINE void tglu_q2_fr_avx2(const uint8_t *wg, const float *cg, const uint8_t *wu,
                               const float *cu, const int8_t *q, const float *s, float *y, int act,
                               int T, int n, int k, int from, int to, void *work)
{
    q2_fr4(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, work);
}
