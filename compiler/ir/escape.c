/* escape.c: text of others (names in model files, paths, options, lines of texts) where it could be
 * taken for something else: one function for each kind of place. No other file escapes by hand.
 */
#include "ir/escape.h"

#include <string.h>

/* ---- messages, terminals and JSON ---- */

void put_escaped(Out *o, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(bytes + i, n - i);
        char c = bytes[i];
        if (c == '\\' || c == '\n' || c == '\t')
            put(o, c == '\\' ? "\\\\" : c == '\n' ? "\\n" : "\\t");
        else if (len)
            put_bytes(o, bytes + i, (size_t)len);
        else
            put(o, "\\x%02x", (unsigned char)c);
        i += len ? (size_t)len : 1;
    }
}

const char *quote(Session *s, const char *bytes, size_t n)
{
    Out o = {.s = s};
    size_t cut = n > 80 ? 77 : n;
    while (cut < n && cut && ((unsigned char)bytes[cut] & 0xc0) == 0x80)
        cut--;
    put(&o, "'");
    put_escaped(&o, bytes, cut);
    put(&o, cut < n ? "...'" : "'");
    const char *text = format(s, "%s", o.text);
    out_free(&o);
    return text;
}

/* ---- places of text that others read ---- */

void put_json_text(Out *o, const char *text, size_t len)
{
    put(o, "\"");
    for (size_t i = 0; i < len;) {
        int n = utf8_char(text + i, len - i);
        if (n == 0)
            put(o, "\\ufffd");
        else if (text[i] == '"' || text[i] == '\\')
            put(o, "\\%c", text[i]);
        else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            put(o, "\\u%04x", text[i]);
        else
            put_bytes(o, text + i, (size_t)n);
        i += n ? (size_t)n : 1;
    }
    put(o, "\"");
}

/* Quotes and backslashes behind a backslash, what does not print as `byte` says. */
static void put_backslashed(Out *o, const char *text, const char *byte)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(text + i, n - i);
        if (text[i] == '"' || text[i] == '\\')
            put(o, "\\%c", text[i]);
        else if (len)
            put_bytes(o, text + i, (size_t)len);
        else
            put(o, byte, (unsigned char)text[i]);
        i += len ? (size_t)len : 1;
    }
}

void put_tir_string(Out *o, const char *text)
{
    put(o, "\"");
    put_backslashed(o, text, "\\x%02x");
    put(o, "\"");
}

static const char *html_entity(char c)
{
    return c == '<'    ? "&lt;"
           : c == '>'  ? "&gt;"
           : c == '&'  ? "&amp;"
           : c == '"'  ? "&quot;"
           : c == '\'' ? "&#39;"
                       : NULL;
}

void put_html(Out *o, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(text + i, n - i);
        const char *entity = html_entity(text[i]);
        if (entity)
            put(o, "%s", entity);
        else if (len || text[i] == '\n' || text[i] == '\t')
            put_bytes(o, text + i, len ? (size_t)len : 1);
        else
            put(o, "\\x%02x", (unsigned char)text[i]);
        i += len ? (size_t)len : 1;
    }
}

/* ---- places of generated code ---- */

/* Two characters that would begin or end a comment, or be a trigraph, with the one before. */
static bool comment_breaks(const char *text, size_t n, size_t i)
{
    char before = i ? text[i - 1] : ' ', next = i + 1 < n ? text[i + 1] : ' ';
    switch (text[i]) {
    case '*':
        return next == '/' || i + 1 == n;
    case '/':
        return before == '*' || next == '*';
    case '?':
        return before == '?';
    default:
        return false;
    }
}

void put_comment(Out *o, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        int len = utf8_printable(text + i, n - i);
        if (comment_breaks(text, n, i))
            put(o, "\\x%02x", (unsigned char)text[i]);
        else
            put_escaped(o, text + i, len ? (size_t)len : 1);
        i += len ? (size_t)len : 1;
    }
}

void put_c_string(Out *o, const char *bytes, size_t n)
{
    put(o, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\n')
            put(o, "\\n");
        else
            put(o, c < 32 || c > 126 || c == '"' || c == '\\' || c == '?' ? "\\%03o" : "%c", c);
    }
    put(o, "\"");
}

void put_asm_string(Out *o, const char *text)
{
    put(o, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = name_char(c) || strchr("/ +,:=@~", c);
        put(o, plain ? "%c" : "\\%03o", c);
    }
    put(o, "\"");
}

void put_dot_label(Out *o, const char *text)
{
    put_backslashed(o, text, "\\\\x%02x");
}

/* ---- names ---- */

/* Not isalnum, whose result depends on the locale. */
static bool letter_or_digit(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool name_char(unsigned char c)
{
    return letter_or_digit(c) || (c && strchr("_.-", c));
}

bool name_good(const char *text)
{
    size_t n = 0;
    while (name_char((unsigned char)text[n]))
        n++;
    return n > 0 && n <= NAME_LENGTH && !text[n] && letter_or_digit((unsigned char)*text);
}

bool identifier_char(unsigned char c)
{
    return letter_or_digit(c) || c == '_';
}

bool identifier_good(const char *text)
{
    const char *c = text;
    while (identifier_char((unsigned char)*c))
        c++;
    return *text && !*c && !(*text >= '0' && *text <= '9');
}

const char *c_name(Session *s, const char *text)
{
    char *copy = scratch_copy(s, text);
    for (char *c = copy; *c; c++)
        *c = identifier_char((unsigned char)*c) ? *c : '_';
    return name(s, copy);
}
