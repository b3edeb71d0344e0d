/* tree.c: nodes of a template, made as the grammar reads them: no pass over the text but one. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include "chat/tree.h"

Loc reader_loc(const Reader *r, Spot at)
{
    return (Loc){r->source, at.line, at.col};
}

static int deeper(const Node *n, int depth)
{
    return n && n->depth >= depth ? n->depth + 1 : depth;
}

/* Later passes call themselves for each part of a node: depth is stack. */
static void check_depth(Reader *r, const Node *n)
{
    if (n->depth > CHAT_DEPTH)
        fail(r->s, reader_loc(r, n->at), "this nests more than %d deep", CHAT_DEPTH);
}

Node *node_new(Reader *r, NodeKind kind, Spot at, Node *a, Node *b, Node *c)
{
    Node *n = NEW(r->s, Node);
    *n = (Node){.kind = kind, .at = at, .a = a, .b = b, .c = c};
    n->depth = deeper(c, deeper(b, deeper(a, 1)));
    check_depth(r, n);
    return n;
}

Node *node_text(Reader *r, NodeKind kind, Spot at, const char *text, size_t size)
{
    Node *n = node_new(r, kind, at, NULL, NULL, NULL);
    n->text = intern(r->s, text, size);
    n->i = (int64_t)size;
    return n;
}

Node *node_list(Reader *r, Node *n, Chain list)
{
    n->list = list.first;
    for (const Node *i = list.first; i; i = i->next)
        n->depth = deeper(i, n->depth);
    check_depth(r, n);
    return n;
}

Node *node_binary(Reader *r, Spot at, int op, Node *a, Node *b)
{
    Node *n = node_new(r, N_BINARY, at, a, b, NULL);
    n->op = op;
    return n;
}

/* a < b < c is one node with two links. */
Node *node_compare(Reader *r, Spot at, int op, Node *a, Node *b)
{
    Node *link = node_new(r, N_LINK, at, b, NULL, NULL);
    link->op = op;
    if (a->kind != N_COMPARE || a->paren) {
        Node *n = node_new(r, N_COMPARE, at, a, NULL, NULL);
        n->b = link; /* the last one */
        return node_list(r, n, (Chain){link, link});
    }
    a->b->next = link;
    a->b = link;
    a->depth = deeper(link, a->depth);
    check_depth(r, a);
    return a;
}

void chain_add(Chain *c, Node *n)
{
    if (c->last)
        c->last->next = n;
    else
        c->first = n;
    c->last = n;
}

/* ---- words ---- */

Node *reader_number(Reader *r, Spot at, const char *text)
{
    bool whole = !strpbrk(text, ".eE");
    Node *n = node_text(r, N_BIG, at, text, strlen(text));
    errno = 0;
    long long i = strtoll(text, NULL, 10);
    if (whole && (errno || i > INT64_MAX / 10 - 1))
        err(r->s, reader_loc(r, at), "the number %.40s is beyond 2^59", text);
    if (strlen(text) > 50)
        err(r->s, reader_loc(r, at), "a number of more than 50 digits");
    if (whole && i < BN_TEMPLATE_MOST) {
        n->kind = N_INT;
        n->i = i;
    }
    return n;
}

/* \x, \u, \U with 2, 4, 8 digits and up to three octal ones: a code point, or -1. */
static long escaped_code(const char *s, size_t left, size_t *used)
{
    int digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0, base = digits ? 16 : 8;
    char number[9] = "";
    size_t skip = digits > 0, n = 0;
    for (digits = digits ? digits : 3; (int)n < digits && skip + n < left; n++) {
        int c = (unsigned char)s[skip + n];
        if (base == 16 ? !isxdigit(c) : c < '0' || c > '7')
            break;
        number[n] = (char)c;
    }
    *used = skip + n;
    long code = n ? strtol(number, NULL, base) : -1;
    bool whole = base == 8 || (int)n == digits;
    return whole && code > 0 && code < 0x110000 && (code < 0xd800 || code > 0xdfff) ? code : -1;
}

static size_t put_code(uint32_t c, char *out)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (n == 1) {
        out[0] = (char)c;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

Node *reader_string(Reader *r, Spot at, const char *text, size_t size)
{
    static const char plain[] = "\\\\''\"\"n\nt\tr\ra\ab\bf\fv\v";
    char *buf = NEW_ARRAY(r->s, char, size);
    size_t n = 0;
    for (size_t i = 1; i + 1 < size; i++) {
        const char *known = plain;
        if (text[i] != '\\') {
            buf[n++] = text[i];
            continue;
        }
        i++;
        while (*known && *known != text[i])
            known += 2;
        if (*known) {
            buf[n++] = known[1];
        } else if (strchr("xuU01234567", text[i])) {
            size_t used = 0;
            long code = escaped_code(text + i, size - 1 - i, &used);
            if (code < 0)
                err(r->s, reader_loc(r, at), "\\%c wants the number of a character in this string",
                    text[i]);
            n += put_code((uint32_t)(code > 0 ? code : '?'), buf + n);
            i += used ? used - 1 : 0;
        } else if (text[i] != '\n') { /* as Python has it: an unknown escape is no escape */
            buf[n++] = '\\';
            buf[n++] = text[i];
        }
    }
    return node_text(r, N_TEXT, at, buf, n);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

Node *reader_data(Reader *r, Spot at, size_t end, const char *tag)
{
    const char *text = r->source->bytes;
    size_t stop = end, line = end;
    if (*tag && tag[2] == '-') {
        while (stop > r->data && is_space(text[stop - 1]))
            stop--;
    } else if (*tag && tag[2] != '+' && tag[1] != '{') {
        while (line > r->data && text[line - 1] != '\n' && is_space(text[line - 1]))
            line--;
        if (line > r->data ? text[line - 1] == '\n' : r->line_start)
            stop = line;
    }
    return stop > r->data ? node_text(r, S_DATA, at, text + r->data, stop - r->data) : NULL;
}

/* ---- the whole ---- */

/* As Jinja reads it: lines end in \n, one newline at the very end is not there. */
static const Text *normalized(Session *s, const ChatTemplate *t)
{
    char *bytes = NEW_ARRAY(s, char, t->size + 1);
    Text *source = NEW(s, Text);
    size_t n = 0;
    for (size_t i = 0; i < t->size; i++) {
        bool cr = t->text[i] == '\r';
        bytes[n++] = cr ? '\n' : t->text[i];
        i += cr && i + 1 < t->size && t->text[i + 1] == '\n';
    }
    n -= n > 0 && bytes[n - 1] == '\n';
    bytes[n] = 0;
    *source = (Text){t->path, bytes, n};
    return source;
}

bool reader_begin(Reader *r, Session *s, const ChatTemplate *t)
{
    enum { LARGEST = 1 << 20 };
    *r = (Reader){.s = s, .spot = {1, 1}, .line_start = true};
    if (t->size > LARGEST || memchr(t->text, 0, t->size)) {
        err(s, loc_file(s, t->path),
            t->size > LARGEST ? "a chat template of more than 1 MiB"
                              : "a zero byte in the template");
        return false;
    }
    r->source = normalized(s, t);
    return true;
}
