$BNC synth --shape=2b4t --type=q4_k -o x.gguf
