/* completions.c: `bnc help --completions=SHELL`, from the tables of commands and options. */
#include <string.h>

#include "cmd/cmd.h"

typedef struct Shell {
    Session *s;
    const Command *all;
    FILE *to;
} Shell;

static bool takes_file(const Option *p)
{
    return p->kind == OPTION_FILE || p->kind == OPTION_FOLDER || p->kind == OPTION_CHAT;
}

/* "a|b|c" with blanks. */
static const char *spaced(Session *s, const char *choices)
{
    Out o = {.s = s};
    for (const char *c = choices; *c; c++)
        put(&o, "%c", *c == '|' ? ' ' : *c);
    const char *text = name(s, o.text);
    out_free(&o);
    return text;
}

static const char *command_names(const Shell *h, const Option *p, const char *glue)
{
    Session *s = h->s;
    Out o = {.s = s};
    for (const Command *c = h->all; c->name; c++)
        if (!p || option_of(p, c))
            put(&o, "%s%s", o.len ? glue : "", c->name);
    const char *text = name(s, o.len ? o.text : "");
    out_free(&o);
    return text;
}

/* Help in a word of a shell's: the first sentence, without what would need quoting anywhere. */
static const char *brief(Session *s, const char *help)
{
    Out o = {.s = s};
    for (const char *c = help; *c && *c != ';' && *c != '\n'; c++)
        if (*c == '(' && c > help)
            break;
        else if (!strchr("'\"`[]$\\:", *c))
            put(&o, "%c", *c);
    while (o.len && o.text[o.len - 1] == ' ')
        o.text[--o.len] = 0;
    const char *text = name(s, o.len ? o.text : "");
    out_free(&o);
    return text;
}

static const char topics[] = "passes targets shapes";

/* ---- bash ---- */

static void bash_case(const Shell *h, const Option *p, const char *word)
{
    bool first = true;
    for (const Command *c = h->all; c->name; c++)
        if (option_of(p, c)) {
            fprintf(h->to, "%s%s:%s", first ? "    " : "|", c->name, word);
            first = false;
        }
    fprintf(h->to, ")\n");
}

/* What may stand behind an option that wants a value. */
static void bash_values(const Shell *h)
{
    for (int i = 0; option_at(i); i++) {
        const Option *p = option_at(i);
        const char *choices = option_choices(h->s, p);
        if (!option_valued(p) && !choices)
            continue;
        for (int form = 0; form < 2; form++) {
            if (form ? !p->letter : !p->name)
                continue;
            bash_case(h, p, form ? format(h->s, "-%c", p->letter) : p->name);
            if (choices)
                fprintf(h->to, "        words='%s'\n", spaced(h->s, choices));
            fprintf(h->to, "        value=%s ;;\n", takes_file(p) ? "file" : "word");
        }
    }
}

static void complete_bash(const Shell *h)
{
    fprintf(h->to,
            "# Completion of bnc for bash, written by `bnc help --completions=bash`.\n"
            "_bnc()\n{\n"
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev= command=compile option= words= value=\n"
            "    COMPREPLY=()\n"
            "    if ((COMP_CWORD > 0)); then prev=${COMP_WORDS[COMP_CWORD - 1]}; fi\n"
            "    case ${COMP_WORDS[1]} in\n"
            "    %s)\n"
            "        if ((COMP_CWORD > 1)); then command=${COMP_WORDS[1]}; fi ;;\n"
            "    esac\n"
            "    if [[ $cur == = ]]; then\n        option=$prev cur=\n"
            "    elif [[ $prev == = ]]; then\n        option=${COMP_WORDS[COMP_CWORD - 2]}\n"
            "    elif [[ $prev == -* ]]; then\n        option=$prev\n    fi\n"
            "    case $command:$option in\n",
            command_names(h, NULL, "|"));
    bash_values(h);
    fprintf(h->to, "    esac\n"
                   "    if [[ $value ]]; then\n"
                   "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                   "        if [[ $value == file ]]; then\n"
                   "            COMPREPLY+=($(compgen -f -- \"$cur\"))\n"
                   "            compopt -o filenames 2>/dev/null\n        fi\n"
                   "        return 0\n    fi\n"
                   "    if [[ $cur == -* ]]; then\n        case $command in\n");
    for (const Command *c = h->all; c->name; c++) {
        fprintf(h->to, "        %s) words='", c->name);
        for (int i = 0, n = 0; option_at(i); i++)
            if (option_of(option_at(i), c) && option_at(i)->name)
                fprintf(h->to, "%s%s%s", n++ ? " " : "", option_at(i)->name,
                        option_valued(option_at(i)) && option_at(i)->name[1] == '-' ? "=" : "");
        fprintf(h->to, "' ;;\n");
    }
    fprintf(h->to,
            "        esac\n"
            "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
            "        if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi\n"
            "        return 0\n    fi\n"
            "    if ((COMP_CWORD == 1)); then\n"
            "        COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n    fi\n"
            "    if [[ $command == help ]]; then\n"
            "        COMPREPLY=($(compgen -W '%s %s' -- \"$cur\"))\n"
            "        return 0\n    fi\n"
            "    COMPREPLY+=($(compgen -f -- \"$cur\"))\n"
            "    compopt -o filenames 2>/dev/null\n"
            "    return 0\n}\n"
            "complete -F _bnc bnc\n",
            command_names(h, NULL, " "), command_names(h, NULL, " "), topics);
}

/* ---- zsh ---- */

static void zsh_value(const Shell *h, const Option *p)
{
    const char *choices = option_choices(h->s, p);
    if (!option_valued(p) && p->kind != OPTION_SWITCH)
        return;
    fprintf(h->to, "%s:%s:", p->kind == OPTION_SWITCH ? ":" : "", brief(h->s, p->argument));
    if (takes_file(p))
        fprintf(h->to, "%s", p->kind == OPTION_FOLDER ? "_files -/" : "_files");
    else if (choices)
        fprintf(h->to, "(%s)", spaced(h->s, choices));
}

static void zsh_option(const Shell *h, const Option *p)
{
    const char *help = brief(h->s, p->help), *many = p->kind == OPTION_TEXTS ? "*" : "";
    if (p->name) {
        const char *glue = p->kind == OPTION_SWITCH                ? "=-"
                           : option_valued(p) && p->name[1] == '-' ? "="
                                                                   : "";
        fprintf(h->to, " \\\n            '%s%s%s[%s]", many, p->name, glue, help);
        zsh_value(h, p);
        fprintf(h->to, "'");
    }
    if (p->letter) {
        fprintf(h->to, " \\\n            '-%c%s[%s]", p->letter, option_valued(p) ? "+" : "", help);
        zsh_value(h, p);
        fprintf(h->to, "'");
    }
}

static void complete_zsh(const Shell *h)
{
    fprintf(h->to, "#compdef bnc\n"
                   "# Completion of bnc for zsh, written by `bnc help --completions=zsh`.\n"
                   "_bnc() {\n"
                   "    local command=compile\n"
                   "    local -a commands\n"
                   "    commands=(\n");
    for (const Command *c = h->all; c->name; c++)
        fprintf(h->to, "        '%s:%s'\n", c->name, brief(h->s, c->what));
    fprintf(h->to,
            "    )\n"
            "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
            "        _describe -t commands command commands\n"
            "        _files\n"
            "        return\n"
            "    fi\n"
            "    case $words[2] in\n"
            "        %s)\n"
            "            command=$words[2]\n"
            "            shift words\n"
            "            (( CURRENT-- ))\n"
            "            ;;\n"
            "    esac\n"
            "    case $command in\n",
            command_names(h, NULL, "|"));
    for (const Command *c = h->all; c->name; c++) {
        fprintf(h->to, "        %s)\n            _arguments", c->name);
        for (int i = 0; option_at(i); i++)
            if (option_of(option_at(i), c))
                zsh_option(h, option_at(i));
        if (!strcmp(c->name, "help"))
            fprintf(h->to, " \\\n            '*:topic:(%s %s)'\n            ;;\n",
                    command_names(h, NULL, " "), topics);
        else
            fprintf(h->to, " \\\n            '*:file:_files'\n            ;;\n");
    }
    fprintf(h->to, "    esac\n}\n_bnc \"$@\"\n");
}

/* ---- fish ---- */

static void fish_option(const Shell *h, const Option *p)
{
    const char *choices = option_choices(h->s, p);
    fprintf(h->to, "complete -c bnc -n 'contains -- (__bnc_command) %s'", command_names(h, p, " "));
    if (p->name)
        fprintf(h->to, " %s %s", p->name[1] == '-' ? "-l" : "-o", p->name + strspn(p->name, "-"));
    if (p->letter)
        fprintf(h->to, " -s %c", p->letter);
    if (takes_file(p))
        fprintf(h->to, " -rF");
    else if (option_valued(p))
        fprintf(h->to, " -x");
    if (choices)
        fprintf(h->to, " -a '%s'", spaced(h->s, choices));
    fprintf(h->to, " -d '%s'\n", brief(h->s, p->help));
}

static void complete_fish(const Shell *h)
{
    fprintf(h->to,
            "# Completion of bnc for fish, written by `bnc help --completions=fish`.\n"
            "function __bnc_command\n"
            "    set -l words (commandline -opc)\n"
            "    if test (count $words) -gt 1; and contains -- $words[2] %s\n"
            "        echo $words[2]\n"
            "    else\n"
            "        echo compile\n"
            "    end\n"
            "end\n"
            "function __bnc_first\n"
            "    test (count (commandline -opc)) -eq 1\n"
            "end\n",
            command_names(h, NULL, " "));
    for (const Command *c = h->all; c->name; c++)
        fprintf(h->to, "complete -c bnc -n __bnc_first -a %s -d '%s'\n", c->name,
                brief(h->s, c->what));
    fprintf(h->to, "complete -c bnc -f -n 'contains -- (__bnc_command) help' -a '%s %s'\n",
            command_names(h, NULL, " "), topics);
    for (int i = 0; option_at(i); i++)
        fish_option(h, option_at(i));
}

void help_completions(Session *s, const Command *all, const char *shell, FILE *to)
{
    const Shell h = {s, all, to};
    if (!strcmp(shell, "bash"))
        complete_bash(&h);
    else if (!strcmp(shell, "zsh"))
        complete_zsh(&h);
    else
        complete_fish(&h);
}
