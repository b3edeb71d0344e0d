#!/bin/sh
# CUDA without a card (docs/cuda.md): run_cuda.sh BNC. What bnc wrote is compiled as C++ and run on the processor, by
# tests/cuda's stand-in for the card; nvcc compiles it for the H200 where there is one. Nothing runs on a card here.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
shared=${BN_SHARED:-../shared}
root=$PWD
dir=build/cuda
rm -rf $dir
mkdir -p $dir
. tests/lib.sh

if ! command -v clang++ >/dev/null 2>&1; then
    skip "CUDA" "clang++ is missing"
    finish
    exit
fi
check "the card compiles" clang++ -std=c++17 -O2 -fPIC -Wall -Wextra -Werror -Itests/cuda -Itests/metal -c tests/cuda/fake.cc -o $dir/fake.o
check "the grid compiles" cc -std=gnu11 -O2 -fPIC -Wall -Wextra -Werror -Itests/metal -c tests/metal/grid.c -o $dir/grid.o

# model FILE NAME OPTION...: build/cuda/NAME.x86-64.so, a library with the runtime inside.
model() {
    file=$1
    name=$2
    shift 2
    check "$name: --target=cuda" "$bnc" "$file" --target=cuda --name=m --kv=f32 --quiet -o $dir/"$name" "$@" || return 1
    check "$name: compiles" clang++ -x c++ -std=c++17 -O1 -fPIC -fsigned-char -ffp-contract=off -DBN_BLOCKS=3 -Itests/cuda -Itests/metal \
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

# ---- goldens: a model of each graph in the card's orders of execution ----
m=synth-tiny-bitnet-b1.58-i2_s
if [ -d "$shared/golden" ]; then
    shared=$(cd "$shared" && pwd)
    model "$shared"/models/$m.gguf $m && check "$m: golden" golden "$shared"/golden $m
    model "$shared"/models/synth-odd-llama-i2_s.gguf synth-odd-llama-i2_s &&
        check "synth-odd-llama-i2_s: golden, backward" golden "$shared"/golden synth-odd-llama-i2_s FAKE_CUDA_ORDER=1

    # ---- a barrier of the card's own kernels taken away, a call that fails ----
    line=$(grep -n '^    __syncthreads();' $dir/$m.cu | tail -n 1 | cut -d: -f1)
    check "a barrier is there" test -n "$line"
    check "it is missed" sh -c "! FAKE_CUDA_SKIP=$line FAKE_CUDA_ORDER=0 env -C $dir $root/build/test_golden $shared/golden $root/$dir/$m.x86-64.so"
else
    skip "goldens" "no $shared/golden"
fi

# ---- to the context's end; calls that fail ----
model tests/arch-models/qwen3-i2_s.gguf small --ctx=12 --batch=4
check "a program links" clang -std=c11 -Iruntime-min -I$dir -DHEADER='"small.h"' tests/metal/steps.c -L$dir -l:small.x86-64.so \
    -Wl,-rpath,"$root/$dir" -lstdc++ -o $dir/small-program
steps() { # steps SETTING...: to $dir/out
    env -C $dir "$@" ./small-program >$dir/out 2>&1
}
check "to the context's end" steps FAKE_CUDA_ORDER=0
cp $dir/out $dir/want
for order in 1 2; do
    check "order $order" steps FAKE_CUDA_ORDER=$order
    check "order $order: the same bits" cmp $dir/out $dir/want
done
for call in 1 2 3 9 20; do
    check "call $call fails: bn_init says so" sh -c "! FAKE_CUDA_FAIL=$call env -C $dir ./small-program >$dir/out 2>&1"
    check "call $call: what it says" grep -q 'GPU cannot be used' $dir/out
done
steps FAKE_CUDA_FAIL=60
check "a pass that fails leaves no numbers" grep -q nan $dir/out

# ---- nvcc ----
if command -v nvcc >/dev/null 2>&1 && [ -e $dir/$m.cu ]; then
    check "nvcc compiles it for sm_90" nvcc -O1 -arch=sm_90 -Iruntime-min -c $dir/$m.cu -o $dir/card.o
else
    skip "nvcc" "not installed, or no models"
fi
skip "the card" "docs/cuda.md says what waits for one"
finish
