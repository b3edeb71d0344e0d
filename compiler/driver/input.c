/* input.c: what a compilation begins with: the target, the model file or the module's text, the passes
 * that the options ask for, the report on them and the chat template. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chat/chat.h"
#include "checkpoint/checkpoint.h"
#include "driver/driver.h"
#include "frontend/gguf.h"
#include "ir/vocab.h"
#include "jit/jit.h"

bool jit_emits(const Options *o)
{
    bool object = o->emit && !strcmp(o->emit, "obj");
    return (o->emit && !strcmp(o->emit, "llvm")) ||
           (object && (o->jit || (o->target && jit_machine(o->target))));
}

const Target *find_target(Session *s, const Options *o)
{
    const char *name = o->target ? o->target : "native";
    const JitMachine *machine = jit_machine(name);
    bool alone = jit_emits(o);
    if (machine && !alone)
        fail(s, (Loc){0},
             "%s is a target of --emit=llvm and --emit=obj, by LLVM; for C take --target=%s", name,
             machine->target);
    if (!machine && (o->jit || alone))
        return jit_target(s, o->target);
    const Target *target = gpu_target_find(name);
    if (!target)
        target = target_find(s, machine ? machine->target : name);
    if (!target)
        fail(s, (Loc){0}, "there is no target '%s'; `bnc help targets` lists them", name);
    return target;
}

/* ---- what is read is not written ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
           (S_ISREG(x.st_mode) || S_ISDIR(x.st_mode));
}

/* Whether `output` is one of the files that a checkpoint's folder is read from. */
static bool inside(Session *s, const char *output, const char *folder)
{
    static const char *const parts[] = {".json", ".safetensors", ".model", ".jinja", ".txt"};
    bool part = false;
    const char *name = file_name(output);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        part |= ends_with(output, parts[i]);
    return part && file_exists(output) && same_file(output, format(s, "%s/%s", folder, name));
}

static void keep_apart(Session *s, const char *output, const char *input)
{
    const char *part;
    bool same = same_file(output, input) || inside(s, output, input);
    for (int64_t i = 0; !same && (part = gguf_part_path(s, input, i)); i++)
        same = same_file(output, part);
    if (same)
        fail(s, loc_file(s, output),
             "is what this command reads%s%s; writing would destroy it: give another name",
             strcmp(output, input) ? ", as " : "", strcmp(output, input) ? input : "");
}

void check_overwriting(Session *s, const Options *o, const Command *c)
{
    const Option *p, *q;
    for (int i = 0; (p = option_at(i)); i++) {
        const char *output = p->written && option_of(p, c) ? option_text(o, p) : NULL;
        if (!output)
            continue;
        for (int k = 0; k < o->nword; k++)
            keep_apart(s, output, o->word[k]);
        for (int k = 0; (q = option_at(k)); k++)
            if (option_of(q, c) && !q->written && !q->renewed && option_text(o, q))
                keep_apart(s, output, option_text(o, q));
    }
}

Module *load_input(Session *s, const Options *o, const Target **target)
{
    *target = find_target(s, o);
    if (!ends_with(o->input, ".tir")) {
        int64_t batch = o->batch ? o->batch : gpu_batch(*target);
        BindOptions bind = {.arch_path = o->arch,
                            .i2s_layout = o->i2s_layout,
                            .context = (int)o->context,
                            .batch = (int)batch,
                            .kv = o->kv};
        Module *m = bind_model(s, model_file(s, o->input, FMT_I2_S), &bind);
        m->source = name(s, o->input); /* a folder, where it is one */
        return m;
    }
    if (o->context || o->batch || o->kv || o->arch || o->i2s_layout)
        fail(s, loc_file(s, o->input),
             "--ctx, --batch, --kv, --arch and --i2s-layout belong to a model file; this text is "
             "already bound");
    Module *m = tir_read(s, o->input);
    if (o->output && m->source)
        keep_apart(s, o->output, m->source);
    return m;
}

/* The weights of a module read from text. */
void bind_source(Module *m)
{
    bind_weights(m, m->source ? model_file(m->s, m->source, FMT_I2_S) : NULL);
}

void run_passes(Module *m, const Target *target, const Options *o, Report *r)
{
    if (o->tune)
        m->tuning = tuning_read(m->s, o->tune);
    m->head = o->head;
    m->ternary = o->ternary;
    m->act = o->act;
    PassOptions p = {.level = (int)o->level,
                     .names = o->passes,
                     .stop_after = o->stop_after,
                     .verify_each = o->verify_each};
    if (m->facts & FACT_SELECTED) {
        rebind_kernels(m, target);
        stop_on_errors(m->s);
    }
    passes_run(m, target, &p, r);
}

Report *start_report(Session *s, const Options *o, FILE *to)
{
    bool told = o->print_before || o->print_after || o->print_changed || o->time_passes ||
                o->stats || o->remarks;
    if (o->json && !told)
        fail(s, (Loc){0},
             "--json tells what --time-passes, --stats, --remarks or --print-... ask for");
    ReportOptions *p = NEW(s, ReportOptions);
    *p = (ReportOptions){.print_before = o->print_before,
                         .print_after = o->print_after,
                         .save_temps = o->save_temps,
                         .print_changed = o->print_changed,
                         .colour = isatty(fileno(to)),
                         .time = o->time_passes,
                         .stats = o->stats,
                         .remarks = o->remarks,
                         .json = o->json,
                         .to = to};
    return report_new(s, p);
}

/* ---- the chat template ---- */

static const char *token_text(const Module *m, int64_t id)
{
    const VocabSource *v = m->vocab;
    return id >= 0 && id < v->n ? intern(m->s, v->tokens[id].ptr, v->tokens[id].len) : NULL;
}

typedef struct ChatTry { /* a template in a session of its own, which keeps the messages about it */
    Session session;
    ChatTemplate t;
    ChatTokens tokens;
    Out code;
} ChatTry;

static void try_template(void *arg)
{
    ChatTry *a = arg;
    chat_compile(&a->session, &a->t, &a->tokens, &a->code);
}

/* Place and sentence of the first error message. */
static const char *first_error(Session *s, const char *said)
{
    static const char mark[] = "error: ";
    const char *what = strstr(said, mark);
    if (!what)
        return intern(s, said, strcspn(said, "\n"));
    const char *text = what + sizeof mark - 1;
    return format(s, "%.*s%.*s", (int)(what - said), said, (int)strcspn(text, "\n"), text);
}

/* Compiles into `code`; else the first thing that is wrong. */
static const char *template_try(Session *s, const ChatTemplate *t, const ChatTokens *tokens,
                                Out *code)
{
    ChatTry a = {.t = *t, .tokens = *tokens};
    const char *fault = NULL;
    char *said = NULL;
    size_t size;
    FILE *log = open_memstream(&said, &size);
    if (!log)
        die("no memory for a template's messages");
    session_start(&a.session, log);
    a.code.s = &a.session;
    bool good = session_try(&a.session, try_template, &a);
    if (good)
        put_bytes(code, a.code.text, a.code.len);
    session_end(&a.session);
    fclose(log);
    if (!good)
        fault = first_error(s, said);
    free(said);
    return fault;
}

const char *template_fault(Session *s, const char *arch, const char *source, const char *own)
{
    const ChatTokens none = {.bos = NULL};
    Out code = {.s = s};
    ChatTemplate t;
    bool quiet = s->quiet;
    s->quiet = true;
    bool there = chat_choose(s, NULL, arch, source, own, &t);
    s->quiet = quiet;
    const char *fault = there ? template_try(s, &t, &none, &code) : NULL;
    out_free(&code);
    return fault;
}

EmitBytes compile_chat(Session *s, const Module *m, const char *given, bool needed)
{
    EmitBytes code = {NULL, 0};
    ChatTemplate t;
    if (!m->vocab || !m->vocab->n ||
        !chat_choose(s, given, m->arch[0], m->source, m->chat_template, &t))
        return code;
    const VocabSource *v = m->vocab;
    const ChatTokens tokens = {token_text(m, v->bos), token_text(m, v->eos), token_text(m, v->unk),
                               token_text(m, v->pad), v};
    Out c = {.s = s};
    const char *fault = NULL;
    if (needed || !t.own)
        chat_compile(s, &t, &tokens, &c);
    else
        fault = template_try(s, &t, &tokens, &c);
    if (fault)
        warn(s, (Loc){0}, "%s: the model is compiled without its chat template", fault);
    else
        code = (EmitBytes){(const uint8_t *)intern(s, c.text, c.len), c.len};
    out_free(&c);
    return code;
}
