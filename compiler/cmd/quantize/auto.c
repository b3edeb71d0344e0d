/* auto.c: `bnc quantize --auto`: formats chosen by measured loss.
 *
 * One idea: nothing is guessed from weights. Each group of tensors (ffn_down of all layers, say) is
 * quantized alone to each format, the model compiled and a text read with it; what the text loses
 * is the price. Then the cheapest loss a byte is bought first, until the budget is met or the loss
 * is spent. Prices are added as if groups did not see each other, which is not quite so: the result
 * is measured too, and moves are taken back while it loses more than allowed.
 */
#include <math.h>
#include <string.h>

#include "driver/inproc.h"
#include "cmd/quantize/quantize.h"

/* ---- the loss of a model ---- */

typedef struct Measure {
    Session session;
    const char *model;
    bool trial;
    const Sample *text;
    float *nll;
    int64_t n;
} Measure;

/* Tokens [from, from + n) after BOS, as one window. */
static void read_window(Measure *m, InProc *l, const int32_t *ids, int n, bool bos)
{
    int batch = l->info->batch, vocab = l->info->vocab, more = bos ? 1 : 0;
    int32_t *window = NEW_ARRAY(&m->session, int32_t, n + 1);
    window[0] = l->info->bos;
    memcpy(window + more, ids, (size_t)n * sizeof *ids);
    inproc_rewind(l, 0);
    for (int at = 0, k; at + 1 < n + more; at += k) {
        k = n + more - 1 - at < batch ? n + more - 1 - at : batch;
        inproc_score(l, window + at, k, inproc_logits(l));
        for (int i = 0; i < k; i++) {
            const float *row = l->logits + (size_t)i * (size_t)vocab;
            m->nll[m->n++] = (float)(inproc_norm(row, vocab) - (double)row[window[at + i + 1]]);
        }
    }
}

static void read_text(void *arg)
{
    Measure *m = arg;
    Session *s = &m->session;
    Options o = options_initial(s);
    int32_t *ids;
    size_t n;
    s->quiet = true;
    o.cache = m->trial ? temp_dir(s) : NULL;
    InProc *l = inproc_open(s, &o, m->model, m->text->threads);
    inproc_tokens(l, m->text->text, m->text->size, 0, &ids, &n);
    bool bos = l->info->add_bos && l->info->bos >= 0;
    size_t room = (size_t)l->info->context - bos;
    if (n < 2)
        fail(s, loc_file(s, m->text->path), "has %zu tokens: too few to measure a loss", n);
    m->nll = NEW_ARRAY(s, float, n);
    for (size_t at = 0; at < n; at += room)
        read_window(m, l, ids + at, (int)(n - at < room ? n - at : room), bos);
}

/* In a session of its own: the program and its memory are gone after. */
bool loss_measure(Session *s, const char *model, bool trial, const Sample *text, Loss *loss)
{
    Measure m = {.model = model, .trial = trial, .text = text};
    double sum = 0, squares = 0;
    session_start(&m.session, trial ? NULL : s->log);
    bool done = session_try(&m.session, read_text, &m);
    loss->n = done ? m.n : 0;
    loss->nll = NEW_ARRAY(s, float, m.n + 1);
    if (done)
        memcpy(loss->nll, m.nll, (size_t)m.n * sizeof *m.nll);
    session_end(&m.session);
    if (!done && !trial)
        give_up(s);
    for (int64_t i = 0; i < loss->n; i++) {
        sum += (double)loss->nll[i];
        squares += (double)loss->nll[i] * (double)loss->nll[i];
    }
    double n = (double)loss->n;
    loss->mean = sum / n;
    loss->error = loss->n > 1 ? sqrt(fmax(squares / n - loss->mean * loss->mean, 0) / (n - 1)) : 0;
    return done && isfinite(loss->mean);
}

double loss_gain(const Loss *a, const Loss *b, double *error)
{
    double sum = 0, squares = 0, n = (double)a->n;
    CHECK(a->n == b->n);
    for (int64_t i = 0; i < a->n; i++) {
        double d = (double)b->nll[i] - (double)a->nll[i];
        sum += d;
        squares += d * d;
    }
    double mean = sum / n;
    *error = a->n > 1 ? sqrt(fmax(squares / n - mean * mean, 0) / (n - 1)) : 0;
    return mean;
}

/* ---- groups and what their formats cost ---- */

enum {
    FREE_LOSS = 10000, /* a loss below its inverse counts as none */
    HEAD_GROWS = 128,  /* at most, by general.file_type where there was none */
};

typedef struct Price { /* a group in one format */
    Fmt fmt;
    int64_t bytes;
    double loss, error;
    bool measured, refused; /* refused: bnc cannot run the result */
} Price;

typedef struct Group {
    const char *name;
    Price *price; /* the first is the source's format, the others by bytes, least first */
    int nprice, now;
} Group;

typedef struct Move {
    int group, from;
} Move;

typedef struct Search {
    Session *s;
    const Gguf *g;
    Change *c;
    int64_t n;
    const Auto *a;
    Group *group;
    int ngroup;
    Move *move;
    int nmove;
    int64_t rest; /* bytes of the file that no group has */
    double loss;  /* predicted */
} Search;

static bool in_group(const Change *c, const Group *g)
{
    return c->role != ROLE_OTHER && !c->fixed && c->group == g->name;
}

static int64_t padded(const Search *x, size_t bytes)
{
    return (int64_t)((bytes + x->g->alignment - 1) / x->g->alignment * x->g->alignment);
}

static Fmt format_now(const Group *g, const Change *c)
{
    return g->now ? g->price[g->now].fmt : c->t->fmt;
}

/* Bytes of the group in a format, FMT_COUNT: as it is; 0: it does not fit. */
static int64_t group_bytes(const Search *x, const Group *g, Fmt want)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < x->n; i++) {
        const Change *c = &x->c[i];
        Fmt fmt = want == FMT_COUNT ? c->t->fmt : want;
        size_t bytes = fmt_extent(fmt, c->t->rows, c->t->cols);
        bool grain = fmt == c->t->fmt || fmt_info[fmt].tail == 0 || c->grain == GRAIN_TENSOR;
        if (!in_group(c, g))
            continue;
        if (!bytes || !grain ||
            (fmt != c->t->fmt && fmt_info[fmt].kind == KIND_TERNARY && c->role == ROLE_WORDS))
            return 0;
        sum += padded(x, bytes);
    }
    return sum;
}

static void add_prices(Search *x, Group *g, Fmt source)
{
    g->price = NEW_ARRAY(x->s, Price, x->a->nfmt + 1);
    g->price[g->nprice++] =
        (Price){.fmt = source, .bytes = group_bytes(x, g, FMT_COUNT), .measured = true};
    for (int i = 0; i < x->a->nfmt; i++) {
        Price p = {.fmt = x->a->fmt[i], .bytes = group_bytes(x, g, x->a->fmt[i])};
        int at = g->nprice;
        if (p.bytes == 0 || p.bytes >= g->price[0].bytes)
            continue;
        for (; at > 1 && g->price[at - 1].bytes > p.bytes; at--)
            g->price[at] = g->price[at - 1];
        g->price[at] = p;
        g->nprice++;
    }
}

static void find_groups(Search *x)
{
    for (int64_t i = 0; i < x->n; i++) {
        const Change *c = &x->c[i];
        bool known = c->role == ROLE_OTHER || c->fixed;
        for (int k = 0; k < x->ngroup && !known; k++)
            known = x->group[k].name == c->group;
        if (known)
            continue;
        x->group = grow(x->s, x->group, (size_t)x->ngroup, sizeof *x->group);
        Group *g = &x->group[x->ngroup++];
        *g = (Group){.name = c->group};
        add_prices(x, g, c->t->fmt);
    }
}

/* ---- candidates ---- */

typedef struct Write {
    Session session;
    const Search *x;
    Change *c;
    const char *path;
    int64_t bytes;
} Write;

static void write_candidate(void *arg)
{
    Write *w = arg;
    for (int64_t i = 0; i < w->x->n; i++)
        quantize_scan(&w->session, w->x->g, &w->c[i]);
    w->bytes =
        quantize_write(&w->session, w->x->g, w->c, w->x->n, main_type(w->c, w->x->n), w->path);
}

/* The file with each group as `now` says. The changes are copies, whose sums are thrown away. */
static void candidate(Search *x, const char *path)
{
    Write w = {.x = x, .path = path};
    session_start(&w.session, x->s->log);
    w.session.quiet = true;
    w.c = NEW_ARRAY(&w.session, Change, x->n);
    memcpy(w.c, x->c, (size_t)x->n * sizeof *w.c);
    for (int64_t i = 0; i < x->n; i++)
        for (int k = 0; k < x->ngroup; k++)
            if (in_group(&w.c[i], &x->group[k]))
                w.c[i].to = format_now(&x->group[k], &w.c[i]);
    bool done = session_try(&w.session, write_candidate, &w);
    session_end(&w.session);
    if (!done)
        give_up(x->s);
}

/* Prices of each format alone. The next larger format is not tried where one costs nothing. */
static void measure_prices(Search *x, const Loss *base, const char *path)
{
    for (int k = 0; k < x->ngroup; k++) {
        Group *g = &x->group[k];
        bool cheap = false;
        for (int i = 1; i < g->nprice && !cheap; i++) {
            Price *p = &g->price[i];
            Loss loss;
            g->now = i;
            candidate(x, path);
            g->now = 0;
            p->refused = !loss_measure(x->s, path, true, x->a->text, &loss);
            if (p->refused) {
                note(x->s, "%s in %s: bnc cannot run that", g->name, fmt_info[p->fmt].name);
                continue;
            }
            p->loss = loss_gain(base, &loss, &p->error);
            p->measured = true;
            cheap = p->loss * FREE_LOSS <= 1;
            note(x->s, "%s in %s: %+.5f nats a token", g->name, fmt_info[p->fmt].name, p->loss);
        }
    }
}

/* ---- buying ---- */

static int64_t bytes_now(const Search *x)
{
    int64_t sum = x->rest;
    for (int k = 0; k < x->ngroup; k++)
        sum += x->group[k].price[x->group[k].now].bytes;
    return sum;
}

/* The move of least loss a byte among those that the allowed loss leaves; false: there is none. */
static bool buy(Search *x)
{
    double best = INFINITY;
    int group = -1, to = 0;
    for (int k = 0; k < x->ngroup; k++) {
        const Group *g = &x->group[k];
        const Price *now = &g->price[g->now];
        for (int i = 1; i < g->nprice; i++) {
            const Price *p = &g->price[i];
            double more = p->loss - now->loss, a_byte = more / (double)(now->bytes - p->bytes);
            bool allowed = x->a->max_loss < 0 || x->loss + more <= x->a->max_loss;
            if (p->measured && p->bytes < now->bytes && allowed && a_byte < best) {
                best = a_byte;
                group = k;
                to = i;
            }
        }
    }
    if (group < 0)
        return false;
    Group *g = &x->group[group];
    x->move = grow(x->s, x->move, (size_t)x->nmove, sizeof *x->move);
    x->move[x->nmove++] = (Move){group, g->now};
    x->loss += g->price[to].loss - g->price[g->now].loss;
    g->now = to;
    return true;
}

static void take_back(Search *x)
{
    const Move *m = &x->move[--x->nmove];
    Group *g = &x->group[m->group];
    x->loss -= g->price[g->now].loss - g->price[m->from].loss;
    g->now = m->from;
}

/* ---- the table ---- */

static void show_json(const Search *x, double gain, double error)
{
    Out *o = x->a->out;
    put(o,
        "  \"auto\": {\"predicted\": %.6f, \"measured\": %.6f, \"measured_error\": %.6f, "
        "\"prices\": [",
        x->loss, gain, error);
    for (int k = 0, some = 0; k < x->ngroup; k++)
        for (int i = 0; i < x->group[k].nprice; i++) {
            const Price *p = &x->group[k].price[i];
            put(o, "%s\n    {\"group\": ", some++ ? "," : "");
            put_json_text(o, x->group[k].name, strlen(x->group[k].name));
            put(o, ", \"format\": \"%s\", \"bytes\": %lld, ", fmt_info[p->fmt].name,
                (long long)p->bytes);
            if (p->measured)
                put(o, "\"loss\": %.6f, \"loss_error\": %.6f, ", p->loss, p->error);
            put(o, "\"refused\": %s, \"chosen\": %s}", p->refused ? "true" : "false",
                i == x->group[k].now ? "true" : "false");
        }
    put(o, "]},\n");
}

static void show_table(const Search *x, double gain, double error)
{
    Out *o = x->a->out;
    put(o, "  %-28s %-8s %14s  %s\n", "each alone", "format", "bytes", "loss, nats a token");
    for (int k = 0; k < x->ngroup; k++)
        for (int i = 0; i < x->group[k].nprice; i++) {
            const Group *g = &x->group[k];
            const Price *p = &g->price[i];
            put(o, "%s %-28s %-8s %14lld  ", i == g->now ? "*" : " ", i ? "" : g->name,
                fmt_info[p->fmt].name, (long long)p->bytes);
            if (i == 0)
                put(o, "the source's\n");
            else if (p->refused)
                put(o, "bnc cannot run it\n");
            else if (!p->measured)
                put(o, "not tried: a smaller format costs nothing\n");
            else
                put(o, "%+.5f +- %.5f\n", p->loss, p->error);
        }
    put(o, "  chosen (*): %+.5f nats a token predicted, %+.5f +- %.5f measured\n\n", x->loss, gain,
        error);
}

/* ---- the search ---- */

static void check_budget(const Search *x, int64_t bytes, const char *by)
{
    if (x->a->budget && bytes > x->a->budget)
        fail(x->s, x->g->loc,
             "the smallest file that %s is %lld bytes, more than --budget=%lld; allow more formats "
             "(--formats=) or fix fewer (--keep=)",
             by, (long long)bytes, (long long)x->a->budget);
}

/* Each group in its smallest format. */
static int64_t least_bytes(const Search *x)
{
    int64_t sum = x->rest;
    for (int k = 0; k < x->ngroup; k++)
        sum += x->group[k].price[x->group[k].nprice > 1].bytes;
    return sum;
}

int64_t quantize_auto(Session *s, const Gguf *g, Change *c, int64_t n, const Auto *a,
                      const Loss *before, const char *path, Loss *after)
{
    Search x = {.s = s, .g = g, .c = c, .n = n, .a = a, .rest = (int64_t)g->total + HEAD_GROWS};
    const char *trial = format(s, "%s/candidate.gguf", temp_dir(s));
    double gain, error;
    bool fixed = false;
    Loss base = *before;
    find_groups(&x);
    for (int64_t i = 0; i < n; i++) {
        bool grouped = c[i].role != ROLE_OTHER && !c[i].fixed;
        fixed |= c[i].to != c[i].t->fmt && !grouped;
        x.rest -= padded(&x, c[i].t->size) - (grouped ? 0 : padded(&x, change_bytes(&c[i])));
    }
    check_budget(&x, least_bytes(&x), "these formats make");
    if (fixed) {
        candidate(&x, trial);
        if (!loss_measure(s, trial, true, a->text, &base))
            fail(s, g->loc, "bnc cannot run the model with its --keep alone");
    }
    measure_prices(&x, &base, trial);
    while ((a->budget == 0 || bytes_now(&x) > a->budget) && buy(&x))
        continue;
    check_budget(&x, bytes_now(&x), "was found");
    for (;;) {
        candidate(&x, trial);
        if (!loss_measure(s, trial, true, a->text, after))
            fail(s, g->loc, "bnc cannot run the model that was chosen, though each part alone");
        gain = loss_gain(before, after, &error);
        if (a->max_loss < 0 || gain <= a->max_loss)
            break;
        if (x.nmove == 0)
            fail(s, g->loc, "what --keep asks for loses %+.5f nats a token, more than --max-dnll",
                 gain);
        note(s, "together %+.5f nats a token: one move back", gain);
        take_back(&x);
        check_budget(&x, bytes_now(&x), "loses no more than --max-dnll");
    }
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < x.ngroup; k++)
            if (in_group(&c[i], &x.group[k]))
                c[i].to = format_now(&x.group[k], &c[i]);
        quantize_scan(s, g, &c[i]);
    }
    a->json ? show_json(&x, gain, error) : show_table(&x, gain, error);
    return quantize_write(s, g, c, n, main_type(c, n), path);
}
