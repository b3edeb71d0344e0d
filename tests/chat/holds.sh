#!/bin/sh
# holds.sh FILE.c TEXT: whether the chat template in a model's C, an array of numbers, has the text.
want=$(printf '%s' "$2" | od -An -v -tu1 | tr -s ' \n' ',' | sed 's/^,//; s/,*$//')
sed -n '/chat_template\[\] = {/,/^};/p' "$1" | tr -d ' \n' | grep -q "[{,]$want,"
