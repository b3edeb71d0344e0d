/* inspect.h: what `bnc inspect` collects about a model file (inspect.c) and what it thinks of it
 * (check.c). */
#ifndef BNC_INSPECT_H
#define BNC_INSPECT_H

#include "cmd/cmd.h"
#include "frontend/gguf.h"

enum {
    CHUNK = 4096,   /* values looked at together */
    MAGNITUDES = 8, /* distinct sizes of float values that are told apart */
};

typedef struct Facts {
    int64_t n, minus, zero, plus, invalid, nonfinite;
    float scale_low, scale_high; /* of the blocks that are not all zero; 0, 0: there are none */
    float magnitude[MAGNITUDES]; /* float formats: distinct absolute values, zero aside */
    int nmagnitude;              /* MAGNITUDES + 1: more than that */
    bool known, ternary;         /* known: the format can be decoded */
    uint64_t hash;               /* XXH64 of the bytes, with --hash */
} Facts;

typedef struct Group { /* the tensors of one format */
    const char *type;
    int64_t tensors, bytes;
    Facts sum;
} Group;

typedef enum Grade { FINE, WARNING, ERROR } Grade;
typedef struct Finding {
    const char *check, *text;
    Grade grade;
} Finding;

typedef struct Inspect {
    Session *s;
    Gguf *g;
    const char *path, *file, *arch, *arch_path; /* file: the GGUF of a folder; else path */
    bool json, tensors, metadata, check, hash;
    Fmt layout;
    Facts *facts; /* by tensor */
    Group *group;
    int ngroup;
    int64_t parameters, ternary, invalid, i2s;
    Finding *finding;
    int nfinding, nerror, nwarning;
    Out out;
} Inspect;

/* bnw.c: whether `path` is a .bnw; its header and whether its content is whole (else it fails). */
bool inspect_is_bnw(const char *path);
int inspect_bnw(Inspect *p);

/* Runs every check over p->g and p->facts and fills p->finding: one line or more of each. */
void inspect_check(Inspect *p);
void show_findings(Inspect *p);
void json_findings(Inspect *p);

#endif
