/* jinja.h: what the files of the template interpreter share.
 *
 * One idea: everything is made in the caller's buffer: the text from its front, values from its
 * back. Nothing is freed but at statements, by moving `top` back; where the two would meet, the run
 * ends with BN_SPACE and the caller comes again with more. What a run may take and do is limited
 * (BN_JINJA_*), so that no template and no message can make it grow or spin.
 *
 *   buffer   +-- text (with a mark each) --+------ free ------+-- values --+-- slots, stack --+
 *            ^out                      out + used            top                            end
 *
 * Each byte of a text knows whether the template wrote it (1) or somebody else (0): by `mark`, or
 * `own` for all of them. Results follow Python's. After a failure every call does nothing.
 */
#ifndef BN_JINJA_H
#define BN_JINJA_H

#include <stddef.h>
#include <stdint.h>

#include "bn_model.h"
#include "bn_template.h"

#ifndef BN_JINJA_STEPS
#define BN_JINJA_STEPS ((int64_t)1 << 27) /* instructions, each with some 16 bytes of text */
#endif
#ifndef BN_JINJA_BYTES
#define BN_JINJA_BYTES ((size_t)64 << 20) /* besides what the messages' size allows */
#endif
enum {
    BNJ_DEPTH = 64,     /* of values inside values, where one is looked through */
    BNJ_CALLS = 100,    /* macros inside macros */
    BNJ_RANGE = 100000, /* what Jinja's sandbox allows */
    BNJ_ARGS = 4
};

typedef enum bnj_kind {
    BNJ_MISSING, /* an argument that was not given; never seen by a template */
    BNJ_UNDEFINED,
    BNJ_NONE,
    BNJ_BOOL,
    BNJ_INT,
    BNJ_FLOAT,
    BNJ_TEXT,
    BNJ_LIST,
    BNJ_DICT,
    BNJ_ITERATOR, /* what map, select and others give: a loop goes through it once */
    BNJ_SPACE,    /* namespace() */
    BNJ_LOOP,
    BNJ_MACRO,
    BNJ_FUNCTION,
    BNJ_METHOD
} bnj_kind;

typedef struct bnj_value bnj_value;
typedef struct bnj_space { /* pairs, as a dictionary's */
    bnj_value *item;
    size_t n, cap;
} bnj_space;
struct bnj_value {
    uint8_t kind,
        own;  /* own: TEXT without marks: whose it is; LIST: 1 a tuple, 2 a dictionary's view */
    size_t n; /* TEXT: bytes; LIST: items; DICT: pairs */
    union {
        int64_t i; /* BOOL, INT; LOOP: its slot; MACRO, FUNCTION, METHOD: which */
        double f;
        const char *s;
        const bnj_value *item; /* LIST; DICT: key, value, key, value, ... */
        bnj_space *space;      /* ITERATOR: what is left of it */
    } u;
    const unsigned char *mark;
};

typedef struct bnj_piece { /* of a text that is being captured */
    struct bnj_piece *next;
    bnj_value text;
} bnj_piece;
typedef struct bnj_capture {
    struct bnj_capture *outer;
    bnj_piece *first, *last;
} bnj_capture;
typedef struct bnj_frame { /* a call of a macro */
    struct bnj_frame *outer;
    uint32_t back;
    size_t sp, first, n; /* the caller's stack; the slots that `saved` holds */
    bnj_value *saved, *stack;
} bnj_frame;

typedef struct bnj_run {
    /* The template. */
    const unsigned char *code, *text, *macro, *guard, *line, *bytes;
    uint32_t ninstr, ntext, nmacro, nguard, nline, nslot, nstack, nbytes;
    /* The buffer. */
    char *out;
    unsigned char *top, *end, *floor; /* floor: above it values that live on */
    size_t used, limit;               /* bytes at `out`; bytes that a run may take */
    int marked;                       /* a mark follows each byte at `out` */
    int64_t steps;
    /* The program's state. */
    uint32_t at;
    bnj_value *slot, *stack;
    size_t sp;
    bnj_capture *capture;
    bnj_frame *frame;
    int calls;
    /* What the caller gives. */
    bnj_value messages, tools, variables;
    int begin_answer;
    const struct tm *now;
    /* The end. */
    bn_status status;
    bnj_value reason; /* BN_TEMPLATE */
    char sentence[160];
} bnj_run;

/* Files below call those above them only. */
/* ---- jinja_value.c: memory, failure, values ---- */
void *bnj_alloc(bnj_run *r, size_t bytes); /* 16-aligned; NULL after a failure */
void *bnj_array(bnj_run *r, size_t n, size_t bytes);
int bnj_work(bnj_run *r, size_t steps); /* 0 where the run has done all that it may */
bnj_value bnj_fail(bnj_run *r, const char *format, ...);
bnj_value bnj_plain(bnj_kind kind, int64_t i);
bnj_value bnj_undefined(void);
bnj_value bnj_bool(int on);
bnj_value bnj_int(int64_t i);
bnj_value bnj_float(double f);
bnj_value bnj_view(const char *s, size_t n, const unsigned char *mark, int own);
bnj_value bnj_cut(bnj_value v, size_t from, size_t to);
bnj_value bnj_literal(const char *s); /* the interpreter's own text */
bnj_value bnj_list(const bnj_value *item, size_t n);
bnj_value bnj_iterator(bnj_run *r, bnj_value list);
int bnj_is(bnj_value v, const char *s); /* is that text */
int bnj_true(bnj_value v);
int bnj_number(bnj_value v); /* BOOL, INT, FLOAT */
double bnj_double(bnj_value v);
const char *bnj_type(bnj_value v); /* Python's name of its type */

/* ---- jinja_text.c: texts ---- */
typedef struct bnj_sink { /* counts first, then writes */
    char *s;
    unsigned char *mark;
    size_t n;
    int seen; /* 1: bytes of the template's, 2: of others */
} bnj_sink;
typedef void (*bnj_writer)(bnj_run *r, bnj_sink *o, const void *arg);
/* The text that `write`, called twice, writes. */
bnj_value bnj_make(bnj_run *r, bnj_writer write, const void *arg);
void bnj_put(bnj_sink *o, bnj_value text);
void bnj_put_own(bnj_sink *o, const char *s, size_t n);
size_t bnj_char(const char *s, size_t n, uint32_t *code);
int bnj_space_code(uint32_t code);
size_t bnj_count(bnj_value text); /* characters */
size_t bnj_find(bnj_run *r, const char *s, size_t n, size_t from, const char *what, size_t len);
bnj_value bnj_join(bnj_run *r, const bnj_value *text, size_t n, bnj_value by); /* texts only */
bnj_value bnj_case(bnj_run *r, bnj_value v, char how); /* 'u' 'l' 'c' 't', 'j': Jinja's title */
bnj_value bnj_strip(bnj_run *r, bnj_value v, int ends,
                    const bnj_value *set); /* 1: left, 2: right */
bnj_value bnj_replace(bnj_run *r, bnj_value v, bnj_value old, bnj_value by, int64_t count);
bnj_value bnj_split(bnj_run *r, bnj_value v, const bnj_value *by, int64_t most, int from_right);
bnj_value bnj_lines(bnj_run *r, bnj_value v, int keep);
bnj_value bnj_indent(bnj_run *r, bnj_value v, bnj_value with, int first, int blank);
bnj_value bnj_strftime(bnj_run *r, bnj_value format);

/* ---- jinja_parts.c: comparison, arithmetic, parts ---- */
int bnj_method_id(bnj_value name); /* -1: none */
int bnj_equal(bnj_run *r, bnj_value a, bnj_value b, int depth);
int bnj_less(bnj_run *r, bnj_value a, bnj_value b, int depth);
int bnj_in(bnj_run *r, bnj_value a, bnj_value b);
bnj_value bnj_compare(bnj_run *r, int op, bnj_value a, bnj_value b);
bnj_value bnj_calculate(bnj_run *r, int op, bnj_value a, bnj_value b);
bnj_value bnj_attr(bnj_run *r, bnj_value v, bnj_value key);
bnj_value bnj_item(bnj_run *r, bnj_value v, bnj_value key);
bnj_value bnj_slice(bnj_run *r, const bnj_value *v);
bnj_value bnj_items(bnj_run *r, bnj_value v); /* what a loop over v goes through, as a list */
int64_t bnj_length(bnj_run *r, bnj_value v);
const bnj_value *bnj_find_key(bnj_run *r, const bnj_value *item, size_t n, bnj_value key);
void bnj_set_key(bnj_run *r, bnj_space *s, bnj_value key, bnj_value v);

/* ---- jinja_json.c: numbers and JSON, both ways ---- */
bnj_value bnj_string(bnj_run *r, bnj_value v); /* str(v) */
size_t bnj_put_int(int64_t i, char out[24]);
size_t bnj_put_float(double f, char out[40]);
bnj_value bnj_parse_number(bnj_run *r, const char *s, size_t n);
bnj_value bnj_parse(bnj_run *r, const char *what, const char *json);
bnj_value bnj_json(bnj_run *r, bnj_value v, const bnj_value arg[BNJ_ARGS]);
bnj_value bnj_format(bnj_run *r, bnj_value v, const bnj_value *arg, int n);
void bnj_repr(bnj_run *r, bnj_sink *o, bnj_value v, int depth);

/* ---- jinja_call.c: filters, tests, methods, functions. v: the value, then positional arguments,
 * then names and values of the others. ---- */
bnj_value bnj_filter(bnj_run *r, int id, const bnj_value *v, int npos, int nkw);
bnj_value bnj_test(bnj_run *r, int id, const bnj_value *v, int npos, int nkw);
bnj_value bnj_method(bnj_run *r, int id, const bnj_value *v, int npos, int nkw);
bnj_value bnj_function(bnj_run *r, int id, const bnj_value *v, int npos, int nkw);
int bnj_function_id(bnj_value name); /* -1: none */

/* ---- jinja_run.c ---- */
/* Reads the header; 0 where that is no template. */
int bnj_open(bnj_run *r, const unsigned char *template, size_t bytes);
/* Runs it to its end. */
void bnj_execute(bnj_run *r);
bnj_value bnj_text_at(const bnj_run *r, uint32_t i);

#endif
