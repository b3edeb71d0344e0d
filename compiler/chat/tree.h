/* tree.h: a parsed template, and what lexer, grammar and the two passes over it share. */
#ifndef BNC_CHAT_TREE_H
#define BNC_CHAT_TREE_H

#include "bn_template.h"
#include "chat/chat.h"

typedef struct Spot {
    int line, col;
} Spot;

/* What a node is, and which of its fields that uses. `list` is a chain by `next`. */
typedef enum NodeKind {
    N_TEXT,    /* text, i bytes */
    N_INT,     /* i, less than BN_TEMPLATE_MOST */
    N_BIG,     /* text: another number */
    N_NAME,    /* text */
    N_ATTR,    /* a . text */
    N_ITEM,    /* a [ b ] */
    N_SLICE,   /* a [ list of three: N_NONE where left out ] */
    N_NONE,    /* nothing */
    N_CALL,    /* a ( list ) */
    N_FILTER,  /* a | text ( list ) */
    N_TEST,    /* a is text ( list ); op 1: is not */
    N_NOT,     /* not a */
    N_NEG,     /* - a */
    N_POS,     /* + a */
    N_BINARY,  /* a op b, a bn_operator */
    N_COMPARE, /* a, then a list of N_LINK */
    N_LINK,    /* op a */
    N_AND,     /* a and b */
    N_OR,
    N_COND,    /* b if a else c; c may be NULL */
    N_LIST,    /* [ list ] */
    N_TUPLE,   /* ( list ) */
    N_DICT,    /* { list }: key, value, key, value, ... */
    N_KEYWORD, /* text = a, an argument */
    S_DATA,    /* text, i bytes */
    S_PUT,     /* {{ a }} */
    S_IF,      /* list of S_CLAUSE */
    S_CLAUSE,  /* a (NULL: else) : b, a chain of statements */
    S_FOR,     /* names b in a [ if c->a ] : c->b, else list */
    S_LOOP,    /* the body of S_FOR: a, the condition, may be NULL; b */
    S_SET,     /* names b = a */
    S_SETATTR, /* text . (b, an N_NAME) = a */
    S_SETBODY, /* names b = what c writes, through the filters a, if any, of an empty N_NONE; b
                  NULL: that is written */
    S_BREAK,
    S_CONTINUE,
    S_BODY,  /* list */
    S_SCOPE, /* list, whose names are its own */
    S_MACRO, /* text ( list of N_NAME and N_KEYWORD ) : b */
} NodeKind;

typedef struct Node Node;
struct Node {
    NodeKind kind;
    int op;
    Spot at;
    const char *text;
    int64_t i;
    Node *a, *b, *c, *list;
    Node *next;
    int depth; /* 1 + that of the deepest part */
    bool paren;
};

typedef struct Chain { /* a list being built */
    Node *first, *last;
} Chain;

typedef struct Reader {
    Session *s;
    const Text *source; /* with \n for \r\n, and without the last newline, as Jinja reads it */
    size_t at, before;  /* byte offsets behind and before the word */
    Spot spot, spot_before;
    size_t data;     /* where the data that is being read began */
    bool flushed;    /* the data before this tag has been handed on */
    bool line_start; /* the tag before the data ended its line */
    bool tag;        /* the next word names a statement */
    int braces;      /* open { of expressions */
    Node *root;
} Reader;

enum { CHAT_DEPTH = 200 }; /* of nodes; what people write has 20 */

/* tree.c */
Node *node_new(Reader *r, NodeKind kind, Spot at, Node *a, Node *b, Node *c);
Node *node_text(Reader *r, NodeKind kind, Spot at, const char *text, size_t size);
Node *node_list(Reader *r, Node *n, Chain list); /* gives n its list */
Node *node_binary(Reader *r, Spot at, int op, Node *a, Node *b);
Node *node_compare(Reader *r, Spot at, int op, Node *a, Node *b);
void chain_add(Chain *c, Node *n);
Loc reader_loc(const Reader *r, Spot at);
Node *reader_string(Reader *r, Spot at, const char *text, size_t size); /* with its quotes */
Node *reader_number(Reader *r, Spot at, const char *text);
/* Data up to `end`, stripped as the tag behind it (its first characters) says; NULL: none. */
Node *reader_data(Reader *r, Spot at, size_t end, const char *tag);
bool reader_begin(Reader *r, Session *s, const ChatTemplate *t); /* false after err */
/* jinja.y: parses; err where it fails, then NULL. */
Node *template_parse(Session *s, const ChatTemplate *t, const Text **source);

#endif
