/* constants.c: the records of codegen-c/record.c as constants of LLVM: what the C printer writes
 * behind the functions. */
#include <string.h>

#include "jit/lower.h"

static LLVMValueRef add_constant(Lower *l, const char *name, LLVMValueRef value)
{
    LLVMValueRef g = LLVMAddGlobal(l->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(g, value);
    LLVMSetGlobalConstant(g, 1);
    return g;
}

static LLVMValueRef hidden_constant(Lower *l, const char *name, LLVMValueRef value)
{
    LLVMValueRef g = add_constant(l, name, value);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    return g;
}

static LLVMValueRef text_constant(Lower *l, const char *text)
{
    LLVMValueRef bytes = LLVMConstStringInContext(l->context, text, (unsigned)strlen(text), 0);
    return LLVMConstBitCast(hidden_constant(l, "", bytes), l->ptr);
}

/* A table of this module, else a function of the model. */
static LLVMValueRef symbol_constant(Lower *l, const char *name)
{
    LLVMValueRef v = LLVMGetNamedGlobal(l->module, name);
    if (!v)
        v = lower_declare(l, name, lower_forward(l));
    return LLVMConstBitCast(v, l->ptr);
}

static LLVMValueRef scalar_constant(Lower *l, const Field *f)
{
    if (f->kind == FIELD_INT)
        return lower_int(l, f->i);
    if (f->kind == FIELD_LONG || f->kind == FIELD_HASH)
        return LLVMConstInt(l->i64, (uint64_t)f->i, 0);
    if (!f->text)
        return LLVMConstNull(l->ptr);
    return f->kind == FIELD_TEXT ? text_constant(l, f->text) : symbol_constant(l, f->text);
}

/* Fields from *at to the end or the matching FIELD_CLOSE, which *at then stands behind. */
static LLVMValueRef fields(Lower *l, const Record *r, size_t *at)
{
    LLVMValueRef *part = NULL;
    size_t n = 0;
    while (*at < r->n && r->field[*at].kind != FIELD_CLOSE) {
        const Field *f = &r->field[(*at)++];
        part = grow(l->s, part, n, sizeof(LLVMValueRef));
        part[n++] = f->kind == FIELD_OPEN ? fields(l, r, at) : scalar_constant(l, f);
    }
    ++*at;
    return LLVMConstStructInContext(l->context, part, (unsigned)n, 0);
}

static LLVMValueRef record(Lower *l, const Record *r)
{
    return fields(l, r, &(size_t){0});
}

/* The structures of a record, which are all of one type. */
static LLVMValueRef table(Lower *l, const Record *r)
{
    LLVMValueRef *row = NULL;
    size_t n = 0;
    for (size_t at = 0; at < r->n; n++) {
        at++; /* FIELD_OPEN */
        row = grow(l->s, row, n, sizeof(LLVMValueRef));
        row[n] = fields(l, r, &at);
    }
    CHECK(n > 0);
    return LLVMConstArray(LLVMTypeOf(row[0]), row, (unsigned)n);
}

static void add_profile(Lower *l)
{
    Record probes = {.s = l->s}, profile = {.s = l->s};
    for (size_t i = 0; i < probes_count(l->probes); i++) {
        record_open(&probes, NULL);
        record_probe(l->probes, i, &probes);
        record_close(&probes);
    }
    hidden_constant(l, "probes", table(l, &probes));
    record_profile(l->probes, &profile);
    add_constant(l, format(l->s, "%s_profile", l->o->prefix), record(l, &profile));
}

/* As the C has it: the assembler reads the file where the object is made. */
static void add_weights(Lower *l)
{
    const char *name = format(l->s, "%s_bnw", l->o->prefix);
    LLVMValueRef g;
    if (l->o->weights == WEIGHTS_FILE)
        return;
    if (l->o->weights == WEIGHTS_C) {
        g = add_constant(l, name,
                         LLVMConstStringInContext(l->context, (const char *)l->o->bnw,
                                                  (unsigned)l->m->weight_bytes, 1));
        LLVMSetAlignment(g, 4096);
        return;
    }
    Out text = {.s = l->s};
    put_incbin(&text, name, l->o->bnw_path);
    LLVMSetModuleInlineAsm2(l->module, text.text, text.len);
    out_free(&text);
    LLVMAddGlobal(l->module, l->byte, name);
}

static void add_end_tokens(Lower *l)
{
    int64_t n;
    const int32_t *end = end_tokens(l->m, &n);
    LLVMValueRef *id = NEW_ARRAY(l->s, LLVMValueRef, n);
    for (int64_t i = 0; i < n; i++)
        id[i] = lower_int(l, end[i]);
    if (end)
        hidden_constant(l, "end_tokens", LLVMConstArray(LLVMTypeOf(id[0]), id, (unsigned)n));
}

void lower_constants(Lower *l)
{
    Record code = {.s = l->s}, model = {.s = l->s};
    const EmitBytes *chat = &l->o->chat;
    if (chat->bytes)
        hidden_constant(l, "chat_template",
                        LLVMConstStringInContext(l->context, (const char *)chat->bytes,
                                                 (unsigned)chat->size, 1));
    if (l->probes)
        add_profile(l);
    for (const Func *f = l->m->funcs; f;)
        f = record_code(&code, f, l->target);
    LLVMSetGlobalConstant(hidden_constant(l, "code", table(l, &code)), 0); /* see make_later */
    add_weights(l);
    add_end_tokens(l);
    record_model(&model, l->m, l->target, l->o);
    add_constant(l, format(l->s, "%s_model", l->o->prefix), record(l, &model));
}
