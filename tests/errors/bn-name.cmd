$BNC --quiet "$MODEL" --name=BN -o out.c
