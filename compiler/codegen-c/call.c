/* call.c: what a kernel is called with, as data: the C printer writes it and the JIT (compiler/jit)
 * lowers it, so that both call the same functions with the same numbers. */
#include <string.h>
#include <strings.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"

bool op_repeats(const Op *op)
{
    bool own = op->nout > 0;
    for (int i = 0; i < op->nout; i++)
        own &= op->out[i]->space == SPACE_OWN;
    return own;
}

bool op_dynamic(const Op *op)
{
    return attr_find(op, "ticket") != NULL;
}

/* Units of rows that are worth fetching one by one: some microseconds of work. */
int64_t op_least_units(const Op *op)
{
    int64_t unit = op->kernel->mr, least = 1 << 15;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight)
            unit = op->kernel->mr * op->in[i]->type->dim[1].n;
    return unit < least ? least / unit : 1;
}

int word_value(const char *word)
{
#define WORD_VALUE(name, value)                                                                    \
    if (!strcasecmp(word, #name))                                                                  \
        return value;
    BN_WORDS(WORD_VALUE)
#undef WORD_VALUE
    die("no kernel knows the word '%s'", word);
}

/* T of the table: how many rows the op's first value operand has. */
static Arg tokens_of(const Op *op)
{
    const Type *t = op->in[0]->type;
    CHECK(!op->in[0]->weight);
    return t->rank == 0 || t->dim[0].sym ? (Arg){.kind = ARG_TOKENS}
                                         : (Arg){.kind = ARG_INT, .i = 1};
}

static Arg attr_arg(const Op *op, const char *text, int len)
{
    const Attr *a = attr_find(op, intern(op->block->func->module->s, text, (size_t)len));
    if (!a)
        return (Arg){.kind = ARG_FLOAT, .f = 1};
    if (a->kind == ATTR_INT)
        return (Arg){.kind = ARG_INT, .i = a->i};
    if (a->kind == ATTR_FLOAT)
        return (Arg){.kind = ARG_FLOAT, .f = a->f};
    return (Arg){.kind = ARG_WORD, .word = a->s};
}

/* ---- frequencies ---- */

struct RopeLists {
    Session *s;
    RopeList *list;
    size_t n;
};

static size_t find_list(const struct RopeLists *all, RopeList one)
{
    size_t i = 0;
    while (i < all->n && (all->list[i].n != one.n ||
                          memcmp(all->list[i].freq, one.freq, (size_t)one.n * sizeof *one.freq)))
        i++;
    return i;
}

static RopeList list_of(Session *s, const Op *op)
{
    return (RopeList){attr_int(op, "dim", 0) / 2, rope_freqs(s, op)};
}

static void add_list(Op *op, void *arg)
{
    struct RopeLists *all = arg;
    if (op->code != OP_ROPE_TABLE)
        return;
    RopeList one = list_of(all->s, op);
    if (find_list(all, one) < all->n)
        return;
    all->list = grow(all->s, all->list, all->n, sizeof *all->list);
    all->list[all->n++] = one;
}

const RopeList *rope_lists(const Module *m, size_t *n)
{
    struct RopeLists all = {.s = m->s};
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, add_list, &all);
    *n = all.n;
    return all.list;
}

static Arg freqs_arg(const Op *op)
{
    const Module *m = op->block->func->module;
    struct RopeLists all = {.s = m->s};
    RopeList one = list_of(m->s, op);
    all.list = (RopeList *)(uintptr_t)rope_lists(m, &all.n);
    size_t i = find_list(&all, one);
    CHECK(i < all.n);
    return (Arg){.kind = ARG_FREQS, .i = (int64_t)i, .freqs = one.freq};
}

static Arg operand_arg(const Op *op, const char *word, int len)
{
    const Value *v = *word == 'o' ? op->out[word[1] - '0'] : op->in[word[1] - '0'];
    int dim = len > 2 && word[2] == ':' ? word[3] - '0' : -1;
    if (*word == 'c' && fmt_group(v->type->fmt))
        return (Arg){.kind = ARG_NULL}; /* the scales stand with the codes */
    if (dim < 0)
        return (Arg){.kind = !v->weight     ? ARG_VALUE
                             : *word == 'c' ? ARG_SCALES
                                            : ARG_WEIGHT,
                     .value = v};
    CHECK(dim < v->type->rank && !v->type->dim[dim].sym);
    return (Arg){.kind = ARG_INT, .i = v->type->dim[dim].n};
}

static Arg word_arg(const Op *op, const char *word, int len)
{
    static const struct {
        const char *word;
        ArgKind kind;
    } plain[] = {{"pos", ARG_POS},     {"topk", ARG_TOPK},   {"layer", ARG_LAYER},
                 {"first", ARG_FIRST}, {"share", ARG_SHARE}, {"-", ARG_NULL}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strlen(plain[i].word) == (size_t)len && !strncmp(plain[i].word, word, (size_t)len))
            return (Arg){.kind = plain[i].kind};
    return *word == 'T'   ? tokens_of(op)
           : *word == 'f' ? freqs_arg(op)
           : *word == '@' ? attr_arg(op, word + 1, len - 1)
                          : operand_arg(op, word, len);
}

int call_args(const Op *op, Arg args[CALL_ARGS])
{
    int n = 0;
    for (const char *w = op_info[op->code].args, *end; *w; w = end + strspn(end, " ")) {
        end = w + strcspn(w, " ");
        CHECK(n + 1 < CALL_ARGS);
        args[n++] = word_arg(op, w, (int)(end - w));
    }
    if (op->kernel->work)
        args[n++] = (Arg){.kind = ARG_WORK, .i = attr_int(op, "work", 0)};
    return n;
}
