/* codegen.h: the C backend: targets and the printer. */
#ifndef BNC_CODEGEN_C_H
#define BNC_CODEGEN_C_H

#include "codegen-c/columns.h"
#include "ir/ir.h"

/* targets.c. NULL where there is none of that name; "native" is this machine. */
const Target *target_find(Session *s, const char *name);
const Target *target_at(int i); /* the named ones; NULL after the last */

typedef enum WeightsMode { WEIGHTS_FILE, WEIGHTS_INCBIN, WEIGHTS_C } WeightsMode;
typedef struct EmitBytes {
    const uint8_t *bytes; /* NULL: none */
    size_t size;
} EmitBytes;
typedef struct EmitOptions {
    const char *prefix;   /* C identifier: the descriptor is PREFIX_model */
    const char *bnw_name; /* what bn_open(NULL) opens with WEIGHTS_FILE */
    const char *bnw_path; /* WEIGHTS_INCBIN: where the assembler finds it */
    const char *flags;    /* command line options, for the comment on top */
    EmitBytes chat;       /* the compiled chat template (bn_template.h) */
    const uint8_t *bnw;   /* WEIGHTS_C: its bytes */
    WeightsMode weights;
    bool amalgamate; /* runtime inside, nothing to include or link */
    bool program;    /* and the command line and a main */
    bool profile;    /* intervals inside, and PREFIX_profile to read them by */
    int gpus;        /* that share a pass (tensor parallelism), 1 or more */
    bool device;     /* KV cache and scratch are the device's, which `device` starts */
} EmitOptions;

/* fields.c: what printers are made of. */
enum { LINE_LENGTH = 116 };      /* of generated text */
size_t out_column(const Out *o); /* bytes behind the last newline */
/* Anybody's text inside of a comment, cut at spaces into lines of at most LINE_LENGTH; `margin` begins
 * each but the first. */
void put_comment_line(Out *o, const char *text, const char *margin);
/* The IR line of op as a comment on lines of its own. */
void put_op_comment(Out *o, const Op *op, const char *margin);
/* Names that differ where the IR's do: of a weight's macro, of a value's variable in its function
 * (numbered by func_number), of a word of BN_WORDS. */
void put_weight_name(Out *o, const char *prefix, const Module *m, const Weight *w);
void put_value_name(Out *o, const Value *v);
void put_word_name(Out *o, const char *word);
/* Assembler of ELF that puts a file's bytes behind `symbol`, which the library around it hides. */
void put_incbin(Out *o, const char *symbol, const char *path);

/* Constants as lists of fields. A structure's fields all have names, or none has. */
typedef enum FieldKind {
    FIELD_INT,    /* i, 32 bits; text: what C has for it */
    FIELD_LONG,   /* i, 64 bits, not negative */
    FIELD_HASH,   /* the same, better read in hexadecimal */
    FIELD_TEXT,   /* text, or NULL */
    FIELD_SYMBOL, /* the address of text, or NULL */
    FIELD_OPEN,   /* a structure inside begins */
    FIELD_CLOSE
} FieldKind;
typedef struct Field {
    FieldKind kind;
    const char *name; /* in the structure around it; NULL: known by its place */
    int64_t i;
    const char *text;
    const char *comment; /* behind it; NULL: none */
} Field;
typedef struct Record {
    Session *s;
    Field *field;
    size_t n;
} Record;
void record_open(Record *r, const char *name);
void record_close(Record *r);
void record_int(Record *r, const char *name, int64_t i);
void record_word(Record *r, const char *name, const char *word, int64_t i);
void record_long(Record *r, const char *name, int64_t i);
void record_hash(Record *r, const char *name, uint64_t hash);
void record_text(Record *r, const char *name, const char *text);
void record_symbol(Record *r, const char *name, const char *symbol);
void record_comment(Record *r, const char *comment); /* behind the last field */
/* The fields as an initializer's, a line each, by names where they have some: C11 and C++20 in one. */
void put_fields(const Record *r, Out *out);

/* The tokens that end a text, [*n]; NULL where there are none. The descriptor points to an array
 * `end_tokens` of them, which the printer writes before it. */
const int32_t *end_tokens(const Module *m, int64_t *n);
/* record.c: bn_model, and bn_code of the functions from f on that are for one part, whose successor it
 * returns. */
void record_model(Record *r, const Module *m, const Target *target, const EmitOptions *o);
const Func *record_code(Record *r, const Func *f, const Target *target);
int64_t own_bytes(const Module *m, bool profile); /* of a thread's scratch */
int64_t hidden_bytes(const Module *m);
const Type *result_of(const Module *m, Form form); /* of its functions, which are all alike */

typedef struct Probes Probes;

/* emit.c: a planned module as one C file and its header. */
void emit_c(const Module *m, const Target *target, const EmitOptions *o, Out *out);
void emit_header(const Module *m, const EmitOptions *o, Out *out);

/* What stands behind a model's functions: which these are, embedded weights, PREFIX_model. */
void emit_constants(const Module *m, const Target *target, const EmitOptions *o, Out *out);
/* The runtime as one C file; what reads profiles and the command line (bn_cli) only where asked for. */
void emit_runtime(Out *out, bool profile, bool cli);
/* Refuses a bn_model.h of another version than this compiler's; stands behind its #include. */
void emit_abi_check(Out *out);

/* function.c: the functions of a module, and the macros by which they name weights and states. */
void put_macros(const Module *m, Out *out);
void put_functions(const Module *m, const Target *target, const Probes *probes, Out *out);

/* call.c: what op's kernel is called with, in order. */
typedef enum ArgKind {
    ARG_INT,    /* i */
    ARG_FLOAT,  /* f */
    ARG_WORD,   /* word: a name of BN_WORDS in lower case */
    ARG_POS,    /* of bn_call */
    ARG_TOKENS, /* ntok */
    ARG_TOPK,
    ARG_LAYER, /* which layer runs */
    ARG_SHARE, /* two: the part of the thread, or 0, 1 where op_repeats, or of bn_rows where op_dynamic */
    ARG_FIRST, /* whether this is the first part that the thread gets */
    ARG_NULL,
    ARG_VALUE,  /* of the plan */
    ARG_WEIGHT, /* a weight's bytes for the layer that runs, or a state */
    ARG_SCALES, /* those of the weight */
    ARG_WORK,   /* scratch at byte i of the thread's own */
} ArgKind;
typedef struct Arg {
    ArgKind kind;
    int64_t i;
    double f;
    const char *word;
    const Value *value;
} Arg;
enum { CALL_ARGS = 24 };
int call_args(const Op *op, Arg args[CALL_ARGS]); /* how many there are */
int word_value(const char *word);
bool op_repeats(const Op *op);        /* whether every thread does the whole op for itself */
bool op_dynamic(const Op *op);        /* whether its rows have a dynamic schedule */
int64_t op_least_units(const Op *op); /* the smallest piece of that schedule */

/* probes.c: the places of a module that end intervals (bn_profile.h), and their printing. */
/* Adds the bytes that one call of op's kernel reads and writes, and its MACs; see bn_probe. */
struct bn_probe;
void op_cost(const Op *op, struct bn_probe *is);
Probes *probes_find(const Module *m);
int64_t probes_own_bytes(const Probes *t); /* of a thread's scratch: the plan's and the logs */
size_t probes_count(const Probes *t);
void record_probe(const Probes *t, size_t i, Record *r); /* bn_probe */
void record_profile(const Probes *t, Record *r); /* bn_profile; its probes: a symbol `probes` */
int probes_start(const Probes *t, const Func *f, int *pass); /* the slot of its start */
int probes_interval(const Probes *t,
                    const Op *op); /* of the interval behind op; of layers, that of layer 0 */
void put_probes(const Probes *t, const char *prefix, Out *o); /* before the functions */
void put_start(const Probes *t, const Func *f, Out *o);
void put_interval(const Probes *t, const Op *op, Out *o);

/* chunks.c: n kernels, each once, with what they need, in the order of their files, and the headers
 * that these ask for. */
void emit_kernels(Session *s, const Kernel **kernel, int n, Out *out);
/* Likewise of any files of chunks, by the names of those that are wanted. */
typedef struct KernelFile {
    const char *path; /* embedded */
    uint32_t isa;     /* instruction sets that it is compiled for */
    const char *header;
} KernelFile;
void emit_chunks(Session *s, const KernelFile *files, int nfile, const char *const *name, int n,
                 Out *out);

/* targets.c: names of instruction sets, `before` the first and `between` each two. */
void isa_names(Out *o, uint32_t isa, const char *before, const char *between);
/* What stands between the two is compiled for instruction sets beyond the baseline. */
void emit_isa(uint32_t isa, Out *out);
void emit_isa_end(uint32_t isa, Out *out);

#endif
