/* inproc.c: a model compiled, loaded and run inside bnc. */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/inproc.h"
#include "jit/jit.h"

/* ---- the model's code in this process ---- */

static void unload(void *library)
{
    dlclose(library);
}

/* The library holds the model alone: the two functions of the runtime that generated code calls,
 * bn_barrier and bn_ticket, are those of bnc, which exports them (Makefile: EXPORTS). */
static const bn_model *load_code(Session *s, const char *path, const bn_profile **profile)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail(s, loc_file(s, path), "cannot load the compiled model: %s", dlerror());
    session_defer(s, unload, library);
    const bn_model *model = dlsym(library, "model_model");
    if (!model)
        fail(s, loc_file(s, path), "is no compiled model: remove it and try again");
    *profile = dlsym(library, "model_profile");
    return model;
}

/* Returns the path of the weights. */
static const char *load_model(Session *s, const Options *o, InProc *l)
{
    const char *weights;
    if (o->jit) {
        const Jit *jit = jit_compile(s, o, &weights);
        l->model = jit->model;
        l->profile = jit->profile;
        return weights;
    }
    const char *library = cache_compile(s, o, "module", ".so");
    l->model = load_code(s, library, &l->profile);
    return format(s, "%.*s.bnw", (int)(strlen(library) - strlen(".so")), library);
}

/* ---- opening ---- */

static void close_live(void *arg)
{
    InProc *l = arg;
    bn_done(l->state);
    bn_close(&l->weights);
}

static void must(const InProc *l, bn_status status)
{
    const char *why = l->state ? bn_message(l->state) : l->weights.message;
    if (status != BN_OK)
        fail(l->s, loc_file(l->s, l->path), "%s", *why ? why : bn_status_text(status));
}

InProc *inproc_open(Session *s, const Options *given, const char *input, int threads)
{
    Options o = *given;
    InProc *l = NEW(s, InProc);
    int cores = bn_cpus(), most = cores < BN_MAX_THREADS ? cores : BN_MAX_THREADS;
    o.input = l->path = input;
    l->s = s;
    l->threads = threads ? threads : most;
    const char *weights = load_model(s, &o, l);
    l->info = bn_describe(l->model);
    session_defer(s, close_live, l);
    must(l, bn_open(&l->weights, l->model, weights));
    size_t size = bn_state_size(l->model, l->threads);
    must(l, bn_init(&l->state, &l->weights, l->threads, alloc(s, size), size));
    return l;
}

/* ---- running ---- */

void inproc_tokens(InProc *l, const char *text, size_t len, unsigned flags, int32_t **ids,
                   size_t *n)
{
    size_t room = BN_TOKEN_ROOM(len), most = bn_token_room(&l->weights, len);
    *ids = NEW_ARRAY(l->s, int32_t, room);
    bn_status status = bn_tokenize(&l->weights, text, len, flags, *ids, room, n);
    if (status == BN_SPACE && room < most) { /* a normalizer that made the text much longer */
        *ids = NEW_ARRAY(l->s, int32_t, most);
        status = bn_tokenize(&l->weights, text, len, flags, *ids, most, n);
    }
    if (status != BN_OK)
        fail(l->s, loc_file(l->s, l->path), "its tokenizer: %s", bn_status_text(status));
}

void inproc_rewind(InProc *l, int position)
{
    must(l, bn_rewind(l->state, position));
}

void inproc_eval(InProc *l, const int32_t *ids, int n)
{
    must(l, bn_eval(l->state, ids, n, NULL));
}

void inproc_score(InProc *l, const int32_t *ids, int n, float *logits)
{
    must(l, bn_score(l->state, ids, n, logits));
}

double inproc_norm(const float *x, int n)
{
    float most = x[0];
    double sum = 0;
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)most);
    return (double)most + log(sum);
}

float *inproc_logits(InProc *l)
{
    if (!l->logits)
        l->logits = NEW_ARRAY(l->s, float, (size_t)l->info->batch *(size_t)l->info->vocab);
    return l->logits;
}

double inproc_nll(InProc *l, const int32_t *ids, int n)
{
    int batch = l->info->batch, vocab = l->info->vocab;
    float *logits = inproc_logits(l);
    double sum = 0;
    CHECK(n <= l->info->context);
    inproc_rewind(l, 0);
    for (int at = 0; at + 1 < n; at += batch) {
        int k = n - 1 - at < batch ? n - 1 - at : batch;
        inproc_score(l, ids + at, k, logits);
        for (int i = 0; i < k; i++) {
            const float *row = logits + (size_t)i * (size_t)vocab;
            sum += inproc_norm(row, vocab) - (double)row[ids[at + i + 1]];
        }
    }
    return sum;
}
