#!/bin/sh
# Checkpoints to GGUF: run_convert.sh BNC. tests/reference/gguf_to_hf.py turns a GGUF into a Hugging
# Face checkpoint of every kind, `bnc convert` turns that back, and the reader tests/reference/gguf.py,
# which shares nothing with bnc, must find the same model. With BN_SHARED (default ../shared) also
# checkpoints, graphs and vocabularies of others.
bnc=$1
shared=${BN_SHARED:-../shared}
model=examples/models/fables-27m-i2_s.gguf
ref=tests/reference
dir=build/convert
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"

if ! python3 -c '' 2>/dev/null; then
    echo "skipped: no python3, which makes the checkpoints"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

checkpoint() { # checkpoint NAME GGUF OPTION...: a folder of the model
    name=$1
    src=$2
    shift 2
    python3 $ref/gguf_to_hf.py "$src" $dir/"$name" "$@" || failed=$((failed + 1))
}
back() { # back NAME GGUF OPTION...: there and back is the same model, bit for bit but 1/(1/scale)
    src=$2
    checkpoint "$@"
    check "convert $1" "$bnc" convert --quiet $dir/"$1" -o $dir/"$1".gguf
    check "$1 is $src" python3 $ref/gguf.py same "$src" $dir/"$1".gguf 1e-7
}

# ---- kinds: every kind of checkpoint ----
check "a small model" "$bnc" synth --quiet --shape=tales-4m --layers=2 -o $dir/small.gguf
back packed $model --shards=2
back reciprocal $dir/small.gguf --scale=divide
back masters $dir/small.gguf --masters
back shards $dir/small.gguf --shards=3

# ---- containers after kinds: every container: what synth writes of the same model ----
for type in tq1_0 tq2_0 f16; do
    check "a small model in $type" "$bnc" synth --quiet --shape=tales-4m --layers=2 --type=$type -o $dir/want.gguf
    check "convert --type=$type" "$bnc" convert --quiet --type=$type $dir/shards -o $dir/got.gguf
    check "$type: the same bytes" python3 $ref/gguf.py same $dir/want.gguf $dir/got.gguf
done

# ---- folder after kinds: a folder where a model file goes ----
check "compile a converted file" "$bnc" $dir/shards.gguf --quiet -o $dir/file.c
check "compile a folder" "$bnc" $dir/shards --quiet -o $dir/folder.c
check "the folder's weights are the file's" cmp $dir/file.bnw $dir/folder.bnw
check "inspect takes a folder" "$bnc" inspect $dir/shards
check "inspect checks a folder" "$bnc" inspect $dir/shards --check
check "quantize takes a folder's masters" "$bnc" quantize $dir/shards --type=tq2_0 --quiet -o $dir/requantized.gguf
sed 's/^arch .*/arch "x"/; s/output_norm.weight/no.weight/' compiler/frontend/arch/bitnet-b1.58.tir >$dir/other.tir
check "a fault of its tensors names the folder" sh -c "'$bnc' $dir/shards --arch=$dir/other.tir -o $dir/m.c 2>&1 | grep -q '^$dir/shards: error: the model has no tensor no.weight'"
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
check "run takes a folder" "$bnc" run $dir/shards -p "bade kilo" -n 4
echo "Once upon a time there was a king." >$dir/text
check "ppl takes a folder" "$bnc" ppl $dir/shards $dir/text
check "compare: a folder is its file" "$bnc" compare $dir/shards $dir/shards.gguf --text=$dir/text --max-kl=0
check "run again" sh -c "'$bnc' run $dir/shards -p 'bade kilo' -n 4 2>$dir/said"
check "keeps what it compiled" sh -c "! grep compiling $dir/said"
sed 's/"rope_theta": [0-9.]*/"rope_theta": 20000.0/' $dir/shards/config.json >$dir/config.json
mv $dir/config.json $dir/shards/config.json
check "run sees a changed file" sh -c "! CC=false '$bnc' run $dir/shards -p x -n 4"
check "the module names the folder" sh -c "'$bnc' $dir/shards --quiet --emit=ir -o $dir/m.tir && grep -q 'source = \"$dir/shards\"' $dir/m.tir"
check "a module's text finds the folder again" "$bnc" $dir/m.tir --quiet -o $dir/m.c

# ---- refused after kinds: what is refused: one file of a good folder changed ----
checkpoint good $dir/small.gguf --masters
refused() { # refused TEXT FILE SED: the folder with FILE changed by SED is refused with TEXT
    rm -rf $dir/bad $dir/bad.gguf
    mkdir $dir/bad
    cp $dir/good/* $dir/bad
    LC_ALL=C sed "$3" $dir/good/"$2" >$dir/bad/"$2"
    "$bnc" convert --quiet $dir/bad -o $dir/bad.gguf >$dir/said 2>&1
    check "refused: $1" test $? = 1 -a ! -e $dir/bad.gguf
    check "said: $1" grep -qF -- "$1" $dir/said || cat $dir/said
}
refused "bnc converts BitNetForCausalLM" config.json 's/BitNetForCausalLM/QwenForCausalLM/'
refused "hidden_act 'gelu'" config.json 's/relu2/gelu/'
refused "hidden_size is something else" config.json 's/"hidden_size": [0-9]*/"hidden_size": -1/'
refused "num_hidden_layers is absent" config.json 's/"num_hidden_layers"/"layers"/'
refused "rms_norm_eps is not a number" config.json 's/"rms_norm_eps": [^,]*/"rms_norm_eps": "small"/'
refused "rope_scaling is of type 'yarn'" config.json 's/"rope_scaling": null/"rope_scaling": {"type": "yarn"}/'
refused "quant_method is 'gptq'" config.json 's/"rope_scaling"/"quantization_config": {"quant_method": "gptq"}, "rope_scaling"/'
refused "by config.json it should be" config.json 's/"intermediate_size": 768/"intermediate_size": 1024/'
refused "no place in the graph" config.json 's/"num_hidden_layers": 2/"num_hidden_layers": 1/'
refused "no tensor model.layers.2.input_layernorm" config.json 's/"num_hidden_layers": 2/"num_hidden_layers": 3/'
refused "not the JSON that it should be" config.json 's/{/[/'
refused "these files are not of one model" tokenizer.json 's/: 7,/: 7000000,/'
refused "have the same number" tokenizer.json 's/: 7,/: 8,/'
refused "the pre-tokenizer is none that bnc knows" tokenizer.json 's/{1,3}/{1,4}/'
refused "the normalizer 'BertNormalizer'" tokenizer.json 's/"normalizer": null/"normalizer": {"type": "BertNormalizer"}/'
refused "the normalizer 'Replace' of the pattern ' {2,}'" tokenizer.json 's/"normalizer": null/"normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}/'
refused "end_of_word_suffix is '</w>'" tokenizer.json 's/"unk_token": null/"unk_token": null, "end_of_word_suffix": "<\/w>"/'
refused "the tokenizer is 'Unigram'" tokenizer.json 's/"BPE"/"Unigram"/'
refused "merge 0 is not two symbols" tokenizer.json 's/"merges": \["b a"/"merges": ["ba"/'
refused "the dtype 'F12'" model.safetensors 's/"F32"/"F12"/'
refused "the header is damaged" model.safetensors 's/"data_offsets": \[0/"data_offsets": [1/'

# ---- others: others' checkpoints, graphs and vocabularies ----
if [ -d "$shared/models/hf-tales-4m-packed" ]; then
    tales=$shared/models/tales-4m-i2_s.gguf
    for kind in packed bitlinear online; do
        hf=$shared/models/hf-tales-4m-$kind
        "$bnc" "$hf" --emit=exe --kv=f32 --quiet -o $dir/$kind.exe &
        check "convert $kind" "$bnc" convert --quiet "$hf" -o $dir/$kind.gguf
        if [ $kind = online ]; then
            check "$kind: the reference's codes" python3 $ref/absmean.py "$hf" $dir/$kind.gguf
        else
            check "$kind: the codes of $tales" python3 $ref/gguf.py same "$tales" $dir/$kind.gguf 0.004
        fi
    done
    wait
    for kind in packed bitlinear online; do
        # Training gathers masters at the threshold, and bf16 lost on which side of it many lie:
        # transformers' rounding gives the codes above, and this loss.
        bound=0.015
        [ $kind = online ] && bound=0.1
        check "$kind: NLL within $bound" python3 $ref/nll.py "$shared/golden/tales-4m.json" $dir/$kind.exe $bound
        echo "$kind: $(tail -n 1 $dir/log)"
    done
    for size in tiny odd; do
        for graph in llama bitnet bitnet-b1.58; do
            back $graph-$size "$shared/models/synth-$size-$graph-i2_s.gguf" --scale=divide
        done
    done
    # A folder of shared files in which the vocabularies went through a checkpoint.
    via=$dir/shared
    mkdir -p $via/models
    ln -s "$(cd "$shared" && pwd)/golden" $via/golden
    small=$shared/models/synth-tiny-bitnet-i2_s.gguf
    checkpoint spm "$small" --vocab="$shared/models/vocab-llama-spm.gguf"
    checkpoint proto "$small" --vocab="$shared/models/vocab-llama-spm.gguf" --tokenizer=spm
    checkpoint bpe "$small" --vocab="$shared/models/vocab-llama-bpe.gguf"
    check "convert SentencePiece in JSON" "$bnc" convert --quiet $dir/spm -o $via/models/vocab-llama-spm.gguf
    check "convert tokenizer.model" "$bnc" convert --quiet $dir/proto -o $dir/proto.gguf
    check "convert a byte-level BPE" "$bnc" convert --quiet $dir/bpe -o $via/models/vocab-llama-bpe.gguf
    check "tokenizer.model: the tokens and scores of its origin" python3 -c "
import sys
sys.path.insert(0, '$ref')
from gguf import Gguf
a, b = Gguf('$shared/models/vocab-llama-spm.gguf').keys, Gguf('$dir/proto.gguf').keys
sys.exit(any(a[k] != b[k] for k in a if k.startswith('tokenizer') and k in b))"
    if [ -x build/san/test_tokenizer_golden ]; then
        check "golden tokens" env BN_SHARED=$via build/san/test_tokenizer_golden
    else
        skipped=$((skipped + 1))
        echo "skipped: golden tokens: build/san/test_tokenizer_golden is not built"
    fi
else
    skip "no checkpoints in $shared/models"
fi

# ---- end ----
finish
