/* sample.c: chooses the next token from the logits of the last pass.
 *
 * One idea: nothing is computed or sorted that need not be. The filters say how many of the largest
 * logits the choice can depend on, and only those are computed. top_k keeps the k largest in a heap with
 * the smallest on top while it walks the logits once; top_p takes tokens off a heap with the largest on
 * top until their mass is enough; min_p and the draw need no order.
 *
 *   l[i]    the logits; NaN counts as the lowest, infinities as the largest finite numbers
 *   l[i]    / penalty where positive, * penalty where negative, for i in the recent tokens
 *   top_k   keeps the k largest l, of equals the smaller ids
 *   w[i]    = exp((l[i] - max l) / temperature), so the largest has weight exactly 1
 *   top_p   keeps the shortest run of largest w whose sum is >= top_p * (sum of w), at least one
 *   min_p   keeps w[i] >= min_p, which says p[i] >= min_p * max p
 *   draw    the first i whose running sum of w exceeds u * (sum of w), u uniform in [0, 1)
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <float.h>
#include <math.h>

#include "bn_model.h"
#include "internal.h"

enum { SAMPLE_RECENT = 64 };

/* SplitMix64: any seed will do, consecutive ones included. 53 bits of it make u. */
static double sample_uniform(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static float sample_finite(float x)
{
    if (x > -FLT_MAX)
        return x < FLT_MAX ? x : FLT_MAX;
    return -FLT_MAX;
}

static int sample_recent(const bn_state *s, const bn_sampling *how)
{
    float penalty = how->repeat_penalty;
    int recent = how->repeat_last > 0 ? how->repeat_last : SAMPLE_RECENT;
    if (!(penalty > 0) || penalty == 1)
        return 0;
    return recent < s->position ? recent : s->position;
}

/* How many of the largest logits the choice depends on. A penalty of 1 or more only lowers logits: one
 * that is among the k largest afterwards had fewer than k unchanged ones above it, and at most all
 * lowered ones. */
static int sample_needs(const bn_state *s, const bn_sampling *how)
{
    int recent = sample_recent(s, how), k = how->temperature > 0 ? how->top_k : 1;
    if (k <= 0 || k > s->vocab || (recent && how->repeat_penalty < 1))
        return s->vocab;
    return recent < s->vocab - k ? k + recent : s->vocab;
}

/* Whether a block of logits has a known one: a loop that compilers vectorize, for of 100,000 tokens and
 * more few are known. */
enum { SAMPLE_BLOCK = 64 };
static int sample_block(const float *logits)
{
    int any = 0;
    for (int i = 0; i < SAMPLE_BLOCK; i++)
        any |= logits[i] > -FLT_MAX;
    return any;
}

/* The tokens to choose from, by id. Unknown logits are below all known ones; where fewer than
 * `least` stand above the smallest number, no logit is unknown, and all tokens count. */
static int sample_known(bn_state *s, int least)
{
    int n = 0, all = s->known == s->vocab;
    for (int from = 0; from < s->vocab; from += SAMPLE_BLOCK) {
        int end = from + SAMPLE_BLOCK < s->vocab ? from + SAMPLE_BLOCK : s->vocab;
        if (!all && end - from == SAMPLE_BLOCK && !sample_block(s->logits + from))
            continue;
        for (int i = from; i < end; i++)
            if (all || s->logits[i] > -FLT_MAX)
                s->ranked[n++] = (bn_ranked){sample_finite(s->logits[i]), i};
    }
    if (n >= least)
        return n;
    for (n = 0; n < s->vocab; n++)
        s->ranked[n] = (bn_ranked){sample_finite(s->logits[n]), n};
    return n;
}

static bn_ranked *sample_find(bn_ranked *c, int n, int32_t id)
{
    while (n > 0) {
        int half = n / 2;
        if (c[half].id == id)
            return c + half;
        if (c[half].id < id) {
            c += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return NULL;
}

static int sample_fill(bn_state *s, const bn_sampling *how, int least)
{
    int n = sample_known(s, least);
    /* From the logits each time, so that a token that occurs twice is penalized once. */
    for (int i = s->position - sample_recent(s, how); i < s->position; i++) {
        int32_t id = s->history[i];
        float x = sample_finite(s->logits[id]), penalty = how->repeat_penalty;
        bn_ranked *token = sample_find(s->ranked, n, id);
        if (token)
            token->score = sample_finite(x > 0 ? x / penalty : x * penalty);
    }
    return n;
}

/* A strict order: ids differ. */
static int sample_better(bn_ranked a, bn_ranked b)
{
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

static int32_t sample_largest(const bn_ranked *c, int n)
{
    bn_ranked best = c[0];
    for (int i = 1; i < n; i++)
        if (c[i].score > best.score)
            best = c[i];
    return best.id;
}

/* Restores the heap below i; its top is the smallest with `worst`, else the largest. */
static void sample_sift(bn_ranked *c, int n, int i, int worst)
{
    bn_ranked moving = c[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && sample_better(c[child + 1], c[child]) != worst)
            child++;
        if (sample_better(c[child], moving) == worst)
            break;
        c[i] = c[child];
    }
    c[i] = moving;
}

static void sample_heap(bn_ranked *c, int n, int worst)
{
    for (int i = n / 2; i-- > 0;)
        sample_sift(c, n, i, worst);
}

/* Moves the k largest of n to the front, largest first: an order that does not depend on which other
 * logits are known, so that a seed draws the same token from the largest logits as from all. */
static void sample_top_k(bn_ranked *c, int n, int k)
{
    sample_heap(c, k, 1);
    for (int i = k; i < n; i++)
        if (sample_better(c[i], c[0])) {
            c[0] = c[i];
            sample_sift(c, k, 0, 1);
        }
    while (--k > 0) {
        bn_ranked worst = c[0];
        c[0] = c[k];
        c[k] = worst;
        sample_sift(c, k, 0, 1);
    }
}

static double sample_sum(const bn_ranked *c, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)c[i].score;
    return sum;
}

static void sample_weigh(bn_ranked *c, int n, float temperature)
{
    float max = c[0].score;
    for (int i = 1; i < n; i++)
        max = c[i].score > max ? c[i].score : max;
    for (int i = 0; i < n; i++) {
        float w = expf((c[i].score - max) / temperature);
        c[i].score = w >= 0 ? w : 0; /* -inf / inf */
    }
}

/* Moves the nucleus to the end of c[n] and returns its size. */
static int sample_top_p(bn_ranked *c, int n, double share)
{
    double left = share * sample_sum(c, n);
    int heap = n;
    sample_heap(c, n, 0);
    do {
        bn_ranked best = c[0];
        c[0] = c[--heap];
        c[heap] = best;
        sample_sift(c, heap, 0, 0);
        left -= (double)best.score;
    } while (heap > 0 && left > 0);
    return n - heap;
}

static int sample_min_p(bn_ranked *c, int n, float least)
{
    int kept = 0;
    least = least < 1 ? least : 1;
    for (int i = 0; i < n; i++)
        if (c[i].score >= least)
            c[kept++] = c[i];
    return kept;
}

static int32_t sample_draw(const bn_ranked *c, int n, uint64_t *seed)
{
    double left = sample_uniform(seed) * sample_sum(c, n);
    int last = 0; /* where rounding leaves a rest */
    for (int i = 0; i < n; i++) {
        left -= (double)c[i].score;
        if (left < 0)
            return c[i].id;
        if (c[i].score > 0)
            last = i;
    }
    return c[last].id;
}

int32_t bn_sample(bn_state *s, bn_sampling *how)
{
    bn_sampling greedy = {0};
    bn_ranked *c = s->ranked;
    if (s->hidden_at < 0)
        return -1;
    if (!how)
        how = &greedy;
    int needs = sample_needs(s, how);
    bn_state_lm_head(s, needs);
    int n = sample_fill(s, how, needs);
    if (!(how->temperature > 0))
        return sample_largest(c, n);
    if (how->top_k > 0 && how->top_k < n) {
        sample_top_k(c, n, how->top_k);
        n = how->top_k;
    }
    sample_weigh(c, n, how->temperature);
    if (how->top_p > 0 && how->top_p < 1) {
        int kept = sample_top_p(c, n, (double)how->top_p);
        c += n - kept;
        n = kept;
    }
    if (how->min_p > 0)
        n = sample_min_p(c, n, how->min_p);
    return sample_draw(c, n, &how->seed);
}
