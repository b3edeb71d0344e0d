/* template.c: `bnc template`: a chat template alone, without a model, as C: to see what bnc makes
 * of it and where it stands outside the subset. */
#include <string.h>

#include "bn_model.h"
#include "chat/chat.h"
#include "cmd/cmd.h"

int cmd_template(Session *s, int argc, char **argv)
{
    ChatTokens tokens = {NULL, NULL, NULL, NULL};
    const char *given = NULL, *output = "-";
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!strncmp(arg, "--bos=", 6))
            tokens.bos = arg + 6;
        else if (!strncmp(arg, "--eos=", 6))
            tokens.eos = arg + 6;
        else if (!strcmp(arg, "-o") && i + 1 < argc)
            output = argv[++i];
        else if (*arg == '-' || given)
            fail(s, (Loc){0},
                 "unexpected '%s': bnc template FILE|NAME [--bos=T] [--eos=T] [-o FILE]", arg);
        else
            given = arg;
    }
    ChatTemplate t;
    if (!given || !chat_choose(s, given, NULL, NULL, NULL, &t))
        fail(s, (Loc){0}, "no template given: bnc template FILE, or one of %s", chat_names(s));
    Out c = {.s = s};
    chat_compile(s, &t, &tokens, &c);
    file_save(s, output, &c);
    out_free(&c);
    return 0;
}
