$BNC opt --passes= nosuch.tir
