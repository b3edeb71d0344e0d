$BNC synth --shape=tales-4m -o -
