/* lower.c: functions of a planned module as LLVM IR: the calls, loops and barriers that
 * codegen-c/function.c prints, with the same numbers. */
#include <stddef.h>
#include <string.h>

#include "jit/lower.h"

/* ---- bn_call ---- */

/* Seven pointers, five ints, a pointer: the places follow from the size of a pointer. */
enum { CALL_WEIGHTS, CALL_SHARED, CALL_OWN, CALL_CACHE, CALL_TOKENS, CALL_HIDDEN, CALL_LOGITS };
enum { CALL_POINTERS = 7, CALL_NTOK = 0, CALL_POS, CALL_TOPK };
_Static_assert(offsetof(bn_call, shared) == CALL_SHARED * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, own) == CALL_OWN * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, cache) == CALL_CACHE * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, tokens) == CALL_TOKENS * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, hidden) == CALL_HIDDEN * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, logits) == CALL_LOGITS * sizeof(void *), "bn_call");
_Static_assert(offsetof(bn_call, ntok) == CALL_POINTERS * sizeof(void *) + 4 * CALL_NTOK,
               "bn_call");
_Static_assert(offsetof(bn_call, pos) == CALL_POINTERS * sizeof(void *) + 4 * CALL_POS, "bn_call");
_Static_assert(offsetof(bn_call, topk) == CALL_POINTERS * sizeof(void *) + 4 * CALL_TOPK,
               "bn_call");

static LLVMValueRef at(Lower *l, LLVMValueRef base, int64_t offset)
{
    LLVMValueRef by = LLVMConstInt(l->size, (uint64_t)offset, 1);
    return offset ? LLVMBuildGEP2(l->build, l->byte, base, &by, 1, "") : base;
}

static LLVMValueRef load(Lower *l, LLVMTypeRef type, LLVMValueRef from)
{
    LLVMValueRef typed = LLVMBuildBitCast(l->build, from, LLVMPointerType(type, 0), "");
    return LLVMBuildLoad2(l->build, type, typed, "");
}

static LLVMValueRef call_pointer(Lower *l, int field)
{
    return load(l, l->ptr, at(l, l->call, field * (int64_t)LLVMPointerSize(l->layout)));
}

static LLVMValueRef call_number(Lower *l, int field)
{
    int64_t offset = CALL_POINTERS * (int64_t)LLVMPointerSize(l->layout) + 4 * field;
    return load(l, l->i32, at(l, l->call, offset));
}

LLVMValueRef lower_int(Lower *l, int64_t i)
{
    return LLVMConstInt(l->i32, (uint64_t)i, 1);
}

/* ---- calls ---- */

LLVMTypeRef lower_type(LLVMValueRef function)
{
    return LLVMGlobalGetValueType(function);
}

LLVMTypeRef lower_forward(Lower *l)
{
    return LLVMFunctionType(l->none, &l->ptr, 1, 0);
}

LLVMValueRef lower_declare(Lower *l, const char *name, LLVMTypeRef type)
{
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    return f ? f : LLVMAddFunction(l->module, name, type);
}

/* Of a kernel or a function of the runtime: C's rules for pointers, int and float need no help. */
LLVMValueRef lower_call(Lower *l, const char *name, LLVMTypeRef result, LLVMValueRef *arg, int n)
{
    LLVMTypeRef type[CALL_ARGS];
    CHECK(n <= CALL_ARGS);
    for (int i = 0; i < n; i++)
        type[i] = LLVMTypeOf(arg[i]);
    LLVMValueRef f = lower_declare(l, name, LLVMFunctionType(result, type, (unsigned)n, 0));
    CHECK(LLVMCountParams(f) == (unsigned)n);
    return LLVMBuildCall2(l->build, lower_type(f), f, arg, (unsigned)n, "");
}

/* ---- arguments ---- */

static LLVMValueRef value_pointer(Lower *l, const Value *v)
{
    static const int field[] = {[SPACE_SHARED] = CALL_SHARED,
                                [SPACE_OWN] = CALL_OWN,
                                [SPACE_LOGITS] = CALL_LOGITS,
                                [SPACE_HIDDEN] = CALL_HIDDEN,
                                [SPACE_ARG] = CALL_TOKENS};
    bool placed = v->space == SPACE_SHARED || v->space == SPACE_OWN;
    CHECK(v->space != SPACE_NONE);
    return at(l, call_pointer(l, field[v->space]), placed ? v->slot : 0);
}

static LLVMValueRef weight_pointer(Lower *l, const Weight *w, int64_t offset)
{
    LLVMValueRef base = call_pointer(l, w->is_state ? CALL_CACHE : CALL_WEIGHTS), i;
    if (!w->count && !w->is_state)
        return at(l, base, w->at + offset);
    base = at(l, base, w->at + offset - w->first * w->stride);
    i = LLVMBuildIntCast2(l->build, l->layer, l->size, 1, "");
    i = LLVMBuildMul(l->build, i, LLVMConstInt(l->size, (uint64_t)w->stride, 1), "");
    return LLVMBuildGEP2(l->build, l->byte, base, &i, 1, "");
}

static LLVMValueRef element(Lower *l, LLVMValueRef array, int i)
{
    return load(l, l->i32, at(l, array, 4 * i));
}

static LLVMValueRef one_arg(Lower *l, const Op *op, const Arg *a)
{
    LLVMValueRef turn;
    switch (a->kind) {
    case ARG_INT:
        return lower_int(l, a->i);
    case ARG_FLOAT:
        return LLVMConstReal(l->f32, (double)(float)a->f);
    case ARG_WORD:
        return lower_int(l, word_value(a->word));
    case ARG_POS:
        return call_number(l, CALL_POS);
    case ARG_TOKENS:
        return call_number(l, CALL_NTOK);
    case ARG_TOPK:
        return call_number(l, CALL_TOPK);
    case ARG_LAYER:
        return l->layer;
    case ARG_FIRST:
        if (!op_dynamic(op))
            return lower_int(l, 1);
        turn = LLVMBuildICmp(l->build, LLVMIntEQ, element(l, l->rows, 2), lower_int(l, 1), "");
        return LLVMBuildZExt(l->build, turn, l->i32, "");
    case ARG_NULL:
        return LLVMConstNull(l->ptr);
    case ARG_VALUE:
        return value_pointer(l, a->value);
    case ARG_WEIGHT:
        return weight_pointer(l, a->value->weight, 0);
    case ARG_SCALES:
        return weight_pointer(l, a->value->weight, a->value->weight->scales);
    case ARG_WORK:
        return at(l, call_pointer(l, CALL_OWN), a->i);
    case ARG_SHARE:
        break;
    }
    die("two arguments, not one");
}

static void kernel_call(Lower *l, const Op *op)
{
    Arg args[CALL_ARGS];
    LLVMValueRef value[CALL_ARGS];
    int n = 0;
    for (int i = 0, count = call_args(op, args); i < count; i++) {
        if (args[i].kind != ARG_SHARE) {
            value[n++] = one_arg(l, op, &args[i]);
            continue;
        }
        LLVMValueRef from = op_dynamic(op) ? l->rows : l->part;
        value[n++] = op_repeats(op) ? lower_int(l, 0) : element(l, from, 0);
        value[n++] = op_repeats(op) ? lower_int(l, 1) : element(l, from, 1);
    }
    lower_call(l, op->kernel->symbol, l->none, value, n);
}

/* ---- ops ---- */

static LLVMBasicBlockRef new_block(Lower *l, const char *name)
{
    return LLVMAppendBasicBlockInContext(l->context, l->function, name);
}

/* while (row_rows(c, ticket, units, least, &rows)) kernel(...) */
static void dynamic_call(Lower *l, const Op *op)
{
    LLVMBasicBlockRef head = new_block(l, "ticket"), body = new_block(l, "rows"),
                      rest = new_block(l, "");
    LLVMValueRef arg[5] = {l->call, lower_int(l, attr_int(op, "ticket", 0)),
                           lower_int(l, op_units(op).n), lower_int(l, op_least_units(op)), l->rows};
    for (int i = 0; i < 3; i++) {
        LLVMValueRef to =
            LLVMBuildBitCast(l->build, at(l, l->rows, 4 * i), LLVMPointerType(l->i32, 0), "");
        LLVMBuildStore(l->build, lower_int(l, 0), to);
    }
    LLVMBuildBr(l->build, head);
    LLVMPositionBuilderAtEnd(l->build, head);
    LLVMValueRef more = lower_call(l, "row_rows", l->i32, arg, 5);
    more = LLVMBuildICmp(l->build, LLVMIntNE, more, lower_int(l, 0), "");
    LLVMBuildCondBr(l->build, more, body, rest);
    LLVMPositionBuilderAtEnd(l->build, body);
    kernel_call(l, op);
    LLVMBuildBr(l->build, head);
    LLVMPositionBuilderAtEnd(l->build, rest);
}

static void put_call(Lower *l, const Op *op)
{
    Dim units = op_units(op);
    if (op_dynamic(op)) {
        dynamic_call(l, op);
        return;
    }
    if (!op_repeats(op)) {
        LLVMValueRef n = units.sym ? call_number(l, CALL_NTOK) : lower_int(l, units.n);
        lower_call(l, "row_share", l->none, (LLVMValueRef[]){l->call, n, l->part}, 3);
    }
    kernel_call(l, op);
}

/* The table of probes stands in this module or in another one. */
static LLVMValueRef intervals(Lower *l)
{
    const char *name = format(l->s, "%s_profile", l->o->prefix);
    LLVMValueRef p = LLVMGetNamedGlobal(l->module, name);
    return LLVMConstBitCast(p ? p : LLVMAddGlobal(l->module, l->byte, name), l->ptr);
}

static void put_interval_call(Lower *l, const Op *op)
{
    LLVMValueRef slot = lower_int(l, probes_interval(l->probes, op));
    if (op->block->owner)
        slot = LLVMBuildAdd(l->build, slot, l->layer, "");
    lower_call(l, "row_interval", l->none, (LLVMValueRef[]){l->call, intervals(l), slot}, 3);
}

/* for (i = first; i < first + count; i++) function(c, i) */
static void put_layers(Lower *l, const Op *op, LLVMValueRef function)
{
    int64_t first = attr_int(op, "first", 0), count = attr_int(op, "count", 1);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(l->build), body = new_block(l, "layers"),
                      rest = new_block(l, "");
    LLVMBuildBr(l->build, body);
    LLVMPositionBuilderAtEnd(l->build, body);
    LLVMValueRef i = LLVMBuildPhi(l->build, l->i32, "i"), from = lower_int(l, first);
    debug_at(l, op);
    LLVMBuildCall2(l->build, lower_type(function), function, (LLVMValueRef[]){l->call, i}, 2, "");
    LLVMValueRef next = LLVMBuildAdd(l->build, i, lower_int(l, 1), "");
    LLVMAddIncoming(i, (LLVMValueRef[]){from, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    LLVMValueRef more = LLVMBuildICmp(l->build, LLVMIntSLT, next, lower_int(l, first + count), "");
    LLVMBuildCondBr(l->build, more, body, rest);
    LLVMPositionBuilderAtEnd(l->build, rest);
}

static void put_ops(Lower *l, const Block *b, LLVMValueRef *function)
{
    for (const Op *op = b->first; op; op = op->next) {
        debug_at(l, op);
        if (op->code == OP_LAYERS)
            put_layers(l, op, *function++);
        else if (op->code == OP_BARRIER)
            lower_call(l, "bn_barrier", l->none, &(LLVMValueRef){l->call}, 1);
        else if (op->kernel)
            put_call(l, op);
        if (l->probes && (op->code == OP_BARRIER || op->kernel))
            put_interval_call(l, op);
    }
    LLVMBuildRetVoid(l->build);
}

/* ---- functions ---- */

static void begin(Lower *l, LLVMValueRef function, const char *name, const Op *first)
{
    LLVMTypeRef part = LLVMArrayType(l->i32, 2), rows = LLVMArrayType(l->i32, 3);
    l->function = function;
    l->call = LLVMGetParam(function, 0);
    l->layer = LLVMCountParams(function) > 1 ? LLVMGetParam(function, 1) : NULL;
    LLVMSetValueName2(l->call, "c", 1);
    LLVMPositionBuilderAtEnd(l->build, new_block(l, ""));
    debug_function(l, function, name, first);
    l->part = LLVMBuildBitCast(l->build, LLVMBuildAlloca(l->build, part, "part"), l->ptr, "");
    l->rows = LLVMBuildBitCast(l->build, LLVMBuildAlloca(l->build, rows, "rows"), l->ptr, "");
}

static LLVMValueRef layer_function(Lower *l, const Op *op, const char *name)
{
    LLVMTypeRef type = LLVMFunctionType(l->none, (LLVMTypeRef[]){l->ptr, l->i32}, 2, 0);
    LLVMValueRef f = LLVMAddFunction(l->module, name, type);
    unsigned apart = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMSetLinkage(f, LLVMInternalLinkage);
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(l->context, apart, 0)); /* for debuggers */
    begin(l, f, name, op->body->first);
    put_ops(l, op->body, NULL);
    return f;
}

void lower_function(Lower *l, Func *f, const char *symbol)
{
    LLVMValueRef *function = NULL;
    size_t n = 0;
    func_number(f);
    for (const Op *op = f->body->first; op; op = op->next)
        if (op->code == OP_LAYERS) {
            const char *tail = n ? format(l->s, "_%zu", n + 1) : "";
            function = grow(l->s, function, n, sizeof *function);
            function[n++] = layer_function(l, op, format(l->s, "%s_layer%s", f->name, tail));
        }
    begin(l, lower_declare(l, symbol, lower_forward(l)), f->name, f->body->first);
    if (l->probes) {
        int pass, slot = probes_start(l->probes, f, &pass);
        LLVMValueRef arg[] = {l->call, intervals(l), lower_int(l, slot), lower_int(l, pass)};
        lower_call(l, "row_start", l->none, arg, 4);
    }
    put_ops(l, f->body, function);
}

/* ---- the module ---- */

void lower_start(Lower *l, LLVMModuleRef module, LLVMTargetDataRef layout)
{
    l->module = module;
    l->layout = layout;
    l->context = LLVMGetModuleContext(module);
    l->build = LLVMCreateBuilderInContext(l->context);
    l->byte = LLVMInt8TypeInContext(l->context);
    l->ptr = LLVMPointerType(l->byte, 0);
    l->i32 = LLVMInt32TypeInContext(l->context);
    l->i64 = LLVMInt64TypeInContext(l->context);
    l->f32 = LLVMFloatTypeInContext(l->context);
    l->none = LLVMVoidTypeInContext(l->context);
    l->size = LLVMIntPtrTypeInContext(l->context, layout);
}

void lower_end(Lower *l)
{
    debug_end(l);
    LLVMDisposeBuilder(l->build);
}
