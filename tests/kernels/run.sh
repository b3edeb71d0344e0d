#!/bin/sh
# The kernels of every machine there is a way to run: run.sh BNC. Here, on AArch64 under qemu and as
# WebAssembly under Node: all ternary products against a plain loop (exact.c), the other kernels
# against their references (tests/unit/test_kernels.c, test_kv.c), and whole models against plain C.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/kernels
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"
warn="-Wall -Wextra -Werror"
inc="-Icompiler -Iruntime-min -Itests/kernels"

have() {
    command -v "$1" >/dev/null 2>&1
}
tell() { # tell PROGRAM...: a greedy continuation
    "$@" -p "Once upon a time there was" -n 16 --temp 0 --repeat-penalty 1
}

# programs NAME "COMPILER OPTIONS" "RUNNER": the test programs.
programs() {
    # shellcheck disable=SC2086
    check "$1: exact.c compiles" $2 -O2 -std=gnu11 $warn $inc -DEXACT_ALONE tests/kernels/exact.c -lm -o $dir/exact-"$1" &&
        check "$1: products are exact" $3 $dir/exact-"$1" quick
    for test in kernels kv groups; do
        # shellcheck disable=SC2086
        check "$1: test_$test.c compiles" $2 -O2 -std=c11 -D_POSIX_C_SOURCE=200809L -DKERNELS_ALONE $warn $inc tests/unit/test_$test.c -lm -o $dir/$test-"$1" &&
            check "$1: test_$test.c" $3 $dir/$test-"$1"
    done
}

# whole TARGET "COMPILER OPTIONS" "RUNNER": a model, compiled for it, tells what plain C tells here.
whole() {
    # shellcheck disable=SC2086
    check "emit $1" "$bnc" $model --target="$1" --amalgamate --weights=incbin --quiet -o $dir/"$1".c &&
        check "$1 compiles" $2 -O1 $warn $dir/"$1".c -lm -lpthread -o $dir/"$1" &&
        check "$1 tells what plain C tells" test "$(tell $3 $dir/"$1")" = "$want"
}

# ---- here: here ----
check "native: exact.c compiles" cc -O2 -std=gnu11 $warn $inc -DEXACT_ALONE tests/kernels/exact.c -lm -o $dir/exact &&
    check "native: products are exact" $dir/exact some

# ---- arm64: AArch64 ----
arm=aarch64-linux-gnu-gcc
qemu="qemu-aarch64 -cpu max"
have qemu-aarch64 || qemu="qemu-aarch64-static -cpu max"
if ! have $arm; then
    skip "AArch64" "no $arm"
elif ! have ${qemu%% *}; then
    skip "AArch64" "no qemu-aarch64"
else
    programs arm64 "$arm -static" "$qemu"
    check "plain C" "$bnc" $model --target=generic --emit=exe --quiet -o $dir/plain
    want=$(tell $dir/plain)
    for target in arm64 arm64-dotprod arm64-i8mm; do
        whole $target "$arm -static" "$qemu"
    done
    if have clang; then # the pragmas differ
        for target in arm64-dotprod arm64-i8mm; do
            check "clang $target" clang --target=aarch64-linux-gnu -O1 $warn -c $dir/$target.c -o $dir/clang.o
        done
    else
        skip "clang for AArch64" "no clang"
    fi
fi

# ---- wasm32: WebAssembly ----
wasi="clang --target=wasm32-wasi -msimd128"
echo 'int main(void) { return 0; }' >$dir/empty.c
if ! have node; then
    skip "WebAssembly" "no node"
elif ! $wasi $dir/empty.c -o $dir/empty >/dev/null 2>&1; then
    skip "WebAssembly" "clang, wasm-ld or wasi-libc is missing"
elif ! node --no-warnings tests/kernels/wasi.mjs $dir/empty >/dev/null 2>&1; then
    skip "WebAssembly" "this node has no WASI"
else
    programs wasm32 "$wasi" "node --no-warnings tests/kernels/wasi.mjs"
    if check "emit wasm32-simd128" "$bnc" $model --target=wasm32-simd128 --quiet -o $dir/wasm.c; then
        # shellcheck disable=SC2086
        check "wasm32-simd128 compiles" clang --target=wasm32-wasi -O1 $warn -Iruntime-min -c $dir/wasm.c -o $dir/wasm.o
    fi
fi

# ---- end ----
finish
