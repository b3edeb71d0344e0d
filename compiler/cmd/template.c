/* template.c: `bnc template`: a chat template alone, without a model, as C: to see what bnc makes
 * of it and where it stands outside the subset. */
#include "bn_model.h"
#include "chat/chat.h"
#include "cmd/cmd.h"

int cmd_template(Session *s, const Options *o)
{
    const ChatTokens tokens = {.bos = o->bos, .eos = o->eos};
    ChatTemplate t;
    if (!chat_choose(s, o->input, NULL, NULL, NULL, &t))
        fail(s, (Loc){0}, "no template given: bnc template FILE, or one of %s", chat_names(s));
    Out c = {.s = s};
    chat_compile(s, &t, &tokens, &c);
    file_save(s, o->output ? o->output : "-", &c);
    out_free(&c);
    return 0;
}
