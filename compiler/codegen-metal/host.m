/* ---- the device: what bn_init makes and the forward functions use ---- */

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#include <stdlib.h>
#include <unistd.h>

/* One state's objects, all made by device_start: nothing is made for a token but its command buffer
 * and encoder, which Metal keeps in pools of its own. Decode's dispatches are the same for every
 * token: where the device has indirect command buffers they are encoded once. */
typedef struct bn_gpus {
    id<MTLDevice> device;
    id<MTLCommandQueue> queue;
    id<MTLLibrary> library;
    id<MTLBuffer> weights, state, layers; /* layers: the numbers 0, 1 ..., 256 bytes apart */
    id<MTLComputePipelineState> *decode, *prefill, *score, *lm_head; /* of the tables' rows */
    id<MTLIndirectCommandBuffer> steps; /* decode's rows; nil: encoded for each token */
} bn_gpus;

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

static id<MTLComputePipelineState> make_pipeline(bn_gpus *g, const char *entry, BOOL indirect)
{
    id<MTLComputePipelineState> pipeline = nil;
    id<MTLFunction> f = [g->library newFunctionWithName:[NSString stringWithUTF8String:entry]];
    MTLComputePipelineDescriptor *how = [[MTLComputePipelineDescriptor alloc] init];
    [how setComputeFunction:f];
    [how setSupportIndirectCommandBuffers:indirect];
    if (f)
        pipeline = [g->device newComputePipelineStateWithDescriptor:how
                                                            options:MTLPipelineOptionNone
                                                         reflection:NULL
                                                              error:NULL];
    [how release];
    [f release];
    return pipeline;
}

static void drop_pipelines(id<MTLComputePipelineState> *all, int n)
{
    for (int i = 0; all && i < n; i++)
        [all[i] release];
    free(all);
}

/* One pipeline an entry point, which the rows of a table share. NULL: an entry point is missing. */
static id<MTLComputePipelineState> *make_pipelines(bn_gpus *g, const bn_dispatch *table, int n,
                                                   BOOL indirect)
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
        all[i] = make_pipeline(g, table[i].entry, indirect);
        if (!all[i]) {
            drop_pipelines(all, i);
            return NULL;
        }
    }
    return all;
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
    bn_gpus *g = c->device;
    if (!g)
        return;
    [g->steps release];
    drop_pipelines(g->decode, ROWS(decode_table));
    drop_pipelines(g->prefill, ROWS(prefill_table));
    drop_pipelines(g->score, ROWS(score_table));
    drop_pipelines(g->lm_head, ROWS(lm_head_table));
    [g->layers release];
    [g->state release];
    [g->weights release];
    [g->library release];
    [g->queue release];
    [g->device release];
    free(g);
    c->device = NULL;
}

static int make_buffers(bn_gpus *g, const bn_weights *w)
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

/* Decode's rows, for one token. */
static id<MTLIndirectCommandBuffer> make_steps(bn_gpus *g)
{
    MTLIndirectCommandBufferDescriptor *how = [[MTLIndirectCommandBufferDescriptor alloc] init];
    [how setCommandTypes:MTLIndirectCommandTypeConcurrentDispatch];
    [how setInheritPipelineState:NO];
    [how setInheritBuffers:NO];
    [how setMaxKernelBufferBindCount:4];
    if ([how respondsToSelector:@selector(setMaxKernelThreadgroupMemoryBindCount:)])
        [how setMaxKernelThreadgroupMemoryBindCount:1]; /* macOS 14 needs it */
    id<MTLIndirectCommandBuffer> steps =
        [g->device newIndirectCommandBufferWithDescriptor:how
                                          maxCommandCount:ROWS(decode_table)
                                                  options:MTLResourceStorageModeShared];
    [how release];
    for (int i = 0; steps && i < ROWS(decode_table); i++) {
        const bn_dispatch *d = &decode_table[i];
        id<MTLIndirectComputeCommand> step = [steps indirectComputeCommandAtIndex:(NSUInteger)i];
        [step setComputePipelineState:g->decode[i]];
        [step setKernelBuffer:g->state offset:0 atIndex:0];
        [step setKernelBuffer:g->weights offset:0 atIndex:1];
        [step setKernelBuffer:g->state offset:0 atIndex:2];
        [step setKernelBuffer:g->layers offset:(NSUInteger)d->layer * BN_LAYER_STRIDE atIndex:3];
        [step setThreadgroupMemoryLength:(NSUInteger)d->bytes atIndex:0];
        if (d->barrier)
            [step setBarrier];
        [step concurrentDispatchThreadgroups:MTLSizeMake(bn_groups(d, 1), 1, 1)
                       threadsPerThreadgroup:MTLSizeMake(BN_THREADS, 1, 1)];
    }
    return steps;
}

static bn_status device_start(bn_call *c, const bn_weights *w)
{
    bn_gpus *g = calloc(1, sizeof *g);
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
            BOOL indirect = [g->device supportsFamily:MTLGPUFamilyApple7];
            g->decode = make_pipelines(g, decode_table, ROWS(decode_table), indirect);
            g->prefill = make_pipelines(g, prefill_table, ROWS(prefill_table), NO);
            g->score = make_pipelines(g, score_table, ROWS(score_table), NO);
            g->lm_head = make_pipelines(g, lm_head_table, ROWS(lm_head_table), NO);
            good = g->decode && g->prefill && g->score && g->lm_head;
            if (good && indirect)
                g->steps = make_steps(g);
        }
    }
    if (!good)
        device_stop(c);
    return good ? BN_OK : BN_DEVICE;
}

static const bn_device device = {device_start, device_stop};

/* ---- a pass: one command buffer, the rows of a table in order ---- */

static void encode(const bn_gpus *g, id<MTLComputeCommandEncoder> e, const bn_dispatch *table,
                   int n, id<MTLComputePipelineState> *pipeline, int ntok)
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

/* Decode's rows as make_steps encoded them, with the buffers that they use made resident. */
static void encode_steps(const bn_gpus *g, id<MTLComputeCommandEncoder> e)
{
    [e useResource:g->state usage:MTLResourceUsageRead | MTLResourceUsageWrite];
    [e useResource:g->weights usage:MTLResourceUsageRead];
    [e useResource:g->layers usage:MTLResourceUsageRead];
    [e executeCommandsInBuffer:g->steps withRange:NSMakeRange(0, ROWS(decode_table))];
}

static int run_table(const bn_call *c, const bn_dispatch *table, int n,
                     id<MTLComputePipelineState> *pipeline)
{
    const bn_gpus *g = c->device;
    unsigned char *state = [g->state contents];
    int step[2] = {c->pos, c->ntok}, done;
    memcpy(state, step, sizeof step);
    @autoreleasepool {
        id<MTLCommandBuffer> commands = [g->queue commandBuffer];
        id<MTLComputeCommandEncoder> e =
            [commands computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
        if (table == decode_table && g->steps)
            encode_steps(g, e);
        else
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
    unsigned char *state = [((bn_gpus *)c->device)->state contents];
    memcpy(state + at_tokens, c->tokens, (size_t)c->ntok * sizeof *c->tokens);
    return run_table(c, table, n, pipeline);
}

/* Forward functions return nothing, so after a command buffer that failed results are NaN. */
static void take_result(const bn_gpus *g, int done, void *to, size_t at, size_t bytes)
{
    if (done)
        memcpy(to, (unsigned char *)[g->state contents] + at, bytes);
    else
        memset(to, 0xff, bytes);
}

static void decode(const bn_call *c)
{
    const bn_gpus *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, decode_table, ROWS(decode_table), g->decode);
    take_result(g, done, c->hidden, at_hidden, hidden_bytes);
}

static void prefill(const bn_call *c)
{
    const bn_gpus *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, prefill_table, ROWS(prefill_table), g->prefill);
    take_result(g, done, c->hidden, at_hidden, hidden_bytes);
}

static void score(const bn_call *c)
{
    const bn_gpus *g = c->device;
    if (c->thread)
        return;
    int done = run_tokens(c, score_table, ROWS(score_table), g->score);
    take_result(g, done, c->logits, at_logits, (size_t)c->ntok * BN_VOCAB * sizeof *c->logits);
}

static void lm_head(const bn_call *c)
{
    const bn_gpus *g = c->device;
    if (c->thread)
        return;
    memcpy((unsigned char *)[g->state contents] + at_hidden, c->hidden, hidden_bytes);
    int done = run_table(c, lm_head_table, ROWS(lm_head_table), g->lm_head);
    take_result(g, done, c->logits, at_logits, BN_VOCAB * sizeof *c->logits);
}
