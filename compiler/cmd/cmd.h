/* cmd.h: the commands, one file or folder each. Each takes its arguments from argv[1] on and returns
 * the exit status. */
#ifndef BNC_CMD_H
#define BNC_CMD_H

#include "driver/driver.h"

int cmd_compile(Session *s, int argc, char **argv);
int cmd_opt(Session *s, int argc, char **argv); /* compile.c */
int cmd_cache(Session *s, int argc, char **argv);
int cmd_run(Session *s, int argc, char **argv);
int cmd_chat(Session *s, int argc, char **argv);
int cmd_embed(Session *s, int argc, char **argv);
int cmd_inspect(Session *s, int argc, char **argv);
int cmd_ppl(Session *s, int argc, char **argv);     /* quality.c */
int cmd_compare(Session *s, int argc, char **argv); /* quality.c; status 2 above --max-kl */
int cmd_report(Session *s, int argc, char **argv);
int cmd_profile(Session *s, int argc, char **argv);
int cmd_bench(Session *s, int argc, char **argv); /* status 2 after a regression */
int cmd_tune(Session *s, int argc, char **argv);
int cmd_convert(Session *s, int argc, char **argv);
int cmd_quantize(Session *s, int argc, char **argv);
void quantize_help(FILE *to);
int cmd_template(Session *s, int argc, char **argv);
int cmd_synth(Session *s, int argc, char **argv);
void synth_help(FILE *to);
int cmd_diff(Session *s, int argc, char **argv); /* status 1 where they differ */

#endif
