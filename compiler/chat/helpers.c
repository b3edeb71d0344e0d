/* helpers.c: of text.c and lists.c, what a compiled template calls, and what that calls.
 *
 * One idea: those files are cut behind each line that begins with `}`. A piece that defines a
 * function (its line begins with `static` and ends in its name and parameters) is copied where the
 * name is used; every other piece, types and constants, always.
 */
#include <ctype.h>
#include <string.h>

#include "chat/write.h"

typedef struct Piece {
    const char *text, *name; /* name NULL: no function */
    size_t len, name_len;
    bool used;
} Piece;
typedef struct Pieces {
    Session *s;
    Piece *piece;
    int n;
} Pieces;

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The name before the first parenthesis of the line that begins with `static`. */
static void find_name(Piece *p)
{
    const char *end = p->text + p->len, *line = p->text;
    while (line < end && strncmp(line, "static ", 7))
        line += strcspn(line, "\n") + 1;
    if (line >= end)
        return;
    const char *open = strchr(line, '(');
    CHECK(open && open < end);
    p->name = open;
    while (in_word(p->name[-1]))
        p->name--;
    p->name_len = (size_t)(open - p->name);
}

static void cut_pieces(Pieces *x, const char *text, size_t size)
{
    for (const char *end = text + size; text < end;) {
        const char *close = strstr(text, "\n}"), *next = close ? close + 1 : end;
        next += close ? strcspn(next, "\n") + 1 : 0;
        Piece p = {.text = text, .len = (size_t)((next < end ? next : end) - text)};
        find_name(&p);
        x->piece = grow(x->s, x->piece, (size_t)x->n, sizeof *x->piece);
        x->piece[x->n++] = p;
        text = next;
    }
}

static void use_names(Pieces *x, const char *code, size_t len);

static void use_word(Pieces *x, const char *word, size_t len)
{
    for (int i = 0; i < x->n; i++) {
        Piece *p = &x->piece[i];
        if (p->used || !p->name || p->name_len != len || memcmp(p->name, word, len))
            continue;
        p->used = true;
        use_names(x, p->text, p->len);
    }
}

static void use_names(Pieces *x, const char *code, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t end = at;
        while (end < len && in_word(code[end]))
            end++;
        use_word(x, code + at, end - at);
        at = end > at ? end : at + 1;
    }
}

void put_helpers(Session *s, const char *code, size_t len, Out *out)
{
    static const char *const files[] = {"chat/text.c", "chat/lists.c"};
    Pieces x = {.s = s};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size;
        const char *text = embedded_file(files[i], &size);
        CHECK(text);
        cut_pieces(&x, text, size);
    }
    use_names(&x, code, len);
    for (int i = 0; i < x.n; i++)
        if (x.piece[i].used || !x.piece[i].name)
            put_bytes(out, x.piece[i].text, x.piece[i].len);
    put(out, "\n");
}
