/* gpu.c: the GPU backends, and what is written for a GPU: sources, header and weights, all of them
 * or none. */
#include <string.h>

#include "driver/driver.h"
#include "codegen-cuda/cuda.h"
#include "codegen-metal/metal.h"

/* All there are: nothing else names one. */
static const GpuDialect *const dialects[] = {&metal_dialect, &cuda_dialect};
enum { NDIALECT = sizeof dialects / sizeof *dialects };

const Target *gpu_target_at(int i)
{
    return i < NDIALECT ? &dialects[i]->target : NULL;
}

const Target *gpu_target_find(const char *name)
{
    for (int i = 0; i < NDIALECT; i++)
        if (!strcmp(name, dialects[i]->target.name))
            return &dialects[i]->target;
    return NULL;
}

static const GpuDialect *dialect_of(const Target *target)
{
    int i = 0;
    while (i < NDIALECT && &dialects[i]->target != target)
        i++;
    CHECK(i < NDIALECT);
    return dialects[i];
}

int gpu_batch(const Target *target)
{
    return target->device ? dialect_of(target)->batch : 0;
}

void gpu_check(Session *s, const Options *o, const Target *target, const char *kind)
{
    bool library = !strcmp(kind, "lib");
    if (strcmp(kind, "c") != 0 && !library)
        fail(s, (Loc){0},
             "for %s bnc writes sources (without --emit) or, for Metal on a Mac, compiles the "
             "shaders too "
             "(--emit=lib); it cannot make or run '%s'",
             target->name, kind);
    if (library && !dialect_of(target)->library)
        fail(s, (Loc){0},
             "--emit=lib does not go with --target=%s: leave it out, and compile the file as "
             "docs/%s.md says",
             target->name, target->name);
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
    const Target *target = o->shards && o->target ? gpu_target_find(o->target) : NULL;
    const char *takes = "";
    int most = target ? dialect_of(target)->most_gpus : 1;
    for (int i = 0; i < NDIALECT; i++)
        if (dialects[i]->most_gpus > 1)
            takes = format(s, "%s%s%s", takes, *takes ? " or " : "", dialects[i]->target.name);
    if (o->shards && most < 2)
        fail(s, (Loc){0}, "--shards goes with --target=%s: it counts the GPUs that share a pass",
             takes);
    if (o->shards > most)
        fail(s, (Loc){0}, "--shards goes from 1 to %d, not %lld", most, (long long)o->shards);
}

static const char *stem_of(Session *s, const char *output, const char *extension)
{
    size_t n = strlen(output), k = strlen(extension);
    return n > k && !strcmp(output + n - k, extension) ? intern(s, output, n - k) : output;
}

void gpu_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit,
              const char *kind)
{
    const GpuDialect *d = dialect_of(target);
    const char *stem = stem_of(s, o->output, d->source);
    const char *source = format(s, "%s%s", stem, d->source), *header = format(s, "%s.h", stem);
    const char *host = d->host ? format(s, "%s%s", stem, d->host) : NULL;
    const char *bnw = format(s, "%s.bnw", stem);
    Out text[3] = {{.s = s}, {.s = s}, {.s = s}};
    OutFile *weights = file_create(s, bnw);
    bnw_write(m, weights); /* and finds the hashes that the descriptor holds */
    emit->bnw_name = file_name(bnw);
    emit->device = true;
    d->emit(m, emit, &text[0]);
    emit_header(m, emit, &text[1]);
    if (host)
        d->emit_host(m, emit, file_name(source), &text[2]);
    OutFile *const file[] = {weights, file_text(s, source, &text[0]),
                             file_text(s, header, &text[1]),
                             host ? file_text(s, host, &text[2]) : NULL};
    files_commit(file, host ? 4 : 3);
    for (int i = 0; i < 3; i++)
        out_free(&text[i]);
    if (!strcmp(kind, "lib"))
        build_metallib(s, source, format(s, "%s%s", stem, d->library));
    note(s, "wrote %s, %s, %s%s%s", source, header, bnw, host ? ", " : "", host ? host : "");
}
