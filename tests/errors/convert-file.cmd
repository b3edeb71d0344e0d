"$BNC" convert "$MODEL" -o model.gguf
