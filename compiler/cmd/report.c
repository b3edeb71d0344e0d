/* report.c: `bnc report`: compiles a model as `bnc` would, keeps what the passes report, measures a
 * decode step on this machine, and writes all of it as one page or as JSON. */
#include <string.h>

#include "cmd/cmd.h"
#include "report/report.h"

static Func *function(const Module *m, Form form)
{
    Func *f = m->funcs;
    while (f && f->form != form)
        f = f->next;
    return f;
}

static void take_graph(ReportPage *p, const Module *m, Form form, int which)
{
    Out text = {.s = p->s}, dot = {.s = p->s};
    Func *f = function(m, form);
    module_print(m, &text);
    p->text[which] = name(p->s, text.text);
    if (f) {
        func_number(f);
        graph_dot(f, &dot);
        p->drawing[which] = graph_draw(p->s, temp_dir(p->s), dot.text);
    }
    out_free(&text);
    out_free(&dot);
}

/* A prompt of arbitrary tokens, then steps behind it; the mean position of these. */
static const Profile *measure(Session *s, const Options *given, int *at)
{
    enum { PROMPT = 16, STEPS = 64 };
    Options o = *given;
    o.output = NULL;
    InProc *l = profile_open(s, &o, o.input, (int)o.threads);
    int room = l->info->context, n = room > 2 * PROMPT ? PROMPT : 1;
    int steps = room - n < STEPS ? room - n : STEPS;
    int32_t ids[PROMPT];
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)((int64_t)(i + 1) * 7919 % l->info->vocab);
    *at = n + steps / 2;
    return profile_run(s, l, ids, (size_t)n, steps);
}

int cmd_report(Session *s, const Options *o)
{
    ReportPage *p = NEW(s, ReportPage);
    Out out = {.s = s};
    if (!o->output && !o->as_json)
        fail(s, (Loc){0},
             "no output file given; say where to write: bnc report model.gguf -o report.html");
    Report *r = start_report(s, o, stderr);
    stage_begin(s, r, "read");
    Module *m = load_input(s, o, &p->target);
    stage_end(s, r);
    if (!m->source)
        fail(s, loc_file(s, o->input), "a report is of a model; this text names none");
    p->s = s;
    p->m = m;
    p->measured = !o->no_measure;
    take_graph(p, m, FORM_FORWARD, 0);
    run_passes(m, p->target, o, r);
    if (~m->facts & (FACT_PACKED | FACT_PLANNED))
        fail(s, (Loc){0},
             "a report shows a whole compilation; leave out --passes and --stop-after");
    take_graph(p, m, FORM_DECODE, 1);
    report_tables(p, r);
    int at = 48;
    const Profile *measured = o->no_measure ? NULL : measure(s, o, &at);
    p->read_rate = measured ? measured->read_rate : 0;
    report_roof(p, at, measured);
    if (o->as_json)
        put_report_json(p, &out);
    else
        put_page(p, &out);
    file_save(s, o->as_json && !o->output ? "-" : o->output, &out);
    out_free(&out);
    if (!o->as_json)
        note(s, "wrote %s", o->output);
    return 0;
}
