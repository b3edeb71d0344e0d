#!/bin/sh
# `make bench`: decode of the committed model, AVX2 against plain C compiled with the same flags
# minus the target, alternating, five pairs, medians and spread. bench.sh BNC [MODEL] [PAIRS]
bnc=$1
model=${2:-examples/models/tales-27m-i2_s.gguf}
pairs=${3:-5}
dir=build/bench
mkdir -p $dir
"$bnc" "$model" --target=x86-64-v3 --emit=exe --quiet -o $dir/avx2
"$bnc" "$model" --target=x86-64 --emit=exe --quiet -o $dir/scalar
value() { # value KEY JSON
    echo "$2" | sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p"
}
echo "model: $model; cc: $(cc --version | head -n 1); cpu: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
for threads in 1 2; do
    : >$dir/pairs
    i=0
    while [ $i -lt "$pairs" ]; do
        a=$($dir/avx2 --bench 200 -t $threads)
        s=$($dir/scalar --bench 50 -t $threads)
        echo "$(value decode_tps "$a") $(value decode_tps "$s") $(value prefill_tps "$a") $(value prefill_tps "$s") $(value open_ms "$a") $(value first_token_ms "$a")" >>$dir/pairs
        i=$((i + 1))
    done
    awk -v t=$threads '
        function median(x, n,   i, j, v) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && x[j - 1] > x[j]; j--) { v = x[j]; x[j] = x[j - 1]; x[j - 1] = v }
            return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
        }
        { a[NR] = $1; s[NR] = $2; r[NR] = $1 / $2; pa[NR] = $3; ps[NR] = $4; o[NR] = $5; f[NR] = $6 }
        END {
            m = median(r, NR)
            printf "%d thread%s  decode: AVX2 %.0f tokens/s, plain C %.0f, ratio %.1f (%.1f to %.1f)\n", t, (t > 1 ? "s:" : ": "), median(a, NR), median(s, NR), m, r[1], r[NR]
            printf "            prefill of 64: AVX2 %.0f tokens/s, plain C %.0f; open %.2f ms, open to first token of a one-token prompt %.1f ms\n", median(pa, NR), median(ps, NR), median(o, NR), median(f, NR)
        }' $dir/pairs
done
