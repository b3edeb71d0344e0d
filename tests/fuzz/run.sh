#!/bin/sh
# Runs one libFuzzer target over its seeds for some seconds: run.sh NAME SECONDS. New inputs stay in
# build/corpus/NAME; a crash leaves its input in build/.
name=$1
corpus=build/corpus/$name
mkdir -p "$corpus"
case $name in
tir) extra="-max_len=2500 -dict=tests/fuzz/tir.dict compiler/frontend/arch tests/passes tests/errors" ;;
jinja) extra="-max_len=4096 tests/chat/templates compiler/chat/templates" ;;
*) extra="-max_len=16384" ;;
esac
# shellcheck disable=SC2086
exec build/fuzz_"$name" -max_total_time="$2" -timeout=120 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix=build/crash-"$name"- "$corpus" "tests/fuzz/seeds/$name" $extra
