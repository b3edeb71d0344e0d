/* man.c: `bnc help --man`: the manual page, in man(7), from the tables of commands and options. The
 * same bnc always prints the same page: it bears a version and no date. */
#include <string.h>

#include "bn.h"
#include "cmd/cmd.h"

typedef struct Man {
    Session *s;
    const Command *all;
    FILE *to;
} Man;

/* Text in running lines: no control characters at the start of one, dashes that can be copied. */
static void put_roff(const Man *m, const char *text, size_t len)
{
    bool start = true;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (start && (c == '.' || c == '\''))
            fputs("\\&", m->to);
        start = c == '\n';
        if (c == '\\')
            fputs("\\e", m->to);
        else if (c == '-')
            fputs("\\-", m->to);
        else if (c == '`' || c == '\'')
            fputs(c == '`' ? "\\(ga" : "\\(aq", m->to);
        else if (c == '~' || c == '^')
            fputs(c == '~' ? "\\(ti" : "\\(ha", m->to);
        else
            fputc(c, m->to);
    }
}

static void put_text(const Man *m, const char *text)
{
    put_roff(m, text, strlen(text));
}

static void put_paragraph(void *arg, const char *text, size_t len, bool verbatim)
{
    const Man *m = arg;
    fputs(verbatim ? ".PP\n.nf\n" : ".PP\n", m->to);
    put_roff(m, text, len);
    fputs(verbatim ? "\n.fi\n" : "\n", m->to);
}

static void put_option(const Man *m, const Option *p)
{
    fputs(".TP\n.B ", m->to);
    put_text(m, help_left(m->s, p));
    fputs("\n", m->to);
    put_text(m, help_right(m->s, p));
    fputs("\n", m->to);
}

/* In full where they are the command's own; those of compiling stand with `bnc compile`. */
static void put_options(const Man *m, const Command *c)
{
    const unsigned shared = SET_BUILD | SET_TELL | SET_PRINT;
    bool compiles = c->sets & SET_BUILD && c != m->all;
    for (int i = 0; option_at(i); i++) {
        const Option *p = option_at(i);
        if (!option_of(p, c) || p->sets & SET_ALL)
            continue;
        if (c == m->all || p->sets & c->sets & ~shared)
            put_option(m, p);
    }
    if (compiles)
        fprintf(m->to,
                ".PP\nAlso the options of\n.B bnc compile\nthat say how a model is compiled%s.\n",
                c->sets & SET_TELL ? " and what the passes did" : "");
}

static void put_command(Man *m, const Command *c)
{
    fputs(".SS ", m->to);
    put_text(m, format(m->s, "bnc %s%s%s%s [options]", c == m->all ? "[compile]" : c->name,
                       *c->arguments ? " " : "", c->arguments,
                       c->writes != OUTPUT_MAY ? " -o FILE" : ""));
    fputs("\n", m->to);
    put_text(m, format(m->s, "%s.", c->what));
    fputs("\n", m->to);
    help_paragraphs(c->help, put_paragraph, m);
    put_options(m, c);
    fputs(".PP\nExample:\n.B ", m->to);
    put_text(m, c->example);
    fputs("\n", m->to);
}

static void put_section(const Man *m, const char *title, const char *const (*rows)[2], int n)
{
    fprintf(m->to, ".SH %s\n", title);
    for (int i = 0; i < n; i++) {
        fputs(".TP\n.B ", m->to);
        put_text(m, rows[i][0]);
        fputs("\n", m->to);
        put_text(m, rows[i][1]);
        fputs("\n", m->to);
    }
}

static void put_passes(const Man *m)
{
    fputs(".SH PASSES\nIn order, each with the lowest -O that runs it.\n", m->to);
    for (int i = 0; i < npass; i++) {
        fputs(".TP\n.B ", m->to);
        put_text(m, format(m->s, "%s (-O%d)", passes[i].name, passes[i].level));
        fputs("\n", m->to);
        put_text(m, passes[i].what);
        fputs("\n", m->to);
    }
}

void help_man(Session *s, const Command *all, FILE *to)
{
    static const char *const status[][2] = {
        {"0", "all went well."},
        {"1", "the input, an option or the machine does not allow it; the reason is on standard "
              "error, and no half-written output is left. bnc diff: the modules differ. bnc "
              "inspect --check: an error was found."},
        {"2", "bnc compare: the mean KL is above --max-kl. bnc bench: slower than --baseline."}};
    static const char *const environment[][2] = {
        {"CC", "the C compiler and words behind it; else cc."},
        {"CFLAGS", "flags for it, where --cflags gives none."},
        {"XDG_CACHE_HOME, HOME", "the cache is bnc in the first or .cache/bnc in the second."},
        {"TMPDIR", "where temporary folders are made; else /tmp."}};
    Man m = {s, all, to};
    fputs(".\\\" Written by `bnc help --man`.\n.TH BNC 1 \"\" \"bnc " BN_VERSION
          "\" \"User Commands\"\n"
          ".SH NAME\nbnc \\- compile ternary language models to C\n.SH SYNOPSIS\n",
          to);
    for (const Command *c = all; c->name; c++) {
        fputs(c == all ? ".B bnc\n" : ".br\n.B bnc\n", to);
        put_text(&m, format(s, "%s %s%s[options]", c == all ? "[compile]" : c->name, c->arguments,
                            *c->arguments ? " " : ""));
        fputs("\n", to);
    }
    fputs(".SH DESCRIPTION\n.B bnc\ncompiles a ternary (BitNet b1.58) language model file to C "
          "ahead of "
          "time: one C file with the kernels and the schedule of just that model, a header, and a "
          "weights file that is mapped into memory and used in place.\n"
          ".SH OPTIONS\nThose of every command:\n",
          to);
    for (int i = 0; option_at(i); i++)
        if (option_at(i)->sets & SET_ALL)
            put_option(&m, option_at(i));
    fputs(".PP\nThe value of a long option stands behind = or in the next word; choices may be "
          "written in any case; what follows\n.B \\-\\-\nis no option.\n.SH COMMANDS\n",
          to);
    for (const Command *c = all; c->name; c++)
        put_command(&m, c);
    put_passes(&m);
    put_section(&m, "EXIT STATUS", status, sizeof status / sizeof *status);
    put_section(&m, "ENVIRONMENT", environment, sizeof environment / sizeof *environment);
    fputs(".SH SEE ALSO\n.BR cc (1)\n", to);
}
