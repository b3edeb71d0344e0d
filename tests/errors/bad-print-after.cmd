$BNC --quiet "$MODEL" --print-after=nosuch -o out.c
