"$BNC" template "$(dirname "$0")/jinja/compare.jinja" -o x.c
