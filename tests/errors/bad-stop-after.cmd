$BNC --quiet "$MODEL" --stop-after=all -o out.c
