/* write.h: the compiled template that is being written. */
#ifndef BNC_CHAT_WRITE_H
#define BNC_CHAT_WRITE_H

#include "chat/tree.h"

typedef struct Map { /* from interned names to numbers; open addressing */
    const void **key;
    size_t *length;
    uint32_t *value;
    size_t n, cap;
} Map;

typedef struct ChatText { /* a text of the program, interned */
    const char *text;
    uint32_t size;
    bool written; /* the template may write it, so a token in it is the template's */
} ChatText;

typedef struct Binding { /* a name and where its value is; those of inner scopes later */
    const char *name;
    uint32_t slot;
    uint32_t outer; /* the binding of the same name that this one hides, + 1; 0: none */
    bool loop;      /* the name `loop` */
} Binding;

typedef struct Macro { /* as bn_template.h has it */
    uint32_t word[5];
} Macro;

typedef struct Program {
    Session *s;
    const Text *source;
    const ChatTokens *tokens;
    uint32_t *code;
    size_t ncode;
    ChatText *text;
    size_t ntext;
    Macro *macro;
    size_t nmacro;
    uint32_t *line; /* pairs: first instruction, line */
    size_t nline;
    Binding *binding;
    size_t nbinding;
    Map texts, names; /* (text, length) to text number; name to binding + 1 */
    uint32_t nslot, depth, deepest;
    int conditional;   /* ifs around */
    int macros;        /* macros around */
    int captures;      /* blocks around whose output becomes a text */
    struct Loop *loop; /* the innermost, of this macro */
} Program;

/* map.c */
uint32_t *map_at(Session *s, Map *m, const void *key, size_t length); /* new ones are 0 */
uint32_t program_text(Program *p, const char *text, size_t size, bool written);
uint32_t program_text_new(Program *p, const char *text, size_t size, bool written);
/* Appends an instruction; returns where it stands. */
size_t program_op(Program *p, bn_template_op op, size_t a, Spot at);
void program_here(Program *p, size_t jump); /* the jump at `jump` goes here */
void program_error(Program *p, const Node *n, bool soft, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* express.c: code that leaves the value of n on the stack. */
void put_value(Program *p, const Node *n);
void put_filters(Program *p, const Node *n); /* the same, whose innermost N_NONE is there already */
/* scope.c: names. */
uint32_t slot_new(Program *p, size_t n);
size_t scope_begin(const Program *p);
void scope_end(Program *p, size_t mark);
void scope_bind(Program *p, const char *name, uint32_t slot, bool loop);
const Binding *scope_find(Program *p, const char *name);
void put_name(Program *p, const Node *n, const char *name); /* its value, bound or not */

/* guard.c: user-defined tokens that the template may write, in ascending order; *n of them. */
int32_t *guards_find(Program *p, size_t *n);

#endif
