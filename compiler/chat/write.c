/* write.c: a template's statements as C. Branches that cannot be taken are left out, with whatever
 * they hold that could not be compiled. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "bn_model.h"
#include "chat/write.h"

static void put_body(Writer *w, const Node *list);

static void indent(Writer *w)
{
    put(w->out, "%*s", 4 * w->depth, "");
}

PRINTF_LIKE(2, 3)
static void line(Writer *w, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    indent(w);
    put(w->out, "%s\n", text);
}

/* ---- output ---- */

static void put_own(Writer *w, const char *text, size_t n)
{
    for (size_t part; n > 0; text += part, n -= part) {
        part = n < LITERAL ? n : LITERAL;
        indent(w);
        put(w->out, "ch_put_own(c, ");
        put_c_text(w->out, text, part);
        put(w->out, ");\n");
    }
}

/* Whether a sum holds a text that is known, so that all its parts must be texts. */
static bool joins_texts(const Writer *w, const Node *n)
{
    if (n->kind == N_BINARY && n->op == CHAT_ADD)
        return joins_texts(w, n->a) || known_value(w, n->b).kind == K_TEXT;
    return known_value(w, n).kind == K_TEXT;
}

/* {{ n }}; a joined text needs no scratch: its parts are written one by one. */
static void put_output(Writer *w, const Node *n, const char *helper)
{
    Known v = known_value(w, n);
    if (v.kind == K_TEXT) {
        put_own(w, v.text, (size_t)v.i);
    } else if (v.kind == K_UNDEFINED && !strcmp(helper, "ch_put")) {
        return;
    } else if (v.kind == K_NO && n->kind == N_BINARY && n->op == CHAT_ADD && joins_texts(w, n)) {
        put_output(w, n->a, "ch_put_text");
        put_output(w, n->b, "ch_put_text");
    } else if (v.kind == K_NO && n->kind == N_BINARY && n->op == CHAT_JOIN) {
        put_output(w, n->a, "ch_put");
        put_output(w, n->b, "ch_put");
    } else {
        indent(w);
        put(w->out, "%s(c, %d, ", helper, n->at.line);
        put_value(w, n);
        put(w->out, ");\n");
    }
}

/* ---- variables ---- */

static Var *var_push(Writer *w, const char *name, const char *c_name, Known known)
{
    w->var = grow(w->s, w->var, (size_t)w->nvar, sizeof *w->var);
    w->var[w->nvar] = (Var){name, c_name, known};
    return &w->var[w->nvar++];
}

/* Names that this body, without its loops, sets: its own from here on, as Jinja has it: each starts
 * with the value of its namesake outside. */
static void declare_set(Writer *w, const Node *list, int scope)
{
    for (const Node *n = list; n; n = n->next) {
        if (n->kind == S_BODY)
            declare_set(w, n->list, scope);
        for (const Node *k = n->kind == S_IF ? n->list : NULL; k; k = k->next)
            declare_set(w, k->b->list, scope);
        const char *c_name = n->kind == S_SET ? format(w->s, "v%d_%s", scope, n->text) : NULL;
        const Var *outer = c_name ? var_find(w, n->text) : NULL;
        if (!c_name || (outer && outer->c_name == c_name))
            continue;
        Known known = outer ? outer->known : (Known){.kind = K_UNDEFINED};
        if (!outer) {
            Node here = {.kind = N_NAME, .text = n->text};
            known = known_value(w, &here);
        }
        indent(w);
        put(w->out, "ch_value %s = ", c_name);
        if (known.kind == K_NO && outer)
            put(w->out, "%s", outer->c_name);
        else if (known.kind == K_NO || known.kind == K_SPACE)
            put(w->out, "ch_undefined()");
        else
            put_known(w, n, known);
        put(w->out, ";\n");
        line(w, "(void)%s;", c_name);
        var_push(w, n->text, c_name, known);
    }
}

static Known *known_save(const Writer *w)
{
    Known *k = NEW_ARRAY(w->s, Known, w->nvar + 1);
    for (int i = 0; i < w->nvar; i++)
        k[i] = w->var[i].known;
    return k;
}

static void known_load(Writer *w, const Known *k)
{
    for (int i = 0; i < w->nvar; i++)
        w->var[i].known = k[i];
}

static bool known_same(Known a, Known b)
{
    return a.kind == b.kind && a.i == b.i && a.text == b.text && a.space == b.space;
}

/* What holds after either of two ways. */
static void known_meet(const Writer *w, Known *k)
{
    for (int i = 0; i < w->nvar; i++)
        if (!known_same(k[i], w->var[i].known))
            k[i] = (Known){K_NO};
}

/* set x = namespace(a=1): variables nN_a. */
static void put_space(Writer *w, const Node *n)
{
    Space *space = NEW(w->s, Space);
    space->id = ++w->nspace;
    for (const Node *a = n->a->list; a; a = a->next) {
        if (a->kind != N_KEYWORD) {
            refuse(w, a, "namespace takes name=value");
            return;
        }
        if (!space_has(space, a->text)) {
            space->field = grow(w->s, space->field, (size_t)space->nfield, sizeof *space->field);
            space->field[space->nfield++] = a->text;
            put(&w->spaces, "    ch_value n%d_%s = ch_undefined();\n    (void)n%d_%s;\n", space->id,
                a->text, space->id, a->text);
        }
        indent(w);
        put(w->out, "n%d_%s = ", space->id, a->text);
        put_value(w, a->a);
        put(w->out, ";\n");
    }
    var_find(w, n->text)->known = (Known){.kind = K_SPACE, .space = space};
}

static void put_set_statement(Writer *w, const Node *n)
{
    Var *v = var_find(w, n->text);
    bool space =
        n->a->kind == N_CALL && n->a->a->kind == N_NAME && !strcmp(n->a->a->text, "namespace");
    CHECK(v);
    if (space) {
        put_space(w, n);
        return;
    }
    Known known = known_value(w, n->a);
    indent(w);
    put(w->out, "%s = ", v->c_name);
    put_value(w, n->a);
    put(w->out, ";\n");
    v->known = known;
}

static void put_set_field(Writer *w, const Node *n)
{
    Node here = {.kind = N_NAME, .text = n->text, .at = n->at};
    Known v = known_value(w, &here);
    if (v.kind != K_SPACE) {
        refuse(w, n, "%.40s is no namespace here", n->text);
        return;
    }
    if (!space_has(v.space, n->b->text)) {
        refuse(w, n, "give %.40s a value in namespace(...) first", n->b->text);
        return;
    }
    indent(w);
    put(w->out, "n%d_%s = ", v.space->id, n->b->text);
    put_value(w, n->a);
    put(w->out, ";\n");
}

/* ---- if, for ---- */

/* Takes the branches that may run; the last one that surely runs ends the chain. */
static void put_if(Writer *w, const Node *n)
{
    Known *before = known_save(w), *after = NULL;
    bool open = true;
    for (const Node *k = n->list; k && open; k = k->next) {
        known_load(w, before);
        int truth = k->a ? known_truth(w, k->a) : 1;
        if (truth == 0)
            continue;
        open = truth < 0;
        if (!open && !after) { /* nothing before it could run */
            put_body(w, k->b->list);
            return;
        }
        indent(w);
        put(w->out, after ? "else " : "");
        if (open) {
            put(w->out, "if (");
            put_condition(w, k->a);
            put(w->out, ") ");
        }
        put(w->out, "{\n");
        w->depth++;
        put_body(w, k->b->list);
        w->depth--;
        line(w, "}");
        if (after)
            known_meet(w, after);
        else
            after = known_save(w);
    }
    known_load(w, before);
    if (after && open)
        known_meet(w, after);
    known_load(w, after ? after : before);
}

static void put_scope(Writer *w, const Node *list)
{
    int nvar = w->nvar;
    declare_set(w, list, ++w->nscope);
    put_body(w, list);
    w->nvar = nvar;
}

/* while (next) {, with the items that `if` lets through counted first. */
static void put_loop_head(Writer *w, const Node *n, const char *item)
{
    int l = w->loop;
    if (n->b) {
        line(w, "int64_t i%d = 0;", l);
        line(w, "while (ch_step(c, &l%d, &%s))", l, item);
        indent(w);
        put(w->out, "    i%d += (", l);
        put_condition(w, n->b);
        put(w->out, ") != 0;\n");
        line(w, "l%d = ch_begin(c, %d, l%d.list);", l, n->at.line, l);
        line(w, "l%d.length = i%d;", l, l);
        line(w, "i%d = 0;", l);
    }
    line(w, "while (ch_step(c, &l%d, &%s)) {", l, item);
    if (n->b) {
        indent(w);
        put(w->out, "    if (!(");
        put_condition(w, n->b);
        put(w->out, "))\n");
        line(w, "        continue;");
        line(w, "    l%d.index = ++i%d;", l, l);
    }
}

static void put_for(Writer *w, const Node *n)
{
    int outer = w->loop, nvar = w->nvar;
    bool outer_filtered = w->filtered;
    Known list = known_value(w, n->a);
    if (n->op) {
        refuse(w, n, "a loop with two variables is not supported");
        return;
    }
    if (list.kind == K_UNDEFINED) {
        put_scope(w, n->list);
        return;
    }
    int l = ++w->nloop;
    const char *item = format(w->s, "v%d_%s", ++w->nscope, n->text);
    line(w, "{");
    w->depth++;
    indent(w);
    put(w->out, "ch_loop l%d = ch_begin(c, %d, ", l, n->at.line);
    put_value(w, n->a);
    put(w->out, ");\n");
    line(w, "ch_value %s = ch_undefined();", item);
    line(w, "(void)%s;", item);
    var_push(w, n->text, item, (Known){K_NO});
    w->loop = l;
    w->filtered = n->b != NULL;
    put_loop_head(w, n, item);
    w->depth++;
    put_scope(w, n->c->list);
    w->depth--;
    line(w, "}");
    w->loop = outer;
    w->filtered = outer_filtered;
    w->nvar = nvar;
    if (n->list) {
        line(w, "if (l%d.%s == 0) {", l, n->b ? "length" : "index");
        w->depth++;
        put_scope(w, n->list);
        w->depth--;
        line(w, "}");
    }
    w->depth--;
    line(w, "}");
}

static void put_body(Writer *w, const Node *list)
{
    for (const Node *n = list; n; n = n->next)
        switch (n->kind) {
        case S_DATA:
            put_own(w, n->text, (size_t)n->i);
            break;
        case S_PUT:
            put_output(w, n->a, "ch_put");
            break;
        case S_IF:
            put_if(w, n);
            break;
        case S_FOR:
            put_for(w, n);
            break;
        case S_SET:
            put_set_statement(w, n);
            break;
        case S_SETATTR:
            put_set_field(w, n);
            break;
        case S_BREAK:
        case S_CONTINUE:
            if (w->loop)
                line(w, n->kind == S_BREAK ? "break;" : "continue;");
            else
                refuse(w, n, "break and continue belong into a loop");
            break;
        case S_BODY:
            put_body(w, n->list);
            break;
        default: /* a macro: where it is called, the function is not known */
            break;
        }
}

/* ---- the file ---- */

void chat_compile(Session *s, const ChatTemplate *t, const ChatTokens *tokens, Out *out)
{
    int64_t steps = 20000000;
    Out body = {.s = s}, code = {.s = s};
    Writer w = {
        .s = s, .tokens = tokens, .depth = 1, .out = &body, .spaces = {.s = s}, .steps = &steps};
    const Node *root = template_parse(s, t, &w.source);
    if (root) {
        var_push(&w, name(s, "messages"), "messages", (Known){K_NO});
        var_push(&w, name(s, "add_generation_prompt"), "add_generation_prompt", (Known){K_NO});
        put_scope(&w, root->list);
    }
    if (s->nerror)
        fail(s, (Loc){0},
             "the chat template above cannot be compiled; give one with --chat-template=FILE, or a "
             "built-in one (%s), or none",
             chat_names(s));
    put(&code, "/* The chat template; numbers are its lines. */\n"
             "static bn_status chat_template(bn_chat_call *c)\n{\n"
             "    const ch_value messages = ch_messages(c);\n"
             "    const ch_value add_generation_prompt = ch_bool(c->begin_answer);\n");
    for (int i = 1; i <= w.ntemp; i++)
        put(&code, "    ch_value t%d = ch_undefined();\n", i);
    put_bytes(&code, w.spaces.text, w.spaces.len);
    put(&code, "    (void)messages;\n    (void)add_generation_prompt;\n"
             "    c->status = BN_OK;\n    c->text = c->used = 0;\n");
    put_bytes(&code, body.text, body.len);
    put(&code, "    return c->status;\n}\n");
    put_helpers(s, code.text, code.len, out);
    put_bytes(out, code.text, code.len);
    out_free(&code);
    out_free(&w.spaces);
    out_free(&body);
}
