$BNC synth -o x.gguf
