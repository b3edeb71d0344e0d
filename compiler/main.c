/* main.c: bnc: the first word chooses a subcommand, without one it is compile. */
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"

static const struct {
    const char *name, *what;
    int (*run)(Session *s, int argc, char **argv);
} commands[] = {
    {"compile",
     "model to C, IR, object, library or program (the default: `bnc model.gguf -o model.c`)",
     cmd_compile},
    {"run", "compile, keep the result, and tell a story with it", cmd_run},
    {"inspect", "what is in a model file: metadata, tensors, how ternary it is", cmd_inspect},
    {"convert", "a Hugging Face checkpoint (safetensors) to a GGUF file", cmd_convert},
    {"tune", "measure which kernels suit this machine, for --tune", cmd_tune},
    {"synth", "a model file of a published shape with random weights, to measure with", cmd_synth},
    {"opt", "passes over a module's text, printed: bnc opt --passes=fuse model.tir", cmd_opt},
};
enum { NCOMMAND = sizeof commands / sizeof *commands };

static void help_screen(FILE *to)
{
    fprintf(to,
            "bnc " BN_VERSION ": compiles ternary language models to C\n\n"
            "  bnc model.gguf -o model.c              model.c, model.h and the weights, model.bnw\n"
            "  bnc model.gguf --emit=exe -o story     a program: ./story -p \"Once upon a time\"\n"
            "  bnc run model.gguf -p \"Once upon\"      compile once, then run\n"
            "  bnc inspect model.gguf                 what is inside, --json for scripts\n"
            "  bnc model.gguf --emit=ir -o model.tir  the graph as text\n"
            "  bnc opt --passes=fuse model.tir        passes over that text\n"
            "  bnc convert checkpoint/ -o model.gguf  from Hugging Face's safetensors\n"
            "  bnc tune model.gguf -o here.tune       what suits this machine, for --tune\n"
            "  bnc synth --shape=2b4t -o 2b4t.gguf    a published shape, random weights\n\n");
    options_help(to, false);
    fprintf(to, "\nbnc help compile|run|inspect|convert|tune|synth|opt|passes|targets tells the "
                "rest; bnc --version.\n");
}

static void help_passes(void)
{
    printf("The pipeline, in order (-O: the lowest level that runs it):\n\n");
    for (int i = 0; i < npass; i++)
        printf("  %-11s -O%d  %s\n", passes[i].name, passes[i].level, passes[i].what);
    printf("\n--passes=A,B runs just these; --print-after=A prints the module after one, or after "
           "all.\n");
}

static void help_targets(void)
{
    printf("  %-14s %s\n", "native", "this machine (default)");
    for (int i = 0; target_at(i); i++)
        printf("  %-14s %s\n", target_at(i)->name, target_at(i)->what);
}

static const char help_compile[] =
    "bnc [compile] MODEL -o FILE [options]\n\n"
    "MODEL is a GGUF file, the folder of a Hugging Face checkpoint or a .tir text. --emit says\n"
    "what to write:\n"
    "  c     FILE.c, FILE.h and the weights, FILE.bnw. Compile with\n"
    "        cc -O3 -march=native model.c app.c -Iruntime-min build/libbnrt.a -lpthread -lm\n"
    "        or write it with --amalgamate and leave out the runtime and its headers\n"
    "  ir    the module as text, after quant and canon or after --passes\n"
    "  obj   an object, to link with libbnrt.a; lib: an archive with the runtime inside\n"
    "  so    a shared library; exe: a program with a command line (./story --help)\n"
    "obj, lib, so and exe need a C compiler: $CC, else cc.\n\n";
static const char help_run[] =
    "bnc run MODEL [compile options] [options of the program]\n\n"
    "Compiles MODEL for this machine into $XDG_CACHE_HOME/bnc or ~/.cache/bnc, by the XXH64 of\n"
    "model, flags and compiler, and starts it. The program's options:\n"
    "  -p TEXT, -n N, --temp F, --top-k N, --top-p F, --min-p F, --repeat-penalty F, --seed N,\n"
    "  -t THREADS, --stats; `bnc run MODEL --help` lists them all.\n";
static const char help_inspect[] =
    "bnc inspect MODEL [--tensors] [--metadata] [--json]\n\n"
    "Architecture, sizes, tensors by format and the share of zeros of each; --tensors lists every\n"
    "tensor, --metadata every key, --json everything for scripts.\n";
static const char help_convert[] =
    "bnc convert FOLDER -o FILE.gguf [options]\n\n"
    "FOLDER is a Hugging Face checkpoint: config.json, model.safetensors or its shards and their\n"
    "index, tokenizer.json or tokenizer.model, and what else stands there. Graphs: BitNet b1.58\n"
    "2B4T, the 1bitLLM models, and llama with ternary projections (Falcon3, Falcon-E,\n"
    "Llama3-8B-1.58). compile, run, inspect and tune take such a folder themselves.\n"
    "  --type=T              of the projections: i2_s (default), tq1_0, tq2_0 or f16;\n"
    "                        embedding and head are f16, norms f32\n"
    "  --name=TEXT           general.name (the folder's)\n"
    "  --pre=NAME            the pre-tokenizer, where its pattern is none that bnc knows\n"
    "  --quiet               no notes on standard error\n";
static const char help_tune[] =
    "bnc tune MODEL -o FILE [-t THREADS]\n\n"
    "Measures, for each shape of ternary weight in MODEL, the layouts and kernels that could serve\n"
    "it on this machine, alternating, and writes the best to FILE, a small text that says what was\n"
    "measured. Compile with --tune=FILE to use it: the same record gives the same code. Without one\n"
    "the choices are those of `bnc help targets`' tables. Needs a C compiler: $CC, else cc.\n";
static const char help_opt[] = "bnc opt [--passes=A,B] MODEL.tir [-o FILE]\n\n"
                               "Runs passes over a module's text and prints it. Passes that look "
                               "at weights open the file that\n"
                               "the text names.\n\n";

static int help(Session *s, const char *topic)
{
    if (!topic)
        help_screen(stdout);
    else if (!strcmp(topic, "passes"))
        help_passes();
    else if (!strcmp(topic, "targets"))
        help_targets();
    else if (!strcmp(topic, "compile"))
        fputs(help_compile, stdout), options_help(stdout, true);
    else if (!strcmp(topic, "run"))
        fputs(help_run, stdout);
    else if (!strcmp(topic, "inspect"))
        fputs(help_inspect, stdout);
    else if (!strcmp(topic, "convert"))
        fputs(help_convert, stdout);
    else if (!strcmp(topic, "tune"))
        fputs(help_tune, stdout);
    else if (!strcmp(topic, "synth"))
        synth_help(stdout);
    else if (!strcmp(topic, "opt"))
        fputs(help_opt, stdout), options_help(stdout, true);
    else
        fail(s, (Loc){0},
             "no help on '%s': compile, run, inspect, convert, tune, synth, opt, passes or targets",
             topic);
    return 0;
}

static int dispatch(Session *s, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        help_screen(stderr);
        return 1;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
        return help(s, argc > 2 ? argv[2] : NULL);
    if (!strcmp(word, "--version")) {
        printf("bnc " BN_VERSION "\n");
        return 0;
    }
    for (int i = 0; i < NCOMMAND; i++)
        if (!strcmp(word, commands[i].name))
            return commands[i].run(s, argc - 1, argv + 1);
    return cmd_compile(s, argc, argv);
}

struct Call {
    Session session;
    int argc, status;
    char **argv;
};

static void run_call(void *arg)
{
    struct Call *c = arg;
    c->status = dispatch(&c->session, c->argc, c->argv);
}

int main(int argc, char **argv)
{
    struct Call c = {.argc = argc, .argv = argv};
    session_start(&c.session, stderr);
    bool done = session_try(&c.session, run_call, &c);
    session_end(&c.session);
    return done ? c.status : 1;
}
