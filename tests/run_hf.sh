#!/bin/sh
# Checkpoints of transformers: run_hf.sh BNC HOW [CASES]. All logits of each small checkpoint of
# ../shared/golden/hf, compiled from its folder, against those of transformers, within the tolerances
# that its README derives; the GGUF of `bnc convert` compiles to the same; and readings that are wrong
# in one way each are found to be. HOW: c, by a C compiler; jit, by LLVM, in place of it.
bnc=$1
how=$2
shared=${BN_SHARED:-../shared}
hf=$shared/golden/hf
dir=build/hf-$how
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
. tests/lib.sh
cases 2 "$@"

if ! [ -d "$hf" ] || ! python3 -c '' 2>/dev/null; then
    echo "skipped: no $hf, or no python3"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
floats= # what makes activations floats, where there is a choice
if "$bnc" help compile | grep -q -- '--act='; then floats=--act=f32; fi

prompts="0 1 2"
target=
[ "$(uname -m)" != x86_64 ] || target=--target=x86-64-v3 # compiles in half the time of this machine's
logits() { # logits NAME INPUT OPTION...: $dir/NAME.0, .1 and .2, of the golden's prompts
    name=$1
    shift
    python3 tests/reference/hf_logits.py "$golden" --ids=$dir/ids || return 1
    if [ "$how" = c ]; then
        "$bnc" "$@" --quiet --name=m $target --emit=obj -o $dir/"$name".o &&
            ${CC:-cc} -Iruntime-min tests/e2e/cli_main.c $dir/"$name".o build/libbnrt.a -lm -pthread -o $dir/"$name" || return 1
    fi
    for i in $prompts; do
        if [ "$how" = jit ]; then
            "$bnc" run "$@" --jit --quiet --ids=$dir/ids.$i --logits >$dir/"$name".$i || return 1
        else
            $dir/"$name" --ids=$dir/ids.$i --logits >$dir/"$name".$i || return 1
        fi
    done
    rm -f $dir/"$name" $dir/"$name".o
}
against() { # against ROW NAME
    python3 tests/reference/hf_logits.py "$golden" "$1" $dir/"$2".0 $dir/"$2".1 $dir/"$2".2
}
right() { # right MODEL ROW NAME INPUT OPTION...
    golden=$hf/$1
    row=$2
    shift 2
    check "$1: logits" logits "$@" && check "$1: $row" against "$row" "$1"
}
converted() { # converted MODEL ROW OPTION...: its GGUF, which often compiles to the very same
    m=$1
    row=$2
    shift 2
    check "$m: convert" "$bnc" convert $hf/"$m" --quiet -o $dir/"$m".gguf || return
    "$bnc" $hf/"$m" --quiet --name=m "$@" -o $dir/folder.c && "$bnc" $dir/"$m".gguf --quiet --name=m "$@" -o $dir/file.c
    for f in folder file; do # but for the model's name and where it came from
        sed "s/$f\.bnw/x.bnw/g; /bnc/d; /source_hash/d; s/\"$m\"//g" $dir/$f.c >$dir/$f.text
    done
    if cmp -s $dir/folder.bnw $dir/file.bnw && cmp -s $dir/folder.text $dir/file.text; then
        passed=$((passed + 1))
    else
        right "$m" "$row" "$m-gguf" $dir/"$m".gguf "$@"
    fi
}

# ---- weights: a scale for each 128 columns ----
# One of each graph and scaling; with HF_ALL=1 all. The others share graph and scaling with one of these.
some="qwen3-yarn llama-linear llama-llama3 minicpm-longrope hunyuan-v1-dense gemma3-text"
more="qwen3 llama-yarn llama-binary minicpm"
[ "$how" = c ] || some="minicpm-longrope hunyuan-v1-dense" more=
for m in $some ${HF_ALL:+$more}; do
    right $m float32 $m $hf/$m --kv=f32 $floats
    # shellcheck disable=SC2086
    [ "$how" = jit ] || converted $m float32 --kv=f32 $floats
done

# ---- bitnet: int8 activations, as trained ----
more="bitnet bitnet-online"
[ "$how" = c ] && for m in bitnet-bitlinear ${HF_ALL:+$more}; do
    right $m bitnet $m $hf/$m --kv=f32
    converted $m bitnet --kv=f32
done

# ---- defaults: what users get, of a GGUF that others read ----
[ "$how" = c ] && for m in qwen3-yarn; do
    check "$m: convert" "$bnc" convert $hf/$m --quiet -o $dir/$m.gguf
    right $m int8 $m-default $dir/$m.gguf
done

# ---- wrong: readings that are wrong in one way ----
wrong() { # wrong NAME MODEL INPUT OPTION...: further off than the float32 row allows, at any rounding
    what=$1
    golden=$hf/$2
    shift 2
    check "$what: logits" logits wrong "$@" --kv=f32 $floats
    check "$what is found" sh -c "! python3 tests/reference/hf_logits.py '$golden' int8 $dir/wrong.1 && ! grep -q Traceback $dir/log"
}
edited() { # edited MODEL EDIT...: $dir/wrong.gguf
    golden=$hf/$1
    m=$1
    shift
    "$bnc" convert "$golden" --quiet -o $dir/right.gguf && python3 tests/reference/gguf_edit.py $dir/right.gguf $dir/wrong.gguf "$@"
}
prompts=1 # of 97 tokens
edited qwen3-yarn qwen3.rope.scaling.attn_factor=f32:0.878248
wrong "no attention factor" qwen3-yarn $dir/wrong.gguf
if [ "$how" = jit ]; then # those that land nearest to what is right
    edited minicpm "minicpm.residual_scale=f32:1"
    wrong "no residual scale" minicpm $dir/wrong.gguf
    sed 's/%q1   = rope %q0,/%q1 = head_norm %q0, @attn_q_norm {heads = H, eps = EPS} : f32<T x Q>\n    %q = rope %q1,/
        s/%k1   = rope %k0,/%k1 = head_norm %k0, @attn_k_norm {heads = G, eps = EPS} : f32<T x K>\n    %k = rope %k1,/
        /%[qk]    = head_norm/d' compiler/frontend/arch/hunyuan-dense.tir >$dir/norm-first.tir
    wrong "norms before the rotation" hunyuan-v1-dense $hf/hunyuan-v1-dense --arch=$dir/norm-first.tir
    edited gemma3-text gemma3.attention.sliding_window=u32:33
    wrong "a window of 33" gemma3-text $dir/wrong.gguf
fi

# ---- text: a model without a tokenizer says so ----
m=$hf/llama-linear
jit=--jit
[ "$how" = jit ] || jit=
refused "a prompt" "the model has no tokenizer" "$bnc" run $m --quiet -n 1 -p "Once" $jit
refused "ids to text" "has no tokenizer and writes no text" sh -c "echo 1 2 3 | '$bnc' run $m --quiet -n 1 --ids=- $jit"
refused "tokenize" "the model has no tokenizer" "$bnc" tokenize $m "Once"
refused "chat" "the model has no tokenizer" "$bnc" chat $m --quiet
if [ "$how" = jit ]; then
    refused "ppl" "the model has no tokenizer" "$bnc" ppl $m README.md --quiet --jit
    refused "embed" "the model has no tokenizer" sh -c "echo one | '$bnc' embed $m --quiet --jit"
fi
check "inspect" "$bnc" inspect $m
refused "qwen3_5" "Qwen3_5ForCausalLM" "$bnc" $hf/qwen3_5 -o $dir/no.c

# ---- end ----
finish
