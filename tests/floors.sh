#!/bin/sh
# The floor rule: every compiler folder sees ir/ and the generated-code contract of runtime-min, and
# never another folder; jit/ and codegen-gpu/ also see codegen-c, whose lists they print, and the GPU dialects codegen-gpu; checkpoint/ sees frontend/, driver/ all below it, report/ the driver; only main.c and cmd/ see all;
# the runtime sees nothing of the compiler.
# Also: no file over 800 lines.
bad=0
check() { # check FOLDER ALLOWED: includes in quotes must match
    found=$(grep -rnE '^ *# *include *"' "$1" --include='*.c' --include='*.h' --include='*.l' --include='*.y' |
        grep -vE "include *\"($2)" || true)
    if [ -n "$found" ]; then
        echo "floor rule: $1 may not include:"
        echo "$found"
        bad=1
    fi
}
contract='(\.\./)*(runtime-min/)?bn(_model|_template|_cpu|_vocab|_profile)?\.h"'
check compiler/ir "ir/|[a-z_]+\.def\"|vocab[a-z_]*\.h\"|$contract"
check compiler/frontend "ir/|frontend/|tir\.(tab|lex)\.h\"|gguf[a-z_]*\.(h|def)\"|$contract"
check compiler/passes "ir/|passes/|$contract"
check compiler/chat "ir/|chat/|jinja\.(tab|lex)\.h\"|$contract"
check compiler/codegen-c "ir/|codegen-c/|[a-z0-9_]+\.c\"|$contract"
check compiler/codegen-gpu "ir/|codegen-gpu/|codegen-c/codegen\.h\"|$contract"
check compiler/codegen-metal "ir/|codegen-metal/|codegen-gpu/gpu\.h\"|codegen-gpu/kernels\.def\"|$contract"
check compiler/codegen-cuda "ir/|codegen-cuda/|codegen-gpu/gpu\.h\"|codegen-gpu/kernels\.def\"|$contract"
check compiler/jit "ir/|jit/|codegen-c/codegen\.h\"|jit_rows\.def\"|$contract"
check compiler/checkpoint "ir/|checkpoint/|frontend/|$contract"
check compiler/driver "ir/|driver/|checkpoint/|frontend/|passes/|chat/|codegen-[a-z]+/|jit/|$contract"
check compiler/report "ir/|report/|driver/|passes/|codegen-c/|$contract"
check runtime-min 'bn\.h"|bn_model\.h"|bn_template\.h"|jinja\.h"|bn_cpu\.h"|bn_vocab\.h"|bn_profile\.h"|internal\.h"|cli\.h"|unicode_tables\.h"|tokenize[a-z_]*\.h"|pre[a-z_]*\.h"'
for f in $(git ls-files '*.c' '*.h' '*.def' '*.l' '*.y' 2>/dev/null); do
    n=$(wc -l <"$f")
    if [ "$n" -gt 800 ]; then
        echo "over 800 lines: $f ($n)"
        bad=1
    fi
done
[ $bad = 0 ] && echo "floors: clean"
exit $bad
