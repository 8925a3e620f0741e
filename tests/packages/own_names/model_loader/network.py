OWN = "network"
