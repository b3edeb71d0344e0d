/* profile.c: reading the times that a model compiled with --profile keeps (bn_profile.h). */
#include <string.h>

#include "bn_profile.h"
#include "internal.h"

static bn_log *profile_log(const bn_state *s, const bn_profile *p, int thread)
{
    return (bn_log *)(void *)(s->team.slot[thread].call.own + p->at);
}

void bn_profile_clear(bn_state *s, const bn_profile *p)
{
    for (int i = 0; i < s->team.nthread; i++) {
        bn_log *log = profile_log(s, p, i);
        memset(log, 0, sizeof *log + (size_t)p->nslot * sizeof(uint64_t));
    }
}

const bn_log *bn_profile_log(const bn_state *s, const bn_profile *p, int thread)
{
    return thread < 0 || thread >= s->team.nthread ? NULL : profile_log(s, p, thread);
}

const uint64_t *bn_profile_ticks(const bn_log *log)
{
    return (const uint64_t *)(const void *)(log + 1);
}

const bn_timestamp *bn_profile_timestamp(const bn_log *log, const bn_profile *p, uint64_t back)
{
    uint64_t ring = (uint64_t)p->ntimestamp;
    const bn_timestamp *timestamp =
        (const bn_timestamp *)(const void *)(bn_profile_ticks(log) + p->nslot);
    return back >= log->count || back >= ring ? NULL
                                              : &timestamp[(log->count - 1 - back) & (ring - 1)];
}
