#!/bin/sh
# docs/adding.md, followed to the letter: run_adding.sh. In a copy of the tree every block of the page goes where the
# line above it says, then all is built once, without optimization, and the commands are run:
#
#   <!-- add FILE before TEXT -->, after   the block stands before, or after, the first line that holds TEXT
#   <!-- new FILE -->                      the block is a file
#   <!-- do -->                            commands that change files
#   <!-- try -->                           commands, and what they print when bnc is built
dir=build/adding
b=build # of the copy
rm -rf $dir
mkdir -p $dir/tree $dir/step
. tests/lib.sh
cases 0 "$@"
tar cf - --exclude=./build --exclude=./.git . | tar xf - -C $dir/tree
check "the tree is copied" test -f $dir/tree/Makefile
# A block's kind, file, and text into step/N.how, its lines into step/N. Fences may stand in a block's own text.
awk -v out=$dir/step '
    /^<!-- (add|new) .* -->$/ || /^<!-- (do|try) -->$/ {
        how = substr($0, 6, length($0) - 9)
        next
    }
    how && !inside && /^```/ {
        inside = 1
        name = sprintf("%s/%03d", out, ++n)
        print how >(name ".how")
        printf "" >name
        next
    }
    inside && /^```$/ { inside = 0; how = ""; close(name); close(name ".how"); next }
    inside { print >name }
    END { exit n < 20 }' docs/adding.md
check "the page has blocks" test $? = 0

# ---- apply: every block, in order ----
place() { # place BLOCK FILE before|after TEXT
    awk -v block="$1" -v where="$3" -v text="$4" '
        function all(line) { while ((getline line <block) > 0) print line }
        !found && index($0, text) { found = 1; if (where == "before") all(); print; if (where == "after") all(); next }
        { print }
        END { exit !found }' "$2" >$dir/placed && cat $dir/placed >"$2"
}
edit() { # edit BLOCK: its commands, in the tree
    sed -n 's/^\$ //p' "$1" >$dir/commands
    (cd $dir/tree && sh -e ../commands)
}
for how in $dir/step/*.how; do
    block=${how%.how}
    read -r kind file where text <"$how"
    case $kind in
    add) check "$file: $where $text" place "$block" $dir/tree/"$file" "$where" "$text" ;;
    new) check "$file: new" cp "$block" $dir/tree/"$file" ;;
    do) check "$(sed -n 1p "$block")" edit "$block" ;;
    esac
done

# ---- build after apply: all of it, once ----
check "it builds" sh -c "MAKEFLAGS= make -C $dir/tree -j2 CFLAGS=-O0 $b/bnc $b/san/test_formats $b/san/test_kernels"
check "the new decoder" sh -c "cd $dir/tree && $b/san/test_formats"
check "the new kernel" sh -c "cd $dir/tree && $b/san/test_kernels"
check "the pass's output is written" sh -c "cd $dir/tree && UPDATE=1 sh tests/run_text.sh $b/bnc passes/hoist && test -s tests/passes/hoist.out"
check "the tables of the documents are made" sh -c "cd $dir/tree && UPDATE=1 sh tests/docs.sh tables"
check "they hold the new rows" sh -c "cd $dir/tree && grep -q '^| .tanh. | 1 | 1 |' docs/ir.md && grep -q '^.From -O2; needs bound; breaks planned' docs/passes.md && grep -q 'q8_1' docs/ir.md"

# ---- try after build: the commands of the page ----
mkdir -p $dir/tree/build/doc
sed -n '/^\$ cc .*own_head/,/^\$ build.doc.own_head/p' docs/adding.md | sed 's/^\$ //' >$dir/own
check "a file for the new architecture" sh -c "cd $dir/tree && sh -e ../own"
for how in $dir/step/*.how; do
    block=${how%.how}
    [ "$(cat "$how")" = try ] || continue
    sed -n 's/^\$ //p' "$block" >$dir/commands
    sed '/^\$ /d' "$block" >$dir/want
    check "$(sed -n 's/^\$ //p' "$block" | sed -n 1p)" sh -c "cd $dir/tree && sh -e ../commands >../got 2>&1; cat ../got; diff ../want ../got"
done

# ---- end ----
finish
