# lib.sh: what the scripts of end-to-end tests share. A script sets dir, its folder below build/, reads
# this, and ends with `finish`.
passed=0
failed=0
skipped=0

check() { # check NAME COMMAND...: the command must succeed
    title=$1
    shift
    if "$@" >$dir/log 2>&1; then
        passed=$((passed + 1))
        return 0
    fi
    failed=$((failed + 1))
    echo "FAILED: $title"
    tail -n 15 $dir/log
    return 1
}
skip() { # skip NAME [WHY]
    skipped=$((skipped + 1))
    echo "skipped: $1${2:+ ($2)}"
}
refused() { # refused NAME TEXT COMMAND...: fails with a message that holds TEXT
    title=$1
    text=$2
    shift 2
    "$@" >$dir/said 2>&1
    check "$title" test $? = 1
    check "$title says '$text'" grep -qF -- "$text" $dir/said
}
near() { # near NAME A B MOST: |A - B| <= MOST, all of them numbers
    check "$1: $2 and $3 within $4" awk -v a="$2" -v b="$3" -v most="$4" \
        'BEGIN {exit !(a + 0 == a && b + 0 == b && a - b <= most && b - a <= most)}'
}
finish() { # the line that tests/check.sh counts; fails where a check did
    echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
    [ $failed = 0 ]
}
