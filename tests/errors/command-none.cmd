$BNC quux
