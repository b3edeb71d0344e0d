$BNC synth --quiet --shape=3b --layers=1 --type=tq2_0 -o x.gguf
