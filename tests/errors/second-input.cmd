$BNC --quiet "$MODEL" other.gguf -o out.c
