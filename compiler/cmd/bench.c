/* bench.c: `bnc bench`: how fast a model is on this machine, and whether it was faster before.
 *
 * One idea: the compiled program times itself (its --bench); this file starts it in rounds, each
 * round once with every number of threads, so that a slow minute of the machine hits all rows
 * alike, and makes medians of the rounds. What is saved is what --json prints.
 *
 * Noise: half of the range that a row's rounds spread over, relative to their median. A row is a
 * regression where it is slower than the baseline by more than both rows' noises together.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/baseline.h"
#include "cmd/cmd.h"
#include "driver/inproc.h"
#include "driver/machine.h"
#include "frontend/json.h"

enum { TEAMS = NUMBERS_MOST, ROUNDS = 64, SLOWER = 2 }; /* SLOWER: exit status */

typedef Numbers List;

typedef struct Series {
    int n;
    double of[ROUNDS], median, least, most;
} Series;

typedef struct Row {
    bool decode;
    int threads, size, tokens; /* tokens: written ones behind `size`; a prompt's: size */
    Series rate;
    double base, base_noise, ratio; /* of the baseline; ratio 0: it has no such row */
    bool slower;
} Row;

typedef struct Team { /* what all rows of a number of threads have in common */
    int threads;
    Series open, first;     /* milliseconds */
    double rss;             /* bytes */
    double joules, seconds; /* of all rounds; joules < 0: not known */
} Team;

typedef struct Bench {
    Session *s;
    Options o;
    const char *no_energy;
    const char **program; /* the words that start it */
    size_t nprogram;
    List prompt, at, threads;
    int context;
    Row *row;
    size_t nrow;
    Team team[TEAMS];
} Bench;

/* ---- lists ---- */

static void list_add(List *l, int x)
{
    for (int i = 0; i < l->n; i++)
        if (l->of[i] == x)
            return;
    l->of[l->n++] = x;
}

static List list_or(List l, List otherwise)
{
    return l.n ? l : otherwise;
}

static void take_options(Bench *b, const Options *o)
{
    int cores = bn_cpus(), most = cores < BN_MAX_THREADS ? cores : BN_MAX_THREADS;
    b->o = *o;
    b->prompt = list_or(o->prompts, (List){2, {64, 512}});
    b->at = list_or(o->at, (List){2, {64, 2048}});
    b->threads = o->teams;
    for (int n = 1; !o->teams.n && n < most; n *= 2)
        list_add(&b->threads, n);
    if (!o->teams.n)
        list_add(&b->threads, most);
}

/* ---- the program ---- */

/* What a program prints, as JSON; its messages go where ours go. */
static json_t *ask(Session *s, const char **words)
{
    int ends[2];
    Out text = {.s = s};
    char part[4096];
    if (pipe(ends) != 0)
        fail(s, (Loc){0}, "cannot make a pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = child_start(s, (char **)(uintptr_t)words, &(ChildOptions){.output = ends[1]});
    int failed = pid < 0 ? errno : 0;
    close(ends[1]);
    for (ssize_t n; !failed && (n = read(ends[0], part, sizeof part)) != 0;)
        if (n > 0)
            put_bytes(&text, part, (size_t)n);
        else if (errno != EINTR)
            break;
    close(ends[0]);
    if (failed)
        fail(s, loc_file(s, words[0]), "cannot start: %s", strerror(failed));
    int status = child_wait(pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail(s, loc_file(s, words[0]), "the compiled model failed (its message stands above)");
    return json_text(s, words[0], name(s, text.text ? text.text : ""), text.len);
}

static const char *commas(Session *s, const char *option, const List *l)
{
    const char *text = option;
    for (int i = 0; i < l->n; i++)
        text = format(s, "%s%s%d", text, i ? "," : "", l->of[i]);
    return text;
}

/* Sizes that the context does not hold become the largest that it does. */
static void cut(List *l, int64_t most)
{
    List all = *l;
    l->n = 0;
    for (int i = 0; i < all.n; i++)
        list_add(l, all.of[i] < most ? all.of[i] : (int)most);
}

static void start_with(Bench *b, const char *word)
{
    b->program = grow(b->s, b->program, b->nprogram, sizeof *b->program);
    b->program[b->nprogram++] = word;
}

/* With --jit it is `bnc run` itself. */
static void find_program(Bench *b)
{
    start_with(b, b->o.jit ? "/proc/self/exe" : cache_compile(b->s, &b->o, "exe", ""));
    if (!b->o.jit)
        return;
    start_with(b, "run");
    start_with(b, b->o.input);
    for (int i = 0; i < b->o.ngiven; i++)
        start_with(b, b->o.given[i]);
}

static const char **words(const Bench *b, const char **rest)
{
    size_t n = 0;
    while (rest[n])
        n++;
    const char **all = NEW_ARRAY(b->s, const char *, b->nprogram + n + 1);
    memcpy(all, b->program, b->nprogram * sizeof *all);
    memcpy(all + b->nprogram, rest, n * sizeof *all);
    return all;
}

static void prepare(Bench *b)
{
    Session *s = b->s;
    find_program(b);
    const json_t *info = ask(s, words(b, (const char *[]){"--info", NULL}));
    b->context = (int)json_number_value(json_object_get(info, "context"));
    if (b->o.written >= b->context)
        fail(s, (Loc){0}, "-n %lld does not fit into a context of %d", (long long)b->o.written,
             b->context);
    cut(&b->prompt, b->context);
    cut(&b->at, b->context - b->o.written);
    for (int t = 0; t < b->threads.n; t++) {
        b->team[t].threads = b->threads.of[t];
        for (int d = 0; d < 2; d++) {
            const List *l = d ? &b->at : &b->prompt;
            for (int i = 0; i < l->n; i++) {
                b->row = grow(s, b->row, b->nrow, sizeof *b->row);
                b->row[b->nrow++] = (Row){.decode = d,
                                          .threads = b->threads.of[t],
                                          .size = l->of[i],
                                          .tokens = d ? (int)b->o.written : l->of[i]};
            }
        }
    }
}

/* ---- measuring ---- */

static void see(Series *x, double value)
{
    x->of[x->n++] = value;
}

static double key(const json_t *v, const char *k)
{
    return json_number_value(json_object_get(v, k));
}

/* Of both lists, the rows in their order: prompts, then decode. */
static void see_rates(Bench *b, int team, const json_t *said)
{
    size_t each = (size_t)(b->prompt.n + b->at.n);
    for (size_t i = 0; i < each; i++) {
        Row *r = &b->row[(size_t)team * each + i];
        size_t at = r->decode ? i - (size_t)b->prompt.n : i;
        const json_t *list = json_object_get(said, r->decode ? "decode" : "prefill");
        const json_t *x = json_array_get(list, at);
        if ((int)key(x, r->decode ? "context" : "tokens") != r->size)
            die("%s measured something else", b->program[0]);
        see(&r->rate, json_number_value(json_array_get(json_object_get(x, "tps"), 0)));
    }
}

static void run_team(Bench *b, int team)
{
    Session *s = b->s;
    Team *t = &b->team[team];
    const char *asked[] = {format(s, "--bench=%lld", (long long)b->o.written),
                           commas(s, "--bench-prefill=", &b->prompt),
                           commas(s, "--bench-context=", &b->at),
                           format(s, "--threads=%d", t->threads), NULL};
    Energy before = energy_read(s);
    double start = machine_seconds();
    const json_t *said = ask(s, words(b, asked));
    Energy after = energy_read(s);
    double used = energy_between(&before, &after), rss = key(said, "peak_rss");
    b->no_energy = after.why;
    t->seconds += machine_seconds() - start;
    t->joules = used < 0 || t->joules < 0 ? -1 : t->joules + used;
    t->rss = rss > t->rss ? rss : t->rss;
    see(&t->open, key(said, "open_ms"));
    see(&t->first, key(said, "first_token_ms"));
    see_rates(b, team, said);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarize(Series *x)
{
    qsort(x->of, (size_t)x->n, sizeof *x->of, by_value);
    x->median = (x->of[(x->n - 1) / 2] + x->of[x->n / 2]) / 2;
    x->least = x->of[0];
    x->most = x->of[x->n - 1];
}

static double noise(const Series *x)
{
    return x->median > 0 ? (x->most - x->least) / 2 / x->median : 0;
}

static void measure(Bench *b)
{
    /* From the disk into the page cache, and the clock of the processor up. */
    (void)ask(b->s, words(b, (const char *[]){"--bench=1", NULL}));
    for (int64_t i = 0; i < b->o.rounds; i++)
        for (int t = 0; t < b->threads.n; t++)
            run_team(b, t);
    for (size_t i = 0; i < b->nrow; i++)
        summarize(&b->row[i].rate);
    for (int t = 0; t < b->threads.n; t++) {
        summarize(&b->team[t].open);
        summarize(&b->team[t].first);
    }
}

/* ---- the baseline ---- */

static const char *kind(const Row *r)
{
    return r->decode ? "decode" : "prompt";
}

static bool same_row(const Row *r, const BaselineRow *x)
{
    return r->decode == x->decode && r->threads == x->threads && r->size == x->size &&
           r->tokens == x->tokens;
}

/* Returns how many rows became slower. */
static int compare(Bench *b, const BaselineRow *rows, size_t n)
{
    int slower = 0, found = 0;
    for (size_t i = 0; i < b->nrow; i++) {
        Row *r = &b->row[i];
        for (size_t k = 0; k < n; k++) {
            if (!same_row(r, &rows[k]))
                continue;
            r->base = rows[k].tokens_per_s;
            r->base_noise = rows[k].noise;
            r->ratio = r->rate.median / r->base;
            r->slower = r->ratio < 1 - r->base_noise - noise(&r->rate);
        }
        found += r->ratio > 0;
        slower += r->slower;
    }
    if (!found)
        fail(b->s, loc_file(b->s, b->o.baseline),
             "none of its rows has the threads and sizes of one of these");
    return slower;
}

/* ---- what it prints ---- */

static void json_series(Out *o, const char *what, const Series *x)
{
    put(o, "\"%s\":%.6g,\"%s_least\":%.6g,\"%s_most\":%.6g", what, x->median, what, x->least, what,
        x->most);
}

static void put_json(const Bench *b, Out *o)
{
    put(o, "{\"model\":");
    put_json_text(o, b->o.input, strlen(b->o.input));
    put(o, ",\"flags\":");
    put_json_text(o, b->o.text, strlen(b->o.text));
    put(o, ",\"repeat\":%" PRId64 ",\"teams\":[", b->o.rounds);
    for (int t = 0; t < b->threads.n; t++) {
        const Team *x = &b->team[t];
        put(o, "%s{\"threads\":%d,\"peak_rss\":%.0f,", t ? "," : "", x->threads, x->rss);
        json_series(o, "open_ms", &x->open);
        put(o, ",");
        json_series(o, "first_token_ms", &x->first);
        put(o, ",\"seconds\":%.6g,\"joules\":", x->seconds);
        put(o, x->joules < 0 ? "null}" : "%.6g}", x->joules);
    }
    put(o, "],\"rows\":[");
    for (size_t i = 0; i < b->nrow; i++) {
        const Row *r = &b->row[i];
        put(o, "%s\n{\"what\":\"%s\",\"threads\":%d,\"size\":%d,\"tokens\":%d,", i ? "," : "",
            kind(r), r->threads, r->size, r->tokens);
        json_series(o, "tokens_per_s", &r->rate);
        put(o, ",\"noise\":%.6g", noise(&r->rate));
        if (r->ratio > 0)
            put(o, ",\"baseline\":%.6g,\"ratio\":%.6g,\"slower\":%s", r->base, r->ratio,
                r->slower ? "true" : "false");
        put(o, "}");
    }
    put(o, "\n]}\n");
}

static void put_table(const Bench *b, Out *o)
{
    put(o, "threads what             tokens/s (least to most)%s\n",
        b->o.baseline ? "     before   ratio" : "");
    for (size_t i = 0; i < b->nrow; i++) {
        const Row *r = &b->row[i];
        const char *what = format(b->s, "%s %d", r->decode ? "decode at" : "prompt of", r->size);
        const char *range = format(b->s, "(%.4g to %.4g)", r->rate.least, r->rate.most);
        put(o, "%-7d %-16s %8.4g ", r->threads, what, r->rate.median);
        put(o, b->o.baseline ? "%-18s" : "%s", range);
        if (r->ratio > 0)
            put(o, " %7.4g %7.3f%s", r->base, r->ratio, r->slower ? "  slower" : "");
        else if (b->o.baseline)
            put(o, " %7s %7s", "-", "-");
        put(o, "\n");
    }
    put(o, "\nthreads  open ms  first token ms  peak MB   watts\n");
    for (int t = 0; t < b->threads.n; t++) {
        const Team *x = &b->team[t];
        put(o, "%-7d %8.2f %15.2f %8.0f", x->threads, x->open.median, x->first.median,
            x->rss * 1e-6);
        put(o, x->joules < 0 ? "       -\n" : " %7.1f\n", x->joules / x->seconds);
    }
    if (b->no_energy)
        put(o, "energy: not read (%s)\n", b->no_energy);
}

int cmd_bench(Session *s, const Options *o)
{
    Bench *b = NEW(s, Bench);
    Out json = {.s = s}, table = {.s = s};
    b->s = s;
    take_options(b, o);
    const BaselineRow *before = NULL; /* read before anything is measured */
    size_t nbefore = 0, size;
    if (b->o.baseline) {
        const char *bytes = file_read(s, b->o.baseline, &size);
        before = baseline_parse(s, b->o.baseline, bytes, size, &nbefore);
    }
    prepare(b);
    measure(b);
    int slower = before ? compare(b, before, nbefore) : 0;
    put_json(b, &json);
    put_table(b, &table);
    const Out *out = b->o.as_json ? &json : &table;
    fwrite(out->text, 1, out->len, stdout);
    if (b->o.save) {
        file_save(s, b->o.save, &json);
        note(s, "wrote %s", b->o.save);
    }
    if (slower)
        note(s, "%d row%s slower than %s by more than the noise of both", slower,
             slower == 1 ? " is" : "s are", b->o.baseline);
    return slower ? SLOWER : 0;
}
