/* generate.c: a prompt in, a stream of text out: the loop that most products want.
 *
 * One idea: it is written with the public calls only, plus the state's own workspace, so a product
 * that wants another loop copies this one. Every token whose text was handed over is evaluated
 * before the call returns BN_OK: the next bn_generate, even with an empty prompt, goes on from
 * there. End tokens are not evaluated, nor is the token at which the callback stopped or the
 * context was full.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <string.h>

#include "bn_model.h"
#include "internal.h"

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

static bn_status generate_hand(bn_state *s, size_t bytes, bn_on_text on_text, void *user)
{
    if (bytes && on_text && on_text(user, (const char *)s->work, bytes))
        return bn_fail(s->message, BN_STOPPED, "the callback asked to stop at position %d",
                       s->position);
    return BN_OK;
}

static bn_status generate_step(bn_state *s, bn_text *text, int32_t token, bn_on_text on_text,
                               void *user)
{
    size_t bytes = 0;
    bn_status status = generate_piece(s, text, token, &bytes);
    if (status == BN_OK)
        status = generate_hand(s, bytes, on_text, user);
    if (status == BN_OK)
        status = bn_eval(s, &token, 1, NULL);
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

bn_status bn_generate(bn_state *s, const char *prompt, int max_tokens, bn_sampling *how,
                      bn_on_text on_text, void *user)
{
    bn_text text;
    size_t bytes = 0;
    if (!prompt || max_tokens < 0)
        return bn_fail(s->message, BN_ARGUMENT, "expected a prompt and max_tokens >= 0");
    bn_status status = generate_feed(s, prompt);
    if (status != BN_OK)
        return status;
    /* The text goes on after the last token of the prompt: no leading space is dropped, and a
     * character that the prompt began is finished. */
    bn_text_start(&text, s->w);
    status = generate_piece(s, &text, s->history[s->position - 1], &bytes);
    for (int i = 0; i < max_tokens && status == BN_OK; i++) {
        int32_t token = bn_sample(s, how);
        if (bn_ends(s->model, token))
            break;
        status = generate_step(s, &text, token, on_text, user);
    }
    if (status != BN_OK && status != BN_CONTEXT)
        return status;
    bn_status rest = generate_hand(s, bn_text_finish(&text, (char *)s->work), on_text, user);
    return rest == BN_OK ? status : rest;
}
