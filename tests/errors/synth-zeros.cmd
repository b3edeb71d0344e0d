$BNC synth --shape=2b4t --zeros=120 -o x.gguf
