"$BNC" template "$(dirname "$0")/jinja/literal.jinja" -o x.c
