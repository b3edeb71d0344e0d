/* ---- the device: what bn_init makes and the forward functions use ---- */

#include <stdlib.h>

/* The device of GPU i of several; one GPU alone is the current device. */
#ifndef BN_DEVICE_OF
#define BN_DEVICE_OF(i) (i)
#endif

/* The objects of one GPU, all made by device_start. A decode step with the logits behind it is one
 * CUDA graph of launches, without copies: decode_step reads position and token from `in`; the rows
 * of lm_head's table, or of topk's, store hidden values and logits in the host's memory. Which of the
 * two runs is what was asked for after the step before, so that asking again finds the logits
 * there. */
enum { ALL_LOGITS, TOPK_LOGITS, BN_GRAPHS = ALL_LOGITS + 1 + BN_SCREENED };
typedef struct bn_gpu {
    int number, device;
    cudaStream_t stream;
    cudaGraphExec_t graph[BN_GRAPHS];
    unsigned char *weights, *state; /* in its memory */
    unsigned char *in;              /* pinned: | step | tokens | as the state begins */
} bn_gpu;
typedef struct bn_gpus {
    bn_gpu gpu[BN_GPUS];
    unsigned char *out;    /* pinned: | hidden | logits | */
    unsigned char *logits; /* of @lm_head and @topk: in the caller's pinned memory, or out's */
    int pinned;            /* it is the caller's */
    int topk, found; /* how many top-k logits were last asked for; `logits` has so many, of out's
                        hidden values */
    int lost;        /* a GPU did not receive its part of a pass: the others wait for it for ever */
} bn_gpus;

#define ROWS(table) ((int)(sizeof table / sizeof *table))
static const size_t logits_bytes = (size_t)BN_VOCAB * sizeof(float);

#define TRY(call) ((call) == cudaSuccess)
#define EACH_GPU(g, c) for (bn_gpu *c = (g)->gpu; c < (g)->gpu + BN_GPUS; c++)

/* The calling thread's current device is changed where there are several, and restored in the end.
 */
static int use_gpu(const bn_gpu *c)
{
    return BN_GPUS == 1 || TRY(cudaSetDevice(c->device));
}
static int device_before(void)
{
    int device = 0;
    return BN_GPUS > 1 && TRY(cudaGetDevice(&device)) ? device : 0;
}
static void device_again(int device)
{
    if (BN_GPUS > 1)
        cudaSetDevice(device);
}

/* In stream order. A persistent kernel (no groups) is a cooperative launch: its blocks are
 * co-resident. */
static int launch(const bn_gpu *c, const bn_dispatch *d, int ntok)
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

static int launch_table(const bn_gpu *c, const bn_dispatch *table, int n, int ntok)
{
    for (int i = 0; i < n; i++)
        if (!launch(c, &table[i], ntok))
            return 0;
    return 1;
}

static int copy_in(const bn_gpu *c, size_t to, const void *from, size_t bytes)
{
    return TRY(cudaMemcpyAsync(c->state + to, from, bytes, cudaMemcpyHostToDevice, c->stream));
}

/* Hidden values, which all GPUs have alike: the first one's. */
static int copy_hidden(const bn_gpus *g)
{
    return TRY(cudaMemcpyAsync(g->out, g->gpu->state + at_hidden, hidden_bytes,
                               cudaMemcpyDeviceToHost, g->gpu->stream));
}

/* The GPU's slice of the logits of ntok tokens, to the host. */
static int copy_logits(const bn_gpu *c, void *to, int ntok)
{
    const int wide = BN_THREADS / 32, units = (BN_VOCAB + wide - 1) / wide,
              from = unit_from(units, c->number) * wide,
              end = c->number + 1 < BN_GPUS ? unit_from(units, c->number + 1) * wide : BN_VOCAB;
    return from >= end || TRY(cudaMemcpy2DAsync((float *)to + from, logits_bytes,
                                                (float *)(c->state + at_logits) + from,
                                                logits_bytes, (size_t)(end - from) * sizeof(float),
                                                (size_t)ntok, cudaMemcpyDeviceToHost, c->stream));
}

/* A decode step, then the rows of `last`, which compute logits. */
static int make_graph(bn_gpu *c, const bn_dispatch *last, int n, cudaGraphExec_t *to)
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

static int make_graphs(bn_gpu *c)
{
    return
#if BN_SCREENED
        make_graph(c, topk_table, ROWS(topk_table), &c->graph[TOPK_LOGITS]) &&
#endif
        make_graph(c, lm_head_table, ROWS(lm_head_table), &c->graph[ALL_LOGITS]);
}

static void free_gpu(bn_gpu *c)
{
    use_gpu(c);
    for (int i = 0; i < BN_GRAPHS; i++)
        if (c->graph[i])
            cudaGraphExecDestroy(c->graph[i]);
    cudaFree(c->weights);
    cudaFree(c->state);
    cudaFreeHost(c->in);
    if (c->stream)
        cudaStreamDestroy(c->stream);
}

/* After a lost pass, GPUs may still use their memory, which is not freed. */
static void device_stop(bn_call *call)
{
    bn_gpus *g = (bn_gpus *)call->device;
    const int before = device_before();
    if (!g)
        return;
    if (!g->lost) {
        EACH_GPU(g, c)
        free_gpu(c);
        if (g->pinned)
            cudaHostUnregister(g->logits);
        cudaFreeHost(g->out);
        free(g);
    }
    call->device = NULL;
    device_again(before);
}

/* Copies the GPU's slice of the weights. */
static int copy_weights(const bn_gpu *c, const unsigned char *data)
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

/* Allocates and fills what the state has on one GPU. */
static int make_buffers(bn_gpu *c, const bn_weights *w)
{
    const size_t given = at_tokens + BN_BATCH * sizeof(int);
    return TRY(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking)) &&
           TRY(cudaMalloc((void **)&c->weights, gpu_bytes)) &&
           TRY(cudaMalloc((void **)&c->state, state_bytes)) &&
           TRY(cudaMallocHost((void **)&c->in, given)) && memset(c->in, 0, given) &&
           copy_weights(c, (const unsigned char *)w->data) &&
           TRY(cudaMemset(c->state, 0, state_bytes));
}

/* Whether the blocks of the persistent kernels are co-resident: one a multiprocessor. */
static int gpu_fits(const bn_gpu *c)
{
    int blocks = 0;
    return TRY(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, c->device)) &&
           blocks >= BN_BLOCKS &&
#if BN_SCREENED
           TRY(cudaFuncSetAttribute((const void *)topk_step,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, TOPK_BYTES)) &&
#endif
           TRY(cudaFuncSetAttribute((const void *)decode_step,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, STEP_BYTES));
}

/* Whether a GPU can store to another one's state. */
static int gpu_reaches(const bn_gpu *c, const bn_gpu *other)
{
    int can = 0;
    if (c->device == other->device)
        return 1;
    if (!TRY(cudaDeviceCanAccessPeer(&can, c->device, other->device)) || !can)
        return 0;
    cudaError_t e = cudaDeviceEnablePeerAccess(other->device, 0);
    return e == cudaSuccess || e == cudaErrorPeerAccessAlreadyEnabled;
}

static int make_gpu(bn_gpu *c, int number, const bn_weights *w)
{
    c->number = number;
    c->device = BN_DEVICE_OF(number);
    if (BN_GPUS == 1 && !TRY(cudaGetDevice(&c->device)))
        return 0;
    return use_gpu(c) && gpu_fits(c) && make_buffers(c, w);
}

/* Sets the step's distances to the other GPUs' states and to the host, and makes the graphs. Memory
 * of cudaMallocHost has one address for all. */
static int join_gpu(bn_gpus *g, bn_gpu *c)
{
    bn_step *step = (bn_step *)c->in;
    step->gpu = (uint)c->number;
    step->host = (long)((intptr_t)c->in - (intptr_t)c->state);
    step->hidden = (float *)g->out;
    EACH_GPU(g, other)
    {
        if (!use_gpu(c) || !gpu_reaches(c, other))
            return 0;
        step->away[other->number] = (long)((intptr_t)other->state - (intptr_t)c->state);
    }
    return TRY(cudaHostGetDevicePointer((void **)&step->logits, g->logits, 0)) &&
           TRY(cudaMemcpy(c->state, step, sizeof *step, cudaMemcpyHostToDevice)) && make_graphs(c);
}

static bn_status device_start(bn_call *call, const bn_weights *w)
{
    const int before = device_before();
    bn_gpus *g = (bn_gpus *)calloc(1, sizeof *g);
    int made = g && TRY(cudaMallocHost((void **)&g->out, hidden_bytes + logits_bytes));
    call->device = g;
    for (int i = 0; made && i < BN_GPUS; i++)
        made = make_gpu(&g->gpu[i], i, w);
    if (made) {
        g->topk = BN_VOCAB;
        g->pinned = TRY(cudaHostRegister(call->logits, logits_bytes,
                                         cudaHostRegisterPortable | cudaHostRegisterMapped));
        g->logits = g->pinned ? (unsigned char *)call->logits : g->out + hidden_bytes;
        EACH_GPU(g, c)
        made = made && join_gpu(g, c);
    }
    device_again(before);
    if (made)
        return BN_OK;
    device_stop(call);
    return BN_DEVICE;
}

static const bn_device device = {device_start, device_stop};

/* ---- the forward functions ---- */

/* Waits for all GPUs, then copies the result. Forward functions return nothing, so after a failure
 * results are NaN. */
static void wait_for(bn_gpus *g, int put, void *result, const void *from, size_t bytes)
{
    g->lost |= !put && BN_GPUS > 1;
    EACH_GPU(g, c)
    put = !g->lost && TRY(cudaStreamSynchronize(c->stream)) && put;
    if (!put)
        memset(result, 0xff, bytes);
    else if (result != from)
        memcpy(result, from, bytes);
}

static void put_input(bn_gpus *g, const bn_call *call)
{
    EACH_GPU(g, c)
    {
        bn_step *step = (bn_step *)c->in;
        step->pos = call->pos;
        step->ntok = call->ntok;
        step->topk = g->topk;
        memcpy(c->in + at_tokens, call->tokens, (size_t)call->ntok * sizeof *call->tokens);
    }
}

static void decode(const bn_call *call)
{
    bn_gpus *g = (bn_gpus *)call->device;
    if (call->thread)
        return;
    const int before = device_before(), last = g->topk < BN_VOCAB ? TOPK_LOGITS : ALL_LOGITS;
    int put = !g->lost;
    put_input(g, call);
    EACH_GPU(g, c)
    put = put && use_gpu(c) && TRY(cudaGraphLaunch(c->graph[last], c->stream));
    g->found = put ? g->topk : 0;
    wait_for(g, put, call->hidden, g->out, hidden_bytes);
    device_again(before);
}

/* Copies tokens in and launches a table's rows, each on all GPUs before the next: a launch may
 * block where the stream is full, and the GPUs wait for each other. */
static int put_tokens(bn_gpus *g, const bn_call *call, const bn_dispatch *table, int n)
{
    int put = !g->lost;
    g->found = 0;
    put_input(g, call);
    EACH_GPU(g, c)
    put = put && copy_in(c, 0, c->in, at_tokens + (size_t)call->ntok * sizeof(int));
    for (int i = 0; i < n; i++)
        EACH_GPU(g, c)
    put = put && use_gpu(c) && launch(c, &table[i], call->ntok);
    return put;
}

static void prefill(const bn_call *call)
{
    bn_gpus *g = (bn_gpus *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = put_tokens(g, call, prefill_table, ROWS(prefill_table)) && copy_hidden(g);
    wait_for(g, put, call->hidden, g->out, hidden_bytes);
    device_again(before);
}

/* Logits of a batch are copied to the caller's memory at once; `out` has room for those of one
 * token. */
static void score(const bn_call *call)
{
    bn_gpus *g = (bn_gpus *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = put_tokens(g, call, score_table, ROWS(score_table));
    EACH_GPU(g, c)
    put = put && copy_logits(c, call->logits, call->ntok);
    wait_for(g, put, call->logits, call->logits, (size_t)call->ntok * logits_bytes);
    device_again(before);
}

/* The `k` largest logits at least, by a table's rows, unless they are there already. */
static void find_logits(const bn_call *call, int k, const bn_dispatch *table, int n)
{
    bn_gpus *g = (bn_gpus *)call->device;
    if (call->thread)
        return;
    const int before = device_before();
    int put = !g->lost;
    g->topk = k;
    if (g->found < k || memcmp(call->hidden, g->out, hidden_bytes) != 0) {
        g->found = 0;
        memcpy(g->out, call->hidden, hidden_bytes);
        EACH_GPU(g, c)
        {
            ((bn_step *)c->in)->topk = k;
            put = put && use_gpu(c) && copy_in(c, 0, c->in, sizeof(bn_step)) &&
                  copy_in(c, at_hidden, g->out, hidden_bytes) && launch_table(c, table, n, 1);
        }
    }
    wait_for(g, put, call->logits, g->logits, logits_bytes);
    device_again(before);
}

static void lm_head(const bn_call *call)
{
    find_logits(call, BN_VOCAB, lm_head_table, ROWS(lm_head_table));
}
#if BN_SCREENED

static void topk(const bn_call *call)
{
    find_logits(call, call->topk, topk_table, ROWS(topk_table));
}
#endif
