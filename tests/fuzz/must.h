/* must.h: what a fuzz target holds to be true whatever the input, and the input to hold. */
#ifndef MUST_H
#define MUST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input in memory of its own size, so that a read past its end is seen; for free(). */
static inline void *must_copy(const uint8_t *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    MUST(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

#endif
