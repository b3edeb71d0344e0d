#!/bin/sh
# Prints the llvm-config of the newest LLVM from 14 to 19 that has clang and the C API's headers; fails where
# there is none. An LLVM is whole only with all three.
for v in -19 -18 -17 -16 -15 -14 ''; do
    config=llvm-config$v
    command -v $config >/dev/null 2>&1 || continue
    [ -x "$($config --bindir)/clang" ] && [ -e "$($config --includedir)/llvm-c/Orc.h" ] && echo $config && exit 0
done
exit 1
