/* shards.c: what of a model each of several cards holds. One idea: a matrix is split where every op
 * that reads it is; the others, and what is small, each card has whole. A decode step shares blocks
 * of 4 rows, other passes tiles, so a card holds the rows of both. All cards have the same places:
 *
 *   weights   | a matrix: rows of layer 0 | scales | rows of layer 1 | scales | ... | the next |
 *
 * Rows are counted from the whole matrix's first, so a kernel is given where that would stand.
 */
#include <inttypes.h>

#include "codegen-metal/print.h"

enum { PLACE = 256 };

/* Rows of a unit that a decode step, or a head, shares, and of one that other passes share; bytes
 * of a row; rows that stand in the file. */
static bool split_rows(const Printer *p, const Weight *w, Slice *s)
{
    const Type *t = w->type;
    if (t->rank != 2)
        return false;
    int64_t n = t->dim[0].n, k = t->dim[1].n, head = p->threads / 32;
    if (t->fmt == FMT_Q2R4)
        *s =
            (Slice){.fine = 4, .coarse = 128, .row = (k + 127) / 128 * 32, .rows = (n + 3) / 4 * 4};
    else if (t->fmt == FMT_F16)
        *s = (Slice){.fine = head, .coarse = head, .row = 2 * k, .rows = n};
    else
        return false;
    return true;
}

typedef struct Uses {
    const Printer *p;
    const Weight *w;
    bool stays, split; /* in a function whose blocks stay; by all ops so far */
} Uses;

static void look(Op *op, void *arg)
{
    Uses *u = arg;
    for (int i = 0; i < op->nin && op->kernel; i++)
        if (op->in[i]->weight == u->w)
            u->split &= u->stays ? facts_of(op).grid == GRID_SHARE : unit_wide(u->p, op) > 0;
}

static bool is_split(const Printer *p, const Weight *w)
{
    Uses u = {p, w, false, true};
    for (Func *f = p->m->funcs; f; f = f->next) {
        u.stays = func_stays(f, cuda_target());
        walk(f->body, look, &u);
    }
    return u.split;
}

/* As in cards.cu. */
static int64_t unit_from(int64_t n, int card, int cards)
{
    return n * card / cards;
}

/* The first row that a card holds; `end`: of the card before it, the one behind its last. */
static int64_t held(const Slice *s, int64_t n, int card, int cards, bool end)
{
    int64_t fine = s->fine * unit_from((n + s->fine - 1) / s->fine, card, cards),
            coarse = s->coarse * unit_from((n + s->coarse - 1) / s->coarse, card, cards);
    return (fine < coarse) != end ? fine : coarse;
}

static int64_t most_rows(const Slice *s, int64_t n, int cards)
{
    int64_t most = 0;
    for (int c = 0; c < cards; c++) {
        int64_t end = held(s, n, c + 1, cards, true), rows;
        rows = (end < s->rows ? end : s->rows) - held(s, n, c, cards, false);
        most = rows > most ? rows : most;
    }
    return most;
}

Slice slice_of(const Printer *p, const Weight *wanted)
{
    int64_t end = 0;
    for (const Weight *w = p->m->weights; w; w = w->next) {
        Slice s = {0};
        if (w->is_state)
            continue;
        if (p->cards > 1 && split_rows(p, w, &s) && is_split(p, w)) {
            int64_t bytes = most_rows(&s, w->type->dim[0].n, p->cards) * s.row;
            s.scales = w->scales ? round_up(bytes, PLACE) : 0;
            s.stride = round_up(w->scales ? s.scales + w->stride - w->scales : bytes, PLACE);
        } else {
            s = (Slice){.stride = p->cards > 1 ? round_up(w->stride, PLACE) : w->stride};
        }
        s.at = p->cards > 1 ? end : w->at; /* one card has the file's places */
        end = s.at + s.stride * (w->count ? w->count : 1);
        if (w == wanted)
            return s;
    }
    CHECK(!wanted);
    return (Slice){.at = end};
}

void put_slices(Printer *p)
{
    Out *o = p->out;
    put(o,
        "/* A card's weights: where a tensor's layers begin in the file and on the card, and how "
        "far they stand\n"
        " * apart; how many there are; bytes of a row, and rows; rows of a unit that cards share "
        "in decode, and in\n"
        " * other passes, 0: each has all; where scales stand in the file's, and in the card's. "
        "*/\n"
        "typedef struct bn_slice {\n    size_t from, stride, to, to_stride;\n    int layers;\n"
        "    size_t row;\n    int rows, fine, coarse;\n    size_t scales, to_scales;\n} bn_slice;\n"
        "static const bn_slice slices[] = {\n");
    for (const Weight *w = p->m->weights; w; w = w->next) {
        if (w->is_state)
            continue;
        Slice s = slice_of(p, w);
        put(o,
            "    {%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ", %d, %" PRId64 ", %" PRId64
            ", %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "}, /* %s */\n",
            w->at, w->stride, s.at, s.stride, w->count ? w->count : 1, s.fine ? s.row : w->stride,
            s.fine ? s.rows : 1, s.fine, s.coarse, s.fine ? w->scales : 0, s.scales, w->name);
    }
    put(o, "};\nstatic const size_t card_bytes = %" PRId64 ";\n\n", slice_of(p, NULL).at);
}
