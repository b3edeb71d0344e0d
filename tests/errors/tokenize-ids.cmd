$BNC tokenize "$MODEL" --decode "1 4096"
