/* cuda.c: CUDA as a dialect of codegen-gpu. One idea: the shared kernels are translated, keyword by
 * keyword, so that a GPU proves their logic too; a file of CUDA is the dialect, the shaders, their
 * tables, the host.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-cuda/internal.h"
#include "ir/escape.h"

/* ---- the table of kernels ---- */

/* Columns for which sums are exact: share_sums' int leaves weights where they stand in a byte, 2^14
 * for a column. */
#define MOST_COLS(scratch) ((int)(scratch) == (int)SCRATCH_SUMS ? 1 << 16 : 0)

static const Kernel kernels[] = {
#define KERNEL(op, weight, forms, grid, scratch, call)                                             \
    GPU_KERNEL(op, weight, forms, call, MOST_COLS(SCRATCH_##scratch)),
#include "codegen-gpu/kernels.def"
#include "codegen-cuda/cuda.def"
#undef KERNEL
};
static const KernelFacts facts[] = {
#define KERNEL GPU_FACTS
#include "codegen-gpu/kernels.def"
#include "codegen-cuda/cuda.def"
#undef KERNEL
};

static const KernelFile files[] = {
    {"gpu/common.metal", 0, ""},    {"gpu/ternary.metal", 0, ""},
    {"gpu/attention.metal", 0, ""}, {"cuda/tensor_parallel.cu", 0, ""},
    {"cuda/norm.cu", 0, ""},        {"cuda/attention.cu", 0, ""},
    {"cuda/mma_tile.cu", 0, ""},    {"cuda/persistent.cu", 0, ""},
    {"cuda/topk.cu", 0, ""}};

static const char *const *chunks(const Printer *p)
{
    static const char *const one[] = {"held_from", "hidden_out", NULL};
    static const char *const several[] = {"held_from", "hidden_out", "has_unit", "all_gather",
                                          NULL};
    return p->gpus > 1 ? several : one;
}

/* The blocks of tiles are those of a whole batch: some find no work. */
static int64_t blocks_of(const Printer *p, const Op *op, Times *times)
{
    switch (facts_of(p, op).grid) {
    case GRID_SETS:
        return attr_int(op, "heads", 0) / heads_together(op);
    case GRID_TILES:
        *times = TIMES_ONCE;
        return (op->out[0]->type->dim[1].n + 127) / 128 * ((p->m->batch + 63) / 64);
    default: /* GRID_SHARE: persistent blocks share it */
        return 1;
    }
}

static int64_t shared_bytes(const Printer *p, const Op *op)
{
    int64_t warps = CUDA_THREADS / WARP;
    switch (facts_of(p, op).scratch) {
    case SCRATCH_CHUNK:
        return 4 * (heads_together(op) * (head_dim(op) + (2 + head_dim(op)) * warps) +
                    2 * head_dim(op));
    case SCRATCH_SCREEN:
        return 4 * (7 * warps + 2);
    case SCRATCH_TILE:
        return 2 * ((op->code == OP_TGLU ? 2 : 1) * 4096 + 64 * 144);
    default: /* SCRATCH_SUMS: sums stand elsewhere */
        return 4 * warps;
    }
}

/* ---- places in the state ---- */

static int64_t chunks_bytes(const Module *m)
{
    int64_t most = 0;
    for (const Func *f = m->funcs; f; f = f->next)
        for (const Op *op = f->body->first; op; op = op->next)
            for (const Op *in = op->body ? op->body->first : NULL; in; in = in->next)
                if (in->code == OP_ROPE_ATTENTION) {
                    const Type *cache = in->in[4]->type;
                    int64_t heads = attr_int(in, "heads", 0), chunks = cache->dim[1].n / 128 + 1;
                    int64_t bytes = 4 * heads * chunks * (cache->dim[2].n + 2);
                    most = bytes > most ? bytes : most;
                }
    return most;
}

static void cuda_places(const Printer *p, int64_t *end, Places *at)
{
    at->own[AT_CHUNKS] = take_place(end, chunks_bytes(p->m));
    at->own[AT_FOUND] = take_place(end, (int64_t)4 * CUDA_SETS * p->gpus);
    at->own[AT_BARRIER] = take_place(end, 8);
}

/* ---- what is printed otherwise ---- */

/* @lm_head and @topk store logits in the host's memory. */
static const char *operand(const Printer *p, const Value *v)
{
    bool host = v->space == SPACE_LOGITS && (p->form == FORM_LM_HEAD || p->form == FORM_TOPK);
    return host ? "step.logits" : NULL;
}

static void put_more_arguments(Printer *p, const Op *op)
{
    if (facts_of(p, op).grid == GRID_SETS)
        put(p->out, "%" PRId64 ", ", heads_together(op));
}

static void put_prologue(Printer *p)
{
    if (p->form == FORM_LM_HEAD)
        put(p->out,
            "    if (g == 0)\n        hidden_out(step, AT(float, %" PRId64 "), %" PRId64 ", me);\n",
            p->at.hidden, hidden_bytes(p->m) / 4);
}

/* Products of floats alone use few registers. */
static const char *entry_macro(const Op *from, const Op *to)
{
    bool light = true;
    for (const Op *op = from; op != to; op = op->next)
        light &= !op->kernel || op->code == OP_LINEAR;
    return light ? "BN_LIGHT_ENTRY" : NULL;
}

static void put_tables(Printer *p)
{
    put(p->out, "#define BN_SCREENED %d /* whether there is a topk_step */\n\n",
        func_find(p->m, name(p->s, form_name[FORM_TOPK])) != NULL);
    put_slices(p);
}

/* ---- the file ---- */

static void put_file(const char *path, Out *out)
{
    size_t size;
    const char *text = embedded_file(path, &size);
    CHECK(text);
    put_bytes(out, text, size);
    put(out, "\n");
}

/* Metal's keywords, outside of comments, in CUDA's. Macros would not do: CUDA's own headers use
 * `device`. */
static void translate(const char *c, Out *out)
{
    static const char *const keywords[][2] = {{"device ", ""},
                                              {"threadgroup ", ""},
                                              {"constant ", "const "},
                                              {"inline ", "inline __device__ "}};
    char before = ' ';
    while (*c) {
        const char *to = NULL, *end = c[0] == '/' && c[1] == '*' ? strstr(c, "*/") : NULL;
        size_t len = end ? (size_t)(end + 2 - c) : 1;
        for (size_t i = 0; i < sizeof keywords / sizeof *keywords &&
                           !isalnum((unsigned char)before) && before != '_';
             i++)
            if (!strncmp(c, keywords[i][0], strlen(keywords[i][0]))) {
                to = keywords[i][1];
                len = strlen(keywords[i][0]);
            }
        put_bytes(out, to ? to : c, to ? strlen(to) : len);
        c += len;
        before = c[-1];
    }
}

static void emit_cuda(const Module *m, const EmitOptions *o, Out *out)
{
    Out shaders = {.s = m->s}, head = {.s = m->s};
    put(&head, "/* A model compiled by bnc " BN_VERSION " for CUDA: ");
    put_comment(&head, format(m->s, "%s, from %s (XXH64 %016" PRIx64 "), flags: %s.", m->title,
                              file_name(m->source), m->hash, o->flags));
    put(&head,
        "\n * Generated: change the model or the compiler, not this. Compile it with\n"
        " *     nvcc -O3 -arch=native -c %s.cu\n"
        " * Every call stands below the IR line that it computes. */\n"
        "#include \"bn_model.h\"\n",
        o->prefix);
    put_bytes(&head, "", 1);
    put_wrapped(head.text, out);
    emit_abi_check(out);
    out_free(&head);
    if (o->gpus > 1)
        put(out, "#define BN_GPUS %d /* that share a pass */\n", o->gpus);
    put_file("cuda/dialect.cuh", out);
    emit_shaders(m, o, &cuda_dialect, &shaders);
    put_bytes(&shaders, "", 1);
    translate(shaders.text, out);
    out_free(&shaders);
    put(out, "/* ---- end of device code ---- */\n#undef threadgroup_barrier\n#undef "
             "AT\n#undef FLOATS\n#undef OWN\n\n"
             "typedef void (*bn_entry)(uchar *state, const uchar *weights, uint layer);\n"
             "#define BN_NAME(entry) entry\n\n");
    emit_tables(m, o, &cuda_dialect, out);
    put_file("cuda/host.cu", out);
    emit_constants(m, &cuda_dialect.target, o, out);
}

const GpuDialect cuda_dialect = {
    .target = {.name = "cuda",
               .what = "CUDA, for the GPUs of NVIDIA",
               .cflags = "",
               .kernel = kernels,
               .nkernel = sizeof kernels / sizeof *kernels,
               .layout = gpu_layouts,
               .nlayout = GPU_LAYOUTS,
               .device = DEVICE_PERSISTENT},
    .facts = facts,
    .file = files,
    .nfile = sizeof files / sizeof *files,
    .threads = CUDA_THREADS,
    .batch = 512,
    .most_gpus = 16,
    .source = ".cu",
    .prelude = "#define OWN(type, offset) ((type *)(own + (offset)))\n",
    .emit = emit_cuda,
    .groups = blocks_of,
    .scratch = shared_bytes,
    .places = cuda_places,
    .chunks = chunks,
    .put_more_arguments = put_more_arguments,
    .operand = operand,
    .put_prologue = put_prologue,
    .entry_macro = entry_macro,
    .unit_width = cuda_unit_width,
    .slice = cuda_slice,
    .exchange = cuda_exchange,
    .put_persistent = put_persistent,
    .persistent_bytes = persistent_bytes,
    .put_tables = put_tables,
};
