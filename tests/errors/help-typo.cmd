$BNC help quantise
