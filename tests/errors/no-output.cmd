$BNC --quiet "$MODEL"
