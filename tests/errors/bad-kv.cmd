$BNC --quiet "$MODEL" --kv=fp8 -o out.c
