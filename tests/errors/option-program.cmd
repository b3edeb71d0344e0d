$BNC run nosuch.gguf --temp=hot
