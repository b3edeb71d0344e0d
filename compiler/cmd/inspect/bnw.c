/* bnw.c: `bnc inspect x.bnw`: what its header says, and whether its content is whole.
 *
 * One idea: the hash of the body stands in the header, so a file tells by itself whether it is damaged; to
 * which model it belongs only that model's program knows (bn_open). Damage is found, not forgery.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "bn_model.h"
#include "cmd/inspect/inspect.h"

typedef struct Pieces {
    const uint8_t *body;
    size_t size;
    uint64_t *hash;
} Pieces;

bool inspect_is_bnw(const char *path)
{
    char magic[sizeof((bn_bnw *)0)->magic];
    struct stat st;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = file >= 0 && fstat(file, &st) == 0 && S_ISREG(st.st_mode) &&
              read(file, magic, sizeof magic) == (ssize_t)sizeof magic &&
              !memcmp(magic, BN_BNW_MAGIC, sizeof magic);
    if (file >= 0)
        close(file);
    return is;
}

static void hash_piece(Session *own, int i, void *arg)
{
    Pieces *p = arg;
    size_t at = (size_t)i * BN_BNW_PIECE, left = p->size - at;
    (void)own;
    p->hash[i] = XXH64(p->body + at, left < BN_BNW_PIECE ? left : BN_BNW_PIECE, 0);
}

/* As bnw_write makes it, on all cores. */
static uint64_t body_hash(Session *s, const uint8_t *body, size_t size)
{
    size_t n = (size + BN_BNW_PIECE - 1) / BN_BNW_PIECE;
    Pieces p = {body, size, NEW_ARRAY(s, uint64_t, n + 1)};
    parallel((int)n, hash_piece, &p);
    return XXH64(p.hash, n * sizeof *p.hash, 0);
}

int inspect_bnw(Inspect *p)
{
    Session *s = p->s;
    Loc loc = loc_file(s, p->path);
    size_t size;
    const uint8_t *data = file_view(s, p->path, "the file", &size);
    bn_bnw h;
    if (size < BN_BNW_BODY)
        fail(s, loc, "is truncated: a bnw file has %d bytes or more, this one has %zu", BN_BNW_BODY,
             size);
    memcpy(&h, data, sizeof h);
    if (h.order != 0x01020304)
        fail(s, loc, "is of the other byte order: expected the mark 01020304, found %08x",
             (unsigned)h.order);
    if (h.abi != BN_ABI)
        fail(s, loc,
             "is of version %u, this bnc reads and writes version %d; compile the model again",
             (unsigned)h.abi, BN_ABI);
    if (h.bytes != size)
        fail(s, loc, "is truncated or extended: its header says %llu bytes, it has %zu",
             (unsigned long long)h.bytes, size);
    uint64_t hash = body_hash(s, data + BN_BNW_BODY, size - BN_BNW_BODY);
    if (hash != h.hash)
        fail(s, loc, "is damaged: its header says hash %016llx, its content has %016llx",
             (unsigned long long)h.hash, (unsigned long long)hash);
    put(&p->out,
        p->json ? "{\n  \"format\": \"bnw\",\n  \"version\": %u,\n  \"bytes\": %llu,\n"
                  "  \"hash\": \"%016llx\",\n  \"tokenizer_hash\": \"%016llx\"\n}\n"
                : "weights of a compiled model (bnw), version %u, %llu bytes\n"
                  "hash        %016llx, as the content has it: the file is whole\n"
                  "tokenizer   %016llx\n",
        (unsigned)h.abi, (unsigned long long)size, (unsigned long long)h.hash,
        (unsigned long long)h.vocab_hash);
    file_save(s, "-", &p->out);
    return 0;
}
