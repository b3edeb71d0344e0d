/* driver.c: a compiled template (`bnc template T -o FILE`, or -DMODEL=NAME: that of a model linked
 * in) as a filter, for differential.py: reads conversations from standard input, writes what
 * bn_chat gives for each.
 *
 *     in    "N BEGIN MESSAGES TOOLS VARIABLES NOW\n", N times "ROLE_BYTES CONTENT_BYTES\n" role
 * content, then the JSON of MESSAGES, TOOLS, VARIABLES bytes; CONTENT_BYTES and these -1: none; NOW
 * is seconds, 0: no time out   "STATUS BYTES\n" text, and after BN_OK as many marks
 *
 * Besides it holds bn_chat to its word: the size it asks for suffices, one byte less than the text
 * does not, and nothing is written beyond the buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime-min/chat.c"

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "driver.c:%d: %s\n", __LINE__, #x);                                    \
            exit(3);                                                                               \
        }                                                                                          \
    } while (0)

typedef struct Talk {
    bn_turn *turns;
    int n, begin;
    bn_chat_options more;
    struct tm now;
} Talk;

static char *read_text(long size)
{
    if (size < 0)
        return NULL;
    char *text = malloc((size_t)size + 1);
    MUST(text && fread(text, 1, (size_t)size, stdin) == (size_t)size);
    text[size] = 0;
    return text;
}

/* bn_chat in a buffer of its exact size. */
static bn_status tell(const bn_weights *w, const Talk *t, size_t cap, char **text, size_t *size)
{
    *text = malloc(cap ? cap : 1);
    MUST(*text);
    return bn_chat(w, t->turns, t->n, t->begin, &t->more, cap ? *text : NULL, cap, size);
}

static void marks(const bn_weights *w, const Talk *t, const char *text, size_t size)
{
    size_t cap = 1 << 22, need;
    char *out = malloc(cap);
    bnj_run r = {.marked = 1};
    MUST(out && chat_run(&r, w, t->turns, t->n, t->begin, &t->more, out, cap, &need) == BN_OK);
    MUST(r.used == 2 * size);
    for (size_t i = 0; i < size; i++) {
        MUST(out[2 * i] == text[i] && (out[2 * i + 1] & ~1) == 0);
        putchar(out[2 * i + 1]);
    }
    free(out);
}

static void answer(const bn_weights *w, const Talk *t)
{
    size_t size = 0, cap = 0;
    char *text = NULL, *less;
    bn_status status;
    while ((status = tell(w, t, cap, &text, &size)) == BN_SPACE) {
        MUST(size > cap);
        cap = size;
        free(text);
    }
    MUST(status == BN_OK || status == BN_TEMPLATE);
    MUST(cap > 0 && text[size] == 0);
    printf("%d %zu\n", status == BN_OK ? 0 : 1, size);
    fwrite(text, 1, size, stdout);
    if (status == BN_OK) {
        size_t need;
        marks(w, t, text, size);
        MUST(tell(w, t, size, &less, &need) == BN_SPACE && need > size);
        free(less);
    }
    fflush(stdout);
    free(text);
}

static const bn_model *model_of(const char *path)
{
#ifdef MODEL
    extern const bn_model MODEL;
    (void)path;
    return &MODEL;
#else
    static unsigned char code[1 << 22];
    static bn_model model = {.chat = code};
    FILE *f = fopen(path, "rb");
    MUST(f);
    model.chat_bytes = fread(code, 1, sizeof code, f);
    fclose(f);
    return &model;
#endif
}

int main(int argc, char **argv)
{
    bn_weights w = {.model = model_of(argc > 1 ? argv[1] : "")};
    Talk t;
    long messages, tools, variables, now;
    memset(&t, 0, sizeof t);
    while (scanf("%d %d %ld %ld %ld %ld", &t.n, &t.begin, &messages, &tools, &variables, &now) ==
           6) {
        MUST(getchar() == '\n' && t.n >= 0);
        t.turns = calloc((size_t)t.n + 1, sizeof *t.turns);
        MUST(t.turns);
        for (int i = 0; i < t.n; i++) {
            long role, content;
            MUST(scanf("%ld %ld", &role, &content) == 2 && getchar() == '\n');
            t.turns[i].role = read_text(role);
            t.turns[i].content = read_text(content);
        }
        t.more.messages = read_text(messages);
        t.more.tools = read_text(tools);
        t.more.variables = read_text(variables);
        time_t seconds = (time_t)now;
        t.more.now = now ? gmtime_r(&seconds, &t.now) : NULL;
        answer(&w, &t);
        for (int i = 0; i < t.n; i++) {
            free((void *)(uintptr_t)t.turns[i].role);
            free((void *)(uintptr_t)t.turns[i].content);
        }
        free(t.turns);
        free((void *)(uintptr_t)t.more.messages);
        free((void *)(uintptr_t)t.more.tools);
        free((void *)(uintptr_t)t.more.variables);
    }
    return 0;
}
