# json.awk: readbw.txt and results.tsv as one JSON text.

function text(s) { gsub(/[\\"]/, "\\\\&", s); return "\"" s "\"" }
BEGIN { printf "{\"cpu\":%s,\"cc\":%s,\"date\":%s,\"read_gbps\":{", text(cpu), text(cc), text(date) }
NF == 1 { split($0, pair, " "); printf "%s\"%d\":%s", (n++ ? "," : ""), pair[1], pair[2]; next }
{
    printf "%s\n{\"model\":%s,\"threads\":%d,\"what\":\"%s\",\"size\":%d,", (rows++ ? "," : "},\"results\":["),
        text($1), $2, $3, $4
    printf "\"tps\":%s,\"tps_min\":%s,\"tps_max\":%s,\"bytes_per_token\":%s,\"gbps\":%s,", $5, $6, $7, $8, $9
    printf "\"share_of_read\":%s,\"peak_rss\":%s,\"first_token_ms\":%s,\"program_bytes\":%s,\"weight_bytes\":%s}",
        $10, $11, $12, $13, $14
}
END { print (rows ? "]}" : "}}") }
