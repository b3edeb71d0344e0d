#!/bin/sh
# The C compiler for tests that compile models with bnc: cc, with -O1 where bnc says -O3. It takes a
# third of the time, and the programs say the same. Use: CC=$PWD/tests/quick-cc.sh
for a; do
    shift
    [ "$a" = -O3 ] && a=-O1
    set -- "$@" "$a"
done
exec cc "$@"
