/* check.h: what the checks of `bnc inspect --check` share. */
#ifndef BNC_INSPECT_CHECK_H
#define BNC_INSPECT_CHECK_H

#include "cmd/inspect/inspect.h"
#include "ir/vocab.h"

typedef struct Check {
    Inspect *p;
    const char *name, *fine; /* fine: said where nothing is found; a check may change it */
    int listed;
    Grade grade;
} Check;

void found(Check *c, Grade grade, const char *text);
bool ends_in(const char *text, const char *end);

/* vocab.c */
void check_merges(Check *c);
void check_specials(Check *c);
void check_template(Check *c);

#endif
