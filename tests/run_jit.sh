#!/bin/sh
# The JIT (docs/jit.md): run_jit.sh JIT_BNC PLAIN_BNC. What LLVM makes must give the very bits that C
# gives: logits, losses, conversations; objects for other machines run under qemu and Node; caches
# survive damage; gdb and perf see the functions.
bnc=$1
plain=$2
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
case $plain in /*) ;; *) plain=$PWD/$plain ;; esac
model=examples/models/fables-27m-i2_s.gguf
shared=${BN_SHARED:-../shared}
dir=build/jit-test
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
. tests/lib.sh
cases 2 "$@"

have() {
    command -v "$1" >/dev/null 2>&1
}
prompt="Once upon a time there was a king who had three daughters, and"
same() { # same NAME A B: two outputs, both there
    check "$1: an output" test -n "$2"
    check "$1" test "$2" = "$3"
}
logits() { # logits BNC MODEL OPTION...: of a prompt that a prefill and a decode step read
    "$@" --quiet -p "$prompt" --logits 2>&1 | cksum
}

# ---- without: without LLVM ----
refused "a bnc without LLVM" "make JIT=1" "$plain" run $model --jit -n 1
refused "its --emit=llvm" "make JIT=1" "$plain" $model --emit=llvm -o $dir/x.bc
refused "a program" "made by a C compiler" "$bnc" $model --jit --emit=exe -o $dir/x
check "no file is left" test ! -e $dir/x.bc

# ---- bits: the same bits ----
bits() { # bits OPTION...: the logits of --jit are those of C
    same "logits: --jit $*" "$(logits "$bnc" run $model --jit "$@" -t 2)" "$(logits "$plain" run $model "$@" -t 2)"
}
bits --kv=f16
same "logits: --jit=O3" "$(logits "$bnc" run $model --jit=O3 --kv=f16 -t 2)" "$(logits "$plain" run $model --kv=f16 -t 2)"
bits --kv=int8 -O0
[ "$(uname -m)" != x86_64 ] || bits --target=x86-64 --kv=f32
for m in tests/arch-models/gemma3-i2_s.gguf; do
    echo "one two three" | "$plain" embed $m --quiet >$dir/want
    echo "one two three" | "$bnc" embed $m --quiet --jit >$dir/got
    check "$m: vectors" cmp $dir/want $dir/got
done
head -c 1500 README.md >$dir/text
loss() { # all but the times
    "$@" $model $dir/text --json --quiet | jq -c 'del(.seconds, .tokens_per_second)'
}
same "ppl" "$(loss "$bnc" ppl --jit)" "$(loss "$plain" ppl)"
check "profile" "$bnc" profile $model -n 4 --jit --json --quiet
check "its rows" sh -c "'$bnc' profile $model -n 4 --jit --quiet | grep -q 'tglu @ffn_gate'"
check "bench" sh -c "'$bnc' bench $model --jit --repeat=1 -t 1 --prompt=8 --at=8 -n 4 --json --quiet | jq -e '.rows[1].tokens_per_s > 0'"
refused "another machine's kernels" "no kernels for the target arm64" "$bnc" run $model --jit --target=arm64 -n 1

# ---- cache: the cache ----
tell() {
    "$bnc" run $model --jit -p "$prompt" -n 8 --temp 0 --quiet 2>&1
}
want=$(tell)
made=$(find $dir/cache -name '*.o' | wc -l)
check "objects are kept" test "$made" -ge 4
tell >/dev/null
check "and found again" test "$(find $dir/cache -name '*.o' | wc -l)" = "$made"
for o in $dir/cache/bnc/*/*.o; do
    cp "$o" $dir/kept
    case $((made % 3)) in
    0) printf 'x' | dd of="$o" bs=1 seek=200 conv=notrunc 2>/dev/null ;;
    1) head -c 100 $dir/kept >"$o" ;;
    2) : >"$o" ;;
    esac
    made=$((made + 1))
done
same "damaged objects" "$(tell)" "$want"
bad=0
for o in $dir/cache/bnc/*/*.o; do
    [ "$(wc -c <"$o")" -gt 200 ] || bad=$((bad + 1))
done
check "what was used is made again" test $bad -lt "$made"
touch -d @1 $dir/cache/bnc/*/*.o
tell >/dev/null
check "and not once more" test -z "$(find $dir/cache -name '*.o' -newermt 2001-01-01)"

# ---- chat: chat templates ----
for t in llama3; do
    printf 'hello\nand then?\n' >$dir/said.txt
    "$plain" chat $model --chat-template=$t -n 12 --temp 0 --quiet <$dir/said.txt >$dir/want 2>&1
    "$bnc" chat $model --chat-template=$t -n 12 --temp 0 --quiet --jit <$dir/said.txt >$dir/got 2>&1
    check "a conversation by $t" cmp $dir/want $dir/got
done
object() { # object OPTION...: build/jit-test/m.o
    "$bnc" $model --emit=obj --name=m --weights=file --quiet -o $dir/m.o "$@"
}
python=
for p in python3 /usr/bin/python3; do
    "$p" -c 'import jinja2' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    skip "templates against Jinja" "no python3-jinja2"
else
    end='<|endoftext|>' # BOS and EOS of the model
    for t in corners; do
        file=tests/chat/templates/$t.jinja
        [ -f $file ] || file=compiler/chat/templates/$t.jinja
        [ -f $file ] || continue
        check "$t: an object" object --jit -O0 --chat-template=$file &&
            check "$t: links" cc -std=c11 -D_POSIX_C_SOURCE=200809L -O0 -Iruntime-min -DMODEL=m_model tests/chat/driver.c $dir/m.o build/libbnrt.a -lpthread -lm -o $dir/driver &&
            check "$t: as Jinja has it" "$python" tests/chat/differential.py $dir/driver - $file --rounds 20 --bos "$end" --eos "$end"
    done
fi

# ---- objects: text and objects ----
check "--emit=llvm: text" "$bnc" $model --emit=llvm --jit --quiet -o $dir/m.ll
check "holds the layers" grep -q '^define internal .*@decode_layer' $dir/m.ll
check "--emit=llvm: bitcode" "$bnc" $model --emit=llvm --quiet -o $dir/m.bc
check "is bitcode" sh -c "head -c 2 $dir/m.bc | grep -q BC"
cp $dir/m.ll $dir/first.ll
check "once more" "$bnc" $model --emit=llvm --jit --quiet -o $dir/m.ll
check "same input, same bytes" cmp $dir/m.ll $dir/first.ll
if [ -d "$shared/golden" ] && [ -x build/test_golden ]; then
    for m in tales-4m-i2_s; do
        check "$m: an object" "$bnc" "$shared"/models/$m.gguf --emit=obj --jit --name=m --kv=f32 --quiet -o $dir/$m.o &&
            check "$m: links" cc -shared $dir/$m.o -Wl,--whole-archive build/libbnrt.a -Wl,--no-whole-archive -lpthread -lm -o $dir/$m.x86-64-v3.so &&
            check "$m: golden" build/test_golden "$shared"/golden $dir/$m.x86-64-v3.so
    done
else
    skip "goldens" "no $shared/golden, or build/test_golden is not built"
fi

# ---- machines: other machines ----
m=tests/arch-models/qwen3-i2_s.gguf
check "here: an object" "$bnc" $m --emit=obj --jit --name=m --quiet -o $dir/here.o &&
    check "here: links" cc -std=c11 -Iruntime-min tests/jit/step.c $dir/here.o -lm -o $dir/here
want=$($dir/here)
check "here: runs" test -n "$want"
for arch in aarch64 riscv64; do
    if ! have $arch-linux-gnu-gcc || ! have qemu-$arch; then
        skip "$arch" "no $arch-linux-gnu-gcc or qemu-$arch"
        continue
    fi
    check "$arch: an object" "$bnc" $m --emit=obj --target=$arch-linux-gnu --name=m --quiet -o $dir/$arch.o &&
        check "$arch: links" $arch-linux-gnu-gcc -static -std=c11 -Iruntime-min tests/jit/step.c $dir/$arch.o -lm -o $dir/$arch &&
        same "$arch: says the same" "$(qemu-$arch $dir/$arch)" "$want"
done
if have node && clang --target=wasm32-wasi -Iruntime-min tests/jit/step.c -c -o $dir/step.o 2>/dev/null; then
    check "wasm32: an object" "$bnc" $m --emit=obj --target=wasm32 --name=m --quiet -o $dir/wasm.o &&
        check "wasm32: links" clang --target=wasm32-wasi $dir/step.o $dir/wasm.o -lm -o $dir/wasm &&
        same "wasm32: says the same" "$(node --no-warnings tests/kernels/wasi.mjs $dir/wasm)" "$want"
else
    skip "wasm32" "no node, or clang has no WASI"
fi

# ---- debuggers after cache: debuggers and profilers ----
if have gdb; then
    gdb -nx -q -batch -ex 'set breakpoint pending on' -ex 'break decode_layer' -ex run -ex backtrace -ex next -ex next \
        --args "$bnc" run $model --jit -p Once -n 2 --temp 0 -t 1 --quiet >$dir/gdb.log 2>&1
    check "gdb stops in a layer" grep -q 'Breakpoint 1.*decode_layer' $dir/gdb.log
    check "and shows the IR's line" grep -q '%n_q, %n_s = rmsnorm_quant' $dir/gdb.log
    check "and steps to the next" grep -q '%q0 = tmatmul' $dir/gdb.log
else
    skip "gdb" "it is not installed"
fi
BNC_PERF=1 tell >/dev/null &
pid=$!
wait $pid
map=$(grep -l bnc:decode_layer /tmp/perf-*.map 2>/dev/null | head -n 1)
check "perf's map names a layer" test -n "$map"

# ---- end ----
rm -f "$map"
finish
