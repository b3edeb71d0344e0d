/* driver.c: a compiled template (-DTEMPLATE="file.inc") as a filter, for differential.py: reads
 * conversations from standard input, writes what bn_chat gives for each.
 *
 *     in    "N BEGIN\n" then N times "ROLE_BYTES CONTENT_BYTES\n" role content; CONTENT_BYTES -1:
 * none out   "STATUS BYTES\n" text, and after BN_OK as many marks
 *
 * Besides it holds bn_chat to its word: the size it asks for suffices, one byte less does not, and
 * nothing is written beyond the buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include TEMPLATE

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "driver.c:%d: %s\n", __LINE__, #x);                                    \
            exit(3);                                                                               \
        }                                                                                          \
    } while (0)

static char *read_text(long size)
{
    char *text = malloc((size_t)size + 1);
    MUST(text && fread(text, 1, (size_t)size, stdin) == (size_t)size);
    text[size] = 0;
    return text;
}

/* bn_chat in a buffer of its exact size. */
static bn_status tell(const bn_weights *w, const bn_turn *turns, int n, int begin, size_t cap,
                      char **text, size_t *size)
{
    *text = malloc(cap ? cap : 1);
    MUST(*text);
    return bn_chat(w, turns, n, begin, cap ? *text : NULL, cap, size);
}

static void marks(const bn_turn *turns, int n, int begin, const char *text, size_t size)
{
    bn_chat_call c = {.messages = turns, .n = n, .begin_answer = begin, .cap = size};
    c.work_bytes = 1 << 24;
    c.work = malloc(c.work_bytes);
    c.out = malloc(size + 1);
    c.mark = malloc(size + 1);
    MUST(c.work && c.out && c.mark && chat_template(&c) == BN_OK);
    MUST(c.text == size && !memcmp(c.out, text, size));
    for (size_t i = 0; i < size; i++)
        MUST(c.mark[i] <= 1);
    fwrite(c.mark, 1, size, stdout);
    free(c.work);
    free(c.out);
    free(c.mark);
}

static void answer(const bn_turn *turns, int n, int begin)
{
    static const bn_model model = {.chat = chat_template};
    bn_weights w = {.model = &model};
    size_t size = 0, cap = 0;
    char *text = NULL, *less;
    bn_status status;
    while ((status = tell(&w, turns, n, begin, cap, &text, &size)) == BN_SPACE) {
        MUST(size > cap);
        cap = size;
        free(text);
    }
    if (status == BN_TEMPLATE) { /* the reason needs room, too */
        free(text);
        status = tell(&w, turns, n, begin, 1 << 20, &text, &size);
        MUST(status == BN_TEMPLATE);
    }
    MUST(status == BN_OK || status == BN_TEMPLATE);
    MUST(text[size] == 0);
    printf("%d %zu\n", status == BN_OK ? 0 : 1, size);
    fwrite(text, 1, size, stdout);
    if (status == BN_OK) {
        size_t need;
        marks(turns, n, begin, text, size);
        MUST(tell(&w, turns, n, begin, size, &less, &need) == BN_SPACE && need > size);
        free(less);
        MUST(tell(&w, turns, n, begin, need, &less, &need) != BN_ARGUMENT);
        free(less);
    }
    fflush(stdout);
    free(text);
}

int main(void)
{
    int n, begin;
    while (scanf("%d %d", &n, &begin) == 2) {
        MUST(getchar() == '\n' && n >= 0);
        bn_turn *turns = calloc((size_t)n + 1, sizeof *turns);
        MUST(turns);
        for (int i = 0; i < n; i++) {
            long role, content;
            MUST(scanf("%ld %ld", &role, &content) == 2 && getchar() == '\n');
            turns[i].role = read_text(role);
            turns[i].content = content < 0 ? NULL : read_text(content);
        }
        answer(turns, n, begin);
        for (int i = 0; i < n; i++) {
            free((void *)(uintptr_t)turns[i].role);
            free((void *)(uintptr_t)turns[i].content);
        }
        free(turns);
    }
    return 0;
}
