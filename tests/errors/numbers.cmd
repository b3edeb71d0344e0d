$BNC bench nosuch.gguf -t 1,2,x
