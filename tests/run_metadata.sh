#!/bin/sh
# run_metadata.sh BNC: a file whose metadata or numbers ask for what the graph does not compute is
# refused, by a compilation and by `bnc inspect --check` alike; one that asks for nothing is not.
bnc=${1:?usage: run_metadata.sh BNC}
dir=build/metadata
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

model=tests/arch-models/qwen3-i2_s.gguf
edit() { # edit EDIT...: $dir/m.gguf
    python3 tests/reference/gguf_edit.py "${from:-$model}" $dir/m.gguf "$@"
}
wrong() { # wrong NAME TEXT EDIT...: a compilation is refused with TEXT
    name=$1
    text=$2
    shift 2
    edit "$@"
    refused "$name" "$text" "$bnc" $dir/m.gguf --quiet -o $dir/m.c
}
twice() { # twice NAME TEXT EDIT...: likewise, and --check finds the same
    wrong "$@"
    refused "$1: --check" "$2" "$bnc" inspect $dir/m.gguf --check
}
right() { # right NAME EDIT...: compiles and is sound
    name=$1
    shift
    edit "$@"
    check "$name: compiles" "$bnc" $dir/m.gguf --quiet -o $dir/m.c
    check "$name: --check" "$bnc" inspect $dir/m.gguf --check
}

# ---- keys: that ask for another computation ----

right "as it is"
sed -n 's/^KEY("\([^"]*\)", *\([^,]*\), *\([^,]*\),.*/\1 \2 \3/p' compiler/frontend/keys.def >$dir/keys
check "keys.def has rows" test "$(wc -l <$dir/keys)" -gt 30
while read -r suffix neutral also; do
    key=qwen3.$(printf %s "$suffix" | sed 's/\*$/x/')
    [ "$suffix" = rope.scaling.type ] || # which the graph itself expects
        wrong "$suffix = 7" "'$key' is 7" "$key=f32:7"
    [ "$neutral" = NONE ] || echo "$key=f32:$neutral" >>$dir/neutral
    [ "$also" = NONE ] || echo "$key=f32:$also" >>$dir/also
done <$dir/keys
# shellcheck disable=SC2046
right "neutral values of all keys" $(cat $dir/neutral)
# shellcheck disable=SC2046
right "the other neutral values" $(cat $dir/also)
twice "rope.scaling.type = yarn" "only right for 'none'" qwen3.rope.scaling.type=str:yarn
right "rope.scaling.type = none" qwen3.rope.scaling.type=str:none
twice "causal = false" "'qwen3.attention.causal' is false" qwen3.attention.causal=bool:0
right "causal = true" qwen3.attention.causal=bool:1
wrong "parallel residual" "is true" qwen3.use_parallel_residual=bool:1
wrong "a text where a number is neutral" "'qwen3.logit_scale' is 'one'" qwen3.logit_scale=str:one
wrong "an array" "'qwen3.rope.dimension_sections' is an array" 'qwen3.rope.dimension_sections=[str]:a,b'
twice "a key that nobody knows" "does not know this key" qwen3.warp_drive=u32:0
wrong "heads of two widths" "is only right for 64" qwen3.attention.value_length=u32:32
twice "rotated weights" "rotated by Hadamard transforms" prism.hadamard.transform=str:block
wrong "not a model" "general.type is 'adapter'" general.type=str:adapter
right "a model" general.type=str:model
right "keys of other architectures" llama.logit_scale=f32:3
from=tests/arch-models/gemma3-i2_s.gguf
right "Gemma computes a window" gemma3.attention.sliding_window=u32:8
wrong "Gemma does not soften logits" "only right for 0" gemma3.final_logit_softcapping=f32:30
from=

sed 's/^ignore /ignore "{arch}.warp_drive" | /' compiler/frontend/arch/qwen3.tir >$dir/own.tir
edit qwen3.warp_drive=u32:9
check "a text that ignores the key takes the file" "$bnc" $dir/m.gguf --quiet --arch=$dir/own.tir -o $dir/own.c

# ---- types: keys of other types are not passed over ----

twice "BOS in words" "tokenizer.ggml.bos_token_id is a single str" tokenizer.ggml.bos_token_id=str:1
twice "EOS in fractions" "an integer is expected" tokenizer.ggml.eos_token_id=f32:1
twice "a flag that is a number" "a bool is expected" tokenizer.ggml.add_bos_token=u32:1
twice "one score" "an array is expected" tokenizer.ggml.scores=f32:1
twice "one type of all tokens" "an array is expected" tokenizer.ggml.token_type=i32:1
twice "a pre-tokenizer's number" "a string is expected" tokenizer.ggml.pre=u32:3
twice "a list of templates" "tokenizer.chat_template is an array of str" 'tokenizer.chat_template=[str]:a,b'

# ---- numbers: without sense ----

for v in 0 -1e-5 1e300 nan inf -inf 1e-60; do
    wrong "eps = $v" EPS "qwen3.attention.layer_norm_rms_epsilon=f64:$v"
done
twice "base = 0" BASE qwen3.rope.freq_base=f32:0
wrong "base = 1e300" BASE qwen3.rope.freq_base=f64:1e300
for v in 0 -4 3000000000; do
    wrong "layers = $v" "L of this model would be" "qwen3.block_count=i64:$v"
done
twice "NaN in a norm" "blk.1.ffn_norm.weight" @blk.1.ffn_norm.weight+8=0000c07f
twice "infinity in a norm" "output_norm.weight" @output_norm.weight+0=000080ff
twice "NaN in the embedding" "token_embd.weight" @token_embd.weight+81918=017c
twice "infinity in the output matrix" "output.weight" @output.weight+40000=00fc
twice "a ternary scale that is NaN" "finite" @blk.0.attn_q.weight+8192=0000c07f
words=$(awk 'BEGIN {for (i = 0; i < 321; i++) printf "%sw%d", i ? "," : "", i}')
twice "more tokens than rows" "the tokenizer has 321 tokens" "tokenizer.ggml.tokens=[str]:$words" \
    -tokenizer.ggml.token_type
"$bnc" quantize $model --type=f16 --quiet -o $dir/floats.gguf >$dir/log 2>&1
from=$dir/floats.gguf
twice "NaN in a projection of floats" "blk.0.attn_k.weight" @blk.0.attn_k.weight+2=017e
from=

# ---- end ----
finish
