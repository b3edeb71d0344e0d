#!/bin/sh
# packages.sh need|install|names PURPOSE...: the Debian packages that this project uses, by purpose.
#
#   need      says which of them this machine lacks and how to get them; status 1 where it lacks one
#   install   installs those, where there is apt-get and a right to use it
#   names     prints those that this machine lacks, on one line
#
# Purposes: build (`make`), check (what tests need on top), jit (JIT=1, and its tests), package (packages
# for Debian and the clean machines that they are tried on; tests/run_chroot.sh). A plain `make` calls
# `need`, `make deps` and `make check` call `install`.
set -e

# PACKAGE PURPOSE FILE...: the package is there if one of the files is (below PACKAGES_ROOT, for tests).
table='
gcc                       build   /usr/bin/gcc
libc6-dev                 build   /usr/include/stdio.h
binutils                  build   /usr/bin/nm
flex                      build   /usr/bin/flex
bison                     build   /usr/bin/bison
libxxhash-dev             build   /usr/include/xxhash.h
libb2-dev                 build   /usr/include/blake2.h
libjansson-dev            build   /usr/include/jansson.h
libedit-dev               build   /usr/include/histedit.h
unicode-data              build   /usr/share/unicode/UnicodeData.txt
g++                       check   /usr/bin/g++
clang                     check   /usr/bin/clang
clang-format              check   /usr/bin/clang-format
libcmocka-dev             check   /usr/include/cmocka.h
python3-jinja2            check   /usr/lib/python3/dist-packages/jinja2/__init__.py
python3-numpy             check   /usr/lib/python3/dist-packages/numpy/__init__.py
jq                        check   /usr/bin/jq
cmake                     check   /usr/bin/cmake
pkgconf                   check   /usr/bin/pkg-config
libclang-rt-14-dev        check   /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
qemu-user                 check   /usr/bin/qemu-aarch64*
gcc-aarch64-linux-gnu     check   /usr/bin/aarch64-linux-gnu-gcc
libc6-dev-arm64-cross     check   /usr/aarch64-linux-gnu/include/stdio.h
nodejs                    check   /usr/bin/node /usr/local/bin/node
lld                       check   /usr/bin/wasm-ld*
wasi-libc                 check   /usr/include/wasm32-wasi/stdio.h
libclang-rt-14-dev-wasm32 check   /usr/lib/llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a
gobjc                     check   /usr/lib/gcc/*/*/include/objc/runtime.h
llvm-dev                  jit     /usr/bin/llvm-config*
clang                     jit     /usr/bin/clang
gcc-riscv64-linux-gnu     jit     /usr/bin/riscv64-linux-gnu-gcc
libc6-dev-riscv64-cross   jit     /usr/riscv64-linux-gnu/include/stdio.h
gdb                       jit     /usr/bin/gdb
build-essential           package /usr/share/build-essential/essential-packages-list
dpkg-dev                  package /usr/bin/dpkg-buildpackage
debhelper                 package /usr/bin/dh
fakeroot                  package /usr/bin/fakeroot
lintian                   package /usr/bin/lintian
debootstrap               package /usr/sbin/debootstrap
'

do=$1
[ $# -gt 1 ] || { echo "packages.sh need|install|names PURPOSE..." >&2 && exit 2; }
shift
purposes=" $* "
missing=$(echo "$table" | while read -r package purpose files; do
    case $purposes in *" $purpose "*) ;; *) continue ;; esac
    found=
    for file in $files; do # a pattern is matched where it stands, so below PACKAGES_ROOT only plain names
        [ -e "$PACKAGES_ROOT$file" ] && found=1 && break
    done
    [ -n "$found" ] || echo "$package"
done | sort -u | tr '\n' ' ')
missing=${missing% }
sudo=
[ "$(id -u)" = 0 ] || sudo='sudo '

case $do in
names)
    [ -z "$missing" ] || echo "$missing"
    ;;
need)
    case $purposes in *" jit "*) jit=' JIT=1' ;; *) jit= ;; esac
    [ -n "$missing" ] || exit 0
    echo "this machine lacks: $missing" >&2
    if command -v apt-get >/dev/null 2>&1; then
        echo "get them by \`make deps$jit\` or ${sudo}apt-get install --no-install-recommends $missing" >&2
    else
        echo "there is no apt-get here: install what this system calls these packages of Debian" >&2
    fi
    exit 1
    ;;
install)
    [ -n "$missing" ] || exit 0
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "this machine has no apt-get; install the equivalents of: $missing" >&2
        exit 1
    fi
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null 2>&1; then
        echo "neither root nor sudo; as root: apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
    echo "installing: $missing"
    export DEBIAN_FRONTEND=noninteractive
    ${sudo}apt-get update -qq
    # shellcheck disable=SC2086
    ${sudo}apt-get install -y -qq --no-install-recommends $missing >/dev/null
    ;;
*)
    echo "packages.sh need|install|names PURPOSE..." >&2
    exit 2
    ;;
esac
