/* ir.h: the hub of the compiler. Every other folder sees this header and never another folder.
 *
 * One idea: a model is a text. Module, Func, Op, Value and Weight below are that text in memory;
 * tir_print and the parser are inverse at every stage of compilation. The sections are named
 * after the files that implement them.
 *
 * Memory: everything belongs to one Session and is freed with it. Nothing is freed singly.
 */
#ifndef BNC_IR_H
#define BNC_IR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#if defined(__GNUC__) || defined(__clang__)
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#else
#define PRINTF_LIKE(f, a)
#endif

/* ==== session.c: memory, names, messages ==== */

typedef struct Text {         /* an input that messages can point into */
    const char *path, *bytes; /* bytes may be NULL: no caret */
    size_t size;
} Text;
typedef struct Loc { /* line and col count from 1; line 0: the whole input; text NULL: none */
    const Text *text;
    int line, col;
} Loc;

typedef struct Session {
    struct MemBlock *mem;
    struct Name **names;
    size_t nname, capname;
    struct Cleanup *cleanups;
    struct Buffer *buffers;      /* of Out, still alive */
    struct TypeList *types[256]; /* by a hash of the type */
    jmp_buf *home;               /* where fail() goes; NULL: exit(1) */
    FILE *log;                   /* messages; NULL: discarded */
    int nerror, nwarning;
    bool quiet;            /* drops notes */
    struct Alias *aliases; /* of session_alias */
    double progress_at;    /* when its line was last written; 0: there is none */
    size_t bytes, nalloc;  /* allocated so far, for --time-passes */
    const char *
        *inputs; /* [ninput] interned paths that file_read and file_view opened, each once */
    size_t ninput;
} Session;

void session_start(Session *s, FILE *log);
void session_end(Session *s); /* runs the cleanups, newest first, and frees all memory */
/* Zeroed memory of the session, aligned to 16; ends the process when the system has none. */
void *alloc(Session *s, size_t size);
#define NEW(s, type) ((type *)alloc(s, sizeof(type)))
#define NEW_ARRAY(s, type, n) ((type *)alloc_array(s, (size_t)(n), sizeof(type)))
void *alloc_array(Session *s, size_t n, size_t size);
/* Appends to a session array whose capacity doubles: returns the array, grown when full. */
void *grow(Session *s, void *array, size_t n, size_t size);
/* Reallocates the text of an Out (NULL: a new one) to `size` bytes; freed by buffer_free or with the
 * session. fail()s where there is no memory, and then `text` is freed. */
char *buffer_grow(Session *s, char *text, size_t size);
void buffer_free(Session *s, char *text);
/* Runs fn(arg) at session_end: for maps, files and child processes. */
void session_defer(Session *s, void (*fn)(void *), void *arg);
/* Interned strings compare with ==; all three give such. */
const char *intern(Session *s, const char *text, size_t len);
const char *name(Session *s, const char *text);
const char *format(Session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *grouped(Session *s, int64_t n);       /* 1234567 as 1,234,567 */
const char *c_name(Session *s, const char *text); /* with _ for what C names cannot hold */
char *scratch_copy(Session *s, const char *text); /* to be written into: not interned */

/* The user's mistakes: path:line:col: error: text, the source line and a caret. err goes on (a
 * parser reports several), fail does not return. Texts say what was found, what was expected and
 * what to do. */
void err(Session *s, Loc at, const char *fmt, ...) PRINTF_LIKE(3, 4);
_Noreturn void fail(Session *s, Loc at, const char *fmt, ...) PRINTF_LIKE(3, 4);
_Noreturn void give_up(Session *s); /* after err: leaves through home */
/* Runs fn(arg) with home set to here; false where it gave up. */
bool session_try(Session *s, void (*fn)(void *arg), void *arg);
void stop_on_errors(Session *s); /* give_up where nerror > 0 */
void warn(Session *s, Loc at, const char *fmt, ...) PRINTF_LIKE(3, 4);
void note(Session *s, const char *fmt, ...) PRINTF_LIKE(2, 3); /* not with --quiet */
/* The progress line of long work, on a terminal only: rewritten a few times a second, removed by
 * progress_end or by the next message. */
void progress(Session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void progress_end(Session *s);
/* A remark that --remarks asked for: "path:line:col: remark: text" and a caret. */
void show_remark(Session *s, Loc at, const char *fmt, ...) PRINTF_LIKE(3, 4);
Loc loc_file(Session *s, const char *path); /* the whole file */
/* From now on messages about the temporary file `path` name `shown`, which it was made of. */
void session_alias(Session *s, const char *path, const char *shown);
/* For bugs of bnc: prints file and line, then aborts. */
_Noreturn void die_at(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(c) ((c) ? (void)0 : die("check failed: %s", #c))

/* Runs fn(own, i, arg) for 0 <= i < n on all cores, in any order. `own` is a session for fn's memory,
 * which ends with the call. fn must not fail(): it reports through arg. */
void parallel(int n, void (*fn)(Session *own, int i, void *arg), void *arg);

/* ==== out.c: text and files being written ==== */

typedef struct Out { /* a growing buffer */
    Session *s;
    char *text;
    size_t len, cap;
} Out;
void put(Out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
void put_bytes(Out *o, const void *bytes, size_t n);
void put_float(Out *o, double v); /* shortest form that reads back to the same float */
void put_json_text(Out *o, const char *text,
                   size_t len); /* in quotes; bad UTF-8 as U+FFFD (escape.c) */
void out_free(Out *o);          /* or the session frees it */

/* A file written beside its target and renamed by file_commit; removed when the session ends
 * before that. Failures are the user's: fail(). "-" is standard output. */
typedef struct OutFile OutFile;
OutFile *file_create(Session *s, const char *path);
void file_write(OutFile *f, const void *bytes, size_t n);
/* Maps the whole file, zero at first; the caller fills it in any order until file_commit. */
uint8_t *file_map(OutFile *f, uint64_t size);
/* Writes all bytes to the disk, so that file_commit has only to rename the file. */
void file_finish(OutFile *f);
void file_commit(OutFile *f);
/* Commits n files: none is renamed before all bytes of all are on the disk. */
void files_commit(OutFile *const *f, int n);
OutFile *file_text(Session *s, const char *path, const Out *text); /* created and written */
void file_save(Session *s, const char *path, const Out *text);     /* and committed */
bool file_exists(const char *path);
const char *file_name(const char *path); /* without its folders */
/* Reads a whole file, with a NUL after its end; fail()s where that is not possible. */
char *file_read(Session *s, const char *path, size_t *size);
/* Describes a placeholder that a download left instead of the file: "a git-lfs pointer, ..."; NULL
 * where the bytes look like none. */
const char *file_placeholder(const void *bytes, size_t size);
/* Maps a model file until the session ends; `lost` is the message where it cannot be opened. */
const uint8_t *file_view(Session *s, const char *path, const char *lost, size_t *size);
/* A copy of `from`, with its permissions, to be committed. */
OutFile *file_copy(Session *s, const char *from, const char *to);
const char *without_extension(Session *s, const char *path);
bool ends_with(const char *text, const char *end);

/* Files that the build put inside the compiler (architectures, kernels, the runtime), by the path
 * that the Makefile gives them; NULL: none. NUL after the end. */
const char *embedded_file(const char *path, size_t *size);
const char *embedded_at(int i, const char **path, size_t *size); /* NULL after the last */

/* ==== temps.c: what must not outlive the process ==== */

/* Called by main: signals that end the process first end its children and remove what is registered. */
void temps_guard(void);
/* A new folder under $TMPDIR or /tmp, removed with all in it when the session ends. */
const char *temp_dir(Session *s);
/* Registers a file or folder to be removed when the process ends, or unregisters it. */
void temp_keep(const char *path);
void temp_forget(const char *path);
/* Removes what killed processes left in `dir` ("": here): named PREFIXxxxxxx, of this user, locked by
 * nobody. */
void temps_sweep(Session *s, const char *dir, const char *prefix);
bool path_lock(int fd, bool exclusive); /* flock without waiting; false: another process has it */
void remove_tree(const char *path);     /* a file or folder; links are not followed */
/* A program, found in PATH; it dies with this process. -1 and errno where it cannot be started. */
typedef struct ChildOptions {
    const char *path;   /* of the program, where words[0] is another name; NULL: words[0] */
    int output;         /* becomes its standard output; 0: it keeps ours */
    bool quiet;         /* its standard error goes to /dev/null */
    bool foreground;    /* it stays in this process group, so it may read the terminal */
    const char *tmpdir; /* its TMPDIR; NULL: ours */
} ChildOptions;
pid_t child_start(Session *s, char *const *words, const ChildOptions *o);
int child_wait(pid_t pid); /* its wait status */

/* ==== formats.c: element formats and the weights of files ==== */

typedef enum Fmt {
#define FMT(name, text, elems, bytes, tail, gguf, kind) FMT_##name,
#include "formats.def"
#undef FMT
    FMT_COUNT
} Fmt;
typedef enum FmtKind {
    KIND_VALUE,
    KIND_FLOAT,
    KIND_TERNARY,
    KIND_LOGICAL,
    KIND_PACKED,
    KIND_LOWBIT
} FmtKind;
typedef struct FmtInfo {
    const char *name;
    int elems, bytes, tail, gguf;
    FmtKind kind;
} FmtInfo;
extern const FmtInfo fmt_info[FMT_COUNT];
Fmt fmt_by_name(const char *name); /* FMT_COUNT: none */
Fmt fmt_by_gguf(int64_t id);       /* FMT_COUNT: unknown */
/* The layouts of I2_S (--i2s-layout): x128 (also NULL), arm64, row4; fail()s for another name. */
Fmt i2s_layout_by_name(Session *s, const char *name);
const char *i2s_layout_name(Fmt fmt); /* NULL: no layout of I2_S */

/* One tensor of a file: `rows` x `cols` values, cols contiguous (a vector has rows 1). */
typedef struct Tensor {
    const char *name;
    Fmt fmt;
    int64_t rows, cols;
    const uint8_t *data;
    size_t size; /* extent in the file, tail included */
} Tensor;
/* Bytes that rows x cols values take in a file; 0 where that overflows or a block would be cut. */
size_t fmt_extent(Fmt fmt, int64_t rows, int64_t cols);
bool fmt_decodes(Fmt fmt); /* whether tensor_floats reads it */
/* The format with kernels of float products that holds the values of a file's `fmt`: itself, or
 * q8_0 or f32 where that is exact (but for f64 and whole numbers beyond 2^24), else f16. */
Fmt fmt_as_floats(Fmt fmt);
/* Values [first, first+n) of a tensor that decodes, as floats: the format's own numbers, f64 and
 * integers to the nearest float. */
void tensor_floats(const Tensor *t, int64_t first, int64_t n, float *out);
/* Codes -1, 0, +1 of values [first, first+n) of a TERNARY tensor; 2 is a code that the format does
 * not define (q2_0, pq2_0: defines, but it is not ternary). */
void tensor_codes(const Tensor *t, int64_t first, int64_t n, int8_t *out);
/* Codes -1, 0, +1 (2: invalid in the file) of values [first, first + n), floats by `scale`. */
void ternary_codes(const Tensor *t, float scale, int64_t first, int64_t n, int8_t *out);
/* Scale of the file's block that holds value `at` (I2_S: of the tensor); 1 for formats that have
 * none or more than one a block. */
float tensor_scale(const Tensor *t, int64_t at);
static inline float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
static inline uint32_t bits_of_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}
/* Branch-free and inline, so that loops over it are vectorized. A subnormal m * 2^-24 is computed as
 * 2^-14 * (1 + m / 1024) - 2^-14, which is exact. */
static inline float f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = (uint32_t)(h & 0x7fff) << 13;
    uint32_t exponent = mag & (31u << 23);
    uint32_t normal = mag + (112u << 23) + (exponent == 31u << 23 ? 112u << 23 : 0);
    uint32_t subnormal = bits_of_f32(f32_of_bits(mag + (113u << 23)) - 0x1p-14f);
    return f32_of_bits(sign | (exponent ? normal : subnormal));
}
uint16_t float_to_f16(float f); /* round to nearest even */

/* ==== blocks.c ==== */

/* Decodes one block of a format to its values; NULL: formats.c decodes the format, or nothing does. */
extern void (*const float_block[FMT_COUNT])(const uint8_t *b, float *out);

/* ==== encode.c: the way back ==== */

/* n codes -1, 0, +1, whole blocks, as I2_S, TQ1_0, TQ2_0 or F16; returns the bytes written. A
 * scale that stands in blocks is rounded to f16. */
size_t codes_encode(Fmt fmt, const int8_t *codes, int64_t n, float scale, uint8_t *out);
/* What follows a tensor's last block: I2_S's scale. */
size_t codes_tail(Fmt fmt, float scale, uint8_t *out);
/* n finite floats, whole blocks, as F32, F16, BF16, Q8_0, Q4_0 or Q6_K; returns the bytes written. A
 * value or block scale that f16 must hold and cannot becomes infinite: look at max|x| before
 * (65504 fits everywhere). */
size_t floats_encode(Fmt fmt, const float *x, int64_t n, uint8_t *out);

/* ==== build.c: the graph ==== */

typedef struct Dim { /* a number, or the name of a free dimension: interned */
    int64_t n;
    const char *sym;
} Dim;
typedef struct Type {
    Fmt fmt;
    int rank;
    Dim dim[4];
} Type;

typedef struct TypeList { /* every type of the session, once */
    Type type;
    struct TypeList *next;
} TypeList;

typedef enum OpCode {
#define OP(name, text, nin, nout, attrs, infer, split, flags, args, formula) OP_##name,
#include "ops.def"
#undef OP
    OP_COUNT
} OpCode;
typedef enum Split { SPLIT_NONE, SPLIT_TOKENS, SPLIT_ROWS, SPLIT_HEADS } Split;
enum { OPF_PURE = 1, OPF_EFFECT = 2, OPF_SAME0 = 4, OPF_SAME3 = 8 };

typedef struct Op Op;
typedef struct Block Block;
typedef struct Func Func;
typedef struct Value Value;
typedef struct Weight Weight;
typedef struct Module Module;
typedef struct Target Target;
typedef struct Kernel Kernel;

typedef struct OpInfo {
    const char *name;
    int nin, nout;
    const char *attrs;
    Split split;
    unsigned flags;
    const char *args, *formula;
} OpInfo;
extern const OpInfo op_info[OP_COUNT];
OpCode op_by_name(const char *name); /* OP_COUNT: none */

typedef enum AttrKind {
    ATTR_INT = 'i',
    ATTR_FLOAT = 'f',
    ATTR_WORD = 's',
    ATTR_LIST = 'v'
} AttrKind;
typedef struct Attr {
    const char *name; /* interned */
    AttrKind kind;
    int64_t i;
    double f;
    const char *s;
    const double *v; /* [i] numbers of a list */
    const char *ref; /* before binding: the dim or const that gives the value */
} Attr;

/* The memory space in which the plan puts a value. */
typedef enum Space {
    SPACE_NONE,
    SPACE_SHARED,
    SPACE_OWN,
    SPACE_LOGITS,
    SPACE_HIDDEN, /* the hidden vector: result of @decode and @prefill, parameter of @lm_head */
    SPACE_ARG
} Space;

struct Value {
    const char *name;
    const Type *type; /* interned: compare with == */
    Op *def;          /* NULL: parameter, carried value, weight or state */
    Weight *weight;   /* a weight or state used as an operand */
    int id, nuse;     /* numbered and counted by func_number */
    Space space;
    int64_t slot; /* byte offset in its space */
};

struct Op {
    OpCode code;
    Loc loc;
    Value **in, **out;
    int nin, nout;
    Attr *attr;
    int nattr;
    Block *body; /* layers */
    const Kernel *kernel;
    Op *prev, *next;
    Block *block;
};

struct Block {
    Value **arg; /* carried values of a layers body, parameters of a function */
    int narg;
    Op *first, *last;
    Op *owner; /* NULL: a function's body */
    Func *func;
};

typedef enum Form {
    FORM_FORWARD,
    FORM_DECODE,
    FORM_PREFILL,
    FORM_SCORE,
    FORM_LM_HEAD,
    FORM_TOPK,
    FORM_COUNT
} Form;
extern const char *const form_name[FORM_COUNT]; /* the name of a function says its form */
struct Func {
    const char *name; /* without @: the form; of a part of a target also _ and the part's name */
    Form form;
    const Target *target; /* the part it is for; NULL: the whole target */
    Module *module;
    Block *body;
    int nvalue;
    Func *next;
};

/* A weight: `count` equal tensors, one a layer (count 0: a single one, outside the layers), or a
 * state (KV cache), which has no tensors. */
struct Weight {
    const char *name; /* without @ */
    const Type *type; /* 0: row dimension ... last: contiguous */
    Loc loc;
    bool is_state, used;
    int count, first;    /* layers first .. first+count-1 */
    Dim layers;          /* before binding: the [L] of the declaration; sym NULL and n 0: single */
    const char *pattern; /* tensor name in the file, {i} the layer */
    const char *same_as; /* declared fallback: the weight to use when absent */
    bool has_const;      /* declared fallback: a constant */
    float constant;
    const char *constant_of; /* before binding: the const whose value it is; NULL: none */
    bool optional;           /* before binding: without its tensor, its ops go */
    const char
        *scheme;       /* how float tensors became ternary, for the reader: exact, absmean, mixed */
    Tensor *tensor;    /* [max(count,1)]; NULL without a source file, or for a constant */
    const char *times; /* factors of a ternary matrix's scales: tensors of one number each ({i} the
                            * layer); NULL: none */
    Tensor *factor;    /* those of times, as tensor */
    struct GroupScales *groups; /* as tensor, of formats of fmt_group, when bytes are made; else NULL */
    int64_t at;        /* byte offset of the first tensor (weights: .bnw; states: cache); -1 */
    int64_t stride;    /* bytes from one layer's tensor to the next */
    Fmt layout;        /* what select chose for a logical format */
    int act;           /* pass quant: what its products' activations become */
    int64_t scales;    /* byte offset of the scales within one packed tensor; 0: none */
    Value value;       /* the weight as an operand */
    Weight *next;
};

/* Named numbers: `dim D = "key" | D / H` and `const EPS = "key" | 1e-5`. */
typedef struct Choice { /* one alternative: a metadata key, or an expression of dims */
    const char *key;
    double number;
    const char *a, *b; /* dims; b NULL: a alone; a NULL: number */
    char op;           /* '*' or '/'; 'r': the square root of a */
    struct Choice *next;
} Choice;
typedef struct Symbol {
    const char *name;
    bool is_dim, known;
    Loc loc;
    Choice *choices; /* NULL: taken from the weights' shapes */
    int64_t n;
    double f;
    struct Symbol *next;
} Symbol;
/* `expect "key" = value`: metadata that this graph was not written for is refused. `ignore "key"`:
 * metadata that changes nothing in it. */
typedef struct Expect {
    const char *key;
    const char *text, *symbol; /* the value: a text, a dim or const, else number */
    double number;
    bool ignored;
    Loc loc;
    struct Expect *next;
} Expect;

/* The facts that passes need, give and break; printed in the module line. */
#define FACTS(F)                                                                                   \
    F(BOUND, "bound")                                                                              \
    F(TERN, "tern")                                                                                \
    F(FORMS, "forms") F(LM_HEAD, "lm_head") F(SELECTED, "selected") F(PACKED, "packed")            \
        F(PLANNED, "planned")
enum {
#define FACT_SHIFT(n, t) FACT_SHIFT_##n,
    FACTS(FACT_SHIFT)
#undef FACT_SHIFT
#define FACT_BIT(n, t) FACT_##n = 1u << FACT_SHIFT_##n,
        FACTS(FACT_BIT)
#undef FACT_BIT
};

/* What passes report of their work (journal.c). */
typedef struct Count { /* how often something happened in one pass, or how many bytes it saved */
    const char *pass, *what;
    int64_t n;
    struct Count *next;
} Count;
typedef struct Remark { /* a transformation that a pass did not make, and why */
    const char *pass, *text;
    Loc loc;
    struct Remark *next;
} Remark;
typedef struct Journal {
    const char *pass; /* the one that is running */
    Count *counts;    /* in order of first use */
    Remark *remarks;
} Journal;

struct Module {
    Session *s;
    const Text *text;  /* the .tir it came from */
    const char **arch; /* names of this architecture; the first is its own */
    int narch;
    const char *masters;    /* absmean: float weights are masters of ternary ones; NULL: not */
    const char *title;      /* general.name of the model */
    const char *source;     /* path of the model file; NULL before binding */
    const char *i2s_layout; /* how I2_S was read, NULL: x128 */
    uint64_t hash;          /* XXH64 of the model file */
    const char *pooling;    /* of embeddings: last, mean or cls; NULL: the file does not say */
    const char *target;     /* name, after select */
    Symbol *symbols;
    Expect *expects;
    Weight *weights;
    Func *funcs;
    unsigned facts;     /* FACT_* */
    int context, batch; /* --ctx; tokens per prefill */
    int64_t weight_bytes, cache_bytes, shared_bytes, own_bytes;
    int64_t vocab_at, vocab_size; /* tokenizer tables in the .bnw, after pack */
    const char *ternary;          /* --ternary: auto (NULL), always or never */
    const char *act;              /* --act: auto (NULL), token, group or f32 */
    const char *head;             /* --head: auto (NULL), f16, q8, q6 or q4 */
    const struct Tuning *tuning;  /* --tune=FILE; NULL: none */
    Journal journal;
    const char *chat_template;       /* in the file, a Jinja text; NULL: none */
    const struct VocabSource *vocab; /* the model's tokenizer (vocab.h), of no tokens where the file
                                        has none; NULL: bare text */
    const uint8_t *vocab_tables;     /* vocab_size bytes, after pack */
    uint64_t bnw_hash, vocab_hash;   /* after bnw_write */
};

static inline int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

Module *module_new(Session *s, const Text *text);
/* BN_POOL_* of a name; NULL: BN_POOL_MODEL; -1: there is none of that name. */
int pooling_by_name(const char *name);
const Type *type_get(Session *s, Fmt fmt, int rank, const Dim *dim);
const Type *type_make(Session *s, Fmt fmt, int rank, int64_t d0, int64_t d1, int64_t d2);
const Type *type_with(Session *s, const Type *t, Fmt fmt); /* the same shape */
Dim dim_free(const char *sym);
bool dim_equal(Dim a, Dim b);
Symbol *symbol_find(const Module *m, const char *name);
Weight *weight_find(const Module *m, const char *name);
Weight *weight_add(Module *m, const char *name, const Type *type);
void weights_drop_unused(Module *m); /* unlists those that no op reads */
void weights_keep_used(Module *m);   /* unlists those whose `used` is false */
Func *func_find(const Module *m, const char *name);
Func *func_add(Module *m, const char *name);
Block *block_new(Func *f, Op *owner);
Value *value_new(Session *s, const char *name, const Type *type);
/* A new op before `at` (NULL: at the end of the block); results get no types before infer. */
Op *op_new(Block *b, Op *at, OpCode code, int nin, int nout);
void op_remove(Op *op);
void op_move(Op *op, Block *to, Op *before);
Attr *attr_find(const Op *op, const char *name);
void attr_set_int(Op *op, const char *name, int64_t i);
void attr_set_float(Op *op, const char *name, double f);
void attr_set_word(Op *op, const char *name, const char *word);
void attr_set_list(Op *op, const char *name, const double *v, int64_t n); /* v is kept */
void attr_drop(Op *op, const char *name);
int64_t attr_int(const Op *op, const char *name, int64_t absent);
double attr_float(const Op *op, const char *name, double absent);
const char *attr_word(const Op *op, const char *name, const char *absent);
/* Radians by which each pair of a bound rope_table turns from one position to the next, [dim / 2]:
 * its list, or the powers of its base. */
const double *rope_freqs(Session *s, const Op *op);
/* Visits every op of a block and of the blocks inside, in order; fn may remove the op it gets. */
void walk(Block *b, void (*fn)(Op *op, void *arg), void *arg);
void replace_uses(Func *f, Value *old, Value *by);
void func_number(Func *f); /* sets Value.id, Value.nuse, Func.nvalue, in order of definition */
Func *func_clone(Func *f, const char *name);
Op *layers_clone(Op *op); /* a copy before op, with names of its own */
/* The number of equal units of work that threads share in an op: tokens, heads or blocks of rows. */
Dim op_units(const Op *op);
/* The memory space of a function's result. */
Space result_space(const Func *f);
/* A name not used in f yet: base, or base_2, base_3 ... */
const char *fresh_name(Func *f, const char *base);

/* ==== infer.c ==== */

int64_t lut3_width(int64_t k); /* bytes of the tables that lut3 makes of k values */
/* Whether v is valid as a number attribute: above zero as a 32-bit float, and finite. */
bool positive_float(double v);
bool op_infer(Module *m, Op *op); /* result types from operands; false after err */
bool module_infer(Module *m);     /* all of them; false after err */

/* ==== print.c ==== */

void module_print(const Module *m, Out *o);
void module_save(const Module *m, const char *path); /* as a file; "-": standard output */
void op_print(const Op *op, Out *o);                 /* one line, no newline, body left out */
void type_print(const Type *t, Out *o);

/* ==== verify.c ==== */

/* Checks dominance, arity, attributes, types, use of weights, one yield or return, carried types, and
 * that places lie within their spaces. A broken module is a bug of bnc: dies, naming the pass `after`
 * which it broke. */
void module_verify(Module *m, const char *after);

/* ==== groups.c: ternary matrices with a scale for each group of columns ==== */

/* How many columns share a scale in a logical or packed ternary format whose kernels take activations
 * with scales for the same groups (quant_group); 0: no such format. */
int fmt_group(Fmt fmt);
/* The logical format with a scale for each `group` (64, 128, 256) columns. */
Fmt fmt_of_group(int group);
static inline int64_t group_count(int64_t cols, int group)
{
    return (cols + group - 1) / group;
}
/* Whether a float tensor holds only -s, 0 and +s; *scale (may be NULL) becomes s. */
bool tensor_is_ternary(const Tensor *t, float *scale);
typedef struct GroupScales { /* of a ternary tensor: unit times an f16 for each group and row */
    float unit;
    bool one; /* one scale, which is `unit`: the f16 are 1 */
} GroupScales;
/* Whether t's scales can stand so, with `group` columns a scale: blocks of a file agree within each
 * group; floats have one magnitude beside 0 in each, and 11 bits hold all of these. A tensor with one
 * scale always can; floats that are not ternary so cannot (*out is unchanged). */
bool group_scales(const Tensor *t, int group, GroupScales *out);
/* The f16 of row `row` and the group that begins at `col`. */
uint16_t group_scale(const Tensor *t, const GroupScales *g, int group, int64_t row, int64_t col);

/* ==== layouts.c: the bytes of packed ternary formats ==== */

/* Bytes of rows x cols weights in a PACKED format, and where in them the scales start (0: with the
 * codes); both are multiples of 64. */
int64_t layout_bytes(Fmt fmt, int64_t rows, int64_t cols, int64_t *scales);
/* The number of blocks of rows, which layout_pack can write independently and in any order. */
int64_t layout_blocks(Fmt fmt, int64_t rows);
/* Writes blocks [from, to) of t to out, whose layout_bytes the caller has zeroed; floats become
 * ternary by `scale`. The scales written are t's times `factor`. No code of t is 2 (the pass quant
 * refuses such tensors). `groups`: what group_scales found, for formats of fmt_group, else NULL. */
void layout_pack(Session *s, const Tensor *t, Fmt fmt, float scale, const GroupScales *groups,
                 float factor, int64_t from, int64_t to, uint8_t *out);

/* ==== lowbit.c: copies of float matrices in few bits ==== */

/* As the functions of layouts.c of the same names, for LOWBIT formats. */
int64_t lowbit_bytes(Fmt fmt, int64_t rows, int64_t cols, int64_t *scales);
int64_t lowbit_blocks(int64_t rows);
void lowbit_pack(Session *s, const Tensor *t, Fmt fmt, int64_t from, int64_t to, uint8_t *out);
enum { LOWBIT_COLS = 1 << 17 }; /* the most columns for which int32 sums and the norms are safe */

/* ==== weights.c: weights in the form that kernels read ==== */

/* Bytes of one tensor of this type in the .bnw, a multiple of 64, and where in it its scales
 * start (0: none). */
int64_t packed_bytes(const Type *t, int64_t *scales);
/* Writes layer i of w, in w's present format, to out (packed_bytes of them). */
void weight_pack(Session *s, const Weight *w, int i, uint8_t *out);
/* The one scale of a ternary tensor: the file's; of floats s where they are ternary already, else
 * the mean of |w|. */
float ternary_scale(const Tensor *t);
/* Gives every weight and the tokenizer tables their offsets in the .bnw. */
void weights_place(Module *m);
/* fail()s where a tensor of floats holds NaN or an infinity; bnw_write does so first. */
void weights_check(Module *m);
/* Writes the .bnw (header, weights, tokenizer tables), on all cores; sets bnw_hash and vocab_hash. */
void bnw_write(Module *m, OutFile *f);
/* Bytes of a value in scratch at the largest number of tokens, a multiple of 64; rows of i8 are
 * padded to 128. */
int64_t value_bytes(const Module *m, const Type *t);
/* Bytes of a thread's scratch that op's kernel asks for, a multiple of 64; 0: none. */
int64_t kernel_work(const Module *m, const Op *op);

/* ==== journal.c: what passes tell of their work, for --stats and --remarks ==== */

/* Adds n to a counter of the running pass; its name is a literal in lower case, a plural. */
void tally(Module *m, const char *what, int64_t n);
/* Adds a remark; the same text at the same place counts once, whatever the number of copies. */
void remark(Module *m, Loc at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* ==== diff.c ==== */

/* Prints the lines in which a and b differ, with `around` equal lines of context; in colour for a
 * terminal. Prints nothing where they are equal. */
void text_diff(const char *a, const char *b, int around, bool colour, Out *o);

/* ==== target.h: backends, filled in by the codegen folders ==== */

/* Numbers of tokens that a kernel is for; STEP: one, in @decode but not in @lm_head. */
enum { FORMS_ONE = 1, FORMS_MANY = 2, FORMS_ANY = 3, FORMS_STEP = 4 };
struct Kernel {
    OpCode op;
    Fmt weight;
    uint32_t isa;
    unsigned forms;
    int mr;
    bool tables; /* operand 0 is what lut3 makes of it */
    /* Bytes of scratch per thread for an n x k weight and up to t tokens; NULL: none. */
    int64_t (*work)(int64_t n, int64_t k, int64_t t);
    const char *symbol;
    int64_t most_cols; /* of a weight, for sums to be exact; 0: any number */
};
/* The format that a logical one is packed to: see codegen-c/layouts.def. */
typedef struct LayoutRule {
    Fmt from, to;
    uint32_t isa;
    int megabytes;
} LayoutRule;
/* A measured choice for weights of rows x cols: a kernel for `op` (and forms), or, with OP_COUNT, a
 * layout. */
typedef struct Tuning {
    OpCode op;
    unsigned forms;
    int64_t rows, cols;
    const char *choice;
    struct Tuning *next;
} Tuning;
/* Whether a target is a GPU. DEVICE_LAUNCHES: ops are launched one after another. DEVICE_PERSISTENT:
 * @decode and @topk (func_persistent) are one persistent kernel each, whose blocks share ops as threads
 * do on a processor; other functions are launched. */
typedef enum Device { DEVICE_NONE, DEVICE_LAUNCHES, DEVICE_PERSISTENT } Device;
struct Target {
    const char *name, *what;
    uint32_t isa;
    const char *cflags;   /* for a driver that compiles the result itself */
    const Kernel *kernel; /* oldest first, last match wins */
    int nkernel;
    const LayoutRule *layout; /* the same */
    int nlayout;
    const Target *
        *part; /* a target of several machines: its parts, weakest first; isa: the last's */
    int npart;
    Device device;
};
bool func_persistent(const Func *f, const Target *target);

#endif
