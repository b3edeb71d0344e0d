/* options.h: the options of every command: one table (options.def), one parser, one record of
 * values.
 *
 * One idea: a row says everything about an option: its names, what a value may be, which commands
 * have it, its help. The parser, the help texts, the man page and the completions read the same
 * rows. All values are checked while the command line is read, before any file is opened.
 */
#ifndef BNC_OPTIONS_H
#define BNC_OPTIONS_H

#include "bn_model.h"
#include "cli_options.h"
#include "ir/ir.h"

/* Which commands have an option: those one of whose sets (cmd/commands.def) is one of its own. */
enum {
    SET_ALL = 1 << 0,
    SET_OUTPUT = 1 << 1, /* -o */
    SET_EMIT = 1 << 2,
    SET_BUILD = 1 << 3, /* how a model is compiled */
    SET_TELL = 1 << 4,  /* what the passes did */
    SET_PRINT = 1 << 5,
    SET_THREADS = 1 << 6,
    SET_JSON = 1 << 7,
    SET_PROGRAM = 1 << 8, /* of the compiled program: runtime-min/cli_options.h */
    SET_CHAT = 1 << 9,
    SET_TEMPLATE = 1 << 10,
    SET_INSPECT = 1 << 11,
    SET_PPL = 1 << 12,
    SET_COMPARE = 1 << 13,
    SET_EMBED = 1 << 14,
    SET_REPORT = 1 << 15,
    SET_CONVERT = 1 << 16,
    SET_PROFILE = 1 << 17,
    SET_BENCH = 1 << 18,
    SET_QUANTIZE = 1 << 19,
    SET_SYNTH = 1 << 20,
    SET_TOKENIZE = 1 << 21,
    SET_HELP = 1 << 22,
    SET_CACHE = 1 << 23, /* what compiles into the cache */
};

enum { NUMBERS_MOST = 16 };
typedef struct Numbers {
    int n, of[NUMBERS_MOST]; /* in order, none twice */
} Numbers;
typedef struct Texts {
    const char **of;
    int n;
} Texts;

/* KIND(name, C type of the value, whether a word stands behind it) */
#define OPTION_KINDS(K)                                                                            \
    K(FLAG, bool, false)                                                                           \
    K(SWITCH, const char *, false) /* a flag that may name a choice: NULL, "" or --x=CHOICE */     \
    K(TEXT, const char *, true)                                                                    \
    K(TEXTS, Texts, true) /* may be given again: all of them */                                    \
    K(NUMBER, int64_t, true)                                                                       \
    K(NUMBERS, Numbers, true) /* with commas */                                                    \
    K(REAL, double, true)                                                                          \
    K(SIZE, int64_t, true) /* bytes: 12345, 20M, 1.5G */                                           \
    K(SEED, uint64_t, true)                                                                        \
    K(CHOICE, const char *, true)  /* one of a list, in lower case */                              \
    K(CHOICES, const char *, true) /* with commas */                                               \
    K(IDENT, const char *, true)   /* an identifier of C */                                        \
    K(FILE, const char *, true)                                                                    \
    K(FOLDER, const char *, true)                                                                  \
    K(TARGET, const char *, true)                                                                  \
    K(SHAPE, const char *, true)                                                                   \
    K(CHAT, const char *, true) /* a file or a built-in template */                                \
    K(PASS, const char *, true)                                                                    \
    K(STAGE, const char *, true)  /* a pass, or all */                                             \
    K(PASSES, const char *, true) /* with commas */

typedef enum OptionKind {
#define KIND_ENUM(name, type, valued) OPTION_##name,
    OPTION_KINDS(KIND_ENUM)
#undef KIND_ENUM
} OptionKind;
#define KIND_TYPE(name, type, valued) typedef type OptionValue##name;
OPTION_KINDS(KIND_TYPE)
#undef KIND_TYPE

typedef struct Options Options;
/* Whether a command has -o: it may be given, it must, it must and be a file. */
typedef enum Output { OUTPUT_MAY, OUTPUT_MUST, OUTPUT_FILE } Output;
/* A command, as options_read and the help texts see it. */
typedef struct Command {
    const char *name;
    int (*run)(Session *s, const Options *o);
    const char *arguments; /* "MODEL TEXTFILE"; [WORD]: may be left out */
    unsigned sets;
    Output writes;
    const char *what, *example, *help;
} Command;

/* Every command's values; those that a command has no option for keep their initial value. */
struct Options {
#define OPTION(field, kind, letter, name, argument, sets, initial, help, ...)                      \
    OptionValue##kind field;
#define AGAIN(...)
#define PROGRAM(id, field, letter, name, kind, ...) OptionValue##kind field;
    struct {
        CLI_OPTIONS(PROGRAM, PROGRAM)
    } program; /* a number that is not given: its initial value */
#undef PROGRAM
#include "driver/options.def"
#undef OPTION
#undef AGAIN
    const Command *command, *commands; /* this one; all, up to one without a name */
    const char **word;                 /* what is no option: a model, a text, ... */
    int nword;
    const char *input; /* word[0] */
    const char **rest; /* options of the compiled program, as it reads them */
    int nrest;
    const char **given; /* words of the options that decide what is compiled, in order */
    int ngiven;
    const char *text;   /* these as one text, for generated files */
    bool chat_optional; /* a chat template of the model's own that cannot be compiled is left out */
    const char
        *cache; /* the folder of cache.c; NULL: the user's, or with no_cache a temporary one */
};

typedef struct Option {
    OptionKind kind;
    char letter;                /* -o; 0: none */
    const char *name;           /* --output, -MD; NULL: the letter alone */
    const char *argument;       /* "" for a flag */
    const char *help, *initial; /* as written in the table */
    unsigned sets;
    size_t at;             /* in Options */
    double least, most;    /* of numbers; most 0: INT32_MAX */
    int count;             /* of NUMBERS, at most; 0: NUMBERS_MOST */
    const char *choices;   /* a|b|c */
    const char *hint;      /* said where another choice is given */
    const char *otherwise; /* for the help: what holds without it, where initial does not say */
    bool silent;           /* of SET_BUILD, but changes nothing in what is compiled */
    bool written;          /* a file that is written; one that is read may not be the same */
    bool renewed;          /* a file that is read, and may be written over then */
    bool program;          /* for the compiled program, which reads it itself */
} Option;

/* Row i of the table; NULL behind the last. */
const Option *option_at(int i);
static inline bool option_of(const Option *p, const Command *c)
{
    return (p->sets & (c->sets | SET_ALL)) != 0;
}
bool option_valued(const Option *p); /* whether a value must stand behind it */
/* "a|b|c", what the value may be; NULL where anything may stand. */
const char *option_choices(Session *s, const Option *p);
const Option *option_find(const char *name, unsigned set); /* there is one */
/* `value` as one of p's choices, in their spelling; fail()s, by `name`, where it is none. */
const char *option_choice(Session *s, const Option *p, const char *name, const char *value);
/* The value of an option that names a file; NULL: another kind, or not given. */
const char *option_text(const Options *o, const Option *p);
/* "--kv" or "-O", for messages. */
const char *option_name(Session *s, const Option *p);

/* All values as they are without a command line. */
Options options_initial(Session *s);
/* Reads the words argv[1..argc) of c, one of `all` (which ends with a row without a name). False: help
 * was asked for. Any mistake is fail()ed. */
bool options_read(Session *s, Options *o, const Command *c, const Command *all, int argc,
                  char **argv);
/* The name among n that was probably meant, or NULL. */
const char *did_you_mean(const char *word, const char *const *names, int n);

#endif
