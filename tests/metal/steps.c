/* steps.c: logits of a model, as its GPU and as C compute them: a prefill pass, then decode steps
 * until the context is full; then the embedding of three tokens, by decode steps. One number a
 * line. */
#include <stdio.h>
#include <stdlib.h>

#include HEADER

int main(void)
{
    const bn_info *info = bn_describe(&m_model);
    size_t size = bn_state_size(&m_model, 2);
    int32_t token[4] = {1, 7, 3, 9};
    bn_weights w;
    bn_state *s;
    const float *logits;
    float *mean = calloc((size_t)info->embedding, sizeof *mean);
    bn_status status = bn_open(&w, &m_model, NULL);
    if (status == BN_OK)
        status = bn_init(&s, &w, 2, malloc(size), size);
    if (status != BN_OK) {
        fprintf(stderr, "cannot start: %s\n", bn_status_text(status));
        return 1;
    }
    for (int n = 4; bn_position(s) < info->context; n = 1) {
        if (bn_eval(s, token, n, &logits) != BN_OK) {
            fprintf(stderr, "%s\n", bn_message(s));
            return 1;
        }
        for (int i = 0; i < info->vocab; i++)
            printf("%.9g\n", (double)logits[i]);
        token[0] = 11;
    }
    if (bn_eval(s, token, 1, &logits) != BN_CONTEXT ||
        bn_embed(s, token, 3, BN_POOL_MEAN, mean) != BN_OK)
        return 1;
    for (int i = 0; i < info->embedding; i++)
        printf("%.9g\n", (double)mean[i]);
    free(mean);
    bn_done(s);
    bn_close(&w);
    return 0;
}
