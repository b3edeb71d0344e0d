$BNC --quiet "$MODEL" --shards=2 -o out.c
