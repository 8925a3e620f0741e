PLACE = "b"
