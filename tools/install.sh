#!/bin/sh
# Installs the Debian packages that building and testing need and this machine lacks. Where there
# is no apt-get or no right to use it, it says what is missing and stops.
set -e
need=
want() { # want PACKAGE FILE...: the package, if none of the files exists
    package=$1
    shift
    for file; do
        for found in $file; do
            [ -e "$found" ] && return 0
        done
    done
    need="$need $package"
}
want gcc /usr/bin/gcc
want libc6-dev /usr/include/stdio.h
want g++ /usr/bin/g++
want clang /usr/bin/clang
want flex /usr/bin/flex
want bison /usr/bin/bison
want binutils /usr/bin/nm
want libxxhash-dev /usr/include/xxhash.h
want libb2-dev /usr/include/blake2.h
want libcmocka-dev /usr/include/cmocka.h
want libjansson-dev /usr/include/jansson.h
want libedit-dev /usr/include/histedit.h
want python3-jinja2 '/usr/lib/python3/dist-packages/jinja2/__init__.py'
want python3-numpy '/usr/lib/python3/dist-packages/numpy/__init__.py'
want jq /usr/bin/jq
want unicode-data /usr/share/unicode/UnicodeData.txt
want libclang-rt-14-dev '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a'
want qemu-user '/usr/bin/qemu-aarch64*'
want gcc-aarch64-linux-gnu /usr/bin/aarch64-linux-gnu-gcc
want libc6-dev-arm64-cross /usr/aarch64-linux-gnu/include/stdio.h
want nodejs '/usr/bin/node' '/usr/local/bin/node'
want lld '/usr/bin/wasm-ld*'
want wasi-libc /usr/include/wasm32-wasi/stdio.h
want libclang-rt-14-dev-wasm32 '/usr/lib/llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a'
# Its Objective-C runtime, for the host files of Metal models.
want gobjc '/usr/lib/gcc/*/*/include/objc/runtime.h'
# For the JIT, which a plain build does without.
if [ "$JIT" = 1 ] || [ "$CI" = true ]; then
    want llvm-dev '/usr/bin/llvm-config*'
    want gcc-riscv64-linux-gnu /usr/bin/riscv64-linux-gnu-gcc
    want libc6-dev-riscv64-cross /usr/riscv64-linux-gnu/include/stdio.h
    want gdb /usr/bin/gdb
fi
[ -z "$need" ] && exit 0
echo "installing:$need"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "this machine has no apt-get; install the equivalents of:$need" >&2
    exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $need >/dev/null
