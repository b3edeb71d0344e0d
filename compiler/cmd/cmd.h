/* cmd.h: what the subcommands share. Each takes its arguments from argv[1] on. */
#ifndef BNC_CMD_H
#define BNC_CMD_H

#include "codegen-c/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

#define TEXT(field) const char *field;
#define NUMBER(field) int64_t field;
#define FLAG(field) bool field;
typedef struct Options {
#define OPTION(field, kind, where, name, argument, help) kind(field)
#include "cmd/options.def"
#undef OPTION
    const char *input;
    const char **rest; /* options of others, in order */
    int nrest;
    const char **given; /* the words of ours */
    int ngiven;
    const char *text;  /* those that were given, for the comment in generated files */
    const char *cache; /* the folder of cache.c; NULL: the user's */
} Options;
#undef TEXT
#undef NUMBER
#undef FLAG

/* options.c. Unknown options are errors, or go to `rest` with keep_rest; so does every second
 * plain argument. */
void options_read(Session *s, Options *o, int argc, char **argv, bool keep_rest);
void options_help(FILE *to, bool all); /* else those of the front screen */

/* compile.c: input -> passes -> emit. */
int cmd_compile(Session *s, int argc, char **argv);
/* Reads a model file or a .tir and makes the target; the passes have not run. */
Module *load_input(Session *s, const Options *o, const Target **target);
void bind_source(Module *m); /* the weights of a module read from text */
const char *without_extension(Session *s, const char *path);
void run_passes(Module *m, const Target *target, const Options *o, Report *r);
/* For the options that ask to be told; texts go to `to`. */
Report *start_report(Session *s, const Options *o, FILE *to);
/* The chat template that `given` (--chat-template) or the model says as C; NULL: none. */
const char *compile_chat(Session *s, const Module *m, const char *given);
/* Compiles to o->output by o->emit. */
void compile_to(Session *s, const Options *o);

/* build.c: C to objects, with $CC or cc. */
typedef struct Build {
    const Module *m;
    const Target *target;
    const char *dir, *source; /* a temporary folder and the model's C in it */
    const char *output;       /* in that folder too */
    bool profile;             /* the runtime reads profiles */
} Build;
const char *temp_dir(Session *s); /* removed with the session */
void build_object(Session *s, const Build *b, const char *object, const char *source, bool pic);
void file_copy(Session *s, const char *from, const char *to); /* with its permissions */
/* Shaders to a library by Xcode's tools, which only a Mac has. */
void build_metallib(Session *s, const char *shaders, const char *library);
bool on_mac(void);
void build_output(Session *s, const Build *b, const char *kind);

/* cache.c: the path of o->input compiled with the options of o to `emit`, in the cache folder under
 * a name that ends in `extension`, its weights in a .bnw beside it. Compiles what is not there. */
const char *cache_compile(Session *s, const Options *o, const char *emit, const char *extension);
/* Sets output (the path, without an extension, and its folder in o->cache), weights and name. */
void cache_place(Session *s, Options *o);
/* jit.c: o->input with the options of o in this process, by LLVM; *weights: its .bnw. */
const struct Jit *jit_compile(Session *s, const Options *o, const char **weights);
/* What --emit=llvm writes, and obj with --jit or a target that LLVM alone knows. */
bool jit_emits(const Options *o);
void jit_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit);
const Target *find_target(Session *s, const Options *o); /* fail()s where there is none */
/* gpu.c: refuses what cannot be made for a GPU; writes sources, STEM.h and STEM.bnw where -o says STEM or
 * the name of the main source. */
/* --shards goes with CUDA alone. */
void check_shards(Session *s, const Options *o);
void gpu_check(Session *s, const Options *o, const Target *target, const char *kind);
void gpu_emit(Session *s, Module *m, const Target *target, const Options *o, EmitOptions *emit,
              const char *kind);

int cmd_run(Session *s, int argc, char **argv);
int cmd_tune(Session *s, int argc, char **argv); /* tune.c */
int cmd_opt(Session *s, int argc, char **argv);
int cmd_ppl(Session *s, int argc, char **argv); /* quality.c */
int cmd_report(Session *s, int argc, char **argv); /* report.c */
int cmd_embed(Session *s, int argc, char **argv); /* embed.c */
int cmd_compare(Session *s, int argc, char **argv);
int cmd_inspect(Session *s, int argc, char **argv);
int cmd_profile(Session *s, int argc, char **argv); /* profile_cmd.c */
int cmd_bench(Session *s, int argc, char **argv);   /* bench.c; status 2 after a regression */
int cmd_diff(Session *s, int argc, char **argv); /* diff.c; status 1 where they differ */
/* convert.c. model_file answers the path of a model file: `path` itself or, where that is the folder
 * of a Hugging Face checkpoint, a GGUF converted into a temporary folder of the session, its
 * projections in `fmt`. */
int cmd_convert(Session *s, int argc, char **argv);
const char *model_file(Session *s, const char *path, Fmt fmt);
/* inspect.c: x128, arm64 or row4, else fail(). */
Fmt layout_by_name(Session *s, const char *text);
int cmd_quantize(Session *s, int argc, char **argv); /* quantize.c */
void quantize_help(FILE *to);
int cmd_chat(Session *s, int argc, char **argv); /* chat.c */
int cmd_template(Session *s, int argc, char **argv); /* template.c */
int cmd_synth(Session *s, int argc, char **argv);
void synth_help(FILE *to);

#endif
