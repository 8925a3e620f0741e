OWN = "mdai_guest"
