/* fuzz_jinja.c: any bytes as a chat template.
 *
 * One idea: a template is either refused, with a message that has a place in it, or becomes C; the
 * same bytes both times. That the C is right is the differential test's to show.
 */
#include <stdlib.h>
#include <string.h>

#include "chat/chat.h"

#include "must.h"

typedef struct Run {
    Session s;
    ChatTemplate t;
    Out c;
} Run;

static void compile(void *arg)
{
    Run *r = arg;
    const ChatTokens tokens = {"<s>", "</s>", NULL, "<pad>"};
    chat_compile(&r->s, &r->t, &tokens, &r->c);
}

static bool run(Run *r, const uint8_t *data, size_t size, char *copy)
{
    memset(r, 0, sizeof *r);
    if (size)
        memcpy(copy, data, size);
    session_start(&r->s, NULL);
    r->t = (ChatTemplate){"fuzz.jinja", copy, size};
    r->c.s = &r->s;
    bool ok = session_try(&r->s, compile, r);
    MUST(ok == (r->s.nerror == 0));
    MUST(!ok || strstr(r->c.text, "static bn_status chat_template(bn_chat_call *c)\n"));
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run a, b;
    char *copy = malloc(size ? size : 1); /* of its own size, so that a read past its end is seen */
    MUST(copy);
    if (run(&a, data, size, copy)) {
        MUST(run(&b, data, size, copy));
        MUST(a.c.len == b.c.len && !memcmp(a.c.text, b.c.text, a.c.len));
        session_end(&b.s);
    }
    session_end(&a.s);
    free(copy);
    return 0;
}
