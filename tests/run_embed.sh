#!/bin/sh
# `bnc embed` from the command line: run_embed.sh BNC. Whether vectors are right is tested by
# tests/e2e/test_golden.c; here, that they get through, and what is refused.
bnc=$1
models=tests/arch-models
dir=build/embed
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"

refused() { # refused TEXT LINES OPTION...: status 1 and that message
    printf "$2" >$dir/in
    text=$1
    shift 2
    "$bnc" embed $models/qwen3-norm-in-i2_s.gguf --quiet "$@" <$dir/in >$dir/out 2>$dir/err
    check "refused: $text" test $? = 1
    check "said: $text" grep -qF -- "$text" $dir/err || cat $dir/err
}

# ---- golden: vectors ----
# The golden's texts, pooled as it says, one a line: as near as --kv=f32 and 7 digits let them be.
for model in qwen3-norm-in gemma3; do
    for how in last mean cls; do
        for i in 0 1 2; do
            jq -r ".embeddings[$i].text" $models/$model.json
        done >$dir/texts
        "$bnc" embed $models/$model-i2_s.gguf --kv=f32 --quiet --pooling=$how <$dir/texts >$dir/vectors
        check "$model, $how: a line for each text" test "$(wc -l <$dir/vectors)" = 3
        jq -r ".embeddings[].$how | map(tostring) | join(\" \")" $models/$model.json >$dir/want
        check "$model, $how: the golden's vectors" awk '
            NR == FNR { for (i = 1; i <= NF; i++) want[FNR, i] = $i; next }
            { for (i = 1; i <= NF; i++) off += ($i - want[FNR, i]) ^ 2 }
            END { print "off by " sqrt(off); exit !(FNR == 3 && off < 0.0009) }' $dir/want $dir/vectors
    done
done

# ---- json: JSON, no text, defaults ----
printf 'one text\nand another\na third\n' >$dir/texts
"$bnc" embed $models/qwen3-norm-in-i2_s.gguf --quiet --json -t 2 <$dir/texts >$dir/json
check "JSON" jq -e '.pooling == "last" and .width == 128 and (.texts | length) == 3 and
    all(.texts[]; .tokens > 0 and (.embedding | length) == 128)' $dir/json
check "no text, no vector" sh -c "'$bnc' embed $models/qwen3-norm-in-i2_s.gguf --quiet </dev/null | cmp - /dev/null"
check "a file that says nothing of pooling takes the last token" sh -c "
    '$bnc' embed $models/qwen3-i2_s.gguf --quiet --json <$dir/texts | jq -e '.pooling == \"last\"'"

# ---- mistakes: what is refused ----
refused "the context 2: raise it with --ctx" 'a long enough text\n' --ctx=2
refused "--pooling is last, mean or cls, not 'max'" 'a\n' --pooling=max
refused "unknown option '--wide'" 'a\n' --wide

# ---- end ----
finish
