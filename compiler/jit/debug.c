/* debug.c: what a debugger shows of a function made here: the text of the module, each instruction
 * at the line of the op that it is part of. */
#include <string.h>

#include "jit/lower.h"

struct Debug {
    LLVMDIBuilderRef build;
    LLVMMetadataRef file, scope;
    const char *text, *at; /* the module as printed, and where the last op stood in it */
    unsigned line;
    const Op **op; /* ops in order of their lines */
    unsigned *lines;
    size_t n;
};

/* The next line from the last one on that holds this op. */
static void find_line(struct Debug *d, Session *s, const Op *op)
{
    Out text = {.s = s};
    op_print(op, &text);
    const char *found = strstr(d->at, text.text);
    for (; found && d->at < found; d->at++)
        d->line += *d->at == '\n';
    out_free(&text);
    d->op = grow(s, d->op, d->n, sizeof *d->op);
    d->lines = grow(s, d->lines, d->n, sizeof *d->lines);
    d->op[d->n] = op;
    d->lines[d->n++] = d->line;
}

static void find_lines(struct Debug *d, Session *s, const Block *b)
{
    for (const Op *op = b->first; op; op = op->next) {
        find_line(d, s, op);
        if (op->body)
            find_lines(d, s, op->body);
    }
}

struct Debug *debug_start(Lower *l, const char *path)
{
    struct Debug *d = NEW(l->s, struct Debug);
    Out text = {.s = l->s};
    const char *name = file_name(path);
    module_print(l->m, &text);
    d->text = d->at = text.text;
    d->line = 1;
    for (const Func *f = l->m->funcs; f; f = f->next)
        find_lines(d, l->s, f->body);
    d->build = LLVMCreateDIBuilder(l->module);
    d->file = LLVMDIBuilderCreateFile(d->build, name, strlen(name), path,
                                      (size_t)(name - path > 1 ? name - path - 1 : name - path));
    LLVMDIBuilderCreateCompileUnit(d->build, LLVMDWARFSourceLanguageC, d->file, "bnc", 3, 1, "", 0,
                                   0, "", 0, LLVMDWARFEmissionFull, 0, 0, 0, "", 0, "", 0);
    LLVMAddModuleFlag(l->module, LLVMModuleFlagBehaviorWarning, "Debug Info Version", 18,
                      LLVMValueAsMetadata(LLVMConstInt(l->i32, LLVMDebugMetadataVersion(), 0)));
    LLVMAddModuleFlag(l->module, LLVMModuleFlagBehaviorWarning, "Dwarf Version", 13,
                      LLVMValueAsMetadata(LLVMConstInt(l->i32, 4, 0)));
    return d;
}

static unsigned line_of(const struct Debug *d, const Op *op)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->op[i] == op)
            return d->lines[i];
    return 0;
}

void debug_function(Lower *l, LLVMValueRef function, const char *name, const Op *first)
{
    struct Debug *d = l->debug;
    if (!d)
        return;
    unsigned line = line_of(d, first);
    LLVMMetadataRef type =
        LLVMDIBuilderCreateSubroutineType(d->build, d->file, NULL, 0, LLVMDIFlagZero);
    d->scope =
        LLVMDIBuilderCreateFunction(d->build, d->file, name, strlen(name), name, strlen(name),
                                    d->file, line, type, 1, 1, line, LLVMDIFlagZero, 1);
    LLVMSetSubprogram(function, d->scope);
    debug_at(l, first);
}

void debug_at(Lower *l, const Op *op)
{
    struct Debug *d = l->debug;
    unsigned line = d ? line_of(d, op) : 0;
    if (line)
        LLVMSetCurrentDebugLocation2(
            l->build, LLVMDIBuilderCreateDebugLocation(l->context, line, 0, d->scope, NULL));
}

void debug_end(Lower *l)
{
    if (!l->debug)
        return;
    LLVMDIBuilderFinalize(l->debug->build);
    LLVMDisposeDIBuilder(l->debug->build);
}
