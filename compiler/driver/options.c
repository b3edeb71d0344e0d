/* options.c: one table (options.def) read, explained and echoed. */
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"

enum Kind { TEXT, NUMBER, FLAG };
enum { MORE, FRONT, QUIET, TELL };
static const struct {
    const char *name, *argument, *help;
    enum Kind kind;
    int where;
    size_t field;
} table[] = {
#define OPTION(field, kind, where, name, argument, help)                                           \
    {name, argument, help, kind, where, offsetof(Options, field)},
#include "driver/options.def"
#undef OPTION
};
enum { NOPTION = sizeof table / sizeof *table };

static void set(Session *s, Options *o, int i, const char *value)
{
    char *field = (char *)o + table[i].field, *end;
    if (table[i].kind == TEXT) {
        *(const char **)(void *)field = value;
    } else if (table[i].kind == FLAG) {
        *(bool *)field = true;
    } else {
        long long n = strtoll(value, &end, 10);
        if (end == value || *end || n < 0 || n > INT32_MAX)
            fail(s, (Loc){0}, "%s wants a number, not '%s'", table[i].name, value);
        *(int64_t *)(void *)field = n;
    }
}

/* Which option argv[*at] is, with its value (the next word where it stands apart); -1: none. `run`:
 * it may be the program's. */
static int match(Session *s, int argc, char **argv, bool run, int *at, const char **value)
{
    const char *arg = argv[*at];
    for (int i = 0; i < NOPTION; i++) {
        size_t len = strlen(table[i].name);
        bool brief = table[i].name[1] != '-';
        if (strncmp(arg, table[i].name, len) || (run && table[i].where == TELL))
            continue;
        *value = arg + len;
        if (table[i].kind == FLAG && **value == 0)
            return i;
        if (table[i].kind != FLAG && !brief && **value == '=')
            return ++*value, i;
        if (table[i].kind != FLAG && brief && **value)
            return i;
        if (table[i].kind == FLAG || **value)
            continue;
        if (*at + 1 >= argc)
            fail(s, (Loc){0}, "%s wants %s after it", table[i].name, table[i].argument);
        *value = argv[++*at];
        return i;
    }
    return -1;
}

void options_read(Session *s, Options *o, int argc, char **argv, bool keep_rest)
{
    Out text = {.s = s};
    memset(o, 0, sizeof *o);
    o->level = 2;
    for (int at = 1; at < argc; at++) {
        const char *value = "";
        int from = at, i = match(s, argc, argv, keep_rest, &at, &value);
        if (i >= 0) {
            set(s, o, i, value);
            for (int word = from; word <= at; word++) {
                o->given = grow(s, o->given, (size_t)o->ngiven, sizeof *o->given);
                o->given[o->ngiven++] = argv[word];
            }
            if (table[i].field != offsetof(Options, output) && table[i].where < QUIET)
                put(&text, "%s%s%s%s", text.len ? " " : "", table[i].name,
                    table[i].name[1] == '-' && *value ? "=" : "", value);
        } else if (argv[at][0] != '-' && !o->input) {
            o->input = argv[at];
        } else if (keep_rest && !o->input) {
            fail(s, (Loc){0}, "the model comes first: bnc %s model.gguf %s ...", argv[0], argv[at]);
        } else if (keep_rest) {
            o->rest = grow(s, o->rest, (size_t)o->nrest, sizeof *o->rest);
            o->rest[o->nrest++] = argv[at];
        } else {
            fail(s, (Loc){0},
                 argv[at][0] == '-' ? "unknown option '%s'; `bnc --help` lists them"
                                    : "a second input '%s'; one model at a time",
                 argv[at]);
        }
    }
    s->quiet = o->quiet;
    o->jit |= o->jit_o3;
    if (o->level > 2)
        fail(s, (Loc){0}, "-O goes from 0 to 2");
    o->text = name(s, text.len ? text.text : "none");
    out_free(&text);
}

void options_help(FILE *to, bool all)
{
    for (int i = 0; i < NOPTION; i++) {
        char left[40];
        const char *glue = table[i].kind == FLAG     ? ""
                           : table[i].name[1] == '-' ? "="
                           : table[i].kind == TEXT   ? " "
                                                     : "";
        if (!all && table[i].where != FRONT)
            continue;
        snprintf(left, sizeof left, "%s%s%s", table[i].name, glue, table[i].argument);
        const char *help = table[i].help;
        for (int line = 0; *help; line++) {
            int len = (int)strcspn(help, "\n");
            fprintf(to, "  %-21s %.*s\n", line ? "" : left, len, help);
            help += len + (help[len] == '\n');
        }
    }
}
