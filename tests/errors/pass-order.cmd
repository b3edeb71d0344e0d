$BNC opt --passes=plan --target=generic "${0%/*}/../passes/quant-linear.tir"
