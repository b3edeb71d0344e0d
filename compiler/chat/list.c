/* list.c: a compiled template for people: `bnc template`. */
#include <string.h>

#include "bn_template.h"
#include "chat/chat.h"

typedef enum Operand { /* kinds of bn_template.h, whose names these are */
                       A_NONE,
                       A_TEXT,
                       A_NUMBER,
                       A_CONST,
                       A_SLOT,
                       A_COUNT,
                       A_OPERATOR,
                       A_INSTR,
                       A_FILTER,
                       A_TEST,
                       A_METHOD,
                       A_CALL
} Operand;
static const struct Instruction {
    const char *name;
    Operand operand;
} ops[] = {
#define LIST_OP(name, operand, takes, gives) {#name, A_##operand},
    BN_TEMPLATE_OPS(LIST_OP)
#undef LIST_OP
};
#define LIST_NAME(id, text, least, most, args) text,
static const char *const filters[] = {BN_TEMPLATE_FILTERS(LIST_NAME)};
static const char *const tests[] = {BN_TEMPLATE_TESTS(LIST_NAME)};
static const char *const methods[] = {BN_TEMPLATE_METHODS(LIST_NAME)};
#undef LIST_NAME
#define LIST_NAME(id, text) text,
static const char *const operators[] = {BN_TEMPLATE_OPERATORS(LIST_NAME)};
#undef LIST_NAME
static const char *const constants[] = {"undefined", "none", "false", "true"};

static uint32_t word_at(const unsigned char *code, size_t i)
{
    const unsigned char *p = code + 4 * i;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void list_text(const unsigned char *text, size_t n, Out *o)
{
    put(o, "\"");
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n')
            put(o, "\\n");
        else if (text[i] == '"' || text[i] == '\\')
            put(o, "\\%c", text[i]);
        else
            put(o, text[i] < 32 || text[i] > 126 ? "\\x%02x" : "%c", text[i]);
    put(o, "\"");
}

static void list_operand(const unsigned char *code, Operand kind, uint32_t a, Out *o)
{
    size_t texts = BN_TEMPLATE_HEADER + word_at(code, BN_TEMPLATE_NINSTR),
           ntext = word_at(code, BN_TEMPLATE_NTEXT),
           bytes = texts + 2 * ntext + 5 * (size_t)word_at(code, BN_TEMPLATE_NMACRO) +
                   word_at(code, BN_TEMPLATE_NGUARD) + 2 * (size_t)word_at(code, BN_TEMPLATE_NLINE);
    uint32_t id = a >> 16, npos = a >> 8 & 255, nkw = a & 255;
    switch (kind) {
    case A_NONE:
        return;
    case A_TEXT:
        list_text(code + 4 * bytes + word_at(code, texts + 2 * (size_t)a),
                  word_at(code, texts + 2 * (size_t)a + 1), o);
        return;
    case A_NUMBER:
        put(o, "%d", (int)a - BN_TEMPLATE_MOST);
        return;
    case A_CONST:
        put(o, "%s", constants[a]);
        return;
    case A_OPERATOR:
        put(o, "%s", operators[a]);
        return;
    case A_INSTR:
        put(o, "to %u", a);
        return;
    case A_FILTER:
    case A_TEST:
    case A_METHOD:
        put(o, "%s", kind == A_FILTER ? filters[id] : kind == A_TEST ? tests[id] : methods[id]);
        if (npos + nkw)
            put(o, ", %u arguments", npos + nkw);
        return;
    case A_CALL:
        put(o, "%u arguments", npos + nkw);
        return;
    default:
        put(o, "%u", a);
    }
}

void chat_list(const unsigned char *code, size_t size, Out *o)
{
    size_t n = word_at(code, BN_TEMPLATE_NINSTR), nline = word_at(code, BN_TEMPLATE_NLINE), k = 0,
           lines = BN_TEMPLATE_HEADER + n + 2 * (size_t)word_at(code, BN_TEMPLATE_NTEXT) +
                   5 * (size_t)word_at(code, BN_TEMPLATE_NMACRO) +
                   word_at(code, BN_TEMPLATE_NGUARD);
    put(o, "%zu bytes, %zu instructions, %u slots, a stack of %u\n", size, n,
        word_at(code, BN_TEMPLATE_NSLOT), word_at(code, BN_TEMPLATE_STACK));
    for (size_t i = 0; i < n; i++) {
        uint32_t word = word_at(code, BN_TEMPLATE_HEADER + i), op = word & 255;
        Out a = {.s = o->s};
        list_operand(code, ops[op].operand, word >> 8, &a);
        if (op == BN_OP_NEXT)
            put(&a, ", at its end to %u", word_at(code, BN_TEMPLATE_HEADER + i + 1));
        if (k < nline && word_at(code, lines + 2 * k) == i)
            put(o, "line %u\n", word_at(code, lines + 2 * k++ + 1));
        Out name = {.s = o->s};
        for (const char *c = ops[op].name; *c; c++)
            put(&name, "%c", *c == '_' ? ' ' : *c | 32);
        put(o, a.len ? "%6zu  %-12s %s\n" : "%6zu  %s\n", i, name.text, a.len ? a.text : "");
        out_free(&a);
        out_free(&name);
        i += op == BN_OP_NEXT;
    }
}
