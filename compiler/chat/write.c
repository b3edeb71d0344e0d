/* write.c: a template's statements as instructions, and the compiled template as bytes. */
#include <string.h>

#include "chat/write.h"

typedef struct Loop { /* around the statement that is written */
    struct Loop *outer;
    size_t head; /* where its next item is taken */
    size_t *leave;
    size_t nleave; /* jumps of `break` */
    int captures;
} Loop;

static void put_body(Program *p, const Node *list);

/* ---- scopes ---- */

static void declare(Program *p, size_t mark, const Node *name)
{
    const Binding *b = scope_find(p, name->text);
    if (b && (size_t)(b - p->binding) >= mark && !b->loop)
        return;
    put_name(p, name, name->text); /* it begins as its namesake outside */
    uint32_t slot = slot_new(p, 1);
    program_op(p, BN_OP_STORE, slot, name->at);
    scope_bind(p, name->text, slot, false);
}

/* Names that this body, without its loops and blocks, sets: its own from here on. */
static void declare_set(Program *p, size_t mark, const Node *list)
{
    for (const Node *n = list; n; n = n->next) {
        if (n->kind == S_BODY)
            declare_set(p, mark, n->list);
        for (const Node *k = n->kind == S_IF ? n->list : NULL; k; k = k->next)
            declare_set(p, mark, k->b->list);
        for (const Node *k = (n->kind == S_SET || n->kind == S_SETBODY) && n->b ? n->b->list : NULL;
             k; k = k->next)
            declare(p, mark, k);
        if (n->kind == S_MACRO)
            declare(p, mark, n);
    }
}

static void put_scope(Program *p, const Node *list)
{
    size_t mark = scope_begin(p);
    declare_set(p, mark, list);
    put_body(p, list);
    scope_end(p, mark);
}

/* The value on the stack becomes that of the names. */
static void put_store(Program *p, const Node *names, Spot at)
{
    size_t n = 0;
    for (const Node *k = names; k; k = k->next)
        n++;
    if (n > 1)
        program_op(p, BN_OP_UNPACK, n, at);
    for (const Node *k = names; k; k = k->next) {
        const Binding *b = scope_find(p, k->text);
        CHECK(b);
        program_op(p, BN_OP_STORE, b->slot, at);
    }
}

/* ---- statements ---- */

static void put_if(Program *p, const Node *n)
{
    size_t *end = NULL, nend = 0;
    for (const Node *k = n->list; k; k = k->next) {
        size_t other = 0;
        if (k->a) {
            put_value(p, k->a);
            other = program_op(p, BN_OP_UNLESS, 0, k->at);
        }
        p->conditional++;
        put_body(p, k->b->list);
        p->conditional--;
        if (k->a && k->next) {
            end = grow(p->s, end, nend, sizeof *end);
            end[nend++] = program_op(p, BN_OP_JUMP, 0, k->at);
        }
        if (k->a)
            program_here(p, other);
    }
    for (size_t i = 0; i < nend; i++)
        program_here(p, end[i]);
}

/* NEXT and the word behind it, where its jump goes. */
static size_t put_next(Program *p, uint32_t slot, Spot at)
{
    size_t next = program_op(p, BN_OP_NEXT, slot, at);
    p->code = grow(p->s, p->code, p->ncode, sizeof *p->code);
    p->code[p->ncode++] = 0;
    return next;
}

/* A loop's `if`: the items that it lets through become the list. */
static void put_kept(Program *p, const Node *n, uint32_t slot)
{
    size_t head = put_next(p, slot, n->at);
    put_store(p, n->b->list, n->at);
    put_value(p, n->c->a);
    program_op(p, BN_OP_KEEP, slot, n->at);
    program_op(p, BN_OP_JUMP, head, n->at);
    program_here(p, head);
    program_op(p, BN_OP_KEPT, slot, n->at);
}

static void put_for(Program *p, const Node *n)
{
    uint32_t slot = slot_new(p, 3);
    Loop loop = {.outer = p->loop, .captures = p->captures};
    put_value(p, n->a);
    program_op(p, BN_OP_FOR, slot, n->at);
    size_t mark = scope_begin(p);
    for (const Node *k = n->b->list; k; k = k->next)
        scope_bind(p, k->text, slot_new(p, 1), false);
    if (n->c->a)
        put_kept(p, n, slot);
    loop.head = put_next(p, slot, n->at);
    put_store(p, n->b->list, n->at);
    scope_bind(p, name(p->s, "loop"), slot, true);
    p->loop = &loop;
    declare_set(p, mark, n->c->b->list);
    put_body(p, n->c->b->list);
    p->loop = loop.outer;
    program_op(p, BN_OP_JUMP, loop.head, n->at);
    program_here(p, loop.head);
    for (size_t i = 0; i < loop.nleave; i++)
        program_here(p, loop.leave[i]);
    scope_end(p, mark);
    if (n->list) {
        program_op(p, BN_OP_NONE_DONE, slot, n->at);
        size_t some = program_op(p, BN_OP_UNLESS, 0, n->at);
        put_scope(p, n->list);
        program_here(p, some);
    }
}

static void put_jump(Program *p, const Node *n)
{
    Loop *loop = p->loop;
    if (!loop || loop->captures != p->captures) {
        program_error(p, n, false,
                      loop ? "break and continue cannot leave a block of {%% set %%}"
                           : "break and continue belong into a loop");
        return;
    }
    if (n->kind == S_CONTINUE) {
        program_op(p, BN_OP_JUMP, loop->head, n->at);
        return;
    }
    loop->leave = grow(p->s, loop->leave, loop->nleave, sizeof *loop->leave);
    loop->leave[loop->nleave++] = program_op(p, BN_OP_JUMP, 0, n->at);
}

/* Arguments that were not given get their defaults. */
static void put_defaults(Program *p, const Node *n, uint32_t slot)
{
    for (const Node *k = n->list; k; k = k->next, slot++) {
        program_op(p, BN_OP_GIVEN, slot, k->at);
        program_op(p, BN_OP_NOT, 0, k->at);
        size_t given = program_op(p, BN_OP_UNLESS, 0, k->at);
        if (k->kind == N_KEYWORD)
            put_value(p, k->a);
        else
            program_op(p, BN_OP_CONST, BN_CONST_UNDEFINED, k->at);
        program_op(p, BN_OP_STORE, slot, k->at);
        program_here(p, given);
    }
}

static void put_macro(Program *p, const Node *n)
{
    const Node name_of = {.text = n->text};
    Loop *loop = p->loop;
    uint32_t nparam = 0, slot = p->nslot, names = (uint32_t)p->ntext, depth = p->depth;
    int captures = p->captures;
    size_t at = p->nmacro, mark;
    p->macro = grow(p->s, p->macro, p->nmacro++, sizeof *p->macro);
    program_op(p, BN_OP_MACRO, at, n->at);
    put_store(p, &name_of, n->at);
    size_t over = program_op(p, BN_OP_JUMP, 0, n->at);
    mark = scope_begin(p);
    for (const Node *k = n->list; k; k = k->next, nparam++) {
        if (k->kind != N_NAME && k->kind != N_KEYWORD) {
            program_error(p, k, false, "a macro's arguments are names, or name=default");
            break;
        }
        program_text_new(p, k->text, strlen(k->text), false);
        scope_bind(p, k->text, slot_new(p, 1), false);
    }
    p->loop = NULL;
    p->captures = 0;
    p->depth = 0;
    p->macros++;
    uint32_t entry = (uint32_t)p->ncode;
    if (!p->s->nerror)
        put_defaults(p, n, slot);
    program_op(p, BN_OP_CAPTURE, 0, n->at);
    declare_set(p, mark, n->b->list);
    put_body(p, n->b->list);
    program_op(p, BN_OP_CAPTURED, 0, n->at);
    program_op(p, BN_OP_RETURN, 0, n->at);
    scope_end(p, mark);
    p->macro[at] = (Macro){{entry, slot, p->nslot - slot, nparam, names}};
    p->macros--;
    p->depth = depth;
    p->captures = captures;
    p->loop = loop;
    program_here(p, over);
}

static void put_set_body(Program *p, const Node *n)
{
    program_op(p, BN_OP_CAPTURE, 0, n->at);
    p->captures++;
    put_scope(p, n->c->list);
    p->captures--;
    program_op(p, BN_OP_CAPTURED, 0, n->at);
    if (n->a)
        put_filters(p, n->a);
    if (n->b)
        put_store(p, n->b->list, n->at);
    else
        program_op(p, BN_OP_PUT, 0, n->at);
}

static void put_text(Program *p, const Node *n)
{
    if (n->i > 0)
        program_op(p, BN_OP_PUT_TEXT, program_text(p, n->text, (size_t)n->i, true), n->at);
}

static void put_statement(Program *p, const Node *n)
{
    const Node space = {.kind = N_NAME, .text = n->text, .at = n->at};
    switch (n->kind) {
    case S_PUT:
        if (n->a->kind == N_TEXT) {
            put_text(p, n->a);
            break;
        }
        put_value(p, n->a);
        program_op(p, BN_OP_PUT, 0, n->at);
        break;
    case S_IF:
        put_if(p, n);
        break;
    case S_FOR:
        put_for(p, n);
        break;
    case S_SET:
        put_value(p, n->a);
        put_store(p, n->b->list, n->at);
        break;
    case S_SETATTR:
        put_value(p, &space);
        put_value(p, n->a);
        program_op(p, BN_OP_SET_ATTR, program_text(p, n->b->text, strlen(n->b->text), false),
                   n->at);
        break;
    case S_SETBODY:
        put_set_body(p, n);
        break;
    case S_BREAK:
    case S_CONTINUE:
        put_jump(p, n);
        break;
    case S_BODY:
        put_body(p, n->list);
        break;
    case S_SCOPE:
        put_scope(p, n->list);
        break;
    case S_MACRO:
        put_macro(p, n);
        break;
    default:
        die("a node of kind %d as a statement", n->kind);
    }
}

static void put_body(Program *p, const Node *list)
{
    for (const Node *n = list; n; n = n->next) {
        if (n->kind == S_DATA) {
            put_text(p, n);
            continue;
        }
        program_op(p, BN_OP_LINE, 0, n->at);
        put_statement(p, n);
    }
}

/* ---- the whole ---- */

static void put_word(Out *o, size_t i)
{
    unsigned char b[4] = {(unsigned char)i, (unsigned char)(i >> 8), (unsigned char)(i >> 16),
                          (unsigned char)(i >> 24)};
    put_bytes(o, b, 4);
}

static void put_program(Program *p, Out *o)
{
    size_t at = 0, nguard;
    const int32_t *guard = guards_find(p, &nguard);
    const size_t header[BN_TEMPLATE_HEADER] = {[BN_TEMPLATE_AT_MAGIC] = BN_TEMPLATE_MAGIC,
                                               [BN_TEMPLATE_NINSTR] = p->ncode,
                                               [BN_TEMPLATE_NTEXT] = p->ntext,
                                               [BN_TEMPLATE_NMACRO] = p->nmacro,
                                               [BN_TEMPLATE_NGUARD] = nguard,
                                               [BN_TEMPLATE_NLINE] = p->nline,
                                               [BN_TEMPLATE_NSLOT] = p->nslot,
                                               [BN_TEMPLATE_STACK] = p->deepest + 1};
    for (size_t i = 0; i < BN_TEMPLATE_HEADER; i++)
        put_word(o, header[i]);
    for (size_t i = 0; i < p->ncode; i++)
        put_word(o, p->code[i]);
    for (size_t i = 0; i < p->ntext; at += p->text[i++].size) {
        put_word(o, at);
        put_word(o, p->text[i].size);
    }
    for (size_t i = 0; i < p->nmacro; i++)
        for (int k = 0; k < 5; k++)
            put_word(o, p->macro[i].word[k]);
    for (size_t i = 0; i < nguard; i++)
        put_word(o, (uint32_t)guard[i]);
    for (size_t i = 0; i < 2 * p->nline; i++)
        put_word(o, p->line[i]);
    for (size_t i = 0; i < p->ntext; i++)
        put_bytes(o, p->text[i].text, p->text[i].size);
}

void chat_compile(Session *s, const ChatTemplate *t, const ChatTokens *tokens, Out *out)
{
    Program p = {.s = s, .tokens = tokens};
    const Node *root = template_parse(s, t, &p.source);
    if (root) {
        put_scope(&p, root->list);
        program_op(&p, BN_OP_END, 0, root->at);
        CHECK(s->nerror || p.depth == 0);
    }
    if (s->nerror)
        fail(s, (Loc){0},
             "the chat template above cannot be compiled; give one with --chat-template=FILE, or a "
             "built-in one (%s), or none",
             chat_names(s));
    put_program(&p, out);
}
