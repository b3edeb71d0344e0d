/* state.c: one conversation: the caller's block cut into parts, and tokens run through the model.
 *
 * One idea: everything that can fail is checked before the first token runs, so a failed call
 * leaves the state as it was. What is left is a loop over chunks of info.batch tokens.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <limits.h>
#include <math.h>
#include <string.h>

#include "bn_model.h"
#include "internal.h"

/* Offsets from the aligned start of the block:
 *
 *   state | slots | history | hidden | logits | ranked | work | shared | own 0 | own 1 | ... | cache
 *
 * each a multiple of BN_ALIGN. Only state and slots are written by bn_init: pages of the rest
 * cost memory when a pass first touches them, those of the cache as the context fills. */
typedef struct state_plan {
    size_t slots, history, hidden, logits, ranked, work, shared, own, own_each, cache, end;
} state_plan;

/* Reserves count * each bytes at *end and returns their offset; *end saturates at SIZE_MAX. */
static size_t state_take(size_t *end, uint64_t count, uint64_t each)
{
    size_t at = *end;
    uint64_t room = SIZE_MAX - BN_ALIGN;
    if (at > room || (each && count > (room - at) / each)) {
        *end = SIZE_MAX;
        return 0;
    }
    size_t bytes = (size_t)(count * each);
    *end = (at + bytes + BN_ALIGN - 1) / BN_ALIGN * BN_ALIGN;
    return at;
}

static int state_layout(const bn_model *m, int threads, state_plan *p)
{
    if (!m || threads < 1 || threads > BN_MAX_THREADS || m->info.vocab < 1 || m->info.context < 1)
        return 0;
    uint64_t vocab = (uint64_t)m->info.vocab, context = (uint64_t)m->info.context;
    uint64_t n = (uint64_t)threads;
    size_t end = 0, each = 0;
    (void)state_take(&each, m->own_bytes, 1);
    (void)state_take(&end, 1, sizeof(bn_state));
    p->slots = state_take(&end, n, sizeof(bn_slot));
    p->history = state_take(&end, context, sizeof(int32_t));
    p->hidden = state_take(&end, m->hidden_bytes, 1);
    p->logits = state_take(&end, vocab, sizeof(float));
    p->ranked = state_take(&end, vocab, sizeof(bn_ranked));
    p->work = state_take(&end, context, BN_WORK_IDS * sizeof(int32_t));
    p->shared = state_take(&end, m->shared_bytes, 1);
    p->own = state_take(&end, n, each);
    p->own_each = each;
    p->cache = state_take(&end, m->cache_bytes, 1);
    p->end = end;
    return end < SIZE_MAX - BN_ALIGN;
}

size_t bn_state_size(const bn_model *model, int threads)
{
    state_plan p;
    return state_layout(model, threads, &p) ? p.end + BN_ALIGN - 1 : 0;
}

static void state_calls(const bn_state *s, unsigned char *base, const state_plan *p, int threads)
{
    bn_slot *slot = (bn_slot *)(void *)(base + p->slots);
    for (int i = 0; i < threads; i++)
        slot[i].call = (bn_call){.weights = s->w->data,
                                 .shared = base + p->shared,
                                 .own = base + p->own + (size_t)i * p->own_each,
                                 .cache = base + p->cache,
                                 .hidden = (float *)(void *)(base + p->hidden),
                                 .logits = (float *)(void *)(base + p->logits),
                                 .thread = i,
                                 .nthread = threads,
                                 .team = (bn_team *)&s->team};
}

bn_status bn_init(bn_state **state, const bn_weights *w, int threads, void *block, size_t size)
{
    state_plan p;
    if (!state)
        return BN_ARGUMENT;
    *state = NULL;
    if (!w || !w->data || !block || !state_layout(w->model, threads, &p))
        return BN_ARGUMENT;
    size_t skip = (BN_ALIGN - (uintptr_t)block % BN_ALIGN) % BN_ALIGN;
    if (size < skip || size - skip < p.end)
        return BN_SPACE;
    unsigned char *base = (unsigned char *)block + skip;
    bn_state *s = (bn_state *)(void *)base;
    const bn_info *info = &w->model->info;
    s->w = w;
    s->model = w->model;
    s->position = 0;
    s->context = info->context;
    s->vocab = info->vocab;
    s->hidden_at = -1;
    s->known = 0;
    s->history = (int32_t *)(void *)(base + p.history);
    s->hidden = (float *)(void *)(base + p.hidden);
    s->logits = (float *)(void *)(base + p.logits);
    s->ranked = (bn_ranked *)(void *)(base + p.ranked);
    s->work = (int32_t *)(void *)(base + p.work);
    s->work_ids = (size_t)info->context * BN_WORK_IDS;
    s->message[0] = 0;
    state_calls(s, base, &p, threads);
    bn_slot *slot = (bn_slot *)(void *)(base + p.slots);
    const bn_device *device = w->model->device;
    bn_status status = device ? device->start(&slot->call, w) : BN_OK;
    if (status != BN_OK)
        return status;
    status = bn_team_start(&s->team, slot, threads);
    if (status == BN_OK)
        *state = s;
    else if (device)
        device->stop(&slot->call);
    return status;
}

void bn_done(bn_state *s)
{
    if (!s)
        return;
    bn_team_stop(&s->team);
    if (s->model->device)
        s->model->device->stop(&s->team.slot->call);
}

const char *bn_message(const bn_state *s)
{
    return s ? s->message : "";
}

int bn_position(const bn_state *s)
{
    return s->position;
}

static bn_status state_check(bn_state *s, const int32_t *tokens, int n)
{
    if (!tokens || n < 1)
        return bn_fail(s->message, BN_ARGUMENT, "expected one token or more, found %d",
                       tokens ? n : 0);
    if (n > s->context - s->position)
        return bn_fail(s->message, BN_CONTEXT,
                       "the context holds %d tokens: %d are in it, %d more do not fit", s->context,
                       s->position, n);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= s->vocab)
            return bn_fail(s->message, BN_ARGUMENT,
                           "token %d (number %d) is outside the vocabulary of %d tokens",
                           (int)tokens[i], i, s->vocab);
    return BN_OK;
}

static void state_run(bn_state *s, bn_forward forward, int n, float *logits, int topk)
{
    for (int i = 0; i < s->team.nthread; i++) {
        bn_call *c = &s->team.slot[i].call;
        c->tokens = s->history + s->position;
        c->logits = logits;
        c->ntok = n;
        c->pos = s->position;
        c->topk = topk;
    }
    bn_team_run(&s->team, forward);
}

/* One pass over history[position .. position + n), already written there. */
static void state_pass(bn_state *s, bn_forward forward, int n, float *logits)
{
    state_run(s, forward, n, logits, 0);
    s->position += n;
}

void bn_state_lm_head(bn_state *s, int topk)
{
    const bn_code *code = s->w->code;
    if (!code->topk || topk > BN_TOPK_MAX || topk > s->vocab)
        topk = s->vocab;
    if (s->known >= topk)
        return;
    state_run(s, topk < s->vocab ? code->topk : code->lm_head, 1, s->logits, topk);
    s->known = topk;
}

static int state_chunk(const bn_state *s, int left)
{
    int batch = s->model->info.batch > 1 ? s->model->info.batch : 1;
    return left < batch ? left : batch;
}

bn_status bn_eval(bn_state *s, const int32_t *tokens, int n, const float **logits)
{
    const bn_code *code = s->w->code;
    bn_status status = state_check(s, tokens, n);
    if (status != BN_OK)
        return status;
    memmove(s->history + s->position, tokens, (size_t)n * sizeof *tokens);
    while (n > 0) {
        int chunk = state_chunk(s, n);
        state_pass(s, chunk == 1 ? code->decode : code->prefill, chunk, NULL);
        n -= chunk;
    }
    s->hidden_at = s->position;
    s->known = 0;
    if (logits) {
        bn_state_lm_head(s, s->vocab);
        *logits = s->logits;
    }
    return BN_OK;
}

bn_status bn_score(bn_state *s, const int32_t *tokens, int n, float *logits)
{
    bn_status status = state_check(s, tokens, n);
    if (status != BN_OK)
        return status;
    if (!logits || !s->w->code->score)
        return bn_fail(s->message, BN_ARGUMENT,
                       logits ? "this model was compiled without its score function"
                              : "bn_score needs a buffer for the logits");
    memmove(s->history + s->position, tokens, (size_t)n * sizeof *tokens);
    while (n > 0) {
        int chunk = state_chunk(s, n);
        state_pass(s, s->w->code->score, chunk, logits);
        logits += (size_t)chunk * (size_t)s->vocab;
        n -= chunk;
    }
    return BN_OK;
}

bn_status bn_rewind(bn_state *s, int position)
{
    if (position < 0 || position > s->position)
        return bn_fail(s->message, BN_ARGUMENT, "cannot rewind to position %d: expected 0 to %d",
                       position, s->position);
    s->position = position;
    return BN_OK;
}

/* ---- embeddings ---- */

/* Evaluates `n` tokens and adds `weight` times the hidden vector of the last to out. */
static bn_status embed_add(bn_state *s, const int32_t *tokens, int n, float weight, float *out)
{
    bn_status status = bn_eval(s, tokens, n, NULL);
    for (int i = 0; status == BN_OK && i < s->model->info.embedding; i++)
        out[i] += weight * s->hidden[i];
    return status;
}

static void embed_normalize(float *out, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)out[i] * (double)out[i];
    double unit = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int i = 0; i < n; i++)
        out[i] = (float)((double)out[i] * unit);
}

bn_status bn_embed(bn_state *s, const int32_t *tokens, int n, bn_pooling how, float *out)
{
    int width = s->model->info.embedding;
    if (how == BN_POOL_MODEL)
        how = (bn_pooling)s->model->info.pooling;
    if (!out || how < BN_POOL_LAST || how > BN_POOL_CLS)
        return bn_fail(s->message, BN_ARGUMENT,
                       out ? "there is no pooling %d" : "bn_embed needs a buffer for the vector",
                       (int)how);
    s->position = 0;
    bn_status status = state_check(s, tokens, n);
    memset(out, 0, (size_t)width * sizeof *out);
    if (status == BN_OK && how != BN_POOL_MEAN)
        status = embed_add(s, tokens, how == BN_POOL_LAST ? n : 1, 1, out);
    for (int i = 0; status == BN_OK && how == BN_POOL_MEAN && i < n; i++)
        status = embed_add(s, tokens + i, 1, 1 / (float)n, out);
    if (status == BN_OK)
        embed_normalize(out, width);
    s->position = 0;
    return status;
}
