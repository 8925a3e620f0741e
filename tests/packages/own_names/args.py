OWN = "args"
