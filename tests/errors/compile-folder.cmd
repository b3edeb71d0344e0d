"$BNC" . -o model.c
