/* tune.c: `bnc tune`: measures the kernels that a model's ternary shapes could have on this machine
 * and writes a record for --tune. Layouts are compared by the sum over the ops that read a shape of
 * the best time for one token and of a token's share of the best time for many. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bn_model.h"
#include "cmd/cmd.h"

enum { TOKENS = 64 }; /* as TUNE_TOKENS of tune_bench.c */

typedef struct Case { /* a kernel for an op over a shape, in a layout, for one token or many */
    OpCode op;
    unsigned form;
    int64_t n, k;
    int layers, uses;
    Fmt layout;
    const Kernel *kernel;
    int group;
    double ns;
} Case;
typedef struct Cases {
    Module *m;
    const Target *target;
    Case *c;
    int n, ngroup;
} Cases;

/* ---- what to measure ---- */

static int group_of(Cases *x, OpCode op, unsigned form, int64_t n, int64_t k)
{
    for (int i = 0; i < x->n; i++)
        if (x->c[i].op == op && x->c[i].form == form && x->c[i].n == n && x->c[i].k == k) {
            x->c[i].uses++;
            return -1;
        }
    return x->ngroup++;
}

/* Plain C is the fallback: not worth minutes of measuring where a row was made for the machine. */
static bool worth_measuring(const Cases *x, const Kernel *k, const Op *op, Fmt layout)
{
    bool better = false;
    for (int i = 0; i < x->target->nkernel; i++)
        better |=
            x->target->kernel[i].isa && kernel_fits(&x->target->kernel[i], op, layout, x->target);
    return kernel_fits(k, op, layout, x->target) && (k->isa || !better);
}

static void add_cases(Op *op, void *arg)
{
    Cases *x = arg;
    const Weight *w = NULL;
    unsigned form = forms_of(op);
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight && op->in[i]->weight->type->fmt == FMT_TERN)
            w = op->in[i]->weight;
    if (!w || op->block->func->form == FORM_SCORE)
        return;
    int64_t n = w->type->dim[0].n, k = w->type->dim[1].n;
    int group = group_of(x, op->code, form, n, k);
    for (int l = 0; group >= 0 && l < x->target->nlayout; l++) {
        Fmt layout = x->target->layout[l].to;
        for (int i = 0; i < x->target->nkernel && layout_possible(x->m, w, layout, x->target); i++)
            if (x->target->layout[l].from == FMT_TERN &&
                worth_measuring(x, &x->target->kernel[i], op, layout)) {
                x->c = grow(x->m->s, x->c, (size_t)x->n, sizeof *x->c);
                x->c[x->n++] = (Case){
                    op->code, form, n, k, w->count ? w->count : 1, 1, layout, &x->target->kernel[i],
                    group,    0};
            }
    }
}

/* ---- the program ---- */

static const Type *case_type(Session *s, const Case *c)
{
    return type_make(s, c->layout, 2, c->n, c->k, 0);
}

static void put_call(Out *o, Session *s, const Case *c, int i)
{
    int64_t scales, bytes = packed_bytes(case_type(s, c), &scales);
    const char *q = c->kernel->tables ? "d->tables" : "d->q";
    int tokens = c->form == FORMS_ONE ? 1 : TOKENS;
    put(o, "static void run_%d(const uint8_t *w, const tune_data *d, int from, int to)\n{\n", i);
    put(o, "    %s(w, (const float *)(w + %" PRId64 "), ", c->kernel->symbol, scales);
    if (c->op == OP_TGLU)
        put(o, "w + %" PRId64 ", (const float *)(w + %" PRId64 "), %s, d->s, d->y, BN_RELU2, ",
            bytes, bytes + scales, q);
    else
        put(o, "%s, d->s, NULL, d->y, ", q);
    put(o, "%d, %" PRId64 ", %" PRId64 ", from, to%s);\n}\n\n", tokens, c->n, c->k,
        c->kernel->work ? ", d->work" : "");
}

static const Kernel *table_kernel(const Target *t)
{
    const Kernel *best = NULL;
    for (int i = 0; i < t->nkernel; i++)
        if (t->kernel[i].op == OP_LUT3 && !(t->kernel[i].isa & ~t->isa))
            best = &t->kernel[i];
    return best;
}

static void put_prepare(Out *o, const Cases *x, int i)
{
    if (x->c[i].kernel->tables)
        put(o,
            "static void prepare_%d(const int8_t *q, int8_t *tables)\n{\n    %s(q, tables, %" PRId64
            ", 0, 1);\n}\n\n",
            i, table_kernel(x->target)->symbol, x->c[i].k);
}

static void put_case(Out *o, Session *s, const Case *c, int i)
{
    int64_t bytes = packed_bytes(case_type(s, c), NULL) * (c->op == OP_TGLU ? 2 : 1);
    int tokens = c->form == FORMS_ONE ? 1 : TOKENS;
    put(o, "    {%d, %d, %d, %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "u, %" PRId64 "u, ",
        c->group, c->layers, tokens, (c->n + c->kernel->mr - 1) / c->kernel->mr, c->n, c->k, bytes,
        c->kernel->work ? c->kernel->work(c->n, c->k, tokens) : 0);
    if (c->kernel->tables)
        put(o, "prepare_%d, run_%d},\n", i, i);
    else
        put(o, "NULL, run_%d},\n", i);
}

static void put_program(Out *o, Cases *x)
{
    Session *s = x->m->s;
    const Kernel **kernel = NEW_ARRAY(s, const Kernel *, x->n + 1);
    size_t size;
    for (int i = 0; i < x->n; i++)
        kernel[i] = x->c[i].kernel;
    kernel[x->n] = table_kernel(x->target);
    emit_runtime(o, false, false);
    put(o, "#include <math.h>\n#include <string.h>\n\n");
    emit_kernels(s, kernel, x->n + (kernel[x->n] != NULL), o);
    const char *bench = embedded_file("tune_bench.c", &size);
    put_bytes(o, bench, size);
    emit_isa(x->target->isa, o);
    for (int i = 0; i < x->n; i++) {
        put_prepare(o, x, i);
        put_call(o, s, &x->c[i], i);
    }
    emit_isa_end(x->target->isa, o);
    put(o, "const tune_case tune_cases[] = {\n");
    for (int i = 0; i < x->n; i++)
        put_case(o, s, &x->c[i], i);
    put(o, "};\nconst int tune_ncase = %d;\nconst uint32_t tune_isa = %uu;\n", x->n,
        (unsigned)x->target->isa);
}

/* ---- running it ---- */

static void measure(Cases *x, const char *program, int threads)
{
    Session *s = x->m->s;
    char line[128];
    const char *words[] = {program, format(s, "%d", threads), NULL};
    int ends[2];
    if (pipe(ends) != 0)
        fail(s, (Loc){0}, "cannot make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = child_start(s, (char **)(uintptr_t)words, &(ChildOptions){.output = ends[1]});
    if (pid < 0)
        fail(s, (Loc){0}, "cannot start %s: %s", program, strerror(errno));
    close(ends[1]);
    FILE *told = fdopen(ends[0], "r");
    while (told && fgets(line, sizeof line, told)) {
        int group, i;
        double ns;
        if (sscanf(line, "%d %d %lf", &group, &i, &ns) == 3 && i >= 0 && i < x->n)
            x->c[i].ns = ns;
    }
    if (told)
        fclose(told);
    if (child_wait(pid) != 0)
        fail(s, (Loc){0}, "the measuring program failed (its message stands above)");
}

static const Case *best_of(const Cases *x, int group, Fmt layout)
{
    const Case *best = NULL;
    for (int i = 0; i < x->n; i++)
        if (x->c[i].group == group && x->c[i].layout == layout && (!best || x->c[i].ns < best->ns))
            best = &x->c[i];
    return best;
}

/* Nanoseconds of a token read and a token written, in all ops over the shape; infinite where the
 * layout serves not all of them. */
static double layout_cost(const Cases *x, int64_t n, int64_t k, Fmt layout)
{
    double sum = 0;
    for (int g = 0; g < x->ngroup; g++) {
        const Case *first = NULL, *best = best_of(x, g, layout);
        for (int i = 0; i < x->n && !first; i++)
            first = x->c[i].group == g ? &x->c[i] : NULL;
        if (!first || first->n != n || first->k != k)
            continue;
        if (!best)
            return 1e30;
        sum += best->ns * first->uses / (best->form == FORMS_ONE ? 1 : TOKENS);
    }
    return sum;
}

static const char *form_word(unsigned form)
{
    return form == FORMS_ONE ? "one" : "many";
}

static void put_shape(Out *o, const Cases *x, int64_t n, int64_t k)
{
    Fmt layout = FMT_COUNT;
    for (int i = 0; i < x->n; i++)
        if (x->c[i].n == n && x->c[i].k == k &&
            (layout == FMT_COUNT ||
             layout_cost(x, n, k, x->c[i].layout) < layout_cost(x, n, k, layout)))
            layout = x->c[i].layout;
    put(o, "layout %" PRId64 "x%" PRId64 " %s\n", n, k, fmt_info[layout].name);
    for (int g = 0; g < x->ngroup; g++) {
        const Case *c = best_of(x, g, layout);
        if (c && c->n == n && c->k == k)
            put(o, "kernel %s %" PRId64 "x%" PRId64 " %s %s\n", op_info[c->op].name, n, k,
                form_word(c->form), c->kernel->symbol);
    }
}

static void put_record(Out *o, const Cases *x, int threads)
{
    put(o, "# bnc " BN_VERSION " tune: %s, target %s, %d thread%s; a pass over all layers took\n",
        x->m->title, x->target->name, threads, threads > 1 ? "s" : "");
    for (int i = 0; i < x->n; i++) {
        const Case *c = &x->c[i];
        put(o, "#   %-12s %5" PRId64 "x%-5" PRId64 " %-4s %-6s %-20s %10.1f us\n",
            op_info[c->op].name, c->n, c->k, form_word(c->form), fmt_info[c->layout].name,
            c->kernel->symbol, c->ns / 1e3);
    }
    for (int i = 0; i < x->n; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= x->c[j].n == x->c[i].n && x->c[j].k == x->c[i].k;
        if (!seen)
            put_shape(o, x, x->c[i].n, x->c[i].k);
    }
}

int cmd_tune(Session *s, const Options *given)
{
    Options o = *given;
    Cases x = {0};
    Out program = {.s = s}, record = {.s = s};
    int cores = o.threads ? (int)o.threads : bn_cpus();
    int threads = cores < BN_MAX_THREADS ? cores : BN_MAX_THREADS;
    x.m = load_input(s, &o, &x.target);
    if (x.target->npart || x.target->isa & ~target_find(s, "native")->isa)
        fail(s, (Loc){0}, "tune measures on this machine, which cannot run target %s alone",
             x.target->name);
    o.passes = NULL;
    o.stop_after = "specialize";
    Report *r = start_report(s, &o, stdout);
    run_passes(x.m, x.target, &o, r);
    report_print(s, r);
    for (Func *f = x.m->funcs; f; f = f->next)
        walk(f->body, add_cases, &x);
    if (!x.n)
        fail(s, loc_file(s, o.input), "has no ternary weights with one scale: nothing to tune");
    put_program(&program, &x);
    const char *dir = temp_dir(s), *source = format(s, "%s/tune.c", dir);
    file_save(s, source, &program);
    Build b = {.m = x.m,
               .target = x.target,
               .dir = dir,
               .source = source,
               .output = format(s, "%s/tune", dir),
               .cflags = compiler_flags(&o)};
    note(s, "tune: measuring %d kernels of %d kinds of work with %d threads", x.n, x.ngroup,
         threads);
    build_output(s, &b, "exe");
    measure(&x, b.output, threads);
    put_record(&record, &x, threads);
    file_save(s, o.output, &record);
    note(s, "wrote %s; use it with --tune=%s", o.output, o.output);
    return 0;
}
