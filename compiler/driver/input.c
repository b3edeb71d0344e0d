/* input.c: what a compilation begins with: the target, the model file or the module's text, the passes
 * that the options ask for and the report on them. */
#include <string.h>
#include <unistd.h>

#include "checkpoint/checkpoint.h"
#include "driver/driver.h"
#include "jit/jit.h"

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
