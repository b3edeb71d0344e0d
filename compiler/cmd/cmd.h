/* cmd.h: the commands, one file or folder each. Each gets the values of its options, read and
 * checked by commands.def and driver/options.def, and returns the exit status. */
#ifndef BNC_CMD_H
#define BNC_CMD_H

#include "driver/driver.h"

#define COMMAND(name, function, ...) int function(Session *s, const Options *o);
#include "cmd/commands.def"
#undef COMMAND

/* commands.c: rows of commands.def, and one without a name behind them. */
extern const Command bnc_commands[];
const Command *command_find(const char *name); /* NULL: none */
/* Reads argv[1..argc) as the command line of bnc and runs what it says. */
int command_run(Session *s, int argc, char **argv);

/* help.c: texts are filled to 80 columns. */
void help_screen(FILE *to);
void help_command(Session *s, const Command *c, FILE *to);
/* A text of commands.def: paragraphs in turn, `verbatim` those whose lines stay as they are. */
typedef void HelpText(void *arg, const char *text, size_t len, bool verbatim);
void help_paragraphs(const char *text, HelpText *each, void *arg);
/* "--kv=FORMAT", "-o, --output=FILE" */
const char *help_left(Session *s, const Option *p);
/* Help of an option with its choices and default. */
const char *help_right(Session *s, const Option *p);
/* man.c, completions.c */
void help_man(Session *s, FILE *to);
void help_completions(Session *s, const char *shell, FILE *to);
/* synth.c */
void help_shapes(FILE *to);

#endif
