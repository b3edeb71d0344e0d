/* metal.c: Metal as a dialect of codegen-gpu, whose kernels are Metal as they are: what it adds are
 * tiles by simdgroup matrices, and a host in Objective-C, which dispatches threadgroups between
 * barriers. */
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-metal/metal.h"
#include "ir/escape.h"

/* ---- the table of kernels ---- */

/* Rows and tokens of a tile of tile.metal; columns for which its sums are exact: a float has 2^24,
 * 128 for a column. */
enum { TILE = 32, TILE_COLS = 1 << 17 };
enum { GRID_TILE32 = GRID_OWN };
enum { SCRATCH_TILE32 = SCRATCH_OWN };

static const Kernel kernels[] = {
#define KERNEL(op, weight, forms, grid, scratch, call)                                             \
    GPU_KERNEL(op, weight, forms, call, (int)GRID_##grid == (int)GRID_TILE32 ? TILE_COLS : 0),
#include "codegen-gpu/kernels.def"
#include "codegen-metal/metal.def"
#undef KERNEL
};
static const KernelFacts facts[] = {
#define KERNEL GPU_FACTS
#include "codegen-gpu/kernels.def"
#include "codegen-metal/metal.def"
#undef KERNEL
};

static const KernelFile files[] = {{"gpu/common.metal", 0, ""},
                                   {"gpu/ternary.metal", 0, ""},
                                   {"gpu/attention.metal", 0, ""},
                                   {"metal/tile.metal", 0, ""}};

static int64_t tiles(const Printer *p, const Op *op, Times *times)
{
    CHECK(facts_of(p, op).grid == GRID_TILE32);
    *times = TIMES_TILE;
    return (op->out[0]->type->dim[1].n + TILE - 1) / TILE;
}

static int64_t tile_bytes(const Printer *p, const Op *op)
{
    CHECK(facts_of(p, op).scratch == SCRATCH_TILE32);
    return 4 * (op->code == OP_TGLU ? 2 : 1) * TILE * TILE;
}

/* ---- files ---- */

static void emit_metal(const Module *m, const EmitOptions *o, Out *out)
{
    Out head = {.s = m->s};
    put(&head, "/* Shaders of a model compiled by bnc " BN_VERSION ": ");
    put_comment(&head, format(m->s, "%s, from %s (XXH64 %016" PRIx64 "), flags: %s.", m->title,
                              file_name(m->source), m->hash, o->flags));
    put(&head,
        "\n * Generated: change the model or the compiler, not this. Every call stands below the "
        "IR "
        "line that it\n"
        " * computes; `state` and `weights` are buffers, at offsets that the compiler's plan "
        "chose.\n"
        " * The host file dispatches the entry points. */\n"
        "#include <metal_stdlib>\nusing namespace metal;\n\n");
    put_bytes(&head, "", 1);
    put_wrapped(head.text, out);
    out_free(&head);
    put(out, "/* Words of the IR. */\nenum {");
#define PUT_WORD(name, value) put(out, " BN_" #name " = %d,", value);
    BN_WORDS(PUT_WORD)
#undef PUT_WORD
    put(out, " };\n\n");
    emit_shaders(m, o, &metal_dialect, out);
}

/* `library`: the file name of the compiled shaders, or of their source. */
static void emit_metal_host(const Module *m, const EmitOptions *o, const char *library, Out *out)
{
    size_t size;
    const char *host = embedded_file("metal/host.m", &size);
    CHECK(host);
    put(out, "/* The host of a model compiled by bnc " BN_VERSION " for Metal: ");
    put_comment_line(out, format(m->s, "%s. Generated. Compile it with", m->title), " * ");
    put(out,
        "\n *     clang -fobjc-arc- -O2 %s_metal.m app.c libbnrt.a -framework Metal -framework "
        "Foundation\n"
        " */\n#include <string.h>\n\n#include \"bn_model.h\"\n",
        o->prefix);
    emit_abi_check(out);
    put(out, "typedef const char *bn_entry;\n#define BN_NAME(entry) #entry\n\n");
    put_threads(&metal_dialect, out);
    emit_tables(m, o, &metal_dialect, out);
    put(out, "static const char library_name[] = ");
    put_c_string(out, library, strlen(library));
    put(out, ";\n\n");
    put_bytes(out, host, size);
    put(out, "\n");
    emit_constants(m, &metal_dialect.target, o, out);
}

const GpuDialect metal_dialect = {
    .target = {.name = "metal",
               .what = "Metal, for the GPUs of Apple",
               .cflags = "",
               .kernel = kernels,
               .nkernel = sizeof kernels / sizeof *kernels,
               .layout = gpu_layouts,
               .nlayout = GPU_LAYOUTS,
               .device = DEVICE_LAUNCHES},
    .facts = facts,
    .file = files,
    .nfile = sizeof files / sizeof *files,
    .threads = 128,
    .most_gpus = 1,
    .source = ".metal",
    .host = "_metal.m",
    .library = ".metallib",
    .prelude = "struct bn_step {\n"
               "    int pos, ntok; /* position of the first token, how many there are */\n"
               "};\n"
               "#ifndef BN_ENTRY\n"
               "#define BN_TABLE constant\n"
               "#define BN_ENTRY(name) \\\n"
               "    kernel void name(device uchar *state [[buffer(0)]], device const uchar "
               "*weights [[buffer(1)]], \\\n"
               "                     constant bn_step &step [[buffer(2)]], constant uint &layer "
               "[[buffer(3)]], \\\n"
               "                     threadgroup float *tg [[threadgroup(0)]], \\\n"
               "                     uint g [[threadgroup_position_in_grid]], uint me "
               "[[thread_position_in_threadgroup]])\n"
               "#endif\n",
    .emit = emit_metal,
    .emit_host = emit_metal_host,
    .groups = tiles,
    .scratch = tile_bytes,
};
