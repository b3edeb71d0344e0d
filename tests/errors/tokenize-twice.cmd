$BNC tokenize "$MODEL" a -p b
