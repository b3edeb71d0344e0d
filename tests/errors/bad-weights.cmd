$BNC "$MODEL" --weights=inline -o out.c
