$BNC --quiet "$MODEL" --fast -o out.c
