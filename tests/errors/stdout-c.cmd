$BNC nosuch.gguf -o -
