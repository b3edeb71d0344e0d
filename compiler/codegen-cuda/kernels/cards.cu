/* cards.cu: BN_CARDS cards share a pass. Each has a whole state and does work on one token for
 * itself; rows of products, heads of attention and words of the head it has a part of, in order,
 * and a block stores what others need in the states of all cards. So each value is computed by one
 * thread as on one card, to the same bits, and a meeting is one of the blocks of all cards.
 *
 *   y [T][n]   | rows of card 0 | rows of card 1 | ... |
 */

//@ cards
enum { ALL_BLOCKS = BN_CARDS * BN_BLOCKS };
static inline uint card_of(const bn_step &step)
{
    return BN_CARDS > 1 ? step.card : 0;
}
/* Of n units of work a card has those from unit_from(n, card) to unit_from(n, card + 1). */
__host__ static inline int unit_from(int n, uint card)
{
    return int(uint(n) * card / BN_CARDS);
}
/* *p = v in the states of all cards; p is in this card's. */
template <typename V> static inline void give(const bn_step &step, V *p, V v)
{
    for (int c = 0; c < BN_CARDS; c++)
        *(V *)((uchar *)p + (BN_CARDS > 1 ? step.away[c] : 0)) = v;
}

//@ hidden_out : cards group
/* Hidden values to the host, by one group. */
static inline void hidden_out(const bn_step &step, const float *y, int n, uint me)
{
    for (int i = int(me); i < n && card_of(step) == 0; i += THREADS)
        step.hidden[i] = y[i];
}

//@ held_from : cards
/* Of a matrix of n rows that cards share by units of `fine` rows, and elsewhere by `coarse`, a card
 * has the rows from held_from to held_end. */
__host__ static inline int held_from(int n, int fine, int coarse, uint card)
{
    const int a = fine * unit_from((n + fine - 1) / fine, card),
              b = coarse * unit_from((n + coarse - 1) / coarse, card);
    return a < b ? a : b;
}
__host__ static inline int held_end(int n, int fine, int coarse, uint card)
{
    const int a = fine * unit_from((n + fine - 1) / fine, card + 1),
              b = coarse * unit_from((n + coarse - 1) / coarse, card + 1), end = a > b ? a : b;
    return end < n ? end : n;
}

//@ has_unit : cards
static inline bool has_unit(const bn_step &step, uint unit, int n)
{
    const uint card = card_of(step);
    return int(unit) >= unit_from(n, card) && int(unit) < unit_from(n, card + 1);
}

//@ give_part : cards group
/* What each card has made of a result, to the others, by BN_BLOCKS blocks: when all cards have made
 * theirs, and nobody reads what stood there before; and until all have it. */
static inline void give_begin(const bn_step &step, uint *met, uint &all)
{
    grid_come(step, met);
    grid_wait(met, all += ALL_BLOCKS);
}
/* This card's part of y [T][n], `wide` columns a unit. */
static inline void give_part(const bn_step &step, float *y, int T, int n, int wide, uint g, uint me)
{
    const int units = (n + wide - 1) / wide, from = unit_from(units, card_of(step)) * wide,
              each = min(unit_from(units, card_of(step) + 1) * wide, n) - from;
#pragma unroll 1
    for (int t = int(g); t < T; t += BN_BLOCKS)
        for (int i = int(me); i < each; i += THREADS)
            give(step, y + ulong(t) * n + from + i, y[ulong(t) * n + from + i]);
}
static inline void give_end(const bn_step &step, uint *met, uint &all, uint g, uint me)
{
    grid_arrive(step, met);
    grid_wait(met, all += ALL_BLOCKS);
    if (g == 0 && me == 0)
        met[1] = all;
}
