#!/bin/sh
# `make bench`: how fast compiled models are on this machine, beside what its memory could give.
#
#   bench.sh [--json] BNC [MODEL...]
#
# Each model (default: the committed one, and the shape of BitNet b1.58 2B4T with random weights
# where disk and memory allow it) is compiled, then timed: prompts of 64 and 512 tokens, decode at
# context 64 and 2048, with 1 thread and so on up to the number of processors. A value is the median
# of BENCH_REPEAT (5) repetitions, with the smallest and the largest. Results stay in build/bench:
# results.tsv, results.json, and the plot speed.svg.
#
# Environment: BENCH_REPEAT, BENCH_TOKENS (written tokens, 64), BENCH_PREFILL (64,512),
# BENCH_CONTEXT (64,2048), BENCH_THREADS ("1 2"), BENCH_SMALL=1 (leaves out the 2B4T shape),
# BENCH_FLAGS (options of bnc), CC.
set -eu
LC_ALL=C
export LC_ALL

json=0
if [ "${1:-}" = --json ]; then
    json=1
    shift
fi
bnc=${1:?usage: bench.sh [--json] BNC [MODEL...]}
shift
here=$(dirname "$0")
dir=build/bench
cores=$(nproc)
threads=${BENCH_THREADS:-$(seq 1 "$cores")}
prefill=${BENCH_PREFILL:-64,512}
context=${BENCH_CONTEXT:-64,2048}
say() { echo "bench: $*" >&2; }
mkdir -p $dir

# big_enough: 3 GB of disk and 4 GB of memory.
big_enough() {
    [ "$(df -Pk $dir | awk 'NR == 2 { print $4 }')" -gt 3000000 ] &&
        [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo 2>/dev/null || echo 0)" -gt 4000000 ]
}
if [ $# -eq 0 ]; then
    set -- examples/models/fables-27m-i2_s.gguf
    if [ "${BENCH_SMALL:-0}" = 1 ]; then
        :
    elif big_enough; then
        [ -f $dir/2b4t.gguf ] || "$bnc" synth --shape=2b4t -o $dir/2b4t.gguf
        set -- "$@" $dir/2b4t.gguf
    else
        say "too little disk or memory for the 2B4T shape: left out"
    fi
fi

say "measuring how fast memory is read"
${CC:-cc} -std=gnu11 -O3 -march=native "$here/readbw.c" -pthread -o $dir/readbw
# shellcheck disable=SC2086
$dir/readbw "$(printf '%s\n' $threads | sort -n | tail -n 1)" >$dir/readbw.txt

# A row: model threads kind size median min max bytes_a_token GB/s share peak_rss first_ms
# program_bytes weights_bytes
: >$dir/results.tsv
for model in "$@"; do
    name=$(basename "$model" .gguf)
    say "compiling $name"
    # shellcheck disable=SC2086
    "$bnc" "$model" --emit=exe --weights=file --quiet --ctx=4096 ${BENCH_FLAGS:-} \
        --print-after=plan -o "$dir/$name" >$dir/plan.tir
    awk -f "$here/traffic.awk" $dir/plan.tir >$dir/traffic
    for t in $threads; do
        say "timing $name, threads: $t"
        "$dir/$name" -w "$dir/$name.bnw" -t "$t" --bench "${BENCH_TOKENS:-64}" \
            --bench-repeat "${BENCH_REPEAT:-5}" --bench-prefill "$prefill" \
            --bench-context "$context" >$dir/run.json
        awk -v model="$name" -v bytes="$(wc -c <"$dir/$name")" -v tokens="${BENCH_TOKENS:-64}" \
            -f "$here/stats.awk" -f "$here/rows.awk" $dir/traffic $dir/readbw.txt $dir/run.json \
            >>$dir/results.tsv
    done
done

cpu=$(sed -n 's/^model name.*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
cc=$(${CC:-cc} --version | head -n 1)
awk -F '\t' -v cpu="${cpu:-unknown}" -v cc="$cc" -v date="$(date -u +%Y-%m-%d)" \
    -f "$here/json.awk" $dir/readbw.txt $dir/results.tsv >$dir/results.json
awk -F '\t' -v cpu="${cpu:-unknown}" -f "$here/plot.awk" $dir/results.tsv >$dir/speed.svg
if [ $json = 1 ]; then
    cat $dir/results.json
else
    echo "$cpu; $cc; reads $(awk '{ printf "%s%s GB/s with %d", (NR > 1 ? ", " : ""), $2, $1 }' \
        $dir/readbw.txt) threads"
    awk -F '\t' -f "$here/table.awk" $dir/results.tsv
fi
