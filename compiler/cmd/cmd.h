/* cmd.h: the commands, one file or folder each. Each gets the values of its options, read and
 * checked by commands.def and driver/options.def, and returns the exit status. */
#ifndef BNC_CMD_H
#define BNC_CMD_H

#include "driver/driver.h"

#define COMMAND(name, function, ...) int function(Session *s, const Options *o);
#include "cmd/commands.def"
#undef COMMAND

/* commands.c: reads argv[1..argc) as the command line of bnc and runs what it says. */
int command_run(Session *s, int argc, char **argv);

/* help.c: texts are filled to 80 columns; `all` are the rows of commands.def, and one without a name. */
void help_screen(const Command *all, FILE *to);
void help_command(Session *s, const Command *all, const Command *c, FILE *to);
const Command *command_find(const Command *all, const char *name); /* NULL: none */
void help_passes(void);                                            /* topics, to standard output */
void help_targets(void);
/* A text of commands.def: paragraphs in turn, `verbatim` those whose lines stay as they are. */
typedef void HelpText(void *arg, const char *text, size_t len, bool verbatim);
void help_paragraphs(const char *text, HelpText *each, void *arg);
/* "--kv=FORMAT", "-o, --output=FILE" */
const char *help_left(Session *s, const Option *p);
/* Help of an option with its choices and default. */
const char *help_right(Session *s, const Option *p);
/* man.c, completions.c */
void help_man(Session *s, const Command *all, FILE *to);
void help_completions(Session *s, const Command *all, const char *shell, FILE *to);
/* synth.c */
void help_shapes(FILE *to);

#endif
