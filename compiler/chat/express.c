/* express.c: a template's expressions as C: nested calls of text.c. What is known already is
 * written as a constant; what is outside the subset is refused at its place. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "bn_model.h"
#include "chat/write.h"
#include "ir/escape.h"

void refuse(Writer *w, const Node *n, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err(w->s, (Loc){w->source, n->at.line, n->at.col}, "%s", text);
}

/* ---- constants ---- */

void put_c_text(Out *o, const char *text, size_t n)
{
    put_c_string(o, text, n);
    put(o, ", %zu", n);
}

void put_known(Writer *w, const Node *n, Known v)
{
    Out *o = w->out;
    if (v.kind == K_UNDEFINED) {
        put(o, "ch_undefined()");
    } else if (v.kind == K_NONE) {
        put(o, "ch_none()");
    } else if (v.kind == K_BOOL) {
        put(o, "ch_bool(%d)", v.i != 0);
    } else if (v.kind == K_INT) {
        put(o, "ch_int(%" PRId64 ")", v.i);
    } else if (v.kind == K_TEXT) {
        if (v.i > LITERAL)
            refuse(w, n, "a text of more than %d bytes inside an expression", LITERAL);
        put(o, "ch_text(");
        put_c_text(o, v.text, (size_t)v.i);
        put(o, ")");
    } else {
        refuse(w, n, "a namespace is no value; name one of its fields");
    }
}

/* ---- arguments ---- */

static int count(const Node *list)
{
    int n = 0;
    for (; list; list = list->next)
        n++;
    return n;
}

/* Checks a filter's, test's or function's arguments. */
static bool takes(Writer *w, const Node *n, const char *what, const char *name, int least, int most)
{
    int given = count(n->list);
    for (const Node *a = n->list; a; a = a->next)
        if (a->kind == N_KEYWORD) {
            refuse(w, a, "%s %s: the argument %s= is not supported", what, name, a->text);
            return false;
        }
    if (given >= least && given <= most)
        return true;
    if (least == most)
        refuse(w, n, "%s %s takes %d arguments here, not %d", what, name, least, given);
    else
        refuse(w, n, "%s %s takes %d to %d arguments here, not %d", what, name, least, most, given);
    return false;
}

/* helper(c, line, a: for more arguments. */
static void put_open(Writer *w, const Node *n, const char *helper, const Node *a)
{
    put(w->out, "%s(c, %d, ", helper, n->at.line);
    put_value(w, a);
}

/* helper(c, line, a, arguments...) */
static void put_call(Writer *w, const Node *n, const char *helper, const Node *a, const Node *list)
{
    put_open(w, n, helper, a);
    for (; list; list = list->next) {
        put(w->out, ", ");
        put_value(w, list);
    }
    put(w->out, ")");
}

/* A set of characters, or NULL for spaces, as strip takes them. */
static void put_set(Writer *w, const Node *set)
{
    if (!set) {
        put(w->out, "NULL)");
        return;
    }
    int t = ++w->ntemp;
    put(w->out, "(t%d = ", t);
    put_value(w, set);
    put(w->out, ", &t%d))", t);
}

/* ---- filters and methods ----
 *
 * name, where (F: filter, M: method of a text), least and most arguments, how:
 *   CALL    x(c, line, value, arguments...)
 *   FLAG    the same, whose int becomes a bool
 *   CASE    ch_case(c, line, value, x)
 *   STRIP   ch_strip(c, line, value, x: which ends, set or NULL)
 *   SAME    the value */
enum { F = 1, M = 2 };
typedef enum How { CALL, FLAG, CASE, STRIP, TRIM, LENGTH, DEFAULT, PICK, SAME } How;
static const struct Filter {
    const char *name;
    int where, least, most;
    How how;
    const char *helper;
} filters[] = {
    {"trim", F, 0, 1, TRIM, NULL},
    {"strip", M, 0, 1, STRIP, "3"},
    {"lstrip", M, 0, 1, STRIP, "1"},
    {"rstrip", M, 0, 1, STRIP, "2"},
    {"upper", F | M, 0, 0, CASE, "CH_UPPER"},
    {"lower", F | M, 0, 0, CASE, "CH_LOWER"},
    {"capitalize", F | M, 0, 0, CASE, "CH_CAPITALIZE"},
    {"title", M, 0, 0, CASE, "CH_TITLE"},
    {"title", F, 0, 0, CALL, "ch_title"},
    {"split", M, 1, 1, CALL, "ch_split"},
    {"replace", F | M, 2, 2, CALL, "ch_replace"},
    {"startswith", M, 1, 1, FLAG, "ch_starts"},
    {"endswith", M, 1, 1, FLAG, "ch_ends"},
    {"get", M, 1, 2, DEFAULT, NULL},
    {"length", F, 0, 0, LENGTH, NULL},
    {"count", F, 0, 0, LENGTH, NULL},
    {"default", F, 1, 2, DEFAULT, NULL},
    {"d", F, 1, 2, DEFAULT, NULL},
    {"tojson", F, 0, 0, CALL, "ch_json"},
    {"string", F, 0, 0, CALL, "ch_string"},
    {"join", F, 1, 1, CALL, "ch_joined"},
    {"first", F, 0, 0, PICK, "0"},
    {"last", F, 0, 0, PICK, "-1"},
    {"list", F, 0, 0, SAME, NULL},
    {"safe", F, 0, 0, SAME, NULL},
};
enum { NFILTER = sizeof filters / sizeof *filters };

static const struct Filter *filter_find(const char *name, int where)
{
    for (int i = 0; i < NFILTER; i++)
        if (filters[i].where & where && !strcmp(filters[i].name, name))
            return &filters[i];
    return NULL;
}

/* default(a, b): a(c), or b. As a method it is get(key, b). */
static void put_default(Writer *w, const Node *n, const Node *a, bool get)
{
    const Node *otherwise = get ? n->list->next : n->list;
    put(w->out, "ch_default(");
    if (get) {
        put_open(w, n, "ch_item", a);
        put(w->out, ", ");
        put_value(w, n->list);
        put(w->out, ")");
    } else {
        put_value(w, a);
    }
    put(w->out, ", ");
    if (otherwise)
        put_value(w, otherwise);
    else
        put(w->out, "ch_none()");
    put(w->out, ", ");
    if (!get && n->list->next)
        put_condition(w, n->list->next);
    else
        put(w->out, "0");
    put(w->out, ")");
}

static void put_filter(Writer *w, const Node *n, const Node *a, const char *name, int where)
{
    const struct Filter *f = filter_find(name, where);
    const char *what = where == F ? "the filter" : "the method";
    Out *o = w->out;
    if (!f) {
        refuse(w, n, "%s '%.40s' is not supported", what, name);
        return;
    }
    if (!takes(w, n, what, name, f->least, f->most))
        return;
    switch (f->how) {
    case CALL:
    case FLAG:
        put(o, f->how == FLAG ? "ch_bool(" : "");
        put_call(w, n, f->helper, a, n->list);
        put(o, f->how == FLAG ? ")" : "");
        break;
    case CASE:
        put(o, "ch_case(c, %d, ", n->at.line);
        if (where == M)
            put(o, "ch_checked(c, %d, ", n->at.line);
        put_value(w, a);
        put(o, "%s, %s)", where == M ? ")" : "", f->helper);
        break;
    case STRIP:
    case TRIM:
        put_open(w, n, f->how == TRIM ? "ch_trim" : "ch_strip", a);
        put(o, ", %s%s", f->helper ? f->helper : "", f->helper ? ", " : "");
        put_set(w, n->list);
        break;
    case LENGTH:
        put(o, "ch_int(");
        put_call(w, n, "ch_length", a, NULL);
        put(o, ")");
        break;
    case DEFAULT:
        put_default(w, n, a, where == M);
        break;
    case PICK:
        put_open(w, n, "ch_at", a);
        put(o, ", %s)", f->helper);
        break;
    case SAME:
        put_value(w, a);
        break;
    }
}

/* ---- conditions ---- */

/* Tests: name, C; $ is the value, # the line. */
static const struct Test {
    const char *name, *c;
} tests[] = {
    {"defined", "$.kind != CH_UNDEFINED"},
    {"undefined", "$.kind == CH_UNDEFINED"},
    {"none", "$.kind == CH_NONE"},
    {"string", "$.kind == CH_TEXT"},
    {"mapping", "$.kind == CH_MESSAGE"},
    {"iterable", "ch_is_iterable($)"},
    {"sequence", "ch_is_iterable($)"},
    {"boolean", "$.kind == CH_BOOL"},
    {"number", "ch_number($)"},
    {"integer", "$.kind == CH_INT"},
    {"true", "ch_is($, 1)"},
    {"false", "ch_is($, 0)"},
    {"odd", "ch_is_odd(c, #, $)"},
    {"even", "!ch_is_odd(c, #, $)"},
};
enum { NTEST = sizeof tests / sizeof *tests };

static void put_test(Writer *w, const Node *n)
{
    Out *o = w->out;
    int i = 0;
    if (!strcmp(n->text, "equalto") || !strcmp(n->text, "eq")) {
        if (takes(w, n, "the test", n->text, 1, 1)) {
            put(o, n->op ? "!" : "");
            put_call(w, n, "ch_equal", n->a, n->list);
        }
        return;
    }
    while (i < NTEST && strcmp(n->text, tests[i].name) != 0)
        i++;
    if (i == NTEST) {
        refuse(w, n, "the test '%.40s' is not supported", n->text);
        return;
    }
    if (!takes(w, n, "the test", n->text, 0, 0))
        return;
    int t = ++w->ntemp;
    put(o, "%s(t%d = ", n->op ? "!" : "", t);
    put_value(w, n->a);
    put(o, ", ");
    for (const char *c = tests[i].c; *c; c++)
        if (*c == '$')
            put(o, "t%d", t);
        else if (*c == '#')
            put(o, "%d", n->at.line);
        else
            put(o, "%c", *c);
    put(o, ")");
}

/* a in [b, c] */
static void put_one_of(Writer *w, const Node *n)
{
    int t = ++w->ntemp;
    put(w->out, "%s(t%d = ", n->op == CHAT_NOT_IN ? "!" : "", t);
    put_value(w, n->a);
    put(w->out, ", ");
    for (const Node *i = n->b->list; i; i = i->next) {
        put(w->out, "ch_equal(c, %d, t%d, ", n->at.line, t);
        put_value(w, i);
        put(w->out, ")%s", i->next ? " || " : "");
    }
    put(w->out, n->b->list ? ")" : "0)");
}

typedef struct OperatorInfo {
    const char *text, *helper;
    bool compares;
} OperatorInfo;
static const OperatorInfo operators[] = {
#define CHAT_INFO(name, text, helper, compares) {text, helper, compares},
    CHAT_OPERATORS(CHAT_INFO)
#undef CHAT_INFO
};

/* An int of C. */
void put_condition(Writer *w, const Node *n)
{
    int truth = known_truth(w, n);
    Out *o = w->out;
    if (truth >= 0) {
        put(o, "%d", truth);
    } else if (n->kind == N_NOT) {
        put(o, "!");
        put_condition(w, n->a);
    } else if (n->kind == N_AND || n->kind == N_OR) {
        put(o, "(");
        put_condition(w, n->a);
        put(o, n->kind == N_AND ? " && " : " || ");
        put_condition(w, n->b);
        put(o, ")");
    } else if (n->kind == N_TEST) {
        put_test(w, n);
    } else if (n->kind == N_BINARY && operators[n->op].compares) {
        if ((n->op == CHAT_IN || n->op == CHAT_NOT_IN) && n->b->kind == N_LIST)
            put_one_of(w, n);
        else
            put_call(w, n, operators[n->op].helper, n->a, n->b);
    } else {
        put(o, "ch_true(");
        put_value(w, n);
        put(o, ")");
    }
}

/* ---- values ---- */

/* loop.x; $ is the loop's variable. */
static void put_loop_part(Writer *w, const Node *n)
{
    static const struct {
        const char *name, *c;
    } parts[] = {{"index", "ch_int($.index)"},
                 {"index0", "ch_int($.index - 1)"},
                 {"first", "ch_bool($.index == 1)"},
                 {"last", "ch_bool($.index == $.length)"},
                 {"length", "ch_int($.length)"},
                 {"revindex", "ch_int($.length - $.index + 1)"},
                 {"revindex0", "ch_int($.length - $.index)"},
                 {"previtem", "ch_near(c, &$, -1)"},
                 {"nextitem", "ch_near(c, &$, 1)"}};
    bool near = !strcmp(n->text, "previtem") || !strcmp(n->text, "nextitem");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(n->text, parts[i].name) && !(near && w->filtered)) {
            for (const char *c = parts[i].c; *c; c++)
                if (*c == '$')
                    put(w->out, "l%d", w->loop);
                else
                    put(w->out, "%c", *c);
            return;
        }
    refuse(w, n, "loop.%.40s is not supported%s", n->text, near ? " in a loop with `if`" : "");
}

static void put_part(Writer *w, const Node *n)
{
    Known a = known_value(w, n->a);
    if (n->a->kind == N_NAME && !strcmp(n->a->text, "loop") && w->loop &&
        !var_find(w, n->a->text)) {
        put_loop_part(w, n);
    } else if (a.kind == K_SPACE) {
        put(w->out, "n%d_%s", a.space->id, n->text);
    } else {
        put_open(w, n, "ch_item", n->a);
        put(w->out, ", ch_text(");
        put_c_text(w->out, n->text, strlen(n->text));
        put(w->out, "))");
    }
}

static void put_slice_value(Writer *w, const Node *n)
{
    put_open(w, n, "ch_slice", n->a);
    for (const Node *i = n->list; i; i = i->next) {
        put(w->out, ", ");
        if (i->kind == N_NONE)
            put(w->out, "ch_none()");
        else
            put_value(w, i);
    }
    put(w->out, ")");
}

static void put_function(Writer *w, const Node *n)
{
    const Node *f = n->a;
    if (f->kind == N_ATTR) {
        put_filter(w, n, f->a, f->text, M);
    } else if (f->kind != N_NAME) {
        refuse(w, n, "a call of what is no function");
    } else if (!strcmp(f->text, "raise_exception")) {
        if (takes(w, n, "the function", f->text, 1, 1))
            put_call(w, n, "ch_raise", n->list, NULL);
    } else if (!strcmp(f->text, "range")) {
        if (takes(w, n, "the function", f->text, 1, 2)) {
            put(w->out, "ch_range(c, %d, %s", n->at.line, n->list->next ? "" : "ch_int(0), ");
            put_value(w, n->list);
            if (n->list->next) {
                put(w->out, ", ");
                put_value(w, n->list->next);
            }
            put(w->out, ")");
        }
    } else if (!strcmp(f->text, "strftime_now")) {
        refuse(w, n, "strftime_now asks for today's date, which a compiled template does not know");
    } else if (!strcmp(f->text, "namespace")) {
        refuse(w, n, "a namespace stands alone behind =, as in: set ns = namespace(found=false)");
    } else {
        refuse(w, n, "the function '%.40s' is not supported", f->text);
    }
}

/* a and b, a or b: the value that decides. */
static void put_choice(Writer *w, const Node *n)
{
    int t = ++w->ntemp;
    put(w->out, "(ch_true(t%d = ", t);
    put_value(w, n->a);
    put(w->out, n->kind == N_AND ? ") ? " : ") ? t%d : ", t);
    put_value(w, n->b);
    put(w->out, n->kind == N_AND ? " : t%d)" : ")", t);
}

static void put_other_value(Writer *w, const Node *n)
{
    Out *o = w->out;
    const Var *v;
    switch (n->kind) {
    case N_NAME:
        v = var_find(w, n->text);
        if (v)
            put(o, "%s", v->c_name);
        else
            refuse(w, n, "loop is no value; name one of its parts");
        break;
    case N_ATTR:
        put_part(w, n);
        break;
    case N_ITEM:
        put_call(w, n, "ch_item", n->a, n->b);
        break;
    case N_SLICE:
        put_slice_value(w, n);
        break;
    case N_CALL:
        put_function(w, n);
        break;
    case N_FILTER:
        put_filter(w, n, n->a, n->text, F);
        break;
    case N_NEG:
        put(o, "ch_subtract(c, %d, ch_int(0), ", n->at.line);
        put_value(w, n->a);
        put(o, ")");
        break;
    case N_AND:
    case N_OR:
        put_choice(w, n);
        break;
    case N_COND:
        put(o, "(");
        put_condition(w, n->a);
        put(o, " ? ");
        put_value(w, n->b);
        put(o, " : ");
        if (n->c)
            put_value(w, n->c);
        else
            put(o, "ch_undefined()");
        put(o, ")");
        break;
    case N_LIST:
    case N_DICT:
        refuse(w, n, "a list or dictionary here is not supported; only behind `in`");
        break;
    default:
        refuse(w, n, "this is not supported here");
    }
}

/* A ch_value of C. */
void put_value(Writer *w, const Node *n)
{
    Known v = known_value(w, n);
    bool condition =
        n->kind == N_NOT || n->kind == N_TEST || (n->kind == N_BINARY && operators[n->op].compares);
    if (v.kind != K_NO) {
        put_known(w, n, v);
    } else if (condition) {
        put(w->out, "ch_bool(");
        put_condition(w, n);
        put(w->out, ")");
    } else if (n->kind == N_BINARY) {
        put_call(w, n, operators[n->op].helper, n->a, n->b);
    } else {
        put_other_value(w, n);
    }
}
