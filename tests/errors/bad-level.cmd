$BNC "$MODEL" -O9 -o out.c
