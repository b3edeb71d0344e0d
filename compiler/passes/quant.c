/* quant.c: from float products to ternary ones, where the weights are ternary.
 *
 * One idea: the values decide, not the file's format. A weight declared `tern` is ternary if its
 * codes are, or its floats hold only -s, 0 and +s, or if they are masters: plain floats in an
 * architecture that says {masters = absmean}. Then every linear over it becomes quant + tmatmul.
 * All others stay floats, in a format that float products read; --ternary overrules. Layers whose
 * formats come out different are cut into `layers` ops of equal ones.
 *
 * Activations. A graph that was trained for ternary weights rounded them to int8 with one scale a token,
 * and so do all weights with one scale a tensor or row: `quant`. Weights with a scale for each group of
 * columns come from training with float activations: `quant_group` gives each group a scale of its own,
 * and then matrices outside the layers (embedding, head) stay ternary too. With --act=f32 `linear` reads
 * the ternary weights. */
#include <math.h>
#include <string.h>

#include "passes/passes.h"

enum { PART = 1 << 14 };

typedef enum Mode { AUTO, ALWAYS, NEVER, MODES } Mode;
static const char *const mode_name[MODES] = {"auto", "always", "never"};

typedef enum Act { ACT_AUTO, ACT_TOKEN, ACT_GROUP, ACT_F32, ACTS } Act;
static const char *const act_name[ACTS] = {"auto", "token", "group", "f32"};

/* What was found of one tensor; all are looked at on all cores, then reported in order. */
typedef struct Proof {
    const Tensor *t;
    bool product; /* read by `linear` alone: may become ternary */
    bool masters; /* floats of it are masters */
    bool matrix;  /* an embedding or head: may be ternary where it is so exactly */
    bool recoded; /* bind gives its floats another format than the file has */
    bool grouped; /* the target has kernels for groups of columns */
    Mode mode;
    Fmt fmt;
    bool by_row;        /* each row has one scale */
    const char *scheme; /* of floats: how they become ternary */
    bool two;           /* codes of a ternary format go to +2 */
    bool bad_code, bad_scale, bad_value;
    int64_t at; /* of the bad value */
    float value;
    float most; /* the largest magnitude; floats only */
} Proof;

static void check_codes(Proof *p)
{
    int8_t code[PART];
    int64_t n = p->t->rows * p->t->cols;
    for (int64_t at = 0; at < n && !p->bad_code; at += PART) {
        int64_t k = n - at < PART ? n - at : PART;
        int bad = 0;
        tensor_codes(p->t, at, k, code);
        for (int64_t i = 0; i < k; i++)
            bad |= code[i] == 2;
        p->bad_code = bad;
    }
}

/* One scale for the whole tensor? Blocks of zeros agree with any; f16 rounding is forgiven. */
static bool scales_agree(Proof *p)
{
    int64_t n = p->t->rows * p->t->cols, step = fmt_info[p->t->fmt].elems;
    float first = 0;
    bool agree = true;
    if (fmt_info[p->t->fmt].tail)
        step = n;
    for (int64_t at = 0; at < n; at += step) {
        float s = tensor_scale(p->t, at);
        p->bad_scale |= !isfinite(s);
        first = first == 0 ? s : first;
        agree &= s == 0 || fabsf(s - first) <= fabsf(first) / 1024;
    }
    return agree;
}

/* One scale for each row? Of codes: floats of such a matrix are taken by groups. */
static bool scales_by_row(const Tensor *t)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c += fmt_info[t->fmt].elems)
            if (tensor_scale(t, r * t->cols + c) != tensor_scale(t, r * t->cols))
                return false;
    return true;
}

/* The most columns of a row that share a scale, as a logical format; FMT_COUNT: no such group. */
static Fmt widest_group(const Proof *p)
{
    GroupScales found;
    for (int group = 256; group >= (p->grouped ? 64 : 256); group /= 2)
        if (group_scales(p->t, group, &found))
            return fmt_of_group(group);
    return FMT_COUNT;
}

static void check_floats(Proof *p)
{
    float part[PART];
    int64_t n = p->t->rows * p->t->cols;
    for (int64_t at = 0; at < n; at += PART) {
        int64_t k = n - at < PART ? n - at : PART;
        tensor_floats(p->t, at, k, part);
        for (int64_t i = 0; i < k && !p->bad_value; i++) {
            p->bad_value = !isfinite(part[i]);
            p->most = fmaxf(p->most, fabsf(part[i]));
            p->at = at + i;
            p->value = part[i];
        }
    }
}

/* The format in which floats are computed. f16 keeps each value to within 2^-11 of itself, or
 * 2^-25; where that is too coarse for the tensor, or it does not reach, f32. */
static bool fits_f16(const Proof *p)
{
    return p->t->fmt == FMT_F16 || p->most == 0 || (p->most >= 0x1p-8f && p->most < 65504);
}

static Fmt float_format(const Proof *p)
{
    Fmt f = fmt_as_floats(p->t->fmt);
    return f == FMT_F16 && !fits_f16(p) ? FMT_F32 : f;
}

/* Codes of a ternary format. Those of q2_0 go to +2, and their scales to 64 values: what kernels of
 * ternary weights cannot do stays floats. */
static void prove_codes(Proof *p)
{
    bool two = p->t->fmt == FMT_Q2_0 || p->t->fmt == FMT_PQ2_0 || p->t->fmt == FMT_PQ2_0_LAST;
    check_codes(p);
    bool fold = scales_agree(p);
    if (p->bad_code && !two)
        return;
    p->two = p->bad_code;
    p->bad_code = false;
    p->fmt = fold ? FMT_TERN : widest_group(p);
    p->by_row = !fold && scales_by_row(p->t);
    bool ternary = !p->two && p->fmt != FMT_COUNT && p->mode != NEVER;
    if (!ternary || !p->product)
        check_floats(p);
    if (!ternary || !(p->product || p->matrix))
        p->fmt = float_format(p);
}

/* Decides the format of a tensor and how its codes come about. */
static void prove(Session *own, int i, void *arg)
{
    Proof *p = (Proof *)arg + i;
    Fmt f = p->t->fmt;
    bool plain = f == FMT_F32 || f == FMT_F16 || f == FMT_BF16 || f == FMT_F64;
    (void)own;
    if (fmt_info[f].kind == KIND_TERNARY) {
        prove_codes(p);
        return;
    }
    if (p->product || p->recoded)
        check_floats(p);
    p->fmt = float_format(p);
    if (!(p->product || p->matrix) || p->mode == NEVER)
        return;
    Fmt exact = tensor_is_ternary(p->t, NULL) ? FMT_TERN : p->grouped ? widest_group(p) : FMT_COUNT;
    if (exact != FMT_COUNT)
        p->scheme = "exact";
    else if (p->product && (p->mode == ALWAYS || (p->mode == AUTO && p->masters && plain)))
        p->scheme = "absmean";
    p->fmt = exact != FMT_COUNT ? exact : p->scheme ? FMT_TERN : p->fmt;
}

static void report(Module *m, const Proof *p)
{
    Loc file = loc_file(m->s, m->source);
    if (p->bad_code)
        err(m->s, file,
            "tensor %s holds a code that %s does not define: the file is "
            "damaged or, for i2_s, of another layout (--i2s-layout=x128, arm64 or row4)",
            p->t->name, fmt_info[p->t->fmt].name);
    if (p->bad_scale)
        err(m->s, file, "tensor %s has a scale that is not finite: the file is damaged",
            p->t->name);
    if (p->bad_value)
        err(m->s, file, "tensor %s holds %f at %lld: the file is damaged", p->t->name,
            (double)p->value, (long long)p->at);
}

/* Weights declared ternary, matrices that bind re-encodes, whose values may be beyond f16, and those
 * that may be found ternary. */
static bool is_recoded(const Weight *w)
{
    Fmt f = w->type->fmt;
    return w->type->rank == 2 && (f == FMT_F16 || f == FMT_Q8_0) && w->tensor->fmt != f;
}

static bool to_prove(const Weight *w)
{
    return w->tensor &&
           (fmt_info[w->type->fmt].kind == KIND_LOGICAL || is_recoded(w) || w->used);
}

/* Clears `used` of weights that are read by other ops than those that ternary matrices serve. */
static void look_at_uses(Op *op, void *arg)
{
    (void)arg;
    for (int i = 0; i < op->nin; i++)
        if (op->in[i]->weight && op->code != OP_EMBED && op->code != OP_LINEAR)
            op->in[i]->weight->used = false;
}

static Proof *prove_all(Module *m, Mode mode, bool grouped)
{
    int n = 0;
    for (Weight *w = m->weights; w; w = w->next)
        w->used = grouped && w->tensor && w->type->rank == 2;
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, look_at_uses, NULL);
    for (const Weight *w = m->weights; w; w = w->next)
        n += to_prove(w) ? (w->count ? w->count : 1) : 0;
    Proof *proof = NEW_ARRAY(m->s, Proof, n + 1), *p = proof;
    for (const Weight *w = m->weights; w; w = w->next)
        for (int i = 0; to_prove(w) && i < (w->count ? w->count : 1); i++)
            *p++ = (Proof){.t = &w->tensor[i],
                           .product = fmt_info[w->type->fmt].kind == KIND_LOGICAL,
                           .matrix = w->used && fmt_info[w->type->fmt].kind != KIND_LOGICAL,
                           .recoded = is_recoded(w),
                           .grouped = grouped,
                           .masters = m->masters != NULL,
                           .mode = mode};
    parallel(n, prove, proof);
    return proof;
}

/* ---- activations ---- */

/* Whether the target, or each of its parts, multiplies by groups of columns. */
static bool multiplies_groups(const Target *target)
{
    for (int i = 0; i < target->nkernel; i++)
        if (target->kernel[i].op == OP_TMATMUL && target->kernel[i].weight == FMT_Q2R16G64)
            return true;
    return false;
}

static Act act_of(Module *m, const Target *target, bool grouped)
{
    Act act = ACT_AUTO;
    while (m->act && act < ACTS && strcmp(m->act, act_name[act]))
        act++;
    if (act == ACTS)
        fail(m->s, (Loc){0}, "--act is auto, token, group or f32, not '%s'", m->act);
    if (act > ACT_TOKEN && !grouped)
        fail(m->s, (Loc){0},
             "--act=%s: target %s has no kernels for it; use --act=token, or a target for processors",
             m->act, target->name);
    return act;
}

/* What the activations of a weight's products become, from the formats that were found of its n
 * tensors; these become those of one group. */
static void choose_act(Module *m, Weight *w, const Proof *p, Fmt *fmt, int n, Act wanted)
{
    int group = 0, rows = 0, grouped = 0;
    for (int i = 0; i < n; i++) {
        int each = fmt_group(fmt[i]);
        group = each && (!group || each < group) ? each : group;
        grouped += each > 0;
        rows += each && p[i].by_row;
    }
    bool trained = m->masters || rows == grouped || !p->grouped;
    w->act = wanted != ACT_AUTO ? wanted : trained ? ACT_TOKEN : ACT_GROUP;
    if (wanted == ACT_AUTO && grouped && p->product)
        remark(m, w->loc, "activations for @%s are int8 with a scale for each %s: %s", w->name,
               trained ? "token" : format(m->s, "%d columns", group),
               m->masters          ? "its graph was trained so"
               : rows == grouped ? "the weights have one scale a row"
               : trained         ? "the target has no kernels for groups of columns"
                                   : "so are the scales of the weights, and nothing says that the "
                                     "graph was trained with one a token");
    for (int i = 0; w->act > ACT_TOKEN && i < n; i++)
        if (fmt_info[fmt[i]].kind == KIND_LOGICAL)
            fmt[i] = fmt_of_group(group ? group : 128);
}

static void set_type(Weight *w, Fmt fmt, Session *s)
{
    w->type = w->value.type = type_with(s, w->type, fmt);
}

/* ---- cutting layers ---- */

struct Cut {
    Module *m;
    int at, count; /* the segment's first layer and length */
    int part;      /* its number, from 1 */
};

static Weight *segment(struct Cut *c, Weight *w, const Fmt *fmt)
{
    const char *text = format(c->m->s, "%s_%d", w->name, c->part);
    Weight *n = weight_find(c->m, text);
    if (n)
        return n;
    n = weight_add(c->m, text, w->type);
    Weight *next = n->next;
    const char *own = n->name;
    *n = *w;
    n->name = n->value.name = own;
    n->next = next;
    n->value.weight = n;
    n->first = w->first + c->at;
    n->count = c->count;
    n->tensor = w->tensor ? w->tensor + c->at : NULL;
    n->factor = w->factor ? w->factor + c->at : NULL;
    if (fmt)
        set_type(n, fmt[c->at], c->m->s);
    return n;
}

/* Formats that differ: weight -> its formats a layer. */
typedef struct Mixed {
    Weight *weight;
    Fmt *fmt;
    struct Mixed *next;
} Mixed;

static void cut_layers(Module *m, Op *op, Mixed *mixed)
{
    int total = (int)attr_int(op, "count", 1), first = (int)attr_int(op, "first", 0), part = 0;
    Func *f = op->block->func;
    Value **carried = op->in;
    for (int at = 0; at < total;) {
        int n = 1;
        bool same = true;
        while (at + n < total && same) {
            for (const Mixed *x = mixed; x; x = x->next)
                same &= x->fmt[at] == x->fmt[at + n];
            n += same;
        }
        struct Cut c = {m, at, n, ++part};
        tally(m, "parts that layers are cut into", 1);
        Op *copy = layers_clone(op);
        memcpy(copy->in, carried, sizeof *carried * (size_t)op->nin);
        attr_set_int(copy, "count", n);
        attr_set_int(copy, "first", first + at);
        for (Op *o = copy->body->first; o; o = o->next)
            for (int i = 0; i < o->nin; i++) {
                Weight *w = o->in[i]->weight;
                const Mixed *x = mixed;
                while (x && x->weight != w)
                    x = x->next;
                if (w && w->count && !w->is_state)
                    o->in[i] = &segment(&c, w, x ? x->fmt : NULL)->value;
            }
        carried = copy->out;
        at += n;
    }
    for (int i = 0; i < op->nout; i++)
        replace_uses(f, op->out[i], carried[i]);
    op_remove(op);
}

static void cut_if_mixed(Module *m, Mixed *mixed)
{
    for (Func *f = m->funcs; f; f = f->next)
        for (Op *op = f->body->first, *next; op; op = next) {
            next = op->next;
            if (op->code == OP_LAYERS && mixed)
                cut_layers(m, op, mixed);
        }
}

/* ---- rewriting ---- */

static void to_ternary(Op *op, void *arg)
{
    Module *m = arg;
    Func *f = op->block->func;
    const Weight *w = op->code == OP_LINEAR ? op->in[1]->weight : NULL;
    if (!w || fmt_info[w->type->fmt].kind != KIND_LOGICAL || w->act == ACT_F32)
        return;
    /* kernels of tern256 take both */
    bool grouped = w->act == ACT_GROUP || w->type->fmt == FMT_TERN64 || w->type->fmt == FMT_TERN128;
    Op *q = op_new(op->block, op, grouped ? OP_QUANT_GROUP : OP_QUANT, 1, 2);
    q->in[0] = op->in[0];
    if (grouped) {
        attr_set_int(q, "group", fmt_group(w->type->fmt));
        attr_set_word(q, "scale", w->act == ACT_GROUP ? "group" : "token");
    }
    q->out[0]->name = fresh_name(f, format(m->s, "%s_q", op->in[0]->name));
    q->out[1]->name = fresh_name(f, format(m->s, "%s_s", op->in[0]->name));
    Op *t = op_new(op->block, op, OP_TMATMUL, 3, 1);
    t->in[0] = q->out[0];
    t->in[1] = q->out[1];
    t->in[2] = op->in[1];
    t->out[0]->name = op->out[0]->name;
    CHECK(op_infer(m, q) && op_infer(m, t));
    replace_uses(f, op->out[0], t->out[0]);
    op_remove(op);
    tally(m, "products made ternary", 1);
}

/* ---- what was decided ---- */

static Mode mode_of(Module *m)
{
    Mode mode = AUTO;
    while (m->ternary && mode < MODES && strcmp(m->ternary, mode_name[mode]))
        mode++;
    if (mode == MODES)
        fail(m->s, (Loc){0}, "--ternary is auto, always or never, not '%s'", m->ternary);
    return mode;
}

/* Layers that stay floats share one format, the least that holds all: no cut for their sake. */
static void level_floats(Fmt *fmt, const Proof *p, int n)
{
    Fmt wide = FMT_COUNT;
    bool half = true;
    for (int i = 0; i < n; i++) {
        if (fmt_info[fmt[i]].kind != KIND_FLOAT)
            continue;
        half &= fmt[i] == FMT_F16 || (fmt[i] == FMT_Q8_0 && p[i].most < 65504);
        wide = wide == FMT_COUNT || wide == fmt[i] ? fmt[i] : half ? FMT_F16 : FMT_F32;
    }
    for (int i = 0; i < n; i++)
        if (fmt_info[fmt[i]].kind == KIND_FLOAT)
            fmt[i] = wide;
}

typedef struct Tally {
    int made;            /* float tensors made ternary by absmean */
    int kept[FMT_COUNT]; /* tensors of products that stay floats, by format */
} Tally;

/* Why a tensor of products stays floats. */
static const char *why_floats(const Proof *p)
{
    Fmt f = p->t->fmt;
    if (p->mode == NEVER)
        return "--ternary=never";
    if (fmt_info[f].kind == KIND_TERNARY)
        return p->two ? "it has codes of +2" : "it has several scales in 256 values of a row";
    if (p->masters)
        return "not only -s, 0 and +s, and quantized floats are no masters of ternary weights";
    return "not only -s, 0 and +s, and nothing says that floats are masters of ternary weights";
}

/* One remark for neighbouring layers of one fate. */
static void remark_floats(Module *m, const Weight *w, const Proof *p, const Fmt *fmt)
{
    int n = w->count ? w->count : 1;
    for (int i = 0, end; i < n; i = end) {
        const char *why = why_floats(&p[i]);
        for (end = i + 1; end < n && fmt[end] == fmt[i] && why_floats(&p[end]) == why;)
            end++;
        if (!p[i].product || fmt_info[fmt[i]].kind != KIND_FLOAT)
            continue;
        if (end - i == 1)
            remark(m, w->loc, "%s is kept as %s: %s", p[i].t->name, fmt_info[fmt[i]].name, why);
        else
            remark(m, w->loc, "%s to %s are kept as %s: %s", p[i].t->name, p[end - 1].t->name,
                   fmt_info[fmt[i]].name, why);
    }
}

/* A matrix outside the layers stays floats where nothing asks for groups. */
static void settle_matrix(Module *m, Weight *w, const Proof *p, Fmt *fmt, int n, Act wanted)
{
    for (int i = 0; i < n; i++)
        fmt[i] = p[i].fmt;
    choose_act(m, w, p, fmt, n, wanted);
    for (int i = 0; i < n; i++)
        if (w->act == ACT_TOKEN || fmt_info[fmt[i]].kind != KIND_LOGICAL)
            fmt[i] = p[i].recoded && w->type->fmt == FMT_F16 && !fits_f16(&p[i]) ? FMT_F32
                                                                                 : w->type->fmt;
}

static void settle(Module *m, Weight *w, const Proof *p, Fmt *fmt, Act wanted, Tally *tally)
{
    int n = w->count ? w->count : 1;
    for (int i = 0; i < n; i++) {
        report(m, &p[i]);
        fmt[i] = p[i].fmt;
    }
    if (p->product)
        choose_act(m, w, p, fmt, n, wanted);
    else
        settle_matrix(m, w, p, fmt, n, wanted);
    if (m->s->nerror)
        return;
    level_floats(fmt, p, n);
    remark_floats(m, w, p, fmt);
    for (int i = 0; w->times && i < n; i++)
        if (fmt_info[fmt[i]].kind == KIND_FLOAT) {
            err(m->s, w->loc,
                "@%s has a factor (times), so it must be ternary, but tensor %s is not", w->name,
                p[i].t->name);
            return;
        }
    for (int i = 0; i < n; i++) {
        tally->made += p[i].scheme && strcmp(p[i].scheme, "exact");
        tally->kept[fmt[i]] += p[i].product && fmt_info[fmt[i]].kind == KIND_FLOAT;
        const char *scheme = p[i].scheme ? p[i].scheme : w->scheme;
        if (scheme && (p[i].product || fmt_info[fmt[i]].kind == KIND_LOGICAL))
            w->scheme = name(m->s, w->scheme && strcmp(w->scheme, scheme) ? "mixed" : scheme);
    }
    if (!p->product && p->recoded)
        note(m->s, "quant: @%s is %s in the file, computed as %s", w->name,
             fmt_info[p->t->fmt].name, fmt_info[fmt[0]].name);
}

static void say(Module *m, const Tally *tally, Mode mode)
{
    Out o = {.s = m->s};
    int kept = 0;
    for (Fmt f = 0; f < FMT_COUNT; f++)
        if (tally->kept[f]) {
            put(&o, "%s%d as %s", kept ? ", " : "", tally->kept[f], fmt_info[f].name);
            kept += tally->kept[f];
        }
    if (tally->made && !m->masters)
        warn(m->s, (Loc){0},
             "%d float tensors are made ternary by absmean, but nothing says that '%s' was trained "
             "for it: expect worse text, and measure it",
             tally->made, m->arch[0]);
    else if (tally->made)
        note(m->s, "quant: %d float tensors made ternary by absmean (w = round(w / mean|w|))",
             tally->made);
    if (kept && mode == NEVER)
        note(m->s, "quant: %d tensors are kept as floats (%s), as asked: slower", kept, o.text);
    else if (kept)
        note(m->s, "quant: %d tensors are not ternary: kept as floats (%s), slower", kept, o.text);
    out_free(&o);
}

/* Of a weight whose bytes are not here: its type says what its scales are for. */
static Act act_of_text(const Module *m, const Weight *w, Act wanted)
{
    bool groups = w->type->fmt == FMT_TERN64 || w->type->fmt == FMT_TERN128;
    return wanted != ACT_AUTO ? wanted : groups && !m->masters ? ACT_GROUP : ACT_TOKEN;
}

void pass_quant(Module *m, const Target *target)
{
    bool grouped = multiplies_groups(target);
    Mode mode = mode_of(m);
    Act act = act_of(m, target, grouped);
    Mixed *mixed = NULL;
    const Proof *p = prove_all(m, mode, grouped);
    Tally tally = {0};
    for (Weight *w = m->weights; w; w = w->next) {
        int n = w->count ? w->count : 1;
        if (!w->tensor)
            w->act = act_of_text(m, w, act);
        if (!to_prove(w))
            continue;
        Fmt *fmt = NEW_ARRAY(m->s, Fmt, n);
        settle(m, w, p, fmt, act, &tally);
        p += n;
        bool same = true;
        for (int i = 1; i < n; i++)
            same &= fmt[i] == fmt[0];
        if (same) {
            set_type(w, fmt[0], m->s);
            continue;
        }
        Mixed *x = NEW(m->s, Mixed);
        *x = (Mixed){w, fmt, mixed};
        mixed = x;
    }
    stop_on_errors(m->s);
    say(m, &tally, mode);
    cut_if_mixed(m, mixed);
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, to_ternary, m);
}
