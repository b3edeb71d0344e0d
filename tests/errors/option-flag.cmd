$BNC "$MODEL" --quiet=1 -o out.c
