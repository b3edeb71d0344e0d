"$BNC" template "$(dirname "$0")/jinja/unsupported.jinja" -o x.c
