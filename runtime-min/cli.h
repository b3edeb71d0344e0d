/* cli.h: the command line of a compiled model: `--emit=exe`, the amalgamation and `bnc run`. */
#ifndef BN_CLI_H
#define BN_CLI_H

#include "bn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes main's argv and returns main's exit status: 0, or 1 after a message on stderr. */
int bn_cli(const bn_model *model, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
