#!/bin/sh
# run_cache.sh BNC: the cache of compilations: whose it is, what its keys hold, what happens to damaged
# entries, and that neither signals nor failures leave litter.
bnc=$PWD/${1:?usage: run_cache.sh BNC}
dir=build/cache
rm -rf $dir
mkdir -p $dir/home $dir/tmp
. tests/lib.sh
cases 1 "$@"
model=$PWD/tests/arch-models/qwen3-i2_s.gguf
here=$PWD
TMPDIR=$PWD/$dir/tmp
XDG_CACHE_HOME=$PWD/$dir/xdg
HOME=$PWD/$dir/home
CCACHE_DISABLE=1 # where cc is that, it would write here, too
export TMPDIR XDG_CACHE_HOME HOME CCACHE_DISABLE
cache=$XDG_CACHE_HOME/bnc
CC=${CC:-$PWD/tests/quick-cc.sh}
export CC

run() { "$bnc" run "$model" "$@" -p "ab" -n 2 --temp 0 -t 1; }
entries() { ls $cache 2>/dev/null | grep -c '^[0-9a-f]*$'; }
told() { # told FILE: what the model says there; what bnc says in $dir/said
    "$bnc" run "$model" -p ab -n 2 --temp 0 -t 1 >"$1" 2>$dir/said
}

# ---- once: compiled once ----
check "the first run" told $dir/first
check "and compiles" grep -q compiling $dir/said
check "the second run" told $dir/second
check "and does not" sh -c "! grep -q compiling $dir/said"
check "and says the same" cmp $dir/first $dir/second
check "one entry" test "$(entries)" = 1
check "the folder is ours alone" test "$(stat -c %a $cache)" = 700
entry=$(ls -d $cache/*)
check "no file of it can be written by others" test -z "$(find $cache -perm /022)"

# ---- key after once: what the key holds ----
run --ctx=32 >$dir/log 2>&1
check "options: another entry" test "$(entries)" = 2
check "the same weights are one file" test "$(ls -i $cache/*/model.bnw | awk '{print $1}' | sort -u | wc -l)" = 1
cp "$CC" $dir/cc.sh
(CC=$here/$dir/cc.sh && export CC && run) >$dir/log 2>&1
check "another C compiler: another entry" test "$(entries)" = 3
(CFLAGS=-g && export CFLAGS && run) >$dir/log 2>&1
check "CFLAGS: another entry" test "$(entries)" = 4
python3 tests/reference/gguf_edit.py "$model" $dir/other.gguf general.name=str:other
"$bnc" run $dir/other.gguf -p ab -n 2 --temp 0 -t 1 >$dir/log 2>&1
check "another model: another entry" test "$(entries)" = 5
printf '%s' '{{ messages[0].content }}' >$dir/t.jinja
run --chat-template=$dir/t.jinja >$dir/log 2>&1
printf '%s' '{{ messages[-1].content }}' >$dir/t.jinja
run --chat-template=$dir/t.jinja >$dir/log 2>&1
check "a template's bytes: another entry each" test "$(entries)" = 7
"$bnc" cache --json >$dir/list
check "bnc cache lists them" test "$(grep -o '"key"' $dir/list | wc -l)" = 7
check "the list names the model" grep -q 'other.gguf' $dir/list

# ---- damage after once: damaged entries ----
again() { # again NAME: the damaged entry is made again and says the same
    check "$1: runs" told $dir/second
    check "$1: is made again" grep -q compiling $dir/said
    check "$1: says the same" cmp $dir/first $dir/second
}
for file in model model.bnw entry; do
    : >$entry/$file
    again "an empty $file"
    rm $entry/$file
    again "no $file"
done
printf 'x' | dd of=$entry/model.bnw bs=1 seek=9000 conv=notrunc 2>/dev/null
again "a changed byte of the weights"
printf 'x' | dd of=$entry/model bs=1 seek=5000 conv=notrunc 2>/dev/null
again "a changed byte of the program"
chmod 777 $entry/model
again "a program that others may write"
rm $entry/model && ln -s /bin/true $entry/model
again "a link in place of the program"

# ---- owner after once: whose folder it is ----
chmod 777 $cache
refused "a cache that others may write" "may be written by others" run
chmod 700 $cache
chmod 777 $XDG_CACHE_HOME
refused "a parent that others may write" "may be written by others" run
chmod 1777 $XDG_CACHE_HOME
check "a sticky parent is as good as /tmp" run
chmod 755 $XDG_CACHE_HOME
mkdir $dir/linked
mv $cache $dir/linked/bnc
if [ "$(id -u)" = 0 ]; then
    mkdir $cache
    chown 65534 $cache
    refused "a cache of another user" "belongs to another user" run
    rmdir $cache
else
    skip "a cache of another user" "only root can make one"
fi
mv $dir/linked/bnc $cache
(
    cd $dir
    XDG_CACHE_HOME=relative "$bnc" run "$model" -p ab -n 2 --temp 0 -t 1
) >$dir/second 2>$dir/said
check "a relative XDG_CACHE_HOME is ignored" test -d $HOME/.cache/bnc -a ! -e $dir/relative
check "and the model runs" cmp $dir/first $dir/second
(umask 0 && XDG_CACHE_HOME=$PWD/$dir/open && export XDG_CACHE_HOME && run) >$dir/log 2>&1
check "umask 0 opens nothing" test -z "$(find $dir/open -perm /022)"

# ---- limit after once: in use, clear, limit ----
mkfifo $dir/in
(sleep 600 >$dir/in & echo $! >$dir/sleeper; exec "$bnc" run "$model" --ids $dir/in -n 2 -t 1) >$dir/log2 2>&1 &
user=$!
tries=0
while ! "$bnc" cache 2>/dev/null | grep -q 'in use' && [ $tries -lt 300 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
if "$bnc" cache | grep -q 'in use'; then
    "$bnc" cache clear >$dir/cleared 2>&1
    check "clear keeps what runs" test "$(entries)" = 1
    check "and says so" grep -q '1 are in use' $dir/cleared
else
    skip "an entry in use" "the program ended before it was seen"
fi
kill "$(cat $dir/sleeper)" $user 2>/dev/null
wait $user 2>/dev/null
"$bnc" cache clear >$dir/log 2>&1
check "clear removes the rest" test "$(entries)" = 0
run >$dir/log 2>&1
"$bnc" cache limit 1K >$dir/log 2>&1
check "a limit removes what exceeds it" test "$(entries)" = 0
"$bnc" cache limit none
check "no limit" sh -c "'$bnc' cache --json | grep -q '\"limit\":0'"
refused "a limit without a number" "a limit is a size" "$bnc" cache limit much

# ---- none after once: --no-cache ----
check "--no-cache runs" sh -c "'$bnc' run '$model' --no-cache -p ab -n 2 --temp 0 -t 1 >$dir/second"
check "says the same" cmp $dir/first $dir/second
check "keeps nothing" test "$(entries)" = 0
check "leaves nothing" test -z "$(ls $TMPDIR)"
"$bnc" run "$model" --no-cache -p ab -n 2 --no-such-option >$dir/log 2>&1
check "its program's status is bnc's" test $? = 1

# ---- litter after once: signals and failures ----
printf '#!/bin/sh\necho $$ >%s/pid\nsleep 120 &\necho $! >%s/grandchild\nwait\n' "$PWD/$dir" "$PWD/$dir" >$dir/slow.sh
chmod 755 $dir/slow.sh
gone() { # gone PID: within some seconds
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$1" 2>/dev/null || return 0
        case $(ps -o stat= -p "$1") in Z* | "") return 0 ;; esac
        sleep 0.5
    done
    return 1
}
mkdir $dir/out
for signal in INT TERM HUP KILL; do
    rm -f $dir/pid $dir/grandchild
    # A shell has its background jobs ignore SIGINT, which bnc would go on ignoring.
    env CC="$PWD/$dir/slow.sh" python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$bnc" "$model" --emit=exe --weights=file --quiet -o $dir/out/x >$dir/log2 2>&1 &
    job=$!
    tries=0
    while [ ! -s $dir/grandchild ] && [ $tries -lt 300 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    check "SIG$signal: the C compiler runs" test -s $dir/grandchild
    kill -$signal $job
    wait $job 2>/dev/null
    if [ $signal = KILL ]; then
        check "SIGKILL ends the C compiler, too" gone "$(cat $dir/pid)"
        kill "$(cat $dir/grandchild)" 2>/dev/null
        sleep 2.1
        "$bnc" "$model" --emit=exe --weights=file --quiet -o $dir/out/x >$dir/log2 2>&1
        check "what SIGKILL left is swept by the next run" test "$(ls -A $TMPDIR $dir/out | grep -c tmp-)" = 0
        check "and its folder" test -z "$(ls $TMPDIR)"
        continue
    fi
    check "SIG$signal ends the C compiler" gone "$(cat $dir/pid)"
    check "SIG$signal ends what that started" gone "$(cat $dir/grandchild)"
    check "SIG$signal leaves no temporary folder" test -z "$(ls $TMPDIR)"
    check "SIG$signal leaves no half-written output" test -z "$(ls -A $dir/out)"
done

# ---- end ----
finish
