#!/bin/sh
# Ternary weights with a scale for each group of columns, from file to logits: run_groups.sh BNC. Goldens
# of ../shared/golden/hf by transformers itself: with float activations within the bounds of float32, with
# int8 ones by groups and by tokens within those of int8; from blocks and from floats the same weights; and
# generated C, whatever its kernels, gives plain C's logits.
bnc=$1
shared=${BN_SHARED:-../shared}/golden/hf
dir=build/groups
rm -rf $dir
mkdir -p $dir
printf '#!/bin/sh\nexec %s "$@" -O1\n' "${CC:-cc}" >$dir/cc # these programs run once
chmod +x $dir/cc
. tests/lib.sh
cases 1 "$@"

model() { # model NAME TYPE: a checkpoint as GGUF
    python3 tests/reference/hf_to_gguf.py "$shared/$1" $dir/"$1"-"$2".gguf "$2"
}
golden() { # golden MODEL TYPE ROW OPTION...: compiled so, it is as near as ROW of the README's table says
    file=$1-$2
    row=$3
    name=$1
    shift 3
    so=$dir/$(echo "$file$*" | tr -c 'a-z0-9_\n' -).so
    check "compile $file $*" env CC=$dir/cc "$bnc" $dir/"$file".gguf --kv=f32 --emit=so --name=m --quiet "$@" -o "$so" &&
        check "golden $file $*" build/test_hf_golden "$shared/$name/golden.json" "$so" "$row"
}

# ---- files: codes, and floats that are so, become the same weights ----
check "synth" "$bnc" synth --shape=tales-4m --layers=2 --type=q2_0 -o $dir/synth.gguf --quiet
check "compile" "$bnc" $dir/synth.gguf --target=x86-64 --quiet -o $dir/synth.c
check "a scale for each 64 columns" grep -q tmatmul_q2g64 $dir/synth.c
check "trained with one scale a token" grep -q 'scale = token' $dir/synth.c
check "float activations" "$bnc" $dir/synth.gguf --target=x86-64 --act=f32 --quiet -o $dir/floats.c
check "linear reads the codes" grep -q 'linear_q2g64' $dir/floats.c
refused "no groups on a GPU" "target cuda has no kernels for it; use --act=token" \
    "$bnc" $dir/synth.gguf --target=cuda --act=group -o $dir/x.cu
check "what a GPU has no kernels for stays q8_0" "$bnc" $dir/synth.gguf --target=cuda --quiet --emit=ir -o $dir/cuda.tir
check "q8_0 there" grep -q 'q8_0<' $dir/cuda.tir
# ---- goldens: against transformers ----
if ! test -d "$shared/qwen3"; then
    skip "goldens of transformers" "$shared is not there"
else
    for type in f16 q2_0 pq2_0; do
        check "write qwen3 as $type" model qwen3 $type
    done
    for type in f16 pq2_0; do
        check "compile qwen3 $type" "$bnc" $dir/qwen3-$type.gguf --target=x86-64 --quiet -o $dir/same-$type.c
    done
    check "f16 and pq2_0 compute the same calls" sh -c \
        "for t in f16 pq2_0; do grep -o 'tmatmul_q2g[0-9]*\|tglu_q2g[0-9]*\|embed_q2g[0-9]*' $dir/same-\$t.c >$dir/calls-\$t; done; cmp $dir/calls-f16 $dir/calls-pq2_0"
    golden qwen3 pq2_0 f32 --target=x86-64 --act=f32
    golden qwen3 q2_0 int8 --target=native
    golden qwen3 f16 int8 --target=x86-64-v3 --act=token
fi
# ---- end ----
finish
