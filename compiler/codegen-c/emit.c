/* emit.c: the C file of a model and its header: what stands before, between and behind the
 * functions (function.c), and the runtime inside. */
#include <inttypes.h>
#include <string.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"
#include "ir/escape.h"

typedef struct Emit {
    const Module *m;
    const Target *target;
    const EmitOptions *o;
    Out *out;
} Emit;

/* ---- the head ---- */

/* A copy of another weight's tensors has no parameters of its own. */
static bool is_copy(const Module *m, const Weight *w)
{
    for (const Weight *o = m->weights; o != w; o = o->next)
        if (o->pattern && o->pattern == w->pattern && o->first == w->first)
            return true;
    return false;
}

static int64_t parameters(const Module *m)
{
    int64_t n = 0;
    for (const Weight *w = m->weights; w; w = w->next) {
        int64_t one = w->is_state || is_copy(m, w) ? 0 : 1;
        for (int i = 0; i < w->type->rank; i++)
            one *= w->type->dim[i].n;
        one += w->times != NULL;
        n += one * (w->count ? w->count : 1);
    }
    return n;
}

/* A line of the head, which goes on below its own column. */
static void put_head_line(Out *o, const char *text)
{
    put_comment_line(o, text, " *          ");
    put(o, "\n");
}

static void put_head(Emit *e)
{
    const Module *m = e->m;
    Out *o = e->out, text = {.s = m->s};
    put(o, "/* ");
    put_comment_line(o, format(m->s, "%s, compiled by bnc " BN_VERSION ".", m->title), " * ");
    put(o, "\n * Generated: change the model or the compiler, not this.\n *\n * model    ");
    put_head_line(o,
                  format(m->s, "%s, %.1f M parameters, from %s (XXH64 %016" PRIx64 ")", m->arch[0],
                         (double)parameters(m) / 1e6, file_name(m->source), m->hash));
    put(o, " * flags    ");
    put_head_line(o, e->o->flags);
    put(&text, "%s: %s", e->target->name, e->target->what);
    isa_names(&text, e->target->isa, " (", " ");
    put(&text, "%s", e->target->isa ? ")" : "");
    put(o, " * target   ");
    put_head_line(o, text.text);
    put(o,
        " * bytes    weights %" PRId64 ", KV cache %" PRId64 ", scratch %" PRId64 " and %" PRId64
        " a thread\n",
        m->weight_bytes, m->cache_bytes, m->shared_bytes, own_bytes(m, e->o->profile));
    put(o, " * context  %d positions, prefill %d at a time\n *\n", m->context, m->batch);
    put(o, " * Every call stands below the IR line that it computes; `shared`, `own` and `cache` "
           "are parts of\n"
           " * the state, at offsets that the compiler's plan chose. See bn.h for how to run it. "
           "*/\n");
    out_free(&text);
}

void emit_abi_check(Out *o)
{
    put(o,
        "#if BN_ABI != %d\n#error \"this model is for runtimes of ABI %d: compile it again with "
        "the "
        "bnc that bn_model.h is from\"\n#endif\n\n",
        BN_ABI, BN_ABI);
}

/* ---- the weights, inside ---- */

/* Assembler, line by line, as an asm of C. */
static void put_asm(Out *o, const char *text)
{
    put(o, "__asm__(");
    for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
        put(o, "\n    ");
        put_c_string(o, at, strcspn(at, "\n") + 1);
    }
    put(o, ");\n");
}

static void put_incbin_weights(Emit *e)
{
    Out *o = e->out, elf = {.s = e->m->s}, apple = {.s = e->m->s};
    const char *p = e->o->prefix;
    put_incbin(&elf, format(e->m->s, "%s_bnw", p), e->o->bnw_path);
    put(&apple, ".const\n.p2align 12\n.globl _%s_bnw\n.private_extern _%s_bnw\n_%s_bnw:\n.incbin ",
        p, p, p);
    put_asm_string(&apple, e->o->bnw_path);
    put(&apple, "\n.text\n");
    put(o,
        "#if !defined(__GNUC__)\n#error \"--weights=incbin needs gcc or clang; compile the model "
        "with --weights=file\"\n#endif\n#if defined(__APPLE__)\n");
    put_asm(o, apple.text);
    put(o, "#else\n");
    put_asm(o, elf.text);
    put(o,
        "#endif\nextern __attribute__((visibility(\"hidden\"))) const unsigned char %s_bnw[];\n\n",
        p);
    out_free(&elf);
    out_free(&apple);
}

static void put_literal_weights(Emit *e)
{
    enum { WORDS = 5 }; /* 64-bit words a line */
    const char *p = e->o->prefix;
    put(e->out,
        "#ifdef __cplusplus\nalignas(64)\n#else\n_Alignas(64)\n#endif\nstatic const uint64_t "
        "%s_words[] = {",
        p);
    for (int64_t i = 0; i < e->m->weight_bytes; i += 8) {
        uint64_t word;
        memcpy(&word, e->o->bnw + i, sizeof word);
        put(e->out, "%s0x%" PRIx64 ",", i / 8 % WORDS ? " " : "\n    ", word);
    }
    put(e->out, "\n};\n#define %s_bnw ((const unsigned char *)%s_words)\n\n", p, p);
}

/* ---- the constants ---- */

/* The functions of each part, in the order of bn_code; a module has them part by part. */
static void put_code(Emit *e)
{
    put(e->out, "/* What a processor must have, and the functions for it; bn_open takes the last "
                "that fits. */\nstatic const bn_code code[] = {\n");
    Record r = {.s = e->m->s};
    for (const Func *f = e->m->funcs; f;)
        f = record_code(&r, f, e->target);
    put_fields(&r, e->out);
    put(e->out, "};\n\n");
}

static void put_descriptor(Emit *e)
{
    Record r = {.s = e->m->s};
    const char *p = e->o->prefix;
    int64_t n;
    const int32_t *end = end_tokens(e->m, &n);
    for (int64_t i = 0; i < n; i++)
        put(e->out, "%s%" PRId32 "%s", i ? ", " : "static const int32_t end_tokens[] = {", end[i],
            i + 1 < n ? "" : "};\n");
    put(e->out, "extern BN_EXPORT const bn_model %s_model;\nconst bn_model %s_model = {\n", p, p);
    record_model(&r, e->m, e->target, e->o);
    put_fields(&r, e->out);
    put(e->out, "};\n");
}

/* ---- the runtime, inside ---- */

/* A file of the runtime, without the includes of its neighbours. */
static void put_runtime(Out *o, const char *path)
{
    size_t size;
    const char *text = embedded_file(path, &size);
    CHECK(text);
    const char *end = text + size;
    put(o, "\n/* ==== %s ==== */\n", path);
    while (text < end) {
        size_t len = strcspn(text, "\n") + 1;
        if (strncmp(text, "#include \"", 10))
            put_bytes(o, text, len);
        text += len;
    }
}

void emit_runtime(Out *o, bool profile, bool cli)
{
    static const char *const files[] = {
        "bn.h",          "bn_model.h",       "bn_template.h", "bn_cpu.h",      "bn_vocab.h",
        "internal.h",    "unicode_tables.h", "jinja.h",       "load.c",        "cpus.c",
        "team.c",        "state.c",          "pretokenize.c", "normalize.c",   "tokenize.c",
        "detokenize.c",  "chat.c",           "jinja_run.c",   "jinja_value.c", "jinja_text.c",
        "jinja_parts.c", "jinja_json.c",     "jinja_call.c",  "sample.c",      "generate.c"};
    put(o, "#if defined(__linux__) && !defined(_GNU_SOURCE)\n#define _GNU_SOURCE\n#endif\n"
           "#ifndef _POSIX_C_SOURCE\n#define _POSIX_C_SOURCE 200809L\n#endif\n");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        put_runtime(o, files[i]);
    if (cli) {
        put_runtime(o, "cli.h");
        put_runtime(o, "cli_options.h");
        put_runtime(o, "cli.c");
    }
    if (profile) {
        put_runtime(o, "bn_profile.h");
        put_runtime(o, "profile.c");
    }
}

static void put_main(Emit *e)
{
    put(e->out,
        "\n/* Alone, this file is a program; a main of the product's own takes precedence. */\n"
        "#if defined(__GNUC__)\n__attribute__((weak))\n#endif\nint main(int argc, char **argv)\n{\n"
        "    return bn_cli(&%s_model, argc, argv);\n}\n",
        e->o->prefix);
}

/* ---- the file ---- */

/* What the runtime relies on and a hand-written architecture could get wrong. */
static void check_shape(const Module *m)
{
    const Type *logits = result_of(m, FORM_SCORE), *hidden = result_of(m, FORM_DECODE);
    if (!logits || !hidden || !result_of(m, FORM_PREFILL) || !result_of(m, FORM_LM_HEAD))
        fail(m->s, (Loc){m->text, 0, 0},
             "a program needs @decode, @prefill, @score and @lm_head; run the pass specialize");
    for (Func *f = m->funcs; f; f = f->next) {
        const Type *y = f->body->last->in[0]->type;
        bool cut = result_space(f) == SPACE_HIDDEN;
        if (cut ? y != hidden
                : y->dim[1].n != logits->dim[1].n ||
                      (f->form != FORM_SCORE && f->body->arg[0]->type != hidden))
            fail(m->s, f->body->last->loc, "@%s hands on or takes another type than the others",
                 f->name);
        for (const Op *op = f->body->first; op; op = op->next)
            if (op->code == OP_EMBED && op->in[1]->type->dim[0].n < logits->dim[1].n)
                fail(m->s, op->loc,
                     "@%s: the embedding has %lld rows, the logits %lld tokens: a token could have "
                     "no row",
                     f->name, (long long)op->in[1]->type->dim[0].n, (long long)logits->dim[1].n);
        if (f->form == FORM_FORWARD)
            fail(m->s, (Loc){m->text, 0, 0}, "@forward is still general; run the pass specialize");
    }
}

/* The chat template is a stranger's text: numbers alone reach the C. */
static void put_template(const EmitOptions *o, Out *out)
{
    if (!o->chat.bytes)
        return;
    put(out, "/* The chat template, for the runtime's interpreter (bn_template.h). */\n"
             "static const unsigned char chat_template[] = {");
    for (size_t i = 0; i < o->chat.size; i++)
        put(out, i % 24 ? "%u," : "\n    %u,", o->chat.bytes[i]);
    put(out, "\n};\n\n");
}

void emit_constants(const Module *m, const Target *target, const EmitOptions *o, Out *out)
{
    Emit e = {.m = m, .target = target, .o = o, .out = out};
    put_template(o, out);
    put_code(&e);
    if (o->weights == WEIGHTS_INCBIN)
        put_incbin_weights(&e);
    else if (o->weights == WEIGHTS_C)
        put_literal_weights(&e);
    put_descriptor(&e);
}

struct Used {
    Session *s;
    const Kernel **kernel;
    int n;
};

static void note_kernel(Op *op, void *arg)
{
    struct Used *u = arg;
    if (!op->kernel)
        return;
    u->kernel = grow(u->s, u->kernel, (size_t)u->n, sizeof *u->kernel);
    u->kernel[u->n++] = op->kernel;
}

void emit_c(const Module *m, const Target *target, const EmitOptions *o, Out *out)
{
    Emit e = {.m = m, .target = target, .o = o, .out = out};
    const Probes *probes = o->profile ? probes_find(m) : NULL;
    struct Used used = {m->s, NULL, 0};
    check_shape(m);
    put_head(&e);
    if (o->amalgamate) {
        emit_runtime(out, o->profile, o->program);
        put(out, "\n/* ==== the model ==== */\n\n");
    }
    put(out, "#include <math.h>\n#include <string.h>\n\n");
    if (!o->amalgamate) {
        put(out, "#include \"%s\"\n", o->profile ? "bn_profile.h" : "bn_model.h");
        emit_abi_check(out);
    }
    for (Func *f = m->funcs; f; f = f->next)
        walk(f->body, note_kernel, &used);
    emit_kernels(m->s, used.kernel, used.n, out);
    put_macros(m, out);
    if (probes)
        put_probes(probes, o->prefix, out);
    put_functions(m, target, probes, out);
    emit_constants(m, target, o, out);
    if (o->program)
        put_main(&e);
}

/* The guard is the prefix as it is written, the macros are it in capitals: two that differ in case
 * alone would share those. */
void emit_header(const Module *m, const EmitOptions *o, Out *out)
{
    const Type *logits = result_of(m, FORM_SCORE);
    char *big = scratch_copy(m->s, o->prefix);
    for (char *c = big; *c; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    put(out, "/* ");
    put_comment_line(
        out,
        format(m->s, "%s, compiled by bnc " BN_VERSION ": see bn.h for how to run it.", m->title),
        " * ");
    put(out, " */\n#ifndef BN_HEADER_%s\n#define BN_HEADER_%s\n\n", o->prefix, o->prefix);
    put(out,
        "#ifdef %s_CONTEXT\n#error \"two models whose names differ in case alone: give %s another "
        "by --name\"\n#endif\n\n",
        big, o->prefix);
    if (o->amalgamate)
        put_runtime(out, "bn.h");
    else
        put(out, "#include \"bn.h\"\n");
    put(out,
        "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\nextern BN_EXPORT const bn_model "
        "%s_model;\n",
        o->prefix);
    if (o->profile)
        put(out, "extern BN_EXPORT const struct bn_profile %s_profile; /* see bn_profile.h */\n",
            o->prefix);
    put(out, "\n#define %s_VOCAB %" PRId64 "\n#define %s_CONTEXT %d\n", big, logits->dim[1].n, big,
        m->context);
    put(out,
        "/* Bytes that bn_init needs at most, for a block set aside at compile time. */\n"
        "#define %s_STATE_BYTES(threads) \\\n    BN_STATE_BYTES(threads, %" PRId64 ", %" PRId64
        ", %" PRId64 ", %" PRId64 ", %d)\n",
        big, m->shared_bytes + hidden_bytes(m), own_bytes(m, o->profile), m->cache_bytes,
        logits->dim[1].n, m->context);
    put(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
