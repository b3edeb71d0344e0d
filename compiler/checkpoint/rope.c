/* rope.c: the rotary settings of config.json to keys and tensors of a GGUF file.
 *
 * One idea: linear, YaRN and longrope have keys of their own, which GGUF's readers know; what has none
 * (llama3, YaRN without whole bounds) becomes the tensor rope_freqs.weight, by which they divide each
 * frequency, and HunYuan's dynamic a larger base, as llama.cpp's converter writes it. The formulas are
 * those of transformers (modeling_rope_utils.py); the spelling is either version's: rope_theta with
 * rope_scaling, or rope_parameters, there for gemma3 one object for each kind of layer.
 */
#include <math.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "ir/escape.h"

static Loc place(const HfConfig *c)
{
    return loc_file(c->s, c->config_path);
}

/* A number above 0 of the settings; fail() where it is none, or where it is needed (absent NAN). */
static double setting_in(const HfConfig *c, const json_t *object, const char *name, double absent)
{
    const json_t *v = json_member(object, name);
    double d = v ? (json_is_real(v) ? json_real_value(v) : NAN) : absent;
    if (!(d > 0 && d <= 1e12))
        fail(c->s, place(c), "%s is %s; expected a number above 0, at most 1e12", name,
             v ? "something else" : "absent");
    return d;
}

static double setting(const HfConfig *c, const char *name, double absent)
{
    return setting_in(c, c->rope.settings, name, absent);
}

/* ---- what transformers computes ---- */

static void take_linear(HfConfig *c)
{
    c->rope.type = "linear";
    c->rope.factor = setting(c, "factor", NAN);
}

static double *divisors_new(HfConfig *c)
{
    return c->rope.divisor = NEW_ARRAY(c->s, double, c->head_dim / 2);
}

/* Slow pairs turn `factor` times more slowly, fast ones as before, between the two bounds a mixture. */
static void take_llama3(HfConfig *c)
{
    double factor = setting(c, "factor", NAN), low = setting(c, "low_freq_factor", NAN),
           high = setting(c, "high_freq_factor", NAN),
           old = setting(c, "original_max_position_embeddings", NAN), *by = divisors_new(c);
    if (!(low < high))
        fail(c->s, place(c), "rope_scaling: low_freq_factor %g is not below high_freq_factor %g",
             low, high);
    for (int j = 0; j < c->head_dim / 2; j++) {
        double turns = old * pow(c->base, -2.0 * j / c->head_dim) / (2 * acos(-1)),
               part = fmin(fmax((turns - low) / (high - low), 0), 1);
        by[j] = 1 / (part + (1 - part) / factor);
    }
}

static double magnitude_for(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

/* What cosines and sines are multiplied by. */
static double yarn_magnitude(const HfConfig *c, double factor)
{
    const json_t *all = json_member(c->rope.settings, "mscale_all_dim"),
                 *own = json_member(c->rope.settings, "mscale");
    bool both = json_real_value(all) != 0 && json_real_value(own) != 0;
    if (json_member(c->rope.settings, "attention_factor"))
        return setting(c, "attention_factor", NAN);
    return both ? magnitude_for(factor, setting(c, "mscale", NAN)) /
                      magnitude_for(factor, setting(c, "mscale_all_dim", NAN))
                : magnitude_for(factor, 1);
}

static double pair_of(const HfConfig *c, double turns)
{
    const HfRope *r = &c->rope;
    return c->head_dim * log(r->original / (turns * 2 * acos(-1))) / (2 * log(c->base));
}

static void take_yarn(HfConfig *c)
{
    HfRope *r = &c->rope;
    bool told = json_member(r->settings, "original_max_position_embeddings");
    r->original = setting(c, "original_max_position_embeddings", c->context);
    r->factor = setting(c, "factor", told ? c->context / r->original : NAN);
    r->fast = setting(c, "beta_fast", 32);
    r->slow = setting(c, "beta_slow", 1);
    r->magnitude = yarn_magnitude(c, r->factor);
    if (r->factor < 1 || c->base <= 1)
        fail(c->s, place(c), "rope_scaling: yarn with the factor %g over the base %g", r->factor,
             c->base);
    r->type = "yarn";
    if (!json_is_false(json_member(r->settings, "truncate"))) {
        r->magnitude /= magnitude_for(r->factor, 1); /* by which readers multiply it */
        return;
    }
    double low = fmax(pair_of(c, r->fast), 0), high = fmin(pair_of(c, r->slow), c->head_dim - 1),
           *by = divisors_new(c);
    for (int j = 0; j < c->head_dim / 2; j++) {
        double slow = fmin(fmax((j - low) / (low == high ? 0.001 : high - low), 0), 1);
        by[j] = 1 / (1 - slow + slow / r->factor);
    }
    r->type = "none";
    r->factor = 1;
}

static const double *factors(const HfConfig *c, const char *name)
{
    const json_t *list = json_member(c->rope.settings, name);
    double *v = NEW_ARRAY(c->s, double, c->head_dim / 2);
    if (json_array_size(list) != (size_t)c->head_dim / 2)
        fail(c->s, place(c), "rope_scaling: %s is no list of %d numbers, one a pair of values",
             name, c->head_dim / 2);
    for (int j = 0; j < c->head_dim / 2; j++) {
        const json_t *one = json_array_get(list, (size_t)j);
        v[j] = json_is_real(one) ? json_real_value(one) : NAN;
        if (!(v[j] > 0 && v[j] <= 1e12))
            fail(c->s, place(c), "rope_scaling: entry %d of %s is not a number above 0", j, name);
    }
    return v;
}

static void take_longrope(HfConfig *c)
{
    HfRope *r = &c->rope;
    const json_t *own = json_member(c->config, "original_max_position_embeddings");
    double old = json_is_real(own) ? json_real_value(own) : c->context;
    r->type = "longrope";
    r->original = setting(c, "original_max_position_embeddings", old);
    r->few = factors(c, "short_factor");
    r->many = factors(c, "long_factor");
    double factor = setting(c, "factor", c->context / r->original);
    if (json_member(r->settings, "attention_factor"))
        r->magnitude = setting(c, "attention_factor", NAN);
    else if (factor > 1)
        r->magnitude = sqrt(1 + log(factor) / log(r->original));
}

/* HunYuan's: a larger base at every length. Others' dynamic depends on the length. */
static void take_dynamic(HfConfig *c)
{
    if (strcmp(c->arch, "hunyuan-dense") || !json_member(c->rope.settings, "alpha"))
        fail(c->s, place(c),
             "rope_scaling is dynamic: frequencies would change with the length of a text, which "
             "a compiled model's do not");
    c->base *= pow(setting(c, "alpha", NAN), c->head_dim / (c->head_dim - 2.0));
}

/* ---- reading ---- */

static void take_settings(HfConfig *c)
{
    static const struct {
        const char *name;
        void (*take)(HfConfig *c);
    } kinds[] = {{"linear", take_linear},     {"llama3", take_llama3}, {"yarn", take_yarn},
                 {"longrope", take_longrope}, {"su", take_longrope},   {"dynamic", take_dynamic}};
    HfRope *r = &c->rope;
    const char *kind =
        json_member_text(r->settings, json_member(r->settings, "rope_type") ? "rope_type" : "type");
    double part = setting(c, "partial_rotary_factor", 1);
    const json_t *own = json_member(c->config, "partial_rotary_factor");
    if (part != 1 || (own && !(json_is_real(own) && json_real_value(own) == 1)))
        fail(c->s, place(c),
             "partial_rotary_factor is not 1: a part of each head would turn, which these graphs "
             "do not have");
    if (!kind || !strcmp(kind, "default"))
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i].name)) {
            kinds[i].take(c);
            return;
        }
    fail(c->s, place(c),
         "rope_scaling is of type %s; bnc converts linear, yarn, llama3, longrope and HunYuan's "
         "dynamic",
         quote(c->s, kind, strlen(kind)));
}

void hf_rope_read(HfConfig *c)
{
    HfRope *r = &c->rope;
    const json_t *now = json_member(c->config, "rope_parameters"),
                 *near = json_member(now, "sliding_attention"),
                 *far = json_member(now, "full_attention");
    bool gemma = !strcmp(c->arch, "gemma3");
    double absent = gemma ? 1e6 : strcmp(c->arch, "bitnet-b1.58") ? 1e4 : 5e5; /* of the classes */
    now = far ? far : now;
    r->type = "none";
    r->factor = r->magnitude = 1;
    c->base = setting_in(c, now ? now : c->config, "rope_theta", absent);
    if (gemma)
        c->near_base = near ? setting_in(c, near, "rope_theta", 1e4)
                            : setting_in(c, c->config, "rope_local_base_freq", 1e4);
    const char *kind = json_member_text(near, "rope_type");
    if (kind && strcmp(kind, "default"))
        fail(c->s, place(c), "rope_parameters scale the layers with a window, too (%s)",
             quote(c->s, kind, strlen(kind)));
    r->settings =
        json_member(c->config, "rope_scaling") ? json_member(c->config, "rope_scaling") : now;
    if (r->settings && !json_is_object(r->settings))
        fail(c->s, place(c), "rope_scaling is no object");
    take_settings(c);
}

/* ---- keys ---- */

void hf_rope_put(const HfConfig *c, GgufOut *g)
{
    const HfRope *r = &c->rope;
    bool yarn = !strcmp(r->type, "yarn");
#define KEY(text) format(c->s, "%s.rope." text, c->arch)
    gguf_put_f32(g, KEY("freq_base"), (float)c->base);
    if (c->near_base != 0)
        gguf_put_f32(g, KEY("freq_base_swa"), (float)c->near_base);
    if (strcmp(r->type, "none"))
        gguf_put_text(g, KEY("scaling.type"), r->type);
    if (r->factor != 1)
        gguf_put_f32(g, KEY("scaling.factor"), (float)r->factor);
    if (r->magnitude != 1 || r->few)
        gguf_put_f32(g, KEY("scaling.attn_factor"), (float)r->magnitude);
    if (yarn || r->few)
        gguf_put_u32(g, KEY("scaling.original_context_length"), (uint32_t)r->original);
    if (yarn && r->fast != 32)
        gguf_put_f32(g, KEY("scaling.yarn_beta_fast"), (float)r->fast);
    if (yarn && r->slow != 1)
        gguf_put_f32(g, KEY("scaling.yarn_beta_slow"), (float)r->slow);
#undef KEY
}
