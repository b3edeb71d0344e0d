/* compile.c: the compiler's main road: a model file or a module's text in, passes, C out, to where
 * the user says or into the cache. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "driver/driver.h"
#include "ir/escape.h"

/* ---- output ---- */

/* PREFIX_model and the macros PREFIX_CONTEXT, ... in capitals: those of the prefix bn are taken, by bn.h. */
static bool prefix_taken(const char *prefix)
{
    return !strcasecmp(prefix, "bn");
}

static const char *c_prefix(Session *s, const Options *o)
{
    if (o->name) {
        if (!identifier_good(o->name))
            fail(s, (Loc){0}, "--name wants a C identifier, not '%s'", o->name);
        if (prefix_taken(o->name))
            fail(s, (Loc){0}, "--name=%s: the names that begin so are those of bn.h; take another", o->name);
        return o->name;
    }
    const char *prefix = c_name(s, file_name(without_extension(s, o->output)));
    return identifier_good(prefix) && *prefix != '_' && !prefix_taken(prefix) ? prefix : format(s, "m_%s", prefix);
}

static WeightsMode weights_mode(Session *s, const Options *o, const char *kind)
{
    bool beside = !strcmp(kind, "c") || !strcmp(kind, "llvm");
    const char *how = o->weights ? o->weights : beside ? "file" : "incbin";
    static const char *const names[] = {
        [WEIGHTS_FILE] = "file", [WEIGHTS_INCBIN] = "incbin", [WEIGHTS_C] = "c"};
    for (WeightsMode w = WEIGHTS_FILE; w <= WEIGHTS_C; w++)
        if (!strcmp(how, names[w]))
            return w;
    fail(s, (Loc){0}, "--weights is file, incbin or c, not '%s'", how);
}

static void check_c_weights(Session *s, const Module *m)
{
    if (m->weight_bytes > 64 << 20)
        fail(s, (Loc){0},
             "--weights=c would write %lld MB as literals, which compilers take minutes for; use "
             "file or incbin",
             (long long)(m->weight_bytes >> 20));
}

/* Places of the three generated files, all committed together at the end. */
typedef struct Files {
    const char *source, *header, *bnw;
} Files;

/* Answers the .bnw, written, for the caller to commit; NULL where the weights are in the C. */
static OutFile *write_files(Session *s, Module *m, const Target *target, const EmitOptions *emit,
                            const Files *at)
{
    EmitOptions o = *emit;
    Out source = {.s = s}, header = {.s = s};
    OutFile *bnw = file_create(s, at->bnw);
    bnw_write(m, bnw);
    if (o.weights == WEIGHTS_C) {
        size_t size;
        file_commit(bnw);
        o.bnw = (const uint8_t *)file_read(s, at->bnw, &size);
        remove(at->bnw);
        bnw = NULL;
    }
    emit_c(m, target, &o, &source);
    emit_header(m, &o, &header);
    OutFile *c = file_create(s, at->source), *h = file_create(s, at->header);
    file_write(c, source.text, source.len);
    file_write(h, header.text, header.len);
    file_commit(c);
    file_commit(h);
    out_free(&source);
    out_free(&header);
    return bnw;
}

static void emit_source(Session *s, Module *m, const Target *target, const Options *o,
                        EmitOptions *emit)
{
    const char *stem = without_extension(s, o->output);
    Files at = {o->output, format(s, "%s.h", stem), format(s, "%s.bnw", stem)};
    emit->bnw_name = file_name(at.bnw);
    emit->bnw_path = at.bnw;
    OutFile *weights = write_files(s, m, target, emit, &at);
    if (weights)
        file_commit(weights);
    note(s, "wrote %s, %s%s%s", at.source, at.header, emit->weights == WEIGHTS_C ? "" : ", ",
         emit->weights == WEIGHTS_C ? "" : at.bnw);
}

/* Everything is made in a temporary folder first, or committed last: a failing C compiler leaves
 * nothing behind. */
static void emit_built(Session *s, Module *m, const Target *target, const Options *o,
                       EmitOptions *emit, const char *kind)
{
    const char *dir = temp_dir(s), *stem = without_extension(s, o->output);
    bool beside = emit->weights == WEIGHTS_FILE, program = !strcmp(kind, "exe");
    bool product = !program && strcmp(kind, "module") != 0;
    const char *header = format(s, "%s.h", stem),
               *bnw = format(s, "%s.bnw", program ? o->output : stem);
    Files at = {format(s, "%s/model.c", dir), format(s, "%s/model.h", dir),
                beside ? bnw : format(s, "%s/model.bnw", dir)};
    emit->program = program;
    emit->amalgamate = program || !strcmp(kind, "so");
    emit->bnw_name = *o->output == '/' ? bnw : file_name(bnw);
    emit->bnw_path = at.bnw;
    OutFile *weights = write_files(s, m, target, emit, &at);
    if (weights && !beside) /* for the assembler to read */
        file_commit(weights);
    Build b = {m, target, dir, at.source, format(s, "%s/result", dir), emit->profile};
    build_output(s, &b, kind);
    if (beside)
        file_commit(weights);
    if (product)
        file_copy(s, at.header, header);
    file_copy(s, b.output, o->output);
    note(s, "wrote %s%s%s%s%s", o->output, product ? ", " : "", product ? header : "",
         beside ? ", " : "", beside ? bnw : "");
}

void compile_check(Session *s, const Options *o)
{
    const Target *target;
    Module *m = load_input(s, o, &target);
    if (!m->vocab)
        bind_source(m);
    run_passes(m, target, o, start_report(s, o, stderr));
    weights_check(m);
}

void compile_to(Session *s, const Options *given)
{
    /* module: what inproc.c loads, an so without the runtime */
    static const char *const kinds[] = {"c", "ir", "obj", "lib", "so", "exe", "llvm", "module"};
    Options o = *given;
    const Target *target;
    const char *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        kind = !strcmp(o.emit ? o.emit : "c", kinds[i]) ? kinds[i] : kind;
    if (!kind)
        fail(s, (Loc){0}, "--emit is c, ir, obj, lib, so, exe or llvm, not '%s'", o.emit);
    if (!o.output)
        fail(s, (Loc){0}, "say where to write, as in: bnc model.gguf -o model.c");
    bool text = !strcmp(kind, "ir");
    check_shards(s, &o);
    if (o.jit && !text && !jit_emits(&o))
        fail(s, (Loc){0},
             "--jit goes with run, chat and others that load the model, and with --emit=obj or "
             "llvm; "
             "%s is made by a C compiler",
             kind);
    Report *r = start_report(s, &o, text ? stderr : stdout);
    stage_begin(s, r, "read");
    Module *m = load_input(s, &o, &target);
    if (!m->vocab && !text)
        bind_source(m);
    stage_end(s, r);
    if (text) {
        if (!o.passes && !o.stop_after)
            o.passes = "quant,canon";
        run_passes(m, target, &o, r);
        OutFile *depfile = depfile_create(s, &o);
        module_save(m, o.output);
        if (depfile)
            file_commit(depfile);
        report_print(s, r);
        return;
    }
    EmitOptions emit = {.prefix = c_prefix(s, &o),
                        .flags = o.text,
                        .weights = target->device ? WEIGHTS_FILE : weights_mode(s, &o, kind),
                        .amalgamate = o.amalgamate,
                        .program = o.amalgamate,
                        .profile = o.profile,
                        .gpus = o.shards ? (int)o.shards : 1,
                        .chat = compile_chat(s, m, o.chat, !o.chat_optional)};
    run_passes(m, target, &o, r);
    if (target->device)
        gpu_check(s, &o, target, kind);
    if (~m->facts & (FACT_PACKED | FACT_PLANNED))
        fail(s, (Loc){0},
             "these passes leave a module that cannot be emitted; it must be packed and planned");
    if (emit.weights == WEIGHTS_C)
        check_c_weights(s, m);
    OutFile *depfile = depfile_create(s, &o);
    stage_begin(s, r, "write");
    if (target->device)
        gpu_emit(s, m, target, &o, &emit, kind);
    else if (jit_emits(&o))
        jit_emit(s, m, target, &o, &emit);
    else if (!strcmp(kind, "c"))
        emit_source(s, m, target, &o, &emit);
    else
        emit_built(s, m, target, &o, &emit, kind);
    if (depfile)
        file_commit(depfile);
    stage_end(s, r);
    report_print(s, r);
}

/* ---- into the cache ---- */

struct Apart {
    Session session;
    const Options *options;
};

static void compile_options(void *arg)
{
    struct Apart *a = arg;
    compile_to(&a->session, a->options);
}

/* In a session of its own: its memory and temporary files are gone before the model runs. */
static void compile_apart(Session *s, const Options *o)
{
    struct Apart a = {.options = o};
    note(s, "compiling %s", o->input);
    session_start(&a.session, s->log);
    a.session.quiet = true;
    mode_t mask = umask(077);
    bool done = session_try(&a.session, compile_options, &a);
    umask(mask);
    session_end(&a.session);
    if (!done)
        give_up(s);
}

const char *cache_compile(Session *s, const Options *given, const char *emit, const char *extension)
{
    Options o = *given;
    CacheEntry e = cache_place(s, &o, emit);
    o.output = format(s, "%s%s", o.output, extension);
    o.emit = emit;
    if (cache_begin(s, &e)) {
        compile_apart(s, &o);
        cache_end(s, &e, &o);
    }
    return o.output;
}
