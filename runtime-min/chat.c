/* chat.c: conversations to text and tokens, by the template that the compiler made of the model's.
 *
 * One idea: the template is data, run by the interpreter (jinja_run.c) in the caller's buffer: the
 * text grows from its front, what the template makes on the way from its back.
 *
 *   bn_chat         out     +-- text, NUL --+-------- free --------+-- values --+
 *   bn_chat_tokens  tokens  +-- text with marks --+---- free ------+-- values --+
 *             then, moved:  +-- tokens -->   ...   free   +-- text --+-- marks --+
 *
 * The whole text is tokenized at once, so merges do not stop where a message begins; only
 * special tokens are looked for where the marks say that the template wrote them.
 */
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include "bn_vocab.h"
#include "jinja.h"

enum {
    CHAT_LITERALS = 4096, /* a guess at what a template adds of its own */
    CHAT_VALUES = 5
}; /* of a message: itself, two keys and what they stand for */

int bn_chat_known(const bn_model *model)
{
    return model && model->chat;
}

/* Roles that a template may make a special token of ("<|user|>"): their bytes count as its own. */
static int chat_role_known(bnj_value v)
{
    static const char *const roles[] = {"system", "user",    "assistant", "tool",       "developer",
                                        "model",  "ipython", "function",  "observation"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (bnj_is(v, roles[i]))
            return 1;
    return 0;
}

static bnj_value chat_text(const char *s)
{
    return s ? bnj_view(s, strlen(s), NULL, 0) : bnj_plain(BNJ_NONE, 0);
}

static void chat_turns(bnj_run *r, const bn_turn *turn, int n)
{
    bnj_value *v = bnj_array(r, (size_t)n, CHAT_VALUES * sizeof *v), *list = v;
    for (int i = 0; v && i < n; i++) {
        bnj_value *pair = v + n + 4 * (size_t)i;
        pair[0] = bnj_literal("role");
        pair[1] = chat_text(turn[i].role);
        pair[1].own = (uint8_t)chat_role_known(pair[1]);
        pair[2] = bnj_literal("content");
        pair[3] = chat_text(turn[i].content);
        list[i] = bnj_list(pair, 2);
        list[i].kind = BNJ_DICT;
    }
    r->messages = bnj_list(list, v ? (size_t)n : 0);
}

static void chat_json_turns(bnj_run *r, const char *json)
{
    r->messages = bnj_parse(r, "messages", json);
    for (size_t i = 0; r->messages.kind == BNJ_LIST && i < r->messages.n; i++) {
        bnj_value m = r->messages.u.item[i];
        for (size_t k = 0; m.kind == BNJ_DICT && k < m.n; k++) {
            bnj_value *v = (bnj_value *)(uintptr_t)(m.u.item + 2 * k + 1);
            if (bnj_is(m.u.item[2 * k], "role") && chat_role_known(*v))
                v->own = 1;
        }
    }
    if (r->status == BN_OK && r->messages.kind != BNJ_LIST)
        bnj_fail(r, "messages: expected a list of messages");
}

static int chat_date_good(const struct tm *t)
{
    return !t || (t->tm_mon >= 0 && t->tm_mon < 12 && t->tm_mday >= 1 && t->tm_mday <= 31 &&
                  t->tm_hour >= 0 && t->tm_hour < 24 && t->tm_min >= 0 && t->tm_min < 60 &&
                  t->tm_sec >= 0 && t->tm_sec <= 60 && t->tm_wday >= 0 && t->tm_wday < 7 &&
                  t->tm_yday >= 0 && t->tm_yday < 366 && t->tm_year >= -1900 && t->tm_year < 8100);
}

/* Bytes that the caller gives; SIZE_MAX where an argument is wrong. */
static size_t chat_given(const bn_turn *turn, int n, const bn_chat_options *o)
{
    size_t given = 0;
    const char *more[] = {o->messages, o->tools, o->variables};
    if (n < 0 || (n > 0 && !turn) || (o->messages && n > 0) || !chat_date_good(o->now))
        return SIZE_MAX;
    for (int i = 0; i < n; i++) {
        if (!turn[i].role)
            return SIZE_MAX;
        given += strlen(turn[i].role) + (turn[i].content ? strlen(turn[i].content) : 0);
    }
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        given += more[i] ? strlen(more[i]) : 0;
    return given < SIZE_MAX / 1024 ? given : SIZE_MAX;
}

static bn_status chat_run(bnj_run *r, const bn_weights *w, const bn_turn *turn, int n, int begin,
                          const bn_chat_options *options, void *buffer, size_t bytes, size_t *need)
{
    static const bn_chat_options none;
    static unsigned char nothing[16]; /* where there is no buffer: an address, never written */
    const bn_chat_options *o = options ? options : &none;
    if (!need || !w || !w->model || !w->model->chat || (!buffer && bytes > 0) ||
        !bnj_open(r, w->model->chat, w->model->chat_bytes))
        return BN_ARGUMENT;
    *need = 0;
    size_t given = chat_given(turn, n, o), at;
    if (given == SIZE_MAX)
        return BN_ARGUMENT;
    r->out = buffer ? buffer : nothing;
    at = (size_t)((uintptr_t)(r->out + bytes) & 15);
    r->top = r->end = r->floor = (unsigned char *)r->out + (bytes > at ? bytes - at : 0);
    r->limit = BN_JINJA_BYTES + 64 * given + 512 * (size_t)n;
    r->steps = BN_JINJA_STEPS;
    r->begin_answer = begin != 0;
    r->now = o->now;
    r->tools = bnj_plain(BNJ_MISSING, 0);
    if (o->messages)
        chat_json_turns(r, o->messages);
    else
        chat_turns(r, turn, n);
    if (o->tools)
        r->tools = bnj_parse(r, "tools", o->tools);
    if (o->variables)
        r->variables = bnj_parse(r, "variables", o->variables);
    if (o->variables && r->status == BN_OK && r->variables.kind != BNJ_DICT)
        bnj_fail(r, "variables: expected {\"name\": value, ...}");
    bnj_execute(r);
    if (r->status == BN_SPACE) {
        size_t most = r->limit + CHAT_LITERALS, guess = 2 * bytes + 8 * given + CHAT_LITERALS;
        guess += sizeof(bnj_value) * ((size_t)r->nslot + r->nstack + CHAT_VALUES * (size_t)n);
        *need = guess < most && guess > bytes ? guess : most > bytes ? most : bytes + 1;
    }
    return r->status;
}

bn_status bn_chat(const bn_weights *w, const bn_turn *messages, int n, int begin_answer,
                  const bn_chat_options *options, char *out, size_t cap, size_t *need)
{
    bnj_run r = {0};
    bn_status status = chat_run(&r, w, messages, n, begin_answer, options, out, cap, need);
    if (status == BN_TEMPLATE && cap == 0) { /* make room for the reason */
        *need = CHAT_LITERALS;
        return BN_SPACE;
    }
    if (status == BN_TEMPLATE) {
        size_t size = r.reason.n < cap ? r.reason.n : cap - 1;
        memmove(out, r.reason.u.s, size);
        out[size] = 0;
        *need = size;
    } else if (status == BN_OK) {
        *need = r.used < cap ? r.used : r.used + CHAT_LITERALS;
        if (r.used >= cap)
            return BN_SPACE;
        out[r.used] = 0;
    }
    return status;
}

/* Sorts out the bytes from their marks, to the end of the buffer, which is 4 times as large. */
static char *chat_part(char *buffer, size_t bytes, size_t text)
{
    char *to = buffer + (bytes - 2 * text);
    for (size_t i = text; i-- > 0;) {
        char mark = buffer[2 * i + 1];
        to[i] = buffer[2 * i];
        to[text + i] = mark;
    }
    return to;
}

static int32_t chat_guard(const bnj_run *r, size_t i)
{
    const unsigned char *p = r->guard + 4 * i;
    return (int32_t)(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* User-defined tokens that the template itself writes: special in a conversation. */
static int chat_guarded(const void *arg, int32_t token)
{
    const bnj_run *r = arg;
    size_t lo = 0, hi = r->nguard;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (chat_guard(r, mid) < token)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->nguard && chat_guard(r, lo) == token;
}

bn_status bn_chat_tokens(const bn_weights *w, const bn_turn *messages, int n, int begin_answer,
                         const bn_chat_options *options, int32_t *tokens, size_t cap, size_t *need)
{
    bnj_run r = {0};
    const bn_vocab *v = bn_vocab_of(w);
    size_t bytes = cap * sizeof *tokens, count = 0;
    if (!v || cap > SIZE_MAX / sizeof *tokens)
        return BN_ARGUMENT;
    r.marked = 1;
    bn_status status = chat_run(&r, w, messages, n, begin_answer, options, tokens, bytes, need);
    if (status != BN_OK) {
        *need = status == BN_SPACE ? *need / sizeof *tokens + 1 : 0;
        return status;
    }
    size_t text = r.used / 2, sure = bn_token_room(w, text) + text / 2 + 3;
    int bos = v->flags & BN_VOCAB_ADD_BOS && v->bos >= 0;
    *need = sure > cap ? sure : cap + 1;
    if (bytes < 4 * text + sizeof *tokens)
        return BN_SPACE;
    char *moved = chat_part((char *)(void *)tokens, bytes, text);
    size_t room = (bytes - 2 * text) / sizeof *tokens;
    status = bn_tokenize_marked(w, moved, text, (const unsigned char *)moved + text, chat_guarded,
                                &r, tokens + bos, room - (size_t)bos, &count);
    if (status != BN_OK)
        return status;
    if (bos && count > 0 && tokens[1] == v->bos) /* the template wrote it */
        memmove(tokens, tokens + 1, count-- * sizeof *tokens);
    if (bos)
        tokens[0] = v->bos;
    *need = count + (size_t)bos;
    return BN_OK;
}
