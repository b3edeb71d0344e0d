/* run.c: `bnc run`: compile once, keep the program, start it; with --jit, be the program. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "cmd/cmd.h"
#include "jit/jit.h"

int cmd_run(Session *s, const Options *o)
{
    const char *weights;
    const Jit *jit = o->jit ? jit_compile(s, o, &weights) : NULL;
    const char *program = jit ? NULL : cache_compile(s, o, "exe", "");
    char **args = NEW_ARRAY(s, char *, o->nrest + 2);
    args[0] = (char *)(uintptr_t)o->input; /* in its messages */
    memcpy(args + 1, o->rest, sizeof *args * (size_t)o->nrest);
    fflush(NULL);
    if (jit)
        return bn_cli(jit->model, o->nrest + 1, args);
    if (o->no_cache) { /* whose folder goes with this process */
        pid_t pid = child_start(s, args, &(ChildOptions){.path = program, .foreground = true});
        int status = pid < 0 ? 0 : child_wait(pid);
        if (pid >= 0)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    execv(program, args);
    fail(s, loc_file(s, o->input), "cannot start %s, which it was compiled to: %s", program,
         strerror(errno));
}
