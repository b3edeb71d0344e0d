/* run.c: the runner. Passes only change the module; when they run, what they may rely on, what is
 * printed and checked in between is decided here, from the rows of passes.def. */
#include <string.h>

#include "ir/vocab.h"
#include "passes/passes.h"

#define BOUND FACT_BOUND
#define TERN FACT_TERN
#define FORMS FACT_FORMS
#define LM_HEAD FACT_LM_HEAD
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

static void run_pass(Module *m, const Pass *p, const Target *target, const PassOptions *o,
                     Report *r)
{
    Session *s = m->s;
    if (p->needs & ~m->facts)
        fail(s, (Loc){m->text, 0, 0},
             "pass %s needs a module that is%s; run the passes before it first", p->name,
             fact_names(s, p->needs & ~m->facts));
    pass_begin(r, m, p->name);
    p->run(m, target);
    stop_on_errors(s);
    m->facts = (m->facts & ~p->breaks) | p->gives;
    pass_end(r);
    if (o->verify_each)
        module_verify(m, p->name);
}

static bool stops(const PassOptions *o, const Pass *p)
{
    return o->stop_after && !strcmp(o->stop_after, p->name);
}

static void run_named(Module *m, const Target *target, const PassOptions *o, Report *r)
{
    for (const char *at = o->names; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t len = strcspn(at, ",");
        const Pass *p = pass_named(at, len);
        if (!p)
            fail(m->s, (Loc){0}, "there is no pass '%.*s'; `bnc help passes` lists them", (int)len,
                 at);
        run_pass(m, p, target, o, r);
        if (stops(o, p))
            return;
    }
}

void check_pass(Session *s, const char *option, const char *pass, bool all)
{
    if (pass && !(all && !strcmp(pass, "all")) && !pass_named(pass, strlen(pass)))
        fail(s, (Loc){0}, "%s: there is no pass '%s'; `bnc help passes` lists them", option, pass);
}

void passes_run(Module *m, const Target *target, const PassOptions *o, Report *r)
{
    if (o->names) {
        run_named(m, target, o, r);
    } else {
        if (m->vocab && m->vocab->n && !m->vocab_tables) /* a text has weights' places, but no tokenizer tables */
            m->facts &= ~(unsigned)FACT_PACKED;
        for (int i = 0; i < npass; i++) {
            if (passes[i].level <= o->level &&
                (passes[i].gives == 0 || passes[i].gives & ~m->facts))
                run_pass(m, &passes[i], target, o, r);
            if (stops(o, &passes[i]))
                break;
        }
    }
    module_verify(m, "the last pass");
}
