/* tir.y: the grammar of the textual ternary IR (docs/ir.md shows it with examples). One language
 * for architectures (free dimensions, metadata keys) and for every stage of a bound model. */
%code requires {
#include "frontend/parse.h"
}
%code provides {
int tir_lex(TIR_STYPE *value, TirPlace *at, void *scanner);
}
%code {
#include <string.h>

#include "frontend/frontend.h"

#define YYLLOC_DEFAULT(cur, rhs, n) ((cur) = (n) ? YYRHSLOC(rhs, 1) : YYRHSLOC(rhs, 0))

static void tir_error(TirPlace *at, void *scanner, Parse *p, const char *text)
{
    (void)scanner;
    err(p->s, tir_loc(p, *at), "%s",
        strcmp(text, "memory exhausted") ? text : "this nests deeper than the parser can follow");
}

static Attr *attr(Parse *p, const char *name, AttrKind kind)
{
    Attr *a = NEW(p->s, Attr);
    a->name = name;
    a->kind = kind;
    return a;
}

static Choice *choice(Parse *p, const char *key, double number, const char *a, char op, const char *b)
{
    Choice *c = NEW(p->s, Choice);
    *c = (Choice){.key = key, .number = number, .a = a, .b = b, .op = op};
    return c;
}
}
%define api.pure full
%define api.prefix {tir_}
%define parse.error verbose
%locations
%define api.location.type {TirPlace}
%param {void *scanner}
%parse-param {Parse *p}
%initial-action { @$.line = 1; @$.col = 1; }

%union {
    const char *word;
    int64_t i;
    double f;
    List list;
    const Type *type;
    Type shape;
    Dim dim;
    Attr *attr;
    Choice *choice;
    Result *result;
    Weight *weight;
}

%token EOL "end of line" ARCH "arch" MODEL "model" FACTS_ "facts" DIM "dim" CONST "const"
%token EXPECT "expect" IGNORE "ignore" WEIGHT "weight" STATE "state" FUNC "func" LAYERS "layers" FROM "from"
%token AT "at" TIMES "x" STRAY "a character that means nothing here"
%token <word> SYMBOL "@name" VALUE "%name" IDENT "word" STRING "string"
%token <i> INTEGER "integer"
%token <f> NUMBER "number"
%type <list> names attrs attr_list outs operands results values
%type <word> op key
%type <type> type
%type <shape> dims
%type <dim> dim
%type <attr> attr
%type <choice> choices choice choices_opt
%type <result> result
%type <weight> weight
%type <f> number

%%
module: %empty | module line ;

line: EOL
    | statement EOL
    | func
    | error EOL { yyerrok; }
    ;

statement
    : ARCH names attrs                   { tir_arch(p, @1, $2, $3); }
    | MODEL STRING attrs                 { tir_model(p, @1, $2, $3); }
    | FACTS_ facts
    | DIM IDENT choices_opt              { tir_symbol(p, @2, true, $2, $3); }
    | CONST IDENT '=' choices            { tir_symbol(p, @2, false, $2, $4); }
    | EXPECT STRING '=' STRING           { tir_expect(p, @1, (Expect){.key = $2, .text = $4}); }
    | EXPECT STRING '=' number           { tir_expect(p, @1, (Expect){.key = $2, .number = $4}); }
    | EXPECT STRING '=' IDENT            { tir_expect(p, @1, (Expect){.key = $2, .symbol = $4}); }
    | IGNORE ignored
    | weight attrs                       { tir_weight_attrs(p, @1, $1, $2); }
    ;

ignored: STRING                          { tir_expect(p, @1, (Expect){.key = $1, .ignored = true}); }
    | ignored '|' STRING                 { tir_expect(p, @3, (Expect){.key = $3, .ignored = true}); }
    ;
names: STRING                            { $$ = (List){0}; list_add(p, &$$, (void *)(uintptr_t)$1); }
    | names '|' STRING                   { $$ = $1; list_add(p, &$$, (void *)(uintptr_t)$3); }
    ;
facts: %empty | facts IDENT              { tir_fact(p, @2, $2); } ;

choices_opt: %empty                      { $$ = NULL; }
    | '=' choices                        { $$ = $2; }
    ;
choices: choice
    | choice '|' choices                 { $$ = $1; $$->next = $3; }
    ;
choice: STRING                           { $$ = choice(p, $1, 0, NULL, 0, NULL); }
    | number                             { $$ = choice(p, NULL, $1, NULL, 0, NULL); }
    | IDENT                              { $$ = choice(p, NULL, 0, $1, 0, NULL); }
    | IDENT '*' IDENT                    { $$ = choice(p, NULL, 0, $1, '*', $3); }
    | IDENT '/' IDENT                    { $$ = choice(p, NULL, 0, $1, '/', $3); }
    | IDENT '(' IDENT ')'                { $$ = choice(p, NULL, 0, $3, 'r', NULL);
                                           if (strcmp($1, "sqrt")) err(p->s, tir_loc(p, @1), "the one function of numbers is sqrt, not '%s'", $1); }
    ;
number: INTEGER                          { $$ = (double)$1; }
    | NUMBER
    ;

weight
    : WEIGHT SYMBOL ':' type             { $$ = tir_weight(p, @2, false, $2, $4); }
    | WEIGHT SYMBOL '[' dim ']' ':' type { $$ = tir_weight(p, @2, false, $2, $7); $$->layers = $4; }
    | WEIGHT SYMBOL '[' INTEGER FROM INTEGER ']' ':' type
                                         { $$ = tir_weight(p, @2, false, $2, $9);
                                           $$->layers.n = $4; $$->first = $6 < 0 || $6 > INT32_MAX ? -1 : (int)$6; }
    | STATE SYMBOL '[' dim ']' ':' type  { $$ = tir_weight(p, @2, true, $2, $7); $$->layers = $4; }
    | weight '=' STRING                  { $$ = $1; $$->pattern = $3; }
    | weight '=' number                  { $$ = $1; $$->has_const = true; $$->constant = (float)$3; }
    | weight '=' IDENT                   { $$ = $1; $$->has_const = true; $$->constant_of = $3; }
    | weight '|' IDENT                   { $$ = $1; $$->optional = true;
                                           if (strcmp($3, "none")) err(p->s, tir_loc(p, @3), "what stands in place of a tensor is @name, a number or none, not '%s'", $3); }
    | weight '|' SYMBOL                  { $$ = $1; $$->same_as = $3; }
    | weight '|' number                  { $$ = $1; $$->has_const = true; $$->constant = (float)$3; }
    ;

type: IDENT '<' dims '>'                 { $$ = type_get(p->s, tir_fmt(p, @1, $1), $3.rank, $3.dim); }
    | IDENT                              { $$ = type_get(p->s, tir_fmt(p, @1, $1), 0, NULL); }
    ;
dims: dim                                { memset(&$$, 0, sizeof $$); $$.rank = 1; $$.dim[0] = $1; }
    | dims TIMES dim                     { $$ = $1;
                                           if ($$.rank < 4) $$.dim[$$.rank++] = $3;
                                           else err(p->s, tir_loc(p, @3), "a type has at most 4 dimensions"); }
    ;
dim: INTEGER                             { $$ = (Dim){$1, NULL};
                                           if ($1 < 1 || $1 > INT32_MAX)
                                               err(p->s, tir_loc(p, @1), "a dimension is a number from 1 to %d", INT32_MAX); }
    | IDENT                              { $$ = dim_free($1); }
    ;

attrs: %empty                            { $$ = (List){0}; }
    | '{' attr_list '}'                  { $$ = $2; }
    ;
attr_list: attr                          { $$ = (List){0}; list_add(p, &$$, $1); }
    | attr_list ',' attr                 { $$ = $1; list_add(p, &$$, $3); }
    ;
attr: key '=' INTEGER                  { $$ = attr(p, $1, ATTR_INT); $$->i = $3; $$->f = (double)$3; }
    | key '=' NUMBER                   { $$ = attr(p, $1, ATTR_FLOAT); $$->f = $3; }
    | key '=' IDENT                    { $$ = attr(p, $1, ATTR_WORD); $$->s = $3; }
    | key '=' STRING                   { $$ = attr(p, $1, ATTR_WORD); $$->s = $3; }
    ;

key: IDENT
    | DIM                                { $$ = name(p->s, "dim"); }
    | AT                                 { $$ = name(p->s, "at"); }
    ;

func: FUNC SYMBOL                        { tir_func_begin(p, @2, $2); }
      '(' params ')' '{' EOL body '}' EOL
                                         { tir_func_end(p, @2); }
    ;
params: param | params ',' param ;
param: VALUE ':' type                    { tir_param(p, @1, $1, $3); } ;

body: %empty | body body_line ;
body_line: EOL
    | op_statement EOL
    | layers
    | outs '=' error EOL                 { yyerrok; tir_lost(p, @1, $1); }
    | error EOL { yyerrok; }
    ;
op_statement
    : outs '=' op operands attrs results { tir_op(p, @3, $1, $3, $4, $5, $6); }
    | op operands attrs                  { tir_op(p, @1, (List){0}, $1, $2, $3, (List){0}); }
    ;
op: IDENT ;
outs: VALUE                              { $$ = (List){0}; list_add(p, &$$, (void *)(uintptr_t)$1); }
    | outs ',' VALUE                     { $$ = $1; list_add(p, &$$, (void *)(uintptr_t)$3); }
    ;
operands: %empty                         { $$ = (List){0}; }
    | values
    ;
values: VALUE                            { $$ = (List){0}; list_add(p, &$$, tir_operand(p, @1, $1, false)); }
    | SYMBOL                             { $$ = (List){0}; list_add(p, &$$, tir_operand(p, @1, $1, true)); }
    | values ',' VALUE                   { $$ = $1; list_add(p, &$$, tir_operand(p, @3, $3, false)); }
    | values ',' SYMBOL                  { $$ = $1; list_add(p, &$$, tir_operand(p, @3, $3, true)); }
    ;
results: ':' result                      { $$ = (List){0}; list_add(p, &$$, $2); }
    | results ',' result                 { $$ = $1; list_add(p, &$$, $3); }
    ;
result: type                             { $$ = NEW(p->s, Result); $$->type = $1; }
    | type AT IDENT INTEGER              { $$ = NEW(p->s, Result); $$->type = $1; $$->slot = $4;
                                           $$->space = tir_space(p, @3, $3); }
    | type AT IDENT                      { $$ = NEW(p->s, Result); $$->type = $1;
                                           $$->space = tir_space(p, @3, $3); }
    ;

layers: outs '=' LAYERS '(' carried ')' '{' attr_list '}' '{' EOL
                                         { tir_layers_begin(p, @3, $1, $8); }
        body '}' EOL                     { tir_layers_end(p); }
    ;
carried: VALUE '=' VALUE                 { p->args = p->inits = (List){0};
                                           list_add(p, &p->args, (void *)(uintptr_t)$1);
                                           list_add(p, &p->inits, tir_operand(p, @3, $3, false)); }
    | carried ',' VALUE '=' VALUE        { list_add(p, &p->args, (void *)(uintptr_t)$3);
                                           list_add(p, &p->inits, tir_operand(p, @5, $5, false)); }
    ;
%%

#define YY_NO_UNISTD_H
#include "tir.lex.h"

Module *tir_parse_text(Session *s, const char *path, const char *bytes, size_t size)
{
    Parse p;
    yyscan_t scanner;
    tir_begin(&p, s, path, bytes, size);
    if (tir_lex_init_extra(&p, &scanner))
        die("no memory for the lexer");
    YY_BUFFER_STATE buffer = tir__scan_bytes(bytes, (int)size, scanner);
    tir_parse(scanner, &p);
    tir__delete_buffer(buffer, scanner);
    tir_lex_destroy(scanner);
    return tir_end(&p);
}

Module *tir_read(Session *s, const char *path)
{
    size_t size;
    char *bytes = file_read(s, path, &size);
    return tir_parse_text(s, path, bytes, size);
}
