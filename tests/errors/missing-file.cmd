$BNC nosuch.gguf -o out.c
