$BNC --quiet "$MODEL" -Ofast -o out.c
