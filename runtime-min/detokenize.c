/* detokenize.c: tokens to text, and the check of the tables that all of the tokenizer relies on.
 *
 * One idea: what a token prints stands ready in the tables, decoded by the compiler, so a piece is
 * a pointer into the mapped file; streaming adds only the patience for whole characters.
 */
#include "bn_model.h"
#include "bn_vocab.h"

#include <string.h>

const bn_vocab *bn_vocab_of(const bn_weights *w)
{
    if (!w || !w->data || !w->model || w->model->vocab_size == 0)
        return NULL;
    return (const bn_vocab *)(const void *)(w->data + w->model->vocab_at);
}

bn_status bn_vocab_check(const bn_weights *w)
{
    static const uint64_t unit[BN_VOCAB_NTABLES] = {
#define DET_UNIT(name, bytes) bytes,
        BN_VOCAB_TABLES(DET_UNIT)
#undef DET_UNIT
    };
    const bn_vocab *v = bn_vocab_of(w);
    if (!v)
        return BN_OK;
    uint64_t at = w->model->vocab_at, size = w->model->vocab_size;
    if (at > w->size || size > w->size - at || size < sizeof *v || at % 64 != 0)
        return BN_FORMAT;
    if (v->magic != BN_VOCAB_MAGIC || v->version != BN_VOCAB_VERSION || v->bytes != size)
        return BN_FORMAT;
    if ((v->kind != BN_VOCAB_BPE && v->kind != BN_VOCAB_SPM) || v->n < 1 || v->n > BN_VOCAB_MAX ||
        v->symbols < v->n)
        return BN_FORMAT;
    for (int i = 0; i < BN_VOCAB_NTABLES; i++)
        if (v->table[i].at % 64 != 0 || v->table[i].at > size ||
            v->table[i].count * unit[i] > size - v->table[i].at)
            return BN_FORMAT;
    if (v->table[BN_VOCAB_PIECES].count != (uint64_t)v->symbols + 1)
        return BN_FORMAT;
    const int32_t ids[] = {v->bos, v->eos, v->eot, v->unk, v->pad};
    for (int i = 0; i < 5; i++)
        if (ids[i] < -1 || ids[i] >= v->n)
            return BN_FORMAT;
    const int32_t *end = bn_vocab_table(v, BN_VOCAB_ENDS);
    for (uint32_t i = 0; i < v->table[BN_VOCAB_ENDS].count; i++)
        if (end[i] < 0 || end[i] >= v->n)
            return BN_FORMAT;
    return v->grow >= 1 && v->grow <= BN_VOCAB_GROW ? BN_OK : BN_FORMAT;
}

const unsigned char *bn_vocab_piece(const bn_vocab *v, uint32_t symbol, size_t *len)
{
    const uint32_t *at = bn_vocab_table(v, BN_VOCAB_PIECES);
    const unsigned char *pool = bn_vocab_table(v, BN_VOCAB_POOL);
    *len = 0;
    if (symbol >= (uint32_t)v->symbols || at[symbol] > at[symbol + 1] ||
        at[symbol + 1] > v->table[BN_VOCAB_POOL].count)
        return pool;
    *len = at[symbol + 1] - at[symbol];
    return pool + at[symbol];
}

const char *bn_piece(const bn_weights *w, int32_t token, size_t *len)
{
    const bn_vocab *v = bn_vocab_of(w);
    *len = 0;
    if (!v || token < 0 || token >= v->n)
        return "";
    return (const char *)bn_vocab_piece(v, (uint32_t)token, len);
}

/* ---- streaming ---- */

void bn_text_start(bn_text *t, const bn_weights *w)
{
    memset(t, 0, sizeof *t);
    t->w = w;
}

static size_t det_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* Can b follow the bytes held, which start a well-formed character? Only the second byte has
 * rules of its own: no overlong form, no surrogate, nothing above U+10FFFF. */
static int det_continues(const bn_text *t, unsigned char b)
{
    unsigned char lead = t->held[0];
    if ((b & 0xc0) != 0x80)
        return 0;
    if (t->nheld > 1)
        return 1;
    return lead == 0xe0   ? b >= 0xa0
           : lead == 0xed ? b < 0xa0
           : lead == 0xf0 ? b >= 0x90
           : lead == 0xf4 ? b < 0x90
                          : 1;
}

/* Takes one byte; writes what is settled by it: nothing, U+FFFD for what it breaks off, a whole
 * character. */
static size_t det_byte(bn_text *t, unsigned char b, char *out)
{
    size_t n = 0;
    if (t->nheld > 0 && !det_continues(t, b)) {
        n = det_replacement(out);
        t->nheld = 0;
    }
    if (t->nheld == 0 && b < 0x80) {
        out[n++] = (char)b;
        return n;
    }
    if (t->nheld == 0 && (b < 0xc2 || b > 0xf4))
        return n + det_replacement(out + n);
    t->held[t->nheld++] = b;
    if (t->nheld == (t->held[0] < 0xe0 ? 2 : t->held[0] < 0xf0 ? 3 : 4)) {
        memcpy(out + n, t->held, (size_t)t->nheld);
        n += (size_t)t->nheld;
        t->nheld = 0;
    }
    return n;
}

size_t bn_detokenize(bn_text *t, int32_t token, char *out)
{
    size_t len, n = 0, i = 0;
    const bn_vocab *v = bn_vocab_of(t->w);
    const unsigned char *piece = (const unsigned char *)bn_piece(t->w, token, &len);
    if (len == 0)
        return 0;
    if (!t->started && v->flags & BN_VOCAB_SPACE_PREFIX && piece[0] == ' ')
        i = 1;
    t->started = 1;
    for (; i < len; i++)
        n += det_byte(t, piece[i], out + n);
    return n;
}

size_t bn_text_finish(bn_text *t, char *out)
{
    size_t n = t->nheld > 0 ? det_replacement(out) : 0;
    t->nheld = 0;
    return n;
}
