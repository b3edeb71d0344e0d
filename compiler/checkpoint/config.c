/* config.c: config.json to the keys of a GGUF file.
 *
 * One idea: what is not understood is refused. A graph is known by its class and its activation; a
 * setting that changes its numbers, and that bnc's graphs do not have, is an error, not a default.
 */
#include <math.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "ir/escape.h"

/* Classes of config.json, the activation that tells graphs apart, and GGUF's name. 1bitLLM's files
 * spell their class BitnetForCausalLM, transformers' BitNetForCausalLM; both have sub-norms. */
static const struct {
    const char *class, *act, *arch;
} graphs[] = {
    {"BitNetForCausalLM", "relu2", "bitnet-b1.58"},
    {"BitNetForCausalLM", "silu", "bitnet"},
    {"BitnetForCausalLM", "relu2", "bitnet-b1.58"},
    {"BitnetForCausalLM", "silu", "bitnet"},
    {"LlamaForCausalLM", "silu", "llama"},
    {"Qwen3ForCausalLM", "silu", "qwen3"},
    {"Gemma3ForCausalLM", "gelu_pytorch_tanh", "gemma3"},
    {"MiniCPMForCausalLM", "silu", "minicpm"},
    {"HunYuanDenseV1ForCausalLM", "silu", "hunyuan-dense"},
};
enum { NGRAPH = sizeof graphs / sizeof *graphs };

static const json_t *key(const HfConfig *c, const char *name)
{
    return json_member(c->config, name);
}

static const char *shown(const HfConfig *c, const char *text)
{
    return text ? quote(c->s, text, strlen(text)) : "nothing";
}

/* ---- numbers ---- */

static int whole(const HfConfig *c, const char *name, int64_t absent, int64_t most)
{
    const json_t *v = key(c, name);
    int64_t n = absent;
    if ((v && !json_whole(v, &n)) || n < 1 || n > most)
        fail(c->s, loc_file(c->s, c->config_path),
             "%s is %s; expected a whole number from 1 to %lld", name,
             v ? "something else" : "absent", (long long)most);
    return (int)n;
}

static double number(const HfConfig *c, const json_t *v, const char *name, double absent, double lo,
                     double hi)
{
    double d = json_is_real(v) ? json_real_value(v) : v ? NAN : absent;
    if (!(d >= lo && d <= hi))
        fail(c->s, loc_file(c->s, c->config_path), "%s is not a number from %g to %g", name, lo,
             hi);
    return d;
}

/* ---- the graph ---- */

static void find_graph(HfConfig *c)
{
    const char *class = json_string_or_null(json_array_get(key(c, "architectures"), 0)),
               *act = json_member_text(c->config, "hidden_act");
    act = act ? act : json_member_text(c->config, "hidden_activation");
    for (int i = 0; i < NGRAPH && class && act; i++)
        if (!strcmp(class, graphs[i].class) && !strcmp(act, graphs[i].act))
            c->arch = graphs[i].arch;
    if (!c->arch)
        fail(c->s, loc_file(c->s, c->config_path),
             "architectures is %s and hidden_act %s; bnc converts BitNetForCausalLM (relu2 or "
             "silu), LlamaForCausalLM, Qwen3ForCausalLM, MiniCPMForCausalLM, "
             "HunYuanDenseV1ForCausalLM (silu) and Gemma3ForCausalLM (gelu_pytorch_tanh)",
             shown(c, class), shown(c, act));
}

/* What these graphs do not have, or only with one value. */
static void check_plain(const HfConfig *c)
{
    static const char *const flags[] = {"attention_bias", "mlp_bias", "use_sliding_window",
                                        "use_bidirectional_attention", "use_cla"};
    static const char *const parts[] = {"attn_logit_softcapping", "final_logit_softcapping",
                                        "sparse_config"};
    Loc at = loc_file(c->s, c->config_path);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(key(c, flags[i])))
            fail(c->s, at, "%s is true, which the graph %s does not have", flags[i], c->arch);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (key(c, parts[i]))
            fail(c->s, at, "%s is given, which the graph %s does not have", parts[i], c->arch);
}

/* Which layers see a window: all but each `every`-th. */
static void read_layers(HfConfig *c)
{
    const json_t *types = key(c, "layer_types"), *own = key(c, "sliding_window_pattern");
    bool gemma = !strcmp(c->arch, "gemma3");
    int64_t every = 6, n = (int64_t)json_array_size(types);
    own = own ? own : key(c, "_sliding_window_pattern");
    if (gemma && own && (!json_whole(own, &every) || every < 1 || every > 1 << 16))
        fail(c->s, loc_file(c->s, c->config_path), "sliding_window_pattern is no number of layers");
    for (int64_t i = n; gemma && !own && i-- > 0;) {
        const char *is = json_string_or_null(json_array_get(types, (size_t)i));
        every = is && !strcmp(is, "full_attention") ? i + 1 : every; /* the first of these */
    }
    for (int64_t i = 0; i < n; i++) {
        const char *is = json_string_or_null(json_array_get(types, (size_t)i));
        const char *expected = gemma && (i + 1) % every ? "sliding_attention" : "full_attention";
        if (n != c->layers || !is || strcmp(is, expected))
            fail(c->s, loc_file(c->s, c->config_path),
                 "layer_types: layer %lld is %s, the graph %s has %s there", (long long)i,
                 shown(c, is), c->arch, expected);
    }
    if (!gemma)
        return;
    c->every = (int)every;
    c->window = whole(c, "sliding_window", 4096, 1 << 24);
    double scalar =
        number(c, key(c, "query_pre_attn_scalar"), "query_pre_attn_scalar", 256, 1e-6, 1e6);
    if (scalar != c->head_dim)
        fail(c->s, loc_file(c->s, c->config_path),
             "query_pre_attn_scalar is %g; the graph divides scores by the root of head_dim, %d",
             scalar, c->head_dim);
}

static void read_factors(HfConfig *c)
{
    if (strcmp(c->arch, "minicpm"))
        return;
    c->embedding_scale = number(c, key(c, "scale_emb"), "scale_emb", NAN, 1e-6, 1e6);
    c->residual_scale =
        number(c, key(c, "scale_depth"), "scale_depth", NAN, 1e-6, 1e6) / sqrt(c->layers);
    c->logit_scale =
        c->width / number(c, key(c, "dim_model_base"), "dim_model_base", NAN, 1e-6, 1e9);
}

/* Packed weights are codes times weight_scale for linear_class autobitlinear, and divided by it for
 * bitlinear and where nothing is said (transformers, integrations/bitnet.py). */
static void read_quantization(HfConfig *c)
{
    const json_t *q = key(c, "quantization_config");
    const char *method = json_string_or_null(json_object_get(q, "quant_method")),
               *class = json_string_or_null(json_object_get(q, "linear_class"));
    Loc at = loc_file(c->s, c->config_path);
    if (q && (!method || strcmp(method, "bitnet")))
        fail(c->s, at, "quant_method is %s; bnc converts bitnet", shown(c, method));
    if (class && strcmp(class, "bitlinear") && strcmp(class, "autobitlinear"))
        fail(c->s, at, "linear_class is %s; bnc converts bitlinear and autobitlinear",
             shown(c, class));
    if (json_is_true(json_object_get(q, "use_rms_norm")))
        fail(c->s, at, "use_rms_norm is true: these graphs have no norm inside each projection");
    c->divide = !class || !strcmp(class, "bitlinear");
    c->trained = q || !strncmp(c->arch, "bitnet", 6);
}

HfConfig *hf_config_read(Session *s, const char *dir)
{
    enum { MANY = 1 << 24 };
    HfConfig *c = NEW(s, HfConfig);
    c->s = s;
    c->dir = name(s, dir);
    c->config_path = format(s, "%s/config.json", dir);
    if (!file_exists(c->config_path))
        fail(s, loc_file(s, dir),
             "holds no config.json; a checkpoint folder has config.json, model.safetensors and "
             "tokenizer.json");
    c->config = json_file_required(s, c->config_path);
    find_graph(c);
    c->layers = whole(c, "num_hidden_layers", 0, 1 << 16);
    c->width = whole(c, "hidden_size", 0, MANY);
    c->ffn = whole(c, "intermediate_size", 0, MANY);
    c->heads = whole(c, "num_attention_heads", 0, 1 << 16);
    c->kv_heads = whole(c, "num_key_value_heads", c->heads, 1 << 16);
    c->own_head_dim = key(c, "head_dim") != NULL;
    c->head_dim = whole(c, "head_dim", c->width / c->heads, 1 << 16);
    c->vocab = whole(c, "vocab_size", 0, MANY);
    c->context = whole(c, "max_position_embeddings", 0, MANY);
    if (!c->own_head_dim && c->width % c->heads)
        fail(s, loc_file(s, c->config_path),
             "hidden_size %d is no multiple of num_attention_heads %d, and head_dim is absent",
             c->width, c->heads);
    if (c->heads % c->kv_heads || c->head_dim % 2)
        fail(s, loc_file(s, c->config_path),
             "%d heads of %d values over %d key and value heads: heads must share those evenly, "
             "and their size be even",
             c->heads, c->head_dim, c->kv_heads);
    c->eps = number(c, key(c, "rms_norm_eps"), "rms_norm_eps", NAN, 0, 1);
    c->tied = json_is_true(key(c, "tie_word_embeddings"));
    check_plain(c);
    read_layers(c);
    read_factors(c);
    hf_rope_read(c);
    read_quantization(c);
    return c;
}

/* ---- keys ---- */

void hf_config_put(const HfConfig *c, GgufOut *g, const char *title)
{
    size_t len = strlen(c->dir);
    while (len > 1 && c->dir[len - 1] == '/')
        len--;
    const char *own = file_name(intern(c->s, c->dir, len));
#define KEY(text) format(c->s, "%s." text, c->arch)
    gguf_put_text(g, "general.architecture", c->arch);
    gguf_put_text(g, "general.name", title ? title : *own && *own != '.' ? own : c->arch);
    gguf_put_u32(g, KEY("vocab_size"), (uint32_t)c->vocab);
    gguf_put_u32(g, KEY("context_length"), (uint32_t)c->context);
    gguf_put_u32(g, KEY("embedding_length"), (uint32_t)c->width);
    gguf_put_u32(g, KEY("block_count"), (uint32_t)c->layers);
    gguf_put_u32(g, KEY("feed_forward_length"), (uint32_t)c->ffn);
    gguf_put_u32(g, KEY("rope.dimension_count"), (uint32_t)c->head_dim);
    gguf_put_u32(g, KEY("attention.head_count"), (uint32_t)c->heads);
    gguf_put_u32(g, KEY("attention.head_count_kv"), (uint32_t)c->kv_heads);
    if (c->own_head_dim) {
        gguf_put_u32(g, KEY("attention.key_length"), (uint32_t)c->head_dim);
        gguf_put_u32(g, KEY("attention.value_length"), (uint32_t)c->head_dim);
    }
    gguf_put_f32(g, KEY("attention.layer_norm_rms_epsilon"), (float)c->eps);
    hf_rope_put(c, g);
    if (c->every) {
        gguf_put_u32(g, KEY("attention.sliding_window"), (uint32_t)c->window);
        gguf_put_u32(g, KEY("attention.sliding_window_pattern"), (uint32_t)c->every);
    }
    if (c->embedding_scale != 0) {
        gguf_put_f32(g, KEY("embedding_scale"), (float)c->embedding_scale);
        gguf_put_f32(g, KEY("residual_scale"), (float)c->residual_scale);
        gguf_put_f32(g, KEY("logit_scale"), (float)c->logit_scale);
    }
#undef KEY
}
