#!/bin/sh
# `make bench-peers`: our program beside other engines on one shape, alternately (ours, theirs, ours,
# theirs ...), so that both meet the same noise; the ratio pair by pair, its median and spread.
#
#   bench/peers.sh [--json] BNC [MODEL]      MODEL: what ours runs (default: the 2B4T shape)
#
# A peer takes part when the environment names its program and its file of the same shape:
#
#   IK_LLAMA_BENCH   IK_LLAMA_MODEL     llama-bench of ik_llama.cpp, an IQ2_BN file
#   LLAMA_BENCH      LLAMA_MODEL        llama-bench of llama.cpp, a TQ2_0 or TQ1_0 file
#   BITNETCPP_BENCH  BITNETCPP_MODEL    llama-bench of bitnet.cpp, an I2_S file
#   ARTALIS_BENCH    ARTALIS_MODEL      bitnet of artalis-io/bitnet.c, an I2_S file
#
# with further options in IK_LLAMA_FLAGS and so on (flash attention, say). Besides: PAIRS (5), THREADS
# (processors), PREFILL ("64 512"), CONTEXT ("64 2048"), TOKENS (64), BENCH_FLAGS (options of bnc).
#
# Decode at a context: llama-bench's -gp C,N where it has it, else -d C; a program with neither
# decodes from an empty context at 64, which favours it, and is left out above.
set -eu
LC_ALL=C
export LC_ALL

json=0
if [ "${1:-}" = --json ]; then
    json=1
    shift
fi
bnc=${1:?usage: peers.sh [--json] BNC [MODEL]}
here=$(dirname "$0")
dir=build/bench
pairs=${PAIRS:-5}
threads=${THREADS:-$(nproc)}
tokens=${TOKENS:-64}
mkdir -p $dir
say() { echo "bench-peers: $*" >&2; }

peers=
for p in IK_LLAMA LLAMA BITNETCPP ARTALIS; do
    eval "program=\${${p}_BENCH:-} file=\${${p}_MODEL:-}"
    if [ -n "$program" ] && { [ ! -x "$program" ] || [ ! -f "$file" ]; }; then
        say "${p}_BENCH is $program and ${p}_MODEL is ${file:-not set}: both must be there"
        exit 1
    fi
    [ -z "$program" ] || peers="$peers $p"
done
if [ -z "$peers" ]; then
    say "no peer is named; set IK_LLAMA_BENCH and IK_LLAMA_MODEL, say (the head of $0 lists them)"
    exit 1
fi

model=${2:-$dir/2b4t.gguf}
if [ $# -lt 2 ] && [ ! -f "$model" ]; then
    "$bnc" synth --shape=2b4t -o "$model"
fi
ours=$dir/ours-$(basename "$model" .gguf)
# shellcheck disable=SC2086
"$bnc" "$model" --emit=exe --weights=file --quiet --ctx=4096 ${BENCH_FLAGS:-} -o "$ours"

# number KEY: of a JSON text on standard input.
number() { awk -v key="$1" -f "$here/stats.awk" -f /dev/fd/3 3<<'AWK'
{ all = all $0 }
END { print number(all, key) }
AWK
}

# run_ours KIND SIZE: tokens a second.
run_ours() {
    if [ "$1" = prefill ]; then
        "$ours" -w "$ours.bnw" -t "$threads" --bench 1 --bench-prefill "$2" | number prefill_tps
    else
        "$ours" -w "$ours.bnw" -t "$threads" --bench "$tokens" --bench-prefill 1 \
            --bench-context "$2" | number decode_tps
    fi
}

# run_llama PROGRAM FILE FLAGS KIND SIZE: of one of the llama-bench family; empty: it cannot.
run_llama() {
    how=
    if [ "$4" = prefill ]; then
        how="-p $5 -n 0"
    elif "$1" --help 2>&1 | grep -q -e ' -gp '; then
        how="-p 0 -n 0 -gp $5,$tokens"
    elif "$1" --help 2>&1 | grep -q -e ' -d,'; then
        how="-p 0 -n $tokens -d $5"
    elif [ "$5" -le 64 ]; then
        how="-p 0 -n $tokens"
    else
        return 0
    fi
    # shellcheck disable=SC2086
    "$1" -m "$2" -t "$threads" -r 1 -o json $how $3 2>/dev/null | number avg_ts
}

# run_artalis PROGRAM FILE FLAGS KIND SIZE: its log says prompt_ms and tok/s. It cannot be told to go
# on after an end token; an answer that ended early gives no number.
run_artalis() {
    n=$tokens
    [ "$4" = decode ] || n=1
    ids=$(awk -v n="$5" 'BEGIN { for (i = 0; i < n; i++) printf "%s%d", (i ? "," : ""), 1 + i % 4000 }')
    # shellcheck disable=SC2086
    "$1" "$2" --prompt-token-ids "$ids" --no-bos -n "$n" -t "$threads" --temp 0 $3 2>&1 </dev/null |
        awk -v kind="$4" -v size="$5" -v n="$n" '
            match($0, /prompt_ms=[0-9.]+/) { ms = substr($0, RSTART + 10, RLENGTH - 10) }
            match($0, /tok\/s=[0-9.]+/) { rate = substr($0, RSTART + 6, RLENGTH - 6) }
            match($0, / tokens=[0-9]+ tok/) { made = substr($0, RSTART + 8) + 0 }
            END { if (ms > 0 && kind == "prefill") print size * 1000 / ms
                  if (kind == "decode" && made == n) print rate }'
}

run_peer() { # PEER KIND SIZE
    eval "program=\$${1}_BENCH file=\$${1}_MODEL flags=\${${1}_FLAGS:-}"
    case $1 in
    ARTALIS) run_artalis "$program" "$file" "$flags" "$2" "$3" ;;
    *) run_llama "$program" "$file" "$flags" "$2" "$3" ;;
    esac
}

: >$dir/pairs.tsv # peer threads kind size pair ours theirs
compare() { # PEER KIND SIZE
    pair=1
    while [ $pair -le "$pairs" ]; do
        a=$(run_ours "$2" "$3")
        [ -n "$a" ] || { say "our program failed at $2 $3"; exit 1; }
        b=$(run_peer "$1" "$2" "$3")
        if [ -z "$b" ]; then
            say "$1 gives no number for $2 $3: left out"
            return 0
        fi
        say "$1, $2 $3, pair $pair: ours $a, theirs $b"
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$threads" "$2" "$3" $pair "$a" "$b" >>$dir/pairs.tsv
        pair=$((pair + 1))
    done
}
for p in $peers; do
    for n in ${PREFILL:-64 512}; do
        compare "$p" prefill "$n"
    done
    for n in ${CONTEXT:-64 2048}; do
        compare "$p" decode "$n"
    done
done

awk -F '\t' -v json=$json -v model="$(basename "$model" .gguf)" -f "$here/stats.awk" \
    -f "$here/ratios.awk" $dir/pairs.tsv
