/* generate.c: a prompt in, a stream of text out: the loop that most products want.
 *
 * One idea: it is written with the public calls only, plus the state's own workspace, so a product
 * that wants another loop copies this one. Every token whose text was handed over is evaluated
 * before the call returns BN_OK: the next bn_generate, even with an empty prompt, goes on from
 * there. End tokens are not evaluated, nor is the token at which the callback stopped, a stop string
 * was complete or the context was full.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <string.h>

#include "bn_model.h"
#include "internal.h"

/* ---- stop strings ---- */

bn_status bn_stop_start(bn_stop *f, const char *const *text, int n)
{
    *f = (bn_stop){.found = -1};
    if (n < 0 || n > BN_STOPS || (n && !text))
        return BN_ARGUMENT;
    for (int i = 0; i < n; i++) {
        size_t len = text[i] ? strnlen(text[i], BN_STOP_BYTES + 1) : 0;
        if (len == 0 || len > BN_STOP_BYTES || ((unsigned char)*text[i] & 0xc0) == 0x80)
            return BN_ARGUMENT;
    }
    f->text = text;
    f->n = n;
    return BN_OK;
}

/* Whether text[i] begins with the last `len` bytes of what is held and `next` behind it. */
static int stop_begins(const bn_stop *f, int i, size_t len, char next)
{
    const char *held = f->held ? f->text[f->held_of] + f->held - (len - 1) : "";
    return next && strncmp(f->text[i], held, len - 1) == 0 && f->text[i][len - 1] == next;
}

/* Takes one byte. What is held is always the longest end of the text that begins a string, so no
 * string can begin before it. The length of the string that this byte completes; else 0. */
static size_t stop_byte(bn_stop *f, char next)
{
    int partial = 0;
    size_t longest = 0;
    for (size_t len = f->held + 1; len > 0; len--)
        for (int i = 0; i < f->n; i++) {
            if (!stop_begins(f, i, len, next))
                continue;
            if (!f->text[i][len]) {
                f->found = i;
                return len;
            }
            if (!longest) {
                partial = i;
                longest = len;
            }
        }
    f->held = longest;
    f->held_of = partial;
    return 0;
}

static int stop_hand(const char *text, size_t len, bn_on_text on_text, void *user)
{
    return len && on_text ? on_text(user, text, len) : 0;
}

int bn_stop_text(bn_stop *f, const char *text, size_t len, bn_on_text on_text, void *user)
{
    const char *before = f->held ? f->text[f->held_of] : "";
    size_t kept = f->held, cut = 0, at = 0;
    if (f->found >= 0)
        return 1;
    if (!f->n)
        return stop_hand(text, len, on_text, user);
    while (at < len && !cut)
        cut = stop_byte(f, text[at++]);
    /* Of the kept bytes and the `at` new ones all but the last go out. */
    size_t out = kept + at - (cut ? cut : f->held), old = out < kept ? out : kept;
    if (cut)
        f->held = 0;
    int stopped = stop_hand(before, old, on_text, user);
    if (!stopped)
        stopped = stop_hand(text, out - old, on_text, user);
    return stopped ? stopped : f->found >= 0;
}

int bn_stop_finish(bn_stop *f, bn_on_text on_text, void *user)
{
    size_t held = f->held;
    f->held = 0;
    return held ? stop_hand(f->text[f->held_of], held, on_text, user) : 0;
}

/* ---- the loop ---- */

typedef struct generate_call {
    bn_state *s;
    bn_text text;
    bn_stop stop;
    bn_on_text on_text;
    void *user;
} generate_call;

static bn_status generate_feed(bn_state *s, const char *prompt)
{
    size_t len = strlen(prompt), n = 0;
    unsigned flags = s->position == 0 ? BN_ADD_SPECIAL : 0;
    if (len || flags) {
        bn_status status = bn_tokenize(s->w, prompt, len, flags, s->work, s->work_ids, &n);
        if (status != BN_OK)
            return bn_fail(s->message, status, "the prompt of %zu bytes: %s", len,
                           status == BN_SPACE ? "too long for the context"
                                              : bn_status_text(status));
    }
    if (n > (size_t)s->context)
        return bn_fail(s->message, BN_CONTEXT,
                       "the prompt makes %zu tokens and the context holds %d", n, s->context);
    if (n)
        return bn_eval(s, s->work, (int)n, NULL);
    if (s->position == 0 || s->hidden_at != s->position)
        return bn_fail(s->message, BN_ARGUMENT,
                       "the prompt is empty and there is nothing to go on from");
    return BN_OK;
}

static bn_status generate_piece(bn_state *s, bn_text *text, int32_t token, size_t *bytes)
{
    size_t len = 0, room = s->work_ids * sizeof *s->work;
    (void)bn_piece(s->w, token, &len);
    if (len > room || BN_TEXT_ROOM(len) > room)
        return bn_fail(s->message, BN_SPACE,
                       "the text of token %d is longer (%zu bytes) than the workspace takes",
                       (int)token, len);
    *bytes = bn_detokenize(text, token, (char *)s->work);
    return BN_OK;
}

static bn_status generate_hand(generate_call *g, size_t bytes)
{
    if (bn_stop_text(&g->stop, (const char *)g->s->work, bytes, g->on_text, g->user) &&
        g->stop.found < 0)
        return bn_fail(g->s->message, BN_STOPPED, "the callback asked to stop at position %d",
                       g->s->position);
    return BN_OK;
}

static bn_status generate_step(generate_call *g, int32_t token)
{
    size_t bytes = 0;
    bn_status status = generate_piece(g->s, &g->text, token, &bytes);
    if (status == BN_OK)
        status = generate_hand(g, bytes);
    if (status == BN_OK && g->stop.found < 0)
        status = bn_eval(g->s, &token, 1, NULL);
    return status;
}

int bn_ends(const bn_model *model, int32_t token)
{
    const bn_info *info = &model->info;
    int ends = token < 0 || token == info->eos || token == info->eot;
    for (int32_t i = 0; i < info->nends && !ends; i++)
        ends = info->ends[i] == token;
    return ends;
}

/* The text is over without a stop string, unless the end of a broken character completes one. */
static bn_status generate_finish(generate_call *g)
{
    bn_status status = generate_hand(g, bn_text_finish(&g->text, (char *)g->s->work));
    if (status == BN_OK && g->stop.found < 0 && bn_stop_finish(&g->stop, g->on_text, g->user))
        return bn_fail(g->s->message, BN_STOPPED, "the callback asked to stop at position %d",
                       g->s->position);
    return status;
}

bn_status bn_generate(bn_state *s, const char *prompt, int max_tokens, bn_sampling *how,
                      bn_on_text on_text, void *user)
{
    generate_call g = {.s = s, .on_text = on_text, .user = user};
    size_t bytes = 0;
    if (!prompt || max_tokens < 0)
        return bn_fail(s->message, BN_ARGUMENT, "expected a prompt and max_tokens >= 0");
    if (bn_stop_start(&g.stop, how ? how->stop : NULL, how ? how->nstop : 0) != BN_OK)
        return bn_fail(
            s->message, BN_ARGUMENT,
            "expected up to %d stop strings of 1 to %d bytes that begin with a character", BN_STOPS,
            BN_STOP_BYTES);
    if (how)
        how->stopped = -1;
    bn_status status = generate_feed(s, prompt);
    if (status != BN_OK)
        return status;
    /* The text goes on after the last token of the prompt: no leading space is dropped, and a
     * character that the prompt began is finished. */
    bn_text_start(&g.text, s->w);
    status = generate_piece(s, &g.text, s->history[s->position - 1], &bytes);
    for (int i = 0; i < max_tokens && status == BN_OK && g.stop.found < 0; i++) {
        int32_t token = bn_sample(s, how);
        if (bn_ends(s->model, token))
            break;
        status = generate_step(&g, token);
    }
    if (status != BN_OK && status != BN_CONTEXT)
        return status;
    bn_status rest = BN_OK;
    if (g.stop.found < 0)
        rest = generate_finish(&g);
    if (how)
        how->stopped = g.stop.found;
    return rest == BN_OK ? status : rest;
}
