/* gguf_file.h: one small valid GGUF file, built field by field, each with its place kept. */
#ifndef GGUF_FILE_H
#define GGUF_FILE_H

#include "frontend/gguf.h"

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum Field { /* places that the cases change */
             VERSION,
             NTENSOR,
             NKEY,
             KEY0_LEN,
             KEY0_TEXT,
             KEY0_TYPE,
             ARCH_LEN,
             KEY1_TEXT,
             ALIGN_TYPE,
             ALIGN,
             STRINGS_ITEM,
             STRINGS_COUNT,
             STRING1_LEN,
             INTS_COUNT,
             BOOL,
             FILE_TYPE,
             NAME_A_LEN,
             NAME_A,
             RANK_A,
             DIM_A,
             TYPE_A,
             OFFSET_A,
             NAME_B,
             DIM_B,
             DIM_B1,
             TYPE_B,
             OFFSET_B,
             DIM_C,
             OFFSET_C,
             TYPE_D,
             OFFSET_D,
             TAIL_B,
             DATA,
             END,
             FIELDS
};

typedef struct File {
    uint8_t *b;
    size_t n, cap, at[FIELDS];
} File;

static void bytes(File *f, const void *p, size_t n)
{
    while (f->n + n > f->cap) {
        f->cap = f->cap ? 2 * f->cap : 4096;
        f->b = realloc(f->b, f->cap);
        assert_non_null(f->b);
    }
    memcpy(f->b + f->n, p, n);
    f->n += n;
}

static void number(File *f, uint64_t x, int n)
{
    for (int i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(x >> 8 * i);
        bytes(f, &byte, 1);
    }
}

/* number() with its place remembered. */
static void field(File *f, enum Field which, uint64_t x, int n)
{
    f->at[which] = f->n;
    number(f, x, n);
}

static void text(File *f, const char *s)
{
    number(f, strlen(s), 8);
    bytes(f, s, strlen(s));
}

static void key(File *f, const char *name_, GgufValueType type)
{
    text(f, name_);
    number(f, type, 4);
}

static void put_keys(File *f, unsigned alignment)
{
    field(f, KEY0_LEN, strlen("general.architecture"), 8);
    f->at[KEY0_TEXT] = f->n;
    bytes(f, "general.architecture", 20);
    field(f, KEY0_TYPE, GGUF_STRING, 4);
    f->at[ARCH_LEN] = f->n;
    text(f, "bitnet-b1.58");
    f->at[KEY1_TEXT] = f->n + 8;
    text(f, "general.alignment");
    field(f, ALIGN_TYPE, GGUF_U32, 4);
    field(f, ALIGN, alignment, 4);
    key(f, "t.strings", GGUF_ARRAY);
    field(f, STRINGS_ITEM, GGUF_STRING, 4);
    field(f, STRINGS_COUNT, 3, 8);
    text(f, "a");
    f->at[STRING1_LEN] = f->n;
    text(f, "bc");
    text(f, "");
    key(f, "t.ints", GGUF_ARRAY);
    number(f, GGUF_I16, 4);
    field(f, INTS_COUNT, 3, 8);
    number(f, 1, 2);
    number(f, 0xffff, 2);
    number(f, 7, 2);
    key(f, "t.none", GGUF_ARRAY);
    number(f, GGUF_F64, 4);
    number(f, 0, 8);
    key(f, "t.bool", GGUF_BOOL);
    field(f, BOOL, 1, 1);
    key(f, "t.f32", GGUF_F32);
    number(f, 0x3f000000, 4);
    key(f, "t.u64", GGUF_U64);
    number(f, UINT64_MAX, 8);
    key(f, "t.i8", GGUF_I8);
    number(f, 0xfe, 1);
    key(f, "general.file_type", GGUF_U32);
    field(f, FILE_TYPE, 40, 4);
}

/* a.weight: f32 [4]; b.weight: i2_s [8 x 64]; c.weight: tq2_0 [256]; d.weight: q4_k [2 x 256] */
static void put_tensors(File *f)
{
    field(f, NAME_A_LEN, 8, 8);
    f->at[NAME_A] = f->n;
    bytes(f, "a.weight", 8);
    field(f, RANK_A, 1, 4);
    field(f, DIM_A, 4, 8);
    field(f, TYPE_A, 0, 4);
    field(f, OFFSET_A, 0, 8);
    f->at[NAME_B] = f->n + 8;
    text(f, "b.weight");
    number(f, 2, 4);
    field(f, DIM_B, 64, 8);
    field(f, DIM_B1, 8, 8);
    field(f, TYPE_B, 36, 4);
    field(f, OFFSET_B, 64, 8);
    text(f, "c.weight");
    number(f, 1, 4);
    field(f, DIM_C, 256, 8);
    number(f, 35, 4);
    field(f, OFFSET_C, 256, 8);
    text(f, "d.weight");
    number(f, 3, 4);
    number(f, 256, 8);
    number(f, 1, 8);
    number(f, 2, 8);
    field(f, TYPE_D, 12, 4);
    field(f, OFFSET_D, 384, 8);
}

static void pad_to(File *f, size_t n)
{
    while (f->n < n)
        number(f, f->n * 37 & 0x2a, 1); /* codes 0 to 2 */
}

static File build(unsigned version, unsigned alignment)
{
    File f = {0};
    bytes(&f, "GGUF", 4);
    field(&f, VERSION, version, 4);
    field(&f, NTENSOR, 4, 8);
    field(&f, NKEY, 10, 8);
    put_keys(&f, alignment);
    put_tensors(&f);
    pad_to(&f, (f.n + alignment - 1) / alignment * alignment);
    f.at[DATA] = f.n;
    float a[4] = {1, 2, 3, 4}, scale = 0.25f;
    bytes(&f, a, sizeof a);
    pad_to(&f, f.at[DATA] + 64 + 128);
    f.at[TAIL_B] = f.n;
    bytes(&f, &scale, 4);
    pad_to(&f, f.at[DATA] + 384 + 288);
    f.at[END] = f.n;
    return f;
}

static void write_at(File *f, enum Field which, uint64_t x, int n)
{
    for (int i = 0; i < n; i++)
        f->b[f->at[which] + (size_t)i] = (uint8_t)(x >> 8 * i);
}

#endif
