/* sequel.c: goes on with each line of standard input, in a few words. The weights are inside the
 * program, so that there is no file beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fables.h"

enum { THREADS = 1, TOKENS = 24 };

static int print_text(void *user, const char *text, size_t len)
{
    (void)user;
    for (size_t i = 0; i < len; i++)
        putchar(text[i] == '\n' ? ' ' : text[i]);
    return ferror(stdout);
}

static int go_on(bn_state *state)
{
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        bn_sampling greedy = {0};
        line[strcspn(line, "\n")] = 0;
        printf("%s", line);
        bn_rewind(state, 0);
        bn_status status = bn_generate(state, line, TOKENS, &greedy, print_text, NULL);
        printf("\n");
        if (status != BN_OK) {
            fprintf(stderr, "sequel: %s\n", bn_message(state));
            return 1;
        }
    }
    return 0;
}

int main(void)
{
    size_t size = bn_state_size(&fables_model, THREADS);
    void *block = malloc(size);
    bn_weights weights;
    bn_state *state;
    int result = 1;

    if (bn_open(&weights, &fables_model, NULL) != BN_OK) {
        fprintf(stderr, "sequel: %s\n", weights.message);
    } else if (!block || bn_init(&state, &weights, THREADS, block, size) != BN_OK) {
        fprintf(stderr, "sequel: no memory or no thread for the model\n");
    } else {
        result = go_on(state);
        bn_done(state);
    }
    bn_close(&weights);
    free(block);
    return result;
}
