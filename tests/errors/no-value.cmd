$BNC "$MODEL" -o
