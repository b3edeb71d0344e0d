unset CC; [ "$(uname -m)" = aarch64 ] && t=x86-64-v3 || t=arm64; $BNC nosuch.gguf --target=$t -o out.o 2>&1 | sed "s/for $t:/for TARGET:/; s/CC=[a-z0-9_]*-/CC=MACHINE-/" >&2; exit 1
