/* fuzz_tuning.c: any bytes as a record of `bnc tune`.
 *
 * One idea: a record is either refused with messages, or every choice of it names something that
 * bnc has: a shape above zero, an op or a packed format, a text to look for.
 */
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "passes/passes.h"

typedef struct Run {
    Session s;
    Text text;
    const Tuning *first;
} Run;

static void parse(void *arg)
{
    Run *r = arg;
    r->first = tuning_parse(&r->s, &r->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Run r;
    char *copy = must_copy(data, size);
    memset(&r, 0, sizeof r);
    session_start(&r.s, NULL);
    r.text = (Text){"fuzz.tune", copy, size};
    bool ok = session_try(&r.s, parse, &r);
    MUST(ok == (r.s.nerror == 0));
    size_t n = 0;
    for (const Tuning *t = ok ? r.first : NULL; t; t = t->next, n++) {
        MUST(t->rows > 0 && t->cols > 0 && *t->choice && strlen(t->choice) <= size);
        MUST(t->op == OP_COUNT
                 ? fmt_info[fmt_by_name(t->choice)].kind == KIND_PACKED
                 : t->op < OP_COUNT && (t->forms == FORMS_ONE || t->forms == FORMS_MANY));
    }
    MUST(n <= size / 10); /* of the shortest line */
    session_end(&r.s);
    free(copy);
    return 0;
}
