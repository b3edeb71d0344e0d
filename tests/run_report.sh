#!/bin/sh
# `bnc report`: run_report.sh BNC. The page against its JSON (tests/reports/page.py), the same bytes
# twice, and what a model may put into a page.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/report-test
rm -rf $dir
mkdir -p $dir/none
XDG_CACHE_HOME=$PWD/$dir/cache
export XDG_CACHE_HOME
. tests/lib.sh
cases 1 "$@"

page() { # page NAME MODEL
    "$bnc" report "$2" --target=x86-64-v3 --quiet --no-measure -o $dir/"$1".html
}

# ---- page: a page and its JSON ----
check "a page" page a $model
check "the same page again" sh -c "'$bnc' report $model --target=x86-64-v3 --quiet --no-measure -o $dir/b.html && cmp $dir/a.html $dir/b.html"
"$bnc" report $model --target=x86-64-v3 --quiet --no-measure --json >$dir/a.json
check "JSON" test -s $dir/a.json
check "its numbers are the JSON's" python3 tests/reports/page.py $dir/a.html $dir/a.json
check "no time is in it" jq -e 'all(.passes[]; .wall_ms == null) and all(.roof[]; .measured_us == null)' $dir/a.json

# ---- numbers after page: what others say ----
# What the compiler says elsewhere: sizes of the passes, bytes of the file of weights.
"$bnc" $model --target=x86-64-v3 --quiet --time-passes --json -o $dir/m.c >$dir/times.json
check "ops are those of --time-passes" test \
    "$(jq -c '[.stages[] | select(.is_pass) | .ops]' $dir/times.json)" = \
    "$(jq -c '[.passes[] | select(.ops_after) | [.ops_before, .ops_after]]' $dir/a.json)"
check "formats and layers have the same bytes" jq -e '([.formats[].bytes] | add) == ([.layers[] | .ternary + .floats] | add)' $dir/a.json
check "values of a function that live at once stand apart" jq -e '
    [.plan[] | select(.function == "decode" and .space == "own")] as $v |
    all($v[]; . as $a | all($v[]; . as $b | $a.value == $b.value or $a.to < $b.from or $b.to < $a.from or
        $a.offset + $a.bytes <= $b.offset or $b.offset + $b.bytes <= $a.offset))' $dir/a.json

# ---- measured: times ----
# Measured, as users get it: bound and time of every product, and a share of the bound.
"$bnc" report $model --quiet --json -t 1 >$dir/timed.json
check "JSON of a measured run" test -s $dir/timed.json
check "measured" jq -e '[.roof[] | select(.op | startswith("tmatmul"))] |
    length == 5 and all(.[]; .measured_us > 0 and .bound_us > 0 and .share > 0)' $dir/timed.json

# ---- markup after page: without Graphviz, odd names ----
# Without Graphviz the graph is text; in a name of the model nothing is markup.
check "without Graphviz" env PATH=$dir/none "$bnc" report $model --target=x86-64-v3 --quiet --no-measure -o $dir/bare.html
check "its numbers, too" python3 tests/reports/page.py $dir/bare.html $dir/a.json
LC_ALL=C sed 's/fables-27/<b>"\&<\/b>/' $model >$dir/odd.gguf
check "a name of markup" page odd $dir/odd.gguf
check "is no markup" sh -c "grep -q '&lt;b&gt;&quot;&amp;&lt;/b&gt;' $dir/odd.html && ! grep -q '<b>' $dir/odd.html"
check "no page without a name for it" sh -c "! '$bnc' report $model 2>$dir/err && grep -q 'no output file given' $dir/err"

# ---- end ----
finish
