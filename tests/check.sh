#!/bin/sh
# `make check`: builds everything, runs every test, counts, and says how it ended. Arguments: the
# make to call, the folder of shared models and goldens (skipped, and said so, where absent).
#
# Most steps use one core for most of their time, so two lanes of them run beside each other; a step
# reads only what was built before it or in its own lane.
make=$1
shared=$2
counts=build/check.counts
mkdir -p build
: >$counts
jobs=$(nproc 2>/dev/null || echo 2)
lane=0

# step NAME COMMAND...: runs it; its last line "N passed, M failed[, K skipped]" counts, else one.
step() {
    title=$1
    shift
    log=build/check.log.$lane
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
    echo "$cm $fl $sk" >>$counts
    {
        printf '%-34s %4d passed %3d failed %3d skipped  %4d s\n' "$title" "$cm" "$fl" "$sk" $(($(date +%s) - start))
        grep -E 'skipped[,:]|^skip' "$log" | sort -u | head -n 5
        [ $ok = 1 ] || tail -n 60 "$log"
    } >"$log.said"
    cat "$log.said"
}

skip() { # skip NAME WHY
    echo "0 0 1" >>$counts
    printf '%-34s skipped: %s\n' "$1" "$2"
}

finish() { # the sum of all steps; fails where one did
    echo
    awk '{p += $1; f += $2; s += $3}
         END {printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0}' $counts
}

run_env="ASAN_OPTIONS=allocator_may_return_null=1 BN_SHARED=$shared"
quick_env="$run_env CC=$PWD/tests/quick-cc.sh"
jit=
[ "$CI" = true ] && jit=jit
step "tools" sh tools/packages.sh install build check $jit
step "build" $make -s -j"$jobs" all
grep -q ' [1-9][0-9]* ' $counts && { finish; exit 1; }
step "floor rule" sh tests/floors.sh

units="runtime sample deal cli chat tokenizer tokenizer_golden kernels t3 session formats gguf safetensors ir models prefill kv head encode quantize"
inside() { # unit tests, text and fuzzers: what is linked with the compiler's own objects
    lane=1
    step "build of unit tests" $make -s $(for u in $units; do echo build/san/test_$u; done) build/san/bnc
    for u in $units; do
        step "unit: $u (ASan, UBSan)" env $run_env build/san/test_$u
    done
    step "text: passes, identity, errors" env $run_env sh tests/run_text.sh build/san/bnc
    step "reports on passes" env $run_env sh tests/run_reports.sh build/san/bnc
    step "build of fuzzers" $make -s fuzz-build
    for f in gguf safetensors tir tokenizer jinja chat; do
        step "fuzz: $f" sh tests/fuzz/run.sh $f "${FUZZ_SECONDS:-4}"
    done
    step "kernels: other machines" sh tests/kernels/run.sh build/bnc
    step "chat: templates, conversations" env $quick_env sh tests/run_chat.sh build/bnc
    step "convert: checkpoints to GGUF" env $quick_env sh tests/run_convert.sh build/bnc
    step "reference: against its goldens" env $run_env sh tests/run_reference.sh
    step "docs" env $quick_env sh tests/docs.sh
    if sh tools/llvm.sh >/dev/null; then
        step "build with LLVM" $make -s jit-build
        step "JIT: the bits of the C" env $quick_env sh tests/run_jit.sh build/jit/bnc build/bnc
    else
        skip "JIT" "no llvm-config of LLVM 14 to 19 with its clang (apt-get install llvm-dev clang)"
    fi
}
outside() { # what the compiler wrote
    lane=2
    if [ -d "$shared/models" ] && [ -d "$shared/golden" ]; then
        step "build of models" $make -s SHARED="$shared" golden-build
        step "golden: logits, tokens, NLL" $make -s SHARED="$shared" golden-run
        step "best words against all logits" $make -s SHARED="$shared" best-run
    else
        skip "golden" "no models and goldens in $shared"
    fi
    step "build of the committed model" $make -s trained-build
    step "committed model: NLL, chat" $make -s trained-run
    step "build of other graphs" $make -s arch-build
    step "other graphs: logits, vectors" $make -s arch-run
    step "embed: vectors of texts" env $quick_env sh tests/run_embed.sh build/bnc
    step "choices: layouts, targets, tuning" env $quick_env sh tests/run_choices.sh build/bnc
    step "build of model files" $make -s build/retype
    step "formats: floats, parts" env $quick_env sh tests/run_formats.sh build/bnc
    step "CUDA without a GPU" env $quick_env sh tests/run_cuda.sh build/bnc
    step "fold: factors of projections" env $quick_env sh tests/run_fold.sh build/bnc
    step "metadata: refused or computed" env $quick_env sh tests/run_metadata.sh build/bnc
    step "quality: ppl, compare, checks" env $quick_env sh tests/run_quality.sh build/bnc
    step "quantize: files, losses, auto" env $quick_env sh tests/run_quantize.sh build/bnc
    step "profile and bench" env $quick_env sh tests/run_profile.sh build/bnc
    step "report: a page of a compilation" env $quick_env sh tests/run_report.sh build/bnc
    step "Metal: shaders, host, barriers" env $quick_env sh tests/run_metal.sh build/bnc
    step "install: files, consumers, bytes" env $run_env sh tests/run_install.sh build/bnc
    step "generated C" env $quick_env sh tests/run_generated.sh build/bnc
}
inside &
outside
wait
finish
