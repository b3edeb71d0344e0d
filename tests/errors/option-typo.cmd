$BNC "$MODEL" --traget=generic -o out.c
