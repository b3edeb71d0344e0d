$BNC "$MODEL" --print-after=nosuch -o out.c
