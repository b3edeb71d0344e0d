$BNC quantize nosuch.gguf -o out.gguf --keep="blk.*=q9"
