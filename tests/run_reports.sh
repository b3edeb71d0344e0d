#!/bin/sh
# run_reports.sh BNC: what the compiler tells of its passes: --stats, --remarks, --print-changed,
# --print-before, --save-temps, --stop-after, --time-passes, and all of it as JSON. Expected texts stand
# in tests/reports; UPDATE=1 rewrites them. The last line is `N passed, M failed`.
set -u
LC_ALL=C
export LC_ALL
bnc=${1:?usage: run_reports.sh BNC}
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
model=examples/models/fables-27m-i2_s.gguf
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
cd "$(dirname "$0")/.." || exit 2
dir=$tmp
. tests/lib.sh
cases 1 "$@"

golden() { # golden NAME FILE: FILE is tests/reports/NAME
    [ "${UPDATE:-0}" = 0 ] || cp "$2" "tests/reports/$1"
    check "$1" diff -u "tests/reports/$1" "$2"
}
compile() { "$bnc" "$model" --target=x86-64-v3 --quiet "$@" -o "$tmp/m.c"; }

# ---- texts: texts ----
compile --stats >"$tmp/out" && golden stats "$tmp/out"
"$bnc" opt --passes=fuse --print-changed tests/passes/fuse-glu.tir 2>"$tmp/out" >"$tmp/text"
golden changed "$tmp/out"
"$bnc" opt --passes=fuse --remarks tests/passes/fuse-glu-not.tir >"$tmp/text" 2>"$tmp/out"
golden remarks "$tmp/out"
for t in fold-not fold select-formats; do # each pass says what it left undone, and where
    case $t in fold-not) run=fold ;; fold) run=specialize,lm_head ;; *) run=select ;; esac
    "$bnc" opt --target=arm64 --passes=$run --remarks "tests/passes/$t.tir" 2>"$tmp/out" >"$tmp/text2"
    golden "remarks-${run#*,}" "$tmp/out"
done
"$bnc" opt --passes=quant --ternary=never --remarks --quiet "$model" 2>"$tmp/out" >"$tmp/text2"
golden remarks-quant "$tmp/out"
check "remarks leave the module as it is" diff tests/passes/fuse-glu-not.out "$tmp/text"
compile --time-passes | sed 's/[0-9][0-9.]*/N/g; s/  */ /g' >"$tmp/out" && golden times "$tmp/out"

# ---- stages: before and after: what one pass leaves, the next one finds ----
compile --print-after=fuse | sed 1d >"$tmp/after"
compile --print-before=specialize | sed 1d >"$tmp/before"
check "before specialize is after fuse" cmp "$tmp/after" "$tmp/before"
check "and is not empty" test -s "$tmp/after"
"$bnc" "$model" --emit=ir --stop-after=fuse --quiet -o "$tmp/stopped.tir"
check "--stop-after leaves what --print-after shows" cmp "$tmp/after" "$tmp/stopped.tir"

# ---- resume: every stage in a file; from each the compilation goes on to the same bytes ----
compile && cp "$tmp/m.c" "$tmp/direct.c" && cp "$tmp/m.bnw" "$tmp/direct.bnw"
compile --save-temps="$tmp/stages" --time-passes --stats >"$tmp/log"
check "telling changes nothing" cmp "$tmp/m.c" "$tmp/direct.c"
check "a stage a pass, and the input" \
    test "$(ls "$tmp/stages" | wc -l)" = $(($(grep -c "^PASS(" compiler/passes/passes.def) + 1))
for t in "$tmp"/stages/*.tir; do
    "$bnc" "$t" --target=x86-64-v3 --quiet -o "$tmp/m.c" >"$tmp/log" 2>&1
    check "C from $(basename "$t")" cmp "$tmp/m.c" "$tmp/direct.c"
    check "weights from $(basename "$t")" cmp "$tmp/m.bnw" "$tmp/direct.bnw"
done

# ---- diff after resume: two modules ----
sed 's/%a\([^a-z0-9]\)/%other\1/g; s/  */ /g; 3s/^/# a comment\n/' tests/passes/fuse-glu.tir >"$tmp/renamed.tir"
check "names of values are no difference" "$bnc" diff tests/passes/fuse-glu.tir "$tmp/renamed.tir"
sed 's/silu/relu2/' tests/passes/fuse-glu.tir >"$tmp/other.tir"
"$bnc" diff tests/passes/fuse-glu.tir "$tmp/other.tir" | sed '1,2d' >"$tmp/out"
golden diff "$tmp/out"
check "lower gives what the pipeline gives" sh -c "'$bnc' lower '$tmp/stages/00-input.tir' --target=x86-64-v3 \
    --quiet | cmp - $tmp/stages/*-plan.tir"

# ---- json: JSON ----
check "build json_get" cc -O1 tests/e2e/json_get.c -ljansson -o "$tmp/json_get"
"$bnc" opt --passes=quant --ternary=never --remarks --json --quiet "$model" 2>"$tmp/json" >"$tmp/text2"
check "remarks as JSON" sh -c "'$tmp/json_get' stages <'$tmp/json' | grep -q \
    '\"line\":26,\"column\":8,\"file\":\"arch/bitnet-b1.58.tir\",\"text\":\"blk.0.attn_q.weight to blk.7'"
compile --json --time-passes --stats --remarks --print-after=all --print-changed >"$tmp/json"
check "one JSON text" "$tmp/json_get" stages <"$tmp/json"
for key in '"name":"plan"' '"wall_ms":' '"counts":{"norms fused with their quantization":4' \
    '"ops":\[' '"weight_bytes":\[' '"after":"arch ' '"changed":"'; do
    check "JSON has $key" sh -c "'$tmp/json_get' stages <'$tmp/json' | grep -q '$key'"
done

# ---- end ----
finish
