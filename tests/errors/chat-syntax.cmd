"$BNC" template "$(dirname "$0")/jinja/syntax.jinja" -o x.c
