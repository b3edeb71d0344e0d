$BNC synth --shape=tales-4m --vocab=337 -o out.gguf
