#!/bin/sh
# `make check`: builds what the steps of tests/steps.def need, runs them, counts, and says how it ended.
# Arguments: the make to call, the folder of shared models and goldens (skipped, and said so, where absent).
#
# ONLY=PATTERN (a regular expression) runs the steps whose name or command matches; of the others the
# cases of scripts, the texts and the functions of unit tests that match. `make -j1 check` runs one thing
# at a time; else as many builds as there are processors, then two lanes of steps.
make=$1
shared=$2
only=${ONLY:-}
unset ONLY
mkdir -p build
counts=build/check.counts
plan=build/check.plan
: >$counts
: >$plan
jobs=$(echo " ${MAKEFLAGS:-}" | sed -n 's/.* -j *\([0-9][0-9]*\).*/\1/p')
jobs=${jobs:-$(nproc 2>/dev/null || echo 2)}
quick=$PWD/tests/quick-cc.sh
jit=
[ "${CI:-}" = true ] && jit=jit
export ASAN_OPTIONS=allocator_may_return_null=1 BN_SHARED="$shared"
. tests/rows.sh
began=$(date +%s)

build() { # build TARGET...
    "$make" -s -j"$jobs" SHARED="$shared" "$@"
}

# step NAME COMMAND NEEDS: makes what it needs, runs it; its last line "N passed, M failed[, K skipped]"
# counts, else one.
step() {
    log=build/check.log.$lane
    start=$(date +%s)
    if { [ -z "$3" ] || [ $built = 1 ] || build $3; } >"$log" 2>&1 && eval "$2" >>"$log" 2>&1; then ok=1; else ok=0; fi
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
    took=$(($(date +%s) - start))
    echo "$cm $fl $sk $took $1" >>$counts
    {
        printf '%-28s %4d passed %3d failed %3d skipped  %4d s\n' "$1" "$cm" "$fl" "$sk" $took
        grep -E 'skipped[,:]|^skip' "$log" | sort -u | head -n 5
        [ $ok = 1 ] || tail -n 60 "$log"
    } >"$log.said"
    cat "$log.said"
}

skip() { # skip NAME WHY
    echo "0 0 1 0 $1" >>$counts
    printf '%-28s skipped: %s\n' "$1" "$2"
}

finish() { # the slowest steps, the sum of all; fails where one did
    if [ "$(wc -l <$counts)" -gt 10 ]; then
        printf '\nthe slowest, of %d s:\n' $(($(date +%s) - began))
        sort -k 4,4nr $counts | head -n 10 | awk '{s = $4; $1 = $2 = $3 = $4 = ""; sub(/^ */, ""); printf "%6d s  %s\n", s, $0}'
    fi
    echo
    awk '{p += $1; f += $2; s += $3}
         END {printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0 || !NR}' $counts
}

# selected NAME COMMAND: what of a step ONLY asks for, as a command; empty: nothing.
selected() {
    if [ -z "$only" ] || printf '%s\n%s\n' "$1" "$2" | grep -qE -- "$only"; then
        echo "$2"
        return
    fi
    case $2 in
    *tests/*run_*.sh* | *tests/docs.sh* | *tests/kernels/run.sh*)
        eval "$2 --list" 2>/dev/null | grep -qE -- "$only" && echo "$2 '$only'"
        ;;
    build/san/test_*)
        grep -hoE 'cmocka_unit_test[a-z_]*\([A-Za-z0-9_]+' "tests/unit/${2#build/san/}.c" | grep -qE "\(.*($only)" &&
            echo "TEST_FILTER='*$only*' $2"
        ;;
    esac
}

missing() { # missing CONDITION: why a step cannot run here
    case $1 in
    shared) [ -d "$shared/models" ] && [ -d "$shared/golden" ] || echo "no models and goldens in $shared" ;;
    llvm)
        sh tools/llvm.sh >/dev/null ||
            echo "no llvm-config of LLVM 14 to 19 with its clang (apt-get install llvm-dev clang)"
        ;;
    esac
}

# ---- what is to be run: lane, name, why not, needs, command ----
separator=$(printf '\001')
rows STEP tests/steps.def | tr '\t' '\001' >build/check.rows
while IFS=$separator read -r name lane condition needs command what; do
    chosen=$(selected "$name" "$command")
    case $lane in first) [ "$name" = build ] || [ -n "$chosen" ] || continue ;; *) [ -n "$chosen" ] || continue ;; esac
    printf '%s\001%s\001%s\001%s\001%s\n' "$lane" "$name" "$(missing "$condition")" "$needs" "${chosen:-$command}" >>$plan
done <build/check.rows
if [ -n "$only" ] && [ "$(grep -vc "^first${separator}build" $plan)" = 0 ]; then
    echo "nothing matches ONLY=$only"
    exit 1
fi

run_lane() { # run_lane LANE
    lane=$1
    while IFS=$separator read -r of name why needs command <&3; do
        [ "$of" = "$lane" ] || continue
        if [ -n "$why" ]; then skip "$name" "$why"; else step "$name" "$command" "$needs"; fi
    done 3<$plan
}

built=0
run_lane first
if awk '$2 > 0 {bad = 1} END {exit !bad}' $counts; then
    finish
    exit 1
fi
# All that the others need at once: beside each other lanes may not build. Where that fails, each step
# builds its own, one after the other, and those that cannot say why.
needs=$(awk -F "$separator" '$1 != "first" && $3 == "" {print $4}' $plan | tr ' ' '\n' | sort -u | tr '\n' ' ')
start=$(date +%s)
if [ -z "${needs% }" ] || build -k $needs >build/check.log.build 2>&1; then built=1; fi
took=$(($(date +%s) - start))
if [ $built = 1 ]; then
    printf '%-28s %4d passed   0 failed   0 skipped  %4d s\n' "what the others need" 1 $took
    echo "1 0 0 $took what the others need" >>$counts
else
    echo "building failed; each step tries again:"
    tail -n 30 build/check.log.build
    jobs=1
fi
if [ "$jobs" = 1 ]; then
    run_lane inside
    run_lane outside
else
    run_lane inside &
    run_lane outside
    wait
fi
finish
