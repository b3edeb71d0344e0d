$BNC --quiet "$MODEL" --name=27m -o out.c
