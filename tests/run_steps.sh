#!/bin/sh
# run_steps.sh: that a step of tests/steps.def says what it needs, and that what it needs can be built by
# somebody who has a clone and nothing else. Builds nothing: make -n, in a clone without ../shared, by an
# ordinary user where this is root.
dir=build/steps
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 0 "$@"
. tests/rows.sh

make=${MAKE:-make}
separator=$(printf '\001')
rows STEP tests/steps.def | tr '\t' '\001' >$dir/rows

# ---- declared: the paths below build/ in a step's command and script are needs, or its own ----
declared() { # declared PATH: one of $needs, or made for one that is no file
    for need in $needs; do
        case $1 in "$need" | "$need".) return 0 ;; esac
        case $need in build/*) continue ;; esac
        "$make" -n -B SHARED=none "$need" 2>/dev/null | grep -qF -- "$1" && return 0
    done
    return 1
}
while IFS=$separator read -r name lane condition needs command what <&3; do
    scripts=$(echo "$command" | tr ' ' '\n' | grep -E '^tests/.*\.sh$')
    used=$({
        echo "$command" | grep -oE 'build/[A-Za-z0-9_./-]+'
        for s in $scripts; do
            own=$(sed -n 's/^dir=\(build\/[a-z-]*\).*/\1/p' "$s" | head -n 1)
            sed 's/#.*//' "$s" | grep -oE '(^|[^A-Za-z0-9_/.$-])(\$root"?/)?build/(san/|jit/)?[A-Za-z0-9_-]+(\.a)?' |
                grep -oE 'build/.*' | grep -vE "^(${own:-none}|build/(corpus|crash-|san|jit|rt|fuzz_)$)"
        done
    } | sort -u)
    for path in $used; do
        case $path in build/doc | build/passes | build/ir) continue ;; esac
        check "$name: needs $path, which it does not say" declared "$path"
    done
done 3<$dir/rows

# ---- clone: what steps need has a rule, where there is no ../shared ----
clone=$(mktemp -d) || exit 2
trap 'rm -rf "$clone"' EXIT
trap 'exit 2' HUP INT TERM
mkdir "$clone/bnc"
git ls-files -co --exclude-standard 2>/dev/null | while read -r f; do [ ! -f "$f" ] || echo "$f"; done >$dir/files
[ -s $dir/files ] || find . -path ./build -prune -o -path ./.git -prune -o -type f -print >$dir/files
tar cf - -T $dir/files | tar xf - -C "$clone/bnc"
mkdir "$clone/bnc/build"
touch "$clone/bnc/build/.tools" # what a machine must have is installed by others
as=
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null 2>&1; then
    chmod 755 "$clone"
    chown -R 65534:65534 "$clone/bnc"
    as="setpriv --reuid=65534 --regid=65534 --clear-groups"
fi
while IFS=$separator read -r name lane condition needs command what <&3; do
    [ "$condition" != shared ] && [ "$condition" != llvm ] || continue
    [ -n "$needs" ] || continue
    # shellcheck disable=SC2086
    check "$name: what it needs can be built by a stranger" env -C "$clone/bnc" MAKEFLAGS= $as "$make" -n $needs
done 3<$dir/rows

# ---- end ----
finish
