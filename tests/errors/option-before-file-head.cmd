$BNC nosuch.gguf --head=foo -o out.c
