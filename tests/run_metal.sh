#!/bin/sh
# Metal without a Mac (docs/metal.md): run_metal.sh BNC. The shaders that bnc wrote are compiled as C++ and run
# on the processor (tests/metal/grid.h), the host file as Objective-C over a stand-in for the device (fake.m).
# Goldens in three orders of execution; then each barrier is taken away in turn, and somebody must notice.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
shared=${BN_SHARED:-../shared}
root=$PWD
dir=build/metal
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

warn="-Wall -Wextra -Werror -Wno-unused-parameter"
objc="clang -fobjc-runtime=gcc -fconstant-string-class=NSConstantString"
gnu=$(dirname "$(gcc -print-file-name=libobjc.so)")
echo 'int main(void) { return 0; }' >$dir/empty.m
if ! command -v clang++ >/dev/null 2>&1 || ! [ -e "$gnu/include/objc/runtime.h" ]; then
    skip "Metal" "clang++ or the Objective-C runtime is missing (gobjc)"
    finish
    exit
fi
# shellcheck disable=SC2086
check "the device compiles" $objc -O2 -fPIC -Wall -Wextra -Werror -Itests/metal -I"$gnu/include" -c tests/metal/fake.m -o $dir/fake.o
check "the grid compiles" cc -std=gnu11 -O2 -fPIC -Wall -Wextra -Werror -Itests/metal -c tests/metal/grid.c -o $dir/grid.o

spaces="clang++ --target=aarch64-linux-gnu -ffreestanding -fsyntax-only -std=c++14 -fsigned-char $warn -Wdouble-promotion
    -Wno-sign-compare -x c++ -Itests/metal/spaces"
no() { # no WHAT LINE: a shader with this line is refused
    printf '#include <metal_stdlib>\nusing namespace metal;\n%s\n' "$2" >$dir/bad.metal
    # shellcheck disable=SC2086
    refused "$1" "bad.metal:3:" $spaces $dir/bad.metal
}
no "a pointer without address space" "static inline float f(device float *x) { float *p = x; return *p; }"
no "another address space" "static inline void f(threadgroup float *t, device float *x) { t = x; *t = 0; }"
no "constants that are written" "static inline void f(constant uint &x) { x = 1; }"
no "double" "static inline double f(float x) { return x; }"
no "a literal in double" "static inline float f(float x) { return x * 0.1; }"

# model FILE NAME OPTION...: build/metal/NAME.x86-64.so, a library with the runtime inside.
model() {
    file=$1
    name=$2
    shift 2
    check "$name: --target=metal" "$bnc" "$file" --target=metal --name=m --quiet -o $dir/"$name" "$@" || return 1
    sed 's/ \[\[threadgroup(0)\]\]//' $dir/"$name".metal >$dir/shaders.metal # one word is both address space and attribute
    # shellcheck disable=SC2086
    check "$name: shaders compile" clang++ -std=c++14 -O1 -fPIC -fsigned-char -ffp-contract=off $warn -Wno-unknown-attributes \
        -Wno-deprecated-register -Wno-sign-compare -x c++ -Itests/metal -c $dir/shaders.metal -o $dir/shaders.o || return 1
    # shellcheck disable=SC2086
    check "$name: address spaces" $spaces $dir/"$name".metal || return 1
    # shellcheck disable=SC2086
    check "$name: host compiles" $objc -O2 -fPIC $warn -Itests/metal -I"$gnu/include" -Iruntime-min -c $dir/"$name"_metal.m -o $dir/host.o || return 1
    check "$name: links" cc -shared $dir/shaders.o $dir/host.o $dir/fake.o $dir/grid.o -Wl,--whole-archive build/libbnrt.a \
        -Wl,--no-whole-archive -L"$gnu" -lobjc -lstdc++ -lpthread -ldl -lm -o $dir/"$name".x86-64.so
}
golden() { # golden GOLDENS NAME [ORDER]: from its folder, where shaders and weights are found
    check "$2: golden${3:+, $3}" env -C $dir BN_ORDER="${3:-forward}" BN_FAKE_LOG=log.txt "$root"/build/test_golden "$1" "$root/$dir/$2".x86-64.so
}

# ---- goldens: goldens ----
if [ -d "$shared/golden" ]; then
    shared=$(cd "$shared" && pwd)
    golden=$shared/models
    for m in synth-tiny-bitnet-i2_s synth-tiny-bitnet-b1.58-i2_s synth-tiny-llama-i2_s synth-odd-bitnet-i2_s \
        synth-odd-bitnet-b1.58-i2_s synth-odd-llama-i2_s tales-4m-i2_s; do
        model "$shared"/models/$m.gguf $m --kv=f32 && golden "$shared"/golden $m
    done
    golden "$shared"/golden synth-odd-llama-i2_s backward
    golden "$shared"/golden synth-odd-llama-i2_s shuffled
else
    skip "goldens" "no $shared/golden"
fi
for m in qwen3-i2_s gemma3-i2_s; do
    model tests/arch-models/$m.gguf $m --kv=f32 && golden "$root"/tests/arch-models $m
done
for order in backward shuffled; do
    golden "$root"/tests/arch-models gemma3-i2_s $order
done
sed 's/^/  /' $dir/log.txt
check "every object is released" grep -q '^objects 0$' $dir/log.txt
states=$(awk '/^buffers/ {print $2 / 3}' $dir/log.txt)
check "3 buffers a state, none a token" sh -c "[ '$states' -gt 0 ] && [ '$states' -lt $(awk '/^commands/ {print $2}' $dir/log.txt) ]"

# ---- checkpoints: stretched RoPE, factors of layers ----
checkpoint() { # checkpoint MODEL: a prompt's logits against those of transformers (tests/run_hf.sh)
    model "$shared"/golden/hf/"$1" "$1" --kv=f32 || return 1
    check "$1: a program" cc -Iruntime-min tests/e2e/cli_main.c -L$dir -l:"$1".x86-64.so -Wl,-rpath,"$root/$dir" -o $dir/cli
    python3 tests/reference/hf_logits.py "$shared"/golden/hf/"$1" --ids=$dir/ids
    env -C $dir ./cli --ids=ids.0 --logits -t 1 >$dir/logits.0
    check "$1: logits" python3 tests/reference/hf_logits.py "$shared"/golden/hf/"$1" int8 $dir/logits.0
}
if [ -d "$shared/golden/hf" ] && python3 -c '' 2>/dev/null; then
    checkpoint minicpm-longrope
else
    skip "checkpoints" "no $shared/golden/hf, or no python3"
fi

# ---- steps: a program, to the end of its context; barriers ----
program() { # program SOURCE NAME FLAG...
    source=$1
    name=$2
    shift 2
    check "$name: a program links" cc -std=c11 -Iruntime-min -I$dir "$@" -DHEADER="\"$name.h\"" "$source" -L$dir -l:"$name".x86-64.so \
        -Wl,-rpath,"$root/$dir" -o $dir/"$name"-program
}
against_c() { # against_c FILE NAME CONTEXT: a program, its logits to NAME-want, near those of C
    model "$1" "$2" --ctx="$3" --batch=4
    program tests/metal/steps.c "$2"
    "$bnc" "$1" --ctx="$3" --batch=4 --quiet --amalgamate --name=m -o $dir/plain.c
    check "$2: a program of C" cc -std=c11 -O1 -I$dir -DHEADER='"plain.h"' tests/metal/steps.c $dir/plain.c -lpthread -lm -o $dir/plain-program
    check "$2: to the context's end" env -C $dir sh -c "./$2-program >$2-want && ./plain-program >plain"
    off=$(paste $dir/"$2"-want $dir/plain | awk '{d = $1 - $2; d = d < 0 ? -d : d; if (d > most) most = d} END {print most + 0}')
    check "$2: logits of each step" test "$(wc -l <$dir/"$2"-want)" -gt 1000
    near "$2: they are those of C" "$off" 0 0.02
}
against_c tests/arch-models/qwen3-i2_s.gguf small 12
"$bnc" synth --shape=tales-4m --type=tq2_0 --layers=1 --quiet -o $dir/blocks.gguf
for at in $("$bnc" inspect $dir/blocks.gguf --json | tr '{' '\n' | sed -n 's/.*"blk.*tq2_0.*"offset": *\([0-9]*\).*/\1/p'); do
    printf '\146\056' | dd of=$dir/blocks.gguf bs=1 seek=$((at + 64)) conv=notrunc 2>/dev/null # the scale of its first 256 weights
done
against_c $dir/blocks.gguf blocks 6
check "a scale for each 256 columns" grep -q 'tglu_q2b(W' $dir/blocks.metal
run() { # run SETTING... : logits of a prefill pass and of decode steps to the context's end, to $dir/out
    env -C $dir BN_FAKE_LOG=small.txt "$@" ./small-program >$dir/out 2>&1
}
cp $dir/small-want $dir/want
for order in backward shuffled; do
    check "$order" run BN_ORDER=$order
    check "$order: the same bits" cmp $dir/out $dir/want
done

# Tiles of prefill and rows of decode: whole tiles and parts of them, in rows and in tokens.
ragged="tests/arch-models/qwen3-i2_s.gguf ${golden:+$golden/synth-odd-llama-i2_s.gguf}"
for file in $ragged; do
    model "$file" long --ctx=64 --batch=40
    program tests/cuda/long.c long -DPROMPT=40
    check "$(basename "$file"): prompts take tiles" grep -q 'tglu_q2_tile(W' $dir/long.metal
    check "$(basename "$file"): decode gives prefill's bits" env -C $dir ./long-program
done

check "decode is encoded once" grep -q '^indirect [1-9]' $dir/small.txt
check "a device without indirect commands" run BN_NO_INDIRECT=1 BN_ORDER=backward
check "the same bits" cmp $dir/out $dir/want
check "each token is encoded" grep -q '^indirect 0$' $dir/small.txt
run BN_ORDER=backward
run BN_FAIL_COMMANDS=3
check "a pass that fails leaves NaN" grep -q nan $dir/out
check "no shaders, no start" sh -c "mv $dir/small.metal $dir/moved; env -C $dir ./small-program 2>&1 | grep -q 'GPU cannot be used'; s=\$?; mv $dir/moved $dir/small.metal; exit \$s"

lines=$(sed -n 's/^lines//p' $dir/small.txt)
for line in $lines; do # a threadgroup barrier
    noticed=0
    for order in shuffled backward forward; do
        [ $noticed = 1 ] || { run BN_ORDER=$order BN_SKIP_LINE="$line" && cmp -s $dir/out $dir/want; } || noticed=1
    done
    check "without the barrier of line $line: $(sed -n "${line}p" $dir/small.metal)" test $noticed = 1
done
in=0
for n in $(sed -n 's/^barriers//p' $dir/small.txt | cut -d ' ' -f 1-5); do # between dispatches: prefill, head, decode, head
    in=$((in + 1))
    for barrier in $(seq "$n"); do
        noticed=0
        run BN_ORDER=backward BN_SKIP_IN=$in BN_SKIP_BARRIER="$barrier" && cmp -s $dir/out $dir/want || noticed=1
        check "without barrier $barrier of pass $in" test $noticed = 1
    done
done
check "there were barriers" test "$in" -ge 3

# ---- mistakes: what users do wrong ----
refused "an int8 cache" "target metal has no kernel" "$bnc" tests/arch-models/qwen3-i2_s.gguf --target=metal --kv=int8 -o $dir/x
refused "a program" "cannot make or run" "$bnc" tests/arch-models/qwen3-i2_s.gguf --target=metal --emit=exe -o $dir/x
refused "run" "cannot make or run" "$bnc" run tests/arch-models/qwen3-i2_s.gguf --target=metal -n 1
refused "a library" "only a Mac has" "$bnc" tests/arch-models/qwen3-i2_s.gguf --target=metal --emit=lib -o $dir/x
check "nothing is left" test ! -e $dir/x -a ! -e $dir/x.metal

# ---- end ----
finish
