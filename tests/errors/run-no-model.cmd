$BNC run
