/* options.c: reads the table of options, checks command lines against it and describes its rows. */
#include "driver/driver.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "chat/chat.h"
#include "ir/escape.h"
#include "jit/jit.h"
#include "passes/passes.h"

static const Option table[] = {
#define OPTION(field_, kind_, letter_, name_, argument_, sets_, initial_, help_, ...)              \
    {.kind = OPTION_##kind_,                                                                       \
     .letter = letter_,                                                                            \
     .name = name_,                                                                                \
     .argument = argument_,                                                                        \
     .help = help_,                                                                                \
     .initial = #initial_,                                                                         \
     .sets = sets_,                                                                                \
     .at = offsetof(Options, field_),                                                              \
     __VA_ARGS__},
#define AGAIN OPTION
#include "driver/options.def"
#undef AGAIN
#undef OPTION
#define ROW(sets_, field_, letter_, name_, kind_, least_, most_, value_, what_)                    \
    {.kind = OPTION_##kind_,                                                                       \
     .letter = letter_,                                                                            \
     .name = "--" name_,                                                                           \
     .argument = (value_) ? (value_) : "",                                                         \
     .help = what_,                                                                                \
     .initial = "0",                                                                               \
     .sets = sets_,                                                                                \
     .at = offsetof(Options, program.field_),                                                      \
     .least = least_,                                                                              \
     .most = most_,                                                                                \
     .program = true},
#define PROGRAM(id, field, letter, name, kind, least, most, initial, value, what)                  \
    ROW(SET_PROGRAM, field, letter, name, kind, least, most, value, what)
#define SAMPLING(id, field, letter, name, kind, least, most, initial, value, what)                 \
    ROW(SET_PROGRAM | SET_CHAT, field, letter, name, kind, least, most, value, what)
    CLI_OPTIONS(PROGRAM, SAMPLING)
#undef PROGRAM
#undef SAMPLING
#undef ROW
};
enum { NOPTION = sizeof table / sizeof *table };

Options options_initial(Session *s)
{
    Options o = {
#define OPTION(field_, kind, letter, name, argument, sets, initial, ...) .field_ = initial,
#define AGAIN(...)
#include "driver/options.def"
#undef AGAIN
#undef OPTION
#define PROGRAM(id, field_, letter, name, kind, least, most, initial, ...)                         \
    .program.field_ = OPTION_INITIAL_##kind(initial),
#define OPTION_INITIAL_NUMBER(x) x
#define OPTION_INITIAL_REAL(x) x
#define OPTION_INITIAL_SEED(x) x
#define OPTION_INITIAL_TEXT(x) NULL
#define OPTION_INITIAL_FILE(x) NULL
#define OPTION_INITIAL_FLAG(x) false
#define OPTION_INITIAL_NUMBERS(x) {0}
#define OPTION_INITIAL_TEXTS(x)                                                                    \
    {                                                                                              \
        0                                                                                          \
    }
        CLI_OPTIONS(PROGRAM, PROGRAM)
#undef PROGRAM
    };
    o.text = name(s, "none");
    return o;
}

const Option *option_at(int i)
{
    return i < NOPTION ? &table[i] : NULL;
}

const Option *option_find(const char *name, unsigned set)
{
    int i = 0;
    while (i < NOPTION && !(table[i].sets & set && table[i].name && !strcmp(table[i].name, name)))
        i++;
    CHECK(i < NOPTION);
    return &table[i];
}

bool option_valued(const Option *p)
{
    static const bool valued[] = {
#define KIND_VALUED(name, type, valued) [OPTION_##name] = valued,
        OPTION_KINDS(KIND_VALUED)
#undef KIND_VALUED
    };
    return valued[p->kind];
}

const char *option_text(const Options *o, const Option *p)
{
    bool path = p->kind == OPTION_FILE || p->kind == OPTION_CHAT;
    return path ? *(const char *const *)(const void *)((const char *)o + p->at) : NULL;
}

const char *option_name(Session *s, const Option *p)
{
    return p->name ? p->name : format(s, "-%c", p->letter);
}

/* ---- lists of choices ---- */

static void choice_add(Out *o, const char *choice)
{
    put(o, "%s%s", o->len ? "|" : "", choice);
}

static void target_choices(Out *o)
{
    choice_add(o, "native");
    for (int i = 0; target_at(i); i++)
        choice_add(o, target_at(i)->name);
    for (int i = 0; gpu_target_at(i); i++)
        choice_add(o, gpu_target_at(i)->name);
    for (int i = 0; jit_machine_at(i); i++)
        if (!target_find(o->s, jit_machine_at(i)->name))
            choice_add(o, jit_machine_at(i)->name);
}

static void chat_choices(Out *o)
{
    const char *names = chat_names(o->s);
    for (const char *at = names; *at; at += strcspn(at, ", "), at += strspn(at, ", "))
        choice_add(o, intern(o->s, at, strcspn(at, ", ")));
    choice_add(o, "none");
}

const char *option_choices(Session *s, const Option *p)
{
    static const char *const shapes[] = {
#define SHAPE(name, ...) name,
#include "driver/shapes.def"
#undef SHAPE
    };
    Out o = {.s = s};
    if (p->choices)
        return p->choices;
    if (p->kind == OPTION_TARGET)
        target_choices(&o);
    if (p->kind == OPTION_CHAT)
        chat_choices(&o);
    for (size_t i = 0; p->kind == OPTION_SHAPE && i < sizeof shapes / sizeof *shapes; i++)
        choice_add(&o, shapes[i]);
    if (p->kind == OPTION_PASS || p->kind == OPTION_STAGE || p->kind == OPTION_PASSES)
        for (int i = 0; i < npass; i++)
            choice_add(&o, passes[i].name);
    if (p->kind == OPTION_STAGE)
        choice_add(&o, "all");
    const char *text = o.len ? name(s, o.text) : NULL;
    out_free(&o);
    return text;
}

/* The choice that is `word` in any case, in the list's spelling; NULL: none is. */
static const char *choice_find(Session *s, const char *choices, const char *word, size_t len)
{
    for (const char *at = choices; *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == len && !strncasecmp(at, word, len))
            return intern(s, at, len);
    return NULL;
}

/* "a|b|c" as "a, b or c" */
static const char *choices_told(Session *s, const char *choices)
{
    Out o = {.s = s};
    for (const char *at = choices; *at; at += strcspn(at, "|"), at += *at == '|') {
        size_t len = strcspn(at, "|");
        put(&o, "%s%.*s", !o.len ? "" : at[len] ? ", " : " or ", (int)len, at);
    }
    const char *text = name(s, o.text);
    out_free(&o);
    return text;
}

/* ---- did you mean ---- */

enum { WORD_MOST = 64 };

/* Letters to insert, drop, change or swap with their neighbour. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b);
    int row[3][WORD_MOST + 1], *old = row[0], *last = row[1], *now = row[2];
    if (n > WORD_MOST || m > WORD_MOST)
        return WORD_MOST;
    for (int j = 0; j <= m; j++)
        last[j] = old[j] = j;
    for (int i = 1; i <= n; i++) {
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            int best = last[j - 1] + !same;
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = old[j - 2] + 1 < best ? old[j - 2] + 1 : best;
            now[j] = best;
        }
        int *spare = old;
        old = last;
        last = now;
        now = spare;
    }
    return last[m];
}

const char *did_you_mean(const char *word, const char *const *names, int n)
{
    int skip = (int)strspn(word, "-"), len = (int)strlen(word) - skip;
    int most = len < 3 ? 0 : len < 6 ? 1 : len / 3;
    const char *best = NULL;
    for (int i = 0; i < n; i++) {
        int d = distance(word + skip, names[i] + strspn(names[i], "-"));
        if (d <= most && d < len) {
            best = names[i];
            most = d - 1;
        }
    }
    return best;
}

/* "; did you mean X?" or "" */
static const char *meant_choice(Session *s, const char *choices, const char *word)
{
    const char *names[WORD_MOST];
    int n = 0;
    for (const char *at = choices; *at && n < WORD_MOST; at += strcspn(at, "|"), at += *at == '|')
        names[n++] = intern(s, at, strcspn(at, "|"));
    const char *near = did_you_mean(word, names, n);
    return near ? format(s, "; did you mean %s?", near) : "";
}

/* ---- values ---- */

const char *option_choice(Session *s, const Option *p, const char *name, const char *value)
{
    const char *choices = option_choices(s, p), *found;
    if ((found = choice_find(s, choices, value, strlen(value))))
        return found;
    if (p->kind == OPTION_TARGET)
        fail(s, (Loc){0}, "there is no target '%s'; `bnc help targets` lists them%s", value,
             meant_choice(s, choices, value));
    if (p->kind == OPTION_SHAPE)
        fail(s, (Loc){0}, "there is no shape '%s': %s%s", value, choices_told(s, choices),
             meant_choice(s, choices, value));
    if (p->kind == OPTION_PASS || p->kind == OPTION_STAGE)
        fail(s, (Loc){0}, "%s: there is no pass '%s'; `bnc help passes` lists them%s", name, value,
             meant_choice(s, choices, value));
    fail(s, (Loc){0}, "%s is %s, not '%s'%s%s", name, choices_told(s, choices), value,
         p->hint ? ": " : "", p->hint ? p->hint : "");
}

static const char *read_choices(Session *s, const Option *p, const char *value)
{
    Out o = {.s = s};
    const char *choices = option_choices(s, p), *found;
    for (const char *at = value; *at; at += strcspn(at, ","), at += *at == ',') {
        size_t len = strcspn(at, ",");
        if (!len)
            continue;
        if (!(found = choice_find(s, choices, at, len))) {
            const char *word = intern(s, at, len);
            if (p->kind == OPTION_PASSES)
                fail(s, (Loc){0}, "there is no pass '%s'; `bnc help passes` lists them%s", word,
                     meant_choice(s, choices, word));
            fail(s, (Loc){0}, "%s knows %s, not '%s'", option_name(s, p), choices_told(s, choices),
                 word);
        }
        put(&o, "%s%s", o.len ? "," : "", found);
    }
    const char *text = name(s, o.len ? o.text : "");
    out_free(&o);
    return text;
}

static int64_t most_of(const Option *p)
{
    return p->most > 0 ? (int64_t)p->most : INT32_MAX;
}

/* A whole number up to one of `ends`. */
static int64_t read_number(Session *s, const Option *p, const char *value, const char *at,
                           const char *ends, char **end)
{
    errno = 0;
    long long n = strtoll(at, end, 10);
    if (errno || *end == at || (**end && !strchr(ends, **end)) || n < (int64_t)p->least ||
        n > most_of(p))
        fail(s, (Loc){0}, "%s wants %s from %lld to %lld, not '%s'", option_name(s, p),
             *ends ? "whole numbers" : "a whole number", (long long)p->least, (long long)most_of(p),
             value);
    return n;
}

static Numbers read_numbers(Session *s, const Option *p, const char *value)
{
    Numbers l = {0};
    int most = p->count ? p->count : NUMBERS_MOST;
    char *end;
    for (const char *at = value; at; at = *end ? end + 1 : NULL) {
        int n = (int)read_number(s, p, value, at, ",", &end), i = 0;
        while (i < l.n && l.of[i] != n)
            i++;
        if (i == most)
            fail(s, (Loc){0}, "%s takes %d numbers at most", option_name(s, p), most);
        l.of[i] = n;
        l.n += i == l.n;
    }
    return l;
}

static double read_real(Session *s, const Option *p, const char *value, bool size)
{
    char *end;
    double x = strtod(value, &end), most = size ? 1e15 : p->most > 0 ? p->most : HUGE_VAL;
    if (end != value && size && *end && strchr("kMG", *end) && !end[1])
        x *= *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : 1e9, end++;
    if (end != value && !*end && isfinite(x) && x >= p->least && x <= most)
        return x;
    if (size)
        fail(s, (Loc){0}, "%s wants a size in bytes (12345, 20M, 1.5G), not '%s'",
             option_name(s, p), value);
    if (p->most > 0)
        fail(s, (Loc){0}, "%s wants a number from %g to %g, not '%s'", option_name(s, p), p->least,
             most, value);
    fail(s, (Loc){0}, "%s wants a number from %g on, not '%s'", option_name(s, p), p->least, value);
}

static uint64_t read_seed(Session *s, const Option *p, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno)
        fail(s, (Loc){0}, "%s wants a whole number below 2^64, not '%s'", option_name(s, p), value);
    return n;
}

static const char *read_ident(Session *s, const Option *p, const char *value)
{
    if (!identifier_good(value))
        fail(s, (Loc){0}, "%s wants a C identifier, not '%s'", p->name, value);
    return value;
}

/* A word that must not be empty, of any other kind. */
static const char *read_word(Session *s, const Option *p, const char *value)
{
    bool path = p->kind == OPTION_FILE || p->kind == OPTION_FOLDER || p->kind == OPTION_CHAT;
    if (path && !*value)
        fail(s, (Loc){0}, "%s wants %s, not an empty word", option_name(s, p), p->argument);
    return value;
}

/* Puts the value into its field; returns it in the spelling that messages and generated files use. */
static const char *set(Session *s, Options *o, const Option *p, const char *value)
{
    void *field = (char *)o + p->at;
    char *end;
    Texts *texts = field;
    switch (p->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return "";
    case OPTION_TEXTS:
        texts->of = grow(s, texts->of, (size_t)texts->n, sizeof *texts->of);
        texts->of[texts->n++] = value;
        return value;
    case OPTION_NUMBER:
        *(int64_t *)field = read_number(s, p, value, value, "", &end);
        return value;
    case OPTION_NUMBERS:
        *(Numbers *)field = read_numbers(s, p, value);
        return value;
    case OPTION_REAL:
        *(double *)field = read_real(s, p, value, false);
        return value;
    case OPTION_SIZE:
        *(int64_t *)field = (int64_t)read_real(s, p, value, true);
        return value;
    case OPTION_SEED:
        *(uint64_t *)field = read_seed(s, p, value);
        return value;
    case OPTION_SWITCH:
        value = *value ? option_choice(s, p, option_name(s, p), value) : "";
        break;
    case OPTION_CHOICE:
    case OPTION_TARGET:
    case OPTION_SHAPE:
    case OPTION_PASS:
    case OPTION_STAGE:
        value = option_choice(s, p, option_name(s, p), value);
        break;
    case OPTION_CHOICES:
    case OPTION_PASSES:
        value = read_choices(s, p, value);
        break;
    case OPTION_IDENT:
        value = read_ident(s, p, value);
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_FOLDER:
    case OPTION_CHAT:
        value = read_word(s, p, value);
        break;
    }
    *(const char **)field = value;
    return value;
}

/* ---- the command line ---- */

typedef struct Line {
    Session *s;
    Options *o;
    const Command *c, *all;
    int argc, at;
    char **argv;
    Out text;
} Line;

/* Whether `arg` is p; *value: what stands in the same word, or NULL. */
static bool is_option(const Option *p, const char *arg, const char **value)
{
    size_t len = p->name ? strlen(p->name) : 0;
    *value = NULL;
    if (len && !strncmp(arg, p->name, len) && (!arg[len] || (arg[len] == '=' && arg[1] == '-'))) {
        *value = arg[len] ? arg + len + 1 : NULL;
        return true;
    }
    if (!p->letter || arg[0] != '-' || arg[1] != p->letter || (arg[2] && !option_valued(p)))
        return false;
    *value = arg[2] ? arg + 2 : NULL;
    return true;
}

/* Long names first: -MD is no -M. */
static const Option *find(const Line *l, const char *arg, const char **value)
{
    const char *seen;
    const Option *brief = NULL;
    for (int i = 0; i < NOPTION; i++) {
        if (!option_of(&table[i], l->c) || !is_option(&table[i], arg, &seen))
            continue;
        *value = seen;
        if (table[i].name && !strncmp(arg, table[i].name, strlen(table[i].name)))
            return &table[i];
        brief = &table[i];
    }
    if (brief)
        (void)is_option(brief, arg, value);
    return brief;
}

/* "bnc run, bnc chat": the commands that have option p; NULL: none. */
static const char *owners(const Line *l, const Option *p)
{
    Out o = {.s = l->s};
    int n = 0;
    for (const Command *c = l->all; c->name; c++)
        if (option_of(p, c) && n++ < 3)
            put(&o, "%sbnc %s", o.len ? ", " : "", c->name);
    const char *text = o.len ? format(l->s, "%s%s", o.text, n > 3 ? " and others" : "") : NULL;
    out_free(&o);
    return text;
}

static _Noreturn void unknown(const Line *l, const char *arg)
{
    const char *names[NOPTION], *value;
    const char *word = intern(l->s, arg, strcspn(arg, "="));
    int n = 0;
    for (int i = 0; i < NOPTION; i++)
        if (option_of(&table[i], l->c))
            names[n++] = option_name(l->s, &table[i]);
    const char *near = did_you_mean(word, names, n);
    if (near)
        fail(l->s, (Loc){0}, "unknown option '%s'; did you mean %s?", word, near);
    for (int i = 0; i < NOPTION; i++)
        if (table[i].name && is_option(&table[i], word, &value) && owners(l, &table[i]))
            fail(l->s, (Loc){0},
                 "%s is an option of %s, not of bnc %s; `bnc help %s` lists those it has", word,
                 owners(l, &table[i]), l->c->name, l->c->name);
    fail(l->s, (Loc){0}, "unknown option '%s' of bnc %s; `bnc help %s` lists them", word,
         l->c->name, l->c->name);
}

/* Remembers what was given: for the program, or for generated files and other calls of bnc. */
static void tell(Line *l, const Option *p, const char *value)
{
    Session *s = l->s;
    Options *o = l->o;
    const char *name = option_name(s, p), *glue = name[1] == '-' && *value ? "=" : "";
    const char *word = format(s, "%s%s%s", name, glue, value);
    if (p->program && (l->c->sets & SET_PROGRAM)) {
        o->rest = grow(s, o->rest, (size_t)o->nrest, sizeof *o->rest);
        o->rest[o->nrest++] = format(s, "%s%s%s", name, option_valued(p) ? "=" : "", value);
    } else if (p->sets & (SET_EMIT | SET_BUILD | SET_CACHE)) {
        o->given = grow(s, o->given, (size_t)o->ngiven, sizeof *o->given);
        o->given[o->ngiven++] = word;
        if (!p->silent && !(p->sets & SET_CACHE))
            put(&l->text, "%s%s", l->text.len ? " " : "", word);
    }
}

static void read_option(Line *l)
{
    const char *arg = l->argv[l->at], *value = NULL;
    const Option *p = find(l, arg, &value);
    if (!p)
        unknown(l, arg);
    if (value && p->kind == OPTION_FLAG)
        fail(l->s, (Loc){0}, "%s takes no value", option_name(l->s, p));
    if (!value && option_valued(p)) {
        if (l->at + 1 >= l->argc)
            fail(l->s, (Loc){0}, "%s wants %s after it", arg, p->argument);
        value = l->argv[++l->at];
    }
    Option typed = *p; /* messages name it as it was written */
    if (arg[1] != '-' && p->letter && arg[1] == p->letter)
        typed.name = NULL;
    tell(l, p, set(l->s, l->o, &typed, value ? value : ""));
}

/* How many words the command takes: least and most. */
static void count_words(const Command *c, int *least, int *most)
{
    *least = *most = 0;
    for (const char *at = c->arguments; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        *least += *at != '[';
        ++*most;
    }
}

static void check_words(const Line *l)
{
    const Options *o = l->o;
    const Command *c = l->c;
    int least, most;
    count_words(c, &least, &most);
    if (o->nword > most)
        fail(l->s, (Loc){0},
             most == 1 ? "a second input '%s'; one at a time: %s"
                       : "unexpected '%s'; the command is: %s",
             o->word[most], c->example);
    if (o->nword < least) {
        const char *at = c->arguments;
        for (int i = 0; i < o->nword; i++)
            at += strcspn(at, " "), at += strspn(at, " ");
        fail(l->s, (Loc){0}, "no %.*s given: %s (`bnc help %s`)", (int)strcspn(at, " "), at,
             c->example, c->name);
    }
    if (c->writes && !o->output)
        fail(l->s, (Loc){0}, "no output file given; say where to write: %s (`bnc help %s`)",
             c->example, c->name);
    if (c->writes == OUTPUT_FILE && !strcmp(o->output, "-"))
        fail(l->s, (Loc){0}, "a model is a file, it cannot go to standard output: %s", c->example);
}

bool options_read(Session *s, Options *o, const Command *c, const Command *all, int argc,
                  char **argv)
{
    Line l = {.s = s, .o = o, .c = c, .all = all, .argc = argc, .at = 1, .argv = argv, .text.s = s};
    bool words = false; /* behind -- */
    *o = options_initial(s);
    o->command = c;
    o->commands = all;
    for (; l.at < argc && !o->asked; l.at++) {
        const char *arg = argv[l.at];
        if (!words && !strcmp(arg, "--")) {
            words = true;
        } else if (!words && arg[0] == '-' && arg[1]) {
            read_option(&l);
        } else {
            o->word = grow(s, o->word, (size_t)o->nword, sizeof *o->word);
            o->word[o->nword++] = arg;
        }
    }
    s->quiet = o->quiet;
    if (o->asked)
        return false;
    if (l.text.len)
        o->text = name(s, l.text.text);
    out_free(&l.text);
    o->input = o->nword ? o->word[0] : NULL;
    check_words(&l);
    return true;
}
