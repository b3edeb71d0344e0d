$BNC "$MODEL" -Ofast -o out.c
