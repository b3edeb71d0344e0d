"$BNC" convert . --type=q4_0 -o model.gguf
