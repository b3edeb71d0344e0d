/* retype.c: model files for tests/run_formats.sh, made of other ones.
 *
 *     retype IN OUT TYPE PART ...   matrices whose names hold a PART become random blocks of TYPE
 *     retype --floats IN OUT        all matrices in f32, the same values
 *     retype --factors IN OUT       beside the I2_S tensor NAME.weight a factor NAME.scale, and its
 *                                   own scale divided by that: the same model to rounding
 *     retype --split N IN NAME [M]  IN as NAME-00001-of-0000N.gguf ..., the way gguf-split does;
 *                                   with M each part repeats a tensor of the last, and promises M
 *
 * One idea: no encoder is needed to prove that a type is read right where it is used. Random bytes
 * are a valid block of every type once its scales are sane, and tensor_floats, which tests/unit
 * compares with an independent decoder, says what they mean.
 */
#include "checkpoint/gguf_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 7;
static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Where a block has its f16 scale, and its minimum (-1: none) as so many scales. */
static const struct {
    Fmt fmt;
    int scale, min;
    float ratio;
} fields[] = {
    {FMT_Q4_0, 0, -1, 0},     {FMT_Q4_1, 0, 2, -7.5f}, {FMT_Q5_0, 0, -1, 0},
    {FMT_Q5_1, 0, 2, -15.5f}, {FMT_Q8_0, 0, -1, 0},    {FMT_Q2_K, 80, 82, 1.5f},
    {FMT_Q3_K, 108, -1, 0},   {FMT_Q4_K, 0, 2, 7.5f},  {FMT_Q5_K, 0, 2, 15.5f},
    {FMT_Q6_K, 208, -1, 0},   {FMT_IQ4_NL, 0, -1, 0},  {FMT_IQ4_XS, 0, -1, 0},
    {FMT_Q2_0, 0, -1, 0},     {FMT_PQ2_0, 0, -1, 0},   {FMT_F16, 0, -1, 0},
};

static void set_scale(uint8_t *block, size_t field, float d)
{
    uint16_t h[2] = {float_to_f16(d), float_to_f16(d * fields[field].ratio)};
    memcpy(block + fields[field].scale, &h[0], 2);
    if (fields[field].min >= 0)
        memcpy(block + fields[field].min, &h[1], 2);
}

/* A block whose values have about the magnitude `size`. */
static void draw_block(Fmt fmt, float size, uint8_t *block)
{
    float v[256];
    double sum = 0;
    size_t field = 0;
    int n = fmt_info[fmt].elems;
    Tensor t = {"block", fmt, 1, n, block, (size_t)fmt_info[fmt].bytes};
    while (fields[field].fmt != fmt)
        CHECK(++field < sizeof fields / sizeof *fields);
    for (int i = 0; i < fmt_info[fmt].bytes; i++)
        block[i] = (uint8_t)draw();
    set_scale(block, field, 1);
    tensor_floats(&t, 0, n, v);
    for (int i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    float d = sum > 0 ? size / (float)sqrt(sum / n) : 0;
    if (n == 1) /* a plain number */
        d = size * ((float)draw() * 0x1p-23f - 1);
    set_scale(block, field, d * (0.75f + (float)draw() * 0x1p-25f));
}

/* ---- the rest of a file, as it is ---- */

static void put_value(GgufOut *out, const Gguf *g, const GgufValue *v)
{
    int64_t n;
    double x;
    size_t len = 0;
    if (!strncmp(v->key, "split.", 6))
        return;
    if (v->is_array && v->type == GGUF_STRING) {
        gguf_put_texts(out, v->key, v->count);
        for (int64_t i = 0; i < v->count; i++) {
            const char *text = gguf_string_at(g, v, i, &len);
            gguf_put_item(out, intern(g->s, text, len));
        }
    } else if (v->is_array && v->type == GGUF_I32) {
        gguf_put_i32s(out, v->key, gguf_ints(g, v->key, &n), v->count);
    } else if (v->type == GGUF_STRING && !v->is_array) {
        const char *text = gguf_string_at(g, v, 0, &len);
        gguf_put_text(out, v->key, intern(g->s, text, len));
    } else if (v->type == GGUF_BOOL) {
        gguf_put_bool(out, v->key, v->data[0]);
    } else if (!v->is_array && gguf_int_at(v, 0, &n)) {
        gguf_put_u32(out, v->key, (uint32_t)n);
    } else if (!v->is_array && gguf_float_at(v, 0, &x)) {
        gguf_put_f32(out, v->key, (float)x);
    } else {
        note(g->s, "left out: %s", v->key); /* scores: bpe needs none */
    }
}

static bool chosen(const Tensor *t, char **part, int nparts)
{
    bool yes = nparts == 0;
    for (int i = 0; i < nparts; i++)
        yes |= strstr(t->name, part[i]) != NULL;
    return yes && t->rows > 1;
}

/* With to FMT_F32 the tensor's own values, else random ones. */
static void put_matrix(GgufOut *out, const Tensor *t, Fmt to)
{
    int n = to == FMT_F32 ? 64 : fmt_info[to].elems;
    for (int64_t at = 0; at < t->rows * t->cols; at += n) {
        uint8_t block[512];
        float v[64];
        if (to == FMT_F32) {
            tensor_floats(t, at, n, v);
            gguf_data(out, v, sizeof v);
        } else {
            draw_block(to, (float)(1 / sqrt((double)t->cols)), block);
            gguf_data(out, block, (size_t)fmt_info[to].bytes);
        }
    }
}

static void retype(Session *s, const char *path, const char *to, Fmt fmt, char **part, int nparts)
{
    Gguf *g = gguf_open(s, path);
    GgufOut *out = gguf_create(s, to);
    for (int64_t i = 0; i < gguf_key_count(g); i++)
        put_value(out, g, gguf_key_at(g, i));
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        gguf_put_tensor(out, t->name, chosen(t, part, nparts) ? fmt : t->fmt, t->rows, t->cols);
    }
    gguf_begin(out);
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        if (chosen(t, part, nparts))
            put_matrix(out, t, fmt);
        else
            gguf_data(out, t->data, t->size);
    }
    gguf_end(out);
}

/* ---- factors ---- */

/* The name of the factor of the file's tensor i, and its value, no power of two; NULL: none. */
static const char *factor_of(const Gguf *g, int64_t i, float *value)
{
    const Tensor *t = gguf_tensor_at(g, i);
    size_t len = strlen(t->name), end = sizeof ".weight" - 1;
    if (t->fmt != FMT_I2_S || len < end || strcmp(t->name + len - end, ".weight"))
        return NULL;
    *value = 0.3f + 0.07f * (float)i;
    return format(g->s, "%.*s.scale", (int)(len - end), t->name);
}

/* Bytes of an I2_S tensor, drawn in formats.c. */
static void put_i2s(GgufOut *out, const Tensor *t, float divisor)
{
    size_t codes = (size_t)(t->rows * t->cols / 4);
    float scale = tensor_scale(t, 0) / divisor;
    gguf_data(out, t->data, codes);
    gguf_data(out, &scale, sizeof scale);
    gguf_data(out, t->data + codes + sizeof scale, t->size - codes - sizeof scale);
}

static void factors(Session *s, const char *path, const char *to)
{
    Gguf *g = gguf_open(s, path);
    GgufOut *out = gguf_create(s, to);
    for (int64_t i = 0; i < gguf_key_count(g); i++)
        put_value(out, g, gguf_key_at(g, i));
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        float f;
        const char *name = factor_of(g, i, &f);
        gguf_put_tensor(out, t->name, t->fmt, t->rows, t->cols);
        if (name)
            gguf_put_tensor(out, name, FMT_F32, 1, 1);
    }
    gguf_begin(out);
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        float f;
        if (factor_of(g, i, &f)) {
            put_i2s(out, t, f);
            gguf_data(out, &f, sizeof f);
        } else {
            gguf_data(out, t->data, t->size);
        }
    }
    gguf_end(out);
}

static void split(Session *s, int count, const char *path, const char *to, int promised)
{
    Gguf *g = gguf_open(s, path);
    int64_t n = gguf_tensor_count(g);
    for (int i = 0; i < count; i++) {
        int64_t from = n * i / count - (promised && i), end = n * (i + 1) / count;
        GgufOut *out = gguf_create(s, format(s, "%s-%05d-of-%05d.gguf", to, i + 1, count));
        for (int64_t j = 0; i == 0 && j < gguf_key_count(g); j++)
            put_value(out, g, gguf_key_at(g, j));
        gguf_put_u32(out, "split.no", (uint32_t)i);
        gguf_put_u32(out, "split.count", (uint32_t)count);
        gguf_put_u32(out, "split.tensors.count", (uint32_t)(promised ? promised : n));
        for (int64_t j = from; j < end; j++) {
            const Tensor *t = gguf_tensor_at(g, j);
            gguf_put_tensor(out, t->name, t->fmt, t->rows, t->cols);
        }
        gguf_begin(out);
        for (int64_t j = from; j < end; j++)
            gguf_data(out, gguf_tensor_at(g, j)->data, gguf_tensor_at(g, j)->size);
        gguf_end(out);
    }
}

int main(int argc, char **argv)
{
    Session s;
    session_start(&s, stderr);
    Fmt fmt = argc > 4 ? fmt_by_name(argv[3]) : FMT_COUNT;
    if (argc > 4 && !strcmp(argv[1], "--split"))
        split(&s, atoi(argv[2]), argv[3], argv[4], argc > 5 ? atoi(argv[5]) : 0);
    else if (argc == 4 && !strcmp(argv[1], "--floats"))
        retype(&s, argv[2], argv[3], FMT_F32, NULL, 0);
    else if (argc == 4 && !strcmp(argv[1], "--factors"))
        factors(&s, argv[2], argv[3]);
    else if (fmt != FMT_COUNT)
        retype(&s, argv[1], argv[2], fmt, argv + 4, argc - 4);
    else
        fail(&s, (Loc){0}, "wrong arguments; the head of retype.c lists them");
    session_end(&s);
    return 0;
}
