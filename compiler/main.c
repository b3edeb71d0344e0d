/* main.c: bnc: the first word chooses a subcommand, without one it is compile. */
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"
#include "driver/driver.h"
#include "jit/jit.h"

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
    "  llvm  LLVM's bitcode, or text where FILE ends in .ll (docs/jit.md)\n"
    "obj, lib, so and exe need a C compiler: $CC, else cc. obj can do without: with --jit, and for\n"
    "targets that LLVM alone knows. --target=metal writes FILE.metal, FILE_metal.m, FILE.h and FILE.bnw\n"
    "(docs/metal.md), --target=cuda FILE.cu, FILE.h and FILE.bnw (docs/cuda.md).\n\n";
static const char help_run[] =
    "bnc run MODEL [compile options] [options of the program]\n\n"
    "Compiles MODEL for this machine into $XDG_CACHE_HOME/bnc or ~/.cache/bnc, by the XXH64 of\n"
    "model, flags and compiler, and starts it. The program's options:\n"
    "  -p TEXT, -n N, --temp F, --top-k N, --top-p F, --min-p F, --repeat-penalty F, --seed N,\n"
    "  -t THREADS, --stats; `bnc run MODEL --help` lists them all.\n";
static const char help_chat[] =
    "bnc chat MODEL [compile options] [--system TEXT] [--load FILE] [-t THREADS] [-n N] [--temp F]\n"
    "               [--top-k N] [--top-p F] [--min-p F] [--repeat-penalty F] [--seed N]\n"
    "               [--chat-var NAME=VALUE]... [--tools FILE.json]\n\n"
    "A conversation: each line is said to the model, whose answer follows; Ctrl-C stops an answer,\n"
    "/help lists the commands, /quit or Ctrl-D leaves. The model's own chat template is compiled with\n"
    "it, or that of --chat-template=FILE or =NAME (chatml, llama3, bitnet-2b4t, falcon3, plain).\n"
    "-n limits an answer (default: what fits). Works in a pipe, too: a line in, an answer out.\n"
    "--chat-var gives the template a variable, as enable_thinking=false; VALUE is JSON or a text.\n"
    "--tools gives it a JSON list of tools.\n";
static const char help_template[] =
    "bnc template FILE|NAME [--bos=TEXT] [--eos=TEXT] [-o FILE]\n\n"
    "Checks a chat template (Jinja) and prints what it becomes: instructions for the runtime's\n"
    "interpreter; -o writes them as a model holds them. docs/chat.md says what a template may hold.\n"
    "NAME is a built-in one.\n";
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
static const char help_embed[] =
    "bnc embed MODEL [--pooling=last|mean|cls] [--json] [-t THREADS] [compile options] < TEXTS\n\n"
    "Each line of standard input becomes a line of numbers, its embedding: what the last block gives,\n"
    "normed, of the last token, on average or of the first token (cls), as a vector of length 1. The\n"
    "default is what the model's metadata says (MODEL.pooling_type), else the last token. --json\n"
    "tells model, pooling and numbers of tokens, too.\n";
static const char help_report[] =
    "bnc report MODEL -o FILE.html [--json] [--no-measure] [-t THREADS] [compile options]\n\n"
    "What bnc made of MODEL, as one page that needs no network: the graph before and after (drawn\n"
    "where Graphviz is installed), what each pass did and took, weights by format and layer, the\n"
    "memory plan, kernels and why these, and each op's bytes, bound and measured time in a decode\n"
    "step on this machine. --json writes the page's tables instead (to standard output without -o);\n"
    "with --no-measure all that differs from run to run is left out.\n";
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
static const char help_profile[] =
    "bnc profile MODEL [-p TEXT] [-n N] [-t THREADS] [--by=op|layer|kernel|thread] [--json]\n"
    "            [--trace=FILE] [--folded=FILE] [compile options]\n\n"
    "Where the time of a prompt and of N (64) greedy tokens behind it goes, from inside: MODEL is\n"
    "compiled with --profile, which keeps the time of every kernel call and barrier. Times are means\n"
    "over the threads and add up to the wall time; bytes and multiply-adds are what the compiler knows\n"
    "that an op moves and does; \"of read\" is the share of what this machine's memory was measured to\n"
    "give, more than 100 % where the caches help. --trace writes the last decode step for Perfetto or\n"
    "chrome://tracing, --folded the stacks of a flame graph in nanoseconds. docs/profile.md.\n";
static const char help_bench[] =
    "bnc bench MODEL [--prompt=N,N] [--at=N,N] [-n N] [-t N,N] [--repeat=N] [--json]\n"
    "          [--save=FILE] [--baseline=FILE] [compile options]\n\n"
    "Tokens a second of prompts (64 and 512 tokens) and of N (64) tokens written behind --at (64 and\n"
    "2048), with each number of threads (1 up to all cores, doubled): medians of --repeat (5) runs with\n"
    "the least and the most, time to open the weights and to a first token, peak memory, and joules\n"
    "where RAPL tells. Sizes beyond the context are cut to it. --save keeps the result; --baseline\n"
    "compares with one that was kept: status 2 where a row is slower by more than both runs' own\n"
    "noise. MODEL is compiled into the cache of `bnc run`.\n";
static const char help_cache[] =
    "bnc cache [list] [--json]; bnc cache clear; bnc cache limit SIZE|none\n\n"
    "What run, chat, ppl and others compiled and kept, in $XDG_CACHE_HOME/bnc or ~/.cache/bnc: list shows\n"
    "it, clear removes what no running program uses, limit (20G, 500M) has those that were not used for\n"
    "longest removed from then on. --no-cache of those commands keeps nothing.\n";
static const char help_opt[] =
    "bnc opt [--passes=A,B] MODEL.tir [-o FILE]; bnc lower MODEL.tir\n\n"
    "Runs passes over a module's text, or a model's, and prints it; without --passes the whole\n"
    "pipeline, with --stop-after=PASS a part of it. Passes that look at weights open the file that\n"
    "the text names.\n\n";
static const char help_diff[] =
    "bnc diff A.tir B.tir\n\n"
    "Where two modules differ; comments, spaces and mere names of values do not count. Exit status\n"
    "1 where they do.\n";

static const struct {
    const char *name;
    int (*run)(Session *s, int argc, char **argv);
    const char *help;
    void (*tell)(FILE *to); /* help that needs more than a text */
    bool options;     /* the compiler's options follow */
} commands[] = {
    {"compile", cmd_compile, help_compile, NULL, true},
    {"run", cmd_run, help_run, NULL, false},
    {"chat", cmd_chat, help_chat, NULL, false},
    {"template", cmd_template, help_template, NULL, false},
    {"inspect", cmd_inspect, help_inspect, NULL, false},
    {"ppl", cmd_ppl, help_ppl, NULL, false},
    {"embed", cmd_embed, help_embed, NULL, false},
    {"compare", cmd_compare, help_compare, NULL, false},
    {"report", cmd_report, help_report, NULL, false},
    {"convert", cmd_convert, help_convert, NULL, false},
    {"tune", cmd_tune, help_tune, NULL, false},
    {"profile", cmd_profile, help_profile, NULL, false},
    {"bench", cmd_bench, help_bench, NULL, false},
    {"cache", cmd_cache, help_cache, NULL, false},
    {"quantize", cmd_quantize, NULL, quantize_help, false},
    {"synth", cmd_synth, NULL, synth_help, false},
    {"opt", cmd_opt, help_opt, NULL, true},
    {"lower", cmd_opt, help_opt, NULL, true},
    {"diff", cmd_diff, help_diff, NULL, false},
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
            "  bnc report model.gguf -o report.html   what the compiler did, where the time goes\n"
            "  bnc embed model.gguf < texts           a vector for each line\n"
            "  bnc model.gguf --emit=ir -o model.tir  the graph as text\n"
            "  bnc opt --passes=fuse model.tir        passes over that text; bnc diff A B: two texts\n"
            "  bnc convert checkpoint/ -o model.gguf  from Hugging Face's safetensors\n"
            "  bnc quantize f16.gguf -o i2_s.gguf     masters to ternary, with a report\n"
            "  bnc tune model.gguf -o here.tune       what suits this machine, for --tune\n"
            "  bnc profile model.gguf                 where the time goes; bnc bench: how fast it is\n"
            "  bnc synth --shape=2b4t -o 2b4t.gguf    a published shape, random weights\n\n");
    options_help(to, false);
    fprintf(to, "\nbnc help");
    for (int i = 0; i < NCOMMAND; i++)
        fprintf(to, "%c%s", i ? '|' : ' ', commands[i].name);
    fprintf(to, "|passes|targets tells\nthe rest; bnc --version.\n");
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
    for (int i = 0; gpu_target_at(i); i++)
        printf("  %-14s %s\n", gpu_target_at(i)->name, gpu_target_at(i)->what);
    if (jit_machine_at(0))
        printf("\nFor --emit=obj and llvm, by %s:\n\n", jit_version());
    for (int i = 0; jit_machine_at(i); i++)
        printf("  %-18s %s\n", jit_machine_at(i)->name, jit_machine_at(i)->what);
}

static int help(Session *s, const char *topic)
{
    if (!topic)
        help_screen(stdout);
    else if (!strcmp(topic, "passes"))
        help_passes();
    else if (!strcmp(topic, "targets"))
        help_targets();
    for (int i = 0; topic && i < NCOMMAND; i++)
        if (!strcmp(commands[i].name, topic)) {
            if (commands[i].tell)
                commands[i].tell(stdout);
            else
                fputs(commands[i].help, stdout);
            if (commands[i].options)
                options_help(stdout, true);
            return 0;
        }
    if (topic && strcmp(topic, "passes") && strcmp(topic, "targets"))
        fail(s, (Loc){0}, "no help on '%s'; `bnc --help` names all there is help on", topic);
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
        printf("bnc " BN_VERSION "%s%s\n", jit_built() ? ", with " : "", jit_built() ? jit_version() : "");
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
    temps_guard();
    session_start(&c.session, stderr);
    bool done = session_try(&c.session, run_call, &c);
    session_end(&c.session);
    return done ? c.status : 1;
}
