"$BNC" template "$(dirname "$0")/jinja/none.jinja" -o x.c
