$BNC nosuch.gguf --emit=obj -o -
