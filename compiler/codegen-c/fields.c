/* fields.c: what the printers of generated C are made of: lines that end, names that nothing else
 * has, the IR line above a call, and constants as lists of fields, which the C printer writes here
 * and the JIT (compiler/jit) makes in memory.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "codegen-c/codegen.h"
#include "ir/escape.h"

/* ---- lines ---- */

size_t out_column(const Out *o)
{
    size_t n = 0;
    while (n < o->len && o->text[o->len - 1 - n] != '\n')
        n++;
    return n;
}

/* Bytes of the next piece of text for a line with `room` bytes left: to the text's end, or behind the
 * last space within; of a word that no line holds, what fits in whole characters. */
static size_t piece_length(const char *text, size_t n, size_t room)
{
    size_t cut = room;
    if (n <= room)
        return n;
    while (cut && text[cut] != ' ')
        cut--;
    if (cut)
        return cut + 1;
    for (cut = room; cut > 1 && ((unsigned char)text[cut] & 0xc0) == 0x80;)
        cut--;
    return cut;
}

/* Text, cut at spaces into lines of at most LINE_LENGTH; `margin` begins each but the first. */
static void put_cut(Out *o, const char *text, const char *margin)
{
    size_t n = strlen(text), least = 20;
    for (;;) {
        size_t at = out_column(o), room = at + least < LINE_LENGTH ? LINE_LENGTH - at : least;
        size_t piece = piece_length(text, n, room), end = piece;
        while (piece < n && end && text[end - 1] == ' ')
            end--;
        put_bytes(o, text, end);
        if (piece == n)
            return;
        put(o, "\n%s", margin);
        text += piece;
        n -= piece;
    }
}

void put_comment_line(Out *o, const char *text, const char *margin)
{
    Out safe = {.s = o->s};
    put_comment(&safe, text);
    put_cut(o, safe.len ? safe.text : "", margin);
    out_free(&safe);
}

void put_op_comment(Out *o, const Op *op, const char *margin)
{
    Out line = {.s = o->s};
    op_print(op, &line);
    const char *rest = format(o->s, "%s *  ", margin), *types = strstr(line.text, " : ");
    bool one = strlen(margin) + line.len + 6 <= LINE_LENGTH;
    put(o, "%s/* ", margin);
    if (!one && types) { /* what it gives begins a line */
        put_comment_line(o, intern(o->s, line.text, (size_t)(types - line.text)), rest);
        put(o, "\n%s", rest);
        put_comment_line(o, types + 1, rest);
    } else {
        put_comment_line(o, line.text, rest);
    }
    put(o, " */\n");
    out_free(&line);
}

/* ---- names ---- */

static void put_upper(Out *o, const char *text)
{
    for (; *text; text++)
        put(o, "%c", identifier_char((unsigned char)*text) ? toupper((unsigned char)*text) : '_');
}

void put_word_name(Out *o, const char *word)
{
    put(o, "BN_");
    put_upper(o, word);
}

/* Of a name in lower case, digits and _ the capitals are the name again. Any other name folds onto
 * one of those or onto another like it; the number of its weight keeps it apart from both, because
 * no capitals hold the w before it. */
void put_weight_name(Out *o, const char *prefix, const Module *m, const Weight *w)
{
    bool plain = true;
    for (const char *c = w->name; *c; c++)
        plain &= identifier_char((unsigned char)*c) && !isupper((unsigned char)*c);
    put(o, "%s", prefix);
    put_upper(o, w->name);
    int number = 1;
    for (const Weight *before = m->weights; before && before != w; before = before->next)
        number++;
    if (!plain)
        put(o, "_w%d", number);
}

/* v_NAME, or vID_ and the name with _ for what C cannot spell: no name begins so without an id. */
void put_value_name(Out *o, const Value *v)
{
    bool plain = true;
    for (const char *c = v->name; *c; c++)
        plain &= identifier_char((unsigned char)*c);
    if (plain)
        put(o, "v_%s", v->name);
    else
        put(o, "v%d_%s", v->id, c_name(o->s, v->name));
}

/* ---- records ---- */

static Field *add(Record *r, FieldKind kind, const char *name)
{
    r->field = grow(r->s, r->field, r->n, sizeof *r->field);
    r->field[r->n] = (Field){.kind = kind, .name = name};
    return &r->field[r->n++];
}

void record_open(Record *r, const char *name)
{
    add(r, FIELD_OPEN, name);
}

void record_close(Record *r)
{
    add(r, FIELD_CLOSE, NULL);
}

void record_int(Record *r, const char *name, int64_t i)
{
    add(r, FIELD_INT, name)->i = i;
}

void record_word(Record *r, const char *name, const char *word, int64_t i)
{
    Field *f = add(r, FIELD_INT, name);
    f->text = word;
    f->i = i;
}

void record_long(Record *r, const char *name, int64_t i)
{
    add(r, FIELD_LONG, name)->i = i;
}

void record_hash(Record *r, const char *name, uint64_t hash)
{
    add(r, FIELD_HASH, name)->i = (int64_t)hash;
}

void record_text(Record *r, const char *name, const char *text)
{
    add(r, FIELD_TEXT, name)->text = text;
}

void record_symbol(Record *r, const char *name, const char *symbol)
{
    add(r, FIELD_SYMBOL, name)->text = symbol;
}

void record_comment(Record *r, const char *comment)
{
    r->field[r->n - 1].comment = comment;
}

/* ---- records as C ---- */

/* Long texts in pieces, which C joins again. */
static void put_text(const char *text, const char *margin, Out *o)
{
    enum { PIECE = 72 };
    size_t n = strlen(text), piece;
    do {
        piece = n < PIECE ? n : PIECE;
        put_c_string(o, text, piece);
        text += piece;
        n -= piece;
        if (n)
            put(o, "\n%s    ", margin);
    } while (n);
}

static void put_scalar(const Field *f, const char *margin, Out *o)
{
    if (f->kind == FIELD_INT && f->text)
        put_cut(o, f->text, format(o->s, "%s       ", margin));
    else if (f->kind == FIELD_INT || f->kind == FIELD_LONG)
        put(o, "%" PRId64 "%s", f->i, f->kind == FIELD_LONG ? "u" : "");
    else if (f->kind == FIELD_HASH)
        put(o, "0x%016" PRIx64 "u", (uint64_t)f->i);
    else if (f->kind == FIELD_TEXT && f->text)
        put_text(f->text, margin, o);
    else
        put(o, "%s", f->text ? f->text : "NULL");
}

/* Fields without names, up to the end of their structure, on as few lines as hold them. */
static size_t put_row(const Record *r, size_t i, const char *margin, Out *o)
{
    put(o, "%s{", margin);
    for (size_t first = i; r->field[i].kind != FIELD_CLOSE; i++) {
        Out value = {.s = o->s};
        put_scalar(&r->field[i], margin, &value);
        if (i > first)
            put(o, out_column(o) + value.len + 4 > LINE_LENGTH ? ",\n%s " : ", ", margin);
        put_bytes(o, value.text, value.len);
        out_free(&value);
    }
    put(o, "},\n");
    return i;
}

void put_fields(const Record *r, Out *o)
{
    int depth = 1;
    for (size_t i = 0; i < r->n; i++) {
        const Field *f = &r->field[i];
        bool open = f->kind == FIELD_OPEN, close = f->kind == FIELD_CLOSE;
        depth -= close;
        const char *margin = format(o->s, "%*s", 4 * depth, "");
        if (open && !f->name && !f[1].name) {
            i = put_row(r, i + 1, margin, o);
            continue;
        }
        size_t length = strlen(margin) + strlen(f->text ? f->text : "");
        bool above = f->comment && length + strlen(f->comment) + 20 > LINE_LENGTH;
        if (above)
            put(o, "%s/* %s */\n", margin, f->comment);
        put(o, "%s", margin);
        if (f->name)
            put(o, ".%s = ", f->name);
        depth += open;
        if (open || close)
            put(o, open ? "{\n" : "},\n");
        else
            put_scalar(f, margin, o);
        if (!open && !close)
            put(o, f->comment && !above ? ", /* %s */\n" : ",\n", f->comment);
    }
}

/* ---- weights inside ---- */

void put_incbin(Out *o, const char *symbol, const char *path)
{
    put(o, ".pushsection .rodata.%s,\"a\"\n.balign 4096\n.globl %s\n.hidden %s\n%s:\n.incbin ",
        symbol, symbol, symbol, symbol);
    put_asm_string(o, path);
    put(o, "\n.popsection\n");
}
