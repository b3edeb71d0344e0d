/* fuzz_tir.c: any bytes as a module's text.
 *
 * One idea: a text is either refused with messages, or the module that it gives is sound: its print
 * reads back to the same print, and whatever facts it claims, the passes finish or refuse it. Their
 * checks (module_verify after each) die where a pass leaves a broken module.
 */
#include <stdlib.h>
#include <string.h>

#include "codegen-c/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

#include "must.h"

typedef struct Run {
    Session s;
    const char *text;
    size_t size;
    Module *m;
} Run;

static void parse(void *arg)
{
    Run *r = arg;
    r->m = tir_parse_text(&r->s, "fuzz.tir", r->text, r->size);
}

static void run_pipeline(void *arg)
{
    Run *r = arg;
    const Target *target = target_find(&r->s, "generic");
    PassOptions o = {.level = 2, .verify_each = true};
    MUST(target);
    if (r->m->facts & FACT_SELECTED) {
        rebind_kernels(r->m, target);
        stop_on_errors(&r->s);
    }
    passes_run(r->m, target, &o, report_new(&r->s, &(ReportOptions){.to = stderr}));
}

/* The module of a text, NULL where it is refused; then there is a message. */
static Module *read_text(Run *r, const char *text, size_t size)
{
    r->text = text;
    r->size = size;
    r->m = NULL;
    bool ok = session_try(&r->s, parse, r);
    MUST(ok == (r->s.nerror == 0) && ok == (r->m != NULL));
    return r->m;
}

static void reprint(const Out *first)
{
    Run again = {0};
    session_start(&again.s, NULL);
    Module *m = read_text(&again, first->text, first->len);
    Out second = {.s = &again.s};
    if (m)
        module_print(m, &second);
    if (!m || first->len != second.len || memcmp(first->text, second.text, first->len)) {
        const char *back = m ? second.text : "refused\n";
        fprintf(stderr, "---- printed\n%s---- read back\n%s", first->text, back);
        abort();
    }
    out_free(&second);
    session_end(&again.s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run r = {0};
    char *copy = must_copy(data, size);
    session_start(&r.s, NULL);
    if (read_text(&r, copy, size)) {
        Out text = {.s = &r.s};
        module_print(r.m, &text);
        reprint(&text);
        out_free(&text);
        if (r.m->facts && session_try(&r.s, run_pipeline, &r)) {
            Out after = {.s = &r.s};
            module_print(r.m, &after);
            reprint(&after);
            out_free(&after);
        }
    }
    session_end(&r.s);
    free(copy);
    return 0;
}
