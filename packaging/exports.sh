#!/bin/sh
# exports.sh NODE CC OBJECT...: the linker's version script of libbnrt.so. Exported is what the objects define
# and a header of the interface (bn.h, bn_model.h, bn_profile.h) names as a function: the calls of products
# and of generated code. Nobody keeps a list.
set -e
node=$1
cc=$2
shift 2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for header in bn.h bn_model.h bn_profile.h; do
    $cc -std=c11 -E -P -Iruntime-min -x c runtime-min/$header
done | grep -oE '\bbn_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$tmp/declared"
nm -g --defined-only -P "$@" | awk '$2 == "T" {print $1}' | sort -u >"$tmp/defined"
echo "$node {"
echo "global:"
comm -12 "$tmp/declared" "$tmp/defined" | sed 's/.*/    &;/'
echo "local:"
echo "    *;"
echo "};"
