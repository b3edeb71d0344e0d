/* parse.h: what the lexer, the grammar and the builder of the textual IR share. */
#ifndef BNC_PARSE_H
#define BNC_PARSE_H

#include "ir/ir.h"

typedef struct TirPlace {
    int line, col;
} TirPlace;

typedef struct List { /* pointers being collected, in the session */
    void **item;
    int n;
} List;
typedef struct Result { /* the type of a result and where the plan put it */
    const Type *type;
    Space space;
    int64_t slot;
} Result;

typedef struct Parse {
    Session *s;
    const Text *text;
    Module *m;
    int line, col;
    int nsymbol, nexpect, nweight, nop;
    Func *func;
    Block *block;
    Expect **last_expect; /* where the next one is linked */
    List args, inits;     /* of the layers being read */
    struct Bound *bound;  /* values by name, open addressing */
    size_t nbound, capbound;
} Parse;

/* Around the lexer and the grammar: p for a text; the module that they made, or fail(). */
void tir_begin(Parse *p, Session *s, const char *path, const char *bytes, size_t size);
Module *tir_end(Parse *p);

bool tir_integer(const char *text, int64_t *out);
double tir_number(Parse *p, TirPlace at, const char *text); /* a finite float32 at least */
const char *tir_string(Parse *p, const char *text, size_t len);
Loc tir_loc(const Parse *p, TirPlace at);
void list_add(Parse *p, List *list, void *item);
void *tir_double(Parse *p, double v);                 /* an item of a list of numbers */
void tir_numbers(Parse *p, Attr *a, List numbers);    /* as a's value */

/* Statements, called by the grammar; errors are reported and parsing goes on. */
void tir_arch(Parse *p, TirPlace at, List names, List attrs);
void tir_model(Parse *p, TirPlace at, const char *title, List attrs);
void tir_fact(Parse *p, TirPlace at, const char *fact);
void tir_symbol(Parse *p, TirPlace at, bool is_dim, const char *name, Choice *choices);
void tir_expect(Parse *p, TirPlace at, Expect e); /* its loc is set here */
Weight *tir_weight(Parse *p, TirPlace at, bool state, const char *name, const Type *type);
void tir_weight_attrs(Parse *p, TirPlace at, Weight *w, List attrs);
void tir_func_begin(Parse *p, TirPlace at, const char *name);
void tir_param(Parse *p, TirPlace at, const char *name, const Type *type);
void tir_func_end(Parse *p, TirPlace at);
void tir_op(Parse *p, TirPlace at, List outs, const char *op, List operands, List attrs,
            List results);
void tir_lost(Parse *p, TirPlace at, List outs);
void tir_layers_begin(Parse *p, TirPlace at, List outs, List attrs);
void tir_layers_end(Parse *p);
void tir_bind_value(Parse *p, TirPlace at, Value *v);
Value *tir_operand(Parse *p, TirPlace at, const char *name, bool symbol);
Fmt tir_fmt(Parse *p, TirPlace at, const char *word);
Space tir_space(Parse *p, TirPlace at, const char *word);

#endif
