$BNC nosuch.gguf --target=metal --profile -o out
