/* help.c: `bnc help`, `bnc --help` and `bnc X --help`, from the tables of commands and options. */
#include <ctype.h>
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"
#include "jit/jit.h"

enum { COLUMNS = 80, LEFT = 24 }; /* of the screen; of an option's name */

/* ---- texts ---- */

void help_paragraphs(const char *text, HelpText *each, void *arg)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t len = end ? (size_t)(end - text) : strlen(text);
        each(arg, text, len, *text == ' ');
        text += len + (end ? 2 : 0);
    }
}

/* Words of text[0..len) in lines of COLUMNS, from column `at` on; those after the first begin at
 * `left`. Backquoted words stay together. */
static void fill(FILE *to, int at, int left, const char *text, size_t len)
{
    bool first = true;
    for (const char *end = text + len; text < end;) {
        size_t n = 0;
        bool quoted = false;
        for (; text + n < end && (quoted || (text[n] != ' ' && text[n] != '\n')); n++)
            quoted ^= text[n] == '`';
        if (!first && at + 1 + (int)n > COLUMNS) {
            fprintf(to, "\n%*s", left, "");
            at = left;
        } else if (!first) {
            fputc(' ', to);
            at++;
        }
        fwrite(text, 1, n, to);
        at += (int)n;
        text += n + (text + n < end);
        first = false;
    }
    fputc('\n', to);
}

static void put_paragraph(void *arg, const char *text, size_t len, bool verbatim)
{
    FILE *to = arg;
    fputc('\n', to);
    if (verbatim)
        fprintf(to, "%.*s\n", (int)len, text);
    else
        fill(to, 0, 0, text, len);
}

/* ---- options ---- */

const char *help_left(Session *s, const Option *p)
{
    const char *glue = p->kind == OPTION_SWITCH ? "[=" : "=",
               *end = p->kind == OPTION_SWITCH ? "]" : "";
    if (!*p->argument)
        glue = "";
    if (!p->name)
        return format(s, "-%c %s", p->letter, p->argument);
    if (p->name[1] != '-')
        glue = " ";
    if (!p->letter)
        return format(s, "%s%s%s%s", p->name, glue, p->argument, end);
    return format(s, "-%c, %s%s%s%s", p->letter, p->name, glue, p->argument, end);
}

/* The initial value as it stands in the table, where the help shows it. */
static const char *default_of(Session *s, const Option *p)
{
    static const char *const none[] = {"NULL", "false", "0", "{0}"};
    size_t n = strlen(p->initial);
    if (p->otherwise)
        return *p->otherwise ? p->otherwise : NULL;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (!strcmp(p->initial, none[i]))
            return NULL;
    return p->initial[0] == '"' ? intern(s, p->initial + 1, n - 2) : p->initial;
}

/* Whether the help says already what each choice means: "auto: ...". */
static bool explained(const Option *p)
{
    size_t len;
    for (const char *at = p->choices; *at; at += len, at += *at == '|') {
        const char *seen = p->help;
        len = strcspn(at, "|");
        while (*seen && (strncmp(seen, at, len) || isalnum((unsigned char)seen[len])))
            seen++;
        if (!*seen)
            return false;
    }
    return true;
}

const char *help_right(Session *s, const Option *p)
{
    Out o = {.s = s};
    const char *initial = default_of(s, p);
    put(&o, "%s", p->help);
    if (p->choices && p->kind != OPTION_SWITCH && !explained(p)) {
        put(&o, ": ");
        for (const char *at = p->choices; *at; at += strcspn(at, "|"), at += *at == '|') {
            size_t len = strcspn(at, "|");
            put(&o, "%s%.*s", at == p->choices ? "" : at[len] ? ", " : " or ", (int)len, at);
        }
    }
    if (initial)
        put(&o, " (default: %s)", initial);
    const char *text = name(s, o.text);
    out_free(&o);
    return text;
}

static void put_option(Session *s, const Option *p, FILE *to)
{
    const char *left = help_left(s, p), *right = help_right(s, p);
    int at = fprintf(to, "  %s", left);
    if (at > LEFT - 2) {
        fprintf(to, "\n%*s", LEFT, "");
        at = LEFT;
    } else {
        at += fprintf(to, "%*s", LEFT - at, "");
    }
    fill(to, at, LEFT, right, strlen(right));
}

/* Commands that compile on the way name the options of compile and say where they stand; what
 * follows is one screen. */
static bool borrowed(const Option *p, const Command *all, const Command *c)
{
    return c != all && option_of(p, all) && (p->sets & (SET_BUILD | SET_TELL | SET_PRINT)) &&
           !(p->sets & c->sets & ~(unsigned)(SET_BUILD | SET_TELL | SET_PRINT));
}

static void put_borrowed(Session *s, const Command *all, const Command *c, FILE *to)
{
    Out o = {.s = s};
    for (int i = 0; option_at(i); i++)
        if (option_of(option_at(i), c) && borrowed(option_at(i), all, c))
            put(&o, "%s%s", o.len ? ", " : "", option_name(s, option_at(i)));
    if (o.len) {
        fprintf(to, "\nOf compiling (`bnc help compile`):\n  ");
        fill(to, 2, 2, o.text, o.len);
    }
    out_free(&o);
}

void help_command(Session *s, const Command *all, const Command *c, FILE *to)
{
    const char *given = c->writes != OUTPUT_MAY ? " -o FILE" : "";
    const char *usage = format(s, "bnc %s%s%s%s [options]: %s", c == all ? "[compile]" : c->name,
                               *c->arguments ? " " : "", c->arguments, given, c->what);
    fill(to, 0, 4, usage, strlen(usage));
    help_paragraphs(c->help, put_paragraph, to);
    fprintf(to, "\n");
    for (int i = 0; option_at(i); i++)
        if (option_of(option_at(i), c) && !borrowed(option_at(i), all, c))
            put_option(s, option_at(i), to);
    put_borrowed(s, all, c, to);
    fprintf(to, "\nExample: %s\n", c->example);
}

/* ---- topics ---- */

const Command *command_find(const Command *all, const char *name)
{
    for (const Command *c = all; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

void help_screen(const Command *all, FILE *to)
{
    fprintf(to, "bnc " BN_VERSION ": compiles ternary language models to C\n\n");
    for (const Command *c = all; c->name; c++)
        if (strcmp(c->name, "help") && strcmp(c->name, "lower"))
            fprintf(to, "  %-9s %s\n", c->name, c->what);
    fprintf(to, "\nFirst steps: bnc model.gguf -o model.c; bnc run model.gguf -p \"Once upon\"\n"
                "`bnc help X`: a command and its options; X is passes, targets or shapes, too\n");
}

void help_passes(void)
{
    printf("The pipeline, in order (-O: the lowest level that runs it):\n\n");
    for (int i = 0; i < npass; i++)
        printf("  %-11s -O%d  %s\n", passes[i].name, passes[i].level, passes[i].what);
    printf("\n--passes=A,B runs just these; --print-after=A prints the module after one, or after "
           "all.\n");
}

void help_targets(void)
{
    printf("  %-14s %s\n", "native", "this machine (default)");
    for (int i = 0; target_at(i); i++)
        printf("  %-14s %s\n", target_at(i)->name, target_at(i)->what);
    for (int i = 0; gpu_target_at(i); i++)
        printf("  %-14s %s\n", gpu_target_at(i)->name, gpu_target_at(i)->what);
    if (jit_machine_at(0))
        printf("\nFor --emit=obj and llvm, by %s:\n\n", jit_version());
    for (int i = 0; jit_machine_at(i); i++)
        printf("  %-18s %s\n", jit_machine_at(i)->name, jit_machine_at(i)->what);
}
