/* load.c: a model's functions in this process, by ORC's LLJIT.
 *
 * One idea: each function of the module is a unit of its own, lowered at once, since that takes no
 * time, but made into an object when it is first called; the object is kept in the cache, so the
 * next start only loads it. What ORC gets are finished objects: it links, and puts a stub in front
 * of each function until somebody calls it. Two units of a function differ in whose kernels they
 * call: those that stand in bnc, which is made in milliseconds, or ("fast") some made for the
 * model's shapes.
 *
 *   .o of the cache   0                8     16      24      32
 *                     +----------------+-----+-------+-------+-----------
 *                     | "BNJIT\r\n\x1a" | key | bytes | XXH64 | object ...
 *                     +----------------+-----+-------+-------+-----------
 *
 * The key is XXH64 over the function's IR and all else that its object depends on; an entry whose
 * length, key or hash is not what it says is made again.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/ExecutionEngine.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Object.h>
#include <llvm-c/Orc.h>
#include <llvm-c/OrcEE.h>
#include <llvm-c/TargetMachine.h>

#include "bn_cpu.h"
#include "jit/lower.h"

typedef struct Loaded Loaded;
typedef struct Unit { /* one object */
    Loaded *owner;
    const char *symbol[2]; /* what it defines; [1] may be NULL */
    LLVMContextRef context;
    LLVMModuleRef module;
    bool fast;                  /* with kernels of the model's shapes */
    Form form;                  /* of a function */
    LLVMMemoryBufferRef found;  /* in the cache, until it is linked */
    LLVMMemoryBufferRef object; /* a copy of what was linked, where perf wants to know */
} Unit;
struct Loaded {
    Jit jit; /* first */
    Session *s;
    const Module *m;
    const Target *target;
    const JitOptions *o;
    const Row *row;
    char *cpu, *features; /* of LLVM */
    LLVMOrcLLJITRef orc;
    LLVMOrcLazyCallThroughManagerRef lazy;
    LLVMOrcIndirectStubsManagerRef stubs;
    Unit *unit, **later; /* later: what the maker makes */
    int nunit, nlater;
    pthread_t maker;
};

static void check(LLVMErrorRef e, const char *what)
{
    if (e)
        die("%s: %s", what, LLVMGetErrorMessage(e));
}

/* ---- targets ---- */

const Target *jit_target(Session *s, const char *name)
{
    const Target *best = NULL;
    if (name && strcmp(name, "native")) {
        const Row *row = row_find(name);
        best = row && row->kernel ? target_find(s, name) : NULL;
        if (!best)
            fail(s, (Loc){0}, "--jit has no kernels for the target %s here; leave --target out",
                 name);
        if (bn_cpu(best->isa) != best->isa)
            fail(s, (Loc){0}, "this processor cannot run code for the target %s", name);
        return best;
    }
    for (int i = 0; row_at(i); i++) {
        const Target *t = row_at(i)->kernel ? target_find(s, row_at(i)->name) : NULL;
        if (t && bn_cpu(t->isa) == t->isa)
            best = t;
    }
    if (!best)
        fail(s, (Loc){0},
             "this bnc was built without kernels for this processor (JIT_ROWS of the "
             "Makefile)");
    return best;
}

/* ---- the cache ---- */

static const char entry_magic[8] = "BNJIT\r\n\x1a";
typedef struct Entry {
    char magic[8];
    uint64_t key, bytes, hash;
} Entry;

static uint64_t key_of(const Loaded *x, const Unit *u)
{
    LLVMMemoryBufferRef ir = LLVMWriteBitcodeToMemoryBuffer(u->module);
    uint64_t key = XXH64(LLVMGetBufferStart(ir), LLVMGetBufferSize(ir), u->fast);
    const char *also[] = {x->cpu, x->features, jit_version(), BN_VERSION, x->row->name};
    LLVMDisposeMemoryBuffer(ir);
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        key = XXH64(also[i], strlen(also[i]) + 1, key);
    return XXH64(x->row->bitcode, (size_t)(x->row->end - x->row->bitcode), key);
}

/* NULL where there is none that is whole. */
static LLVMMemoryBufferRef cache_read(const char *path, uint64_t key)
{
    LLVMMemoryBufferRef file, object = NULL;
    char *why = NULL;
    Entry e;
    if (LLVMCreateMemoryBufferWithContentsOfFile(path, &file, &why)) {
        LLVMDisposeMessage(why);
        return NULL;
    }
    const char *bytes = LLVMGetBufferStart(file);
    size_t size = LLVMGetBufferSize(file);
    if (size > sizeof e) {
        memcpy(&e, bytes, sizeof e);
        if (!memcmp(e.magic, entry_magic, sizeof e.magic) && e.key == key &&
            e.bytes == size - sizeof e && XXH64(bytes + sizeof e, e.bytes, 0) == e.hash)
            object = LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes + sizeof e, e.bytes, "model");
    }
    LLVMDisposeMemoryBuffer(file);
    return object;
}

struct Written {
    Session session;
    const char *path;
    uint64_t key;
    LLVMMemoryBufferRef object;
};

static void write_entry(void *arg)
{
    struct Written *w = arg;
    size_t size = LLVMGetBufferSize(w->object);
    Entry e = {"", w->key, size, XXH64(LLVMGetBufferStart(w->object), size, 0)};
    memcpy(e.magic, entry_magic, sizeof e.magic);
    OutFile *f = file_create(&w->session, w->path);
    file_write(f, &e, sizeof e);
    file_write(f, LLVMGetBufferStart(w->object), size);
    file_commit(f);
}

/* A cache that cannot be written is none. */
static void cache_write(const char *path, uint64_t key, LLVMMemoryBufferRef object)
{
    struct Written w = {.path = path, .key = key, .object = object};
    session_start(&w.session, NULL);
    session_try(&w.session, write_entry, &w);
    session_end(&w.session);
}

/* ---- objects ---- */

static LLVMTargetMachineRef host_machine(Session *s, const Loaded *x)
{
    char *triple = LLVMGetDefaultTargetTriple();
    LLVMTargetMachineRef machine = llvm_machine(s, triple, x->cpu, x->features);
    LLVMDisposeMessage(triple);
    return machine;
}

struct Compiling {
    const Loaded *owner;
    Unit *unit;
    LLVMMemoryBufferRef object;
};

static void *compile_here(void *arg)
{
    struct Compiling *c = arg;
    const Loaded *x = c->owner;
    Session own; /* this may be any thread */
    session_start(&own, stderr);
    LLVMTargetMachineRef machine = host_machine(&own, x);
    llvm_optimize(&own, c->unit->module, c->unit->fast ? x->row : NULL, machine, c->unit->symbol,
                  c->unit->symbol[1] ? 2 : 1, x->cpu, x->features);
    c->object = llvm_object(c->unit->module, machine);
    LLVMDisposeTargetMachine(machine);
    session_end(&own);
    return NULL;
}

enum { MAKER_STACK = 16 << 20 };

/* The first caller of a function may be a thread of the team, whose stack is small. */
static LLVMMemoryBufferRef compile(const Loaded *x, Unit *u)
{
    struct Compiling c = {x, u, NULL};
    pthread_t thread;
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, MAKER_STACK) == 0);
    CHECK(pthread_create(&thread, &attr, compile_here, &c) == 0 && pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attr);
    return c.object;
}

static bool entry_path(const Loaded *x, uint64_t key, char path[4096])
{
    int n = snprintf(path, 4096, "%s/%016" PRIx64 ".o", x->o->cache, key);
    return n > 0 && n < 4096;
}

static bool load_cached(const Loaded *x, Unit *u)
{
    char path[4096];
    uint64_t key = key_of(x, u);
    u->found = entry_path(x, key, path) ? cache_read(path, key) : NULL;
    return u->found != NULL;
}

/* The unit's object, which is the caller's. */
static LLVMMemoryBufferRef object_of(const Loaded *x, Unit *u)
{
    char path[4096];
    if (!u->found && !load_cached(x, u)) {
        uint64_t key = key_of(x, u);
        u->found = compile(x, u);
        if (entry_path(x, key, path))
            cache_write(path, key, u->found);
    }
    LLVMMemoryBufferRef object = u->found;
    u->found = NULL;
    if (getenv("BNC_PERF"))
        u->object = LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(object),
                                                              LLVMGetBufferSize(object), "model");
    return object;
}

static void materialize(void *arg, LLVMOrcMaterializationResponsibilityRef r)
{
    Unit *u = arg;
    LLVMOrcObjectLayerEmit(LLVMOrcLLJITGetObjLinkingLayer(u->owner->orc), r,
                           object_of(u->owner, u));
}

static void discard(void *arg, LLVMOrcJITDylibRef library, LLVMOrcSymbolStringPoolEntryRef symbol)
{
    (void)arg, (void)library, (void)symbol;
    die("two definitions of a function of the model");
}

static void destroy(void *arg)
{
    (void)arg; /* the session's */
}

/* ---- units ---- */

static Unit *unit_new(Loaded *x, Lower *l, const char *symbol, const Row *row)
{
    LLVMContextRef context = LLVMContextCreate();
    Unit *u = &x->unit[x->nunit++];
    char *triple = LLVMGetDefaultTargetTriple();
    LLVMTargetMachineRef machine = host_machine(x->s, x);
    LLVMModuleRef module =
        row ? llvm_bitcode(context, row) : LLVMModuleCreateWithNameInContext(symbol, context);
    LLVMSetTarget(module, triple);
    *u = (Unit){.owner = x, .symbol = {symbol}, .context = context, .module = module};
    *l = (Lower){.s = x->s, .m = x->m, .target = x->target, .o = x->o->emit};
    l->probes = x->o->emit->profile ? probes_find(x->m) : NULL;
    lower_start(l, module, LLVMCreateTargetDataLayout(machine));
    LLVMSetModuleDataLayout(module, l->layout);
    if (x->o->text && !row)
        l->debug = debug_start(l, x->o->text);
    LLVMDisposeTargetMachine(machine);
    LLVMDisposeMessage(triple);
    return u;
}

static void unit_end(Lower *l)
{
    lower_end(l);
    LLVMDisposeTargetData(l->layout);
}

static LLVMOrcSymbolStringPoolEntryRef interned(const Loaded *x, const char *name)
{
    return LLVMOrcLLJITMangleAndIntern(x->orc, name);
}

static void define(Unit *u, uint8_t flags)
{
    LLVMOrcCSymbolFlagsMapPair symbol[2];
    int n = 0;
    for (; n < 2 && u->symbol[n]; n++)
        symbol[n] = (LLVMOrcCSymbolFlagsMapPair){interned(u->owner, u->symbol[n]), {flags, 0}};
    LLVMOrcMaterializationUnitRef mu = LLVMOrcCreateCustomMaterializationUnit(
        u->symbol[0], u, symbol, (size_t)n, NULL, materialize, discard, destroy);
    check(LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(u->owner->orc), mu), u->symbol[0]);
}

enum { CALLABLE = LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable };

/* `name` becomes a stub that makes the unit when it is first called. */
static void define_lazily(Loaded *x, Unit *u, const char *name)
{
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(x->orc);
    LLVMOrcCSymbolAliasMapPair alias = {interned(x, name),
                                        {interned(x, u->symbol[0]), {CALLABLE, 0}}};
    define(u, CALLABLE);
    check(
        LLVMOrcJITDylibDefine(library, LLVMOrcLazyReexports(x->lazy, x->stubs, library, &alias, 1)),
        name);
}

static Unit *function_unit(Loaded *x, Func *f, bool fast)
{
    Lower l;
    Unit *u = unit_new(x, &l, format(x->s, "%s_%s", f->name, fast ? "fast" : "code"), NULL);
    u->fast = fast;
    u->form = f->form;
    lower_function(&l, f, u->symbol[0]);
    unit_end(&l);
    return u;
}

/* One token's work on a small model is where shapes that the compiler knows count (docs/jit.md), so
 * decode gets its fast code as soon as there is any. Bits are the same. */
static void add_function(Loaded *x, Func *f)
{
    if (x->o->specialize || f->form == FORM_DECODE) {
        Unit *fast = function_unit(x, f, true);
        if (x->o->specialize || load_cached(x, fast)) {
            define_lazily(x, fast, f->name);
            return;
        }
        x->later = grow(x->s, x->later, (size_t)x->nlater, sizeof(Unit *));
        x->later[x->nlater++] = fast;
    }
    define_lazily(x, function_unit(x, f, false), f->name);
}

static void add_constants(Loaded *x)
{
    Lower l;
    const char *prefix = x->o->emit->prefix;
    Unit *u = unit_new(x, &l, format(x->s, "%s_model", prefix), NULL);
    if (l.probes)
        u->symbol[1] = format(x->s, "%s_profile", prefix);
    lower_constants(&l);
    unit_end(&l);
    define(u, LLVMJITSymbolGenericFlagsExported);
}

/* ---- loading ---- */

/* Objects go through RuntimeDyld, which registers them with debuggers. */
static LLVMOrcObjectLayerRef object_layer(void *arg, LLVMOrcExecutionSessionRef session,
                                          const char *triple)
{
    LLVMOrcObjectLayerRef layer =
        LLVMOrcCreateRTDyldObjectLinkingLayerWithSectionMemoryManager(session);
    LLVMOrcRTDyldObjectLinkingLayerRegisterJITEventListener(layer,
                                                            LLVMCreateGDBRegistrationListener());
    (void)arg, (void)triple;
    return layer;
}

/* What the functions call: kernels of the row, the runtime in bnc, libc and libm. */
static void add_symbols(Loaded *x)
{
    LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(x->orc);
    LLVMOrcDefinitionGeneratorRef process;
    size_t n = 0;
    while (x->row->kernel[n].name)
        n++;
    LLVMOrcCSymbolMapPairs pair = alloc_array(x->s, n + 2, sizeof *pair);
    const JitKernel runtime[] = {{"bn_barrier", (void (*)(void))bn_barrier},
                                 {"bn_ticket", (void (*)(void))bn_ticket}};
    for (size_t i = 0; i < n + 2; i++) {
        const JitKernel *k = i < n ? &x->row->kernel[i] : &runtime[i - n];
        pair[i].Name = interned(x, k->name);
        pair[i].Sym.Address = (LLVMOrcExecutorAddress)(uintptr_t)k->code;
        pair[i].Sym.Flags.GenericFlags =
            LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable;
    }
    check(LLVMOrcJITDylibDefine(library, LLVMOrcAbsoluteSymbols(pair, n + 2)), "kernels");
    check(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
              &process, LLVMOrcLLJITGetGlobalPrefix(x->orc), NULL, NULL),
          "this process");
    LLVMOrcJITDylibAddGenerator(library, process);
}

static void lost(void)
{
    die("a function of the model could not be made");
}

static void orc_error(void *arg, LLVMErrorRef e)
{
    (void)arg;
    die("%s", LLVMGetErrorMessage(e));
}

static void start_orc(Loaded *x)
{
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    LLVMOrcLLJITBuilderSetObjectLinkingLayerCreator(builder, object_layer, NULL);
    check(LLVMOrcCreateLLJIT(&x->orc, builder), "ORC");
    LLVMOrcExecutionSessionRef session = LLVMOrcLLJITGetExecutionSession(x->orc);
    const char *triple = LLVMOrcLLJITGetTripleString(x->orc);
    LLVMOrcExecutionSessionSetErrorReporter(session, orc_error, NULL);
    check(LLVMOrcCreateLocalLazyCallThroughManager(
              triple, session, (LLVMOrcJITTargetAddress)(uintptr_t)lost, &x->lazy),
          "lazy functions");
    x->stubs = LLVMOrcCreateLocalIndirectStubsManager(triple);
    add_symbols(x);
}

static const void *address(const Loaded *x, const char *symbol)
{
    LLVMOrcExecutorAddress at = 0;
    check(LLVMOrcLLJITLookup(x->orc, &at, symbol), symbol);
    return (const void *)(uintptr_t)at;
}

static void perf_unit(const Loaded *x, const Unit *u, FILE *to)
{
    const char *base = address(x, u->symbol[0]);
    uint64_t known = 0;
    LLVMBinaryRef object = LLVMCreateBinary(u->object, NULL, NULL);
    for (int pass = 0; object && pass < 2; pass++) {
        LLVMSymbolIteratorRef at = LLVMObjectFileCopySymbolIterator(object);
        for (; !LLVMObjectFileIsSymbolIteratorAtEnd(object, at); LLVMMoveToNextSymbol(at)) {
            const char *name = LLVMGetSymbolName(at);
            uint64_t value = LLVMGetSymbolAddress(at), size = LLVMGetSymbolSize(at);
            if (!strcmp(name, u->symbol[0]))
                known = value;
            if (pass && size)
                fprintf(to, "%" PRIxPTR " %" PRIx64 " bnc:%s\n",
                        (uintptr_t)base + (uintptr_t)(value - known), size, name);
        }
        LLVMDisposeSymbolIterator(at);
    }
    LLVMDisposeBinary(object);
}

/* BNC_PERF: where the functions that were called stand, for `perf report`. Those inside an object
 * stand where its symbol table says, beside the one whose address is known. */
static void perf_map(const Loaded *x)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    FILE *f = fopen(path, "a");
    for (int i = 0; f && i < x->nunit; i++)
        if (x->unit[i].object)
            perf_unit(x, &x->unit[i], f);
    if (f)
        fclose(f);
}

/* A thread of its own makes the fast functions and puts each into the model's table, from which the
 * runtime takes its function at every pass. */
static void *make_later(void *arg)
{
    Loaded *x = arg;
    bn_code *code = (bn_code *)(uintptr_t)x->jit.model->code;
    for (int i = 0; i < x->nlater; i++) {
        Unit *u = x->later[i];
        check(
            LLVMOrcLLJITAddObjectFile(x->orc, LLVMOrcLLJITGetMainJITDylib(x->orc), object_of(x, u)),
            u->symbol[0]);
        bn_forward *slot = &code->decode + (u->form - FORM_DECODE);
        atomic_store((_Atomic(bn_forward) *)slot, (bn_forward)(uintptr_t)address(x, u->symbol[0]));
    }
    return NULL;
}

static void start_maker(Loaded *x)
{
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, MAKER_STACK) == 0);
    if (pthread_create(&x->maker, &attr, make_later, x) != 0)
        x->nlater = 0; /* then not */
    pthread_attr_destroy(&attr);
}

static void close_jit(void *arg)
{
    Loaded *x = arg;
    if (x->nlater)
        pthread_join(x->maker, NULL);
    if (getenv("BNC_PERF"))
        perf_map(x);
    LLVMOrcDisposeLazyCallThroughManager(x->lazy);
    LLVMOrcDisposeIndirectStubsManager(x->stubs);
    check(LLVMOrcDisposeLLJIT(x->orc), "ORC");
    for (int i = 0; i < x->nunit; i++) {
        if (x->unit[i].object)
            LLVMDisposeMemoryBuffer(x->unit[i].object);
        if (x->unit[i].found)
            LLVMDisposeMemoryBuffer(x->unit[i].found);
        LLVMDisposeModule(x->unit[i].module);
        LLVMContextDispose(x->unit[i].context);
    }
    LLVMDisposeMessage(x->cpu);
    LLVMDisposeMessage(x->features);
}

Jit *jit_open(Session *s, const Module *m, const Target *target, const JitOptions *o)
{
    Loaded *x = NEW(s, Loaded);
    const char *prefix = o->emit->prefix;
    int n = 2;
    for (const Func *f = m->funcs; f; f = f->next)
        n += 2;
    *x = (Loaded){.s = s, .m = m, .target = target, .o = o, .row = row_find(target->name)};
    CHECK(x->row && x->row->kernel);
    llvm_start();
    x->unit = NEW_ARRAY(s, Unit, n);
    x->cpu = LLVMGetHostCPUName();
    x->features = LLVMGetHostCPUFeatures();
    start_orc(x);
    session_defer(s, close_jit, x);
    for (Func *f = m->funcs; f; f = f->next)
        add_function(x, f);
    add_constants(x);
    x->jit.model = address(x, format(s, "%s_model", prefix));
    if (o->emit->profile)
        x->jit.profile = address(x, format(s, "%s_profile", prefix));
    if (x->nlater)
        start_maker(x);
    return &x->jit;
}
