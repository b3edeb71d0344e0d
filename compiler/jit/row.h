/* row.h: what a file of tools/rows.c begins with: the contract, and what of it the JIT calls by
 * name although it is inline in C. */
#ifndef BNC_JIT_ROW_H
#define BNC_JIT_ROW_H

#include "bn_profile.h"

typedef struct JitKernel {
    const char *name; /* NULL: the end */
    void (*code)(void);
} JitKernel;

/* Structures by address: how they pass by value is each machine's own. */
BN_INLINE void row_share(const bn_call *c, int units, int *part)
{
    bn_share(c, units, &part[0], &part[1]);
}

BN_INLINE int row_rows(const bn_call *c, int slot, int units, int least, bn_rows *r)
{
    return bn_rows_next(c, slot, units, least, r);
}

BN_INLINE void row_start(const bn_call *c, const bn_profile *p, int slot, int pass)
{
    bn_start(c, *p, slot, pass);
}

BN_INLINE void row_interval(const bn_call *c, const bn_profile *p, int slot)
{
    bn_interval(c, *p, slot);
}

#define ROW_KERNEL(f) {#f, (void (*)(void))f},
#define ROW_RUNTIME                                                                                \
    ROW_KERNEL(row_share) ROW_KERNEL(row_rows) ROW_KERNEL(row_start) ROW_KERNEL(row_interval)

#endif
