/* program.c: the parts of a compiled template while it grows: instructions, texts, names. */
#include <stdarg.h>
#include <string.h>

#include "chat/write.h"

/* ---- maps ---- */

static size_t map_place(const Map *m, const void *key, size_t length)
{
    uint64_t h = ((uintptr_t)key >> 3) * 0x9e3779b97f4a7c15u ^ length * 0xc2b2ae3d27d4eb4fu;
    size_t k = (size_t)(h >> 20) & (m->cap - 1);
    while (m->key[k] && (m->key[k] != key || m->length[k] != length))
        k = (k + 1) & (m->cap - 1);
    return k;
}

static void map_grow(Session *s, Map *m)
{
    Map old = *m;
    m->cap = old.cap ? 2 * old.cap : 64;
    m->key = NEW_ARRAY(s, const void *, m->cap);
    m->length = NEW_ARRAY(s, size_t, m->cap);
    m->value = NEW_ARRAY(s, uint32_t, m->cap);
    for (size_t i = 0; i < old.cap; i++)
        if (old.key[i]) {
            size_t k = map_place(m, old.key[i], old.length[i]);
            m->key[k] = old.key[i];
            m->length[k] = old.length[i];
            m->value[k] = old.value[i];
        }
}

uint32_t *map_at(Session *s, Map *m, const void *key, size_t length)
{
    if (2 * m->n >= m->cap)
        map_grow(s, m);
    size_t k = map_place(m, key, length);
    if (!m->key[k]) {
        m->key[k] = key;
        m->length[k] = length;
        m->n++;
    }
    return &m->value[k];
}

/* ---- messages ---- */

static bool errors_enough(const Program *p)
{
    return p->s->nerror >= 20;
}

void program_error(Program *p, const Node *n, bool soft, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!soft) {
        if (!errors_enough(p))
            err(p->s, (Loc){p->source, n->at.line, n->at.col}, "%s", text);
        return;
    }
    program_op(p, BN_OP_FAIL, program_text(p, text, strlen(text), false), n->at);
}

/* ---- texts and instructions ---- */

uint32_t program_text_new(Program *p, const char *text, size_t size, bool written)
{
    p->text = grow(p->s, p->text, p->ntext, sizeof *p->text);
    p->text[p->ntext] = (ChatText){intern(p->s, text, size), (uint32_t)size, written};
    if (p->ntext + 2 >= BN_TEMPLATE_MOST)
        fail(p->s, loc_file(p->s, p->source->path), "a chat template of too many texts");
    return (uint32_t)p->ntext++;
}

uint32_t program_text(Program *p, const char *text, size_t size, bool written)
{
    const char *key = intern(p->s, text, size);
    uint32_t *at = map_at(p->s, &p->texts, key, size);
    if (!*at)
        *at = program_text_new(p, key, size, false) + 1;
    p->text[*at - 1].written |= written;
    return *at - 1;
}

static const struct Stack {
    int takes, gives;
} infos[] = {
#define OP_INFO(name, operand, takes, gives) {takes, gives},
    BN_TEMPLATE_OPS(OP_INFO)
#undef OP_INFO
};

static uint32_t counted(int n, size_t a)
{
    return n >= 0    ? (uint32_t)n
           : n == -2 ? 2 * (uint32_t)a
           : n == -4 ? 1 + (a >> 8 & 255) + 2 * (a & 255)
                     : (uint32_t)a;
}

size_t program_op(Program *p, bn_template_op op, size_t a, Spot at)
{
    if (a >= 2 * (size_t)BN_TEMPLATE_MOST || p->ncode + 2 >= BN_TEMPLATE_MOST)
        fail(p->s, loc_file(p->s, p->source->path), "a chat template of too many instructions");
    if (p->nline == 0 || p->line[2 * p->nline - 1] != (uint32_t)at.line) {
        p->line = grow(p->s, p->line, 2 * p->nline, sizeof *p->line);
        p->line = grow(p->s, p->line, 2 * p->nline + 1, sizeof *p->line);
        p->line[2 * p->nline] = (uint32_t)p->ncode;
        p->line[2 * p->nline++ + 1] = (uint32_t)at.line;
    }
    p->code = grow(p->s, p->code, p->ncode, sizeof *p->code);
    p->code[p->ncode] = (uint32_t)op | (uint32_t)a << 8;
    p->depth -= counted(infos[op].takes, a);
    p->depth += counted(infos[op].gives, a);
    if (p->depth > p->deepest)
        p->deepest = p->depth;
    return p->ncode++;
}

void program_here(Program *p, size_t jump)
{
    bn_template_op op = (bn_template_op)(p->code[jump] & 255);
    if (op == BN_OP_NEXT)
        p->code[jump + 1] = (uint32_t)p->ncode; /* a word of its own */
    else
        p->code[jump] = (uint32_t)op | (uint32_t)p->ncode << 8;
}

/* ---- names ---- */

uint32_t slot_new(Program *p, size_t n)
{
    uint32_t slot = p->nslot;
    p->nslot += (uint32_t)n;
    if (p->nslot >= BN_TEMPLATE_MOST)
        fail(p->s, loc_file(p->s, p->source->path), "a chat template of too many names");
    return slot;
}

size_t scope_begin(const Program *p)
{
    return p->nbinding;
}

void scope_end(Program *p, size_t mark)
{
    while (p->nbinding > mark) {
        const Binding *b = &p->binding[--p->nbinding];
        *map_at(p->s, &p->names, b->name, 0) = b->outer;
    }
}

void scope_bind(Program *p, const char *name, uint32_t slot, bool loop)
{
    p->binding = grow(p->s, p->binding, p->nbinding, sizeof *p->binding);
    uint32_t *at = map_at(p->s, &p->names, name, 0);
    p->binding[p->nbinding] = (Binding){name, slot, *at, loop};
    *at = (uint32_t)++p->nbinding;
}

const Binding *scope_find(Program *p, const char *name)
{
    uint32_t at = *map_at(p->s, &p->names, name, 0);
    return at ? &p->binding[at - 1] : NULL;
}

void put_name(Program *p, const Node *n, const char *name)
{
    static const struct {
        const char *name;
        int value;
    } words[] = {{"true", BN_CONST_TRUE},   {"True", BN_CONST_TRUE}, {"false", BN_CONST_FALSE},
                 {"False", BN_CONST_FALSE}, {"none", BN_CONST_NONE}, {"None", BN_CONST_NONE}};
    const Binding *b = scope_find(p, name);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(name, words[i].name)) {
            program_op(p, BN_OP_CONST, (size_t)words[i].value, n->at);
            return;
        }
    if (b) {
        program_op(p, b->loop ? BN_OP_LOOP : BN_OP_LOAD, b->slot, n->at);
        return;
    }
    const char *token = !strcmp(name, "bos_token")   ? p->tokens->bos
                        : !strcmp(name, "eos_token") ? p->tokens->eos
                        : !strcmp(name, "unk_token") ? p->tokens->unk
                        : !strcmp(name, "pad_token") ? p->tokens->pad
                                                     : NULL;
    if (!token) {
        program_op(p, BN_OP_GLOBAL, program_text(p, name, strlen(name), false), n->at);
        return;
    }
    uint32_t *at = map_at(p->s, &p->texts, name, SIZE_MAX); /* a pair of texts of its own */
    if (!*at) {
        *at = program_text_new(p, name, strlen(name), false) + 1;
        program_text_new(p, token, strlen(token), true);
    }
    program_op(p, BN_OP_TOKEN, *at - 1, n->at);
}
