$BNC synth --shape=gpt5 -o x.gguf
