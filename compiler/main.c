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
    {"chat", "talk with a model at a terminal, by its chat template", cmd_chat},
    {"inspect", "what is in a model file: metadata, tensors, how ternary it is", cmd_inspect},
    {"ppl", "perplexity of a model over a text", cmd_ppl},
    {"compare", "how far one model's predictions are from another's", cmd_compare},
    {"tune", "measure which kernels suit this machine, for --tune", cmd_tune},
    {"synth", "a model file of a published shape with random weights, to measure with", cmd_synth},
    {"template", "check a chat template and print the C that it becomes", cmd_template},
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
            "  bnc chat model.gguf                    talk with it\n"
            "  bnc inspect model.gguf --check         what is inside, and will it talk sense?\n"
            "  bnc ppl model.gguf book.txt            perplexity; bnc compare A B --text=book.txt\n"
            "  bnc model.gguf --emit=ir -o model.tir  the graph as text\n"
            "  bnc opt --passes=fuse model.tir        passes over that text\n"
            "  bnc tune model.gguf -o here.tune       what suits this machine, for --tune\n"
            "  bnc synth --shape=2b4t -o 2b4t.gguf    a published shape, random weights\n\n");
    options_help(to, false);
    fprintf(to, "\nbnc help compile|run|chat|inspect|ppl|compare|tune|synth|template|opt|passes|"
                "targets tells the rest; bnc --version.\n");
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
    "MODEL is a GGUF file or a .tir text. --emit says what to write:\n"
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
static const char help_chat[] =
    "bnc chat MODEL [compile options] [--system TEXT] [--load FILE] [-t THREADS] [-n N] [--temp F]\n"
    "               [--top-k N] [--top-p F] [--min-p F] [--repeat-penalty F] [--seed N]\n\n"
    "A conversation: each line is said to the model, whose answer follows; Ctrl-C stops an answer,\n"
    "/help lists the commands, /quit or Ctrl-D leaves. The model's own chat template is compiled with\n"
    "it, or that of --chat-template=FILE or =NAME (chatml, llama3, bitnet-2b4t, falcon3, plain).\n"
    "-n limits an answer (default: what fits). Works in a pipe, too: a line in, an answer out.\n";
static const char help_template[] =
    "bnc template FILE|NAME [--bos=TEXT] [--eos=TEXT] [-o FILE.c]\n\n"
    "Checks a chat template (Jinja) and prints the C that a model gets; docs/chat.md says what it may\n"
    "hold. NAME is a built-in one.\n";
static const char help_inspect[] =
    "bnc inspect MODEL [--tensors] [--metadata] [--check] [--hash] [--json]\n\n"
    "Architecture, sizes, tensors by format and the share of zeros of each; --tensors lists every\n"
    "tensor, --metadata every key, --json everything for scripts. --check looks for what makes models\n"
    "talk nonsense (docs/quality.md lists it); status 1 where it finds an error. --arch=FILE.tir and\n"
    "--i2s-layout=x128|arm64|row4 say how the file is meant. --hash prints the XXH64 of every tensor\n"
    "and of all.\n";
static const char help_ppl[] =
    "bnc ppl MODEL TEXTFILE [--ctx=N] [--stride=N] [-t THREADS] [--json] [compile options]\n\n"
    "Perplexity of MODEL over a text, with its standard error. The text is read in windows of --ctx\n"
    "tokens (default: the model's context, at most 4096), which begin with BOS where the model wants\n"
    "it. Each window begins --stride tokens (default: half a window) after the one before and scores\n"
    "what no window did yet: every token counts once, after --ctx less --stride tokens or more but in\n"
    "the first window. MODEL is compiled into the cache of `bnc run`.\n";
static const char help_compare[] =
    "bnc compare A B --text=FILE [--max-kl=X] [options of ppl]\n\n"
    "How far the predictions of model B are from those of A, over the windows that `bnc help ppl`\n"
    "describes: mean KL(A || B) in nats a token, how often the best words agree, both perplexities,\n"
    "the difference of their logarithms, and the place where B is farthest off. The models must have\n"
    "the same words. Status: 0, 1 after an error, 2 where the mean KL is above --max-kl.\n";
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
    else if (!strcmp(topic, "chat"))
        fputs(help_chat, stdout);
    else if (!strcmp(topic, "template"))
        fputs(help_template, stdout);
    else if (!strcmp(topic, "inspect"))
        fputs(help_inspect, stdout);
    else if (!strcmp(topic, "ppl"))
        fputs(help_ppl, stdout);
    else if (!strcmp(topic, "compare"))
        fputs(help_compare, stdout);
    else if (!strcmp(topic, "tune"))
        fputs(help_tune, stdout);
    else if (!strcmp(topic, "synth"))
        synth_help(stdout);
    else if (!strcmp(topic, "opt"))
        fputs(help_opt, stdout), options_help(stdout, true);
    else
        fail(s, (Loc){0},
             "no help on '%s': compile, run, chat, inspect, ppl, compare, tune, synth, template, opt, "
             "passes or targets",
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
