#!/bin/sh
# Weight formats from file to logits: run_formats.sh BNC. Models whose products are not ternary are
# computed as floats, to the logits of the same values in f32; parts of a split model are one model;
# what cannot be read is refused with a way out. Makes its models with build/retype.
bnc=$1
retype=build/retype
dir=build/formats
model=examples/models/fables-27m-i2_s.gguf
llama=${BN_SHARED:-../shared}/models/synth-tiny-llama-i2_s.gguf
masters=${BN_SHARED:-../shared}/models/tales-4m-f16.gguf
rm -rf $dir
mkdir -p $dir
printf '#!/bin/sh\nexec %s "$@" -O1\n' "${CC:-cc}" >$dir/cc # these programs run once
chmod +x $dir/cc
. tests/lib.sh
cases 1 "$@"

says() { # says TEXT: the last compile noted it
    check "note '$1'" grep -qF -- "$1" $dir/notes
}
logits() { # logits FILE NAME OPTION...: compiles FILE, writes NAME.txt
    file=$1
    out=$dir/$2
    shift 2
    CC=$dir/cc "$bnc" $file --emit=exe --kv=f32 --head=f16 "$@" -o $out 2>$dir/notes
    check "compile $file $*" test $? = 0
    $out -p "Once upon a time there was a king" --logits >$out.txt
    check "run $out" test -s $out.txt
}
# rms NAME NAME: root mean square of the difference over the deviation of the second's logits
rms() {
    paste -d' ' $dir/$1.txt $dir/$2.txt | awk '{
        h = NF / 2
        for (i = 1; i <= h; i++) { d = $i - $(i + h); e += d * d; s += $(i + h); q += $(i + h) * $(i + h); n++ }
    } END { m = s / n; print n ? sqrt(e / n / (q / n - m * m)) : "none" }'
}
near() { # near NAME NAME BOUND
    is=$(rms $1 $2)
    echo "$1 against $2: $is of the logits' deviation (bound $3)"
    check "$1 is near $2: $is" awk "BEGIN { exit !(\"$is\" != \"none\" && $is + 0 <= $3) }"
}

# ---- parts: one model in parts ----
check "split" $retype --split 3 $model $dir/parts
"$bnc" $model --quiet -o $dir/whole.c
check "compile from the second part" "$bnc" $dir/parts-00002-of-00003.gguf --quiet -o $dir/joined.c
check "the same weights" cmp $dir/whole.bnw $dir/joined.bnw
check "inspect counts all tensors" sh -c "'$bnc' inspect $dir/parts-00001-of-00003.gguf | grep -qE '^ *all +90 '"
mkdir $dir/lost
cp $dir/parts-00001-of-00003.gguf $dir/parts-00003-of-00003.gguf $dir/lost
refused "a missing part" "lost/parts-00002-of-00003.gguf: error: part 2 of 3 of this model is missing" \
    "$bnc" $dir/lost/parts-00003-of-00003.gguf -o $dir/x.c
cp $dir/parts-00003-of-00003.gguf $dir/lost/parts-00002-of-00003.gguf
refused "a part twice" "by its keys split.no + 1 = 3 of 3" "$bnc" $dir/lost/parts-00001-of-00003.gguf -o $dir/x.c
cp $dir/parts-00001-of-00003.gguf $dir/lost/model.gguf
refused "a part of another name" "does not end in -0000N-of-00003.gguf" "$bnc" $dir/lost/model.gguf -o $dir/x.c
check "overlapping parts" $retype --split 2 $model $dir/again 91
refused "a tensor twice" "stands here and in $dir/again-00002-of-00002.gguf" "$bnc" $dir/again-00001-of-00002.gguf -o $dir/x.c
check "a tensor too many" $retype --split 2 $model $dir/more 90
refused "another count" "split.tensors.count promises 90 tensors, the 2 parts have 91" "$bnc" $dir/more-00001-of-00002.gguf -o $dir/x.c

# ---- ternary: decoders against others, written apart ----
if python3 -c '' 2>/dev/null; then
    PYTHONDONTWRITEBYTECODE=1
    export PYTHONDONTWRITEBYTECODE
    decoded() { # decoded NAME FILE
        check "$1: its floats" $retype --floats "$2" $dir/floats.gguf
        check "$1: bit for bit" python3 tests/reference/formats.py same "$2" $dir/floats.gguf
    }
    check "one tensor of each" python3 tests/reference/formats.py make $dir/each.gguf
    decoded "each format" $dir/each.gguf
    for kind in q2_0 first last stq1_0; do
        check "id 42, $kind" python3 tests/reference/formats.py id42 $dir/id42.gguf $kind
        decoded "id 42, $kind" $dir/id42.gguf
        check "inspect $kind" "$bnc" inspect $dir/id42.gguf
    done
else
    skip "ternary formats" "no python3"
fi

# ---- shared: the others need models ----
if [ ! -r "$llama" ] || [ ! -r "$masters" ]; then
    skip "no models in ${BN_SHARED:-../shared}"
    finish
    exit
fi

# ---- k after shared: the K formats and those with a minimum: f16 ----
cp "$llama" $dir/k.gguf
for change in "q4_k attn_q" "q5_k attn_k" "q6_k attn_v" "iq4_xs attn_output" "q2_k ffn_gate" "q3_k ffn_up" \
    "q4_1 blk.0.ffn_down" "q5_1 blk.1.ffn_down" "q4_k blk.2.ffn_down" "q6_k token_embd" "q5_k output.weight"; do
    # shellcheck disable=SC2086
    check "retype $change" $retype $dir/k.gguf $dir/k2.gguf $change
    mv $dir/k2.gguf $dir/k.gguf
done
check "its values in f32" $retype --floats $dir/k.gguf $dir/k32.gguf
logits $dir/k.gguf k
says "21 tensors are not ternary: kept as floats (21 as f16), slower"
says "@token_embd is q6_k in the file, computed as f16"
logits $dir/k32.gguf k32
says "21 tensors are not ternary: kept as floats (21 as f32), slower"
near k k32 0.003

# ---- q8 after shared k: a scale a block and whole numbers: q8_0 holds them exactly ----
cp "$llama" $dir/q.gguf
for change in "q4_0 attn_q" "q5_0 attn_k" "iq4_nl attn_v" "q8_0 attn_output" "q2_0 ffn_gate" "pq2_0 ffn_up" \
    "q4_0 ffn_down" "q4_0 token_embd" "iq4_nl output.weight"; do
    # shellcheck disable=SC2086
    check "retype $change" $retype $dir/q.gguf $dir/q2.gguf $change
    mv $dir/q2.gguf $dir/q.gguf
done
check "its values in f32" $retype --floats $dir/q.gguf $dir/q32.gguf
logits $dir/q.gguf q
says "21 tensors are not ternary: kept as floats (21 as q8_0), slower"
says "@token_embd is q4_0 in the file, computed as q8_0"
logits $dir/q32.gguf q32
near q q32 0.00001
check "another model, other logits: $(rms q k)" awk "BEGIN { exit !($(rms q k) > 0.5) }"

# ---- mixed after shared: layers of one kind and of another ----
check "a float layer" $retype "$llama" $dir/mixed.gguf q4_k blk.1.
logits $dir/mixed.gguf mixed
says "7 tensors are not ternary: kept as floats (7 as f16), slower"
check "two layers stay ternary" sh -c "'$bnc' opt --passes=quant --quiet $dir/mixed.gguf | grep -q 'attn_q_3 \[1 from 2\] : tern<'"

# ---- masters after shared: plain floats: masters only where the graph says so; --ternary ----
check "a float llama" $retype "$llama" $dir/float.gguf f16 blk.
"$bnc" $dir/float.gguf --emit=ir -o $dir/m.tir 2>$dir/notes
says "21 tensors are not ternary: kept as floats (21 as f16), slower"
check "none is ternary" sh -c "! grep -q 'tern<' $dir/m.tir"
"$bnc" $dir/float.gguf --emit=ir --ternary=always -o $dir/m.tir 2>$dir/notes
says "21 float tensors are made ternary by absmean, but nothing says that 'llama' was trained for it"
check "all are ternary" test "$(grep -c ': tern<' $dir/m.tir)" = 7
check "masters" "$bnc" "$masters" --emit=ir -o $dir/m.tir
check "masters become ternary" test "$(grep -c 'scheme = absmean' $dir/m.tir)" = 7
check "masters as floats" "$bnc" "$masters" --emit=ir --ternary=never -o $dir/m.tir
check "none is ternary" sh -c "! grep -q 'tern<' $dir/m.tir"
logits "$llama" tern
logits "$llama" floats --ternary=never
says "21 tensors are kept as floats (21 as f16), as asked: slower"
near tern floats 0.1
refused "--ternary=maybe" "--ternary is auto, always or never" "$bnc" $model --ternary=maybe -o $dir/x.c
check "no file left of a failed run" test ! -e $dir/x.c -a ! -e $dir/x.bnw

# ---- end ----
finish
