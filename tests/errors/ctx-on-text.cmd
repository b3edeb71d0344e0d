$BNC opt --ctx=64 nosuch.tir
