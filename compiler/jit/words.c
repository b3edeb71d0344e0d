/* words.c: what the constants in a compiled chat template mean. */
#include "jit/lower.h"
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../chat/text.c"
#include "../chat/lists.c"

static const struct {
    const char *name;
    int value;
} words[] = {
#define WORD(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
    WORD(CH_UNDEFINED), WORD(CH_NONE),     WORD(CH_BOOL),  WORD(CH_INT),        WORD(CH_TEXT),
    WORD(CH_MESSAGE),   WORD(CH_MESSAGES), WORD(CH_PARTS), WORD(CH_RANGE),      WORD(CH_UPPER),
    WORD(CH_LOWER),     WORD(CH_TITLE),    WORD(BN_OK),    WORD(CH_CAPITALIZE),
#undef WORD
};

int chat_word(const char *name)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i].name, name))
            return words[i].value;
    die("the chat template's C names '%s'", name);
}
