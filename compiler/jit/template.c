/* template.c: the chat template's C as LLVM IR.
 *
 * One idea: compiler/chat stays the only one that knows what a template means. What it writes is a
 * small part of C (declarations, assignments, if, while, calls, a few operators, three structures),
 * so this file reads just that part; anything else in it is a mistake of ours, not of the user.
 *
 * Structures are handled by address. The helpers' bitcode says how C hands them over on the machine
 * in question (sret, byval, or a pointer to a copy); calls take over the attributes from there.
 */
#include <ctype.h>
#include <string.h>

#include "jit/lower.h"

typedef enum Sort { NUMBER, ADDRESS, VALUE, LOOP, NOTHING } Sort; /* VALUE, LOOP: where it stands */
typedef struct Term {
    Sort sort;
    LLVMValueRef v; /* NUMBER: an i64 */
} Term;
typedef struct Local {
    const char *name;
    Sort sort; /* NUMBER: an i64 in memory */
    LLVMValueRef at;
    struct Local *next;
} Local;

typedef struct Reader {
    Lower *l;
    const char *at;     /* the next word */
    char word[64];      /* the one that is looked at, a string's is "\"" */
    const char *string; /* its bytes */
    size_t length;
    Local *locals;
    LLVMTypeRef value, loop, call;  /* ch_value, ch_loop, bn_chat_call */
    LLVMBasicBlockRef entry;        /* for what lives as long as the call */
    LLVMBasicBlockRef head, behind; /* of the innermost while */
} Reader;

static Term expression(Reader *r);
static void statement(Reader *r);

/* ---- words ---- */

static void read_string(Reader *r)
{
    Out text = {.s = r->l->s};
    const char *c = r->at + 1;
    for (; *c != '"'; c++) {
        unsigned char byte = (unsigned char)*c;
        if (*c == '\\' && c[1] == 'n') {
            byte = '\n';
            c++;
        } else if (*c == '\\') { /* three octal digits */
            byte = (unsigned char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
            c += 3;
        }
        put_bytes(&text, &byte, 1);
    }
    r->at = c + 1;
    r->length = text.len;
    r->string = text.len ? text.text : "";
    memcpy(r->word, "\"", 2);
}

static size_t word_length(const char *at)
{
    static const char *const pairs[] = {"->", "&&", "||", "==", "!=", "+=", "++"};
    size_t n = 0;
    while (isalnum((unsigned char)at[n]) || at[n] == '_')
        n++;
    for (size_t i = 0; n == 0 && i < sizeof pairs / sizeof *pairs; i++)
        n = !strncmp(at, pairs[i], 2) ? 2 : 0;
    return n ? n : *at != 0;
}

static void next(Reader *r)
{
    r->at += strspn(r->at, " \n");
    if (*r->at == '"') {
        read_string(r);
        return;
    }
    size_t n = word_length(r->at);
    CHECK(n < sizeof r->word);
    memcpy(r->word, r->at, n);
    r->word[n] = 0;
    r->at += n;
}

static bool is(const Reader *r, const char *word)
{
    return !strcmp(r->word, word);
}

static bool take(Reader *r, const char *word)
{
    bool there = is(r, word);
    if (there)
        next(r);
    return there;
}

static void expect(Reader *r, const char *word)
{
    if (!take(r, word))
        die("the chat template's C has '%s', not '%s', before: %.60s", r->word, word, r->at);
}

static const char *identifier(Reader *r)
{
    const char *text = name(r->l->s, r->word);
    CHECK(isalpha((unsigned char)*text) || *text == '_');
    next(r);
    return text;
}

/* ---- memory ---- */

static LLVMValueRef new_place(Reader *r, LLVMTypeRef type)
{
    LLVMBuilderRef b = LLVMCreateBuilderInContext(r->l->context);
    LLVMPositionBuilderBefore(b, LLVMGetBasicBlockTerminator(r->entry));
    LLVMValueRef v = LLVMBuildAlloca(b, type, "");
    LLVMDisposeBuilder(b);
    return v;
}

static LLVMTypeRef sort_type(const Reader *r, Sort sort)
{
    return sort == VALUE ? r->value : sort == LOOP ? r->loop : r->l->i64;
}

static void copy(Reader *r, LLVMValueRef to, LLVMTypeRef type, LLVMValueRef from)
{
    LLVMBuildStore(r->l->build, LLVMBuildLoad2(r->l->build, type, from, ""), to);
}

static void assign(Reader *r, Sort sort, LLVMValueRef to, Term from)
{
    CHECK(sort == from.sort);
    if (sort == NUMBER)
        LLVMBuildStore(r->l->build, from.v, to);
    else
        copy(r, to, sort_type(r, sort), from.v);
}

static Local *local_find(const Reader *r, const char *name)
{
    Local *x = r->locals;
    while (x && strcmp(x->name, name) != 0)
        x = x->next;
    return x;
}

static Local *local_new(Reader *r, const char *name, Sort sort)
{
    Local *x = NEW(r->l->s, Local);
    *x = (Local){name, sort, new_place(r, sort_type(r, sort)), r->locals};
    r->locals = x;
    return x;
}

/* What stands behind the dot of a value or a loop, or behind c->. */
typedef struct Part {
    const char *name;
    unsigned index;
    Sort sort;
} Part;
static const Part value_parts[] = {{"kind", 0, NUMBER}, {"i", 2, NUMBER}};
static const Part loop_parts[] = {{"list", 0, VALUE}, {"index", 2, NUMBER}, {"length", 3, NUMBER}};
static const Part call_parts[] = {
    {"begin_answer", 2, NUMBER}, {"status", 8, NUMBER}, {"text", 9, NUMBER}, {"used", 10, NUMBER}};

static const Part *part_named(const Part *part, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(part[i].name, name))
            return &part[i];
    die("the chat template's C reads .%s", name);
}

#define PART(table, name) part_named(table, sizeof table / sizeof *(table), name)

static LLVMValueRef part_place(Reader *r, LLVMTypeRef type, LLVMValueRef base, const Part *p)
{
    return LLVMBuildStructGEP2(r->l->build, type, base, p->index, "");
}

static Term part_read(Reader *r, LLVMTypeRef type, LLVMValueRef base, const Part *p)
{
    LLVMValueRef at = part_place(r, type, base, p);
    if (p->sort != NUMBER)
        return (Term){p->sort, at};
    LLVMValueRef v = LLVMBuildLoad2(r->l->build, LLVMStructGetTypeAtIndex(type, p->index), at, "");
    return (Term){NUMBER, LLVMBuildIntCast2(r->l->build, v, r->l->i64, 1, "")};
}

static LLVMValueRef the_call(Reader *r)
{
    return LLVMBuildBitCast(r->l->build, r->l->call, LLVMPointerType(r->call, 0), "");
}

static Term call_part(Reader *r, const char *name)
{
    return part_read(r, r->call, the_call(r), PART(call_parts, name));
}

static void part_write(Reader *r, LLVMTypeRef type, LLVMValueRef base, const Part *p, Term from)
{
    LLVMTypeRef kind = LLVMStructGetTypeAtIndex(type, p->index);
    LLVMValueRef v = LLVMBuildIntCast2(r->l->build, from.v, kind, 1, "");
    LLVMBuildStore(r->l->build, v, part_place(r, type, base, p));
}

/* ---- numbers ---- */

static Term number(Reader *r, int64_t i)
{
    return (Term){NUMBER, LLVMConstInt(r->l->i64, (uint64_t)i, 1)};
}

static LLVMValueRef is_true(Reader *r, Term t)
{
    CHECK(t.sort == NUMBER);
    return LLVMBuildICmp(r->l->build, LLVMIntNE, t.v, number(r, 0).v, "");
}

static Term from_bit(Reader *r, LLVMValueRef bit)
{
    return (Term){NUMBER, LLVMBuildZExt(r->l->build, bit, r->l->i64, "")};
}

static LLVMBasicBlockRef new_block(Reader *r)
{
    return LLVMAppendBasicBlockInContext(r->l->context, r->l->function, "");
}

static Term merge(Reader *r, Sort sort, const Term *of, const LLVMBasicBlockRef *from)
{
    LLVMValueRef phi = LLVMBuildPhi(r->l->build, LLVMTypeOf(of[0].v), "");
    LLVMValueRef v[] = {of[0].v, of[1].v};
    LLVMBasicBlockRef b[] = {from[0], from[1]};
    CHECK(of[0].sort == of[1].sort);
    LLVMAddIncoming(phi, v, b, 2);
    return (Term){sort, phi};
}

/* ---- calls ---- */

/* `a` as parameter i of f; of structures a copy, which is the callee's. */
static LLVMValueRef argument(Reader *r, LLVMValueRef f, unsigned i, Term a)
{
    LLVMTypeRef type = LLVMTypeOf(LLVMGetParam(f, i));
    if (a.sort == NUMBER)
        return LLVMBuildIntCast2(r->l->build, a.v, type, 1, "");
    if (a.sort == VALUE || a.sort == LOOP) {
        LLVMValueRef own = new_place(r, sort_type(r, a.sort));
        copy(r, own, sort_type(r, a.sort), a.v);
        a.v = own;
    }
    return LLVMBuildBitCast(r->l->build, a.v, type, "");
}

static void copy_attributes(LLVMValueRef f, LLVMValueRef call)
{
    for (unsigned i = 0; i <= LLVMCountParams(f); i++) { /* 0: the result */
        LLVMAttributeRef a[16];
        unsigned n = LLVMGetAttributeCountAtIndex(f, i);
        CHECK(n <= 16);
        LLVMGetAttributesAtIndex(f, i, a);
        for (unsigned k = 0; k < n; k++)
            LLVMAddCallSiteAttribute(call, i, a[k]);
    }
}

static Term call(Reader *r, const char *name)
{
    enum { MOST = 8 };
    LLVMValueRef f = LLVMGetNamedFunction(r->l->module, name), arg[MOST], v;
    unsigned n = 0, kind = LLVMGetEnumAttributeKindForName("sret", 4);
    Term result = {NOTHING, NULL};
    if (!f)
        die("the chat template's C calls %s", name);
    if (LLVMCountParams(f) && LLVMGetEnumAttributeAtIndex(f, 1, kind)) {
        result.sort = strcmp(name, "ch_begin") ? VALUE : LOOP;
        result.v = new_place(r, sort_type(r, result.sort));
        arg[n++] = result.v;
    }
    while (!take(r, ")")) {
        CHECK(n < MOST && n < LLVMCountParams(f));
        arg[n] = argument(r, f, n, expression(r));
        n++;
        if (!is(r, ")"))
            expect(r, ",");
    }
    CHECK(n == LLVMCountParams(f));
    v = LLVMBuildCall2(r->l->build, lower_type(f), f, arg, n, "");
    copy_attributes(f, v);
    if (result.sort == NOTHING && LLVMTypeOf(v) != r->l->none)
        result = (Term){NUMBER, LLVMBuildIntCast2(r->l->build, v, r->l->i64, 1, "")};
    return result;
}

/* ---- expressions ---- */

static Term string(Reader *r)
{
    LLVMValueRef bytes = LLVMConstStringInContext(r->l->context, r->string, (unsigned)r->length, 0);
    LLVMValueRef g = LLVMAddGlobal(r->l->module, LLVMTypeOf(bytes), "");
    LLVMSetInitializer(g, bytes);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    next(r);
    return (Term){ADDRESS, LLVMConstBitCast(g, r->l->ptr)};
}

/* A name: a call, a variable or a part of it, a constant; with `=` behind, an assignment. */
static Term named(Reader *r)
{
    const char *name = identifier(r);
    Local *x = local_find(r, name);
    if (take(r, "("))
        return call(r, name);
    if (!strcmp(name, "c"))
        return take(r, "->") ? call_part(r, identifier(r)) : (Term){ADDRESS, r->l->call};
    if (!strcmp(name, "NULL"))
        return (Term){ADDRESS, LLVMConstNull(r->l->ptr)};
    if (!x)
        return number(r, chat_word(name));
    if (take(r, "."))
        return x->sort == LOOP ? part_read(r, r->loop, x->at, PART(loop_parts, identifier(r)))
                               : part_read(r, r->value, x->at, PART(value_parts, identifier(r)));
    if (take(r, "="))
        assign(r, x->sort, x->at, expression(r));
    if (x->sort != NUMBER)
        return (Term){x->sort, x->at};
    return (Term){NUMBER, LLVMBuildLoad2(r->l->build, r->l->i64, x->at, "")};
}

static Term unary(Reader *r)
{
    Term t;
    if (take(r, "!"))
        return from_bit(r, LLVMBuildNot(r->l->build, is_true(r, unary(r)), ""));
    if (take(r, "-")) {
        t = unary(r);
        return (Term){NUMBER, LLVMBuildNeg(r->l->build, t.v, "")};
    }
    if (take(r, "&")) { /* the address is that of the variable */
        Local *x = local_find(r, identifier(r));
        CHECK(x);
        return (Term){ADDRESS, LLVMBuildBitCast(r->l->build, x->at, r->l->ptr, "")};
    }
    if (take(r, "(")) {
        t = expression(r);
        while (take(r, ","))
            t = expression(r);
        expect(r, ")");
        return t;
    }
    if (is(r, "\""))
        return string(r);
    if (!isdigit((unsigned char)*r->word))
        return named(r);
    int64_t i = 0;
    for (const char *c = r->word; *c; c++)
        i = i * 10 + (*c - '0');
    next(r);
    return number(r, i);
}

static Term sum(Reader *r)
{
    Term a = unary(r);
    while (is(r, "+") || is(r, "-")) {
        bool plus = take(r, "+");
        if (!plus)
            next(r);
        Term b = unary(r);
        a.v = plus ? LLVMBuildAdd(r->l->build, a.v, b.v, "")
                   : LLVMBuildSub(r->l->build, a.v, b.v, "");
    }
    return a;
}

static Term comparison(Reader *r)
{
    Term a = sum(r);
    while (is(r, "==") || is(r, "!=")) {
        LLVMIntPredicate how = is(r, "==") ? LLVMIntEQ : LLVMIntNE;
        next(r);
        Term b = sum(r);
        a = from_bit(r, LLVMBuildICmp(r->l->build, how, a.v, b.v, ""));
    }
    return a;
}

/* a && b and a || b: b only where a does not decide. */
static Term logical(Reader *r, const char *op, Term (*part)(Reader *))
{
    Term a = part(r);
    while (take(r, op)) {
        bool both = *op == '&';
        Term of[2] = {number(r, !both), {NUMBER, NULL}};
        LLVMBasicBlockRef other = new_block(r), rest = new_block(r), from[2];
        LLVMValueRef bit = is_true(r, a);
        from[0] = LLVMGetInsertBlock(r->l->build);
        LLVMBuildCondBr(r->l->build, bit, both ? other : rest, both ? rest : other);
        LLVMPositionBuilderAtEnd(r->l->build, other);
        of[1] = from_bit(r, is_true(r, part(r)));
        from[1] = LLVMGetInsertBlock(r->l->build);
        LLVMBuildBr(r->l->build, rest);
        LLVMPositionBuilderAtEnd(r->l->build, rest);
        a = merge(r, NUMBER, of, from);
    }
    return a;
}

static Term all_of(Reader *r)
{
    return logical(r, "&&", comparison);
}

static Term expression(Reader *r)
{
    Term a = logical(r, "||", all_of), of[2];
    if (!take(r, "?"))
        return a;
    LLVMBasicBlockRef way[2] = {new_block(r), new_block(r)}, rest = new_block(r), from[2];
    LLVMBuildCondBr(r->l->build, is_true(r, a), way[0], way[1]);
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(r->l->build, way[i]);
        of[i] = expression(r);
        from[i] = LLVMGetInsertBlock(r->l->build);
        LLVMBuildBr(r->l->build, rest);
        if (i == 0)
            expect(r, ":");
    }
    LLVMPositionBuilderAtEnd(r->l->build, rest);
    return merge(r, of[0].sort, of, from);
}

/* ---- statements ---- */

/* What is written behind a jump is in a block that nothing reaches. */
static void jump(Reader *r, LLVMBasicBlockRef to)
{
    LLVMBuildBr(r->l->build, to);
    LLVMPositionBuilderAtEnd(r->l->build, new_block(r));
}

static void if_statement(Reader *r)
{
    LLVMBasicBlockRef then = new_block(r), other = new_block(r), rest = new_block(r);
    expect(r, "(");
    LLVMBuildCondBr(r->l->build, is_true(r, expression(r)), then, other);
    expect(r, ")");
    LLVMPositionBuilderAtEnd(r->l->build, then);
    statement(r);
    LLVMBuildBr(r->l->build, rest);
    LLVMPositionBuilderAtEnd(r->l->build, other);
    if (take(r, "else"))
        statement(r);
    LLVMBuildBr(r->l->build, rest);
    LLVMPositionBuilderAtEnd(r->l->build, rest);
}

static void while_statement(Reader *r)
{
    LLVMBasicBlockRef head = r->head, behind = r->behind, body = new_block(r);
    r->head = new_block(r);
    r->behind = new_block(r);
    LLVMBuildBr(r->l->build, r->head);
    LLVMPositionBuilderAtEnd(r->l->build, r->head);
    expect(r, "(");
    LLVMBuildCondBr(r->l->build, is_true(r, expression(r)), body, r->behind);
    expect(r, ")");
    LLVMPositionBuilderAtEnd(r->l->build, body);
    statement(r);
    LLVMBuildBr(r->l->build, r->head);
    LLVMPositionBuilderAtEnd(r->l->build, r->behind);
    r->head = head;
    r->behind = behind;
}

static void declaration(Reader *r, Sort sort)
{
    const char *name = identifier(r);
    expect(r, "=");
    Term t = expression(r);
    assign(r, sort, local_new(r, name, sort)->at, t);
}

/* c->text = c->used = 0 */
static void call_statement(Reader *r)
{
    expect(r, "->");
    const Part *p = PART(call_parts, identifier(r)), *other = NULL;
    expect(r, "=");
    if (take(r, "c")) {
        expect(r, "->");
        other = PART(call_parts, identifier(r));
        expect(r, "=");
    }
    Term t = expression(r);
    part_write(r, r->call, the_call(r), p, t);
    if (other)
        part_write(r, r->call, the_call(r), other, t);
}

/* l.length = i; l.index = ++i; i += x; anything else is an expression. */
static void plain_statement(Reader *r)
{
    const char *before = r->at;
    char word[sizeof r->word];
    memcpy(word, r->word, sizeof word);
    Local *x = local_find(r, word);
    next(r);
    if (x && x->sort == LOOP && take(r, ".")) {
        const Part *p = PART(loop_parts, identifier(r));
        expect(r, "=");
        Local *i = take(r, "++") ? local_find(r, r->word) : NULL;
        if (i) {
            Term now = {NUMBER, LLVMBuildLoad2(r->l->build, r->l->i64, i->at, "")};
            now.v = LLVMBuildAdd(r->l->build, now.v, number(r, 1).v, "");
            assign(r, NUMBER, i->at, now);
        }
        part_write(r, r->loop, x->at, p, expression(r));
    } else if (x && x->sort == NUMBER && take(r, "+=")) {
        Term add = expression(r);
        LLVMValueRef now = LLVMBuildLoad2(r->l->build, r->l->i64, x->at, "");
        add.v = LLVMBuildAdd(r->l->build, now, add.v, "");
        assign(r, NUMBER, x->at, add);
    } else {
        r->at = before;
        memcpy(r->word, word, sizeof word);
        (void)expression(r);
    }
}

static void simple_statement(Reader *r)
{
    (void)take(r, "const");
    if (take(r, "ch_value"))
        declaration(r, VALUE);
    else if (take(r, "ch_loop"))
        declaration(r, LOOP);
    else if (take(r, "int64_t"))
        declaration(r, NUMBER);
    else if (take(r, "continue"))
        jump(r, r->head);
    else if (take(r, "break"))
        jump(r, r->behind);
    else if (is(r, "c") && !strncmp(r->at, "->", 2))
        next(r), call_statement(r);
    else
        plain_statement(r);
    expect(r, ";");
}

static void statement(Reader *r)
{
    if (take(r, "{")) {
        Local *locals = r->locals;
        while (!take(r, "}"))
            statement(r);
        r->locals = locals;
    } else if (take(r, "if")) {
        if_statement(r);
    } else if (take(r, "while")) {
        while_statement(r);
    } else if (is(r, "(") && !strncmp(r->at, "void)", 5)) { /* a variable that may be unused */
        r->at = strchr(r->at, ';') + 1;
        next(r);
    } else if (take(r, "return")) {
        LLVMTypeRef type = LLVMGetReturnType(lower_type(r->l->function));
        LLVMBuildRet(r->l->build, LLVMBuildIntCast2(r->l->build, expression(r).v, type, 1, ""));
        LLVMPositionBuilderAtEnd(r->l->build, new_block(r));
        expect(r, ";");
    } else {
        simple_statement(r);
    }
}

void lower_template(Lower *l, const char *text, const char *symbol)
{
    static const char head[] = "static bn_status chat_template(bn_chat_call *c)\n";
    Reader r = {.l = l, .at = strstr(text, head)};
    LLVMTypeRef type = LLVMFunctionType(l->i32, &l->ptr, 1, 0);
    CHECK(r.at);
    r.at += sizeof head - 1;
    r.value = LLVMGetTypeByName2(l->context, "struct.ch_value");
    r.loop = LLVMGetTypeByName2(l->context, "struct.ch_loop");
    r.call = LLVMGetTypeByName2(l->context, "struct.bn_chat_call");
    CHECK(r.value && r.loop && r.call);
    l->function = lower_declare(l, symbol, type);
    l->call = LLVMGetParam(l->function, 0);
    r.entry = new_block(&r);
    LLVMBasicBlockRef body = new_block(&r);
    LLVMPositionBuilderAtEnd(l->build, r.entry);
    LLVMBuildBr(l->build, body);
    LLVMPositionBuilderAtEnd(l->build, body);
    next(&r);
    statement(&r);
    LLVMBuildUnreachable(l->build); /* behind its return */
}
