/* ---- the device: what bn_init makes and the forward functions use ---- */

#include <stdlib.h>

/* One state's objects, all made by device_start. A decode step is one graph: the step and its token
 * to the card, decode_step, the rows of head's table, hidden values and logits back. So the head
 * that follows a step has nothing left to do. */
typedef struct bn_gpu {
    cudaStream_t stream;
    cudaGraphExec_t step;
    unsigned char *weights, *state; /* on the card */
    unsigned char *in,
        *out; /* pinned: | step | tokens | as the state begins; | hidden | logits | */
    unsigned char *logits; /* where the card puts them: the caller's memory, pinned, or out's */
    int pinned, answered; /* it is the caller's; it holds the logits of out's hidden values */
} bn_gpu;

#define ROWS(table) ((int)(sizeof table / sizeof *table))
static const size_t logits_bytes = (size_t)BN_VOCAB * sizeof(float);

#define TRY(call) ((call) == cudaSuccess)

/* The rows of a table in order: a launch waits for all of the one before it. */
static int launch_table(const bn_gpu *g, const bn_dispatch *table, int n, int ntok)
{
    for (int i = 0; i < n; i++) {
        const bn_dispatch *d = &table[i];
        unsigned layer = (unsigned)d->layer;
        unsigned char *state = g->state;
        const unsigned char *weights = g->weights;
        void *args[] = {&state, &weights, &layer};
        if (!TRY(cudaLaunchKernel((const void *)d->entry,
                                  dim3(bn_groups(d, ntok)), dim3(BN_THREADS),
                                  args, (size_t)d->bytes, g->stream)))
            return 0;
    }
    return 1;
}

static int copy_in(const bn_gpu *g, size_t bytes)
{
    return TRY(cudaMemcpyAsync(g->state, g->in, bytes, cudaMemcpyHostToDevice, g->stream));
}

static int copy_out(const bn_gpu *g, void *to, size_t from, size_t bytes)
{
    return TRY(cudaMemcpyAsync(to, g->state + from, bytes, cudaMemcpyDeviceToHost, g->stream));
}

/* A decode step: one launch, whose blocks must all run at once. */
static int launch_step(const bn_gpu *g)
{
    unsigned char *state = g->state;
    const unsigned char *weights = g->weights;
    void *args[] = {&state, &weights};
    return TRY(cudaLaunchCooperativeKernel((const void *)decode_step, dim3(BN_BLOCKS),
                                           dim3(BN_THREADS), args, STEP_BYTES, g->stream));
}

static int put_step(const bn_gpu *g)
{
    return copy_in(g, at_tokens + sizeof(int)) && launch_step(g) &&
           copy_out(g, g->out, at_hidden, hidden_bytes) &&
           launch_table(g, head_table, ROWS(head_table), 1) &&
           copy_out(g, g->logits, at_logits, logits_bytes);
}

static int make_graph(bn_gpu *g)
{
    cudaGraph_t graph = NULL;
    if (!TRY(cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeThreadLocal)))
        return 0;
    int put = put_step(g);
    int made = TRY(cudaStreamEndCapture(g->stream, &graph)) && put &&
               TRY(cudaGraphInstantiate(&g->step, graph, 0));
    if (graph)
        cudaGraphDestroy(graph);
    return made;
}

static void device_stop(bn_call *c)
{
    bn_gpu *g = (bn_gpu *)c->device;
    if (!g)
        return;
    if (g->step)
        cudaGraphExecDestroy(g->step);
    if (g->pinned)
        cudaHostUnregister(g->logits);
    cudaFree(g->weights);
    cudaFree(g->state);
    cudaFreeHost(g->in);
    cudaFreeHost(g->out);
    if (g->stream)
        cudaStreamDestroy(g->stream);
    free(g);
    c->device = NULL;
}

/* All that a state has on the card, and the weights, copied once. */
static int make_buffers(bn_gpu *g, const bn_weights *w)
{
    const size_t given = at_tokens + BN_BATCH * sizeof(int);
    return TRY(cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking)) &&
           TRY(cudaMalloc((void **)&g->weights, w->size)) &&
           TRY(cudaMalloc((void **)&g->state, state_bytes)) &&
           TRY(cudaMallocHost((void **)&g->in, given)) && memset(g->in, 0, given) &&
           TRY(cudaMallocHost((void **)&g->out, hidden_bytes + logits_bytes)) &&
           TRY(cudaMemcpy(g->weights, w->data, w->size, cudaMemcpyHostToDevice)) &&
           TRY(cudaMemset(g->state, 0, state_bytes));
}

/* Whether the blocks of a decode step have a multiprocessor each. */
static int card_fits(void)
{
    int card = 0, blocks = 0;
    return TRY(cudaGetDevice(&card)) &&
           TRY(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, card)) &&
           blocks >= BN_BLOCKS &&
           TRY(cudaFuncSetAttribute((const void *)decode_step,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, STEP_BYTES));
}

static bn_status device_start(bn_call *c, const bn_weights *w)
{
    bn_gpu *g = (bn_gpu *)calloc(1, sizeof *g);
    c->device = g;
    if (g && card_fits() && make_buffers(g, w)) {
        g->pinned = TRY(cudaHostRegister(c->logits, logits_bytes, cudaHostRegisterDefault));
        g->logits = g->pinned ? (unsigned char *)c->logits : g->out + hidden_bytes;
        if (make_graph(g))
            return BN_OK;
    }
    device_stop(c);
    return BN_DEVICE;
}

static const bn_device device = {device_start, device_stop};

/* ---- the forward functions ---- */

/* A failure of the card shows as values that are no numbers: forward functions return nothing. */
static void wait_for(const bn_gpu *g, int put, void *result, const void *from, size_t bytes)
{
    if (!TRY(cudaStreamSynchronize(g->stream)) || !put)
        memset(result, 0xff, bytes);
    else if (result != from)
        memcpy(result, from, bytes);
}

static void put_input(const bn_gpu *g, const bn_call *c)
{
    int step[2] = {c->pos, c->ntok};
    memcpy(g->in, step, sizeof step);
    memcpy(g->in + at_tokens, c->tokens, (size_t)c->ntok * sizeof *c->tokens);
}

static void decode(const bn_call *c)
{
    bn_gpu *g = (bn_gpu *)c->device;
    if (c->thread)
        return;
    put_input(g, c);
    g->answered = TRY(cudaGraphLaunch(g->step, g->stream));
    wait_for(g, g->answered, c->hidden, g->out, hidden_bytes);
}

static int put_tokens(bn_gpu *g, const bn_call *c, const bn_dispatch *table, int n)
{
    g->answered = 0;
    put_input(g, c);
    return copy_in(g, at_tokens + (size_t)c->ntok * sizeof(int)) &&
           launch_table(g, table, n, c->ntok);
}

static void prefill(const bn_call *c)
{
    bn_gpu *g = (bn_gpu *)c->device;
    if (c->thread)
        return;
    int put = put_tokens(g, c, prefill_table, ROWS(prefill_table)) &&
              copy_out(g, g->out, at_hidden, hidden_bytes);
    wait_for(g, put, c->hidden, g->out, hidden_bytes);
}

/* Logits by the batch go to their place at once: there is no room for them in between. */
static void score(const bn_call *c)
{
    bn_gpu *g = (bn_gpu *)c->device;
    const size_t bytes = (size_t)c->ntok * logits_bytes;
    if (c->thread)
        return;
    if (!put_tokens(g, c, score_table, ROWS(score_table)) ||
        !copy_out(g, c->logits, at_logits, bytes) ||
        !TRY(cudaStreamSynchronize(g->stream)))
        memset(c->logits, 0xff, bytes);
}

static void head(const bn_call *c)
{
    bn_gpu *g = (bn_gpu *)c->device;
    if (c->thread)
        return;
    int put = 1;
    if (!g->answered || memcmp(c->hidden, g->out, hidden_bytes) != 0) {
        g->answered = 0;
        memcpy(g->out, c->hidden, hidden_bytes);
        put = TRY(cudaMemcpyAsync(g->state + at_hidden, g->out, hidden_bytes,
                                  cudaMemcpyHostToDevice, g->stream)) &&
              launch_table(g, head_table, ROWS(head_table), 1) &&
              copy_out(g, g->logits, at_logits, logits_bytes);
    }
    wait_for(g, put, c->logits, g->logits, logits_bytes);
}
