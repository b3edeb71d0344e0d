/* chat.h: a model's chat template, a Jinja text, becomes a compact program (bn_template.h).
 *
 * One idea: a template is outside text, so what a model gets of it is data, bytes that the
 * runtime's interpreter runs within fixed limits, never code. Names are resolved and constructs
 * checked here, once; whatever the text holds, the result is at most a few times as long.
 */
#ifndef BNC_CHAT_H
#define BNC_CHAT_H

#include "ir/ir.h"
#include "ir/vocab.h"

typedef struct ChatTokens { /* texts of special tokens; NULL: the model has none */
    const char *bos, *eos, *unk, *pad;
    const VocabSource *vocab; /* whose user-defined tokens the template may write; NULL: none */
} ChatTokens;

/* The template that a model gets, and where it came from. */
typedef struct ChatTemplate {
    const char *path; /* for messages */
    const char *text;
    size_t size;
    bool own; /* the model's, not one that the user named */
} ChatTemplate;

/* builtin.c. `given` is --chat-template: NULL (the model's own), a name of templates/, a file, or
 * "none". `own` is the text in the model file, NULL where it has none. False: no template. */
bool chat_choose(Session *s, const char *given, const char *arch, const char *source,
                 const char *own, ChatTemplate *out);
const char *chat_names(Session *s); /* "chatml, llama3, ..." */

/* write.c: appends the compiled template. Mistakes go to err/fail with line and column; what is
 * known to fail only where a conversation gets there, inside an `if`, to note. Memory and time are
 * proportional to the text, which is at most 1 MiB. */
void chat_compile(Session *s, const ChatTemplate *t, const ChatTokens *tokens, Out *out);
/* list.c: a compiled template as text, an instruction a line. */
void chat_list(const unsigned char *code, size_t size, Out *out);

#endif
