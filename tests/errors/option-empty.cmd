$BNC "$MODEL" --arch= -o out.c
