$BNC nosuch.gguf --kv=foo -o out.c
