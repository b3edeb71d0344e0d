#!/bin/sh
# run_floors.sh: that `make floors` refuses each kind of fault. Plants them, one after the other, in a copy
# of the tree and its objects; what is said must name the fault.
dir=build/floors
rm -rf $dir
mkdir -p $dir/tree
. tests/lib.sh
cases 0 "$@"

make=${MAKE:-make}
git ls-files -co --exclude-standard 2>/dev/null | while read -r f; do [ ! -f "$f" ] || echo "$f"; done >$dir/files
[ -s $dir/files ] || find . -path ./build -prune -o -path ./.git -prune -o -type f -print >$dir/files
grep -v '\.gguf$' $dir/files | tar cf - -T - | tar xf - -C $dir/tree
mkdir -p $dir/tree/build
(cd build && tar cf - .tools .jit-* gen rt main.* ir frontend passes chat checkpoint codegen-* driver report cmd jit/absent.*) |
    tar xf - -C $dir/tree/build
in_tree() { # in_tree COMMAND...: no git there, for the copy stands inside of a tree that has one
    env -C $dir/tree GIT_DIR="$PWD/$dir/none" MAKEFLAGS= "$@"
}
keep() { # keep FILE: as it is, for back
    mkdir -p $dir/kept/"$(dirname "$1")"
    [ ! -f $dir/kept/"$1" ] || return 0
    if [ -f $dir/tree/"$1" ]; then cp -p $dir/tree/"$1" $dir/kept/"$1"; else echo "$dir/tree/$1" >>$dir/new; fi
}
back() {
    [ ! -f $dir/new ] || xargs rm -f <$dir/new
    [ ! -d $dir/kept ] || cp -pR $dir/kept/. $dir/tree/
    rm -rf $dir/new $dir/kept
}
expects() { # expects NAME TEXT: of what is planted now, when all of it is judged
    printf '%s\t%s\n' "$1" "$2" >>$dir/expected
}
judge() { # all that was planted, each to be named; then puts it back
    check "faults: refused" sh -c "! { $floors; } >$dir/said 2>&1"
    while IFS='	' read -r name text; do
        check "$name: '$text'" grep -qF -- "$text" $dir/said || sed 's/^/    /' $dir/said
    done <$dir/expected
    rm $dir/expected
    back
}
add() { # add FILE TEXT: at its end
    keep "$1"
    printf '%s\n' "$2" >>$dir/tree/"$1"
}
build() { # build OBJECT: of what was added
    keep "$1"
    check "$1 compiles" in_tree "$make" -s "$1"
}
long() { # long FILE LINES BEFORE EACH AFTER: a file of many lines
    keep "$1"
    { echo "$3" && yes "$4" | head -n "$2" && echo "$5"; } >$dir/tree/"$1"
}

check "the tree as it is: clean" in_tree "$make" -s floors
# The command of that rule, so that only what a fault needs is built again.
floors="cd $dir/tree && GIT_DIR=none $(in_tree "$make" -n -s floors | grep 'floors\.py')"

# ---- includes: of rooms that may not be used, in every form ----
pass=compiler/passes/lm_head.c
add $pass '#include "frontend/gguf.h"'
expects "in quotes" "$pass includes compiler/frontend/gguf.h: room passes may not use frontend"
add $pass '#include <frontend/gguf.h>'
expects "in angle brackets" "$pass includes compiler/frontend/gguf.h: room passes may not use frontend"
add $pass '#  include "../frontend/gguf.h"'
expects "by a path" "$pass includes compiler/frontend/gguf.h: room passes may not use frontend"
add $pass '#define FILE_OF <frontend/gguf.h>
#include FILE_OF'
expects "by a macro" "$pass includes by a macro"
add compiler/report/page.c '#include "cmd/cmd.h"'
expects "report of cmd" "compiler/report/page.c includes compiler/cmd/cmd.h: room report may not use cmd"
add compiler/checkpoint/config.c '#include "frontend/gguf.c"'
expects "another room's .c" "only headers and tables of other rooms"
add runtime-min/sample.c '#include "../compiler/ir/ir.h"'
expects "the runtime of the compiler" "room runtime-min may not use ir"
add compiler/ir/lowbit.c '#include "../../runtime-min/internal.h"'
expects "more than the contract" "room ir may not use runtime-min"
add $pass '#include <jansson.h>'
expects "a library" "$pass includes <jansson.h>: no library of room passes"
add compiler/frontend/tir.l '%{
#include "passes/passes.h"
%}'
expects "in a lexer" "compiler/frontend/tir.l includes compiler/passes/passes.h: room frontend may not use passes"
add compiler/codegen-c/kernels/scalar.c '#include "passes/passes.h"'
expects "in a kernel" "room codegen-c may not use passes"
judge

# ---- symbols: what objects use, however it was declared ----
add $pass 'extern void gguf_get(void *);
void get_of_mine(void *);
void get_of_mine(void *x)
{
    gguf_get(x);
}
const char *name_of_mine(void *);
const char *name_of_mine(void *x)
{
    extern const char *gguf_type_name(const void *, const void *);
    return gguf_type_name(x, x);
}'
build build/passes/lm_head.o
expects "a prototype by hand" "declares gguf_get by hand"
expects "a prototype inside a function" "declares inside a function by hand"
expects "a symbol" "uses gguf_get of compiler/frontend/gguf_get.c: room passes may not use frontend"
expects "another" "$pass uses gguf_type_name of compiler/frontend/gguf"
add compiler/passes/fold.c 'void module_print_again(const Module *m, Out *o);
void module_print_again(const Module *m, Out *o)
{
    module_print(m, o);
}'
expects "a prototype of one's own in a .c" "declares module_print_again by hand"
add compiler/ir/session.c 'void session_print(Session *s, const Op *op);
void session_print(Session *s, const Op *op)
{
    Out o = {.s = s};
    op_print(op, &o);
}'
build build/ir/session.o
expects "a circle of files" "a circle of files: compiler/ir/"
judge

# ---- table: faults of tests/rooms.def ----
keep tests/rooms.def
sed 's/^ROOM(ir, "compiler\/ir", "/&passes /' tests/rooms.def >$dir/tree/tests/rooms.def
expects "a circle of rooms" "a circle of rooms: ir, passes"
judge
keep tests/rooms.def
sed '/^ROOM(chat/,/)$/d' tests/rooms.def >$dir/tree/tests/rooms.def
expects "a file of no room" "compiler/chat/tree.c is in no room"
judge
keep tests/rooms.def
echo 'EXEMPT("nothing at all")' >>$dir/tree/tests/rooms.def
expects "an exemption of nothing" "exempt, but not broken: nothing at all"
judge

# ---- sizes: files of every kind, functions ----
for f in compiler/codegen-cuda/kernels/more.cu compiler/codegen-cuda/more.cuh compiler/codegen-metal/kernels/more.metal \
    compiler/codegen-metal/more.m compiler/report/more.css compiler/report/more.js compiler/ir/more.def; do
    long $f 5000 '' '/* */' ''
    expects "$f" "over 800 lines: $f (5002)"
done
for f in tests/more.sh tests/more.py tests/more.awk tests/more.mk; do
    long $f 800 '' '#' ''
    expects "$f" "over 800 lines: $f (802)"
done
for f in compiler/ir/more.y compiler/ir/more.l; do
    long $f 800 '' '' ''
    expects "$f" "over 800 lines: $f (802)"
done
judge
for f in compiler/ir/more.h tests/unit/more.c compiler/codegen-cuda/kernels/more.cu compiler/codegen-metal/more.metal \
    tests/metal/more.m; do
    long $f 78 'static void f(void)
{' '    ;' '}'
    expects "a function in $f" "over 80 lines: $f: the function on line 1 (81)"
done
long compiler/ir/forms.h 77 '#if A
static void f(int a)
{
#else
static void f(void)
{ // {
#endif' '    "{"; /* } */' '}'
expects "a function in two forms" "over 80 lines: compiler/ir/forms.h"
judge
long compiler/ir/more.h 77 'static void f(void)
{' '    ;' '}'
check "a function of 80 lines" sh -c "$floors"
back

# ---- end ----
check "the tree as it was: clean" sh -c "$floors"
finish
