OWN = "tempfile"
