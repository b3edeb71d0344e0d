/* ids.c: prints the tokens of texts by the tokenizer in a .bnw.
 *
 *     ids MODEL.bnw FLAGS < texts        flags of bn_tokenize; texts: "BYTES\n" and the bytes, each
 *
 * A line a text: [1, 2, 3]. Only the tokenizer is looked at: its tables are found by their first
 * word. Every text is cut in a buffer of just bn_token_room, and must come out the same in a larger
 * one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bn_model.h"
#include "bn_vocab.h"

static unsigned char *load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    long n = f && !fseek(f, 0, SEEK_END) ? ftell(f) : -1;
    unsigned char *p = n > 0 ? aligned_alloc(64, ((size_t)n + 63) / 64 * 64) : NULL;
    if (!p || fseek(f, 0, SEEK_SET) || fread(p, 1, (size_t)n, f) != (size_t)n) {
        fprintf(stderr, "ids: cannot read %s\n", path);
        exit(1);
    }
    fclose(f);
    *size = (size_t)n;
    return p;
}

int main(int argc, char **argv)
{
    bn_model model = {0};
    bn_weights w = {.model = &model};
    if (argc != 3)
        return 2;
    unsigned char *data = load(argv[1], &w.size);
    w.data = data;
    for (size_t at = BN_BNW_BODY; at + sizeof(bn_vocab) <= w.size && !model.vocab_size; at += 64) {
        const bn_vocab *v = (const bn_vocab *)(const void *)(data + at);
        if (v->magic != BN_VOCAB_MAGIC || v->bytes > w.size - at)
            continue;
        model.vocab_at = at;
        model.vocab_size = v->bytes;
    }
    if (!model.vocab_size || bn_vocab_check(&w) != BN_OK) {
        fprintf(stderr, "ids: no tokenizer in %s\n", argv[1]);
        return 1;
    }
    for (size_t n; scanf("%zu", &n) == 1;) {
        getchar();
        char *text = malloc(n + 1);
        if (fread(text, 1, n, stdin) != n)
            return 1;
        size_t room = bn_token_room(&w, n), count, again;
        int32_t *ids = malloc(room * sizeof *ids), *more = malloc(2 * room * sizeof *ids);
        unsigned flags = (unsigned)atoi(argv[2]);
        bn_status status = bn_tokenize(&w, text, n, flags, ids, room, &count);
        if (bn_tokenize(&w, text, n, flags, more, 2 * room, &again) != status || again != count ||
            memcmp(ids, more, count * sizeof *ids) != 0)
            status = BN_STATUS_COUNT;
        printf("[");
        for (size_t i = 0; i < count; i++)
            printf("%s%d", i ? ", " : "", (int)ids[i]);
        printf(status == BN_OK ? "]\n" : "] status %d\n", (int)status);
        free(text);
        free(ids);
        free(more);
    }
    free(data);
    return 0;
}
