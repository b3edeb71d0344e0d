"$BNC" template "$(dirname "$0")/jinja/unclosed.jinja" -o x.c
