/* requantize.c: the engine of `bnc quantize`: tensors scanned, encoded and measured.
 *
 * One idea: a tensor is a row of slices of 65536 values, each the work of one core and a sum of its
 * own; sums are added in the order of the slices, so the result does not depend on the number of
 * cores. No more than a few slices are in memory at a time.
 */
#include <math.h>
#include <string.h>

#include "checkpoint/gguf_out.h"
#include "cmd/quantize/quantize.h"
#include "ir/escape.h"

enum { SLICE = 1 << 16, PART = 2048, BLOCK = 256, AT_ONCE = 64, ROWS = 16 };
static const float most_half = 65504;

const char *const way_name[] = {"copied", "rounded", "codes", "exact", "absmean"};

static int64_t values(const Tensor *t)
{
    return t->rows * t->cols;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool ternary(Fmt fmt)
{
    return fmt_info[fmt].kind == KIND_TERNARY;
}

size_t change_bytes(const Change *c)
{
    return fmt_extent(c->to, c->t->rows, c->t->cols);
}

/* ---- scanning ---- */

typedef struct Sums { /* of a slice */
    double sum, squares;
    float most, first; /* the first magnitude that is not 0 */
    float low, high;   /* TERNARY: scales of blocks that are not all zero */
    bool exact, finite, bad_code;
    bool narrow; /* TERNARY: 256 values have scales that differ */
} Sums;

typedef struct Scan {
    const Change *c;
    Sums *sums;
} Scan;

static void see_floats(const float *x, int64_t n, Sums *u)
{
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        u->finite &= isfinite(a) != 0;
        u->most = a > u->most ? a : u->most;
        u->first = u->first == 0 ? a : u->first;
        u->exact &= a == 0 || a == u->first;
        u->sum += (double)a;
        u->squares += (double)a * (double)a;
    }
}

/* Codes and scales of up to 256 values. */
static void see_codes(const Tensor *t, int64_t at, int64_t n, Sums *u)
{
    int64_t step = fmt_info[t->fmt].tail ? BLOCK : fmt_info[t->fmt].elems;
    float first = 0;
    for (int64_t from = 0; from < n; from += step) {
        int8_t code[BLOCK];
        int64_t k = least(step, n - from);
        bool used = false;
        float scale = tensor_scale(t, at + from);
        tensor_codes(t, at + from, k, code);
        for (int64_t i = 0; i < k; i++) {
            u->bad_code |= code[i] == 2;
            used |= code[i] != 0;
        }
        if (!used)
            continue;
        u->finite &= scale >= 0 && isfinite(scale);
        u->low = u->low == 0 || scale < u->low ? scale : u->low;
        u->high = scale > u->high ? scale : u->high;
        first = first == 0 ? scale : first;
        u->narrow |= scale != first;
    }
}

static void scan_slice(Session *own, int i, void *arg)
{
    const Scan *scan = arg;
    const Tensor *t = scan->c->t;
    Sums *u = &scan->sums[i];
    int64_t from = (int64_t)i * SLICE, to = least(from + SLICE, values(t));
    float part[PART];
    (void)own;
    *u = (Sums){.exact = true, .finite = true};
    for (int64_t at = from; at < to; at += PART) {
        int64_t n = least(PART, to - at);
        tensor_floats(t, at, n, part);
        see_floats(part, n, u);
    }
    for (int64_t at = from; ternary(t->fmt) && at < to; at += BLOCK)
        see_codes(t, at, least(BLOCK, to - at), u);
}

static Sums scan_all(Session *s, const Change *c)
{
    int64_t n = values(c->t), slices = (n + SLICE - 1) / SLICE;
    Scan scan = {c, NEW_ARRAY(s, Sums, slices)};
    Sums all = {.exact = true, .finite = true};
    parallel((int)slices, scan_slice, &scan);
    for (int64_t i = 0; i < slices; i++) {
        const Sums *u = &scan.sums[i];
        all.sum += u->sum;
        all.squares += u->squares;
        all.most = u->most > all.most ? u->most : all.most;
        all.first = all.first == 0 ? u->first : all.first;
        all.exact &= u->exact && (u->first == 0 || u->first == all.first);
        all.low = all.low == 0 || (u->low != 0 && u->low < all.low) ? u->low : all.low;
        all.high = u->high > all.high ? u->high : all.high;
        all.finite &= u->finite;
        all.bad_code |= u->bad_code;
        all.narrow |= u->narrow;
    }
    return all;
}

static void mean_of_rows(Session *own, int i, void *arg)
{
    const Change *c = arg;
    float part[PART];
    int64_t cols = c->t->cols, to = least((int64_t)(i + 1) * ROWS, c->t->rows);
    (void)own;
    for (int64_t row = (int64_t)i * ROWS; row < to; row++) {
        double sum = 0;
        for (int64_t at = 0; at < cols; at += PART) {
            int64_t n = least(PART, cols - at);
            tensor_floats(c->t, row * cols + at, n, part);
            for (int64_t k = 0; k < n; k++)
                sum += (double)fabsf(part[k]);
        }
        c->row_scale[row] = (float)(sum / (double)cols);
    }
}

static void check_shape(Session *s, const Gguf *g, const Change *c)
{
    const char *fmt = fmt_info[c->to].name;
    if (c->to == c->t->fmt)
        return;
    if (ternary(c->to) && fmt_info[c->to].tail && c->grain != GRAIN_TENSOR)
        fail(s, g->loc,
             "%s holds one scale a tensor; a scale for each row or for each 256 values of a row "
             "needs tq1_0 or tq2_0: --type=tq2_0",
             fmt);
    if (!fmt_extent(c->to, c->t->rows, c->t->cols))
        fail(s, g->loc,
             "%s has %lld rows of %lld values, which %s cannot hold in blocks of %d%s; leave it as "
             "it is (--keep=%s=same) or choose f16 for it",
             c->t->name, (long long)c->t->rows, (long long)c->t->cols, fmt, fmt_info[c->to].elems,
             fmt_info[c->to].tail ? " over the whole tensor" : " of a row", c->t->name);
}

/* Numbers that the format must hold. */
static void check_values(Session *s, const Gguf *g, const Change *c, const Sums *u)
{
    if (u->bad_code)
        fail(
            s, g->loc,
            "%s holds a code that %s does not define: the file is damaged or, for i2_s, of another "
            "layout (--i2s-layout=x128, arm64 or row4)",
            c->t->name, fmt_info[c->t->fmt].name);
    if (!u->finite || !isfinite(u->squares))
        fail(s, g->loc,
             "%s holds values that are infinite or NaN, or scales below zero; the model is "
             "damaged",
             c->t->name);
    if (u->most > most_half && c->to != FMT_F32 && c->to != FMT_BF16)
        fail(s, g->loc,
             "%s holds values up to %g, more than %s can say (65504); keep them: --keep=%s=bf16",
             c->t->name, (double)u->most, fmt_info[c->to].name, c->t->name);
    if (c->way == WAY_CODES && fmt_info[c->to].tail && u->high - u->low > u->high / 1024)
        fail(s, g->loc,
             "%s has a scale for each %d values, from %g to %g, and %s holds one a tensor; choose "
             "tq1_0 or tq2_0",
             c->t->name, fmt_info[c->t->fmt].elems, (double)u->low, (double)u->high,
             fmt_info[c->to].name);
    if (c->way == WAY_CODES && !fmt_info[c->to].tail && u->narrow)
        fail(s, g->loc,
             "%s has a scale for each %d values, and %s holds one for 256; leave it as it is "
             "(--keep=%s=same) or choose q8_0",
             c->t->name, fmt_info[c->t->fmt].elems, fmt_info[c->to].name, c->t->name);
}

void quantize_scan(Session *s, const Gguf *g, Change *c)
{
    const Tensor *t = c->t;
    check_shape(s, g, c);
    if (c->to == t->fmt) {
        c->way = WAY_COPY;
        return;
    }
    if (values(t) / SLICE >= INT32_MAX)
        fail(s, g->loc, "%s has %lld values, more than any model", t->name, (long long)values(t));
    Sums u = scan_all(s, c);
    c->scanned = true;
    c->mean = u.sum / (double)values(t);
    c->squares = u.squares;
    c->most = u.most;
    c->exact = u.exact;
    c->way = !ternary(c->to)   ? WAY_FLOATS
             : ternary(t->fmt) ? WAY_CODES
             : u.exact         ? WAY_EXACT
                               : WAY_ABSMEAN;
    check_values(s, g, c, &u);
    c->scale = c->way == WAY_CODES ? u.high : c->way == WAY_EXACT ? u.first : (float)c->mean;
    if (c->way == WAY_ABSMEAN && c->grain == GRAIN_ROW) {
        c->row_scale = NEW_ARRAY(s, float, t->rows);
        parallel((int)((t->rows + ROWS - 1) / ROWS), mean_of_rows, c);
    }
}

/* ---- encoding ---- */

typedef struct Part { /* of a slice: what it lost */
    double error;
    int64_t zeros, plus, middle, flips;
} Part;

typedef struct Encode {
    const Change *c;
    int64_t first, n; /* values of this round */
    uint8_t *out;
    Part *part;
} Encode;

/* The scale of n values, which have one where they are not zero. */
static float codes_scale(const Tensor *t, int64_t at, int64_t n)
{
    int step = fmt_info[t->fmt].elems;
    float scale = 0;
    for (int64_t i = 0; i < n && scale == 0; i += step) {
        int8_t code[BLOCK];
        tensor_codes(t, at + i, step, code);
        for (int k = 0; k < step && scale == 0; k++)
            scale = code[k] ? tensor_scale(t, at + i) : 0;
    }
    return scale;
}

/* The scale of the block of w at value `at` of the tensor. */
static float block_scale(const Change *c, int64_t at, const float *w, int64_t n)
{
    double sum = 0;
    if (c->way == WAY_CODES)
        return fmt_info[c->to].tail || fmt_info[c->t->fmt].tail ? c->scale
                                                                : codes_scale(c->t, at, n);
    if (c->way == WAY_EXACT || c->grain == GRAIN_TENSOR)
        return c->scale;
    if (c->grain == GRAIN_ROW)
        return c->row_scale[at / c->t->cols];
    for (int64_t i = 0; i < n; i++)
        sum += (double)fabsf(w[i]);
    return (float)(sum / (double)n);
}

/* round(w / s) to the nearest of -1, 0, 1; a half goes to 0, which is even. */
static void round_codes(const float *w, int64_t n, float scale, int8_t *code)
{
    float inv = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < n; i++)
        code[i] = (int8_t)((w[i] * inv > 0.5f) - (w[i] * inv < -0.5f));
}

static void lost(const Change *c, const float *w, const float *said, int64_t n, Part *p)
{
    float quarter = (float)c->mean / 4;
    for (int64_t i = 0; i < n; i++) {
        double e = (double)w[i] - (double)said[i];
        float a = fabsf(w[i]);
        p->error += e * e;
        p->zeros += said[i] == 0;
        p->plus += said[i] > 0;
        p->middle += a < quarter;
        p->flips += a >= quarter && a < 3 * quarter;
    }
}

/* Values [at, at + n), at most PART, to out: blocks that begin there. */
static void encode_ternary(const Change *c, int64_t at, int64_t n, uint8_t *out, Part *p)
{
    const FmtInfo *f = &fmt_info[c->to];
    float w[BLOCK], said[BLOCK];
    int8_t code[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t k = least(BLOCK, n - i);
        tensor_floats(c->t, at + i, k, w);
        float scale = block_scale(c, at + i, w, k);
        if (c->way == WAY_CODES)
            tensor_codes(c->t, at + i, k, code);
        else
            round_codes(w, k, scale, code);
        codes_encode(c->to, code, k, scale, out + i / f->elems * f->bytes);
        scale = f->tail ? scale : f16_to_float(float_to_f16(scale));
        for (int64_t j = 0; j < k; j++)
            said[j] = scale * (float)code[j];
        lost(c, w, said, k, p);
    }
}

static void encode_floats(const Change *c, int64_t at, int64_t n, uint8_t *out, Part *p)
{
    float w[PART], said[PART];
    tensor_floats(c->t, at, n, w);
    size_t size = floats_encode(c->to, w, n, out);
    Tensor made = {
        .name = c->t->name, .fmt = c->to, .rows = 1, .cols = n, .data = out, .size = size};
    tensor_floats(&made, 0, n, said);
    lost(c, w, said, n, p);
}

static void encode_slice(Session *own, int i, void *arg)
{
    const Encode *e = arg;
    const FmtInfo *f = &fmt_info[e->c->to];
    int64_t from = (int64_t)i * SLICE, to = least(from + SLICE, e->n);
    (void)own;
    e->part[i] = (Part){0};
    for (int64_t at = from; at < to; at += PART) {
        uint8_t *out = e->out + at / f->elems * f->bytes;
        (ternary(e->c->to) ? encode_ternary : encode_floats)(
            e->c, e->first + at, least(PART, to - at), out, &e->part[i]);
    }
}

/* The bytes of one tensor, round by round. */
static void write_tensor(GgufOut *g, Change *c, uint8_t *room)
{
    int64_t n = values(c->t), middle = 0, flips = 0;
    const FmtInfo *f = &fmt_info[c->to];
    if (c->way == WAY_COPY) {
        gguf_data(g, c->t->data, c->t->size);
        return;
    }
    c->error = 0;
    c->zeros = c->plus = 0;
    for (int64_t at = 0; at < n; at += (int64_t)AT_ONCE * SLICE) {
        Part part[AT_ONCE];
        Encode e = {c, at, least((int64_t)AT_ONCE * SLICE, n - at), room, part};
        int slices = (int)((e.n + SLICE - 1) / SLICE);
        parallel(slices, encode_slice, &e);
        for (int i = 0; i < slices; i++) {
            c->error += part[i].error;
            c->zeros += part[i].zeros;
            c->plus += part[i].plus;
            middle += part[i].middle;
            flips += part[i].flips;
        }
        gguf_data(g, room, (size_t)(e.n / f->elems * f->bytes));
    }
    if (f->tail) {
        uint8_t tail[64];
        CHECK(f->tail <= (int)sizeof tail);
        gguf_data(g, tail, codes_tail(c->to, c->scale, tail));
    }
    /* Densities: `middle` counts an interval of s/2 (both signs), `flips` two of them. */
    c->pile = c->way == WAY_ABSMEAN ? (double)flips / 2 / (double)(middle ? middle : 1) : 0;
}

int64_t quantize_write(Session *s, const Gguf *from, Change *c, int64_t n, Fmt type,
                       const char *path)
{
    GgufOut *g = gguf_create(s, path);
    int file_type = gguf_file_type(type);
    bool told = false;
    uint8_t *room = alloc(s, (size_t)AT_ONCE * SLICE * 4);
    for (int64_t i = 0; i < gguf_key_count(from); i++) {
        const GgufValue *v = gguf_key_at(from, i);
        bool is_type = !strcmp(v->key, "general.file_type");
        if (is_type && file_type >= 0)
            gguf_put_u32(g, v->key, (uint32_t)file_type);
        else if (strncmp(v->key, "split.", 6) != 0) /* of a file in parts: this one is whole */
            gguf_put_value(g, from, v);
        told |= is_type;
    }
    if (!told && file_type >= 0)
        gguf_put_u32(g, "general.file_type", (uint32_t)file_type);
    for (int64_t i = 0; i < n; i++)
        gguf_put_like(g, gguf_tensor_info(c[i].t), c[i].to);
    gguf_begin(g);
    for (int64_t i = 0; i < n; i++) {
        progress(s, "%lld of %lld tensors: %s", (long long)i, (long long)n,
                 quote(s, c[i].t->name, strlen(c[i].t->name)));
        write_tensor(g, &c[i], room);
    }
    progress_end(s);
    gguf_end(g);
    return gguf_bytes(g);
}

/* ---- what was found ---- */

double change_error(const Change *c)
{
    return c->squares > 0 ? sqrt(c->error / c->squares) : 0;
}

double change_entropy(const Change *c)
{
    double n = (double)values(c->t), bits = 0;
    double share[3] = {(double)c->zeros / n, (double)c->plus / n, 0};
    if (!ternary(c->to) || c->way == WAY_COPY)
        return -1;
    share[2] = 1 - share[0] - share[1];
    for (int i = 0; i < 3; i++)
        bits -= share[i] > 0 ? share[i] * log2(share[i]) : 0;
    return bits;
}

bool never_trained(const Change *c)
{
    return c->way == WAY_ABSMEAN && c->pile < 1.2 && change_error(c) > 0.35;
}

Fmt main_type(const Change *c, int64_t n)
{
    int64_t sum[FMT_COUNT] = {0};
    Fmt best = FMT_F32;
    for (Role role = ROLE_LINEAR; role <= ROLE_WORDS && sum[best] == 0; role++) {
        for (int64_t i = 0; i < n; i++)
            sum[c[i].to] += c[i].role == role ? c[i].t->rows * c[i].t->cols : 0;
        for (int f = 0; f < FMT_COUNT; f++)
            best = sum[f] > sum[best] ? (Fmt)f : best;
    }
    return best;
}
