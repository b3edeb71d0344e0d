/* compile.c: `bnc compile`, `bnc opt` and `bnc lower`. */
#include "cmd/cmd.h"

int cmd_compile(Session *s, int argc, char **argv)
{
    Options o;
    options_read(s, &o, argc, argv, false);
    compile_to(s, &o);
    return 0;
}

int cmd_opt(Session *s, int argc, char **argv)
{
    Options o;
    const Target *target;
    options_read(s, &o, argc, argv, false);
    if (o.emit)
        fail(s, (Loc){0}, "opt prints the module; to emit %s, use: bnc %s --emit=%s -o FILE",
             o.emit, o.input ? o.input : "model.tir", o.emit);
    Report *r = start_report(s, &o, stderr);
    stage_begin(s, r, "read");
    Module *m = load_input(s, &o, &target);
    if (m->source && !m->vocab && file_exists(m->source))
        bind_source(m);
    stage_end(s, r);
    run_passes(m, target, &o, r);
    OutFile *depfile = depfile_create(s, &o);
    module_save(m, o.output ? o.output : "-");
    if (depfile)
        file_commit(depfile);
    report_print(s, r);
    return 0;
}
