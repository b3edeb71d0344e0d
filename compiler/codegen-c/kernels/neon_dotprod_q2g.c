/* neon_dotprod_q2g.c: neon_q2g.c with the dot products of Armv8.2. */
#ifndef BN_KERNELS_NEON_DOTPROD
#include "neon_dotprod.c"
#endif
#ifndef BN_KERNELS_NEON_Q2G
#include "neon_q2g.c"
#endif

//@ q2g_core_dotprod : q2g_values_neon q2g_store_each neon_dot
BN_INLINE void q2g_core_dotprod(const uint8_t *w, const int8_t *q, size_t stride, const float *s,
                                size_t pairs, int k, int group, int toks, float (*v)[16])
{
    q2g_values_neon(dot4, w, q, stride, s, pairs, k, group, toks, v);
}

//@ tmatmul_q2g64_dotprod : q2g_core_dotprod
/* tmatmul_q2g64 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g64_dotprod(const uint8_t *w, const float *c, const int8_t *q,
                                     const float *s, const float *res, float *y, int T, int n,
                                     int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_dotprod, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 64, from, to);
}

//@ tglu_q2g64_dotprod : q2g_core_dotprod
BN_INLINE void tglu_q2g64_dotprod(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                  const float *cu, const int8_t *q, const float *s, float *y,
                                  int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_dotprod, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 64, from, to);
}

//@ tmatmul_q2g128_dotprod : q2g_core_dotprod
/* tmatmul_q2g128 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g128_dotprod(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_dotprod, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 128, from, to);
}

//@ tglu_q2g128_dotprod : q2g_core_dotprod
BN_INLINE void tglu_q2g128_dotprod(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_dotprod, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 128, from, to);
}

//@ tmatmul_q2g256_dotprod : q2g_core_dotprod
/* tmatmul_q2g256 of scalar_q2g.c, to the bit. */
BN_INLINE void tmatmul_q2g256_dotprod(const uint8_t *w, const float *c, const int8_t *q,
                                      const float *s, const float *res, float *y, int T, int n,
                                      int k, int from, int to)
{
    (void)c;
    q2g_run(q2g_core_dotprod, q2g_store_each, w, NULL, q, s, res, y, 0, T, n, k, 256, from, to);
}

//@ tglu_q2g256_dotprod : q2g_core_dotprod
BN_INLINE void tglu_q2g256_dotprod(const uint8_t *wg, const float *cg, const uint8_t *wu,
                                   const float *cu, const int8_t *q, const float *s, float *y,
                                   int act, int T, int n, int k, int from, int to)
{
    (void)cg, (void)cu;
    q2g_run(q2g_core_dotprod, q2g_store_each, wg, wu, q, s, NULL, y, act, T, n, k, 256, from, to);
}
