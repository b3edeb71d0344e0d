#!/bin/sh
# `make check`: builds everything, runs every test, counts, and says how it ended. Arguments: the
# make to call, the folder of shared models and goldens (skipped, and said so, where absent).
make=$1
shared=$2
passed=0
failed=0
skipped=0
log=build/check.log
mkdir -p build
jobs=$(nproc 2>/dev/null || echo 2)

# step NAME COMMAND...: runs it; its last line "N passed, M failed[, K skipped]" counts, else one.
step() {
    title=$1
    shift
    start=$(date +%s)
    if "$@" >"$log" 2>&1; then ok=1; else ok=0; fi
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    cm=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    sk=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    fl=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    if [ -n "$line" ]; then
        cm=$(echo "$line" | awk '{print $1}')
        fl=$(echo "$line" | awk '{print $3}')
        sk=$(echo "$line" | awk '{print $5 + 0}')
    elif [ "$cm$sk$fl" = 000 ]; then
        cm=$ok
        fl=$((1 - ok))
    fi
    [ $ok = 1 ] || [ "$fl" != 0 ] || fl=1
    passed=$((passed + cm))
    failed=$((failed + fl))
    skipped=$((skipped + sk))
    printf '%-34s %4d passed %3d failed %3d skipped  %4d s\n' "$title" "$cm" "$fl" "$sk" $(($(date +%s) - start))
    grep -E 'skipped[,:]|^skip' "$log" | sort -u | head -n 5
    [ $ok = 1 ] || tail -n 60 "$log"
}

skip() { # skip NAME WHY
    skipped=$((skipped + 1))
    printf '%-34s skipped: %s\n' "$1" "$2"
}

run_env="ASAN_OPTIONS=allocator_may_return_null=1 BN_SHARED=$shared"
step "tools" sh tools/install.sh
step "build" $make -s -j"$jobs" build/bnc build/libbnrt.a
if [ $failed != 0 ]; then
    echo "0 passed, $failed failed"
    exit 1
fi
step "floor rule" sh tests/floors.sh
units="runtime deal cli tokenizer tokenizer_golden kernels t3 session formats gguf ir models prefill kv head"
step "build of unit tests" $make -s -j"$jobs" $(for u in $units; do echo build/san/test_$u; done) build/san/bnc
for u in $units; do
    step "unit: $u (ASan, UBSan)" env $run_env build/san/test_$u
done
step "text: passes, identity, errors" env $run_env sh tests/run_text.sh build/san/bnc
step "generated C" env $run_env sh tests/run_generated.sh build/bnc
step "choices: layouts, targets, tuning" env $run_env sh tests/run_choices.sh build/bnc
step "kernels: other machines" sh tests/kernels/run.sh build/bnc
step "docs" sh tests/docs.sh
if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
    step "build of models" $make -s -j"$jobs" SHARED="$shared" golden-build
    step "golden: logits, tokens, NLL" $make -s SHARED="$shared" golden-run
    step "best words against all logits" $make -s SHARED="$shared" best-run
else
    skip "golden" "no models and goldens in $shared"
fi
step "build of fuzzers" $make -s -j"$jobs" fuzz-build
for f in gguf tir tokenizer; do
    step "fuzz: $f" sh tests/fuzz/run.sh $f "${FUZZ_SECONDS:-20}"
done
echo
if [ $skipped = 0 ]; then
    echo "$passed passed, $failed failed"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ $failed = 0 ]
