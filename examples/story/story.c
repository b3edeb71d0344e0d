/* story.c: a product: tells a story with a model that bnc compiled. It sees bn.h and the generated
 * header, nothing else. */
#include <stdio.h>
#include <stdlib.h>

#include "fables.h"

static int print_text(void *user, const char *text, size_t len)
{
    (void)user;
    fwrite(text, 1, len, stdout);
    return fflush(stdout); /* a reader who has gone stops the story */
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 1 ? argv[1] : "Once upon a time";
    size_t size = bn_state_size(&fables_model, 2);
    void *block = malloc(size);
    bn_sampling sampling = {.temperature = 0.7f, .top_k = 40, .top_p = 0.95f, .seed = 7};
    bn_weights weights;
    bn_state *state;

    if (bn_open(&weights, &fables_model, FABLES_WEIGHTS) != BN_OK) {
        fprintf(stderr, "story: %s\n", weights.message);
        return 1;
    }
    if (!block || bn_init(&state, &weights, 2, block, size) != BN_OK) {
        fprintf(stderr, "story: no memory or no thread for the model\n");
        return 1;
    }
    printf("%s", prompt);
    if (bn_generate(state, prompt, 600, &sampling, print_text, NULL) == BN_ARGUMENT)
        fprintf(stderr, "story: %s\n", bn_message(state));
    printf("\n");
    bn_done(state);
    bn_close(&weights);
    free(block);
    return 0;
}
