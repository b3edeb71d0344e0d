$BNC --quiet "$MODEL" --target=z80 -o out.c
