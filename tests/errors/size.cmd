$BNC quantize nosuch.gguf -o out.gguf --auto --budget=3Q
