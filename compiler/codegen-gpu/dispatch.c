/* dispatch.c: the printer of shaders.
 *
 * One idea: a dispatch is what stands between two barriers of the plan. The threadgroups of its ops
 * stand one after another in one grid, so q, k and v, or a rotation and both stores, are one
 * dispatch without being a special case, and a barrier has one meaning: the next dispatch.
 */
#include <inttypes.h>
#include <string.h>

#include "codegen-gpu/gpu.h"

/* ---- entry points ---- */

/* The ops from..to (not included) as the body of an entry point. */
static void put_body(Printer *p, const Op *from, const Op *to)
{
    static const char *const times_text[] = {[TIMES_ONCE] = "",
                                             [TIMES_TOKEN] = " * uint(step.ntok)",
                                             [TIMES_TILE] = " * (uint(step.ntok + 31) / 32)"};
    if (p->dialect->put_prologue && from == from->block->first)
        p->dialect->put_prologue(p);
    for (const Op *op = from; op != to; op = op->next) {
        if (!op->kernel)
            continue;
        Times times;
        const Op *rest = op->next;
        while (rest != to && !rest->kernel)
            rest = rest->next;
        int64_t groups = groups_of(p, op, &times);
        const char *n = groups == 1 && *times_text[times]
                            ? times_text[times] + strlen(" * ")
                            : format(p->s, "%" PRId64 "%s", groups, times_text[times]);
        int wide = unit_width(p, op);
        const char *margin = rest == to ? "    " : "        ";
        put_ir_comment(p, op, "    ");
        if (rest != to)
            put(p->out, "    if (g < %s) {\n", n);
        if (wide) {
            int64_t units = (width_of(op->out[0]) + wide - 1) / wide;
            put(p->out, "%sif (has_unit(step, g %% %" PRId64 ", %" PRId64 "))\n    ", margin, units,
                units);
        }
        put(p->out, "%s", margin);
        put_call(p, op);
        if (rest != to)
            put(p->out, "        return;\n    }\n    g -= %s;\n", n);
    }
}

static Dispatch *dispatch_of(Printer *p, const Op *from, const Op *to, const char *wanted)
{
    const GpuDialect *dialect = p->dialect;
    Dispatch *d = NEW(p->s, Dispatch);
    Out body = {.s = p->s}, *file = p->out;
    for (const Op *op = from; op != to; op = op->next) {
        if (!op->kernel)
            continue;
        Times times;
        int64_t groups = groups_of(p, op, &times);
        d->groups[times] += groups;
        d->bytes = scratch_bytes(p, op) > d->bytes ? scratch_bytes(p, op) : d->bytes;
    }
    p->out = &body;
    put_body(p, from, to);
    p->out = file;
    d->entry = entry_of(p, wanted, body.text);
    if (!d->entry) {
        const char *macro = dialect->entry_macro ? dialect->entry_macro(from, to) : NULL;
        d->entry = wanted;
        put(file, "%s(%s)\n{\n%s}\n\n", macro ? macro : "BN_ENTRY", wanted, body.text);
    }
    out_free(&body);
    return d;
}

/* ---- the dispatches of a function ---- */

static bool works(const Op *from, const Op *to)
{
    for (; from != to; from = from->next)
        if (from->kernel)
            return true;
    return false;
}

static Dispatch *dispatches(Printer *p, const Block *b, const char *stem)
{
    Dispatch *first = NULL, **end = &first;
    int n = 0, layers = 0;
    for (const Op *op = b->first; op;) {
        const Op *to = op;
        while (to && to->code != OP_BARRIER && to->code != OP_LAYERS)
            to = to->next;
        if (works(op, to)) {
            *end = dispatch_of(p, op, to, format(p->s, "%s_%d", stem, ++n));
            end = &(*end)->next;
            if (p->dialect->exchange)
                *end = p->dialect->exchange(p, op, to, format(p->s, "%s_%d_all_gather", stem, n));
            end = *end ? &(*end)->next : end;
        }
        if (to && to->code == OP_LAYERS) {
            Dispatch *d = NEW(p->s, Dispatch);
            d->layers = to;
            const char *number = layers++ ? format(p->s, "%d", layers) : "";
            d->body = dispatches(p, to->body, format(p->s, "%s_layer%s", stem, number));
            *end = d;
            end = &d->next;
        }
        op = to ? to->next : NULL;
    }
    return first;
}

Dispatch *dispatches_of(Printer *p, Func *f)
{
    func_number(f);
    return dispatches(p, f->body, f->name);
}

/* ---- the file of shaders ---- */

void put_threads(const GpuDialect *d, Out *out)
{
    put(out, "#define BN_THREADS %d /* of a group */\n\n", d->threads);
}

static void note_kernel(Op *op, void *arg)
{
    Record *r = arg; /* a list of symbols */
    if (op->kernel)
        record_symbol(r, NULL, op->kernel->symbol);
}

/* The chunks that the model calls; a call's name ends where its template's arguments begin. */
static void put_kernels(Printer *p)
{
    const GpuDialect *d = p->dialect;
    const char *const *more = d->chunks ? d->chunks(p) : NULL;
    Record calls = {.s = p->s};
    for (Func *f = p->m->funcs; f; f = f->next)
        walk(f->body, note_kernel, &calls);
    for (; more && *more; more++)
        record_symbol(&calls, NULL, *more);
    const char **symbol = NEW_ARRAY(p->s, const char *, calls.n + 1);
    for (size_t i = 0; i < calls.n; i++)
        symbol[i] = intern(p->s, calls.field[i].text, strcspn(calls.field[i].text, "<"));
    emit_chunks(p->s, d->file, d->nfile, symbol, (int)calls.n, p->out);
}

void emit_shaders(const Module *m, const EmitOptions *o, const GpuDialect *d, Out *out)
{
    Out text = {.s = m->s};
    Printer p = gpu_printer(m, o, d, &text);
    put_threads(d, out);
    p.out = out;
    put_kernels(&p);
    p.out = &text;
    put(out, "/* ---- entry points: `group` of the grid works with THREADS threads ---- */\n\n");
    put(out,
        "%s#define AT(type, offset) ((device type *)(state + (offset)))\n"
        "#define FLOATS(at) ((device const float *)(at))\n\n",
        d->prelude);
    put_rope_tables(&p);
    put_weight_macros(&p);
    for (Func *f = m->funcs; f; f = f->next) {
        p.form = f->form;
        if (func_persistent(f, &d->target))
            d->put_persistent(&p, f);
        else
            (void)dispatches_of(&p, f);
    }
    put_bytes(&text, "", 1);
    put_wrapped(text.text, out);
    out_free(&text);
    out_free(&p.seen);
}
