/* quality.c: `bnc ppl` and `bnc compare`: what one measures before shipping a quantized model.
 *
 * One idea: a text is read in sliding windows, and every token of it is scored exactly once.
 *
 *     text     t0 t1 t2 t3 t4 t5 t6 t7 t8          ctx 5 with BOS, stride 2
 *     window 0  B [0  1  2  3]                     [ ]: scored, the others are context
 *     window 1        B  2  3 [4  5]
 *     window 2              B  4  5 [6  7]
 *     window 3                    B  6  7 [8]
 *
 * A window has ctx tokens, the first of them BOS where the model's metadata asks for it. The first
 * window scores all of its text (without BOS: all but the first token); each later one begins
 * `stride` tokens further on and scores what no window did before, so every scored token but those
 * of the first window sees ctx - stride tokens or more before it.
 *
 * Standard errors are those of a mean over independent tokens, sd / sqrt(n). Tokens of one text are
 * not quite independent: take them for a lower bound.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"
#include "driver/inproc.h"
#include "ir/escape.h"

enum { ABOVE = 2 }; /* exit status of compare above --max-kl */

typedef struct Mean {
    double sum, squares;
    int64_t n;
} Mean;

typedef struct Quality {
    Session *s;
    const char *file; /* the text */
    int64_t stride;
    bool json;
    InProc *a, *b;
    char *text;
    size_t bytes, n;
    int32_t *ids;
    int ctx, bos;      /* tokens of a window; 1 where it begins with BOS */
    Mean nll[2], gain; /* of a and b; gain: that of b less that of a */
    Mean kl;
    int64_t agree;
    double worst_kl;
    size_t worst; /* index into ids */
    int32_t worst_best[2];
    double worst_p[2];
    int64_t evaluated;
    double start, seconds;
} Quality;

/* ---- numbers ---- */

static void see(Mean *m, double x)
{
    m->sum += x;
    m->squares += x * x;
    m->n++;
}

static double mean_of(const Mean *m)
{
    return m->sum / (double)m->n;
}

static double error_of(const Mean *m)
{
    double n = (double)m->n, mean = m->sum / n, spread = m->squares / n - mean * mean;
    return m->n > 1 && spread > 0 ? sqrt(spread / (n - 1)) : 0;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- progress ---- */

static void show_progress(Quality *q, size_t done)
{
    double spent = seconds_now() - q->start;
    progress(q->s, "%3.0f %% of %zu tokens, perplexity %.4g, %.0f s left",
             100 * (double)done / (double)q->n, q->n, exp(mean_of(&q->nll[0])),
             done ? spent * (double)(q->n - done) / (double)done : 0);
}

static void end_progress(Quality *q)
{
    progress_end(q->s);
    q->seconds = seconds_now() - q->start;
    note(q->s, "%lld tokens evaluated in %.1f s: %.0f tokens/s with %d thread%s",
         (long long)q->evaluated, q->seconds, (double)q->evaluated / q->seconds, q->a->threads,
         q->a->threads > 1 ? "s" : "");
}

/* ---- reading the text in windows ---- */

static int top_token(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static double see_nll(Quality *q, int which, InProc *l, const float *row, size_t at)
{
    double norm = inproc_norm(row, l->info->vocab), nll = norm - (double)row[q->ids[at]];
    if (!isfinite(nll))
        fail(q->s, loc_file(q->s, l->path),
             "the logits of token %zu of the text are not finite; bnc inspect --check looks for "
             "the cause",
             at);
    see(&q->nll[which], nll);
    return norm;
}

/* Both rows predict token `at`. */
static void see_pair(Quality *q, const float *a, const float *b, size_t at)
{
    int n = q->a->info->vocab;
    double na = see_nll(q, 0, q->a, a, at), nb = see_nll(q, 1, q->b, b, at), kl = 0;
    for (int i = 0; i < n; i++) {
        double la = (double)a[i] - na, lb = (double)b[i] - nb, p = exp(la);
        kl += p > 0 ? p * (la - lb) : 0; /* where exp underflows the product goes to 0 */
    }
    kl = kl > 0 ? kl : 0; /* rounding */
    see(&q->kl, kl);
    see(&q->gain, (nb - (double)b[q->ids[at]]) - (na - (double)a[q->ids[at]]));
    int best[2] = {top_token(a, n), top_token(b, n)};
    q->agree += best[0] == best[1];
    if (kl > q->worst_kl || q->kl.n == 1) {
        q->worst_kl = kl;
        q->worst = at;
        memcpy(q->worst_best, (int32_t[]){best[0], best[1]}, sizeof q->worst_best);
        q->worst_p[0] = exp((double)a[best[0]] - na);
        q->worst_p[1] = exp((double)b[best[1]] - nb);
    }
}

/* Scores text tokens [first, to) after those from `from` on. */
static void read_window(Quality *q, int32_t *window, size_t from, size_t first, size_t to)
{
    int n = (int)(to - from) + q->bos - 1, at = (int)(first - from) + q->bos - 1;
    int vocab = q->a->info->vocab, batch = q->a->info->batch;
    InProc *model[2] = {q->a, q->b};
    memcpy(window + q->bos, q->ids + from, (to - from) * sizeof *window);
    for (int i = 0; i < 2 && model[i]; i++) {
        inproc_rewind(model[i], 0);
        if (at > 0)
            inproc_eval(model[i], window, at);
    }
    for (int k; at < n; at += k) {
        k = n - at < batch ? n - at : batch;
        for (int i = 0; i < 2 && model[i]; i++)
            inproc_score(model[i], window + at, k, inproc_logits(model[i]));
        for (int i = 0; i < k; i++) {
            size_t row = (size_t)i * (size_t)vocab;
            size_t token = from + (size_t)(at + i + 1 - q->bos);
            if (q->b)
                see_pair(q, q->a->logits + row, q->b->logits + row, token);
            else
                see_nll(q, 0, q->a, q->a->logits + row, token);
        }
        show_progress(q, from + (size_t)(at + k - q->bos));
    }
    q->evaluated += (int64_t)n * (q->b ? 2 : 1);
}

static void read_text(Quality *q)
{
    int32_t *window = NEW_ARRAY(q->s, int32_t, q->ctx + 1);
    size_t room = (size_t)(q->ctx - q->bos), from = 0, first = q->bos ? 0 : 1, to;
    window[0] = q->a->info->bos;
    q->start = seconds_now();
    do {
        to = q->n - from < room ? q->n : from + room;
        read_window(q, window, from, first, to);
        first = to;
        from += (size_t)q->stride;
    } while (to < q->n);
    end_progress(q);
}

/* ---- the text ---- */

/* Opens the text with the first model's tokens and fixes the windows. */
static void open_text(Quality *q)
{
    const bn_info *info = q->a->info;
    q->text = file_read(q->s, q->file, &q->bytes);
    inproc_tokens(q->a, q->text, q->bytes, 0, &q->ids, &q->n);
    q->bos = info->add_bos && info->bos >= 0;
    q->ctx = q->b && q->b->info->context < info->context ? q->b->info->context : info->context;
    if (q->n < (size_t)(2 - q->bos))
        fail(q->s, loc_file(q->s, q->file), "has %zu tokens: too few to score one", q->n);
    if (q->ctx < 2)
        fail(q->s, (Loc){0}, "windows of %d tokens predict nothing; --ctx must be 2 or more",
             q->ctx);
    if (!q->stride)
        q->stride = q->ctx / 2;
    if (q->stride > q->ctx - 1) /* a token is predicted by one before it at least */
        fail(q->s, (Loc){0}, "--stride goes to %d, one less than a window, not %lld", q->ctx - 1,
             (long long)q->stride);
}

static Quality *quality_new(Session *s, const Options *o, const char *text)
{
    Quality *q = NEW(s, Quality);
    *q = (Quality){.s = s, .file = text, .stride = o->stride, .json = o->as_json};
    q->a = inproc_open(s, o, o->input, (int)o->threads);
    return q;
}

/* ---- what was found ---- */

static void json_mean(Out *o, const char *label, const Mean *m)
{
    put(o, ", \"%s\": %.9g, \"%s_error\": %.4g", label, mean_of(m), label, error_of(m));
}

static void json_windows(const Quality *q, Out *o)
{
    put(o, "{\"tokens\": %lld, \"bytes\": %zu, \"ctx\": %d, \"stride\": %lld, \"bos\": %s",
        (long long)q->nll[0].n, q->bytes, q->ctx, (long long)q->stride, q->bos ? "true" : "false");
    put(o, ", \"threads\": %d, \"evaluated\": %lld, \"seconds\": %.3f, \"tokens_per_second\": %.1f",
        q->a->threads, (long long)q->evaluated, q->seconds, (double)q->evaluated / q->seconds);
}

static void put_windows(const Quality *q, Out *o)
{
    put(o, "scored        %lld tokens of %zu bytes, in windows of %d%s, stride %lld\n",
        (long long)q->nll[0].n, q->bytes, q->ctx, q->bos ? " that begin with BOS" : "",
        (long long)q->stride);
}

static void put_perplexity(Out *o, const char *label, const Mean *nll)
{
    double ppl = exp(mean_of(nll));
    put(o, "%-13s %.4f +- %.4f (%.5f +- %.5f nats a token)\n", label, ppl, ppl * error_of(nll),
        mean_of(nll), error_of(nll));
}

static void json_perplexity(Out *o, const char *end, const Mean *nll)
{
    Session *s = o->s;
    double ppl = exp(mean_of(nll));
    put(o, ", \"perplexity%s\": %.7g, \"perplexity%s_error\": %.4g", end, ppl, end,
        ppl * error_of(nll));
    json_mean(o, format(s, "nll%s", end), nll);
}

int cmd_ppl(Session *s, const Options *o)
{
    Out out = {.s = s};
    Quality *q = quality_new(s, o, o->word[1]);
    open_text(q);
    read_text(q);
    const Mean *nll = &q->nll[0];
    double bits = nll->sum / log(2) / (double)q->bytes;
    if (q->json) {
        json_windows(q, &out);
        json_perplexity(&out, "", nll);
        put(&out, ", \"bits_per_byte\": %.6g}\n", bits);
    } else {
        put_perplexity(&out, "perplexity", nll);
        put(&out, "bits a byte   %.4f\n", bits);
        put_windows(q, &out);
    }
    file_save(s, "-", &out);
    out_free(&out);
    return 0;
}

/* ---- compare ---- */

/* The KL divergence is defined only for models of one vocabulary. */
static void same_vocabulary(const Quality *q)
{
    const InProc *a = q->a, *b = q->b;
    if (a->info->vocab != b->info->vocab)
        fail(q->s, loc_file(q->s, b->path),
             "has %d tokens, %s has %d: only models of one vocabulary can be compared",
             b->info->vocab, a->path, a->info->vocab);
    for (int32_t i = 0; i < a->info->vocab; i++) {
        size_t n, k;
        const char *x = bn_piece(&a->weights, i, &n), *y = bn_piece(&b->weights, i, &k);
        if (n != k || (n && memcmp(x, y, n)))
            fail(q->s, loc_file(q->s, b->path),
                 "token %d is %s, in %s it is %s: only models of one vocabulary can be compared",
                 (int)i, quote(q->s, y, k), a->path, quote(q->s, x, n));
    }
}

static void same_tokens(Quality *q)
{
    int32_t *ids;
    size_t n;
    inproc_tokens(q->b, q->text, q->bytes, 0, &ids, &n);
    if (n != q->n || memcmp(ids, q->ids, n * sizeof *ids))
        warn(q->s, loc_file(q->s, q->b->path),
             "its tokenizer cuts the text otherwise than that of %s, whose tokens are used",
             q->a->path);
}

static void put_worst(const Quality *q, Out *o)
{
    enum { BEFORE = 48 };
    Out text = {.s = q->s};
    size_t len;
    for (size_t i = q->worst > 16 ? q->worst - 16 : 0; i < q->worst; i++) {
        const char *piece = bn_piece(&q->a->weights, q->ids[i], &len);
        put_bytes(&text, piece, len);
    }
    const char *end = text.text ? text.text : "";
    size_t cut = text.len > BEFORE ? text.len - BEFORE : 0;
    while (cut < text.len && ((unsigned char)end[cut] & 0xc0) == 0x80)
        cut++;
    if (q->json) {
        put(o, ", \"worst\": {\"token\": %zu, \"kl\": %.6g, \"before\": ", q->worst, q->worst_kl);
        put_json_text(o, end + cut, text.len - cut);
    } else {
        put(o, "worst         %.4f nats at token %zu, after ", q->worst_kl, q->worst);
        put(o, "%s\n", quote(q->s, end + cut, text.len - cut));
    }
    for (int i = 0; i < 2; i++) {
        const char *piece = bn_piece(&q->a->weights, q->worst_best[i], &len);
        if (q->json) {
            put(o, ", \"best_%c\": ", 'a' + i);
            put_json_text(o, piece, len);
            put(o, ", \"p_%c\": %.6g", 'a' + i, q->worst_p[i]);
        } else {
            put(o, "              %s expects %s (%.1f %%)\n", i ? "B" : "A",
                quote(q->s, piece, len), 100 * q->worst_p[i]);
        }
    }
    put(o, q->json ? "}" : "");
    out_free(&text);
}

int cmd_compare(Session *s, const Options *o)
{
    Out out = {.s = s};
    if (!o->text_file)
        fail(s, (Loc){0}, "no text given: bnc compare a.gguf b.gguf --text=book.txt");
    Quality *q = quality_new(s, o, o->text_file);
    q->b = inproc_open(s, o, o->word[1], (int)o->threads);
    same_vocabulary(q);
    open_text(q);
    same_tokens(q);
    read_text(q);
    double kl = mean_of(&q->kl), agree = (double)q->agree / (double)q->kl.n;
    bool above = o->max_kl >= 0 && kl > o->max_kl;
    if (q->json) {
        json_windows(q, &out);
        json_mean(&out, "kl", &q->kl);
        put(&out, ", \"top1_agreement\": %.6f", agree);
        json_perplexity(&out, "_a", &q->nll[0]);
        json_perplexity(&out, "_b", &q->nll[1]);
        json_mean(&out, "nll_difference", &q->gain);
        put_worst(q, &out);
        put(&out, ", \"above_max_kl\": %s}\n", above ? "true" : "false");
    } else {
        put(&out, "KL(A || B)    %.6f +- %.6f nats a token\n", kl, error_of(&q->kl));
        put(&out, "top-1         %.2f %% of the likeliest tokens agree\n", 100 * agree);
        put_perplexity(&out, "perplexity A", &q->nll[0]);
        put_perplexity(&out, "perplexity B", &q->nll[1]);
        put(&out, "difference    %+.5f +- %.5f nats a token, B less A\n", mean_of(&q->gain),
            error_of(&q->gain));
        put_worst(q, &out);
        put_windows(q, &out);
    }
    file_save(s, "-", &out);
    out_free(&out);
    if (above)
        note(s, "KL %.6f is above --max-kl=%g", kl, o->max_kl);
    return above ? ABOVE : 0;
}
