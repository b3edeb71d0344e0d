#!/bin/sh
# The JIT beside the C compiler: bench/jit.sh BNC MODEL [ROUNDS [TOKENS]]. BNC is one of `make JIT=1`.
# First the time from command to first token, cold (an empty cache) and cached; then tokens/s of a prompt
# of TOKENS (256) and of as many tokens behind 64, cc -O3, --jit and --jit=O3 alternating, one thread: medians of the
# ratios of each round to cc in the same round, with the least and the most. Needs jq.
set -e
bnc=$1
model=$2
rounds=${3:-5}
tokens=${4:-256}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
CC=${CC:-cc}
export CC

first() { # first CACHE OPTION...: seconds until a token stands behind the prompt
    cache=$1
    shift
    start=$(date +%s.%N)
    XDG_CACHE_HOME=$cache "$bnc" run "$model" -p "Once upon a time" -n 1 --temp 0 --quiet "$@" 2>/dev/null | {
        dd bs=1 count=17 status=none >/dev/null
        date +%s.%N | awk -v a="$start" '{printf "%.3f\n", $1 - a}'
        cat >/dev/null
    }
}
rates() { # rates OPTION...: prompt and decode
    XDG_CACHE_HOME=$dir/cache "$bnc" bench "$model" -t 1 --repeat=1 --prompt="$tokens" --at=64 -n "$tokens" --json --quiet "$@" |
        jq -r '[.rows[].tokens_per_s] | @tsv'
}
middle() { # the median, least and most of the numbers on standard input
    sort -n | awk '{v[NR] = $1} END {m = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
        printf "%.3f (%.3f to %.3f)", m, v[1], v[NR]}'
}

for how in --jit --jit=O3; do
    for i in $(seq "$rounds"); do
        rm -rf "$dir/first"
        first "$dir/first" $how >>"$dir/cold$how"
        first "$dir/first" $how >>"$dir/cached$how"
    done
    echo "$how: first token after $(middle <"$dir/cold$how") s cold, $(middle <"$dir/cached$how") s cached"
done
for how in "" --jit --jit=O3; do
    rates $how >/dev/null # compiled, and in the page cache
done
for i in $(seq "$rounds"); do
    base=$(rates)
    for how in --jit --jit=O3; do
        echo "$base $(rates $how)" >>"$dir/rates$how"
    done
done
for how in --jit --jit=O3; do
    echo "$how over cc: prompt $(awk '{print $3 / $1}' "$dir/rates$how" | middle)," \
        "decode $(awk '{print $4 / $2}' "$dir/rates$how" | middle)"
done
