$BNC -o out.c
