$BNC --quiet "$MODEL" --target=cuda --head=q8 -o out
