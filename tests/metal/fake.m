/* fake.m: a Metal device that runs its kernels on the processor (grid.h), and holds its user to
 * Metal's rules.
 *
 * One idea: between two barriers a GPU may run dispatches in any order, so this one does: in the
 * order that BN_ORDER names (forward, backward, shuffled), threads within groups alike. What breaks
 * a rule ends the process with status 3: a dispatch without pipeline or buffers, too many threads,
 * too much threadgroup memory, an offset beyond a buffer, memory to be wrapped that does not
 * consist of pages. For tests:
 *
 *   BN_SKIP_LINE=N      the threadgroup barrier of line N of the shaders does nothing
 *   BN_SKIP_BARRIER=N   the Nth barrier (from 1) of command buffer BN_SKIP_IN (from 1) does nothing
 *   BN_NO_INDIRECT=1    the device has no indirect command buffers
 *   BN_FAIL_COMMANDS=N  command buffer N (from 1) ends with an error
 *   BN_FAKE_LOG=FILE    at the end: lines of barriers that threads arrived at, barriers in each of the first command
 * buffers, how many buffers and command buffers were made, how many
 * passes were an indirect one, objects left
 */
#define _GNU_SOURCE
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#include <dlfcn.h>
#include <objc/runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "grid.h"

enum { LOGGED = 64 };
static struct {
    long live, buffers, commands, indirect;
    unsigned barriers[LOGGED];
} seen;

static _Noreturn void misuse(const char *what)
{
    fprintf(stderr, "fake Metal: %s\n", what);
    exit(3);
}

static grid_order order(void)
{
    const char *how = getenv("BN_ORDER");
    return !how || !strcmp(how, "forward") ? GRID_FORWARD
           : !strcmp(how, "backward")      ? GRID_BACKWARD
                                           : GRID_SHUFFLED;
}

static unsigned setting(const char *name)
{
    const char *text = getenv(name);
    return text ? (unsigned)atoi(text) : 0;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("BN_FAKE_LOG");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    fprintf(f, "lines");
    for (int i = 0; i < GRID_LINES; i++)
        if (grid_arrived[i])
            fprintf(f, " %d", i);
    fprintf(f, "\nbarriers");
    for (int i = 0; i < LOGGED && i < seen.commands; i++)
        fprintf(f, " %u", seen.barriers[i]);
    fprintf(f, "\nbuffers %ld\ncommands %ld\nindirect %ld\nobjects %ld\n", seen.buffers,
            seen.commands, seen.indirect, seen.live);
    fclose(f);
}

/* ---- Foundation ---- */

static int *count_of(id object)
{
    return (int *)(void *)((char *)object + class_getInstanceSize(object_getClass(object)));
}

@implementation NSObject
+ (id)alloc
{
    id object = class_createInstance(self, sizeof(long));
    *count_of(object) = 1;
    seen.live++;
    return object;
}
- (id)init
{
    return self;
}
- (id)retain
{
    ++*count_of(self);
    return self;
}
- (void)release
{
    if (--*count_of(self) == 0)
        [self dealloc];
}
- (id)autorelease
{
    extern void fake_pool(id object);
    fake_pool(self);
    return self;
}
- (BOOL)respondsToSelector:(SEL)selector
{
    return class_respondsToSelector(object_getClass(self), selector);
}
- (void)dealloc
{
    seen.live--;
    object_dispose(self);
}
@end

static id pool[256];
static unsigned pooled;

void fake_pool(id object);
void fake_pool(id object)
{
    if (pooled == sizeof pool / sizeof *pool)
        misuse("an autorelease pool with hundreds of objects");
    pool[pooled++] = object;
}

@implementation NSAutoreleasePool
- (id)init
{
    base = pooled;
    return self;
}
- (void)drain
{
    while (pooled > base)
        [pool[--pooled] release];
    [self release];
}
@end

static NSString *new_string(const char *text, size_t n);

@implementation NSString
+ (NSString *)stringWithUTF8String:(const char *)text
{
    return new_string(text, strlen(text));
}
+ (NSString *)stringWithContentsOfFile:(NSString *)path
                              encoding:(NSStringEncoding)encoding
                                 error:(NSError **)error
{
    (void)encoding, (void)error;
    FILE *f = fopen([path UTF8String], "rb");
    if (!f)
        return nil;
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    NSString *s = new_string(text, n);
    fclose(f);
    free(text);
    return s;
}
- (NSString *)stringByDeletingPathExtension
{
    const char *dot = strrchr(bytes, '.');
    return new_string(bytes, dot ? (size_t)(dot - bytes) : length);
}
- (NSString *)stringByAppendingPathExtension:(NSString *)extension
{
    char text[4096];
    snprintf(text, sizeof text, "%s.%s", bytes, [extension UTF8String]);
    return new_string(text, strlen(text));
}
- (const char *)UTF8String
{
    return bytes;
}
- (void)setBytes:(char *)text length:(unsigned)n
{
    bytes = text;
    length = n;
}
- (void)dealloc
{
    free(bytes);
    [super dealloc];
}
@end
@interface NSString (Fake)
- (void)setBytes:(char *)text length:(unsigned)n;
@end

static NSString *new_string(const char *text, size_t n)
{
    NSString *s = [[NSString alloc] init];
    char *copy = calloc(1, n + 1);
    memcpy(copy, text, n);
    [s setBytes:copy length:(unsigned)n];
    return [s autorelease];
}

@implementation NSConstantString
- (id)retain
{
    return self;
}
- (void)release
{
}
@end

@implementation NSURL
+ (NSURL *)fileURLWithPath:(NSString *)path
{
    (void)path;
    return [[[NSURL alloc] init] autorelease];
}
@end

@implementation MTLCompileOptions
- (void)setFastMathEnabled:(BOOL)on
{
    if (on)
        misuse("fast math rounds as it likes");
}
@end

/* ---- buffers, functions, pipelines ---- */

@interface FakeBuffer : NSObject <MTLBuffer> {
  @public
    unsigned char *bytes, *map; /* map: the pages, with one behind them that nobody may touch */
    NSUInteger size, mapped;
}
@end
@implementation FakeBuffer
- (void *)contents
{
    return bytes;
}
- (NSUInteger)length
{
    return size;
}
- (void)dealloc
{
    if (map)
        munmap(map, mapped);
    [super dealloc];
}
@end

typedef void (*Shader)(unsigned char *state, const unsigned char *weights, const void *step,
                       const unsigned *layer, float *tg, unsigned g, unsigned me);
@interface FakeFunction : NSObject <MTLFunction> {
  @public
    Shader shader;
}
@end
@implementation FakeFunction
@end
@interface FakePipeline : NSObject <MTLComputePipelineState> {
  @public
    Shader shader;
    BOOL indirect;
}
@end
@implementation FakePipeline
@end
@implementation MTLComputePipelineDescriptor
- (void)setComputeFunction:(id<MTLFunction>)f
{
    function = f;
}
- (void)setSupportIndirectCommandBuffers:(BOOL)on
{
    indirect = on;
}
@end

/* Shaders are linked beside this file, in a program or a library. */
@interface FakeLibrary : NSObject <MTLLibrary>
@end
@implementation FakeLibrary
- (id<MTLFunction>)newFunctionWithName:(NSString *)name
{
    Dl_info here;
    void *shader, *self_library = dladdr((void *)misuse, &here)
                                      ? dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD)
                                      : NULL;
    shader = dlsym(self_library ? self_library : RTLD_DEFAULT, [name UTF8String]);
    if (!shader)
        return nil;
    FakeFunction *f = [[FakeFunction alloc] init];
    memcpy(&f->shader, &shader, sizeof shader);
    return f;
}
@end

/* ---- commands ---- */

enum { MOST_BUFFERS = 4, MOST_DISPATCHES = 4096 };
typedef struct Dispatch {
    Shader shader;
    FakeBuffer *buffer[MOST_BUFFERS];
    NSUInteger offset[MOST_BUFFERS], bytes, groups, threads;
    int barrier; /* stands before it */
} Dispatch;

static void bind(Dispatch *d, id<MTLBuffer> buffer, NSUInteger offset, NSUInteger index)
{
    if (index >= MOST_BUFFERS || !buffer || offset >= [buffer length])
        misuse("a buffer that is none, or an offset beyond it");
    d->buffer[index] = (FakeBuffer *)buffer;
    d->offset[index] = offset;
}

static void share(Dispatch *d, NSUInteger length, NSUInteger index)
{
    if (index || length % 16 || length > 32768)
        misuse("threadgroup memory is a multiple of 16 bytes, at most 32 KiB");
    d->bytes = length;
}

static void grid(Dispatch *d, MTLSize groups, MTLSize threads)
{
    if (!d->shader || !groups.width || threads.width > 1024 || groups.height * groups.depth != 1 ||
        threads.height * threads.depth != 1)
        misuse("a dispatch without a pipeline, without groups, or of too many threads");
    for (int i = 0; i < MOST_BUFFERS; i++)
        if (!d->buffer[i])
            misuse("a dispatch without its buffers");
    d->groups = groups.width;
    d->threads = threads.width;
}

@implementation MTLIndirectCommandBufferDescriptor
- (void)setCommandTypes:(MTLIndirectCommandType)t
{
    types = t;
}
- (void)setInheritPipelineState:(BOOL)on
{
    inherits[0] = on;
}
- (void)setInheritBuffers:(BOOL)on
{
    inherits[1] = on;
}
- (void)setMaxKernelBufferBindCount:(NSUInteger)count
{
    buffers = count;
}
- (void)setMaxKernelThreadgroupMemoryBindCount:(NSUInteger)count
{
    lengths = count;
}
@end

@interface FakeIndirectCommand : NSObject <MTLIndirectComputeCommand> {
  @public
    Dispatch made;
    NSUInteger buffers;
}
@end
@implementation FakeIndirectCommand
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state
{
    if (!((FakePipeline *)state)->indirect)
        misuse("a pipeline that was not made for indirect command buffers");
    made.shader = ((FakePipeline *)state)->shader;
}
- (void)setKernelBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index
{
    if (index >= buffers)
        misuse("more buffers than an indirect command was said to have");
    bind(&made, buffer, offset, index);
}
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index
{
    share(&made, length, index);
}
- (void)setBarrier
{
    made.barrier = 1;
}
- (void)concurrentDispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads
{
    if (made.groups)
        misuse("an indirect command that is encoded twice");
    grid(&made, groups, threads);
}
@end

@interface FakeIndirect : NSObject <MTLIndirectCommandBuffer> {
  @public
    FakeIndirectCommand **command;
    NSUInteger count;
}
@end
@implementation FakeIndirect
- (id<MTLIndirectComputeCommand>)indirectComputeCommandAtIndex:(NSUInteger)index
{
    if (index >= count)
        misuse("an indirect command beyond the last");
    return command[index];
}
- (void)dealloc
{
    for (NSUInteger i = 0; i < count; i++)
        [command[i] release];
    free(command);
    [super dealloc];
}
@end

enum { MOST_USED = 8 };
@interface FakeEncoder : NSObject <MTLComputeCommandEncoder> {
  @public
    Dispatch *list, next;
    id<MTLResource> used[MOST_USED];
    MTLResourceUsage usage[MOST_USED];
    unsigned nused;
    unsigned count, barriers;
    int ended, concurrent;
}
@end
@implementation FakeEncoder
- (id)init
{
    list = calloc(MOST_DISPATCHES, sizeof *list);
    return self;
}
- (void)dealloc
{
    free(list);
    [super dealloc];
}
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state
{
    next.shader = ((FakePipeline *)state)->shader;
}
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index
{
    bind(&next, buffer, offset, index);
}
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index
{
    share(&next, length, index);
}
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads
{
    if (ended || count == MOST_DISPATCHES)
        misuse("a dispatch behind the end, or one too many");
    grid(&next, groups, threads);
    list[count++] = next;
    next.barrier = !concurrent;
}
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope
{
    if (scope != MTLBarrierScopeBuffers)
        misuse("a barrier for what is no buffer");
    next.barrier |= [self meetBarrier];
}
- (int)meetBarrier
{
    return ++barriers != setting("BN_SKIP_BARRIER") || seen.commands != (long)setting("BN_SKIP_IN");
}
- (void)useResource:(id<MTLResource>)resource usage:(MTLResourceUsage)how
{
    if (nused == MOST_USED || !resource)
        misuse("a resource that is none, or one too many");
    used[nused] = resource;
    usage[nused++] = how;
}
- (MTLResourceUsage)usageOf:(FakeBuffer *)buffer
{
    for (unsigned i = 0; i < nused; i++)
        if (used[i] == (id)buffer)
            return usage[i];
    return 0;
}
/* Buffers of indirect commands are not there unless the encoder names them: the first is written. */
- (void)executeCommandsInBuffer:(id<MTLIndirectCommandBuffer>)commands withRange:(NSRange)range
{
    FakeIndirect *from = (FakeIndirect *)commands;
    if (ended || range.location + range.length > from->count ||
        count + range.length > MOST_DISPATCHES)
        misuse("indirect commands beyond the last, or behind the end");
    for (NSUInteger i = range.location; i < range.location + range.length; i++) {
        Dispatch d = from->command[i]->made;
        if (!d.groups)
            misuse("an indirect command that was not encoded");
        for (int j = 0; j < MOST_BUFFERS; j++)
            if (!([self usageOf:d.buffer[j]] & (j ? MTLResourceUsageRead : MTLResourceUsageWrite)))
                misuse("an indirect command with a buffer that is not used");
        d.barrier = next.barrier | (d.barrier && [self meetBarrier]);
        next.barrier = !concurrent;
        list[count++] = d;
    }
    seen.indirect++;
}
- (void)endEncoding
{
    ended = 1;
}
@end

static void thread(void *arg, float *tg, unsigned group, unsigned me)
{
    const Dispatch *d = arg;
    d->shader(d->buffer[0]->bytes + d->offset[0], d->buffer[1]->bytes + d->offset[1],
              d->buffer[2]->bytes + d->offset[2],
              (const unsigned *)(void *)(d->buffer[3]->bytes + d->offset[3]), tg, group, me);
}

/* Dispatches from..to, between which nobody waits. */
static void run_together(Dispatch *d, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        Dispatch *one = &d[order() == GRID_FORWARD ? i : to - 1 - (i - from)];
        grid_run(thread, one, (unsigned)one->groups, (unsigned)one->threads, one->bytes, order());
    }
}

@interface FakeCommands : NSObject <MTLCommandBuffer> {
    FakeEncoder *encoder;
    int done;
}
@end
@implementation FakeCommands
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type
{
    if (encoder)
        misuse("two encoders for a pass");
    encoder = [[FakeEncoder alloc] init];
    encoder->concurrent = type == MTLDispatchTypeConcurrent;
    return encoder;
}
- (void)commit
{
    if (!encoder || !encoder->ended)
        misuse("a commit before the end of encoding");
    grid_skip = (int)setting("BN_SKIP_LINE");
    if (seen.commands <= LOGGED)
        seen.barriers[seen.commands - 1] = encoder->barriers;
    for (unsigned from = 0, to; from < encoder->count; from = to) {
        for (to = from + 1; to < encoder->count && !encoder->list[to].barrier;)
            to++;
        run_together(encoder->list, from, to);
    }
    done = 1;
}
- (MTLCommandBufferStatus)status
{
    return seen.commands == (long)setting("BN_FAIL_COMMANDS") ? MTLCommandBufferStatusError
                                                              : MTLCommandBufferStatusCompleted;
}
- (void)waitUntilCompleted
{
    if (!done)
        misuse("waiting for what was not committed");
}
- (void)dealloc
{
    [encoder release];
    [super dealloc];
}
@end

@interface FakeQueue : NSObject <MTLCommandQueue>
@end
@implementation FakeQueue
- (id<MTLCommandBuffer>)commandBuffer
{
    seen.commands++;
    return [[[FakeCommands alloc] init] autorelease];
}
@end

/* ---- the device ---- */

@interface FakeDevice : NSObject <MTLDevice>
@end
@implementation FakeDevice
- (id<MTLCommandQueue>)newCommandQueue
{
    return [[FakeQueue alloc] init];
}
- (id<MTLLibrary>)newLibraryWithURL:(NSURL *)url error:(NSError **)error
{
    (void)url, (void)error;
    return nil; /* there is no compiled one here */
}
- (id<MTLLibrary>)newLibraryWithSource:(NSString *)text
                               options:(MTLCompileOptions *)options
                                 error:(NSError **)error
{
    (void)options, (void)error;
    return strstr([text UTF8String], "#include <metal_stdlib>") ? [[FakeLibrary alloc] init] : nil;
}
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)data
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(id)deallocator
{
    const NSUInteger page = (NSUInteger)getpagesize();
    (void)options, (void)deallocator;
    if ((uintptr_t)data % page || length % page)
        misuse("memory to be wrapped consists of whole pages");
    FakeBuffer *b = [[FakeBuffer alloc] init];
    seen.buffers++;
    b->bytes = data;
    b->size = length;
    return b;
}
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options
{
    FakeBuffer *b = [[FakeBuffer alloc] init];
    const NSUInteger page = (NSUInteger)getpagesize(), whole = (length + page - 1) / page * page;
    (void)options;
    seen.buffers++;
    b->mapped = whole + page;
    b->map = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->map == MAP_FAILED || mprotect(b->map + whole, page, PROT_NONE))
        misuse("out of memory");
    b->bytes = b->map + whole - (length + 255) / 256 * 256; /* its end is the end of the pages */
    memset(b->bytes, 0xff, length);                         /* NaN */
    b->size = length;
    return b;
}
- (id<MTLBuffer>)newBufferWithBytes:(const void *)data
                             length:(NSUInteger)length
                            options:(MTLResourceOptions)options
{
    id<MTLBuffer> b = [self newBufferWithLength:length options:options];
    memcpy([b contents], data, length);
    return b;
}
- (id<MTLComputePipelineState>)
    newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor *)descriptor
                                  options:(MTLPipelineOption)options
                               reflection:(MTLComputePipelineReflection **)reflection
                                    error:(NSError **)error
{
    FakePipeline *p = [[FakePipeline alloc] init];
    (void)options, (void)reflection, (void)error;
    if (!descriptor->function)
        misuse("a pipeline without a function");
    p->shader = ((FakeFunction *)descriptor->function)->shader;
    p->indirect = descriptor->indirect;
    return p;
}
- (BOOL)supportsFamily:(MTLGPUFamily)family
{
    return family == MTLGPUFamilyApple7 && !setting("BN_NO_INDIRECT");
}
- (id<MTLIndirectCommandBuffer>)newIndirectCommandBufferWithDescriptor:
                                    (MTLIndirectCommandBufferDescriptor *)descriptor
                                                       maxCommandCount:(NSUInteger)count
                                                               options:(MTLResourceOptions)options
{
    FakeIndirect *b = [[FakeIndirect alloc] init];
    (void)options;
    if (setting("BN_NO_INDIRECT") || descriptor->inherits[0] || descriptor->inherits[1] ||
        descriptor->types != MTLIndirectCommandTypeConcurrentDispatch || descriptor->lengths != 1)
        misuse("indirect commands are dispatches with pipelines and buffers of their own");
    b->command = calloc(count, sizeof *b->command);
    for (b->count = 0; b->count < count; b->count++) {
        b->command[b->count] = [[FakeIndirectCommand alloc] init];
        b->command[b->count]->buffers = descriptor->buffers;
    }
    return b;
}
@end

id<MTLDevice> MTLCreateSystemDefaultDevice(void)
{
    return [[FakeDevice alloc] init];
}
