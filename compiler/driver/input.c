/* input.c: what a compilation begins with: the target, the model file or the module's text, the passes
 * that the options ask for, the report on them and the chat template. */
#include <string.h>
#include <unistd.h>

#include "chat/chat.h"
#include "checkpoint/checkpoint.h"
#include "driver/driver.h"
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

Module *load_input(Session *s, const Options *o, const Target **target)
{
    if (!o->input)
        fail(s, (Loc){0}, "no model given: bnc model.gguf -o model.c (`bnc --help`)");
    *target = find_target(s, o);
    if (o->context > 1 << 24 || o->batch > 4096)
        fail(s, (Loc){0}, "--ctx goes to %d, --batch to 4096", 1 << 24);
    if (!ends_with(o->input, ".tir")) {
        int64_t batch = o->batch ? o->batch : gpu_batch(*target);
        BindOptions bind = {o->arch, o->i2s_layout, (int)o->context, (int)batch, o->kv};
        Module *m = bind_model(s, model_file(s, o->input, FMT_I2_S), &bind);
        m->source = name(s, o->input); /* a folder, where it is one */
        return m;
    }
    if (o->context || o->batch || o->kv || o->arch || o->i2s_layout)
        fail(s, loc_file(s, o->input),
             "--ctx, --batch, --kv, --arch and --i2s-layout belong to a model file; this text is "
             "already bound");
    return tir_read(s, o->input);
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
    PassOptions p = {(int)o->level, o->passes, o->stop_after, o->verify_each};
    if (m->facts & FACT_SELECTED) {
        recall_kernels(m, target);
        stop_on_errors(m->s);
    }
    passes_run(m, target, &p, r);
}

Report *start_report(Session *s, const Options *o, FILE *to)
{
    check_pass(s, "--print-before", o->print_before, true);
    check_pass(s, "--print-after", o->print_after, true);
    check_pass(s, "--stop-after", o->stop_after, false);
    bool told = o->print_before || o->print_after || o->print_changed || o->time_passes ||
                o->stats || o->remarks;
    if (o->json && !told)
        fail(s, (Loc){0},
             "--json tells what --time-passes, --stats, --remarks or --print-... ask for");
    ReportOptions *p = NEW(s, ReportOptions);
    *p = (ReportOptions){
        o->print_before, o->print_after, o->save_temps, o->print_changed, isatty(fileno(to)),
        o->time_passes,  o->stats,       o->remarks,    o->json,          to};
    return report_new(s, p);
}

/* ---- the chat template ---- */

static const char *token_text(const Module *m, int64_t id)
{
    const VocabSource *v = m->vocab;
    return id >= 0 && id < v->n ? intern(m->s, v->tokens[id].ptr, v->tokens[id].len) : NULL;
}

typedef struct ChatTry { /* a template in a session of its own, which keeps what is said of it */
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

/* Place and sentence of the first error that was said. */
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
static const char *template_try(Session *s, const ChatTemplate *t, const ChatTokens *tokens, Out *code)
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
    if (!m->vocab || !chat_choose(s, given, m->arch[0], m->source, m->chat_template, &t))
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
