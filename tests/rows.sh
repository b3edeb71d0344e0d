# rows.sh: reads the tables of .def files.
#
# rows MACRO FILE: each MACRO(...) that begins a line as one line, fields apart by tabs, strings unquoted,
# line breaks inside a row as spaces. Rows of a #define have a backslash at the end.
rows() {
    awk -v macro="$1" '
        function fields(row,    out, c, i, quoted) {
            out = ""; quoted = 0
            for (i = 1; i <= length(row); i++) {
                c = substr(row, i, 1)
                if (c == "\"") quoted = !quoted
                else if (c == "," && !quoted) { sub(/ *$/, "", out); out = out "\t" }
                else if (c == ")" && !quoted) break
                else if (c != " " || (out != "" && out !~ /\t$/)) out = out c
            }
            return out
        }
        function whole(row,    c, i, quoted, depth) {
            for (i = 1; i <= length(row); i++) {
                c = substr(row, i, 1)
                if (c == "\"") quoted = !quoted
                if (c == ")" && !quoted) return 1
            }
            return 0
        }
        row == "" && index($0, macro "(") != 1 { next }
        { sub(/^ */, ""); row = row (row == "" ? "" : " ") $0 }
        whole(row) { print fields(substr(row, length(macro) + 2)); row = "" }' "$2"
}
