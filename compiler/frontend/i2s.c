/* i2s.c: which layout the I2_S tensors of a file were packed in, found by statistics of the weights:
 * the file does not say (docs/formats.md). */
#include <math.h>

#include "frontend/gguf.h"

/* Columns that a wrong layout shuffles were trained beside the gains of the norm before them: how
 * many weights of a column are not 0 and how large its gain is depend on each other. r^2 (n - 1) of
 * their correlation is 1 on average where they do not, and 10 to 200 in trained models. */
static const char *const fed_by[][2] = {
    {"attn_q", "attn_norm"},     {"attn_k", "attn_norm"}, {"attn_v", "attn_norm"},
    {"ffn_gate", "ffn_norm"},    {"ffn_up", "ffn_norm"},  {"attn_output", "attn_sub_norm"},
    {"ffn_down", "ffn_sub_norm"}};
enum { PAIRS = sizeof fed_by / sizeof *fed_by, LOOKED_AT = 8 /* layers */ };

static double dependence(Session *s, const Tensor *t, const Tensor *norm)
{
    int64_t n = t->cols;
    double *full = NEW_ARRAY(s, double, n), sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
    int8_t *code = NEW_ARRAY(s, int8_t, n);
    float *gain = NEW_ARRAY(s, float, n);
    tensor_floats(norm, 0, n, gain);
    for (int64_t r = 0; r < t->rows; r++) {
        tensor_codes(t, r * n, n, code);
        for (int64_t i = 0; i < n; i++)
            full[i] += code[i] != 0;
    }
    for (int64_t i = 0; i < n; i++) {
        sx += full[i];
        sy += gain[i] = logf(fabsf(gain[i]) + 1e-9f);
    }
    for (int64_t i = 0; i < n; i++) {
        double x = full[i] - sx / (double)n, y = (double)gain[i] - sy / (double)n;
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    return xx > 0 && yy > 0 ? xy * xy / (xx * yy) * (double)(n - 1) : 0;
}

static double evidence(const Gguf *g, Fmt layout, int64_t most)
{
    Session own;
    double sum = 0;
    int n = 0;
    session_start(&own, NULL);
    for (int i = 0; i < LOOKED_AT * PAIRS && most > 0; i++) {
        const char *const *pair = fed_by[i % PAIRS];
        const char *at = format(&own, "blk.%d", i / PAIRS);
        const Tensor *t = gguf_tensor_find(g, format(&own, "%s.%s.weight", at, pair[0]));
        const Tensor *norm = gguf_tensor_find(g, format(&own, "%s.%s.weight", at, pair[1]));
        if (!t || !norm || gguf_tensor_info(t)->id != fmt_info[FMT_I2_S].gguf ||
            norm->fmt == FMT_COUNT || norm->rows != 1 || norm->cols != t->cols ||
            fmt_info[norm->fmt].kind != KIND_FLOAT ||
            fmt_extent(layout, t->rows, t->cols) != t->size)
            continue;
        Tensor as = *t;
        as.fmt = layout;
        sum += dependence(&own, &as, norm);
        most -= t->rows * t->cols;
        n++;
    }
    session_end(&own);
    return n ? sum / n : 0;
}

I2sEvidence gguf_i2s_evidence(const Gguf *g, Fmt layout, int64_t most)
{
    static const Fmt layouts[] = {FMT_I2_S, FMT_I2_S_ARM64, FMT_I2_S_ROW4};
    I2sEvidence e = {.fits = layout};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        double x = evidence(g, layouts[i], most);
        e.own = layouts[i] == layout ? x : e.own;
        e.fits = x > e.best ? layouts[i] : e.fits;
        e.best = x > e.best ? x : e.best;
    }
    e.other = e.best > 10 && e.best > 3 * e.own;
    e.sure = e.best > 10 && !e.other;
    return e;
}
