"$BNC" "$MODEL" --chat-template=gpt4 -o x.c
