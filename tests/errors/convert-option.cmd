"$BNC" convert . --fast -o model.gguf
