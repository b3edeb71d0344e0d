/* fake.cc: the card of cuda_runtime.h. FAKE_CUDA_ORDER (0, 1, 2) is the grid_order of blocks and
 * threads; FAKE_CUDA_SKIP a line whose barrier does nothing; FAKE_CUDA_FAIL the number of the call
 * that fails. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <vector>

#include "cuda_runtime.h"

/* What the runtime of a card makes for itself is no matter of the model's: not by the malloc that
 * test_golden counts. */
extern "C" void *__libc_malloc(size_t);
extern "C" void __libc_free(void *);
void *operator new(size_t n)
{
    return __libc_malloc(n);
}
void operator delete(void *p) noexcept
{
    __libc_free(p);
}
void operator delete(void *p, size_t) noexcept
{
    __libc_free(p);
}

typedef void (*Entry)(unsigned char *state, const unsigned char *weights, unsigned layer);
struct Call { /* a launch, or a copy */
    Entry entry;
    unsigned blocks, threads;
    size_t bytes;
    unsigned char *state;
    const unsigned char *weights;
    unsigned layer;
    void *to;
    const void *from;
};
struct FakeGraph {
    std::vector<Call> calls;
};
struct FakeStream {
    bool capturing;
    FakeGraph graph;
};

static std::map<const char *, size_t> card; /* its memory: first byte, bytes */
static struct {
    float *shared;
    unsigned block;
} now;
static unsigned lane_value[GRID_MOST];
static int calls_made;

static int setting(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static cudaError_t bad(const char *what)
{
    fprintf(stderr, "fake CUDA: %s\n", what);
    return cudaErrorInvalidValue;
}

static bool told_to_fail()
{
    return ++calls_made == setting("FAKE_CUDA_FAIL");
}

static bool on_card(const void *p, size_t bytes)
{
    auto it = card.upper_bound((const char *)p);
    if (it == card.begin())
        return false;
    --it;
    return (size_t)((const char *)p - it->first) <= it->second &&
           bytes <= it->second - (size_t)((const char *)p - it->first);
}

static bool touches_card(const void *p)
{
    return on_card(p, 0);
}

/* ---- kernels ---- */

float *fake_shared()
{
    return now.shared;
}
dim3 fake_block()
{
    return dim3(now.block);
}
dim3 fake_thread()
{
    return dim3(grid_thread());
}

/* By the engine's own exchanges: all lanes have put theirs, all have taken. */
unsigned fake_shuffle(unsigned bits, int mask)
{
    const unsigned me = grid_thread();
    lane_value[me] = bits;
    grid_sum_int(0);
    bits = lane_value[me ^ (unsigned)mask];
    grid_sum_int(0);
    return bits;
}

static void thread(void *arg, float *tg, unsigned group, unsigned)
{
    const Call *c = (const Call *)arg;
    now.shared = tg;
    now.block = group;
    c->entry(c->state, c->weights, c->layer);
}

static void make(const Call &c)
{
    if (c.entry)
        grid_run(thread, (void *)&c, c.blocks, c.threads, c.bytes,
                 (grid_order)setting("FAKE_CUDA_ORDER"));
    else
        memcpy(c.to, c.from, c.bytes);
}

static cudaError_t put(const Call &c, cudaStream_t s)
{
    if (s->capturing)
        s->graph.calls.push_back(c);
    else
        make(c);
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *entry, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t s)
{
    Call c = {};
    if (told_to_fail())
        return cudaErrorIllegalState;
    if (!grid.x || grid.x > 0x7fffffff || !block.x || block.x > 1024 || block.x % 32 ||
        shared > 48 << 10)
        return bad("a launch that no card takes");
    c.entry = (Entry)entry;
    c.blocks = grid.x;
    c.threads = block.x;
    c.bytes = shared;
    c.state = *(unsigned char **)args[0];
    c.weights = *(const unsigned char **)args[1];
    c.layer = *(unsigned *)args[2];
    if (!touches_card(c.state) || !touches_card(c.weights))
        return bad("a kernel is given the host's memory");
    return put(c, s);
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    if (told_to_fail())
        return cudaErrorMemoryAllocation;
    *p = __libc_malloc(bytes + 256);
    if (!*p)
        return cudaErrorMemoryAllocation;
    char *at = (char *)(((uintptr_t)*p + 255) / 256 * 256);
    card[at] = bytes;
    card[at - 1] = 0; /* keeps neighbours apart */
    memset(at, 0xa5, bytes);
    *p = at;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (p && !card.erase((char *)p))
        return bad("what is freed is not the card's");
    card.erase((char *)p - 1);
    return cudaSuccess; /* the bytes stay taken: late use shows in no other test's memory */
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    if (told_to_fail())
        return cudaErrorMemoryAllocation;
    *p = __libc_malloc(bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    __libc_free(p);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    if (!on_card(p, bytes))
        return bad("cudaMemset beyond the card's memory");
    memset(p, value, bytes);
    return cudaSuccess;
}

static bool copy_fits(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return kind == cudaMemcpyHostToDevice ? on_card(to, bytes) && !touches_card(from)
                                          : on_card(from, bytes) && !touches_card(to);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (told_to_fail())
        return cudaErrorIllegalState;
    if (!copy_fits(to, from, bytes, kind))
        return bad("a copy beyond memory, or not the way it says");
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    Call c = {};
    if (told_to_fail())
        return cudaErrorIllegalState;
    if (!copy_fits(to, from, bytes, kind))
        return bad("a copy beyond memory, or not the way it says");
    c.to = to;
    c.from = from;
    c.bytes = bytes;
    return put(c, s);
}

/* ---- streams, graphs ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    if (told_to_fail())
        return cudaErrorMemoryAllocation;
    grid_skip = setting("FAKE_CUDA_SKIP");
    *s = new FakeStream();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (told_to_fail())
        return cudaErrorIllegalState;
    return s->capturing ? bad("a stream that is captured cannot be waited for") : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, int)
{
    if (told_to_fail() || s->capturing)
        return cudaErrorIllegalState;
    s->capturing = true;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    if (!s->capturing)
        return bad("nothing is captured");
    s->capturing = false;
    *graph = new FakeGraph(s->graph);
    s->graph.calls.clear();
    return told_to_fail() ? cudaErrorIllegalState : cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    if (told_to_fail())
        return cudaErrorMemoryAllocation;
    *exec = new FakeGraph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    if (told_to_fail())
        return cudaErrorIllegalState;
    for (const Call &c : exec->calls)
        put(c, s);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    static const char *const text[] = {"success", "invalid value", "out of memory",
                                       "illegal state"};
    return text[e];
}
