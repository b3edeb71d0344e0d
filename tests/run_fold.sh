#!/bin/sh
# run_fold.sh BNC: a model whose projections have factors (made by build/retype of one that has none)
# computes what that one does, with the pass fold and without, from the file and from the text of every
# stage. The last line is `N passed, M failed`.
set -u
LC_ALL=C
export LC_ALL
bnc=${1:?usage: run_fold.sh BNC}
retype=build/retype
dir=build/fold
plain=examples/models/fables-27m-i2_s.gguf
with=quant,canon,fold,fuse,specialize,lm_head,select,pack,plan
without=quant,canon,fuse,specialize,lm_head,select,pack,plan
cd "$(dirname "$0")/.." || exit 2
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

prompt="Once upon a time there was a king"
# program FILE NAME OPTION...: compiles FILE; greedy text in NAME.text, logits in NAME.logits
program() {
    file=$1
    out=$dir/$2
    shift 2
    check "compile $file $*" "$bnc" "$file" --emit=exe --kv=f32 --quiet "$@" -o "$out"
    "$out" -p "Once upon a time" -n 60 --temp 0 >"$out.text"
    "$out" -p "$prompt" --logits >"$out.logits"
    check "run $out" test -s "$out.logits"
}
# near NAME NAME BOUND: the largest difference of two logits
near() {
    is=$(paste -d' ' "$dir/$1.logits" "$dir/$2.logits" | awk '{
        h = NF / 2
        for (i = 1; i <= h; i++) { d = $i - $(i + h); d = d < 0 ? -d : d; if (d > m) m = d; n++ }
    } END { print n ? m + 0 : "none" }')
    echo "$1 against $2: logits differ by at most $is (bound $3)"
    check "$1 is near $2: $is" awk "BEGIN { exit !(\"$is\" != \"none\" && $is <= $3) }"
}

# ---- same: the same model ----
check "factors" $retype --factors $plain $dir/f.gguf
program $plain plain
program $dir/f.gguf folded --passes=$with
program $dir/f.gguf steps --passes=$without
for m in folded steps; do
    check "$m: greedy text" cmp $dir/plain.text $dir/$m.text
    near $m plain 0.0001
done
check "the factors are looked at" sh -c "! cmp -s $dir/folded.logits $dir/plain.logits"

# ---- pass after same: what the pass does ----
"$bnc" $dir/f.gguf --target=x86-64-v3 --stats --quiet -o $dir/m.c >$dir/stats
"$bnc" $plain --target=x86-64-v3 --stats --quiet -o $dir/p.c >$dir/stats.plain
check "seven factors" grep -q '^fold  *7 factors folded into scales' $dir/stats
check "then it is fused as the plain model is" \
    sh -c "grep '^fuse' $dir/stats >$dir/a; grep '^fuse' $dir/stats.plain | cmp $dir/a -"

# ---- stages after same: every stage ----
"$bnc" $dir/f.gguf --target=x86-64-v3 --quiet --save-temps=$dir/stages -o $dir/m.c
cp $dir/m.c $dir/direct.c
cp $dir/m.bnw $dir/direct.bnw
check "the factor stands in the text" \
    grep -q '@attn_q .*{times = "blk.{i}.attn_q.scale"' $dir/stages/*-fold.tir
for t in $dir/stages/*.tir; do
    check "compile $t" "$bnc" "$t" --target=x86-64-v3 --quiet -o $dir/m.c
    check "C from $t" cmp $dir/m.c $dir/direct.c
    check "weights from $t" cmp $dir/m.bnw $dir/direct.bnw
done
sed 's/attn_q\.scale/attn_q.skale/' $dir/stages/*-fuse.tir >$dir/wrong.tir
refused "a factor that the file lacks" "the model has no tensor blk.0.attn_q.skale of one number" \
    "$bnc" $dir/wrong.tir --target=x86-64-v3 -o $dir/wrong.c
sed 's/blk\.{i}\.attn_q\.scale/output_norm.weight/' $dir/stages/*-fuse.tir >$dir/wrong.tir
refused "a factor of many numbers" "the model has no tensor output_norm.weight of one number" \
    "$bnc" $dir/wrong.tir --target=x86-64-v3 -o $dir/wrong.c
sed 's/@token_embd : f16\(.*\)$/@token_embd : f16\1 {times = "blk.0.attn_q.scale"}/' \
    $dir/stages/*-fuse.tir >$dir/wrong.tir
refused "a factor of floats" "only the tensors of a ternary matrix have a factor" \
    "$bnc" $dir/wrong.tir --target=x86-64-v3 -o $dir/wrong.c
refused "a factor of what is not ternary" "@attn_q has a factor (times), so it must be ternary" \
    "$bnc" opt --passes=quant --ternary=never $dir/stages/*-fold.tir

# ---- mixed after same: layers of one kind and of another: a part of the layers keeps its factors ----
check "a float product in one layer" $retype $dir/f.gguf $dir/mixed.gguf q8_0 blk.3.ffn_down.weight
# The last bit of a sum can turn one int8 code of an activation, which moves logits by 0.05. The bits of plain C
# are the same everywhere; in these four tokens it turns none.
prompt="Once upon a time"
program $dir/mixed.gguf mixed --passes=$with --target=generic
program $dir/mixed.gguf mixed-steps --passes=$without --target=generic
near mixed mixed-steps 0.0001
"$bnc" opt --passes=quant,canon,fold --stats --quiet $dir/mixed.gguf -o $dir/mixed.tir 2>$dir/stats
check "six or seven factors in each of three parts" \
    grep -q '^fold  *20 factors folded into scales' $dir/stats
check "from layer 4 on" \
    grep -q '@ffn_down_3 \[4 from 4\] : tern<.*{times = "blk.{i}.ffn_down.scale"}' $dir/mixed.tir

# ---- end ----
finish
