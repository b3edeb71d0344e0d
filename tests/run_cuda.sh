#!/bin/sh
# CUDA without a GPU (docs/cuda.md): run_cuda.sh BNC. What bnc wrote is compiled as C++ and run on the processor, by
# tests/cuda's stand-in for the GPU; nvcc compiles it for the H200 where there is one. Nothing runs on a GPU here.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
shared=${BN_SHARED:-../shared}
root=$PWD
dir=build/cuda
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

if ! command -v clang++ >/dev/null 2>&1; then
    skip "CUDA" "clang++ is missing"
    finish
    exit
fi
check "the GPU compiles" clang++ -std=c++17 -O2 -fPIC -Wall -Wextra -Werror -Itests/cuda -Itests/metal -c tests/cuda/fake.cc -o $dir/fake.o
check "the grid compiles" cc -std=gnu11 -O2 -fPIC -Wall -Wextra -Werror -Itests/metal -c tests/metal/grid.c -o $dir/grid.o

# model FILE NAME OPTION...: build/cuda/NAME.x86-64.so, a library with the runtime inside.
model() {
    file=$1
    name=$2
    shift 2
    check "$name: --target=cuda" "$bnc" "$file" --target=cuda --name=m --quiet -o $dir/"$name" "$@" || return 1
    check "$name: compiles" clang++ -x c++ -std=c++17 -O1 -fPIC -fsigned-char -ffp-contract=off -DBN_BLOCKS=${blocks:-3} -DBN_CHUNK=256 -Itests/cuda -Itests/metal \
        -Iruntime-min -c $dir/"$name".cu -o $dir/"$name".o || return 1
    check "$name: links" clang++ -shared $dir/"$name".o $dir/fake.o $dir/grid.o -Wl,--whole-archive build/libbnrt.a \
        -Wl,--no-whole-archive -lpthread -lm -o $dir/"$name".x86-64.so
}
golden() { # golden GOLDENS NAME [SETTING...]
    goldens=$1
    name=$2
    shift 2
    env -C $dir "$@" "$root"/build/test_golden "$goldens" "$root/$dir/$name".x86-64.so
}

# ---- goldens: goldens of a model of each graph in the GPU's orders of execution ----
m=synth-tiny-bitnet-b1.58-i2_s
if [ -d "$shared/golden" ]; then
    shared=$(cd "$shared" && pwd)
    model "$shared"/models/$m.gguf $m --kv=f32 && check "$m: golden" golden "$shared"/golden $m
    model "$shared"/models/synth-odd-llama-i2_s.gguf synth-odd-llama-i2_s --kv=f32 &&
        check "synth-odd-llama-i2_s: golden, backward" golden "$shared"/golden synth-odd-llama-i2_s FAKE_CUDA_ORDER=1
else
    skip "goldens" "no $shared/golden"
fi

# ---- checkpoints: stretched RoPE, norms behind it ----
checkpoint() { # checkpoint MODEL: a prompt's logits against those of transformers (tests/run_hf.sh)
    model "$shared"/golden/hf/"$1" "$1" --kv=f32 || return 1
    check "$1: a program" cc -Iruntime-min tests/e2e/cli_main.c -L$dir -l:"$1".x86-64.so -Wl,-rpath,"$root/$dir" -lstdc++ -o $dir/cli
    python3 tests/reference/hf_logits.py "$shared"/golden/hf/"$1" --ids=$dir/ids
    env -C $dir ./cli --ids=ids.0 --logits -t 1 >$dir/logits.0
    check "$1: logits" python3 tests/reference/hf_logits.py "$shared"/golden/hf/"$1" int8 $dir/logits.0
}
if [ -d "$shared/golden/hf" ] && python3 -c '' 2>/dev/null; then
    checkpoint hunyuan-v1-dense
else
    skip "checkpoints" "no $shared/golden/hf, or no python3"
fi

# ---- steps: to the context's end, beyond a chunk of attention; barriers; calls that fail ----
blocks=5 model tests/arch-models/qwen3-i2_s.gguf small --ctx=8 --batch=4 --kv=f32
model tests/arch-models/qwen3-i2_s.gguf long --ctx=272 --batch=64 --kv=f16
program_of() { # program_of NAME SOURCE
    check "$1: a program links" clang -std=c11 -Iruntime-min -I$dir -DHEADER="\"$1.h\"" tests/"$2".c -L$dir -l:"$1".x86-64.so \
        -Wl,-rpath,"$root/$dir" -lstdc++ -o $dir/"$1"-program
}
program_of small metal/steps
program_of long cuda/long
run() { # run PROGRAM SETTING...: to $dir/out
    program=$1
    shift
    env -C $dir "$@" ./"$program"-program >$dir/out 2>&1
}
check "to the context's end" run small FAKE_CUDA_LINES=lines
cp $dir/out $dir/want
for order in 1 2; do
    check "order $order" run small FAKE_CUDA_ORDER=$order
    check "order $order: the same bits" cmp $dir/out $dir/want
done
check "decode gives prefill's bits" run long FAKE_CUDA_LINES=long-lines
noticed() { # noticed PROGRAM LINE [SETTING...]: without its barrier
    program=$1
    without=$2
    shift 2
    for order in 2 3 0 1 4 5; do
        run "$program" FAKE_CUDA_ORDER=$order FAKE_CUDA_SKIP="$without" "$@" && cmp -s $dir/out $dir/want || return 0
    done
    return 1
}
for line in $(cat $dir/lines); do
    check "without the barrier of line $line: $(sed -n "${line}p" $dir/small.cu)" noticed small "$line"
done
combine=$(grep -n ' attention_combine(step, split' $dir/long.cu | cut -d: -f1)
differs() { # differs LINE: decode without its barrier is noticed
    for order in 2 3 4 5 0 1; do
        run long FAKE_CUDA_ORDER=$order FAKE_CUDA_SKIP="$1" || return 0
    done
    return 1
}
found=0
for line in $(awk -v a="${combine:-0}" '$1 < a && $1 > a - 3' $dir/long-lines); do
    found=$((found + 1))
    check "without that of chunks: $(sed -n "${line}p" $dir/long.cu)" differs "$line"
done
check "chunks have a block barrier and a grid barrier" test $found = 2
# ---- topk after steps: bit-exact as all logits ----
blocks=4 model tests/arch-models/qwen3-i2_s.gguf words --ctx=16 --batch=4
topk() { # topk LIBRARY POSITIONS SETTING...: how many were computed, to $dir/out
    name=$1 positions=$2
    shift 2
    env -C $dir "$@" "$root"/build/test_topk "$positions" "$root/$dir/$name".x86-64.so >$dir/all 2>&1
    status=$?
    sed "s/^$name//; s/[0-9.]* ms//g" $dir/all >$dir/out
    return $status
}
check "top-k" topk words 16 FAKE_CUDA_LINES=topk-lines
cp $dir/out $dir/topk-want
check "not all are computed" awk -F'[(%]' '/top 1 / {ok = $2 + 0 < 10 && $4 + 0 < 50} END {exit !ok}' $dir/out
for order in 1 2; do
    check "top-k, order $order" topk words 16 FAKE_CUDA_ORDER=$order
    check "top-k, order $order: as many computed" cmp $dir/out $dir/topk-want
done
chosen() { # chosen LINE: without its barrier, other rows, or another number of them, are computed
    for order in 2 3 0 1 4 5; do
        topk words 16 FAKE_CUDA_ORDER=$order FAKE_CUDA_SKIP="$1" && cmp -s $dir/out $dir/topk-want || return 0
    done
    return 1
}
within() { # within FROM TO: which of topk-lines stand between a line like FROM and the next like TO
    awk -v from="$1" -v to="$2" 'NR == FNR {inside = inside ? $0 !~ to : $0 ~ from; in_range[FNR] = inside; next}
        in_range[$1] {print $1}' $dir/words.cu $dir/topk-lines
}
found=0
for line in $(within '^struct bn_screen' '^#define OWN' && within ' topk_step[(]' '^}'); do
    found=$((found + 1))
    check "without the barrier of line $line: $(sed -n "${line}p" $dir/words.cu)" chosen "$line"
done
check "top-k needs barriers" test $found -ge 6
# 22 units of rows and a row: warps behind the last have none.
"$bnc" synth --shape=tales-4m --layers=1 --vocab=353 --quiet -o $dir/ragged.gguf
blocks=5 model $dir/ragged.gguf ragged
check "top-k of 353" topk ragged 32

# ---- parallel after steps topk: bit-exact as one GPU ----
blocks=4 model tests/arch-models/qwen3-i2_s.gguf two --ctx=8 --batch=4 --kv=f32 --shards=2
blocks=2 model tests/arch-models/qwen3-i2_s.gguf three --ctx=8 --batch=4 --kv=f32 --shards=3
model tests/arch-models/qwen3-i2_s.gguf far --ctx=272 --batch=64 --kv=f16 --shards=2
program_of two metal/steps
program_of three metal/steps
program_of far cuda/long
for order in 0 1 2; do
    check "two GPUs, order $order" run two FAKE_CUDA_GPUS=2 FAKE_CUDA_ORDER=$order FAKE_CUDA_LINES=two-lines
    check "two GPUs, order $order: one's bits" cmp $dir/out $dir/want
done
check "three GPUs" run three FAKE_CUDA_GPUS=3 FAKE_CUDA_ORDER=2
check "three GPUs: one's bits" cmp $dir/out $dir/want
check "two GPUs: decode gives prefill's bits" run far FAKE_CUDA_GPUS=2 FAKE_CUDA_ORDER=2
blocks=2 model tests/arch-models/qwen3-i2_s.gguf words-two --ctx=16 --batch=4 --shards=2
for order in 0 2; do
    check "two GPUs, top-k, order $order" topk words-two 16 FAKE_CUDA_GPUS=2 FAKE_CUDA_ORDER=$order
    check "two GPUs, top-k, order $order: one's" cmp $dir/out $dir/topk-want
done
gather=$(grep -n '^/. The all-gather of results' $dir/two.cu | cut -d: -f1)
gathered=$(awk -v a="${gather:-100000}" 'NR > a && /grid.arrived.1. = grid.expected/ {print NR; exit}' $dir/two.cu)
found=0
for line in $(awk -v a="${gather:-0}" -v b="${gathered:-0}" '$1 > a && $1 < b' $dir/two-lines); do
    found=$((found + 1))
    check "GPUs without that of line $line: $(sed -n "${line}p" $dir/two.cu)" noticed two "$line" FAKE_CUDA_GPUS=2
done
check "an all-gather has three barriers" test $found = 3
bytes() { # of a GPU's weights
    sed -n 's/.*gpu_bytes = \([0-9]*\);/\1/p' "$dir/$1.cu"
}
check "each of two holds less: $(bytes two) of $(bytes small)" test "$(bytes two)" -lt $(($(bytes small) * 4 / 5))
if [ -d "$shared/golden" ]; then
    model "$shared"/models/$m.gguf $m.gpus --kv=f32 --shards=2 && check "$m on two GPUs: golden" golden "$shared"/golden $m.gpus FAKE_CUDA_GPUS=2
fi
check "a machine with one GPU: bn_init says so" sh -c "! env -C $dir ./two-program >$dir/out 2>&1"
check "what it says" grep -q 'GPU cannot be used' $dir/out
for call in 2 9 60 100 120; do
    check "of two GPUs, call $call fails: bn_init says so" sh -c "! FAKE_CUDA_GPUS=2 FAKE_CUDA_FAIL=$call env -C $dir ./two-program >$dir/out 2>&1"
    check "of two GPUs, call $call: what it says" grep -q 'GPU cannot be used' $dir/out
done
run two FAKE_CUDA_GPUS=2 FAKE_CUDA_FAIL=220
check "a pass that a GPU does not receive leaves NaN" grep -q nan $dir/out

# ---- large after steps: a head that is no power of two, against C ----
"$bnc" synth --shape=large --layers=1 --quiet -o $dir/large.gguf
model $dir/large.gguf large --ctx=6 --batch=4
"$bnc" $dir/large.gguf --ctx=6 --batch=4 --quiet --amalgamate --name=m -o $dir/plain.c
program_of large metal/steps
check "one of C" cc -std=c11 -O1 -I$dir -DHEADER='"plain.h"' tests/metal/steps.c $dir/plain.c -lpthread -lm -o $dir/plain-program
run large && cp $dir/out $dir/want
run plain
check "they agree" awk 'NR == FNR {want[FNR] = $1; next} {d = $1 - want[FNR]; if (d < 0) d = -d; if (!(d < 1e-4)) bad = 1; n++}
    END {exit bad || n < 64000}' $dir/want $dir/out

check "there were barriers" test "$(wc -l <$dir/lines)" -gt 20
for call in 1 3 6 9 14 17; do
    check "call $call fails: bn_init says so" sh -c "! FAKE_CUDA_FAIL=$call env -C $dir ./small-program >$dir/out 2>&1"
    check "call $call: what it says" grep -q 'GPU cannot be used' $dir/out
done
run small FAKE_CUDA_FAIL=60
check "a pass that fails leaves NaN" grep -q nan $dir/out

# ---- nvcc after goldens: for the H200 ----
if command -v nvcc >/dev/null 2>&1 && [ -e $dir/$m.cu ]; then
    check "nvcc compiles it for sm_90" nvcc -O1 -arch=sm_90 -Iruntime-min -c $dir/$m.cu -o $dir/gpu.o
else
    skip "nvcc" "not installed, or no models"
fi

# ---- end ----
skip "the GPU" "docs/cuda.md says what waits for one"
finish
