$BNC opt --passes=quant,fues nosuch.tir
