/* jinja.y: the grammar of chat templates: Jinja's expressions whole, its statements in part. */
%code requires {
#include "chat/tree.h"
}
%code provides {
int jinja_lex(JINJA_STYPE *value, Spot *at, void *scanner);
}
%code {
#define YYLLOC_DEFAULT(cur, rhs, n) ((cur) = (n) ? YYRHSLOC(rhs, 1) : YYRHSLOC(rhs, 0))

static void jinja_error(Spot *at, void *scanner, Reader *r, const char *text)
{
    (void)scanner;
    if (!r->s->nerror)
        err(r->s, reader_loc(r, *at), "%s",
            strcmp(text, "memory exhausted") ? text : "this nests deeper than the parser can follow");
}
static Node *named(Node *n, Node *name)
{
    n->text = name->text;
    return n;
}
#define NEW_NODE(kind, at, a, b, c) node_new(r, kind, at, a, b, c)
}
%define api.pure full
%define api.prefix {jinja_}
%define parse.error verbose
%locations
%define api.location.type {Spot}
%param {void *scanner}
%parse-param {Reader *r}
%initial-action { @$.line = 1; @$.col = 1; }

%union {
    Node *node;
    Chain chain;
    int op;
}

%token TAG_IF "{% if" TAG_ELSE "{% else" TAG_END "%}" PUT "{{" PUT_END "}}" STRAY "a character that means nothing here"
%token NOT "not" AND "and" OR "or" IN "in" IS "is" IF "if" ELSE "else" ELIF "{% elif" ENDIF "{% endif"
%token FOR "{% for" ENDFOR "{% endfor" SET "{% set" BREAK "{% break" CONTINUE "{% continue"
%token ENDSET "{% endset" FILTER "{% filter" ENDFILTER "{% endfilter" MACRO "{% macro" ENDMACRO "{% endmacro" GENERATION "{% generation" ENDGENERATION "{% endgeneration"
%token DIV "//" POW "**" EQ "==" NE "!=" LE "<=" GE ">="
%token <node> DATA "text" NAME "name" STRING "string" NUMBER "number"
%token END 0 "the end of the template"
%type <chain> or_list
%type <node> loop_list statement tuple test_name test_arg expr or_expr and_expr not_expr compare math concat product unary power filtered set_filters filter_chain
%type <node> postfix primary string subscript slice_part for_if arg else_clause
%type <chain> names body clauses args arg_list items item_list pairs pair_list for_else
%type <op> comparison

%%
template: body                             { r->root = node_list(r, NEW_NODE(S_BODY, @1, NULL, NULL, NULL), $1); } ;

body: %empty                               { $$ = (Chain){NULL, NULL}; }
    | body statement                       { $$ = $1; chain_add(&$$, $2); }
    ;
statement
    : DATA
    | PUT expr PUT_END                     { $$ = NEW_NODE(S_PUT, @2, $2, NULL, NULL); }
    | TAG_IF expr TAG_END body clauses else_clause ENDIF TAG_END
        { Chain c = {NULL, NULL};
          Node *first = NEW_NODE(S_CLAUSE, @2, $2, node_list(r, NEW_NODE(S_BODY, @3, NULL, NULL, NULL), $4), NULL);
          chain_add(&c, first);
          if ($5.first) { c.last->next = $5.first; c.last = $5.last; }
          if ($6) chain_add(&c, $6);
          $$ = node_list(r, NEW_NODE(S_IF, @1, NULL, NULL, NULL), c); }
    | FOR names IN loop_list for_if TAG_END body for_else ENDFOR TAG_END
        { Node *names = node_list(r, NEW_NODE(S_BODY, @2, NULL, NULL, NULL), $2);
          Node *loop = NEW_NODE(S_LOOP, @6, $5, node_list(r, NEW_NODE(S_BODY, @6, NULL, NULL, NULL), $7), NULL);
          $$ = node_list(r, NEW_NODE(S_FOR, @1, $4, names, loop), $8); }
    | SET names '=' tuple TAG_END
        { $$ = NEW_NODE(S_SET, @2, $4, node_list(r, NEW_NODE(S_BODY, @2, NULL, NULL, NULL), $2), NULL); }
    | SET NAME '.' NAME '=' tuple TAG_END
                                           { $$ = named(NEW_NODE(S_SETATTR, @2, $6, $4, NULL), $2); }
    | SET names set_filters TAG_END body ENDSET TAG_END
        { $$ = NEW_NODE(S_SETBODY, @2, $3, node_list(r, NEW_NODE(S_BODY, @2, NULL, NULL, NULL), $2),
                        node_list(r, NEW_NODE(S_BODY, @4, NULL, NULL, NULL), $5)); }
    | FILTER filter_chain TAG_END body ENDFILTER TAG_END
        { $$ = NEW_NODE(S_SETBODY, @2, $2, NULL, node_list(r, NEW_NODE(S_BODY, @3, NULL, NULL, NULL), $4)); }
    | BREAK TAG_END                    { $$ = NEW_NODE(S_BREAK, @1, NULL, NULL, NULL); }
    | CONTINUE TAG_END                 { $$ = NEW_NODE(S_CONTINUE, @1, NULL, NULL, NULL); }
    | GENERATION TAG_END body ENDGENERATION TAG_END
                                           { $$ = node_list(r, NEW_NODE(S_SCOPE, @1, NULL, NULL, NULL), $3); }
    | MACRO NAME '(' args ')' TAG_END body ENDMACRO TAG_END
        { $$ = named(NEW_NODE(S_MACRO, @2, NULL, node_list(r, NEW_NODE(S_BODY, @6, NULL, NULL, NULL), $7), NULL), $2);
          node_list(r, $$, $4); }
    ;
names: NAME                                { $$ = (Chain){$1, $1}; }
    | names ',' NAME                       { $$ = $1; chain_add(&$$, $3); }
    ;
set_filters: %empty                        { $$ = NULL; }
    | set_filters '|' NAME                 { $$ = named(NEW_NODE(N_FILTER, @3, $1 ? $1 : NEW_NODE(N_NONE, @3, NULL, NULL, NULL), NULL, NULL), $3); }
    | set_filters '|' NAME '(' args ')'
        { $$ = node_list(r, named(NEW_NODE(N_FILTER, @3, $1 ? $1 : NEW_NODE(N_NONE, @3, NULL, NULL, NULL), NULL, NULL), $3), $5); }
    ;
filter_chain: NAME                         { $$ = named(NEW_NODE(N_FILTER, @1, NEW_NODE(N_NONE, @1, NULL, NULL, NULL), NULL, NULL), $1); }
    | NAME '(' args ')'                    { $$ = node_list(r, named(NEW_NODE(N_FILTER, @1, NEW_NODE(N_NONE, @1, NULL, NULL, NULL), NULL, NULL), $1), $3); }
    | filter_chain '|' NAME                { $$ = named(NEW_NODE(N_FILTER, @3, $1, NULL, NULL), $3); }
    | filter_chain '|' NAME '(' args ')'   { $$ = node_list(r, named(NEW_NODE(N_FILTER, @3, $1, NULL, NULL), $3), $5); }
    ;
tuple: expr
    | expr ',' items                       { Chain c = {$1, $1};
                                             if ($3.first) { c.last->next = $3.first; c.last = $3.last; }
                                             $$ = node_list(r, NEW_NODE(N_TUPLE, @1, NULL, NULL, NULL), c); }
    ;
loop_list: or_expr
    | or_expr ',' or_list                  { Chain c = {$1, $1};
                                             c.last->next = $3.first; c.last = $3.last;
                                             $$ = node_list(r, NEW_NODE(N_TUPLE, @1, NULL, NULL, NULL), c); }
    ;
or_list: or_expr                           { $$ = (Chain){$1, $1}; }
    | or_list ',' or_expr                  { $$ = $1; chain_add(&$$, $3); }
    ;
clauses: %empty                            { $$ = (Chain){NULL, NULL}; }
    | clauses ELIF expr TAG_END body
        { $$ = $1;
          chain_add(&$$, NEW_NODE(S_CLAUSE, @3, $3, node_list(r, NEW_NODE(S_BODY, @4, NULL, NULL, NULL), $5), NULL)); }
    ;
else_clause: %empty                        { $$ = NULL; }
    | TAG_ELSE TAG_END body
        { $$ = NEW_NODE(S_CLAUSE, @1, NULL, node_list(r, NEW_NODE(S_BODY, @2, NULL, NULL, NULL), $3), NULL); }
    ;
for_if: %empty                             { $$ = NULL; }
    | IF expr                              { $$ = $2; }
    ;
for_else: %empty                           { $$ = (Chain){NULL, NULL}; }
    | TAG_ELSE TAG_END body                { $$ = $3; }
    ;

expr: or_expr
    | or_expr IF or_expr ELSE expr         { $$ = NEW_NODE(N_COND, @1, $3, $1, $5); }
    | or_expr IF or_expr                   { $$ = NEW_NODE(N_COND, @1, $3, $1, NULL); }
    ;
or_expr: and_expr
    | or_expr OR and_expr                  { $$ = NEW_NODE(N_OR, @1, $1, $3, NULL); }
    ;
and_expr: not_expr
    | and_expr AND not_expr                { $$ = NEW_NODE(N_AND, @1, $1, $3, NULL); }
    ;
not_expr: compare
    | NOT not_expr                         { $$ = NEW_NODE(N_NOT, @1, $2, NULL, NULL); }
    ;
comparison: EQ { $$ = BN_OPERATOR_EQ; } | NE { $$ = BN_OPERATOR_NE; } | '<' { $$ = BN_OPERATOR_LT; } | LE { $$ = BN_OPERATOR_LE; }
    | '>' { $$ = BN_OPERATOR_GT; } | GE { $$ = BN_OPERATOR_GE; } | IN { $$ = BN_OPERATOR_IN; } | NOT IN { $$ = BN_OPERATOR_NOT_IN; }
    ;
compare: math
    | compare comparison math              { $$ = node_compare(r, @2, $2, $1, $3); }
    ;
math: concat
    | math '+' concat                      { $$ = node_binary(r, @2, BN_OPERATOR_ADD, $1, $3); }
    | math '-' concat                      { $$ = node_binary(r, @2, BN_OPERATOR_SUB, $1, $3); }
    ;
concat: product
    | concat '~' product                   { $$ = node_binary(r, @2, BN_OPERATOR_JOIN, $1, $3); }
    ;
product: power
    | product '*' power                    { $$ = node_binary(r, @2, BN_OPERATOR_MUL, $1, $3); }
    | product '/' power                    { $$ = node_binary(r, @2, BN_OPERATOR_DIV, $1, $3); }
    | product DIV power                    { $$ = node_binary(r, @2, BN_OPERATOR_FLOOR, $1, $3); }
    | product '%' power                    { $$ = node_binary(r, @2, BN_OPERATOR_MOD, $1, $3); }
    ;
power: filtered
    | power POW filtered                   { $$ = node_binary(r, @2, BN_OPERATOR_POW, $1, $3); }
    ;
filtered: unary
    | filtered '|' NAME                    { $$ = named(NEW_NODE(N_FILTER, @3, $1, NULL, NULL), $3); }
    | filtered '|' NAME '(' args ')'       { $$ = node_list(r, named(NEW_NODE(N_FILTER, @3, $1, NULL, NULL), $3), $5); }
    | filtered IS test_name                { $$ = named(NEW_NODE(N_TEST, @3, $1, NULL, NULL), $3); }
    | filtered IS NOT test_name            { $$ = named(NEW_NODE(N_TEST, @4, $1, NULL, NULL), $4); $$->op = 1; }
    | filtered IS test_name '(' args ')'   { $$ = node_list(r, named(NEW_NODE(N_TEST, @3, $1, NULL, NULL), $3), $5); }
    | filtered IS NOT test_name '(' args ')'
        { $$ = node_list(r, named(NEW_NODE(N_TEST, @4, $1, NULL, NULL), $4), $6); $$->op = 1; }
    | filtered IS test_name test_arg       { Chain c = {$4, $4}; $$ = node_list(r, named(NEW_NODE(N_TEST, @3, $1, NULL, NULL), $3), c); }
    | filtered IS NOT test_name test_arg
        { Chain c = {$5, $5}; $$ = node_list(r, named(NEW_NODE(N_TEST, @4, $1, NULL, NULL), $4), c); $$->op = 1; }
    ;
test_name: NAME
    | IN                                   { $$ = node_text(r, N_NAME, @1, "in", 2); }
    ;
test_arg: NAME
    | STRING
    | NUMBER
    | '[' items ']'                        { $$ = node_list(r, NEW_NODE(N_LIST, @1, NULL, NULL, NULL), $2); }
    | test_arg '.' NAME                    { $$ = named(NEW_NODE(N_ATTR, @3, $1, NULL, NULL), $3); }
    ;
unary: postfix
    | '-' unary                            { $$ = NEW_NODE(N_NEG, @1, $2, NULL, NULL); }
    | '+' unary                            { $$ = NEW_NODE(N_POS, @1, $2, NULL, NULL); }
    ;
postfix: primary
    | postfix '.' NAME                     { $$ = named(NEW_NODE(N_ATTR, @3, $1, NULL, NULL), $3); }
    | postfix '.' NUMBER                   { $$ = NEW_NODE(N_ITEM, @2, $1, $3, NULL); }
    | postfix '[' expr ']'                 { $$ = NEW_NODE(N_ITEM, @2, $1, $3, NULL); }
    | postfix '[' subscript ']'            { $$ = $3; $$->a = $1; $$->depth += $1->depth; }
    | postfix '(' args ')'                 { $$ = node_list(r, NEW_NODE(N_CALL, @2, $1, NULL, NULL), $3); }
    ;
subscript: slice_part ':' slice_part       { Chain c = {NULL, NULL};
                                             chain_add(&c, $1); chain_add(&c, $3); chain_add(&c, NEW_NODE(N_NONE, @2, NULL, NULL, NULL));
                                             $$ = node_list(r, NEW_NODE(N_SLICE, @2, NULL, NULL, NULL), c); }
    | slice_part ':' slice_part ':' slice_part
                                           { Chain c = {NULL, NULL};
                                             chain_add(&c, $1); chain_add(&c, $3); chain_add(&c, $5);
                                             $$ = node_list(r, NEW_NODE(N_SLICE, @2, NULL, NULL, NULL), c); }
    ;
slice_part: %empty                         { $$ = NEW_NODE(N_NONE, @$, NULL, NULL, NULL); }
    | expr
    ;
primary: NAME
    | string
    | NUMBER
    | '(' expr ')'                         { $$ = $2; $$->paren = true; }
    | '(' item_list ',' ')'                { $$ = node_list(r, NEW_NODE(N_TUPLE, @1, NULL, NULL, NULL), $2); }
    | '(' item_list ',' expr ')'           { chain_add(&$2, $4); $$ = node_list(r, NEW_NODE(N_TUPLE, @1, NULL, NULL, NULL), $2); }
    | '(' ')'                              { $$ = NEW_NODE(N_TUPLE, @1, NULL, NULL, NULL); }
    | '[' items ']'                        { $$ = node_list(r, NEW_NODE(N_LIST, @1, NULL, NULL, NULL), $2); }
    | '{' pairs '}'                        { $$ = node_list(r, NEW_NODE(N_DICT, @1, NULL, NULL, NULL), $2); }
    ;
string: STRING
    | string STRING                        { Out o = {.s = r->s};
                                             put_bytes(&o, $1->text, (size_t)$1->i);
                                             put_bytes(&o, $2->text, (size_t)$2->i);
                                             $$ = node_text(r, N_TEXT, @1, o.len ? o.text : "", o.len);
                                             out_free(&o); }
    ;
items: %empty                              { $$ = (Chain){NULL, NULL}; }
    | item_list
    | item_list ','
    ;
item_list: expr                            { $$ = (Chain){$1, $1}; }
    | item_list ',' expr                   { $$ = $1; chain_add(&$$, $3); }
    ;
pairs: %empty                              { $$ = (Chain){NULL, NULL}; }
    | pair_list
    | pair_list ','
    ;
pair_list: expr ':' expr                   { $$ = (Chain){$1, $1}; chain_add(&$$, $3); }
    | pair_list ',' expr ':' expr          { $$ = $1; chain_add(&$$, $3); chain_add(&$$, $5); }
    ;
args: %empty                               { $$ = (Chain){NULL, NULL}; }
    | arg_list
    | arg_list ','
    ;
arg_list: arg                              { $$ = (Chain){$1, $1}; }
    | arg_list ',' arg                     { $$ = $1; chain_add(&$$, $3); }
    ;
arg: expr
    | NAME '=' expr                        { $$ = named(NEW_NODE(N_KEYWORD, @1, $3, NULL, NULL), $1); }
    ;
%%

#define YY_NO_UNISTD_H
#include "jinja.lex.h"

Node *template_parse(Session *s, const ChatTemplate *t, const Text **source)
{
    Reader r;
    if (!reader_begin(&r, s, t))
        return NULL;
    *source = r.source;
    yyscan_t scanner;
    if (jinja_lex_init_extra(&r, &scanner))
        die("no memory for the lexer");
    YY_BUFFER_STATE buffer = jinja__scan_bytes(r.source->bytes, (int)r.source->size, scanner);
    int failed = jinja_parse(scanner, &r);
    jinja__delete_buffer(buffer, scanner);
    jinja_lex_destroy(scanner);
    CHECK(!failed || s->nerror);
    return s->nerror ? NULL : r.root;
}
