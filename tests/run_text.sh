#!/bin/sh
# run_text.sh BNC [NAME...]: the tests whose input and expected output are texts; with names those that
# match one (parts or regular expressions), with --list their names.
#
#   passes/NAME.tir   `# RUN: arguments` on its first line; NAME.out is the expected standard output
#   errors/NAME.tir   a bad text for `bnc opt --passes=` or what its `# RUN:` says; NAME.err is the
#                     expected standard error
#   errors/NAME.cmd   a bad command line (a shell line that uses $BNC and $MODEL); NAME.err likewise
#
# Besides: whatever bnc prints reads back to the same print (architectures, expected outputs, every
# stage of every model at hand), and a compilation resumed from the text of any stage writes the
# bytes of the direct one; `bnc synth` writes known bytes (synth.sum) that compile and run, the same
# model in every type. UPDATE=1 rewrites the expected files. The last line is
# `N passed, M failed[, K skipped]`; status 1 where one failed.
set -u
LC_ALL=C
export LC_ALL

bin=${1:?usage: run_text.sh BNC [NAME...]}
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
case $bin in /*) BNC=$bin ;; *) BNC=$PWD/$bin ;; esac
[ -x "$BNC" ] || [ "${2:-}" = --list ] || { echo "run_text.sh: $BNC is no program" >&2; exit 2; }
MODEL=examples/models/fables-27m-i2_s.gguf
export BNC
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
cd "$root" || exit 2

shift
wanted() { # wanted NAME: does one of the script's names match?
    [ -n "$names" ] || return 0
    for pattern in $names; do
        echo "$1" | grep -qE -- "$pattern" && return 0
    done
    return 1
}
names=$*
if [ "$names" = --list ]; then
    ls tests/passes/*.tir tests/errors/*.tir tests/errors/*.cmd
    printf '%s\n' reprint stages resume synth
    exit
fi

passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); }
skip() { skipped=$((skipped + 1)); echo "SKIP $1: $2"; }
fail() { failed=$((failed + 1)); echo "FAIL $1: $2"; }

# same NAME WHAT EXPECTED ACTUAL: passes where the two files are equal, else shows the difference.
same() {
    if cmp -s "$3" "$4"; then
        pass
    else
        fail "$1" "$2"
        diff -u "$3" "$4" | sed -n '1,40p'
    fi
}

# golden NAME EXPECTED ACTUAL: the same against a file that UPDATE=1 rewrites.
golden() {
    if [ "${UPDATE:-0}" = 1 ]; then
        cp "$3" "$2"
    fi
    if [ -f "$2" ]; then
        same "$1" "differs from $2" "$2" "$3"
    else
        fail "$1" "$2 is missing (UPDATE=1 writes it)"
    fi
}

# reprint IN OUT TARGET: IN as bnc reads and prints it. The generic target has the kernels of the
# committed texts; stages of a model name those of this machine.
reprint() {
    "$BNC" opt --quiet --passes= "$1" "--target=$3" >"$2" 2>"$tmp/log"
}

# stable NAME FILE TARGET: FILE, printed by bnc, reads back to itself.
stable() {
    if reprint "$2" "$tmp/p1.tir" "$3"; then
        same "$1" "prints differently when read back" "$2" "$tmp/p1.tir"
    else
        fail "$1" "does not read back"
        cat "$tmp/log"
    fi
}

# ---- passes ----

for t in tests/passes/*.tir; do
    wanted "$t" || continue
    args=$(sed -n '1s/^# RUN: //p' "$t")
    if [ -z "$args" ]; then
        fail "$t" "its first line is not '# RUN: arguments'"
        continue
    fi
    # shellcheck disable=SC2086
    "$BNC" $args --quiet "$t" >"$tmp/out" 2>"$tmp/log"
    status=$?
    if [ $status -ne 0 ]; then
        fail "$t" "exit status $status"
        cat "$tmp/log"
    else
        golden "$t" "${t%.tir}.out" "$tmp/out"
    fi
done

# ---- errors ----

# refused NAME STATUS ERR: exit status 1, the expected messages, nothing written.
refused() {
    sed "s|$root/||g" "$tmp/log" >"$tmp/err"
    if [ "$2" -ne 1 ]; then
        fail "$1" "exit status $2, not 1"
        cat "$tmp/err"
    elif [ -n "$(ls -A "$tmp/made")" ]; then
        fail "$1" "left behind: $(ls -A "$tmp/made")"
    else
        golden "$1" "$3" "$tmp/err"
    fi
    rm -rf "$tmp/made"
}

for t in tests/errors/*.tir; do
    wanted "$t" || continue
    mkdir "$tmp/made"
    args=$(sed -n '1s/^# RUN: //p' "$t")
    # shellcheck disable=SC2086
    "$BNC" ${args:-opt --passes= --target=generic} "$t" -o "$tmp/made/out" >/dev/null 2>"$tmp/log"
    refused "$t" $? "${t%.tir}.err"
done
for t in tests/errors/*.cmd; do
    wanted "$t" || continue
    mkdir "$tmp/made"
    (cd "$tmp/made" && MODEL=$root/$MODEL sh "$root/$t" >/dev/null 2>"$tmp/log")
    refused "$t" $? "${t%.cmd}.err"
done

# ---- what is printed reads back ----

for t in compiler/frontend/arch/*.tir; do
    wanted "reprint $t" || continue
    if reprint "$t" "$tmp/p0.tir" generic; then
        stable "reprint $t" "$tmp/p0.tir" generic
    else
        fail "reprint $t" "does not read"
        cat "$tmp/log"
    fi
done
for t in tests/passes/*.out; do
    wanted "reprint $t" || continue
    cp "$t" "$tmp/p0.tir"
    target=$(sed -n '1s/.*--target=\([^ ]*\).*/\1/p' "${t%.out}.tir")
    stable "reprint $t" "$tmp/p0.tir" "${target:-generic}"
done

# stages GGUF DIR: the text after each pass, in DIR/N-PASS.tir; the compiled files in DIR too.
stages() {
    mkdir -p "$2"
    "$BNC" --quiet "$1" --print-after=all -o "$2/x.c" >"$2/all" 2>"$tmp/log" || return 1
    awk -v dir="$2" '
        /^# after / { out = sprintf("%s/%d-%s.tir", dir, ++n, $3); next }
        { print >out }' "$2/all"
}

for g in "$MODEL" ../shared/models/*.gguf; do
    case $g in
    *vocab-*) continue ;; # a tokenizer without tensors
    ../*-27m-i2_s.* | ../*-27m-f16.*) continue ;; # the graph and formats of smaller ones
    *"*"*)
        skip reprint "there is no ../shared/models: the other model files are not tested"
        continue
        ;;
    esac
    wanted "stages $g" || { wanted resume && [ "$g" = "$MODEL" ]; } || continue
    dir=$tmp/stages/$(basename "$g" .gguf)
    if [ "$g" != "$MODEL" ] && [ -d "$dir" ]; then
        dir=$dir-shared
    fi
    if ! stages "$g" "$dir"; then
        fail "stages $g" "does not compile"
        cat "$tmp/log"
        continue
    fi
    for t in "$dir"/*.tir; do
        stable "reprint $g after $(basename "$t" .tir)" "$t" native
    done
done

# ---- a compilation resumed from any stage ----

direct=$tmp/stages/$(basename "$MODEL" .gguf)
for t in "$direct"/*.tir; do
    wanted "resume after $t" || continue
    name="resume after $(basename "$t" .tir)"
    rm -rf "$tmp/again"
    mkdir "$tmp/again"
    if "$BNC" --quiet "$t" -o "$tmp/again/x.c" >/dev/null 2>"$tmp/log"; then
        grep -v '^ \* flags' "$direct/x.c" >"$tmp/direct.c"
        grep -v '^ \* flags' "$tmp/again/x.c" >"$tmp/again.c"
        same "$name" "x.c differs" "$tmp/direct.c" "$tmp/again.c"
        same "$name" "x.bnw differs" "$direct/x.bnw" "$tmp/again/x.bnw"
    else
        fail "$name" "does not compile"
        cat "$tmp/log"
    fi
done

# ---- texts of a megabyte: told apart from models before anything takes long ----

# The limit is of processor time, far above what a slow machine takes.
# swollen NAME MESSAGE: the text at $tmp/big.tir in place of a graph ends with MESSAGE ("": compiles).
swollen() {
    (ulimit -t 120; "$BNC" "$MODEL" --quiet --arch="$tmp/big.tir" -o "$tmp/big.c") >"$tmp/log" 2>&1
    status=$?
    if [ -z "$2" ] && [ $status -eq 0 ]; then
        pass
    elif [ -n "$2" ] && [ $status -eq 1 ] && grep -qF -- "$2" "$tmp/log"; then
        pass
    else
        fail "a text of many $1" "exit status $status"
        head -n 5 "$tmp/log"
    fi
}
graph=compiler/frontend/arch/bitnet-b1.58.tir
lines() { # lines N BEFORE FORMAT: the graph with N lines before the one that BEFORE matches
    awk -v n="$1" -v before="$2" -v format="$3\n" '
        $0 ~ before && !done { for (i = 0; i < n; i++) printf format, i, i + 1; done = 1 }
        { print }' $graph >"$tmp/big.tir"
}
lines 450 '^weight' 'dim A%d = A%d'
sed 's/^dim A449 = .*/dim A449 = 3/' "$tmp/big.tir" >"$tmp/big" && mv "$tmp/big" "$tmp/big.tir"
swollen "dims in a chain" ""
lines 20000 '^weight' 'dim A%d = A%d'
swollen "dims" "more than 512 dims and consts"
lines 4000 '^state' 'weight @w%d : f32<D> = "output_norm.weight"'
swollen "weights of the same bytes" ""
lines 20000 '^state' 'weight @w%d : f32<D> = "output_norm.weight"'
swollen "weights" "more than 4096 weights and states"
lines 20000 '^weight' 'expect "k%d" = 3'
swollen "keys" "more than 4096 keys that are expected or ignored"
awk '/yield/ { print "%w0 = add %h2, %h2 : f32<T x D>"
               for (i = 0; i < n; i++) printf "%%w%d = add %%w%d, %%w%d : f32<T x D>\n", i + 1, i, i
               print "yield %w" n; next } { print }' n=8000 $graph >"$tmp/big.tir"
swollen "ops in a chain" ""
awk '/yield/ { for (i = 0; i < 20000; i++) printf "%%w%d = add %%h2, %%h2 : f32<T x D>\n", i } { print }' \
    $graph >"$tmp/big.tir"
swollen "ops" "more than 8192 ops"
awk '/eps = EPS/ && !done { for (i = 0; i < 60000; i++) printf "%sa%d = 1", i ? ", " : "%w = rmsnorm %h, @attn_norm {", i
                            print "} : f32<T x D>"; done = 1 } { print }' $graph >"$tmp/big.tir"
swollen "attributes" "more than 64 attributes"
awk 'BEGIN { for (i = 0; i < 30000; i++) print "layout", i + 1 "x64 q2r4" }' >"$tmp/big.tune"
"$BNC" "$MODEL" --quiet --tune="$tmp/big.tune" -o "$tmp/big.c" >"$tmp/log" 2>&1
if grep -q "more than 4096 choices" "$tmp/log"; then pass; else fail "a record of many choices" "$(cat "$tmp/log")"; fi

# ---- synthetic models ----

# synth FILE ARGUMENTS: a file of tales-4m's shape, one layer.
synth() {
    file=$1
    shift
    "$BNC" synth --quiet --shape=tales-4m --layers=1 "$@" -o "$file" 2>"$tmp/log" || {
        fail "synth $*" "exit status 1"
        cat "$tmp/log"
    }
}

# told FILE: how the model goes on, greedily, with kernels that every machine has.
told() {
    "$BNC" "$1" --emit=exe --quiet --target=generic -o "$tmp/synth.exe" 2>"$tmp/log" || cat "$tmp/log"
    "$tmp/synth.exe" -p "bade kilo" -n 8 --temp 0 -t 1 2>&1
}

synthetic() {
    synth "$tmp/s1.gguf"
    cksum <"$tmp/s1.gguf" >"$tmp/sum"
    golden "synth: the same bytes everywhere" tests/synth.sum "$tmp/sum"
    synth "$tmp/s2.gguf" --seed=2
    if cmp -s "$tmp/s1.gguf" "$tmp/s2.gguf"; then
        fail "synth --seed" "another seed writes the same bytes"
    else
        pass
    fi
    told "$tmp/s1.gguf" >"$tmp/told"
    if [ "$(wc -w <"$tmp/told")" -gt 4 ]; then
        pass
    else
        fail "synth: compiles and runs" "it says nothing"
        cat "$tmp/told"
    fi
    for type in tq1_0 tq2_0 f16; do
        synth "$tmp/s.gguf" --type=$type
        told "$tmp/s.gguf" >"$tmp/told.$type"
        same "synth --type=$type" "says something else than i2_s" "$tmp/told" "$tmp/told.$type"
    done
    for shape in large falcon3-1b; do # the other two graphs
        if "$BNC" synth --quiet --shape=$shape --layers=1 -o "$tmp/s.gguf" &&
            "$BNC" "$tmp/s.gguf" --quiet --emit=ir -o "$tmp/s.tir"; then
            pass
        else
            fail "synth --shape=$shape" "does not compile"
        fi
    done
}
! wanted synth || synthetic
rm -f "$tmp/s.gguf"

if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
