PLACE = "root"
