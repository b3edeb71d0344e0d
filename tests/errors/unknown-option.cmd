$BNC "$MODEL" --fast -o out.c
