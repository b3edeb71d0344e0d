/* quantize.h: what the files of `bnc quantize` share.
 *
 * A plan is one Change a tensor, in the order of the file. quantize_scan looks at the values that
 * the choice of scales needs, quantize_write makes the file and measures what each tensor lost, and
 * quantize_auto fills in formats by measured loss.
 */
#ifndef BNC_QUANTIZE_H
#define BNC_QUANTIZE_H

#include "cmd/cmd.h"
#include "frontend/gguf.h"

/* How many weights share a scale when floats become ternary. */
typedef enum Grain { GRAIN_TENSOR, GRAIN_ROW, GRAIN_256 } Grain;

/* How the values of a tensor become those of the file. */
typedef enum Way {
    WAY_COPY,    /* the same bytes */
    WAY_FLOATS,  /* encoded as floats */
    WAY_CODES,   /* ternary in the file: codes and scales stay */
    WAY_EXACT,   /* floats that are -s, 0 and +s only: likewise */
    WAY_ABSMEAN, /* floats: s = mean |w|, code = round(w / s) */
} Way;
extern const char *const way_name[];

/* What a tensor is to the model, by its name. */
typedef enum Role { ROLE_OTHER, ROLE_LINEAR, ROLE_WORDS } Role;

typedef struct Change {
    const Tensor *t;
    const char *group; /* the name without its layer: blk.*.ffn_down.weight */
    Role role;
    bool fixed; /* by --keep */
    Fmt to;
    Grain grain;
    Way way;
    /* quantize_scan: */
    bool scanned;
    double mean, squares; /* of |w|; sum of w^2 */
    float most, scale;    /* max |w|; of the whole tensor, where there is one */
    float *row_scale;     /* GRAIN_ROW: [rows] */
    bool exact;
    /* quantize_write: */
    double error;        /* sum of (w - what the file says)^2 */
    int64_t zeros, plus; /* values that the file says are 0; ternary: codes +1 */
    double pile;         /* see never_trained; 0: not measured */
} Change;

/* Decides `way` from t, to and grain, and the scales. fail()s where the format cannot hold the
 * values (shape, invalid codes, numbers that are not finite or too large for f16). */
void quantize_scan(Session *s, const Gguf *g, Change *c);
/* Writes g with its tensors changed, all n of them scanned; keys unchanged but for
 * general.file_type, which becomes that of `type`. Reads the tensors piece by piece: no more memory
 * than a few MB whatever the size of the file. Returns the file's bytes. */
int64_t quantize_write(Session *s, const Gguf *g, Change *c, int64_t n, Fmt type, const char *path);

size_t change_bytes(const Change *c);
double change_error(const Change *c);   /* root of (squared error / sum of squares) */
double change_entropy(const Change *c); /* bits a code; -1: not ternary */
/* Whether absmean made ternary what was never trained for it. Training with rounded weights drives
 * them to the places where rounding flips, +-s/2: there they lie denser than around zero, in `pile`
 * times the number (1.5 to 3 in models trained so). A bell has its most around zero: 0.92 for a
 * Gaussian. The relative error does not tell: a trained matrix may lose more (0.6) than a Gaussian
 * (0.51), for what it loses was never in use. Below 0.35 the values sit at -s, 0 and +s anyway. */
bool never_trained(const Change *c);

/* ---- quantize_auto.c ---- */

typedef struct Sample { /* a text to measure with */
    const char *path, *text;
    size_t size;
    int threads; /* 0: one a core */
} Sample;
/* Loss of a model over a text: nats a token, by windows of the context that each begin with BOS
 * where the model asks for it. */
typedef struct Loss {
    float *nll; /* [n], in the session */
    int64_t n;
    double mean, error; /* error: the standard error of the mean */
} Loss;
/* Compiles `model` for this machine and reads the text with it. A trial's program is thrown away
 * after, and where bnc cannot run it false is returned without a message; else that is fail()ed. */
bool loss_measure(Session *s, const char *model, bool trial, const Sample *text, Loss *loss);
/* Mean of b - a and its standard error, token by token. */
double loss_gain(const Loss *a, const Loss *b, double *error);

typedef struct Auto {
    int64_t budget;  /* bytes of the file; 0: none */
    double max_loss; /* nats a token above the source; < 0: none */
    const Fmt *fmt;  /* what it may choose from */
    int nfmt;
    const Sample *text;
    Out *out; /* its table; json: as a member "auto" of an object */
    bool json;
} Auto;
/* Sets `to` of the changes that are not fixed and writes the file. `before` is the loss of the
 * source, `after` becomes that of the result. Returns as quantize_write. */
int64_t quantize_auto(Session *s, const Gguf *g, Change *c, int64_t n, const Auto *a,
                      const Loss *before, const char *path, Loss *after);
/* The format that most weights of layers have, or that of the embedding where there are no layers: the
 * value of general.file_type. */
Fmt main_type(const Change *c, int64_t n);

#endif
