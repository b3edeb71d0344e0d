/* chat.h: a model's chat template, a Jinja text, becomes a C function.
 *
 * One idea: a template is a program over two inputs that are known only later, the messages and
 * whether an answer shall begin. All else (special tokens, tools, options) is known now, so the
 * branches that cannot be taken vanish, and what remains is a handful of loops and texts.
 */
#ifndef BNC_CHAT_H
#define BNC_CHAT_H

#include "ir/ir.h"

typedef struct ChatTokens { /* texts of special tokens; NULL: the model has none */
    const char *bos, *eos, *unk, *pad;
} ChatTokens;

/* The template that a model gets, and where it came from. */
typedef struct ChatTemplate {
    const char *path; /* for messages */
    const char *text;
    size_t size;
} ChatTemplate;

/* builtin.c. `given` is --chat-template: NULL (the model's own), a name of templates/, a file, or
 * "none". `own` is the text in the model file, NULL where it has none. False: no template. */
bool chat_choose(Session *s, const char *given, const char *arch, const char *source,
                 const char *own, ChatTemplate *out);
const char *chat_names(Session *s); /* "chatml, llama3, ..." */

/* write.c: the template as C: helpers and `static bn_status chat_template(bn_chat_call *c)`, which
 * includes nothing. Mistakes and what is outside the subset go to err/fail with line and column. */
void chat_compile(Session *s, const ChatTemplate *t, const ChatTokens *tokens, Out *out);

#endif
