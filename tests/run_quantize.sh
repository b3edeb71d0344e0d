#!/bin/sh
# `bnc quantize` as a user sees it: run_quantize.sh BNC. Reports, losses that agree with bnc ppl, formats
# chosen by measured loss.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/quantize
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"

get() { # get FILE KEY...: a value of a JSON file
    file=$1
    shift
    $dir/json_get "$@" <"$file"
}

# Programs that measure are compiled at -O1 here: most of the time would be the C compiler's.
real=${CC:-cc}
printf '#!/bin/sh\nexec %s "$@" -O1\n' "$real" >$dir/cc
chmod +x $dir/cc
check "build json_get" $real -O1 tests/e2e/json_get.c -ljansson -o $dir/json_get
CC=$PWD/$dir/cc
export CC
cat >$dir/text <<'T'
Once upon a time there was a king who had three daughters, and the youngest of them was so fair that
the sun himself, who had seen so much, wondered each time he shone upon her face. Near the castle lay
a great dark forest, and in the forest, under an old lime tree, was a well. When the day was warm the
child went out into the wood and sat down by the side of the cool water; and when she was tired she
took a golden ball, and threw it up on high and caught it, and this ball was her dearest plaything.
T

# ---- containers: containers: the same codes, so the same codes again ----
for type in tq1_0 tq2_0; do
    check "i2_s to $type" "$bnc" quantize $model --type=$type -o $dir/$type.gguf
    check "$type back" "$bnc" quantize $dir/$type.gguf --type=i2_s -o $dir/i2_s.gguf
    check "$type once more" "$bnc" quantize $dir/i2_s.gguf --type=$type -o $dir/again.gguf
    check "$type: round trip" cmp $dir/$type.gguf $dir/again.gguf
    check "$type: good file" "$bnc" inspect $dir/$type.gguf --json
done
check "the same again" "$bnc" quantize $model --type=tq2_0 --quiet -o $dir/again.gguf
check "the same bytes" cmp $dir/tq2_0.gguf $dir/again.gguf

# ---- report: the report, and losses as bnc ppl finds them ----
"$bnc" quantize $model --type=tq2_0 --embed=q8_0 --text=$dir/text --json --quiet -o $dir/small.gguf >$dir/report.json
check "report" test $? = 0
near "file bytes" "$(get $dir/report.json file_bytes)" "$(wc -c <$dir/small.gguf)" 0
near "embedding q8_0: error" "$(get $dir/report.json tensors 0 relative_error)" 0.006 0.002
near "entropy of codes" "$(get $dir/report.json tensors 2 entropy_bits)" 1.58 0.02
for which in before after; do
    case $which in before) file=$model ;; after) file=$dir/small.gguf ;; esac
    "$bnc" ppl $file $dir/text --stride=511 --json --quiet >$dir/ppl.json
    near "$which: nats a token" "$(get $dir/report.json $which nll)" "$(get $dir/ppl.json nll)" 0.00001
done
near "q8_0 and f16 scales lose little" "$(get $dir/report.json loss)" 0 0.02

# ---- auto: formats by measured loss ----
"$bnc" quantize $model --auto --budget=8600000 --formats=q8_0,q4_0 --keep='blk.*=tq2_0' --text=$dir/text \
    --json --quiet -o $dir/auto.gguf >$dir/auto.json
check "auto within a budget" test "$(wc -c <$dir/auto.gguf)" -le 8600000
near "its measured loss" "$(get $dir/auto.json auto measured)" "$(get $dir/auto.json loss)" 0
"$bnc" quantize $model --type=tq2_0 --embed="$(get $dir/auto.json tensors 0 to)" --quiet -o $dir/again.gguf
check "as by hand" cmp $dir/auto.gguf $dir/again.gguf
refused "a budget out of reach" "the smallest file that" "$bnc" quantize $model --auto --budget=1k \
    --formats=q8_0 --keep='blk.*=tq2_0' --text=$dir/text -o $dir/x.gguf
refused "a ternary output matrix" "embedding and output matrix are never ternary" "$bnc" quantize $model --head=tq1_0 -o $dir/x.gguf
refused "no model" "cannot open" "$bnc" quantize $dir/none.gguf -o $dir/x.gguf
check "no file left of a failed run" test ! -e $dir/x.gguf

# ---- end ----
finish
