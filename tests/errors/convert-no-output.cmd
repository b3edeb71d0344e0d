"$BNC" convert .
