"$BNC" chat "$MODEL" --temp=hot
