/* known.c: what a template's expressions are worth before there are messages. There are no tools
 * and no documents, a message has a role and a content, so most of a long template is never run. */
#include <string.h>

#include "bn_model.h"
#include "chat/write.h"

Var *var_find(const Writer *w, const char *name)
{
    for (int i = w->nvar; i-- > 0;)
        if (w->var[i].name == name)
            return &w->var[i];
    return NULL;
}

bool space_has(const Space *space, const char *field)
{
    for (int i = 0; i < space->nfield; i++)
        if (!strcmp(space->field[i], field))
            return true;
    return false;
}

static Known known_text(const char *text)
{
    return text ? (Known){.kind = K_TEXT, .text = text, .i = (int64_t)strlen(text)}
                : (Known){.kind = K_UNDEFINED};
}

static Known known_bool(bool on)
{
    return (Known){.kind = K_BOOL, .i = on};
}

static Known name_value(const Writer *w, const char *name)
{
    const Var *v = var_find(w, name);
    if (v)
        return v->known;
    if (!strcmp(name, "true") || !strcmp(name, "True"))
        return known_bool(true);
    if (!strcmp(name, "false") || !strcmp(name, "False"))
        return known_bool(false);
    /* What transformers passes where there is none. */
    if (!strcmp(name, "none") || !strcmp(name, "None") || !strcmp(name, "tools") ||
        !strcmp(name, "documents"))
        return (Known){.kind = K_NONE};
    if (!strcmp(name, "loop") && w->loop)
        return (Known){K_NO};
    return known_text(!strcmp(name, "bos_token")   ? w->tokens->bos
                      : !strcmp(name, "eos_token") ? w->tokens->eos
                      : !strcmp(name, "unk_token") ? w->tokens->unk
                      : !strcmp(name, "pad_token") ? w->tokens->pad
                                                   : NULL);
}

/* a.key */
static Known part_value(const Writer *w, const Node *a, const char *key)
{
    Known v = known_value(w, a);
    if (v.kind == K_NONE || (v.kind == K_SPACE && !space_has(v.space, key)))
        return (Known){.kind = K_UNDEFINED};
    if (v.kind != K_NO || (a->kind == N_NAME && !strcmp(a->text, "loop") && w->loop))
        return (Known){K_NO};
    bool could = !strcmp(key, "role") || !strcmp(key, "content");
    return (Known){.kind = could ? K_NO : K_UNDEFINED};
}

static Known test_value(const Writer *w, const Node *n)
{
    Known v = known_value(w, n->a);
    const char *t = n->text;
    bool yes;
    if (v.kind == K_NO || v.kind == K_SPACE || n->list)
        return (Known){K_NO};
    if (!strcmp(t, "defined") || !strcmp(t, "undefined"))
        yes = (v.kind == K_UNDEFINED) == (t[0] == 'u');
    else if (!strcmp(t, "none"))
        yes = v.kind == K_NONE;
    else if (!strcmp(t, "string"))
        yes = v.kind == K_TEXT;
    else if (!strcmp(t, "mapping"))
        yes = false;
    else if (!strcmp(t, "iterable") || !strcmp(t, "sequence"))
        yes = v.kind == K_TEXT || v.kind == K_UNDEFINED;
    else if (!strcmp(t, "true") || !strcmp(t, "false"))
        yes = v.kind == K_BOOL && v.i == (t[0] == 't');
    else
        return (Known){K_NO};
    return known_bool(yes != (n->op != 0));
}

static bool same(Known a, Known b)
{
    bool an = a.kind == K_BOOL || a.kind == K_INT, bn = b.kind == K_BOOL || b.kind == K_INT;
    if (an && bn)
        return a.i == b.i;
    return a.kind == b.kind &&
           (a.kind != K_TEXT || (a.i == b.i && !memcmp(a.text, b.text, (size_t)a.i)));
}

static bool holds(Known whole, Known part)
{
    for (int64_t i = 0; i + part.i <= whole.i; i++)
        if (!memcmp(whole.text + i, part.text, (size_t)part.i))
            return true;
    return false;
}

static Known binary_value(const Writer *w, const Node *n)
{
    Known a = known_value(w, n->a), b = known_value(w, n->b);
    bool texts = a.kind == K_TEXT && b.kind == K_TEXT, is = n->op == CHAT_EQ || n->op == CHAT_IN;
    if (a.kind == K_SPACE || b.kind == K_SPACE)
        return (Known){K_NO};
    if ((n->op == CHAT_IN || n->op == CHAT_NOT_IN) && b.kind == K_UNDEFINED)
        return known_bool(!is);
    if (a.kind == K_NO || b.kind == K_NO)
        return (Known){K_NO};
    if (n->op == CHAT_EQ || n->op == CHAT_NE)
        return known_bool(same(a, b) == is);
    if (texts && (n->op == CHAT_IN || n->op == CHAT_NOT_IN))
        return known_bool(holds(b, a) == is);
    if (texts && (n->op == CHAT_ADD || n->op == CHAT_JOIN)) {
        Out o = {.s = w->s};
        put_bytes(&o, a.text, (size_t)a.i);
        put_bytes(&o, b.text, (size_t)b.i);
        Known both = {
            .kind = K_TEXT, .i = a.i + b.i, .text = intern(w->s, o.len ? o.text : "", o.len)};
        out_free(&o);
        return both;
    }
    return (Known){K_NO};
}

static int truth_of(Known v)
{
    switch (v.kind) {
    case K_UNDEFINED:
    case K_NONE:
        return 0;
    case K_BOOL:
    case K_INT:
    case K_TEXT:
        return v.i != 0;
    case K_SPACE:
        return 1;
    default:
        return -1;
    }
}

int known_truth(const Writer *w, const Node *n)
{
    int a, b;
    if (n->kind != N_AND && n->kind != N_OR && n->kind != N_NOT)
        return truth_of(known_value(w, n));
    a = known_truth(w, n->a);
    if (n->kind == N_NOT)
        return a < 0 ? -1 : !a;
    b = known_truth(w, n->b);
    int decides = n->kind == N_OR; /* the truth of one side that is that of the whole */
    return a == decides || b == decides ? decides : a < 0 || b < 0 ? -1 : !decides;
}

Known known_value(const Writer *w, const Node *n)
{
    int truth;
    if (--*w->steps < 0)
        fail(w->s, (Loc){w->source, n->at.line, n->at.col}, "conditions nest too deep");
    switch (n->kind) {
    case N_TEXT:
        return (Known){.kind = K_TEXT, .i = n->i, .text = n->text};
    case N_INT:
        return (Known){.kind = K_INT, .i = n->i};
    case N_NAME:
        return name_value(w, n->text);
    case N_ATTR:
        return part_value(w, n->a, n->text);
    case N_ITEM:
        return n->b->kind == N_TEXT ? part_value(w, n->a, n->b->text) : (Known){K_NO};
    case N_TEST:
        return test_value(w, n);
    case N_NOT:
        truth = known_truth(w, n->a);
        return truth < 0 ? (Known){K_NO} : known_bool(!truth);
    case N_AND:
    case N_OR:
        truth = known_truth(w, n->a);
        return truth < 0                     ? (Known){K_NO}
               : truth == (n->kind == N_AND) ? known_value(w, n->b)
                                             : known_value(w, n->a);
    case N_COND:
        truth = known_truth(w, n->a);
        return truth < 0 ? (Known){K_NO}
               : truth   ? known_value(w, n->b)
               : n->c    ? known_value(w, n->c)
                         : (Known){.kind = K_UNDEFINED};
    case N_BINARY:
        return binary_value(w, n);
    case N_FILTER:
        if ((!strcmp(n->text, "default") || !strcmp(n->text, "d")) && n->list && !n->list->next) {
            Known v = known_value(w, n->a);
            return v.kind == K_UNDEFINED ? known_value(w, n->list) : v;
        }
        return (Known){K_NO};
    default:
        return (Known){K_NO};
    }
}
