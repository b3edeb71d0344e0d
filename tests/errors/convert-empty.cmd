"$BNC" convert . -o model.gguf
