#!/bin/sh
# The whole check of CUDA on a GPU, one command of under ten minutes: bench/gpu.sh [--peer=FOLDER] [--quick]
# Goldens of every model, top-k logits against all logits, compute-sanitizer's memcheck and racecheck, the GPU's
# bandwidth, then decode, prefill and generation of a model of 2B4T's published shape with the ratio to the bandwidth
# bound, and how decode and prefill scale over the GPUs that there are (one: over its halves), with a tenth of the
# layers of 70B's shape too. --peer=FOLDER: gpu/bitnet_kernels of a checkout of microsoft/BitNet, whose kernels are
# built and measured on the same matrices. --quick: speed alone. Needs nvcc and a GPU; what of build/ it uses is made
# where it is missing.
# BN_SHARED names the models and goldens (../shared). Prints Markdown: bench/gpu.md is its last output.
set -e
peer=
quick=
for arg; do
    case $arg in
    --peer=*) peer=${arg#--peer=} ;;
    --quick) quick=1 ;;
    *) echo "gpu.sh: unknown argument '$arg': --peer=FOLDER or --quick" >&2 && exit 1 ;;
    esac
done
command -v nvcc >/dev/null || { echo "gpu.sh: nvcc is missing: this needs CUDA and a gpu" >&2 && exit 1; }
needs="build/bnc build/libbnrt.a build/test_golden build/test_topk"
for file in $needs; do
    # shellcheck disable=SC2086
    [ -e "$file" ] || make -s $needs
done
shared=${BN_SHARED:-../shared}
here=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
nv="nvcc -O3 -arch=native -std=c++17"
failed=0

echo "Date: $(date -u +%F). GPU: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader)." \
    "Compiler: $(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/nvcc \1/p'). Command: \`sh bench/gpu.sh${*:+ $*}\`."
echo

# ---- what takes long, in the background ----
(build/bnc synth --shape=2b4t --quiet -o "$dir/2b4t.gguf"
    [ -n "$quick" ] || build/bnc synth --shape=llama70b --layers=8 --quiet -o "$dir/llama70b.gguf") &
$nv bench/copybw.cu -o "$dir/copybw" &
[ -z "$peer" ] || $nv -I"$peer" bench/gpu_peer.cu "$peer/bitnet_kernels.cu" -o "$dir/peer" 2>"$dir/peer.log" &

# library FILE NAME: NAME.x86-64.so with the runtime inside.
library() {
    build/bnc "$1" --target=cuda --name=m --kv=f32 --quiet -o "$dir/$2" &&
        $nv -Xcompiler -fPIC -Iruntime-min -c "$dir/$2.cu" -o "$dir/$2.o" &&
        $nv -shared "$dir/$2.o" -Xlinker --whole-archive,build/libbnrt.a,--no-whole-archive -lpthread -lm \
            -o "$dir/$2.x86-64.so"
}
goldens=
if [ -z "$quick" ]; then
    for file in "$shared"/models/synth-*-i2_s.gguf "$shared"/models/tales-*-i2_s.gguf tests/arch-models/*.gguf; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .gguf)
        goldens="$goldens $name"
        library "$file" "$name" &
    done
fi
wait

# ---- right ----
goldens_of() { # goldens_of NAME: the folder that has a model's, from anywhere
    at=$shared/golden
    [ -e "$at/${1%-*}.json" ] || at=$here/tests/arch-models
    (cd "$at" && pwd)
}
if [ -z "$quick" ]; then
    echo "| model | goldens | top-k logits |"
    echo "|---|---|---|"
    for name in $goldens; do
        at=$(goldens_of "$name")
        if (cd "$dir" && timeout 60 "$here/build/test_golden" "$at" "$dir/$name.x86-64.so") >"$dir/$name.log" 2>&1; then
            right="$(grep -c OK "$dir/$name.log") passed; $(grep -o 'mean NLL.*\|rms.*' "$dir/$name.log" | head -n 1)"
        else
            right=FAILED
        fi
        if (cd "$dir" && timeout 60 "$here/build/test_topk" 200 "$dir/$name.x86-64.so") >"$dir/$name.topk" 2>&1; then
            topk=$(grep -o '[0-9]* positions, [0-9]* differences' "$dir/$name.topk")
        else
            topk=FAILED
        fi
        echo "| $name | $right | $topk |"
        [ "$right" = FAILED ] || [ "$topk" = FAILED ] || continue
        failed=1
        tail -n 30 "$dir/$name.log" "$dir/$name.topk" >&2
    done
    echo
    name=synth-odd-llama-i2_s
    [ -e "$dir/$name.x86-64.so" ] || name=qwen3-i2_s
    at=$(goldens_of "$name")
    for tool in memcheck racecheck; do
        for run in "golden $at" "topk 8"; do
            # shellcheck disable=SC2086
            if (cd "$dir" && timeout 120 compute-sanitizer --tool $tool --error-exitcode 9 "$here"/build/test_$run "$dir/$name.x86-64.so") >"$dir/$tool.log" 2>&1; then
                echo "compute-sanitizer $tool, test_${run%% *} of $name: $(grep -o 'ERROR SUMMARY.*\|RACECHECK SUMMARY.*' "$dir/$tool.log" | tail -n 1)"
            else
                echo "compute-sanitizer $tool, test_${run%% *}: FAILED"
                failed=1
                tail -n 30 "$dir/$tool.log" >&2
            fi
            echo
        done
    done
fi

# ---- fast ----
timeout 60 "$dir/copybw" >"$dir/bw"
build/bnc "$dir/2b4t.gguf" --target=cuda --name=m --quiet --print-after=plan -o "$dir/m" >"$dir/plan.tir"
for last in lm_head topk; do
    awk -v after=$last -f bench/traffic.awk "$dir/plan.tir"
done >"$dir/traffic"
$nv -Iruntime-min -c "$dir/m.cu" -o "$dir/m.o"
cc -std=c11 -D_POSIX_C_SOURCE=200809L -O2 -Iruntime-min -I"$dir" -DHEADER='"m.h"' -c bench/gpu_model.c -o "$dir/gpu_model.o"
$nv "$dir/gpu_model.o" "$dir/m.o" build/libbnrt.a -lpthread -lm -o "$dir/gpu_model"
$nv -I"$dir" -Iruntime-min -DMODEL='"m.cu"' bench/gpu_products.cu build/libbnrt.a -lpthread -lm -o "$dir/products"
timeout 60 "$dir/gpu_model" "$dir/m.bnw" 512 64 200 7 >"$dir/rows"
timeout 60 "$dir/gpu_model" "$dir/m.bnw" 0 2048 100 7 | grep decode >>"$dir/rows"
timeout 60 "$dir/products" "$dir/m.bnw" >"$dir/matrices"
if [ -n "$peer" ]; then
    for i in 1 2 3 4 5; do # alternating
        timeout 60 "$dir/peer"
        timeout 60 "$dir/products" "$dir/m.bnw"
    done >"$dir/matrices"
fi
awk '
    function median(text,  v, n, i, j, t) {
        n = split(text, v, " ")
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && v[j] + 0 < v[j - 1] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
        return v[int((n + 1) / 2)]
    }
    BEGIN {
        label["prompt"] = "a prompt of"
        label["decode"] = "decode behind"
        label["all"] = "greedy generation, of all logits, behind"
        label["top1"] = "greedy generation, of the top 1, behind"
        label["top40"] = "generation, of the top 40, behind"
    }
    FILENAME ~ /bw$/ { bw[$1] = $2; next }
    FILENAME ~ /traffic$/ { bytes[what] = $1; what = "topk"; cache = $2; next }
    FILENAME ~ /rows$/ {
        if (!said++) {
            printf "Memory: copies move %s GB/s (read and written), reads %s. A token reads %.1f MB of weights " \
                "and %.1f KB of cache a position: at the speed of copies %.0f tokens/s.\n\n", bw["copy"], bw["read"], \
                bytes[""] / 1e6, cache / 1e3, bw["copy"] * 1e9 / bytes[""]
            print "| 2B4T\047s shape | tokens/s, median (least to most) | of the bound |"
            print "|---|---|---|"
        }
        if ($1 == "open") next
        bound = bw["copy"] * 1e9 / (bytes[$1 ~ /^top/ ? "topk" : ""] + cache * $2)
        printf "| %s %d | %.0f (%.0f to %.0f) | %s |\n", label[$1], $2, $3, $4, $5, \
            $1 == "prompt" ? "-" : sprintf("%.1f %%", 100 * $3 / bound)
        next
    }
    {
        key = /layers/ ? "all of a token, " $2 " layers" : $2 " x " $3
        if (!(key in seen)) { seen[key] = 1; order[++n] = key }
        time[key, /ours/ ? "ours" : "peer"] = time[key, /ours/ ? "ours" : "peer"] " " $NF
    }
    END {
        print "\n| ternary products, us | ours | Microsoft\047s gpu/bitnet_kernels | ratio |"
        print "|---|---|---|---|"
        for (i = 1; i <= n; i++) {
            ours = median(time[order[i], "ours"]); peer = median(time[order[i], "peer"])
            printf "| %s | %.2f | %s | %s |\n", order[i], ours, peer ? sprintf("%.2f", peer) : "-", \
                peer ? sprintf("%.2f", peer / ours) : "-"
        }
    }' "$dir/bw" "$dir/traffic" "$dir/rows" "$dir/matrices"
[ -z "$quick" ] || exit $failed

# ---- on several GPUs ----
gpus=$(nvidia-smi -L | wc -l)
if [ "$gpus" -gt 1 ]; then
    ways="1 2 $([ "$gpus" -lt 4 ] || echo 4) $([ "$gpus" -lt 8 ] || echo 8)"
else
    ways="1 halves half"
fi
passes() { # passes SHAPE WAY: the program of a shape for that many GPUs
    one=$dir/$1-$2
    case $2 in
    half) options= nvcc=-DBN_BLOCKS=66 ;;
    halves) options=--shards=2 nvcc="-DBN_BLOCKS=66 -DBN_DEVICE_OF(i)=0" ;;
    *) options=--shards=$2 nvcc= ;;
    esac
    # shellcheck disable=SC2086
    mkdir -p "$one" && build/bnc "$dir/$1.gguf" --target=cuda --name=m --quiet $options -o "$one/m" &&
        $nv $nvcc -Iruntime-min -c "$one/m.cu" -o "$one/m.o" &&
        $nv "$dir/gpu_model.o" "$one/m.o" build/libbnrt.a -lpthread -lm -o "$one/model"
}
for shape in 2b4t llama70b; do
    for way in $ways; do
        passes $shape "$way" &
    done
done
wait
several() { # several SHAPE WHAT: rows of a table, the first of which is the ratios' base
    for i in 1 2 3; do # alternating
        for n in $ways; do
            timeout 60 "$dir/$1-$n/model" "$dir/$1-$n/m.bnw" 512 64 100 3 | sed "s/^/$n /"
        done
    done | awk -v what="$2" '
        $2 == "open" { next }
        !($1 in seen) { seen[$1] = 1; order[++n] = $1 }
        { key = $1 " " $2; v[key] = v[key] " " $4 }
        function median(text,  a, m, i, j, t) {
            m = split(text, a, " ")
            for (i = 2; i <= m; i++)
                for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
            return a[int((m + 1) / 2)]
        }
        END {
            for (i = 1; i <= n; i++) {
                name = order[i] == "half" ? "half of it" : order[i] == "halves" ? "two halves of it" : order[i]
                d = median(v[order[i] " decode"]); p = median(v[order[i] " prompt"])
                if (i == 1) { d0 = d; p0 = p }
                printf "| %s | %s | %.0f | %.2f | %s |\n", what, name, d, d / d0, \
                    order[i] == "half" ? "- | -" : sprintf("%.0f | %.2f", p, p / p0) # launches have all of the GPU
            }
        }'
}
echo
echo "| shape | GPUs | decode behind 64, tokens/s | ratio | a prompt of 512 | ratio |"
echo "|---|---|---|---|---|---|"
several 2b4t "2B4T"
several llama70b "70B, 8 of 80 layers"
exit $failed
