/* rope.c: how a file stretches RoPE, as the frequencies of its rope_tables.
 *
 * One idea: whatever the scaling, it comes to one frequency a pair of values and one factor on cosines
 * and sines, which are constants of the model. A rope_table whose graph says {scaling = file} gets
 * them from the file; where the file asks for nothing it keeps its base.
 *
 *   freqs[j] = base^(-2j/dim) / f[j]             f: the tensor rope_freqs.weight, where it is there
 *   linear     / factor
 *   yarn       between freqs[j] and freqs[j] / factor, by how often a pair turns in the original
 *              context; magnitude times 0.1 ln factor + 1
 *   longrope   f is rope_factors_short.weight, or, where the model is compiled for more positions
 *              than the original context has, rope_factors_long.weight
 *
 * Keys and tensors are those that llama.cpp's converters write; YaRN's bounds and longrope's
 * magnitude are as transformers computes them (modeling_rope_utils.py). */
#include <math.h>
#include <string.h>

#include "frontend/bind.h"
#include "ir/escape.h"

typedef enum Scaling { PLAIN, LINEAR, YARN, LONGROPE } Scaling;
typedef struct Rope { /* what the file says */
    Scaling type;
    double factor, magnitude, original, fast, slow;
    const Tensor *divisor; /* [dim / 2]; NULL: none */
} Rope;

/* The keys behind "{arch}." that a rope_table with {scaling = file} computes. */
static const char *const computed[] = {
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
};

static void find_scaled(Op *op, void *arg)
{
    bool *scaled = arg;
    *scaled |= op->code == OP_ROPE_TABLE && attr_find(op, "scaling");
}

static bool is_scaled(const Module *m)
{
    bool scaled = false;
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, find_scaled, &scaled);
    return scaled;
}

bool bind_rope_key(const Bind *b, const char *suffix)
{
    for (size_t i = 0; i < sizeof computed / sizeof *computed; i++)
        if (!strcmp(computed[i], suffix))
            return is_scaled(b->m);
    return false;
}

/* ---- what the file says ---- */

static const char *key_of(const Bind *b, const char *suffix)
{
    return format(b->s, "%s.%s", b->arch, suffix);
}

static double number_of(Bind *b, const char *suffix, double absent, double lo, double hi)
{
    const char *key = key_of(b, suffix);
    double f = absent;
    int64_t i;
    if (gguf_int(b->g, key, &i))
        f = (double)i;
    else if (!gguf_float(b->g, key, &f) && gguf_get(b->g, key))
        fail(b->s, b->file, "%s is not a number", quote(b->s, key, strlen(key)));
    if (!(f >= lo && f <= hi))
        fail(b->s, b->file, "%s is %g; expected a number from %g to %g",
             quote(b->s, key, strlen(key)), f, lo, hi);
    return f;
}

/* A factor without a type is linear, and 0 says nothing, as llama.cpp has it. */
static Scaling type_of(Bind *b, double factor)
{
    static const char *const names[] = {"none", "linear", "yarn", "longrope"};
    const char *key = key_of(b, "rope.scaling.type"), *text;
    size_t len;
    if (!gguf_get(b->g, key))
        return factor != 1 ? LINEAR : PLAIN;
    if (!gguf_string(b->g, key, &text, &len))
        fail(b->s, b->file, "%s is not a text", quote(b->s, key, strlen(key)));
    for (Scaling t = PLAIN; t <= LONGROPE; t++)
        if (len == strlen(names[t]) && !memcmp(text, names[t], len))
            return t;
    fail(b->s, b->file,
         "%s is %s; bnc computes none, linear, yarn and longrope, and the tensor rope_freqs.weight",
         quote(b->s, key, strlen(key)), quote(b->s, text, len < 60 ? len : 60));
}

/* A tensor of the file, which is taken; NULL: it is not there. */
static const Tensor *tensor_of(Bind *b, const char *name)
{
    const Tensor *t = gguf_tensor_find(b->g, name);
    if (!t)
        return NULL;
    b->used[gguf_tensor_info(t) - b->g->tensor] = true;
    if (t->fmt == FMT_COUNT || fmt_info[t->fmt].kind != KIND_FLOAT || t->rows != 1)
        fail(b->s, b->file, "tensor %s is no vector of floats", t->name);
    return t;
}

/* Both lists are taken; which of them holds is settled by what the model is compiled for. */
static void read_longrope(Bind *b, Rope *r)
{
    const Tensor *few = tensor_of(b, "rope_factors_short.weight"),
                 *many = tensor_of(b, "rope_factors_long.weight");
    double trained = number_of(b, "context_length", 0, 0, INT32_MAX);
    if (!few || !many)
        fail(b->s, b->file, "%s is longrope, but there is no tensor %s",
             key_of(b, "rope.scaling.type"),
             few ? "rope_factors_long.weight" : "rope_factors_short.weight");
    r->original = r->original ? r->original : trained;
    r->divisor = b->m->context > r->original ? many : few;
    if (few->size != many->size || memcmp(few->data, many->data, few->size))
        note(b->s,
             "RoPE has factors for up to %.0f positions and others for more; compiled for %d it "
             "takes the %s ones at every length (--ctx)",
             r->original, b->m->context, r->divisor == many ? "long" : "short");
    if (r->factor != 1)
        fail(b->s, b->file, "%s is %g beside longrope, whose factors stand in tensors",
             key_of(b, "rope.scaling.factor"), r->factor);
    bool told = gguf_get(b->g, key_of(b, "rope.scaling.attn_factor"));
    if (!told && r->original > 1 && trained > r->original)
        r->magnitude = sqrt(1 + log(trained / r->original) / log(r->original));
}

static Rope read_rope(Bind *b)
{
    const double most = 1e6;
    Rope r = {.magnitude = 1};
    const char *name = gguf_get(b->g, key_of(b, "rope.scaling.factor")) ? "rope.scaling.factor"
                                                                        : "rope.scale_linear";
    r.factor = number_of(b, name, 1, 0, most);
    r.factor = r.factor == 0 ? 1 : r.factor;
    r.type = type_of(b, r.factor);
    r.magnitude = number_of(b, "rope.scaling.attn_factor", 1, 0, most);
    r.magnitude = r.magnitude == 0 ? 1 : r.magnitude;
    r.original = number_of(b, "rope.scaling.original_context_length", 0, 0, INT32_MAX);
    r.fast = number_of(b, "rope.scaling.yarn_beta_fast", 32, 1e-3, most);
    r.slow = number_of(b, "rope.scaling.yarn_beta_slow", 1, 1e-3, most);
    if (r.type == LONGROPE)
        read_longrope(b, &r);
    else
        r.divisor = tensor_of(b, "rope_freqs.weight");
    if (r.type == PLAIN)
        r.factor = 1;
    if (r.type == YARN && (r.factor < 1 || !r.original))
        fail(b->s, b->file,
             "%s is yarn: it needs a factor of 1 or more and "
             "rope.scaling.original_context_length",
             key_of(b, "rope.scaling.type"));
    if (r.type == YARN)
        r.magnitude *= 0.1 * log(r.factor) + 1;
    return r;
}

/* ---- frequencies ---- */

/* The pair, a fraction, that turns `turns` times in the original context. */
static double pair_of(const Rope *r, double turns, double base, double dim)
{
    return dim * log(r->original / (turns * 2 * acos(-1))) / (2 * log(base));
}

/* How far each pair's frequency is divided: 0 not at all, 1 by the whole factor. */
static double divided(const Rope *r, int64_t j, double base, int64_t dim)
{
    if (r->type != YARN)
        return 1;
    double low = fmax(floor(pair_of(r, r->fast, base, (double)dim)), 0),
           high = fmin(ceil(pair_of(r, r->slow, base, (double)dim)), (double)dim - 1);
    double ramp = ((double)j - low) / (low == high ? 0.001 : high - low);
    return fmin(fmax(ramp, 0), 1);
}

static const double *freqs_of(Bind *b, const Rope *r, double base, int64_t dim)
{
    int64_t n = dim / 2;
    double *freq = NEW_ARRAY(b->s, double, n);
    float *by = NEW_ARRAY(b->s, float, n);
    if (r->divisor && r->divisor->cols != n)
        fail(b->s, b->file, "tensor %s has %lld values; RoPE turns %lld pairs", r->divisor->name,
             (long long)r->divisor->cols, (long long)n);
    if (r->divisor)
        tensor_floats(r->divisor, 0, n, by);
    for (int64_t j = 0; j < n; j++) {
        double f = pow(base, -2.0 * (double)j / (double)dim) / (r->divisor ? (double)by[j] : 1),
               part = divided(r, j, base, dim);
        freq[j] = f / r->factor * part + f * (1 - part);
        if (!positive_float(freq[j]))
            fail(b->s, b->file, "RoPE would turn pair %lld by %g radians a position", (long long)j,
                 freq[j]);
    }
    return freq;
}

typedef struct Scale {
    Bind *b;
    Rope rope;
} Scale;

static void scale_table(Op *op, void *arg)
{
    const Scale *x = arg;
    const Rope *r = &x->rope;
    if (op->code != OP_ROPE_TABLE || !attr_find(op, "scaling"))
        return;
    attr_drop(op, "scaling");
    double base = attr_float(op, "base", 0);
    int64_t dim = attr_int(op, "dim", 0);
    if (dim < 2 || dim % 2 || dim > 65536 || !positive_float(base))
        return; /* infer says so */
    if (r->type == YARN && base <= 1)
        fail(x->b->s, x->b->file, "RoPE has the base %g; YaRN needs one above 1", base);
    if (r->factor != 1 || r->divisor) {
        attr_set_list(op, "freqs", freqs_of(x->b, r, base, dim), dim / 2);
        attr_drop(op, "base");
    }
    if ((float)r->magnitude != 1)
        attr_set_float(op, "magnitude", (float)r->magnitude);
}

void bind_rope(Bind *b)
{
    if (!is_scaled(b->m))
        return;
    Scale x = {b, read_rope(b)};
    if (!positive_float(x.rope.magnitude))
        fail(b->s, b->file, "RoPE would have the magnitude %g", x.rope.magnitude);
    for (Func *f = b->m->funcs; f; f = f->next)
        walk(f->body, scale_table, &x);
}
