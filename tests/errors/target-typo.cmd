$BNC nosuch.gguf --target=x86-64-v33 -o out.c
