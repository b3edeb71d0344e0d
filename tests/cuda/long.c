/* long.c: decode behind a long prompt gives the bits of a prefill pass: attention over several
 * chunks, one behind the other or by many blocks. Prints "same", or the first logits that differ.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include HEADER

#ifndef PROMPT
#define PROMPT 262
#endif
enum { KEPT = PROMPT - 8, STEPS = 2 };

int main(void)
{
    const bn_info *info = bn_describe(&m_model);
    size_t size = bn_state_size(&m_model, 1), bytes = sizeof(float) * (size_t)info->vocab;
    int32_t token[PROMPT + STEPS];
    float *kept = malloc(bytes * STEPS);
    const float *logits;
    bn_weights w;
    bn_state *s;
    if (!kept || bn_open(&w, &m_model, NULL) || bn_init(&s, &w, 1, malloc(size), size))
        return 1;
    for (int i = 0; i < PROMPT + STEPS; i++)
        token[i] = i * 37 % info->vocab;
    if (bn_eval(s, token, PROMPT, &logits))
        return 1;
    for (int i = 0; i < STEPS; i++) {
        if (bn_eval(s, token + PROMPT + i, 1, &logits))
            return 1;
        memcpy(kept + i * info->vocab, logits, bytes);
    }
    for (int i = 0; i < STEPS; i++) {
        int n = PROMPT + i - KEPT + 1; /* more than one: a prefill pass */
        if (bn_rewind(s, KEPT) || bn_eval(s, token + KEPT, n, &logits))
            return 1;
        for (int j = 0; j < info->vocab; j++)
            if (logits[j] != kept[i * info->vocab + j]) {
                printf("step %d, token %d: %.9g, not %.9g\n", i, j,
                       (double)kept[i * info->vocab + j], (double)logits[j]);
                return 1;
            }
    }
    puts("same");
    bn_done(s);
    bn_close(&w);
    return 0;
}
