$BNC synth --shape=tales-4m --seed=-1 -o out.gguf
