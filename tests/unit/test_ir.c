/* test_ir.c: the graph in memory (build.c, infer.c, print.c) and the weights that kernels read
 * (layouts.c, weights.c), these against an unpacker written from the pictures in layouts.c alone.
 *
 * Link with all objects of ir, frontend, passes, codegen-c and gen (without main and cmd).
 */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "ir/ir.h"

#include <cmocka.h> /* last: its macro `fail` would hide ir.h's */

static Session session;

static int start(void **unused)
{
    (void)unused;
    session_start(&session, stderr);
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    session_end(&session);
    return 0;
}

static Module *parse(const char *text)
{
    return tir_parse_text(&session, "test.tir", text, strlen(text));
}

static const char *printed(const Module *m)
{
    Out o = {.s = &session};
    module_print(m, &o);
    const char *text = name(&session, o.text);
    out_free(&o);
    return text;
}

static const char *op_text(const Op *op)
{
    Out o = {.s = &session};
    op_print(op, &o);
    const char *text = name(&session, o.text);
    out_free(&o);
    return text;
}

static const char small[] = "arch \"t\"\n"
                            "weight @e : f32<32 x 8> = \"e\"\n"
                            "weight @w [2] : tern<8 x 8> = \"w.{i}\"\n"
                            "\n"
                            "func @forward(%token: i32<T>, %pos: i32) {\n"
                            "  %x = embed %token, @e : f32<T x 8>\n"
                            "  %z = layers(%h = %x) {count = 2} {\n"
                            "    %a = linear %h, @w : f32<T x 8>\n"
                            "    %b = add %a, %h : f32<T x 8>\n"
                            "    yield %b\n"
                            "  }\n"
                            "  %y = linear %z, @e : f32<T x 32>\n"
                            "  return %y\n"
                            "}\n";

/* ---- types ---- */

static void test_types(void **unused)
{
    (void)unused;
    Session *s = &session;
    const Type *t = type_make(s, FMT_F32, 2, 3, 4, 0);
    assert_ptr_equal(t, type_make(s, FMT_F32, 2, 3, 4, 99));
    assert_ptr_not_equal(t, type_make(s, FMT_F32, 2, 4, 3, 0));
    assert_ptr_not_equal(t, type_make(s, FMT_F16, 2, 3, 4, 0));
    assert_ptr_not_equal(t, type_make(s, FMT_F32, 1, 3, 0, 0));
    assert_ptr_equal(type_with(s, type_with(s, t, FMT_I8), FMT_F32), t);
    Dim free_dim[2] = {dim_free(name(s, "T")), {4, NULL}};
    const Type *u = type_get(s, FMT_F32, 2, free_dim);
    assert_ptr_equal(u, type_get(s, FMT_F32, 2, free_dim));
    assert_ptr_not_equal(u, t);
    assert_true(dim_equal(dim_free(name(s, "T")), free_dim[0]));
    assert_false(dim_equal(dim_free(name(s, "U")), free_dim[0]));
    assert_false(dim_equal((Dim){0, NULL}, free_dim[0]));
    for (int64_t i = 1; i < 2000; i++) { /* more than there are buckets */
        const Type *v = type_make(s, FMT_F32, 3, i, 1, 2);
        assert_true(v->rank == 3 && v->dim[0].n == i);
        assert_ptr_equal(v, type_make(s, FMT_F32, 3, i, 1, 2));
    }
    Out o = {.s = s};
    type_print(u, &o);
    assert_string_equal(o.text, "f32<T x 4>");
    out_free(&o);
}

/* ---- ops ---- */

static void test_print(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    assert_string_equal(printed(m), small);
    Op *layers = m->funcs->body->first->next;
    assert_string_equal(op_text(layers), "%z = layers(%h = %x) {count = 2}");
    assert_string_equal(op_text(layers->body->last), "yield %b");
}

static void test_attributes(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Op *op = m->funcs->body->first;
    attr_set_int(op, "n", 7);
    attr_set_float(op, "f", 0.5);
    attr_set_word(op, "kernel", name(&session, "k1"));
    assert_true(attr_int(op, "n", -1) == 7 && attr_float(op, "n", -1) == 7);
    assert_true(attr_float(op, "f", -1) == 0.5 && attr_int(op, "f", -1) == -1);
    assert_string_equal(attr_word(op, "kernel", "?"), "k1");
    assert_true(attr_int(op, "kernel", -1) == -1 && attr_float(op, "kernel", -1) == -1);
    assert_string_equal(attr_word(op, "absent", "?"), "?");
    attr_set_word(op, "n", name(&session, "w")); /* takes the place of the number */
    assert_int_equal(op->nattr, 3);
    assert_int_equal(attr_int(op, "n", -1), -1);
    assert_string_equal(op_text(op),
                        "%x = embed %token, @e {n = w, f = 0.5, kernel = k1} : f32<T x 8>");
    for (int i = 0; i < 50; i++)
        attr_set_int(op, format(&session, "a%d", i), i);
    for (int i = 0; i < 50; i++)
        assert_int_equal(attr_int(op, format(&session, "a%d", i), -1), i);
}

static void test_numbers(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Func *f = m->funcs;
    func_number(f);
    Op *embed = f->body->first, *layers = embed->next;
    assert_int_equal(f->nvalue, 8); /* token pos x z h a b y */
    assert_int_equal(embed->out[0]->nuse, 1);
    assert_int_equal(layers->body->arg[0]->nuse, 2);
    assert_int_equal(weight_find(m, name(&session, "e"))->value.nuse, 2);
    assert_true(embed->out[0]->id < layers->out[0]->id);
    assert_true(layers->out[0]->id < layers->body->arg[0]->id);
}

static void test_replace_uses(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Func *f = m->funcs;
    Op *layers = f->body->first->next, *linear = layers->body->first, *add = linear->next;
    replace_uses(f, layers->body->arg[0], add->in[0]);
    assert_ptr_equal(linear->in[0], linear->out[0]);
    assert_ptr_equal(add->in[1], linear->out[0]);
    replace_uses(f, add->out[0], linear->out[0]);
    assert_ptr_equal(layers->body->last->in[0], linear->out[0]);
    Weight *w = weight_add(m, name(&session, "other"), weight_find(m, name(&session, "e"))->type);
    replace_uses(f, &weight_find(m, name(&session, "e"))->value, &w->value);
    assert_ptr_equal(f->body->first->in[1], &w->value);
    assert_ptr_equal(f->body->last->prev->in[1], &w->value);
}

static void test_move(void **unused)
{
    (void)unused;
    Block *b = block_new(func_add(module_new(&session, NULL), name(&session, "decode")), NULL);
    Op *last = op_new(b, NULL, OP_RETURN, 1, 0), *first = op_new(b, last, OP_BARRIER, 0, 0);
    Op *middle = op_new(b, last, OP_RELU2, 1, 1);
    assert_true(b->first == first && first->next == middle);
    assert_true(middle->next == last && b->last == last);
    assert_true(b->func->form == FORM_DECODE && middle->out[0]->def == middle);
    op_move(middle, b, first);
    assert_true(b->first == middle && !middle->prev);
    assert_true(middle->next == first && first->prev == middle);
    op_move(first, b, NULL);
    assert_true(b->last == first && !first->next && last->next == first && middle->next == last);
    op_remove(last);
    assert_true(middle->next == first && first->prev == middle && !last->block);
    op_remove(first);
    op_remove(middle);
    assert_true(!b->first && !b->last);
}

struct Seen {
    OpCode code[16];
    int n;
};

static void see(Op *op, void *arg)
{
    struct Seen *s = arg;
    s->code[s->n++] = op->code;
    if (op->code == OP_ADD || op->code == OP_EMBED || op->code == OP_RETURN)
        op_remove(op);
}

static void test_walk_removing(void **unused)
{
    (void)unused;
    static const OpCode order[] = {OP_EMBED,  OP_LINEAR, OP_ADD,   OP_YIELD,
                                   OP_LAYERS, OP_LINEAR, OP_RETURN};
    Module *m = parse(small);
    struct Seen s = {.n = 0};
    walk(m->funcs->body, see, &s);
    assert_int_equal(s.n, 7);
    assert_memory_equal(s.code, order, sizeof order);
    Op *layers = m->funcs->body->first;
    assert_true(layers->code == OP_LAYERS && layers->body->first->next->code == OP_YIELD);
    assert_true(m->funcs->body->last->code == OP_LINEAR);
}

static void test_fresh_names(void **unused)
{
    (void)unused;
    Func *f = parse(small)->funcs;
    assert_string_equal(fresh_name(f, "new"), "new");
    assert_string_equal(fresh_name(f, "x"), "x_2"); /* a result */
    assert_string_equal(fresh_name(f, "a"), "a_2"); /* inside a body */
    assert_string_equal(fresh_name(f, "h"), "h_2"); /* carried */
    assert_string_equal(fresh_name(f, "token"), "token_2");
    f->body->first->out[0]->name = name(&session, "h_2");
    assert_string_equal(fresh_name(f, "h"), "h_3");
}

static void test_func_clone(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Func *f = m->funcs, *g = func_clone(f, name(&session, "score"));
    assert_true(f->next == g && g->form == FORM_SCORE && !g->next);
    m->funcs = g; /* alone it is the same text under the other name */
    const char *text = printed(m), *at = strstr(text, "@score");
    assert_non_null(at);
    assert_memory_equal(text, small, (size_t)(at - text));
    assert_string_equal(at + strlen("@score"), strstr(small, "@forward") + strlen("@forward"));
    m->funcs = f;
    module_verify(m, "clone");
    Op *a = f->body->first, *b = g->body->first;
    assert_true(a != b && a->out[0] != b->out[0] && b->next->in[0] == b->out[0]);
    assert_ptr_equal(a->in[1], b->in[1]); /* weights are shared */
    assert_true(b->next->body->owner == b->next && b->next->body->func == g);
    attr_set_int(b->next, "count", 1);
    assert_int_equal(attr_int(a->next, "count", -1), 2);
    op_remove(b->next->body->first);
    assert_int_equal(a->next->body->first->code, OP_LINEAR);
}

static void test_layers_clone(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Op *old = m->funcs->body->first->next, *copy = layers_clone(old);
    assert_true(copy->next == old && copy->in[0] == old->in[0]);
    assert_string_equal(op_text(copy), "%z_2 = layers(%h_2 = %x) {count = 2}");
    assert_string_equal(op_text(copy->body->first), "%a_2 = linear %h_2, @w : f32<T x 8>");
    assert_string_equal(op_text(old->body->first), "%a = linear %h, @w : f32<T x 8>");
    module_verify(m, "clone");
}

static void test_infer(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    FILE *log = session.log;
    session.log = NULL;
    Op *linear = m->funcs->body->last->prev;
    linear->out[0]->type = NULL;
    assert_true(op_infer(m, linear));
    assert_ptr_equal(linear->out[0]->type, m->funcs->body->last->in[0]->type);
    linear->in[0] = m->funcs->body->arg[0]; /* tokens are no f32 */
    assert_false(op_infer(m, linear));
    assert_int_equal(session.nerror, 1);
    assert_false(module_infer(m));
    linear->in[0] = m->funcs->body->first->next->out[0];
    assert_true(module_infer(m));
    attr_set_int(linear, "slope", 1);
    assert_false(op_infer(m, linear));
    session.log = log;
}

static void test_units(void **unused)
{
    (void)unused;
    Module *m = parse(small);
    Op *embed = m->funcs->body->first, *linear = m->funcs->body->last->prev;
    Kernel k = {.mr = 5};
    assert_string_equal(op_units(embed).sym, "T");
    assert_true(op_units(linear).n == 32 && !op_units(linear).sym);
    linear->kernel = &k;
    assert_int_equal(op_units(linear).n, 7); /* 32 rows by 5 */
}

static void test_value_bytes(void **unused)
{
    (void)unused;
    Session *s = &session;
    Module m = {.s = s, .batch = 3};
    Dim dim[2] = {dim_free(name(s, "T")), {130, NULL}};
    assert_int_equal(value_bytes(&m, type_get(s, FMT_F32, 2, dim)), 1600); /* 1560 */
    assert_int_equal(value_bytes(&m, type_get(s, FMT_I8, 2, dim)), 3 * 256);
    assert_int_equal(value_bytes(&m, type_get(s, FMT_F32, 1, dim)), 64);
    assert_int_equal(value_bytes(&m, type_make(s, FMT_I8, 2, 1, 128, 0)), 128);
    assert_int_equal(value_bytes(&m, type_make(s, FMT_F32, 3, 2, 16, 4)), 512);
}

/* ---- weights ---- */

enum { MAX_ROWS = 9, GUARD = 64 };

static uint32_t state = 1;

static uint32_t rnd(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* The code at row r, column c as layouts.c pictures it: blocks of 4 rows x 128 columns. */
static int code_at(const uint8_t *p, int64_t cols, int64_t r, int64_t c)
{
    int64_t across = (cols + 127) / 128, block = r / 4 * across + c / 128;
    return (p[128 * block + 32 * (r % 4) + c % 32] >> (c % 128 / 32 * 2) & 3) - 1;
}

static float f32_at(const uint8_t *p)
{
    float f;
    memcpy(&f, p, 4);
    return f;
}

static float factor = 1; /* of every weight that is packed; 1: none */

/* Packs t in format fmt; what stands past the packed bytes must not change. */
static uint8_t *packed(const Tensor *t, Fmt fmt, int64_t *scales)
{
    const Type *type = type_make(&session, fmt, 2, t->rows, t->cols, 0);
    Weight w = {.type = type, .tensor = (Tensor *)(uintptr_t)t};
    Tensor f = {"f", FMT_F32, 1, 1, (const uint8_t *)&factor, sizeof factor};
    if (factor != 1)
        w.times = "f", w.factor = &f;
    int64_t size = packed_bytes(type, scales);
    uint8_t *out = alloc(&session, (size_t)size + GUARD);
    memset(out, 0xA5, (size_t)size + GUARD);
    weight_pack(&session, &w, 0, out);
    for (int i = 0; i < GUARD; i++)
        assert_int_equal(out[size + i], 0xA5);
    return out;
}

/* Codes and padding of the packed bytes, and where the scales begin. */
static void check_codes(const Tensor *t, const int8_t *code, const uint8_t *p, int64_t scales)
{
    int64_t rows = (t->rows + 3) / 4 * 4, cols = (t->cols + 127) / 128 * 128;
    assert_int_equal(scales, rows * cols / 4);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            int want = r < t->rows && c < t->cols ? code[r * t->cols + c] : 0;
            if (code_at(p, t->cols, r, c) != want)
                fail_msg("%d x %d: row %d, column %d is %d, not %d", (int)t->rows, (int)t->cols,
                         (int)r, (int)c, code_at(p, t->cols, r, c), want);
        }
}

static void check_one_scale(const Tensor *t, const int8_t *code, float scale)
{
    int64_t at;
    uint8_t *p = packed(t, FMT_Q2R4, &at);
    check_codes(t, code, p, at);
    scale *= factor;
    assert_memory_equal(p + at, &scale, 4);
}

/* scale: that of row r, columns 256 b and on, at [r * ceil(cols / 256) + b]. */
static void check_block_scales(const Tensor *t, const int8_t *code, const float *scale)
{
    int64_t at, n = t->rows * ((t->cols + 255) / 256);
    uint8_t *p = packed(t, FMT_Q2R4B, &at);
    check_codes(t, code, p, at);
    for (int64_t i = 0; i < n; i++)
        assert_true(f32_at(p + at + 4 * i) == scale[i] * factor);
}

static void random_codes(int8_t *code, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        code[i] = (int8_t)(rnd() % 3) - 1;
    code[rnd() % (uint32_t)n] = 1;
}

static void test_pack_i2s(void **unused)
{
    (void)unused;
    static int8_t code[MAX_ROWS * 300];
    static uint8_t data[MAX_ROWS * 300 / 4 + 32];
    static float scale[MAX_ROWS * 2];
    int tried = 0;
    for (int64_t rows = 1; rows <= MAX_ROWS; rows++)
        for (int64_t cols = 1; cols <= 300; cols++) {
            int64_t n = rows * cols;
            if (n % 128)
                continue; /* no file holds such a tensor */
            random_codes(code, n);
            memset(data, 0, sizeof data);
            for (int64_t i = 0; i < n; i++) /* as facts about the format say, see codes_x128 */
                data[i / 128 * 32 + i % 32] |= (uint8_t)((code[i] + 1) << (6 - 2 * (i % 128 / 32)));
            float s = 0.25f + (float)(rnd() % 1000) / 997;
            memcpy(data + n / 4, &s, 4);
            Tensor t = {"t", FMT_I2_S, rows, cols, data, (size_t)n / 4 + 32};
            factor = tried % 2 ? 0.3f : 1;
            check_one_scale(&t, code, s);
            for (int64_t i = 0; i < rows * ((cols + 255) / 256); i++)
                scale[i] = s;
            check_block_scales(&t, code, scale);
            assert_true(ternary_scale(&t) == s);
            tried++;
        }
    factor = 1;
    assert_true(tried > 30);
}

static void test_pack_tq2(void **unused)
{
    (void)unused;
    static int8_t code[MAX_ROWS * 768];
    static uint8_t data[MAX_ROWS * 3 * 66];
    static float scale[MAX_ROWS * 3];
    for (int64_t rows = 1; rows <= MAX_ROWS; rows++)
        for (int64_t cols = 256; cols <= 768; cols += 256) {
            int64_t n = rows * cols;
            random_codes(code, n);
            memset(data, 0, sizeof data);
            for (int64_t i = 0; i < n; i++)
                data[i / 256 * 66 + i % 256 / 128 * 32 + i % 32] |=
                    (uint8_t)((code[i] + 1) << (i % 128 / 32 * 2));
            for (int64_t b = 0; b < n / 256; b++) {
                uint16_t h = float_to_f16(0.5f + (float)b / 64);
                memcpy(data + b * 66 + 64, &h, 2);
                scale[b] = 0.5f + (float)b / 64;
            }
            Tensor t = {"t", FMT_TQ2_0, rows, cols, data, (size_t)(n / 256 * 66)};
            factor = rows % 2 ? 0.7f : 1;
            check_block_scales(&t, code, scale);
            check_one_scale(&t, code, scale[0]);
            memset(data + 64, 0, 2); /* a block of scale zero says nothing about the others */
            assert_true(ternary_scale(&t) == (n > 256 ? scale[1] : 0));
        }
    factor = 1;
}

/* Floats that are ternary already: the scale is theirs, bit by bit. */
static void test_pack_exact(void **unused)
{
    (void)unused;
    static int8_t code[MAX_ROWS * 300];
    static float value[MAX_ROWS * 300];
    for (int64_t rows = 1; rows <= MAX_ROWS; rows++)
        for (int64_t cols = 1; cols <= 300; cols++) {
            int64_t n = rows * cols;
            float s = 0.01f + (float)(rnd() % 1000) / 997, found = -1;
            random_codes(code, n);
            for (int64_t i = 0; i < n; i++)
                value[i] = s * (float)code[i];
            Tensor t = {"t", FMT_F32, rows, cols, (const uint8_t *)value, (size_t)n * 4};
            assert_true(tensor_is_ternary(&t, &found) && found == s);
            check_one_scale(&t, code, s);
        }
}

static void test_detection(void **unused)
{
    (void)unused;
    static uint16_t half[40000]; /* more than is looked at in one go */
    float v[8] = {0, 0, -0.75f, 0.75f, 0, -0.75f, 0, 0}, s = -1;
    Tensor t = {"t", FMT_F32, 2, 4, (const uint8_t *)v, sizeof v};
    assert_true(tensor_is_ternary(&t, NULL));
    v[7] = nextafterf(0.75f, 1);
    assert_false(tensor_is_ternary(&t, &s));
    assert_true(s == -1);
    v[7] = NAN;
    assert_false(tensor_is_ternary(&t, NULL));
    memset(v, 0, sizeof v);
    v[3] = -0.0f;
    assert_true(tensor_is_ternary(&t, &s) && s == 0 && ternary_scale(&t) == 0);
    int8_t none[8] = {0};
    check_one_scale(&t, none, 0);
    for (int i = 0; i < 40000; i++)
        half[i] = float_to_f16((float)(i % 3 - 1) * 0.125f);
    Tensor h = {"h", FMT_F16, 4, 10000, (const uint8_t *)half, sizeof half};
    assert_true(tensor_is_ternary(&h, &s) && s == 0.125f);
    half[39999] = float_to_f16(0.25f);
    assert_false(tensor_is_ternary(&h, NULL));
}

/* w = clamp(round(w / mean |w|), -1, 1), Ma et al. 2024, computed here in double. */
static void test_pack_absmean(void **unused)
{
    (void)unused;
    static int8_t code[MAX_ROWS * 300];
    static float value[MAX_ROWS * 300];
    int seen[3] = {0};
    for (int64_t rows = 1; rows <= MAX_ROWS; rows++)
        for (int64_t cols = 2; cols <= 300; cols++) {
            int64_t n = rows * cols;
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                value[i] = ((float)(rnd() % 20001) - 10000) / 4999;
            value[0] = value[1] + 1; /* not ternary already */
            for (int64_t i = 0; i < n; i++)
                sum += fabs((double)value[i]);
            double mean = sum / (double)n;
            bool tie = false;
            for (int64_t i = 0; i < n; i++) {
                double x = (double)value[i] / mean, to = nearbyint(x);
                tie |= fabs(fabs(x) - 0.5) < 1e-6;
                code[i] = (int8_t)(to > 1 ? 1 : to < -1 ? -1 : to);
                seen[code[i] + 1]++;
            }
            Tensor t = {"t", FMT_F32, rows, cols, (const uint8_t *)value, (size_t)n * 4};
            if (tie || tensor_is_ternary(&t, NULL))
                continue;
            assert_true(fabs((double)ternary_scale(&t) - mean) <= 1e-6 * mean);
            check_one_scale(&t, code, ternary_scale(&t));
        }
    assert_true(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
}

static void test_pack_floats(void **unused)
{
    (void)unused;
    float v[6] = {1, -2.5f, 0.1f, 65504, 1e-8f, 0};
    Tensor t = {"t", FMT_F32, 2, 3, (const uint8_t *)v, sizeof v};
    int64_t scales = -1;
    uint8_t *p = packed(&t, FMT_F32, &scales);
    assert_int_equal(scales, 0);
    assert_memory_equal(p, v, sizeof v);
    p = packed(&t, FMT_F16, &scales);
    for (int i = 0; i < 6; i++) {
        uint16_t want = float_to_f16(v[i]);
        assert_memory_equal(p + 2 * i, &want, 2);
    }
    for (int i = 12; i < 64; i++)
        assert_int_equal(p[i], 0);
    const Type *five = type_make(&session, FMT_F32, 1, 5, 0, 0);
    Weight one = {.type = five, .has_const = true, .constant = 0.3f};
    uint8_t out[64];
    assert_int_equal(packed_bytes(one.type, NULL), 64);
    weight_pack(&session, &one, 0, out);
    for (int i = 0; i < 16; i++)
        assert_true(f32_at(out + 4 * i) == (i < 5 ? 0.3f : 0));
}

static void test_packed_bytes(void **unused)
{
    (void)unused;
    static const struct {
        Fmt fmt;
        int64_t rows, cols, bytes, scales;
    } want[] = {
        {FMT_Q2R4, 4, 128, 192, 128}, /* 128 codes, one scale, to a line of 64 */
        {FMT_Q2R4, 1, 1, 192, 128},      {FMT_Q2R4, 5, 129, 576, 512},
        {FMT_Q2R4B, 4, 256, 320, 256},   {FMT_Q2R4B, 4, 257, 448, 384},
        {FMT_Q2R4B, 9, 300, 1280, 1152}, {FMT_F32, 3, 7, 128, 0},
        {FMT_T3R32, 1, 1, 384, 192}, /* 160 codes, 64 with the scale, 32 losses */
        {FMT_T3R32, 32, 48, 512, 320},   {FMT_T3R32, 33, 49, 1280, 960},
        {FMT_F16, 3, 7, 64, 0},          {FMT_Q8_0, 2, 32, 128, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int64_t scales = -1;
        const Type *t = type_make(&session, want[i].fmt, 2, want[i].rows, want[i].cols, 0);
        assert_int_equal(packed_bytes(t, &scales), want[i].bytes);
        assert_int_equal(scales, want[i].scales);
    }
}

/* Of a diff with all equal lines shown, those not added are a and those not removed are b. */
static void check_diff(const char *a, const char *b)
{
    Out o = {.s = &session};
    char was[64] = "", is[64] = "";
    text_diff(a, b, 1000, false, &o);
    for (const char *at = o.len ? o.text : ""; *at; at += strcspn(at, "\n") + 1) {
        int n = (int)strcspn(at, "\n") - 2;
        if (*at != '+')
            sprintf(was + strlen(was), "%.*s\n", n, at + 2);
        if (*at != '-')
            sprintf(is + strlen(is), "%.*s\n", n, at + 2);
    }
    assert_string_equal(was, strcmp(a, b) ? a : "");
    assert_string_equal(is, strcmp(a, b) ? b : "");
    out_free(&o);
}

static void test_diff(void **unused)
{
    (void)unused;
    uint32_t seed = 1;
    for (int round = 0; round < 5000; round++) {
        char text[2][32] = {"", ""};
        for (int t = 0; t < 2; t++)
            for (int i = (int)((seed = seed * 1664525u + 1013904223u) >> 24) % 9; i > 0; i--) {
                seed = seed * 1664525u + 1013904223u;
                sprintf(text[t] + strlen(text[t]), "%c\n", 'a' + (int)(seed >> 24) % 3);
            }
        check_diff(text[0], text[1]);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_types),         TEST(test_print),        TEST(test_attributes),
        TEST(test_numbers),       TEST(test_replace_uses), TEST(test_move),
        TEST(test_walk_removing), TEST(test_fresh_names),  TEST(test_func_clone),
        TEST(test_layers_clone),  TEST(test_infer),        TEST(test_units),
        TEST(test_value_bytes),   TEST(test_pack_i2s),     TEST(test_pack_tq2),
        TEST(test_pack_exact),    TEST(test_detection),    TEST(test_pack_absmean),
        TEST(test_pack_floats),   TEST(test_packed_bytes), TEST(test_diff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
