/* fake_model.h: a model written by hand, for testing the runtime without the compiler.
 *
 * One idea: its logits are a hash of every token so far, computed through the cache, the shared
 * and the own scratch in five steps with barriers between them, every step cut over the threads.
 * A runtime that loses a barrier, a chunk, a position or a byte of scratch changes the logits.
 *
 * It brings its own tokenizer (bytes are tokens), so tests that include it link the runtime
 * without tokenize.c and detokenize.c, or from an archive. Include it after cmocka.h.
 */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"

enum {
    FAKE_VOCAB = 300,
    FAKE_BOS = 256,
    FAKE_EOS = 257,
    FAKE_EOT = 258,
    FAKE_LONG = 259, /* its piece is too long for any workspace */
    FAKE_CONTEXT = 64,
    FAKE_BATCH = 8,
    FAKE_LANES = 16,
    FAKE_EMBEDDING = 5,
    FAKE_VOCAB_AT = BN_BNW_BODY,
    FAKE_VOCAB_SIZE = 101, /* ragged: every branch of the hash */
    FAKE_WEIGHTS_AT = BN_BNW_BODY + 128,
    FAKE_WEIGHTS = 64,
    FAKE_BYTES = FAKE_WEIGHTS_AT + FAKE_WEIGHTS
};

/* What a test can make the model say: one token that wins (-1: none), or all its logits. */
static int fake_winner = -1;
static int fake_fixed;
static float fake_logit[FAKE_VOCAB];

static uint32_t fake_mix(uint32_t x, uint32_t y)
{
    uint32_t h = (x + 1) * 0x9e3779b1u ^ (y + 7) * 0x85ebca6bu;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    return h ^ h >> 13;
}

/* Shared scratch: token codes [batch], partial sums [batch x lanes], keys [batch]. */
typedef struct fake_shared {
    uint32_t code[FAKE_BATCH], part[FAKE_BATCH][FAKE_LANES], key[FAKE_BATCH];
} fake_shared;

/* What decode and prefill hand to head: settings are those of the pass, not of the head. */
typedef struct fake_hidden {
    float x[FAKE_EMBEDDING]; /* what bn_embed takes */
    uint32_t key;
    int winner, fixed;
} fake_hidden;

static float fake_value(uint32_t key, int i)
{
    return (float)(int)(fake_mix(key, 0xe + (uint32_t)i) % 200) - 100.0f;
}

static float fake_row(const bn_call *c, const fake_hidden *h, int v)
{
    const uint32_t key = h->key;
    if (h->fixed)
        return fake_logit[v];
    if (v == h->winner)
        return 100.0f;
    if (v == FAKE_LONG)
        return -100.0f;
    return (float)(fake_mix(key, (uint32_t)v) % 1000) / 100.0f + c->weights[FAKE_WEIGHTS_AT];
}

static void fake_forward(const bn_call *c, int all_rows)
{
    fake_shared *s = (fake_shared *)(void *)c->shared;
    uint32_t *cache = (uint32_t *)(void *)c->cache, *own = (uint32_t *)(void *)c->own;
    int lo, hi;
    bn_share(c, c->ntok, &lo, &hi);
    for (int t = lo; t < hi; t++)
        s->code[t] = fake_mix((uint32_t)c->tokens[t], (uint32_t)(c->pos + t));
    bn_barrier(c);
    bn_share(c, c->ntok, &lo, &hi);
    for (int t = c->ntok - hi; t < c->ntok - lo; t++) /* mostly what others computed */
        cache[c->pos + t] = s->code[t];
    bn_barrier(c);
    bn_share(c, FAKE_LANES, &lo, &hi);
    for (int t = 0; t < c->ntok; t++)
        for (int lane = lo; lane < hi; lane++) {
            s->part[t][lane] = 0;
            for (int j = lane; j <= c->pos + t; j += FAKE_LANES)
                s->part[t][lane] += fake_mix(cache[j], (uint32_t)j);
        }
    bn_barrier(c);
    bn_share(c, c->ntok, &lo, &hi);
    for (int t = lo; t < hi; t++) {
        s->key[t] = 0;
        for (int lane = 0; lane < FAKE_LANES; lane++)
            s->key[t] += s->part[t][lane];
    }
    bn_barrier(c);
    for (int t = 0; t < c->ntok; t++) /* through own scratch: another's would show */
        own[t] = s->key[t] + (uint32_t)c->thread;
    for (int t = all_rows ? 0 : c->ntok - 1; t < c->ntok; t++) {
        fake_hidden h = {{0}, own[t] - (uint32_t)c->thread, fake_winner, fake_fixed};
        for (int i = 0; i < FAKE_EMBEDDING; i++)
            h.x[i] = fake_value(h.key, i);
        bn_share(c, all_rows ? FAKE_VOCAB : 1, &lo, &hi);
        if (!all_rows && lo < hi)
            memcpy(c->hidden, &h, sizeof h);
        for (int v = lo; all_rows && v < hi; v++)
            c->logits[t * FAKE_VOCAB + v] = fake_row(c, &h, v);
    }
}

static void fake_head(const bn_call *c)
{
    fake_hidden h;
    int lo, hi;
    memcpy(&h, c->hidden, sizeof h);
    bn_share(c, FAKE_VOCAB, &lo, &hi);
    for (int v = lo; v < hi; v++)
        c->logits[v] = fake_row(c, &h, v);
}

static float fake_finite(float x)
{
    return x > -FLT_MAX ? x < FLT_MAX ? x : FLT_MAX : -FLT_MAX;
}

static int fake_ntopk; /* how often fake_topk ran */

/* Of tokens that are not among the top k it gives every seventh, which the runtime has to accept. */
static void fake_topk(const bn_call *c)
{
    fake_hidden h;
    int lo, hi;
    memcpy(&h, c->hidden, sizeof h);
    if (c->thread == 0)
        fake_ntopk++;
    bn_share(c, FAKE_VOCAB, &lo, &hi);
    for (int v = lo; v < hi; v++) {
        float x = fake_row(c, &h, v);
        int better = 0;
        for (int u = 0; u < FAKE_VOCAB; u++)
            better += fake_finite(fake_row(c, &h, u)) > fake_finite(x);
        c->logits[v] = better < c->topk || v % 7 == 0 ? x : -INFINITY;
    }
}

/* Each refuses the other's work, visibly. */
static void fake_decode(const bn_call *c)
{
    if (c->ntok == 1)
        fake_forward(c, 0);
    else if (c->thread == 0)
        ((fake_hidden *)(void *)c->hidden)->key ^= 1u;
}

static void fake_prefill(const bn_call *c)
{
    if (c->ntok > 1)
        fake_forward(c, 0);
    else if (c->thread == 0)
        ((fake_hidden *)(void *)c->hidden)->key ^= 1u;
}

static void fake_score(const bn_call *c)
{
    fake_forward(c, 1);
}

static const bn_code fake_code = {0, fake_decode, fake_prefill, fake_score, fake_head, fake_topk};

/* XXH64 of bytes 0, 1, 2, ... 100, as the reference implementation computes it. */
#define FAKE_VOCAB_HASH 0xe99038495f85381eu
#define FAKE_HASH 0x1122334455667788u

static const bn_model fake_model = {
    .abi = BN_ABI,
    .info = {.name = "fake",
             .arch = "none",
             .target = "scalar",
             .source_hash = "0",
             .compiler = "hand",
             .vocab = FAKE_VOCAB,
             .context = FAKE_CONTEXT,
             .layers = 1,
             .width = 1,
             .batch = FAKE_BATCH,
             .bos = FAKE_BOS,
             .eos = FAKE_EOS,
             .eot = FAKE_EOT,
             .add_bos = 1,
             .embedding = FAKE_EMBEDDING,
             .pooling = BN_POOL_LAST,
             .weight_bytes = FAKE_BYTES},
    .hash = FAKE_HASH,
    .vocab_at = FAKE_VOCAB_AT,
    .vocab_size = FAKE_VOCAB_SIZE,
    .vocab_hash = FAKE_VOCAB_HASH,
    .shared_bytes = sizeof(fake_shared),
    .own_bytes = FAKE_BATCH * sizeof(uint32_t),
    .cache_bytes = FAKE_CONTEXT * sizeof(uint32_t),
    .hidden_bytes = sizeof(fake_hidden),
    .code = &fake_code,
    .ncode = 1,
};

/* Writes the model's .bnw into bnw[FAKE_BYTES]. */
static void fake_bnw(unsigned char *bnw)
{
    bn_bnw h = {.abi = BN_ABI,
                .order = 0x01020304,
                .bytes = FAKE_BYTES,
                .hash = FAKE_HASH,
                .vocab_hash = FAKE_VOCAB_HASH};
    memcpy(h.magic, BN_BNW_MAGIC, sizeof h.magic);
    memset(bnw, 0, FAKE_BYTES);
    memcpy(bnw, &h, sizeof h);
    for (int i = 0; i < FAKE_VOCAB_SIZE; i++)
        bnw[FAKE_VOCAB_AT + i] = (unsigned char)i;
    bnw[FAKE_WEIGHTS_AT] = 3;
}

/* One state over the model's bytes, as most tests want it. */

static _Alignas(64) unsigned char fake_bytes[FAKE_BYTES + 64];

typedef struct rig {
    bn_weights w;
    bn_state *s;
    void *block;
    size_t size;
} rig;

/* The block stands one byte off every alignment, filled with bytes that no code expects. */
static inline void rig_up(rig *r, int threads)
{
    fake_bnw(fake_bytes);
    assert_int_equal(bn_open_memory(&r->w, &fake_model, fake_bytes, FAKE_BYTES), BN_OK);
    r->size = bn_state_size(&fake_model, threads);
    assert_true(r->size > 0);
    r->block = malloc(r->size + 1);
    memset(r->block, 0xa5, r->size + 1);
    assert_int_equal(bn_init(&r->s, &r->w, threads, (char *)r->block + 1, r->size), BN_OK);
}

static inline void rig_down(rig *r)
{
    bn_done(r->s);
    bn_close(&r->w);
    free(r->block);
}

/* The tokenizer: a byte is a token. Pieces of 260 and up are letters, of the others nothing. */

static bn_status fake_vocab_status = BN_OK;

bn_status bn_vocab_check(const bn_weights *w);
bn_status bn_vocab_check(const bn_weights *w)
{
    (void)w;
    return fake_vocab_status;
}

size_t bn_token_room(const bn_weights *w, size_t len)
{
    (void)w;
    return BN_TOKEN_ROOM(len);
}

bn_status bn_tokenize(const bn_weights *w, const char *text, size_t len, unsigned flags,
                      int32_t *tokens, size_t cap, size_t *count)
{
    size_t n = 0;
    if (cap < len + 1)
        return BN_SPACE;
    if ((flags & BN_ADD_SPECIAL) && w->model->info.add_bos)
        tokens[n++] = FAKE_BOS;
    for (size_t i = 0; i < len; i++)
        tokens[n++] = (unsigned char)text[i];
    *count = n;
    return BN_OK;
}

const char *bn_piece(const bn_weights *w, int32_t token, size_t *len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
#define FAKE_4(x) (char)(x), (char)((x) + 1), (char)((x) + 2), (char)((x) + 3)
#define FAKE_16(x) FAKE_4(x), FAKE_4((x) + 4), FAKE_4((x) + 8), FAKE_4((x) + 12)
#define FAKE_64(x) FAKE_16(x), FAKE_16((x) + 16), FAKE_16((x) + 32), FAKE_16((x) + 48)
    static const char bytes[256] = {FAKE_64(0), FAKE_64(64), FAKE_64(128), FAKE_64(192)};
    (void)w;
    *len = 0;
    if (token >= 0 && token < 256) {
        *len = 1;
        return bytes + token;
    }
    if (token == FAKE_LONG)
        *len = 1u << 20;
    else if (token > FAKE_LONG && token < FAKE_VOCAB)
        *len = 2;
    return token > FAKE_LONG && token < FAKE_VOCAB ? letters + (token - FAKE_LONG - 1) : "";
}

void bn_text_start(bn_text *t, const bn_weights *w)
{
    *t = (bn_text){.w = w};
}

/* Like the real one it drops a leading space and holds back (here: any byte above 127). */
size_t bn_detokenize(bn_text *t, int32_t token, char *out)
{
    size_t len, n = 0;
    const char *piece = bn_piece(t->w, token, &len);
    for (size_t i = 0; i < len; i++) {
        if ((piece[i] & 0x80) && !t->nheld) {
            t->held[t->nheld++] = (unsigned char)piece[i];
            continue;
        }
        if (t->nheld)
            out[n++] = (char)t->held[--t->nheld];
        if (t->started || piece[i] != ' ')
            out[n++] = piece[i];
    }
    t->started |= len > 0;
    return n;
}

size_t bn_text_finish(bn_text *t, char *out)
{
    if (!t->nheld)
        return 0;
    t->nheld = 0;
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

#endif
