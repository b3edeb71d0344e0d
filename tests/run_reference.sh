#!/bin/sh
# Graphs that no shared model has, against a second opinion: run_reference.sh BNC. What bnc makes of
# the models of tests/arch-models must compute what tests/reference/model.py, numpy and nothing of
# bnc, computed; and that reference must agree with the goldens of others (BN_SHARED, default
# ../shared). Needs build/test_golden.
bnc=$1
shared=${BN_SHARED:-../shared}
models=tests/arch-models
ref=tests/reference
dir=build/reference
rm -rf $dir
mkdir -p $dir
XDG_CACHE_HOME=$PWD/$dir
PYTHONDONTWRITEBYTECODE=1
OMP_NUM_THREADS=1 # numpy's: small products
export XDG_CACHE_HOME PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS
passed=0
failed=0
skipped=0

check() { # check NAME COMMAND...: the command must succeed
    title=$1
    shift
    if "$@" >$dir/log 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $title"
        tail -n 15 $dir/log
    fi
}
counted() { # counted NAME COMMAND...: its last line counts
    title=$1
    shift
    "$@" >$dir/log 2>&1
    line=$(tail -n 1 $dir/log)
    case $line in
    *" passed, "*" failed")
        passed=$((passed + ${line%% *}))
        line=${line#*, }
        [ "${line%% *}" = 0 ] || grep FAILED $dir/log | sed "s/^/$title: /"
        failed=$((failed + ${line%% *}))
        ;;
    *) check "$title: $line" false ;;
    esac
}
skip() {
    skipped=$((skipped + 1))
    echo "skipped: $1"
}

# ---- compiled, with f32 caches, for the tightest bounds; two at a time ----
compile() {
    for m; do
        "$bnc" $models/"$m"-i2_s.gguf --emit=so --name=m --target=x86-64-v3 --kv=f32 --quiet \
            -o $dir/"$m"-i2_s.x86-64-v3.so
    done
}
compile qwen3 qwen3-norm-in 2>$dir/said1 &
one=$!
compile gemma3 gemma3-norm-in 2>$dir/said2 &
wait $one
wait
for m in qwen3 qwen3-norm-in gemma3 gemma3-norm-in; do
    check "$m: logits and vectors of the golden" build/test_golden $models $dir/$m-i2_s.x86-64-v3.so
done
cat $dir/said1 $dir/said2

python=
for p in python3 /usr/bin/python3; do
    "$p" -c 'import numpy' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    skip "the reference itself, and bnc embed: no python3-numpy"
else
    # ---- the reference, its models, and what the tolerances are worth ----
    check "make_arch.py" "$python" $ref/make_arch.py $dir/again
    for m in qwen3 qwen3-norm-in gemma3 gemma3-norm-in; do
        check "$m: the same model again" cmp $models/$m-i2_s.gguf $dir/again/$m-i2_s.gguf
    done
    counted "own goldens" "$python" $ref/check.py $models/qwen3.json $models/qwen3-i2_s.gguf \
        $models/gemma3.json $models/gemma3-i2_s.gguf
    counted "sensitivity" "$python" $ref/check.py --sensitivity \
        $models/qwen3-norm-in.json $models/qwen3-norm-in-i2_s.gguf \
        $models/gemma3-norm-in.json $models/gemma3-norm-in-i2_s.gguf
    if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
        set --
        for golden in "$shared"/golden/synth-*.json; do
            set -- "$@" "$golden" "$shared/models/$(basename "$golden" .json)-i2_s.gguf"
        done
        counted "goldens of others" "$python" $ref/check.py "$@"
    else
        skip "goldens of others: not in $shared"
    fi

    # ---- texts to vectors: pooling by the metadata, then by option ----
    m=qwen3-norm-in
    "$python" -c "import json, sys
for e in json.load(open(sys.argv[1]))['embeddings']:
    print(e['text'])" $models/$m.json >$dir/texts
    for pooling in "" --pooling=mean; do
        # shellcheck disable=SC2086
        "$bnc" embed $models/$m-i2_s.gguf --quiet --json $pooling <$dir/texts >$dir/vectors.json
        how=${pooling#--pooling=}
        check "bnc embed $pooling" "$python" $ref/check.py --embed "${how:-last}" $models/$m.json \
            $dir/vectors.json
    done
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
