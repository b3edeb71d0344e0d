$BNC --quiet "$MODEL" --target=cuda --shards=17 -o out
