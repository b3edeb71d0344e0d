$BNC --quiet "$MODEL" --ctx=99999999 -o out.c
