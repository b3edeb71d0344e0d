/* main.c: bnc: one session around one command; the commands and their options are tables
 * (cmd/commands.def, driver/options.def). */
#include "cmd/cmd.h"

struct Call {
    Session session;
    int argc, status;
    char **argv;
};

static void run_call(void *arg)
{
    struct Call *c = arg;
    c->status = command_run(&c->session, c->argc, c->argv);
}

int main(int argc, char **argv)
{
    struct Call c = {.argc = argc, .argv = argv};
    temps_guard();
    session_start(&c.session, stderr);
    bool done = session_try(&c.session, run_call, &c);
    session_end(&c.session);
    return done ? c.status : 1;
}
