$BNC --quiet "$MODEL" --emit=wasm -o out.c
