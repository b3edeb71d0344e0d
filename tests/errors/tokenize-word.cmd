$BNC tokenize "$MODEL" --decode "1 two"
