/* tokenize.c: `bnc tokenize`: a text to the tokens of a model, and back.
 *
 * The tables are those that the compiler puts into a .bnw and the functions those of the runtime,
 * so what is shown here is what a compiled model does; nothing is compiled.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include "checkpoint/checkpoint.h"
#include "cli.h"
#include "cmd/cmd.h"
#include "ir/escape.h"
#include "ir/vocab.h"

typedef struct Tokenizer {
    Session *s;
    bn_model model; /* of its tables alone */
    bn_weights w;
    const VocabSource *v; /* ids are below v->n */
} Tokenizer;

static void free_tables(void *arg)
{
    free(arg);
}

static void open_tokenizer(Tokenizer *t, const char *input)
{
    Session *s = t->s;
    const char *path = input;
    char why[256];
    size_t size;
    if (ends_with(path, ".tir") && !(path = tir_read(s, path)->source))
        fail(s, loc_file(s, input), "names no model file, so there is no tokenizer");
    const VocabSource *v = read_vocabulary(s, model_file(s, path, FMT_I2_S));
    uint8_t *tables = vocab_build(v, &size, why);
    if (!tables)
        fail(s, loc_file(s, input), "its tokenizer: %s", why);
    session_defer(s, free_tables, tables);
    if (*why)
        note(s, "%s", why);
    t->v = v;
    t->model = (bn_model){.vocab_size = size};
    t->w = (bn_weights){.model = &t->model, .data = tables, .size = size};
}

/* TEXT, -p or standard input. */
static const char *read_text(Session *s, const Options *o, size_t *len)
{
    const char *given = o->prompt ? o->prompt : o->nword > 1 ? o->word[1] : "-";
    if (o->prompt && o->nword > 1)
        fail(s, (Loc){0}, "the text is given twice: '%s' and -p", o->word[1]);
    if (!strcmp(given, "-"))
        return file_read(s, "/dev/stdin", len);
    *len = strlen(given);
    return given;
}

/* ---- text to tokens ---- */

static void encode(Tokenizer *t, const Options *o, const char *text, size_t len, Out *out)
{
    size_t room = BN_TOKEN_ROOM(len), n, bytes;
    int32_t *ids = NEW_ARRAY(t->s, int32_t, room);
    unsigned flags = (o->no_bos ? 0u : BN_ADD_SPECIAL) | (o->special ? BN_PARSE_SPECIAL : 0u);
    bn_status status = bn_tokenize(&t->w, text, len, flags, ids, room, &n);
    if (status != BN_OK)
        fail(t->s, loc_file(t->s, o->input), "its tokenizer: %s", bn_status_text(status));
    if (o->as_json)
        put(out, "{\"count\": %zu, \"ids\": [", n);
    for (size_t i = 0; (o->as_json || o->ids) && i < n; i++)
        put(out, "%s%" PRId32, !i ? "" : o->as_json ? ", " : " ", ids[i]);
    put(out, o->as_json ? "]" : o->ids ? "\n" : "");
    if (o->as_json && !o->ids)
        put(out, ", \"pieces\": [");
    for (size_t i = 0; !o->ids && i < n; i++) {
        const char *piece = bn_piece(&t->w, ids[i], &bytes);
        if (o->as_json) {
            put(out, i ? ", " : "");
            put_json_text(out, piece, bytes);
        } else if (bytes) {
            put(out, "%7" PRId32 "  %s\n", ids[i], quote(t->s, piece, bytes));
        } else { /* a control token prints nothing: its vocabulary entry */
            const VocabText *token = &t->v->tokens[ids[i]];
            put(out, "%7" PRId32 "  %s, a control token\n", ids[i],
                quote(t->s, token->ptr, token->len));
        }
    }
    put(out, !o->as_json ? "" : o->ids ? "}\n" : "]}\n");
}

/* ---- tokens to text ---- */

/* The text as it is, or as a string of JSON. At a terminal bn_show shows it, so that it is not put into `out`. */
static void decode(Tokenizer *t, const Options *o, const char *text, size_t len, Out *out)
{
    Out all = {.s = t->s};
    bn_text state;
    size_t room = 0, bytes;
    char *piece = NULL;
    const char *end = text + len;
    bn_text_start(&state, &t->w);
    while (text < end) {
        if (isspace((unsigned char)*text) || strchr(",[]", *text)) {
            text++;
            continue;
        }
        char *after;
        errno = 0;
        long long id = strtoll(text, &after, 10);
        if (after == text || errno || id < 0 || id >= t->v->n)
            fail(t->s, (Loc){0}, "--decode wants ids from 0 to %lld, not %s",
                 (long long)t->v->n - 1, quote(t->s, text, strcspn(text, " ,\n\t")));
        text = after;
        (void)bn_piece(&t->w, (int32_t)id, &bytes);
        if (BN_TEXT_ROOM(bytes) > room) {
            room = 2 * BN_TEXT_ROOM(bytes);
            piece = NEW_ARRAY(t->s, char, room);
        }
        put_bytes(&all, piece, bn_detokenize(&state, (int32_t)id, piece));
    }
    if (o->as_json) {
        put(out, "{\"text\": ");
        put_json_text(out, all.len ? all.text : "", all.len);
        put(out, "}\n");
    } else {
        if (bn_show(stdout, all.len ? all.text : "", all.len))
            fail(t->s, (Loc){0}, "cannot write standard output");
        put(out, "\n");
    }
    out_free(&all);
}

int cmd_tokenize(Session *s, const Options *o)
{
    Tokenizer *t = NEW(s, Tokenizer);
    Out out = {.s = s};
    size_t len;
    if (o->decode && (o->ids || o->special || o->no_bos))
        fail(s, (Loc){0},
             "--decode goes from ids to text; --ids, --special and --no-bos go the other way");
    t->s = s;
    const char *text = read_text(s, o, &len);
    open_tokenizer(t, o->input);
    if (o->decode)
        decode(t, o, text, len, &out);
    else
        encode(t, o, text, len, &out);
    file_save(s, "-", &out);
    out_free(&out);
    return 0;
}
