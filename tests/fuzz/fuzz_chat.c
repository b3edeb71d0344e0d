/* fuzz_chat.c: any bytes as messages, through a compiled template that uses all of text.c.
 *
 * The first byte says whether an answer begins, the second the size of the first buffer; the rest
 * are roles and contents in turn, each up to the next zero byte. Whatever they hold: nothing
 * outside of buffers of exact size is touched, the size that bn_chat asks for rises until it
 * suffices, a text and its marks are the same each time.
 */
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"

#include "must.h"

#include "corners.inc"

enum { TURNS = 64 };

static int turns_of(char *text, size_t size, bn_turn turn[TURNS])
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
    static const bn_model model = {.chat = chat_template};
    bn_turn turn[TURNS];
    if (size < 2)
        return 0;
    bn_weights w = {.model = &model};
    size_t cap = data[1], need = 0;
    int begin = data[0] & 1, n;
    char *text = malloc(size - 1), *out = NULL;
    bn_status status;
    MUST(text);
    memcpy(text, data + 2, size - 2);
    text[size - 2] = 0;
    n = turns_of(text, size - 2, turn);
    for (;;) {
        out = malloc(cap ? cap : 1);
        MUST(out);
        status = bn_chat(&w, turn, n, begin, out, cap, &need);
        if (status != BN_SPACE)
            break;
        MUST(need > cap);
        cap = need;
        free(out);
    }
    MUST(status == BN_OK || status == BN_TEMPLATE);
    MUST(status != BN_OK || (need < cap && out[need] == 0));
    free(out);
    free(text);
    return 0;
}
