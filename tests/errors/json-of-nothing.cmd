$BNC --quiet "$MODEL" --json -o out.c
