OWN = "test"
