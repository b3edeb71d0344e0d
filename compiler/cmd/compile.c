/* compile.c: `bnc compile`, `bnc opt` and `bnc lower`. */
#include "cmd/cmd.h"

int cmd_compile(Session *s, const Options *o)
{
    compile_to(s, o);
    return 0;
}

int cmd_opt(Session *s, const Options *o)
{
    const Target *target;
    Report *r = start_report(s, o, stderr);
    stage_begin(s, r, "read");
    Module *m = load_input(s, o, &target);
    if (m->source && !m->vocab && file_exists(m->source))
        bind_source(m);
    stage_end(s, r);
    run_passes(m, target, o, r);
    OutFile *depfile = depfile_create(s, o);
    if (depfile)
        file_finish(depfile);
    module_save(m, o->output ? o->output : "-");
    if (depfile)
        file_commit(depfile);
    report_print(s, r);
    return 0;
}
