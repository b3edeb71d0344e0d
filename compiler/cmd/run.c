/* run.c: `bnc run`: compile once, keep the program, start it. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"

int cmd_run(Session *s, int argc, char **argv)
{
    Options o;
    options_read(s, &o, argc, argv, true);
    if (!o.input)
        fail(s, (Loc){0}, "no model given: bnc run model.gguf -p \"Once upon a time\"");
    const char *program = cache_compile(s, &o, "exe", "");
    char **args = NEW_ARRAY(s, char *, o.nrest + 2);
    args[0] = (char *)(uintptr_t)program;
    memcpy(args + 1, o.rest, sizeof *args * (size_t)o.nrest);
    fflush(NULL);
    execv(program, args);
    fail(s, loc_file(s, program), "cannot start: %s", strerror(errno));
}
