$BNC --quiet "$MODEL" -o nosuch/out.c
