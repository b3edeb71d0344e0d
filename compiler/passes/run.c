/* run.c: the runner. Passes only change the module; when they run, what they may rely on, what is
 * printed and checked in between is decided here, from the rows of passes.def. */
#include <string.h>

#include "passes/passes.h"

#define BOUND FACT_BOUND
#define TERN FACT_TERN
#define FORMS FACT_FORMS
#define HEAD FACT_HEAD
#define SELECTED FACT_SELECTED
#define PACKED FACT_PACKED
#define PLANNED FACT_PLANNED
const Pass passes[] = {
#define PASS(name, level, needs, gives, breaks, what)                                              \
    {#name, level, needs, gives, breaks, pass_##name, what},
#include "passes/passes.def"
#undef PASS
};
const int npass = sizeof passes / sizeof *passes;

static const Pass *pass_named(const char *name, size_t len)
{
    for (int i = 0; i < npass; i++)
        if (strlen(passes[i].name) == len && !strncmp(passes[i].name, name, len))
            return &passes[i];
    return NULL;
}

static const char *fact_names(Session *s, unsigned facts)
{
    Out o = {.s = s};
#define FACT_LIST(name, text) put(&o, facts &FACT_##name ? " " text : "");
    FACTS(FACT_LIST)
#undef FACT_LIST
    const char *list = name(s, o.text ? o.text : "");
    out_free(&o);
    return list;
}

static void run_pass(Module *m, const Pass *p, const Target *target, const PassOptions *o)
{
    Session *s = m->s;
    if (p->needs & ~m->facts)
        fail(s, (Loc){m->text, 0, 0},
             "pass %s needs a module that is%s; run the passes before it first", p->name,
             fact_names(s, p->needs & ~m->facts));
    p->run(m, target);
    stop_on_errors(s);
    m->facts = (m->facts & ~p->breaks) | p->gives;
    if (o->verify_each)
        module_verify(m, p->name);
    if (o->print_after && (!strcmp(o->print_after, "all") || !strcmp(o->print_after, p->name))) {
        Out text = {.s = s};
        module_print(m, &text);
        fprintf(o->print_to, "# after %s\n%s", p->name, text.text);
        out_free(&text);
    }
}

static void run_named(Module *m, const Target *target, const PassOptions *o)
{
    for (const char *at = o->names; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t len = strcspn(at, ",");
        const Pass *p = pass_named(at, len);
        if (!p)
            fail(m->s, (Loc){0}, "there is no pass '%.*s'; `bnc help passes` lists them", (int)len,
                 at);
        run_pass(m, p, target, o);
    }
}

void passes_run(Module *m, const Target *target, const PassOptions *o)
{
    if (o->print_after && strcmp(o->print_after, "all") &&
        !pass_named(o->print_after, strlen(o->print_after)))
        fail(m->s, (Loc){0}, "there is no pass '%s' to print after; `bnc help passes` lists them",
             o->print_after);
    if (o->names) {
        run_named(m, target, o);
    } else {
        if (m->vocab && !m->vocab_tables) /* a text has weights' places, but no tokenizer tables */
            m->facts &= ~(unsigned)FACT_PACKED;
        for (int i = 0; i < npass; i++)
            if (passes[i].level <= o->level &&
                (passes[i].gives == 0 || passes[i].gives & ~m->facts))
                run_pass(m, &passes[i], target, o);
    }
    module_verify(m, "the last pass");
}
