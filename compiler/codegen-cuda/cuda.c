/* cuda.c: the printer of CUDA C++. One idea: CUDA is a dialect of the shaders that codegen-metal
 * prints, so that a card proves their logic too; a file of it is the dialect, the shaders, their
 * tables, the host.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-cuda/cuda.h"

static void put_file(const char *path, Out *out)
{
    size_t size;
    const char *text = embedded_file(path, &size);
    CHECK(text);
    put_bytes(out, text, size);
    put(out, "\n");
}

/* Metal's words, outside of comments, in CUDA's. Macros would not do: CUDA's own headers use
 * `device`. */
static void translate(const char *c, Out *out)
{
    static const char *const words[][2] = {{"device ", ""},
                                           {"threadgroup ", ""},
                                           {"constant ", "const "},
                                           {"inline ", "inline __device__ "}};
    char before = ' ';
    while (*c) {
        const char *to = NULL, *end = c[0] == '/' && c[1] == '*' ? strstr(c, "*/") : NULL;
        size_t len = end ? (size_t)(end + 2 - c) : 1;
        for (size_t i = 0;
             i < sizeof words / sizeof *words && !isalnum((unsigned char)before) && before != '_';
             i++)
            if (!strncmp(c, words[i][0], strlen(words[i][0]))) {
                to = words[i][1];
                len = strlen(words[i][0]);
            }
        put_bytes(out, to ? to : c, to ? strlen(to) : len);
        c += len;
        before = c[-1];
    }
}

void emit_cuda(const Module *m, const EmitOptions *o, Out *out)
{
    Out shaders = {.s = m->s};
    put(out,
        "/* A model compiled by bnc " BN_VERSION " for CUDA: %s, from %s (XXH64 %016" PRIx64
        "), flags: %s.\n"
        " * Generated: change the model or the compiler, not this. Compile it with\n"
        " *     nvcc -O3 -arch=native -c %s.cu\n"
        " * Every call stands below the IR line that it computes. */\n"
        "#include \"bn_model.h\"\n\n",
        c_name(m->s, m->title), file_name(m->source), m->hash, o->flags, o->prefix);
    if (o->cards > 1)
        put(out, "#define BN_CARDS %d /* that share a pass */\n", o->cards);
    put_file("cuda/dialect.cuh", out);
    emit_shaders(m, o, cuda_target(), &shaders);
    put_bytes(&shaders, "", 1);
    translate(shaders.text, out);
    out_free(&shaders);
    put(out, "/* ---- end of what runs on the card ---- */\n#undef threadgroup_barrier\n#undef "
             "AT\n#undef FLOATS\n#undef OWN\n\n"
             "typedef void (*bn_entry)(uchar *state, const uchar *weights, uint layer);\n"
             "#define BN_NAME(entry) entry\n\n");
    emit_tables(m, o, cuda_target(), out);
    put_file("cuda/host.cu", out);
    emit_constants(m, cuda_target(), o, out);
}
