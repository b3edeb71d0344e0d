$BNC --quiet "$MODEL" --ternary=maybe -o out.c
