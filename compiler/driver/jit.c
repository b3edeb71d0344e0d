/* jit.c: models by LLVM: for `bnc run --jit` and others into this process, for --emit=llvm and
 * --emit=obj into a file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bn_model.h"
#include "driver/driver.h"
#include "jit/jit.h"

/* ---- in this process ---- */

/* The hashes that bnw_write would find. */
static void read_hashes(Module *m, const char *path)
{
    size_t size;
    const uint8_t *bytes = file_view(m->s, path, "the weights are gone", &size);
    bn_bnw h;
    if (size < sizeof h)
        fail(m->s, loc_file(m->s, path), "is no .bnw: remove it and try again");
    memcpy(&h, bytes, sizeof h);
    m->bnw_hash = h.hash;
    m->vocab_hash = h.vocab_hash;
}

static void write_weights(Module *m, const char *path)
{
    note(m->s, "compiling %s", m->source);
    OutFile *f = file_create(m->s, path);
    bnw_write(m, f);
    file_commit(f);
}

const Jit *jit_compile(Session *s, const Options *given, const char **weights)
{
    Options o = *given;
    const Target *target;
    bool quiet = s->quiet;
    EmitOptions *emit = NEW(s, EmitOptions);
    JitOptions *how = NEW(s, JitOptions);
    find_target(s, &o); /* before anything is hashed */
    CacheEntry e = cache_place(s, &o, "jit");
    *weights = format(s, "%s.bnw", o.output);
    const char *text = format(s, "%s.tir", o.output);
    Module *m = load_input(s, &o, &target);
    if (!m->vocab)
        bind_source(m);
    *emit = (EmitOptions){.prefix = o.name,
                          .bnw_name = *weights,
                          .flags = o.text,
                          .weights = WEIGHTS_FILE,
                          .profile = o.profile,
                          .chat = compile_chat(s, m, o.chat, !o.chat_optional)};
    s->quiet = true; /* what the passes note is of no use here */
    run_passes(m, target, &o, start_report(s, &o, stderr));
    s->quiet = quiet;
    if (cache_begin(s, &e)) {
        mode_t mask = umask(077);
        write_weights(m, *weights);
        module_save(m, text);
        umask(mask);
        cache_end(s, &e, &o);
    } else {
        read_hashes(m, *weights);
    }
    *how = (JitOptions){
        .emit = emit, .specialize = !strcmp(o.jit, "O3"), .cache = e.dir, .text = text};
    return jit_open(s, m, target, how);
}

/* ---- into a file ---- */

void jit_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit)
{
    const JitMachine *named = o->target ? jit_machine(o->target) : NULL;
    const JitMachine here = {"native", target->name, target->name, NULL, NULL, NULL};
    bool object = !strcmp(o->emit, "obj");
    JitKind kind = object ? JIT_OBJECT : ends_with(o->output, ".ll") ? JIT_TEXT : JIT_BITCODE;
    const char *stem = without_extension(s, o->output);
    bool beside = emit->weights == WEIGHTS_FILE;
    const char *bnw = beside ? format(s, "%s.bnw", stem) : format(s, "%s/model.bnw", temp_dir(s));
    const char *header = format(s, "%s.h", stem);
    Out out = {.s = s}, text = {.s = s};
    OutFile *weights = file_create(s, bnw);
    bnw_write(m, weights);
    if (!beside) /* for LLVM to read */
        file_commit(weights);
    emit->bnw_name = file_name(bnw);
    emit->bnw_path = bnw;
    /* LLVM's assembler for WebAssembly has no sections as .incbin needs one. */
    if (named && emit->weights == WEIGHTS_INCBIN && !strncmp(named->triple, "wasm", 4))
        emit->weights = WEIGHTS_C;
    if (emit->weights == WEIGHTS_C) {
        size_t size;
        emit->bnw = (const uint8_t *)file_read(s, bnw, &size);
    }
    jit_write(s, m, target, named ? named : &here, emit, kind, &out);
    emit_header(m, emit, &text);
    OutFile *const file[] = {file_text(s, header, &text), file_text(s, o->output, &out), weights};
    files_commit(file, beside ? 3 : 2);
    note(s, "wrote %s, %s%s%s", o->output, header, beside ? ", " : "", beside ? bnw : "");
    out_free(&out);
    out_free(&text);
}
