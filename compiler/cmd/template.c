/* template.c: `bnc template`: a chat template alone, without a model: whether bnc can compile it, and
 * what it becomes. */
#include <string.h>

#include "bn_model.h"
#include "chat/chat.h"
#include "cmd/cmd.h"

int cmd_template(Session *s, const Options *o)
{
    const ChatTokens tokens = {.bos = o->bos, .eos = o->eos};
    ChatTemplate t;
    if (!chat_choose(s, o->input, NULL, NULL, NULL, &t))
        fail(s, (Loc){0}, "no template given: bnc template FILE, or one of %s", chat_names(s));
    Out code = {.s = s}, list = {.s = s};
    chat_compile(s, &t, &tokens, &code);
    if (!o->output)
        chat_list((const unsigned char *)code.text, code.len, &list);
    file_save(s, o->output ? o->output : "-", o->output ? &code : &list);
    out_free(&list);
    out_free(&code);
    return 0;
}
