/* fuzz_bnw.c: any bytes as a .bnw, opened, verified, and its tokenizer used.
 *
 * One idea: bn_open either refuses a file with a sentence, or what it lets through cannot break the
 * runtime. A small file of a fixed tokenizer is the one that the model expects; the input says what
 * is wrong with the one that it gets.
 *
 *   0      1      4
 *   +------+------+---------------------------------------------------------------------------
 *   | mode | size | mode 0: the file, behind a header of the model's; 1: { at u24, value u32 } x 8
 *   +------+------+---------------------------------------------------------------------------
 *
 * mode & 2: the model expects the hashes that the file has (XXH64 keeps nobody from forging), so that
 * what is behind them is reached; & 4: the model expects the file's own sizes and offsets, of the input; & 8:
 * the file is opened by its name, & 16: into a copy.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "bn_model.h"
#include "bn_vocab.h"
#include "ir/vocab.h"
#include "must.h"

enum { TOKENS = 262, WEIGHTS = 128, MOST = 1 << 16 };

static unsigned char *good; /* a whole .bnw: header, WEIGHTS bytes, tokenizer */
static bn_model expected;
static const bn_code code[1] = {{0}};

static uint32_t next(const uint8_t **p, const uint8_t *end, int bytes)
{
    uint32_t x = 0;
    for (; bytes > 0 && *p < end; bytes--)
        x = x << 8 | *(*p)++;
    return x;
}

/* As bnw_write makes it; a body of one piece. */
static void hash_file(unsigned char *file, const bn_model *m)
{
    bn_bnw h = {.abi = BN_ABI, .order = 0x01020304, .bytes = m->info.weight_bytes};
    memcpy(h.magic, BN_BNW_MAGIC, sizeof h.magic);
    uint64_t piece = XXH64(file + BN_BNW_BODY, m->info.weight_bytes - BN_BNW_BODY, 0);
    h.hash = XXH64(&piece, sizeof piece, 0);
    h.vocab_hash = XXH64(file + m->vocab_at, m->vocab_size, 0);
    memcpy(file, &h, sizeof h);
}

static void make_good(void)
{
    static VocabText token[TOKENS], merge[1] = {{"t h", 3}};
    static int32_t type[TOKENS];
    static char text[256][8];
    char message[256];
    size_t bytes;
    for (uint32_t c = 0, other = 256; c < 256; c++) {
        int plain = (c > 32 && c < 127) || (c > 160 && c != 173);
        bn_vocab_encode(plain ? c : other++, (unsigned char *)text[c]);
        token[c] = (VocabText){text[c], strlen(text[c])};
        type[c] = VOCAB_NORMAL;
    }
    static const char *const more[] = {"th", "<s>", "</s>", "<u>", "<p>", "e "};
    for (int i = 256; i < TOKENS; i++) {
        token[i] = (VocabText){more[i - 256], strlen(more[i - 256])};
        type[i] = i == 256 ? VOCAB_NORMAL : i < 259 ? VOCAB_CONTROL : VOCAB_USER;
    }
    const VocabSource source = {.model = "gpt2",
                                .pre = "llama-bpe",
                                .n = TOKENS,
                                .tokens = token,
                                .types = type,
                                .merges = merge,
                                .nmerges = 1,
                                .bos = 257,
                                .eos = 258,
                                .eot = -1,
                                .unk = -1,
                                .pad = -1,
                                .add_bos = 1,
                                .add_eos = -1,
                                .add_space_prefix = -1};
    uint8_t *tables = vocab_build(&source, &bytes, message);
    MUST(tables);
    expected = (bn_model){.abi = BN_ABI,
                          .code = code,
                          .ncode = 1,
                          .vocab_size = bytes,
                          .vocab_at = BN_BNW_BODY + WEIGHTS};
    expected.info.weight_bytes = BN_BNW_BODY + WEIGHTS + bytes;
    MUST(expected.info.weight_bytes <= MOST);
    good = calloc(1, MOST);
    memcpy(good + expected.vocab_at, tables, bytes);
    hash_file(good, &expected);
    bn_bnw h;
    memcpy(&h, good, sizeof h);
    expected.hash = h.hash;
    expected.vocab_hash = h.vocab_hash;
    free(tables);
}

/* Whatever the tables hold: no call may leave its room or the file. */
static void use(const bn_weights *w)
{
    static const char text[] = "the <s> th\xc3\xa9 <u>\xff e";
    const size_t len = sizeof text - 1, room = bn_token_room(w, len);
    size_t n = 0;
    int32_t *ids = malloc(room * sizeof *ids);
    bn_text out;
    bn_text_start(&out, w);
    if (bn_tokenize(w, text, len, BN_ADD_SPECIAL | BN_PARSE_SPECIAL, ids, room, &n) == BN_OK)
        for (size_t i = 0, bytes; i < n; i++) {
            (void)bn_piece(w, ids[i], &bytes);
            char *piece = malloc(BN_TEXT_ROOM(bytes));
            MUST(bn_detokenize(&out, ids[i], piece) <= BN_TEXT_ROOM(bytes));
            free(piece);
        }
    free(ids);
}

static bn_status open_file(bn_weights *w, const bn_model *m, const unsigned char *file, size_t size,
                           int copy)
{
    static int fd = -1;
    char path[64];
    if (fd < 0)
        fd = memfd_create("fuzz.bnw", 0);
    MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    MUST(pwrite(fd, file, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return (copy ? bn_open_copy : bn_open)(w, m, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;
    if (!good)
        make_good();
    uint32_t mode = next(&p, end, 1), want = next(&p, end, 3);
    bn_model m = expected;
    size_t bytes = m.info.weight_bytes;
    if (mode & 4 && want <= MOST)
        bytes = want;
    unsigned char *file = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64), *at = file;
    MUST(file);

    memcpy(at, good, bytes < MOST ? bytes : MOST);
    if (mode & 1)
        for (int i = 0; i < 8 && p < end; i++) {
            uint32_t where = next(&p, end, 3), value = next(&p, end, 4);
            if (bytes >= 4)
                memcpy(at + where % (bytes / 4) * 4, &value, 4);
        }
    else if (bytes > BN_BNW_BODY) {
        size_t left = bytes - BN_BNW_BODY, given = (size_t)(end - p);
        memcpy(at + BN_BNW_BODY, p, given < left ? given : left);
    }
    if (mode & 4) {
        m.info.weight_bytes = bytes;
        m.vocab_at = mode & 32 ? (uint64_t)want << 6 : m.vocab_at;
    }
    if (mode & 2 && bytes >= BN_BNW_BODY && m.vocab_at <= bytes &&
        m.vocab_size <= bytes - m.vocab_at) {
        hash_file(at, &m);
        bn_bnw h;
        memcpy(&h, at, sizeof h);
        m.hash = h.hash;
        m.vocab_hash = h.vocab_hash;
    }
    bn_weights w;
    bn_status status =
        mode & 8 ? open_file(&w, &m, at, bytes, mode & 16) : bn_open_memory(&w, &m, at, bytes);
    MUST(status == BN_OK ? w.data != NULL : !w.data && *w.message);
    if (status == BN_OK) {
        bn_status whole = bn_verify(&w);
        MUST(whole == BN_OK || *w.message);
        MUST(!(mode & 2) || whole == BN_OK);
        use(&w);
        bn_close(&w);
    }
    free(file);
    return 0;
}
