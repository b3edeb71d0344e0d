$BNC opt --emit=c nosuch.tir
