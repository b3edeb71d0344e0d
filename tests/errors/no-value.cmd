$BNC --quiet "$MODEL" -o
