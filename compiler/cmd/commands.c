/* commands.c: which command a command line means, and what to say where it is none. */
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"
#include "jit/jit.h"

static const Command table[] = {
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
enum { NCOMMAND = sizeof table / sizeof *table - 1 };

/* For an argument that is neither a command nor a file nor looks like one. */
static _Noreturn void no_command(Session *s, const char *word)
{
    const char *names[NCOMMAND];
    for (int i = 0; i < NCOMMAND; i++)
        names[i] = table[i].name;
    const char *near = did_you_mean(word, names, NCOMMAND);
    if (near)
        fail(s, (Loc){0}, "no command '%s'; did you mean %s?", word, near);
    fail(s, (Loc){0}, "no command and no file '%s'; `bnc --help` lists the commands", word);
}

static _Noreturn void no_topic(Session *s, const Command *all, const char *topic)
{
    static const char *const more[] = {"passes", "targets", "shapes"};
    enum { MORE = sizeof more / sizeof *more };
    const char *names[MORE + 64];
    int n = MORE;
    memcpy(names, more, sizeof more);
    for (const Command *c = all; c->name && n < MORE + 64; c++)
        names[n++] = c->name;
    const char *near = did_you_mean(topic, names, n);
    if (near)
        fail(s, (Loc){0}, "no help on '%s'; did you mean %s?", topic, near);
    fail(s, (Loc){0}, "no help on '%s'; `bnc --help` names all there is help on", topic);
}

int cmd_help(Session *s, const Options *o)
{
    const char *topic = o->input;
    const Command *c = topic ? command_find(o->commands, topic) : NULL;
    if (o->man)
        help_man(s, o->commands, stdout);
    else if (o->completions)
        help_completions(s, o->commands, o->completions, stdout);
    else if (!topic)
        help_screen(o->commands, stdout);
    else if (!strcmp(topic, "passes"))
        help_passes();
    else if (!strcmp(topic, "targets"))
        help_targets();
    else if (!strcmp(topic, "shapes"))
        help_shapes(stdout);
    else if (c)
        help_command(s, o->commands, c, stdout);
    else
        no_topic(s, o->commands, topic);
    return 0;
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
        help_screen(table, stderr);
        return 1;
    }
    if (!strcmp(word, "--version"))
        return version();
    if (argc == 2 && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
        help_screen(table, stdout);
        return 0;
    }
    const Command *c = command_find(table, word), *named = c ? c : &table[0];
    if (!c && word[0] != '-' && !strpbrk(word, "./") && !file_exists(word))
        no_command(s, word);
    int skip = c ? 1 : 0;
    if (!options_read(s, &o, named, table, argc - skip, argv + skip)) {
        help_command(s, table, named, stdout);
        return 0;
    }
    check_overwriting(s, &o, named);
    return named->run(s, &o);
}
