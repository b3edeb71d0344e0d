/* compile.c: the main path of the compiler: a model file or a module's text in, passes, C out, to where
 * the user says or into the cache.
 *
 * One idea: a compilation is a list of steps over one record (struct Compile); what can be refused
 * by the options alone is refused before a file is opened, and what is written is put in its place
 * in the end, all files of it or none.
 */
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "driver/driver.h"
#include "ir/escape.h"

/* ---- output ---- */

/* What the files beside an output are called by: dir/libtales.so.1 -> dir/libtales. */
static const char *stem_of(Session *s, const char *output, const char *kind)
{
    const char *file = file_name(output), *end = !strcmp(kind, "so") ? strstr(file, ".so") : NULL;
    return end && end > file ? intern(s, output, (size_t)(end - output))
                             : without_extension(s, output);
}

/* A library is called without what linkers put before it: libtales -> tales. */
static const char *plain_name(const char *stem, const char *kind)
{
    bool library = !strcmp(kind, "so") || !strcmp(kind, "lib");
    return library && !strncmp(stem, "lib", 3) && stem[3] ? stem + 3 : stem;
}

/* PREFIX_model and the macros PREFIX_CONTEXT, ... in capitals: those of the prefix bn are taken, by
 * bn.h. */
static bool prefix_taken(const char *prefix)
{
    return !strcasecmp(prefix, "bn");
}

static const char *c_prefix(Session *s, const Options *o, const char *kind)
{
    if (o->name && prefix_taken(o->name))
        fail(s, (Loc){0}, "--name=%s: the names that begin so are those of bn.h; take another",
             o->name);
    if (o->name)
        return o->name;
    if (!strcmp(o->output, "-"))
        return "model";
    const char *prefix = c_name(s, plain_name(file_name(stem_of(s, o->output, kind)), kind));
    bool good = identifier_good(prefix) && *prefix != '_' && !prefix_taken(prefix);
    return good ? prefix : format(s, "m_%s", prefix);
}

static WeightsMode weights_mode(const Options *o, const char *kind)
{
    bool beside = !strcmp(kind, "c") || !strcmp(kind, "llvm");
    if (!o->weights)
        return beside ? WEIGHTS_FILE : WEIGHTS_INCBIN;
    return !strcmp(o->weights, "file")     ? WEIGHTS_FILE
           : !strcmp(o->weights, "incbin") ? WEIGHTS_INCBIN
                                           : WEIGHTS_C;
}

static void check_c_weights(Session *s, const Module *m)
{
    if (m->weight_bytes > 64 << 20)
        fail(s, (Loc){0},
             "--weights=c would write %lld MB as literals, which compilers take minutes for; use "
             "file or incbin",
             (long long)(m->weight_bytes >> 20));
}

/* Places of the generated files; header NULL: none is written. */
typedef struct Files {
    const char *source, *header, *bnw;
} Files;

/* Files that are written and wait to be committed together. */
typedef struct Written {
    OutFile *of[4];
    int n;
} Written;

static void add_text(Session *s, Written *w, const char *path, Out *text)
{
    w->of[w->n++] = file_text(s, path, text);
    out_free(text);
}

/* The weights go into `out` where they are a file beside the source; else they are at at->bnw for
 * who reads them, the assembler or this function. */
static void write_files(Session *s, Module *m, const Target *target, const EmitOptions *emit,
                        const Files *at, Written *out)
{
    EmitOptions o = *emit;
    Out source = {.s = s}, header = {.s = s};
    bool literals = o.weights == WEIGHTS_C;
    const char *path = literals ? format(s, "%s/model.bnw", temp_dir(s)) : at->bnw;
    OutFile *bnw = file_create(s, path);
    bnw_write(m, bnw);
    if (literals) {
        file_commit(bnw);
        o.bnw = (const uint8_t *)file_read(s, path, NULL);
    } else {
        out->of[out->n++] = bnw;
    }
    emit_c(m, target, &o, &source);
    add_text(s, out, at->source, &source);
    if (!at->header)
        return;
    emit_header(m, &o, &header);
    add_text(s, out, at->header, &header);
}

static void emit_source(Session *s, Module *m, const Target *target, const Options *o,
                        EmitOptions *emit)
{
    const char *stem = without_extension(s, o->output);
    bool stream = !strcmp(o->output, "-");
    Files at = {o->output, stream ? NULL : format(s, "%s.h", stem), format(s, "%s.bnw", stem)};
    Written out = {0};
    emit->bnw_name = file_name(at.bnw);
    emit->bnw_path = at.bnw;
    write_files(s, m, target, emit, &at, &out);
    files_commit(out.of, out.n);
    if (!stream)
        note(s, "wrote %s, %s%s%s", at.source, at.header, emit->weights == WEIGHTS_C ? "" : ", ",
             emit->weights == WEIGHTS_C ? "" : at.bnw);
}

/* The C stands in a temporary folder: a failing C compiler leaves nothing behind. */
static void emit_built(Session *s, Module *m, const Target *target, const Options *o,
                       EmitOptions *emit, const char *kind)
{
    const char *dir = temp_dir(s), *stem = stem_of(s, o->output, kind);
    bool beside = emit->weights == WEIGHTS_FILE, program = !strcmp(kind, "exe");
    bool product = !program && strcmp(kind, "module") != 0;
    const char *header = format(s, "%s.h", stem),
               *bnw = format(s, "%s.bnw", program ? o->output : stem);
    Files at = {format(s, "%s/model.c", dir), format(s, "%s/model.h", dir),
                format(s, "%s/model.bnw", dir)};
    Written made = {0}, out = {0};
    emit->program = program;
    emit->amalgamate = program || !strcmp(kind, "so");
    emit->bnw_name = *o->output == '/' ? bnw : file_name(bnw);
    emit->bnw_path = at.bnw;
    if (beside)
        at.bnw = bnw; /* a large file: written once, where it will stand */
    write_files(s, m, target, emit, &at, &made);
    for (int i = 0; i < made.n; i++) {
        if (beside && i == 0)
            out.of[out.n++] = made.of[i];
        else
            file_commit(made.of[i]);
    }
    Build b = {.m = m,
               .target = target,
               .dir = dir,
               .source = at.source,
               .output = format(s, "%s/result", dir),
               .soname = !strcmp(kind, "so") ? file_name(o->output) : NULL,
               .cflags = compiler_flags(o),
               .profile = emit->profile};
    build_output(s, &b, kind);
    if (product)
        out.of[out.n++] = file_copy(s, at.header, header);
    out.of[out.n++] = file_copy(s, b.output, o->output);
    files_commit(out.of, out.n);
    note(s, "wrote %s%s%s%s%s", o->output, product ? ", " : "", product ? header : "",
         beside ? ", " : "", beside ? bnw : "");
}

/* ---- the steps ---- */

typedef struct Compile {
    Session *s;
    Options o;        /* with what they leave open decided */
    const char *kind; /* of --emit, or module: what inproc.c loads, an so without the runtime */
    const Target *target;
    Module *m;
    Report *r;
    EmitOptions emit;
    OutFile *depfile; /* of -MD, on the disk but for its name; NULL: none */
} Compile;

static bool makes(const Compile *c, const char *kind)
{
    return !strcmp(c->kind, kind);
}

/* What the end of a file's name asks for; NULL: nothing. */
static const char *kind_of(const char *output)
{
    static const char *const kinds[][2] = {{".c", "c"},    {".tir", "ir"}, {".o", "obj"},
                                           {".a", "lib"},  {".so", "so"},  {".ll", "llvm"},
                                           {".bc", "llvm"}};
    const char *version = strstr(file_name(output), ".so.");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends_with(output, kinds[i][0]))
            return kinds[i][1];
    return version && !version[4 + strspn(version + 4, "0123456789.")] ? "so" : NULL;
}

static void choose_kind(Compile *c)
{
    Options *o = &c->o;
    const char *named = kind_of(o->output);
    o->emit = c->kind = o->emit ? o->emit : named ? named : "c";
    if (strcmp(o->output, "-") != 0 || makes(c, "ir"))
        return;
    if (!makes(c, "c"))
        fail(c->s, (Loc){0}, "-o - writes one text to standard output; for --emit=%s name a file",
             c->kind);
    if (!o->amalgamate || weights_mode(o, c->kind) != WEIGHTS_C)
        fail(c->s, (Loc){0},
             "-o - writes one text to standard output, but C comes with a header and weights: name "
             "a file, or make it one by --amalgamate --weights=c");
}

static void check_options(Compile *c)
{
    const Options *o = &c->o;
    bool built = !makes(c, "c") && !makes(c, "ir") && !jit_emits(o);
    check_shards(c->s, o);
    if (o->jit && !makes(c, "ir") && !jit_emits(o))
        fail(c->s, (Loc){0},
             "--jit goes with run, chat and others that load the model, and with --emit=obj or "
             "llvm; %s is made by a C compiler",
             c->kind);
    c->target = find_target(c->s, o);
    if (c->target->device && !makes(c, "ir"))
        gpu_check(c->s, o, c->target, c->kind);
    else if (built)
        check_compiler(c->s, c->target);
}

static void read_module(Compile *c)
{
    bool text =
        makes(c, "ir") || !strcmp(c->o.output, "-"); /* standard output may be the result's */
    c->r = start_report(c->s, &c->o, text ? stderr : stdout);
    stage_begin(c->s, c->r, "read");
    c->m = load_input(c->s, &c->o, &c->target);
    if (!c->m->vocab && !makes(c, "ir"))
        bind_source(c->m);
    stage_end(c->s, c->r);
}

/* What was read up to now: before any output is read back. */
static void write_depfile(Compile *c)
{
    c->depfile = depfile_create(c->s, &c->o);
    if (c->depfile)
        file_finish(c->depfile);
}

static void write_text(Compile *c)
{
    if (!c->o.passes && !c->o.stop_after)
        c->o.passes = "quant,canon";
    run_passes(c->m, c->target, &c->o, c->r);
    write_depfile(c);
    module_save(c->m, c->o.output);
}

static void choose_emit(Compile *c)
{
    const Options *o = &c->o;
    c->emit = (EmitOptions){.prefix = c_prefix(c->s, o, c->kind),
                            .flags = o->text,
                            .weights = c->target->device ? WEIGHTS_FILE : weights_mode(o, c->kind),
                            .amalgamate = o->amalgamate,
                            .program = o->amalgamate,
                            .profile = o->profile,
                            .gpus = o->shards ? (int)o->shards : 1,
                            .chat = compile_chat(c->s, c->m, o->chat, !o->chat_optional)};
}

static void check_module(const Compile *c)
{
    if (~c->m->facts & (FACT_PACKED | FACT_PLANNED))
        fail(c->s, (Loc){0},
             "these passes leave a module that cannot be emitted; it must be packed and planned");
    if (c->emit.weights == WEIGHTS_C)
        check_c_weights(c->s, c->m);
}

static void write_code(Compile *c)
{
    choose_emit(c);
    run_passes(c->m, c->target, &c->o, c->r);
    check_module(c);
    write_depfile(c);
    stage_begin(c->s, c->r, "write");
    if (c->target->device)
        gpu_emit(c->s, c->m, c->target, &c->o, &c->emit, c->kind);
    else if (jit_emits(&c->o))
        jit_emit(c->s, c->m, c->target, &c->o, &c->emit);
    else if (makes(c, "c"))
        emit_source(c->s, c->m, c->target, &c->o, &c->emit);
    else
        emit_built(c->s, c->m, c->target, &c->o, &c->emit, c->kind);
    stage_end(c->s, c->r);
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
    Compile c = {.s = s, .o = *given};
    choose_kind(&c);
    check_options(&c);
    read_module(&c);
    makes(&c, "ir") ? write_text(&c) : write_code(&c);
    if (c.depfile)
        file_commit(c.depfile);
    report_print(s, c.r);
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
