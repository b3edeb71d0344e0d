/* embed.c: `bnc embed`: each line of standard input becomes a vector of length one.
 *
 * The vectors are those of bn_embed. A line is a text of its own, with BOS and EOS where the
 * model's metadata asks for them.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "driver/inproc.h"

typedef struct Embed {
    Session *s;
    InProc *l;
    bn_pooling how;
    bool json;
    int line;         /* from 1 */
    char *text;       /* of malloc, [cap] */
    size_t cap, room; /* room: of ids */
    int32_t *ids;
    float *vector;
} Embed;

static void embed_end(void *arg)
{
    free(((Embed *)arg)->text);
}

static const char *pooling_name(bn_pooling how)
{
    static const char *const names[] = {
#define POOLING_NAME(id, text) [BN_POOL_##id] = text,
        BN_POOLINGS(POOLING_NAME)
#undef POOLING_NAME
    };
    return names[how];
}

/* The vector of a text of len bytes, and its number of tokens. */
static int embed(Embed *e, size_t len)
{
    size_t n;
    const int room = e->l->info->context;
    const size_t most = bn_token_room(&e->l->weights, len);
    if (most > e->room) {
        e->room = most * 2;
        e->ids = NEW_ARRAY(e->s, int32_t, e->room);
    }
    bn_status status =
        bn_tokenize(&e->l->weights, e->text, len, BN_ADD_SPECIAL, e->ids, e->room, &n);
    if (status == BN_TOKENIZER)
        fail(e->s, loc_file(e->s, e->l->path), "%s", bn_status_text(status));
    CHECK(status == BN_OK);
    if (n == 0)
        fail(e->s, (Loc){0}, "line %d is empty: there is no vector of nothing", e->line);
    if (n > (size_t)room)
        fail(e->s, (Loc){0},
             "line %d has %zu tokens, the context %d: raise it with --ctx, or cut the "
             "text",
             e->line, n, room);
    status = bn_embed(e->l->state, e->ids, (int)n, e->how, e->vector);
    CHECK(status == BN_OK);
    return (int)n;
}

static void put_vector(const Embed *e, int tokens, Out *o)
{
    if (e->json)
        put(o, "%s\n  {\"tokens\": %d, \"embedding\": [", e->line > 1 ? "," : "", tokens);
    for (int i = 0; i < e->l->info->embedding; i++)
        put(o, "%s%.7g", i ? (e->json ? ", " : " ") : "", (double)e->vector[i]);
    put(o, e->json ? "]}" : "\n");
}

/* Results are written line by line: a pipe may wait for each. */
static void write_out(const Embed *e, Out *o)
{
    if (fwrite(o->text, 1, o->len, stdout) != o->len || fflush(stdout))
        fail(e->s, (Loc){0}, "cannot write to standard output: %s", strerror(errno));
    o->len = 0;
}

static void embed_lines(Embed *e, Out *o)
{
    session_defer(e->s, embed_end, e);
    for (ssize_t len; (len = getline(&e->text, &e->cap, stdin)) >= 0;) {
        e->line++;
        while (len > 0 && (e->text[len - 1] == '\n' || e->text[len - 1] == '\r'))
            len--;
        put_vector(e, embed(e, (size_t)len), o);
        write_out(e, o);
    }
    if (ferror(stdin))
        fail(e->s, (Loc){0}, "cannot read standard input: %s", strerror(errno));
}

int cmd_embed(Session *s, const Options *o)
{
    Embed *e = NEW(s, Embed);
    Out out = {.s = s};
    e->s = s;
    e->json = o->as_json;
    e->l = inproc_open(s, o, o->input, (int)o->threads);
    e->vector = NEW_ARRAY(s, float, e->l->info->embedding);
    e->how = (bn_pooling)(o->pooling ? pooling_by_name(o->pooling) : e->l->info->pooling);
    if (e->json) {
        put(&out, "{\"model\": ");
        put_json_text(&out, e->l->info->name, strlen(e->l->info->name));
        put(&out, ", \"pooling\": \"%s\", \"width\": %d, \"texts\": [", pooling_name(e->how),
            e->l->info->embedding);
    }
    embed_lines(e, &out);
    if (e->json)
        put(&out, "\n]}\n");
    write_out(e, &out);
    out_free(&out);
    return 0;
}
