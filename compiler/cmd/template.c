/* template.c: `bnc template`: a chat template alone, without a model: whether bnc can compile it, and
 * what it becomes. */
#include <string.h>

#include "bn_model.h"
#include "chat/chat.h"
#include "cmd/cmd.h"

int cmd_template(Session *s, int argc, char **argv)
{
    ChatTokens tokens = {.bos = NULL};
    const char *given = NULL, *output = NULL;
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
    Out code = {.s = s}, list = {.s = s};
    chat_compile(s, &t, &tokens, &code);
    if (!output)
        chat_list((const unsigned char *)code.text, code.len, &list);
    file_save(s, output ? output : "-", output ? &code : &list);
    out_free(&list);
    out_free(&code);
    return 0;
}
