/* write.h: what is known of a template's variables while its C is written. */
#ifndef BNC_CHAT_WRITE_H
#define BNC_CHAT_WRITE_H

#include "chat/tree.h"

typedef enum KnownKind { K_NO, K_UNDEFINED, K_NONE, K_BOOL, K_INT, K_TEXT, K_SPACE } KnownKind;
typedef struct Known { /* the value that an expression has whatever the messages are; or K_NO */
    KnownKind kind;
    int64_t i; /* BOOL, INT; TEXT: bytes */
    const char *text;
    const struct Space *space;
} Known;

typedef struct Space { /* a namespace(...): a C variable for each of its fields, nID_FIELD */
    int id;
    const char **field;
    int nfield;
} Space;

typedef struct Var {
    const char *name, *c_name;
    Known known; /* at this place of the program */
} Var;

typedef struct Writer {
    Session *s;
    const Text *source;
    const ChatTokens *tokens;
    Var *var; /* innermost scope last */
    int nvar;
    int depth, ntemp, nloop, nspace, nscope;
    int loop; /* the innermost: C variable lN; 0: none */
    bool filtered;
    int64_t *steps; /* left for known_value: nested conditions could take for ever */
    Out *out;
    Out spaces; /* declarations of their fields */
} Writer;

/* known.c. Values are those that Jinja gives; where it would complain of a part of a known value,
 * the answer is K_NO and the C complains. */
Known known_value(const Writer *w, const Node *n);
int known_truth(const Writer *w, const Node *n); /* -1: not known */
Var *var_find(const Writer *w, const char *name);
bool space_has(const Space *space, const char *field);

/* express.c: a ch_value, an int, a string literal with its length. */
enum { LITERAL = 2000 }; /* bytes: C compilers need not take strings of more than 4095 */
void put_value(Writer *w, const Node *n);
void put_condition(Writer *w, const Node *n);
void put_known(Writer *w, const Node *n, Known v);
void put_c_text(Out *o, const char *text, size_t n);
/* helpers.c: the functions of text.c and lists.c that `code` calls, and what they need. */
void put_helpers(Session *s, const char *code, size_t len, Out *out);
void refuse(Writer *w, const Node *n, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
