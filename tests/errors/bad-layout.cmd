$BNC --quiet "$MODEL" --i2s-layout=x64 -o out.c
