/* chat.c: conversations to text and tokens, by the template that the compiler made a function.
 *
 * One idea: the function runs twice over the same messages. The first run writes nothing and has
 * the whole buffer as scratch; it tells how long the text is and how much scratch it took. The
 * second has exactly the places that those numbers say:
 *
 *   bn_chat         out     +-- text, NUL --+------ free ------+-- scratch --+
 *   bn_chat_tokens  tokens  +-- text --+-- marks --+-- scratch --+-- free ---+
 *             then, moved:  +-- tokens -->            ...  free  +text, marks+
 *
 * The whole text is cut into tokens at once, so merges know nothing of where a message began; only
 * special tokens are looked for where the marks say that the template wrote them.
 */
#include <string.h>

#include "bn_model.h"
#include "bn_vocab.h"

enum { CHAT_LITERALS = 4096 }; /* a guess at what a template adds of its own */

int bn_chat_known(const bn_model *model)
{
    return model && model->chat;
}

/* Runs the template without writing. BN_OK, BN_TEMPLATE: c->text and c->used say what it takes. */
static bn_status chat_measure(const bn_weights *w, const bn_turn *messages, int n, int begin,
                              void *buffer, size_t bytes, size_t *need, bn_chat_call *c)
{
    static unsigned char nothing[1]; /* where texts of no bytes stand: an address, never written */
    size_t given = 0;
    memset(c, 0, sizeof *c);
    if (!need || !w || !w->model || !w->model->chat || n < 0 || (n > 0 && !messages) ||
        (!buffer && bytes > 0))
        return BN_ARGUMENT;
    *need = 0;
    for (int i = 0; i < n; i++) {
        if (!messages[i].role)
            return BN_ARGUMENT;
        given += strlen(messages[i].role) + (messages[i].content ? strlen(messages[i].content) : 0);
    }
    c->messages = messages;
    c->n = n;
    c->begin_answer = begin != 0;
    c->work = buffer ? buffer : nothing;
    c->work_bytes = bytes;
    bn_status status = w->model->chat(c);
    if (status == BN_SPACE) /* what the scratch will take shows when there is some */
        *need = 2 * bytes + 4 * given + CHAT_LITERALS;
    return status;
}

bn_status bn_chat(const bn_weights *w, const bn_turn *messages, int n, int begin_answer, char *out,
                  size_t cap, size_t *need)
{
    bn_chat_call c;
    bn_status status = chat_measure(w, messages, n, begin_answer, out, cap, need, &c);
    if (status != BN_OK && status != BN_TEMPLATE)
        return status;
    size_t whole = c.text + 1 + c.used;
    if (status == BN_OK && (whole > cap || whole < c.text)) {
        *need = whole;
        return BN_SPACE;
    }
    c.work_bytes = c.used;
    c.work = (unsigned char *)out + (cap - c.used);
    c.cap = cap - c.used > 0 ? cap - c.used - 1 : 0;
    c.out = out;
    if (cap == 0 && status == BN_TEMPLATE)
        return status;
    status = w->model->chat(&c);
    size_t end = c.text < c.cap ? c.text : c.cap;
    if (cap > 0)
        out[end] = 0;
    *need = status == BN_OK ? c.text : end;
    return status;
}

bn_status bn_chat_tokens(const bn_weights *w, const bn_turn *messages, int n, int begin_answer,
                         int32_t *tokens, size_t cap, size_t *need)
{
    bn_chat_call c;
    const bn_vocab *v = bn_vocab_of(w);
    size_t bytes = cap * sizeof *tokens, count = 0;
    if (!v || cap > SIZE_MAX / sizeof *tokens)
        return BN_ARGUMENT;
    bn_status status = chat_measure(w, messages, n, begin_answer, tokens, bytes, need, &c);
    if (status != BN_OK) {
        *need = status == BN_SPACE ? *need / sizeof *tokens + 1 : 0;
        return status;
    }
    size_t text = c.text, sure = bn_token_room(w, text) + text / 2 + c.used / 4 + 3;
    int bos = v->flags & BN_VOCAB_ADD_BOS && v->bos >= 0;
    *need = sure > cap ? sure : cap + 1;
    if (2 * text + c.used > bytes || cap < 1)
        return BN_SPACE;
    char *buffer = (char *)(void *)tokens;
    c.out = buffer;
    c.mark = (unsigned char *)buffer + text;
    c.cap = text;
    c.work = (unsigned char *)buffer + 2 * text;
    c.work_bytes = c.used;
    status = w->model->chat(&c);
    if (status != BN_OK)
        return status;
    char *moved = buffer + (bytes - 2 * text);
    memmove(moved, buffer, 2 * text);
    size_t room = (bytes - 2 * text) / sizeof *tokens;
    if (room < 1)
        return BN_SPACE;
    status = bn_tokenize_marked(w, moved, text, (const unsigned char *)moved + text, tokens + bos,
                                room - (size_t)bos, &count);
    if (status != BN_OK)
        return status;
    if (bos && count > 0 && tokens[1] == v->bos) /* the template wrote it */
        memmove(tokens, tokens + 1, count-- * sizeof *tokens);
    if (bos)
        tokens[0] = v->bos;
    *need = count + (size_t)bos;
    return BN_OK;
}
