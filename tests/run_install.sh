#!/bin/sh
# Installation and packaging (docs/install.md): run_install.sh BNC. What `make install` puts where, who can use it
# (cc, pkg-config, CMake, each with an empty environment), what libbnrt.so exports, -MD, what `make` says of missing
# packages, and that two builds in different folders give the same bytes. Packages for Debian and clean machines
# are tests/run_chroot.sh's.
bnc=$1
case $bnc in /*) ;; *) bnc=$PWD/$bnc ;; esac
dir=build/install
here=$PWD
rm -rf $dir
mkdir -p $dir
. tests/lib.sh
cases 1 "$@"
version=$(sed -n 's/^#define BN_VERSION "\(.*\)"/\1/p' runtime-min/bn.h)
abi=$(sed -n 's/^#define BN_ABI \([0-9]*\).*/\1/p' runtime-min/bn_model.h)
root=$here/$dir/root
lib=$root/usr/lib
quiet() { # quiet COMMAND...: with nothing of this environment, nor of the make that calls
    env -i PATH="/usr/bin:/bin" LC_ALL=C "$@"
}

installed() { # installed ARGUMENT...: make of the same bnc (JIT=1 makes another)
    quiet env ${JIT:+"JIT=$JIT"} make -s "$@"
}

# ---- install: and uninstall ----
check "install" installed install PREFIX=/usr DESTDIR=$root
share="share/man/man1/bnc.1 share/bash-completion/completions/bnc share/zsh/probe-functions/_bnc
    share/fish/vendor_completions.d/bnc.fish"
"$bnc" help --man >/dev/null 2>&1 || { share=; skip "manual and completions: bnc cannot print them yet"; }
for f in bin/bnc lib/libbnrt.a lib/libbnrt.so lib/libbnrt.so.$abi lib/libbnrt.so.$version lib/pkgconfig/bnrt.pc \
    lib/cmake/bnc/bncConfig.cmake include/bnrt/bn.h include/bnrt/bn_model.h share/doc/bnc/bnc.spdx.json $share; do
    check "there is $f" test -s $root/usr/$f
done
check "no path of this tree" sh -c "! grep -rlF '$here' $root"
check "bnc runs where it is" sh -c "test \"\$(env -i $root/usr/bin/bnc --version)\" = 'bnc $version'"
check "the name in the .so" sh -c "readelf -d $lib/libbnrt.so | grep -q 'SONAME.*\\[libbnrt.so.$abi\\]'"
check "Debian's names follow" sh -c "grep -qx 'Package: libbnrt$abi' debian/control && \
    grep -q '^Depends: libbnrt$abi (= ' debian/control && sed -n 1p debian/changelog | grep -qF 'bnc ($version)'"
spaced="$dir/a  b"
check "install below spaces" installed install "DESTDIR=$here/$spaced" LIBDIR=/usr/local/lib/x/y
check "other places" test -s "$spaced/usr/local/lib/x/y/libbnrt.so" -a -x "$spaced/usr/local/bin/bnc"
touch "$spaced/usr/local/lib/x/y/other"
check "uninstall" installed uninstall "DESTDIR=$here/$spaced" LIBDIR=/usr/local/lib/x/y
check "nothing is left but what is another's" test "$(find "$spaced" ! -type d)" = "$spaced/usr/local/lib/x/y/other"
check "nor a folder of its own" test -z "$(find "$spaced" -name '*bn*')"

# ---- exports after install: the functions that clang finds in the headers, nothing else ----
for h in bn bn_model bn_profile; do
    quiet clang -std=c11 -Iruntime-min -fsyntax-only -Xclang -ast-dump=json -x c runtime-min/$h.h |
        jq -r '.inner[] | select(.kind == "FunctionDecl" and .storageClass != "static") | .name' | grep '^bn_'
done | sort -u >$dir/declared
nm -D --defined-only $lib/libbnrt.so | awk '$2 == "T" {sub(/@.*/, "", $3); print $3}' | sort >$dir/exported
check "headers declare calls" test "$(wc -l <$dir/declared)" -gt 25
check "the library exports them, nothing else" cmp $dir/declared $dir/exported
check "nor data" sh -c "! nm -D --defined-only $lib/libbnrt.so | grep -vE ' [TA] '"

# ---- spdx after install: the document ----
check "SPDX: a document with names that hold" jq -e '
    ([.SPDXID] + [.packages[].SPDXID]) as $ids | .spdxVersion == "SPDX-2.3" and .dataLicense == "CC0-1.0" and
    ($ids | length) == ($ids | unique | length) and
    (.creationInfo.created | fromdate) > 1700000000 and (.documentNamespace | test("^urn:[a-z]+:.*[0-9a-f]{32}$")) and
    ([.relationships[] | .spdxElementId, .relatedSpdxElement] | unique) == ($ids | unique) and
    all(.packages[]; has("name") and has("downloadLocation") and has("licenseConcluded") and has("copyrightText"))
    ' $root/usr/share/doc/bnc/bnc.spdx.json
# Each library that bnc is linked with, but those of every C program:
readelf -d "$bnc" | sed -n 's/.*NEEDED.*\[lib\([a-z0-9]*\).*/\1/p' | grep -vxE 'c|m' >$dir/needed
jq -r '.packages[].name | sub("^lib"; "")' $root/usr/share/doc/bnc/bnc.spdx.json >$dir/named
check "SPDX: every library" sh -c "! grep -vxFf $dir/named $dir/needed"

# ---- consumers after install: by cc, pkg-config, CMake ----
small=$dir/small.gguf
check "a small model" "$bnc" synth --shape=tales-4m --layers=1 --vocab=400 --quiet -o $small
cat >$dir/app.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include "toy.h"
static int put(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) != len;
}
int main(void)
{
    size_t size = bn_state_size(&toy_model, 1);
    void *block = malloc(size);
    bn_sampling greedy = {0};
    bn_weights w;
    bn_state *s;
    if (!block || bn_open(&w, &toy_model, TOY_WEIGHTS) || bn_init(&s, &w, 1, block, size) ||
        bn_generate(s, "abc", 8, &greedy, put, NULL))
        return 1;
    puts("");
    bn_done(s);
    bn_close(&w);
    free(block);
    return 0;
}
C
check "a program of bnc's own" env CC="$here/tests/quick-cc.sh" "$bnc" $small --emit=exe --target=generic --quiet -o $dir/own
want=$($dir/own -p abc -n 8 --temp 0)
check "it says something" test ${#want} -gt 3
says() { # says NAME COMMAND...: prints abc and what the model adds
    title=$1
    shift
    "$@" >$dir/told 2>&1
    check "$title: status" test $? = 0
    check "$title: text" test "abc$(cat $dir/told)" = "$want"
}
check "model to C" quiet $root/usr/bin/bnc $dir/small.gguf --target=generic --quiet -o $dir/toy.c
sources="$dir/app.c $dir/toy.c"
define="-DTOY_WEIGHTS=\"$dir/toy.bnw\""
check "cc, shared" quiet cc -O1 $sources "$define" -I$dir -I$root/usr/include/bnrt -L$lib -lbnrt -lm -o $dir/with-so
check "it wants the .so" sh -c "readelf -d $dir/with-so | grep -q 'libbnrt.so.$abi'"
says "cc, shared" quiet env LD_LIBRARY_PATH=$lib $dir/with-so
check "cc, static" quiet cc -O1 $sources "$define" -I$dir -I$root/usr/include/bnrt $lib/libbnrt.a -lpthread -lm -o $dir/with-a
says "cc, static" quiet $dir/with-a
pc() {
    quiet env PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@"
}
check "pkg-config: version" test "$(pc --modversion bnrt)" = "$version"
# shellcheck disable=SC2046
check "pkg-config" quiet cc -O1 $sources "$define" -I$dir $(pc --cflags --libs bnrt) -o $dir/with-pc
says "pkg-config" quiet env LD_LIBRARY_PATH=$lib $dir/with-pc
# shellcheck disable=SC2046
check "pkg-config --static" quiet cc -O1 -static $sources "$define" -I$dir $(pc --static --cflags --libs bnrt) -o $dir/with-pcs
says "pkg-config --static" quiet $dir/with-pcs

mkdir -p "$dir/cm ake"
cp $dir/app.c compiler/chat/templates/plain.jinja "$dir/cm ake"
cp $small "$dir/cm ake/a small one.gguf"
cat >"$dir/cm ake/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.20)
project(app C)
find_package(bnc 0.1 REQUIRED)
foreach(how IN ITEMS "file;static" "file;shared" "incbin;static" "c;static")
  string(REPLACE ";" "_" name "${how}")
  list(GET how 0 weights)
  list(GET how 1 runtime)
  bnc_add_model(model_${name} "a small one.gguf" NAME toy MACHINE generic WEIGHTS ${weights} RUNTIME ${runtime}
    OPTIONS --chat-template=${CMAKE_CURRENT_SOURCE_DIR}/plain.jinja)
  target_compile_options(model_${name} PRIVATE -O1) # the test's time, not the product's
  add_executable(app_${name} app.c)
  target_link_libraries(app_${name} PRIVATE model_${name})
  if(NOT weights STREQUAL file)
    target_compile_definitions(app_${name} PRIVATE TOY_WEIGHTS=NULL)
  endif()
endforeach()
C
sed -i "s/find_package(bnc 0.1/find_package(bnc ${version%.*}/" "$dir/cm ake/CMakeLists.txt"
sed 's/find_package(bnc [0-9.]*/find_package(bnc 99.1/' "$dir/cm ake/CMakeLists.txt" >$dir/CMakeLists.txt
check "CMake: configure" quiet cmake -S "$dir/cm ake" -B $dir/cmb -DCMAKE_PREFIX_PATH=$root/usr
check "CMake: build" quiet cmake --build $dir/cmb
for how in file_static file_shared incbin_static c_static; do
    says "CMake, $how" quiet $dir/cmb/app_$how
done
check "CMake: nothing to do again" sh -c "! env -i PATH=/usr/bin:/bin cmake --build $dir/cmb | grep 'Compiling the model'"
touch "$dir/cm ake/plain.jinja"
check "CMake: a template that changed compiles again" \
    sh -c "env -i PATH=/usr/bin:/bin cmake --build $dir/cmb | grep -c 'Compiling the model' | grep -qx 4"
mkdir $dir/none
cp $dir/CMakeLists.txt $dir/none
check "CMake: no other version" \
    sh -c "! env -i PATH=/usr/bin:/bin cmake -S $dir/none -B $dir/cmb2 -DCMAKE_PREFIX_PATH=$root/usr 2>&1 | tee $dir/said | grep -q 'Build files' && grep -q 'version: $version' $dir/said"

# ---- depfiles after consumers: -MD, -MF ----
depends() { # depends FILE: what it lists, one name a line, as make reads it
    sed -e ':a;/\\$/{N;s/\\\n *//;ba}' -e 's/^[^:]*: //' "$1" | sed 's/\\ /\v/g' | tr ' ' '\n' | sed 's/\v/ /g'
}
check "-MD" "$bnc" $small --quiet --target=generic --arch=compiler/frontend/arch/bitnet-b1.58.tir \
    --chat-template=compiler/chat/templates/plain.jinja -o $dir/d.c -MD
check "-MD lists all that was read" test "$(depends $dir/d.d | sort | tr '\n' ' ')" = \
    "$small compiler/chat/templates/plain.jinja compiler/frontend/arch/bitnet-b1.58.tir "
check "-MD for $dir/d.c" grep -q "^$dir/d.c:" $dir/d.d
"$bnc" $small --quiet --target=generic --arch=compiler/frontend/arch/bitnet-b1.58.tir \
    --chat-template=compiler/chat/templates/plain.jinja -o $dir/e.c
check "-MD changes nothing in the C" sh -c "sed 's/\\bd_/e_/g; s/\\bD_/E_/g; s/\"d\\./\"e./' $dir/d.c | cmp - $dir/e.c"
printf 'layout 256x768 q2r4\n' >$dir/x.tune
check "-MF" "$bnc" $small --quiet --target=generic --tune=$dir/x.tune --weights=c -o $dir/f.c -MF $dir/f.dep
check "-MF lists the record, and no output" test "$(depends $dir/f.dep | sort | tr '\n' ' ')" = "$small $dir/x.tune "
if [ -x build/retype ]; then
    check "a split model" build/retype --split 2 $small $dir/part
    check "-MD of a split model" "$bnc" $dir/part-00002-of-00002.gguf --quiet --target=generic --emit=ir -o $dir/s.tir -MD
    check "both parts" test "$(depends $dir/s.d | sort | tr '\n' ' ')" = \
        "$dir/part-00001-of-00002.gguf $dir/part-00002-of-00002.gguf "
else
    skip "parts of a split model: build/retype is not built"
fi
check "-MD of a text" "$bnc" $small --quiet --target=generic --emit=ir -o $dir/p.tir -MD
check "opt -MD" "$bnc" opt --quiet --passes= $dir/p.tir -o $dir/q.tir -MD
check "opt -MD lists the text" sh -c "grep -qF $dir/p.tir $dir/q.d"
odd="$dir/o d"
mkdir "$odd"
cp $small "$odd/a #b\$c\\ d.gguf"
check "-MD of an odd name" "$bnc" "$odd/a #b\$c\\ d.gguf" --quiet --target=generic --emit=ir -o "$odd/m n.tir" -MD
printf 'include %s/o\\ d/m\\ n.d\n%s/o\\ d/m\\ n.tir:\n\t@echo "again: $(words $^)"\n' $dir $dir >$dir/mk
check "make reads it: up to date" sh -c "make -f $dir/mk 2>&1 | grep -q 'up to date'"
touch "$odd/a #b\$c\\ d.gguf"
check "make reads it: changed" sh -c "make -f $dir/mk 2>&1 | grep -q '^again'"
refused "-MD to nowhere" "name one" "$bnc" opt --quiet --passes= $dir/p.tir -MD
refused "-MD over the output" "another name" "$bnc" $small -o $dir/y.c -MF $dir/y.c
refused "-MD over an input" "another name" "$bnc" $small --quiet -o $dir/y.c -MF $small
check "the input is whole" cmp $small "$odd/a #b\$c\\ d.gguf"
refused "a failing compilation" "error" env CC=false "$bnc" $small --quiet --emit=obj -o $dir/y.o -MD
check "leaves nothing" test ! -e $dir/y.c -a ! -e $dir/y.d -a ! -e $dir/y.o

# ---- packages: what make says of missing ones, on a machine that has none, with an apt-get that notes its calls ----
mkdir -p $dir/fake $dir/empty
printf '#!/bin/sh\necho "$@" >>%s/apt.log\n' $here/$dir >$dir/fake/apt-get
cp $dir/fake/apt-get $dir/fake/sudo
chmod +x $dir/fake/*
bare() {
    env -i PATH="$here/$dir/fake:/usr/bin:/bin" PACKAGES_ROOT=$here/$dir/empty "$@"
}
bare make B=$dir/bare >$dir/said 2>&1
check "plain make stops" test $? = 2
check "and names what is missing" grep -q 'lacks: binutils bison flex gcc libb2-dev libc6-dev libedit-dev' $dir/said
check "in one line for apt-get" grep -q 'apt-get install --no-install-recommends binutils bison flex ' $dir/said
check "and installs nothing" test ! -e $dir/apt.log
check "and builds nothing" test -z "$(find $dir/bare -name '*.o' 2>/dev/null)"
check "make deps" bare make deps
check "gets what building needs" grep -q 'install .* bison flex gcc ' $dir/apt.log
check "and no more" sh -c "! grep -q 'cmocka\\|llvm\\|lintian' $dir/apt.log"
rm $dir/apt.log
check "make deps JIT=1" bare make deps JIT=1
check "gets LLVM, too" grep -q 'install .* bison .* llvm-dev' $dir/apt.log
check "what tests need" sh -c "PACKAGES_ROOT=$dir/empty sh tools/packages.sh names check | grep -q 'clang.*cmake.*libcmocka-dev'"

# ---- reproducible after consumers: two builds, other folders, other times, another language, another mask ----
one=$dir/one
two=$dir/another/folder/two
tree() { # tree FOLDER: the files of this project
    mkdir -p $1
    if [ -e .git ]; then
        git ls-files -z | grep -zv '^tests/\|^bench/\|^docs/' | tar --null -T - -c | tar -x -C $1
    else
        tar -c --exclude=./build --exclude=./tests . | tar -x -C $1
    fi
    rm -rf $1/tests
    mkdir $1/tests
    cp tests/tests.mk $1/tests
}
tree $one
tree $two
find $two -type f -exec touch -d '2001-02-03 04:05:06' {} +
built() { # built FOLDER ENVIRONMENT...: unoptimised, for its time; run_chroot.sh compares packages
    where=$1
    shift
    (cd $where && env -i PATH=/usr/bin:/bin CCACHE_DISABLE=1 CFLAGS='-O0 -g' "$@" make -s -j2 all)
}
check "the first build" built $one HOME=/root LC_ALL=C TZ=UTC
check "the second build" sh -c "umask 077; cd $two && env -i PATH=/usr/bin:/bin CCACHE_DISABLE=1 CFLAGS='-O0 -g' \
    HOME=/nowhere LC_ALL=C.UTF-8 TZ=Asia/Tokyo USER=somebody make -s all"
check "builds with debug information" sh -c "readelf -S $one/build/bnc | grep -q debug_info"
for f in bnc libbnrt.a libbnrt.so.$version; do
    check "the same $f" cmp $one/build/$f $two/build/$f
done
check "the same man page, completions, SPDX" diff -r $one/build/share $two/build/share
models() { # models FOLDER: all that is made of one model
    for kind in c obj lib so exe ir; do
        (cd $1 && env CC="$here/tests/quick-cc.sh" build/bnc $here/$small --target=generic --emit=$kind --name=m --quiet -o build/m-$kind) || return 1
    done
}
check "models by the first" models $one
check "models by the second" models $two
for f in $(cd $one/build && ls -d m-*); do
    check "the same $f" cmp $one/build/$f $two/build/$f
done

# ---- end ----
finish
