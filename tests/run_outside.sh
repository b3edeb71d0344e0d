#!/bin/sh
# Text of others in what bnc writes: run_outside.sh BNC [JIT_BNC]. What a file, an option or a path holds stays
# text in every kind of output; names that fold together stay apart, and names are refused that are none.
bnc=$1
jit=$2
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
root=$PWD
dir=build/outside
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
case $jit in */bnc) cases 2 "$@" ;; *) jit= && cases 1 "$@" ;; esac
LC_ALL=C
export LC_ALL
export CC=$PWD/tests/quick-cc.sh
model=tests/arch-models/qwen3-i2_s.gguf
gemma=tests/arch-models/gemma3-i2_s.gguf
prompt="a king had three"

# ---- planted: what is ----

# Pieces that end, or begin, what they stand in: comments, strings, lines, directives, assembler, tags, formats.
# `planted` is an identifier wherever one of them becomes code.
newline='
'
esc=$(printf '\033')
bad=$(printf '\377\376\303')
long=$(awk 'BEGIN {for (i = 0; i < 3000; i++) printf "*/ "}')
texts() { # texts COMMAND...: runs it with a number and each text
    i=0
    for text in '*/ int planted = 1; /* "; int planted = 1; char *q = "' 'planted\' "a${newline}int planted = 1;${newline}#define q" \
        "a??/${newline}int planted = 1; //*??/${newline}/ int planted = 1;" "${esc}[31mred${bad}*/int planted = 1;" \
        "%s%n%d%5000000d'\$(touch planted)\`touch planted\`" "*/ int planted = 1; /*$long" '</script><script>planted()</script>&quot;' \
        '\"\n.globl planted\nplanted:\n.incbin \"\x2a/ int planted = 1;' "*\\${newline}/ int planted = 1; /* // */ int planted = 1; /* *\\"; do
        i=$((i + 1))
        "$@" $i "$text"
    done
}
tir_string() { # tir_string TEXT: between the quotes of textual IR
    printf '%s' "$1" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\x/g'
}
base_name() { # base_name TEXT: the name of a file, as near as there is one
    printf '%s' "$1" | tr '/' '|' | head -c 120
}
# What is left of generated C when comments and literals are gone holds nothing of it. clean NAME FILE LANGUAGE
abi=$(sed -n 's/^#define BN_ABI \([0-9]*\).*/\1/p' runtime-min/bn_model.h)
clean() {
    language=$3
    cp "$2" $dir/source
    grep -v '^#\(include\|import\) [<"]' $dir/source >$dir/plain.c
    [ $language = c ] && cc=gcc || cc=clang
    if check "$1: $cc reads it" sh -c "$cc -x $language -DBN_ABI=$abi -trigraphs -E -P -w $dir/plain.c >$dir/plain.i"; then
        sed 's/"\([^"\\]\|\\.\)*"//g' $dir/plain.i >$dir/code
        check "$1: nothing planted is code" sh -c "! grep -qw planted $dir/code"
    fi
    check "$1: no control character, one encoding" sh -c "! grep -qP '[\\x00-\\x08\\x0b-\\x1f\\x7f]' $dir/source && iconv -f UTF-8 -t UTF-8 $dir/source >$dir/plain.c"
}
compiles() { # compiles NAME FILE: without trigraphs and with them
    check "$1: gcc" gcc -std=c11 -Wall -Wextra -Werror -Wno-overlength-strings -fsyntax-only -Iruntime-min "$2"
    check "$1: clang, trigraphs" clang -std=c11 -trigraphs -Wall -Wextra -Werror -Wno-trigraphs -fsyntax-only -Iruntime-min "$2"
}

# ---- output after planted: the model's name, its file, and the options, in every kind of it ----

"$bnc" opt --quiet --passes= $model >$dir/plain.tir
emit() { # emit NUMBER TEXT
    name=$(tir_string "$2")
    base=$(base_name "$2")
    folder=$dir/$1/$base
    mkdir -p "$folder"
    cp $model "$folder/m$base.gguf"
    sed "s/^model \"[^\"]*\" {source = \"[^\"]*\"/MODEL/" $dir/plain.tir >$dir/t
    awk -v name="$(printf '%s' "$name" | sed 's/\\/\\\\/g')" -v path="$(tir_string "$folder/m$base.gguf" | sed 's/\\/\\\\/g')" \
        '/^MODEL/ {printf "model \"%s\" {source = \"%s\"%s\n", name, path, substr($0, 6); next} {print}' $dir/t >"$folder/$base.tir"
    cp compiler/chat/templates/plain.jinja "$folder/$base.jinja"
    printf '%s' "$2" | tr -d '{%' >>"$folder/$base.jinja"
    set -- "$1" "$folder/$base.tir" --quiet "--chat-template=$folder/$base.jinja"
    check "$1: C" "$bnc" "$2" "$3" "$4" --target=generic -o "$folder/$base.c" || return
    clean "$1: C" "$folder/$base.c" c
    clean "$1: header" "$folder/$base.h" c
    compiles "$1: C" "$folder/$base.c"
    check "$1: C, weights inside" "$bnc" "$2" "$3" "$4" --target=generic --amalgamate --weights=incbin -o "$folder/${base}i.c"
    clean "$1: C, weights inside" "$folder/${base}i.c" c
    [ $(($1 % 2)) = 0 ] && cc=gcc || cc=clang
    check "$1: $cc finds the weights" $cc -std=c11 -trigraphs -O0 -w "$folder/${base}i.c" -lm -lpthread -o $dir/inside
    check "$1: it runs" sh -c "$dir/inside --info | jq -e .name >/dev/null && $dir/inside -p a -n 2 --temp 0"
    check "$1: CUDA" "$bnc" "$2" "$3" "$4" --target=cuda -o "$folder/${base}g.cu"
    clean "$1: CUDA" "$folder/${base}g.cu" c++
    check "$1: Metal" "$bnc" "$2" "$3" "$4" --target=metal -o "$folder/${base}m"
    clean "$1: Metal" "$folder/${base}m.metal" c++
    clean "$1: Metal's host" "$folder/${base}m_metal.m" objective-c
    if [ -n "$jit" ]; then
        check "$1: LLVM" "$jit" "$2" "$3" "$4" --emit=obj --jit --weights=incbin --name=m -o "$folder/${base}o.o"
        cp "$folder/${base}o.o" $dir/o.o
        check "$1: LLVM's object holds the weights" sh -c "nm $dir/o.o | grep -q ' m_bnw' && ! nm $dir/o.o | grep -q planted"
        check "$1: LLVM's text" "$jit" "$2" "$3" "$4" --emit=llvm --name=m -o "$folder/${base}o.ll"
        cp "$folder/${base}o.ll" $dir/o.ll
        check "$1: nothing planted in LLVM's text" sh -c "! sed 's/\"[^\"]*\"//g; s/;.*//' $dir/o.ll | grep -q planted"
    fi
    check "$1: report" "$bnc" report "$2" "$3" "$4" --target=generic --no-measure -o $dir/page.html
    check "$1: the page has no tag of the name" sh -c "! grep -q '<script>planted\|<.script><script>' $dir/page.html"
    check "$1: the page has no control character" sh -c "! grep -qP '[\\x00-\\x08\\x0b-\\x1f\\x7f]' $dir/page.html && iconv -f UTF-8 -t UTF-8 $dir/page.html >$dir/plain.c"
    check "$1: its JSON" "$bnc" report "$2" "$3" --target=generic --no-measure --json -o $dir/page.json
    check "$1: is JSON" sh -c "jq -e . $dir/page.json >$dir/plain.c && iconv -f UTF-8 -t UTF-8 $dir/page.json >$dir/plain.c"
}
texts emit
check "nothing was executed" sh -c "! find . -maxdepth 1 -name planted | grep -q ."

# ---- names after planted output: that are none ----

name_refused() { # name_refused NUMBER TEXT
    sed "s/^arch .*/ARCH/" $dir/plain.tir >$dir/t
    awk -v name="$(tir_string "$2" | sed 's/\\/\\\\/g')" '/^ARCH/ {printf "arch \"%s\"\n", name; next} {print}' $dir/t >$dir/arch.tir
    refused "$1: as an architecture" "is no name of an architecture" "$bnc" $dir/arch.tir --target=generic -o $dir/arch.c
    check "$1: no C of it" test ! -e $dir/arch.c
}
texts name_refused
for arch in 'a*/b"' '"; x=' 'q\en3' 'qwe??' '.wen3' '-wen3'; do # five characters, as qwen3 has
    word=$(printf '%s' "$arch" | sed 's/[\\/&]/\\&/g')
    sed "s/qwen3/$(printf '%.5s' "$arch" | sed 's/[\\/&]/\\&/g')/" $model >$dir/evil.gguf
    refused "a file of the architecture $word" "which is no name of an architecture" \
        "$bnc" $dir/evil.gguf --arch=compiler/frontend/arch/qwen3.tir --target=generic -o $dir/arch.c
done
LC_ALL=C sed '0,/qwen3/s/qwen3/qwe\x003/' $model >$dir/evil.gguf
refused "an architecture with a zero byte" "holds a zero byte: 'qwe\\x003'" "$bnc" $dir/evil.gguf --target=generic -o $dir/arch.c
for name in 'a b' '*/' 'a-b' '1a' '' 'a;b' "a$newline" 'ä'; do
    refused "--name='$name'" "--name wants a C identifier" "$bnc" $model --name="$name" -o $dir/arch.c
done
for name in bn BN Bn; do
    refused "--name=$name" "those of bn.h" "$bnc" $model --name=$name -o $dir/arch.c
done
check "bn.c" "$bnc" $model --quiet --target=generic -o $dir/bn.c
compiles "bn.c" $dir/bn.c
for name in '@a*/b' '@a"b' '@ä' '%a;b'; do
    echo "arch \"x\"${newline}weight $name : f32<1> = \"t\"" >$dir/word.tir
    refused "the name $name" "error:" "$bnc" opt --passes= $dir/word.tir
done

# ---- fold after planted: names that fold together ----

# All names of a text by such as differ in case and punctuation alone: 72 of them, and with the number that keeps
# others apart.
fold() { # fold SIGNS <TEXT: names behind these signs
    awk -v signs="$1" 'BEGIN {
            split("n N", c, " "); split(". - _", p, " ")
            for (a = 1; a <= 2; a++) for (b = 1; b <= 3; b++) for (d = 1; d <= 2; d++) for (e = 1; e <= 3; e++) for (f = 1; f <= 2; f++)
                to[n++] = c[a] p[b] c[d] p[e] c[f]
            for (i = 1; i < 40; i++) to[n++] = "n_n_n_w" i
            for (i = 1; i < 40; i++) to[n++] = i "_n_n_n"
        }
        {
            sub(/#.*/, "")
            line = $0; out = ""
            while (match(line, /[@%][A-Za-z0-9_.-]+/)) {
                word = substr(line, RSTART, RLENGTH)
                if (index(signs, substr(word, 1, 1)) && word != "@forward") {
                    if (!(word in name)) name[word] = substr(word, 1, 1) to[used[substr(word, 1, 1)]++]
                    word = name[word]
                }
                out = out substr(line, 1, RSTART - 1) word
                line = substr(line, RSTART + RLENGTH)
            }
            print out line
        }'
}
tells() { # tells MODEL OPTION...
    "$bnc" "$@" --emit=exe --quiet --target=x86-64-v3 -o $dir/told && $dir/told -p "$prompt" --logits | cksum
}
for m in $model $gemma; do
    text=compiler/frontend/arch/$(basename $m | sed 's/-.*/.tir/')
    want=$(tells $m)
    check "$m: logits" test -n "$want"
    for signs in @ % @%; do
        fold $signs <"$text" >$dir/folded.tir
        check "$m $signs: other names" sh -c "! cmp -s $text $dir/folded.tir"
        got=$(tells $m --arch=$dir/folded.tir)
        check "$m $signs: the same logits" test "$got" = "$want"
        check "$m $signs: C" "$bnc" $m --arch=$dir/folded.tir --target=generic --quiet -o $dir/folded.c
        compiles "$m $signs" $dir/folded.c
        if [ -n "$jit" ]; then
            check "$m $signs: LLVM" test "$("$jit" run $m --jit --arch=$dir/folded.tir -p "$prompt" --logits | cksum)" = "$want"
        fi
        for gpu in metal cuda; do
            [ $gpu = metal ] && source=folded.metal || source=folded.cu
            check "$m $signs: $gpu" "$bnc" $m --arch=$dir/folded.tir --target=$gpu --quiet -o $dir/$source
            check "$m $signs: $gpu: no macro twice" test -z "$(sed -n 's/^#define \([WC]_[A-Za-z0-9_]*\).*/\1/p' $dir/$source | sort | uniq -d)"
            check "$m $signs: $gpu: no entry twice" test -z "$(sed -n 's/^BN_[A-Z_]*ENTRY(\([a-z0-9_]*\))/\1/p' $dir/$source | sort | uniq -d)"
        done
    done
done
case=../shared/cases/macro-collision
if [ -d $case ]; then
    for t in same renamed; do
        check "macro-collision: $t" "$bnc" $case/m.gguf --arch=$case/$t.tir --emit=exe --quiet -o $dir/$t
    done
    check "macro-collision: the same text" test "$($dir/same -p "the cat" -n 8 --temp 0)" = "$($dir/renamed -p "the cat" -n 8 --temp 0)"
else
    skip "macro-collision" "no ../shared"
fi

# ---- two after planted: models whose names differ in case alone ----
check "Tale" "$bnc" $model --name=Tale --quiet -o $dir/Tale.c
check "tale" "$bnc" $gemma --name=tale --quiet -o $dir/tale.c
printf '#include "Tale.h"\n#include "tale.h"\n' >$dir/both.c
check "both headers in one file: an error that says so" \
    sh -c "! cc -fsyntax-only -Iruntime-min -I$dir $dir/both.c 2>$dir/said && grep -q 'differ in case alone' $dir/said"

# ---- terminal after planted: what a terminal would obey is shown ----

# A model whose name, a token and a template's reason hold escapes and what is no UTF-8.
LC_ALL=C sed "s/random qwen3/${esc}[35m-$(printf '\377')_wen3/; s/aughte/$(printf '\304\233')[35m/g" $model >$dir/escapes.gguf
LC_ALL=C sed "s/blk.0.ffn_norm/blk.0.${esc}[35mffn/" $model >$dir/tensor.gguf
# Refuses "hi", says everything else: one compilation serves all commands.
printf '%s{{ raise_exception("no %s[35m\\n\302\233 of \342\200\256 it") }}%s' "{% if messages[0].content == 'hi' %}" "$esc" \
    '{% endif %}{{ messages[0].content }}' >$dir/refuse.jinja
ids=$(i=0; while [ $i -lt 320 ]; do printf '%s ' $i; i=$((i + 1)); done)
printf 'to be %s[35m[\302\233 {{' "$esc" >$dir/syntax.jinja
typed() { # typed COMMAND: what a terminal shows, but for what bnc means to do there
    python3 tests/typed.py "$1" >$dir/typed.raw
    status=$?
    tr -d '\r' <$dir/typed.raw | sed "s/${esc}\[K//g; s/${esc}\[3[12]m\([-+]\)/\1/; s/${esc}\[0m\$//" >$dir/typed
    return $status
}
tame() { # tame NAME TEXT COMMAND: shows TEXT, and nothing that a terminal obeys
    typed "$3"
    check "$1 at a terminal: '$2'" grep -qF -- "$2" $dir/typed
    check "$1 at a terminal: no control character" sh -c "! grep -qaP '[\\x00-\\x08\\x0b-\\x1f\\x7f]|\\xc2[\\x80-\\x9f]|\\xe2\\x80[\\xa8-\\xae]' $dir/typed && iconv -f UTF-8 -t UTF-8 $dir/typed >$dir/plain.c"
}
e=$dir/escapes.gguf
refuse=--chat-template=$dir/refuse.jinja
check "a program of it" "$bnc" $e --emit=exe --quiet -o $dir/escapes
said=$($dir/escapes -p "Once upon a time" -n 20 --temp 0 | od -An -v -tx1 | tr -d ' \n')
check "in a pipe text stays as it is" sh -c "echo $said | grep -q '^4f6e63652075706f6e20612074696d6516161616efbfbd161b5b33356d'"
check "--info is UTF-8" sh -c "$dir/escapes --info | iconv -f UTF-8 -t UTF-8 | jq -e '.name == \"\\u001b[35m-\\ufffd_wen3\"'"
if ! PYTHONDONTWRITEBYTECODE=1 typed "test -t 1 && test -t 2"; then
    skip "escapes at a terminal" "no python3, or no pseudo-terminal"
else
    tame "a program" 'time\x16\x16\x16\x16'"$(printf '\357\277\275')"'\x16\x1b[35m' "$dir/escapes -p 'Once upon a time' -n 20 --temp 0"
    tame "its help" '\x1b[35m-\xff_wen3 (qwen3' "$dir/escapes --help"
    tame "its prompt" 'a\x1b[35m\xc2\x9bb' "$dir/escapes -p \"\$(printf 'a\\033[35m\\302\\233b')\" -n 2 --temp 0"
    tame "its ids" '\x1b[35m' "echo 27 282 $ids | head -c 170 | $dir/escapes --ids - -n 2 --temp 0"
    tame "its message" "found '\\x1b[35m'" "$dir/escapes -n \"\$(printf '\\033[35m')\""
    tame "chat" '\x16\x1b[35m' "printf 'Once upon a time\n/no\033[35m\n' | $bnc chat $e $refuse -n 20 --temp 0"
    tame "chat, a command" "no command '/no\\x1b[35m'" "printf '/no\033[35m\n' | $bnc chat $e $refuse"
    tame "chat, a refusal" 'no \x1b[35m' "echo hi | $bnc chat $e $refuse"
    tame "a template" '\x1b[35m[' "$bnc template $dir/syntax.jinja"
    tame "tokenize" "'\\x1b'" "$bnc tokenize $e \"\$(printf 'a\\033[35mb')\""
    tame "tokenize --decode" '\x1b[35m' "$bnc tokenize $e --decode '282 27 1 2 3 188 189 190 $ids'"
    tame "inspect" '\x1b[35m-\xff_wen3' "$bnc inspect $e --metadata --tensors"
    tame "inspect --check" 'checks' "$bnc inspect $e --check"
    tame "a tensor's name" 'blk.0.\x1b[35mffn' "$bnc inspect $dir/tensor.gguf --tensors"
    tame "a tensor's name in an error" '\x1b[35mffn' "$bnc $dir/tensor.gguf -o $dir/m.c"
    tame "quantize" '\x1b[35mffn' "$bnc quantize $dir/tensor.gguf -o $dir/q.gguf"
    tame "C" 'x1b[35m' "$bnc $e --chat-template=none --target=generic --amalgamate --weights=c -o -"
    tame "IR" 'x1b[35m' "$bnc $e --emit=ir -o -"
    tame "opt" 'forward' "$bnc $e --quiet --emit=ir -o $dir/e.tir && $bnc opt --passes=fuse --print-changed --remarks --stats $dir/e.tir"
    tame "diff" 'x1b[35m' "$bnc $model --quiet --emit=ir -o $dir/d.tir; cp $dir/e.tir \"$dir/e\$(printf '\\033[35m').tir\"; $bnc diff $dir/d.tir \"$dir/e\$(printf '\\033[35m').tir\""
    tame "an option" 'x1b[35m' "$bnc $e \"--\$(printf '\\033[35m\\303')\""
    tame "a command" 'x1b[35m' "$bnc \"\$(printf 'i\\033[35m')\""
    tame "a path" 'x1b[35m' "$bnc inspect \"/\$(printf '\\033[35m').gguf\""
    tame "cache" 'escapes' "$bnc cache list"
fi
json() { # json NAME COMMAND...: one JSON value of UTF-8
    title=$1
    shift
    "$@" >$dir/json 2>$dir/json.said
    check "$title: JSON" sh -c "test -s $dir/json && jq -e . $dir/json >$dir/plain.c && iconv -f UTF-8 -t UTF-8 $dir/json >$dir/plain.c"
}
printf 'a \033[35m king \377' >$dir/p.txt
json "ppl" "$bnc" ppl $e $dir/p.txt $refuse --json
json "compare" "$bnc" compare $e $e --text=$dir/p.txt $refuse --json
json "embed" sh -c "head -c 8 $dir/p.txt | $bnc embed $e $refuse --json"
json "tokenize" "$bnc" tokenize $e --json "$(cat $dir/p.txt)"
json "tokenize --ids" "$bnc" tokenize $e --json --ids "$(cat $dir/p.txt)"
json "tokenize --decode" "$bnc" tokenize $e --json --decode "282 27 1 188 189 190 $ids"
json "inspect" "$bnc" inspect $e --json --metadata --tensors
json "inspect --check" "$bnc" inspect $e --json --check
json "quantize" "$bnc" quantize $e --json -o $dir/q.gguf
json "a compilation" "$bnc" $e --chat-template=none --stats --remarks --time-passes --print-after=all --json --target=generic -o $dir/m.c
json "opt" sh -c "$bnc opt $dir/e.tir --passes=fuse --stats --print-changed --json -o /dev/null 2>&1"
json "cache list" "$bnc" cache list --json

# ---- end ----
cd "$root" || exit 2
finish
