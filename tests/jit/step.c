/* step.c: a model's object without the runtime, on machines that have no threads and no mmap: one
 * thread, the weights inside the object, decode and topk on a few tokens, and what it found. */
#include <stdio.h>
#include <stdlib.h>

#include "bn_model.h"

extern const bn_model m_model;

void bn_barrier(const bn_call *c)
{
    (void)c;
}

int bn_ticket(const bn_call *c, int slot)
{
    (void)c, (void)slot;
    return 0; /* one thread takes nothing: its first part is the whole */
}

static void *room(uint64_t bytes)
{
    char *p = calloc((size_t)bytes + 128, 1);
    if (!p)
        exit(2);
    return p + (64 - (uintptr_t)p % 64) % 64;
}

int main(void)
{
    const bn_model *m = &m_model;
    int32_t token = m->info.bos < 0 ? 1 : m->info.bos;
    bn_call c = {.weights = m->embedded, .ntok = 1, .nthread = 1, .topk = 1, .tokens = &token};
    c.shared = room(m->shared_bytes);
    c.own = room(m->own_bytes);
    c.cache = room(m->cache_bytes);
    c.hidden = room(m->hidden_bytes);
    c.logits = room((uint64_t)m->info.vocab * sizeof(float));
    for (c.pos = 0; c.pos < 12; c.pos++) {
        m->code->decode(&c);
        m->code->lm_head(&c);
        token = 0;
        for (int i = 1; i < m->info.vocab; i++)
            token = c.logits[i] > c.logits[token] ? i : token;
        printf("%d ", (int)token);
    }
    printf("\n");
    return 0;
}
