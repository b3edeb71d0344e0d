$BNC --quiet "$MODEL" --weights=inline -o out.c
