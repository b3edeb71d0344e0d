#!/bin/sh
# The numpy reference, tests/reference/model.py: run_reference.sh. It must agree with goldens of others
# (BN_SHARED, default ../shared) and make tests/arch-models and tests/golden again, which
# tests/e2e/test_golden.c holds against what bnc compiles.
shared=${BN_SHARED:-../shared}
models=tests/arch-models
ref=tests/reference
dir=build/reference
rm -rf $dir
mkdir -p $dir
PYTHONDONTWRITEBYTECODE=1
OMP_NUM_THREADS=1 # numpy's: small products
export PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS
. tests/lib.sh
cases 0 "$@"

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
    *)
        failed=$((failed + 1))
        echo "FAILED: $title"
        tail -n 15 $dir/log
        ;;
    esac
}

python=
for p in python3 /usr/bin/python3; do
    "$p" -c 'import numpy' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    skip "no python3-numpy"
    finish
    exit
fi

# ---- models: the committed models again ----
check "make_arch.py" "$python" $ref/make_arch.py $dir/again
for m in qwen3 qwen3-norm-in gemma3 gemma3-norm-in; do
    check "$m: the same model again" cmp $models/$m-i2_s.gguf $dir/again/$m-i2_s.gguf
done

# ---- own: goldens of these models ----
counted "own goldens" "$python" $ref/check.py $models/qwen3.json $models/qwen3-i2_s.gguf \
    $models/gemma3.json $models/gemma3-i2_s.gguf

# ---- committed: the committed model: its golden, and the text that it was never shown ----
fables=examples/models/fables
if "$python" -c 'import jinja2' 2>/dev/null; then
    counted "golden of the committed model" "$python" $ref/make_golden.py check \
        examples/models/fables-27m-i2_s.gguf tests/golden/fables-27m.json
else
    skip "golden of the committed model: no python3-jinja2"
fi
check "its held-out text again" sh -c "'$python' $fables/fables.py --seed=2 --plain 6 | cmp - $fables/held-out.txt"

# ---- sensitivity: what the tolerances are worth ----
counted "sensitivity" "$python" $ref/check.py --sensitivity \
    $models/qwen3-norm-in.json $models/qwen3-norm-in-i2_s.gguf \
    $models/gemma3-norm-in.json $models/gemma3-norm-in-i2_s.gguf

# ---- others: goldens of others ----
if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
    set --
    for golden in "$shared"/golden/synth-*.json; do
        set -- "$@" "$golden" "$shared/models/$(basename "$golden" .json)-i2_s.gguf"
    done
    counted "goldens of others" "$python" $ref/check.py "$@"
else
    skip "goldens of others: not in $shared"
fi

# ---- end ----
finish
