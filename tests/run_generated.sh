#!/bin/sh
# Tests of generated C as a product sees it: run_generated.sh BNC. Compilers, languages, weights in
# every form, determinism, sizes, sanitizers, two models in one program, an architecture by text.
bnc=$1
model=examples/models/fables-27m-i2_s.gguf
dir=build/generated
rm -rf $dir
mkdir -p $dir/a $dir/b
. tests/lib.sh
cases 1 "$@"
prompt="Once upon a time there was"

equal() { # equal NAME A B: the texts must be equal and not empty
    check "$1" test -n "$2" -a "$2" = "$3"
}
tell() { # tell PROGRAM...: a greedy continuation
    "$@" -p "$prompt" -n 16 --temp 0 --repeat-penalty 1
}

export CC=$PWD/tests/quick-cc.sh

# ---- languages: languages and compilers; the last target holds the code of all x86 ones ----
for target in generic x86-64-v3 x86-64-multi; do
    for level in 0 2; do
        c=$dir/m_${target}_O$level.c
        check "emit $target -O$level" "$bnc" $model --target=$target -O$level --verify-each --quiet -o "$c"
        [ $level = 0 ] && continue
        for cc in gcc clang; do
            o=-O1
            [ $target = x86-64-multi ] && o=-O0 # each of its parts is another target's
            check "$cc $target" $cc -std=c11 $o -Wall -Wextra -Werror -pedantic -Iruntime-min -c "$c" -o $dir/x.o
        done
        [ $target = x86-64-multi ] || # the longest, and clang++ sees it
            check "g++ $target" g++ -x c++ -std=c++17 -O0 -Wall -Wextra -Werror -Iruntime-min -c "$c" -o $dir/x.o
        check "clang++ $target" clang++ -x c++ -std=c++17 -O0 -Wall -Wextra -Werror -Iruntime-min -c "$c" -o $dir/x.o
    done
done
check "gcc, nothing fused" gcc -std=c11 -O1 -Wall -Wextra -Werror -Iruntime-min -c $dir/m_generic_O0.c -o $dir/x.o

# ---- bytes: same input, same flags, same bytes ----
check "emit a" "$bnc" $model --quiet -o $dir/a/m.c
check "emit b" "$bnc" $model --quiet -o $dir/b/m.c
for ext in c h bnw; do
    check "same bytes: m.$ext" cmp $dir/a/m.$ext $dir/b/m.$ext
done
check "model.c under 200 KB" test "$(wc -c <$dir/a/m.c)" -lt 200000
text=$(cd build/rt && size load.o team.o state.o sample.o generate.o tokenize.o pretokenize.o normalize.o detokenize.o | awk 'NR > 1 {n += $1} END {print n}')
check "runtime under 64 KiB of text ($text)" test "$text" -lt 65536
check "no file left of a failed run" test -z "$(ls $dir/a | grep tmp)"

# ---- weights: weights in a file, in the object, as literals; the runtime linked or inside ----
check "exe" env CC=cc "$bnc" $model --emit=exe --quiet -o $dir/story
want=$(tell $dir/story)
check "exe with a file beside it" "$bnc" $model --emit=exe --weights=file --quiet -o $dir/a/apart
equal "exe with a file tells the same" "$(cd $dir/a && tell ./apart)" "$want"
check "amalgamate" "$bnc" $model --amalgamate --weights=incbin --quiet -o $dir/one.c
check "amalgamation compiles" cc -O1 -march=native -Wall -Wextra -Werror -c $dir/one.c -o $dir/one.o
check "amalgamation alone is a program" cc $dir/one.o -lm -lpthread -o $dir/one
equal "amalgamation tells the same" "$(tell $dir/one)" "$want"
cat >$dir/app.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include "HEADER"
static _Alignas(64) unsigned char block[PREFIX_STATE_BYTES(3)];
static int put(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) != len;
}
int main(int argc, char **argv)
{
    bn_weights w;
    bn_state *s;
    bn_sampling greedy = {0};
    (void)argc;
    for (int threads = 1; threads <= 3; threads++)
        if (bn_state_size(&MODEL, threads) > PREFIX_STATE_BYTES(threads))
            return 2;
    if (bn_open(&w, &MODEL, argv[1]) || bn_init(&s, &w, 3, block, sizeof block))
        return 3;
    printf("%s", argv[2]);
    if (bn_generate(s, argv[2], 16, &greedy, put, NULL))
        return 4;
    printf("\n");
    bn_done(s);
    bn_close(&w);
    return 0;
}
C
sed 's/HEADER/one.h/; s/MODEL/one_model/g; s/PREFIX/ONE/' $dir/app.c >$dir/app_one.c
check "a product's main wins over the amalgamated one" cc -O1 -Wall -Wextra -Werror -I$dir $dir/one.o $dir/app_one.c -lm -lpthread -o $dir/app_one
sed 's/HEADER/lib.h/; s/MODEL/lib_model/g; s/PREFIX/LIB/' $dir/app.c >$dir/app_lib.c
check "lib" "$bnc" $model --emit=lib --quiet -o $dir/lib.a
check "link with lib" cc -I$dir -Iruntime-min $dir/app_lib.c $dir/lib.a -lm -lpthread -o $dir/app_lib
check "obj" "$bnc" $model --emit=obj --weights=file --quiet -o $dir/obj.o
sed 's/HEADER/obj.h/; s/MODEL/obj_model/g; s/PREFIX/OBJ/' $dir/app.c >$dir/app_obj.c
check "link with obj and libbnrt.a" cc -I$dir -Iruntime-min $dir/app_obj.c $dir/obj.o build/libbnrt.a -lm -lpthread -o $dir/app_obj
equal "obj tells the same" "$($dir/app_obj $dir/obj.bnw "$prompt")" "$want"
sed -i 's/argv\[1\])/NULL)/' $dir/app_lib.c $dir/app_one.c
check "link with lib again" cc -I$dir -Iruntime-min $dir/app_lib.c $dir/lib.a -lm -lpthread -o $dir/app_lib
check "link one again" cc -O1 -I$dir $dir/one.o $dir/app_one.c -lm -lpthread -o $dir/app_one
equal "lib tells the same" "$($dir/app_lib x "$prompt")" "$want"
equal "product with amalgamation tells the same" "$($dir/app_one x "$prompt")" "$want"

# ---- shared objects: what bn.h declares, the model, and nothing else; beside each other and another runtime ----
small=tests/arch-models/qwen3-i2_s.gguf
other=tests/arch-models/gemma3-i2_s.gguf
sed 's|/\*.*\*/||' runtime-min/bn.h | grep -oE '\bbn_[a-z_]+\(' | tr -d '(' | sort -u >$dir/api
check "bn.h declares functions" test "$(wc -l <$dir/api)" -gt 20
exports() { # exports NAME LIBRARY ALSO...: its dynamic symbols are those
    title=$1
    nm -D --defined-only "$2" | awk '{print $3}' | sort >$dir/exported
    shift 2
    { cat $dir/api; printf '%s\n' "$@"; } | sort >$dir/expected
    check "$title" diff $dir/expected $dir/exported
}
for cc in gcc clang; do
    check "$cc: so" env CC=$cc "$bnc" $small --emit=so --name=small --target=x86-64 --quiet -o $dir/$cc.so
    exports "$cc: what it exports" $dir/$cc.so small_model
done
check "so, profile" "$bnc" $small --emit=so --name=small --target=x86-64 --profile --quiet -o $dir/profile.so
exports "what it exports with --profile" $dir/profile.so small_model small_profile bn_profile_clear bn_profile_log bn_profile_timestamp bn_profile_ticks
check "so of another model" "$bnc" $other --emit=so --name=other --target=x86-64 --quiet -o $dir/other.so
for m in small other; do
    [ $m = small ] && file=$small || file=$other
    check "$m: program" "$bnc" $file --emit=exe --target=x86-64 --quiet -o $dir/$m
done
cat >$dir/beside.c <<'C'
/* beside LIBRARY MODEL LIBRARY MODEL: both loaded, all their symbols before those of what is loaded later. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include "bn.h"
static int put(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) != len;
}
typedef struct Api {
    bn_status (*open)(bn_weights *, const bn_model *, const char *);
    size_t (*size)(const bn_model *, int);
    bn_status (*init)(bn_state **, const bn_weights *, int, void *, size_t);
    bn_status (*generate)(bn_state *, const char *, int, bn_sampling *, bn_on_text, void *);
    void (*done)(bn_state *);
} Api;
static void tell(const Api *a, const bn_model *m)
{
    bn_weights w;
    bn_state *s;
    bn_sampling greedy = {0};
    size_t size = a->size(m, 2);
    if (a->open(&w, m, NULL) || a->init(&s, &w, 2, malloc(size), size) ||
        a->generate(s, "a king had", 6, &greedy, put, NULL))
        exit(4);
    puts("");
    a->done(s);
}
#ifdef POISON /* what a library must not call */
bn_status bn_tokenize(const bn_weights *w, const char *text, size_t len, unsigned flags, int32_t *t, size_t cap, size_t *n)
{
    (void)w, (void)text, (void)len, (void)flags, (void)t, (void)cap, (void)n;
    abort();
}
void bn_barrier(const void *c)
{
    (void)c;
    abort();
}
#endif
int main(int argc, char **argv)
{
    void *so[2] = {NULL};
    const bn_model *model[2] = {NULL};
    for (int i = 0; i < 2 && 2 * i + 2 < argc; i++)
        if (!(so[i] = dlopen(argv[2 * i + 1], RTLD_NOW | RTLD_GLOBAL)) || !(model[i] = dlsym(so[i], argv[2 * i + 2])))
            return 3;
    for (int i = 0; i < 2; i++) {
        Api a;
        *(void **)&a.open = dlsym(so[i], "bn_open");
        *(void **)&a.size = dlsym(so[i], "bn_state_size");
        *(void **)&a.init = dlsym(so[i], "bn_init");
        *(void **)&a.generate = dlsym(so[i], "bn_generate");
        *(void **)&a.done = dlsym(so[i], "bn_done");
        tell(&a, model[i]);
    }
#ifndef POISON
    Api own = {bn_open, bn_state_size, bn_init, bn_generate, bn_done};
    for (int i = 0; i < 2; i++)
        tell(&own, model[i]);
#endif
    return 0;
}
C
first() {
    $dir/$1 -p "a king had" -n 6 --temp 0 --repeat-penalty 1 | sed 's/^a king had//'
}
both="$(first small)
$(first other)"
check "beside another runtime" cc -std=gnu11 -Wall -Wextra -Werror -Iruntime-min -rdynamic $dir/beside.c -Wl,--whole-archive build/libbnrt.a -Wl,--no-whole-archive -ldl -lm -lpthread -o $dir/beside
check "beside what it must not call" cc -std=gnu11 -DPOISON -Wall -Wextra -Werror -Iruntime-min -rdynamic $dir/beside.c -ldl -o $dir/poison
for cc in gcc clang; do
    equal "$cc: two libraries and a runtime" "$($dir/beside $dir/$cc.so small_model $dir/other.so other_model)" "$both
$both"
    equal "$cc: they call their own functions" "$($dir/poison $dir/$cc.so small_model $dir/other.so other_model)" "$both"
done

# ---- model.c as a reader has it ----
for target in generic x86-64-v3 x86-64-amx; do
    for head in auto q8 q6 q4; do
        check "$target $head: emit" "$bnc" $small --target=$target --head=$head --quiet -o $dir/read.c
        sed 's/^BN_INLINE/static/' $dir/read.c >$dir/inline.c
        check "$target $head: nothing that nobody calls" clang -std=c11 -Wall -Wextra -Werror -Wunused-macros -Iruntime-min -fsyntax-only $dir/inline.c
        check "$target $head: lines below 120 columns" test -z "$(awk 'length > 119' $dir/read.c $dir/read.h)"
        check "$target $head: no macro twice" test -z "$(sed -n 's/^#define \([A-Za-z0-9_]*\).*/\1/p' $dir/read.c | sort | uniq -d)"
    done
    equal "$target: one function for the layers of two passes" "$(grep -c '^static void [a-z]*_layer(' $dir/read.c)" 2
done
check "fields by name are C++20" g++ -x c++ -std=c++20 -O0 -pedantic -Wall -Wextra -Werror -Wno-overlength-strings -Iruntime-min -fsyntax-only $dir/read.c
check "and clang++'s" clang++ -x c++ -std=c++20 -O0 -Wall -Wextra -Werror -Iruntime-min -fsyntax-only $dir/read.c
mkdir -p $dir/abi
cp runtime-min/*.h $dir/abi
sed -i 's/^#define BN_ABI [0-9]*/#define BN_ABI 99/' $dir/abi/bn_model.h
check "another ABI: an error that says so" sh -c "! cc -std=c11 -I$dir/abi -fsyntax-only $dir/read.c 2>$dir/said && grep -q 'compile it again' $dir/said"

# ---- no two objects of the printer need each other ----
printf 'a b\nb a\n' >$dir/circle
check "tsort sees circles" sh -c "! tsort $dir/circle >$dir/order 2>&1"
for o in build/codegen-c/*.o; do
    nm --defined-only -g "$o" | awk -v o="$o" '{print $3, o}'
done >$dir/defined
for o in build/codegen-c/*.o; do
    nm -u "$o" | awk -v o="$o" 'NR == FNR {at[$1] = $2; next} $2 in at && at[$2] != o {print o, at[$2]}' $dir/defined -
done | sort -u >$dir/needs
check "objects need each other" test "$(wc -l <$dir/needs)" -gt 5
check "in no circle" tsort $dir/needs

# ---- bnc run: compiled once, started twice ----
# ---- run after weights: bnc run: compiled once, started twice ----
export XDG_CACHE_HOME=$PWD/$dir/cache
equal "run" "$(tell "$bnc" run $model --quiet)" "$want"
n=$(ls $dir/cache/bnc | wc -l)
equal "run again" "$(tell "$bnc" run $model --quiet)" "$want"
check "the second run compiles nothing" test "$(ls $dir/cache/bnc | wc -l)" = "$n"

# ---- json after weights: JSON for scripts ----
check "build json_get" cc -O1 tests/e2e/json_get.c -ljansson -o $dir/json_get
equal "inspect --json: architecture" "$("$bnc" inspect $model --json --tensors --metadata | $dir/json_get architecture)" "bitnet-b1.58"
equal "program --info" "$($dir/story --info | $dir/json_get name)" "fables-27m"
check "program --bench" sh -c "$dir/story --bench 4 -t 1 | $dir/json_get decode_tps"

# ---- sanitizers after weights: sanitizers over generated code and runtime ----
check "emit for sanitizers" "$bnc" $model --amalgamate --weights=incbin --ctx=64 --quiet -o $dir/san.c
check "build with ASan, UBSan" clang -O0 -g -fsanitize=address,undefined -fno-sanitize-recover=all $dir/san.c -lm -lpthread -o $dir/asan
check "build with TSan" clang -O1 -g -fsanitize=thread $dir/san.c -lm -lpthread -o $dir/tsan
equal "ASan run" "$(tell $dir/asan -t 3 2>&1)" "$want"
equal "TSan run" "$(tell $dir/tsan -t 3 2>&1)" "$want"
check "emit -O0 for TSan" "$bnc" $model --amalgamate --weights=incbin --ctx=64 -O0 --target=x86-64 --quiet -o $dir/tsan0.c
check "build -O0 with TSan" clang -O1 -g -fsanitize=thread $dir/tsan0.c -lm -lpthread -o $dir/tsan0
check "TSan run of -O0" sh -c "$dir/tsan0 -t 3 -p 'Once upon a time' -n 4 --temp 0"

# ---- arch after weights: an architecture by text alone, as docs/adding.md says ----
check "build own_head" cc -std=c11 -D_POSIX_C_SOURCE=200809L -Icompiler -Iruntime-min tests/e2e/own_head.c compiler/frontend/gguf.c \
    compiler/frontend/gguf_get.c compiler/frontend/gguf_open.c compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c \
    compiler/ir/formats.c compiler/ir/blocks.c -lxxhash -lm -o $dir/own_head
check "model with a head of its own" $dir/own_head $model $dir/own.gguf bitnet-relu2
check "unknown architecture is refused" sh -c "! $bnc $dir/own.gguf --quiet -o $dir/own.c"
check "compile with --arch" "$bnc" $dir/own.gguf --arch=tests/arch/relu2-own-head.tir --emit=exe --quiet -o $dir/own
equal "it tells the same" "$(tell $dir/own)" "$want"

# ---- mixed after json: a tensor whose block scales disagree: kept, and the layers cut around it ----
tq2=../shared/models/tales-27m-tq2_0.gguf
if [ -f $tq2 ]; then
    cp $tq2 $dir/mixed.gguf
    chmod u+w $dir/mixed.gguf
    at=$("$bnc" inspect $tq2 --json | $dir/json_get tensors | tr '{' '\n' | sed -n 's/.*"blk.3.ffn_down.weight".*"offset":\([0-9]*\).*/\1/p')
    printf '\146\056' | dd of=$dir/mixed.gguf bs=1 seek=$((at + 64)) conv=notrunc 2>/dev/null # f16 0.1
    check "mixed formats" "$bnc" $dir/mixed.gguf --verify-each --quiet -o $dir/mixed.c
    check "three runs of layers" test "$(grep -c '^static void decode_layer' $dir/mixed.c)" = 3
    check "mixed, AVX2" "$bnc" $dir/mixed.gguf --target=x86-64-v3 --emit=exe --quiet -o $dir/mixed_avx2
    check "mixed, plain C" "$bnc" $dir/mixed.gguf --target=x86-64 --emit=exe --quiet -o $dir/mixed_c
    equal "mixed formats tell the same on both" "$(tell $dir/mixed_avx2)" "$(tell $dir/mixed_c)"
else
    skipped=$((skipped + 1))
    echo "skipped: mixed formats (no ../shared)"
fi

# ---- literals after weights: literals, on a small model where there is one ----
small=../shared/models/synth-tiny-llama-i2_s.gguf
if [ -f $small ]; then
    check "literals" "$bnc" $small --weights=c --amalgamate --quiet -o $dir/lit.c
    check "literals compile" cc -O1 -march=native -std=c11 -Wall -Wextra -Werror $dir/lit.c -lm -lpthread -o $dir/lit
    check "the same model in a file" "$bnc" $small --emit=exe --quiet -o $dir/lit_exe
    equal "literals give the same logits" "$(echo 1 2 3 | $dir/lit --ids - --logits | cksum)" "$(echo 1 2 3 | $dir/lit_exe --ids - --logits | cksum)"
    check "two models" "$bnc" $small --emit=obj --name=tiny --quiet -o $dir/tiny.o
    cat >$dir/two.c <<'C'
#include "obj.h"
#include "tiny.h"
#include <stdio.h>
int main(void)
{
    printf("%s %s\n", bn_describe(&obj_model)->arch, bn_describe(&tiny_model)->arch);
    return 0;
}
C
    check "two models in one program" cc -I$dir -Iruntime-min $dir/two.c $dir/obj.o $dir/tiny.o build/libbnrt.a -lm -lpthread -o $dir/two
    equal "both are there" "$($dir/two)" "bitnet-b1.58 llama"
else
    skip "literals and two models" "no ../shared"
fi

# ---- end ----
finish
