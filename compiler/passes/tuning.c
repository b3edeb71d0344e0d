/* tuning.c: reads what `bnc tune` measured: which layout and which kernel a shape of weight gets.
 *
 *   # comments
 *   layout 2560x6912 t3r32
 *   kernel tmatmul 2560x6912 many tmatmul_t3_fr_avx2
 *
 * Sizes are rows x columns; `one` is @decode, `many` the rest. A line that does not fit the target
 * or names a shape that the model lacks is passed over: a record may serve several. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

enum { MOST_WORDS = 5, MOST_CHOICES = 4096 };

static bool read_shape(const char *word, Tuning *t)
{
    char *end;
    t->rows = strtoll(word, &end, 10);
    if (end == word || *end != 'x')
        return false;
    word = end + 1;
    t->cols = strtoll(word, &end, 10);
    return end != word && !*end && t->rows > 0 && t->cols > 0;
}

static bool read_layout(const char **word, int n, Tuning *t)
{
    if (n != 3)
        return false;
    t->op = OP_COUNT;
    t->choice = word[2];
    return read_shape(word[1], t) && fmt_by_name(word[2]) != FMT_COUNT &&
           fmt_info[fmt_by_name(word[2])].kind == KIND_PACKED;
}

static bool read_kernel(const char **word, int n, Tuning *t)
{
    if (n != 5)
        return false;
    t->op = op_by_name(word[1]);
    t->forms = !strcmp(word[3], "one") ? FORMS_ONE : FORMS_MANY;
    t->choice = word[4];
    return t->op != OP_COUNT && read_shape(word[2], t) &&
           (t->forms == FORMS_ONE || !strcmp(word[3], "many"));
}

/* Splits a line at its blanks; words beyond the most count, but are not kept. */
static int split(Session *s, const char *line, size_t len, const char **word)
{
    int n = 0;
    for (const char *end = line + len; line < end;) {
        size_t w = 0;
        while (line < end && (*line == ' ' || *line == '\t' || *line == '\r'))
            line++;
        while (line + w < end && line[w] != ' ' && line[w] != '\t' && line[w] != '\r')
            w++;
        if (!w || *line == '#')
            break;
        if (n < MOST_WORDS)
            word[n] = intern(s, line, w);
        n++;
        line += w;
    }
    return n;
}

const Tuning *tuning_parse(Session *s, const Text *text)
{
    Tuning *first = NULL, **last = &first;
    const char *at = text->bytes, *end = at + text->size;
    int number = 1, choices = 0;
    for (; at < end; number++) {
        const char *word[MOST_WORDS], *nl = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((nl ? nl : end) - at);
        if (memchr(at, 0, len))
            fail(s, (Loc){text, number, 1}, "a zero byte: this is no record of `bnc tune`");
        int n = split(s, at, len, word);
        Tuning *t = NEW(s, Tuning);
        bool good = n && (!strcmp(word[0], "layout")
                              ? read_layout(word, n, t)
                              : !strcmp(word[0], "kernel") && read_kernel(word, n, t));
        if (n && !good)
            err(s, (Loc){text, number, 1},
                "expected 'layout ROWSxCOLS FORMAT' or 'kernel OP ROWSxCOLS one|many SYMBOL'");
        if (good && ++choices > MOST_CHOICES)
            fail(s, (Loc){text, number, 1}, "more than %d choices: this is no record of `bnc tune`",
                 MOST_CHOICES);
        if (good) {
            *last = t;
            last = &t->next;
        }
        at += len + (nl != NULL);
    }
    stop_on_errors(s);
    return first;
}

const Tuning *tuning_read(Session *s, const char *path)
{
    Text *text = NEW(s, Text);
    *text = (Text){.path = name(s, path)};
    text->bytes = file_read(s, path, &text->size);
    return tuning_parse(s, text);
}
