#!/bin/sh
# Chat: run_chat.sh BNC. Compiled templates against Jinja itself, what a model file's own template
# becomes, `bnc chat` through pipes and at a terminal. The compiler's messages about templates are
# tests/errors/chat-*.cmd.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
model=examples/models/fables-27m-i2_s.gguf
dir=build/chat
rm -rf $dir/made
mkdir -p $dir/made
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
out=$dir/made
. tests/lib.sh
cases 1 "$@"

said() { # said NAME TEXT: stands in the messages of the last chat
    check "$1" grep -qF -- "$2" $out/err
}
talk() { # talk OPTION...: standard input to bnc chat; $out/out, $out/err
    "$bnc" chat $model --temp 0 -t 2 --ctx=4096 "$@" >$out/out 2>$out/err
}

python=
for p in python3 /usr/bin/python3; do
    "$p" -c 'import jinja2' 2>/dev/null && python=$p && break
done

# ---- jinja: compiled templates against Jinja ----
same=0
families=0
check "the driver" cc -std=c11 -D_POSIX_C_SOURCE=200809L -O1 -Wall -Wextra -Werror -Iruntime-min tests/chat/driver.c \
    build/libbnrt.a -lpthread -lm -o $out/driver
for t in tests/chat/templates/*.jinja compiler/chat/templates/*.jinja; do
    name=$(basename "$t" .jinja)
    if [ -z "$python" ]; then
        skip "the templates: no python3-jinja2"
        break
    fi
    check "$t compiles" "$bnc" template "$t" --bos='<s>' --eos='</s>' -o $out/"$name".bnt
    check "$t: as Jinja has it" "$python" tests/chat/differential.py $out/driver $out/"$name".bnt "$t" --rounds 60
    n=$(sed -n 's/^\([0-9]*\) same.*/\1/p' $dir/log)
    same=$((same + ${n:-0}))
    families=$((families + 1))
done
echo "$same conversations as Jinja writes them, by $families templates"
"$bnc" template tests/chat/templates/corners.jinja -o $out/corners.1
"$bnc" template tests/chat/templates/corners.jinja -o $out/corners.2
check "the same bytes" cmp $out/corners.1 $out/corners.2

# ---- own after jinja: the model's own template ----
holds() { # holds TEXT: the template in m.c, which is numbers
    sh tests/chat/holds.sh $out/m.c "$1"
}
bounded() { # bounded CODE: no conversation ends, for want of steps or bytes, soon
    (ulimit -v 2000000; ulimit -t 60; printf '0 0 -1 -1 -1 0\n' | $out/driver "$1") | grep -q 'it takes more than'
}
compile() { # compile FILE OPTION...
    "$bnc" "$@" -o $out/m.c >$out/out 2>$out/err
}
if [ -n "$python" ]; then
    printf "%s" "{% for m in messages %}{{ 'Human: ' + m.content + '\n\nBITNETAssistant: ' }}{% endfor %}" >$out/wrong.jinja
    printf "%s" "{{ messages[0].content | dance }}" >$out/strange.jinja
    for t in wrong strange; do
        check "a model with a $t template" "$python" tests/chat/add_key.py $model $out/$t.gguf tokenizer.chat_template $out/$t.jinja
    done
    check "the wrong one compiles" compile $out/wrong.gguf
    said "a note says which is taken" "the model card's is taken, bitnet-2b4t"
    check "it is the right one" holds 'Assistant: '
    check "no trace of the wrong one" sh -c "! sh tests/chat/holds.sh $out/m.c BITNETAssistant"
    check "the user's wins" compile $out/wrong.gguf --chat-template=$out/wrong.jinja
    check "it is the user's" holds BITNETAssistant
    rm -f $out/m.c
    check "a strange one is refused" sh -c "! '$bnc' $out/strange.gguf --quiet -o $out/m.c 2>$out/err"
    said "at its place" "strange.gguf (tokenizer.chat_template):1:26: error: the filter 'dance' is not supported"
    said "with the way out" "--chat-template=FILE"
    check "nothing is written" test ! -e $out/m.c
    check "none compiles" compile $out/strange.gguf --chat-template=none
    check "without one" sh -c "! grep -q chat_template $out/m.c"
    # A template that cannot be compiled stands in the way of what needs it alone.
    for t in strange broken; do
        [ $t = strange ] || printf "%s" "{% for m in messages %}{{ m.content" >$out/broken.jinja
        check "a model with a $t template" "$python" tests/chat/add_key.py $model $out/$t.gguf tokenizer.chat_template $out/$t.jinja
        check "$t: chat refuses" sh -c "! echo hi | '$bnc' chat $out/$t.gguf >$out/out 2>$out/err"
        said "$t: with the reason" "error:"
        check "$t: inspect --check says the same" sh -c "! '$bnc' inspect $out/$t.gguf --check >$out/check 2>&1"
        check "$t: as an error of the template" grep -q 'template *error' $out/check
        [ $t = broken ] || continue
        check "$t: run" sh -c "XDG_CACHE_HOME=$PWD/$out/cache '$bnc' run $out/$t.gguf -p 'Once upon' -n 4 --temp 0 >$out/out 2>$out/err"
        said "$t: a note" "the model is compiled without its chat template"
        said "$t: of its place" "$t.gguf (tokenizer.chat_template):1:"
        check "$t: its work" test -s $out/out
        echo "Once upon a time there was a king" >$out/text
        check "$t: ppl" sh -c "'$bnc' ppl $out/$t.gguf $out/text >$out/out 2>$out/err"
        check "$t: embed" sh -c "'$bnc' embed $out/$t.gguf <$out/text >$out/out 2>$out/err"
        check "$t: chat by another" sh -c "echo hi | '$bnc' chat $out/$t.gguf --chat-template=plain -n 2 >$out/out 2>$out/err"
    done
    # Variables, tools and the date reach it, and what it refuses at run time is said.
    printf "%s" "{{ raise_exception(enable_thinking ~ ' ' ~ n ~ ' ' ~ who ~ ' ' ~ tools[0].name ~ strftime_now(' %d %b %Y')) }}" >$out/vars.jinja
    echo '[{"name": "clock"}]' >$out/tools.json
    echo hi | SOURCE_DATE_EPOCH=86400 talk --chat-template=$out/vars.jinja --chat-var=enable_thinking=false \
        --chat-var n=3 --chat-var who=me --tools $out/tools.json
    said "variables" "the chat template refuses: False 3 me clock 02 Jan 1970"
    # Strangers' templates take bounded time and memory: here 2 GB of address space and 20 s of processor time.
    for n in 40 4000; do
        { printf "{%% set a = 'x' %%}"; i=0; while [ $i -lt $n ]; do printf '{%% set a = a ~ a %%}'; i=$((i + 1)); done; echo '{{ a }}'; } >$out/double.jinja
        check "doubled $n times: compiles" sh -c "ulimit -v 2000000; ulimit -t 20; '$bnc' template $out/double.jinja -o $out/double.bnt"
        check "doubled $n times: refused" bounded $out/double.bnt
    done
    awk 'BEGIN {for (i = 0; i < 9000; i++) printf "{%% if messages[0].content == \"k%d\" %%}{%% set v%d = 1 %%}{%% endif %%}", i, i}' >$out/many.jinja
    check "9000 names" sh -c "ulimit -v 2000000; ulimit -t 20; '$bnc' template $out/many.jinja -o $out/many.bnt"
    printf '{%% for i in range(99999) %%}{%% for k in range(99999) %%}{%% endfor %%}{%% endfor %%}' >$out/spin.jinja
    check "a loop that would not end: compiles" "$bnc" template $out/spin.jinja -o $out/spin.bnt
    check "a loop that would not end" bounded $out/spin.bnt
    long=$(awk 'BEGIN {for (i = 0; i < 600; i++) printf "a"}')
    echo "{% for $long in messages %}{{ $long.content }}{% set b$long = 1 %}{% endfor %}" >$out/long.jinja
    check "names of 600 bytes are C" sh -c "'$bnc' $model --chat-template=$out/long.jinja --quiet -o $out/m.c && cc -O0 -Iruntime-min -c $out/m.c -o $out/m.o"
    rm -f $out/*.gguf
fi
check "no template, no chat" sh -c "! '$bnc' chat tests/arch-models/qwen3-i2_s.gguf </dev/null 2>$out/err"
said "says what to do" "there is no chat template in this model; name one: --chat-template=FILE"

# ---- pipe: bnc chat through a pipe ----
printf 'Once upon a time\nAnd then?\n/stats\n/save %s\n' $out/saved.json | talk -n 12
check "it answers" test "$(wc -w <$out/out)" -gt 4
said "the prefix is not read again" "4 turns"
check "the prefix is not read again: numbers" awk '/reused/ {for (i = 1; i < NF; i++) if ($(i + 1) == "of" && $(i + 2) == "them") n = $i} END {exit !(n > 10)}' $out/err
said "saved" "4 turns saved"
cp $out/out $out/first
printf 'And then?\n' | talk -n 12 --load=$out/saved.json
cp $out/out $out/third
printf '/load %s\nAnd then?\n/reset\nOnce upon a time\nAnd then?\n/save %s\n' $out/saved.json $out/again.json | talk -n 12
check "a loaded one goes on as it would" sh -c "head -n \$(wc -l <$out/third) $out/out | cmp - $out/third"
check "and a reset one begins anew" sh -c "tail -n \$(wc -l <$out/first) $out/out | cmp - $out/first"
check "the same conversation" cmp $out/saved.json $out/again.json
printf '/system Be brief.\n/save %s\n/reset\n/load %s\n/load %s\n/nonsense\n/help\n/quit\nnever said\n' $out/s.json $out/s.json README.md | talk
check "the system text is a turn" grep -q '"Be brief."' $out/s.json
said "loaded" "1 turns loaded"
said "no JSON" "README.md:1:"
said "an unknown command" "there is no command '/nonsense'; /help lists them"
said "help" "set the system text"
check "/quit leaves" test ! -s $out/out
echo '[{"role": "user"}]' >$out/bad.json
echo "/load $out/bad.json" | talk
said "no conversation" 'expected a list of {"role": ..., "content": ...}'

# ---- reference: a conversation of tests/golden: the answer that the numpy reference gives, each token of it beyond doubt ----
golden=tests/golden/fables-27m.json
jq '.prompts[-1].messages[:-1]' $golden >$out/before.json
check "the golden leaves no doubt" jq -e '.prompts[-1].greedy_margin | min > 0.5' $golden
jq -r '.prompts[-1].messages[-1].content' $golden | talk --load=$out/before.json
jq -r '.prompts[-1].answer' $golden >$out/wanted
check "the golden answer, to its end" cmp $out/wanted $out/out

# ---- context: the context ends ----
i=0
{
    echo '/system A system text that stays.'
    while [ $i -lt 12 ]; do
        echo "Tell me about the king who had $i daughters, and about the castle where they lived."
        i=$((i + 1))
    done
    echo "/save $out/long.json"
} | talk -n 24 --ctx=160
check "old turns go, once said so" test "$(grep -c 'outgrew the context' $out/err)" = 1
check "the system text stays" grep -q 'A system text that stays' $out/long.json
check "the first turn is gone" sh -c "! grep -q 'had 0 daughters' $out/long.json"
check "the last is there" grep -q 'had 11 daughters' $out/long.json
awk 'BEGIN {for (i = 0; i < 300; i++) printf "word "; print "\nshort"}' | talk -n 4 --ctx=160
said "too long a message" "does not fit into the context of 160"
check "and the next is answered" test -s $out/out

# ---- lines: messages of several, their ends ----
lines_said() { # lines_said NAME JSON: what users said in the conversation that was saved last
    check "$1" test "$(jq -c '[.[] | select(.role == "user") | .content]' $out/lines.json)" = "$2"
}
printf 'Hello there\n/stats\n/save %s\n/quit\n' $out/lf.json | talk -n 6
mv $out/out $out/lf
printf 'Hello there\r\n/stats\r\n/save %s\r\n/quit\r\n' $out/lines.json | talk -n 6
check "CR LF: the same answer" cmp $out/lf $out/out
check "CR LF: the same conversation" cmp $out/lf.json $out/lines.json
said "CR LF: commands are known" "2 turns"
printf '\357\273\277Hello there\r\n/stats\r\n/save %s\r\n/quit\r\n' $out/lines.json | talk -n 6
check "a byte order mark: the same conversation" cmp $out/lf.json $out/lines.json
printf 'a\000b\n\357\273\277c\n/save %s\n' $out/lines.json | talk -n 1
lines_said "zero bytes go, marks in other lines stay" "$(printf '["ab","\357\273\277c"]')"
said "zero bytes: it is said" "zero bytes of the input are left out"
{
    printf '"""one\ntwo \\\n  three"""\n"""\n/four\n\n five\n"""  \n"""six"""\n'
    printf 'seven\\\neight\\\\\\\n/nine\\\\\n'
    printf 'a """b\n/save %s\n"""ten\n\n' $out/lines.json
} >$out/several
talk -n 1 <$out/several
lines_said "quotes and backslashes" \
    '["one\ntwo \\\n  three","/four\n\n five","six","seven\neight\\\\\n/nine\\\\","a \"\"\"b"]'
said "no end of quotes" 'the input ends without """'

# ---- stop: stop strings ----
printf 'Please tell me a story about a curious snail called Otto.\n' >$out/otto
talk -n 60 <$out/otto
head -c -1 $out/out >$out/whole
for stop in " castle" "called Otto in" "O" "curious snail called Owl"; do
    talk -n 60 --stop "never there" "--stop=$stop" <$out/otto
    awk -v stop="$stop" 'BEGIN {RS = "\001"} {i = index($0, stop); printf "%s\n", i ? substr($0, 1, i - 1) : $0}' \
        $out/whole >$out/wanted
    check "--stop '$stop'" cmp $out/wanted $out/out
done
refused "an empty stop string" "--stop wants 1 to 256 bytes" "$bnc" chat $model --stop ""

# ---- terminal: editing, Ctrl-C, UTF-8, paste ----
if [ -n "$python" ]; then
    # Random weights: a model that never ends by itself, so there is something to stop.
    check "an endless model" "$bnc" synth --shape=fables-27m --quiet -o $out/endless.gguf
    "$python" tests/chat/terminal.py "$bnc" chat $out/endless.gguf --chat-template=plain --temp 0 -t 2 --ctx=16384 \
        >$out/terminal 2>&1
    status=$?
    if [ $status = 77 ]; then
        skip "the terminal" "$(cat $out/terminal)"
    else
        check "at a terminal" sh -c "cat $out/terminal; exit $status"
        at_terminal='["na\u00efve \u20ac \ud83d\ude00","one\n/two\n\u00fc three!","a\nb"]'
        for locale in C C.UTF-8; do
            rm -f $out/lines.json
            check "typed and pasted, LC_ALL=$locale" env LC_ALL=$locale "$python" tests/chat/paste.py $out/lines.json \
                "$bnc" chat $model --temp 0 -t 1 -n 1 --ctx=4096
            check "what was said, LC_ALL=$locale" test \
                "$(jq -ac '[.[] | select(.role == "user") | .content]' $out/lines.json)" = "$at_terminal"
        done
    fi
else
    skip "the terminal" "no python3"
fi

# ---- end ----
finish
