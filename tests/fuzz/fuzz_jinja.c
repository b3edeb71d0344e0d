/* fuzz_jinja.c: any bytes as a chat template, and a conversation through it.
 *
 * One idea: a template is either refused, with a message that has a place in it, or becomes a
 * program that ends within its limits, in any buffer, with a text or a reason. That the text is
 * right is the differential test's to show.
 */
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include "chat/chat.h"

#include "must.h"

typedef struct Run {
    Session s;
    ChatTemplate t;
    Out c;
} Run;

static void compile(void *arg)
{
    Run *r = arg;
    static const VocabText token[] = {{"<s>", 3}, {"<|user|>", 8}, {"<|im", 4}, {"<|im_end|>", 10}};
    static const int32_t type[] = {VOCAB_CONTROL, VOCAB_USER, VOCAB_USER, VOCAB_USER};
    static const VocabSource vocab = {.n = 4, .tokens = token, .types = type};
    const ChatTokens tokens = {"<s>", "</s>", NULL, "<pad>", &vocab};
    chat_compile(&r->s, &r->t, &tokens, &r->c);
}

static char room[1 << 20]; /* more than the limits of this program (tests.mk) allow a run */

static void talk(const Run *r)
{
    static const bn_turn turn[] = {{"system", " Be <s> brief.\n"},
                                   {"user", "Hello\n\xc3\xa9 <think>x</think> 'a', \"b\""},
                                   {"assistant", NULL},
                                   {"user", ""}};
    struct tm now = {.tm_mday = 31, .tm_year = 125};
    const bn_chat_options more = {
        .tools = "[{\"name\": \"f\", \"parameters\": {\"a\": [1, 2.5, null, true, {}]}}]",
        .variables =
            "{\"enable_thinking\": false, \"x\": [\"b\", \"a\", \"c\"], \"d\": {\"k\": 1}}",
        .now = &now};
    const bn_model model = {.chat = (const unsigned char *)r->c.text, .chat_bytes = r->c.len};
    const bn_weights w = {.model = &model};
    size_t need, again;
    bn_status status = bn_chat(&w, turn, 4, 1, &more, room, sizeof room, &need);
    MUST(status == BN_OK || status == BN_TEMPLATE);
    MUST(room[need] == 0);
    char *small = malloc(4096); /* of its own size, so that a write past its end is seen */
    MUST(small);
    bn_status second = bn_chat(&w, turn, 4, 1, &more, small, 4096, &again);
    MUST(second == BN_SPACE ? again > 4096 : second == status && again == need);
    MUST(second == BN_SPACE || !memcmp(small, room, need));
    free(small);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run r;
    char *copy = must_copy(data, size);
    memset(&r, 0, sizeof r);
    session_start(&r.s, NULL);
    r.t = (ChatTemplate){"fuzz.jinja", copy, size, false};
    r.c.s = &r.s;
    bool ok = session_try(&r.s, compile, &r);
    MUST(ok == (r.s.nerror == 0));
    if (ok)
        talk(&r);
    session_end(&r.s);
    free(copy);
    return 0;
}
