$BNC quantize nosuch.gguf -o out.gguf --formats=q8_0,q9
