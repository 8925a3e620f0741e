PLACE = ".mdai"
