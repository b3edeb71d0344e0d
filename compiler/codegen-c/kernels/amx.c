/* amx.c: 2-bit ternary weights (Q2R4) by the int8 activations of many tokens, AMX.
 *
 * One idea: activations are a tile as they lie, 16 tokens by 64 k, and the other side wants 4 k of
 * each of 16 columns together; so 16 rows of weights are turned while they are still packed (a
 * quarter of the work) and unpacked to codes 0, 1, 2 beside the tile products of the step before.
 * Two tiles of tokens by two of rows keep four tiles of sums, each tile read being used twice.
 *
 *   tiles 0 1 / 2 3   sums: tokens 0-15 / 16-31 by the first / second 16 rows
 *   tiles 4 / 5       activations of tokens 0-15 / 16-31
 *   tiles 6 7         codes of the first / second 16 rows
 *
 * scratch (work), 64-byte aligned:
 *
 *   sum   [32][32] int32          token, row
 *   bias  [T, up to 16] int32     sums of q
 *   panel [k / 64][2][16][16][4]  64 k, tile, 4 k, row, k: codes
 */
#ifndef BN_KERNELS_AVX512
#include "avx512.c"
#endif

//@ q2_amx : q2_core_avx512
typedef struct amx_rows { /* two tiles of rows: where their first blocks are, and how many real */
    const uint8_t *w[2];
    int blocks[2];
} amx_rows;

/* Compilers do not know that tile instructions read and write memory. */
BN_INLINE void amx_fence(void)
{
    __asm__ volatile("" ::: "memory");
}

/* One step of 4 blocks (w and each `stride` bytes), turned: out[i] holds 4 bytes of each row, of
 * its bytes 4i .. 4i + 3. Blocks past `blocks` are taken to be the first. */
BN_INLINE void amx_turn(const uint8_t *w, size_t stride, int blocks, __m512i *out)
{
    const __m512i low = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
    __m512i part[2][4];

#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) {
        const uint8_t *block = w + (b < blocks ? (size_t)b * stride : 0);
        const __m512i u = _mm512_loadu_si512(block), v = _mm512_loadu_si512(block + 64);
        part[0][b] = _mm512_permutex2var_epi32(u, low, v);
        part[1][b] = _mm512_permutex2var_epi32(u, high, v);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const __m512i a = _mm512_shuffle_i32x4(part[h][0], part[h][1], 0x44);
        const __m512i b = _mm512_shuffle_i32x4(part[h][2], part[h][3], 0x44);
        const __m512i c = _mm512_shuffle_i32x4(part[h][0], part[h][1], 0xee);
        const __m512i d = _mm512_shuffle_i32x4(part[h][2], part[h][3], 0xee);
        out[4 * h] = _mm512_shuffle_i32x4(a, b, 0x88);
        out[4 * h + 1] = _mm512_shuffle_i32x4(a, b, 0xdd);
        out[4 * h + 2] = _mm512_shuffle_i32x4(c, d, 0x88);
        out[4 * h + 3] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
}

/* A step of both tiles of rows: 128 k, two times 64 of the panel. */
BN_INLINE void amx_unpack(const amx_rows *r, size_t stride, int step, uint8_t *panel)
{
    const __m512i three = _mm512_set1_epi8(3);

    for (int j = 0; j < 2; j++) {
        uint8_t *out = panel + (size_t)step * 4096 + (size_t)j * 1024;
        __m512i v[8];
        amx_turn(r->w[j] + (size_t)step * 128, stride, r->blocks[j], v);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++, out += 64) {
            _mm512_store_si512(out, _mm512_and_si512(v[i], three));
            _mm512_store_si512(out + 512, _mm512_and_si512(_mm512_srli_epi16(v[i], 2), three));
            _mm512_store_si512(out + 2048, _mm512_and_si512(_mm512_srli_epi16(v[i], 4), three));
            _mm512_store_si512(out + 2560, _mm512_and_si512(_mm512_srli_epi16(v[i], 6), three));
        }
    }
}

/* Tiles for `toks` (1 to 32) tokens: palette 1; bytes a row at 16, rows at 48. */
BN_INLINE void amx_configure(int toks)
{
    const int first = toks < 16 ? toks : 16, second = toks - first;
    const int rows[8] = {first, first, second, second, first, second, 16, 16};
    uint8_t config[64] = {1};

    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = rows[i] ? 64 : 0;
        config[48 + i] = (uint8_t)rows[i];
    }
    __asm__ volatile("" ::"r"(config) : "memory"); /* gcc's header says that 8 bytes are read */
    _tile_loadconfig(config);
}

/* Sums of both tiles of rows for `toks` tokens from q on; `fresh`: the panel is to be made. */
BN_INLINE void amx_few(const amx_rows *r, const int8_t *q, size_t stride, int steps, int fresh,
                       uint8_t *panel, int32_t *sum)
{
    _tile_zero(0);
    _tile_zero(1);
    for (int j = 0; j < steps; j++) {
        if (fresh && j + 1 < steps)
            amx_unpack(r, stride, j + 1, panel);
        amx_fence();
        for (int i = 2 * j; i < 2 * j + 2; i++) {
            const uint8_t *codes = panel + (size_t)i * 2048;
            _tile_loadd(4, q + (size_t)i * 64, stride);
            _tile_loadd(6, codes, 64);
            _tile_loadd(7, codes + 1024, 64);
            _tile_dpbsud(0, 4, 6);
            _tile_dpbsud(1, 4, 7);
        }
        amx_fence();
    }
    _tile_stored(0, sum, 128);
    _tile_stored(1, sum + 16, 128);
}

BN_INLINE void amx_many(const amx_rows *r, const int8_t *q, size_t stride, int steps, int fresh,
                        uint8_t *panel, int32_t *sum)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int j = 0; j < steps; j++) {
        if (fresh && j + 1 < steps)
            amx_unpack(r, stride, j + 1, panel);
        amx_fence();
        for (int i = 2 * j; i < 2 * j + 2; i++) {
            const uint8_t *codes = panel + (size_t)i * 2048;
            _tile_loadd(6, codes, 64);
            _tile_loadd(4, q + (size_t)i * 64, stride);
            _tile_dpbsud(0, 4, 6);
            _tile_loadd(7, codes + 1024, 64);
            _tile_dpbsud(1, 4, 7);
            _tile_loadd(5, q + 16 * stride + (size_t)i * 64, stride);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbsud(3, 5, 7);
        }
        amx_fence();
    }
    _tile_stored(0, sum, 128);
    _tile_stored(1, sum + 16, 128);
    _tile_stored(2, sum + 512, 128);
    _tile_stored(3, sum + 528, 128);
}

/* y = (sum - bias) * factor + res of `rows` rows, at most 16, for one token. */
BN_INLINE void amx_out(const int32_t *sum, int32_t bias, double factor, const float *res, float *y,
                       int rows)
{
    const __mmask16 real = (__mmask16)(rows >= 16 ? 0xffff : (1 << rows) - 1);
    const __m512i v = _mm512_sub_epi32(_mm512_loadu_si512(sum), _mm512_set1_epi32(bias));
    const __m512d unit = _mm512_set1_pd(factor);
    __m512d a = _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(v)), unit);
    __m512d b = _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(v, 1)), unit);

    if (res) {
        const __m512 u = _mm512_maskz_loadu_ps(real, res);
        a = _mm512_add_pd(a, _mm512_cvtps_pd(_mm512_castps512_ps256(u)));
        b = _mm512_add_pd(b, _mm512_cvtps_pd(_mm512_extractf32x8_ps(u, 1)));
    }
    _mm512_mask_storeu_ps(
        y, real,
        _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b), 1));
}

/* y = act(gate) * up, the sums of gate at `sum` and those of up 16 further. */
BN_INLINE void amx_out_glu(const int32_t *sum, int32_t bias, double gate, double up, int act,
                           float *y, int rows)
{
    const __m128i off = _mm_set1_epi32(bias);

    for (int i = 0; i < 16 && i < rows; i += 4) {
        const __m128i g = _mm_loadu_si128((const __m128i *)(sum + i));
        const __m128i u = _mm_loadu_si128((const __m128i *)(sum + 16 + i));
        const __m256d wide = out4_times(_mm_sub_epi32(g, off), _mm256_set1_pd(gate));
        const __m256d other = out4_times(_mm_sub_epi32(u, off), _mm256_set1_pd(up));
        out4_store(y + i, act4(wide, other, act), rows - i);
    }
}

/* Units [from, to) of 16 rows for all tokens, as q2_run. */
BN_INLINE void amx_run(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                       const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                       int n, int k, int from, int to, void *work)
{
    const size_t stride = BN_QPAD((size_t)k);
    const int steps = BN_Q2_STEPS(k), blocks = (n + 3) / 4;
    int32_t *sum = (int32_t *)work, *bias = sum + 1024;
    uint8_t *panel = (uint8_t *)(bias + (T + 15) / 16 * 16);
    int shaped = 0;

    for (int t = 0; t < T; t++)
        bias[t] = q2_bias(q + (size_t)t * stride, steps);
    for (int u = from; u < to; u += wu ? 1 : 2) {
        const int v = !wu && u + 1 < to ? u + 1 : u, row = 16 * u;
        const amx_rows r = {{w + 4 * (size_t)u * stride, (wu ? wu : w) + 4 * (size_t)v * stride},
                            {blocks - 4 * u, blocks - 4 * v}};
        amx_unpack(&r, stride, 0, panel);
        for (int first = 0, toks; first < T; first += toks) {
            const int8_t *x = q + (size_t)first * stride;
            toks = T - first < 32 ? T - first : 32;
            if (toks != shaped)
                amx_configure(shaped = toks);
            if (toks > 16)
                amx_many(&r, x, stride, steps, first == 0, panel, sum);
            else
                amx_few(&r, x, stride, steps, first == 0, panel, sum);
            amx_fence();
            for (int t = first; t < first + toks; t++) {
                const size_t at = (size_t)t * (size_t)n + (size_t)row;
                const int32_t *out = sum + 32 * (t - first);
                const double unit = (double)(c[0] / s[t]);
                if (wu) {
                    amx_out_glu(out, bias[t], unit, (double)(cu[0] / s[t]), act, y + at, n - row);
                    continue;
                }
                amx_out(out, bias[t], unit, res ? res + at : NULL, y + at, n - row);
                if (v > u)
                    amx_out(out + 16, bias[t], unit, res ? res + at + 16 : NULL, y + at + 16,
                            n - row - 16);
            }
        }
    }
    _tile_release();
}

/* Few tokens do not pay for the unpacking. */
enum { AMX_TOKENS = 4 };
BN_INLINE void q2_amx(const uint8_t *w, const float *c, const uint8_t *wu, const float *cu,
                      const int8_t *q, const float *s, const float *res, float *y, int act, int T,
                      int n, int k, int from, int to, void *work)
{
    const int blocks = (n + 3) / 4, end = 4 * to < blocks ? 4 * to : blocks;

    if (T < AMX_TOKENS)
        q2_run(&q2_core_avx512, w, c, wu, cu, q, s, res, y, act, T, n, k, 4 * from, end, 0);
    else if (from < to)
        amx_run(w, c, wu, cu, q, s, res, y, act, T, n, k, from, to, work);
}

//@ tmatmul_q2_amx : q2_amx
/* Bit-exact with tmatmul_q2 of scalar.c, over units of 16 rows; work: scratch of this thread, work_AMX
 * bytes of columns.h. */
BN_INLINE void tmatmul_q2_amx(const uint8_t *w, const float *c, const int8_t *q, const float *s,
                              const float *res, float *y, int T, int n, int k, int from, int to,
                              void *work)
{
    q2_amx(w, c, NULL, NULL, q, s, res, y, 0, T, n, k, from, to, work);
}

//@ tglu_q2_amx : q2_amx
/* Bit-exact with tglu_q2_avx2; work as above. */
BN_INLINE void tglu_q2_amx(const uint8_t *wg, const float *cg, const uint8_t *wu, const float *cu,
                           const int8_t *q, const float *s, float *y, int act, int T, int n, int k,
                           int from, int to, void *work)
{
    q2_amx(wg, cg, wu, cu, q, s, NULL, y, act, T, n, k, from, to, work);
}
