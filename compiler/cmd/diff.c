/* diff.c: `bnc diff`: where two modules differ as modules, not as texts. Comments and spaces never
 * count; where modules are the same but for the names of values, they are the same. */
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "ir/escape.h"

static const char *text_of(const Module *m)
{
    Out o = {.s = m->s};
    module_print(m, &o);
    return o.text;
}

static void number_block(Block *b);
static void number_op(Op *op, void *arg)
{
    (void)arg;
    for (int i = 0; i < op->nout; i++)
        op->out[i]->name = format(op->block->func->module->s, "v%d", op->out[i]->id);
    if (op->body)
        number_block(op->body);
}

static void number_block(Block *b)
{
    for (int i = 0; i < b->narg; i++)
        b->arg[i]->name = format(b->func->module->s, "v%d", b->arg[i]->id);
}

/* Each value is called by the number of its definition. */
static void number_values(Module *m)
{
    for (Func *f = m->funcs; f; f = f->next) {
        func_number(f);
        number_block(f->body);
        walk(f->body, number_op, NULL);
    }
}

int cmd_diff(Session *s, const Options *given)
{
    const char *const *path = given->word;
    Module *a = tir_read(s, path[0]), *b = tir_read(s, path[1]);
    const char *was = text_of(a), *is = text_of(b);
    number_values(a);
    number_values(b);
    if (!strcmp(text_of(a), text_of(b)))
        return 0;
    Out o = {.s = s};
    put(&o, "--- ");
    put_escaped(&o, path[0], strlen(path[0]));
    put(&o, "\n+++ ");
    put_escaped(&o, path[1], strlen(path[1]));
    put(&o, "\n");
    text_diff(was, is, 2, isatty(STDOUT_FILENO), &o);
    printf("%s", o.text);
    out_free(&o);
    return 1;
}
