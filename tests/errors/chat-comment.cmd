"$BNC" template "$(dirname "$0")/jinja/comment.jinja" -o x.c
