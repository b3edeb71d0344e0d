#!/bin/sh
# run_options.sh BNC: the command line: help, man page and completions against the two tables that they
# are made of (read here by awk, not by bnc), the kinds of output, what is refused.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
model=examples/models/fables-27m-i2_s.gguf
dir=build/options
rm -rf $dir
mkdir -p $dir/empty
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"
unset CFLAGS
cc=${CC:-cc}

# ---- tables: read by awk ----

# $dir/have: a line "COMMAND OPTION" for each name of each option that a command has. Sets are joined
# here, by hand; SET_ALL is everybody's.
sed -n 's/^COMMAND(\([a-z]*\), [a-z_]*, "[^"]*", \(.*\), OUTPUT_[A-Z]*,$/\1 \2 SET_ALL/p' compiler/cmd/commands.def |
    tr -d '|' >$dir/commands
sed -n 's/^ *\(OPTION\|AGAIN\) *([a-z_0-9]*, *[A-Z]*, *\(0\|'"'.'"'\), *\("[^"]*"\|NULL\), *"[^"]*", *\([A-Z_| ]*\),.*/\2 \3 \4/p' \
    compiler/driver/options.def | tr -d "|\"'" >$dir/rows
sed -n 's/^ *\([OS]\)([A-Z_]*, *[a-z_]*, *\(0\|'"'.'"'\), *"\([^"]*\)".*/\2 --\3 \1/p' runtime-min/cli_options.h |
    sed "s/ O\$/ SET_PROGRAM/; s/ S\$/ SET_PROGRAM SET_CHAT/" | tr -d "'" >>$dir/rows
awk 'FNR == NR { for (i = 2; i <= NF; i++) set[$1, $i] = 1; order[++n] = $1; next }
    { for (c = 1; c <= n; c++)
        for (i = 3; i <= NF; i++)
            if (set[order[c], $i]) {
                if ($2 != "NULL") print order[c], $2
                if ($1 != "0") print order[c], "-" $1
                break
            } }' $dir/commands $dir/rows >$dir/have
check "every row of commands.def was read" test "$(grep -c '^COMMAND(' compiler/cmd/commands.def)" = "$(wc -l <$dir/commands)"
check "every row of the tables of options was read" test \
    "$(cat compiler/driver/options.def runtime-min/cli_options.h | grep -cE '^ *(OPTION|AGAIN|O|S) *\(')" = \
    "$(wc -l <$dir/rows)"

# ---- help after tables: of each command ----

while read -r command rest; do
    : "$rest"
    check "bnc help $command" sh -c '"$0" help $1 >$2/help.$1' "$bnc" $command $dir
    for flag in --help -h; do
        "$bnc" $command $flag >$dir/out 2>$dir/err
        check "bnc $command $flag: status" test $? = 0
        check "bnc $command $flag: says what help does" cmp $dir/out $dir/help.$command
        check "bnc $command $flag: on standard output" test ! -s $dir/err
    done
    sed -n "s/^$command //p" $dir/have >$dir/names
    while read -r name; do
        grep -qE -- "(^|[ ,(])$name([ =,[]|\$)" $dir/help.$command || echo "$name"
    done <$dir/names >$dir/missing
    check "bnc help $command names every option: $(tr '\n' ' ' <$dir/missing)" test ! -s $dir/missing
    check "bnc help $command: 80 columns, but for tables of its text" awk 'length > 80 && !/^  / { exit 1 }' $dir/help.$command
done <$dir/commands
"$bnc" --help >$dir/screen
check "bnc --help fits a screen" test "$(wc -l <$dir/screen)" -le 24
while read -r command rest; do
    [ $command = help ] || [ $command = lower ] || check "bnc --help names $command" grep -q "^  $command " $dir/screen
done <$dir/commands
check "help behind other words" sh -c '"$0" '$model' --kv=int8 --help >'$dir/out' && cmp '$dir/out' '$dir/help.compile "$bnc"
for topic in passes targets shapes; do
    check "bnc help $topic" "$bnc" help $topic
done

# ---- man after tables: the manual page ----

check "man page" sh -c '"$0" help --man >$1' "$bnc" $dir/bnc.1
sed 's/\\-/-/g' $dir/bnc.1 >$dir/man
cut -d' ' -f2 $dir/have | sort -u | while read -r name; do
    grep -qE -- "^\.B( .*[ ,]| )$name([ =,[]|\$)" $dir/man || echo "$name"
done >$dir/missing
check "the man page has every option: $(tr '\n' ' ' <$dir/missing)" test ! -s $dir/missing
check "no date in it" grep -qx '\.TH BNC 1 "" "bnc [0-9.]*" "User Commands"' $dir/bnc.1
if command -v groff >/dev/null; then
    check "groff" sh -c 'groff -ww -man -Tutf8 $0 2>&1 >/dev/null | tee $1 && test ! -s $1' $dir/bnc.1 $dir/warnings
elif command -v man >/dev/null; then
    check "man" sh -c 'man --warnings -l $0 2>&1 >/dev/null | tee $1 && test ! -s $1' $dir/bnc.1 $dir/warnings
else
    skip "the man page's markup" "neither groff nor man is installed"
fi

# ---- completions after tables: of three shells ----

for shell in bash zsh fish; do
    check "completions for $shell" sh -c '"$0" help --completions=$1 >$2' "$bnc" $shell $dir/bnc.$shell
    sed -n 's/^[a-z]* //p' $dir/have | sort -u | while read -r name; do
        case $shell$name in
        fish--*) grep -qE -- "-l ${name#--}( |\$)" $dir/bnc.fish ;;
        fish-?) grep -qE -- "-s ${name#-}( |\$)" $dir/bnc.fish ;;
        fish-*) grep -qE -- "-o ${name#-}( |\$)" $dir/bnc.fish ;;
        *) grep -qF -- "$name" $dir/bnc.$shell ;;
        esac || echo "$name"
    done >$dir/missing
    check "completions for $shell have every option: $(tr '\n' ' ' <$dir/missing)" test ! -s $dir/missing
    if ! command -v $shell >/dev/null; then
        skip "syntax of the completions for $shell" "it is not installed"
    elif [ $shell = fish ]; then
        check "syntax for fish" fish -n $dir/bnc.fish
    else
        check "syntax for $shell" $shell -n $dir/bnc.$shell
    fi
done
# completed WORDS...: what bash offers for the last word; `=` is a word of its own, as bash cuts it.
completed() {
    bash -c '. "$0"; COMP_WORDS=(bnc "$@"); COMP_CWORD=$#; _bnc 2>/dev/null; printf "%s\n" "${COMPREPLY[@]}"' \
        $dir/bnc.bash "$@" | sort | tr '\n' ' '
}
if command -v bash >/dev/null; then
    check "bash: commands" test "$(completed ins)" = "inspect "
    check "bash: options" test "$(completed chat --to)" = "--tokens= --tools= --top-k= --top-p= "
    check "bash: choices" test "$(completed run m --kv = '')" = "f16 f32 int8 "
    check "bash: choices of a command" test "$(completed convert m --type = t)" = "tq1_0 tq2_0 "
    check "bash: none of another command" test "$(completed inspect --ty)" = " "
    check "bash: targets" test "$(completed m.gguf --target = cu)" = "cuda "
    check "bash: topics" test "$(completed help sha)" = "shapes "
fi

# ---- values: in any case and order ----

"$bnc" synth --shape=TALES-4m --layers 1 --type=I2_S --quiet -o $dir/m.gguf
check "choices in any case" test $? = 0
small=$dir/m.gguf
check "-oFILE, -O 1, KV=F16" "$bnc" -O 1 --kv F16 --quiet -o$dir/x.c $small
check "they are told as they are" grep -qF "flags    -O1 --kv=f16" $dir/x.c
mv $dir/x.c $dir/before.c
"$bnc" $small -O1 --kv=f16 --quiet -o $dir/x.c
check "and make the same" cmp $dir/x.c $dir/before.c
check "what follows -- is no option" sh -c '"$0" inspect -- --nosuch 2>&1 | grep -q "^--nosuch: error: cannot open"' "$bnc"

# ---- kinds after values: by the end of a name ----

printf '#!/bin/sh\nprintf "%%s\\n" "$*" >>%s\nexec %s "$@" -O1\n' "$PWD/$dir/said.cc" "$cc" >$dir/cc
chmod +x $dir/cc
CC=$PWD/$dir/cc
export CC
begins() { # begins FILE BYTES: od's letters
    test "$(head -c 4 "$1" | od -An -c | tr -d ' \n')" = "$2"
}
for end in c o a tir so so.1; do
    "$bnc" $small --quiet --cflags="-DONE -DTWO" -o $dir/libtales.$end 2>$dir/err
    check "-o libtales.$end: $(cat $dir/err)" test $? = 0
done
check "an object" begins $dir/libtales.o '177ELF'
check "an archive" begins $dir/libtales.a '!<ar'
check "a library" begins $dir/libtales.so '177ELF'
check "a module's text" grep -q '^model "' $dir/libtales.tir
check "C" grep -q '^#include' $dir/libtales.c
check "a name without an end that says it is C" sh -c '"$0" $1 --quiet -o $2/plain && grep -q "^#include" $2/plain' "$bnc" $small $dir
check "--emit wins" sh -c '"$0" $1 --quiet --emit=ir -o $2/z.c && grep -q "^model \"" $2/z.c' "$bnc" $small $dir
check "--cflags reach the compiler, behind bnc's" grep -q -- "-O3 -pthread .*-DONE -DTWO " $dir/said.cc
check "the prefix of libtales.so is tales" grep -q '^extern .*const bn_model tales_model;' $dir/libtales.h
for end in so so.1; do
    if command -v readelf >/dev/null; then
        check "SONAME of libtales.$end" sh -c 'readelf -d $0 | grep -qF "[$1]"' $dir/libtales.$end libtales.$end
    fi
done
CFLAGS=-DTHREE "$bnc" $small --quiet -o $dir/w.o
check "CFLAGS reach it" grep -q -- "-DTHREE " $dir/said.cc
: >$dir/said.cc
CFLAGS=-DTHREE "$bnc" $small --quiet --cflags=-DFOUR -o $dir/w.o
check "--cflags instead of CFLAGS" sh -c 'grep -q -- "-DFOUR " $0 && ! grep -q -- -DTHREE $0' $dir/said.cc
"$bnc" run $small -n 1 --temp 0 --cflags=-DFIVE >$dir/out 2>&1
"$bnc" run $small -n 1 --temp 0 --cflags=-DSIX >$dir/out2 2>&1
check "another result for other flags" grep -q "compiling" $dir/out2
check "one text to standard output: IR" sh -c '"$0" $1 --quiet --emit=ir -o - >$2/s.tir && cmp $2/s.tir $2/libtales.tir' "$bnc" $small $dir
check "one text to standard output: C" sh -c \
    '"$0" $1 --quiet --amalgamate --weights=c --target=generic --time-passes -o - >$2/s.c 2>$2/err && ! grep -q "^stage" $2/s.c &&
     tail -n 3 $2/s.c | grep -q bn_cli && grep -q "^read" $2/err' "$bnc" $small $dir

# ---- outputs after kinds: nothing is written over what is read, nothing half ----

cp $small $dir/in.gguf
ln -s in.gguf $dir/soft.gguf
ln $dir/in.gguf $dir/hard.gguf
sum=$(cksum <$dir/in.gguf)
for out in in.gguf soft.gguf hard.gguf ../options/in.gguf; do
    refused "compile over its input, $out" "is what this command reads" "$bnc" $dir/in.gguf -o $dir/$out
    refused "quantize over its input, $out" "is what this command reads" "$bnc" quantize $dir/in.gguf --type=tq2_0 -o $dir/$out
done
"$bnc" $dir/in.gguf --quiet -o $dir/in.tir
refused "opt over the model of a text" "is what this command reads" "$bnc" opt $dir/in.tir -o $dir/soft.gguf
refused "opt over a text" "is what this command reads" "$bnc" opt $dir/in.tir -o $dir/in.tir
refused "report over its model" "is what this command reads" "$bnc" report $dir/in.gguf -o $dir/hard.gguf
refused "tune over its model" "is what this command reads" "$bnc" tune $dir/in.gguf -o $dir/in.gguf
refused "compile over --arch" "is what this command reads" "$bnc" $dir/in.gguf --arch=$dir/in.tir -o $dir/in.tir
refused "a trace over the model" "is what this command reads" "$bnc" profile $dir/in.gguf --trace=$dir/soft.gguf
mkdir $dir/checkpoint
echo '{}' >$dir/checkpoint/config.json
refused "over a file of a checkpoint" "is what this command reads" "$bnc" convert $dir/checkpoint -o $dir/checkpoint/config.json
cp $dir/in.gguf $dir/p-00001-of-00002.gguf
cp $dir/in.gguf $dir/p-00002-of-00002.gguf
refused "over another part" "is what this command reads" "$bnc" quantize $dir/p-00001-of-00002.gguf -o $dir/p-00002-of-00002.gguf
check "the input is as it was" test "$sum" = "$(cksum <$dir/in.gguf)"
check "the same name twice is no mistake" sh -c '"$0" $1 --quiet -o $2/x.c && "$0" $1 --quiet -o $2/x.c' "$bnc" $small $dir

mkdir -p $dir/disk
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=1200k tmpfs $dir/disk 2>$dir/err; then
    "$bnc" synth --shape=tales-4m --layers=1 --vocab=338 --quiet -o $dir/tiny.gguf
    for kb in 40 700 1000 1160; do # free, less and less of it
        for what in m.c m.so 'm --target=metal' 'm.so --weights=file'; do
            rm -f $dir/disk/*
            head -c ${kb}000 /dev/zero >$dir/disk/.fill
            # shellcheck disable=SC2086
            "$bnc" $dir/tiny.gguf --quiet -o $dir/disk/$what >$dir/out 2>&1
            status=$?
            left=$(ls -A $dir/disk | grep -v '^\.fill$' | tr '\n' ' ')
            rm -f $dir/disk/.fill
            if [ $status = 0 ]; then
                full=
            else
                full="$full$kb"
                check "a full disk, ${kb} kB taken, -o $what: left $left" test -z "$left"
            fi
        done
        [ -n "$full" ] && tested=1
    done
    check "a disk was full at least once" test "${tested:-0}" = 1
    umount $dir/disk
else
    skip "full disks" "only root can mount one"
fi

# ---- told after kinds: what a compilation tells ----

"$bnc" $model --ctx=1025 -o $dir/t.c >$dir/out 2>&1
check "--ctx above what the model was trained with" grep -q "warning: --ctx=1025 is more than the 1024 positions" $dir/out
"$bnc" $model --ctx=1024 -o $dir/t.c >$dir/out 2>&1
check "none of it at that" sh -c '! grep -q "trained with" $0' $dir/out
check "no note on a layout that the weights tell" sh -c '! grep -q layout $0' $dir/out
"$bnc" $model --i2s-layout=arm64 -o $dir/t.c >$dir/out 2>&1
check "a warning where they tell another" grep -q "packed as x128: use --i2s-layout=x128" $dir/out
"$bnc" $small -o $dir/t.c >$dir/out 2>&1
check "a note where they do not tell" grep -q "read in the layout x128; if" $dir/out
"$bnc" $small --i2s-layout=x128 -o $dir/t.c >$dir/out 2>&1
check "none where the user did" sh -c '! grep -q "in the layout" $0' $dir/out
unset CC
case $(uname -m) in
x86_64) other=arm64 ;;
*) other=x86-64-v3 ;;
esac
refused "a target of another family" "name a compiler that does, as in CC=" "$bnc" $small --target=$other -o $dir/t.o
check "not for C" "$bnc" $small --target=$other --quiet -o $dir/t.c
CC=$PWD/$dir/cc
export CC

# ---- run after values: the model's name, the program's options ----

refused "a message of the program names the model" "m.gguf: nosuch: No such file" "$bnc" run $small --ids=nosuch
check "options before the model" sh -c '"$0" run -n 3 --temp=0 -p ba $1 >$2/a && "$0" run $1 -p ba -n3 --temp 0 >$2/b && cmp $2/a $2/b && test -s $2/a' "$bnc" $small $dir

# ---- tokenize: ids, pieces, and back ----

printf 'Zoe \303\251t\303\251 \360\237\215\216  <|endoftext|>\r\n\ttwo  spaces, \377 and a bad byte' >$dir/text
"$bnc" tokenize $model --ids <$dir/text >$dir/ids
"$bnc" tokenize $model --decode <$dir/ids >$dir/back
{
    sed 's/\xff/\xef\xbf\xbd/' $dir/text
    echo
} >$dir/want
check "there and back, a bad byte as U+FFFD" cmp $dir/back $dir/want
"$bnc" tokenize $model "Once upon" --json >$dir/json
check "JSON" grep -qx '{"count": 3, "ids": \[4088, 767, 963\], "pieces": \["", "Once", " upon"\]}' $dir/json
check "build json_get" $cc -O1 tests/e2e/json_get.c -ljansson -o $dir/json_get
golden=tests/golden/fables-27m.json # by tests/reference and another tokenizer
for list in prompts nll; do
    for i in 0 1; do
        $dir/json_get $list $i text <$golden | head -c -1 >$dir/text
        $dir/json_get $list $i tokens <$golden | tr -d '[]' | tr ',' ' ' >$dir/want
        "$bnc" tokenize $model --ids <$dir/text | tr -d '\n' >$dir/ids
        check "the golden ids of $list $i" cmp $dir/ids $dir/want
    done
done
check "ids as the program takes them" sh -c \
    '"$0" tokenize $1 "Once upon a time" --ids >$2/ids && "$0" run $1 --ids=$2/ids -n 8 --temp 0 -t 1 >$2/a && "$0" run $1 -p "Once upon a time" -n 8 --temp 0 -t 1 >$2/b && cmp $2/a $2/b' \
    "$bnc" $model $dir
check "--no-bos" test "$("$bnc" tokenize $model "Once upon" --ids --no-bos)" = "767 963"
check "special tokens are text" test "$("$bnc" tokenize $model '<|endoftext|>' --ids --no-bos | wc -w)" -gt 1
check "or tokens" test "$("$bnc" tokenize $model '<|endoftext|>' --ids --no-bos --special)" = 4088
check "-p - reads standard input" test "$(printf 'Once upon' | "$bnc" tokenize $model -p - --ids)" = "4088 767 963"
check "a text of a module will do" sh -c '"$0" $1 --quiet -o $2/t.tir && "$0" tokenize $2/t.tir "Once upon" --ids | grep -qx "4088 767 963"' "$bnc" $model $dir

# ---- end ----
finish
