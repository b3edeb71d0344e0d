$BNC synth --shape=2b4t
