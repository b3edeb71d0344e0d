/* team.c: the threads that run one forward pass together, and the barrier between its steps.
 *
 * One idea: every wait is a wait for one counter to change. A waiter spins for about as long as a
 * step of a pass takes, then yields a few times, then sleeps; whoever changes a counter looks for
 * sleepers. So a pass on idle cores never enters the kernel, and one on busy cores does not burn
 * the time slice that the late thread needs: a thread that spins in vain halves its patience, one
 * that does not regains it in small steps.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <sched.h>
#include <signal.h>

#include "bn_model.h"
#include "internal.h"

enum {
    TEAM_STACK = 4 << 20, /* unoptimized frames of a block take 0.5 MB; pages come when touched */
    TEAM_SPINS = 4000,    /* some 50 to 150 microseconds */
    TEAM_SPINS_CROWDED = 20, /* where the late thread may need this processor */
    TEAM_SPINS_STEP = 50,
    TEAM_YIELDS = 20
};

static inline void team_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* The sleeper counts itself before its last look at the counter, and team_publish changes the
 * counter before it looks for sleepers; both in sequentially consistent order, so one of the two
 * sees the other. The lock closes the gap between the look and pthread_cond_wait. */
static void team_sleep(bn_team *t, atomic_uint *counter, unsigned old)
{
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(counter) == old)
        pthread_cond_wait(&t->changed, &t->lock);
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->lock);
}

/* Returns whether spinning was enough. */
static int team_wait(bn_team *t, atomic_uint *counter, unsigned old, int spins)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != old)
            return 1;
        team_pause();
    }
    for (int i = 0; i < TEAM_YIELDS; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != old)
            return 0;
        sched_yield();
    }
    team_sleep(t, counter, old);
    return 0;
}

static int team_patience(int spins, int enough, int most)
{
    if (!enough)
        return spins / 2 > TEAM_SPINS_CROWDED ? spins / 2 : TEAM_SPINS_CROWDED;
    return spins + TEAM_SPINS_STEP < most ? spins + TEAM_SPINS_STEP : most;
}

static void team_publish(bn_team *t, atomic_uint *counter, unsigned value)
{
    atomic_store(counter, value);
    if (atomic_load(&t->sleepers) == 0)
        return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

int bn_ticket(const bn_call *c, int slot)
{
    return atomic_fetch_add_explicit(&c->team->ticket[slot], 1, memory_order_relaxed);
}

void bn_barrier(const bn_call *c)
{
    bn_team *t = c->team;
    if (c->nthread == 1)
        return;
    /* Cannot move before this thread arrives, so reading it first is safe. */
    unsigned generation = atomic_load_explicit(&t->generation, memory_order_relaxed);
    unsigned before = atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel);
    if (before + 1 < (unsigned)c->nthread) {
        int *spins = &t->slot[c->thread].spins;
        int enough = team_wait(t, &t->generation, generation, *spins);
        *spins = team_patience(*spins, enough, t->spins);
        return;
    }
    atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
    for (int i = 0; i < BN_TICKETS; i++)
        atomic_store_explicit(&t->ticket[i], 0, memory_order_relaxed);
    team_publish(t, &t->generation, generation + 1);
}

static void *team_worker(void *slot)
{
    const bn_slot *own = slot;
    const bn_call *c = &own->call;
    bn_team *t = c->team;
    for (unsigned epoch = 0;; epoch++) {
        (void)team_wait(t, &t->epoch, epoch, own->spins);
        if (!t->work)
            return NULL;
        t->work(c);
        bn_barrier(c);
    }
}

void bn_team_run(bn_team *t, bn_forward work)
{
    const bn_call *c = &t->slot[0].call;
    if (t->nthread == 1) {
        work(c);
        return;
    }
    t->work = work;
    unsigned epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed);
    team_publish(t, &t->epoch, epoch + 1);
    work(c);
    bn_barrier(c);
}

static int team_spins(int nthread)
{
    return nthread > 1 && nthread > bn_cpus() ? TEAM_SPINS_CROWDED : TEAM_SPINS;
}

/* Signals of the product belong to its own threads; those that a thread raises against itself
 * stay open, so that crash reporters and profilers work. */
static void team_signals(sigset_t *blocked)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
    sigfillset(blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(blocked, own[i]);
}

static int team_spawn(bn_team *t)
{
    pthread_attr_t attr;
    sigset_t blocked, before;
    if (pthread_attr_init(&attr) != 0)
        return -1;
    /* A refusal (a platform with larger minimal stacks) leaves the default, which is larger. */
    (void)pthread_attr_setstacksize(&attr, TEAM_STACK);
    team_signals(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failed = 0;
    while (!failed && t->started + 1 < t->nthread) {
        bn_slot *slot = &t->slot[t->started + 1];
        failed = pthread_create(&slot->thread, &attr, team_worker, slot);
        t->started += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed;
}

bn_status bn_team_start(bn_team *t, bn_slot *slot, int nthread)
{
    atomic_init(&t->epoch, 0);
    atomic_init(&t->arrived, 0);
    atomic_init(&t->generation, 0);
    atomic_init(&t->sleepers, 0);
    for (int i = 0; i < BN_TICKETS; i++)
        atomic_init(&t->ticket[i], 0);
    t->work = NULL;
    t->slot = slot;
    t->nthread = nthread;
    t->started = 0;
    t->spins = team_spins(nthread);
    for (int i = 0; i < nthread; i++)
        slot[i].spins = t->spins;
    if (nthread == 1)
        return BN_OK;
    if (pthread_mutex_init(&t->lock, NULL) != 0)
        return BN_THREAD;
    if (pthread_cond_init(&t->changed, NULL) != 0) {
        pthread_mutex_destroy(&t->lock);
        return BN_THREAD;
    }
    if (team_spawn(t) == 0)
        return BN_OK;
    bn_team_stop(t);
    return BN_THREAD;
}

void bn_team_stop(bn_team *t)
{
    if (t->nthread == 1)
        return;
    t->work = NULL;
    team_publish(t, &t->epoch, atomic_load_explicit(&t->epoch, memory_order_relaxed) + 1);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->slot[i].thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
}
