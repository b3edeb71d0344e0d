/* groups.c: ternary matrices with a scale for each group of 64, 128 or 256 columns of a row.
 *
 * One idea: scales stand as f16, times one f32 of the tensor. Files with f16 scales keep them (the f32 is
 * 1); one scale of a tensor is the f32 alone; floats that hold only -s, 0 and +s in each group keep s
 * exactly where 11 bits hold it, the f32 being a power of two.
 */
#include <math.h>

#include "ir/ir.h"

enum { CHUNK = 1 << 14 };

int fmt_group(Fmt fmt)
{
    switch (fmt) {
    case FMT_TERN64:
    case FMT_Q2R16G64:
        return 64;
    case FMT_TERN128:
    case FMT_Q2R16G128:
        return 128;
    case FMT_TERN256:
    case FMT_Q2R16G256:
        return 256;
    default:
        return 0;
    }
}

Fmt fmt_of_group(int group)
{
    return group == 64 ? FMT_TERN64 : group == 128 ? FMT_TERN128 : FMT_TERN256;
}

/* ---- which tensors are ternary ---- */

bool tensor_is_ternary(const Tensor *t, float *scale)
{
    float part[CHUNK], s = 0;
    int64_t n = t->rows * t->cols;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t k = n - at < CHUNK ? n - at : CHUNK;
        tensor_floats(t, at, k, part);
        for (int64_t i = 0; i < k; i++) {
            float a = fabsf(part[i]);
            s = s == 0 ? a : s;
            if (a != 0 && a != s)
                return false;
        }
    }
    if (scale)
        *scale = s;
    return true;
}

/* One scale for each `group` values of a row, bit for bit, and an f16? Scales of iq2_bn are f32. */
static bool blocks_agree(const Tensor *t, int group)
{
    int step = fmt_info[t->fmt].elems;
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c += step) {
            float s = tensor_scale(t, r * t->cols + c);
            if (s != f16_to_float(float_to_f16(s)) ||
                (step < group && s != tensor_scale(t, r * t->cols + c / group * group)))
                return false;
        }
    return true;
}

/* The magnitude of a group; -1: there are several, or one that is not finite. */
static float magnitude(const float *x, int64_t n)
{
    float s = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        if (a != 0 && (a != s && s != 0))
            return -1;
        s = a != 0 ? a : s;
    }
    return isfinite(s) ? s : -1;
}

/* Floats with one magnitude a group, all of 11 bits; *unit: the power of two below the largest. The
 * least must be a normal f16 beside that. */
static bool floats_agree(const Tensor *t, int group, float *unit)
{
    float x[256], most = 0, least = INFINITY;
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c += group) {
            int64_t n = t->cols - c < group ? t->cols - c : group;
            tensor_floats(t, r * t->cols + c, n, x);
            float s = magnitude(x, n);
            if (s < 0 || bits_of_f32(s) & 0x1fff)
                return false;
            most = s > most ? s : most;
            least = s > 0 && s < least ? s : least;
        }
    if (most > 0 && (most < 0x1p-100f || least < most * 0x1p-14f))
        return false;
    *unit = most > 0 ? ldexpf(1, ilogbf(most)) : 1;
    return true;
}

bool group_scales(const Tensor *t, int group, GroupScales *out)
{
    float unit = 1;
    if (fmt_info[t->fmt].kind == KIND_TERNARY) {
        bool one = fmt_info[t->fmt].tail > 0;
        if (!one && !blocks_agree(t, group))
            return false;
        *out = (GroupScales){one ? tensor_scale(t, 0) : 1, one};
        return true;
    }
    if (floats_agree(t, group, &unit)) {
        *out = (GroupScales){unit, false};
        return true;
    }
    if (!tensor_is_ternary(t, &unit))
        return false;
    *out = (GroupScales){unit, true};
    return true;
}

uint16_t group_scale(const Tensor *t, const GroupScales *g, int group, int64_t row, int64_t col)
{
    float x[256];
    int64_t n = t->cols - col < group ? t->cols - col : group, at = row * t->cols + col;
    if (g->one)
        return float_to_f16(1);
    if (fmt_info[t->fmt].kind == KIND_TERNARY)
        return float_to_f16(tensor_scale(t, at));
    tensor_floats(t, at, n, x);
    return float_to_f16(magnitude(x, n) / g->unit);
}
