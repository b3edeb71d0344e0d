$BNC --quiet "$MODEL" -O9 -o out.c
