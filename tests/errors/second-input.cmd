$BNC "$MODEL" other.gguf -o out.c
