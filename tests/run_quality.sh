#!/bin/sh
# What one runs before shipping a model: run_quality.sh BNC. bnc ppl and compare against golden NLL
# and against themselves; bnc inspect --check on damaged copies of a model, --hash.
bnc=$1
shared=${BN_SHARED:-../shared}
model=examples/models/fables-27m-i2_s.gguf
dir=build/quality
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"

get() { # get FILE KEY...: a value of a JSON file
    file=$1
    shift
    $dir/json_get "$@" <"$file"
}
ppl() { # ppl MODEL TEXT OPTION...: $nll and $n, in $dir/ppl.json
    "$bnc" ppl "$@" $window --json --quiet >$dir/ppl.json
    nll=$(get $dir/ppl.json nll)
    n=$(get $dir/ppl.json tokens)
}

check "build json_get" cc -O1 tests/e2e/json_get.c -ljansson -o $dir/json_get

# ---- windows: windows: every token once, in the context that the definition gives it ----
line1="The king had three daughters, and the youngest of them was fair."
line2="One day she went down to the sea, where the boats lay in the sun."
line3="There she met an old man."
echo "$line1" >$dir/1
echo "$line2" >$dir/2
echo "$line3" >$dir/3
cat $dir/1 $dir/2 >$dir/12
cat $dir/2 $dir/3 >$dir/23
cat $dir/1 $dir/2 $dir/3 >$dir/123
# One length of windows, so one model to compile: just the first two lines and BOS.
ctx=39
window=--ctx=$ctx
case $(uname -m) in
x86_64) window="$window --target=x86-64" ;; # plain C, which compiles in a third of the time
esac
ppl $model $dir/1 && t1=$n
ppl $model $dir/2 && t2=$n && nll2=$nll
ppl $model $dir/12 && t12=$n && nll12=$nll
ppl $model $dir/23 && t23=$n && nll23=$nll
check "lines are cut into tokens alone" test "$t12" = $((t1 + t2))
check "the third line fits behind the second" test "$t23" -le "$t12"
check "the window is as long as both" test "$ctx" = $((t12 + 1))
ppl $model $dir/123 --stride="$t1"
check "each token counts once" test "$n" = $((t1 + t23))
want=$(awk "BEGIN {printf \"%.9f\", ($nll12 * $t12 + $nll23 * $t23 - $nll2 * $t2) / $n}")
near "two windows are what the definition says" "$nll" "$want" 1e-6
cat $dir/12 $dir/12 >$dir/1212
ppl $model $dir/1212 --stride="$t12" -t1
near "pieces of a text read apart" "$nll" "$nll12" 1e-9
seq 1 16 >$dir/seq
ppl $model $dir/seq && seq=$n
for stride in 7 "$t12"; do
    ppl $model $dir/seq --stride="$stride"
    check "each token counts once at stride $stride" test "$n" = "$seq"
done

# ---- compare after windows: comparing ----
"$bnc" compare $model $model --text=$dir/123 $window --json --quiet >$dir/same.json
check "a model equals itself: status" test $? = 0
check "a model equals itself: KL" test "$(get $dir/same.json kl)" = 0
check "a model equals itself: top-1" test "$(get $dir/same.json top1_agreement)" = 1.0
ppl $model $dir/123
check "compare and ppl agree" test "$(get $dir/same.json nll_b)" = "$nll"
"$bnc" compare $model $model --text=$dir/3 $window --max-kl=0 --quiet >$dir/said
check "no KL is not above 0" test $? = 0

# ---- mistakes after windows: mistakes ----
: >$dir/empty
refused "an empty text" "has 0 tokens: too few" "$bnc" ppl $model $dir/empty $window --quiet
refused "no text" "no TEXTFILE given" "$bnc" ppl $model
refused "a stride beyond the window" "--stride goes to $t12, one less than a window, not $ctx" \
    "$bnc" ppl $model $dir/seq $window --stride=$ctx --quiet
refused "no stride" "--stride wants a whole number from 1 to 16777216, not '0'" \
    "$bnc" ppl $model $dir/seq --stride=0
refused "half a stride" "--stride wants a whole number from 1 to 16777216, not '1.5'" \
    "$bnc" ppl $model $dir/seq --stride=1.5
refused "-t of ppl" "-t wants a whole number from 1 to 256, not 'many'" "$bnc" ppl $model $dir/seq -t many
refused "an unknown option of ppl" "--max-kl is an option of bnc compare, not of bnc ppl" "$bnc" ppl $model $dir/seq --max-kl=1
refused "compare without a text" "no text given" "$bnc" compare $model $model
refused "--max-kl" "--max-kl wants a number from 0 on, not 'nan'" \
    "$bnc" compare $model $model --text=$dir/seq --max-kl=nan
refused "the compiler's own message" "there is no target 'vax'" "$bnc" ppl $model $dir/seq --target=vax

# ---- check: inspect --check: a copy damaged in one way for each check ----
little=$dir/little.gguf
copy=$dir/copy.gguf
le() { # le BYTES NUMBER: little-endian
    le_n=$1
    le_x=$2
    while [ "$le_n" -gt 0 ]; do
        printf "\\$(printf %03o $((le_x & 255)))"
        le_x=$((le_x >> 8))
        le_n=$((le_n - 1))
    done
}
poke() { # poke OFFSET BYTES NUMBER: in the copy
    le "$2" "$3" | dd of=$copy bs=1 seek="$1" conv=notrunc 2>/dev/null
}
behind() { # behind TEXT: the offset in the copy where the first TEXT has ended
    echo $(($(grep -obUaF -m1 "$1" $copy | head -n 1 | cut -d : -f 1) + ${#1}))
}
data() { # data TENSOR: the offset in the copy of a tensor's bytes
    "$bnc" inspect $copy --json 2>/dev/null | $dir/json_get tensors | tr '{' '\n' |
        sed -n "s/^\"name\":\"$1\".*\"offset\":\([0-9]*\).*/\1/p"
}
fresh() { # fresh [MODEL]: an undamaged copy, as the next findings expect it
    cat "${1:-$little}" >$copy
}
judged() { # judged STATUS CHECK VERDICT TEXT [OPTION...]: what --check says of the copy
    status=$1
    line="  $(printf '%-10s %-8s' "$2" "$3") "
    text=$4
    shift 4
    "$bnc" inspect $copy --check "$@" >$dir/said 2>/dev/null
    check "status of a file with '$text'" test $? = "$status"
    check "$line: $text" awk -v line="$line" -v text="$text" \
        'index($0, line) == 1 && index($0, text) {n++} END {exit !n}' $dir/said
}
check "a little model" "$bnc" synth --shape=tales-4m --quiet -o $little
check "another in f16" "$bnc" synth --shape=tales-4m --type=f16 --quiet -o $dir/f16.gguf
check "another in tq2_0" "$bnc" synth --shape=tales-4m --type=tq2_0 --quiet -o $dir/tq2.gguf
for m in $little $dir/f16.gguf $dir/tq2.gguf $model; do
    "$bnc" inspect $m --check >$dir/said
    check "$m passes" test $? = 0
    check "$m has no faults" grep -q "^  14 checks: 0 errors, 0 warnings" $dir/said
done
# Of a .bnw: whole, or what of it is not.
"$bnc" $little --quiet -o $dir/whole.c
"$bnc" inspect $dir/whole.bnw >$dir/said
check "a whole .bnw" grep -q 'the file is whole' $dir/said
check "its hash is the model's" grep -q "$("$bnc" inspect $dir/whole.bnw --json | $dir/json_get hash)" $dir/whole.c
bnw=$(wc -c <$dir/whole.bnw)
for at in 4096 $((bnw / 2)) $((bnw - 1)); do
    cat $dir/whole.bnw >$copy
    old=$(od -An -tu1 -j"$at" -N1 $copy)
    poke "$at" 1 $((old ^ 1))
    refused "byte $at" "copy.gguf: error: is damaged: its header says hash" "$bnc" inspect $copy
done
head -c $((bnw - 1)) $dir/whole.bnw >$copy
refused "a byte less" "is truncated or extended" "$bnc" inspect $copy
head -c 100 $dir/whole.bnw >$copy
refused "a header alone" "is truncated: a bnw file has 4096 bytes or more" "$bnc" inspect $copy
cat $dir/whole.bnw >$copy
poke 8 4 77
refused "another version" "is of version 77" "$bnc" inspect $copy

renamed() { # renamed FROM TO: of one length, in the copy
    LC_ALL=C sed "s/$1/$2/" $little >$copy
}
renamed blk.3.attn_sub_norm blk.3.attn_sux_norm
judged 1 graph error "tensor blk.3.attn_sux_norm.weight is unknown"
renamed tokenizer.ggml.pre tokenizer.ggml.prx
judged 0 graph warning "names no pre-tokenizer"
renamed llama-bpe llama-xyz
judged 1 graph error "pre-tokenizer \"llama-xyz\" is not supported"
renamed general.architecture general.architectura
judged 1 graph error "does not name its architecture"
renamed tokenizer.ggml.merges tokenizer.ggml.merged
judged 1 merges error "without merges"
renamed tokenizer.ggml.tokens tokenizer.ggml.tokenz
judged 1 merges error "there are no tokens"
renamed tokenizer.ggml.token_type tokenizer.ggml.token_typo
judged 0 specials warning "which tokens are special is guessed"
renamed tokenizer.ggml.eos_token_id tokenizer.ggml.eox_token_id
judged 0 specials warning "never stops by itself"
renamed tokenizer.ggml.bos_token_id tokenizer.ggml.box_token_id
judged 1 specials error "but no bos_token_id is given"
fresh
poke $(($(behind tokenizer.ggml.bos_token_id) + 4)) 4 4096
judged 1 specials error "bos_token_id is no token: the vocabulary has 4096"
fresh
poke $(($(behind token_embd.weight) + 20)) 4 8
judged 0 extents warning "token_embd.weight' is q8_0 here and takes 1114112 bytes, then 983040 follow"
poke $(($(behind token_embd.weight) + 20)) 4 42
refused "id 42 where neither size of q2_0 fits" "one must fit all tensors" "$bnc" inspect $copy --check
poke $(($(behind token_embd.weight) + 20)) 4 142
judged 1 types warning "type id 142, which is ambiguous: PQ2_0 of a fork"
fresh
poke $(($(behind general.file_type) + 4)) 4 37
judged 0 file_type warning "says tq2_0, but most weights of the layers are i2_s"
fresh
poke $(($(behind bitnet-b1.58.embedding_length) + 4)) 4 128
judged 1 embedding error "has 256 columns, embedding_length says 128"
fresh
poke $(($(behind bitnet-b1.58.vocab_size) + 4)) 4 5000
judged 0 embedding warning "vocab_size says 5000"
fresh
up=$(data blk.3.ffn_up.weight)
gain=$(data blk.2.ffn_norm.weight)
poke $((up + 100)) 1 255
judged 1 codes error "'blk.3.ffn_up.weight' has 4 codes of 196,608"
fresh
poke $((up + 49152)) 4 0x7fc00000
judged 1 scales error "'blk.3.ffn_up.weight' has a scale that is not finite"
poke $((up + 49152)) 4 0
judged 0 scales warning "has scale 0 over codes that are not"
poke $((up + 49152)) 4 0x7149f2ca
judged 0 scales warning "weights of 1e+30 are not plausible"
poke $((up + 49152)) 4 0xbf800000
judged 0 scales warning "has scale -1"
poke $((up + 49152)) 4 0x43480000
judged 0 scales warning "was it divided instead of multiplied"
fresh
poke "$gain" 4 0x7f800000
judged 1 values error "'blk.2.ffn_norm.weight' holds 1 values that are not finite"
poke "$gain" 4 0x49742400
judged 0 norms warning "has gains up to 1e+06"
dd if=/dev/zero of=$copy bs=1 seek="$gain" count=1024 conv=notrunc 2>/dev/null
judged 1 norms error "'blk.2.ffn_norm.weight' is all zeros"
poke "$gain" 4 0x3a83126f
judged 0 norms warning "stored less one, or divided?"
fresh $dir/f16.gguf
poke "$(data blk.1.attn_q.weight)" 2 0x1234
judged 0 ternary warning "1 of 28 matrices in the layers are floats that are not ternary"
fresh $dir/tq2.gguf
poke $(($(data blk.1.attn_q.weight) + 64)) 2 0x3c00
judged 0 scales warning "'blk.1.attn_q.weight' has block scales from"
fresh $model
judged 0 layout ok "I2_S read as x128: its zeros go with the norms"
judged 1 layout error "use --i2s-layout=x128" --i2s-layout=arm64
judged 1 layout error "use --i2s-layout=x128" --i2s-layout=row4

# ---- bos after windows check: windows without BOS: all tokens but the first ----
fresh
poke $(($(behind tokenizer.ggml.add_bos_token) + 4)) 1 0
printf 'ba be bi ba bu ' >$dir/words
cat $dir/words $dir/words $dir/words $dir/words $dir/words >$dir/longer
ppl $little $dir/longer && with=$n
for stride in 5 36; do
    ppl $copy $dir/longer --stride=$stride
    check "no BOS, stride $stride: all but the first" test "$n" = $((with - 1))
done
refused "another vocabulary" "only models of one vocabulary can be compared" \
    "$bnc" compare $model $little --text=$dir/words $window --quiet

# A file of six words, two matrices of the same bytes and a chat template.
string() { # string TEXT
    le 8 ${#1}
    printf '%s' "$1"
}
strings() { # strings KEY TEXT...
    string "$1"
    shift
    le 4 9
    le 4 8
    le 8 $#
    for item; do string "$item"; done
}
six() { # six ROWS-OF-OUTPUT TEMPLATE
    printf GGUF
    le 4 3
    le 8 2
    le 8 6
    string general.architecture && le 4 8 && string bitnet-b1.58
    string tokenizer.ggml.model && le 4 8 && string gpt2
    strings tokenizer.ggml.tokens a b ab '<|eot_id|>' b c
    strings tokenizer.ggml.merges 'a b' 'a c'
    string tokenizer.ggml.token_type && le 4 9 && le 4 5 && le 8 6
    for type in 1 1 1 1 1 1; do le 4 $type; done
    string "$2" && le 4 8
    string "{{ 'Human: ' }}<|eot_id|><|start|>BITNETAssistant: "
    string token_embd.weight && le 4 2 && le 8 8 && le 8 4 && le 4 0 && le 8 0
    string output.weight && le 4 2 && le 8 8 && le 8 "$1" && le 4 0 && le 8 128
    head -c 4096 /dev/zero
}
cut_to() { # the copy's tensor data ends with its last tensor
    end=$(($(data output.weight) + $1))
    head -c $end $copy >$copy.cut
    mv $copy.cut $copy
}
six 4 tokenizer.chat_template >$copy
cut_to 128
judged 1 embedding error "has 4 rows for 6 tokens"
judged 1 embedding warning "output.weight repeats token_embd.weight: 128 bytes"
judged 1 merges warning "1 tokens repeat the text of another"
judged 1 merges warning "1 of 2 merges name parts that are no tokens, number 1 first, 'a c'"
judged 1 specials warning "1 tokens look special but are marked as ordinary text, '<|eot_id|>'"
judged 1 template warning "BitNet b1.58 2B4T was trained with 'User: '"
judged 1 template warning "the chat template writes '<|start|>', which is no token"
six 5 tokenizer.chat_templatx >$copy
cut_to 160
judged 1 embedding error "output.weight is 5 x 8, token_embd.weight 4 x 8"
judged 1 template warning "there is no tokenizer.chat_template"
"$bnc" inspect $copy --check --json >$dir/check.json
check "--json: errors" test "$(get $dir/check.json check errors)" = "$(grep -c ' error ' $dir/said)"
check "--json: a finding" test "$(get $dir/check.json check findings 0 verdict)" = error

# ---- hash after check bos: inspect --hash ----
"$bnc" inspect $little --hash --json >$dir/hash.json
check "a tensor's XXH64 has 16 digits" test "$(get $dir/hash.json tensors 0 xxh64 | wc -c)" = 17
total=$(get $dir/hash.json tensors_xxh64)
renamed synth-tales-4m synth-tales-4n
"$bnc" inspect $copy --hash >$dir/said
check "metadata does not change the hash of the tensors" grep -q "^  $total  all tensors" $dir/said
poke "$gain" 1 7
"$bnc" inspect $copy --hash >$dir/changed
check "a changed byte changes the hash of the tensors" test $(($(grep -c "$total" $dir/changed))) = 0
diff $dir/said $dir/changed >$dir/diff
check "and that of one tensor" test "$(grep -c '^> .*blk' $dir/diff)" = 1

# ---- golden: golden excerpts ----
window=
sum=0
for i in 0 1; do
    printf '%s' "$(get tests/golden/fables-27m.json nll $i text)" >$dir/excerpt
    ppl $model $dir/excerpt
    near "$model: mean NLL of excerpt $i" "$nll" "$(get tests/golden/fables-27m.json nll $i mean)" 0.002
    sum=$(awk "BEGIN {print $sum + ($nll - $(get tests/golden/fables-27m.json nll $i mean)) / 2}")
done
near "$model: mean NLL of both excerpts" "$sum" 0 0.0012
if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
    window=
    for m in tales-4m tales-27m; do
        sum=0
        for i in 0 1; do
            printf '%s' "$(get "$shared/golden/$m.json" nll $i text)" >$dir/excerpt
            ppl "$shared/models/$m-i2_s.gguf" $dir/excerpt
            check "$m: excerpt $i has 255 tokens" test "$n" = 255
            want=$(get "$shared/golden/$m.json" nll $i mean)
            near "$m: mean NLL of excerpt $i" "$nll" "$want" 0.005
            sum=$(awk "BEGIN {print $sum + ($nll - $want) / 2}")
        done
        near "$m: mean NLL of both excerpts" "$sum" 0 0.003
    done
    a=$shared/models/tales-4m-i2_s.gguf
    "$bnc" compare "$a" "$shared/models/tales-27m-i2_s.gguf" --text=$dir/excerpt --json --quiet \
        --max-kl=0.01 >$dir/far.json
    check "another model: status 2 above --max-kl" test $? = 2
    check "another model: says so" test "$(get $dir/far.json above_max_kl)" = true
    ppl "$a" $dir/excerpt
    near "another model: its perplexity" "$(get $dir/far.json nll_a)" "$nll" 1e-9
    near "another model: the difference" "$(get $dir/far.json nll_difference)" \
        "$(awk "BEGIN {print $(get $dir/far.json nll_b) - $nll}")" 1e-5
else
    echo "skipped: golden excerpts: no models and goldens in $shared"
    skipped=$((skipped + 1))
fi

# ---- end ----
finish
