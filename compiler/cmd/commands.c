/* commands.c: which command a command line means, and what to say where it is none. */
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"
#include "jit/jit.h"

const Command bnc_commands[] = {
#define COMMAND(name_, function, arguments_, sets_, writes_, what_, example_, help_)               \
    {.name = #name_,                                                                               \
     .run = function,                                                                              \
     .arguments = arguments_,                                                                      \
     .sets = sets_,                                                                                \
     .writes = writes_,                                                                            \
     .what = what_,                                                                                \
     .example = example_,                                                                          \
     .help = help_},
#include "cmd/commands.def"
#undef COMMAND
    {.name = NULL}};
enum { NCOMMAND = sizeof bnc_commands / sizeof *bnc_commands - 1 };

const Command *command_find(const char *name)
{
    for (const Command *c = bnc_commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

/* A word that is neither a command nor a file nor looks like one. */
static _Noreturn void no_command(Session *s, const char *word)
{
    const char *names[NCOMMAND];
    for (int i = 0; i < NCOMMAND; i++)
        names[i] = bnc_commands[i].name;
    const char *near = did_you_mean(word, names, NCOMMAND);
    if (near)
        fail(s, (Loc){0}, "no command '%s'; did you mean %s?", word, near);
    fail(s, (Loc){0}, "no command and no file '%s'; `bnc --help` lists the commands", word);
}

static int version(void)
{
    printf("bnc " BN_VERSION "%s%s\n", jit_built() ? ", with " : "",
           jit_built() ? jit_version() : "");
    return 0;
}

int command_run(Session *s, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    Options o;
    if (!word) {
        help_screen(stderr);
        return 1;
    }
    if (!strcmp(word, "--version"))
        return version();
    if (argc == 2 && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
        help_screen(stdout);
        return 0;
    }
    const Command *c = command_find(word), *named = c ? c : &bnc_commands[0];
    if (!c && word[0] != '-' && !strpbrk(word, "./") && !file_exists(word))
        no_command(s, word);
    int skip = c ? 1 : 0;
    if (!options_read(s, &o, named, bnc_commands, argc - skip, argv + skip)) {
        help_command(s, named, stdout);
        return 0;
    }
    check_overwriting(s, &o, named);
    return named->run(s, &o);
}
