/* chunks.c: kernels are real C files (kernels/), cut into chunks by `//@ name : needs` lines. A
 * model gets the chunks it calls and those they need, in the order of files.def, each file's under
 * the instruction sets it was written for. */
#include <string.h>

#include "bn_model.h"
#include "codegen-c/codegen.h"

static const KernelFile c_files[] = {
#define KFILE(path, isa, header) {path, isa, header},
#include "codegen-c/files.def"
#undef KFILE
};
enum { NFILE = sizeof c_files / sizeof *c_files };

typedef struct Chunk {
    const char *name, *needs, *text; /* each ends where its length says */
    int name_len, needs_len;
    size_t text_len;
    int file;
    bool used;
} Chunk;
typedef struct Chunks {
    Session *s;
    Chunk *chunk;
    int n;
    const KernelFile *file;
    int nfile;
} Chunks;

static void cut(Chunks *c, int file, const char *text, size_t size)
{
    const char *at = strstr(text, "\n//@ ");
    while (at) {
        Chunk k = {.name = at + 5, .file = file};
        const char *line = strchr(k.name, '\n'), *next = strstr(k.name, "\n//@ ");
        k.name_len = (int)strcspn(k.name, " :\n");
        k.needs = k.name + k.name_len + strspn(k.name + k.name_len, " :");
        k.needs_len = k.needs < line ? (int)(line - k.needs) : 0;
        k.text = line + 1;
        k.text_len = (size_t)((next ? next + 1 : text + size) - k.text);
        c->chunk = grow(c->s, c->chunk, (size_t)c->n, sizeof *c->chunk);
        c->chunk[c->n++] = k;
        at = next;
    }
}

static void use(Chunks *c, const char *name, int len)
{
    for (int i = 0; i < c->n; i++) {
        Chunk *k = &c->chunk[i];
        if (k->name_len != len || memcmp(k->name, name, (size_t)len))
            continue;
        const char *need = k->needs, *end = k->needs + k->needs_len;
        bool known = k->used;
        for (k->used = true; !known && need < end;) {
            int n = (int)strcspn(need, " \n");
            use(c, need, n);
            need += n;
            need += strspn(need, " ");
        }
        return;
    }
    die("kernel chunk %.*s is in no file", len, name);
}

static bool file_used(const Chunks *c, int file)
{
    for (int i = 0; i < c->n; i++)
        if (c->chunk[i].used && c->chunk[i].file == file)
            return true;
    return false;
}

/* The header of AVX-512 warns of itself where g++ 12 inlines it. */
static void put_headers(const Chunks *c, Out *out)
{
    const char *last = "";
    size_t start = out->len;
    for (int i = 0; i < c->nfile; i++)
        if (file_used(c, i) && *c->file[i].header && strcmp(c->file[i].header, last)) {
            put(out,
                "#if defined(__GNUC__) && !defined(__clang__)\n#pragma GCC diagnostic push\n"
                "#pragma GCC diagnostic ignored \"-Wmaybe-uninitialized\"\n#endif\n"
                "#include <%s>\n"
                "#if defined(__GNUC__) && !defined(__clang__)\n#pragma GCC diagnostic "
                "pop\n#endif\n",
                c->file[i].header);
            last = c->file[i].header;
        }
    if (out->len > start)
        put(out, "\n");
}

/* The chunk's lines and one empty line. */
static void put_chunk(const Chunk *k, Out *out)
{
    size_t n = k->text_len;
    while (n && k->text[n - 1] == '\n')
        n--;
    put_bytes(out, k->text, n);
    put(out, "\n\n");
}

void emit_chunks(Session *s, const KernelFile *files, int nfile, const char *const *name, int n,
                 Out *out)
{
    Chunks c = {.s = s, .file = files, .nfile = nfile};
    for (int i = 0; i < nfile; i++) {
        size_t size;
        const char *text = embedded_file(files[i].path, &size);
        CHECK(text);
        cut(&c, i, text, size);
    }
    for (int i = 0; i < n; i++)
        use(&c, name[i], (int)strlen(name[i]));
    put_headers(&c, out);
    for (int file = 0; file < nfile; file++) {
        if (!file_used(&c, file))
            continue;
        put(out, "/* ---- %s ---- */\n\n", files[file].path);
        emit_isa(files[file].isa, out);
        for (int i = 0; i < c.n; i++)
            if (c.chunk[i].used && c.chunk[i].file == file)
                put_chunk(&c.chunk[i], out);
        emit_isa_end(files[file].isa, out);
    }
}

void emit_kernels(Session *s, const Kernel **kernel, int n, Out *out)
{
    const char **name = NEW_ARRAY(s, const char *, n + 1);
    for (int i = 0; i < n; i++)
        name[i] = kernel[i]->symbol;
    emit_chunks(s, c_files, NFILE, name, n, out);
}
