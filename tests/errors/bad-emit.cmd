$BNC "$MODEL" --emit=wasm -o out.c
