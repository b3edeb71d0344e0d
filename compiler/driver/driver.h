/* driver.h: what stands between the command line and a compiled model: options, input, compilation,
 * the C compiler, the cache, models inside this process. The commands (cmd/) call it. */
#ifndef BNC_DRIVER_H
#define BNC_DRIVER_H

#include "codegen-c/codegen.h"
#include "driver/options.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

/* input.c. */
/* fail()s where a file to write is one that the command reads, by whatever path. */
void check_overwriting(Session *s, const Options *o, const Command *c);
const Target *find_target(Session *s, const Options *o); /* fail()s where there is none */
/* Reads a model file or a .tir and makes the target; the passes have not run. */
Module *load_input(Session *s, const Options *o, const Target **target);
void bind_source(Module *m); /* the weights of a module read from text */
void run_passes(Module *m, const Target *target, const Options *o, Report *r);
/* The report that the options ask for (--remarks, --print-after, ...); texts go to `to`. */
Report *start_report(Session *s, const Options *o, FILE *to);
/* The chat template that `given` (--chat-template) or the model says, compiled; no bytes: none. The
 * model's own that cannot be compiled is an error where it is `needed`, else a warning. */
EmitBytes compile_chat(Session *s, const Module *m, const char *given, bool needed);
/* What `own`, a model's template, cannot be compiled for; NULL: nothing, or it has none. */
const char *template_fault(Session *s, const char *arch, const char *source, const char *own);
/* What --emit=llvm writes, and obj with --jit or a target that LLVM alone knows. */
bool jit_emits(const Options *o);

/* compile.c. */
/* All of a compilation to C but the writing: fails where that would. */
void compile_check(Session *s, const Options *o);
/* Compiles to o->output by o->emit. */
void compile_to(Session *s, const Options *o);
/* The path of o->input compiled with the options of o to `emit`, in the cache folder under a name
 * that ends in `extension`, its weights, model.bnw, in the same folder. Compiles what is not there or is damaged. */
const char *cache_compile(Session *s, const Options *o, const char *emit, const char *extension);

/* depfile.c: the file of -MD or -MF, to be committed behind the outputs; NULL where neither is given.
 * Lists what the session has read up to now: call it before outputs are read back. */
OutFile *depfile_create(Session *s, const Options *o);

/* build.c: C to objects, with $CC or cc. */
typedef struct Build {
    const Module *m;
    const Target *target;
    const char *dir, *source; /* a temporary folder and the model's C in it */
    const char *output;       /* in that folder too */
    const char *soname;       /* of a shared library; NULL: none */
    const char *cflags;       /* more flags, behind those of bnc; NULL: none */
    bool profile;             /* the runtime reads profiles */
} Build;
/* --cflags, else $CFLAGS; NULL: none. */
const char *compiler_flags(const Options *o);
/* fail()s where no compiler is named and `cc` writes for another family of processors. */
void check_compiler(Session *s, const Target *target);
void build_object(Session *s, const Build *b, const char *object, const char *source, bool pic);
/* Shaders to a library by Xcode's tools, which only a Mac has. */
void build_metallib(Session *s, const char *shaders, const char *library);
bool on_mac(void);
void build_output(Session *s, const Build *b, const char *kind);

/* cache.c: an entry of the cache in steps. cache_place sets output (the path, without an
 * extension), weights and name; between cache_begin, which returns whether the entry must be made,
 * and cache_end its files are written. */
typedef struct CacheEntry {
    const char *cache, *dir, *emit;
    int fd; /* holds the lock */
} CacheEntry;
CacheEntry cache_place(Session *s, Options *o, const char *emit);
bool cache_begin(Session *s, const CacheEntry *e);
void cache_end(Session *s, const CacheEntry *e, const Options *o);

/* The user's cache folder, made where it is missing; fail()s where others could write into it. */
const char *cache_dir(Session *s);
typedef struct CacheInfo {
    const char *dir, *key;
    const char *model, *options, *kind; /* model, options: JSON strings; "" where it is not whole */
    uint64_t bytes, own_bytes;          /* own: less what others hold of shared weights */
    int64_t used;                       /* seconds since 1970 */
    bool busy;                          /* a program that was started from it runs */
} CacheInfo;
size_t cache_list(Session *s, const char *cache, CacheInfo **list); /* least lately used first */
bool cache_remove(const CacheInfo *i);                              /* false: it is in use */
uint64_t cache_limit(Session *s, const char *cache); /* bytes of all entries; 0: no limit */
void cache_set_limit(Session *s, const char *cache, uint64_t bytes);
void cache_trim(Session *s,
                const char *cache); /* removes what exceeds the limit and is not in use */
/* jit.c: o->input with the options of o in this process, by LLVM; *weights: its .bnw. */
const struct Jit *jit_compile(Session *s, const Options *o, const char **weights);
void jit_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit);
/* gpu.c: the targets that are GPUs (NULL: there is none of that name, or no more), and how many tokens a prefill
 * pass of one takes where --batch does not say (0: as of any target). */
const Target *gpu_target_at(int i);
const Target *gpu_target_find(const char *name);
int gpu_batch(const Target *target);
/* Refuses what cannot be made for a GPU; writes sources, STEM.h and STEM.bnw where -o says STEM or the name of
 * the main source. */
void check_shards(Session *s, const Options *o);
void gpu_check(Session *s, const Options *o, const Target *target, const char *kind);
void gpu_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit,
              const char *kind);

#endif
