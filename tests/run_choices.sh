#!/bin/sh
# Choices that may change speed, never results: run_choices.sh BNC. Layouts and kernels by a tuning
# record, one file for several machines, the record that `bnc tune` makes.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/choices
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

logits() { # logits PROGRAM THREADS: of a prompt that a prefill and a decode step read
    "$1" -p "Once upon a time there was a king who had three daughters, and" --logits -t "$2" | cksum
}
build() { # build NAME OPTION...
    out=$dir/$1
    shift
    check "build $out" "$bnc" $model --emit=exe --quiet "$@" -o "$out"
}

case $(uname -m) in
x86_64) ;;
*)
    echo "skipped: the choices tested are those of x86-64"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
    ;;
esac
if grep -q avx2 /proc/cpuinfo; then target=x86-64-v3; else target=x86-64; fi

build plain --target=$target
want=$(logits $dir/plain 2)
check "logits are there" test -n "$want"

# ---- layouts: one layout or the other ----
cat >$dir/t3.tune <<'T'
# every shape of the committed model in 1.67 bits
layout 512x512 t3r32
layout 256x512 t3r32
layout 1536x512 t3r32
layout 512x1536 t3r32
layout 7x9 q2r4
kernel tmatmul 7x9 one no_such_kernel
T
build t3 --target=$target --tune=$dir/t3.tune
check "t3r32: same logits" test "$(logits $dir/t3 2)" = "$want"
check "t3r32: smaller" test "$(wc -c <$dir/t3)" -lt "$(wc -c <$dir/plain)"
check "t3r32 stands in the IR" sh -c "'$bnc' opt --quiet --target=$target --tune=$dir/t3.tune $model | grep -q 't3r32<1536 x 512>'"

# ---- multi: several machines in one file ----
build multi --target=x86-64-multi
check "multi: same logits" test "$(logits $dir/multi 3)" = "$want"
"$bnc" $model --target=x86-64-multi --quiet --passes=quant,canon,fold,fuse,specialize,select,pack,plan --emit=ir -o $dir/multi.tir
check "multi: its text compiles" "$bnc" $dir/multi.tir --target=x86-64-multi --quiet -o $dir/again.c
check "multi: emit once more" "$bnc" $model --target=x86-64-multi --quiet -o $dir/multi.c
check "multi: the same weights" cmp $dir/again.bnw $dir/multi.bnw

# ---- tune: what `bnc tune` measures ----
check "tune" "$bnc" tune $model --target=$target -t 1 --quiet -o $dir/here.tune
check "tune names a layout a shape" test "$(grep -c '^layout ' $dir/here.tune)" = 4
check "tune names kernels" grep -q '^kernel tglu 1536x512 one ' $dir/here.tune
build tuned --target=$target --tune=$dir/here.tune
check "tuned: same logits" test "$(logits $dir/tuned 1)" = "$want"

# The measuring program asks for what its instructions need, as bn_open does, and says where it is refused: here
# for an instruction set that no processor has.
cat >$dir/cc.sh <<'C'
#!/bin/sh
for a; do case $a in */tune.c) sed -i 's/tune_isa = [0-9]*u/tune_isa = 0x80000000u/' "$a" ;; esac; done
exec tests/quick-cc.sh "$@"
C
chmod +x $dir/cc.sh
CC=$dir/cc.sh refused "tune without permission" "tune: this process may not use all instructions of the target" \
    "$bnc" tune $model --target=$target -t 1 --quiet -o $dir/x.tune

# ---- mistakes: mistakes ----
echo "layout 512 q2r4" >$dir/bad.tune
refused "a bad shape" "bad.tune:1:1: error: expected 'layout ROWSxCOLS FORMAT'" "$bnc" $model --tune=$dir/bad.tune -o $dir/x.c
printf '# fine\nkernel dance 5x5 one x\n' >$dir/bad.tune
refused "a bad op" "bad.tune:2:1: error" "$bnc" $model --tune=$dir/bad.tune -o $dir/x.c
printf 'layout 384x384 q2r4\n\nlayout 384x384 \000t3r32\n' >$dir/zero.tune
refused "a record with a zero byte" "zero.tune:3:1: error: a zero byte" "$bnc" $model --tune=$dir/zero.tune -o $dir/x.c
refused "no record" "cannot open" "$bnc" $model --tune=$dir/none.tune -o $dir/x.c
refused "tune without -o" "say where to write: bnc tune" "$bnc" tune $model
refused "tune for several machines" "cannot run target x86-64-multi alone" "$bnc" tune $model --target=x86-64-multi -o $dir/x.tune
check "no file left of a failed run" test ! -e $dir/x.c -a ! -e $dir/x.tune

# ---- end ----
finish
