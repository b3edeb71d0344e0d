#!/bin/sh
# Times from inside and outside: run_profile.sh BNC. That --profile leaves no trace where it is not
# asked for and changes no result where it is; that the sums of `bnc profile` hold in every form of its
# output; that `bnc bench` measures what it is asked for and tells slower from faster.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/profile
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"

holds() { # holds NAME FILE JQ: the filter's last output is true
    check "$1" jq -e "$3" "$2"
}
lacks() { # lacks NAME FILE TEXT: a file of text, not empty, without it
    check "$1: there is something" test -s "$2"
    check "$1: $3 is not in it" sh -c "! grep -qi -- '$3' '$2'"
}

# Most of the time here is the C compiler's: what is not timed is plain C, not optimized at all.
sed 's/-O1/-O0/' tests/quick-cc.sh >$dir/cc
chmod +x $dir/cc
unoptimized=$PWD/$dir/cc
case $(uname -m) in
x86_64) target=x86-64 ticks=rdtsc ;;
aarch64) target=native ticks=cntvct_el0 ;;
*) target=native ticks= ;;
esac

# ---- build: what a build holds ----
"$bnc" $model --quiet --emit=c -o $dir/plain.c
"$bnc" $model --quiet --emit=c --profile -o $dir/timed.c
lacks "C without --profile" $dir/plain.c 'profile\|bn_interval\|bn_start\|bn_probe'
check "C with --profile has an interval a call and barrier" sh -c \
    "[ \$(grep -c '^    bn_interval(c' $dir/timed.c) -ge \$(grep -c '^    bn_barrier(c' $dir/timed.c) ] && \
     grep -q '^    bn_interval(c, intervals, i + ' $dir/timed.c"
sed '/^    bn_interval(c, /d; /^    bn_start(c, /d' $dir/timed.c >$dir/stripped.c
# Forms that share a block's function without intervals have one each with them: lines, each once.
body() { sed -n '/^static void decode(/,/^}/p' "$1"; }
check "intervals are all that changes" sh -c "[ -n \"\$1\" ] && [ \"\$1\" = \"\$2\" ]" - "$(body $dir/plain.c)" "$(body $dir/stripped.c)"
check "clean for clang" clang -std=c11 -Wall -Wextra -Werror -Iruntime-min -fsyntax-only $dir/timed.c
check "C++, too" g++ -std=c++17 -x c++ -Iruntime-min -fsyntax-only $dir/timed.c
check "the header names the table" grep -q '^extern .*const struct bn_profile timed_profile;' $dir/timed.h
lacks "header without" $dir/plain.h profile
check "build without" env CC="$unoptimized" "$bnc" $model --target=$target --quiet --emit=exe -o $dir/plain
check "build with" env CC="$unoptimized" "$bnc" $model --target=$target --quiet --emit=exe --profile -o $dir/timed
nm $dir/plain >$dir/plain.nm
nm $dir/timed >$dir/timed.nm
objdump -d $dir/plain >$dir/plain.asm
objdump -d $dir/timed >$dir/timed.asm
lacks "symbols" $dir/plain.nm 'profile\|interval\|bn_s\(ite\|tart\|tamp\|um\)\|probes'
check "symbols with --profile" grep -q ' bn_profile_log$' $dir/timed.nm
if [ -n "$ticks" ]; then
    lacks "instructions" $dir/plain.asm "$ticks"
    check "instructions with --profile" grep -qi "$ticks" $dir/timed.asm
else
    skipped=$((skipped + 1))
fi
logits() { "$1" -p "Once upon a time there was a king" --logits -t 2 | cksum; }
check "times change no logit" test "$(logits $dir/plain)" = "$(logits $dir/timed)"

# ---- profile: bnc profile ----
profile() { # profile OUT OPTION...
    out=$1
    shift
    "$bnc" profile $model --quiet -n 24 "$@" >$dir/"$out" 2>$dir/said
    check "profile $*" test $? = 0
}
near='def near($a; $b; $most): ($a - $b) | (if . < 0 then -. else . end) <= $most;'
for by in op layer kernel thread; do
    profile $by.json -t 2 --by=$by --json
    holds "by $by: shares sum to 1" $dir/$by.json \
        "$near [.phases[] | near([.rows[].share] | add; 1; 1e-6)] | length == 2 and all"
    holds "by $by: times sum to those of the threads" $dir/$by.json \
        "$near (if .by == \"thread\" then .threads else 1 end) as \$n |
         [.phases[] | near([.rows[].ms] | add; .ms * \$n; 1e-6 * .ms)] | all"
    holds "by $by: sorted" $dir/$by.json '[.phases[].rows | map(-.ms) | . == sort] | all'
done
holds "every product is called once a layer and token" $dir/op.json \
    '[.phases[1].rows[] | select(.name == "tmatmul_add @ffn_down") | .calls] == [8 * 24]'
# 24 tokens x 8 layers x 512 x 1536, twice for gate and up
holds "multiply-adds and bytes are those of the shape" $dir/op.json \
    '.phases[1].rows[] | select(.name == "tglu @ffn_gate") |
     (.gmacs_per_s * .ms * 1e6 / (24 * 8 * 2 * 512 * 1536) - 1 | fabs) < 1e-4 and
     (.bytes / (24 * 8 * 2 * 512 * 1536 / 5) - 1 | fabs) < 0.3'
holds "all layers are there" $dir/layer.json \
    '[.phases[1].rows[].name] | [range(8) as $i | any(. == "layer \($i)")] | all'
same() { jq "[.phases[] | [.rows[].bytes] | add | . / 1000 | round]" $dir/$1.json; }
check "bytes by layer are those by op" test "$(same op)" = "$(same layer)"
holds "outside of the model is little" $dir/op.json \
    '[.phases[1].rows[] | select(.name == "outside") | .share] | length == 1 and .[0] >= 0'
holds "counters are there or said why not" $dir/op.json \
    '[.phases[] | (.counters.cycles? > 0) or (.counters_missing | type == "string")] | all'

profile one.txt -t 1 --trace=$dir/trace.json --folded=$dir/stacks -p "Once there was a fox who"
check "the table ends with 100 %" sh -c "[ \$(grep -c '100.00 % .* all\$' $dir/one.txt) = 2 ]"
holds "the trace has a decode step" $dir/trace.json \
    '[.traceEvents[] | select(.ph == "X" and .name == "@decode")] | length == 1'
holds "its intervals lie inside, one behind the other" $dir/trace.json \
    '(.traceEvents | map(select(.name == "@decode"))[0]) as $d |
     [.traceEvents[] | select(.args.layer? != null and .ph == "X" and .ts >= $d.ts - 0.002)] |
     length > 8 * 10 and all(.[]; .ts + .dur <= $d.ts + $d.dur + 0.01) and
     ([.[].dur] | add - $d.dur | fabs) < 0.01 * $d.dur + 1'
check "stacks: frames, then nanoseconds" sh -c \
    "! grep -qvE '^thread 0;(prefill|decode)(;[^;]+)+ [0-9]+\$' $dir/stacks && test -s $dir/stacks"
check "stacks sum to the run" sh -c "
    all=\$(awk '{n += \$NF} END {print n / 1e6}' $dir/stacks)
    table=\$(awk '/100.00 % .* all\$/ {n += \$1} END {print n}' $dir/one.txt)
    awk -v a=\$all -v b=\$table 'BEGIN {exit !(a > 0 && (a - b) ^ 2 < (0.01 * b) ^ 2)}'"
profile none.json -n 0 --json
holds "-n 0: the prompt alone" $dir/none.json '[.phases[].name] == ["prefill"]'
# A window of 8 positions in 6 of 7 layers, 4 heads of 64: behind 27 tokens of prompt 8 more.
CC=$unoptimized "$bnc" profile tests/arch-models/gemma3-i2_s.gguf --target=$target --quiet --json -p "a b c d e f g h i j k l m n" -n 8 \
    >$dir/window.json 2>$dir/said
holds "windows and whole layers look at what they should" $dir/window.json \
    '[.phases[] | .tokens, (.rows[] | select(.name == "window_attention @k_cache") | .gmacs_per_s * .ms * 1e6)] |
     .[0] == 27 and (.[1] / (2 * 4 * 64 * (6 * (36 + 19 * 8) + 27 * 28 / 2)) - 1 | fabs) < 1e-4 and
     .[2] == 8 and (.[3] / (2 * 4 * 64 * (6 * 8 * 8 + (28 + 35) * 4)) - 1 | fabs) < 1e-4'
refused "--by" "--by is op, layer, kernel or thread" "$bnc" profile $model --by=color
refused "trace of nothing" "-n 0 asks for none" "$bnc" profile $model -n 0 --trace=$dir/x.json
refused "too long" "do not fit into a context of" "$bnc" profile $model -n 999999
check "no trace half written" test ! -e $dir/x.json

# ---- bench: bnc bench ----
bench() { # bench STATUS OPTION...
    want=$1
    shift
    "$bnc" bench $model --quiet --prompt=16 --at=8,99999 -n 4 --repeat=3 -t 1 "$@" >$dir/bench.out 2>$dir/said
    check "bench $*: status $want" test $? = "$want"
}
bench 0 --json --save=$dir/saved.json
check "--save keeps what --json prints" cmp $dir/bench.out $dir/saved.json
holds "its rows are those asked for, sizes cut to the context" $dir/saved.json \
    '[.rows[] | [.what, .threads, .size]] | length == 3 and .[0] == ["prompt", 1, 16] and
     .[1] == ["decode", 1, 8] and .[2][2] > 8 and .[2][2] < 99999'
holds "medians lie between least and most" $dir/saved.json \
    'all(.rows[]; 0 < .tokens_per_s_least and .tokens_per_s_least <= .tokens_per_s and .tokens_per_s <= .tokens_per_s_most)'
holds "load, first token, memory" $dir/saved.json \
    '.teams[0] | .open_ms > 0 and .first_token_ms > .open_ms and .peak_rss > 1e6 and has("joules")'
# What is slower depends on how restless the machine is: expected is what follows from the numbers told.
jq '.rows[] |= (.tokens_per_s /= 1e6)' $dir/saved.json >$dir/slow.json
jq '.rows[0].tokens_per_s *= 1e6 | .rows[0].noise = 0' $dir/saved.json >$dir/fast.json
judged() { # judged NAME BASELINE JQ: slower is below 1 by more than both noises; status 2 where a row is
    "$bnc" bench $model --quiet --prompt=16 --at=8,99999 -n 4 --repeat=3 -t 1 --json --baseline=$dir/"$2" >$dir/bench.out 2>$dir/said
    status=$?
    check "$1: what is slower" jq -e --slurpfile base $dir/"$2" '[.rows, $base[0].rows] | transpose |
        length == 3 and all(.[]; (1 - .[1].noise - .[0].noise - .[0].ratio) as $below |
            ($below | fabs) < 1e-4 or .[0].slower == ($below > 0))' $dir/bench.out
    check "$1: status" test $status = "$(jq 'if any(.rows[]; .slower) then 2 else 0 end' $dir/bench.out)"
    holds "$1" $dir/bench.out "$3"
}
judged "beside a slow baseline" slow.json 'all(.rows[]; .ratio > 1 and .slower == false)'
judged "beside a fast row" fast.json '.rows[0] | .ratio < 1e-3 and (.noise > 0.99 or .slower)'
"$bnc" bench $model --quiet --prompt=16 --at=8 -n 4 --repeat=3 -t 1 --baseline=$dir/fast.json >$dir/bench.out 2>$dir/said
check "status 2 where a row is marked" test $? = "$(if grep -q 'slower$' $dir/bench.out; then echo 2; else echo 0; fi)"
jq '.rows |= map(.threads = 99)' $dir/saved.json >$dir/other.json
echo '{"rows": [{"tokens_per_s": "fast"}]}' >$dir/wrong.json
refused "another baseline" "none of its rows" "$bnc" bench $model --prompt=1 --at=1 -n 1 --repeat=1 -t 1 --baseline=$dir/other.json
refused "no baseline" "no tokens_per_s" "$bnc" bench $model --baseline=$dir/wrong.json
refused "sizes" "--prompt wants whole numbers" "$bnc" bench $model --prompt=0

# ---- end ----
rm -f $dir/*.asm $dir/*.nm
finish
