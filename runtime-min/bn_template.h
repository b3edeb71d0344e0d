/* bn_template.h: a compiled chat template, as compiler/chat writes it and jinja_run.c runs it.
 *
 * One idea: a template is data. Whatever stands in it, a name or a text, is bytes of one constant
 * array; the only code is the interpreter's, the same for every model. All numbers are 32 bits,
 * little-endian.
 *
 *   +--------+---------------+----------------+-------------+---------+-----------------+-------+
 *   | header | instructions  | texts: at, len | macros      | guards  | lines: from, at | bytes |
 *   +--------+---------------+----------------+-------------+---------+-----------------+-------+
 *     8 words  ninstr words    2 ntext words    4 nmacro      nguard    2 nline words     of texts
 *
 * An instruction is its code in the low byte and an operand A above it. Operands of calls are
 * id << 16 | positional << 8 | named arguments; a named one is two values, its name and itself.
 */
#ifndef BN_TEMPLATE_H
#define BN_TEMPLATE_H

#include <stdint.h>

#define BN_TEMPLATE_MAGIC 0x314a4e42u /* "BNJ1" */
enum {                                /* words of the header */
       BN_TEMPLATE_AT_MAGIC,
       BN_TEMPLATE_NINSTR,
       BN_TEMPLATE_NTEXT,
       BN_TEMPLATE_NMACRO,
       BN_TEMPLATE_NGUARD,
       BN_TEMPLATE_NLINE,
       BN_TEMPLATE_NSLOT,
       BN_TEMPLATE_STACK, /* values that are on the stack at most, in one function */
       BN_TEMPLATE_HEADER
};

/* Instructions: name, what A is, values taken from the stack (-1: as A says), values put there. */
#define BN_TEMPLATE_OPS(O)                                                                         \
    O(END, NONE, 0, 0)                                                                             \
    O(LINE, NONE, 0, 0)     /* a statement begins: scratch of the last one is free */              \
    O(PUT_TEXT, TEXT, 0, 0) /* writes a text of the template */                                    \
    O(PUT, NONE, 1, 0)      /* {{ }} */                                                            \
    O(TEXT, TEXT, 0, 1)                                                                            \
    O(INT, NUMBER, 0, 1) /* A - 2^23 */                                                            \
    O(BIG, TEXT, 0, 1)   /* a number that is written in the text */                                \
    O(CONST, CONST, 0, 1)                                                                          \
    O(GLOBAL, TEXT, 0, 1) /* what the caller or the model gives that name */                       \
    O(TOKEN, TEXT, 0, 1)  /* GLOBAL, and the text A + 1 where the caller gives nothing */          \
    O(LOAD, SLOT, 0, 1)                                                                            \
    O(STORE, SLOT, 1, 0)                                                                           \
    O(POP, NONE, 1, 0)                                                                             \
    O(ATTR, TEXT, 1, 1)  /* x.text */                                                              \
    O(ITEM, NONE, 2, 1)  /* x[y] */                                                                \
    O(SLICE, NONE, 4, 1) /* x[a:b:c], none where left out */                                       \
    O(LIST, COUNT, -1, 1)                                                                          \
    O(TUPLE, COUNT, -1, 1)                                                                         \
    O(DICT, COUNT, -2, 1) /* of A pairs */                                                         \
    O(NOT, NONE, 1, 1)                                                                             \
    O(NEG, NONE, 1, 1)                                                                             \
    O(POS, NONE, 1, 1)                                                                             \
    O(ADD, COUNT, -1, 1)  /* a + b + c */                                                          \
    O(JOIN, COUNT, -1, 1) /* a ~ b ~ c */                                                          \
    O(BINARY, OPERATOR, 2, 1)                                                                      \
    O(COMPARE, OPERATOR, 2, 1)                                                                     \
    O(CHAIN, OPERATOR, 2, 2)   /* a < b < c: leaves b and the result */                            \
    O(KEEP_SECOND, NONE, 2, 1) /* drops the value below the top */                                 \
    O(JUMP, INSTR, 0, 0)                                                                           \
    O(UNLESS, INSTR, 1, 0) /* jumps where the value is false */                                    \
    O(AND, INSTR, 1, 1)    /* false: jumps and keeps it; else drops it */                          \
    O(OR, INSTR, 1, 1)                                                                             \
    O(FOR, SLOT, 1, 0)       /* slots A: the list, A + 1: how many are done, A + 2 for it */       \
    O(NEXT, SLOT, 0, 1)      /* the next item; at the end jumps to the word behind it */           \
    O(KEEP, SLOT, 1, 0)      /* a loop's `if`: keeps the item where the value is true */           \
    O(KEPT, SLOT, 0, 0)      /* the loop starts over, with what was kept */                        \
    O(NONE_DONE, SLOT, 0, 1) /* whether the loop had no item */                                    \
    O(LOOP, SLOT, 0, 1)                                                                            \
    O(UNPACK, COUNT, 1, -3) /* A values, the first on top */                                       \
    O(FILTER, FILTER, -4, 1)                                                                       \
    O(TEST, TEST, -4, 1)                                                                           \
    O(METHOD, METHOD, -4, 1)                                                                       \
    O(CALL, CALL, -4, 1)                                                                           \
    O(MACRO, COUNT, 0, 1)                                                                          \
    O(GIVEN, SLOT, 0, 1) /* whether the macro's caller gave that argument */                       \
    O(RETURN, NONE, 0, 0)                                                                          \
    O(CAPTURE, NONE, 0, 0) /* what is written from here on becomes a text */                       \
    O(CAPTURED, NONE, 0, 1)                                                                        \
    O(SET_ATTR, TEXT, 2, 0) /* namespace, value */                                                 \
    O(FAIL, TEXT, 0, 1)     /* what the compiler could not make */
typedef enum bn_template_op {
#define BN_TEMPLATE_OP(name, operand, takes, gives) BN_OP_##name,
    BN_TEMPLATE_OPS(BN_TEMPLATE_OP)
#undef BN_TEMPLATE_OP
        BN_OP_COUNT
} bn_template_op;

enum { BN_CONST_UNDEFINED, BN_CONST_NONE, BN_CONST_FALSE, BN_CONST_TRUE };
enum { BN_TEMPLATE_MOST = 1 << 23 }; /* operands are less, and so are numbers inside them */

/* Operators of BINARY and COMPARE: name, as written. */
#define BN_TEMPLATE_OPERATORS(O)                                                                   \
    O(ADD, "+")                                                                                    \
    O(SUB, "-")                                                                                    \
    O(MUL, "*")                                                                                    \
    O(DIV, "/") O(FLOOR, "//") O(MOD, "%") O(POW, "**") O(JOIN, "~") O(EQ, "==") O(NE, "!=")       \
        O(LT, "<") O(LE, "<=") O(GT, ">") O(GE, ">=") O(IN, "in") O(NOT_IN, "not in")
typedef enum bn_operator {
#define BN_TEMPLATE_OPERATOR(name, text) BN_OPERATOR_##name,
    BN_TEMPLATE_OPERATORS(BN_TEMPLATE_OPERATOR)
#undef BN_TEMPLATE_OPERATOR
        BN_OPERATOR_COUNT
} bn_operator;

/* Filters, tests, methods: name, as written, fewest and most arguments, names of the arguments.
 * "*": further ones, of any name. */
#define BN_TEMPLATE_FILTERS(F)                                                                     \
    F(ABS, "abs", 0, 0, "")                                                                        \
    F(CAPITALIZE, "capitalize", 0, 0, "")                                                          \
    F(COUNT, "count", 0, 0, "")                                                                    \
    F(D, "d", 0, 2, "default_value boolean")                                                       \
    F(DEFAULT, "default", 0, 2, "default_value boolean")                                           \
    F(DICTSORT, "dictsort", 0, 3, "case_sensitive by reverse")                                     \
    F(FIRST, "first", 0, 0, "")                                                                    \
    F(FLOAT, "float", 0, 1, "default")                                                             \
    F(INDENT, "indent", 0, 3, "width first blank")                                                 \
    F(INT, "int", 0, 2, "default base")                                                            \
    F(ITEMS, "items", 0, 0, "")                                                                    \
    F(JOIN, "join", 0, 2, "d attribute")                                                           \
    F(LAST, "last", 0, 0, "")                                                                      \
    F(LENGTH, "length", 0, 0, "")                                                                  \
    F(LIST, "list", 0, 0, "")                                                                      \
    F(LOWER, "lower", 0, 0, "")                                                                    \
    F(MAP, "map", 0, 4, "*")                                                                       \
    F(MAX, "max", 0, 0, "")                                                                        \
    F(MIN, "min", 0, 0, "")                                                                        \
    F(REJECT, "reject", 0, 3, "*")                                                                 \
    F(REJECTATTR, "rejectattr", 1, 4, "*")                                                         \
    F(REPLACE, "replace", 2, 3, "old new count")                                                   \
    F(REVERSE, "reverse", 0, 0, "")                                                                \
    F(ROUND, "round", 0, 2, "precision method")                                                    \
    F(SAFE, "safe", 0, 0, "")                                                                      \
    F(SELECT, "select", 0, 3, "*")                                                                 \
    F(SELECTATTR, "selectattr", 1, 4, "*")                                                         \
    F(SORT, "sort", 0, 3, "reverse case_sensitive attribute")                                      \
    F(STRING, "string", 0, 0, "")                                                                  \
    F(SUM, "sum", 0, 2, "attribute start")                                                         \
    F(TITLE, "title", 0, 0, "")                                                                    \
    F(TOJSON, "tojson", 0, 4, "ensure_ascii indent separators sort_keys")                          \
    F(TRIM, "trim", 0, 1, "chars")                                                                 \
    F(UNIQUE, "unique", 0, 2, "case_sensitive attribute")                                          \
    F(UPPER, "upper", 0, 0, "")

#define BN_TEMPLATE_TESTS(T)                                                                       \
    T(BOOLEAN, "boolean", 0, 0, "")                                                                \
    T(CALLABLE, "callable", 0, 0, "")                                                              \
    T(DEFINED, "defined", 0, 0, "")                                                                \
    T(DIVISIBLEBY, "divisibleby", 1, 1, "num")                                                     \
    T(EQ, "eq", 1, 1, "")                                                                          \
    T(EQ_SIGN, "==", 1, 1, "")                                                                     \
    T(EQUALTO, "equalto", 1, 1, "")                                                                \
    T(EVEN, "even", 0, 0, "")                                                                      \
    T(FALSE, "false", 0, 0, "")                                                                    \
    T(FLOAT, "float", 0, 0, "")                                                                    \
    T(GE, "ge", 1, 1, "")                                                                          \
    T(GREATERTHAN, "greaterthan", 1, 1, "")                                                        \
    T(GT, "gt", 1, 1, "")                                                                          \
    T(IN, "in", 1, 1, "seq")                                                                       \
    T(INTEGER, "integer", 0, 0, "")                                                                \
    T(ITERABLE, "iterable", 0, 0, "")                                                              \
    T(LE, "le", 1, 1, "")                                                                          \
    T(LESSTHAN, "lessthan", 1, 1, "")                                                              \
    T(LOWER, "lower", 0, 0, "")                                                                    \
    T(LT, "lt", 1, 1, "")                                                                          \
    T(MAPPING, "mapping", 0, 0, "")                                                                \
    T(NE, "ne", 1, 1, "")                                                                          \
    T(NE_SIGN, "!=", 1, 1, "")                                                                     \
    T(NONE, "none", 0, 0, "")                                                                      \
    T(NUMBER, "number", 0, 0, "")                                                                  \
    T(ODD, "odd", 0, 0, "")                                                                        \
    T(SAMEAS, "sameas", 1, 1, "other")                                                             \
    T(SEQUENCE, "sequence", 0, 0, "")                                                              \
    T(STRING, "string", 0, 0, "")                                                                  \
    T(TRUE, "true", 0, 0, "")                                                                      \
    T(UNDEFINED, "undefined", 0, 0, "")                                                            \
    T(UPPER, "upper", 0, 0, "")

#define BN_TEMPLATE_METHODS(M)                                                                     \
    M(CAPITALIZE, "capitalize", 0, 0, "")                                                          \
    M(COUNT, "count", 1, 1, "")                                                                    \
    M(ENDSWITH, "endswith", 1, 1, "")                                                              \
    M(FIND, "find", 1, 1, "")                                                                      \
    M(FORMAT, "format", 0, 4, "*")                                                                 \
    M(GET, "get", 1, 2, "")                                                                        \
    M(INDEX, "index", 1, 1, "")                                                                    \
    M(ISALNUM, "isalnum", 0, 0, "")                                                                \
    M(ISALPHA, "isalpha", 0, 0, "")                                                                \
    M(ISDIGIT, "isdigit", 0, 0, "")                                                                \
    M(ISSPACE, "isspace", 0, 0, "")                                                                \
    M(ITEMS, "items", 0, 0, "")                                                                    \
    M(JOIN, "join", 1, 1, "")                                                                      \
    M(KEYS, "keys", 0, 0, "")                                                                      \
    M(LOWER, "lower", 0, 0, "")                                                                    \
    M(LSTRIP, "lstrip", 0, 1, "")                                                                  \
    M(REMOVEPREFIX, "removeprefix", 1, 1, "")                                                      \
    M(REMOVESUFFIX, "removesuffix", 1, 1, "")                                                      \
    M(REPLACE, "replace", 2, 3, "old new count")                                                   \
    M(RFIND, "rfind", 1, 1, "")                                                                    \
    M(RSPLIT, "rsplit", 0, 2, "sep maxsplit")                                                      \
    M(RSTRIP, "rstrip", 0, 1, "")                                                                  \
    M(SPLIT, "split", 0, 2, "sep maxsplit")                                                        \
    M(SPLITLINES, "splitlines", 0, 1, "keepends")                                                  \
    M(STARTSWITH, "startswith", 1, 1, "")                                                          \
    M(STRIP, "strip", 0, 1, "")                                                                    \
    M(TITLE, "title", 0, 0, "")                                                                    \
    M(UPPER, "upper", 0, 0, "")                                                                    \
    M(VALUES, "values", 0, 0, "")

#define BN_TEMPLATE_FUNCTIONS(F)                                                                   \
    F(DICT, "dict", 0, 0, "*")                                                                     \
    F(NAMESPACE, "namespace", 0, 0, "*")                                                           \
    F(RAISE, "raise_exception", 1, 1, "message")                                                   \
    F(RANGE, "range", 1, 3, "")                                                                    \
    F(STRFTIME, "strftime_now", 1, 1, "format")

#define BN_TEMPLATE_FILTER(name, text, least, most, args) BN_FILTER_##name,
#define BN_TEMPLATE_TEST(name, text, least, most, args) BN_TEST_##name,
#define BN_TEMPLATE_METHOD(name, text, least, most, args) BN_METHOD_##name,
#define BN_TEMPLATE_FUNCTION(name, text, least, most, args) BN_FUNCTION_##name,
enum { BN_TEMPLATE_FILTERS(BN_TEMPLATE_FILTER) BN_NFILTER };
enum { BN_TEMPLATE_TESTS(BN_TEMPLATE_TEST) BN_NTEST };
enum { BN_TEMPLATE_METHODS(BN_TEMPLATE_METHOD) BN_NMETHOD };
enum { BN_TEMPLATE_FUNCTIONS(BN_TEMPLATE_FUNCTION) BN_NFUNCTION };
#undef BN_TEMPLATE_FILTER
#undef BN_TEMPLATE_TEST
#undef BN_TEMPLATE_METHOD
#undef BN_TEMPLATE_FUNCTION

typedef struct bn_callable {
    const char *name;
    int least, most;
    const char *args;
} bn_callable;

#endif
