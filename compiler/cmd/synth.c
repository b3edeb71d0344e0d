/* synth.c: `bnc synth`: a model file of a published shape with random weights, to measure with
 * where the real weights cannot be had.
 *
 * One idea: a tensor's numbers follow from the seed and the tensor's name alone. So files of one
 * seed hold the same weights whatever their type and number of layers, and they are made and
 * written in small pieces, one after another.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cmd/cmd.h"
#include "checkpoint/gguf_out.h"

enum Head { TIED, OWN };
typedef struct Shape {
    const char *name, *arch;
    int layers, width, ffn, heads, kv_heads, head_dim, vocab, context;
    float base, eps;
    enum Head head;
    const char *what;
} Shape;
static const Shape shapes[] = {
#define SHAPE(...) {__VA_ARGS__},
#include "driver/shapes.def"
#undef SHAPE
};
enum { NSHAPE = sizeof shapes / sizeof *shapes };

typedef struct Synth {
    Session *s;
    Shape shape; /* with the layers, the context and the vocabulary asked for */
    uint64_t seed;
    int zeros; /* percent */
    Fmt fmt;
    GgufOut *g;
    bool declare; /* the first of two walks over the tensors */
} Synth;

/* ---- random numbers ---- */

typedef struct Random {
    uint64_t x;
} Random;

static uint64_t draw(Random *r) /* splitmix64 */
{
    uint64_t z = r->x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float draw_between(Random *r, float lo, float hi)
{
    return lo + (hi - lo) * (float)(draw(r) >> 40) * 0x1p-24f;
}

static Random random_of(const Synth *y, const char *tensor)
{
    return (Random){XXH64(tensor, strlen(tensor), y->seed)};
}

/* ---- tensors ---- */

enum { PIECE = 1 << 16, NORMALS = 4096 };

static void norm_data(Synth *y, const char *tensor, int64_t n)
{
    Random r = random_of(y, tensor);
    for (int64_t i = 0; i < n; i++) {
        float gain = draw_between(&r, 0.9f, 1.1f);
        gguf_data(y->g, &gain, sizeof gain);
    }
}

/* About normal with deviation 1/sqrt(cols): sums of twelve uniforms, in whole numbers so that every
 * machine gets the same, from a table because there are hundreds of millions. */
static void embedding_data(Synth *y, const char *tensor, int64_t rows, int64_t cols)
{
    static uint16_t table[NORMALS], piece[PIECE];
    Random r = random_of(y, tensor);
    double deviation = 1 / sqrt((double)cols);
    for (int i = 0; i < NORMALS; i++) {
        int64_t sum = -6 * 65535;
        for (int k = 0; k < 12; k++)
            sum += (int64_t)(draw(&r) & 0xffff);
        table[i] = float_to_f16((float)((double)sum / 65536 * deviation));
    }
    for (int64_t left = rows * cols; left > 0; left -= PIECE) {
        int64_t n = left < PIECE ? left : PIECE;
        for (int64_t i = 0; i < n;) {
            uint64_t bits = draw(&r);
            for (int k = 0; k < 4 && i < n; k++, bits >>= 16)
                piece[i++] = table[bits % NORMALS];
        }
        gguf_data(y->g, piece, (size_t)n * sizeof *piece);
    }
}

/* Codes of which about y->zeros percent are 0: a byte of chance each. */
static void draw_codes(const Synth *y, Random *r, int64_t n, int8_t *out)
{
    static uint8_t bytes[PIECE];
    int zeros = (y->zeros * 256 + 50) / 100, lo = (256 - zeros) / 2, hi = lo + zeros;
    for (int64_t i = 0; i < n; i += 8) {
        uint64_t bits = draw(r);
        memcpy(bytes + i, &bits, 8);
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = (int8_t)((bytes[i] >= hi) - (bytes[i] < lo));
}

/* Codes in blocks with scales of their own, from a stream of random numbers of their own: the codes are
 * those of the other types. */
static size_t blocks_data(Synth *y, Random *r, const int8_t *codes, int64_t n, float scale,
                          uint8_t *out)
{
    int64_t each = fmt_info[y->fmt].elems;
    size_t size = 0;
    for (int64_t at = 0; at < n; at += each)
        size += codes_encode(y->fmt, codes + at, each, scale * draw_between(r, 0.75f, 1.25f),
                             out + size);
    return size;
}

/* The scale keeps the spread of what passes through a matrix near 1, and is exact in f16, so that
 * every type of file holds it. */
static void ternary_data(Synth *y, const char *tensor, int64_t rows, int64_t cols)
{
    static int8_t codes[PIECE];
    static uint8_t piece[2 * PIECE];
    Random r = random_of(y, tensor), scales = random_of(y, format(y->s, "%s scales", tensor));
    bool blocks = y->fmt == FMT_Q2_0 || y->fmt == FMT_PQ2_0;
    float spread = (float)(1 / sqrt((double)cols * (100 - y->zeros) / 100));
    float scale = f16_to_float(float_to_f16(spread * draw_between(&r, 0.75f, 1.25f)));
    for (int64_t left = rows * cols; left > 0; left -= PIECE) {
        int64_t n = left < PIECE ? left : PIECE;
        draw_codes(y, &r, n, codes);
        gguf_data(y->g, piece,
                  blocks ? blocks_data(y, &scales, codes, n, scale, piece)
                         : codes_encode(y->fmt, codes, n, scale, piece));
    }
    size_t tail = codes_tail(y->fmt, scale, piece);
    if (tail)
        gguf_data(y->g, piece, tail);
}

typedef enum Role { NORM, EMBEDDING, TERNARY } Role;

static void tensor(Synth *y, Role role, const char *tensor_name, int64_t rows, int64_t cols)
{
    static const Fmt fixed[] = {[NORM] = FMT_F32, [EMBEDDING] = FMT_F16};
    if (y->declare)
        gguf_put_tensor(y->g, tensor_name, role == TERNARY ? y->fmt : fixed[role], rows, cols);
    else if (role == NORM)
        norm_data(y, tensor_name, cols);
    else if (role == EMBEDDING)
        embedding_data(y, tensor_name, rows, cols);
    else
        ternary_data(y, tensor_name, rows, cols);
}

static bool is_arch(const Shape *p, const char *arch)
{
    return !strcmp(p->arch, arch);
}

static void layer(Synth *y, int i)
{
    const Shape *p = &y->shape;
    int q = p->heads * p->head_dim, k = p->kv_heads * p->head_dim;
    bool gemma = is_arch(p, "gemma3"), gains = gemma || is_arch(p, "qwen3");
    bool subs = !gains && !is_arch(p, "llama");
    const struct {
        Role role;
        const char *name;
        int rows, cols;
        bool there;
    } list[] = {
        {NORM, "attn_norm", 1, p->width, true},
        {NORM, "attn_q_norm_in", 1, p->width, gains},
        {NORM, "attn_k_norm_in", 1, p->width, gains},
        {NORM, "attn_v_norm_in", 1, p->width, gains},
        {NORM, "attn_q_norm", 1, p->head_dim, gains},
        {NORM, "attn_k_norm", 1, p->head_dim, gains},
        {NORM, "attn_output_norm_in", 1, q, gains},
        {NORM, "post_attention_norm", 1, p->width, gemma},
        {NORM, "ffn_gate_norm_in", 1, p->width, gains},
        {NORM, "ffn_up_norm_in", 1, p->width, gains},
        {NORM, "ffn_down_norm_in", 1, p->ffn, gains},
        {NORM, "post_ffw_norm", 1, p->width, gemma},
        {TERNARY, "attn_q", q, p->width, true},
        {TERNARY, "attn_k", k, p->width, true},
        {TERNARY, "attn_v", k, p->width, true},
        {NORM, "attn_sub_norm", 1, q, subs},
        {TERNARY, "attn_output", p->width, q, true},
        {NORM, "ffn_norm", 1, p->width, true},
        {TERNARY, "ffn_gate", p->ffn, p->width, true},
        {TERNARY, "ffn_up", p->ffn, p->width, true},
        {NORM, "ffn_sub_norm", 1, p->ffn, subs},
        {TERNARY, "ffn_down", p->width, p->ffn, true},
    };
    for (size_t j = 0; j < sizeof list / sizeof *list; j++)
        if (list[j].there)
            tensor(y, list[j].role, format(y->s, "blk.%d.%s.weight", i, list[j].name), list[j].rows,
                   list[j].cols);
}

/* Every tensor: declared on the first walk, written on the second. */
static void walk_tensors(Synth *y, bool declare)
{
    const Shape *p = &y->shape;
    y->declare = declare;
    tensor(y, EMBEDDING, "token_embd.weight", p->vocab, p->width);
    for (int i = 0; i < p->layers; i++)
        layer(y, i);
    tensor(y, NORM, "output_norm.weight", 1, p->width);
    if (p->head == OWN)
        tensor(y, EMBEDDING, "output.weight", p->vocab, p->width);
}

/* ---- metadata ---- */

static void model_keys(Synth *y)
{
    const Shape *p = &y->shape;
    GgufOut *g = y->g;
#define KEY(text) format(y->s, "%s." text, p->arch)
    gguf_put_text(g, "general.architecture", p->arch);
    gguf_put_text(g, "general.name", format(y->s, "synth-%s", p->name));
    gguf_put_u32(g, KEY("vocab_size"), (uint32_t)p->vocab);
    gguf_put_u32(g, KEY("context_length"), (uint32_t)p->context);
    gguf_put_u32(g, KEY("embedding_length"), (uint32_t)p->width);
    gguf_put_u32(g, KEY("block_count"), (uint32_t)p->layers);
    gguf_put_u32(g, KEY("feed_forward_length"), (uint32_t)p->ffn);
    gguf_put_u32(g, KEY("rope.dimension_count"), (uint32_t)p->head_dim);
    gguf_put_u32(g, KEY("attention.head_count"), (uint32_t)p->heads);
    gguf_put_u32(g, KEY("attention.head_count_kv"), (uint32_t)p->kv_heads);
    gguf_put_u32(g, KEY("attention.key_length"), (uint32_t)p->head_dim);
    gguf_put_u32(g, KEY("attention.value_length"), (uint32_t)p->head_dim);
    gguf_put_f32(g, KEY("attention.layer_norm_rms_epsilon"), p->eps);
    gguf_put_f32(g, KEY("rope.freq_base"), p->base);
    if (is_arch(p, "gemma3"))
        gguf_put_u32(g, KEY("attention.sliding_window"), 512);
    if (is_arch(p, "gemma3") || is_arch(p, "qwen3"))
        gguf_put_u32(g, KEY("pooling_type"), 3); /* the last token's */
#undef KEY
    if (gguf_file_type(y->fmt) >= 0)
        gguf_put_u32(g, "general.file_type", (uint32_t)gguf_file_type(y->fmt));
    gguf_put_u32(g, "general.quantization_version", 2);
}

/* ---- a tokenizer of exactly `vocab` tokens ----
 *
 *     0..255                 the bytes, in the alphabet of GPT-2
 *     256..335               80 syllables, each merged from its two letters
 *     336..vocab-3           words: a space and three syllables
 *     vocab-2, vocab-1       begin and end, control tokens
 */
enum {
    BYTES = 256,
    VOWELS = 5,
    SYLLABLES = 80,
    WORDS_AT = BYTES + SYLLABLES,
    FEWEST_WORDS = WORDS_AT + 2,
    MOST_WORDS = FEWEST_WORDS + SYLLABLES * SYLLABLES * SYLLABLES
};
static const char consonants[] = "bdfghjklmnprstvz", vowels[] = "aeiou";

/* GPT-2 writes printable bytes as themselves and the others as U+0100 onwards. */
static const char *byte_token(Session *s, int byte, int *others)
{
    bool plain = (byte > 32 && byte < 127) || (byte >= 161 && byte != 173);
    int code = plain ? byte : 256 + (*others)++;
    return code < 128 ? format(s, "%c", code)
                      : format(s, "%c%c", 0xc0 | code >> 6, 0x80 | (code & 0x3f));
}

static const char *syllable(Session *s, int i)
{
    return format(s, "%c%c", consonants[i / VOWELS], vowels[i % VOWELS]);
}

static const char *word(Session *s, int i)
{
    int a = i / SYLLABLES / SYLLABLES % SYLLABLES, b = i / SYLLABLES % SYLLABLES, c = i % SYLLABLES;
    return format(s, "\u0120%s%s%s", syllable(s, a), syllable(s, b), syllable(s, c));
}

static void tokenizer_keys(Synth *y)
{
    int vocab = y->shape.vocab, others = 0;
    GgufOut *g = y->g;
    int32_t *type = NEW_ARRAY(y->s, int32_t, vocab);
    gguf_put_text(g, "tokenizer.ggml.model", "gpt2");
    gguf_put_text(g, "tokenizer.ggml.pre", "llama-bpe");
    gguf_put_texts(g, "tokenizer.ggml.tokens", vocab);
    for (int i = 0; i < vocab; i++) {
        type[i] = i < vocab - 2 ? 1 : 3;
        gguf_put_item(g, i < BYTES       ? byte_token(y->s, i, &others)
                         : i < WORDS_AT  ? syllable(y->s, i - BYTES)
                         : i < vocab - 2 ? word(y->s, i - WORDS_AT)
                                         : (i < vocab - 1 ? "<|begin|>" : "<|end|>"));
    }
    gguf_put_i32s(g, "tokenizer.ggml.token_type", type, vocab);
    gguf_put_texts(g, "tokenizer.ggml.merges", SYLLABLES);
    for (int i = 0; i < SYLLABLES; i++)
        gguf_put_item(g, format(y->s, "%c %c", consonants[i / VOWELS], vowels[i % VOWELS]));
    gguf_put_u32(g, "tokenizer.ggml.bos_token_id", (uint32_t)vocab - 2);
    gguf_put_u32(g, "tokenizer.ggml.eos_token_id", (uint32_t)vocab - 1);
    gguf_put_bool(g, "tokenizer.ggml.add_bos_token", true);
}

/* ---- the command ---- */

void help_shapes(FILE *to)
{
    fputs("  shape        graph         layers  width    ffn  heads   vocab\n", to);
    for (int i = 0; i < NSHAPE; i++) {
        const Shape *p = &shapes[i];
        fprintf(to, "  %-12s %-12s %7d %6d %6d %3d/%-2d %7d  %s\n", p->name, p->arch, p->layers,
                p->width, p->ffn, p->heads, p->kv_heads, p->vocab, p->what);
    }
}

static Shape shape_of(const Options *o)
{
    int i = 0;
    while (strcmp(o->shape, shapes[i].name))
        i++;
    Shape shape = shapes[i];
    shape.layers = o->layers ? (int)o->layers : shape.layers;
    shape.context = o->positions ? (int)o->positions : shape.context;
    shape.vocab = o->vocab ? (int)o->vocab : shape.vocab;
    CHECK(shape.vocab >= FEWEST_WORDS && shape.vocab <= MOST_WORDS); /* options.def */
    return shape;
}

int cmd_synth(Session *s, const Options *o)
{
    Synth *y = NEW(s, Synth);
    if (!o->shape)
        fail(s, (Loc){0}, "no shape given: bnc synth --shape=2b4t -o 2b4t.gguf (`bnc help synth`)");
    *y = (Synth){.s = s,
                 .shape = shape_of(o),
                 .seed = o->seed,
                 .zeros = (int)o->zeros,
                 .fmt = fmt_by_name(o->type)};
    y->g = gguf_create(s, o->output);
    model_keys(y);
    tokenizer_keys(y);
    walk_tensors(y, true);
    note(s, "writing %s: %s, %d layers, %.1f MB of weights", o->output, y->shape.what,
         y->shape.layers, (double)gguf_bytes(y->g) / 1e6);
    gguf_begin(y->g);
    walk_tensors(y, false);
    gguf_end(y->g);
    return 0;
}
