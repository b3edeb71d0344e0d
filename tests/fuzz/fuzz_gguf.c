/* fuzz_gguf.c: any bytes as a GGUF file.
 *
 * One idea: a file is either refused with one message, or everything that it promises can be read:
 * every key by every getter, the first and last values of every tensor, in each I2_S layout.
 * The input is copied to a block of its own size, so that a read past its end is seen.
 */
#include "frontend/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "must.h"

typedef struct Run {
    Session s;
    const uint8_t *data;
    size_t size;
    Gguf *g;
} Run;

static volatile double sink; /* keeps the reads */

static void read_value(const Gguf *g, const GgufValue *v)
{
    const char *text;
    size_t len;
    int64_t n;
    double x;
    bool on;
    MUST(gguf_get(g, v->key) == v);
    sink += gguf_int(g, v->key, &n) + gguf_float(g, v->key, &x) + gguf_bool(g, v->key, &on);
    if (gguf_string(g, v->key, &text, &len) && len)
        sink += text[0] + text[len - 1];
    for (int64_t i = 0; i < v->count; i++) {
        sink += gguf_int_at(v, i, &n) + gguf_float_at(v, i, &x);
        if (v->type == GGUF_STRING && (text = gguf_string_at(g, v, i, &len), len))
            sink += text[0] + text[len - 1];
    }
}

static void read_ends(const Tensor *t)
{
    float x[300];
    int8_t code[300];
    int64_t n = t->rows * t->cols, k = n < 300 ? n : 300;
    sink += t->data[0] + t->data[t->size - 1];
    if (t->fmt == FMT_COUNT)
        return;
    tensor_floats(t, 0, k, x);
    tensor_floats(t, n - k, k, x);
    sink += x[0] + tensor_scale(t, n - 1);
    if (fmt_info[t->fmt].kind == KIND_TERNARY)
        tensor_codes(t, n - k, k, code);
}

static void read_tensors(const Gguf *g)
{
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const Tensor *t = gguf_tensor_at(g, i);
        MUST(gguf_tensor_find(g, t->name) == t);
        MUST(gguf_type_name(g, t));
        MUST(t->rows > 0 && t->cols > 0 && t->size > 0);
        read_ends(t);
    }
}

static void parse(void *arg)
{
    Run *r = arg;
    r->g = gguf_parse(&r->s, "fuzz.gguf", r->data, r->size);
}

static void read_arrays(void *arg)
{
    Run *r = arg;
    int64_t n;
    gguf_ints(r->g, "tokenizer.ggml.token_type", &n);
    gguf_floats(r->g, "tokenizer.ggml.scores", &n);
}

static void read_other_layouts(void *arg)
{
    Run *r = arg;
    gguf_i2s_layout(r->g, FMT_I2_S_ARM64);
    read_tensors(r->g);
    gguf_i2s_layout(r->g, FMT_I2_S_ROW4);
    read_tensors(r->g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *log;
    if (!log)
        log = fopen("/dev/null", "w");
    Run r = {.size = size};
    uint8_t *copy = must_copy(data, size);
    MUST(log);
    r.data = copy;
    session_start(&r.s, log);
    bool ok = session_try(&r.s, parse, &r);
    MUST(r.s.nerror == (ok ? 0 : 1));
    MUST(r.s.bytes < 4096 + 64 * size);
    if (ok) {
        for (int64_t i = 0; i < gguf_key_count(r.g); i++)
            read_value(r.g, gguf_key_at(r.g, i));
        read_tensors(r.g);
        session_try(&r.s, read_arrays, &r);
        session_try(&r.s, read_other_layouts, &r);
    }
    session_end(&r.s);
    free(copy);
    return 0;
}
