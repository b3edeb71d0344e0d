/* ---- the device: what bn_init makes and the forward functions use ---- */

#include <stdlib.h>

/* Which device card i of several is; one alone is the current device. */
#ifndef BN_DEVICE_OF
#define BN_DEVICE_OF(i) (i)
#endif

/* A card's objects, all made by device_start. A decode step is one graph: decode_step, which takes
 * its position and token from `in`, and the rows of head's table, or of best's, which leave hidden
 * values and logits in the host's memory. So nothing is copied, and the head that follows a step
 * has nothing left to do, where it asks for what was asked for behind the step before. */
enum { ALL_WORDS, BEST_WORDS, BN_GRAPHS = ALL_WORDS + 1 + BN_SCREENED };
typedef struct bn_card {
    int number, device;
    cudaStream_t stream;
    cudaGraphExec_t graph[BN_GRAPHS];
    unsigned char *weights, *state; /* on the card */
    unsigned char *in;              /* pinned: | step | tokens | as the state begins */
} bn_card;
typedef struct bn_gpu {
    bn_card card[BN_CARDS];
    unsigned char *out;    /* pinned: | hidden | logits | */
    unsigned char *logits; /* where heads put them: the caller's memory, pinned, or out's */
    int pinned;            /* it is the caller's */
    int best, answered; /* words last asked for; of out's hidden values' best ones it has so many */
    int lost;           /* a card was not told its part of a pass: others wait for it for ever */
} bn_gpu;

#define ROWS(table) ((int)(sizeof table / sizeof *table))
static const size_t logits_bytes = (size_t)BN_VOCAB * sizeof(float);

#define TRY(call) ((call) == cudaSuccess)
#define EACH_CARD(g, c) for (bn_card *c = (g)->card; c < (g)->card + BN_CARDS; c++)

/* The thread's device is the card's, and in the end what it was before. */
static int use_card(const bn_card *c)
{
    return BN_CARDS == 1 || TRY(cudaSetDevice(c->device));
}
static int device_before(void)
{
    int device = 0;
    return BN_CARDS > 1 && TRY(cudaGetDevice(&device)) ? device : 0;
}
static void device_again(int device)
{
    if (BN_CARDS > 1)
        cudaSetDevice(device);
}

/* A launch waits for all of the one before it. */
static int launch(const bn_card *c, const bn_dispatch *d, int ntok)
{
    unsigned layer = (unsigned)d->layer, groups = bn_groups(d, ntok);
    unsigned char *state = c->state;
    const unsigned char *weights = c->weights;
    void *args[] = {&state, &weights, &layer};
    if (!groups)
        return TRY(cudaLaunchCooperativeKernel((const void *)d->entry, dim3(BN_BLOCKS),
                                               dim3(BN_THREADS), args, (size_t)d->bytes,
                                               c->stream));
    return TRY(cudaLaunchKernel((const void *)d->entry, dim3(groups), dim3(BN_THREADS), args,
                                (size_t)d->bytes, c->stream));
}

static int launch_table(const bn_card *c, const bn_dispatch *table, int n, int ntok)
{
    for (int i = 0; i < n; i++)
        if (!launch(c, &table[i], ntok))
            return 0;
    return 1;
}

static int copy_in(const bn_card *c, size_t to, const void *from, size_t bytes)
{
    return TRY(cudaMemcpyAsync(c->state + to, from, bytes, cudaMemcpyHostToDevice, c->stream));
}

/* Hidden values, which all cards have: the first one's. */
static int copy_hidden(const bn_gpu *g)
{
    return TRY(cudaMemcpyAsync(g->out, g->card->state + at_hidden, hidden_bytes,
                               cudaMemcpyDeviceToHost, g->card->stream));
}

/* Of the logits of ntok tokens, to the host's: what the card has of each. */
static int copy_logits(const bn_card *c, void *to, int ntok)
{
    const int wide = BN_THREADS / 32, units = (BN_VOCAB + wide - 1) / wide,
              from = unit_from(units, c->number) * wide,
              end = c->number + 1 < BN_CARDS ? unit_from(units, c->number + 1) * wide : BN_VOCAB;
    return from >= end || TRY(cudaMemcpy2DAsync((float *)to + from, logits_bytes,
                                                (float *)(c->state + at_logits) + from,
                                                logits_bytes, (size_t)(end - from) * sizeof(float),
                                                (size_t)ntok, cudaMemcpyDeviceToHost, c->stream));
}

/* A decode step with what gives logits behind it. */
static int make_graph(bn_card *c, const bn_dispatch *last, int n, cudaGraphExec_t *to)
{
    cudaGraph_t graph = NULL;
    if (!TRY(cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal)))
        return 0;
    int put = launch_table(c, decode_table, ROWS(decode_table), 1) && launch_table(c, last, n, 1);
    int made = TRY(cudaStreamEndCapture(c->stream, &graph)) && put &&
               TRY(cudaGraphInstantiate(to, graph, 0));
    if (graph)
        cudaGraphDestroy(graph);
    return made;
}

static int make_graphs(bn_card *c)
{
    return
#if BN_SCREENED
        make_graph(c, best_table, ROWS(best_table), &c->graph[BEST_WORDS]) &&
#endif
        make_graph(c, head_table, ROWS(head_table), &c->graph[ALL_WORDS]);
}

static void free_card(bn_card *c)
{
    use_card(c);
    for (int i = 0; i < BN_GRAPHS; i++)
        if (c->graph[i])
            cudaGraphExecDestroy(c->graph[i]);
    cudaFree(c->weights);
    cudaFree(c->state);
    cudaFreeHost(c->in);
    if (c->stream)
        cudaStreamDestroy(c->stream);
}

/* Of a pass that was lost, what cards still use stays taken. */
static void device_stop(bn_call *call)
{
    bn_gpu *g = (bn_gpu *)call->device;
    const int before = device_before();
    if (!g)
        return;
    if (!g->lost) {
        EACH_CARD(g, c)
        free_card(c);
        if (g->pinned)
            cudaHostUnregister(g->logits);
        cudaFreeHost(g->out);
        free(g);
    }
    call->device = NULL;
    device_again(before);
}

/* The card's part of the weights, once. */
static int copy_weights(const bn_card *c, const unsigned char *data)
{
    for (int i = 0; i < ROWS(slices); i++)
        for (int layer = 0; layer < slices[i].layers; layer++) {
            const bn_slice *s = &slices[i];
            const int first = s->fine ? held_from(s->rows, s->fine, s->coarse, c->number) : 0,
                      end = s->fine ? held_end(s->rows, s->fine, s->coarse, c->number) : s->rows;
            const unsigned char *from = data + s->from + (size_t)layer * s->stride;
            unsigned char *to = c->weights + s->to + (size_t)layer * s->to_stride;
            if (!TRY(cudaMemcpy(to, from + (size_t)first * s->row, (size_t)(end - first) * s->row,
                                cudaMemcpyHostToDevice)) ||
                (s->scales && !TRY(cudaMemcpy(to + s->to_scales, from + s->scales,
                                              s->stride - s->scales, cudaMemcpyHostToDevice))))
                return 0;
        }
    return 1;
}

/* All that a state has on a card. */
static int make_buffers(bn_card *c, const bn_weights *w)
{
    const size_t given = at_tokens + BN_BATCH * sizeof(int);
    return TRY(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking)) &&
           TRY(cudaMalloc((void **)&c->weights, card_bytes)) &&
           TRY(cudaMalloc((void **)&c->state, state_bytes)) &&
           TRY(cudaMallocHost((void **)&c->in, given)) && memset(c->in, 0, given) &&
           copy_weights(c, (const unsigned char *)w->data) &&
           TRY(cudaMemset(c->state, 0, state_bytes));
}

/* Whether the blocks of a decode step have a multiprocessor each. */
static int card_fits(const bn_card *c)
{
    int blocks = 0;
    return TRY(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, c->device)) &&
           blocks >= BN_BLOCKS &&
#if BN_SCREENED
           TRY(cudaFuncSetAttribute((const void *)best_step,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, BEST_BYTES)) &&
#endif
           TRY(cudaFuncSetAttribute((const void *)decode_step,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, STEP_BYTES));
}

/* Whether a card may write where another has its state. */
static int card_reaches(const bn_card *c, const bn_card *other)
{
    int can = 0;
    if (c->device == other->device)
        return 1;
    if (!TRY(cudaDeviceCanAccessPeer(&can, c->device, other->device)) || !can)
        return 0;
    cudaError_t e = cudaDeviceEnablePeerAccess(other->device, 0);
    return e == cudaSuccess || e == cudaErrorPeerAccessAlreadyEnabled;
}

static int make_card(bn_card *c, int number, const bn_weights *w)
{
    c->number = number;
    c->device = BN_DEVICE_OF(number);
    if (BN_CARDS == 1 && !TRY(cudaGetDevice(&c->device)))
        return 0;
    return use_card(c) && card_fits(c) && make_buffers(c, w);
}

/* What a card knows of the others and of the host, and its graph. What is made by cudaMallocHost
 * has one address for all. */
static int join_card(bn_gpu *g, bn_card *c)
{
    bn_step *step = (bn_step *)c->in;
    step->card = (uint)c->number;
    step->host = (long)((intptr_t)c->in - (intptr_t)c->state);
    step->hidden = (float *)g->out;
    EACH_CARD(g, other)
    {
        if (!use_card(c) || !card_reaches(c, other))
            return 0;
        step->away[other->number] = (long)((intptr_t)other->state - (intptr_t)c->state);
    }
    return TRY(cudaHostGetDevicePointer((void **)&step->logits, g->logits, 0)) &&
           TRY(cudaMemcpy(c->state, step, sizeof *step, cudaMemcpyHostToDevice)) && make_graphs(c);
}

static bn_status device_start(bn_call *call, const bn_weights *w)
{
    const int before = device_before();
    bn_gpu *g = (bn_gpu *)calloc(1, sizeof *g);
    int made = g && TRY(cudaMallocHost((void **)&g->out, hidden_bytes + logits_bytes));
    call->device = g;
    for (int i = 0; made && i < BN_CARDS; i++)
        made = make_card(&g->card[i], i, w);
    if (made) {
        g->best = BN_VOCAB;
        g->pinned = TRY(cudaHostRegister(call->logits, logits_bytes,
                                         cudaHostRegisterPortable | cudaHostRegisterMapped));
        g->logits = g->pinned ? (unsigned char *)call->logits : g->out + hidden_bytes;
        EACH_CARD(g, c)
        made = made && join_card(g, c);
    }
    device_again(before);
    if (made)
        return BN_OK;
    device_stop(call);
    return BN_DEVICE;
}

static const bn_device device = {device_start, device_stop};

/* ---- the forward functions ---- */

/* When all cards have done what was put: a failure shows as values that are no numbers, for forward
 * functions return nothing. */
static void wait_for(bn_gpu *g, int put, void *result, const void *from, size_t bytes)
{
    g->lost |= !put && BN_CARDS > 1;
    EACH_CARD(g, c)
    put = !g->lost && TRY(cudaStreamSynchronize(c->stream)) && put;
    if (!put)
        memset(result, 0xff, bytes);
    else if (result != from)
        memcpy(result, from, bytes);
}

static void put_input(bn_gpu *g, const bn_call *call)
{
    EACH_CARD(g, c)
    {
        bn_step *step = (bn_step *)c->in;
        step->pos = call->pos;
        step->ntok = call->ntok;
        step->best = g->best;
        memcpy(c->in + at_tokens, call->tokens, (size_t)call->ntok * sizeof *call->tokens);
    }
}

static void decode(const bn_call *call)
{
    bn_gpu *g = (bn_gpu *)call->device;
    if (call->thread)
        return;
    const int before = device_before(), last = g->best < BN_VOCAB ? BEST_WORDS : ALL_WORDS;
    int put = !g->lost;
    put_input(g, call);
    EACH_CARD(g, c)
    put = put && use_card(c) && TRY(cudaGraphLaunch(c->graph[last], c->stream));
    g->answered = put ? g->best : 0;
    wait_for(g, put, call->hidden, g->out, hidden_bytes);
    device_again(before);
}

/* Tokens in, and a table's rows, each on all cards before the next: a queue has an end, and cards
 * wait for each other. */
static int put_tokens(bn_gpu *g, const bn_call *call, const bn_dispatch *table, int n)
{
    int put = !g->lost;
    g->answered = 0;
    put_input(g, call);
    EACH_CARD(g, c)
    put = put && copy_in(c, 0, c->in, at_tokens + (size_t)call->ntok * sizeof(int));
    for (int i = 0; i < n; i++)
        EACH_CARD(g, c)
    put = put && use_card(c) && launch(c, &table[i], call->ntok);
    return put;
}

static void prefill(const bn_call *call)
{
    bn_gpu *g = (bn_gpu *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = put_tokens(g, call, prefill_table, ROWS(prefill_table)) && copy_hidden(g);
    wait_for(g, put, call->hidden, g->out, hidden_bytes);
    device_again(before);
}

/* Logits by the batch go to their place at once: there is no room for them in between. */
static void score(const bn_call *call)
{
    bn_gpu *g = (bn_gpu *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = put_tokens(g, call, score_table, ROWS(score_table));
    EACH_CARD(g, c)
    put = put && copy_logits(c, call->logits, call->ntok);
    wait_for(g, put, call->logits, call->logits, (size_t)call->ntok * logits_bytes);
    device_again(before);
}

/* The logits of `words` best words at least, by a table's rows where they are not there yet. */
static void ask(const bn_call *call, int words, const bn_dispatch *table, int n)
{
    bn_gpu *g = (bn_gpu *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = !g->lost;
    g->best = words;
    if (g->answered < words || memcmp(call->hidden, g->out, hidden_bytes) != 0) {
        g->answered = 0;
        memcpy(g->out, call->hidden, hidden_bytes);
        EACH_CARD(g, c)
        {
            ((bn_step *)c->in)->best = words;
            put = put && use_card(c) && copy_in(c, 0, c->in, sizeof(bn_step)) &&
                  copy_in(c, at_hidden, g->out, hidden_bytes) && launch_table(c, table, n, 1);
        }
    }
    wait_for(g, put, call->logits, g->logits, logits_bytes);
    device_again(before);
}

static void head(const bn_call *call)
{
    ask(call, BN_VOCAB, head_table, ROWS(head_table));
}
#if BN_SCREENED

static void best(const bn_call *call)
{
    ask(call, call->best, best_table, ROWS(best_table));
}
#endif
