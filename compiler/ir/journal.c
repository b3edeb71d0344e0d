/* journal.c: what passes report of their work: counters, and remarks on what they left undone. The
 * runner (passes/report.c) decides what of it is printed. */
#include <string.h>

#include "ir/ir.h"

void tally(Module *m, const char *what, int64_t n)
{
    Count **at = &m->journal.counts;
    while (*at && ((*at)->pass != m->journal.pass || strcmp((*at)->what, what)))
        at = &(*at)->next;
    if (!*at) {
        *at = NEW(m->s, Count);
        **at = (Count){m->journal.pass, what, 0, NULL};
    }
    (*at)->n += n;
}

void remark(Module *m, Loc loc, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *said = name(m->s, text);
    Remark **at = &m->journal.remarks;
    for (; *at; at = &(*at)->next)
        if ((*at)->text == said && (*at)->loc.text == loc.text && (*at)->loc.line == loc.line &&
            (*at)->loc.col == loc.col)
            return;
    *at = NEW(m->s, Remark);
    **at = (Remark){m->journal.pass, said, loc, NULL};
}
