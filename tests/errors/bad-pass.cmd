$BNC "$MODEL" --passes=quant,nosuch -o out.c
