"$BNC" template "$(dirname "$0")/jinja/tag.jinja" -o x.c
