/* ---- the device: what bn_init makes and the forward functions use ---- */

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#include <stdlib.h>
#include <unistd.h>

/* One state's objects, all made by device_start: nothing is made for a token but its command buffer
 * and encoder, which Metal keeps in pools of its own. */
typedef struct bn_gpu {
    id<MTLDevice> device;
    id<MTLCommandQueue> queue;
    id<MTLLibrary> library;
    id<MTLBuffer> weights, state, layers; /* layers: the numbers 0, 1 ..., 256 bytes apart */
    id<MTLComputePipelineState> *decode, *prefill, *score, *head; /* of the tables' rows */
} bn_gpu;

enum { BN_LAYER_STRIDE = 256 };
#define ROWS(table) ((int)(sizeof table / sizeof *table))

/* The compiled shaders, or else their source beside them. */
static id<MTLLibrary> load_library(id<MTLDevice> device)
{
    NSString *source = [NSString stringWithUTF8String:library_name];
    NSString *compiled =
        [[source stringByDeletingPathExtension] stringByAppendingPathExtension:@"metallib"];
    id<MTLLibrary> library = nil;
    if (access([compiled UTF8String], R_OK) == 0)
        library = [device newLibraryWithURL:[NSURL fileURLWithPath:compiled] error:NULL];
    if (!library) {
        NSString *text = [NSString stringWithContentsOfFile:source
                                                   encoding:NSUTF8StringEncoding
                                                      error:NULL];
        MTLCompileOptions *options = [[MTLCompileOptions alloc] init];
        [options setFastMathEnabled:NO]; /* quantization rounds half to even */
        if (text)
            library = [device newLibraryWithSource:text options:options error:NULL];
        [options release];
    }
    return library;
}

/* One pipeline an entry point, which the rows of a table share. NULL: an entry point is missing. */
static id<MTLComputePipelineState> *make_pipelines(bn_gpu *g, const bn_dispatch *table, int n)
{
    id<MTLComputePipelineState> *all = calloc((size_t)n, sizeof *all);
    for (int i = 0; all && i < n; i++) {
        int same = 0;
        while (strcmp(table[same].entry, table[i].entry) != 0)
            same++;
        if (same < i) {
            all[i] = [all[same] retain];
            continue;
        }
        id<MTLFunction> f =
            [g->library newFunctionWithName:[NSString stringWithUTF8String:table[i].entry]];
        if (f)
            all[i] = [g->device newComputePipelineStateWithFunction:f error:NULL];
        [f release];
        if (!all[i])
            return NULL;
    }
    return all;
}

static void drop_pipelines(id<MTLComputePipelineState> *all, int n)
{
    for (int i = 0; all && i < n; i++)
        [all[i] release];
    free(all);
}

/* Mapped once and wrapped: pages of the file are what the GPU reads. Weights inside a program may
 * not begin where a page does, and are copied. */
static id<MTLBuffer> wrap_weights(id<MTLDevice> device, const bn_weights *w)
{
    const size_t page = (size_t)getpagesize();
    void *data = (void *)(uintptr_t)w->data;
    if (w->mapped && (uintptr_t)data % page == 0)
        return [device newBufferWithBytesNoCopy:data
                                         length:(w->size + page - 1) / page * page
                                        options:MTLResourceStorageModeShared
                                    deallocator:nil];
    return [device newBufferWithBytes:data length:w->size options:MTLResourceStorageModeShared];
}

static void device_stop(bn_call *c)
{
    bn_gpu *g = c->device;
    if (!g)
        return;
    drop_pipelines(g->decode, ROWS(decode_table));
    drop_pipelines(g->prefill, ROWS(prefill_table));
    drop_pipelines(g->score, ROWS(score_table));
    drop_pipelines(g->head, ROWS(head_table));
    [g->layers release];
    [g->state release];
    [g->weights release];
    [g->library release];
    [g->queue release];
    [g->device release];
    free(g);
    c->device = NULL;
}

static int make_buffers(bn_gpu *g, const bn_weights *w)
{
    g->weights = wrap_weights(g->device, w);
    g->state = [g->device newBufferWithLength:state_bytes options:MTLResourceStorageModeShared];
    g->layers = [g->device newBufferWithLength:BN_LAYERS * BN_LAYER_STRIDE
                                       options:MTLResourceStorageModeShared];
    if (!g->weights || !g->state || !g->layers)
        return 0;
    for (unsigned i = 0; i < BN_LAYERS; i++)
        memcpy((unsigned char *)[g->layers contents] + i * BN_LAYER_STRIDE, &i, sizeof i);
    return 1;
}

static bn_status device_start(bn_call *c, const bn_weights *w)
{
    bn_gpu *g = calloc(1, sizeof *g);
    int good = 0;
    c->device = g;
    if (!g)
        return BN_DEVICE;
    @autoreleasepool {
        g->device = MTLCreateSystemDefaultDevice();
        if (g->device) {
            g->queue = [g->device newCommandQueue];
            g->library = load_library(g->device);
        }
        if (g->queue && g->library && make_buffers(g, w)) {
            g->decode = make_pipelines(g, decode_table, ROWS(decode_table));
            g->prefill = make_pipelines(g, prefill_table, ROWS(prefill_table));
            g->score = make_pipelines(g, score_table, ROWS(score_table));
            g->head = make_pipelines(g, head_table, ROWS(head_table));
            good = g->decode && g->prefill && g->score && g->head;
        }
    }
    if (!good)
        device_stop(c);
    return good ? BN_OK : BN_DEVICE;
}

static const bn_device device = {device_start, device_stop};

/* ---- a pass: one command buffer, the rows of a table in order ---- */

static void encode(const bn_gpu *g, id<MTLComputeCommandEncoder> e, const bn_dispatch *table, int n,
                   id<MTLComputePipelineState> *pipeline, int ntok)
{
    [e setBuffer:g->state offset:0 atIndex:0];
    [e setBuffer:g->weights offset:0 atIndex:1];
    [e setBuffer:g->state offset:0 atIndex:2];
    for (int i = 0; i < n; i++) {
        const bn_dispatch *d = &table[i];
        if (d->barrier)
            [e memoryBarrierWithScope:MTLBarrierScopeBuffers];
        [e setComputePipelineState:pipeline[i]];
        [e setBuffer:g->layers offset:(NSUInteger)d->layer * BN_LAYER_STRIDE atIndex:3];
        [e setThreadgroupMemoryLength:(NSUInteger)d->bytes atIndex:0];
        [e dispatchThreadgroups:MTLSizeMake(bn_groups(d, ntok), 1, 1)
            threadsPerThreadgroup:MTLSizeMake(BN_THREADS, 1, 1)];
    }
}

static int run_table(const bn_call *c, const bn_dispatch *table, int n,
                     id<MTLComputePipelineState> *pipeline)
{
    const bn_gpu *g = c->device;
    unsigned char *state = [g->state contents];
    int step[2] = {c->pos, c->ntok}, done;
    memcpy(state, step, sizeof step);
    @autoreleasepool {
        id<MTLCommandBuffer> commands = [g->queue commandBuffer];
        id<MTLComputeCommandEncoder> e =
            [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
        encode(g, e, table, n, pipeline, c->ntok);
        [e endEncoding];
        [commands commit];
        [commands waitUntilCompleted];
        done = [commands status] == MTLCommandBufferStatusCompleted;
    }
    return done;
}

static int run_tokens(const bn_call *c, const bn_dispatch *table, int n,
                      id<MTLComputePipelineState> *pipeline)
{
    unsigned char *state = [((bn_gpu *)c->device)->state contents];
    memcpy(state + at_tokens, c->tokens, (size_t)c->ntok * sizeof *c->tokens);
    return run_table(c, table, n, pipeline);
}

/* A pass that the GPU gave up leaves no numbers: forward functions return nothing. */
static void take_result(const bn_gpu *g, int done, void *to, size_t at, size_t bytes)
{
    if (done)
        memcpy(to, (unsigned char *)[g->state contents] + at, bytes);
    else
        memset(to, 0xff, bytes);
}

static void decode(const bn_call *c)
{
    const bn_gpu *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, decode_table, ROWS(decode_table), g->decode);
    take_result(g, done, c->hidden, at_hidden, hidden_bytes);
}

static void prefill(const bn_call *c)
{
    const bn_gpu *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, prefill_table, ROWS(prefill_table), g->prefill);
    take_result(g, done, c->hidden, at_hidden, hidden_bytes);
}

static void score(const bn_call *c)
{
    const bn_gpu *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, score_table, ROWS(score_table), g->score);
    take_result(g, done, c->logits, at_logits, (size_t)c->ntok * BN_VOCAB * sizeof *c->logits);
}

static void head(const bn_call *c)
{
    const bn_gpu *g = c->device;
    if (c->thread)
        return;
    memcpy((unsigned char *)[g->state contents] + at_hidden, c->hidden, hidden_bytes);
    int done = run_table(c, head_table, ROWS(head_table), g->head);
    take_result(g, done, c->logits, at_logits, BN_VOCAB * sizeof *c->logits);
}
