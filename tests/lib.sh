# lib.sh: what the scripts of end-to-end tests share. A script sets dir, its folder below build/, reads
# this, calls `cases`, and ends with `finish`.
#
# Behind its head a script is cut into cases by lines `# ---- NAME: what ----`, or `# ---- NAME after
# OTHER...: what ----` where it uses what others made; the last is `# ---- end ----`. With names behind
# its own arguments it runs its head, the cases that match one of them (as parts or regular expressions)
# with those that they come after, and its end; with --list it prints the names.
cases() { # cases COUNT ARGUMENT...: the script's arguments, of which COUNT are its own
    own=$1
    shift
    [ $# -gt "$own" ] || return 0
    names=
    n=0
    for argument; do
        n=$((n + 1))
        [ $n -le "$own" ] || names="$names $argument"
    done
    script=$(awk -v names="$names" -f tests/cases.awk "$0" "$0") || exit 2
    case $names in *" --list"*) printf '%s\n' "$script" && exit ;; esac
    while [ $# -gt "$own" ]; do # the last goes: the others go round
        n=1
        count=$#
        while [ $n -lt $count ]; do
            set -- "$@" "$1"
            shift
            n=$((n + 1))
        done
        shift
    done
    sh -c "$script" "$0" "$@"
    exit
}
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
