/* check.c: `bnc inspect --check`: is this file what it says, and will it talk sense?
 *
 * One idea: a check looks at one way in which model files go wrong, adds a finding for each fault,
 * and is one row of the table at the end. An error is a file that runs wrong or not at all; a
 * warning is what a person should look at. What the compiler refuses is not written a second time:
 * compile_check is run, and what it says are findings. The tokenizer's checks stand in
 * vocab.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/inspect/check.h"
#include "ir/escape.h"

enum { LISTED = 4 }; /* findings of one kind that are listed singly */

/* ---- findings ---- */

/* For faults of tensors: the first few singly, the others counted by end_list. */
static void found_in(Check *c, Grade grade, const char *tensor, const char *what)
{
    if (c->listed++ < LISTED)
        found(c, grade, format(c->p->s, "%s %s", quote(c->p->s, tensor, strlen(tensor)), what));
    c->grade = grade;
}

static void end_list(Check *c)
{
    if (c->listed > LISTED)
        found(c, c->grade, format(c->p->s, "and %d tensors more", c->listed - LISTED));
    c->listed = 0;
}

bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

static bool is_ternary_format(const Tensor *t)
{
    return t->fmt != FMT_COUNT && fmt_info[t->fmt].kind == KIND_TERNARY;
}

static bool is_norm(const Tensor *t)
{
    return t->rows == 1 && (ends_in(t->name, "norm.weight") || ends_in(t->name, "norm_in.weight"));
}

/* A matrix inside a layer. */
static bool is_projection(const Tensor *t)
{
    return t->rows > 1 && !strncmp(t->name, "blk.", 4);
}

/* ---- the graph ---- */

typedef struct Apart {
    Session session;
    const Inspect *p;
} Apart;

static void compile_apart(void *arg)
{
    Apart *b = arg;
    Options o = options_initial(&b->session);
    o.input = b->p->file;
    o.arch = b->p->arch_path;
    o.i2s_layout = i2s_layout_name(b->p->layout);
    o.quiet = true;
    compile_check(&b->session, &o);
}

/* What the compiler says of the file: all that a compilation refuses, and what it warns of. */
static void check_graph(Check *c)
{
    static const char *const said[] = {[WARNING] = "warning: ", [ERROR] = "error: "};
    Apart b = {.p = c->p};
    char *text = NULL;
    size_t len = 0;
    FILE *log = open_memstream(&text, &len);
    CHECK(log);
    session_start(&b.session, log);
    b.session.quiet = true;
    session_try(&b.session, compile_apart, &b);
    session_end(&b.session);
    fclose(log);
    for (char *line = text, *next; line && *line; line = next) {
        next = line + strcspn(line, "\n");
        next += *next == '\n' ? 1 : 0;
        for (Grade g = WARNING; g <= ERROR; g++) {
            char *at = strstr(line, said[g]);
            if (at && at < next && !strncmp(at + strlen(said[g]), "its I2_S tensors", 16))
                break; /* check_layout says more */
            if (at && at < next) {
                at += strlen(said[g]);
                found(c, g, format(c->p->s, "%.*s", (int)strcspn(at, "\n"), at));
                break;
            }
        }
    }
    free(text);
}

/* ---- the container ---- */

static int by_place(const void *a, const void *b)
{
    const GgufTensor *x = *(const GgufTensor *const *)a, *y = *(const GgufTensor *const *)b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Bytes between tensors that no tensor claims: what a type id looks like that means a larger format
 * in the program that wrote the file. */
static void check_extents(Check *c)
{
    const Gguf *g = c->p->g;
    int64_t n = g->ntensor;
    const GgufTensor **x = NEW_ARRAY(c->p->s, const GgufTensor *, n + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = &g->tensor[i];
    qsort(x, (size_t)n, sizeof *x, by_place);
    for (int64_t i = 0; i < n; i++) {
        uint64_t end = x[i]->at + x[i]->t.size, next = i + 1 < n ? x[i + 1]->at : g->size;
        if (next - end >= g->alignment)
            found_in(c, WARNING, x[i]->t.name,
                     format(c->p->s,
                            "is %s here and takes %zu bytes, then %llu follow that no tensor "
                            "claims: the program that wrote it may mean another format by type id "
                            "%lld",
                            gguf_type_name(g, &x[i]->t), x[i]->t.size,
                            (unsigned long long)(next - end), (long long)x[i]->id));
    }
    end_list(c);
}

/* Type ids that programs read differently; 36 (I2_S) aside, which the tail of 32 bytes confirms. */
static void check_types(Check *c)
{
    static const struct {
        int64_t id;
        const char *readings;
    } forks[] = {{37, "I8_S in Microsoft's fork, a retired type of ggml"},
                 {38, "TL1 in Microsoft's fork, a retired type of ggml"},
                 {39, "MXFP4 in ggml, TL2 in Microsoft's fork"},
                 {142, "PQ2_0 of a fork, unknown to ggml"},
                 {143, "PTQ1_0 of a fork, unknown to ggml"}};
    for (size_t i = 0; i < sizeof forks / sizeof *forks; i++) {
        int64_t n = 0;
        for (int64_t k = 0; k < c->p->g->ntensor; k++)
            n += c->p->g->tensor[k].id == forks[i].id;
        if (n)
            found(c, WARNING,
                  format(c->p->s, "%lld tensors have type id %lld, which is ambiguous: %s",
                         (long long)n, (long long)forks[i].id, forks[i].readings));
    }
}

/* "A converter that silently writes another type". */
static void check_file_type(Check *c)
{
    static const struct {
        int64_t id;
        const char *name;
    } types[] = {{0, "f32"},    {1, "f16"},    {2, "q4_0"}, {7, "q8_0"}, {32, "bf16"},
                 {36, "tq1_0"}, {37, "tq2_0"}, {38, "tl1"}, {39, "tl2"}, {40, "i2_s"}};
    Inspect *p = c->p;
    const char *says = NULL, *most = NULL;
    int64_t id, sum = 0;
    if (!gguf_int(p->g, "general.file_type", &id))
        return;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        says = types[i].id == id ? types[i].name : says;
    for (int i = 0; i < p->ngroup; i++) {
        int64_t n = 0;
        for (int64_t k = 0; k < p->g->ntensor; k++)
            if (is_projection(&p->g->tensor[k].t) &&
                !strcmp(gguf_type_name(p->g, &p->g->tensor[k].t), p->group[i].type))
                n += p->facts[k].n;
        most = n > sum ? p->group[i].type : most;
        sum = n > sum ? n : sum;
    }
    if (says && most && strncmp(most, says, strlen(says)) != 0)
        found(c, WARNING,
              format(p->s,
                     "general.file_type %lld says %s, but most weights of the layers are %s: the "
                     "converter wrote another type than it says",
                     (long long)id, says, most));
}

/* ---- values ---- */

static void check_codes(Check *c)
{
    Inspect *p = c->p;
    for (int64_t i = 0; i < p->g->ntensor; i++)
        if (p->facts[i].invalid)
            found_in(c, ERROR, p->g->tensor[i].t.name,
                     format(p->s, "has %s codes of %s that mean nothing: it is damaged or not %s",
                            grouped(p->s, p->facts[i].invalid), grouped(p->s, p->facts[i].n),
                            gguf_type_name(p->g, &p->g->tensor[i].t)));
    end_list(c);
}

static const char *scale_fault(Session *s, float scale, bool weights)
{
    float size = fabsf(scale);
    if (!isfinite(scale))
        return format(s, "has a scale that is not finite: it is damaged");
    if (weights && size == 0)
        return format(s, "has scale 0 over codes that are not: all its weights are 0");
    if (weights && (size < 1e-7f || size > 1e5f))
        return format(s, "has scale %g: weights of %g are not plausible", (double)scale,
                      (double)scale);
    if (scale < 0)
        return format(s, "has scale %g; no converter writes a negative one", (double)scale);
    return NULL;
}

static int64_t scale_step(const Tensor *t)
{
    bool one = t->fmt == FMT_I2_S || t->fmt == FMT_I2_S_ARM64 || t->fmt == FMT_I2_S_ROW4;
    return one ? t->rows * t->cols : fmt_info[t->fmt].elems;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A scale that was divided where others multiply stands far from the middle one. */
static void check_outliers(Check *c, float *scale, int64_t n)
{
    const Gguf *g = c->p->g;
    float *sorted = NEW_ARRAY(c->p->s, float, n + 1);
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        if (scale[i] > 0)
            sorted[k++] = scale[i];
    qsort(sorted, (size_t)k, sizeof *sorted, by_size);
    float middle = k ? sorted[k / 2] : 0;
    for (int64_t i = 0; i < n; i++)
        if (scale[i] > 0 && (scale[i] > 1000 * middle || scale[i] < middle / 1000))
            found_in(c, WARNING, g->tensor[i].t.name,
                     format(c->p->s,
                            "has scale %g where the others have about %g: was it divided instead "
                            "of multiplied?",
                            (double)scale[i], (double)middle));
}

static void check_scales(Check *c)
{
    Inspect *p = c->p;
    float *scale = NEW_ARRAY(p->s, float, p->g->ntensor + 1);
    for (int64_t i = 0; i < p->g->ntensor; i++) {
        const Tensor *t = &p->g->tensor[i].t;
        const Facts *f = &p->facts[i];
        const char *fault = NULL;
        if (!is_ternary_format(t))
            continue;
        for (int64_t at = 0; at < f->n && !fault; at += scale_step(t))
            fault = scale_fault(p->s, tensor_scale(t, at), scale_step(t) == f->n && f->zero < f->n);
        if (fault)
            found_in(c, strstr(fault, "finite") ? ERROR : WARNING, t->name, fault);
        else if (scale_step(t) < f->n && f->scale_low * 1.01f < f->scale_high &&
                 !strncmp(p->arch, "bitnet", 6))
            found_in(c, WARNING, t->name,
                     format(p->s,
                            "has block scales from %g to %g; a BitNet tensor has one, so this is a "
                            "requantization that lost something",
                            (double)f->scale_low, (double)f->scale_high));
        else
            scale[i] = f->scale_high;
    }
    check_outliers(c, scale, p->g->ntensor);
    end_list(c);
}

static void check_values(Check *c)
{
    Inspect *p = c->p;
    for (int64_t i = 0; i < p->g->ntensor; i++)
        if (p->facts[i].nonfinite)
            found_in(c, ERROR, p->g->tensor[i].t.name,
                     format(p->s, "holds %s values that are not finite: it is damaged",
                            grouped(p->s, p->facts[i].nonfinite)));
    end_list(c);
}

static void check_norm(Check *c, const Tensor *t)
{
    float x[CHUNK];
    double sum = 0, most = 0;
    for (int64_t at = 0; at < t->cols; at += CHUNK) {
        int64_t k = t->cols - at < CHUNK ? t->cols - at : CHUNK;
        tensor_floats(t, at, k, x);
        for (int64_t i = 0; i < k; i++) {
            sum += fabs((double)x[i]);
            most = fabs((double)x[i]) > most ? fabs((double)x[i]) : most;
        }
    }
    double mean = sum / (double)t->cols;
    if (most == 0)
        found_in(c, ERROR, t->name, "is all zeros: it would silence its layer");
    else if (mean < 1e-3)
        found_in(
            c, WARNING, t->name,
            format(c->p->s, "has gains of %.2g on average: stored less one, or divided?", mean));
    else if (most > 1e4)
        found_in(c, WARNING, t->name,
                 format(c->p->s, "has gains up to %.3g: not plausible for an RMSNorm", most));
}

static void check_norms(Check *c)
{
    Inspect *p = c->p;
    for (int64_t i = 0; i < p->g->ntensor; i++) {
        const Tensor *t = &p->g->tensor[i].t;
        if (is_norm(t) && p->facts[i].known && !p->facts[i].nonfinite)
            check_norm(c, t);
    }
    end_list(c);
}

static void check_ternary(Check *c)
{
    Inspect *p = c->p;
    int64_t floats = 0, all = 0;
    for (int64_t i = 0; i < p->g->ntensor; i++) {
        const Tensor *t = &p->g->tensor[i].t;
        if (!is_projection(t))
            continue;
        all++;
        floats += p->facts[i].known && !is_ternary_format(t) && !p->facts[i].ternary;
    }
    if (floats)
        found(c, WARNING,
              format(p->s,
                     "%s of %s matrices in the layers are floats that are not ternary: compiled as "
                     "ternary they are rounded, which only a model trained for it survives",
                     grouped(p->s, floats), grouped(p->s, all)));
}

/* ---- the layout of I2_S ---- */

static void check_layout(Check *c)
{
    const Inspect *p = c->p;
    I2sEvidence e = gguf_i2s_evidence(p->g, p->layout, INT64_MAX);
    if (p->i2s && e.other)
        found(c, ERROR,
              format(p->s,
                     "read as %s, zeros and norms have little to do with each other (%.1f; chance "
                     "alone gives 1), read as %s they do (%.1f): use --i2s-layout=%s",
                     i2s_layout_name(p->layout), e.own, i2s_layout_name(e.fits), e.best,
                     i2s_layout_name(e.fits)));
    else if (p->i2s)
        c->fine = e.sure ? format(p->s,
                                  "I2_S read as %s: its zeros go with the norms (%.1f; "
                                  "chance alone gives 1)",
                                  i2s_layout_name(p->layout), e.own)
                         : format(p->s, "I2_S read as %s; nothing in these weights tells",
                                  i2s_layout_name(p->layout));
}

/* ---- the embedding and the output matrix ---- */

static void check_embedding(Check *c)
{
    Inspect *p = c->p;
    Session *s = p->s;
    const Tensor *embed = gguf_tensor_find(p->g, "token_embd.weight");
    const Tensor *head = gguf_tensor_find(p->g, "output.weight");
    const GgufValue *tokens = gguf_get(p->g, "tokenizer.ggml.tokens");
    int64_t vocab = tokens ? gguf_string_count(tokens) : -1, width, said;
    if (!embed) {
        found(c, ERROR, "there is no token_embd.weight");
        return;
    }
    if (gguf_int(p->g, format(s, "%s.embedding_length", p->arch), &width) && width != embed->cols)
        found(c, ERROR,
              format(s, "token_embd.weight has %lld columns, embedding_length says %lld",
                     (long long)embed->cols, (long long)width));
    if (vocab > embed->rows)
        found(c, ERROR,
              format(s, "token_embd.weight has %lld rows for %lld tokens: the last have none",
                     (long long)embed->rows, (long long)vocab));
    if (vocab > 0 && vocab < embed->rows)
        found(c, WARNING,
              format(s,
                     "token_embd.weight has %lld rows for %lld tokens: the last rows are padding, "
                     "and can be predicted but not written",
                     (long long)embed->rows, (long long)vocab));
    if (gguf_int(p->g, format(s, "%s.vocab_size", p->arch), &said) && said != embed->rows)
        found(c, WARNING,
              format(s, "vocab_size says %lld, token_embd.weight has %lld rows", (long long)said,
                     (long long)embed->rows));
    if (head && (head->rows != embed->rows || head->cols != embed->cols))
        found(c, ERROR,
              format(s, "output.weight is %lld x %lld, token_embd.weight %lld x %lld",
                     (long long)head->rows, (long long)head->cols, (long long)embed->rows,
                     (long long)embed->cols));
    else if (head && head->size == embed->size && !memcmp(head->data, embed->data, head->size))
        found(c, WARNING,
              format(s, "output.weight repeats token_embd.weight: %s bytes that could be left out",
                     grouped(s, (int64_t)head->size)));
}

/* ---- the table ---- */

static const struct {
    const char *name, *fine;
    void (*run)(Check *c);
} checks[] = {
    {"graph", "every key and tensor has its place in a graph that bnc knows", check_graph},
    {"extents", "every byte behind the header belongs to a tensor", check_extents},
    {"types", "no type id that programs read differently", check_types},
    {"file_type", "general.file_type is absent or says what is there", check_file_type},
    {"codes", "no ternary code is invalid", check_codes},
    {"scales", "finite, positive and of one size", check_scales},
    {"values", "all floats are finite", check_values},
    {"norms", "no gains that are zero, tiny or huge", check_norms},
    {"ternary", "no float matrix that would have to be rounded", check_ternary},
    {"layout", "no I2_S tensors", check_layout},
    {"embedding", "embedding, output matrix and vocabulary have the same size", check_embedding},
    {"merges", "every merge joins two tokens to a third", check_merges},
    {"specials", "special tokens are tokens, and marked as special", check_specials},
    {"template", "no chat template, or one whose marks are tokens", check_template},
};
enum { NCHECK = sizeof checks / sizeof *checks };

void inspect_check(Inspect *p)
{
    for (int i = 0; i < NCHECK; i++) {
        Check c = {.p = p, .name = checks[i].name, .fine = checks[i].fine};
        int before = p->nfinding;
        checks[i].run(&c);
        if (p->nfinding == before)
            found(&c, FINE, c.fine);
    }
}

static const char *const grade_name[] = {[FINE] = "ok", [WARNING] = "warning", [ERROR] = "error"};

void show_findings(Inspect *p)
{
    put(&p->out, "\n  %-10s %s\n", "check", "verdict");
    for (int i = 0; i < p->nfinding; i++)
        put(&p->out, "  %-10s %-8s %s\n", p->finding[i].check, grade_name[p->finding[i].grade],
            p->finding[i].text);
    put(&p->out, "  %d checks: %d error%s, %d warning%s\n", NCHECK, p->nerror,
        p->nerror == 1 ? "" : "s", p->nwarning, p->nwarning == 1 ? "" : "s");
}

void json_findings(Inspect *p)
{
    Out *o = &p->out;
    put(o, "  \"check\": {\"errors\": %d, \"warnings\": %d, \"findings\": [", p->nerror,
        p->nwarning);
    for (int i = 0; i < p->nfinding; i++) {
        const Finding *f = &p->finding[i];
        put(o, "%s\n    {\"check\": \"%s\", \"verdict\": \"%s\", \"text\": ", i ? "," : "",
            f->check, grade_name[f->grade]);
        put_json_text(o, f->text, strlen(f->text));
        put(o, "}");
    }
    put(o, "\n  ]},\n");
}
