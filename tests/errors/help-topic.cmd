$BNC help cooking
