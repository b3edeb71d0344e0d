/* express.c: a template's expressions as instructions. What Jinja itself looks up while it
 * compiles, filters, tests and their arguments, is checked here, and methods and functions, too:
 * outside of any `if` it is an error, inside one it fails when a conversation gets there. */
#include <string.h>

#include "chat/write.h"

#define CALLABLE(id, text, least, most, args) {text, least, most, args},
static const bn_callable filters[] = {BN_TEMPLATE_FILTERS(CALLABLE){NULL, 0, 0, NULL}};
static const bn_callable tests[] = {BN_TEMPLATE_TESTS(CALLABLE){NULL, 0, 0, NULL}};
static const bn_callable methods[] = {BN_TEMPLATE_METHODS(CALLABLE){NULL, 0, 0, NULL}};
static const bn_callable functions[] = {BN_TEMPLATE_FUNCTIONS(CALLABLE){NULL, 0, 0, NULL}};
#undef CALLABLE

static int callable_find(const bn_callable *table, const char *name)
{
    for (int i = 0; table[i].name; i++)
        if (!strcmp(table[i].name, name))
            return i;
    return -1;
}

/* ---- arguments ---- */

static bool names_argument(const char *args, const char *name)
{
    size_t n = strlen(name);
    for (; *args; args += strcspn(args, " "), args += *args == ' ')
        if (strcspn(args, " ") == n && !memcmp(args, name, n))
            return true;
    return false;
}

/* Pushes arguments, positional ones first; their numbers as calls have them. */
static size_t put_arguments(Program *p, const Node *n)
{
    size_t npos = 0, nkw = 0;
    for (const Node *a = n->list; a; a = a->next) {
        if (a->kind == N_KEYWORD) {
            program_op(p, BN_OP_TEXT, program_text(p, a->text, strlen(a->text), false), a->at);
            put_value(p, a->a);
            nkw++;
        } else if (nkw > 0) {
            program_error(p, a, false, "an argument without a name behind one with a name");
            return 0;
        } else {
            put_value(p, a);
            npos++;
        }
    }
    if (npos > 255 || nkw > 255)
        program_error(p, n, false, "a call with more than 255 arguments");
    return (npos & 255) << 8 | (nkw & 255);
}

/* Whether n may be called with its arguments; else why not, which also leaves a value on the stack.
 */
static bool checked(Program *p, const Node *n, const bn_callable *table, const char *what,
                    const char *name, bool soft)
{
    int id = callable_find(table, name), given = 0;
    if (id < 0) {
        program_error(p, n, soft, "%s '%.40s' is not supported", what, name);
        return false;
    }
    const bn_callable *f = &table[id];
    for (const Node *a = n->list; a; a = a->next) {
        given++;
        if (a->kind == N_KEYWORD && *f->args != '*' && !names_argument(f->args, a->text)) {
            program_error(p, a, soft, "%s %s: the argument %.40s= is not supported", what, name,
                          a->text);
            return false;
        }
    }
    bool any = *f->args == '*' && f->most == 0;
    if (any || (given >= f->least && given <= f->most))
        return true;
    if (f->least == f->most)
        program_error(p, n, soft, "%s %s takes %d arguments here, not %d", what, name, f->least,
                      given);
    else
        program_error(p, n, soft, "%s %s takes %d to %d arguments here, not %d", what, name,
                      f->least, f->most, given);
    return false;
}

/* The value is on the stack. */
static void put_callable(Program *p, const Node *n, bn_template_op op, const bn_callable *table,
                         const char *what, const char *name)
{
    bool soft = p->conditional > 0 || (op == BN_OP_METHOD && p->macros > 0);
    if (!checked(p, n, table, what, name, soft)) {
        if (soft)
            program_op(p, BN_OP_KEEP_SECOND, 0, n->at);
        return;
    }
    size_t arguments = put_arguments(p, n);
    program_op(p, op, (size_t)callable_find(table, name) << 16 | arguments, n->at);
}

void put_filters(Program *p, const Node *n)
{
    if (n->kind != N_FILTER)
        return;
    put_filters(p, n->a);
    put_callable(p, n, BN_OP_FILTER, filters, "the filter", n->text);
}

static void put_call(Program *p, const Node *n)
{
    const Node *f = n->a;
    if (f->kind == N_ATTR) {
        put_value(p, f->a);
        put_callable(p, n, BN_OP_METHOD, methods, "the method", f->text);
        return;
    }
    if (f->kind == N_NAME && !scope_find(p, f->text) && strcmp(f->text, "loop") != 0) {
        bool soft = p->conditional > 0 || p->macros > 0;
        if (!checked(p, n, functions, "the function", f->text, soft))
            return;
    }
    put_value(p, f);
    program_op(p, BN_OP_CALL, put_arguments(p, n), n->at);
}

/* ---- operators ---- */

static size_t put_list(Program *p, const Node *list)
{
    size_t n = 0;
    for (; list; list = list->next, n++)
        put_value(p, list);
    return n;
}

/* a + b + c and a ~ b ~ c: all of them, then one instruction. */
static size_t put_chain(Program *p, const Node *n, int op)
{
    if (n->kind != N_BINARY || n->op != op || n->paren) {
        put_value(p, n);
        return 1;
    }
    size_t before = put_chain(p, n->a, op);
    put_value(p, n->b);
    return before + 1;
}

static void put_binary(Program *p, const Node *n)
{
    if (n->op == BN_OPERATOR_ADD || n->op == BN_OPERATOR_JOIN) {
        size_t parts = put_chain(p, n->a, n->op);
        put_value(p, n->b);
        program_op(p, n->op == BN_OPERATOR_ADD ? BN_OP_ADD : BN_OP_JOIN, parts + 1, n->at);
        return;
    }
    put_value(p, n->a);
    put_value(p, n->b);
    program_op(p, BN_OP_BINARY, (size_t)n->op, n->at);
}

/* a < b < c: where a < b is false, that is the value and c is not looked at. */
static void put_compare(Program *p, const Node *n)
{
    size_t *jump = NULL, njump = 0;
    put_value(p, n->a);
    for (const Node *k = n->list; k; k = k->next) {
        put_value(p, k->a);
        if (!k->next) {
            program_op(p, BN_OP_COMPARE, (size_t)k->op, k->at);
            break;
        }
        program_op(p, BN_OP_CHAIN, (size_t)k->op, k->at);
        jump = grow(p->s, jump, njump, sizeof *jump);
        jump[njump++] = program_op(p, BN_OP_AND, 0, k->at);
        p->depth--; /* AND drops what it does not keep */
    }
    if (njump == 0)
        return;
    size_t done = program_op(p, BN_OP_JUMP, 0, n->at);
    for (size_t i = 0; i < njump; i++)
        program_here(p, jump[i]);
    p->depth++;
    program_op(p, BN_OP_KEEP_SECOND, 0, n->at);
    program_here(p, done);
}

static void put_either(Program *p, const Node *n)
{
    put_value(p, n->a);
    size_t jump = program_op(p, n->kind == N_AND ? BN_OP_AND : BN_OP_OR, 0, n->at);
    p->depth--;
    put_value(p, n->b);
    program_here(p, jump);
}

static void put_cond(Program *p, const Node *n)
{
    put_value(p, n->a);
    size_t other = program_op(p, BN_OP_UNLESS, 0, n->at);
    p->conditional++;
    put_value(p, n->b);
    size_t end = program_op(p, BN_OP_JUMP, 0, n->at);
    program_here(p, other);
    p->depth--;
    if (n->c)
        put_value(p, n->c);
    else
        program_op(p, BN_OP_CONST, BN_CONST_UNDEFINED, n->at);
    p->conditional--;
    program_here(p, end);
}

static void put_slice(Program *p, const Node *n)
{
    put_value(p, n->a);
    for (const Node *i = n->list; i; i = i->next)
        if (i->kind == N_NONE)
            program_op(p, BN_OP_CONST, BN_CONST_NONE, i->at);
        else
            put_value(p, i);
    program_op(p, BN_OP_SLICE, 0, n->at);
}

static void put_unary(Program *p, const Node *n, bn_template_op op)
{
    put_value(p, n->a);
    program_op(p, op, 0, n->at);
}

static void put_test(Program *p, const Node *n)
{
    put_value(p, n->a);
    put_callable(p, n, BN_OP_TEST, tests, "the test", n->text);
    if (n->op)
        program_op(p, BN_OP_NOT, 0, n->at);
}

void put_value(Program *p, const Node *n)
{
    switch (n->kind) {
    case N_TEXT:
        program_op(p, BN_OP_TEXT, program_text(p, n->text, (size_t)n->i, true), n->at);
        break;
    case N_INT:
        program_op(p, BN_OP_INT, (size_t)(n->i + BN_TEMPLATE_MOST), n->at);
        break;
    case N_BIG:
        program_op(p, BN_OP_BIG, program_text(p, n->text, strlen(n->text), false), n->at);
        break;
    case N_NAME:
        put_name(p, n, n->text);
        break;
    case N_ATTR:
        put_value(p, n->a);
        program_op(p, BN_OP_ATTR, program_text(p, n->text, strlen(n->text), false), n->at);
        break;
    case N_ITEM:
        put_value(p, n->a);
        put_unary(p, &(Node){.a = n->b, .at = n->at}, BN_OP_ITEM);
        break;
    case N_SLICE:
        put_slice(p, n);
        break;
    case N_CALL:
        put_call(p, n);
        break;
    case N_FILTER:
        put_value(p, n->a);
        put_callable(p, n, BN_OP_FILTER, filters, "the filter", n->text);
        break;
    case N_TEST:
        put_test(p, n);
        break;
    case N_NOT:
    case N_NEG:
    case N_POS:
        put_unary(p, n, n->kind == N_NOT ? BN_OP_NOT : n->kind == N_NEG ? BN_OP_NEG : BN_OP_POS);
        break;
    case N_BINARY:
        put_binary(p, n);
        break;
    case N_COMPARE:
        put_compare(p, n);
        break;
    case N_AND:
    case N_OR:
        put_either(p, n);
        break;
    case N_COND:
        put_cond(p, n);
        break;
    case N_LIST:
    case N_TUPLE: {
        size_t count = put_list(p, n->list);
        program_op(p, n->kind == N_LIST ? BN_OP_LIST : BN_OP_TUPLE, count, n->at);
        break;
    }
    case N_DICT: {
        size_t count = put_list(p, n->list);
        program_op(p, BN_OP_DICT, count / 2, n->at);
        break;
    }
    default:
        die("a node of kind %d as a value", n->kind);
    }
}
