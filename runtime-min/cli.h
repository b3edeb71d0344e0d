/* cli.h: the command line of a compiled model: `--emit=exe`, the amalgamation and `bnc run`. */
#ifndef BN_CLI_H
#define BN_CLI_H

#include <stdio.h>

#include "bn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes main's argv and returns main's exit status: 0, or 1 after a message on stderr. */
int bn_cli(const bn_model *model, int argc, char **argv);

/* Writes text of a model or a file, whole characters, len bytes. A terminal obeys control characters: where `to` is
 * one, they and those that reorder a line are written as \xNN a byte, but for newline and tab, and so is
 * what is no UTF-8. Everything else gets the bytes as they are. Returns 0, or -1 where the stream
 * took less; does not flush. */
int bn_show(FILE *to, const char *text, size_t len);

#ifdef __cplusplus
}
#endif
#endif
