/* load.c: opens a .bnw, checks that it belongs to the compiled model, closes it.
 *
 * One idea: the model knows every size and offset, so a file that has the model's size and hashes
 * in its header is laid out as the model's code expects. The weights' own bytes are memory-safe
 * whatever they hold (no kernel derives an address from them), so only the tokenizer's tables,
 * which hold offsets, are read and verified here. Opening touches no page of the weights, unless it
 * copies them; bn_verify reads them all.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bn_cpu.h"
#include "bn_model.h"
#include "bn_vocab.h"
#include "internal.h"

#define LOAD_ORDER 0x01020304u

const char *bn_status_text(bn_status status)
{
    static const char *const text[] = {
#define LOAD_TEXT(name, what) what,
        BN_STATUSES(LOAD_TEXT)
#undef LOAD_TEXT
    };
    return (unsigned)status < BN_STATUS_COUNT ? text[status] : "unknown status";
}

const char *bn_version(void)
{
    return BN_VERSION;
}

const bn_info *bn_describe(const bn_model *model)
{
    return model ? &model->info : NULL;
}

bn_status bn_fail(char *message, bn_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, BN_MESSAGE, format, args);
    va_end(args);
    return status;
}

enum { LOAD_READ = 1 << 26 }; /* bytes that one read asks for */

/* XXH64, seed 0. Reads 64-bit words without swapping: a file of the other byte order was refused before. */

#define LOAD_P1 0x9e3779b185ebca87u
#define LOAD_P2 0xc2b2ae3d27d4eb4fu
#define LOAD_P3 0x165667b19e3779f9u
#define LOAD_P4 0x85ebca77c2b2ae63u
#define LOAD_P5 0x27d4eb2f165667c5u

static uint64_t load_rotl(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t load_word(const unsigned char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

static uint64_t load_round(uint64_t acc, uint64_t word)
{
    return load_rotl(acc + word * LOAD_P2, 31) * LOAD_P1;
}

static uint64_t load_tail(uint64_t h, const unsigned char *p, size_t left)
{
    for (; left >= 8; left -= 8, p += 8)
        h = load_rotl(h ^ load_round(0, load_word(p)), 27) * LOAD_P1 + LOAD_P4;
    if (left >= 4) {
        uint32_t x;
        memcpy(&x, p, 4);
        h = load_rotl(h ^ x * LOAD_P1, 23) * LOAD_P2 + LOAD_P3;
        left -= 4;
        p += 4;
    }
    for (; left; left--, p++)
        h = load_rotl(h ^ *p * LOAD_P5, 11) * LOAD_P1;
    h = (h ^ h >> 33) * LOAD_P2;
    h = (h ^ h >> 29) * LOAD_P3;
    return h ^ h >> 32;
}

static uint64_t load_xxh64(const unsigned char *p, size_t len)
{
    size_t left = len;
    uint64_t h = LOAD_P5;
    if (left >= 32) {
        uint64_t v[4] = {LOAD_P1 + LOAD_P2, LOAD_P2, 0, 0 - LOAD_P1};
        for (; left >= 32; left -= 32, p += 32)
            for (int i = 0; i < 4; i++)
                v[i] = load_round(v[i], load_word(p + 8 * i));
        h = load_rotl(v[0], 1) + load_rotl(v[1], 7) + load_rotl(v[2], 12) + load_rotl(v[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ load_round(0, v[i])) * LOAD_P1 + LOAD_P4;
    }
    return load_tail(h + len, p, left);
}

static bn_status load_lacks(bn_weights *w, uint32_t missing)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } isa[] = {
#define LOAD_ISA(name, bit, text) {1u << (bit), text},
        BN_ISAS(LOAD_ISA)
#undef LOAD_ISA
    };
    char names[64] = "";
    uint32_t named = 0;
    for (size_t i = 0; i < sizeof isa / sizeof *isa; i++) {
        size_t at = strlen(names);
        if (missing & isa[i].bit)
            snprintf(names + at, sizeof names - at, " %s", isa[i].text);
        named |= isa[i].bit;
    }
    return bn_fail(w->message, BN_CPU, "this processor lacks%s%s, which %.60s was compiled for",
                   names, missing & ~named ? " instructions unknown to this runtime" : "",
                   w->model->info.name ? w->model->info.name : "the model");
}

static bn_status load_choose_code(bn_weights *w)
{
    const bn_code *code = w->model->code;
    for (int i = w->model->ncode; i-- > 0 && !w->code;)
        if (!(code[i].isa & ~bn_cpu(code[i].isa)))
            w->code = &code[i];
    return w->code ? BN_OK : load_lacks(w, code[0].isa & ~bn_cpu(code[0].isa));
}

/* The end of a long name says more than its beginning, and the message has 192 bytes. */
static const char *load_name(const char *path)
{
    size_t len = strlen(path);
    return len > 64 ? path + len - 64 : path;
}

static bn_status load_check_header(bn_weights *w, const char *name)
{
    bn_bnw h;
    if (w->size < BN_BNW_BODY)
        return bn_fail(w->message, BN_FORMAT,
                       "%s: a bnw file has %d bytes or more, this one has %zu", name, BN_BNW_BODY,
                       w->size);
    memcpy(&h, w->data, sizeof h);
    if (memcmp(h.magic, BN_BNW_MAGIC, sizeof h.magic) != 0)
        return bn_fail(w->message, BN_FORMAT, "%s: not a bnw file (its first bytes differ)", name);
    if (h.order != LOAD_ORDER)
        return bn_fail(w->message, BN_FORMAT,
                       "%s: byte order mark: expected %08x, found %08" PRIx32, name, LOAD_ORDER,
                       h.order);
    if (h.abi != BN_ABI)
        return bn_fail(w->message, BN_FORMAT,
                       "%s: version: expected %d, found %" PRIu32 "; compile the model again", name,
                       BN_ABI, h.abi);
    if (h.bytes != w->size)
        return bn_fail(w->message, BN_FORMAT,
                       "%s: truncated or extended: expected %" PRIu64 " bytes, found %zu", name,
                       h.bytes, w->size);
    return BN_OK;
}

static bn_status load_check_model(bn_weights *w, const char *name)
{
    const bn_model *m = w->model;
    bn_bnw h;
    memcpy(&h, w->data, sizeof h);
    if (w->size != m->info.weight_bytes)
        return bn_fail(w->message, BN_MISMATCH,
                       "%s: weights of another model: expected %" PRIu64 " bytes, found %zu", name,
                       m->info.weight_bytes, w->size);
    if (h.hash != m->hash)
        return bn_fail(w->message, BN_MISMATCH,
                       "%s: weights of another model: expected hash %016" PRIx64
                       ", found %016" PRIx64,
                       name, m->hash, h.hash);
    if (h.vocab_hash != m->vocab_hash)
        return bn_fail(w->message, BN_MISMATCH,
                       "%s: tokenizer of another model: expected hash %016" PRIx64
                       ", found %016" PRIx64,
                       name, m->vocab_hash, h.vocab_hash);
    return BN_OK;
}

static bn_status load_check_vocab(bn_weights *w, const char *name)
{
    const bn_model *m = w->model;
    if (m->vocab_size == 0) /* no tokenizer: bn_tokenize says so */
        return BN_OK;
    if (m->vocab_at < BN_BNW_BODY || m->vocab_at % 64 || m->vocab_at > w->size ||
        m->vocab_size > w->size - m->vocab_at)
        return bn_fail(w->message, BN_MISMATCH,
                       "%s: the model expects its tokenizer at %" PRIu64 " (%" PRIu64
                       " bytes), the file has %zu bytes",
                       name, m->vocab_at, m->vocab_size, w->size);
    uint64_t hash = load_xxh64(w->data + m->vocab_at, (size_t)m->vocab_size);
    if (hash != m->vocab_hash)
        return bn_fail(w->message, BN_FORMAT,
                       "%s: the tokenizer is damaged: expected hash %016" PRIx64
                       ", found %016" PRIx64,
                       name, m->vocab_hash, hash);
    bn_status status = bn_vocab_check(w);
    if (status != BN_OK)
        return bn_fail(w->message, status, "%s: the tokenizer's tables contradict themselves",
                       name);
    return BN_OK;
}

static bn_status load_check(bn_weights *w, const char *name)
{
    if ((uintptr_t)w->data % 64)
        return bn_fail(w->message, BN_ARGUMENT, "%s: expected a 64-byte aligned address", name);
    bn_status status = load_check_header(w, name);
    if (status == BN_OK)
        status = load_check_model(w, name);
    if (status == BN_OK)
        status = load_check_vocab(w, name);
    return status;
}

static bn_status load_start(bn_weights *w, const bn_model *model)
{
    *w = (bn_weights){.model = model};
    if (!model)
        return bn_fail(w->message, BN_ARGUMENT, "no model was given");
    if (model->abi != BN_ABI)
        return bn_fail(w->message, BN_MISMATCH,
                       "the model was compiled for runtime version %" PRIu32
                       ", this runtime has %d",
                       model->abi, BN_ABI);
    return load_choose_code(w);
}

static bn_status load_bytes(bn_weights *w, const void *data, uint64_t size, const char *name)
{
    if (!data)
        return bn_fail(w->message, BN_ARGUMENT, "%s: no data was given", name);
    if (size > SIZE_MAX)
        return bn_fail(w->message, BN_IO, "%s: larger than the address space", name);
    w->data = data;
    w->size = (size_t)size;
    bn_status status = load_check(w, name);
    if (status != BN_OK)
        w->data = NULL;
    return status;
}

bn_status bn_open_memory(bn_weights *w, const bn_model *model, const void *data, size_t size)
{
    if (!w)
        return BN_ARGUMENT;
    bn_status status = load_start(w, model);
    return status == BN_OK ? load_bytes(w, data, size, "weights in memory") : status;
}

/* The first w->size bytes of the file. */
static bn_status load_read(bn_weights *w, unsigned char *data, int file, const char *name)
{
    for (size_t at = 0; at < w->size;) {
        size_t left = w->size - at;
        ssize_t got = read(file, data + at, left < LOAD_READ ? left : LOAD_READ);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bn_fail(w->message, BN_IO, "%s: cannot be read: error %d", name, errno);
        if (got == 0)
            return bn_fail(w->message, BN_IO,
                           "%s: became shorter while it was read: %zu of %zu bytes", name, at,
                           w->size);
        at += (size_t)got;
    }
    return BN_OK;
}

static bn_status load_map(bn_weights *w, int file, const char *name, int copy)
{
    struct stat st;
    if (fstat(file, &st) != 0)
        return bn_fail(w->message, BN_IO, "%s: cannot be examined: error %d", name, errno);
    if (!S_ISREG(st.st_mode))
        return bn_fail(w->message, BN_IO, "%s: expected a regular file", name);
    w->size = (size_t)st.st_size;
    if ((uintmax_t)st.st_size > SIZE_MAX)
        return bn_fail(w->message, BN_IO, "%s: larger than the address space", name);
    if (w->size < BN_BNW_BODY)
        return load_check_header(w, name);
    void *data = NULL;
    if (copy && posix_memalign(&data, 64, w->size) != 0)
        return bn_fail(w->message, BN_IO, "%s: not enough memory for a copy of %zu bytes", name,
                       w->size);
    if (!copy)
        data = mmap(NULL, w->size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED)
        return bn_fail(w->message, BN_IO, "%s: cannot be mapped: error %d", name, errno);
    w->data = (const unsigned char *)data;
    w->mapped = copy ? 2 : 1;
    bn_status status = copy ? load_read(w, (unsigned char *)data, file, name) : BN_OK;
    if (status == BN_OK)
        status = load_check(w, name);
    if (status != BN_OK)
        bn_close(w);
    return status;
}

static const char *load_why(int error)
{
    switch (error) {
    case ENOENT:
        return "there is no such file";
    case EACCES:
        return "permission denied";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    default:
        return "it cannot be opened";
    }
}

static bn_status load_open(bn_weights *w, const bn_model *model, const char *path, int copy)
{
    if (!w)
        return BN_ARGUMENT;
    bn_status status = load_start(w, model);
    if (status != BN_OK)
        return status;
    if (!path && model->embedded)
        return load_bytes(w, model->embedded, model->info.weight_bytes, "embedded weights");
    if (!path)
        path = model->weights_file;
    if (!path)
        return bn_fail(w->message, BN_ARGUMENT,
                       "the model has no weights file of its own: expected a path");
    const char *name = load_name(path);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return bn_fail(w->message, BN_IO, "%s: %s (error %d)", name, load_why(errno), errno);
    status = load_map(w, file, name, copy);
    close(file);
    return status;
}

bn_status bn_open(bn_weights *w, const bn_model *model, const char *path)
{
    return load_open(w, model, path, 0);
}

bn_status bn_open_copy(bn_weights *w, const bn_model *model, const char *path)
{
    return load_open(w, model, path, 1);
}

/* XXH64 of the XXH64 of each piece, a word at a time: the words need no memory. */
static uint64_t load_body_hash(const unsigned char *body, size_t size)
{
    uint64_t v[4] = {LOAD_P1 + LOAD_P2, LOAD_P2, 0, 0 - LOAD_P1}, word[4] = {0}, h = LOAD_P5;
    size_t n = 0;
    for (size_t at = 0; at < size; at += BN_BNW_PIECE) {
        size_t left = size - at;
        word[n++ % 4] = load_xxh64(body + at, left < BN_BNW_PIECE ? left : BN_BNW_PIECE);
        for (int i = 0; i < 4 && n % 4 == 0; i++)
            v[i] = load_round(v[i], word[i]);
    }
    if (n >= 4) {
        h = load_rotl(v[0], 1) + load_rotl(v[1], 7) + load_rotl(v[2], 12) + load_rotl(v[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ load_round(0, v[i])) * LOAD_P1 + LOAD_P4;
    }
    return load_tail(h + n * 8, (const unsigned char *)word, n % 4 * 8);
}

bn_status bn_verify(bn_weights *w)
{
    if (!w)
        return BN_ARGUMENT;
    if (!w->data)
        return bn_fail(w->message, BN_ARGUMENT, "there are no open weights to verify");
    bn_status status = load_check(w, "the weights");
    if (status != BN_OK)
        return status;
    uint64_t hash = load_body_hash(w->data + BN_BNW_BODY, w->size - BN_BNW_BODY);
    if (hash != w->model->hash)
        return bn_fail(w->message, BN_FORMAT,
                       "the weights are damaged: expected hash %016" PRIx64 ", found %016" PRIx64,
                       w->model->hash, hash);
    w->message[0] = 0;
    return BN_OK;
}

void bn_close(bn_weights *w)
{
    if (!w)
        return;
    if (w->mapped == 1)
        munmap((void *)(uintptr_t)w->data, w->size);
    else if (w->mapped)
        free((void *)(uintptr_t)w->data);
    w->data = NULL;
    w->size = 0;
    w->mapped = 0;
}
