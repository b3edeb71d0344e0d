#!/bin/sh
# docs.sh [NAME...]: keeps README.md and docs/*.md true; with names the documents that match one (parts
# or regular expressions), with --list their names; `tables` stands for all tables, `walk` for the walk.
#
#   tables   what stands between `<!-- NAME -->` and `<!-- /NAME -->` is made from the .def files:
#            ops, formats (docs/ir.md), rooms, steps (docs/house.md), passes (docs/house.md, docs/passes.md), statuses
#            (docs/embedding.md). The
#            shapes table of docs/ir.md, written by hand, must have one row an op, in their order.
#   walk     each file and function that the walk of docs/house.md names exists: a function in the last
#            .c, .h or .y named before it.
#   blocks   a fenced block after the line `<!-- run -->` is run from the root of the project: lines
#            that begin with `$ ` are commands (a `\` at the end goes on to the next line), the rest
#            is what they print, both streams. Commands write below build/doc only; the blocks of a
#            file run in order and see what earlier ones made. A block that names ../shared/ is
#            skipped where that is absent. A thread's scratch follows the processor's kernels where
#            the target is native: any number stands for it.
#
# UPDATE=1 rewrites tables and blocks. The last line is `N passed, M failed[, K skipped]`; status 1 where one
# failed.
set -u
# Commands print what they print by hand, not below the make of `make check`.
unset MAKEFLAGS MFLAGS MAKELEVEL
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
passed=0 failed=0 skipped=0
update=${UPDATE:-0}
names=$*
if [ "$names" = --list ]; then
    printf '%s\n' tables walk README.md docs/*.md
    exit
fi
wanted() { # wanted NAME: does one of the script's names match?
    [ -n "$names" ] || return 0
    for pattern in $names; do
        echo "$1" | grep -qE -- "$pattern" && return 0
    done
    return 1
}

# same NAME FILE WANTED: FILE must equal WANTED, or becomes it with UPDATE=1.
same() {
    if [ "$update" = 1 ] && ! cmp -s "$2" "$3"; then
        cat "$3" >"$2"
        echo "updated: $1"
    fi
    if cmp -s "$2" "$3"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1"
        diff -u "$2" "$3" | sed -n '1,40p'
    fi
}

# ---- tables ----

. tests/rows.sh

cell='function cell(t) { gsub(/\|/, "\\|", t); return t == "" ? " " : " " t " " }
      function code(t) { gsub(/\|/, "\\|", t); return t == "" ? " " : " `" t "` " }'

table_ops() {
    echo "| op | in | out | attributes | shared by | computes |"
    echo "|---|---|---|---|---|---|"
    rows OP compiler/ir/ops.def | awk -F '\t' "$cell"'
        { printf "|%s|%s|%s|%s|%s|%s|\n", code($2), cell($3 < 0 ? "any" : $3), cell($4 < 0 ? "any" : $4),
                 code($5), cell(tolower($7)), cell($10) }'
}
table_formats() {
    echo "| format | values a block | bytes a block | bytes after | GGUF id | kind |"
    echo "|---|---|---|---|---|---|"
    rows FMT compiler/ir/formats.def | awk -F '\t' "$cell"'
        { printf "|%s|%s|%s|%s|%s|%s|\n", code($2), cell($3 ? $3 : ""), cell($4 ? $4 : ""), cell($5 ? $5 : ""),
                 cell($6 < 0 ? "" : $6), cell(tolower($7)) }'
}
table_passes() {
    echo "| pass | from | needs | gives | breaks | what |"
    echo "|---|---|---|---|---|---|"
    rows PASS compiler/passes/passes.def | awk -F '\t' "$cell"'
        function facts(t) { gsub(/ *\| */, ", ", t); return t == "0" ? " " : cell(tolower(t)) }
        { printf "|%s|%s|%s|%s|%s|%s|\n", code($1), cell("-O" $2), facts($3), facts($4), facts($5), cell($6) }'
}
table_statuses() {
    echo "| status | means |"
    echo "|---|---|"
    sed -n '/^#define BN_STATUSES/,/[^\\]$/p' runtime-min/bn.h | sed 's/^ *//; s/ *\\$//' >"$tmp/statuses"
    rows S "$tmp/statuses" | awk -F '\t' "$cell"'{ printf "|%s|%s|\n", code("BN_" $1), cell($2) }'
}

table_machines() {
    echo "| \`--target\` | what | kernels of |"
    echo "|---|---|---|"
    rows MACHINE compiler/jit/machines.def | awk -F '\t' "$cell"'{ printf "|%s|%s|%s|\n", code($1), cell($6), code($2) }'
}

table_rooms() {
    echo "| place | holds | may use |"
    echo "|---|---|---|"
    rows ROOM tests/rooms.def | awk -F '\t' "$cell"'
        { n = split($3, use, " "); line = "itself"
          for (i = 1; i <= n; i++) line = line ", " (use[i] == "contract" ? "the contract" : "`" use[i] "`")
          printf "|%s|%s|%s|\n", code($2), cell($5), cell(line) }'
}

table_steps() {
    echo "| step | runs | tests |"
    echo "|---|---|---|"
    rows STEP tests/steps.def | awk -F '\t' "$cell"'
        { sub(/^([A-Z]+=[^ ]* )+/, "", $5); printf "|%s|%s|%s|\n", cell($1), code($5), cell($6) }'
}

line_of_pass() { # NAME
    rows PASS compiler/passes/passes.def | awk -F '\t' -v name="$1" '
        function facts(what, t) {
            gsub(/ *\| */, ", ", t)
            return t == "0" ? "" : "; " what " " tolower(t)
        }
        $1 == name { print "*From -O" $2 facts("needs", $3) facts("gives", $4) facts("breaks", $5) ".* " $6 "." }'
}

# check_table NAME FILE [COMMAND...]: the lines between the markers against what COMMAND (table_NAME) says.
check_table() {
    if [ $# -gt 2 ]; then "$3" "$4"; else "table_$1"; fi >"$tmp/table"
    awk -v name="$1" -v table="$tmp/table" '
        $0 == "<!-- /" name " -->" { skip = 0 }
        !skip { print }
        $0 == "<!-- " name " -->" { skip = 1; found++; while ((getline line < table) > 0) print line }
        END { exit found != 1 }' "$2" >"$tmp/wanted" || {
        failed=$((failed + 1))
        echo "FAILED: $2 has no table <!-- $1 -->"
        return
    }
    same "table of $1 in $2" "$2" "$tmp/wanted"
}
check_tables() {
    check_table ops docs/ir.md
    check_table formats docs/ir.md
    check_table passes docs/house.md
    check_table rooms docs/house.md
    check_table steps docs/house.md
    check_table statuses docs/embedding.md
    check_table machines docs/jit.md
    # Every call of bn.h has a row in the reference, and every row is a call of bn.h.
    sed -n 's/^[a-z][a-z0-9_ *]*[ *]\(bn_[a-z_]*\)(.*/\1/p' runtime-min/bn.h | sort >"$tmp/wanted"
    sed -n '/^## Reference/,/^## /s/^| `[a-z0-9_ *]*[ *]\(bn_[a-z_]*\)(.*/\1/p' docs/embedding.md | sort >"$tmp/calls"
    same "calls of bn.h in docs/embedding.md" "$tmp/calls" "$tmp/wanted"
    rows PASS compiler/passes/passes.def | cut -f 1 >"$tmp/wanted"
    sed -n 's/^## //p' docs/passes.md >"$tmp/sections"
    same "sections of docs/passes.md" "$tmp/sections" "$tmp/wanted"
    for p in $(cat "$tmp/wanted"); do
        check_table "pass $p" docs/passes.md line_of_pass "$p"
    done

    rows OP compiler/ir/ops.def | cut -f 2 >"$tmp/wanted"
    sed -n '/^<!-- shapes -->$/,/^<!-- \/shapes -->$/s/^| `\([a-z0-9_]*\)`.*/\1/p' docs/ir.md >"$tmp/shapes"
    if cmp -s "$tmp/shapes" "$tmp/wanted"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: the shapes table of docs/ir.md does not list the ops of ops.def"
        diff "$tmp/shapes" "$tmp/wanted"
    fi
}
! wanted tables || check_tables

# ---- the walk of docs/house.md ----

# walk_names DOC: of what stands between the walk's markers each `function()` with the last
# .c, .h or .y named before it, and each file by itself (-).
walk_names() {
    sed -n '/^<!-- walk -->$/,/^<!-- \/walk -->$/p' "$1" | grep -oE '`[A-Za-z0-9_./-]+(\(\)|\.(c|h|def|y|l|tir))`' |
        tr -d '`' | awk '/\(\)$/ { sub(/\(\)$/, ""); print file, $0; next }
            { print $0, "-" } /\.[chy]$/ { file = $0 }' | sort -u
}
check_walk() {
    walk_names docs/house.md >"$tmp/walk"
    find ./compiler ./runtime-min -type f >"$tmp/tree"
    awk 'NR == FNR { tree[n++] = $0; next }
        { found = 0
          for (i = 0; i < n; i++)
              if (substr(tree[i], length(tree[i]) - length($1)) == "/" $1) { found++; path = tree[i] }
          if (found == 1 && $2 != "-" && !(path in text)) {
              text[path] = "\n"
              while ((getline line <path) > 0) if (line ~ /^[A-Za-z_].*\(/) text[path] = text[path] line "\n"
          }
          if (found != 1 || ($2 != "-" && text[path] !~ "\n[^\n(]*[ *]" $2 "\\("))
              print "docs/house.md: the walk names " $0 " (" found " such files)" }
        END { if (FNR < 60) print "docs/house.md: the walk names little" }' "$tmp/tree" "$tmp/walk" >"$tmp/lost"
    : >"$tmp/none"
    same "files and functions of the walk in docs/house.md" "$tmp/lost" "$tmp/none"
}
! wanted walk || check_walk

# ---- blocks ----

# perform BLOCK: runs its commands, prints them and what they print.
perform() {
    command=
    while IFS= read -r line; do
        case $command$line in
        '$ '*'\')
            command=$command$line$nl
            continue
            ;;
        '$ '*)
            printf '%s\n' "$command$line"
            shown=$command$line
            sh -c "${shown#??}" </dev/null 2>&1
            ;;
        esac
        command=
    done <"$1"
}
nl='
'
# anywhere FILE: without what follows the processor.
anywhere() {
    sed 's/(and [0-9]* a thread)/(and N a thread)/
        s/BN_STATE_BYTES(threads, \([0-9]*\), [0-9]*,/BN_STATE_BYTES(threads, \1, N,/' "$1"
}

mkdir -p build
if ! mkdir build/doc.lock 2>/dev/null; then
    echo "another docs.sh is running (if not: rmdir build/doc.lock)"
    echo "0 passed, 1 failed"
    exit 1
fi
trap 'rm -rf "$tmp" build/doc.lock' EXIT
rm -rf build/doc
mkdir -p build/doc
XDG_CACHE_HOME=$PWD/build/doc/cache
export XDG_CACHE_HOME
for doc in README.md docs/*.md; do
    wanted "$doc" || continue
    rm -rf "$tmp/blocks"
    mkdir "$tmp/blocks"
    awk -v dir="$tmp/blocks" '
        inside && /^```/ { inside = 0; close(out); next }
        inside { print >out; next }
        last == "<!-- run -->" && /^```/ { inside = 1; out = sprintf("%s/%03d", dir, ++n); printf "" >out }
        { last = $0 }' "$doc"
    for block in "$tmp/blocks"/*; do
        [ -f "$block" ] || continue
        if grep -q '\.\./shared/' "$block" && [ ! -d ../shared/models ]; then
            skipped=$((skipped + 1))
            echo "skipped: $doc: there is no ../shared/models"
            continue
        fi
        perform "$block" >"$tmp/actual"
        first=$(sed -n '1p' "$block")
        anywhere "$block" >"$tmp/block.any"
        anywhere "$tmp/actual" >"$tmp/actual.any"
        cmp -s "$tmp/block.any" "$tmp/actual.any" && cp "$block" "$tmp/actual"
        same "$doc: $first" "$block" "$tmp/actual"
    done
    if [ "$update" = 1 ]; then
        awk -v dir="$tmp/blocks" '
            inside && /^```/ { inside = 0; while ((getline line < out) > 0) print line }
            inside { next }
            { print }
            last == "<!-- run -->" && /^```/ { inside = 1; out = sprintf("%s/%03d", dir, ++n) }
            { last = $0 }' "$doc" >"$tmp/new"
        cmp -s "$tmp/new" "$doc" || cat "$tmp/new" >"$doc"
    fi
done

if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed = 0 ]
