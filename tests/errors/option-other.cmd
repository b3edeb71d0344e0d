$BNC run "$MODEL" --emit=c
