$BNC ispect "$MODEL"
