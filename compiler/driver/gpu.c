/* gpu.c: what is written for a GPU: sources, header and weights, all of them or none. */
#include <string.h>

#include "driver/driver.h"
#include "codegen-cuda/cuda.h"
#include "codegen-metal/metal.h"

void gpu_check(Session *s, const Options *o, const Target *target, const char *kind)
{
    bool library = !strcmp(kind, "lib");
    if (strcmp(kind, "c") != 0 && !library)
        fail(s, (Loc){0},
             "for %s bnc writes sources (without --emit) or, for Metal on a Mac, compiles the "
             "shaders too "
             "(--emit=lib); it cannot make or run '%s'",
             target->name, kind);
    if (library && target == cuda_target())
        fail(s, (Loc){0},
             "--emit=lib does not go with --target=cuda: leave it out, and compile the file with "
             "nvcc (docs/cuda.md)");
    if (library && !on_mac())
        fail(s, (Loc){0},
             "--emit=lib for %s calls `xcrun metal`, which only a Mac has: leave --emit out, and "
             "compile there (docs/metal.md)",
             target->name);
    if (o->head && strcmp(o->head, "auto") != 0 && strcmp(o->head, "f16") != 0)
        fail(s, (Loc){0},
             "--head=%s is for processors: a GPU reads the matrix itself, so --head is auto or f16 "
             "with --target=%s",
             o->head, target->name);
    if (o->profile || o->amalgamate || (o->weights && strcmp(o->weights, "file") != 0))
        fail(s, (Loc){0}, "--profile, --amalgamate and --weights do not go with --target=%s",
             target->name);
}

void check_shards(Session *s, const Options *o)
{
    if (o->shards && (!o->target || strcmp(o->target, cuda_target()->name) != 0))
        fail(s, (Loc){0},
             "--shards goes with --target=cuda: it counts the cards that share a pass");
}

static const char *stem_of(Session *s, const char *output, const char *extension)
{
    size_t n = strlen(output), k = strlen(extension);
    return n > k && !strcmp(output + n - k, extension) ? intern(s, output, n - k) : output;
}

void gpu_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit,
              const char *kind)
{
    bool cuda = target == cuda_target();
    const char *stem = stem_of(s, o->output, cuda ? ".cu" : ".metal");
    const char *source = format(s, "%s%s", stem, cuda ? ".cu" : ".metal");
    const char *header = format(s, "%s.h", stem), *host = format(s, "%s_metal.m", stem);
    const char *bnw = format(s, "%s.bnw", stem);
    Out text[3] = {{.s = s}, {.s = s}, {.s = s}};
    OutFile *weights = file_create(s, bnw);
    bnw_write(m, weights); /* and finds the hashes that the descriptor holds */
    emit->bnw_name = file_name(bnw);
    emit->device = true;
    if (cuda) {
        emit_cuda(m, emit, &text[0]);
    } else {
        emit_metal(m, emit, &text[0]);
        emit_metal_host(m, emit, file_name(source), &text[2]);
    }
    emit_header(m, emit, &text[1]);
    OutFile *const file[] = {weights, file_text(s, source, &text[0]),
                             file_text(s, header, &text[1]),
                             cuda ? NULL : file_text(s, host, &text[2])};
    files_commit(file, cuda ? 3 : 4);
    for (int i = 0; i < 3; i++)
        out_free(&text[i]);
    if (!strcmp(kind, "lib"))
        build_metallib(s, source, format(s, "%s.metallib", stem));
    note(s, "wrote %s, %s, %s%s%s", source, header, bnw, cuda ? "" : ", ", cuda ? "" : host);
}
