$BNC tokenize "$MODEL" 1 --decode --special
