#!/bin/sh
# Runs one libFuzzer target over its seeds for some seconds: run.sh NAME SECONDS. New inputs stay in
# build/corpus/NAME; a crash leaves its input in build/.
name=$1
corpus=build/corpus/$name
mkdir -p "$corpus" "tests/fuzz/seeds/$name"
extra=
[ "$name" = tir ] && extra=compiler/frontend/arch
exec build/fuzz_"$name" -max_total_time="$2" -max_len=65536 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix=build/crash-"$name"- "$corpus" "tests/fuzz/seeds/$name" $extra
