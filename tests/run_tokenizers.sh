#!/bin/sh
# Tokenizers of checkpoints: run_tokenizers.sh BNC. tests/tokenizers/make.py writes small checkpoints that
# differ in one thing each; the ids of texts with every odd space must be those of others (expected.json).
# Then the files around a tokenizer: tokens that only one of them names, end tokens, templates, and what
# stands in the place of files that were not downloaded.
bnc=$1
dir=build/tokenizers
here=tests/tokenizers
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
check "the checkpoints" python3 $here/make.py $dir/made
check "a program that prints ids" ${CC:-cc} -O1 -Wall -Wextra -Iruntime-min $here/ids.c build/libbnrt.a -lpthread -lm -o $dir/ids

# ---- ids: those of others ----
tables() { # tables FOLDER|FILE: $dir/m.bnw with the tokenizer of a model
    rm -f $dir/m.bnw
    "$bnc" "$1" --quiet --chat-template=none -o $dir/m.c
}
same_ids() { # same_ids NAME MODEL
    flags=2
    case $1 in model-*) flags=0 ;; esac # SentencePiece has no special tokens in a text
    tables "$2" && $dir/ids $dir/m.bnw $flags <$dir/made/"$1"/texts >$dir/ids.out &&
        python3 $here/compare.py "$1" $here/expected.json $dir/ids.out
}
for folder in $dir/made/bpe-* $dir/made/spm-* $dir/made/model-*; do
    name=$(basename "$folder")
    check "$name: the ids of others" same_ids "$name" "$folder"
done
python3 -c "
import sys
sys.path.insert(0, '$here')
from make import JSON, model_of
open('$dir/made/spm-first/tokenizer.model', 'wb').write(model_of(JSON['spm-first']))"
check "tokenizer.json counts beside a tokenizer.model" same_ids spm-first $dir/made/spm-first
if [ -d "${BN_SHARED:-../shared}/cases/spm-normalizer" ]; then
    cases=$(cd "${BN_SHARED:-../shared}/cases" && pwd)
    case_ids() { # case_ids FOLDER TEXTS FLAGS IDS
        python3 -c "
import json, sys
sys.path.insert(0, '$here')
from make import write_texts
write_texts('$dir/texts', [t.encode('utf-8', 'surrogatepass') for t in json.load(open('$2'))])" &&
            tables "$1" && $dir/ids $dir/m.bnw "$3" <$dir/texts | diff - "$4"
    }
    spm=$cases/spm-normalizer
    check "spm_train's defaults" case_ids $spm/checkpoint-default $spm/texts.json 0 $spm/expected-default.ids
    check "llama's settings" case_ids $spm/checkpoint-llama-settings $spm/texts.json 0 $spm/expected-llama.ids
    meta=$cases/metaspace-first
    for k in first legacy; do
        check "Metaspace: $k" case_ids $meta/checkpoint-$k $meta/texts.json 2 $meta/expected-$k.ids
    done
else
    skip "normalizers of real tokenizers" "no cases in ${BN_SHARED:-../shared}"
fi

# ---- files: around a tokenizer ----
folder() { # folder NAME PYTHON: a byte-level BPE whose files the code changes: own, config, files, vocab
    python3 - "$1" "$2" <<'P'
import json, sys
sys.path.insert(0, "tests/tokenizers")
from make import *
own, vocab, config, model, files = bpe(None, [("<|a|>", {}), ("<|b|>", {}), ("<|c|>", {})]), 300, {}, {}, {}
first = size(own) - 3  # the ids of the three
exec(sys.argv[2])
checkpoint("build/tokenizers/" + sys.argv[1],
           dict({"tokenizer.json": own, "tokenizer_config.json": config}, **files), vocab, **model)
P
}
keys() { # keys NAME: the keys of the converted folder, in $dir/keys
    "$bnc" convert $dir/"$1" -o $dir/"$1".gguf >$dir/said 2>&1 && python3 - "$1" <<'P' >$dir/keys
import sys
sys.path.insert(0, "tests/reference")
from gguf import Gguf
k = Gguf("build/tokenizers/%s.gguf" % sys.argv[1]).keys
for name, v in k.items():
    if not isinstance(v, list):
        print(name, repr(v))
    elif len(v) < 20:
        print(name, v)
t = k["tokenizer.ggml.tokens"]
for i, (text, kind) in enumerate(zip(t, k["tokenizer.ggml.token_type"])):
    if kind in (3, 4):
        print("token", text, i - (len(t) - 300) - 288, kind)
P
}
has() { # has NAME TEXT...: the folder converts, and its keys have each line
    name=$1
    shift
    check "$name converts" keys "$name" || cat $dir/said
    for line; do check "$name: $line" grep -qxF -- "$line" $dir/keys || cat $dir/keys; done
}
# Tokens that tokenizer.json does not have: 3 in it at 288 to 290 (printed from 0 on).
folder decoder 'own["added_tokens"] = own["added_tokens"][:1]
config = {"eos_token": "<|c|>", "added_tokens_decoder": {str(first + i): added(first + i, t) for i, t in enumerate(["<|a|>", "<|b|>", "<|c|>"])}}
model = {"eos_token_id": first}'
has decoder "token <|b|> 1 3" "token <|c|> 2 3" "tokenizer.ggml.eos_token_id 290" "tokenizer.ggml.eot_token_id 288"
folder added-json 'own["added_tokens"] = own["added_tokens"][:1]
files = {"added_tokens.json": {"<|b|>": first + 1, "<think>": first + 5}}; config = {"eos_token": "<|b|>"}'
has added-json "token <|b|> 1 3" "token <think> 5 4" "tokenizer.ggml.eos_token_id 289"
folder map-only 'files = {"special_tokens_map.json": {"additional_special_tokens": ["hello"], "eos_token": {"content": "<|b|>"}}}'
has map-only "token hello -29 3" "tokenizer.ggml.eos_token_id 289"
folder unnumbered 'config = {"eos_token": "<|end|>"}'
has unnumbered "token <|end|> 3 3" "tokenizer.ggml.eos_token_id 291"
check "unnumbered: it is said" grep -q "no file has a number for the special token '<|end|>'; it takes 291" $dir/said
folder no-row 'config = {"pad_token": "<|pad|>"}; vocab = size(own)'
check "no-row converts" keys no-row
check "no-row: it is said" grep -q "the embedding has no row left" $dir/said
folder clash 'config = {"added_tokens_decoder": {"5": added(5, "<|new|>")}}'
refused "a number of another token" "have the same number 5" "$bnc" convert $dir/clash -o $dir/x.gguf

ends() { # ends NAME LIST: every token that ends a text, as the compiled model has them
    check "$1 compiles" "$bnc" $dir/"$1" --quiet --chat-template=none -o $dir/m.c
    check "$1: tokens that end a text are $2" grep -qF "end_tokens[] = {$2};" $dir/m.c || grep end_tokens $dir/m.c
}
folder eos-list 'files = {"generation_config.json": {"eos_token_id": [288, 289, 290]}}; config = {"eos_token": "<|c|>"}'
has eos-list "tokenizer.ggml.eos_token_id 290" "tokenizer.ggml.eot_token_id 288" "tokenizer.ggml.eom_token_id 289" "tokenizer.ggml.eog_token_ids [290, 288, 289]"
ends eos-list "290, 288, 289"
ends eos-list.gguf "290, 288, 289"
folder eos-config 'model = {"eos_token_id": [289, 290]}'
ends eos-config "289, 290"
folder eos-both 'model = {"eos_token_id": [1, 2]}; files = {"generation_config.json": {"eos_token_id": 289}}; config = {"eos_token": "<|a|>"}'
ends eos-both "288, 289"
folder eos-many 'files = {"generation_config.json": {"eos_token_id": list(range(300))}}'
refused "too many end tokens" "more than 256 tokens end a text" "$bnc" convert $dir/eos-many -o $dir/x.gguf
folder eos-beyond 'files = {"generation_config.json": {"eos_token_id": [1, 300]}}'
refused "an end token beyond the vocabulary" "eos_token_id is 300, but vocab_size is 300" "$bnc" convert $dir/eos-beyond -o $dir/x.gguf
for ids in '"288"' '[[288]]' '{"a": 1}' '[288, true]' 288.5; do
    id=$(printf '%s' "$ids" | sed 's/true/True/')
    folder eos-type 'files = {"generation_config.json": {"eos_token_id": '"$id"'}}'
    refused "end tokens $ids" "eos_token_id in the files of its tokenizer is not a number of a token" "$bnc" convert $dir/eos-type -o $dir/x.gguf
done
folder eos-null 'files = {"generation_config.json": {"eos_token_id": None, "pad_token_id": -1}}; config = {"eos_token": "<|c|>"}'
has eos-null "tokenizer.ggml.eos_token_id 290"
folder decoder-list 'config = {"added_tokens_decoder": [1]}'
refused "added tokens in a list" "added_tokens_decoder in the files of its tokenizer is not an object" "$bnc" convert $dir/decoder-list -o $dir/x.gguf
folder bos-text 'config = {"add_bos_token": "false"}'
refused "a flag in words" "add_bos_token in the files of its tokenizer is not true or false" "$bnc" convert $dir/bos-text -o $dir/x.gguf
folder template-number 'config = {"chat_template": 5}'
refused "a template's number" "chat_template in the files of its tokenizer is not a text or several" "$bnc" convert $dir/template-number -o $dir/x.gguf

folder template-json 'files = {"chat_template.json": {"chat_template": "json"}}'
has template-json "tokenizer.chat_template 'json'"
folder template-list 'files = {"chat_template.json": {"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "list"}]}}'
has template-list "tokenizer.chat_template 'list'"
folder template-top 'files = {"chat_template.json": [{"name": "default", "template": "top"}]}'
has template-top "tokenizer.chat_template 'top'"
folder template-config 'files = {"chat_template.json": {"chat_template": "json"}}; config = {"chat_template": "config"}'
has template-config "tokenizer.chat_template 'config'"
folder template-jinja 'files = {"chat_template.json": {"chat_template": "json"}, "chat_template.jinja": "jinja"}; config = {"chat_template": "config"}'
has template-jinja "tokenizer.chat_template 'jinja'"

# ---- instead: what stands in the place of a file ----
lfs='version https://git-lfs.github.com/spec/v1
oid sha256:abababababababababababababababababababababababababababababababab
size 4832871424'
for file in config.json tokenizer.json tokenizer_config.json special_tokens_map.json generation_config.json \
    added_tokens.json chat_template.json chat_template.jinja tokenizer.model model.safetensors model.safetensors.index.json; do
    rm -rf $dir/instead
    from=bpe-plain
    [ $file = tokenizer.model ] && from=model-plain
    cp -r $dir/made/$from $dir/instead
    [ $file = model.safetensors.index.json ] && rm $dir/instead/model.safetensors
    echo "$lfs" >$dir/instead/$file
    refused "$file is a pointer" "$file: error: not " "$bnc" convert $dir/instead -o $dir/x.gguf
    check "$file: what to do" grep -q "it looks like a git-lfs pointer, not the file: run git lfs pull" $dir/said
    printf '\n <!DocType HTML><title>Sign in</title>' >$dir/instead/$file
    refused "$file is a page" "it looks like a web page" "$bnc" convert $dir/instead -o $dir/x.gguf
done

# ---- refused after files: what cannot be honoured ----
python3 - <<'P'
import sys
sys.path.insert(0, "tests/tokenizers")
from make import *
for name, kw in (("escape", {"escape": False}), ("cycle", {"rules": {"a": "b"}})):
    data, n = model(**kw)
    if name == "cycle":  # the first node's way leads back to it
        at = data.index(charsmap({"a": "b"})) + 4
        unit = bytearray(data)
        base = struct.unpack_from("<I", unit, at)[0] >> 10
        child = base ^ ord("a")
        struct.pack_into("<I", unit, at + 4 * child, (child ^ base) << 10 | 1 << 8 | ord("a"))
        data = bytes(unit)
    checkpoint("build/tokenizers/" + name, {"tokenizer.model": data}, n)
P
refused "escape_whitespaces" "escape_whitespaces is false" "$bnc" convert $dir/escape -o $dir/x.gguf
refused "a character map in a circle" "its keys run in a circle" "$bnc" $dir/cycle --quiet -o $dir/x.c
folder prefix-space 'own["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True'
refused "a space before texts of a BPE" "add_prefix_space: true" "$bnc" convert --pre=llama-bpe $dir/prefix-space -o $dir/x.gguf

# ---- end ----
finish
