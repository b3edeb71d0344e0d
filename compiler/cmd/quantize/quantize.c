/* quantize.c: `bnc quantize`: float masters to ternary and few-bit files, with a report of what was
 * lost.
 *
 * One idea: a tensor's name says what it is. Matrices of layers (blk.N.*) become --type, the
 * embedding and the output matrix what --embed and --head say, everything else keeps its bytes; --keep
 * overrules by name. The plan is complete before a byte is written, and every figure of the report is
 * measured on the bytes that were written.
 */
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "cmd/cmd.h"
#include "cmd/quantize/quantize.h"
#include "ir/escape.h"

typedef struct Keep {
    const char *pattern;
    Fmt fmt; /* FMT_COUNT: same */
    bool used;
} Keep;

typedef struct Quantize {
    Session *s;
    Gguf *g;
    const char *input, *output, *layout;
    Fmt type, embed, head; /* FMT_COUNT: as it is */
    bool embed_given, head_given, json, automatic;
    Grain grain;
    Keep *keep;
    int nkeep;
    Fmt *formats;
    int nformats;
    Auto search;
    Sample sample;
    Change *c;
    int64_t n, bytes; /* of tensors in the result */
    Loss before, after;
    Out out;
} Quantize;

/* ---- arguments ---- */

/* A name of --type's choices. */
static Fmt fmt_or_same(const char *text)
{
    return strcmp(text, "same") ? fmt_by_name(text) : FMT_COUNT;
}

static Grain grain_of(const char *text)
{
    return !strcmp(text, "tensor") ? GRAIN_TENSOR : !strcmp(text, "row") ? GRAIN_ROW : GRAIN_256;
}

static void add_keep(Quantize *q, const char *text)
{
    const Option *type = option_find("--type", SET_QUANTIZE);
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text)
        fail(q->s, (Loc){0},
             "--keep wants a pattern and a type, as in --keep='blk.0.*=f16', not '%s'", text);
    q->keep = grow(q->s, q->keep, (size_t)q->nkeep, sizeof *q->keep);
    q->keep[q->nkeep++] =
        (Keep){.pattern = intern(q->s, text, (size_t)(equals - text)),
               .fmt = fmt_or_same(option_choice(q->s, type, "--keep", equals + 1))};
}

static void set_formats(Quantize *q, const char *text)
{
    for (q->nformats = 0; *text; text += strcspn(text, ","), text += *text == ',') {
        Fmt fmt = fmt_or_same(intern(q->s, text, strcspn(text, ",")));
        if (fmt == FMT_COUNT)
            continue; /* the source's format is always among the choices */
        q->formats = grow(q->s, q->formats, (size_t)q->nformats, sizeof *q->formats);
        q->formats[q->nformats++] = fmt;
    }
}

static void take_options(Quantize *q, const Options *o)
{
    q->input = o->input;
    q->output = o->output;
    q->layout = o->i2s_layout ? o->i2s_layout : "x128";
    q->type = fmt_or_same(o->type);
    q->embed = o->embed ? fmt_or_same(o->embed) : FMT_COUNT;
    q->head = o->head ? fmt_or_same(o->head) : FMT_COUNT;
    q->embed_given = o->embed != NULL;
    q->head_given = o->head != NULL;
    q->grain = grain_of(o->scale);
    q->json = o->as_json;
    q->automatic = o->automatic;
    q->search.budget = o->budget;
    q->search.max_loss = o->max_dnll;
    q->sample = (Sample){.path = o->text_file, .threads = (int)o->threads};
    for (int i = 0; i < o->keep.n; i++)
        add_keep(q, o->keep.of[i]);
    if (o->formats)
        set_formats(q, o->formats);
}

static void check_arguments(Quantize *q)
{
    bool bounded = q->search.budget || q->search.max_loss >= 0;
    if (q->automatic && (!bounded || !q->sample.path))
        fail(q->s, (Loc){0},
             "--auto needs a text to measure with and a bound: --auto --text=book.txt --budget=20M "
             "or --max-dnll=0.01");
    if (!q->automatic && (bounded || q->nformats))
        fail(q->s, (Loc){0}, "--budget, --max-dnll and --formats belong to --auto");
    if (q->automatic && (q->embed_given || q->head_given))
        fail(q->s, (Loc){0},
             "with --auto the formats of embedding and output matrix are chosen too; to fix one: "
             "--keep=token_embd.weight=f16");
    for (int i = 0; i < 2; i++) {
        Fmt fmt = i ? q->head : q->embed;
        if (fmt < FMT_COUNT && fmt_info[fmt].kind == KIND_TERNARY)
            fail(q->s, (Loc){0},
                 "%s=%s: embedding and output matrix are never ternary; q4_0 is the smallest",
                 i ? "--head" : "--embed", fmt_info[fmt].name);
    }
    if (q->grain != GRAIN_TENSOR && q->type < FMT_COUNT && fmt_info[q->type].tail)
        fail(
            q->s, (Loc){0},
            "i2_s holds one scale a tensor; --scale=%s needs --type=tq2_0 or tq1_0, which hold one "
            "for each 256 values of a row",
            q->grain == GRAIN_ROW ? "row" : "256");
}

/* ---- the plan ---- */

/* blk.7.ffn_up.weight -> blk.*.ffn_up.weight; interned. */
static const char *group_of(Session *s, const char *text)
{
    size_t digits = strncmp(text, "blk.", 4) == 0 ? strspn(text + 4, "0123456789") : 0;
    return digits ? format(s, "blk.*%s", text + 4 + digits) : name(s, text);
}

static Role role_of(const Tensor *t)
{
    const char *end = strrchr(t->name, '.');
    if (t->rows < 2 || gguf_tensor_info(t)->rank != 2 || !end || strcmp(end, ".weight") != 0)
        return ROLE_OTHER;
    if (strcmp(t->name, "token_embd.weight") == 0 || strcmp(t->name, "output.weight") == 0)
        return ROLE_WORDS;
    return strncmp(t->name, "blk.", 4) == 0 ? ROLE_LINEAR : ROLE_OTHER;
}

/* f16, or what the file has where that is no larger. */
static Fmt words_default(const Tensor *t)
{
    return t->size <= (size_t)(t->rows * t->cols) * 2 ? t->fmt : FMT_F16;
}

static Fmt wanted(Quantize *q, Change *c)
{
    const Tensor *t = c->t;
    bool is_head = strcmp(t->name, "output.weight") == 0 && q->head_given;
    bool given = q->embed_given || is_head;
    Fmt fmt = c->role == ROLE_OTHER || q->automatic ? t->fmt
              : c->role == ROLE_LINEAR              ? q->type
              : given                               ? (is_head ? q->head : q->embed)
                                                    : words_default(t);
    for (int i = 0; i < q->nkeep && t->rows > 1; i++)
        if (fnmatch(q->keep[i].pattern, t->name, 0) == 0) {
            q->keep[i].used = c->fixed = true;
            fmt = q->keep[i].fmt;
        }
    return fmt == FMT_COUNT ? t->fmt : fmt;
}

static void make_plan(Quantize *q)
{
    q->n = gguf_tensor_count(q->g);
    q->c = NEW_ARRAY(q->s, Change, q->n + 1);
    for (int64_t i = 0; i < q->n; i++) {
        const Tensor *t = gguf_tensor_at(q->g, i);
        Change *c = &q->c[i];
        if (t->fmt == FMT_COUNT)
            fail(q->s, q->g->loc,
                 "%s is of type %s, which bnc does not decode; quantize from f32, f16 or bf16 "
                 "masters",
                 t->name, gguf_type_name(q->g, t));
        *c = (Change){
            .t = t, .group = group_of(q->s, t->name), .role = role_of(t), .grain = q->grain};
        c->to = wanted(q, c);
        if (c->to != t->fmt && fmt_info[t->fmt].kind != KIND_FLOAT &&
            fmt_info[t->fmt].kind != KIND_TERNARY)
            fail(q->s, q->g->loc, "%s holds whole numbers (%s), which --keep cannot change",
                 t->name, fmt_info[t->fmt].name);
    }
    for (int i = 0; i < q->nkeep; i++)
        if (!q->keep[i].used)
            fail(q->s, q->g->loc,
                 "no matrix has a name like %s (--keep); bnc inspect --tensors lists them",
                 quote(q->s, q->keep[i].pattern, strlen(q->keep[i].pattern)));
}

/* ---- the report ---- */

static void warn_untrained(const Quantize *q)
{
    int64_t bad = 0, all = 0;
    double pile = 0, error = 0, squares = 0;
    for (int64_t i = 0; i < q->n; i++) {
        const Change *c = &q->c[i];
        all += c->way == WAY_ABSMEAN;
        if (!never_trained(c))
            continue;
        bad++;
        pile += c->pile;
        error += c->error;
        squares += c->squares;
    }
    if (!bad)
        return;
    const char *proof = !q->sample.path ? "expect nonsense (--text=FILE measures it)"
                                        : format(q->s, "perplexity %.4g became %.4g",
                                                 exp(q->before.mean), exp(q->after.mean));
    warn(q->s, q->g->loc,
         "%lld of %lld matrices were not trained for three values: around +-scale/2, where "
         "rounding flips, their weights lie %.2f times as dense as around zero (trained: 1.5 to "
         "3), and rounding changed them by %.0f %% (RMS): %s; q4_0 loses far less",
         (long long)bad, (long long)all, pile / (double)bad, 100 * sqrt(error / squares), proof);
}

static void show_tensors(Quantize *q)
{
    Out *o = &q->out;
    put(o, "  %-28s %13s  %-13s %13s  %6s %6s %6s %5s\n", "tensor", "shape", "format", "bytes",
        "error", "zeros", "bits", "pile");
    for (int64_t i = 0; i < q->n; i++) {
        const Change *c = &q->c[i];
        const Tensor *t = c->t;
        double n = (double)(t->rows * t->cols), bits = change_entropy(c);
        const char *to = fmt_info[c->to].name, *from = fmt_info[t->fmt].name;
        if (c->way == WAY_COPY && c->role == ROLE_OTHER)
            continue;
        put(o, "  ");
        put_escaped(o, t->name, strlen(t->name));
        put(o, "%*s %13s  ", (int)(strlen(t->name) < 28 ? 28 - strlen(t->name) : 0), "",
            format(q->s, "%lld x %lld", (long long)t->rows, (long long)t->cols));
        put(o, "%-13s %13zu", c->way == WAY_COPY ? to : format(q->s, "%s>%s", from, to),
            change_bytes(c));
        if (c->way != WAY_COPY)
            put(o, "  %6.4f %5.1f%%", change_error(c), 100 * (double)c->zeros / n);
        if (bits >= 0)
            put(o, " %6.3f", bits);
        if (c->way == WAY_ABSMEAN)
            put(o, " %5.2f%s", c->pile, never_trained(c) ? " untrained" : "");
        else if (c->way == WAY_EXACT || c->way == WAY_CODES)
            put(o, " %s", way_name[c->way]);
        put(o, "\n");
    }
}

static void show_loss(Quantize *q)
{
    Out *o = &q->out;
    double error, gain;
    if (!q->sample.path)
        return;
    gain = loss_gain(&q->before, &q->after, &error);
    put(o, "  perplexity  %.4f +- %.4f before, %.4f +- %.4f after (%lld tokens of %s)\n",
        exp(q->before.mean), exp(q->before.mean) * q->before.error, exp(q->after.mean),
        exp(q->after.mean) * q->after.error, (long long)q->after.n, file_name(q->sample.path));
    put(o, "  loss        %+.5f +- %.5f nats a token\n", gain, error);
}

static void show(Quantize *q, int64_t file_bytes)
{
    int64_t n = 0, before = 0, after = 0;
    for (int64_t i = 0; i < q->n; i++) {
        n += q->c[i].t->rows * q->c[i].t->cols;
        before += (int64_t)q->c[i].t->size;
        after += (int64_t)change_bytes(&q->c[i]);
    }
    show_tensors(q);
    put(&q->out, "  vectors and the rest keep their bytes\n\n");
    put(&q->out, "  file        %zu bytes before, %lld after\n", q->g->total,
        (long long)file_bytes);
    put(&q->out, "  tensors     %.2f bits a parameter before, %.2f after\n",
        8 * (double)before / (double)n, 8 * (double)after / (double)n);
    show_loss(q);
}

static void json_tensor(Quantize *q, const Change *c)
{
    Out *o = &q->out;
    const Tensor *t = c->t;
    const GgufTensor *x = gguf_tensor_info(t);
    double n = (double)(t->rows * t->cols);
    put(o, "{\"name\": ");
    put_json_text(o, t->name, strlen(t->name));
    put(o, ", \"shape\": [");
    for (int k = x->rank - 1; k >= 0; k--)
        put(o, k ? "%lld, " : "%lld]", (long long)x->dim[k]);
    put(o,
        ", \"from\": \"%s\", \"to\": \"%s\", \"way\": \"%s\", \"bytes_before\": %zu, \"bytes\": "
        "%zu",
        fmt_info[t->fmt].name, fmt_info[c->to].name, way_name[c->way], t->size, change_bytes(c));
    if (c->way != WAY_COPY)
        put(o, ", \"relative_error\": %.6f, \"zeros\": %.6f", change_error(c),
            (double)c->zeros / n);
    if (change_entropy(c) >= 0)
        put(o, ", \"entropy_bits\": %.6f", change_entropy(c));
    if (c->way == WAY_ABSMEAN)
        put(o, ", \"pile\": %.4f, \"never_trained\": %s", c->pile,
            never_trained(c) ? "true" : "false");
    put(o, "}");
}

static void json_loss(Out *o, const char *label, const Loss *l)
{
    put(o,
        "  \"%s\": {\"nll\": %.6f, \"nll_error\": %.6f, \"perplexity\": %.6f, "
        "\"perplexity_error\": %.6f, \"tokens\": %lld},\n",
        label, l->mean, l->error, exp(l->mean), exp(l->mean) * l->error, (long long)l->n);
}

static void json(Quantize *q, int64_t file_bytes)
{
    Out *o = &q->out;
    if (q->sample.path) {
        double error, gain = loss_gain(&q->before, &q->after, &error);
        json_loss(o, "before", &q->before);
        json_loss(o, "after", &q->after);
        put(o, "  \"loss\": %.6f, \"loss_error\": %.6f,\n", gain, error);
    }
    put(o, "  \"file_bytes_before\": %zu, \"file_bytes\": %lld,\n  \"tensors\": [", q->g->total,
        (long long)file_bytes);
    for (int64_t i = 0; i < q->n; i++) {
        put(o, i ? ",\n    " : "\n    ");
        json_tensor(q, &q->c[i]);
    }
    put(o, "\n  ]\n}\n");
}

/* ---- the command ---- */

static void free_text(void *arg)
{
    out_free(arg);
}

static Quantize *quantize_new(Session *s, const Options *o)
{
    static const Fmt others[] = {FMT_Q4_0, FMT_Q6_K, FMT_Q8_0};
    Quantize *q = NEW(s, Quantize);
    *q = (Quantize){.s = s};
    q->out.s = s;
    session_defer(s, free_text, &q->out);
    take_options(q, o);
    check_arguments(q);
    if (q->automatic && !q->nformats) {
        q->nformats = 4 - (q->type == FMT_COUNT);
        q->formats = NEW_ARRAY(s, Fmt, 4);
        memcpy(q->formats, others, sizeof others);
        if (q->type != FMT_COUNT)
            q->formats[3] = q->type;
    }
    if (q->sample.path)
        q->sample.text = file_read(s, q->sample.path, &q->sample.size);
    q->input = model_file(s, q->input, FMT_F16); /* of a folder, the masters */
    q->g = gguf_open(s, q->input);
    gguf_i2s_layout(q->g, i2s_layout_by_name(s, q->layout));
    return q;
}

int cmd_quantize(Session *s, const Options *o)
{
    Quantize *q = quantize_new(s, o);
    int64_t size;
    make_plan(q);
    if (q->json)
        put(&q->out, "{\n");
    if (q->sample.path && !loss_measure(s, q->input, false, &q->sample, &q->before))
        fail(s, q->g->loc, "its logits are not finite: there is no loss to compare with");
    if (q->automatic) {
        q->search.fmt = q->formats;
        q->search.nfmt = q->nformats;
        q->search.text = &q->sample;
        q->search.out = &q->out;
        q->search.json = q->json;
        quantize_auto(s, q->g, q->c, q->n, &q->search, &q->before, q->output, &q->after);
    } else {
        for (int64_t i = 0; i < q->n; i++)
            quantize_scan(s, q->g, &q->c[i]);
        quantize_write(s, q->g, q->c, q->n, main_type(q->c, q->n), q->output);
        if (q->sample.path && !loss_measure(s, q->output, false, &q->sample, &q->after)) {
            warn(s, q->g->loc, "the logits of the result are not finite: it is of no use");
            q->sample.path = NULL;
        }
    }
    warn_untrained(q);
    size = (int64_t)gguf_open(s, q->output)->size; /* read again: it must be a good file */
    q->json ? json(q, size) : show(q, size);
    if (q->json || !s->quiet)
        file_save(s, "-", &q->out);
    note(s, "wrote %s", q->output);
    return 0;
}
