/* fake.cc: the GPUs of cuda_runtime.h, FAKE_CUDA_GPUS of them. FAKE_CUDA_ORDER is the grid_order
 * of blocks and threads, above 2 another way to shuffle; FAKE_CUDA_SKIP a line whose barrier does
 * nothing; FAKE_CUDA_FAIL the number of the call that fails. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <vector>

#include "cuda_runtime.h"

/* The stand-in allocates by another malloc than the one that test_golden counts. */
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
struct Call { /* a launch, or a copy of rows */
    Entry entry;
    bool at_once; /* a cooperative launch: it has no layer */
    unsigned blocks, threads;
    size_t bytes;
    unsigned char *state;
    const unsigned char *weights;
    unsigned layer;
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, rows;
};
struct FakeGraph {
    std::vector<Call> calls;
};
struct FakeStream {
    bool capturing;
    int device;
    unsigned pass; /* the streams of one belong together */
    FakeGraph graph;
    std::vector<Call> queue;
    unsigned done; /* blocks that have finished the calls so far, where GPUs run at once */
};

struct Memory {
    size_t bytes;
    int device;
};
static std::map<const char *, Memory> gpu; /* their memory, by its first byte */
static int device;                         /* the current one */
enum { MOST_GPUS = 4 };
static bool reaches[MOST_GPUS][MOST_GPUS];
static std::vector<FakeStream *> streams;
static unsigned streams_made;
static struct {
    float *shared;
    unsigned block, threads;
} now[GRID_FIBERS];
static int calls_made;
static void *pinned; /* the host's memory that was registered: one at a time */
static std::map<const char *, size_t> hosts; /* and that was made so: bytes */
enum { MULTIPROCESSORS = 5 };
static std::map<const void *, size_t> raised; /* kernels that may have so much shared memory */

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

static void bad_use(const char *what)
{
    bad(what);
    exit(3);
}

static bool must_fail()
{
    return ++calls_made == setting("FAKE_CUDA_FAIL");
}

static unsigned gpus()
{
    const int n = setting("FAKE_CUDA_GPUS");
    return n < 1 ? 1 : n > MOST_GPUS ? (unsigned)MOST_GPUS : (unsigned)n;
}

/* The memory that has all of it; NULL: none. */
static const Memory *memory_of(const void *p, size_t bytes)
{
    auto it = gpu.upper_bound((const char *)p);
    if (it == gpu.begin())
        return nullptr;
    --it;
    const size_t at = (size_t)((const char *)p - it->first);
    return at <= it->second.bytes && bytes <= it->second.bytes - at ? &it->second : nullptr;
}

static bool on_gpu(const void *p, size_t bytes)
{
    return memory_of(p, bytes);
}

static bool touches_gpu(const void *p)
{
    return on_gpu(p, 0);
}

/* ---- kernels ---- */

float *fake_shared()
{
    return now[grid_fiber()].shared;
}
dim3 fake_block()
{
    return dim3(now[grid_fiber()].block);
}
dim3 fake_thread()
{
    return dim3(grid_thread());
}

/* What lanes put for each other. Two sets in turn, so that one exchange of the engine's is enough:
 * nobody puts a third time before all have taken the first. */
static struct Put {
    unsigned bits, a[4], b[2];
    const unsigned char *row;
} lane_put[2][GRID_FIBERS];
static unsigned char puts_made[GRID_FIBERS];

/* All lanes' after `mine`: those of the first lane. */
static const Put *exchange(const Put &mine)
{
    const unsigned me = grid_fiber();
    Put *set = lane_put[puts_made[me]++ & 1];
    set[me] = mine;
    grid_sum_int(0);
    return set + me / 32 * 32;
}

unsigned fake_shuffle(unsigned bits, int mask)
{
    Put mine = {};
    mine.bits = bits;
    return exchange(mine)[(grid_fiber() ^ (unsigned)mask) % 32].bits;
}

unsigned fake_from(unsigned bits, int lane)
{
    Put mine = {};
    mine.bits = bits;
    return exchange(mine)[lane].bits;
}

/* Whether any thread of the block says so, when all have. */
int fake_any(int v, int line)
{
    static int said[GRID_FIBERS];
    const unsigned me = grid_fiber(), first = me - grid_thread(), n = now[me].threads;
    said[me] = v;
    if (line == grid_skip)
        return v;
    grid_barrier(line);
    for (unsigned i = first; i < first + n; i++)
        v |= said[i];
    grid_barrier(line);
    return v;
}

void fake_signal(unsigned *arrived, const long *away, int gpus)
{
    for (int c = 0; c < gpus && grid_thread() == 0; c++)
        ++*(unsigned *)((char *)arrived + (gpus > 1 ? away[c] : 0));
}

void fake_wait(unsigned *arrived, unsigned expected, int line)
{
    while (grid_thread() == 32 && line != grid_skip && int(*arrived - expected) < 0)
        grid_later();
    grid_barrier(line);
}

static void thread(void *arg, float *tg, unsigned group, unsigned)
{
    const Call *c = (const Call *)arg;
    now[grid_fiber()] = {tg, group, c->threads};
    puts_made[grid_fiber()] = 0;
    c->entry(c->state, c->weights, c->layer);
}

/* ---- bulk copies: there when their mbarrier is waited for, not before ---- */

struct Copy {
    void *to;
    const void *from;
    unsigned bytes;
};
static std::map<unsigned long *, std::vector<Copy>> coming;
static std::map<unsigned long *, unsigned> expected, arrived; /* bytes; turns */

void mbar_init(unsigned long *mbar)
{
    coming[mbar].clear();
    expected[mbar] = arrived[mbar] = 0;
}

void mbar_expect_tx(unsigned long *mbar, unsigned bytes)
{
    if (expected[mbar])
        bad_use("an mbarrier expects bytes before the last copy was waited for");
    expected[mbar] = bytes;
}

void cp_async_bulk(void *to, const void *from, unsigned bytes, unsigned long *mbar)
{
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16 || bytes % 16 || !on_gpu(from, bytes) ||
        bytes > expected[mbar])
        bad_use("cp.async.bulk of what is not the GPU's memory, by 16 bytes, as many as expected");
    memset(to, 0xff, bytes);
    coming[mbar].push_back({to, from, bytes});
}

void mbar_wait(unsigned long *mbar, unsigned parity)
{
    if (arrived[mbar] % 2 == parity) {
        unsigned bytes = 0;
        for (const Copy &c : coming[mbar]) {
            memcpy(c.to, c.from, c.bytes);
            bytes += c.bytes;
        }
        if (!bytes || bytes != expected[mbar])
            bad_use("an mbarrier is waited for, of which no copy was started");
        coming[mbar].clear();
        expected[mbar] = 0;
        arrived[mbar]++;
    } else if (arrived[mbar] % 2 != (parity + 1) % 2) {
        bad_use("an mbarrier is waited for out of turn");
    }
}

void prefetch_l2_bytes(const void *from, unsigned bytes)
{
    if ((uintptr_t)from % 16 || !bytes || bytes % 16 || !on_gpu(from, bytes))
        bad_use("an L2 prefetch of what is not the GPU's memory, by 16 bytes");
}

/* ---- tensor cores ---- */

static std::map<unsigned, std::vector<Copy>>
    asked; /* by thread: there when it waits, poison before */

void cp_async16(void *to, const void *from)
{
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16 || !on_gpu(from, 16))
        bad_use("a copy that is not the GPU's memory, by 16 bytes");
    memset(to, 0xff, 16);
    asked[grid_fiber()].push_back({to, from, 16});
}

void cp_async_commit()
{
}

void cp_async_wait()
{
    for (const Copy &c : asked[grid_fiber()])
        memcpy(c.to, c.from, c.bytes);
    asked[grid_fiber()].clear();
}

void ldmatrix_x4(unsigned *to, const void *row)
{
    const unsigned lane = grid_fiber() % 32;
    Put mine = {};
    mine.row = (const unsigned char *)row;
    const Put *all = exchange(mine);
    for (unsigned i = 0; i < 4; i++)
        memcpy(&to[i], all[8 * i + lane / 4].row + lane % 4 * 4, 4);
}

/* a: rows lane / 4 (+ 8), bytes 4 (lane % 4) .. (+ 16); b: column lane / 4, the same bytes; sums:
 * those rows, columns 2 (lane % 4) and the next. */
void mma_u8s8(int *sums, const unsigned *a, const unsigned *b)
{
    const unsigned lane = grid_fiber() % 32;
    Put mine = {};
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    const Put *all = exchange(mine);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned from = 0; from < 4; from++)
            for (unsigned late = 0; late < 2; late++) {
                unsigned x = all[lane / 4 * 4 + from].a[i / 2 + 2 * late],
                         y = all[(lane % 4 * 2 + i % 2) * 4 + from].b[late];
                for (int j = 0; j < 32; j += 8)
                    sums[i] += (int)(x >> j & 255) * (int8_t)(y >> j);
            }
}

static grid_order order()
{
    const int wanted = setting("FAKE_CUDA_ORDER");
    if (wanted > GRID_SHUFFLED)
        grid_seed = (unsigned)wanted * 2654435761u;
    return wanted < GRID_SHUFFLED ? (grid_order)wanted : GRID_SHUFFLED;
}

static void copy(const Call &c)
{
    for (size_t i = 0; i < c.rows; i++)
        memcpy(c.to + i * c.to_pitch, c.from + i * c.from_pitch, c.bytes);
}

static void make(const Call &c)
{
    if (c.entry)
        (c.at_once ? grid_run_at_once : grid_run)(thread, (void *)&c, c.blocks, c.threads, c.bytes,
                                                  order());
    else
        copy(c);
}

static cudaError_t put(const Call &c, cudaStream_t s)
{
    if (s->capturing)
        s->graph.calls.push_back(c);
    else if (gpus() > 1)
        s->queue.push_back(c);
    else
        make(c);
    return cudaSuccess;
}

/* ---- several GPUs: the calls of their streams, in any order that these allow ---- */

struct Pass {
    std::vector<FakeStream *> stream;
    unsigned blocks, threads; /* that a GPU runs at once */
    size_t bytes;
};

/* A block of a GPU takes its share of each call's blocks, and waits for the GPU's others. */
static void gpu_thread(void *arg, float *tg, unsigned group, unsigned thread_number)
{
    const Pass *p = (const Pass *)arg;
    FakeStream *s = p->stream[group / p->blocks];
    const unsigned mine = group % p->blocks;
    unsigned calls = 0;
    for (const Call &c : s->queue) {
        for (unsigned b = mine; c.entry && b < c.blocks; b += p->blocks) {
            if (thread_number == 0)
                memset(tg, 0xff, p->bytes);
            grid_barrier(-1);
            thread((void *)&c, tg, b, 0);
            grid_barrier(-1);
        }
        if (!c.entry && mine == 0 && thread_number == 0)
            copy(c);
        grid_barrier(-1);
        ++calls;
        if (thread_number == 0)
            for (++s->done; s->done < calls * p->blocks;)
                grid_later();
        grid_barrier(-1);
    }
}

static void run_gpus(unsigned pass)
{
    Pass p = {{}, 1, 32, 16};
    for (FakeStream *s : streams)
        if (s->pass == pass) {
            p.stream.push_back(s);
            s->done = 0;
            for (const Call &c : s->queue) {
                p.blocks = c.at_once ? c.blocks : p.blocks;
                p.threads = c.entry ? c.threads : p.threads;
                p.bytes = c.bytes > p.bytes && c.entry ? c.bytes : p.bytes;
            }
        }
    for (FakeStream *s : p.stream)
        for (FakeStream *other : p.stream)
            if (s != other && !reaches[s->device][other->device])
                bad_use("a GPU stores to a peer that it has no access to");
    grid_run_at_once(gpu_thread, &p, (unsigned)p.stream.size() * p.blocks, p.threads, p.bytes,
                     order());
    for (FakeStream *s : p.stream)
        s->queue.clear();
}

static cudaError_t launch(const void *entry, dim3 grid, dim3 block, void **args, size_t shared,
                          bool at_once, cudaStream_t s)
{
    Call c = {};
    if (must_fail())
        return cudaErrorIllegalState;
    if (!grid.x || grid.x > 0x7fffffff || !block.x || block.x > 1024 || block.x % 32 ||
        shared > (raised.count(entry) ? raised[entry] : 48 << 10))
        return bad("a launch beyond the limits of a GPU");
    c.entry = (Entry)entry;
    c.at_once = at_once;
    c.blocks = grid.x;
    c.threads = block.x;
    c.bytes = shared;
    c.state = *(unsigned char **)args[0];
    c.weights = *(const unsigned char **)args[1];
    c.layer = *(unsigned *)args[2];
    const Memory *state = memory_of(c.state, 0), *weights = memory_of(c.weights, 0);
    if (!state || !weights)
        return bad("a kernel is given the host's memory");
    if (s->device != device || state->device != device || weights->device != device)
        return bad("a kernel, its stream and its memory are of different GPUs");
    return put(c, s);
}

cudaError_t cudaLaunchKernel(const void *entry, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t s)
{
    return launch(entry, grid, block, args, shared, false, s);
}

cudaError_t cudaLaunchCooperativeKernel(const void *entry, dim3 grid, dim3 block, void **args,
                                        size_t shared, cudaStream_t s)
{
    return grid.x > MULTIPROCESSORS ? bad("more blocks than run at once")
                                    : launch(entry, grid, block, args, shared, true, s);
}

cudaError_t cudaFuncSetAttribute(const void *entry, cudaFuncAttribute, int bytes)
{
    if (must_fail() || bytes > 227 << 10)
        return cudaErrorInvalidValue;
    raised[entry] = (size_t)bytes;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *number)
{
    *number = device;
    return must_fail() ? cudaErrorIllegalState : cudaSuccess;
}

cudaError_t cudaSetDevice(int number)
{
    if (number < 0 || (unsigned)number >= gpus())
        return bad("there is no such GPU");
    device = number;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int number, int other)
{
    *can = number != other && (unsigned)number < gpus() && (unsigned)other < gpus();
    return must_fail() ? cudaErrorIllegalState : cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int other, unsigned)
{
    if (must_fail() || other == device || (unsigned)other >= gpus())
        return cudaErrorInvalidValue;
    if (reaches[device][other])
        return cudaErrorPeerAccessAlreadyEnabled;
    reaches[device][other] = true;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
    *value = MULTIPROCESSORS;
    return must_fail() ? cudaErrorIllegalState : cudaSuccess;
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    if (must_fail())
        return cudaErrorMemoryAllocation;
    *p = __libc_malloc(bytes + 256);
    if (!*p)
        return cudaErrorMemoryAllocation;
    char *at = (char *)(((uintptr_t)*p + 255) / 256 * 256);
    gpu[at] = {bytes, device};
    gpu[at - 1] = {0, device}; /* keeps neighbours apart */
    memset(at, 0xa5, bytes);
    *p = at;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (p && !gpu.erase((char *)p))
        return bad("what is freed is not the GPU's");
    gpu.erase((char *)p - 1);
    return cudaSuccess; /* the bytes are not freed: late use shows in no other test's memory */
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    if (must_fail())
        return cudaErrorMemoryAllocation;
    *p = __libc_malloc(bytes);
    hosts[(const char *)*p] = bytes;
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    __libc_free(p);
    return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void **to, void *p, unsigned flags)
{
    bool known = p == pinned;
    for (const auto &host : hosts)
        known |= (size_t)((const char *)p - host.first) < host.second;
    if (must_fail())
        return cudaErrorInvalidValue;
    if (!known || flags)
        return bad("a GPU is to reach the host's memory that is not pinned for it");
    *to = p;
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
    if (must_fail())
        return cudaErrorMemoryAllocation;
    if (!p || !bytes || touches_gpu(p) || !(flags & cudaHostRegisterMapped))
        return bad("cudaHostRegister of what is not the host's memory");
    pinned = p;
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    if (!p || p != pinned)
        bad_use("cudaHostUnregister of what was not registered");
    pinned = nullptr;
    return cudaSuccess;
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    if (!on_gpu(p, bytes))
        return bad("cudaMemset beyond the GPU's memory");
    memset(p, value, bytes);
    return cudaSuccess;
}

static bool copy_fits(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return kind == cudaMemcpyHostToDevice ? on_gpu(to, bytes) && !touches_gpu(from)
                                          : on_gpu(from, bytes) && !touches_gpu(to);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (must_fail())
        return cudaErrorIllegalState;
    if (!copy_fits(to, from, bytes, kind))
        return bad("a copy beyond memory, or not the way it says");
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t wide, size_t rows, cudaMemcpyKind kind, cudaStream_t s)
{
    Call c = {};
    if (must_fail())
        return cudaErrorIllegalState;
    if (!wide || !rows || (rows > 1 && (wide > to_pitch || wide > from_pitch)) ||
        !copy_fits(to, from, wide, kind) ||
        !copy_fits((char *)to + (rows - 1) * to_pitch, (const char *)from + (rows - 1) * from_pitch,
                   wide, kind))
        return bad("a copy beyond memory, or not the way it says");
    c.to = (char *)to;
    c.from = (const char *)from;
    c.to_pitch = to_pitch;
    c.from_pitch = from_pitch;
    c.bytes = wide;
    c.rows = rows;
    return put(c, s);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, s);
}

/* ---- streams, graphs ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    if (must_fail())
        return cudaErrorMemoryAllocation;
    grid_skip = setting("FAKE_CUDA_SKIP");
    *s = new FakeStream();
    (*s)->device = device;
    (*s)->pass = streams_made++ / gpus();
    streams.push_back(*s);
    return cudaSuccess;
}

/* FAKE_CUDA_LINES: a file for the lines of the barriers that threads arrived at. */
static void tell_lines()
{
    const char *path = getenv("FAKE_CUDA_LINES");
    FILE *f = path ? fopen(path, "w") : nullptr;
    for (int i = 1; f && i < GRID_LINES; i++)
        if (grid_arrived[i])
            fprintf(f, "%d\n", i);
    if (f)
        fclose(f);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    tell_lines();
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (long)i--);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (must_fail())
        return cudaErrorIllegalState;
    if (s->capturing)
        return bad("a stream that is captured cannot be waited for");
    if (!s->queue.empty())
        run_gpus(s->pass);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, int)
{
    if (must_fail() || s->capturing)
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
    return must_fail() ? cudaErrorIllegalState : cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    if (must_fail())
        return cudaErrorMemoryAllocation;
    *exec = new FakeGraph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    if (must_fail())
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
    static const char *const text[] = {"success", "invalid value", "out of memory", "illegal state",
                                       "peer access already enabled"};
    return text[e];
}
