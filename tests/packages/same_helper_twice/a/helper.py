PLACE = "a"
