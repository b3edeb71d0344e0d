$BNC --quiet "$MODEL" --passes=quant,nosuch -o out.c
