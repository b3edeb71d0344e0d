/* fuzz_chat.c: any bytes as messages, as JSON and as variables, through a compiled template that
 * uses every part of the interpreter (corners.jinja).
 *
 * The first byte says whether an answer begins (bit 0), whether the rest is JSON of messages and
 * tools (2) or of variables (4), and whether the second says the size of the first buffer (8); the
 * rest are roles and contents in turn, or JSON texts, each up to the next zero byte. Whatever they
 * hold: nothing outside of buffers of exact size is touched, and the size that bn_chat asks for
 * rises until it suffices.
 */
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"

#include "must.h"

static const unsigned char code[] = {
#include "corners.inc"
};

enum { TURNS = 64 };

static int rope_table_of(char *text, size_t size, bn_turn turn[TURNS])
{
    int n = 0;
    for (size_t at = 0; at < size && n < TURNS; n++) {
        turn[n].role = text + at;
        at += strlen(text + at) + 1;
        turn[n].content = at < size ? text + at : NULL;
        at += at < size ? strlen(text + at) + 1 : 0;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const bn_model model = {.chat = code, .chat_bytes = sizeof code};
    bn_turn turn[TURNS];
    bn_chat_options more = {.messages = NULL};
    if (size < 2)
        return 0;
    bn_weights w = {.model = &model};
    size_t cap = data[0] & 8 ? 8 * (size_t)data[1] : 32768, need = 0;
    int begin = data[0] & 1, n;
    char *text = malloc(size - 1), *out = NULL;
    bn_status status;
    MUST(text);
    memcpy(text, data + 2, size - 2);
    text[size - 2] = 0;
    n = rope_table_of(text, size - 2, turn);
    if (data[0] & 2) {
        more.messages = n > 0 ? turn[0].role : "";
        more.tools = n > 0 ? turn[0].content : NULL;
        n = 0;
    } else if (data[0] & 4 && n > 0) {
        more.variables = turn[--n].role;
    }
    for (;;) {
        out = malloc(cap ? cap : 1);
        MUST(out);
        status = bn_chat(&w, turn, n, begin, &more, out, cap, &need);
        if (status != BN_SPACE)
            break;
        MUST(need > cap);
        cap = need;
        free(out);
    }
    MUST(status == BN_OK || status == BN_TEMPLATE);
    MUST(need < cap && out[need] == 0);
    free(out);
    free(text);
    return 0;
}
