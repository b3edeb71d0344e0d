#!/bin/sh
# What one runs before shipping a model: run_quality.sh BNC. bnc ppl and compare against golden NLL and
# against themselves.
bnc=$1
shared=${BN_SHARED:-../shared}
model=examples/models/tales-27m-i2_s.gguf
dir=build/quality
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir
export XDG_CACHE_HOME
passed=0
failed=0
skipped=0

check() { # check NAME COMMAND...: the command must succeed
    title=$1
    shift
    if "$@" >$dir/log 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $title"
        tail -n 15 $dir/log
    fi
}
refused() { # refused NAME TEXT COMMAND...: fails with a message that holds TEXT
    title=$1
    text=$2
    shift 2
    "$@" >$dir/said 2>&1
    check "$title" test $? = 1
    check "$title says '$text'" grep -qF -- "$text" $dir/said
}
near() { # near NAME A B MOST: |A - B| <= MOST, all of them numbers
    check "$1: $2 and $3 within $4" awk -v a="$2" -v b="$3" -v most="$4" \
        'BEGIN {exit !(a + 0 == a && b + 0 == b && a - b <= most && b - a <= most)}'
}
get() { # get FILE KEY...: a value of a JSON file
    file=$1
    shift
    $dir/json_get "$@" <"$file"
}
ppl() { # ppl MODEL TEXT OPTION...: $nll and $n, in $dir/ppl.json
    "$bnc" ppl "$@" --json --quiet >$dir/ppl.json
    nll=$(get $dir/ppl.json nll)
    n=$(get $dir/ppl.json tokens)
}

check "build json_get" cc -O1 tests/e2e/json_get.c -ljansson -o $dir/json_get

# ---- windows: every token once, in the context that the definition gives it ----
line1="The king had three daughters, and the youngest of them was fair."
line2="One day she went down to the sea, where the boats lay in the sun."
line3="There she met an old man."
echo "$line1" >$dir/1
echo "$line2" >$dir/2
echo "$line3" >$dir/3
cat $dir/1 $dir/2 >$dir/12
cat $dir/2 $dir/3 >$dir/23
cat $dir/1 $dir/2 $dir/3 >$dir/123
ppl $model $dir/1 && t1=$n
ppl $model $dir/2 && t2=$n && nll2=$nll
ppl $model $dir/12 && t12=$n && nll12=$nll
ppl $model $dir/23 && t23=$n && nll23=$nll
check "lines are cut into tokens alone" test "$t12" = $((t1 + t2))
check "the third line fits behind the second" test "$t23" -le "$t12"
ctx=$((t12 + 1)) # the lengths of two windows: each is a model to compile
ppl $model $dir/123 --ctx=$ctx --stride="$t1"
check "each token counts once" test "$n" = $((t1 + t23))
want=$(awk "BEGIN {printf \"%.9f\", ($nll12 * $t12 + $nll23 * $t23 - $nll2 * $t2) / $n}")
near "two windows are what the definition says" "$nll" "$want" 1e-6
cat $dir/12 $dir/12 >$dir/1212
ppl $model $dir/1212 --ctx=$ctx --stride="$t12" -t1
near "pieces of a text read apart" "$nll" "$nll12" 1e-9
seq 1 60 >$dir/seq
ppl $model $dir/seq && seq=$n
for stride in 1 7 "$t12"; do
    ppl $model $dir/seq --ctx=$ctx --stride="$stride"
    check "each token counts once at stride $stride" test "$n" = "$seq"
done

# ---- comparing ----
"$bnc" compare $model $model --text=$dir/123 --json --quiet >$dir/same.json
check "a model equals itself: status" test $? = 0
check "a model equals itself: KL" test "$(get $dir/same.json kl)" = 0
check "a model equals itself: top-1" test "$(get $dir/same.json top1_agreement)" = 1.0
ppl $model $dir/123
check "compare and ppl agree" test "$(get $dir/same.json nll_b)" = "$nll"
"$bnc" compare $model $model --text=$dir/123 --max-kl=0 --quiet >$dir/said
check "no KL is not above 0" test $? = 0

# ---- mistakes ----
: >$dir/empty
refused "an empty text" "has 0 tokens: too few" "$bnc" ppl $model $dir/empty --quiet
refused "no text" "a model and a text are needed" "$bnc" ppl $model
refused "a stride beyond the window" "--stride goes to $t12, the text tokens of a window, not $ctx" \
    "$bnc" ppl $model $dir/seq --ctx=$ctx --stride=$ctx --quiet
refused "-t of ppl" "-t wants 1 to 256 threads, not 'many'" "$bnc" ppl $model $dir/seq -t many
refused "an unknown option of ppl" "'--max-kl=1' is unknown here" "$bnc" ppl $model $dir/seq --max-kl=1
refused "compare without a text" "two models and a text are needed" "$bnc" compare $model $model
refused "--max-kl" "--max-kl wants a number from 0 on, not 'nan'" \
    "$bnc" compare $model $model --text=$dir/seq --max-kl=nan
refused "the compiler's own message" "there is no target 'vax'" "$bnc" ppl $model $dir/seq --target=vax

# ---- golden excerpts ----
if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
    for m in tales-4m tales-27m; do
        sum=0
        for i in 0 1; do
            printf '%s' "$(get "$shared/golden/$m.json" nll $i text)" >$dir/excerpt
            ppl "$shared/models/$m-i2_s.gguf" $dir/excerpt
            check "$m: excerpt $i has 255 tokens" test "$n" = 255
            want=$(get "$shared/golden/$m.json" nll $i mean)
            near "$m: mean NLL of excerpt $i" "$nll" "$want" 0.005
            sum=$(awk "BEGIN {print $sum + ($nll - $want) / 2}")
        done
        near "$m: mean NLL of both excerpts" "$sum" 0 0.003
    done
    a=$shared/models/tales-4m-i2_s.gguf
    "$bnc" compare "$a" "$shared/models/tales-4m-f16.gguf" --text=$dir/excerpt --json --quiet \
        --max-kl=0.01 >$dir/near.json
    check "ternary masters: below --max-kl" test $? = 0
    near "ternary masters: KL" "$(get $dir/near.json kl)" 0 0.001
    "$bnc" compare "$a" "$shared/models/tales-27m-i2_s.gguf" --text=$dir/excerpt --json --quiet \
        --max-kl=0.01 >$dir/far.json
    check "another model: status 2 above --max-kl" test $? = 2
    check "another model: says so" test "$(get $dir/far.json above_max_kl)" = true
    ppl "$a" $dir/excerpt
    near "another model: its perplexity" "$(get $dir/far.json nll_a)" "$nll" 1e-9
    near "another model: the difference" "$(get $dir/far.json nll_difference)" \
        "$(awk "BEGIN {print $(get $dir/far.json nll_b) - $nll}")" 1e-5
    refused "another vocabulary" "only models of one vocabulary can be compared" "$bnc" compare "$a" \
        "$shared/models/synth-odd-llama-i2_s.gguf" --text=$dir/excerpt --quiet
else
    echo "skipped: golden excerpts: no models and goldens in $shared"
    skipped=$((skipped + 1))
fi

echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
[ $failed = 0 ]
